"""One channel as this process sees it: its tip, its recent frames, and who wants what of it.

Owns: the ring, the groups of equal filters, the place up to which live subscribers are served.
Knows nothing of sockets or stores. Law: a live subscriber has been judged for everything up to `done`.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from catalyst_signals.errors import CatalystError
from catalyst_signals.events import Frame
from catalyst_signals.filters import Filter
from catalyst_signals.matching import MatchIndex
from catalyst_signals.modifiers import Age, Modifiers, Reason, total
from catalyst_signals.rings import Ring
from catalyst_signals.survey import Survey

HOLDS_MAX = 256  # Remembered, so that whoever asks why an event did not come can be answered.

Holds = deque[tuple[int, Reason]]  # The newest that were held: seq and reason.
Write = Callable[[bytes], Any]
Way = int | Write  # To a connection: its socket's number, or a call.


def nowhere(data: bytes) -> None:
    """Where a connection that is gone is written to, or a subscriber who left in the middle of a turn."""


class Listener(Protocol):
    """What a connection is told by the hub."""

    def ended(self, subscriber: Subscriber, error: CatalystError) -> None:
        """This subscription cannot go on; the error says where one could."""

    def broken(self, error: Exception) -> None:
        """A write to the transport raised: the connection is gone."""


class Peer:
    """One connection: where to write, whether it takes more, and its subscriptions by channel."""

    __slots__ = (
        "due_s", "gathered", "listener", "paused", "ping", "position_s", "riding", "socket", "subscribers", "write",
    )  # fmt: skip

    def __init__(self, write: Write, listener: Listener, position_s: int = 10, socket: int | None = None) -> None:
        """`socket`: what `write` writes to, as a number, which is written to itself while nothing waits in `write`."""
        self.write = write
        self.socket = socket
        self.listener = listener
        self.position_s = position_s
        self.subscribers: dict[str, Subscriber] = {}
        self.gathered: list[bytes] = []
        self.paused = False
        self.due_s = 0.0
        self.ping = b""  # Goes out with the next position.
        self.riding = False


class Group:
    """Everyone on a channel with the same filter and the same age. `ways[i]` belongs to `live[i]`; a None has left.

    `written` and `held` count for all of `live` at once, so that a subscriber's own counts cost nothing per delivery.
    """

    __slots__ = ("age", "filter", "held", "holds", "holes", "live", "members", "pending", "ways", "written")

    def __init__(self, filter: Filter, age: Age) -> None:
        self.filter = filter
        self.age = age
        self.members = 0
        self.live: list[Subscriber | None] = []
        self.ways: list[Way] = []
        self.holes = 0
        self.written = 0
        self.held: dict[str, int] = {}  # By reason; made anew when it changes, so a subscriber may keep the one it saw.
        self.holds: Holds = deque(maxlen=HOLDS_MAX)
        self.pending = False  # Part of the turn in progress and not yet finished.

    def enter(self, subscriber: Subscriber, way: Way) -> None:
        """Make a subscriber live; only between turns of its channel."""
        subscriber.slot = len(self.live)
        subscriber.base, subscriber.base_held = self.written, self.held
        self.live.append(subscriber)
        self.ways.append(way)

    def leave(self, slot: int) -> None:
        """Take out whoever has that slot; the others keep theirs, a turn may be walking over them."""
        self.live[slot] = None
        self.ways[slot] = nowhere
        self.holes += 1

    def compact(self) -> None:
        """Close the holes; only when no turn is walking over this group."""
        if self.holes * 4 > len(self.live):
            keep = [(s, w) for s, w in zip(self.live, self.ways, strict=True) if s is not None]
            self.live = [s for s, _ in keep]
            self.ways = [w for _, w in keep]
            self.holes = 0
            for slot, (subscriber, _) in enumerate(keep):
                subscriber.slot = slot


class Subscriber:
    """A position, a filter with its modifiers, and whose they are. Never a queue.

    While `slot` is None it is a cursor, judged up to `judged`; otherwise it is live and judged up to its tape's `done`.
    `began` and `head` are where it was and where the log ended when it subscribed.
    """

    __slots__ = (
        "base", "base_held", "began", "epoch", "group", "hash8", "head", "held", "holds", "judged", "modifiers", "peer",
        "queued", "sent", "slot", "survey", "tape", "told_live",
    )  # fmt: skip

    def __init__(
        self, peer: Peer, tape: Tape, group: Group, modifiers: Modifiers, after: int, epoch: str, hash8: str | None
    ) -> None:
        self.peer = peer
        self.tape = tape
        self.group = group
        self.modifiers = modifiers
        self.began = self.judged = after
        self.head = tape.done
        self.epoch = epoch
        self.hash8 = hash8
        self.sent = 0
        self.held: dict[str, int] = {}
        self.holds: Holds | None = None
        self.slot: int | None = None
        self.base = 0
        self.base_held: dict[str, int] = {}
        self.survey: Survey | None = None
        self.queued = False
        self.told_live = False

    @property
    def is_current(self) -> bool:
        """Whether this still is its connection's subscription of that channel."""
        return self.peer.subscribers.get(self.tape.channel) is self

    @property
    def reads_at(self) -> int:
        """After which seq a cursor needs a page: where it stands, or as far as it looked ahead."""
        survey = self.survey
        if survey is None or survey.complete or self.judged >= survey.until:
            return self.judged
        return survey.at

    def why_held(self, seq: int) -> Reason | None:
        """Why an event that it is past was not sent to it, as far as that is remembered."""
        for holds in (self.holds, self.group.holds):
            reason = dict(holds or ()).get(seq)
            if reason is not None:
                return reason
        return None

    def hold(self, held: Sequence[tuple[int, Reason]]) -> None:
        """Count what a cursor is past without getting it, and remember why."""
        self.held = total(self.held, Counter(reason for _, reason in held))
        if self.holds is None:
            self.holds = deque(maxlen=HOLDS_MAX)
        self.holds.extend(held)


class Tape:
    """One channel here. `tip` is what the gate let in last, `done` what live subscribers were served up to."""

    __slots__ = (
        "ages", "ahead", "busy", "channel", "done", "done8", "done_epoch", "epoch", "erased", "everything", "groups",
        "index", "next_done", "pending", "ring", "stopped", "subscribers", "tip", "tip8", "waiters",
        "youngest_s",
    )  # fmt: skip

    def __init__(self, channel: str, epoch: str, tip: int, tip8: str) -> None:
        self.channel = channel
        self.epoch = self.done_epoch = epoch
        self.tip = self.done = tip
        self.tip8 = self.done8 = tip8
        self.next_done: Frame | None = None  # Where `done` goes when the turn in progress is over.
        self.busy = False
        self.pending: list[Frame] = []
        self.ring = Ring(tip + 1)
        self.index: MatchIndex[Group] = MatchIndex()
        self.groups: dict[tuple[Filter, Age], Group] = {}
        self.ages: Counter[Age] = Counter()  # Of the groups there are: often just one.
        self.youngest_s: int | None = None  # The strictest `max_age_s` of them.
        self.everything: list[Group] = []  # Without a filter, one an age.
        self.subscribers: set[Subscriber] = set()
        self.ahead: list[Subscriber] = []  # Read further in the store than this process has heard of.
        self.waiters: set[asyncio.Future[None]] = set()
        self.erased: set[int] = set()  # Above the tip: with their bodies they may still be on their way here.
        self.stopped: CatalystError | None = None

    def group_for(self, filter: Filter, age: Age) -> Group:
        """The group of this filter and age, made when it is the first of its kind."""
        group = self.groups.get((filter, age))
        if group is None:
            group = self.groups[filter, age] = Group(filter, age)
            self.ages[age] += 1
            self._look_at_ages()
            if filter.text:
                self.index.add(group, filter)
            else:
                self.everything.append(group)
        group.members += 1
        return group

    def release(self, group: Group) -> None:
        """One member of a group is gone; the last one takes the group with it."""
        group.members -= 1
        if group.members == 0:
            del self.groups[group.filter, group.age]
            self.ages -= Counter((group.age,))
            self._look_at_ages()
            if group.filter.text:
                self.index.remove(group)
            else:
                self.everything.remove(group)

    def _look_at_ages(self) -> None:
        self.youngest_s = min((age.max_age_s for age in self.ages if age.max_age_s is not None), default=None)

    def match(self, frame: Frame) -> list[Group]:
        """The groups whose filter matches; the frame is decoded only when somebody has a filter."""
        if frame.erased:
            return []
        found = self.index.match(frame.doc) if len(self.index) else []
        frame.forget()
        return found + self.everything

    def holding(self, frame: Frame, now_us: int) -> dict[Age, Reason]:
        """For which ages the frame is held at this moment, and why; nearly always for none, and then few are asked."""
        if Age("hold", self.youngest_s).holds(frame, now_us) is None:
            return {}
        return {age: reason for age in self.ages if (reason := age.holds(frame, now_us)) is not None}

    def accept(self, frame: Frame) -> None:
        """Move the tip. With nobody subscribed here there is nothing to serve and nothing to keep."""
        self.epoch, self.tip, self.tip8 = frame.epoch, frame.seq, frame.hash8
        if not self.groups:
            self.ring.low = self.tip + 1
            self.served(frame)
            return
        self.pending.append(frame)

    def served(self, frame: Frame) -> None:
        """Every live subscriber has been judged for everything up to `frame`."""
        self.done, self.done8, self.done_epoch = frame.seq, frame.hash8, frame.epoch

    async def grown(self, after: int) -> None:
        """Wait until there is something after `after`, or the tape is stopped; for who reads without a subscription."""
        while self.done <= after and self.stopped is None:
            answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self.waiters.add(answer)
            try:
                await answer
            finally:
                self.waiters.discard(answer)

    def wake(self) -> None:
        """Tell who waits to look again."""
        for waiter in self.waiters:
            if not waiter.done():
                waiter.set_result(None)
