"""Replay from the store to one filtered subscriber, and the memory of idle connections."""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path

from bench.harness import Row, result_of, rss_kib, server, show, signal_of, sink, subscribe
from catalyst_signals.events import Batch
from catalyst_signals.server.app import open_node
from catalyst_signals.server.settings import Settings
from catalyst_signals.signals import signal_draft
from catalyst_signals.stores.sqlite import SqliteStore

STORED, IDLE = 100_000, 5_000


def run() -> list[Row]:
    """A row for each."""
    return [_replay(), _idle()]


def _replay() -> Row:
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "full.db")
        key = asyncio.run(_fill(path))
        with server(store=path) as running:
            began = time.perf_counter()
            with sink(
                running.port, 1, STORED // 2, 60, f"Authorization: Bearer {key}", subscribe("action = BUY", after=0)
            ) as reader:
                assert result_of(reader)["frames"] == STORED // 2
            took = time.perf_counter() - began
    return {"load": "replay: filtered, from the store", "scanned_per_s": round(STORED / took), "goal": ">= 50000"}


async def _fill(path: str) -> str:
    """A store with STORED signals; its admin key."""
    async with open_node(Settings(store_url=f"sqlite:///{path}")) as node:
        key = node.first_key
    async with SqliteStore.from_url(f"sqlite:///{path}") as store:
        for start in range(0, STORED, 1000):
            drafts = [signal_draft(signal_of(n), subject="bench")[0] for n in range(start, start + 1000)]
            await store.append([Batch(channel="main", subject="bench", drafts=drafts)])
    assert key is not None
    return key


def _idle() -> Row:
    with server() as running:
        before = rss_kib(running.pid)
        with sink(running.port, IDLE, 1, 120, running.header, subscribe("symbol = NOBODY")):
            time.sleep(1)
            each = (rss_kib(running.pid) - before) / IDLE
    return {"load": f"idle: {IDLE} connections", "rss_kib_each": round(each, 1), "goal": "<= 20"}


if __name__ == "__main__":
    show(run())
