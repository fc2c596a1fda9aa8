"""Retention: events that a channel no longer keeps go; ids, epochs and hashes stay.

Owns: up to where to drop, and for how long a worker that has not read yet holds that back. Knows nothing of stores'
technologies. Law: everything follows from the log, the kept places and the clock, so N processes decide the same. What
may go even over a worker that has not read it is what was due `wait_s` ago; that worker is then lost.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from catalyst_signals.errors import UnknownChannel
from catalyst_signals.events import Extent, Kept
from catalyst_signals.projections import Channel
from catalyst_signals.stores import Store

SECOND_US = 1_000_000


@dataclass(frozen=True, slots=True)
class Swept:
    """A channel after a sweep. `waits_for` has the workers, by their place, for whom events are kept that are due.

    `held_s` is how long the oldest of these events has been due; `lost` has the workers whose next event is gone.
    """

    extent: Extent
    waits_for: Mapping[str, int]
    held_s: float
    lost: Mapping[str, int]


async def sweep(store: Store, channel: Channel, now_us: int, *, wait_s: float = 0, own: Collection[str] = ()) -> Swept:
    """Drop what a channel no longer keeps; `own` are followers for whom nothing is held back.

    Raises:
        StoreUnavailable: safe to try again.
        UnknownChannel: it has no log yet.
    """
    extent = (await store.extents([channel.name])).get(channel.name)
    if extent is None:
        raise UnknownChannel(field="channel", got=channel.name)
    workers = {name: kept for name, kept in (await store.places(channel.name)).items() if name not in own}
    due = await _due(store, channel, extent, now_us)
    behind = {name: kept.seq for name, kept in workers.items() if extent.first - 1 <= kept.seq < due}
    through = due
    if behind:
        overdue = await _due(store, channel, extent, now_us, ago_us=int(wait_s * SECOND_US))
        through = min(due, max(overdue, min(behind.values())))
    if through >= extent.first:
        extent = await store.drop(channel.name, through)
    waits_for = {name: seq for name, seq in behind.items() if through <= seq}
    held_s = await _due_for_s(store, channel, extent, now_us) if waits_for else 0.0
    return Swept(extent, waits_for, held_s, _lost(workers, extent))


def _lost(workers: Mapping[str, Kept], extent: Extent) -> dict[str, int]:
    return {name: kept.seq for name, kept in sorted(workers.items()) if kept.seq < extent.first - 1}


async def _due(store: Store, channel: Channel, extent: Extent, now_us: int, ago_us: int = 0) -> int:
    """The newest seq that the channel did not keep any more `ago_us` before now."""
    through = extent.first - 1
    if channel.count is not None:
        newest = await last_before(store, extent, now_us - ago_us) if ago_us else extent.newest
        through = max(through, nth(extent, ordinal(extent, newest) - channel.count))
    if channel.age_s is not None:
        through = max(through, await last_before(store, extent, now_us - ago_us - channel.age_s * SECOND_US))
    return through


async def _due_for_s(store: Store, channel: Channel, extent: Extent, now_us: int) -> float:
    """How long the oldest kept event has been due: since it was too old, or since as many came after it as are kept."""
    since_us = [now_us]
    if channel.age_s is not None:
        for event in await store.read(channel.name, extent.first - 1, 1):
            since_us.append(event.ts_us + channel.age_s * SECOND_US)
    if channel.count is not None:
        over = nth(extent, ordinal(extent, extent.first - 1) + 1 + channel.count)
        for event in await store.read(channel.name, over - 1, 1):
            since_us.append(event.ts_us)
    return max(0.0, (now_us - min(since_us)) / SECOND_US)


async def last_before(store: Store, extent: Extent, ts_us: int, *, above: int = 0) -> int:
    """The newest seq committed before a time, by bisection: `ts` never goes back within a channel.

    It is looked for above a seq, and that is the answer if there is none.
    """
    low, high = max(above, extent.first - 1), extent.durable
    while low < high:
        middle = (low + high + 1) // 2
        events = await store.read(extent.channel, middle - 1, 1)
        if events and events[0].ts_us < ts_us:
            low = max(middle, events[0].seq)
        else:
            high = middle - 1
    return low


def ordinal(extent: Extent, seq: int) -> int:
    """How many events the log ever had up to `seq`: seqs but for those that are void."""
    return sum(max(0, min(seq, last) - first + 1) for first, last in _stretches(extent))


def nth(extent: Extent, number: int) -> int:
    """The seq of the event that has so many up to it, itself included; 0 for none."""
    for first, last in _stretches(extent):
        if number <= last - first + 1:
            return first + number - 1 if number > 0 else 0
        number -= last - first + 1
    return 0


def _stretches(extent: Extent) -> list[tuple[int, int]]:
    """First and last seq of each epoch; the present one has no end."""
    ends = [*(epoch.last_before for epoch in extent.epochs[1:]), 1 << 62]
    return [(epoch.first, last) for epoch, last in zip(extent.epochs, ends, strict=True)]
