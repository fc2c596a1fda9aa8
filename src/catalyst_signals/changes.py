"""A signal's life after it was published: changed, cancelled, superseded.

Owns: who may change what, and what happens when two change the same at once. What a version says is in versions.py.
Law: the log's law of ids decides: of two who write the same version one wins, and the other looks again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakValueDictionary

from catalyst_signals.errors import (
    Conflict,
    Forbidden,
    IdConflict,
    IdTaken,
    InvalidDraft,
    InvalidRequest,
    NotFound,
    PositionTooOld,
    SignalEnded,
    StoreCorrupt,
    StoreUnavailable,
    VersionConflict,
)
from catalyst_signals.events import Batch, Draft, Event, Known, Refused, Stored, event_id, now_us, wrong_with
from catalyst_signals.filters import EVERYTHING, Filter
from catalyst_signals.kinds import TEXT
from catalyst_signals.publish import Publisher
from catalyst_signals.signals import ENDINGS, check_not_expired
from catalyst_signals.stores import Store
from catalyst_signals.versions import VERSIONS_MAX, Doc, end, event_ids, update
from catalyst_signals.wire import decode, frame_of

NOWHERE = "there is no signal of that id"
TRIES = 8  # Lost so often in a row, one is told instead.

Make = Callable[[Doc], Draft | None]


@dataclass(frozen=True, slots=True)
class Author:
    """Who publishes or changes; an admin may change what others published, `sees` is all that they may know of."""

    subject: str
    is_admin: bool = False
    sees: Filter = EVERYTHING


@dataclass(frozen=True, slots=True)
class Present:
    """A signal as it is now: whose it is, what the log knows of its newest version, and that version."""

    owner: str
    known: Known
    body: bytes
    doc: Doc

    @property
    def version(self) -> int:
        """The number of the newest version."""
        return self.known.version

    @property
    def ended(self) -> bool:
        """Whether nothing can follow."""
        return self.doc["type"] in ENDINGS


class Changes:
    """Changes of signals, on top of publishing."""

    def __init__(self, store: Store, publisher: Publisher) -> None:
        self._store = store
        self._publisher = publisher
        self._changing: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()
        self.erasures = 0  # How often something was erased: what was read before must not be written again.

    # -- looking ----------------------------------------------------------------------------------------------------

    async def versions(self, channel: str, id: str) -> list[Event]:
        """Every version of a signal that is still kept, oldest first.

        Raises:
            NotFound: no signal has this id, or retention dropped all of it.
        """
        known = await self._known(channel, id)
        events = [await self._event(channel, id, each) for each in known]
        found = [event for event in events if event is not None]
        if not found or not found[0].type.startswith("signal."):
            raise NotFound(NOWHERE, field="id", got=id)
        return found

    async def present(self, channel: str, id: str) -> Present:
        """A signal's newest version.

        Raises:
            NotFound: there is none, or what it said is gone.
        """
        known = await self._known(channel, id)
        event = await self._event(channel, id, known[-1])
        if event is None or not event.body or not event.type.startswith("signal."):
            raise NotFound(NOWHERE, field="id", got=id)
        return Present(known[0].subject, known[-1], event.body, frame_of(event).doc)

    async def _known(self, channel: str, id: str) -> list[Known]:
        ids = event_ids(id)
        found = await self._store.find(channel, ids)
        known = [found[each] for each in ids if each in found]
        if "~" in id or not known:
            raise NotFound(NOWHERE, field="id", got=id)
        return known

    async def _event(self, channel: str, id: str, known: Known) -> Event | None:
        try:
            events = await self._store.read(channel, known.seq - 1, 1)
        except PositionTooOld:
            return None
        if not events or events[0].id != event_id(id, known.version):  # The log may have been rewound meanwhile.
            raise StoreUnavailable("this version is being stored; try again")
        (event,) = events
        wrong = wrong_with(event)
        if wrong is not None:
            raise StoreCorrupt(f"event {event.seq} of {channel}: {wrong}", channel=channel, seq=event.seq)
        return event

    # -- changing ---------------------------------------------------------------------------------------------------

    async def update(
        self, channel: str, id: str, patch: Any, author: Author, *, if_version: int | None = None
    ) -> Stored:
        """A new version by a merge patch; one that changes nothing is answered with the present version.

        Raises:
            NotFound, Forbidden, InvalidDraft, TooLarge: there is nothing to change, or not by them or so.
            SignalEnded, VersionConflict: it changed otherwise first.
        """
        return await self._change(channel, id, author, if_version, lambda doc: _updated(doc, patch))

    async def cancel(
        self, channel: str, id: str, reason: str | None, author: Author, *, if_version: int | None = None
    ) -> Stored:
        """The end of a signal; raises as `update` does."""
        why = {} if reason is None else {"reason": TEXT.check(reason, "reason")}
        return await self._change(channel, id, author, if_version, lambda doc: end(doc, "signal.cancelled", **why))

    async def _change(self, channel: str, id: str, author: Author, if_version: int | None, make: Make) -> Stored:
        async with self._changing.setdefault((channel, id), asyncio.Lock()):  # Here one after the other: nobody loses.
            return await self._change_it(channel, id, author, if_version, make)

    async def _change_it(self, channel: str, id: str, author: Author, if_version: int | None, make: Make) -> Stored:
        for _ in range(TRIES):
            erasures = self.erasures
            present = await self.present(channel, id)
            if erasures != self.erasures:
                continue
            _check_change(present, author, if_version)
            draft = make(present.doc)
            if draft is not None and draft.version > VERSIONS_MAX and draft.type not in ENDINGS:
                raise Conflict(f"a signal has at most {VERSIONS_MAX} versions; cancel it and publish another", got=id)
            try:
                if draft is None:
                    return await self._again(channel, present)
                return await self._publisher.publish(Batch(channel=channel, subject=author.subject, drafts=[draft]))
            except (IdConflict, IdTaken):
                continue  # Somebody was first: look again.
        raise VersionConflict("others change this signal all the time; try again", field="id", got=id)

    async def _again(self, channel: str, present: Present) -> Stored:
        """The present version as if it were published again: a duplicate."""
        known = present.known
        id = event_id(present.doc["id"], known.version)
        draft = Draft(
            type=present.doc["type"], id=id, body=present.body, draft_hash=known.draft_hash, version=known.version
        )
        return await self._publisher.publish(Batch(channel=channel, subject=known.subject, drafts=[draft]))

    # -- publishing ---------------------------------------------------------------------------------------------------

    async def publish(
        self, channel: str, author: Author, drafts: Sequence[Draft], beside: Sequence[Batch] = ()
    ) -> Stored:
        """Store signals and, in the same batch, the end of those they supersede; `beside` is stored in the same commit.

        Raises:
            CatalystError: what the batch was refused with; nothing of it was stored.
        """
        superseding = [draft for draft in drafts if supersedes(draft)]
        for _ in range(TRIES):
            erasures = self.erasures
            ends = await self._ends(channel, author, superseding) if superseding else []
            if erasures != self.erasures:
                continue
            batch = Batch(channel=channel, subject=author.subject, drafts=[*drafts, *ends])
            result, *_ = await self._publisher.submit([batch, *beside])
            if not isinstance(result, Refused):
                return replace(result, receipts=result.receipts[: len(drafts)])
            if result.error.got not in [draft.id for draft in ends]:
                raise result.error
        raise VersionConflict("others change the superseded signal all the time; try again", field="supersedes")

    async def _ends(self, channel: str, author: Author, superseding: Sequence[Draft]) -> list[Draft]:
        """The ends of the superseded signals; none for a draft that is a retry, or whose other has ended already."""
        stored = await self._store.find(channel, [draft.id for draft in superseding])
        ends: dict[str, Draft] = {}
        for draft in superseding:
            other = supersedes(draft)
            if draft.id in stored or other is None:
                continue
            try:
                present = await self.present(channel, other)
                _check_owner(present, author, "supersedes")
            except NotFound as error:
                text = (
                    "`supersedes` names a signal that is not in this channel; leave it out, or publish that one first"
                )
                raise InvalidDraft(text, field="supersedes", got=other) from error
            if not present.ended and other != draft.id:
                ends.setdefault(other, end(present.doc, "signal.superseded", superseded_by=draft.id))
        return list(ends.values())


def supersedes(draft: Draft) -> str | None:
    """The id of the signal that a draft takes the place of; decodes only drafts that may say one."""
    if b'"supersedes"' not in draft.body:
        return None
    other: str | None = decode(draft.body)["data"].get("supersedes")
    return other


def _updated(doc: Doc, patch: Any) -> Draft | None:
    draft = update(doc, patch)
    late = None if draft is None else check_not_expired(decode(draft.body)["data"], now_us())
    if late is None:
        return draft
    if "expires_at" in patch:
        raise late
    raise SignalEnded(f"this signal expired at {late.got}; publish another", field="id", got=doc["id"])


def _check_change(present: Present, author: Author, if_version: int | None) -> None:
    _check_owner(present, author, "id")
    if present.ended:
        ended = present.doc["type"].removeprefix("signal.")
        text = f"this signal has ended ({ended}): nothing can follow; publish another"
        raise SignalEnded(text, field="id", got=present.doc["id"], ended=ended, version=present.version)
    if if_version not in (None, present.version):
        raise VersionConflict(
            f"this signal is at version {present.version} now; read it and decide again", field="If-Match",
            got=if_version, allowed=present.version, version=present.version,
        )  # fmt: skip


def _check_owner(present: Present, author: Author, field: str) -> None:
    if present.owner == author.subject or author.is_admin:
        return
    if not author.sees.matches(present.doc):
        raise NotFound(NOWHERE, field="id", got=present.doc["id"])
    raise Forbidden("this signal is somebody else's; only who published it may change it", field=field)


def if_match(header: str | None) -> int | None:
    """The version that an `If-Match` names; None for any.

    Raises:
        InvalidRequest: it names none.
    """
    text = (header or "*").strip()
    if text == "*":
        return None
    number = text.removeprefix("W/").strip('"')
    if not number.isascii() or not number.isdigit() or len(number) > 9:
        raise InvalidRequest('`If-Match` is a version, such as "2"', field="If-Match", got=text, allowed='"2"')
    return int(number)
