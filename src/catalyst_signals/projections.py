"""Folds of the log: the server's own state, read from the `system` channel and nothing else.

Owns: what a `system` event means, and the drafts that say it. Knows nothing of stores or requests.
Law: state is a fold; two processes that read the same events have the same state. Secrets stand here only hashed.
"""

from __future__ import annotations

import logging
import re
import uuid
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from catalyst_signals.events import Draft, Frame, hash_of_draft, now_us, parse_iso

log = logging.getLogger("catalyst.system")

INGEST_RETENTION_S = 30 * 86400
BUILT_IN = ("main", "system", "ingest")
SAVED_FILTERS_MAX = 100  # Of one user.
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


class Source(msgspec.Struct, frozen=True):
    """Where a sender posts to: an adapter, a channel, and the hash of the secret in the path."""

    id: str
    adapter: str
    channel: str
    secret_hash: str
    created_at: str

    @property
    def subject(self) -> str:
        """Who publishes what comes in here."""
        return f"ingest.{self.id}"


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


class SystemState:
    """Users with their saved filters, keys, channels and ingest sources as of the last folded event."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._now = snapshot
        self._watchers: list[Callable[[str], None]] = []
        self._filter_watchers: list[Callable[[str, str], None]] = []
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

    def filters_of(self, user: str) -> Mapping[str, str]:
        """Name -> text of the filters a user has saved."""
        return self._now.filters.get(user, {})

    @property
    def place(self) -> tuple[str, int, str]:
        """Epoch, seq and hash8 of the last folded event."""
        return self._now.epoch, self._now.seq, self._now.hash8

    def source_of(self, secret_hash: str) -> Source | None:
        """The ingest source whose path secret has this hash."""
        return next((s for s in self._now.sources.values() if s.secret_hash == secret_hash), None)

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
    now.sources.pop(data["id"], None)
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
}
