"""How many signals a day a log is given, and how that changes: counted in the log itself, by the times its events have.

Owns: over which days is counted, and what is estimated. Knows nothing of who asks. Laws: only `signal.published`
counts, not what becomes of a signal; nothing is counted while signals go by; the reads are small, and there is a most
to them, whatever the log holds.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import sqrt
from typing import TypeVar

from catalyst_signals.auth import SERVER_CHANNELS
from catalyst_signals.errors import PositionTooOld, StoreCorrupt
from catalyst_signals.events import Event, Extent, now_us
from catalyst_signals.projections import SystemState
from catalyst_signals.retention import last_before, nth, ordinal
from catalyst_signals.stores import Store
from catalyst_signals.wire import SYSTEM_CHANNEL

T = TypeVar("T")

COUNTED_S = 60.0  # For so long a count is good.
MINUTE_US = 60_000_000
DAY_US = 1440 * MINUTE_US
DAYS_MAX = 30.0  # As far back as is looked.
WEEK = 7.0
YOUNG_DAYS = 2.0  # A log as young as that does not say how it grows.
CHANGE_MIN = 0.1  # Of what it was before; less is no growth.
KEPT_DAYS_MIN = 1 / 24  # What a channel had that keeps only minutes is not made a whole day of.
CHANNELS_MAX = 50  # Those that hold most; the others are left out.
COUNTED = 512  # Events between two moments that are all looked at; of more as many are, spread evenly.
SPREAD = 16  # Events of one read when they are.
GOLDEN = (sqrt(5) - 1) / 2
NEWEST = 8192  # Events looked at for the busiest minute, of all channels together.
PAGE, PAGE_BYTES = 256, 256 << 10  # Of one read: a millisecond or two.


@dataclass(frozen=True, slots=True)
class Traffic:
    """Signals a day, as means of the last day, of the last seven and thirty, or of as many days as there were.

    `growth` is by how much that changes a day; None while the log is too young to tell. `busiest_minute` is of the
    newest events, within a day. `at_us` is when it was counted, `since_us` when the log began; None for an empty one.
    """

    at_us: int
    since_us: int | None
    day: float
    week: float
    month: float
    growth: float | None
    busiest_minute: int
    channels_left_out: int


async def traffic(store: Store, channels: Iterable[str], at_us: int, *, began_us: int | None = None) -> Traffic:
    """The traffic of these channels up to now; `began_us` is when the log began, for all one knows without them.

    A channel that is damaged, or whose events were dropped meanwhile, is left out.

    Raises:
        StoreUnavailable: ask again.
    """
    extents = [each for each in (await store.extents(channels)).values() if each.newest >= each.first]
    extents.sort(key=_held, reverse=True)
    oldest = await _of_each(extents[:CHANNELS_MAX], lambda extent: _oldest_us(store, extent))
    since_us = min([*oldest.values(), *([] if began_us is None else [began_us])], default=None)
    days = (at_us - since_us) / DAY_US if since_us is not None else 0.0
    month = min(DAYS_MAX, max(1.0, days))  # A log of an hour is taken for a day old: nobody knows the other hours.
    week, recent = min(WEEK, month), min(WEEK, month / 2)

    async def rates_of(extent: Extent) -> dict[float, float]:
        kept = (at_us - oldest[extent]) / DAY_US if extent.first > 1 else DAYS_MAX
        return await _rates(store, extent, at_us, sorted({1.0, week, recent, month}), kept)

    rates = await _of_each(oldest, rates_of)
    each = NEWEST // max(1, len(oldest))
    minutes = await _of_each(oldest, lambda extent: _minutes(store, extent, at_us - DAY_US, each))

    def a_day(window: float) -> float:
        return sum((of_channel[window] for of_channel in rates.values()), 0.0)

    return Traffic(
        at_us=at_us, since_us=since_us, day=a_day(1.0), week=a_day(week), month=a_day(month),
        growth=_growth(a_day(recent), recent, a_day(month), month) if days >= YOUNG_DAYS else None,
        busiest_minute=max(sum(minutes.values(), Counter()).values(), default=0),
        channels_left_out=len(extents) - len(rates),
    )  # fmt: skip


async def _of_each(extents: Iterable[Extent], ask: Callable[[Extent], Awaitable[T]]) -> dict[Extent, T]:
    """What is found of each channel that can be read."""
    found: dict[Extent, T] = {}
    for extent in extents:
        with suppress(PositionTooOld, StoreCorrupt):
            found[extent] = await ask(extent)
    return found


def _held(extent: Extent) -> int:
    return ordinal(extent, extent.newest) - ordinal(extent, extent.first - 1)


async def _oldest_us(store: Store, extent: Extent) -> int:
    return (await _page(store, extent, extent.first - 1, 1))[0].ts_us


def _growth(recent: float, recent_days: float, whole: float, days: float) -> float:
    """From the mean of the days before to that of the recent ones, whose middle is half of all days later; a day.

    0 for what may be chance: within two standard errors of signals that come one by one, or a tenth.
    """
    days_before = days - recent_days
    before = max(0.0, whole * days - recent * recent_days) / days_before
    chance = 2 * sqrt(recent / recent_days + before / days_before)
    change = recent - before
    return change / (days / 2) if abs(change) > max(chance, CHANGE_MIN * before) else 0.0


async def _rates(store: Store, extent: Extent, at_us: int, windows: list[float], kept: float) -> dict[float, float]:
    """Signals a day over each window, given in days, the shortest first; only what was `kept` is known."""
    after = extent.first - 1
    marks = []
    for days in reversed(windows):
        after = await last_before(store, extent, at_us - int(days * DAY_US), above=after)
        marks.append(after)
    found: dict[float, float] = {}
    count, through = 0.0, extent.newest
    for days, after in zip(windows, reversed(marks), strict=True):
        count += await _signals(store, extent, after, through)
        found[days] = count / min(days, max(kept, KEPT_DAYS_MIN))
        through = min(through, after)
    return found


async def _signals(store: Store, extent: Extent, after: int, through: int) -> float:
    """How many signals were published behind `after`, up to `through`; of many events an estimate."""
    first = ordinal(extent, after) + 1
    held = ordinal(extent, through) - first + 1
    starts: Sequence[int] = range(first, first + held, PAGE)
    wanted = PAGE
    if held > COUNTED:
        starts, wanted = _spread(first, held, COUNTED // SPREAD), SPREAD
    looked = found = 0
    for start in starts:
        page = [each for each in await _page(store, extent, nth(extent, start) - 1, wanted) if each.seq <= through]
        looked += len(page)
        found += sum(map(_is_signal, page))
    return found / looked * held if looked else 0.0


def _spread(first: int, held: int, count: int) -> list[int]:
    """So many places among those events, one in each part of them, and in no step with what comes by the hundred."""
    return [first + int((part + part * GOLDEN % 1) * held / count) for part in range(count)]


async def _minutes(store: Store, extent: Extent, since_us: int, count: int) -> Counter[int]:
    """Signals by minute, of the newest `count` events since that time."""
    found: Counter[int] = Counter()
    first = max(ordinal(extent, extent.first - 1), ordinal(extent, extent.newest) - count) + 1
    after = await last_before(store, extent, since_us, above=nth(extent, first) - 1)
    while after < extent.newest and (page := await _page(store, extent, after, PAGE)):
        found.update(each.ts_us // MINUTE_US for each in page if _is_signal(each))
        after = page[-1].seq
    return found


async def _page(store: Store, extent: Extent, after: int, limit: int) -> list[Event]:
    """Some events; the event loop has a turn before the next ones, also where a store answers at once."""
    page = await store.read(extent.channel, after, limit, PAGE_BYTES)
    await asyncio.sleep(0)
    return page


def _is_signal(event: Event) -> bool:
    return event.type == "signal.published"


class Tally:
    """The traffic of a whole log, counted when it is asked for and once a minute at most, for all who ask."""

    def __init__(self, store: Store, state: SystemState) -> None:
        self._store, self._state = store, state
        self._counting = asyncio.Lock()
        self._counted: tuple[float, Traffic] | None = None

    async def traffic(self) -> Traffic:
        """As of now, or of up to a minute ago.

        Raises:
            StoreUnavailable: ask again.
        """
        async with self._counting:
            if self._counted is None or time.monotonic() - self._counted[0] >= COUNTED_S:
                began = await self._store.read(SYSTEM_CHANNEL, 0, 1)  # Which keeps everything.
                channels = [name for name in self._state.channels if name not in SERVER_CHANNELS]
                found = await traffic(
                    self._store, channels, now_us(), began_us=began[0].ts_us if began else None
                )  # fmt: skip
                self._counted = time.monotonic(), found
            return self._counted[1]
