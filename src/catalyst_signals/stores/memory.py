"""The log in memory: the reference for every other store, and what unit tests and the simulation run on.

Owns: the semantics, in the fewest lines. Keeps nothing when the process ends, and says so: durability `memory`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from heapq import nsmallest
from operator import attrgetter, itemgetter
from typing import Self

from msgspec.structs import replace

from catalyst_signals.errors import CatalystError, NotFound, PositionTooOld, UnknownChannel
from catalyst_signals.events import (
    NO_HASH,
    Batch,
    Draft,
    Epoch,
    Event,
    Extent,
    Kept,
    Known,
    Part,
    Receipt,
    Refused,
    Stored,
    new_epoch_name,
    now_us,
    seal,
)
from catalyst_signals.ledger import NOTED_MAX, Note, Noted, Receiver, noted_in
from catalyst_signals.stores import (
    PAGE_BYTES_MAX,
    check_adopted,
    check_epoch_first,
    judge,
    lacking,
)
from catalyst_signals.stores.fencing import FencedHere
from catalyst_signals.urls import split


@dataclass
class _Log:
    """One channel. `last` and `hash` are where the next event joins."""

    epochs: list[Epoch]
    first: int = 1
    last: int = 0
    ts_us: int = 0
    hash: bytes = NO_HASH
    hash_before: bytes = NO_HASH
    events: list[Event] = field(default_factory=list)
    ids: dict[str, Known] = field(default_factory=dict)


class MemoryStore(FencedHere):
    """A dict of lists. Every method is one step of the event loop, so nothing can come between."""

    durability = "memory"

    def __init__(self) -> None:
        super().__init__()
        self._logs: dict[str, _Log] = {}
        self._kept: dict[tuple[str, str], Kept] = {}
        self._receivers: dict[int, Receiver] = {}
        self._notes: dict[int, list[Note]] = {}  # By their receiver's number, oldest first.

    @classmethod
    def from_url(cls, url: str) -> Self:
        """`memory:`"""
        split(url)
        return cls()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        return None

    @property
    def fault(self) -> CatalystError | None:
        """Store.fault: nothing spoils what is in memory."""
        return None

    async def append(self, batches: Sequence[Batch]) -> list[Stored | Refused]:
        """Store.append"""
        self._check_here()
        at_us = now_us()
        return [self._append(batch, at_us) for batch in batches]

    def _append(self, batch: Batch, at_us: int) -> Stored | Refused:
        if batch.channel not in self._logs:
            if batch.drafts:
                return Refused(UnknownChannel(field="channel", got=batch.channel))
            self._logs[batch.channel] = _Log([Epoch(new_epoch_name(), 1, 0, NO_HASH, "created")])
        log = self._logs[batch.channel]
        try:
            judge(batch.drafts, batch.subject, log.ids)
        except CatalystError as error:
            return Refused(error)
        if any(draft.id not in log.ids for draft in batch.drafts):
            log.ts_us = max(log.ts_us, at_us)
        before = len(log.events)
        receipts = [self._receipt(log, batch, draft) for draft in batch.drafts]
        return Stored(
            channel=batch.channel, epoch=log.epochs[-1].name, receipts=receipts, events=log.events[before:],
            durability=self.durability,
        )  # fmt: skip

    def _receipt(self, log: _Log, batch: Batch, draft: Draft) -> Receipt:
        known = log.ids.get(draft.id)
        if known is not None:
            return Receipt(known.seq, draft.id, known.version, known.ts_us, True)
        event = seal(
            draft, channel=batch.channel, epoch=log.epochs[-1].name, seq=log.last + 1, ts_us=log.ts_us, prev=log.hash
        )
        log.events.append(event)
        log.last, log.hash = event.seq, event.hash
        log.ids[draft.id] = Known(event.seq, batch.subject, draft.draft_hash, draft.version, log.ts_us)
        return Receipt(event.seq, draft.id, draft.version, log.ts_us, False)

    async def read(self, channel: str, after: int, limit: int, bytes_max: int = PAGE_BYTES_MAX) -> list[Event]:
        """Store.read"""
        log = self._log(channel)
        if after < log.first - 1:
            raise PositionTooOld(field="after", got=after, first=log.first)
        page: list[Event] = []
        for event in log.events[_index_after(log.events, after) :]:
            bytes_max -= len(event.body)
            if len(page) == limit or (page and bytes_max < 0):
                break
            page.append(event)
        return page

    async def extents(self, channels: Iterable[str] | None = None) -> dict[str, Extent]:
        """Store.extents"""
        wanted = self._logs if channels is None else [name for name in channels if name in self._logs]
        return {name: self._extent(name) for name in wanted}

    def _extent(self, channel: str) -> Extent:
        log = self._log(channel)
        return Extent(
            channel=channel, epochs=tuple(log.epochs), first=log.first, last=log.last, durable=log.last,
            hash_before=log.hash_before, hash_last=log.hash,
        )  # fmt: skip

    async def find(self, channel: str, ids: Sequence[str]) -> dict[str, Known]:
        """Store.find"""
        known = self._log(channel).ids
        return {id: known[id] for id in ids if id in known}

    async def ids(self, channel: str, after: str = "", limit: int = 1000) -> list[tuple[str, Known]]:
        """Store.ids"""
        above = (pair for pair in self._log(channel).ids.items() if pair[0] > after)
        return nsmallest(limit, above, key=itemgetter(0))

    async def kept(self, name: str, channel: str) -> Kept:
        """Store.kept"""
        return self._kept.get((name, channel), Kept(0))

    async def places(self, channel: str) -> dict[str, Kept]:
        """Store.places"""
        return {name: kept for (name, of), kept in self._kept.items() if of == channel}

    async def keep(
        self, name: str, channel: str, seq: int, state: bytes = b"", *,
        was: int, holder: str | None = None, ttl_s: float = 0,
    ) -> bool:  # fmt: skip
        """Store.keep"""
        self._check_here()
        now = now_us()
        kept = self._kept.get((name, channel), Kept(0))
        if kept.seq != was or (kept.holder not in (None, holder) and kept.until_us > now):
            return False
        self._kept[name, channel] = Kept(seq, state, holder, now + int(ttl_s * 1_000_000) if holder else 0)
        return True

    async def note(self, notes: Sequence[Note]) -> None:
        """Store.note"""
        self._check_here()
        for note in notes:
            if note.who is not None:
                self._receivers.setdefault(note.number, note.who)
            of_it = self._notes.setdefault(note.number, [])
            if not of_it or of_it[-1].at_us < note.at_us:
                of_it.append(note)

    async def noted(self, channel: str, seq: int, since_us: int = 0, subject: str | None = None) -> list[Noted]:
        """Store.noted"""
        wanted = [
            who for _, who in sorted(self._receivers.items(), reverse=True)
            if who.channel == channel and who.began < seq and subject in (None, who.subject)
        ]  # fmt: skip
        return [noted_in(who, self._notes.get(who.number, ()), seq, since_us) for who in wanted[:NOTED_MAX]]

    async def forget(self, before_us: int) -> None:
        """Store.forget"""
        self._check_here()
        for number, notes in list(self._notes.items()):
            self._notes[number] = [note for note in notes if note.at_us >= before_us]
            if not self._notes[number]:
                del self._notes[number]
                self._receivers.pop(number, None)

    async def drop(self, channel: str, through: int) -> Extent:
        """Store.drop"""
        self._check_here()
        log = self._log(channel)
        gone = _index_after(log.events, through)
        if gone:
            log.hash_before = log.events[gone - 1].hash
            del log.events[:gone]
        log.first = max(log.first, min(through, log.last) + 1)
        return self._extent(channel)

    async def begin_epoch(self, channel: str, first: int, reason: str) -> Extent:
        """Store.begin_epoch"""
        self._check_here()
        log = self._log(channel)
        check_epoch_first(self._extent(channel), first)
        log.epochs.append(Epoch(new_epoch_name(), first, log.last, log.hash, reason))
        log.last = first - 1
        return self._extent(channel)

    async def erase(self, channel: str, seq: int) -> None:
        """Store.erase"""
        self._check_here()
        log = self._log(channel)
        if seq < log.first:
            raise PositionTooOld(field="seq", got=seq, first=log.first)
        at = _index_after(log.events, seq - 1)
        if at == len(log.events) or log.events[at].seq != seq:
            raise NotFound(f"there is no event {seq} in `{channel}`", field="seq", got=seq)
        log.events[at] = replace(log.events[at], salt=b"", body=b"")

    async def adopt(self, part: Part) -> None:
        """Store.adopt"""
        self._check_here()
        log = self._logs.get(part.channel)
        events = lacking(part, None if log is None else self._extent(part.channel))
        log = log or _Log([], part.first, part.first - 1, 0, part.hash_before, part.hash_before)
        ids = {**part.known, **log.ids}
        check_adopted(part, ids)
        self._logs[part.channel], log.ids = log, ids
        log.events += events
        log.last = max(log.last, part.last)
        log.epochs = [epoch for epoch in part.epochs if epoch.first <= log.last + 1]
        if events:
            log.hash, log.ts_us = events[-1].hash, events[-1].ts_us

    async def fence(self, moved_to: str = "", ticket: int = 0) -> int:
        """Store.fence"""
        return self._fence(moved_to, ticket)

    def _log(self, channel: str) -> _Log:
        if channel not in self._logs:
            raise UnknownChannel(field="channel", got=channel)
        return self._logs[channel]


def _index_after(events: list[Event], after: int) -> int:
    """The index of the first event with a seq above `after`; seqs are dense but where an epoch begins."""
    return bisect_right(events, after, key=attrgetter("seq"))
