"""Writes `signal.expired` when a signal's own time is over: exactly once, whatever restarts or races.

Owns: which signals are due, and when. Law: what it remembers is only a hint; the log is asked before anything is
written, and the event's derived id makes N processes write one. So nothing here needs a leader, an order or a lock.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import time
from collections.abc import Iterable

import msgspec

from catalyst_signals.changes import Changes
from catalyst_signals.errors import CatalystError, IdConflict, IdTaken, NotFound, PositionTooOld, RangeUntrusted
from catalyst_signals.events import Batch, Event, Extent, Frame, Refused, now_us, parse_iso
from catalyst_signals.modifiers import NEVER, life_of, may_expire
from catalyst_signals.publish import Publisher
from catalyst_signals.stores import Store
from catalyst_signals.trust import Reader
from catalyst_signals.versions import end
from catalyst_signals.wire import SYSTEM_CHANNEL, frame_of

log = logging.getLogger("catalyst.expiry")

EXPIRY = "expiry"  # The follower whose place says from where the log has to be read at a start.
LOOK_S = 0.25
AT_ONCE = 200  # Endings in one commit.
AGAIN_US = 1_000_000
PAGE_EVENTS = 256
READ_DUTY = 0.15  # Of one core: readers who come back after a restart are more urgent.


class Place(msgspec.Struct):
    """Up to where a channel is folded, and what is pending there; the hash tells whether it is still that log."""

    seq: int
    hash8: str
    ends: dict[str, int] = {}


class Expirer:
    """The signals of one process's channels that will end by themselves."""

    def __init__(self, store: Store, reader: Reader, changes: Changes, publisher: Publisher) -> None:
        self._store = store
        self._reader = reader
        self._changes = changes
        self._publisher = publisher
        self._ends_us: dict[tuple[str, str], int] = {}
        self._due: list[tuple[int, str, str]] = []  # A heap; what `_ends_us` says otherwise is no longer so.
        self._read: dict[str, tuple[int, str]] = {}  # How far each channel is folded without a hole: seq and hash8.
        self._top: dict[str, int] = {}  # The newest that was folded; above `_read` means a hole: nothing is kept.
        self._anew: dict[str, None] = {}  # Channels to be read again, in order.

    def fold(self, frame: Frame) -> None:
        """Take in an event of any channel, in any order."""
        self._top[frame.channel] = max(frame.seq, self._top.get(frame.channel, 0))
        if frame.prev8 == self._read.get(frame.channel, (0, ""))[1]:
            self._read[frame.channel] = (frame.seq, frame.hash8)
        if may_expire(frame):
            life = life_of(frame)
            if life.ends_us != NEVER:
                self._remember(frame.channel, life.id, life.ends_us)
            elif life.id:
                self._ends_us.pop((frame.channel, life.id), None)
            frame.forget()

    def _remember(self, channel: str, id: str, ends_us: int) -> None:
        self._ends_us[channel, id] = ends_us
        heapq.heappush(self._due, (ends_us, channel, id))

    async def _began(self, channel: str) -> bool:
        try:
            await self.begin(channel)
        except CatalystError as error:
            log.warning("a channel could not be read yet", extra={"channel": channel, "reason": str(error)})
            return False
        return True

    async def begin(self, channel: str) -> None:
        """Read what this process did not see of a channel, from the kept place on; live events may come meanwhile.

        Raises:
            StoreUnavailable: safe to try again.
        """
        extent = (await self._store.extents([channel]))[channel]
        place = await self._kept(channel, extent)
        for id, ends_us in place.ends.items():
            self._remember(channel, id, ends_us)
        self._read[channel] = (place.seq, place.hash8)
        while events := await self._page(channel):
            began_s = time.perf_counter()
            for event in events:
                if b'"expires_at"' in event.body:
                    self.fold(frame_of(event))
            last = (events[-1].seq, events[-1].hash[:4].hex())
            self._read[channel] = max(self._read[channel], last)
            await asyncio.sleep((time.perf_counter() - began_s) * (1 / READ_DUTY - 1))

    async def _kept(self, channel: str, extent: Extent) -> Place:
        """The kept place, if it is one of this log; else its beginning: a rewind may have been noticed late."""
        beginning = Place(extent.first - 1, extent.hash_before[:4].hex())
        kept = await self._store.kept(EXPIRY, channel)
        try:
            place = msgspec.json.decode(kept.state, type=Place)
        except msgspec.DecodeError:  # There is none yet, or it is another version's.
            return beginning
        known = place.seq >= extent.first - 1 and place.hash8 == await self._hash8_at(channel, place.seq, extent)
        return place if known else beginning

    async def _hash8_at(self, channel: str, seq: int, extent: Extent) -> str:
        if seq == extent.first - 1:
            return extent.hash_before[:4].hex()
        events = await self._store.read(channel, seq - 1, 1)
        return events[0].hash[:4].hex() if events and events[0].seq == seq else ""

    async def _page(self, channel: str) -> list[Event]:
        while True:
            try:
                return await self._reader.read(channel, self._read[channel][0], PAGE_EVENTS)
            except PositionTooOld as error:
                self._read[channel] = (error.extra["first"] - 1, "")
            except RangeUntrusted as error:
                self._read[channel] = (error.extra["resume_after"], "")

    async def keep(self, channel: str, every: int = 1) -> None:
        """Move the kept place, if there is something to move it over."""
        kept = await self._store.kept(EXPIRY, channel)
        seq, hash8 = self._read.get(channel, (0, ""))
        if seq >= kept.seq + every and hash8 and self._top.get(channel, 0) <= seq:
            ends = {id: ends_us for (name, id), ends_us in self._ends_us.items() if name == channel}
            state = msgspec.json.encode(Place(seq, hash8, ends))
            await self._store.keep(EXPIRY, channel, seq, state, was=kept.seq)

    def jumped(self, channel: str) -> None:
        """A channel goes on elsewhere: what was known of it has to be read again, from the place the log has kept."""
        self._anew[channel] = None

    async def run(self, channels: Iterable[str]) -> None:
        """Learn what is pending in these channels, then end what is due, for ever."""
        self._anew.update(dict.fromkeys(channels))
        while True:
            for channel in list(self._anew):
                self._anew.pop(channel)  # First: it may jump again while we read.
                if not await self._began(channel):
                    self._anew[channel] = None
            await asyncio.sleep(LOOK_S)
            while due := self._take_due(now_us()):
                await self._end(due)

    def _take_due(self, now: int) -> list[tuple[str, str]]:
        due: list[tuple[str, str]] = []
        while self._due and self._due[0][0] <= now and len(due) < AT_ONCE:
            ends_us, channel, id = heapq.heappop(self._due)
            if self._ends_us.get((channel, id)) == ends_us:
                due.append((channel, id))
        return due

    async def _end(self, due: Iterable[tuple[str, str]]) -> None:
        """One commit for all that are really over; what could not be written is looked at again."""
        erasures = self._changes.erasures
        try:
            batches = [batch for channel, id in due if (batch := await self._ending(channel, id)) is not None]
            erased = erasures != self._changes.erasures
            results = await self._publisher.submit(batches) if batches and not erased else []
        except CatalystError as error:
            log.warning("expired signals could not be ended yet", extra={"reason": str(error)})
            results = []
        for result in results:
            if isinstance(result, Refused) and not isinstance(result.error, IdConflict | IdTaken):
                log.warning("an expired signal could not be ended yet", extra={"reason": str(result.error)})
        for channel, id in due:  # Until its end comes by the gate: what is written can still be taken back by a rewind.
            self._again(channel, id)

    async def _ending(self, channel: str, id: str) -> Batch | None:
        """What ends a signal that is over by what the log says now; None when it is not, or cannot be read now."""
        try:
            present = await self._changes.present(channel, id)
        except NotFound:
            self._ends_us.pop((channel, id), None)
            return None
        except CatalystError as error:  # It costs the others nothing.
            log.warning("an expired signal could not be read", extra={"channel": channel, "reason": str(error)})
            return None
        text = present.doc["data"].get("expires_at")
        ends_us = None if text is None else parse_iso(text)
        if ends_us is None:
            self._ends_us.pop((channel, id), None)
            return None
        if present.ended:
            return None
        if ends_us > now_us():
            self._remember(channel, id, ends_us)
            return None
        return Batch(channel=channel, subject=SYSTEM_CHANNEL, drafts=[end(present.doc, "signal.expired")])

    def _again(self, channel: str, id: str) -> None:
        if self._ends_us.get((channel, id), NEVER) <= now_us():
            self._remember(channel, id, now_us() + AGAIN_US)
