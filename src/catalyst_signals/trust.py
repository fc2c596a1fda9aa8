"""What a store says, believed only as far as its hashes go: the way by which a server reads events it will show.

Owns: where a range that cannot be trusted begins and ends, and what was found. Knows nothing of technologies.
Law: an event that is not what was hashed is never handed out; those before it are, and then the range is named.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from catalyst_signals.errors import PositionTooOld, RangeUntrusted, StoreCorrupt
from catalyst_signals.events import Event, next_seq, wrong_with
from catalyst_signals.stores import Store
from catalyst_signals.verify import Fault, Walk, in_words

log = logging.getLogger("catalyst.trust")

RANGE_MAX = 64  # Events looked at to find where a range ends; a longer one is told in pieces.
SCRUB_EVENTS = 256  # About two milliseconds of the event loop.
SCRUB_DUTY = 0.1  # Of one core.


class Reader:
    """Reads one store. `faults` has the first wrong event found in each channel, until a scrub finds all right."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.faults: dict[str, Fault] = {}

    async def read(self, channel: str, after: int, limit: int) -> list[Event]:
        """Store.read, but it ends before an event that is not what was written.

        Raises:
            RangeUntrusted: the very next event is one; says which are, and after which to go on.
            PositionTooOld: with the log's extent.
        """
        try:
            events, why = await self._readable(channel, after, limit)
        except PositionTooOld as error:
            extent = (await self._store.extents([channel]))[channel]
            error.extra |= {"first": extent.first, "last": extent.newest, "epoch": extent.epoch}
            raise
        good = _first_wrong(events)
        if good or not (events or why):
            return events[:good]
        raise await self._refusal(channel, after, events[0].id if events else "", why or wrong_with(events[0]))

    async def _readable(self, channel: str, after: int, limit: int) -> tuple[list[Event], str]:
        """As many of the next events as can be read at all; or none, and why."""
        while True:
            try:
                return await self._store.read(channel, after, limit), ""
            except StoreCorrupt as damage:
                if limit == 1:
                    return [], in_words(damage, channel, damage.extra.get("seq", 0))
                limit = max(1, limit // 8)

    async def _refusal(self, channel: str, after: int, id: str, why: str | None) -> RangeUntrusted:
        extent = (await self._store.extents([channel]))[channel]
        first = last = next_seq(extent.epochs, after)
        while last - first < RANGE_MAX and last < extent.newest and not await self._goes_on(channel, last):
            last = next_seq(extent.epochs, last)
        fault = Fault(channel, first, why or "it does not join the event before it", id)
        self.note(channel, fault)
        return RangeUntrusted(
            f"{fault}; go on after {last}. The operator runs `catalyst verify` and restores a safety copy",
            channel=channel, seq=first, void=[first, last], resume_after=last, epoch=extent.epoch,
        )  # fmt: skip

    async def _goes_on(self, channel: str, after: int) -> bool:
        events, _ = await self._readable(channel, after, 1)
        return _first_wrong(events) == 1

    def note(self, channel: str, fault: Fault | None) -> None:
        """Remember what was found in a channel, the first event of it; None: a scrub found nothing any more."""
        if fault is None:
            self.faults.pop(channel, None)
            return
        known = self.faults.get(channel)
        if known is None or fault.seq < known.seq:
            self.faults[channel] = fault
            log.error("an event cannot be trusted", extra={"channel": channel, "seq": fault.seq, "reason": fault.what})


def _first_wrong(events: list[Event]) -> int:
    """The index of the first event that is not what was hashed, or does not join the one before it."""
    prev = events[0].prev if events else b""
    for at, event in enumerate(events):
        if event.prev != prev or wrong_with(event) is not None:
            return at
        prev = event.hash
    return len(events)


async def scrub(store: Store, note: Callable[[str, Fault | None], None]) -> None:
    """One walk over the whole log, so slow that nobody notices; `note` is told of each channel what was found.

    Raises:
        StoreUnavailable: begin again later.
        StoreCorrupt: not even its heads could be read.
    """
    for channel, extent in sorted((await store.extents()).items()):
        walk = Walk(store, extent, SCRUB_EVENTS)
        began = time.perf_counter()
        while await walk.on():
            await asyncio.sleep((time.perf_counter() - began) * (1 / SCRUB_DUTY - 1))
            began = time.perf_counter()
        note(channel, walk.fault)
