"""Appending to PostgreSQL with an fsync of 2 ms: batched in one channel, and as single drafts at 10,000 a second."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import deque

from bench.harness import Row, ms_at, show
from bench.site import slow_postgres
from catalyst_signals.events import Batch, Draft
from catalyst_signals.stores.postgres import PostgresStore

BODY = b'{"data":{"instrument":{"symbol":"ACME"},"action":"open","direction":"long","note":"%s"}}' % (b"x" * 264)
HASH = hashlib.sha256(BODY).digest()
LOADS = ((1, 500), (100, 20_000), (500, 60_000), (1000, 100_000))  # drafts an append, drafts in all
RATE, PACED_S, COMMIT_MAX = 10_000, 4.0, 1000


def run() -> list[Row]:
    """A row for each size of append, and one for the paced load."""
    return asyncio.run(_run())


async def _run() -> list[Row]:
    with slow_postgres() as server:
        async with PostgresStore.from_url(server.url) as store:
            await store.append([Batch(channel="main", subject="bench", drafts=[])])
            fresh = await _paced(store, "a server without used log files")
            rows = [await _batched(store, size, count) for size, count in LOADS]
            await asyncio.to_thread(server.sql, "CHECKPOINT")
            return [*rows, fresh, await _paced(store, "a server that has run for a while") | {"goal": "p99 <= 15 ms"}]


def _draft(id: str) -> Draft:
    return Draft(type="signal.published", id=id, body=BODY, draft_hash=HASH)


async def _batched(store: PostgresStore, size: int, count: int) -> Row:
    appends = [[_draft(f"{size}-{n}-{m}") for m in range(size)] for n in range(count // size)]
    store.lock_held_s.clear()
    began_s = time.perf_counter()
    for drafts in appends:
        await store.append([Batch(channel="main", subject="bench", drafts=drafts)])
    took_s = time.perf_counter() - began_s
    return {
        "load": f"append: {size} drafts", "events_per_s": round(count / took_s),
        "ms_each": round(took_s / len(appends) * 1000, 2), "lock_held_ms": ms_at(sorted(store.lock_held_s), 0.5),
        "goal": ">= 20000" if size >= 500 else "",
    }  # fmt: skip


async def _paced(store: PostgresStore, where: str) -> Row:
    """Whatever queued while the last commit was in flight goes into the next one, as the publisher's flusher does.

    PostgreSQL that has no log file to use again fills a new one with 16 MiB of zeros, and every commit waits for that.
    """
    queue: deque[tuple[float, Batch]] = deque()
    waited_s: list[float] = []
    asking = asyncio.create_task(_ask(queue, where))
    while not asking.done() or queue:
        taken = [queue.popleft() for _ in range(min(len(queue), COMMIT_MAX))]
        if not taken:
            await asyncio.sleep(0.0005)
            continue
        await store.append([batch for _, batch in taken])
        waited_s += [time.perf_counter() - asked_s for asked_s, _ in taken]
    waited_s.sort()
    return {
        "load": f"single drafts, {RATE} a second, {where}", "ack_p50_ms": ms_at(waited_s, 0.5),
        "ack_p99_ms": ms_at(waited_s, 0.99),
    }  # fmt: skip


async def _ask(queue: deque[tuple[float, Batch]], where: str) -> None:
    began_s, asked = time.perf_counter(), 0
    while (at_s := time.perf_counter() - began_s) < PACED_S:
        while asked < at_s * RATE:
            draft = _draft(f"{where}-{asked}")
            queue.append((time.perf_counter(), Batch(channel="main", subject="bench", drafts=[draft])))
            asked += 1
        await asyncio.sleep(0.001)


if __name__ == "__main__":
    show(run())
