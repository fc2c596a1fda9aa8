"""Changing and ending signals on a real store and publisher: races, ownership, and who ends what is over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from catalyst_signals import expiry
from catalyst_signals.brokers.memory import MemoryBroker
from catalyst_signals.changes import Author, Changes, if_match
from catalyst_signals.errors import InvalidRequest, NotFound, SignalEnded, TooLarge, VersionConflict
from catalyst_signals.events import Batch, Event, iso, now_us
from catalyst_signals.expiry import EXPIRY, Expirer
from catalyst_signals.follow import Follower
from catalyst_signals.hub import Hub
from catalyst_signals.publish import Publisher
from catalyst_signals.signals import DRAFT_BYTES_MAX, signal_draft
from catalyst_signals.stores.memory import MemoryStore
from catalyst_signals.trust import Reader
from catalyst_signals.wire import frame_of

from .test_trust import spoil

BOT = Author("bot")


@dataclass
class Place:
    """One process without sockets, on a store that others may share."""

    store: MemoryStore
    publisher: Publisher
    changes: Changes
    expirer: Expirer

    async def publish(self, **fields: Any) -> None:
        draft, _ = signal_draft({"symbol": "ACME", "action": "BUY"} | fields, subject="bot")
        await self.changes.publish("main", BOT, [draft])

    async def log(self) -> list[Event]:
        return await self.store.read("main", 0, 1000)


@asynccontextmanager
async def process(store: MemoryStore) -> AsyncIterator[Place]:
    """Open as app.py opens it."""
    await store.append([Batch(channel="main", subject="system", drafts=[])])

    async def fetch(channel: str, after: int, limit: int) -> Any:
        return [frame_of(event) for event in await store.read(channel, after, limit)]

    broker = MemoryBroker()
    hub = Hub(fetch, store.find)
    async with Follower(store, broker, hub) as follower, Publisher(store, follower, broker) as publisher:
        changes = Changes(store, publisher)
        expirer = Expirer(store, Reader(store), changes, publisher)
        follower.fold(None, expirer.fold)
        yield Place(store, publisher, changes, expirer)
        await hub.close()


async def test_of_writers_who_change_at_once_each_version_has_one() -> None:
    """And nobody's change is overwritten unseen: each is made on top of the one before."""
    async with process(MemoryStore()) as place:
        await place.publish(id="a", features={"n": 0})
        patches = [{"features": {f"w{number}": 1}} for number in range(6)]
        await asyncio.gather(*(place.changes.update("main", "a", patch, BOT) for patch in patches))
        newest = (await place.changes.present("main", "a")).doc
        assert newest["version"] == 7 and len(newest["data"]["features"]) == 7


async def test_a_change_on_condition_is_made_of_that_version_or_not_at_all() -> None:
    """Two who read version 1: one changes it, the other is told."""
    async with process(MemoryStore()) as place:
        await place.publish(id="a")
        results = await asyncio.gather(
            *(place.changes.update("main", "a", {"note": str(n)}, BOT, if_version=1) for n in range(5)),
            return_exceptions=True,
        )
        assert sum(isinstance(result, VersionConflict) for result in results) == 4


async def test_an_end_is_the_end() -> None:
    """Whoever comes second is told that nothing can follow."""
    async with process(MemoryStore()) as place:
        await place.publish(id="a")
        results = await asyncio.gather(
            *(place.changes.cancel("main", "a", f"reason {n}", BOT) for n in range(3)), return_exceptions=True
        )
        assert sum(isinstance(result, SignalEnded) for result in results) == 2
        with pytest.raises(NotFound):
            await place.changes.cancel("main", "a~2", None, BOT)


async def test_the_largest_signal_there_may_be_can_be_cancelled_and_superseded() -> None:
    """A position must not stay open because there is no room to say that it is over."""
    async with process(MemoryStore()) as place:
        for id in ("a", "b"):
            await place.publish(id=id, story="s" * (DRAFT_BYTES_MAX - 150))
        assert min(len(event.body) for event in await place.log()) > DRAFT_BYTES_MAX - 100
        with pytest.raises(TooLarge):
            await place.changes.update("main", "a", {"note": "n" * 1000}, BOT)
        await place.changes.cancel("main", "a", "r" * 1000, BOT)
        await place.publish(id="c", supersedes="b")
        ends = [frame_of(event).doc for event in await place.log() if event.version == 2]
        assert [(doc["id"], doc["type"]) for doc in ends] == [("a", "signal.cancelled"), ("b", "signal.superseded")]
        assert ends[0]["data"]["reason"] == "r" * 1000 and ends[1]["data"]["superseded_by"] == "c"


async def test_a_signal_that_cannot_be_read_costs_no_other_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """One damaged event of last year must not keep everybody's positions open."""
    monkeypatch.setattr(expiry, "LOOK_S", 0.01)
    async with process(MemoryStore()) as place:
        for n in range(1, 6):
            await place.publish(id=f"s{n}", expires_at=iso(now_us() + 100_000))
        spoil(place.store, 3)
        worker = asyncio.create_task(place.expirer.run(["main"]))
        async with asyncio.timeout(2):
            while len(await place.log()) < 9:
                await asyncio.sleep(0.01)
        worker.cancel()
        await asyncio.gather(worker, return_exceptions=True)
        assert {event.id for event in (await place.log())[5:]} == {"s1~2", "s2~2", "s4~2", "s5~2"}


async def test_several_processes_end_what_is_over_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """No leader, no lock: the derived id makes one event of all of them."""
    monkeypatch.setattr(expiry, "LOOK_S", 0.01)
    store = MemoryStore()
    async with process(store) as one, process(store) as two:
        await one.publish(id="soon", expires_at=iso(now_us() + 200_000))
        await one.publish(id="later", expires_at=iso(now_us() + 60_000_000))
        await two.publish(id="never")
        workers = [asyncio.create_task(place.expirer.run(["main"])) for place in (one, two, two)]
        await asyncio.sleep(0.6)
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
        assert [event.id for event in await one.log()] == ["soon", "later", "never", "soon~2"]
        assert (await one.log())[-1].type == "signal.expired"


async def test_a_restart_learns_what_is_pending_from_the_kept_place_and_the_log() -> None:
    """A signal must end though nobody who saw it published is alive any more."""
    store = MemoryStore()
    async with process(store) as place:
        await place.publish(id="a", expires_at=iso(now_us() + 300_000))
        await place.expirer.begin("main")
        await place.expirer.keep("main")
        assert (await store.kept(EXPIRY, "main")).seq == 1
        await place.publish(id="b", expires_at=iso(now_us() + 300_000))
    async with process(store) as place:
        await place.changes.update("main", "b", {"expires_at": iso(now_us() + 60_000_000)}, BOT)
        worker = asyncio.create_task(place.expirer.run(["main"]))
        await asyncio.sleep(0.9)
        worker.cancel()
        assert [event.id for event in await place.log()] == ["a", "b", "b~2", "a~2"]


def test_a_condition_is_a_version() -> None:
    """As an ETag has it, or bare."""
    assert [if_match(text) for text in (None, "*", '"2"', 'W/"3"', "4")] == [None, None, 2, 3, 4]
    with pytest.raises(InvalidRequest):
        if_match('"abc"')
