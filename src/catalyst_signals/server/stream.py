"""What happens on one WebSocket, from its handshake (handshake.py) on.

Owns: one client's subscriptions, and the order in which its messages are dealt with. A shell around session.py (what
was asked), hub.py (what is due), publishing.py and receipts.py. Law: every path that closes leaves the hub first.
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
from collections.abc import Collection
from functools import partial
from math import inf
from typing import Any

from msgspec import UNSET

from catalyst_signals.about import Ids, deal_with
from catalyst_signals.auth import Principal
from catalyst_signals.errors import (
    CatalystError,
    InvalidJson,
    InvalidRequest,
    NotFound,
    RateLimited,
    TooSlow,
    Unauthenticated,
    Unavailable,
)
from catalyst_signals.events import now_us
from catalyst_signals.filters import Filter
from catalyst_signals.modifiers import Modifiers
from catalyst_signals.server.heartbeats import heard
from catalyst_signals.server.node import Node, check_goes_on, is_open, name_in
from catalyst_signals.server.protocol import SocketProtocol
from catalyst_signals.server.publishing import Publishing, Slow
from catalyst_signals.session import Ack, Auth, Command, Heartbeat, Publish, Refusal, Subscribe, Unsubscribe, read
from catalyst_signals.tape import Peer, Subscriber, Tape
from catalyst_signals.vital import vital
from catalyst_signals.wire import PING, error_message, hash_of, message, ref_of

log = logging.getLogger("catalyst.stream")


class Connection:
    """One client. It is the hub's listener, the protocol's owner, and remembers what is in flight."""

    __slots__ = (
        "_address", "_asked", "_backlog", "_deadline", "_edited", "_heard_s", "_holding", "_named", "_node",
        "_now_s", "_paused_s", "_peer", "_principal", "_protocol", "_publishing", "_task", "closed", "id", "look_s",
    )  # fmt: skip

    def __init__(self, node: Node, protocol: SocketProtocol, principal: Principal | None, address: str = "") -> None:
        self.id = secrets.token_hex(6)
        self.closed = False
        self._address = address
        self._node = node
        self._protocol = protocol
        self._principal = principal
        self._peer = Peer(protocol.write, self, node.settings.position_s, protocol.socket)
        self._backlog: list[Command] = []  # A deque takes half a KiB when it is empty, and this nearly always is.
        self._task: asyncio.Task[None] | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._publishing: Publishing | None = None  # Most never publish.
        self._named: dict[str, str] = {}  # Channel -> the saved filter that its subscription uses by name.
        self._edited: set[str] = set()  # Channels whose saved filter was edited while the client took no messages.
        self._now_s = protocol.loop.time
        self._heard_s = self._now_s()
        self._paused_s: float | None = None
        self._holding = False
        self._asked = False  # Whether it is silent so long that we asked, or are about to.
        self.look_s = 0.0  # Before this moment a tick has nothing to do here.
        protocol.adopt(self)
        node.limits.addresses.come(address)
        node.connections.setdefault(self._key_id, set()).add(self)
        if principal is None:
            self._deadline = protocol.loop.call_later(node.settings.auth_s, self._no_key_came)
        self._say(node.welcome(principal))

    @property
    def _key_id(self) -> str:
        return self._principal.key_id if self._principal is not None else ""

    @property
    def ids(self) -> Ids:
        """What stands on the lines that are written while this connection is dealt with."""
        return {"connection_id": self.id, **({"key_id": self._key_id} if self._key_id else {})}

    # -- from the client --------------------------------------------------------------------------------------------

    def received(self, text: str) -> None:
        """A message: dealt with at once when it can be, else in order after the one that has to wait."""
        deal_with(self)
        try:
            # With a task under way and nobody known, that is the authentication, and this waits for how it ends.
            command = read(text, authenticated=self._principal is not None or self._task is not None)
        except Refusal as refusal:
            self._answer_mistake(refusal.error, refusal.ref)
        except InvalidJson as error:
            self._answer_mistake(error, None)
        else:
            self._backlog.append(command)
            self._work()

    def _answer_mistake(self, error: CatalystError, ref: object) -> None:
        """Somebody we know goes on; a stranger gets one answer."""
        if self._principal is None:
            self.turn_out(error, ref, Unauthenticated.close_code)
        else:
            self.refuse(error, ref)

    def _work(self) -> None:
        while self._backlog and self._task is None and not self.closed:
            command = self._backlog.pop(0)
            try:
                slow = self._do(command)
            except CatalystError as error:
                self.refuse(error, command.ref)
            else:
                if slow is not None:
                    self._wait_for(slow, command.ref)

    def _do(self, command: Command) -> Slow | None:
        """Deal with one command; what needs the store comes back to be awaited, and the next command waits for it."""
        match command:
            case Publish():
                return self._publish(command)
            case Subscribe():
                return partial(self._subscribe, command)
            case Unsubscribe():
                self._unsubscribe(command)
            case Ack():
                self._acknowledge(command)
            case Heartbeat():
                return partial(self._beat, command)
            case Auth():
                return partial(self._authenticate, command)
        return None

    def _wait_for(self, slow: Slow, ref: object) -> None:
        self._task = vital(self._slowly(slow, ref))
        self.mind_reading()

    async def _slowly(self, slow: Slow, ref: object) -> None:
        deal_with(self)
        try:
            await slow()
        except CatalystError as error:
            self.refuse(error, ref)
        finally:
            self._task = None
        if not self.closed:
            self._work()
            self.mind_reading()

    async def _authenticate(self, command: Auth) -> None:
        if self._principal is not None:
            raise InvalidRequest("this connection has said who it is; open another one for another key", field="type")
        await self._node.newcomers.look_for(command.key)
        if self.closed:
            return
        try:
            principal = self._node.authenticate(command.key)
            self._node.limits.connect(principal.key_id)
        except (Unauthenticated, RateLimited) as error:
            self.turn_out(error, command.ref)
            return
        self._forget_me()
        self._principal = principal
        self._node.connections.setdefault(self._key_id, set()).add(self)
        if self._deadline is not None:
            self._deadline.cancel()
        self._say(self._node.welcome(principal) | ref_of(command.ref))

    def _who(self, scope: str) -> Principal:
        assert self._principal is not None
        self._node.check_trust()
        principal = self._node.still(self._principal)
        principal.require(scope)
        return principal

    def open_filters(self, subject: str) -> int:
        """How many subscriptions here are a user's and have a filter without a key."""
        if self._principal is None or self._principal.subject != subject:
            return 0
        return sum(is_open(subscriber.group.filter) for subscriber in self._peer.subscribers.values())

    # -- subscribing --------------------------------------------------------------------------------------------------

    async def _subscribe(self, command: Subscribe) -> None:
        principal = self._who("subscribe")
        self._node.limits.subscribes.spend(principal.subject)
        names = command.channels if command.channels is not None else self._node.visible(principal)
        await self._node.newcomers.look_for_channels(names)
        tapes = [self._node.tape(principal, name) for name in names]
        if not tapes:
            raise NotFound("this key may see no channel", field="channels")
        self._node.filter_for(principal, command.filter)
        places = [await self._place(tape, command) for tape in tapes]
        behind = sum(max(0, tape.done - place[0]) for tape, place in zip(tapes, places, strict=True) if place)
        if behind:
            await self._node.limits.rows.spend_many(principal.subject, behind)
        if self.closed:
            return
        filter = self._node.filter_for(principal, command.filter)  # A saved one may have been edited meanwhile.
        if is_open(filter):
            self._node.check_open_filters(principal, len(tapes))
        if command.position_s is not None:
            self._peer.position_s = command.position_s
        for tape, place in zip(tapes, places, strict=True):
            check_goes_on(tape)
            if place is None and tape.channel not in self._peer.subscribers:
                raise Unavailable("this subscription ended meanwhile; subscribe again with a position", field="channel")
        for tape, place in zip(tapes, places, strict=True):
            if self.closed:
                return
            self._name(tape.channel, name_in(command.filter))
            self._join(tape, filter, command.modifiers, place, command.ref)

    async def _place(self, tape: Tape, command: Subscribe) -> tuple[int, str, str | None] | None:
        """Where a subscription begins; None: where the one there is stands."""
        if command.after is None and tape.channel in self._peer.subscribers:
            return None
        return await self._node.place_to_resume(tape, after=command.after, epoch=command.epoch, hash8=command.hash8)

    def _join(
        self, tape: Tape, filter: Filter, modifiers: Modifiers, place: tuple[int, str, str | None] | None, ref: object
    ) -> None:
        """Leave, tell and join without an await between: nothing is lost and nothing comes twice."""
        hub, peer = self._node.hub, self._peer
        present, earlier = peer.subscribers.get(tape.channel), None
        if present is not None:
            stood = hub.leave(present)
            earlier = self._node.receipts.left(present)
            self._node.limits.unread(self._principal, present.head - stood.seq)
            place = place or (stood.seq, stood.epoch, stood.hash8)
        assert place is not None
        if not peer.subscribers:
            peer.due_s = self._now_s() + peer.position_s * random.uniform(0.5, 1)
        self.look_s = 0.0
        after, epoch, hash8 = place
        subscribed = message({
            "type": "subscribed", **ref_of(ref), "channel": tape.channel, "epoch": epoch, "after": after,
            **hash_of(hash8), "head": tape.done, "filter": filter.text, "filter_id": filter.id, **self._name_of(tape),
            "subscriber": f"{self.id}:{tape.channel}", "position_s": peer.position_s, **modifiers._asdict(),
        })  # fmt: skip
        hub.gather(peer, subscribed)  # Whoever is at the log's end is told `live` with it.
        subscriber = hub.join(peer, tape, filter, after, epoch, hash8, modifiers)
        self._node.receipts.joined(self, subscriber, earlier)

    def _name(self, channel: str, name: str | None) -> None:
        """Remember by which saved filter's name a subscription is made, if by any."""
        self._edited.discard(channel)
        self._named.pop(channel, None)
        if name is not None:
            self._named[channel] = name

    def _name_of(self, tape: Tape) -> dict[str, str]:
        return {"filter_name": self._named[tape.channel]} if tape.channel in self._named else {}

    def refilter(self, user: str, name: str) -> None:
        """A saved filter was edited: who uses it by name goes on with it where they stand, and is told.

        Who takes no messages now is told when they do: until then nothing is judged for them.
        """
        if self._principal is None or self._principal.subject != user:
            return
        channels = [channel for channel, used in self._named.items() if used == name]
        if self._paused_s is not None:
            self._edited.update(channels)
            return
        for channel in channels:
            self._rejoin(channel)

    def _rejoin(self, channel: str) -> None:
        subscriber, principal = self._peer.subscribers.get(channel), self._principal
        if subscriber is None or principal is None:
            return
        try:
            present = subscriber.group.filter
            filter = self._node.filter_now(principal, self._named.get(channel), present)
            if is_open(filter) and not is_open(present):
                self._node.check_open_filters(principal, 1)
        except CatalystError as error:
            self._node.hub.leave(subscriber)
            self.ended(subscriber, error)
            return
        self._join(subscriber.tape, filter, subscriber.modifiers, None, None)
        self._write(b"")  # What was gathered, so that pushback is noticed before the next one.

    def uses(self, principal: Principal, name: str) -> int:
        """How many subscriptions here use a saved filter by name that was not open."""
        if self._principal is None or self._principal.subject != principal.subject:
            return 0
        using = [self._peer.subscribers.get(channel) for channel, used in self._named.items() if used == name]
        return sum(not is_open(subscriber.group.filter) for subscriber in using if subscriber is not None)

    def subscriber_for(self, principal: Principal, channel: str) -> Subscriber | None:
        """The subscription to a channel here, if it is this user's own, or an admin asks."""
        whose = self._principal.subject if self._principal is not None else None
        if whose != principal.subject and "admin" not in principal.scopes:
            return None
        return self._peer.subscribers.get(channel)

    def _unsubscribe(self, command: Unsubscribe) -> None:
        subscriber = self._peer.subscribers.get(command.channel)
        if subscriber is None:
            raise _not_subscribed(command.channel)
        place = self._node.hub.leave(subscriber)
        self._node.receipts.left(subscriber)
        self._node.limits.unread(self._principal, subscriber.head - place.seq)
        self._name(command.channel, None)
        self._say({
            "type": "unsubscribed", **ref_of(command.ref), "channel": place.channel, "epoch": place.epoch,
            "complete_through": place.seq, **hash_of(place.hash8),
        })  # fmt: skip

    # -- publishing and acknowledging ---------------------------------------------------------------------------------

    def _publish(self, command: Publish) -> Slow | None:
        principal = self._who("publish")
        if self._publishing is None:
            self._publishing = Publishing(self._node, self)
        return self._publishing.publish(principal, command)

    def accepted(self, data: bytes) -> None:
        """Told.accepted"""
        self._node.hub.gather(self._peer, data)

    def _acknowledge(self, command: Ack) -> None:
        subscriber = self._peer.subscribers.get(command.channel)
        if subscriber is None:
            raise _not_subscribed(command.channel)
        self._node.receipts.acknowledge(subscriber, command.through)

    async def _beat(self, command: Heartbeat) -> None:
        told = await heard(self._node, self._who("publish"), command.channel, command.every_s)
        if command.ref is not None or command.every_s is not UNSET:
            self._say({"type": "heartbeat", **ref_of(command.ref), **told})

    def subscribers(self) -> Collection[Subscriber]:
        """Its subscriptions."""
        return self._peer.subscribers.values()

    @property
    def who(self) -> tuple[str, str]:
        """Its user and key, empty before it has said so."""
        return ("", "") if self._principal is None else (self._principal.subject, self._principal.key_id)

    def mind_reading(self) -> None:
        """Read on only while the client takes answers and neither too much is in flight nor something slow."""
        limit = self._node.settings.publishes_in_flight
        in_flight = self._publishing.in_flight if self._publishing is not None else 0
        full = in_flight > limit // 2 if self._holding else in_flight >= limit
        hold = self._paused_s is not None or self._task is not None or full
        if hold != self._holding:
            self._holding = hold
            self._heard_s = self._now_s()  # While we do not read, silence is ours.
            self._protocol.hold_reading(hold)

    # -- to the client ------------------------------------------------------------------------------------------------

    def _say(self, content: dict[str, Any]) -> None:
        self._write(message(content))

    def refuse(self, error: CatalystError, ref: object) -> None:
        """Say what was refused, and why."""
        self._node.refusals[error.name] += 1
        self._write(error_message(error, ref))

    def _write(self, data: bytes) -> None:
        if not self.closed:
            self._node.hub.write(self._peer, data)

    def turn_out(self, error: CatalystError, ref: object = None, code: int | None = None) -> None:
        """Tell the reason, and close with the code that says whether to come back."""
        if not self.closed:
            self.refuse(error, ref)
            self._node.closed[error.name] += 1
            self._protocol.close(code or error.close_code, error.message)

    def goodbye(self, reconnect_in_s: float) -> None:
        """Say that the server is going down, with the last positions, so that nothing is asked for twice."""
        if not self.closed:
            if self._peer.subscribers and not self._peer.paused:
                self._write(self._node.hub.positions(self._peer))
            self._say({"type": "goaway", "reason": "deploy", "reconnect_in_s": round(reconnect_in_s, 1)})

    def _no_key_came(self) -> None:
        self.turn_out(Unauthenticated(f"no key came within {self._node.settings.auth_s:g} s"))

    def tick(self, now_s: float) -> None:
        """About once a second if something is due: expiry of the key, a stalled or dead client, positions."""
        settings = self._node.settings
        if self._principal is not None and self._principal.is_over(now_us()):
            self.turn_out(Unauthenticated("this API key has expired"))
        elif self._paused_s is not None:
            if now_s - self._paused_s > settings.stall_s:
                self._give_up_waiting()
        elif now_s - self._heard_s > settings.silent_s and not self._holding:
            self._node.closed["silent"] += 1
            self._protocol.transport.abort()
        else:
            self.look_s = min(self._ask(now_s - self._heard_s), self._node.hub.tick(self._peer, now_s))

    def _ask(self, silent_s: float) -> float:
        """Ask whether anyone is there, with the next position if one goes out in time; answers when to come again."""
        soon, late, limit = (part * self._node.settings.silent_s for part in (3 / 8, 1 / 2, 1))
        if silent_s < soon:
            return self._heard_s + soon
        if not self._asked:
            self._asked, self._peer.ping = True, PING
        if silent_s < late:
            return self._heard_s + late
        if self._peer.ping:
            self._peer.ping = b""
            self._protocol.ping()
        return self._heard_s + limit

    def _give_up_waiting(self) -> None:
        places = [self._node.hub.place(s) for s in self._peer.subscribers.values()]
        log.info("a client took no messages for too long", extra=self.ids)
        self._node.closed[TooSlow.name] += 1
        stood = ", ".join(f"{p.channel} after {p.seq}" for p in places)
        self._protocol.close(TooSlow.close_code, f"too slow; resume {stood}")

    # -- what the protocol tells --------------------------------------------------------------------------------------

    def heard(self) -> None:
        """Anything at all came in."""
        self._heard_s = self._now_s()
        self._asked, self._peer.ping = False, b""

    def paused(self) -> None:
        """Pushback: every subscription here is a cursor again."""
        self._paused_s = self._now_s()
        self._node.hub.pause(self._peer)
        self.mind_reading()

    def resumed(self) -> None:
        """Room again."""
        self._paused_s = None
        self.look_s = 0.0
        if not self.closed:
            edited, self._edited = self._edited, set()
            while edited and self._paused_s is None and not self.closed:  # Telling of one may fill the transport again.
                self._rejoin(edited.pop())
            self._edited |= edited
            if self._paused_s is None and not self.closed:
                self._node.hub.resume(self._peer)
            self.mind_reading()

    def closing(self) -> None:
        """Nothing more is written here."""
        if not self.closed:
            self.closed = True
            self.look_s = inf
            gone = list(self._peer.subscribers.values())
            self._node.hub.drop(self._peer)
            for subscriber in gone:
                self._node.limits.unread(self._principal, subscriber.head - subscriber.judged)
                self._node.receipts.left(subscriber)
            self._forget_me()
            self._node.limits.addresses.leave(self._address)
            if self._deadline is not None:
                self._deadline.cancel()
            if self._task is not None:
                self._task.cancel()

    lost = closing

    def ended(self, subscriber: Subscriber, error: CatalystError) -> None:
        """A replay ran into something that is no longer there."""
        self._node.receipts.left(subscriber)
        self._name(subscriber.tape.channel, None)
        error.extra.setdefault("channel", subscriber.tape.channel)
        self.refuse(error, None)

    def broken(self, error: Exception) -> None:
        """A write raised: the socket is dead."""
        log.info("a write failed, the connection is dropped", extra={"reason": repr(error), **self.ids})
        self._node.closed["broken"] += 1
        self.closing()
        self._protocol.transport.abort()

    def _forget_me(self) -> None:
        group = self._node.connections.get(self._key_id)
        if group is not None:
            group.discard(self)
            if not group:
                del self._node.connections[self._key_id]


def _not_subscribed(channel: str) -> NotFound:
    return NotFound(f"there is no subscription to `{channel}` here", field="channel", got=channel)
