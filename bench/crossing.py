"""From a publish on node A to its receipt on node B, over Redis Pub/Sub, beside centrifuge with its Redis broker.

All are up at once and take turns with the same signals, publisher and subscribers, so that only whose turn it is has
work to do. Catalyst has stored a signal in PostgreSQL before node B hears of it; centrifuge keeps it in Redis alone.
"""

from __future__ import annotations

from contextlib import ExitStack
from statistics import median

from bench.harness import Row, show
from bench.peers import traffic
from bench.peers.install import the_engine
from bench.peers.run import Server, Subscribers, publisher, said
from bench.site import postgres, slow_postgres, two_engines, two_nodes

SUBSCRIBERS, RATE, WARM_UP, SIGNALS, ROUNDS = 20, 200, 100, 500, 5
END_S = 10.0  # So long the last one may be under way.
PEER = "centrifuge, Redis broker"
GOALS = {"catalyst": "p50 <= 3 ms", "catalyst, fsync of 2 ms": "p50 <= 6 ms", PEER: ""}


def run() -> list[Row]:
    """A row for each system and round, and the medians of the rounds."""
    the_engine()
    with ExitStack() as stack:
        systems = dict(zip(GOALS, (
            two_nodes(stack, postgres()), two_nodes(stack, slow_postgres()), two_engines(stack, GOMAXPROCS="1"),
        ), strict=True))  # fmt: skip
        rows = [
            {"load": f"A to B: {name}", "round": round, **_crossed(*pair, 1 + round * (WARM_UP + SIGNALS))}
            for round in range(ROUNDS)
            for name, pair in systems.items()
        ]
    return [*rows, *(_middle(rows, name) for name in GOALS)]


def _crossed(near: Server, far: Server, first: int) -> Row:
    """How long signals took from the moment of sending to that of reading; those of the warm-up do not count."""
    sent = traffic.signals(WARM_UP + SIGNALS, first)
    wanted, seconds = SUBSCRIBERS * SIGNALS, len(sent) / RATE + END_S
    readers = Subscribers(far, [far.system.hello()], SUBSCRIBERS, wanted, seconds, f"from={first + WARM_UP}")
    with readers, publisher(near, near.system.publishing(sent), rate=RATE, wait_s=END_S) as at_work:
        came = readers.row()
        said(at_work, seconds)
    return {
        "p50_ms": _ms(came["p50_us"]), "p99_ms": _ms(came["p99_us"]),
        "lost": wanted - came["deliveries"], "duplicated": came["duplicated"],
    }  # fmt: skip


def _middle(rows: list[Row], name: str) -> Row:
    mine, theirs = ([row for row in rows if row["load"] == f"A to B: {of}"] for of in (name, PEER))
    ratios = [ours["p50_ms"] / other["p50_ms"] for ours, other in zip(mine, theirs, strict=True)]
    return {
        "load": f"A to B: {name}", "round": "median", "p50_ms": median(row["p50_ms"] for row in mine),
        "p99_ms": median(row["p99_ms"] for row in mine), "x_centrifuge": round(median(ratios), 2), "goal": GOALS[name],
    }  # fmt: skip


def _ms(us: float) -> float:
    return round(us / 1000, 2)


if __name__ == "__main__":
    show(run())
