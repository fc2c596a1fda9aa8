"""What receipts cost: 500 subscribers, 200 signals a second, with and without acknowledgements, in turns.

Without: nobody acknowledges and no ledger is kept. With: each acknowledges once a second, and the ledger is written.
The figure is the server's CPU for the same signals, publishing and persistence included. Pairs take turns at being
first, since a machine that others use too drifts; the figure is the median of their ratios.
"""

from __future__ import annotations

import asyncio
from statistics import median

from bench.deliver import RATE, SIGNALS, SUBSCRIBERS, publish, round_to
from bench.harness import Row, cpu_s, result_of, server, show, sink, subscribe

PAIRS = 7


def run() -> list[Row]:
    """A row a pair, and the median."""
    rows: list[Row] = []
    for pair in range(PAIRS):
        spent = {acks: _spent(acks) for acks in ((False, True) if pair % 2 else (True, False))}
        (without_s, _), (with_s, count) = spent[False], spent[True]
        rows.append({
            "load": "receipts", "round": pair, "acks": count, "without_s": round_to(without_s),
            "with_s": round_to(with_s), "more_pct": round_to((with_s / without_s - 1) * 100),
            "of_a_core_pct": round_to((with_s - without_s) / (SIGNALS / RATE) * 100),
        })  # fmt: skip
    rows.append({
        "load": "receipts", "round": "median", "more_pct": round_to(median(row["more_pct"] for row in rows)),
        "of_a_core_pct": round_to(median(row["of_a_core_pct"] for row in rows)),
        "goal": "<= 1",
    })  # fmt: skip
    return rows


def _spent(acks: bool) -> tuple[float, int]:
    """The server's CPU seconds for SIGNALS at RATE to SUBSCRIBERS, and how many acknowledgements came."""
    how = ("ack",) if acks else ()
    frames = SIGNALS * SUBSCRIBERS
    with (
        server(ledger_s=2_592_000 if acks else 0) as running,
        sink(
            running.port, SUBSCRIBERS, frames, 30 + SIGNALS / RATE, running.header, subscribe("confidence >= 0"), *how
        ) as reader,
    ):
        before = cpu_s(running.pid)
        asyncio.run(publish(running, 0))
        came = result_of(reader)
        assert came["frames"] == frames
        return cpu_s(running.pid) - before, int(came["acks"])


if __name__ == "__main__":
    show(run())
