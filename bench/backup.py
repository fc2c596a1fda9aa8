"""A backup beside a process that appends: its MB/s, and what it leaves of the rate of appending, in one run."""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from multiprocessing import Event, Process, Queue
from multiprocessing.synchronize import Event as Flag
from pathlib import Path

from bench.append import BODY
from bench.harness import Row, show
from catalyst_signals.events import Batch, Draft, hash_of_draft
from catalyst_signals.stores.sqlite import SqliteStore

EVENTS, TOGETHER = 200_000, 50  # In the log; drafts an append, as group commit makes them of many publishers.
TURNS, ALONE_S = 3, 3.0


def run() -> list[Row]:
    """A row for each turn: appends beside a backup, and alone before and after it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "catalyst.db"
        counts: Queue[int] = Queue()
        ready, stop = Event(), Event()
        publisher = Process(target=_publish, args=(path, ready, stop, counts))
        publisher.start()
        ready.wait()
        alone, rows = _alone(counts), []
        for _ in range(TURNS):
            row, before = _backup(path, counts), alone
            alone = _alone(counts)
            kept = round(row["events_per_s_beside"] * 2 / (before + alone), 2)
            rows.append(row | {"events_per_s_alone": round((before + alone) / 2), "kept": kept})
        stop.set()
        publisher.join()
    kept = statistics.median(row["kept"] for row in rows)
    return [*rows, {"load": "the median", "kept": kept, "goal": ">= 0.8, >= 50 MB/s"}]


def _backup(path: Path, counts: Queue[int]) -> Row:
    """As a person runs it."""
    command = [sys.executable, "-m", "catalyst_signals", "backup", str(path.with_name("copy.db")), "--force", "--json"]
    _taken(counts)
    began = time.perf_counter()
    done = subprocess.run([*command, "--store-url", f"sqlite:///{path}"], check=True, capture_output=True)
    rate, copied = _taken(counts) / (time.perf_counter() - began), json.loads(done.stdout)
    size = f"backup of {copied['bytes'] / 1e6:,.0f} MB"
    return {"load": size, "mb_per_s": copied["mb_per_s"], "events_per_s_beside": round(rate)}


def _alone(counts: Queue[int]) -> float:
    _taken(counts)
    began = time.perf_counter()
    time.sleep(ALONE_S)
    return _taken(counts) / (time.perf_counter() - began)


def _taken(counts: Queue[int]) -> int:
    """Events appended since the last look."""
    taken = 0
    while not counts.empty():
        taken += counts.get()
    return taken


def _publish(path: Path, ready: Flag, stop: Flag, counts: Queue[int]) -> None:
    asyncio.run(_append(path, ready, stop, counts))


async def _append(path: Path, ready: Flag, stop: Flag, counts: Queue[int]) -> None:
    async with SqliteStore(path) as store:
        await filled(store, EVENTS)
        ready.set()
        first = EVENTS
        while not stop.is_set():
            await store.append([_batch(first, TOGETHER)])
            first += TOGETHER
            counts.put(TOGETHER)


async def filled(store: SqliteStore, events: int) -> None:
    """The channel `main` with so many events."""
    await store.append([Batch(channel="main", subject="bench", drafts=[])])
    for first in range(0, events, 1000):
        await store.append([_batch(first, 1000)])


def _batch(first: int, count: int) -> Batch:
    return Batch(channel="main", subject="bench", drafts=[
        Draft(type="signal.published", id=f"n{n:09d}", body=BODY, draft_hash=hash_of_draft({"id": n}))
        for n in range(first, first + count)
    ])  # fmt: skip


if __name__ == "__main__":
    show(run())
