"""The gate when the log is not what it was: a rewind, a log that others went on with, a retention that overtook us."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from catalyst_signals.brokers.memory import MemoryBroker
from catalyst_signals.errors import HistoryRewritten, StoreUnavailable, Unavailable
from catalyst_signals.events import EPOCH_GAP, Batch, Extent, Refused, Stored
from catalyst_signals.filters import EVERYTHING
from catalyst_signals.follow import Follower
from catalyst_signals.hub import Hub
from catalyst_signals.publish import Publisher
from catalyst_signals.signals import signal_draft
from catalyst_signals.stores.memory import MemoryStore
from catalyst_signals.tape import Peer
from catalyst_signals.wire import frame_of

from .test_hub import Reader


async def add(store: MemoryStore, *ids: str) -> None:
    """Signals of these ids."""
    await store.append([signal(*ids)])


def signal(*ids: str) -> Batch:
    """To be stored."""
    drafts = [signal_draft({"id": id, "symbol": "ACME", "action": "BUY"}, subject="s")[0] for id in ids]
    return Batch(channel="main", subject="s", drafts=drafts)


@asynccontextmanager
async def following(store: MemoryStore) -> AsyncIterator[tuple[Follower, Hub, Reader]]:
    """A gate that polls all the time, and a live subscriber behind it."""

    async def fetch(channel: str, after: int, limit: int) -> Any:
        return [frame_of(event) for event in await store.read(channel, after, limit)]

    hub = Hub(fetch, store.find)
    async with Follower(store, MemoryBroker(), hub, poll_s=0.01) as follower:
        reader, tape = Reader(), hub.tapes["main"]
        hub.join(Peer(reader.write, reader), tape, EVERYTHING, tape.done, tape.epoch, None)
        yield follower, hub, reader
        await hub.close()


async def opened() -> MemoryStore:
    """A log of three signals."""
    store = MemoryStore()
    await store.append([Batch(channel="main", subject="s", drafts=[])])
    await add(store, "a", "b", "c")
    return store


async def test_a_log_that_lost_its_end_goes_on_in_an_epoch_above_everything() -> None:
    """No seq is used twice, whoever had been given it; folds are told to look again."""
    store = await opened()
    earlier = copy.deepcopy(store._logs)
    async with following(store) as (follower, hub, reader):
        jumped: list[str] = []
        follower.watch(jumped.append)
        await add(store, "d", "e")
        await asyncio.sleep(0.05)
        assert reader.seqs() == [4, 5]
        store._logs = earlier
        await asyncio.sleep(0.1)
        extent = (await store.extents())["main"]
        assert extent.epochs[-1].reason == "rewound after 3" and extent.epochs[-1].first == 5 + EPOCH_GAP
        assert isinstance(reader.end, HistoryRewritten) and jumped == ["main"]
        tape = hub.tapes["main"]
        assert tape.stopped is None and tape.done == 3
        late = Reader()
        hub.join(Peer(late.write, late), tape, EVERYTHING, 3, tape.epoch, None)
        await add(store, "f")
        await asyncio.sleep(0.05)
        assert late.seqs() == [5 + EPOCH_GAP]


async def test_a_log_that_others_went_on_with_is_noticed_by_its_hashes() -> None:
    """The same numbers, other events: nothing of them follows what was delivered."""
    store = await opened()
    async with following(store) as (_, hub, reader):
        earlier = copy.deepcopy(store._logs)
        await add(store, "d", "e")
        await asyncio.sleep(0.05)
        store._logs = earlier
        await add(store, "x", "y", "z")
        await asyncio.sleep(0.1)
        extent = (await store.extents())["main"]
        assert extent.epochs[-1].reason == "rewound after 3" and extent.epochs[-1].first == 6 + EPOCH_GAP
        assert isinstance(reader.end, HistoryRewritten) and hub.tapes["main"].done == 6


class Failing(MemoryStore):
    """Its server dies in the middle of an append, and another one answers that has an older state of the log."""

    older: Any = None

    async def append(self, batches: Sequence[Batch]) -> list[Stored | Refused]:
        if self.older is not None:
            self._logs, self.older = self.older, None
            raise StoreUnavailable("it is gone")
        return await super().append(batches)


class TakenBack(MemoryStore):
    """A standby takes its place right after it said where the log ends; it has less, and all of that is durable."""

    standby: MemoryStore | None = None

    async def extents(self, channels: Iterable[str] | None = None) -> dict[str, Extent]:
        """As ever while there is a standby, but the last event is not durable yet."""
        found = await super().extents(channels)
        if self.standby is None:
            return found
        self._logs, self.standby = self.standby._logs, None
        return {name: replace(extent, durable=extent.last - 1) for name, extent in found.items()}


async def test_a_log_that_is_taken_back_while_it_is_opened_is_opened_at_the_next_try() -> None:
    """Its newest event was named and cannot be read: that is told as an outage, which whoever asks gets over."""
    store = TakenBack()
    store._logs = copy.deepcopy((await opened())._logs)
    store.standby = MemoryStore()
    await store.standby.append([Batch(channel="main", subject="s", drafts=[])])
    hub = Hub(store.read, store.find)  # type: ignore[arg-type]
    follower = Follower(store, MemoryBroker(), hub)
    with pytest.raises(StoreUnavailable):
        await follower.poll()
    await follower.poll()
    assert hub.tapes["main"].tip == 0


async def test_what_is_written_after_an_outage_has_no_number_that_was_given_out_before() -> None:
    """A replica that lacked something was promoted: the flusher that tries again is quicker than any poll."""
    store = Failing()
    await store.append([Batch(channel="main", subject="s", drafts=[])])
    await add(store, "a", "b", "c")
    async with following(store) as (follower, hub, _):
        follower._poll_s = 60
        await asyncio.sleep(0.05)
        older = copy.deepcopy(store._logs)
        async with Publisher(store, follower, MemoryBroker()) as publisher:
            lost = await publisher.publish(signal("d"))
            store.older = older
            stored = await publisher.publish(signal("e"))
        assert [each.seq for each in (*lost.receipts, *stored.receipts)] == [4, 4 + EPOCH_GAP]
        assert (await store.extents())["main"].epochs[-1].reason == "rewound after 3"
        assert hub.tapes["main"].tip == 4 + EPOCH_GAP, "and it is delivered"


async def test_whom_retention_overtook_is_told_and_the_channel_goes_on_in_its_epoch() -> None:
    """Nothing was rewritten: a process that stood still missed what is gone now."""
    store = await opened()
    async with following(store) as (follower, hub, reader):
        follower._poll_s = 0.2
        await asyncio.sleep(0.02)
        await add(store, "d", "e", "f")
        await store.drop("main", 5)
        await asyncio.sleep(0.5)
        assert isinstance(reader.end, Unavailable) and reader.end.retry, "each comes back with a place of its own"
        assert len((await store.extents())["main"].epochs) == 1 and hub.tapes["main"].done == 6
