"""What the log is made of: drafts, events, positions, extents, and the hash chain that holds them together.

Owns: the canonical bytes, the hash, names of channels and ids. Knows nothing of trading, stores or sockets.
Law: `hash = SHA-256(0x01, previous hash, canonical fields, SHA-256(salt, body))`, where the canonical fields are
seq (8 bytes), ts in microseconds (8), version (4), all big-endian, then channel, epoch, type and id, each as a
2-byte length and UTF-8. The first event's previous hash is 32 zero bytes. Test vectors: docs/protocol.md.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from struct import Struct
from struct import error as StructError
from typing import Any

import msgspec

from catalyst_signals.errors import CatalystError, InvalidName

ID_CHARS_MAX = 128
NO_HASH = bytes(32)
FRAME_BYTES = 280  # What a frame takes besides its bytes: itself, two hashes, a number (CPython 3.11, measured).
EPOCH_GAP = 1_000_000  # A new epoch begins so far above the log's end: more than can have been given out unseen.
_REWOUND_AFTER = re.compile(r"rewound after ([0-9]{1,18})")
CHANNEL_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")

_fixed = Struct(">QqI").pack
_sha256 = hashlib.sha256
_encode = msgspec.json.encode


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """What a publisher says, ready to be stored.

    `body` is the JSON of `{"data": ...}`, encoded once by us and never again. `draft_hash` is SHA-256 over what the
    publisher sent, before any default of ours, so that an honest retry stays one after an upgrade. `follows` is the id
    and seq of the event it was made of, for one that changes a signal: if the log has another there, it is refused.
    """

    type: str
    id: str
    body: bytes
    draft_hash: bytes
    version: int = 1
    follows: tuple[str, int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Drafts of one subject for one channel: all are stored or none. An empty batch opens the channel."""

    channel: str
    subject: str
    drafts: Sequence[Draft]


class Event(msgspec.Struct, frozen=True, gc=False):
    """A draft that has been given a `seq` in a channel: immutable, hashed, kept.

    `seq` counts from 1, `ts_us` is microseconds since 1970 UTC at commit. `body` and `salt` are empty once erased.
    """

    channel: str
    epoch: str
    seq: int
    type: str
    id: str
    version: int
    ts_us: int
    salt: bytes
    body: bytes
    body_hash: bytes
    prev: bytes
    hash: bytes


class Receipt(msgspec.Struct, frozen=True):
    """What the store says about one draft: where it stands, and whether it already stood there."""

    seq: int
    id: str
    version: int
    ts_us: int
    duplicate: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A batch that is in the log at `durability`. `events` are the new ones only, in order."""

    channel: str
    epoch: str
    receipts: Sequence[Receipt]
    events: Sequence[Event]
    durability: str


@dataclass(frozen=True, slots=True)
class Refused:
    """A batch that changed nothing, and why."""

    error: CatalystError


class Known(msgspec.Struct, frozen=True):
    """What stays of an id for ever, also when its event was dropped or erased."""

    seq: int
    subject: str
    draft_hash: bytes
    version: int
    ts_us: int


@dataclass(frozen=True, slots=True)
class Epoch:
    """A stretch of a log without rewinds. `last_before` and `hash_before` are where the epoch before it ended."""

    name: str
    first: int
    last_before: int
    hash_before: bytes
    reason: str

    @property
    def agreed(self) -> int:
        """How far the log before this epoch is what everybody was given; beyond it there were other events once."""
        known = _REWOUND_AFTER.fullmatch(self.reason)
        return min(int(known[1]), self.last_before) if known is not None else self.last_before


def rewound_after(seq: int) -> str:
    """The reason of an epoch that a running process begins: beyond `seq` others may have written other events."""
    return f"rewound after {seq}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """What a store holds of one channel.

    `first` is the first kept seq (last + 1 when nothing is kept), `last` the newest (0 for none), `durable` the newest
    that may be shown to anyone. `hash_before` is the hash before `first`, `hash_last` that of `last`.
    """

    channel: str
    epochs: tuple[Epoch, ...]
    first: int
    last: int
    durable: int
    hash_before: bytes
    hash_last: bytes

    @property
    def epoch(self) -> str:
        """The present epoch's name."""
        return self.epochs[-1].name

    def epoch_at(self, seq: int) -> str:
        """As the function."""
        return epoch_at(self.epochs, seq)

    @property
    def newest(self) -> int:
        """The seq of the newest event that may be shown: `durable`, but for a void that nothing follows yet."""
        seq = self.durable
        for epoch in reversed(self.epochs):
            if seq < epoch.first:
                seq = min(seq, epoch.last_before)
        return seq


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A stretch of another store's log, whole enough to be taken over under its own seqs, ids and epochs.

    `epochs` (all there are), `first` and `hash_before` are the log's own, as in its Extent; `events` follow on those of
    the part before; `last` is the seq of the newest of them, or the end of a void behind it. `known` has the id of each
    of these events, and may have those of events that retention dropped.
    """

    channel: str
    epochs: tuple[Epoch, ...]
    first: int
    hash_before: bytes
    last: int
    events: Sequence[Event]
    known: Mapping[str, Known]


@dataclass(frozen=True, slots=True)
class Position:
    """ "I am done with everything up to here": exclusive, so one resumes *after* it. `hash8` may be empty."""

    channel: str
    epoch: str
    seq: int
    hash8: str = ""

    def __str__(self) -> str:
        """As server-sent events carry it: `epoch:seq:hash8`."""
        return f"{self.epoch}:{self.seq}:{self.hash8}"


@dataclass(frozen=True, slots=True)
class Kept:
    """A follower's place: everything up to `seq` is folded into `state`; `holder` has it until `until_us`."""

    seq: int
    state: bytes = b""
    holder: str | None = None
    until_us: int = 0


class Frame(msgspec.Struct, gc=False):
    """An event as every subscriber gets it: JSON text, encoded once; `ws` is that text as a WebSocket frame.

    A frame may come from another process's hint, so it knows only the first 8 hex digits of the hashes.
    """

    channel: str
    epoch: str
    seq: int
    prev8: str
    hash8: str
    ws: bytes
    head_bytes: int
    _doc: dict[str, Any] | None = None
    life: Any = None  # What modifiers.py read of it; kept as long as the decoded form.

    @property
    def size(self) -> int:
        """The memory it takes while nothing is decoded, in bytes."""
        return FRAME_BYTES + len(self.ws)

    @property
    def text(self) -> bytes:
        """The event's JSON, without the WebSocket header."""
        return self.ws[self.head_bytes :]

    @property
    def erased(self) -> bool:
        """Whether the body is gone; a kept event ends in two braces, its own and its data's."""
        return self.ws.endswith(b"true}")

    @property
    def doc(self) -> dict[str, Any]:
        """The event decoded; what a filter looks at. Kept until `forget()`."""
        if self._doc is None:
            self._doc = msgspec.json.decode(self.ws[self.head_bytes :])
        return self._doc

    def forget(self) -> None:
        """Let go of the decoded form; the ring keeps bytes only."""
        self._doc = self.life = None


def seal(draft: Draft, *, channel: str, epoch: str, seq: int, ts_us: int, prev: bytes) -> Event:
    """Turn a draft into the event at `seq`: salt it, hash it, chain it to `prev`."""
    salt = secrets.token_bytes(16)
    body_hash = _sha256(salt + draft.body).digest()
    numbers = _fixed(seq, ts_us, draft.version)
    digest = _chain(prev, numbers, _names(channel, epoch, draft.type), draft.id.encode(), body_hash)
    return Event(
        channel, epoch, seq, draft.type, draft.id, draft.version, ts_us, salt, draft.body, body_hash, prev, digest
    )


def _chain(prev: bytes, numbers: bytes, names: bytes, id: bytes, body_hash: bytes) -> bytes:
    return _sha256(b"".join((b"\x01", prev, numbers, names, len(id).to_bytes(2, "big"), id, body_hash))).digest()


@lru_cache(maxsize=256)
def _names(*names: str) -> bytes:
    """Names as they are hashed; those that many events share."""
    return b"".join([len(raw).to_bytes(2, "big") + raw for raw in [name.encode() for name in names]])


def wrong_with(event: Event) -> str | None:
    """What is wrong with an event in itself, or None. An erased one is judged by its hashes alone."""
    try:
        if event.body and _sha256(event.salt + event.body).digest() != event.body_hash:
            return "its body does not have the stored hash"
        expected = _chain(
            event.prev, _fixed(event.seq, event.ts_us, event.version), _names(event.channel, event.epoch, event.type),
            event.id.encode(), event.body_hash,
        )  # fmt: skip
    except (TypeError, AttributeError, StructError):  # A flipped bit can make another type of what is read.
        return "one of its fields cannot have been written"
    return None if expected == event.hash else "its fields do not have the stored hash"


def epoch_at(epochs: Sequence[Epoch], seq: int) -> str:
    """The name of the epoch that `seq` belongs to; a void belongs to the epoch that begins after it."""
    return next((epoch.name for epoch in reversed(epochs) if seq > epoch.last_before), epochs[0].name)


def next_seq(epochs: Sequence[Epoch], after: int) -> int:
    """The seq that comes after `after`: the next one, or a later epoch's first where those between are void."""
    seq = after + 1
    for epoch in epochs:
        if epoch.last_before < seq < epoch.first:
            seq = epoch.first
    return seq


def hash_of_draft(sent: Mapping[str, Any]) -> bytes:
    """SHA-256 over what a publisher sent, as JSON with sorted keys: the order of keys does not make another draft."""
    return _sha256(_encode(sent, order="sorted")).digest()


def event_id(id: str, version: int) -> str:
    """What the log calls a version of a signal; so the law of ids decides between two who write the same version."""
    return id if version == 1 else f"{id}~{version}"


def signal_id(event_id: str) -> str:
    """The signal's own id, which is what goes on the wire: that of any of its versions."""
    return event_id.partition("~")[0]


def new_epoch_name() -> str:
    """A name no log had before: 12 hex digits."""
    return secrets.token_hex(6)


def now_us() -> int:
    """Microseconds since 1970 UTC by the wall clock."""
    return time.time_ns() // 1000


def iso(ts_us: int) -> str:
    """RFC 3339 in UTC with microseconds: `2026-11-26T09:30:00.000123Z`."""
    whole, micros = divmod(ts_us, 1_000_000)
    return f"{_second(whole)}.{micros:06d}Z"


@lru_cache(maxsize=64)
def _second(whole: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole))


def parse_iso(text: str) -> int | None:
    """Microseconds since 1970 of an RFC 3339 time with an offset, or None if it is not one."""
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            return None
        return round((moment.astimezone(UTC) - _EPOCH).total_seconds() * 1_000_000)
    except (ValueError, OverflowError):  # Not a time, or in UTC beyond the years there are.
        return None


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def check_channel_name(name: object) -> str:
    """`name` if it may name a channel; raises InvalidName saying what may."""
    if isinstance(name, str) and CHANNEL_NAME.fullmatch(name):
        return name
    raise InvalidName(
        "a channel name has 1 to 64 characters: a-z, 0-9, '.', '_' and '-', and starts with a letter or digit",
        field="channel", got=name, allowed=CHANNEL_NAME.pattern,
    )  # fmt: skip


def check_id(name: object, field: str = "id") -> str:
    """`name` if it may be a publisher's id; raises InvalidName saying what may. `~` is ours: it numbers versions."""
    if not isinstance(name, str) or not name or len(name) > ID_CHARS_MAX:
        raise InvalidName(
            f"`{field}` is a text of 1 to {ID_CHARS_MAX} characters",
            field=field,
            got=name,
            allowed=f"1-{ID_CHARS_MAX} characters",
        )
    if "~" in name or not name.isprintable():
        raise InvalidName(
            f"`{field}` may not hold '~' or control characters",
            field=field,
            got=name,
            allowed="printable characters except '~'",
        )
    return name
