"""Appending to SQLite, durably (`synchronous=FULL`), and reading it back; beside what this disk's fsync alone costs."""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.harness import Row, show
from catalyst_signals.events import Batch, Draft, hash_of_draft
from catalyst_signals.stores.sqlite import SqliteStore
from catalyst_signals.verify import verify

BODY = b'{"data":{"instrument":{"symbol":"ACME"},"action":"open","direction":"long","note":"%s"}}' % (b"x" * 264)
LOADS = ((1, 1_000), (16, 8_000), (100, 40_000), (500, 60_000))  # drafts an append, drafts in all
PAGES = (512, 2_000)


def run() -> list[Row]:
    """A row for each size of append and each way of reading."""
    return asyncio.run(_run())


async def _run() -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        rows: list[Row] = [{"load": "fsync alone", "per_s": round(_fsyncs_per_s(Path(folder) / "fsync"))}]
        for ids, name in ((_counted, "ids that count up"), (_random, "random ids")):
            async with SqliteStore(Path(folder) / f"{ids.__name__}.db") as store:
                await store.append([Batch(channel="main", subject="bench", drafts=[])])
                for size, count in LOADS:
                    rows.append(await _append(store, size, _drafts(ids, size, count), name))
                if ids is _counted:
                    rows.append(await _together(store, 20_000, 100))
                    rows += [await _read(store, page) for page in PAGES]
                rows.append(await _verify(store, name))
    return rows


def _fsyncs_per_s(path: Path, count: int = 200) -> float:
    """Appends of 4 KiB, each synced: what one commit cannot be cheaper than."""
    with path.open("wb", buffering=0) as file:
        began = time.perf_counter()
        for _ in range(count):
            file.write(bytes(4096))
            os.fdatasync(file.fileno())
    return count / (time.perf_counter() - began)


def _counted(n: int) -> str:
    return f"ann-{n:09d}"


def _random(n: int) -> str:
    return uuid.uuid4().hex


def _drafts(ids: Callable[[int], str], size: int, count: int) -> list[list[Draft]]:
    """`count` drafts in appends of `size`; their ids do not overlap those of other sizes."""
    names: Iterator[str] = (ids(size * 1_000_000 + n) for n in range(count))
    return [
        [Draft(type="signal.published", id=id, body=BODY, draft_hash=hash_of_draft({"id": id})) for id in some]
        for some in zip(*[names] * size, strict=True)
    ]


async def _append(store: SqliteStore, size: int, appends: list[list[Draft]], ids: str) -> Row:
    began, cpu_s = time.perf_counter(), time.process_time()
    for drafts in appends:
        await store.append([Batch(channel="main", subject="bench", drafts=drafts)])
    return _row(f"append: {size} drafts, {ids}", size * len(appends), began, cpu_s, ">= 20000" if size >= 100 else "")


async def _together(store: SqliteStore, count: int, size: int) -> Row:
    """What group commit sees: many publishers of one draft each."""
    appends = _drafts(lambda n: f"bob-{n}", size, count)
    began, cpu_s = time.perf_counter(), time.process_time()
    for drafts in appends:
        await store.append([Batch(channel="main", subject="bob", drafts=[draft]) for draft in drafts])
    return _row(f"append: {size} batches of 1 draft", count, began, cpu_s, ">= 20000")


async def _read(store: SqliteStore, page: int) -> Row:
    began, cpu_s, at, count = time.perf_counter(), time.process_time(), 0, 0
    while events := await store.read("main", at, page):
        at, count = events[-1].seq, count + len(events)
    return _row(f"read: pages of {page}", count, began, cpu_s, ">= 150000")


async def _verify(store: SqliteStore, ids: str) -> Row:
    began, cpu_s = time.perf_counter(), time.process_time()
    report = await verify(store)
    assert not report.faults
    return _row(f"verify: {ids}", sum(report.rows.values()), began, cpu_s, ">= 100000")


def _row(load: str, count: int, began: float, cpu_s: float, goal: str) -> Row:
    took_s, cpu_s = time.perf_counter() - began, time.process_time() - cpu_s
    row: Row = {"load": load, "events_per_s": round(count / took_s), "cpu_us_each": round(cpu_s / count * 1e6, 1)}
    return row | ({"goal": goal} if goal else {})


if __name__ == "__main__":
    show(run())
