"""What a subscription holds back: over every stretch of log what matched is what was sent and what was held.

With it the parts it is made of: `catalyst_signals.rings`, `catalyst_signals.turns`, `catalyst_signals.survey`.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from catalyst_signals import hub as hub_module
from catalyst_signals.errors import RangeUntrusted
from catalyst_signals.events import Batch, Draft, Frame, iso, now_us
from catalyst_signals.filters import EVERYTHING, parse
from catalyst_signals.hub import Hub
from catalyst_signals.modifiers import Modifiers
from catalyst_signals.places import position_message
from catalyst_signals.signals import signal_draft
from catalyst_signals.stores.memory import MemoryStore
from catalyst_signals.tape import Peer, Subscriber, Tape
from catalyst_signals.trust import Reader as Trusted
from catalyst_signals.versions import end, update
from catalyst_signals.wire import frame_of

from .test_hub import Reader
from .test_trust import spoil


class Clock:
    """The time that is a moment ago or to come, as a test wants it."""

    def __init__(self) -> None:
        self.at_us = now_us()

    def __call__(self) -> int:
        return self.at_us


class World:
    """A log in memory, a hub at its end, and a clock to turn."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.store = MemoryStore()
        self.trusted = Trusted(self.store)
        self.finds = 0

    async def open(self) -> World:
        """The channel `main`."""
        await self.store.append([Batch(channel="main", subject="s", drafts=[])])
        self.hub = Hub(self.fetch, self.find)
        extent = (await self.store.extents())["main"]
        self.tape: Tape = self.hub.open("main", extent.epoch, 0, "00000000")
        return self

    async def fetch(self, channel: str, after: int, limit: int) -> list[Frame]:
        return [frame_of(event) for event in await self.trusted.read(channel, after, limit)]

    async def find(self, channel: str, ids: Any) -> Any:
        self.finds += 1
        return await self.store.find(channel, ids)

    async def add(self, *drafts: Draft) -> None:
        """Stored and offered."""
        before = (await self.store.extents())["main"].last
        await self.store.append([Batch(channel="main", subject="s", drafts=drafts)])
        for frame in await self.fetch("main", before, len(drafts)):
            self.hub.offer(frame)

    def published(self, id: str, symbol: str = "ACME", ends_in_s: float | None = None, **fields: Any) -> Draft:
        if ends_in_s is not None:
            fields["expires_at"] = iso(self.clock.at_us + int(ends_in_s * 1e6))
        return signal_draft({"id": id, "symbol": symbol, "action": "BUY"} | fields, subject="s")[0]

    async def doc(self, seq: int) -> dict[str, Any]:
        (frame,) = await self.fetch("main", seq - 1, 1)
        return frame.doc

    def join(self, reader: Reader, after: int = 0, text: str = "", **modifiers: Any) -> Subscriber:
        peer = Peer(reader.write, reader)
        filter = parse(text) if text else EVERYTHING
        return self.hub.join(peer, self.tape, filter, after, self.tape.epoch, None, Modifiers(**modifiers))


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> World:
    clock = Clock()
    monkeypatch.setattr(hub_module, "now_us", clock)
    return await World(clock).open()


async def settled() -> None:
    """Let the pump and the reads have their turns."""
    for _ in range(60):
        await asyncio.sleep(0)


async def test_what_is_expired_when_it_is_written_is_held_and_counted(world: World) -> None:
    """Nobody trades on what was over before they saw it; and nobody wonders where it is."""
    await world.add(
        world.published("short", ends_in_s=1), world.published("long", ends_in_s=100), world.published("ever")
    )
    world.clock.at_us += 2_000_000
    held, sent = Reader(), Reader()
    holder, sender = world.join(held), world.join(sent, stale="send")
    await settled()
    assert (
        held.seqs() == [2, 3] and world.hub.place(holder).held == {"expired": 1} and world.hub.place(holder).sent == 2
    )
    assert sent.seqs() == [1, 2, 3] and world.hub.place(sender).held == {}
    assert holder.why_held(1) == "expired" and holder.why_held(2) is None


async def test_a_live_subscriber_is_spared_what_is_expired_too(world: World) -> None:
    """A process that stood still for a minute does not pour out the past as if it were fresh."""
    readers = [Reader() for _ in range(3)]
    holder, other, sender = (
        world.join(readers[0]),
        world.join(readers[1], text="symbol = ACME"),
        world.join(readers[2], stale="send"),
    )
    await settled()
    draft = world.published("late", ends_in_s=1)
    world.clock.at_us += 2_000_000
    await world.add(draft, world.published("fresh"))
    await settled()
    assert [r.seqs() for r in readers] == [[2], [2], [1, 2]]
    assert [world.hub.place(s).held for s in (holder, other, sender)] == [{"expired": 1}, {"expired": 1}, {}]
    assert [world.hub.place(s).sent for s in (holder, other, sender)] == [1, 1, 2]
    assert other.why_held(1) == "expired"


async def test_a_stretch_of_which_everything_is_held_is_counted_for_live_subscribers(world: World) -> None:
    """There is nothing to write then, and the count must not wait for something."""
    reader = Reader()
    subscriber = world.join(reader)
    await settled()
    draft = world.published("late", ends_in_s=1)
    world.clock.at_us += 2_000_000
    await world.add(draft)
    await settled()
    place = world.hub.place(subscriber)
    assert reader.seqs() == [] and (place.seq, place.sent, place.held) == (1, 0, {"expired": 1})
    late = world.join(Reader(), after=1)
    await settled()
    assert world.hub.place(late).held == {}


async def test_max_age_holds_what_is_older_and_counts_it(world: World) -> None:
    """For those who only trade the first minute."""
    await world.add(world.published("old"))
    world.clock.at_us += 90_000_000
    reader = Reader()
    subscriber = world.join(reader, max_age_s=60)
    await settled()
    assert reader.seqs() == [] and world.hub.place(subscriber).held == {"aged": 1}
    patient = Reader()
    world.join(patient, max_age_s=120)
    await settled()
    assert patient.seqs() == [1]


async def test_an_ending_is_never_held_for_its_age_or_because_something_newer_came(world: World) -> None:
    """Whoever was shown a signal is told its end."""
    await world.add(world.published("a", ends_in_s=1), world.published("b"))
    doc = await world.doc(1)
    await world.add(end(doc, "signal.expired"), world.published("c"), world.published("d"))
    world.clock.at_us += 3600_000_000
    for modifiers in ({}, {"max_age_s": 1}, {"mode": "latest"}, {"mode": "latest", "max_age_s": 1, "ended": "hold"}):
        reader = Reader()
        subscriber = world.join(reader, **modifiers)
        await settled()
        assert 3 in reader.seqs(), modifiers
        place = world.hub.place(subscriber)
        assert place.sent + sum(place.held.values()) == 5, modifiers


async def test_latest_sends_the_newest_of_each_instrument_and_every_end(world: World) -> None:
    """After a night offline: the state of things, not the story of how it came to be."""
    await world.add(
        world.published("a1"), world.published("x1", "XYZ"), world.published("a2"), world.published("a3"),
        world.published("x2", "XYZ"),
    )  # fmt: skip
    await world.add(end(await world.doc(2), "signal.cancelled"))
    reader = Reader()
    subscriber = world.join(reader, mode="latest")
    await settled()
    assert reader.seqs() == [4, 5, 6] and world.hub.place(subscriber).held == {"replaced": 3}
    await world.add(world.published("a4"), world.published("a5"))
    await settled()
    assert reader.seqs()[-2:] == [7, 8], "who is level gets everything"


async def test_latest_looks_at_a_whole_stretch_of_many_pages(world: World) -> None:
    """Also when the newest is thousands of events away."""
    drafts = [
        world.published(f"s{n}", ("ACME", "XYZ", "RARE")[0 if n % 500 else 2 if n == 500 else 1]) for n in range(3000)
    ]
    await world.add(*drafts)
    newest = {
        doc["data"]["instrument"]["symbol"]: doc["seq"] for doc in [f.doc for f in await world.fetch("main", 0, 5000)]
    }
    for text, wanted in (
        ("", sorted(newest.values())),
        ("symbol in (RARE, XYZ)", sorted([newest["RARE"], newest["XYZ"]])),
    ):
        reader = Reader()
        subscriber = world.join(reader, text=text, mode="latest")
        for _ in range(40):
            await settled()
        place = world.hub.place(subscriber)
        matched = (
            3000
            if not text
            else sum(
                d["data"]["instrument"]["symbol"] != "ACME" for d in [f.doc for f in await world.fetch("main", 0, 5000)]
            )
        )
        assert reader.seqs() == wanted and place.sent + place.held["replaced"] == matched and place.seq == 3000


async def test_latest_is_served_up_to_what_cannot_be_trusted_and_then_told(world: World) -> None:
    """Looking ahead must not cost what comes before the damage: it would be lost, and no gap would say so."""
    await world.add(*(world.published(f"s{n}", f"S{n % 7}") for n in range(1, 601)))
    spoil(world.store, 500)
    reader = Reader()
    subscriber = world.join(reader, mode="latest")
    for _ in range(20):
        await settled()
    assert reader.seqs() == list(range(493, 500)), "the newest of each instrument before it"
    assert isinstance(reader.end, RangeUntrusted) and reader.end.extra["void"] == [500, 500]
    assert (subscriber.judged, subscriber.sent, subscriber.held) == (499, 7, {"replaced": 492})


async def test_ended_hold_sends_only_the_last_version_there_was_at_the_head(world: World) -> None:
    """Catching up on a signal that has changed three times takes one event."""
    await world.add(world.published("a", confidence=0.5), world.published("b"))
    second = update(await world.doc(1), {"confidence": 0.7})
    assert second is not None
    await world.add(second)
    await world.add(end(await world.doc(3), "signal.cancelled"), world.published("c"))
    reader = Reader()
    subscriber = world.join(reader, ended="hold")
    await settled()
    assert reader.seqs() == [2, 4, 5] and world.hub.place(subscriber).held == {"ended": 2}
    await world.add(end(await world.doc(2), "signal.cancelled"))
    await settled()
    assert reader.seqs()[-1] == 6
    again = Reader()
    world.join(again, ended="hold")
    await settled()
    assert again.seqs() == [4, 5, 6], "what was known of a page is looked up again when the head is further"


async def test_what_a_page_holds_is_decided_at_the_moment_of_writing(world: World) -> None:
    """Two who come one after the other to the same place get what is fresh for each."""
    await world.add(world.published("a", ends_in_s=10), world.published("b"))
    first, second = Reader(), Reader()
    world.join(first, text="symbol = ACME")
    keeper = world.join(Reader(), text="symbol = ACME")
    await settled()
    world.clock.at_us += 11_000_000
    world.join(second, text="symbol = ACME")
    await settled()
    assert first.seqs() == [1, 2] and second.seqs() == [2] and world.hub.place(keeper).sent == 2


async def test_positions_tell_what_was_held_by_reason(world: World) -> None:
    """`matched = sent + held` is for the client to check."""
    await world.add(world.published("a", ends_in_s=1), world.published("b"), world.published("c"))
    world.clock.at_us += 2_000_000
    reader = Reader()
    subscriber = world.join(reader, mode="latest")
    await settled()
    data = world.hub.positions(subscriber.peer)
    assert data == position_message(world.hub.place(subscriber))
    said = json.loads(data[4:] if data[1] == 126 else data[2:])
    assert said["sent"] == 1 and said["held"] == {"expired": 1, "replaced": 1} and said["complete_through"] == 3
