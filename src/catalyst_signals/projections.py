"""Folds of the log: the server's own state, read from the `system` channel and nothing else.

Owns: what a `system` event means, and the drafts that say it. Knows nothing of stores or requests.
Law: state is a fold; two processes that read the same events have the same state. Secrets stand here only hashed, but
for those that we send with (Target).
"""

from __future__ import annotations

import logging
import re
import uuid
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from catalyst_signals.events import Draft, Frame, hash_of_draft, now_us, parse_iso
from catalyst_signals.watch import Halt, Heartbeat, heartbeat_key

log = logging.getLogger("catalyst.system")

INGEST_RETENTION_S = 30 * 86400
BUILT_IN = ("main", "system", "ingest", "items", "acks")
SAVED_FILTERS_MAX = 100  # Of one user.
REPLAYS_KEPT = 16  # Of one target: more than anybody asks for while nobody is there to send.
FILTER_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")  # Never a filter by itself, so it can stand where one may.


class Key(msgspec.Struct, frozen=True):
    """An API key as it is kept: `secret_hash` is the SHA-256 of its secret, in hex."""

    id: str
    user: str
    scopes: tuple[str, ...]
    channels: tuple[str, ...]
    secret_hash: str
    created_at: str
    filter: str = ""
    expires_at: str | None = None

    def expired(self, at_us: int) -> bool:
        """Whether its time is over."""
        ends = parse_iso(self.expires_at) if self.expires_at else None
        return ends is not None and ends <= at_us


class Channel(msgspec.Struct, frozen=True):
    """A channel and how long its events are kept; None is for ever."""

    name: str
    age_s: int | None = None
    count: int | None = None


class Pull(msgspec.Struct, frozen=True):
    """What of a source is fetched: a document every `every_s`, or a bot's messages, for which it wants the `token`.

    The token, and what is secret in `url`, is read here by whoever fetches and shown to nobody. Without `backlog`,
    what was published before the source was made is passed over.
    """

    url: str
    every_s: float = 60.0
    token: str = ""
    backlog: bool = True


class Source(msgspec.Struct, frozen=True):
    """Where a sender posts to: an adapter, a channel, and the hash of the secret in the path.

    `signing` is the signing secret as signatures.py seals it, "" where bodies need not be signed; `body_token` are the
    hashes of what must stand in the body, by field. After a rotation the secret before works until `old_until`.
    """

    id: str
    adapter: str
    channel: str
    secret_hash: str
    created_at: str
    options: dict[str, str] = {}
    allow: tuple[str, ...] = ()
    body_token: dict[str, str] = {}
    signing: str = ""
    old_hash: str = ""
    old_signing: str = ""
    old_until: str = ""
    pull: Pull | None = None

    @property
    def subject(self) -> str:
        """Who publishes what comes in here."""
        return f"ingest.{self.id}"

    def takes(self, secret_hash: str, at_us: int) -> bool:
        """Whether this is the secret, or the one before it while that still works."""
        if secret_hash == self.secret_hash:
            return True
        ends = parse_iso(self.old_until) if self.old_until else None
        return secret_hash == self.old_hash != "" and ends is not None and at_us < ends

    def signing_of(self, secret_hash: str) -> str:
        """The sealed signing secret that goes with a secret of the path."""
        return self.signing if secret_hash == self.secret_hash else self.old_signing


class Replay(msgspec.Struct, frozen=True):
    """That a target is sent something again: all after a seq, these dead letters, or with neither all of them."""

    number: int
    after: int | None = None
    dead: tuple[int, ...] | None = None


class Target(msgspec.Struct, frozen=True):
    """Where signals go outside. `url` may hold a secret, and `secret` is one: only whoever sends reads them here.

    `key_id` is the key whose rights it has. It began after the seq `after` of `epoch`. `rules` are those that were
    asked for (workers/pacing.py). `off` says why it is off; of its replays the newest stand here.
    """

    id: str
    user: str
    key_id: str
    url: str
    channel: str
    filter: str
    created_at: str
    epoch: str
    after: int
    rules: dict[str, Any] = {}
    secret: str = ""
    off: str = ""
    replays: tuple[Replay, ...] = ()


class Snapshot(msgspec.Struct):
    """The state at one place of the log; what a process starts from instead of reading everything."""

    epoch: str
    seq: int
    hash8: str
    users: dict[str, str] = {}
    keys: dict[str, Key] = {}
    channels: dict[str, Channel] = {}
    sources: dict[str, Source] = {}
    filters: dict[str, dict[str, str]] = {}
    targets: dict[str, Target] = {}
    halts: dict[str, Halt] = {}
    heartbeats: dict[str, Heartbeat] = {}


class SystemState:
    """Users with their saved filters, keys, channels and ingest sources as of the last folded event."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._now = snapshot
        self._watchers: list[Callable[[str], None]] = []
        self._filter_watchers: list[Callable[[str, str], None]] = []
        self._by_secret: dict[str, Source] | None = None  # Made when it is next asked for.
        for name in BUILT_IN:
            age_s = INGEST_RETENTION_S if name == "ingest" else None
            snapshot.channels.setdefault(name, Channel(name, age_s=age_s))

    @property
    def users(self) -> Mapping[str, str]:
        """User -> when it was made."""
        return self._now.users

    @property
    def keys(self) -> Mapping[str, Key]:
        """Key id -> key; revoked ones are gone."""
        return self._now.keys

    @property
    def channels(self) -> Mapping[str, Channel]:
        """Channel name -> settings."""
        return self._now.channels

    @property
    def sources(self) -> Mapping[str, Source]:
        """Ingest id -> source."""
        return self._now.sources

    @property
    def targets(self) -> Mapping[str, Target]:
        """Target id -> target."""
        return self._now.targets

    @property
    def halts(self) -> Mapping[str, Halt]:
        """Halt id -> halt; only those in force."""
        return self._now.halts

    @property
    def heartbeats(self) -> Mapping[str, Heartbeat]:
        """Every heartbeat that was declared and not taken back, by its key."""
        return self._now.heartbeats

    def filters_of(self, user: str) -> Mapping[str, str]:
        """Name -> text of the filters a user has saved."""
        return self._now.filters.get(user, {})

    @property
    def place(self) -> tuple[str, int, str]:
        """Epoch, seq and hash8 of the last folded event."""
        return self._now.epoch, self._now.seq, self._now.hash8

    def source_of(self, secret_hash: str) -> Source | None:
        """The ingest source whose path secret has this hash now."""
        if self._by_secret is None:
            self._by_secret = {
                each: source for source in self._now.sources.values() for each in (source.old_hash, source.secret_hash)
            }  # fmt: skip
        source = self._by_secret.get(secret_hash)
        return source if source is not None and source.takes(secret_hash, now_us()) else None

    def watch(self, watcher: Callable[[str], None]) -> None:
        """Call `watcher(key id)` whenever a key stops being what it was."""
        self._watchers.append(watcher)

    def watch_filters(self, watcher: Callable[[str, str], None]) -> None:
        """Call `watcher(user, name)` whenever a filter was saved; one that is removed changes nothing for anybody."""
        self._filter_watchers.append(watcher)

    def fold(self, frame: Frame) -> None:
        """Take in the next `system` event; a type we do not know is from a newer version and changes nothing here."""
        apply = _APPLY.get(frame.doc["type"])
        if apply is not None and not frame.erased:
            for key_id in apply(self._now, frame.doc["data"]):
                for watcher in self._watchers:
                    watcher(key_id)
            if apply in (_source_set, _source_removed):
                self._by_secret = None
            if apply is _filter_saved:
                for filter_watcher in self._filter_watchers:
                    filter_watcher(frame.doc["data"]["user"], frame.doc["data"]["name"])
        self._now.epoch, self._now.seq, self._now.hash8 = frame.epoch, frame.seq, frame.hash8
        frame.forget()

    def to_bytes(self) -> bytes:
        """The snapshot, to be kept beside its seq."""
        return msgspec.json.encode(self._now)


def from_bytes(state: bytes) -> Snapshot:
    """A snapshot that was kept."""
    return msgspec.json.decode(state, type=Snapshot)


def system_draft(type: str, data: dict[str, Any], id: str | None = None) -> Draft:
    """A draft for the `system` channel. A given `id` makes it happen once, whoever says it."""
    body = msgspec.json.encode({"data": data})
    return Draft(type=type, id=id or uuid.uuid4().hex, body=body, draft_hash=hash_of_draft(data))


def key_is_good(key: Key | None) -> bool:
    """Whether a key exists and its time is not over."""
    return key is not None and not key.expired(now_us())


def _key_created(now: Snapshot, data: dict[str, Any]) -> list[str]:
    key = msgspec.convert(data, Key)
    now.keys[key.id] = key
    now.users.setdefault(key.user, key.created_at)
    return []


def _key_revoked(now: Snapshot, data: dict[str, Any]) -> list[str]:
    return [data["id"]] if now.keys.pop(data["id"], None) else []


def _user_created(now: Snapshot, data: dict[str, Any]) -> list[str]:
    now.users.setdefault(data["user"], data["created_at"])
    return []


def _user_removed(now: Snapshot, data: dict[str, Any]) -> list[str]:
    now.users.pop(data["user"], None)
    now.filters.pop(data["user"], None)
    for target_id in [target.id for target in now.targets.values() if target.user == data["user"]]:
        del now.targets[target_id]
    _forget_heartbeats(now, data["user"])
    gone = [key.id for key in now.keys.values() if key.user == data["user"]]
    for key_id in gone:
        del now.keys[key_id]
    return gone


def _channel_set(now: Snapshot, data: dict[str, Any]) -> list[str]:
    channel = msgspec.convert(data, Channel)
    now.channels[channel.name] = channel
    return []


def _source_set(now: Snapshot, data: dict[str, Any]) -> list[str]:
    source = msgspec.convert(data, Source)
    now.sources[source.id] = source
    return []


def _source_removed(now: Snapshot, data: dict[str, Any]) -> list[str]:
    source = now.sources.pop(data["id"], None)
    if source is not None:
        _forget_heartbeats(now, source.subject)
    return []


def _filter_saved(now: Snapshot, data: dict[str, Any]) -> list[str]:
    mine = now.filters.setdefault(data["user"], {})
    if data["name"] in mine or len(mine) < SAVED_FILTERS_MAX:
        mine[data["name"]] = data["filter"]
    return []


def _filter_removed(now: Snapshot, data: dict[str, Any]) -> list[str]:
    mine = now.filters.get(data["user"], {})
    mine.pop(data["name"], None)
    if not mine:
        now.filters.pop(data["user"], None)
    return []


def _target_set(now: Snapshot, data: dict[str, Any]) -> list[str]:
    target = msgspec.convert(data, Target)
    known = now.targets.get(target.id)
    now.targets[target.id] = msgspec.structs.replace(target, replays=known.replays) if known is not None else target
    return []


def _target_changed(now: Snapshot, data: dict[str, Any]) -> list[str]:
    return _target_set(now, data) if data["id"] in now.targets else []  # Who was removed meanwhile stays so.


def _target_removed(now: Snapshot, data: dict[str, Any]) -> list[str]:
    now.targets.pop(data["id"], None)
    return []


def _target_replayed(now: Snapshot, data: dict[str, Any]) -> list[str]:
    target = now.targets.get(data["id"])
    if target is not None:
        number = target.replays[-1].number + 1 if target.replays else 1
        dead = data.get("dead")
        replay = Replay(number, data.get("after"), None if dead is None else tuple(dead))
        replays = (*target.replays, replay)[-REPLAYS_KEPT:]
        now.targets[target.id] = msgspec.structs.replace(target, replays=replays)
    return []


def _halt_set(now: Snapshot, data: dict[str, Any]) -> list[str]:
    halt = msgspec.convert(data, Halt)
    now.halts[halt.id] = halt
    return []


def _halt_lifted(now: Snapshot, data: dict[str, Any]) -> list[str]:
    now.halts.pop(data["id"], None)
    return []


def _heartbeat_declared(now: Snapshot, data: dict[str, Any]) -> list[str]:
    heartbeat = msgspec.convert(data, Heartbeat)
    now.heartbeats[heartbeat.key] = heartbeat
    return []


def _heartbeat_ended(now: Snapshot, data: dict[str, Any]) -> list[str]:
    now.heartbeats.pop(heartbeat_key(data["channel"], data["source"]), None)
    return []


def _forget_heartbeats(now: Snapshot, source: str) -> None:
    for key in [key for key, each in now.heartbeats.items() if each.source == source]:
        del now.heartbeats[key]


_APPLY: dict[str, Callable[[Snapshot, dict[str, Any]], list[str]]] = {
    "key.created": _key_created,
    "key.revoked": _key_revoked,
    "user.created": _user_created,
    "user.removed": _user_removed,
    "channel.set": _channel_set,
    "ingest.created": _source_set,
    "ingest.rotated": _source_set,
    "ingest.removed": _source_removed,
    "filter.saved": _filter_saved,
    "filter.removed": _filter_removed,
    "target.created": _target_set,
    "target.changed": _target_changed,
    "target.removed": _target_removed,
    "target.replayed": _target_replayed,
    "halt.set": _halt_set,
    "halt.lifted": _halt_lifted,
    "heartbeat.declared": _heartbeat_declared,
    "heartbeat.ended": _heartbeat_ended,
}
