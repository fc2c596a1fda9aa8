"""One running process: its parts, and the few things that need several of them at once.

Owns: who is connected, what a caller may do, how signals and administration reach the log. Knows nothing of HTTP.
Law: rights are those of the moment of use, and none at all when the `system` channel cannot be confirmed for `trust_s`.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from catalyst_signals.auth import ADMIN_CHANNELS, SERVER_CHANNELS, Principal
from catalyst_signals.auth.api_keys import ApiKeys
from catalyst_signals.caches import Cache
from catalyst_signals.caches.memory import MemoryCache
from catalyst_signals.changes import Author, Changes
from catalyst_signals.errors import (
    Draining,
    Forbidden,
    InvalidFilter,
    PositionTooOld,
    RangeUntrusted,
    Unauthenticated,
    Unavailable,
    UnknownChannel,
)
from catalyst_signals.events import Batch, Draft, Stored, check_channel_name, iso, now_us
from catalyst_signals.filters import EVERYTHING, Filter, parse
from catalyst_signals.follow import Follower
from catalyst_signals.hub import Hub
from catalyst_signals.projections import FILTER_NAME, SystemState, key_is_good, system_draft
from catalyst_signals.publish import Publisher
from catalyst_signals.rehearse import Rehearsals
from catalyst_signals.retention import Swept
from catalyst_signals.server.guarding import Breakers
from catalyst_signals.server.limits import Limits
from catalyst_signals.server.newcomers import Newcomers
from catalyst_signals.server.peaks import Peak
from catalyst_signals.server.receipts import EVERY_S, Receipts
from catalyst_signals.server.settings import Settings
from catalyst_signals.server.silences import Silences
from catalyst_signals.server.traffic import Tally
from catalyst_signals.server.transfers import Transfers
from catalyst_signals.session import Standing, resume
from catalyst_signals.signals import check_not_expired
from catalyst_signals.skew import Skews
from catalyst_signals.stores import Store
from catalyst_signals.stories import Stories
from catalyst_signals.tape import Tape
from catalyst_signals.wire import PROTOCOL, SYSTEM_CHANNEL, decode

if TYPE_CHECKING:
    from catalyst_signals.server.siblings import Siblings
    from catalyst_signals.server.stream import Connection
    from catalyst_signals.server.telemetry import Telemetry
    from catalyst_signals.workers.feeds import Feeds
    from catalyst_signals.workers.targets import Out


OPEN_FILTERS_MAX = 64  # Of one user, in this process: each is asked for every event.


@dataclass
class Node:
    """Everything a request needs, opened by app.py."""

    settings: Settings
    store: Store
    hub: Hub
    follower: Follower
    publisher: Publisher
    state: SystemState
    keys: ApiKeys
    first_key: str | None = None
    draining: bool = False
    connections: dict[str, set[Connection]] = field(default_factory=dict)  # By key id; "" has not authenticated yet.
    turned_off: set[str] = field(default_factory=set)  # Keys that were revoked here, whether or not the log has it yet.
    streams: int = 0
    scraped_s: float | None = None  # When /metrics was read last.
    peak: Peak = field(default_factory=Peak)  # Of WebSockets and streams together, looked at once a second.
    swept: dict[str, Swept] = field(default_factory=dict)  # How retention found each channel.
    skews: Skews = field(default_factory=Skews)
    stories: Stories = field(default_factory=Stories)
    refusals: Counter[str] = field(default_factory=Counter)  # By the error's name.
    closed: Counter[str] = field(default_factory=Counter)  # WebSockets that were closed from here, by reason.
    telemetry: Telemetry | None = None
    out: Out | None = None  # What sends to targets; there once the node is open.
    feeds: Feeds | None = None  # What fetches from outside; as above.
    siblings: Siblings | None = None  # The other processes on this port, if there are any.
    cache: Cache = field(default_factory=MemoryCache)
    breakers: Breakers = field(default_factory=Breakers)
    started_s: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.limits = Limits(self.settings, self.cache, self.siblings.of if self.siblings is not None else 1)
        self.newcomers = Newcomers(self.state.keys, self.has_channel, self.follower)
        self.changes = Changes(self.store, self.publisher)
        self.receipts = Receipts(self.store, self.hub, keeps=self.settings.ledger_s > 0)
        self.rehearsals = Rehearsals(self.store, self.follower.reader, self.cache)
        self.transfers = Transfers(self.store, self.siblings)
        self.silences = Silences(self.store, self.publisher, self.state)
        self.tally = Tally(self.store, self.state)
        self.state.watch(self._key_changed)
        self.state.watch_filters(self._filter_changed)

    # -- who ----------------------------------------------------------------------------------------------------

    def authenticate(self, credential: str | None) -> Principal:
        """Who is asking.

        Raises:
            Unauthenticated: nobody we know.
            Draining, Unavailable: nobody is let in now.
        """
        self.check_open()
        if not credential:
            raise Unauthenticated()
        principal = self.keys.authenticate(credential)
        if principal is not None and principal.key_id in self.turned_off:
            raise Unauthenticated("this API key was revoked; ask an admin for a new one")
        if principal is None:
            raise Unauthenticated("this is not a Catalyst API key; they begin with `cat_`")
        return principal

    def check_open(self) -> None:
        """Raise Draining or Unavailable when nobody is let in now."""
        if self.draining:
            raise Draining(retry_after_s=1)
        self.check_trust()

    def check_trust(self) -> None:
        """Raise Unavailable when keys could have been revoked without our hearing of it."""
        if not self.trusted:
            raise Unavailable("the store has not confirmed who may do what; try again in a moment", retry_after_s=1)

    @property
    def trusted(self) -> bool:
        """Whether the store confirmed the head of `system` lately enough."""
        seen_s = self.follower.confirmed_s
        longest_s = max(self.settings.trust_s, 2 * self.settings.poll_s)
        return seen_s is not None and asyncio.get_running_loop().time() - seen_s <= longest_s

    def still(self, principal: Principal) -> Principal:
        """The same key with the rights it has now.

        Raises:
            Unauthenticated: it has none any more.
        """
        key = self.state.keys.get(principal.key_id)
        if key is None or not key_is_good(key) or principal.key_id in self.turned_off:
            raise Unauthenticated("this API key was revoked or has expired")
        return principal

    def turn_off(self, key_id: str) -> None:
        """Revoke a key in this process at once: what follows in the log must not wait for a disk that is full."""
        self.turned_off.add(key_id)
        self._key_changed(key_id)

    def _key_changed(self, key_id: str) -> None:
        for connection in list(self.connections.get(key_id, ())):
            connection.turn_out(Unauthenticated("this API key was revoked"))

    def _filter_changed(self, user: str, name: str) -> None:
        for connection in self.every_connection():
            connection.refilter(user, name)

    def every_connection(self) -> list[Connection]:
        """All open WebSockets."""
        return [connection for group in self.connections.values() for connection in group]

    def welcome(self, principal: Principal | None) -> dict[str, Any]:
        """What a WebSocket is told first, and again once it has said who it is."""
        settings = self.settings
        expires = principal.expires_at_us if principal is not None else None
        return {
            "type": "welcome", "protocol": PROTOCOL, "node": settings.node, "now": iso(now_us()),
            "position_s": settings.position_s, "message_bytes": settings.message_bytes,
            "publishes_in_flight": settings.publishes_in_flight, "ack_s": EVERY_S if settings.ledger_s else None,
            "expires_at": iso(expires) if expires is not None else None,
        }  # fmt: skip

    # -- what ---------------------------------------------------------------------------------------------------

    def has_channel(self, name: str) -> bool:
        """Whether everything that a channel needs is here."""
        return name in self.state.channels and name in self.hub.tapes

    def tape(self, principal: Principal, channel: str) -> Tape:
        """The tape of a channel this key may see.

        Raises:
            InvalidName, UnknownChannel: there is none, or not for this key. Forbidden: it is the server's own.
            HistoryRewritten: the channel is stopped.
        """
        check_channel_name(channel)
        if channel in ADMIN_CHANNELS:
            principal.require("admin")
        tape = self.hub.tapes.get(channel)
        if tape is None or channel not in self.state.channels or not principal.may_use(channel):
            raise UnknownChannel(field="channel", got=channel)  # What a key may not see is not there.
        check_goes_on(tape)
        return tape

    def visible(self, principal: Principal) -> list[str]:
        """The channels this key may see, of those there are."""
        return [name for name in sorted(self.state.channels) if name in self.hub.tapes and principal.may_use(name)]

    def filter_for(self, principal: Principal, source: object) -> Filter:
        """What a subscriber asks for, as a filter or by the name of one they saved, within what their key may see.

        Raises:
            InvalidFilter: it is neither.
        """
        asked = self.asked_for(principal, source)
        return principal.filter.both(asked) if principal.filter is not None else asked

    def asked_for(self, principal: Principal, source: object) -> Filter:
        """As `filter_for`, whatever their key may see.

        Raises:
            InvalidFilter: it is neither.
        """
        name = name_in(source)
        if name is None:
            return parse(source)
        mine = self.state.filters_of(principal.subject)
        if name not in mine:
            raise InvalidFilter(
                f"`{name}` is no filter, and you have saved none of that name", field="filter", got=name,
                allowed=sorted(mine), at=0,
            )  # fmt: skip
        return parse(mine[name])

    def filter_now(self, principal: Principal, source: object, present: Filter) -> Filter:
        """The filter of who has used `present` so far: another one if it is saved by name and was edited since."""
        name = name_in(source)
        if name is None or name not in self.state.filters_of(principal.subject):
            return present
        return self.filter_for(principal, name)

    def check_open_filters(self, principal: Principal, more: int) -> None:
        """Refuse what would make too many filters of one user be asked for every event.

        Raises:
            InvalidFilter: says the limit and how to find out what to add.
        """
        have = sum(connection.open_filters(principal.subject) for connection in self.every_connection())
        if have + more > OPEN_FILTERS_MAX:
            raise InvalidFilter(
                f"a user may have {OPEN_FILTERS_MAX} subscriptions whose filter has no key to be found by;"
                " `catalyst filters check` says what to add to this one",
                field="filter",
                got=have + more,
                allowed=OPEN_FILTERS_MAX,
            )

    async def place_to_resume(
        self, tape: Tape, *, after: int | None, epoch: str | None, hash8: str | None
    ) -> tuple[int, str, str | None]:
        """Where to go on: (seq, epoch there, hash8 there if known).

        Raises:
            PositionLost: not exactly there; says what is void and where one could.
        """
        if tape.done_epoch not in [epoch.name for epoch in self.follower.extents[tape.channel].epochs]:
            await self.follower.poll()  # The tape crossed into an epoch by hints; where that began, the store says.
            check_goes_on(tape)
        standing = self.standing(tape)
        if after is not None and after > standing.head:
            await self.follower.caught_up(tape.channel)
            check_goes_on(tape)
            standing = self.standing(tape)
        known8 = standing.hash8_at(after) if after is not None else standing.head8
        if after is not None and hash8 is not None and known8 is None and standing.first <= after <= standing.head:
            known8 = await self._hash8_at(tape, after)
            check_goes_on(tape)
            standing = self.standing(tape)
        seq = resume(standing, after=after, epoch=epoch, hash8=hash8, known8=known8)
        return seq, standing.epoch_at(seq), known8

    async def _hash8_at(self, tape: Tape, seq: int) -> str | None:
        """The hash8 of an event; one that is not what was written itself is known by the event that follows it."""
        try:
            page = await self.hub.pager.page(tape, seq - 1)
        except PositionTooOld:  # Dropped meanwhile; if it was the last to go, its hash is still known.
            await self.follower.poll()
            return self.standing(tape).hash8_at(seq)
        except RangeUntrusted as refusal:
            if refusal.extra["resume_after"] != seq:
                raise
            page = await self.hub.pager.page(tape, seq)
            return next((f.prev8 for f in page.frames if f.seq > seq), None)
        return next((f.hash8 for f in page.frames if f.seq == seq), None)

    def standing(self, tape: Tape) -> Standing:
        """The log of a channel as a resuming client meets it."""
        extent = self.follower.extents[tape.channel]
        return Standing(extent.epochs, extent.first, extent.hash_before[:4].hex(), tape.done, tape.done8)

    # -- doing --------------------------------------------------------------------------------------------------

    def may_publish(self, principal: Principal, channel: str) -> None:
        """Pass, or raise why this key may not publish here now; each time counts as one publish."""
        principal.require("publish")
        self.tape(principal, channel)
        if channel in SERVER_CHANNELS:
            raise Forbidden(f"`{channel}` is written by the server alone", field="channel", got=channel)
        self.limits.publishes.spend(principal.key_id)
        self.publisher.check_room(principal.subject)

    async def check_fresh(self, channel: str, drafts: Sequence[Draft]) -> None:
        """Refuse what is expired already, unless it is a retry of something known, which is answered first.

        Raises:
            InvalidDraft: names `expires_at`.
        """
        late = {d.id: refusal for d in drafts if (refusal := expired(d)) is not None}
        known = await self.store.find(channel, list(late)) if late else {}
        for id, refusal in late.items():
            if id not in known:
                raise refusal

    async def administer(self, principal: Principal, type: str, data: dict[str, Any], id: str | None = None) -> Stored:
        """Say something in the `system` channel; when this returns, this process has folded it."""
        return await self.publisher.publish(
            Batch(channel=SYSTEM_CHANNEL, subject=principal.subject, drafts=[system_draft(type, data, id)])
        )

    async def open_channel(self, name: str) -> None:
        """Make a channel's log, if it has none, and a tape for it."""
        if name not in self.hub.tapes:
            await self.publisher.publish(Batch(channel=name, subject=SYSTEM_CHANNEL, drafts=[]))
            await self.follower.poll()


def check_goes_on(tape: Tape) -> None:
    """Raise why a tape was stopped, if it was: while one waited, another may have taken its place."""
    if tape.stopped is not None:
        raise tape.stopped.with_traceback(None)  # One object for many: what each raised would hang on to it.


def author_of(principal: Principal) -> Author:
    """Who publishes or changes a signal."""
    return Author(principal.subject, "admin" in principal.scopes, principal.filter or EVERYTHING)


def name_in(source: object) -> str | None:
    """The name of a saved filter, where one may stand; None: it is a filter itself."""
    return source if isinstance(source, str) and FILTER_NAME.fullmatch(source) else None


def is_open(filter: Filter) -> bool:
    """Whether a filter has no key to be found by, so that it is asked for every event; none at all asks nothing."""
    return bool(filter.text) and bool(filter.index()["open"])


def expired(draft: Draft) -> Any:
    """The refusal of a draft whose time is over, or None; decodes only drafts that have such a time."""
    if b'"expires_at"' not in draft.body:
        return None
    return check_not_expired(decode(draft.body)["data"], now_us())
