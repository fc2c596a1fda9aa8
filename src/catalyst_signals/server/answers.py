"""The shapes of what REST answers, as /openapi.json shows them.

Owns: the names and types of answered fields. Nothing is built from them and nothing is checked against them while the
server runs: tests/server/test_openapi.py holds the answers of a real server against them. Fields are added, never
renamed.
"""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict


class Error(TypedDict):
    """Every refusal; `error` is a name for programs, `message` a sentence for people."""

    error: str
    message: str
    retry: bool
    field: NotRequired[str]
    got: NotRequired[Any]
    allowed: NotRequired[Any]
    retry_after_s: NotRequired[float]


# --- Signals and channels --------------------------------------------------------------------------------------------


class Accepted(TypedDict):
    """What is stored of one draft."""

    channel: str
    epoch: str
    seq: int
    id: str
    version: int
    ts: str
    duplicate: bool
    durability: str
    id_by: NotRequired[Literal["server"]]
    items: NotRequired[int]


class AcceptedMany(TypedDict):
    """What is stored of several, in their order; `items` counts the pieces of news of a webhook."""

    results: list[Accepted]
    items: NotRequired[int]


class Event(TypedDict):
    """One event, as on the socket. An erased one has `erased` instead of `data`."""

    type: str
    channel: str
    seq: int
    id: str
    version: int
    ts: str
    hash: str
    data: NotRequired[dict[str, Any]]
    was: NotRequired[list[Any]]
    erased: NotRequired[bool]


class History(TypedDict):
    """A page of events; ask again after `complete_through` until it is `head`."""

    events: list[Event]
    complete_through: int
    head: int
    epoch: str


class Versions(TypedDict):
    """The events of one signal, oldest first."""

    versions: list[Event]


class Erased(TypedDict):
    """The seqs of what is erased now."""

    erased: list[int]


class Kept(TypedDict):
    """How long events are kept; null is for ever."""

    age_s: int | None
    count: int | None


class Epoch(TypedDict):
    """A part of a channel's history without a break."""

    epoch: str
    first: int
    reason: str


class ChannelShown(TypedDict):
    """A channel and what is held of it."""

    channel: str
    epoch: str
    first: int
    last: int
    durable: int
    hash: str | None
    retention: Kept
    epochs: list[Epoch]


class Channels(TypedDict):
    """The channels that a key may see."""

    channels: list[ChannelShown]


class Said(TypedDict):
    """A version of a signal, by number."""

    version: int
    seq: int
    type: str


class Deliveries(TypedDict):
    """Who got a version of a signal, when, how late by hop, and what they did."""

    channel: str
    seq: int
    id: str
    version: int
    type: str
    event_at: str | None
    sent_at: str | None
    ts: str
    hops_ms: dict[str, float | None]
    deliveries: list[dict[str, Any]]
    waiting: list[dict[str, Any]]
    deeds: list[dict[str, Any]]
    versions: list[Said]
    complete: bool


# --- Filters ---------------------------------------------------------------------------------------------------------


class Checked(TypedDict):
    """A filter in its canonical forms."""

    filter: str
    filter_id: str
    tree: Any
    index: dict[str, Any]


class SavedFilter(TypedDict):
    """A filter under its name."""

    name: str
    filter: str
    filter_id: str


class SavedFilters(TypedDict):
    """The filters of a user."""

    filters: list[SavedFilter]


class Delivery(TypedDict):
    """What became of an event for a subscriber."""

    state: str
    says: str
    sent: NotRequired[dict[str, str] | None]
    acknowledged: NotRequired[dict[str, str] | None]


class Explained(TypedDict):
    """Why an event matches or not, clause by clause."""

    matches: bool
    filter: str
    event: dict[str, Any]
    clauses: list[dict[str, Any]]
    says: str
    decided_by: NotRequired[int]
    versions: NotRequired[list[dict[str, Any]]]
    delivery: NotRequired[Delivery]


Rehearsed = TypedDict(
    "Rehearsed",
    {
        "channel": str, "filter": str, "from": int, "through": int, "complete": bool, "of": int, "matched": int,
        "per_day": dict[str, int], "worst_burst": dict[str, Any] | None, "examples": list[dict[str, Any]],
        "against": NotRequired[dict[str, Any]], "newly_in": NotRequired[dict[str, Any]],
        "newly_out": NotRequired[dict[str, Any]],
    },
)  # fmt: skip


class RemovedName(TypedDict):
    """It is gone."""

    name: str
    removed: bool


# --- Access ----------------------------------------------------------------------------------------------------------


class KeyShown(TypedDict):
    """A key without its secret."""

    id: str
    user: str
    scopes: list[str]
    channels: list[str]
    filter: str | None
    created_at: str
    expires_at: str | None


class NewKey(KeyShown):
    """A key with its secret, which is shown only here."""

    key: str


class Keys(TypedDict):
    """Every key that works."""

    keys: list[KeyShown]


class Revoked(TypedDict):
    """The key is worth nothing any more."""

    id: str
    revoked: bool


class UserShown(TypedDict):
    """A user."""

    user: str
    created_at: str
    keys: NotRequired[list[str]]
    clock_skew_s: NotRequired[float | None]


class Users(TypedDict):
    """Everyone who has or had a key."""

    users: list[UserShown]


class RemovedUser(TypedDict):
    """They are gone."""

    user: str
    removed: bool


class Moving(TypedDict):
    """How far the log is on its way to another store."""

    phase: Literal["copying", "fenced", "moved", "failed"]
    done: int
    total: int
    paused_s: float
    error: str


# --- In and out ------------------------------------------------------------------------------------------------------


class PullShown(TypedDict):
    """What is fetched for a source, and how that went since this process has the duty; `elsewhere`: another one has."""

    url: str
    every_s: float
    backlog: bool
    state: NotRequired[Literal["closed", "open", "half_open", "elsewhere"]]
    requests: NotRequired[int]
    items: NotRequired[int]
    last_ok: NotRequired[str]
    last_error: NotRequired[str]
    error_at: NotRequired[str]


class SourceShown(TypedDict):
    """A place for webhooks, without its secrets."""

    id: str
    adapter: str
    channel: str
    created_at: str
    options: dict[str, str]
    allow: list[str]
    hmac: bool
    body_token: list[str]
    old_until: NotRequired[str]
    pull: NotRequired[PullShown]


class NewSource(SourceShown):
    """A place for webhooks with its secrets, which are shown only here."""

    secret: str
    url: str
    signing_secret: NotRequired[str]


class Sources(TypedDict):
    """Every place for webhooks."""

    ingest: list[SourceShown]


class Removed(TypedDict):
    """It is gone."""

    id: str
    removed: bool


class Preview(TypedDict):
    """What a body would become."""

    drafts: list[dict[str, Any]]
    items: NotRequired[list[dict[str, Any]]]
    doubts: NotRequired[list[str]]
    would_refuse: NotRequired[Error]


class Question(Preview):
    """What a body with a doubt would become; nothing is published until it comes again with `confirm`."""

    message: str
    confirm: str


class HeartbeatShown(TypedDict):
    """What a source promised, or what is expected of it, in a channel; and whether it is silent now."""

    source: str
    channel: str
    every_s: float
    by: str
    since: str
    silent: bool


class NoHeartbeat(TypedDict):
    """Nothing is awaited any more."""

    source: str
    channel: str
    every_s: None


class Heartbeats(TypedDict):
    """What is awaited."""

    heartbeats: list[HeartbeatShown]


class TargetShown(TypedDict):
    """Where signals go outside, and how that goes; a URL only as far as it is no secret."""

    id: str
    user: str
    url: str
    channel: str
    filter: str | None
    created_at: str
    max_per_hour: int | None
    quiet_hours: dict[str, str] | None
    cooldown_per_symbol_s: int
    digest: str
    state: Literal["off", "stopped", "failing", "working"]
    why: str | None
    breaker: str
    behind: int | None
    sent: int
    digests: int
    held: dict[str, int]
    holding: int
    next_digest_at: str | None
    dead: int
    lost: int


class NewTarget(TargetShown):
    """A target; a webhook's with what it is signed with, which is shown only here."""

    secret: NotRequired[str]


class Targets(TypedDict):
    """The targets of a user, of all for an admin."""

    targets: list[TargetShown]


class Tested(TypedDict):
    """How a test went."""

    id: str
    sent: bool
    error: str | None
    took_ms: int


class DeadLetter(TypedDict):
    """An event that was not taken."""

    seq: int
    id: str
    at: str
    error: str
    tries: int


class DeadLetters(TypedDict):
    """The events that were not taken, oldest first."""

    dead: list[DeadLetter]
    lost: int


class Replayed(TypedDict):
    """What is sent again."""

    id: str
    after: int | None
    dead: list[int] | str | None


# --- Watch -----------------------------------------------------------------------------------------------------------


class HaltShown(TypedDict):
    """A halt in force: of a source or of a symbol, and the channels that were told."""

    id: str
    source: NotRequired[str]
    symbol: NotRequired[str]
    reason: str
    by: str
    since: str
    channels: list[str]


class Halts(TypedDict):
    """The halts in force."""

    halts: list[HaltShown]


class Lifted(TypedDict):
    """It is over."""

    id: str
    lifted: bool


# --- Status ----------------------------------------------------------------------------------------------------------


class Alive(TypedDict):
    """The process answers."""

    status: str


class Ready(TypedDict):
    """Whether signals are taken and delivered, and what is wrong if not."""

    ready: bool
    wrong: dict[str, str]
    warnings: list[str]
    node: str
    version: str
    channels: dict[str, int]
    components: list[dict[str, Any]]
    connections: int
    up_s: float
    processes: NotRequired[list[dict[str, Any]]]
