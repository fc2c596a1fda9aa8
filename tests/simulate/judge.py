"""The judge: knows the promise and nothing else. It looks at the log as it is and as it was, at what publishers were
answered and at what subscribers were sent, and says where they differ.

Law: every subscriber receives exactly `filter(log)`, in order, from its position on, but for what its modifiers hold,
which is counted; every position is true; an acknowledged draft is in the log, once, where the answer said, unless it is
among what a rewind took back; a draft that was refused is not. Nothing softer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from catalyst_signals.errors import (
    CatalystError,
    Forbidden,
    IdConflict,
    IdTaken,
    InvalidDraft,
    NotFound,
    SignalEnded,
    UnknownChannel,
    VersionConflict,
)
from catalyst_signals.events import Batch, Draft, Event, event_id, parse_iso
from catalyst_signals.wire import decode

from .history import NEVER, Complaints, Fact, History, Log
from .stretches import Life, judge_life

LATE_US = 2_600_000  # Who looks that late at the clock has written by then that a signal is over.


@dataclass(eq=False)
class Offer:
    """A batch somebody wants stored, and everything they were ever answered about it."""

    batch: Batch
    stored: list[list[tuple[int, str]]] = field(default_factory=list)  # (seq, id) for each draft, for each answer.
    refused: list[tuple[CatalystError, int]] = field(default_factory=list)  # And when.
    given_up: bool = False


@dataclass(eq=False)
class Change:
    """What somebody wants of a signal, and everything they were answered: `patch` is None for its cancellation."""

    channel: str
    id: str
    subject: str
    patch: dict[str, Any] | None
    reason: str = ""
    if_version: int | None = None
    stored: list[tuple[int, str, int]] = field(default_factory=list)  # (seq, id, version)
    refused: list[tuple[CatalystError, int]] = field(default_factory=list)
    given_up: bool = False

    def makes(self, before: dict[str, Any], after: dict[str, Any]) -> bool:
        """Whether that is what was wanted."""
        made = before | (self.patch if self.patch is not None else {"reason": self.reason})
        return {name: value for name, value in made.items() if value is not None} == after


@dataclass(eq=False)
class Case:
    """All that is known of one world. `restored` has the times of the rewinds that were somebody's will."""

    histories: dict[str, History]
    offers: Sequence[Offer]
    changes: Sequence[Change]
    lives: Sequence[Life]
    refusals: Sequence[str]
    restored: set[int]
    rest_us: int


def judge(case: Case) -> list[str]:
    """Every way in which the promise was not kept; empty when it was."""
    complaints = [fault for history in case.histories.values() for fault in history.faults(case.restored)]
    complaints += _judge_offers(case.histories, case.offers)
    complaints += _judge_changes(case)
    complaints += _judge_expiry(case)
    for life in case.lives:
        complaints += judge_life(case.histories[life.channel], life)
    complaints += [f"a true position was refused: {refusal}" for refusal in case.refusals]
    return complaints


# -- publishers -------------------------------------------------------------------------------------------------------


def _judge_offers(histories: dict[str, History], offers: Sequence[Offer]) -> Complaints:
    rivals: dict[tuple[str, str], set[tuple[str, bytes]]] = {}
    holders: Counter[tuple[str, str]] = Counter()
    for offer in offers:
        holders.update({(offer.batch.channel, draft.id) for draft in offer.batch.drafts})
        for draft in offer.batch.drafts:
            rivals.setdefault((offer.batch.channel, draft.id), set()).add((offer.batch.subject, draft.draft_hash))
    yield from _judge_bodies(histories, offers)
    for offer in offers:
        channel = offer.batch.channel
        history = histories.get(channel)
        contested = any(len(rivals[channel, draft.id]) > 1 for draft in offer.batch.drafts)
        alone = [draft for draft in offer.batch.drafts if holders[channel, draft.id] == 1]
        yield from _judge_offer(offer, contested, alone, history)
        for receipts in offer.stored:
            yield from _judge_receipts(_name(offer.batch), offer.batch, receipts, history)


def _judge_bodies(histories: dict[str, History], offers: Sequence[Offer]) -> Complaints:
    bodies = {(offer.batch.channel, draft.id, draft.body) for offer in offers for draft in offer.batch.drafts}
    for channel, history in histories.items():
        for log in history.logs:
            for fact in log.facts:
                first = fact.event.version == 1
                if first and (channel, fact.event.id, fact.event.body) not in bodies:
                    yield f"log {channel}: {fact.event.id} at {fact.seq} is not what anybody sent"


def _judge_offer(offer: Offer, contested: bool, alone: Sequence[Draft], history: History | None) -> Complaints:
    """`alone` are those drafts that are in no other batch; `contested`: some id means several things."""
    name = _name(offer.batch)
    logs = history.logs if history is not None else []
    for log in logs:
        own = [draft.id in log.places for draft in alone]
        if any(own) and not all(own) and not log.rewound:  # A change may bring back the one that it changes.
            yield f"{name}: part of it is in the log"
        sure = [error for error, at_us in offer.refused if not _too_late(offer.batch, error, at_us, history)]
        if sure and any(own) and len(logs) == 1:
            yield f"{name}: was refused ({sure[0].name}) and is in the log"
        if sure and offer.stored and len(logs) == 1:
            yield f"{name}: was refused ({sure[0].name}) and acknowledged"
    for error, at_us in offer.refused:
        unknown = isinstance(error, UnknownChannel) and history is None
        clash = contested and isinstance(error, IdConflict | IdTaken)
        if not unknown and not clash and not _too_late(offer.batch, error, at_us, history):
            yield f"{name}: was refused for no reason: {error.name}"
    if not offer.stored and not offer.refused and not offer.given_up:
        yield f"{name}: was never answered"


def _too_late(batch: Batch, error: CatalystError, at_us: int, history: History | None) -> bool:
    """Refused for what changed meanwhile: that says nothing of an earlier attempt, whose outcome is not known."""
    return _late(batch, error, at_us) or _cannot_supersede(batch, error, history)


def _late(batch: Batch, error: CatalystError, at_us: int) -> bool:
    """Whether a signal was over when it came."""
    times = [decode(draft.body)["data"].get("expires_at") for draft in batch.drafts]
    over = any(text is not None and (parse_iso(text) or 0) <= at_us for text in times)
    return over and isinstance(error, InvalidDraft) and error.field == "expires_at"


def _cannot_supersede(batch: Batch, error: CatalystError, history: History | None) -> bool:
    """Whether what it supersedes is gone, or somebody else's, or changes all the time."""
    for draft in batch.drafts:
        other = decode(draft.body)["data"].get("supersedes")
        if other is not None and isinstance(error, VersionConflict):
            return True
        if other is not None and isinstance(error, InvalidDraft | Forbidden) and error.field == "supersedes":
            return isinstance(error, Forbidden) or history is None or _may_be_gone(history, other)
    return False


def _may_be_gone(history: History, id: str) -> bool:
    """Whether a signal was not there at some time: never, dropped, erased or taken back."""
    facts = history.final.signals.get(id)
    if not facts or history.lost:
        return True
    return min(fact.seq for fact in facts) < max(history.firsts) or any(fact.erasure is not None for fact in facts)


def _name(batch: Batch) -> str:
    return f"batch {','.join(draft.id for draft in batch.drafts)} of {batch.subject} in {batch.channel}"


def _judge_receipts(name: str, batch: Batch, receipts: list[tuple[int, str]], history: History | None) -> Complaints:
    if len(receipts) != len(batch.drafts):
        yield f"{name}: {len(receipts)} receipts for {len(batch.drafts)} drafts"
    for draft, (seq, id) in zip(batch.drafts, receipts, strict=False):
        if id != draft.id:
            yield f"{name}: the receipt of {draft.id} names {id}"
            continue
        events = [_event(log, draft.id) for log in (history.logs if history is not None else ())]
        if not any(event is not None and event.seq == seq and event.body == draft.body for event in events):
            event = next((event for event in events if event is not None), None)
            if event is None:
                yield f"{name}: {id} was acknowledged at {seq} and is not in the log"
            elif event.seq != seq:
                yield f"{name}: {id} was acknowledged at {seq} and stands at {event.seq}"
            else:
                yield f"{name}: {id} was acknowledged at {seq}, where something else stands"


def _event(log: Log, id: str) -> Event | None:
    fact = log.places.get(id)
    return fact.event if fact is not None else None


# -- changes ----------------------------------------------------------------------------------------------------------


def _judge_changes(case: Case) -> Complaints:
    wanted: dict[tuple[str, str], list[Change]] = {}
    for change in case.changes:
        wanted.setdefault((change.channel, change.id), []).append(change)
    for channel, history in case.histories.items():
        for log in history.logs:
            for id, facts in log.signals.items():
                for before, fact in pairwise(facts if log.has_all(id) else ()):
                    if not _is_wanted(log, before, fact, wanted.get((channel, id), ())):
                        yield f"log {channel}: {fact.event.type} of {id} at {fact.seq} is not what anybody asked for"
        if not history.final.rewound:  # Else it may have been taken for a retry of what was taken back meanwhile.
            yield from _judge_superseding(history.final)
    owners = _owners(case.offers)
    for change in case.changes:
        yield from _judge_change(case.histories.get(change.channel), change, owners[change.channel, change.id])


def _owners(offers: Sequence[Offer]) -> dict[tuple[str, str], set[str]]:
    owners: dict[tuple[str, str], set[str]] = {}
    for offer in offers:
        for draft in offer.batch.drafts:
            owners.setdefault((offer.batch.channel, draft.id), set()).add(offer.batch.subject)
    return owners


def _is_wanted(log: Log, before: Fact, fact: Fact, changes: Sequence[Change]) -> bool:
    match fact.event.type:
        case "signal.updated":
            return any(change.patch is not None and change.makes(before.data, fact.data) for change in changes)
        case "signal.cancelled":
            return any(change.patch is None and change.makes(before.data, fact.data) for change in changes)
        case "signal.expired":
            return fact.data == before.data
        case "signal.superseded":
            by = fact.data.get("superseded_by")
            other = log.places.get(str(by))
            said = other is not None and other.data.get("supersedes") == fact.docs[0]["id"]
            return said and fact.data == before.data | {"superseded_by": by}
    return False


def _judge_superseding(log: Log) -> Complaints:
    """What another signal took the place of ended before it or with it."""
    for fact in log.facts:
        other = log.signals.get(fact.data.get("supersedes", "")) if fact.event.version == 1 else None
        if other is None or other[0].erasure is not None or other[0] is fact:
            continue
        if not other[-1].ends or (other[-1].seq > fact.seq and other[-1].event.ts_us != fact.event.ts_us):
            yield f"log {log.channel}: {fact.event.id} at {fact.seq} supersedes {other[0].event.id}, which goes on"


def _judge_change(history: History | None, change: Change, owners: set[str]) -> Complaints:
    """Without a history there is no such channel, though somebody may have been told that a signal is in it."""
    logs = history.logs if history is not None else []
    what = "cancel" if change.patch is None else f"update by {change.patch}"
    name = f"{what} of {change.id} in {change.channel} by {change.subject}"
    for seq, id, version in change.stored:
        events = [_event(log, event_id(change.id, version)) for log in logs]
        if id != event_id(change.id, version) or not any(e is not None and e.seq == seq for e in events):
            yield f"{name}: version {version} was acknowledged at {seq} as {id} and is not in the log"
    if change.stored and change.subject not in owners:
        yield f"{name}: was taken, and it is another's signal"
    for error, at_us in change.refused:
        nowhere = history is None and isinstance(error, UnknownChannel)
        if not nowhere and (history is None or not _refused_rightly(history, change, owners, error, at_us)):
            yield f"{name}: was refused for no reason: {error.name}: {error}"
    if not change.stored and not change.refused and not change.given_up:
        yield f"{name}: was never answered"


def _refused_rightly(history: History, change: Change, owners: set[str], error: CatalystError, at_us: int) -> bool:
    versions = [fact for log in history.logs for fact in log.signals.get(change.id, ())]
    match error:
        case VersionConflict():
            present = event_id(change.id, error.extra.get("version", 0))
            at_another = change.if_version is not None and error.extra.get("version") != change.if_version
            return at_another and any(present in log.places for log in history.logs)
        case SignalEnded():
            return any(fact.ends or fact.ends_us <= at_us for fact in versions)
        case NotFound():
            return _may_be_gone(history, change.id)
        case Forbidden():
            return owners != {change.subject} or history.final.rewound  # Then the first version may be missing.
        case InvalidDraft():
            until = (change.patch or {}).get("expires_at")
            return error.field == "expires_at" and until is not None and (parse_iso(until) or NEVER) <= at_us
    return False


def _judge_expiry(case: Case) -> Complaints:
    for channel, history in case.histories.items():
        kept = max(history.firsts)
        for id, facts in history.final.signals.items():
            last = facts[-1]
            if not history.final.has_all(id):
                continue
            if last.ends_us < case.rest_us - LATE_US and last.erasure is None and last.seq >= kept:
                yield f"log {channel}: {id} at {last.seq} is over, and nobody ended it"
