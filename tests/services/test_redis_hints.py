"""Two processes with Redis between them: what one stores the other has at once, whatever Redis does in the meantime.

Two gates on one log while Redis dies, comes back empty, hangs or loses what it is told; whole servers under load are in
test_nodes.py.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from catalyst_signals.brokers import BROKERS
from catalyst_signals.events import Batch
from catalyst_signals.filters import EVERYTHING
from catalyst_signals.follow import Follower
from catalyst_signals.hub import Hub
from catalyst_signals.publish import Publisher
from catalyst_signals.signals import signal_draft
from catalyst_signals.stores.memory import MemoryStore
from catalyst_signals.tape import Peer
from catalyst_signals.urls import open_backend
from catalyst_signals.wire import frame_of
from tests.running import RunningServer
from tests.services.postgres import Postgres
from tests.services.redis import Redis, ask
from tests.socket_client import wire
from tests.unit.test_hub import Reader

pytestmark = pytest.mark.slow

TAIL_S = 1.5  # The promise; asserted at three times its value.
PUBLISH_S = 0.25  # Longer than this no publish may take here, whatever Redis does; asserted at three times its value.


class Side:
    """What one of two processes has: a way to publish, and a live subscriber."""

    def __init__(self, publisher: Publisher, reader: Reader) -> None:
        self.publisher = publisher
        self.reader = reader
        self.longest_s = 0.0

    async def publish(self, id: str) -> int:
        """Its seq; how long it took at most is kept."""
        began_s = time.perf_counter()
        draft = signal_draft({"id": id, "symbol": "ACME", "action": "BUY"}, subject="s")[0]
        (stored,) = await self.publisher.submit([Batch(channel="main", subject="s", drafts=[draft])])
        self.longest_s = max(self.longest_s, time.perf_counter() - began_s)
        return int(stored.receipts[0].seq)  # type: ignore[union-attr]

    async def has(self, seq: int, within_s: float) -> float:
        """How long it took to arrive."""
        began_s = time.perf_counter()
        async with asyncio.timeout(within_s):
            while seq not in self.reader.seqs()[-50:]:
                await asyncio.sleep(0.001)
        return time.perf_counter() - began_s


@asynccontextmanager
async def a_side(store: MemoryStore, url: str) -> AsyncIterator[Side]:
    """With the server's own settings."""

    async def fetch(channel: str, after: int, limit: int) -> Any:
        return [frame_of(event) for event in await store.read(channel, after, limit)]

    async with AsyncExitStack() as stack:
        hub = Hub(fetch, store.find)
        stack.push_async_callback(hub.close)
        broker = await stack.enter_async_context(open_backend(url, BROKERS, setting="broker_url"))
        follower = await stack.enter_async_context(Follower(store, broker, hub))
        publisher = await stack.enter_async_context(Publisher(store, follower, broker))
        reader, tape = Reader(), hub.tapes["main"]
        hub.join(Peer(reader.write, reader), tape, EVERYTHING, tape.done, tape.epoch, None)
        yield Side(publisher, reader)


@asynccontextmanager
async def two_sides(redis: Redis) -> AsyncIterator[tuple[Side, Side]]:
    """They hear each other."""
    store = MemoryStore()
    await store.append([Batch(channel="main", subject="s", drafts=[])])
    async with a_side(store, redis.hints_url) as one, a_side(store, redis.hints_url) as other:
        for side, its in ((one, other), (other, one)):
            while await its.has(await side.publish(f"first-{id(side)}-{time.time_ns()}"), 10) > 0.2:
                pass  # Found by the poll: Redis is not listened to yet.
        yield one, other


async def kill(redis: Redis) -> None:
    """It comes back, and is empty."""
    redis.child.kill()
    await asyncio.sleep(1)
    await asyncio.to_thread(redis.child.start)


async def hang(redis: Redis) -> None:
    """Its sockets stay open."""
    redis.child.freeze()
    await asyncio.sleep(3)
    redis.child.thaw()


async def drop_listeners(redis: Redis) -> None:
    """Each time, what is told until they are back is lost."""
    for _ in range(10):
        await asyncio.to_thread(ask, redis.port, "client", "kill", "type", "pubsub")
        await asyncio.sleep(0.1)


@pytest.mark.parametrize("fault", [kill, hang, drop_listeners])
async def test_no_publish_fails_or_waits_and_no_signal_is_lost(fault: Callable[[Redis], Awaitable[None]]) -> None:
    """Both sides have everything, once and in order."""
    with Redis() as redis:
        async with two_sides(redis) as (one, other):
            first = one.reader.seqs()[-1]
            breaking = asyncio.create_task(fault(redis))
            n = 0
            while not breaking.done() or n % 100:
                n += 1
                last = await (one if n % 2 else other).publish(f"s{n}")
                await asyncio.sleep(0.002)
            await breaking
            for side in (one, other):
                await side.has(last, 3 * TAIL_S)
                seen = side.reader.seqs()
                assert seen == list(range(seen[0], last + 1)) and seen[0] <= first
                assert side.longest_s < 3 * PUBLISH_S


@pytest.mark.parametrize("how", ["killed", "hangs", "lost"])
async def test_a_lost_tail_is_found_soon(how: str) -> None:
    """The last signal of the day, and nothing after it by which somebody would notice."""
    with Redis() as redis:
        async with two_sides(redis) as (one, other):
            if how == "killed":
                redis.child.kill()
            elif how == "hangs":
                redis.child.freeze()
            else:
                ask(redis.port, "client", "kill", "type", "pubsub")
            await other.has(await one.publish("last"), 3 * TAIL_S)
            assert one.longest_s < 3 * PUBLISH_S


async def test_when_redis_is_there_nobody_waits_for_the_poll() -> None:
    """Also after it was away: milliseconds, as before."""
    with Redis() as redis:
        async with two_sides(redis) as (one, other):
            await kill(redis)
            await asyncio.sleep(2)  # Both look again once a second at most.
            took_s = sorted([await other.has(await one.publish(f"s{n}"), 10) for n in range(50)])
            assert took_s[25] < 3 * 0.005


async def test_two_servers_on_one_log_hear_of_each_other_and_share_a_cache(tmp_path: Path) -> None:
    """They poll every 20 s here, so what comes sooner came over Redis; and a rehearsal is run by one of them only."""
    with Postgres() as postgres, Redis() as redis, ExitStack() as stack:
        servers = []
        for n in range(2):
            (folder := tmp_path / str(n)).mkdir()
            urls = {"store_url": postgres.url, "broker_url": redis.hints_url, "cache_url": redis.url}
            servers.append(stack.enter_context(RunningServer(folder, poll_s=20, **urls)))
        one, other = servers
        async with wire(one.url, one.admin_key) as here, wire(other.url, one.admin_key) as there:
            for each in (here, there):
                await each.subscribe(channel="main", after=0)
            for ref in range(20):
                began_s = time.perf_counter()
                signal = {"id": f"s{ref}", "symbol": "ACME", "action": "BUY"}
                await (here, there)[ref % 2].send(type="publish", ref=ref, channel="main", signal=signal)
                (event,) = await (there, here)[ref % 2].events(1)
                assert event["id"] == f"s{ref}" and time.perf_counter() - began_s < 3 * 0.5
                await (here, there)[ref % 2].events(1)
        answers = []
        for server in servers:
            with server.http(one.admin_key) as http:
                answers.append(http.post("/v1/filters/rehearse", json={"filter": "symbol = ACME"}).json())
        assert answers[0] == answers[1] and answers[0]["matched"] == 20
        assert len(ask(redis.port, "keys", "catalyst:rehearsal:*").split()) == 1
