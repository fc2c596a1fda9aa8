"""The judge of subscribers: what each was sent and told, against the log and the clock.

Owns: what a filter, a position and a modifier mean to a reader, by the protocol's words and never by the code.
Law: what matched was sent or is held for a reason that held at that time; every position is true; whoever was given
what is in the log no more is told so before anything else.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from catalyst_signals.errors import CatalystError, EpochChanged, PositionAhead, PositionTooOld
from catalyst_signals.filters import Filter

from .history import NEVER, Complaints, Fact, History, Log

UNTOLD_US = 2_000_000  # So long a position may let one wait.
STALE_US = 8_000_000  # So long after a rewind some process may not have noticed: its polls may fail several times.


class Moment(NamedTuple):
    """When something was written: not before `low`, when it was decided at the earliest, nor after `high`."""

    low: int
    high: int


class Step(NamedTuple):
    """By then the reader was past `seq`."""

    seq: int
    at: Moment


@dataclass(frozen=True)
class Wish:
    """The modifiers of a subscription as they were asked for; `head` is that of its `subscribed`."""

    stale: str = "hold"
    max_age_s: int | None = None
    mode: str = "all"
    ended: str = "send"


PLAIN = Wish()


@dataclass(frozen=True)
class Mark:
    """The server said: after the first `count` events of this stretch you are complete through `seq`."""

    what: str
    count: int
    seq: int
    at: Moment
    epoch: str | None = None
    sent: int | None = None
    held: dict[str, int] | None = None
    hash8: str | None = None


@dataclass(eq=False)
class Stretch:
    """From one `subscribed` to the next, or to the end of the connection: one filter, what came, what was said."""

    filter: Filter
    after: int
    epoch: str
    asked: int | None  # What the reader gave as `after`.
    head: int = 0
    wish: Wish = PLAIN
    received: list[tuple[int, bytes]] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)  # Of events and marks, in the order they came.
    open: bool = True  # The reader is still subscribed and connected when the world ends.

    def reached(self) -> int:
        """Up to where the reader may believe it has everything."""
        last = self.received[-1][0] if self.received else 0
        return max([self.after, last, *(mark.seq for mark in self.marks)])

    @property
    def name(self) -> str:
        """As a person would say it."""
        modifiers = " ".join(f"{k}={v}" for k, v in vars(self.wish).items() if v != vars(PLAIN)[k])
        return f"({self.filter.text or 'everything'}{', ' + modifiers if modifiers else ''})"


@dataclass(eq=False)
class Told:
    """A place was refused: `place` is what the reader gave, (seq, epoch, hash8)."""

    place: tuple[int, str | None, str | None]
    error: CatalystError
    asked_us: int
    at_us: int


@dataclass(eq=False)
class Life:
    """A reader's subscriptions to a channel that continue each other; `handed` is what it kept of them."""

    reader: str
    channel: str
    after: int  # Where it began; who was told to begin there may have asked for something else before.
    stretches: list[Stretch] = field(default_factory=list)
    handed: list[tuple[int, bytes]] = field(default_factory=list)
    told: list[Told] = field(default_factory=list)  # The last ended it.


def judge_life(history: History, life: Life) -> Complaints:
    """All that is wrong with what a reader got."""
    name = f"{life.reader} on {life.channel}"
    expected: list[tuple[int, bytes]] = []
    top = life.after
    possible = history.logs
    for number, stretch in enumerate(life.stretches, 1):
        says = f"{name}, stretch {number} {stretch.name}"
        faults: dict[Log, list[str]] = {}
        for log in history.logs:
            if log is history.final or not stretch.open:
                faults[log] = list(_judge_stretch(log, says, stretch))
            if log is history.final and not faults[log] and not history.lost:
                break
        fitting = [log for log, found in faults.items() if not found]
        if not fitting:
            yield from faults[history.final]
        joined = [log for log in fitting if any(log.shares(before, stretch.after) for before in possible)]
        if fitting and not joined:
            yield f"{says}: goes on after {stretch.after}, which was taken back, and nobody said so"
        possible = joined or fitting or possible
        if stretch.after > top:
            yield f"{says}: begins after {stretch.after}, but the reader was only at {top}"
        expected += [pair for pair in stretch.received if pair[0] > max(stretch.after, top)]
        top = max(top, stretch.reached())
    if life.handed != expected:
        yield f"{name}: in all it kept {_seqs(life.handed)}, and should have {_seqs(expected)}"
    for told in life.told:
        yield from _judge_told(history, name, life, told)


def _judge_told(history: History, name: str, life: Life, told: Told) -> Complaints:
    """A place is refused only when it is no good, and then all that is gone is named."""
    error, (seq, epoch, hash8) = told.error, told.place
    says = f"{name}: after {seq} of {epoch} ({hash8}) was refused as {error.name} {error.extra}"
    if isinstance(error, PositionTooOld):
        if error.extra.get("first") not in history.firsts or seq >= error.extra["first"] - 1:
            yield f"a true position was refused: {says}"
        return
    lately = any(log.until_us <= told.at_us <= log.until_us + STALE_US for log in history.lost)
    if not lately and all(log.has_place(seq, epoch, hash8) for log in history.present(told.asked_us)):
        yield f"a true position was refused: {says}"
    if isinstance(error, EpochChanged):
        low, high = error.extra["void"]
    elif isinstance(error, PositionAhead):
        low, high = error.extra.get("void", (error.extra["head"] + 1, seq))
    else:
        yield f"{says}, which says nothing"
        return
    standing: list[tuple[int, bytes]] = []  # What it builds on: who went back of its own will gave up what came after.
    for stretch in life.stretches:
        standing = [pair for pair in standing if pair[0] <= stretch.after] + stretch.received
    gone = [
        [at for at, text in standing if at <= seq and (at, text) not in log.texts and not low <= at <= high]
        for log in history.present(told.asked_us)
    ]
    if all(gone):
        yield f"{says}: void is [{low}, {high}], and {gone[0]}, which it has, is gone too"


def _judge_stretch(log: Log, name: str, stretch: Stretch) -> Complaints:
    if stretch.asked is not None and stretch.after != stretch.asked:
        yield f"{name}: asked for what comes after {stretch.asked}, got it from after {stretch.after}"
    reached = stretch.reached()
    if reached > log.head:
        yield f"{name}: is told of {reached}, the log ends at {log.head}"
    wanted = log.wanted(stretch.filter, stretch.after, log.head)
    view = _View(log, stretch, wanted)
    if any(view.lacking) or view.strange:
        yield f"{name}: received {_seqs(stretch.received)}, and should have {_facts(wanted)}{view.explained()}"
    yield from (f"{name}: {fault}" for fault in view.wrongly_sent())
    for mark in stretch.marks:
        yield from _judge_mark(log, name, view, mark)
    if stretch.open and wanted and wanted[-1].seq > reached:
        never = [fact for fact in wanted if fact.seq > reached and not view.may_be_held(fact)]
        if never:
            yield f"{name}: never got {_facts(never)}"


class _View:
    """A stretch beside the log: what of the wanted did not come, and what could be the reason of each."""

    def __init__(self, log: Log, stretch: Stretch, wanted: list[Fact]) -> None:
        self.log = log
        self.stretch = stretch
        self.wanted = wanted
        self._places = [step.seq for step in stretch.steps]
        self._live = next((mark.seq for mark in stretch.marks if mark.what == "live"), None)
        got = dict(stretch.received)
        came = {fact.seq: fact for fact in wanted if got.get(fact.seq) == fact.text}
        order = [seq for seq, _ in stretch.received]
        self.strange = len(came) < len(got) or order != sorted(set(order))
        self.came = [came[seq] for seq in order if seq in came]
        reached = stretch.reached()
        self.missing = [fact for fact in wanted if fact.seq not in got and fact.seq <= reached]
        self.reasons = {fact.seq: self._reasons(fact, self.step(fact.seq).at) for fact in self.missing}
        self.lacking = [fact for fact in self.missing if not self.reasons[fact.seq]]

    def explained(self) -> str:
        """More about it."""
        texts = {fact.seq: fact.text for fact in self.wanted}
        other = [seq for seq, text in self.stretch.received if texts.get(seq, text) != text]
        lacking = f"; nothing holds {_facts(self.lacking)}" if self.reasons else ""
        return lacking + (f"; other bytes at {other}" if other else "")

    def step(self, seq: int) -> Step:
        """When the reader was past it; it was decided after the step before."""
        at = bisect_left(self._places, seq)
        before = self.stretch.steps[at - 1].at if at else Moment(0, 0)
        return Step(seq, Moment(before.low, self.stretch.steps[at].at.high))

    def may_be_held(self, fact: Fact) -> bool:
        """Whether the next position would say so of what nobody was told of yet."""
        return bool(self._reasons(fact, Moment(fact.event.ts_us, self.log.facts[-1].event.ts_us + UNTOLD_US)))

    def _reasons(self, fact: Fact, at: Moment) -> set[str]:
        """What can have held it; `erased` is no holding: from then on it matches nobody."""
        wish = self.stretch.wish
        reasons = set()
        if fact.erasure is not None and fact.erasure.at_us <= at.high:
            reasons.add("erased")
        if wish.stale == "hold" and fact.ends_us <= at.high:
            reasons.add("expired")
        if wish.max_age_s and fact.instrument is not None and _aged(fact, wish, at.high):
            reasons |= set() if wish.stale == "hold" and fact.ends_us <= at.low else {"aged"}
        if wish.mode == "latest" and fact.instrument is not None and self._is_replaced(fact, at):
            reasons.add("replaced")
        if self._is_ended(fact):
            reasons.add("ended")
        return reasons

    def _is_replaced(self, fact: Fact, at: Moment) -> bool:
        """Whether something newer of that instrument is wanted, as far as the log went when it was held."""
        limit = self.log.head_at(at.high)
        if self._live is not None and fact.seq <= self._live:
            limit = min(limit, self._live)
        return any(other.instrument == fact.instrument and fact.seq < other.seq <= limit for other in self.wanted)

    def _is_ended(self, fact: Fact) -> bool:
        """Whether a later version stood in the log already when the reader subscribed."""
        return self.stretch.wish.ended == "hold" and fact.next is not None and fact.next.seq <= self.stretch.head

    def wrongly_sent(self) -> Complaints:
        """What came although it had to be held."""
        wish = self.stretch.wish
        lows = self._lows() if wish != PLAIN or any(fact.ends_us < NEVER for fact in self.came) else []
        for fact, low in zip(self.came, lows, strict=False):
            if wish.stale == "hold" and fact.ends_us <= low:
                yield f"{fact.seq} was sent though it had expired"
            if wish.max_age_s and fact.instrument is not None and _aged(fact, wish, low):
                yield f"{fact.seq} was sent though it was older than {wish.max_age_s} s"
            if self._is_ended(fact) and fact.next.event.ts_us <= self._at(fact.seq).high:  # type: ignore[union-attr]
                yield f"{fact.seq} was sent though a later version stood at {fact.next.seq}"  # type: ignore[union-attr]
        for fact in self.came:
            if fact.erasure is not None and self._low(fact.seq) > fact.erasure.told_us:
                yield f"{fact.seq} was sent though it was erased, and all had been told"

    def _lows(self) -> list[int]:
        return [self._low(fact.seq) for fact in self.came]

    def _low(self, seq: int) -> int:
        return self._at(seq).low

    def _at(self, seq: int) -> Moment:
        return self.stretch.steps[bisect_left(self._places, seq)].at


def _aged(fact: Fact, wish: Wish, us: int) -> bool:
    return fact.event.ts_us + (wish.max_age_s or 0) * 1_000_000 < us


def _judge_mark(log: Log, name: str, view: _View, mark: Mark) -> Complaints:
    stretch = view.stretch
    says = f"{name}: `{mark.what}` says complete through {mark.seq}"
    due = [fact for fact in view.wanted if fact.seq <= mark.seq]
    got = {seq for seq, _ in stretch.received[: mark.count]}
    missing = [fact.seq for fact in due if fact.seq not in got]
    if len(due) - len(missing) != mark.count or any(not view.reasons.get(seq) for seq in missing):
        yield f"{says} after {mark.count} events since {stretch.after}, there are {len(due)} and of them {missing} not"
    elif mark.held is not None:
        yield from _judge_held(says, [view.reasons[seq] for seq in missing], mark.held)
    if mark.sent is not None and mark.sent != mark.count:
        yield f"{says} and {mark.sent} sent, it was {mark.count}"
    if mark.seq <= log.head:
        if mark.hash8 is not None and mark.hash8 != log.hash8(mark.seq):
            yield f"{says} with hash {mark.hash8}, the log has {log.hash8(mark.seq)}"
        if mark.epoch is not None and log.epochs and mark.epoch != log.epoch_at(mark.seq):
            yield f"{says} in epoch {mark.epoch}, the log has {log.epoch_at(mark.seq)}"


def _judge_held(says: str, missing: list[set[str]], held: dict[str, int]) -> Complaints:
    """Each of the missing is counted once, for a reason it can have; what was erased need not be."""
    at_least = sum("erased" not in reasons for reasons in missing)
    if not at_least <= sum(held.values()) <= len(missing):
        yield f"{says} with {held} held, of what matched {len(missing)} did not come"
        return
    only = Counter(next(iter(reasons)) for reasons in missing if len(reasons) == 1)
    can = Counter(reason for reasons in missing for reason in reasons)
    for reason, count in held.items():
        if not only[reason] <= count <= can[reason] or count < 1:
            yield f"{says} with {count} held as {reason}, it was {only[reason]} to {can[reason]}"
    for reason, count in only.items():
        if reason != "erased" and reason not in held:
            yield f"{says} with none held as {reason}, it was {count} at least"


def _seqs(pairs: Sequence[tuple[int, Any]]) -> str:
    return "[" + " ".join(str(seq) for seq, _ in pairs) + "]"


def _facts(facts: Sequence[Fact]) -> str:
    return _seqs([(fact.seq, None) for fact in facts])
