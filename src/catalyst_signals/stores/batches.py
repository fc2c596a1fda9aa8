"""One append, judged as a whole before any of it is written: for back-ends that lock a channel's head in a database.

Owns: what each batch is answered, and what is to be written for it; and how rows become the events they were. Knows
nothing of SQL or drivers. Law: whoever holds the heads' locks gets the same answers as the store in memory gives.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from catalyst_signals.errors import CatalystError, StoreCorrupt, UnknownChannel
from catalyst_signals.events import (
    Batch,
    Draft,
    Event,
    Extent,
    Known,
    Receipt,
    Refused,
    Stored,
    next_seq,
    now_us,
    seal,
)
from catalyst_signals.stores import judge

NOT_YET = 1 << 62
EVENT_TYPES = (int, str, str, int, int, bytes, bytes, bytes, bytes)


@dataclass(slots=True)
class Head:
    """Where a channel's next event joins; `number` is what the tables of a back-end call the channel."""

    number: int
    epoch: str
    last: int
    ts_us: int
    hash: bytes


class Change:
    """What one append adds, judged batch by batch, against the log and the batches before.

    `heads` and `known` are afterwards as if `events` and `ids`, which have the channels that grew, were written.
    """

    def __init__(self, batches: Sequence[Batch], heads: dict[str, Head], known: dict[str, dict[str, Known]]) -> None:
        """`heads` has every channel that is there, locked; `known`, by channel, what is known of `ids_asked`."""
        self._at_us = now_us()
        self._known = known
        self.heads = heads
        self.events: dict[str, list[Event]] = {}
        self.ids: dict[str, dict[str, Known]] = {}
        self._judged = [self._judge(batch) for batch in batches]

    @property
    def ends(self) -> dict[str, int]:
        """The newest seq of every channel that was looked at."""
        return {channel: head.last for channel, head in self.heads.items()}

    def results(self, durability: str) -> list[Stored | Refused]:
        """What is answered once it was committed that safely."""
        return [
            judged if isinstance(judged, Refused) else Stored(
                channel=judged[0], epoch=self.heads[judged[0]].epoch, receipts=judged[1], events=judged[2],
                durability=durability,
            )
            for judged in self._judged
        ]  # fmt: skip

    def _judge(self, batch: Batch) -> Refused | tuple[str, list[Receipt], list[Event]]:
        """One batch; a refused one leaves nothing behind."""
        head = self.heads.get(batch.channel)
        if head is None:
            return Refused(UnknownChannel(field="channel", got=batch.channel))
        known = self._known[batch.channel]
        try:
            judge(batch.drafts, batch.subject, known)
        except CatalystError as error:
            return Refused(error)
        events: list[Event] = []
        receipts = [self._receipt(batch, draft, head, known, events) for draft in batch.drafts]
        if events:
            self.events.setdefault(batch.channel, []).extend(events)
        return batch.channel, receipts, events

    def _receipt(self, batch: Batch, draft: Draft, head: Head, known: dict[str, Known], events: list[Event]) -> Receipt:
        first = known.get(draft.id)
        if first is not None:
            return Receipt(first.seq, draft.id, first.version, first.ts_us, True)
        ts_us = max(head.ts_us, self._at_us)
        event = seal(draft, channel=batch.channel, epoch=head.epoch, seq=head.last + 1, ts_us=ts_us, prev=head.hash)
        head.last, head.hash, head.ts_us = event.seq, event.hash, ts_us
        known[draft.id] = Known(event.seq, batch.subject, draft.draft_hash, draft.version, ts_us)
        self.ids.setdefault(batch.channel, {})[draft.id] = known[draft.id]
        events.append(event)
        return Receipt(event.seq, draft.id, draft.version, ts_us, False)


def page_of(
    extent: Extent, rows: Sequence[tuple[Any, ...]], after: int, limit: int, bytes_max: int, prev: bytes
) -> list[Event]:  # fmt: skip
    """The rows behind `after` as a page of Store.read, each event joined to the one before; `prev` is the hash there.

    A row is seq, type, id, version, ts_us, salt, body, body_hash, hash. Fewer rows than `limit`, none of them too much
    for `bytes_max`, are all there are.

    Raises:
        StoreCorrupt: what cannot have been written (a hole, a field of another type); never a shorter page.
    """
    page: list[Event] = []
    at, epoch, end = after, "", 0
    for row in rows:
        seq, kind, id, version, ts_us, salt, body, body_hash, hash = row
        if seq != at + 1 or seq >= end:
            epoch, end = enter(extent, at, seq)
        if tuple(map(type, row)) != EVENT_TYPES:
            raise StoreCorrupt(
                f"event {seq} of {extent.channel} is not what was written", channel=extent.channel, seq=seq
            )
        bytes_max -= len(body)
        if bytes_max < 0 and page:
            return page
        page.append(Event(extent.channel, epoch, seq, kind, id, version, ts_us, salt, body, body_hash, prev, hash))
        at, prev = seq, hash
    if len(rows) < limit and bytes_max >= 0 and at < extent.last:
        enter(extent, at, extent.last + 1)
    return page


def enter(extent: Extent, at: int, seq: int) -> tuple[str, int]:
    """The name of the epoch of `seq`, which comes right after `at`, and the first seq that is no longer in it."""
    expected = next_seq(extent.epochs, at)
    if seq != expected:
        raise StoreCorrupt(f"event {expected} of {extent.channel} is missing", channel=extent.channel, seq=expected)
    end = NOT_YET
    for epoch in reversed(extent.epochs):
        if epoch.first <= seq:
            return epoch.name, end
        end = epoch.first
    return "", end


def opened_by(batches: Iterable[Batch], heads: Mapping[str, Head]) -> list[str]:
    """The channels that must be opened before these batches can be judged."""
    return sorted({batch.channel for batch in batches if not batch.drafts} - set(heads))
