"""Rows as tables for people: median of the rounds with lowest and highest, ratio to the C loop of the same round."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

from bench.peers.run import Row
from bench.peers.systems import ALL

Value = Callable[[Row], float | None]


@dataclass(frozen=True)
class Column:
    """What stands above it, where its figures are from, how many digits they have."""

    title: str
    value: Value
    digits: int = 2


def field(name: str, divisor: float = 1) -> Value:
    """A field of a row, in another unit."""
    return lambda row: row[name] / divisor if row.get(name) is not None else None


LATENCY = [Column(f"{p} ms", field(f"{p}_us", 1e3)) for p in ("p50", "p99", "p999")]
FAULTS = [Column(name, field(name), 0) for name in ("lost", "duplicated", "reordered")]
CONNECTION = Column("RSS KiB/connection", field("rss_kib_per_connection"), 1)
FAN = [
    Column("CPU us/delivery", field("delivery_us")), Column("less publishing", field("net_delivery_us")),
    Column("x C", lambda row: row.get("x_c")), Column("CPU us/publish", field("publish_us"), 0),
    Column("less publishing", field("net_publish_us"), 0), Column("publishing alone", field("alone_us"), 0),
    *LATENCY, Column("last ms", field("max_us", 1e3), 1), Column("longest turn ms", field("longest_turn_ms"), 1),
    CONNECTION, *FAULTS,
]  # fmt: skip
COLUMNS: dict[str, list[Column]] = {
    "W1": [*FAN, Column("wrong connections", field("wrong_connections"), 0)],
    "W2": FAN, "W3": FAN, "W4": FAN,
    "W6": [Column("signals/s", field("per_s"), 0), Column("CPU us/signal", field("publish_us")), *FAULTS],
    "W7": [CONNECTION, Column("empty server MiB", field("empty_kib", 1024), 1), Column("opened in s", field("open_s")),
           Column("not opened", field("failed"), 0), Column("closed", field("closed"), 0)],
    "W8": [*LATENCY, Column("RSS grew MiB", field("grown_mib"), 1), Column("sockets grew MiB", field("socket_mib"), 1),
           Column("CPU us/delivery", field("delivery_us")), *FAULTS],
    "W10": [Column("signals/s", field("per_s"), 0), Column("CPU us/publish", field("publish_us"), 1),
            Column("answer p50 ms", field("answer_p50_us", 1e3)), Column("answer p99 ms", field("answer_p99_us", 1e3)),
            Column("lost", field("lost"), 0)],
}  # fmt: skip
RESUME = [
    Column("all complete in s", field("took_s")), Column("deliveries/s", field("per_s"), 0),
    Column("CPU us/delivery", field("net_delivery_us")), Column("peak RSS MiB", field("peak_mib"), 0), *FAULTS,
    Column("p99 of others before ms", field("others_p99_before_us", 1e3)),
    Column("p99 of others meanwhile ms", field("others_p99_us", 1e3)), Column("others lost", field("others_lost"), 0),
    Column("wrong connections", field("wrong_connections"), 0),
]  # fmt: skip


def compared(rows: list[Row]) -> list[Row]:
    """The rows of a load, each fan-out with its ratio to the C loop of its own round."""
    key = "net_publish_us" if rows and rows[0]["load"] == "W1" else "net_delivery_us"
    limit = {row["round"]: row[key] for row in rows if row["system"] == "c-loop" and key in row}
    return [row | ({"x_c": row[key] / limit[row["round"]]} if limit.get(row["round"], 0) > 0 and key in row else {})
            for row in rows]  # fmt: skip


def table(load: str, title: str, rows: list[Row]) -> str:
    """One table in Markdown."""
    columns = COLUMNS.get(load, RESUME)
    head = ["system", *(c.title for c in columns), "does not"]
    lines = [f"## {load} {title}", "", f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for (system, way), group in grouped(compared(rows)).items():
        good = [row for row in group if "error" not in row]
        cells = [cell(good, c) for c in columns] if good else [group[0]["error"][:90].replace("|", "/")]
        lines.append(f"| {' | '.join([system + (f': {way}' if way else ''), *cells, ALL[system].lacks])} |")
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
