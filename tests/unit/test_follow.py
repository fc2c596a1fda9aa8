"""The gate when the log is not what it was: a rewind, a log that others went on with, a retention that overtook us."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from catalyst_signals.brokers.memory import MemoryBroker
from catalyst_signals.errors import HistoryRewritten, Unavailable
from catalyst_signals.events import EPOCH_GAP, Batch
from catalyst_signals.filters import EVERYTHING
from catalyst_signals.follow import Follower
from catalyst_signals.hub import Hub
from catalyst_signals.signals import signal_draft
from catalyst_signals.stores.memory import MemoryStore
from catalyst_signals.tape import Peer
from catalyst_signals.wire import frame_of

from .test_hub import Reader


async def add(store: MemoryStore, *ids: str) -> None:
    """Signals of these ids."""
    drafts = [signal_draft({"id": id, "symbol": "ACME", "action": "BUY"}, subject="s")[0] for id in ids]
    await store.append([Batch(channel="main", subject="s", drafts=drafts)])


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
