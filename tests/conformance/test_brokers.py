"""The laws of the Broker port: what one process offers, the others hear; and what is lost is told by nobody."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from catalyst_signals.brokers import BROKERS, Broker
from catalyst_signals.brokers.hints import HINT_BYTES_MAX
from catalyst_signals.brokers.memory import MemoryBroker
from catalyst_signals.brokers.redis_pubsub import SILENT_S
from catalyst_signals.brokers.unix import UnixExchange
from catalyst_signals.errors import Unavailable
from catalyst_signals.events import Frame
from catalyst_signals.peers import Listener, reachable
from catalyst_signals.urls import open_backend
from tests.services.redis import Redis, Sentinels, ask

SERVICES: dict[str, Callable[[], Redis | Sentinels]] = {"redis": Redis, "sentinel": Sentinels}
open_broker = partial(open_backend, table=BROKERS, setting="broker_url")


def frame(seq: int, size: int = 100, channel: str = "main") -> Frame:
    """As one is offered."""
    return Frame(channel, "e1", seq, f"{seq - 1:08x}", f"{seq:08x}", bytes([seq % 256]) * size, 2)


@dataclass
class Site:
    """A broker as two processes have it; the same one twice if it does not leave the process."""

    mine: Broker
    theirs: Broker


@pytest.fixture(scope="module", params=["memory", "unix", *(pytest.param(n, marks=pytest.mark.slow) for n in SERVICES)])
def where(request: pytest.FixtureRequest) -> Iterator[str]:
    """A URL, or what stands for it."""
    with ExitStack() as stack:
        service = SERVICES.get(request.param)
        yield stack.enter_context(service()).hints_url if service is not None else request.param


@pytest.fixture
async def site(where: str, tmp_path: Path) -> AsyncIterator[Site]:
    if where == "memory":
        async with MemoryBroker() as broker:
            yield Site(broker, broker)
    elif where == "unix":
        async with UnixExchange() as exchange:
            async with Listener(reachable(str(tmp_path / "hints.sock")), {"hints": exchange.relay}):
                async with open_broker(f"unix:///{tmp_path}/hints.sock") as other:
                    yield Site(exchange, other)
    else:
        async with open_broker(where) as mine, open_broker(where) as theirs:
            yield Site(mine, theirs)


@asynccontextmanager
async def heard_by(broker: Broker, others: Broker) -> AsyncIterator[list[Frame]]:
    """All that it hears from now on: it has heard a first hint, which is not in the list."""
    found: list[Frame] = []

    async def listen() -> None:
        async with aclosing(broker.listen()) as frames:
            async for each in frames:
                found.append(each)

    task = asyncio.create_task(listen())
    try:
        await _until(lambda: bool(found), partial(others.publish, [frame(1, channel="first")]))
        await asyncio.sleep(0.05)
        found[:] = []
        yield found
    finally:
        task.cancel()
        await asyncio.wait([task])


async def _until(true: Callable[[], bool], meanwhile: Callable[[], object] | None = None, within_s: float = 10) -> None:
    async with asyncio.timeout(within_s):
        while not true():
            if meanwhile is not None:
                try:
                    await meanwhile()  # type: ignore[misc]
                except Unavailable:
                    pass
            await asyncio.sleep(0.01)


def told(frames: list[Frame]) -> list[Frame]:
    """Without those by which somebody found out whether he is heard."""
    return [each for each in frames if each.channel != "first"]


async def test_what_one_offers_the_other_hears_whole_and_in_order(site: Site) -> None:
    """Every field: the gate judges by them, and the bytes go out as they are."""
    frames = [frame(n) for n in range(1, 301)]
    async with heard_by(site.theirs, site.mine) as found:
        for start in range(0, 300, 7):
            await site.mine.publish(frames[start : start + 7])
            await asyncio.sleep(0)
        await site.mine.publish([])
        await _until(lambda: len(told(found)) >= 300)
        assert told(found) == frames


async def test_both_are_heard(site: Site) -> None:
    """There is no one who only publishes."""
    async with heard_by(site.mine, site.theirs) as mine, heard_by(site.theirs, site.mine) as theirs:
        await asyncio.gather(site.mine.publish([frame(1)]), site.theirs.publish([frame(2)]))
        await _until(lambda: frame(2) in mine and frame(1) in theirs)


async def test_a_large_commit_is_heard_in_several_messages_and_what_is_too_large_is_left_out(site: Site) -> None:
    """One message is bounded, whatever a commit is."""
    frames = [frame(1, 600_000), frame(2, 600_000), frame(3, HINT_BYTES_MAX + 1), frame(4, 600_000)]
    async with heard_by(site.theirs, site.mine) as found:
        await site.mine.publish(frames)
        await _until(lambda: any(each.seq == 4 for each in told(found)))
        assert [each.seq for each in told(found) if each.seq != 3] == [1, 2, 4]


async def test_nobody_who_publishes_waits_for_those_who_listen(site: Site) -> None:
    """A listener that stands still loses hints, and that is all."""
    async with aclosing(site.theirs.listen()) as frames:
        first = asyncio.ensure_future(anext(frames))
        await _until(first.done, partial(site.mine.publish, [frame(1, channel="first")]))
        began_s = time.monotonic()
        for _ in range(300):
            try:
                await site.mine.publish([frame(n, 10_000) for n in range(10)])
            except Unavailable:
                pass
        assert time.monotonic() - began_s < 3 * 1.0


# -- Redis ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
async def test_our_own_hints_are_known_before_they_are_read() -> None:
    """They cost a comparison of eight bytes: none of them reaches the gate."""
    with Redis() as redis:
        async with open_broker(redis.hints_url) as mine, open_broker(redis.hints_url) as theirs:
            async with heard_by(mine, theirs) as found:
                await mine.publish([frame(1)])
                await theirs.publish([frame(2)])
                await _until(lambda: frame(2) in found)
                assert frame(1) not in found


@pytest.mark.slow
async def test_other_deployments_and_strangers_on_the_same_redis_are_not_heard(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A prefix is a deployment; bytes that are no hint are worth as much as a lost one."""
    with Redis() as redis:
        async with open_broker(redis.hints_url) as mine, open_broker(redis.hints_url) as theirs:
            async with open_broker(f"{redis.hints_url}?prefix=other") as other, heard_by(mine, theirs) as found:
                await other.publish([frame(7)])
                for rubbish in ("", "x", "12345678", "12345678 is no hint of ours"):
                    ask(redis.port, "publish", "catalyst:hints:1", rubbish)
                await theirs.publish([frame(1)])
                await _until(lambda: frame(1) in found)
                assert told(found) == [frame(1)]
    assert "a hint cannot be read" in caplog.text


async def _timed(broker: Broker, frames: list[Frame]) -> float:
    """How long publishing takes at most, told or not."""
    longest_s = 0.0
    for each in frames:
        began_s = time.perf_counter()
        try:
            await broker.publish([each])
        except Unavailable:
            pass
        longest_s = max(longest_s, time.perf_counter() - began_s)
        await asyncio.sleep(0.001)
    return longest_s


@pytest.mark.slow
@pytest.mark.parametrize("how", ["killed", "hangs"])
async def test_redis_being_away_holds_up_no_publish_and_is_logged_once(
    how: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither while it is away nor while it is found out; when it is back, hints go on by themselves."""
    caplog.set_level(logging.INFO, "catalyst.brokers")
    with Redis() as redis:
        url = f"{redis.hints_url}?timeout_ms=100"
        async with open_broker(url) as mine, open_broker(url) as theirs, heard_by(theirs, mine) as found:
            redis.child.kill() if how == "killed" else redis.child.freeze()
            longest_s = await _timed(mine, [frame(n) for n in range(2000)])
            assert longest_s < 0.1, "nobody waits"
            await _until(lambda: "Redis says no hints" in caplog.text, within_s=3 * 2 * SILENT_S)
            await asyncio.to_thread(redis.child.start) if how == "killed" else redis.child.thaw()
            await _until(lambda: frame(3000) in found, partial(mine.publish, [frame(3000)]))
    for said in ("Redis does not take hints", "Redis says no hints"):
        assert sum(said in record.message for record in caplog.records) <= 2, "once for each of the two"
    assert "Redis does not take hints" in caplog.text and "hints go over Redis again" in caplog.text


@pytest.mark.slow
async def test_hints_go_on_when_sentinels_put_another_in_the_primarys_place() -> None:
    """Within a few seconds; the poll finds what is new meanwhile."""
    with Sentinels() as redis:
        async with open_broker(redis.hints_url) as mine, open_broker(redis.hints_url) as theirs:
            async with heard_by(theirs, mine) as found:
                redis.redises[0].child.kill()
                began_s = time.monotonic()
                await _until(lambda: frame(2) in found, partial(mine.publish, [frame(2)]), within_s=30)
                assert time.monotonic() - began_s < 3 * 6


@pytest.mark.slow
async def test_a_server_starts_without_its_redis() -> None:
    """It polls, and finds Redis when it is there."""
    redis = Redis()
    async with open_broker(redis.hints_url) as mine, open_broker(redis.hints_url) as theirs:
        with pytest.raises(Unavailable):
            async with asyncio.timeout(5):
                while True:
                    await mine.publish([frame(1)])
                    await asyncio.sleep(0.01)
        with redis:
            async with heard_by(theirs, mine):
                pass
