"""The Store port: the log, which is the only truth. Back-ends live beside this file, one each.

Law: per channel, `seq` is dense within an epoch and in commit order; ids are unique for ever; nothing is shown
above `durable`. tests/conformance/test_stores.py is the long form, and every back-end passes it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from catalyst_signals.errors import (
    CatalystError,
    Conflict,
    IdConflict,
    IdTaken,
    InvalidRequest,
    StoreCorrupt,
)
from catalyst_signals.events import (
    Batch,
    Draft,
    Event,
    Extent,
    Kept,
    Known,
    Part,
    Refused,
    Stored,
    next_seq,
    wrong_with,
)
from catalyst_signals.ledger import Note, Noted

STORES = {
    "memory": "catalyst_signals.stores.memory:MemoryStore",
    "mysql": "catalyst_signals.stores.mysql:MysqlStore",
    "postgresql": "catalyst_signals.stores.postgres:PostgresStore",
    "sqlite": "catalyst_signals.stores.sqlite:SqliteStore",
    "unix": "catalyst_signals.stores.unix:UnixStore",
}
"""Scheme of `store_url` -> back-end."""

COPIES = {"sqlite": "catalyst_signals.stores.sqlite.copying:SqliteCopies"}
"""Scheme of `store_url` -> how a log is copied out and put back as a whole file; others go event by event."""

SAFETY_COPIES = {"sqlite": "catalyst_signals.stores.sqlite.arriving:SqliteSafetyCopy"}
"""What a safety copy of any log is: an empty store that becomes one plain file when everything is in it."""

ARRIVALS = {
    "mysql": STORES["mysql"],
    "postgresql": STORES["postgresql"],
    "sqlite": "catalyst_signals.stores.sqlite.arriving:SqliteArrival",
}
"""Scheme of `store_url` -> a store for a log from elsewhere. Only a file is there as a whole or not at all."""

MIGRATIONS = {"postgresql": "catalyst_signals.stores.postgres.migrating:PostgresMigrations"}
"""Scheme of `store_url` -> how its tables are migrated; the others have nothing that waits for older releases to go."""

SCRATCHES = {
    "postgresql": "catalyst_signals.stores.postgres.scratch:PostgresScratch",
    "sqlite": "catalyst_signals.stores.sqlite.scratch:SqliteScratch",
}
"""Scheme of `store_url` -> a throw-away log at the same place."""

FENCE_US = 5_000_000  # How long a fence holds without a word from who is moving the log: it may have been killed.

PAGE_BYTES_MAX = 1 << 20  # One page of a read: 1 MiB holds about 3,000 usual signals.


@dataclass(frozen=True, slots=True)
class Migrated:
    """What a migration did: the newest one before and after, by file the ones it applied, and the ones that wait."""

    was: int
    version: int
    applied: list[str]
    waiting: list[str]


class Scratch(Protocol):
    """An empty place for a log beside the one of a URL, which is not touched; gone when it is left. Enter it."""

    @property
    def url(self) -> str:
        """The `store_url` of it; may hold a password."""

    async def size_bytes(self) -> int:
        """What it takes on the disk now, once a store was opened there."""


class Store(Protocol):
    """The log of every channel. Every back-end is an async context manager: open means usable, closed means closed."""

    @property
    def fault(self) -> CatalystError | None:
        """Why nothing is appended any more until a person looked, or None; what can be trusted is read all the same."""

    @property
    def moved_to(self) -> str:
        """The URL of the store where the log is now, as of the last `extents`; empty while it is here."""

    async def append(self, batches: Sequence[Batch]) -> list[Stored | Refused]:
        """Store each batch all or none by itself, in order; answer one result a batch.

        A draft whose id the channel knows, by the same subject and with the same draft hash, is a duplicate: its first
        receipt again. Another draft under it refuses that batch with IdConflict, another subject's id with IdTaken, and
        no other batch is touched; a full disk refuses all with StoreFull. The same id twice in one batch is judged the
        same way, and a draft that follows an event which is not there is refused with IdConflict. An empty batch opens
        a channel; another one for a channel never opened is refused with UnknownChannel.

        Raises:
            StoreUnavailable: the outcome is unknown; append the same batches again before anyone is answered.
        """

    async def read(self, channel: str, after: int, limit: int, bytes_max: int = PAGE_BYTES_MAX) -> list[Event]:
        """Events with seq > `after`, ascending, without holes but for an epoch's beginning, never above `durable`.

        At most `limit` and about `bytes_max` of bodies, but one at least; empty means caught up.

        Raises:
            UnknownChannel: the channel was never opened.
            PositionTooOld: `after` is below the oldest kept; carries `first`.
            StoreUnavailable: safe to try again.
        """

    async def extents(self, channels: Iterable[str] | None = None) -> dict[str, Extent]:
        """What is held of these channels (of all for None), in one query; a channel never opened is left out."""

    async def find(self, channel: str, ids: Sequence[str]) -> dict[str, Known]:
        """What is known of these ids, also of events that retention dropped; unknown ones are left out."""

    async def ids(self, channel: str, after: str = "", limit: int = 1000) -> list[tuple[str, Known]]:
        """All ids above `after` in the order of their bytes, also of events that retention dropped; empty at the end.

        Raises:
            UnknownChannel: the channel was never opened.
        """

    async def kept(self, name: str, channel: str) -> Kept:
        """A follower's place and snapshot; seq 0 if it never kept one."""

    async def places(self, channel: str) -> dict[str, Kept]:
        """Every follower's place on that channel, by its name."""

    async def keep(
        self, name: str, channel: str, seq: int, state: bytes = b"", *,
        was: int, holder: str | None = None, ttl_s: float = 0,
    ) -> bool:  # fmt: skip
        """Move a follower's place and snapshot together, if its place still is `was` and no other holder has it.

        False means no longer yours: stop. `ttl_s` is how long `holder` has it from now on.
        """

    async def note(self, notes: Sequence[Note]) -> None:
        """Keep these in the ledger, which is outside every channel; notes that are there already change nothing.

        They survive the end of this process. A power cut may take the newest of them: no receipt is worth an fsync.

        Raises:
            StoreUnavailable: some may be kept; note the same again.
        """

    async def noted(self, channel: str, seq: int, since_us: int = 0, subject: str | None = None) -> list[Noted]:
        """What the ledger says of `seq`, stored at `since_us`: a line for each receiver that began below it.

        Of this subject only, if one is given; the newest NOTED_MAX, newest first. Notes from before `since_us` say
        nothing of it.
        """

    async def forget(self, before_us: int) -> None:
        """Notes from before that moment go, and every receiver of which none is left."""

    async def drop(self, channel: str, through: int) -> Extent:
        """Retention: events up to `through` go; ids, epochs and the hash before the first kept stay."""

    async def begin_epoch(self, channel: str, first: int, reason: str) -> Extent:
        """Begin a new epoch whose first seq is `first`, above everything anyone can have seen.

        The seqs between are void: `last` and `durable` are then `first` - 1, and `read` crosses over to `first`.

        Raises:
            ValueError: `first` is not above the last seq and the present epoch's own first.
        """

    async def erase(self, channel: str, seq: int) -> None:
        """Body and salt of one event are gone, wherever the store had them; seq, id and hashes stay. Again is no error.

        Raises:
            UnknownChannel: the channel was never opened.
            PositionTooOld: retention dropped the event already; carries `first`.
            NotFound: there is no such event.
            StoreUnavailable: do it again; the body may stand somewhere still.
        """

    async def adopt(self, part: Part) -> None:
        """Take over a part of another log under its own seqs, ids and epochs: the first opens the channel, others join.

        All or nothing. What is there already is passed over, so a part whose outcome is unknown is adopted again.

        Raises:
            Conflict: the channel has another log, or knows one of the ids otherwise.
            StoreCorrupt: an event does not join the one before it, is not what was hashed, or its id is not known.
        """

    async def fence(self, moved_to: str = "", ticket: int = 0) -> int:
        """Refuse whatever changes the log: for FENCE_US, answering a ticket; or with that ticket and a URL, for ever.

        The second only while the first still holds, so that nothing was changed between: else it answers 0 and does
        nothing. Meanwhile every method that writes raises Fenced, afterwards Moved; reading goes on.
        """


def ticks_us() -> int:
    """Microseconds that never go back, for a fence that only this process knows of."""
    return time.monotonic_ns() // 1000


def target_of(url: str) -> str:
    """The URL of a store that a log may be moved to.

    Raises:
        InvalidRequest: a log cannot stay there.
    """
    scheme = url.partition(":")[0]
    allowed = sorted(set(STORES) - {"memory", "unix"})
    if scheme not in allowed:
        raise InvalidRequest("a log cannot be moved to a store of this kind", field="to", got=scheme, allowed=allowed)
    if scheme == "sqlite" and not url.startswith("sqlite:////"):
        raise InvalidRequest("give the whole path, with four slashes: others go there too", field="to", got=url)
    return url


def check_epoch_first(extent: Extent, first: int) -> None:
    """Pass, or raise ValueError if no epoch may begin at `first`; two of them never begin at the same seq."""
    last = max(extent.last, extent.epochs[-1].first)
    if first <= last:
        raise ValueError(f"an epoch begins above {last}, not at {first}")


def lacking(part: Part, extent: Extent | None) -> list[Event]:
    """The events of `part` that a channel of this extent (None: not there) lacks, each proved to join the one before.

    Raises:
        Conflict: the channel has another log.
        StoreCorrupt: an event does not join, or is not what was hashed.
    """
    at, prev = part.first - 1, part.hash_before
    if extent is not None:
        at, prev = extent.last, extent.hash_last
        same = {event.hash for event in part.events if event.seq == extent.newest} <= {prev}
        if not same or part.epochs[: len(extent.epochs)] != extent.epochs:
            raise Conflict(f"the channel `{part.channel}` has another log", field="channel", got=part.channel)
    events = [event for event in part.events if event.seq > at]
    for event in events:
        wrong = wrong_with(event)
        if event.prev != prev or event.seq != next_seq(part.epochs, at):
            wrong = "it does not join the event before it"
        if event.channel != part.channel or event.epoch != _epoch_of(part, event.seq):
            wrong = "it is of another channel or epoch"
        if wrong is not None:
            raise _corrupt(event, wrong)
        at, prev = event.seq, event.hash
    if part.last not in (at, next_seq(part.epochs, at) - 1) and part.last > at:
        raise StoreCorrupt(f"a part of {part.channel} ends at {at} and not at {part.last}", channel=part.channel)
    return events


def check_adopted(part: Part, known: Mapping[str, Known]) -> None:
    """Pass, or raise if what a channel knows of a part's ids is not what the part says, or not of its events.

    Raises:
        Conflict: an id is known otherwise.
        StoreCorrupt: an event's id is not known; it could be published again.
    """
    for id, of_part in part.known.items():
        if known.get(id) != of_part:
            raise Conflict(f"the channel `{part.channel}` knows the id `{id}` otherwise", field="id", got=id)
    for event in part.events:
        if event.id not in known or known[event.id].seq != event.seq:
            raise _corrupt(event, "the table of ids has another event under its id, or none")


def _epoch_of(part: Part, seq: int) -> str:
    return next((epoch.name for epoch in reversed(part.epochs) if epoch.first <= seq), "")


def _corrupt(event: Event, wrong: str) -> StoreCorrupt:
    return StoreCorrupt(f"event {event.seq} of {event.channel}: {wrong}", channel=event.channel, seq=event.seq)


def judge(drafts: Sequence[Draft], subject: str, known: Mapping[str, Known]) -> None:
    """Pass, or raise why a batch's drafts may not be stored; the law of ids for every back-end.

    Raises:
        IdTaken: an id belongs to another subject; says only that.
        IdConflict: the same id with another draft, or what a draft follows is not there: a rewind took it back.
    """
    seen: dict[str, bytes] = {}
    for draft in drafts:
        first = known.get(draft.id)
        if first is not None and first.subject != subject:
            raise IdTaken(field="id", got=draft.id)
        if (first.draft_hash if first is not None else seen.setdefault(draft.id, draft.draft_hash)) != draft.draft_hash:
            raise IdConflict(field="id", got=draft.id)
        if first is None and draft.follows is not None:
            before, seq = draft.follows
            if before not in known or known[before].seq != seq:
                raise IdConflict(
                    "what this changes is no longer there; read it and decide again", field="id", got=draft.id
                )


def ids_asked(drafts: Iterable[Draft]) -> list[str]:
    """What a store must know of to judge these drafts: their own ids, and those of what they follow."""
    asked: list[str] = []
    for draft in drafts:
        asked.append(draft.id)
        if draft.follows is not None:
            asked.append(draft.follows[0])
    return asked
