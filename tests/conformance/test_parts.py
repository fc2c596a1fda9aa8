"""The laws of erasing, of listing what is known, and of taking over another store's log; every back-end keeps them.

What catalyst_signals.stores.sqlite.parts adds to an append is covered here and nowhere else.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import replace as changed
from pathlib import Path

import pytest
from msgspec.structs import replace

from catalyst_signals.errors import (
    CatalystError,
    Conflict,
    IdConflict,
    NotFound,
    PositionTooOld,
    StoreCorrupt,
    UnknownChannel,
)
from catalyst_signals.events import NO_HASH, Extent, Kept, Known, Part, wrong_with
from catalyst_signals.stores import Store
from catalyst_signals.verify import verify

from .conftest import BACK_ENDS, opened
from .test_stores import NASTY_IDS, all_of, batch, draft, drafts, put, refusal, seqs


@pytest.fixture(params=BACK_ENDS)
async def target(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    """An empty store that takes over what another has."""
    (tmp_path / "target").mkdir()
    async with opened(request.param, tmp_path / "target") as store:
        yield store


async def all_ids(store: Store, channel: str = "main") -> dict[str, Known]:
    """Every id of a channel, two at a time."""
    found: dict[str, Known] = {}
    while page := await store.ids(channel, max(found, default="", key=str.encode), 2):
        found |= dict(page)
    return found


async def part_of(store: Store, after: int, limit: int, channel: str = "main") -> Part:
    """A stretch of a log, ready to be taken over."""
    extent = (await store.extents([channel]))[channel]
    events = await store.read(channel, after, limit)
    last = extent.last if not events or events[-1].seq == extent.newest else events[-1].seq
    return Part(
        channel=channel, epochs=extent.epochs, first=extent.first, hash_before=extent.hash_before, last=last,
        events=events, known=await store.find(channel, [event.id for event in events]),
    )  # fmt: skip


async def parts_of(store: Store, size: int = 4) -> list[Part]:
    """A whole log in parts; the first has the ids of what was dropped as well."""
    extent = (await store.extents(["main"]))["main"]
    parts = [await part_of(store, extent.first - 1, size)]
    dropped = {id: known for id, known in (await all_ids(store)).items() if known.seq < extent.first}
    parts[0] = changed(parts[0], known={**dropped, **parts[0].known})
    while parts[-1].last < extent.last:
        parts.append(await part_of(store, parts[-1].last, size))
    return parts


async def extent_of(store: Store) -> Extent:
    """That of `main`."""
    return (await store.extents(["main"]))["main"]


# -- ids and places ---------------------------------------------------------------------------------------------


async def test_all_ids_are_listed_in_the_order_of_their_bytes_also_dropped_ones(store: Store) -> None:
    """An export that forgot one would let it be published again."""
    await put(store, *(draft(id) for id in NASTY_IDS), subject="bob")
    await put(store, *drafts(0, 5))
    await store.drop("main", 7)
    found = await all_ids(store)
    assert list(found) == sorted([*NASTY_IDS, *(f"n{n}" for n in range(5))], key=str.encode)
    assert found == await store.find("main", list(found))
    assert await store.ids("main", max(found), 10) == []
    assert await store.ids("other") == []
    with pytest.raises(UnknownChannel):
        await store.ids("nowhere")


async def test_all_places_of_a_channel_are_listed(store: Store) -> None:
    """Retention waits for the slowest of them."""
    assert await store.places("main") == {}
    await store.keep("notify", "main", 5, b"five", was=0)
    await store.keep("score", "main", 7, was=0)
    await store.keep("notify", "other", 1, was=0)
    assert await store.places("main") == {"notify": Kept(5, b"five"), "score": Kept(7)}


# -- erasing ----------------------------------------------------------------------------------------------------


async def test_an_erased_event_has_no_body_and_the_chain_stays_whole(store: Store) -> None:
    """Whoever must erase a body need not break what everyone else verifies."""
    before = (await put(store, *drafts(0, 4))).events
    for _ in range(2):
        await store.erase("main", 2)
    erased = replace(before[1], body=b"", salt=b"")
    assert await all_of(store) == [before[0], erased, *before[2:]]
    assert wrong_with(erased) is None
    await store.erase("main", 4)
    assert (await put(store, draft("later"))).events[0].prev == before[3].hash
    assert (await verify(store)).faults == {}
    assert (await put(store, draft("n1"))).receipts[0].duplicate, "its id is known for ever"


async def test_only_what_is_there_is_erased(store: Store) -> None:
    await put(store, *drafts(0, 3))
    await store.drop("main", 1)
    await store.begin_epoch("main", 100, "a test")
    await put(store, *drafts(3, 1))
    with pytest.raises(PositionTooOld) as too_old:
        await store.erase("main", 1)
    assert too_old.value.extra["first"] == 2
    for seq in (4, 99, 101):
        with pytest.raises(NotFound):
            await store.erase("main", seq)
    with pytest.raises(UnknownChannel):
        await store.erase("nowhere", 1)


# -- taking over another log ------------------------------------------------------------------------------------


async def _filled(store: Store) -> None:
    """Two epochs and a third that has no event yet, a dropped beginning, an erased body."""
    await put(store, *drafts(0, 10))
    await store.drop("main", 2)
    await store.begin_epoch("main", 100, "a test")
    await put(store, *drafts(10, 6), subject="bob")
    await store.erase("main", 5)
    await store.begin_epoch("main", 1000, "another")


async def test_a_log_that_was_taken_over_is_the_same_log(store: Store, target: Store) -> None:
    """Positions, retries and hashes mean the same wherever the log was taken."""
    await _filled(store)
    for part in await parts_of(store):
        for _ in range(2):  # An unknown outcome is adopted again.
            await target.adopt(part)
        assert (await verify(target)).faults == {}, "whole after each part"
        extent = await extent_of(target)
        assert extent.epochs[-1].first <= extent.last + 1, "no epoch begins above its end"
    assert await extent_of(target) == await extent_of(store)
    assert await all_of(target) == await all_of(store)
    assert await all_ids(target) == await all_ids(store)
    assert (await put(target, draft("n0"))).receipts[0].seq == 1, "a dropped event's id is known"
    assert isinstance(await refusal(target, batch(draft("n1", "another"))), IdConflict)
    assert seqs((await put(target, draft("next"))).events) == [1000]
    assert (await verify(target)).faults == {}


async def test_a_log_without_events_is_taken_over(store: Store, target: Store) -> None:
    await target.adopt(await part_of(store, 0, 10))
    assert await extent_of(target) == await extent_of(store)
    assert seqs((await put(target, draft("a"))).events) == [1]


async def test_time_goes_on_from_what_was_taken_over(
    store: Store, target: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = await put(store, draft("a"))
    await target.adopt(await part_of(store, 0, 10))
    monkeypatch.setattr("time.time_ns", lambda: 0)
    assert (await put(target, draft("b"))).receipts[0].ts_us == stored.receipts[0].ts_us


SPOILT: dict[str, tuple[type[CatalystError], Callable[[Part], Part]]] = {
    "a hole": (StoreCorrupt, lambda part: changed(part, events=[*part.events[:1], *part.events[2:]])),
    "no beginning": (StoreCorrupt, lambda part: changed(part, events=part.events[1:])),
    "another order": (StoreCorrupt, lambda part: changed(part, events=[*reversed(part.events)])),
    "another hash before": (StoreCorrupt, lambda part: changed(part, hash_before=NO_HASH)),
    "another body": (
        StoreCorrupt,
        lambda part: changed(part, events=[replace(part.events[0], body=b"{}"), *part.events[1:]]),
    ),
    "another channel": (StoreCorrupt, lambda part: changed(part, channel="other")),
    "another epoch": (StoreCorrupt, lambda part: changed(part, epochs=(changed(part.epochs[0], name="x"),))),
    "another end": (StoreCorrupt, lambda part: changed(part, last=part.last + 1)),
    "an id that is not known": (StoreCorrupt, lambda part: changed(part, known={})),
}


@pytest.mark.parametrize("how", SPOILT)
async def test_a_spoilt_part_changes_nothing(store: Store, target: Store, how: str) -> None:
    """What is taken over is proved first, whoever carried it."""
    await put(store, *drafts(0, 6))
    await store.drop("main", 2)
    error, spoil = SPOILT[how]
    with pytest.raises(error):
        await target.adopt(spoil(await part_of(store, 2, 3)))
    assert await target.extents() == {}
    await target.adopt(await part_of(store, 2, 3))
    assert (await extent_of(target)).last == 5


async def test_a_channel_with_another_log_takes_over_nothing(store: Store, target: Store) -> None:
    """Two histories under one name would be the end of all positions."""
    await put(store, *drafts(0, 3))
    await put(target)
    with pytest.raises(Conflict):
        await target.adopt(await part_of(store, 0, 10))
    assert (await extent_of(target)).last == 0


async def test_a_copy_that_went_its_own_way_takes_over_nothing_more(store: Store, target: Store) -> None:
    await put(store, *drafts(0, 3))
    await target.adopt(await part_of(store, 0, 10))
    await put(target, draft("theirs"))
    await put(store, draft("ours"), draft("more"))
    for part in (await part_of(store, 3, 1), await part_of(store, 3, 10), await part_of(store, 4, 10)):
        with pytest.raises((Conflict, StoreCorrupt)):
            await target.adopt(part)
    assert [event.id for event in await all_of(target)] == ["n0", "n1", "n2", "theirs"]
    assert set(await all_ids(target)) == {"n0", "n1", "n2", "theirs"}
