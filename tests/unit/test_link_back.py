"""The process that owns the log is back: whoever waited for that goes on at once, with no pause of its own on top.

With a real socket between the ends, in one process. Covers what `stores/unix/`, `server/guarding.py` and `publish.py`
are together; `tests/server/test_processes.py` has real processes.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from catalyst_signals.brokers.memory import MemoryBroker
from catalyst_signals.follow import Follower
from catalyst_signals.hub import Hub
from catalyst_signals.publish import Publisher
from catalyst_signals.server.guarding import Breakers, GuardedAppends, GuardedStore
from catalyst_signals.stores.unix import UnixStore

from .test_unix import OwnStore, batch, opened, serving, soon

AT_ONCE_S = 0.6  # Twice the longest pause between two looks for the owner, and a little.


@pytest.mark.slow
async def test_an_owner_that_is_back_is_asked_at_once(tmp_path: Path) -> None:
    """A publish that was under way is stored, the next one taken and what is read answered: no breaker stays open."""
    path, own, breakers = tmp_path / "s", OwnStore(), Breakers()

    async def fetch(channel: str, after: int, limit: int) -> Any:
        return []

    async with AsyncExitStack() as owner, AsyncExitStack() as stack:
        await owner.enter_async_context(serving(path, own))
        client = await stack.enter_async_context(UnixStore(str(path)))
        await opened(client)
        client.when_back(breakers.back)
        store, broker = GuardedStore(client, breakers), MemoryBroker()
        async with Follower(store, broker, Hub(fetch, store.find), poll_s=0.1) as follower:
            appends = GuardedAppends(client, breakers.writes)

            async def look_again() -> None:
                await breakers.before_writing(follower.look_again)

            async with Publisher(appends, follower, broker, look_again=look_again) as publisher:
                client.when_back(publisher.store_is_back)
                own.open.clear()
                under_way = publisher.submit([batch("a")])
                await soon(lambda: len(own.commits) == 2)
                await owner.aclose()
                own.open.set()
                await soon(lambda: breakers.reads.state == breakers.writes.state == "open")
                await asyncio.sleep(2)  # The pauses are as long as they get.
                async with serving(path, own):
                    began_s = time.monotonic()
                    await under_way
                    client.check_there()
                    breakers.check_writes()
                    assert breakers.reads.state == "closed"
                    assert time.monotonic() - began_s < AT_ONCE_S
