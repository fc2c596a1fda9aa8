"""A process of its own that appends to the log in PostgreSQL: what tests start several of, and kill.

`python -m tests.services.postgres_writer URL NAME COMMITS`: each commit has two drafts of its own and one of an id that
all writers share. What was acknowledged is written to standard output, a line a commit: `id=seq ...`.
"""

from __future__ import annotations

import asyncio
import sys

from catalyst_signals.errors import StoreUnavailable
from catalyst_signals.events import Batch, Refused, Stored
from catalyst_signals.stores import STORES, Store
from catalyst_signals.urls import open_backend
from tests.conformance.test_stores import batch, draft

SHARED = 50  # Ids that every writer publishes.


async def main(url: str, name: str, commits: int) -> None:
    """Append, and say what was acknowledged."""
    async with open_backend(url, STORES, setting="store_url") as store:
        await store.append([batch()])
        for n in range(commits):
            own = [draft(f"{name}-{n}-{part}") for part in "ab"]
            results = await appended(store, [batch(*own, subject=name), batch(draft(f"shared-{n % SHARED}"))])
            acked = [f"{receipt.id}={receipt.seq}" for result in results for receipt in result.receipts]
            sys.stdout.write(" ".join(acked) + "\n")
            sys.stdout.flush()


async def appended(store: Store, batches: list[Batch], within_s: float = 60) -> list[Stored]:
    """The same batches until it is known how it ended."""
    async with asyncio.timeout(within_s):
        while True:
            try:
                results = await store.append(batches)
            except StoreUnavailable:
                await asyncio.sleep(0.05)
                continue
            refused = [result.error for result in results if isinstance(result, Refused)]
            assert not refused, refused
            return [result for result in results if isinstance(result, Stored)]


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
