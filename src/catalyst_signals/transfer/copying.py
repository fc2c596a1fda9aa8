"""A log from one store into another: what a move, and the safety copy of a database, have in common.

Owns: the order in which a channel is copied, and the cut of a copy that is one moment of the log. Knows nothing of
technologies. Law: nothing arrives that was not proved to be what was hashed; the log may grow meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace

from catalyst_signals.errors import Conflict
from catalyst_signals.events import EPOCH_GAP, Event, Extent, Kept, Known, Part
from catalyst_signals.stores import Store
from catalyst_signals.transfer import PAGE
from catalyst_signals.trust import Reader

Progress = Callable[[int, int], None]


async def copy_log(
    source: Store, target: Store, progress: Progress = lambda done, total: None
) -> dict[str, Extent]:  # fmt: skip
    """The log as it is now is in `target`, which had none: events, ids, epochs and places; its extents there.

    `progress(done, total)` in events. After an error `target` holds a part of the log: throw it away.

    Raises:
        Conflict: `target` has a log.
        RangeUntrusted: an event is not what was written. PositionTooOld: retention dropped what was being copied.
        StoreUnavailable: one of the stores does not answer; begin again, in an empty place.
    """
    await check_empty(target)
    places = {name: await source.places(name) for name in await source.extents()}  # First: a place is never ahead then.
    moment = {name: _durable(extent) for name, extent in (await source.extents()).items()}
    total, done = sum(held_by(extent) for extent in moment.values()), 0

    def copied(count: int) -> None:
        nonlocal done
        done += count
        progress(done, total)

    for name, extent in moment.items():
        extent = _as_kept(extent, (await source.extents([name]))[name])
        await copy_events(source, target, extent, None, copied)
        await copy_ids_of_dropped(source, target, extent, extent.last)
        await _keep_places(target, name, places.get(name, {}))
    return await target.extents()


async def check_empty(target: Store) -> None:
    """Pass, or raise Conflict if there is a log."""
    if await target.extents():
        raise Conflict("there is a log in this store already; give an empty place", field="store_url")


async def begin_epochs(store: Store, reason: str) -> dict[str, Extent]:
    """Every channel goes on far above, since the log that this is a copy of may have gone on; its extents."""
    for name, extent in (await store.extents()).items():
        await store.begin_epoch(name, extent.last + EPOCH_GAP, reason)
    return await store.extents()


async def copy_events(
    source: Store, target: Store, extent: Extent, at: int | None, copied: Callable[[int], None]
) -> None:  # fmt: skip
    """What the extent of a channel has behind `at` (None: the channel is not there yet) is in `target`.

    The next page is read while one is written; `copied` is told how many events each had.
    """
    reader = Reader(source)
    there = at is not None and at >= extent.last
    at = max(at or 0, extent.first - 1)
    page = await _page(reader, extent, at)
    while page or not there:
        known = await source.find(extent.channel, [event.id for event in page])
        at = page[-1].seq if page else at
        part = _part(extent, at if at < extent.newest else extent.last, page, known)
        _, following = await asyncio.gather(target.adopt(part), _page(reader, extent, at))
        there = part.last >= extent.last
        copied(len(page))
        page = following


async def copy_ids_of_dropped(source: Store, target: Store, extent: Extent, last: int) -> None:
    """The ids of what retention dropped are known in `target`, where the channel ends at `last` or begins behind it."""
    if extent.first == 1:
        return
    after = ""
    while ids := await source.ids(extent.channel, after, PAGE):
        after = ids[-1][0]
        gone = {id: known for id, known in ids if known.seq < extent.first}
        if gone:
            await target.adopt(_part(extent, last, [], gone))


def held_by(extent: Extent) -> int:
    """How many events a channel has that can be read."""
    began = [epoch for epoch in extent.epochs[1:] if extent.first < epoch.first <= extent.newest]
    void = sum(epoch.first - max(epoch.last_before + 1, extent.first) for epoch in began)
    return max(0, extent.newest - extent.first + 1 - void)


def _durable(extent: Extent) -> Extent:
    """Without what a standby did not confirm yet: it may still be lost."""
    return extent if extent.durable == extent.last else replace(extent, last=extent.durable)


def _as_kept(extent: Extent, now: Extent) -> Extent:
    """The channel as it was, but for what retention has dropped since."""
    if now.first > extent.last:
        return _durable(now)
    return replace(extent, first=now.first, hash_before=now.hash_before)


async def _keep_places(target: Store, channel: str, places: Mapping[str, Kept]) -> None:
    """Who held one is nobody's business elsewhere."""
    for name, kept in places.items():
        await target.keep(name, channel, kept.seq, kept.state, was=0)


async def _page(reader: Reader, extent: Extent, after: int) -> list[Event]:
    if after >= extent.newest:
        return []
    page = await reader.read(extent.channel, after, PAGE)
    return [event for event in page if event.seq <= extent.newest]


def _part(extent: Extent, last: int, events: list[Event], known: dict[str, Known]) -> Part:
    return Part(
        channel=extent.channel, epochs=extent.epochs, first=extent.first, hash_before=extent.hash_before,
        last=last, events=events, known=known,
    )  # fmt: skip
