"""The judge: knows the promise and nothing else. It looks at the final log, at what publishers were answered and at
what subscribers were sent, and says where they differ.

Law: every subscriber receives exactly `filter(log)`, in order, from its position on; every position is true; an
acknowledged draft is in the log, once, where the answer said; a draft that was refused is not. Nothing softer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import msgspec

from catalyst_signals.errors import CatalystError, IdConflict, IdTaken, UnknownChannel
from catalyst_signals.events import NO_HASH, Batch, Event, wrong_with
from catalyst_signals.filters import Filter
from catalyst_signals.wire import frame_of

Complaints = Iterator[str]


@dataclass(eq=False)
class Offer:
    """A batch somebody wants stored, and everything they were ever answered about it."""

    batch: Batch
    stored: list[list[tuple[int, str]]] = field(default_factory=list)  # (seq, id) for each draft, for each answer.
    refused: list[CatalystError] = field(default_factory=list)
    given_up: bool = False


@dataclass(frozen=True)
class Mark:
    """The server said: after the first `count` events of this stretch you are complete through `seq`."""

    what: str
    count: int
    seq: int
    epoch: str | None = None
    sent: int | None = None
    hash8: str | None = None


@dataclass(eq=False)
class Stretch:
    """From one `subscribed` to the next, or to the end of the connection: one filter, what came, what was said."""

    filter: Filter
    after: int
    epoch: str
    asked: int | None  # What the reader gave as `after`.
    received: list[tuple[int, bytes]] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    open: bool = True  # The reader is still subscribed and connected when the world ends.

    def reached(self) -> int:
        """Up to where the reader may believe it has everything."""
        last = self.received[-1][0] if self.received else 0
        return max([self.after, last, *(mark.seq for mark in self.marks)])


@dataclass(eq=False)
class Life:
    """A reader's subscriptions to a channel that continue each other; `handed` is what it kept of them."""

    reader: str
    channel: str
    stretches: list[Stretch] = field(default_factory=list)
    handed: list[tuple[int, bytes]] = field(default_factory=list)


class Log:
    """The final log of one channel as subscribers must have seen it."""

    def __init__(self, channel: str, events: Sequence[Event]) -> None:
        self.channel = channel
        self.events = events
        self._frames = [frame_of(event) for event in events]
        self._matching: dict[Filter, list[tuple[int, bytes]]] = {}

    @property
    def head(self) -> int:
        """The last seq."""
        return len(self.events)

    @cached_property
    def docs(self) -> list[dict[str, object]]:
        """The events as a filter sees them."""
        return [msgspec.json.decode(frame.text) for frame in self._frames]

    def hash8(self, seq: int) -> str:
        """The hash8 at a seq of this log."""
        return self.events[seq - 1].hash[:4].hex() if seq else NO_HASH[:4].hex()

    def wanted(self, filter: Filter, after: int, through: int) -> list[tuple[int, bytes]]:
        """What `filter` wants of the events after `after` up to `through`."""
        found = self._matching.get(filter)
        if found is None:
            found = self._matching[filter] = [
                (frame.seq, frame.text)
                for frame, doc in zip(self._frames, self.docs, strict=True)
                if filter.matches(doc)
            ]
        return [pair for pair in found if after < pair[0] <= through]

    def faults(self) -> Complaints:
        """Dense, chained, every id once."""
        before = NO_HASH
        for seq, event in enumerate(self.events, 1):
            if event.seq != seq:
                yield f"log {self.channel}: event {event.seq} stands where {seq} should"
            if event.prev != before:
                yield f"log {self.channel}: event {event.seq} does not join the one before it"
            if (wrong := wrong_with(event)) is not None:
                yield f"log {self.channel}: event {event.seq}: {wrong}"
            before = event.hash
        ids = [event.id for event in self.events]
        for id in sorted({id for id in ids if ids.count(id) > 1} if len(set(ids)) < len(ids) else ()):
            yield f"log {self.channel}: {id} is there {ids.count(id)} times"


def judge(logs: dict[str, Log], offers: Sequence[Offer], lives: Sequence[Life], refusals: Sequence[str]) -> list[str]:
    """Every way in which the promise was not kept; empty when it was."""
    complaints = [fault for log in logs.values() for fault in log.faults()]
    complaints += _judge_offers(logs, offers)
    for life in lives:
        complaints += _judge_life(logs[life.channel], life)
    complaints += [f"a true position was refused: {refusal}" for refusal in refusals]
    return complaints


# -- publishers -------------------------------------------------------------------------------------------------------


def _judge_offers(logs: dict[str, Log], offers: Sequence[Offer]) -> Complaints:
    rivals: dict[tuple[str, str], set[tuple[str, bytes]]] = {}
    holders: Counter[tuple[str, str]] = Counter()
    for offer in offers:
        holders.update({(offer.batch.channel, draft.id) for draft in offer.batch.drafts})
        for draft in offer.batch.drafts:
            rivals.setdefault((offer.batch.channel, draft.id), set()).add((offer.batch.subject, draft.draft_hash))
    places = {(channel, event.id): event for channel, log in logs.items() for event in log.events}
    bodies = {(offer.batch.channel, draft.id, draft.body) for offer in offers for draft in offer.batch.drafts}
    for (channel, id), event in places.items():
        if (channel, id, event.body) not in bodies:
            yield f"log {channel}: {id} at {event.seq} is not what anybody sent"
    for offer in offers:
        channel = offer.batch.channel
        contested = any(len(rivals[channel, draft.id]) > 1 for draft in offer.batch.drafts)
        own = [places.get((channel, draft.id)) for draft in offer.batch.drafts if holders[channel, draft.id] == 1]
        yield from _judge_offer(offer, contested, own, channel in logs)
        for receipts in offer.stored:
            yield from _judge_receipts(_name(offer.batch), offer.batch, receipts, places)


def _judge_offer(offer: Offer, contested: bool, own: list[Event | None], known: bool) -> Complaints:
    """`own` is where those drafts stand that are in no other batch; `contested`: some id means several things."""
    name = _name(offer.batch)
    if any(own) and not all(own):
        yield f"{name}: part of it is in the log"
    if offer.refused and offer.stored:
        yield f"{name}: was refused ({offer.refused[0].name}) and acknowledged"
    if offer.refused and any(own):
        yield f"{name}: was refused ({offer.refused[0].name}) and is in the log"
    for error in offer.refused:
        unknown = isinstance(error, UnknownChannel) and not known
        if not unknown and not (contested and isinstance(error, IdConflict | IdTaken)):
            yield f"{name}: was refused for no reason: {error.name}"
    if not offer.stored and not offer.refused and not offer.given_up:
        yield f"{name}: was never answered"


def _name(batch: Batch) -> str:
    return f"batch {','.join(draft.id for draft in batch.drafts)} of {batch.subject} in {batch.channel}"


def _judge_receipts(
    name: str, batch: Batch, receipts: list[tuple[int, str]], places: dict[tuple[str, str], Event]
) -> Complaints:
    if len(receipts) != len(batch.drafts):
        yield f"{name}: {len(receipts)} receipts for {len(batch.drafts)} drafts"
    for draft, (seq, id) in zip(batch.drafts, receipts, strict=False):
        event = places.get((batch.channel, draft.id))
        if id != draft.id:
            yield f"{name}: the receipt of {draft.id} names {id}"
        elif event is None:
            yield f"{name}: {id} was acknowledged at {seq} and is not in the log"
        elif event.seq != seq:
            yield f"{name}: {id} was acknowledged at {seq} and stands at {event.seq}"
        elif event.body != draft.body:
            yield f"{name}: {id} was acknowledged at {seq}, where something else stands"


# -- subscribers ------------------------------------------------------------------------------------------------------


def _judge_life(log: Log, life: Life) -> Complaints:
    name = f"{life.reader} on {life.channel}"
    expected: list[tuple[int, bytes]] = []
    top = life.stretches[0].after if life.stretches else 0
    for number, stretch in enumerate(life.stretches, 1):
        yield from _judge_stretch(log, f"{name}, stretch {number} ({stretch.filter.text or 'everything'})", stretch)
        if stretch.after > top:
            yield f"{name}, stretch {number}: begins after {stretch.after}, but the reader was only at {top}"
        end = stretch.reached()
        expected += log.wanted(stretch.filter, max(stretch.after, top), end)
        top = max(top, end)
    if life.handed != expected:
        yield f"{name}: in all it kept {_seqs(life.handed)}, and should have {_seqs(expected)}"


def _judge_stretch(log: Log, name: str, stretch: Stretch) -> Complaints:
    if stretch.asked is not None and stretch.after != stretch.asked:
        yield f"{name}: asked for what comes after {stretch.asked}, got it from after {stretch.after}"
    reached = stretch.reached()
    if reached > log.head:
        yield f"{name}: is told of {reached}, the log ends at {log.head}"
    wanted = log.wanted(stretch.filter, stretch.after, log.head)
    if stretch.received != wanted[: len(stretch.received)]:
        yield f"{name}: received {_seqs(stretch.received)}, and should have {_seqs(wanted)}{_bytes(stretch, wanted)}"
    for mark in stretch.marks:
        yield from _judge_mark(log, name, stretch, mark)
    if stretch.open and len(stretch.received) < len(wanted):
        yield f"{name}: never got {_seqs(wanted[len(stretch.received) :])}"


def _judge_mark(log: Log, name: str, stretch: Stretch, mark: Mark) -> Complaints:
    says = f"{name}: `{mark.what}` says complete through {mark.seq}"
    due = len(log.wanted(stretch.filter, stretch.after, mark.seq))
    if mark.count != due:
        yield f"{says} after {mark.count} events since {stretch.after}, there are {due}"
    if mark.sent is not None and mark.sent != mark.count:
        yield f"{says} and {mark.sent} sent, it was {mark.count}"
    if mark.seq <= log.head:
        if mark.hash8 is not None and mark.hash8 != log.hash8(mark.seq):
            yield f"{says} with hash {mark.hash8}, the log has {log.hash8(mark.seq)}"
        if mark.epoch is not None and log.events and mark.epoch != log.events[0].epoch:
            yield f"{says} in epoch {mark.epoch}, the log has {log.events[0].epoch}"


def _seqs(pairs: Sequence[tuple[int, bytes]]) -> str:
    return "[" + " ".join(str(seq) for seq, _ in pairs) + "]"


def _bytes(stretch: Stretch, wanted: list[tuple[int, bytes]]) -> str:
    texts = dict(wanted)
    other = [seq for seq, text in stretch.received if texts.get(seq, text) != text]
    return f"; other bytes at {other}" if other else ""
