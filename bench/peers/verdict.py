"""The targets of issue 5, and whether they are met: computed from the rows, never typed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from bench.peers.matching import HELD
from bench.peers.ratios import IN_ALL, NET, OURS, compared, middle, ratio_to
from bench.peers.run import Row

Rows = dict[str, list[Row]]
Figure = Callable[[Rows], float | None]


@dataclass(frozen=True)
class Target:
    """What a figure must be; `in_all` is the same figure with the cost of publishing in it, for comparison."""

    load: str
    says: str
    figure: Figure
    at_most: float | None = None
    at_least: float | None = None
    in_all: Figure | None = None

    def line(self, rows: Rows) -> str:
        """A line of the table."""
        found, beside = self.figure(rows), self.in_all(rows) if self.in_all else None
        return f"| {self.load} | {self.says} | {shown(found)} | {shown(beside, '')} | {self.verdict(found)} |"

    def verdict(self, found: float | None) -> str:
        """Met, not met, or nothing to judge by."""
        if found is None:
            return "not measured"
        low, high = self.at_least or float("-inf"), float("inf") if self.at_most is None else self.at_most
        return "met" if low <= found <= high else "**not met**"


def shown(value: float | None, nothing: str = "-") -> str:
    """A figure with three digits that count."""
    if value is None:
        return nothing
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"


def of(load: str, field: str, way: str = "") -> Figure:
    """Our median of a field."""
    return lambda rows: middle(rows.get(load, []), field, OURS, way)


def beside(load: str, system: str, limit: float) -> Target:
    """Ours to another system's, of W1 to W4: less publishing is judged, in all stands beside it."""
    return Target(load, f"CPU <= {limit:g} x {system}", to(load, NET[load], system), limit,
                  in_all=to(load, IN_ALL[load], system))  # fmt: skip


def to(load: str, field: str, system: str) -> Figure:
    """Ours to another system's."""
    return lambda rows: ratio_to(rows.get(load, []), field, system)


def quotient(above: Figure, below: Figure) -> Figure:
    """One figure by another."""

    def figure(rows: Rows) -> float | None:
        a, b = above(rows), below(rows)
        return a / b if a is not None and b else None

    return figure


def faults(rows: Rows) -> float | None:
    """What Catalyst lost, sent twice or out of order, and connections that did not get their own, of all loads."""
    ours = [row for load in rows.values() for row in load if row["system"] == OURS and "lost" in row]
    names = ("lost", "others_lost", "duplicated", "reordered", "wrong_connections")
    return sum(row.get(name) or 0 for row in ours for name in names) if ours else None


MATCHING = of("W1 matching", "us_per_signal", "10,000 filters, W1, 5 of 500")
MANY = of("W1 matching", "us_per_signal", "W1, 5 of 5,000 symbols")
MIXED = of("W1 matching", "us_per_signal", HELD)
BURST = [lambda rows, field=field: middle(rows.get("W3", []), field) for field in ("x_best", "x_best_in_all")]
TARGETS = [
    Target("all", "lost, duplicated, reordered, wrong: 0", faults, 0),
    Target("W1", "matching 10,000 filters <= 10 us a signal", MATCHING, 10),
    beside("W1", "c-loop", 1.6),
    beside("W1", "centrifuge", 0.05),
    beside("W1", "centrifuge, channel per symbol", 0.4),
    Target("W1", "100,000 filters <= 3 x 10,000, 20 matches held",
           quotient(MANY, MATCHING), 3),
    Target("W1", "10,000 filters of all operators <= 3 x, 20 matches held", quotient(MIXED, MATCHING), 3),
    beside("W2", "c-loop", 1.4),
    beside("W2", "nats-server", 0.5),
    beside("W2", "centrifuge", 0.55),
    beside("W2", "python-socketio", 0.1),
    Target("W3", "CPU <= 0.25 x the best peer", BURST[0], 0.25, in_all=BURST[1]),
    beside("W4", "c-loop", 1.4),
    Target("W4", "last delivery <= 0.5 x centrifuge", to("W4", "max_us", "centrifuge"), 0.5),
    Target("W4", "longest turn <= 10 ms", of("W4", "longest_turn_ms"), 10),
    Target("W5", "connections that did not get exactly their own: 0", of("W5", "wrong_connections"), 0),
    Target("W5", "the same with filters: 0", of("W5 filtered", "wrong_connections"), 0),
    Target("W5", "<= 0.3 us a message", of("W5", "net_delivery_us"), 0.3),
    Target("W5", "p99 of the others <= 2 x",
           quotient(of("W5", "others_p99_us"), of("W5", "others_p99_before_us")), 2),
    Target("W5", "p99 of the others <= 2 x, with filters",
           quotient(of("W5 filtered", "others_p99_us"), of("W5 filtered", "others_p99_before_us")), 2),
    Target("W6", "from the store, one in two matches >= 150,000/s", of("W6", "per_s", "store, one"), at_least=150e3),
    Target("W6", "from the ring, one in two matches >= 500,000/s", of("W6", "per_s", "ring, one"), at_least=500e3),
    Target("W7", "<= 12 KiB a connection", of("W7", "rss_kib_per_connection"), 12),
    Target("W7", "below every peer", of("W7", "x_best"), 1),
    Target("W7", "opening 10,000 <= 5 s", of("W7", "open_s"), 5),
    Target("W8", "RSS growth <= 64 MiB", of("W8", "grown_mib", "stalled"), 64),
    Target("W8", "p99 of the healthy <= 1.2 x",
           quotient(of("W8", "p99_us", "stalled"), of("W8", "p99_us", "healthy")), 1.2),
    Target("W8", "the stalled are complete afterwards: 0 lost", of("W8", "lost", "stalled"), 0),
    Target("W9", "all live <= 10 s", of("W9", "took_s"), 10),
    Target("W9", "store reads <= 10 for 1,000 connections", of("W9", "reads_per_1000"), 10),
    Target("W10", "pipelined >= 5 x nats-server with fsync",
           lambda rows: ratio_to(rows.get("W10", []), "per_s", "nats-server, fsync", "pipelined"), at_least=5),
    Target("W10", "batches >= 50,000/s", of("W10", "per_s", "batches"), at_least=50e3),
    Target("W10", "single REST >= 3,000/s", of("W10", "per_s", "single"), at_least=3e3),
]  # fmt: skip


def verdicts(loads: Iterable[tuple[str, list[Row]]]) -> str:
    """The table of all targets."""
    rows = {load: compared([row for row in mine if "error" not in row]) for load, mine in loads}
    head = ["## Verdict", "", "| load | target | measured | with publishing in it | |", "|---|---|---:|---:|---|"]
    return "\n".join([*head, *(target.line(rows) for target in TARGETS)])
