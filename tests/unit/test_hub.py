"""The hub by itself: what it writes, when it holds back, and what it says of places. The simulation has the rest."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections import Counter
from typing import Any, cast

from catalyst_signals.errors import CatalystError, HistoryRewritten
from catalyst_signals.events import Batch, Frame
from catalyst_signals.filters import EVERYTHING, parse
from catalyst_signals.hub import Hub
from catalyst_signals.modifiers import Age
from catalyst_signals.pager import Pager
from catalyst_signals.pages import Page
from catalyst_signals.signals import signal_draft
from catalyst_signals.stores.memory import MemoryStore
from catalyst_signals.tape import Peer, Subscriber, Tape
from catalyst_signals.wire import erased, frame_of


class Reader:
    """A connection that takes everything at once."""

    def __init__(self) -> None:
        self.seen: list[dict[str, Any]] = []
        self.writes = 0
        self.end: CatalystError | None = None

    def write(self, data: bytes) -> None:
        """Framed messages, one or several."""
        self.writes += 1
        while data:
            head, size = (4, int.from_bytes(data[2:4], "big")) if data[1] == 126 else (2, data[1])
            self.seen.append(json.loads(data[head : head + size]))
            data = data[head + size :]

    def ended(self, subscriber: Subscriber, error: CatalystError) -> None:
        """Told by the hub."""
        self.end = error

    def broken(self, error: Exception) -> None:
        """Told by the hub."""

    def seqs(self) -> list[int]:
        """The events, in the order they came."""
        return [m["seq"] for m in self.seen if "data" in m]


async def world(count: int) -> tuple[MemoryStore, Hub, Tape]:
    """A log of `count` signals, alternately ACME and XYZ, and a hub that stands at its end."""
    store = MemoryStore()
    await store.append([Batch(channel="main", subject="s", drafts=[])])

    async def fetch(channel: str, after: int, limit: int) -> list[Frame]:
        return [frame_of(event) for event in await store.read(channel, after, limit)]

    hub = Hub(fetch, store.find)
    extent = (await store.extents())["main"]
    tape = hub.open("main", extent.epoch, 0, "00000000")
    for frame in await more(store, count):
        hub.offer(frame)
    return store, hub, tape


async def more(store: MemoryStore, count: int) -> list[Frame]:
    """So many new frames."""
    start = (await store.extents())["main"].last
    drafts = [
        signal_draft({"symbol": ("ACME", "XYZ")[n % 2], "action": "BUY"}, subject="s")[0]
        for n in range(start, start + count)
    ]
    await store.append([Batch(channel="main", subject="s", drafts=drafts)])
    return [frame_of(event) for event in await store.read("main", start, count)]


async def turns() -> None:
    """Let the pump and the reads have their turns."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_a_burst_is_one_write_for_each_connection() -> None:
    """Two hundred signals at once cost 500 readers 500 writes, not 100,000."""
    store, hub, tape = await world(0)
    readers = [Reader() for _ in range(3)]
    for reader in readers:
        hub.join(Peer(reader.write, reader), tape, EVERYTHING, 0, tape.epoch, None)
    await turns()
    before = [reader.writes for reader in readers]
    for frame in await more(store, 200):
        hub.offer(frame)
    await turns()
    assert [reader.writes - b for reader, b in zip(readers, before, strict=True)] == [1, 1, 1]
    assert all(reader.seqs() == list(range(1, 201)) for reader in readers)


async def test_nothing_is_delivered_while_held_and_nothing_is_lost_by_it() -> None:
    """A process that cannot know who may still listen says nothing until it can."""
    store, hub, tape = await world(4)
    live, late = Reader(), Reader()
    hub.join(Peer(live.write, live), tape, EVERYTHING, 4, tape.epoch, None)
    await turns()
    hub.hold(True)
    for frame in await more(store, 2):
        hub.offer(frame)
    hub.join(Peer(late.write, late), tape, parse("symbol = ACME"), 0, tape.epoch, None)
    await turns()
    assert live.seqs() == [] and late.seqs() == []
    hub.hold(False)
    await turns()
    assert live.seqs() == [5, 6] and late.seqs() == [1, 3, 5]


async def test_a_channel_that_stops_tells_its_subscribers() -> None:
    """They must not take silence for a quiet market."""
    _, hub, tape = await world(2)
    reader = Reader()
    hub.join(Peer(reader.write, reader), tape, EVERYTHING, 2, tape.epoch, None)
    await turns()
    hub.stop(tape, HistoryRewritten())
    assert isinstance(reader.end, HistoryRewritten) and not tape.groups


async def test_who_pauses_goes_on_from_its_place() -> None:
    """A transport that pushes back makes a cursor of a subscriber; nothing is queued for it."""
    store, hub, tape = await world(0)
    reader = Reader()
    peer = Peer(reader.write, reader)
    subscriber = hub.join(peer, tape, EVERYTHING, 0, tape.epoch, None)
    await turns()
    hub.pause(peer)
    for frame in await more(store, 1000):
        hub.offer(frame)
    await turns()
    assert reader.seqs() == [] and hub.place(subscriber).seq == 0
    hub.resume(peer)
    await turns()
    assert reader.seqs() == list(range(1, 1001)) and hub.place(subscriber).sent == 1000


async def test_a_page_is_read_once_for_all_who_ask() -> None:
    """A thousand who come back at once read the store as often as one."""
    store, _, tape = await world(600)
    reads: list[int] = []

    async def fetch(channel: str, after: int, limit: int) -> list[Frame]:
        reads.append(after)
        return [frame_of(event) for event in await store.read(channel, after, limit)]

    pager = Pager(fetch, store.find)
    pages = await asyncio.gather(*(pager.page(tape, after) for after in [0, 5, 200, 0, 256, 300, 511]))
    assert sorted(reads) == [0, 256] and pages[0] is pages[1] is pages[2]


async def test_a_page_that_hundreds_wait_for_does_not_hold_the_loop() -> None:
    """It is handed out to a few a turn; what is erased meanwhile is not in what the rest of them get."""
    store, hub, tape = await world(3)
    turn, erased_one, got = 0, False, list[tuple[int, bool]]()
    for _ in range(500):
        hub.pager.read(tape, 0, lambda page: got.append((turn, cast(Page, page).frames[1].erased)))
    while len(got) < 500:
        if len(got) > 100 and not erased_one:
            erased_one = True
            await store.erase("main", 2)
            hub.forget("main", [2])
        turn += 1
        await asyncio.sleep(0)
    assert max(Counter(turn for turn, _ in got).values()) == 32
    assert [at_erased for _, at_erased in got] == [False] * 128 + [True] * 372


async def test_who_waits_for_more_and_leaves_leaves_nothing_behind() -> None:
    """A stream on a quiet channel waits a hundred thousand times a day."""
    _, _, tape = await world(1)
    for _ in range(50):
        try:
            async with asyncio.timeout(0.001):
                await tape.grown(1)
        except TimeoutError:
            pass
    assert not tape.waiters


async def test_what_waits_to_be_sent_when_it_is_erased_is_not_shown() -> None:
    """Whoever had something erased was answered; nobody is shown it after that, however long the hub was held."""
    store, hub, tape = await world(0)
    readers = [Reader() for _ in range(2)]
    subscribers = [
        hub.join(Peer(reader.write, reader), tape, parse(text) if text else EVERYTHING, 0, tape.epoch, None)
        for reader, text in zip(readers, ("", "symbol = XYZ"), strict=True)
    ]
    await turns()
    hub.hold(True)
    for frame in await more(store, 4):
        hub.offer(frame)
    await store.erase("main", 2)
    hub.forget("main", [2])
    hub.hold(False)
    await turns()
    assert [reader.seqs() for reader in readers] == [[1, 3, 4], [4]]
    assert [(hub.place(s).seq, hub.place(s).sent) for s in subscribers] == [(4, 3), (4, 1)]


async def test_a_frame_that_is_erased_in_memory_is_the_one_that_is_read_later() -> None:
    """Chains are checked by who reads: its place, id and hashes stay, to the byte."""
    store, _, _ = await world(1)
    (frame,) = [frame_of(event) for event in await store.read("main", 0, 1)]
    await store.erase("main", 1)
    (after,) = [frame_of(event) for event in await store.read("main", 0, 1)]
    assert erased(frame).ws == after.ws and erased(frame).erased and after.erased


async def test_an_erasure_in_the_middle_of_a_turn_is_heeded_by_the_rest_of_it() -> None:
    """A turn over ten thousand sockets takes seconds, and longer when the hub is held meanwhile."""
    store, hub, tape = await world(0)
    ticks = itertools.count()
    hub._clock = lambda: next(ticks) * 0.0015  # Every turn is over after 128 writes.
    readers = [Reader() for _ in range(200)]
    subscribers = [hub.join(Peer(reader.write, reader), tape, EVERYTHING, 0, tape.epoch, None) for reader in readers]
    for _ in range(20):
        await turns()
    for frame in await more(store, 3):
        hub.offer(frame)
    await asyncio.sleep(0)
    before = [reader.seqs() for reader in readers]
    assert 0 < before.count([1, 2, 3]) < 200 and before.count([]) > 0
    await store.erase("main", 2)
    hub.forget("main", [2])
    for frame in await more(store, 1):
        hub.offer(frame)
    for _ in range(40):
        await turns()
    for reader, had in zip(readers, before, strict=True):
        assert reader.seqs() == [*(had or [1, 3]), 4]
    assert {(hub.place(s).seq, hub.place(s).sent - len(had)) for s, had in zip(subscribers, before, strict=True)} == {
        (4, 1), (4, 3),
    }  # fmt: skip


async def test_a_page_remembers_no_filter_of_those_who_left() -> None:
    """A client that tries a thousand filters costs what one costs."""
    store, _, tape = await world(50)
    page = Page([frame_of(event) for event in await store.read("main", 0, 50)])
    for n in range(12):
        page.matching(tape.group_for(parse(f"symbol = B{n}"), Age()), tape)
    for n in range(300):
        group = tape.group_for(parse(f"confidence < 0.{n} or symbol = ACME"), Age())
        assert [frame.seq for frame in page.matching(group, tape)] == list(range(1, 51, 2))
        tape.release(group)
    assert len(page._hits) < 50
