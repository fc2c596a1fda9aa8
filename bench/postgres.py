"""Appending to PostgreSQL with an fsync of 2 ms: batched in one channel, and as single drafts at 10,000 a second."""

from __future__ import annotations

import asyncio
import hashlib
import subprocess
import time
from collections import deque
from pathlib import Path

from tests.services.postgres import Postgres

from bench.harness import HERE, OUT, Row, show
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
    with Postgres(env={"LD_PRELOAD": str(_slow_sync())}, shared_buffers="128MB") as server:
        async with PostgresStore.from_url(server.url) as store:
            await store.append([Batch(channel="main", subject="bench", drafts=[])])
            rows = [await _batched(store, size, count) for size, count in LOADS]
            return [*rows, await _paced(store)]


def _slow_sync() -> Path:
    OUT.mkdir(exist_ok=True)
    library = OUT / "slowsync.so"
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", library, HERE / "slowsync.c", "-ldl"], check=True)
    library.chmod(0o755)
    OUT.chmod(0o755)  # The server runs as another user.
    return library


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
        "ms_each": round(took_s / len(appends) * 1000, 2), "lock_held_ms": _ms(sorted(store.lock_held_s), 0.5),
        "goal": ">= 20000" if size >= 500 else "",
    }  # fmt: skip


async def _paced(store: PostgresStore) -> Row:
    """Whatever queued while the last commit was in flight goes into the next one, as the publisher's flusher does."""
    queue: deque[tuple[float, Batch]] = deque()
    waited_s: list[float] = []
    asking = asyncio.create_task(_ask(queue))
    while not asking.done() or queue:
        taken = [queue.popleft() for _ in range(min(len(queue), COMMIT_MAX))]
        if not taken:
            await asyncio.sleep(0.0005)
            continue
        await store.append([batch for _, batch in taken])
        waited_s += [time.perf_counter() - asked_s for asked_s, _ in taken]
    waited_s.sort()
    return {
        "load": f"single drafts, {RATE} a second", "ack_p50_ms": _ms(waited_s, 0.5), "ack_p99_ms": _ms(waited_s, 0.99),
        "goal": "p99 <= 15 ms",
    }  # fmt: skip


async def _ask(queue: deque[tuple[float, Batch]]) -> None:
    began_s, asked = time.perf_counter(), 0
    while (at_s := time.perf_counter() - began_s) < PACED_S:
        while asked < at_s * RATE:
            draft = _draft(f"paced-{asked}")
            queue.append((time.perf_counter(), Batch(channel="main", subject="bench", drafts=[draft])))
            asked += 1
        await asyncio.sleep(0.001)


def _ms(ordered_s: list[float], part: float) -> float:
    return round(ordered_s[int(len(ordered_s) * part)] * 1000, 2)


if __name__ == "__main__":
    show(run())
