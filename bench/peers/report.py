"""Rows as tables for people: median of the rounds with lowest and highest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Protocol

from bench.peers.ratios import compared
from bench.peers.results import Results
from bench.peers.run import Row
from bench.peers.systems import ALL
from bench.peers.verdict import verdicts

Value = Callable[[Row], float | None]


class Titled(Protocol):
    """A load, as far as a table needs it."""

    @property
    def title(self) -> str:
        """What is done."""


@dataclass(frozen=True)
class Column:
    """What stands above it, where its figures are from, how many digits they have."""

    title: str
    value: Value
    digits: int = 2


def field(name: str, divisor: float = 1) -> Value:
    """A field of a row, in another unit."""
    return lambda row: row[name] / divisor if row.get(name) is not None else None


LATENCY = [Column(f"{p} ms", field(f"{p.replace('.', '')}_us", 1e3)) for p in ("p50", "p99", "p99.9")]
FAULTS = [Column(name, field(name), 0) for name in ("lost", "duplicated", "reordered")]
WRONG = Column("wrong connections", field("wrong_connections"), 0)
CONNECTION = Column("RSS KiB/connection", field("rss_kib_per_connection"), 1)
BEST = Column("x best peer", field("x_best"))
RATIOS = [Column("x C", field("x_c")), BEST]
RATIOS_IN_ALL = [Column("in all x C", field("x_c_in_all")), Column("in all x best peer", field("x_best_in_all"))]


def fan(figure: str, digits: int, other: str, other_digits: int) -> list[Column]:
    """The columns of a fan-out: its own figure first."""
    return [
        Column(f"us/{figure} less publishing", field(f"net_{figure}_us"), digits), *RATIOS,
        Column(f"us/{figure} in all", field(f"{figure}_us"), digits), *RATIOS_IN_ALL,
        Column(f"us/{other} less publishing", field(f"net_{other}_us"), other_digits),
        Column(f"us/{other} in all", field(f"{other}_us"), other_digits),
        Column("publishing alone us", field("alone_us"), 0), *LATENCY, Column("last ms", field("max_us", 1e3), 1),
        CONNECTION, *FAULTS, WRONG,
    ]  # fmt: skip


def answer(name: str) -> list[Column]:
    """How long a question took meanwhile."""
    return [Column(f"{name} p50 ms", field(f"{name}_p50_ms"), 1), Column(f"{name} max ms", field(f"{name}_max_ms"), 1)]


STEADY = fan("delivery", 2, "publish", 0)
RESUME = [
    Column("all complete in s", field("took_s")), Column("deliveries/s", field("per_s"), 0),
    Column("CPU us/delivery", field("net_delivery_us")), BEST, Column("peak RSS MiB", field("peak_mib"), 0),
    Column("store reads/1,000", field("reads_per_1000"), 1), *FAULTS, WRONG,
]  # fmt: skip
OTHERS = [
    Column("p99 of others before ms", field("others_p99_before_us", 1e3)),
    Column("p99 of others meanwhile ms", field("others_p99_us", 1e3)), Column("others lost", field("others_lost"), 0),
]  # fmt: skip
COLUMNS: dict[str, list[Column]] = {
    "W1": [*fan("publish", 0, "delivery", 1), Column("frames of no signal", field("others"), 0)],
    "W1 matching": [Column("us/signal", field("us_per_signal")), Column("matches", field("matches"), 1),
                    Column("us/match", lambda row: row["us_per_signal"] / row["matches"] if row["matches"] else None)],
    "W2": STEADY, "W3": STEADY,
    "W4": [*STEADY, Column("longest turn ms", field("longest_turn_ms"), 1),
           *answer("publish"), *answer("health"), *answer("ping")],
    "W5": [*RESUME, *OTHERS], "W5 filtered": [*RESUME, *OTHERS],
    "W6": [Column("signals/s", field("per_s"), 0), BEST, Column("CPU us/signal", field("publish_us")), *FAULTS],
    "W7": [CONNECTION, BEST, Column("empty server MiB", field("empty_kib", 1024), 1),
           Column("opened in s", field("open_s")), Column("not opened", field("failed"), 0),
           Column("closed", field("closed"), 0)],
    "W8": [*LATENCY, Column("RSS grew MiB", field("grown_mib"), 1), Column("sockets grew MiB", field("socket_mib"), 1),
           Column("CPU us/delivery", field("delivery_us")), *FAULTS],
    "W9": RESUME,
    "W10": [Column("signals/s", field("per_s"), 0), BEST, Column("x nats-server, fsync", field("x_fsync")),
            Column("CPU us/publish", field("publish_us"), 1), Column("answer p50 ms", field("answer_p50_us", 1e3)),
            Column("answer p99 ms", field("answer_p99_us", 1e3)), Column("lost", field("lost"), 0)],
}  # fmt: skip


def page(results: Results, loads: Mapping[str, Titled]) -> str:
    """All tables and the verdicts."""
    about, rows = results.about, results.rows
    head = [
        "# Side by side",
        f"Commit {about['commit']}; {about['machine']}. Median of the rounds (lowest to highest).",
    ]
    if about["quick"]:
        head.append("A quick run with small counts: it shows that all works, not how fast it is.")
    measured = [(name, results.of(name)) for name in loads if results.of(name)]
    tables = [table(name, loads[name].title, mine) for name, mine in measured]
    busiest = max((row["busy"] for row in rows), default=0)
    foot = f"The busiest that others had this machine just before a run: {busiest:.0%}."
    return "\n\n".join([*head, *tables, verdicts(measured), foot]) + "\n"


def table(load: str, title: str, rows: list[Row]) -> str:
    """One table in Markdown; a column in which nobody has a figure is left out."""
    good = compared([row for row in rows if "error" not in row])
    columns = [c for c in COLUMNS[load] if any(c.value(row) is not None for row in good)]
    times = sorted(row["at"] for row in rows)
    when = f"Measured {times[0]} to {times[-1]}, rounds: {len({row['round'] for row in rows})}."
    head = ["system", *(c.title for c in columns), "lacks"]
    lines = [f"## {load} {title}", "", when, "", f"| {' | '.join(head)} |", "|---" + "|---:" * len(columns) + "|---|"]
    for (system, way), group in grouped(good).items():
        cells = [system + (f": {way}" if way else ""), *(cell(group, c) for c in columns), ALL[system].lacks]
        lines.append(f"| {' | '.join(cells)} |")
    lines += [f"\n{row['system']}, round {row['round'] + 1}: {row['error'][:300]}" for row in rows if "error" in row]
    return "\n".join(lines)


def grouped(rows: list[Row]) -> dict[tuple[str, str], list[Row]]:
    """By system and way, in the order they were run."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["system"], row.get("way", "")), []).append(row)
    return groups


def cell(rows: list[Row], column: Column) -> str:
    """Median and, of several rounds, lowest and highest."""
    values = [value for row in rows if (value := column.value(row)) is not None]
    if not values:
        return ""
    middle, low, high = (f"{f(values):,.{column.digits}f}" for f in (median, min, max))
    return middle if low == high else f"{middle} ({low} to {high})"
