"""What retention drops, when, and over whom. Covers `catalyst_signals.retention`."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalyst_signals.errors import PositionTooOld, UnknownChannel
from catalyst_signals.events import Batch, Frame
from catalyst_signals.pager import Pager
from catalyst_signals.projections import Channel, system_draft
from catalyst_signals.retention import sweep
from catalyst_signals.stores.memory import MemoryStore
from catalyst_signals.tape import Tape
from catalyst_signals.wire import frame_of

SECOND_US = 1_000_000


async def log_of(*times_s: int) -> MemoryStore:
    """A memory store with one event in `main` at each of these times."""
    store = MemoryStore()
    await store.append([Batch(channel="main", subject="s", drafts=[])])
    for n, at_s in enumerate(times_s):
        with patch("catalyst_signals.stores.memory.now_us", lambda at_s=at_s: at_s * SECOND_US):
            await store.append([Batch(channel="main", subject="s", drafts=[system_draft("x", {"n": n})])])
    return store


async def test_retention_by_count_keeps_the_newest() -> None:
    """`count: 3` means three."""
    store = await log_of(*range(10))
    for _ in range(2):
        extent = (await sweep(store, Channel("main", count=3), 20 * SECOND_US)).extent
        assert (extent.first, extent.last) == (8, 10)


async def test_a_channel_without_a_log_is_an_error_that_can_be_tried_again() -> None:
    """Housekeeping meets a channel between its two commits: it goes on with the others."""
    with pytest.raises(UnknownChannel):
        await sweep(await log_of(1), Channel("half", count=3), 20 * SECOND_US)


async def test_what_is_void_between_epochs_does_not_count() -> None:
    """After a restore a channel that keeps a thousand events keeps those before it too."""
    store = await log_of(*range(5))
    await store.begin_epoch("main", 1_000_006, "restored")
    assert (await sweep(store, Channel("main", count=4), 20 * SECOND_US)).extent.first == 2
    await store.append([Batch(channel="main", subject="s", drafts=[system_draft("y", {}), system_draft("z", {})])])
    extent = (await sweep(store, Channel("main", count=4), 20 * SECOND_US)).extent
    assert extent.first == 4
    assert [event.seq for event in await store.read("main", 3, 10)] == [4, 5, 1_000_006, 1_000_007]
    extent = (await sweep(store, Channel("main", count=2), 20 * SECOND_US)).extent
    assert [event.seq for event in await store.read("main", extent.first - 1, 10)] == [1_000_006, 1_000_007]


@pytest.mark.parametrize("edge", [0, 1, 4, 9, 10])
async def test_retention_by_age_drops_only_what_is_older(edge: int) -> None:
    """An event of exactly the age is kept; the search for the edge finds it wherever it is."""
    store = await log_of(*[1] * edge, *[4] * (10 - edge))
    assert (await sweep(store, Channel("main", age_s=2), 6 * SECOND_US)).extent.first == edge + 1


async def test_a_worker_that_has_not_read_holds_back_for_so_long_and_is_lost_then() -> None:
    """A notifier that was down over lunch misses nothing; one that is gone for good does not fill the disk."""
    store = await log_of(*range(1, 11))
    channel = Channel("main", age_s=10)
    await store.keep("score", "main", 4, was=0)
    await store.keep("notify", "main", 10, was=0)
    await store.keep("early", "main", 6, was=0)
    await store.keep("expiry", "main", 1, was=0)
    swept = await sweep(store, channel, 19 * SECOND_US, wait_s=5, own=("expiry",))
    assert swept.waits_for == {"score": 4, "early": 6}
    await store.keep("early", "main", 10, was=6)
    swept = await sweep(store, channel, 19 * SECOND_US, wait_s=5, own=("expiry",))
    assert (swept.extent.first, dict(swept.waits_for), dict(swept.lost)) == (5, {"score": 4}, {})
    assert swept.held_s == 4, "event 5 was due at 15"
    swept = await sweep(store, channel, 22 * SECOND_US, wait_s=5, own=("expiry",))
    assert (swept.extent.first, dict(swept.waits_for), dict(swept.lost)) == (7, {}, {"score": 4})
    swept = await sweep(store, channel, 22 * SECOND_US, wait_s=5, own=("expiry",))
    assert (swept.extent.first, swept.held_s) == (11, 0), "nobody waits for who is lost"
    assert await store.keep("score", "main", 10, was=4)
    assert (await sweep(store, channel, 22 * SECOND_US, wait_s=5)).lost == {"expiry": 1}


@dataclass(frozen=True)
class Case:
    """A channel, its events' times, where its workers stand, and now."""

    times_s: list[int]
    age_s: int | None
    count: int | None
    places: list[int]
    wait_s: int
    now_s: int


CASES = st.builds(
    Case,
    times_s=st.lists(st.integers(0, 30), max_size=12).map(sorted),
    age_s=st.none() | st.integers(1, 30),
    count=st.none() | st.integers(1, 10),
    places=st.lists(st.integers(0, 12), max_size=3),
    wait_s=st.integers(0, 20),
    now_s=st.integers(30, 40),
)


def first_kept(case: Case) -> int:
    """The law, event by event: due, and read by all or due for long enough."""

    def due(seq: int, at_s: int) -> bool:
        of_age = case.age_s is not None and case.times_s[seq - 1] < at_s - case.age_s
        after = [t for t in case.times_s[seq:] if t < at_s or at_s == case.now_s]
        return of_age or (case.count is not None and len(after) >= case.count)

    for seq in range(1, len(case.times_s) + 1):
        read = all(place >= seq for place in case.places)
        if not (due(seq, case.now_s) and (read or due(seq, case.now_s - case.wait_s))):
            return seq
    return len(case.times_s) + 1


@settings(max_examples=500)
@given(CASES)
def test_an_event_goes_when_it_is_due_and_everybody_read_it_or_was_given_time(case: Case) -> None:
    """Whatever rules, workers and times there are; an operator can work it out with pen and paper."""

    async def swept() -> tuple[int, set[str]]:
        store = await log_of(*case.times_s)
        for n, place in enumerate(case.places):
            await store.keep(f"w{n}", "main", place, was=0)
        channel = Channel("main", case.age_s, case.count)
        found = await sweep(store, channel, case.now_s * SECOND_US, wait_s=case.wait_s)
        return found.extent.first, set(found.lost)

    first, lost = asyncio.run(swept())
    assert first == first_kept(case)
    assert lost == {f"w{n}" for n, place in enumerate(case.places) if place < first - 1}


async def test_what_was_dropped_is_not_shown_from_memory() -> None:
    """Retention is also a promise to forget; a page that was read before must not outlive it."""
    store = await log_of(*range(1, 11))
    extent = (await store.extents())["main"]
    frames = [frame_of(event) for event in await store.read("main", 0, 10)]

    async def fetch(channel: str, after: int, limit: int) -> list[Frame]:
        return [frame_of(event) for event in await store.read(channel, after, limit)]

    pager = Pager(fetch, store.find)
    tape = Tape("main", extent.epoch, 10, frames[-1].hash8)
    assert [frame.seq for frame in (await pager.page(tape, 0)).frames] == list(range(1, 11))
    pager.begins("main", (await store.drop("main", 6)).first)
    assert pager.at_hand(tape, 0) is None and pager.at_hand(tape, 6) is not None
    with pytest.raises(PositionTooOld):
        await pager.page(tape, 5)
    await pager.close()
