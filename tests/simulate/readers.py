"""Who reads from the simulated servers: slow, changes its mind, comes back, and carries its place over restores.

Owns: how a reader behaves, as the real client library does. Knows nothing of the servers but their answers.
Law: what a person was told goes to the judge as it came; a person never repairs it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec

from catalyst_signals.errors import (
    CatalystError,
    EpochChanged,
    HistoryRewritten,
    NotFound,
    PositionAhead,
    PositionLost,
    PositionTooOld,
    UnknownChannel,
    from_dict,
)

from .interests import Asked, Interest, Link, Said
from .publishers import Publisher
from .stretches import PLAIN, Life, Mark, Moment, Step, Stretch, Told, Wish
from .wires import Wire

if TYPE_CHECKING:
    from .world import World

WHIMS = ("filter",) * 5 + ("stall", "stall", "cut", "cut", "move", "leave", "publish", "publish")
MORE_WHIMS = (*WHIMS, "replay", "replay", "cut", "change")  # Where signals change, end, or are held back.


class Reader:
    """A subscriber, who may also publish. Slow, forgetful, and never satisfied with its filter."""

    def __init__(self, world: World, name: str, channels: list[str]) -> None:
        self._world = world
        self.name = name
        rng = world.rng
        self.interests = {channel: self._interest(channel) for channel in channels}
        self.lives: list[Life] = []
        self.refusals: list[str] = []
        self._link: Link | None = None
        self._pace_s = rng.choice((0.0005, 0.002, 0.02, 0.2))
        self._high = rng.choice((300, 1000, 4000))
        self._publisher = Publisher(world, name) if world.chance(0.5) else None
        self._unanswered: list[Said] = []
        self._ref = 0
        self._redial_s = 0.0

    def _interest(self, channel: str) -> Interest:
        return Interest(channel, self._world.rng.choice(self._world.filters), wish=self._wish())

    def _wish(self) -> Wish:
        """Some modifiers, mostly none."""
        rng = self._world.rng
        if not self._world.chance(self._world.modifying):
            return PLAIN
        return Wish(
            rng.choice(("hold", "hold", "send")), rng.choice((None, None, 1, 2)), rng.choice(("all", "latest")),
            rng.choice(("send", "hold")),
        )  # fmt: skip

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
            and (self._publisher is None or self._publisher.at_rest)
            and all(i.stretch is not None for i in self.interests.values() if i.wanted)
        )  # fmt: skip

    def take_interest(self, channel: str) -> None:
        """There is a new channel; some want that one too."""
        if self._world.chance(0.7):
            self.interests[channel] = interest = self._interest(channel)
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
        self._link = Link(wire)
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
        what = world.rng.choice(world.whims)
        interest = world.rng.choice(list(self.interests.values()))
        after_s = 0.0 if at_once else world.rng.expovariate(500)
        if what == "stall":
            self._stall()
        elif what == "cut":
            world.note("%-8s is cut off", self.name)
            self._link.wire.cut(world.rng.choice((0, 0.01, 1)))
        elif what == "publish":
            self._publish()
        elif what == "change" and self._publisher is not None:
            self._publisher.change()
        elif what == "replay":
            self.replay(interest.channel, after_s)
        elif what == "leave":
            self._leave_or_return(interest, after_s)
        elif what == "move" and interest.wanted:
            self._take_up(interest, after_s)
        elif what == "filter":
            self._change_filter(interest, after_s)

    def replay(self, channel: str, after_s: float = 0.0) -> None:
        """From the beginning again; in a world that may go back only from where it stands."""
        interest = self.interests.get(channel)
        if self._link is None or interest is None or not interest.wanted or interest.life is None:
            return
        if self._world.rewinding or not interest.life.stretches:
            self._take_up(interest, after_s)
        else:
            where = {"after": self._world.rng.choice((0, interest.life.stretches[0].after))}
            self._subscribe(interest, where, after_s)

    def _leave_or_return(self, interest: Interest, after_s: float) -> None:
        interest.wanted = not interest.wanted
        if interest.wanted:
            self._take_up(interest, after_s)
        else:
            content = {"type": "unsubscribe", "channel": interest.channel}
            self._ask(content, Asked(interest, interest.filter, interest.wish, {}, self._world.now_us()), after_s)

    def _change_filter(self, interest: Interest, after_s: float) -> None:
        """Where we stand; so not while we do not know whether we stand anywhere."""
        assert self._link is not None
        asked = [asked for asked in self._link.asked.values() if asked.interest is interest]
        if interest.stretch is not None and all(each.change for each in asked):
            interest.filter, interest.wish = self._world.rng.choice(self._world.filters), self._wish()
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
        self._subscribe(interest, self._where(interest), after_s)

    def _where(self, interest: Interest) -> dict[str, Any]:
        """In a world that may go back all that is known, as the client library says it; else sometimes less."""
        world = self._world
        where: dict[str, Any] = {"after": interest.place}
        if world.rewinding or world.chance(0.8):
            where["epoch"] = interest.epoch
        if interest.hash8 is not None and (world.rewinding or world.chance(0.8)):
            where["hash"] = interest.hash8
        elif not world.rewinding and world.chance(0.05) and interest.life is not None and interest.life.stretches:
            where = {"after": interest.life.stretches[-1].after}  # A place that was saved a while ago.
        return where

    def _subscribe(self, interest: Interest, where: dict[str, Any], after_s: float, change: bool = False) -> None:
        world = self._world
        content = {"type": "subscribe", "channel": interest.channel, "filter": interest.filter.text, **where}
        content["position_s"] = world.rng.choice((1, 1, 2))
        content |= {name: value for name, value in vars(interest.wish).items() if value != vars(PLAIN)[name]}
        self._ask(content, Asked(interest, interest.filter, interest.wish, where, world.now_us(), change), after_s)

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
        known = self._publisher.stored_signal() if world.chance(world.changing / 3) else None
        if known is not None:
            channel, signal = known[0], signal | {"supersedes": known[1]}
        self._say(Said(channel, signal, self._publisher.offer(channel, [signal])))

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

    def message(self, wire: Wire, text: bytes, written: Moment) -> None:
        """A message of the server's."""
        link = self._link
        if link is None or link.wire is not wire:
            return
        content = msgspec.json.decode(text)
        self._world.note("%-8s gets %s", self.name, content)
        kind = content["type"]
        if "seq" in content and kind != "accepted":
            self._event(content, text, written)
        elif kind == "subscribed":
            self._subscribed(link, content, written)
        elif kind == "position":
            self._position(content, written)
        elif kind == "live":
            self._marked(self.interests[content["channel"]], "live", content["at"], written)
        elif kind == "unsubscribed":
            self._unsubscribed(link, content, written)
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

    def _event(self, content: dict[str, Any], text: bytes, written: Moment) -> None:
        interest = self.interests[content["channel"]]
        seq, stretch = content["seq"], interest.stretch
        if stretch is None or interest.life is None:
            self.refusals.append(f"{self.name} got event {seq} of {interest.channel} without being subscribed")
            return
        stretch.received.append((seq, text))
        stretch.steps.append(Step(seq, written))
        if seq >= (interest.place or 0):
            interest.place, interest.hash8 = seq, content["hash"]
        if seq > interest.top:
            interest.top = seq
            interest.life.handed.append((seq, text))

    def _subscribed(self, link: Link, content: dict[str, Any], written: Moment) -> None:
        asked = link.asked.pop(content["ref"])
        interest, after, epoch = asked.interest, content["after"], content["epoch"]
        changed = interest.stretch is not None and asked.after is None
        if changed:
            self._marked(interest, "subscribed", after, written, epoch, hash8=content.get("hash"))
        self._close(interest)
        if interest.life is None or (asked.after is None and not changed):
            self._begin(interest, after)
        assert interest.life is not None
        if not interest.life.stretches:  # It may have asked for a later place before it was told where to begin.
            interest.life.after = max(interest.life.after, after)
        stretch = Stretch(asked.filter, after, epoch, asked.after, content["head"], asked.wish)
        if content["filter"] != asked.filter.text or any(content[k] != v for k, v in vars(asked.wish).items()):
            self.refusals.append(f"{self.name} asked for {asked.filter.text!r} {asked.wish} and got {content}")
        interest.life.stretches.append(stretch)
        interest.stretch = stretch
        if interest.place != after:
            interest.place, interest.hash8 = after, content.get("hash", asked.where.get("hash"))
        interest.epoch = epoch
        interest.top = max(interest.top, after)

    def _begin(self, interest: Interest, after: int) -> None:
        interest.life = Life(self.name, interest.channel, after)
        self.lives.append(interest.life)
        interest.top = after

    def _unsubscribed(self, link: Link, content: dict[str, Any], written: Moment) -> None:
        interest = link.asked.pop(content["ref"]).interest
        place, hash8 = content["complete_through"], content.get("hash")
        self._marked(interest, "unsubscribed", place, written, content["epoch"], hash8=hash8)
        self._close(interest)

    def _position(self, content: dict[str, Any], written: Moment) -> None:
        interest = self.interests[content["channel"]]
        seq, epoch, hash8 = content["complete_through"], content["epoch"], content.get("hash")
        if content["held"]:
            for reason in content["held"]:
                self._world.saw(f"an event was held: {reason}")
        self._marked(interest, "position", seq, written, epoch, content["sent"], content["held"], hash8)
        interest.epoch = epoch

    def _marked(
        self, interest: Interest, what: str, seq: int, written: Moment, epoch: str | None = None,
        sent: int | None = None, held: dict[str, int] | None = None, hash8: str | None = None,
    ) -> None:  # fmt: skip
        stretch = interest.stretch
        if stretch is None:
            self.refusals.append(f"{self.name} got `{what}` of {interest.channel} without being subscribed")
            return
        stretch.marks.append(Mark(what, len(stretch.received), seq, written, epoch, sent, held, hash8))
        stretch.steps.append(Step(seq, written))
        interest.top = max(interest.top, seq)
        if what == "live" and self._world.rewinding:
            return  # It names no hash; so the client library stays where it stands.
        if interest.place is None or seq > interest.place:
            interest.place, interest.hash8 = seq, hash8
        elif seq == interest.place and hash8 is not None:
            interest.hash8 = hash8

    def _refused(self, link: Link, content: dict[str, Any]) -> None:
        ref = content.get("ref")
        error = from_dict(content)
        said, asked = link.said.pop(ref, None), link.asked.pop(ref, None)
        elsewhere = isinstance(error, UnknownChannel)  # It is new, and this process has not heard of it yet.
        if said is not None and (error.retry or elsewhere):
            self._world.later(0.2, self._say_again, said)
        elif said is not None:
            said.offer.refused.append((error, self._world.now_us()))
        elif asked is not None and (error.retry or elsewhere):
            self._world.saw(f"a subscribe was put off: {error.name}")
            self._world.later(0.2, self._again, link, asked.interest)
        elif asked is not None and isinstance(error, PositionLost):
            self._lost(asked.interest, asked.where, error, asked.at_us)
            self._world.later(0.01, self._go_on, link, asked.interest)
        elif asked is not None and isinstance(error, NotFound) and asked.interest.stretch is None:
            pass  # It was to be unsubscribed, and had ended by then.
        elif ref is None and "channel" in content:
            self._ended(link, self.interests[content["channel"]], error)
        else:
            self.refusals.append(f"{self.name}: {content}")

    def _ended(self, link: Link, interest: Interest, error: CatalystError) -> None:
        """The server gave up a subscription in the middle: what comes next cannot be had, or not now."""
        self._world.saw(f"a subscription was ended: {error.name}")
        if isinstance(error, HistoryRewritten) and not self._world.was_rewound:
            self.refusals.append(f"{self.name} on {interest.channel} is told of a rewind, and there was none: {error}")
        self._close(interest)
        if isinstance(error, PositionLost):
            where = {"after": interest.place, "epoch": interest.epoch, "hash": interest.hash8}
            self._lost(interest, where, error, self._world.now_us())
        elif not error.retry:
            self.refusals.append(f"{self.name}: {error.as_dict()}")
        self._world.later(0.1, self._go_on, link, interest)

    def _lost(self, interest: Interest, where: dict[str, Any], error: PositionLost, asked_us: int) -> None:
        """A place is void: go on where we are told to, as another life."""
        world, place = self._world, where.get("after")
        world.saw(f"a place was refused: {error.name}")
        match error:
            case EpochChanged():
                void, go_on = error.extra["void"], error.extra["resume_after"]
                if place is not None and place > void[1]:
                    interest.epoch = error.extra["epoch"]  # Above the void: only the epoch's name was missing.
                    return
            case PositionTooOld():
                go_on = error.extra["first"] - 1
            case PositionAhead():
                go_on = error.extra.get("resume_after", error.extra["head"])
            case _:
                self.refusals.append(f"{self.name}: {error.as_dict()}")
                return
        if interest.life is None:
            self._begin(interest, place or 0)
        assert interest.life is not None
        told = Told((place or 0, where.get("epoch"), where.get("hash")), error, asked_us, world.now_us())
        interest.life.told.append(told)
        if interest.stretch is not None:
            return  # It wanted to be elsewhere, and stays.
        interest.place, interest.epoch, interest.hash8 = go_on, error.extra["epoch"], None
        self._begin(interest, go_on)

    def _say_again(self, said: Said) -> None:
        if self._link is not None:
            self._say(said)
        else:
            self._unanswered.append(said)

    def _again(self, link: Link, interest: Interest) -> None:
        if self._link is link and interest.wanted:
            self._take_up(interest)

    def _go_on(self, link: Link, interest: Interest) -> None:
        if interest.stretch is None and all(asked.interest is not interest for asked in link.asked.values()):
            self._again(link, interest)

    def _close(self, interest: Interest) -> None:
        if interest.stretch is not None:
            interest.stretch.open = False
            interest.stretch = None
