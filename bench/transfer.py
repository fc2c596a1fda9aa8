"""Moving a log from SQLite to PostgreSQL, with an fsync of 2 ms there: rows copied, compared and switched over."""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path

from bench.backup import filled
from bench.harness import Row, show
from bench.site import slow_postgres
from catalyst_signals.events import Batch
from catalyst_signals.stores.postgres import PostgresStore
from catalyst_signals.stores.sqlite import SqliteStore
from catalyst_signals.transfer.moving import Progress, move
from catalyst_signals.wire import SYSTEM_CHANNEL

EVENTS = 100_000


def run() -> list[Row]:
    """One row."""
    with tempfile.TemporaryDirectory() as folder, slow_postgres() as database:
        return [asyncio.run(_moved(Path(folder) / "catalyst.db", database.url))]


async def _moved(path: Path, url: str) -> Row:
    progress = Progress()
    async with SqliteStore(path) as source:
        await source.append([Batch(channel=SYSTEM_CHANNEL, subject="bench", drafts=[])])
        await filled(source, EVENTS)
        began_s = time.perf_counter()
        extents = await move(source, lambda: PostgresStore.from_url(url), url, progress)
        took_s = time.perf_counter() - began_s
    assert extents["main"].last == EVENTS
    return {
        "load": "transfer: SQLite to PostgreSQL", "rows_per_s": round(EVENTS / took_s),
        "paused_ms": round(progress.paused_s * 1000, 1), "goal": ">= 20000",
    }  # fmt: skip


if __name__ == "__main__":
    show(run())
