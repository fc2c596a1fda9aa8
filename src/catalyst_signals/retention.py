"""Retention: events older than a channel keeps go; ids, epochs and hashes stay.

Owns: up to where to drop. Knows nothing of stores' technologies.
"""

from __future__ import annotations

from catalyst_signals.events import Extent
from catalyst_signals.projections import Channel
from catalyst_signals.stores import Store


async def sweep(store: Store, channel: Channel, now_us: int) -> Extent | None:
    """Drop what a channel no longer keeps; None when there was nothing to drop.

    Raises:
        StoreUnavailable: safe to try again.
    """
    extent = (await store.extents([channel.name])).get(channel.name)
    if extent is None or extent.last < extent.first:
        return None
    through = extent.first - 1
    if channel.count is not None:
        through = max(through, extent.last - channel.count)
    if channel.age_s is not None:
        through = max(through, await _last_before(store, extent, now_us - channel.age_s * 1_000_000))
    return await store.drop(channel.name, through) if through >= extent.first else None


async def _last_before(store: Store, extent: Extent, ts_us: int) -> int:
    """The newest seq committed before a time, by bisection: `ts` never goes back within a channel."""
    low, high = extent.first - 1, extent.durable
    while low < high:
        middle = (low + high + 1) // 2
        events = await store.read(extent.channel, middle - 1, 1)
        if events and events[0].ts_us < ts_us:
            low = max(middle, events[0].seq)
        else:
            high = middle - 1
    return low
