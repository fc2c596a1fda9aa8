"""What a filter would have sent of 100,000 stored events, alone and against another: CPU time of one core."""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path

from bench.harness import Row, show, signal_of
from catalyst_signals.events import Batch
from catalyst_signals.filters import Filter, parse
from catalyst_signals.rehearse import Rehearsals
from catalyst_signals.signals import signal_draft
from catalyst_signals.stores.sqlite import SqliteStore
from catalyst_signals.trust import Reader

STORED, ROUNDS = 100_000, 3
WANTED = parse("symbol in (S071, S172, S399) and confidence >= 0.7")
AGAINST = parse("action = BUY and confidence >= 0.5")


def run() -> list[Row]:
    """A row for one filter, one for two."""
    return asyncio.run(_run())


async def _run() -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        async with SqliteStore.from_url(f"sqlite:///{Path(folder) / 'full.db'}") as store:
            await store.append([Batch(channel="main", subject="bench", drafts=[])])
            for start in range(0, STORED, 1000):
                drafts = [signal_draft(signal_of(n), subject="bench")[0] for n in range(start, start + 1000)]
                await store.append([Batch(channel="main", subject="bench", drafts=drafts)])
            return [
                await _measure(store, "rehearse: one filter", None),
                await _measure(store, "rehearse: against another", AGAINST),
            ]


async def _measure(store: SqliteStore, name: str, against: Filter | None) -> Row:
    rehearsals, best_s = Rehearsals(store, Reader(store)), float("inf")
    for _ in range(ROUNDS):
        began = time.process_time()
        told = await rehearsals.run("main", WANTED, against=against)
        best_s = min(best_s, time.process_time() - began)
        assert told["of"] == STORED and told["matched"]
    watch = asyncio.create_task(_longest_turn())
    await rehearsals.run("main", WANTED, against=against)
    watch.cancel()
    return {
        "load": name, "stored": STORED, "cpu_s": round(best_s, 2), "goal": "<= 1",
        "others_waited_ms": round(await watch * 1000, 1),
    }  # fmt: skip


async def _longest_turn() -> float:
    """How long somebody else on the event loop had to wait, at most."""
    longest_s, seen = 0.0, time.perf_counter()
    try:
        while True:
            await asyncio.sleep(0)
            now = time.perf_counter()
            longest_s, seen = max(longest_s, now - seen), now
    except asyncio.CancelledError:
        return longest_s


if __name__ == "__main__":
    show(run())
