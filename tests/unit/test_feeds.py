"""A feed's document counts as seen once it is stored; of all processes one asks.

Covers `catalyst_signals.workers.feeds` over a real feed on this machine and a real store in memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from ipaddress import ip_network

import pytest

from catalyst_signals.errors import InvalidDraft, StoreUnavailable
from catalyst_signals.events import Batch
from catalyst_signals.projections import Pull, Source
from catalyst_signals.stores.memory import MemoryStore
from catalyst_signals.workers import Lease
from catalyst_signals.workers import feeds as module
from catalyst_signals.workers.feeds import FEEDS, Feeds
from tests.feed_server import FeedServer

HERE = [ip_network("127.0.0.0/8")]
TTL_S = 0.4


@pytest.fixture
def feed() -> Iterator[FeedServer]:
    with FeedServer() as running:
        running.titles = ["one"]
        yield running


async def opened() -> MemoryStore:
    store = MemoryStore()
    await store.append([Batch(channel="system", subject="system", drafts=[])])
    return store


class Taken:
    """What was taken, after so many `faults`."""

    def __init__(self, *faults: Exception) -> None:
        self.bodies: list[bytes] = []
        self._faults = list(faults)

    async def take(self, source: Source, raw: bytes, content_type: str, known: set[str]) -> int:
        if self._faults:
            raise self._faults.pop(0)
        self.bodies.append(raw)
        return 1


def feeds_of(store: MemoryStore, holder: str, url: str, taken: Taken) -> Feeds:
    source = Source("s", "rss", "items", "", "2026-11-26T09:00:00.000000Z", pull=Pull(url, every_s=0.05))
    lease = Lease(store, FEEDS, holder, ttl_s=TTL_S)
    return Feeds(lease, lambda: {"s": source}, taken.take, HERE, lambda host: "test")


async def until(what: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not what():
            await asyncio.sleep(0.01)


async def test_what_could_not_be_stored_is_fetched_again(feed: FeedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also from a server that would say that nothing changed; and a fault of ours is none of the feed's."""
    monkeypatch.setattr(module, "OURS_S", 0.05)
    taken = Taken(StoreUnavailable(), StoreUnavailable())
    feeds = feeds_of(await opened(), "a", feed.url, taken)
    task = asyncio.create_task(feeds.run())
    await until(lambda: feeds.workers)
    await until(lambda: len(feed.asked) > 4)
    assert len(taken.bodies) == 1
    assert [("if-none-match" in each) for each in feed.asked[:4]] == [False, False, False, True]
    assert feeds.shown("s")["state"] == "closed" and feeds.failing == 0
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_what_cannot_be_read_is_asked_for_less_often(feed: FeedServer) -> None:
    taken = Taken(*(InvalidDraft("this is no feed") for _ in range(50)))
    feeds = feeds_of(await opened(), "a", feed.url, taken)
    task = asyncio.create_task(feeds.run())
    await until(lambda: feeds.failing)
    shown = feeds.shown("s")
    assert shown["state"] in ("open", "half_open") and shown["last_error"] == "this is no feed"
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert feeds.requests >= 3 and not feeds.workers


async def test_one_process_asks_and_another_goes_on_when_it_is_gone(feed: FeedServer) -> None:
    store, first, second = await opened(), Taken(), Taken()
    feed.way = "forgets"
    one = asyncio.create_task(feeds_of(store, "a", feed.url, first).run())
    await until(lambda: first.bodies)
    other_feeds = feeds_of(store, "b", feed.url, second)
    other = asyncio.create_task(other_feeds.run())
    await asyncio.sleep(TTL_S)
    assert not second.bodies and other_feeds.shown("s") == {"state": "elsewhere"}
    one.cancel()
    await asyncio.gather(one, return_exceptions=True)
    count = len(first.bodies)
    await until(lambda: second.bodies)
    assert len(first.bodies) == count
    other.cancel()
    await asyncio.gather(other, return_exceptions=True)
