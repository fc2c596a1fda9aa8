"""Who uses the simulated servers: publishers that retry until they are answered, readers that are slow, change their
minds, and come back.

Owns: how a client behaves, as the real client library does. Knows nothing of the servers but their answers.
Law: what a person was told goes to the judge as it came; a person never repairs it.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from catalyst_signals.errors import CatalystError, Overloaded, PositionLost, Unavailable, UnknownChannel, from_dict
from catalyst_signals.events import Batch, Draft, Refused
from catalyst_signals.filters import Filter, parse
from catalyst_signals.signals import signal_draft

from .judge import Life, Mark, Offer, Stretch
from .wires import Wire

if TYPE_CHECKING:
    from .world import ServerProcess, World

SYMBOLS = ("ACME", "XYZ", "NVDA", "BTC")
ACTIONS = ("BUY", "SELL", "WATCH")
FILTERS = tuple(
    parse(text)
    for text in (
        "",
        "",
        "symbol = ACME",
        "symbol in (ACME, XYZ) and confidence >= 0.5",
        "confidence >= 0.7",
        "confidence < 0.4 or symbol = BTC",
        "not symbol = NVDA",
        "symbol = NVDA and confidence >= 0.3",
        "tags contains_any (loud, news)",
        "symbol = NOBODY",
        "direction = short or tags contains_any (news)",
    )
)
BY_TEXT = {filter.text: filter for filter in FILTERS}
WHIMS = ("filter",) * 5 + ("stall", "stall", "cut", "cut", "move", "leave", "publish", "publish")
_TAGS = ([], ["news"], ["loud", "news"], ["x"])


def filter_of(source: object) -> Filter:
    """Parsed once for all seeds."""
    return BY_TEXT[str(source or "")]


class Publisher:
    """Somebody with signals. Sends a batch again, to whatever process there is, until it is answered."""

    def __init__(self, world: World, name: str) -> None:
        self._world = world
        self._name = name
        self._made: list[tuple[str, dict[str, Any]]] = []  # (channel, signal), with its id, to contradict later.
        self._tasks: list[asyncio.Task[None]] = []

    async def live(self) -> None:
        """Publish until the weather clears up, then wait for the last answers."""
        world = self._world
        while not world.calm:
            await asyncio.sleep(world.rng.expovariate(world.rate))
            commit = [self._offer() for _ in range(world.rng.choice((1, 1, 1, 2, 3)))]
            sending = world.loop.create_task(self._send(commit))
            self._tasks.append(sending)
            if world.chance(0.6):
                await asyncio.wait([sending])
        for task in self._tasks:
            await task

    def signal(self, channel: str, id: str) -> dict[str, Any]:
        """Some signal."""
        rng = self._world.rng
        signal = {
            "id": id, "symbol": rng.choice(SYMBOLS), "action": rng.choice(ACTIONS),
            "confidence": rng.randint(1, 9) / 10,
        }  # fmt: skip
        if tags := rng.choice(_TAGS):
            signal["tags"] = tags
        self._made.append((channel, signal))
        return signal

    def _offer(self) -> Offer:
        world, rng = self._world, self._world.rng
        channel = rng.choice(world.channels) if world.chance(0.98) else "nowhere"
        signals = [self.signal(channel, world.next_id(self._name)) for _ in range(rng.choice((1, 1, 1, 2, 5)))]
        if world.chance(0.1):
            signals.insert(rng.randint(0, len(signals)), self._contradiction(channel))
        if world.chance(0.03):
            signals.append(signals[0])
        drafts = [self.draft(signal) for signal in signals]
        return world.offer(Batch(channel=channel, subject=self._name, drafts=drafts))

    def draft(self, signal: dict[str, Any]) -> Draft:
        """The draft a server makes of it."""
        return signal_draft(signal, subject=self._name)[0]

    def _contradiction(self, channel: str) -> dict[str, Any]:
        """An id that stands for something else already: ours or somebody else's."""
        world = self._world
        made = [signal for each, signal in world.rng.choice(world.publishers)._made if each == channel]
        if not made:
            return self.signal(channel, world.next_id(self._name))
        old = world.rng.choice(made)
        return old | {"confidence": world.rng.randint(1, 9) / 10, "symbol": world.rng.choice(SYMBOLS)}

    async def _send(self, commit: list[Offer]) -> None:
        """One attempt after the other, until there is an answer or nobody wants it any more."""
        world = self._world
        while not all(offer.stored or offer.refused for offer in commit):
            patience_s = world.rng.choice((0.3, 1, 5)) if not world.calm else 10
            process = world.any_process()
            if process is None or not await self._attempt(process, commit, patience_s):
                await asyncio.sleep(world.rng.uniform(0.02, 0.3))
            if commit[0].given_up:
                return
            if world.chance(0.1):
                world.saw("an answered batch was sent again")
                await self._attempt(world.any_process() or process, commit, 1)

    async def _attempt(self, process: ServerProcess | None, commit: list[Offer], patience_s: float) -> bool:
        """Whether an answer came; what the server answered is on the record also when it did not come."""
        if process is None:
            return False
        world = self._world
        told: asyncio.Future[bool] = world.loop.create_future()
        world.loop.call_later(world.rng.expovariate(1000), self._arrive, process, commit, told, context=process.context)
        world.later(patience_s, _tell, told, False)
        return await told

    def _arrive(self, process: ServerProcess, commit: list[Offer], told: asyncio.Future[bool]) -> None:
        """Runs in the server, as the handler of a request would."""
        world = self._world
        try:
            future = process.submit([offer.batch for offer in commit])
        except (Overloaded, Unavailable) as error:
            world.saw(f"a publish was put off: {error.name}")
            world.later(0.01, _tell, told, False)
            return
        future.add_done_callback(lambda done: self._answered(done, commit, told), context=world.context)
        if world.chance(0.08):
            world.loop.call_later(world.rng.expovariate(300), future.cancel, context=process.context)

    def _answered(self, done: asyncio.Future[Any], commit: list[Offer], told: asyncio.Future[bool]) -> None:
        world = self._world
        if done.cancelled():
            world.saw("a waiting publisher was cancelled")
            if world.chance(0.5):
                for offer in commit:
                    offer.given_up = True
        else:
            for offer, result in zip(commit, done.result(), strict=True):
                if isinstance(result, Refused):
                    offer.refused.append(result.error)
                else:
                    offer.stored.append([(receipt.seq, receipt.id) for receipt in result.receipts])
                    if result.receipts and all(receipt.duplicate for receipt in result.receipts):
                        world.saw("an acknowledgement of a duplicate")
        if not world.chance(world.weather.unknown):
            world.later(world.rng.expovariate(1000), _tell, told, True)


@dataclass
class Interest:
    """What a reader wants of a channel, and where it stands there, as the client library keeps it."""

    channel: str
    filter: Filter
    place: int | None = None
    epoch: str = ""
    hash8: str | None = None  # Of the event at `place`, when a position said so.
    top: int = 0  # The highest that was handed out, or that a place lies at.
    life: Life | None = None
    stretch: Stretch | None = None  # On the present connection.
    wanted: bool = True


@dataclass
class Asked:
    """A `subscribe` or `unsubscribe` that is not answered yet."""

    interest: Interest
    filter: Filter
    after: int | None
    change: bool = False  # Only the filter is to be another one.


@dataclass
class Said:
    """A signal published over the socket and not answered yet."""

    channel: str
    signal: dict[str, Any]
    offer: Offer


@dataclass
class _Link:
    """One connection of a reader: what it asked and was not answered on it."""

    wire: Wire
    asked: dict[int, Asked] = field(default_factory=dict)
    said: dict[int, Said] = field(default_factory=dict)


class Reader:
    """A subscriber, who may also publish. Slow, forgetful, and never satisfied with its filter."""

    def __init__(self, world: World, name: str, channels: list[str]) -> None:
        self._world = world
        self.name = name
        rng = world.rng
        self.interests = {channel: Interest(channel, rng.choice(world.filters)) for channel in channels}
        self.lives: list[Life] = []
        self.refusals: list[str] = []
        self._link: _Link | None = None
        self._pace_s = rng.choice((0.0005, 0.002, 0.02, 0.2))
        self._high = rng.choice((300, 1000, 4000))
        self._publisher = Publisher(world, name) if world.chance(0.5) else None
        self._unanswered: list[Said] = []
        self._ref = 0
        self._redial_s = 0.0

    async def live(self) -> None:
        """Connect, do this and that, and connect again."""
        world = self._world
        while True:
            if self._link is None:
                await asyncio.sleep(max(self._redial_s, world.rng.expovariate(10)))
                self._redial_s = 0.0
                self.dial()
                continue
            await asyncio.sleep(0.3 if world.calm else min(1.5, world.rng.expovariate(world.fickle)))
            if not world.calm:
                self.act()

    @property
    def at_rest(self) -> bool:
        """Connected, and everything asked for was answered."""
        link = self._link
        return (
            link is not None and not link.asked and not link.said and not self._unanswered
            and all(i.stretch is not None for i in self.interests.values() if i.wanted)
        )  # fmt: skip

    def take_interest(self, channel: str) -> None:
        """There is a new channel; some want that one too."""
        if self._world.chance(0.7):
            self.interests[channel] = interest = Interest(channel, self._world.rng.choice(self._world.filters))
            if self._link is not None:
                self._take_up(interest)

    # -- what it does -------------------------------------------------------------------------------------------------

    def dial(self) -> None:
        """Connect to any process, take up where it stood."""
        world = self._world
        process = world.any_process()
        if process is None or self._link is not None:
            return
        wire = Wire(world, process, self, high=self._high, low=self._high // 2, pace_s=self._pace_s)
        self._link = _Link(wire)
        world.note("%-8s connects to %s", self.name, process.name)
        process.accept(wire, self.name)
        for interest in self.interests.values():
            if interest.wanted or world.calm:
                interest.wanted = True
                self._take_up(interest)
        for said in self._unanswered:
            self._say(said)
        self._unanswered.clear()

    def act(self, at_once: bool = False) -> None:
        """Something a client may do at any time."""
        world = self._world
        if self._link is None:
            return
        what = world.rng.choice(WHIMS)
        interest = world.rng.choice(list(self.interests.values()))
        after_s = 0.0 if at_once else world.rng.expovariate(500)
        if what == "stall":
            self._stall()
        elif what == "cut":
            world.note("%-8s is cut off", self.name)
            self._link.wire.cut(world.rng.choice((0, 0.01, 1)))
        elif what == "publish":
            self._publish()
        elif what == "leave":
            self._leave_or_return(interest, after_s)
        elif what == "move" and interest.wanted:
            self._take_up(interest, after_s)
        elif what == "filter":
            self._change_filter(interest, after_s)

    def _leave_or_return(self, interest: Interest, after_s: float) -> None:
        interest.wanted = not interest.wanted
        if interest.wanted:
            self._take_up(interest, after_s)
        else:
            content = {"type": "unsubscribe", "channel": interest.channel}
            self._ask(content, Asked(interest, interest.filter, None), after_s)

    def _change_filter(self, interest: Interest, after_s: float) -> None:
        """Where we stand; so not while we do not know whether we stand anywhere."""
        assert self._link is not None
        asked = [asked for asked in self._link.asked.values() if asked.interest is interest]
        if interest.stretch is not None and all(each.change for each in asked):
            interest.filter = self._world.rng.choice(self._world.filters)
            self._subscribe(interest, {}, after_s, change=True)

    def _stall(self) -> None:
        world, wire = self._world, self._link.wire  # type: ignore[union-attr]
        world.note("%-8s takes nothing for a while", self.name)
        wire.stall(True)
        world.later(world.rng.choice((0.002, 0.1, 1, 4)), wire.stall, False)

    def hurry(self) -> None:
        """The world has become calm: take what comes."""
        self._pace_s = min(self._pace_s, 0.002)
        if self._link is not None:
            self._link.wire.hurry()

    def _take_up(self, interest: Interest, after_s: float = 0.0) -> None:
        """Subscribe from where we stand: with epoch and hash, or with less; sometimes as if we had never been here."""
        world = self._world
        if interest.place is None or world.chance(0.05):
            interest.place = None
            self._subscribe(interest, {}, after_s)
            return
        where: dict[str, Any] = {"after": interest.place}
        if world.chance(0.8):
            where["epoch"] = interest.epoch
        if interest.hash8 is not None and world.chance(0.8):
            where["hash"] = interest.hash8
        elif world.chance(0.05) and interest.life is not None and interest.life.stretches:
            where = {"after": interest.life.stretches[-1].after}  # A place that was saved a while ago.
        self._subscribe(interest, where, after_s)

    def _subscribe(self, interest: Interest, where: dict[str, Any], after_s: float, change: bool = False) -> None:
        content = {"type": "subscribe", "channel": interest.channel, "filter": interest.filter.text, **where}
        content["position_s"] = self._world.rng.choice((1, 1, 2))
        self._ask(content, Asked(interest, interest.filter, where.get("after"), change), after_s)

    def _ask(self, content: dict[str, Any], asked: Asked, after_s: float) -> None:
        assert self._link is not None
        self._ref += 1
        self._link.asked[self._ref] = asked
        self._send(content | {"ref": self._ref}, after_s)

    def _publish(self) -> None:
        world = self._world
        if self._publisher is None or world.calm:
            return
        channel = world.rng.choice(world.channels)
        signal = self._publisher.signal(channel, world.next_id(self.name))
        offer = world.offer(Batch(channel=channel, subject=self.name, drafts=[self._publisher.draft(signal)]))
        self._say(Said(channel, signal, offer))

    def _say(self, said: Said) -> None:
        assert self._link is not None
        self._ref += 1
        self._link.said[self._ref] = said
        content = {"type": "publish", "channel": said.channel, "signal": said.signal, "ref": self._ref}
        self._send(content, self._world.rng.expovariate(500))

    def _send(self, content: dict[str, Any], after_s: float) -> None:
        assert self._link is not None
        self._world.note("%-8s says %s", self.name, content)
        self._link.wire.send(msgspec.json.encode(content).decode(), after_s)

    # -- what it is told ----------------------------------------------------------------------------------------------

    def message(self, wire: Wire, text: bytes) -> None:
        """A message of the server's."""
        link = self._link
        if link is None or link.wire is not wire:
            return
        content = msgspec.json.decode(text)
        self._world.note("%-8s gets %s", self.name, content)
        kind = content["type"]
        if "seq" in content and kind != "accepted":
            self._event(content, text)
        elif kind == "subscribed":
            self._subscribed(link, content)
        elif kind == "position":
            self._position(content)
        elif kind == "live":
            self._marked(self.interests[content["channel"]], "live", content["at"])
        elif kind == "unsubscribed":
            self._unsubscribed(link, content)
        elif kind == "accepted":
            said = link.said.pop(content["ref"])
            said.offer.stored.append([(content["seq"], content["id"])])
        elif kind == "error":
            self._refused(link, content)
        elif kind == "goaway":
            self._world.saw("a reader was told to go away")
            self._world.later(content["reconnect_in_s"], wire.cut, 0)

    def closed(self, wire: Wire) -> None:
        """The connection is over; what was not answered on it is said again on the next."""
        link = self._link
        if link is None or link.wire is not wire:
            return
        self._world.note("%-8s is disconnected", self.name)
        self._link = None
        self._unanswered += link.said.values()
        for interest in self.interests.values():
            self._close(interest)

    def _event(self, content: dict[str, Any], text: bytes) -> None:
        interest = self.interests[content["channel"]]
        seq, stretch = content["seq"], interest.stretch
        if stretch is None or interest.life is None:
            self.refusals.append(f"{self.name} got event {seq} of {interest.channel} without being subscribed")
            return
        stretch.received.append((seq, text))
        interest.place, interest.hash8 = max(seq, interest.place or 0), None
        if seq > interest.top:
            interest.top = seq
            interest.life.handed.append((seq, text))

    def _subscribed(self, link: _Link, content: dict[str, Any]) -> None:
        asked = link.asked.pop(content["ref"])
        interest, after, epoch = asked.interest, content["after"], content["epoch"]
        changed = interest.stretch is not None and asked.after is None
        if changed:
            self._marked(interest, "subscribed", after, epoch)
        self._close(interest)
        if interest.life is None or (asked.after is None and not changed):
            interest.life = Life(self.name, interest.channel)
            self.lives.append(interest.life)
            interest.top = after
        stretch = Stretch(asked.filter, after, epoch, asked.after)
        if content["filter"] != asked.filter.text:
            self.refusals.append(f"{self.name} asked for {asked.filter.text!r} and got {content['filter']!r}")
        interest.life.stretches.append(stretch)
        interest.stretch = stretch
        interest.place, interest.epoch, interest.hash8 = after, epoch, None
        interest.top = max(interest.top, after)

    def _unsubscribed(self, link: _Link, content: dict[str, Any]) -> None:
        interest = link.asked.pop(content["ref"]).interest
        self._marked(interest, "unsubscribed", content["complete_through"], content["epoch"])
        self._close(interest)

    def _position(self, content: dict[str, Any]) -> None:
        interest = self.interests[content["channel"]]
        seq, epoch, hash8 = content["complete_through"], content["epoch"], content.get("hash")
        self._marked(interest, "position", seq, epoch, content["sent"], hash8)
        interest.place, interest.epoch, interest.hash8 = seq, epoch, hash8

    def _marked(
        self, interest: Interest, what: str, seq: int, epoch: str | None = None, sent: int | None = None,
        hash8: str | None = None,
    ) -> None:  # fmt: skip
        stretch = interest.stretch
        if stretch is None:
            self.refusals.append(f"{self.name} got `{what}` of {interest.channel} without being subscribed")
            return
        stretch.marks.append(Mark(what, len(stretch.received), seq, epoch, sent, hash8))
        interest.top = max(interest.top, seq)
        if interest.place is None or seq > interest.place:
            interest.place, interest.hash8 = seq, hash8

    def _refused(self, link: _Link, content: dict[str, Any]) -> None:
        ref = content.get("ref")
        error = from_dict(content)
        said, asked = link.said.pop(ref, None), link.asked.pop(ref, None)
        elsewhere = isinstance(error, UnknownChannel)  # It is new, and this process has not heard of it yet.
        if said is not None and (error.retry or elsewhere):
            self._world.later(0.2, self._say_again, said)
        elif said is not None:
            said.offer.refused.append(error)
        elif asked is not None and (error.retry or elsewhere):
            self._world.saw(f"a subscribe was put off: {error.name}")
            self._world.later(0.2, self._again, link, asked.interest)
        elif asked is None or isinstance(error, PositionLost):
            self.refusals.append(f"{self.name}: {content}")
        self._forget(asked, error)

    def _forget(self, asked: Asked | None, error: CatalystError) -> None:
        if asked is not None and isinstance(error, PositionLost):
            asked.interest.place = None

    def _say_again(self, said: Said) -> None:
        if self._link is not None:
            self._say(said)
        else:
            self._unanswered.append(said)

    def _again(self, link: _Link, interest: Interest) -> None:
        if self._link is link and interest.wanted:
            self._take_up(interest)

    def _close(self, interest: Interest) -> None:
        if interest.stretch is not None:
            interest.stretch.open = False
            interest.stretch = None


def _tell(told: asyncio.Future[bool], answer: bool) -> None:
    if not told.done():
        told.set_result(answer)
