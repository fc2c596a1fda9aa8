"""What the log of a channel said, as the judge sees it: with what retention dropped, what was erased and what a rewind
took back.

Owns: what each version of each signal said, worked out from the events themselves and never from `was`.
Law: a log is judged by what stood in it; what was taken away later was there all the same.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any

import msgspec

from catalyst_signals.events import NO_HASH, Epoch, Event, event_id, parse_iso, signal_id, wrong_with
from catalyst_signals.filters import Filter
from catalyst_signals.signals import ENDINGS
from catalyst_signals.wire import frame_of

Complaints = Iterator[str]
NEVER = 1 << 62


@dataclass(eq=False)
class Erasure:
    """An event was erased in the store; `told_us` is when the last process heard of it."""

    channel: str
    seq: int
    at_us: int
    told_us: int


@dataclass(eq=False)
class Fact:
    """One event, and what there is to know of it: `docs` has what each version said up to this one, `next` the next."""

    event: Event
    text: bytes
    docs: list[dict[str, Any]]
    ends_us: int = NEVER
    instrument: str | None = None
    next: Fact | None = None
    erasure: Erasure | None = None

    @property
    def seq(self) -> int:
        """Where it stands."""
        return self.event.seq

    @property
    def data(self) -> dict[str, Any]:
        """What it says."""
        data: dict[str, Any] = self.docs[0]["data"]
        return data

    @property
    def ends(self) -> bool:
        """Whether it is the end of a signal."""
        return self.event.type in ENDINGS

    def matches(self, filter: Filter) -> bool:
        """Whether any version up to this one does."""
        return not filter.text or any(filter.matches(doc) for doc in self.docs)


class Log:
    """A log as it came to stand at `until_us`, when a rewind took some of it back; the present one has no such time."""

    def __init__(
        self, channel: str, events: Sequence[Event], epochs: Sequence[Epoch], until_us: int = NEVER,
        erased: Mapping[int, Erasure] | None = None,
    ) -> None:  # fmt: skip
        self.channel = channel
        self.epochs = epochs
        self.until_us = until_us
        self.rewound = False  # Under running processes.
        self.facts: list[Fact] = []
        self.signals: dict[str, list[Fact]] = {}
        for event in events:
            self._learn(event, (erased or {}).get(event.seq))
        self._seqs = [fact.seq for fact in self.facts]
        self._matching: dict[Filter, list[Fact]] = {}

    def _learn(self, event: Event, erasure: Erasure | None) -> None:
        text = frame_of(event).text
        doc = msgspec.json.decode(text)
        was = doc.pop("was", [])
        doc.setdefault("data", {})
        known = self.signals.setdefault(signal_id(event.id), [])
        before = [fact for fact in known if fact.event.version < event.version]
        docs = before[-1].docs if before else _orphaned(doc, was) if was else []
        fact = Fact(event, text, [doc, *docs], erasure=erasure)
        if event.type.startswith("signal.") and not fact.ends:
            named = doc["data"].get("instrument") or {}
            fact.instrument = " ".join(str(named.get(part)) for part in ("symbol", "venue", "mic"))
            if "expires_at" in doc["data"]:
                fact.ends_us = parse_iso(doc["data"]["expires_at"]) or NEVER
        if before:
            before[-1].next = fact
        known.append(fact)
        self.facts.append(fact)

    @property
    def head(self) -> int:
        """The last seq, or the end of a void."""
        return max(self._seqs[-1] if self._seqs else 0, self.epochs[-1].first - 1 if self.epochs else 0)

    @cached_property
    def places(self) -> dict[str, Fact]:
        """Each event by its id."""
        return {fact.event.id: fact for fact in self.facts}

    @cached_property
    def texts(self) -> set[tuple[int, bytes]]:
        """What a reader can have been given."""
        return {(fact.seq, fact.text) for fact in self.facts}

    @cached_property
    def _times(self) -> list[int]:
        return [fact.event.ts_us for fact in self.facts]

    def head_at(self, us: int) -> int:
        """The last seq at a time."""
        at = bisect_right(self._times, us)
        return self._seqs[at - 1] if at else 0

    def hash_at(self, seq: int) -> bytes:
        """The hash of the newest event up to a seq."""
        at = bisect_right(self._seqs, seq)
        return self.facts[at - 1].event.hash if at else NO_HASH

    def hash8(self, seq: int) -> str:
        """The hash8 at a seq of this log."""
        return self.hash_at(seq)[:4].hex()

    def epoch_at(self, seq: int) -> str:
        """A void belongs to the epoch after it."""
        return next((epoch.name for epoch in reversed(self.epochs) if seq > epoch.last_before), self.epochs[0].name)

    def shares(self, other: Log, seq: int) -> bool:
        """Whether both say the same up to a seq."""
        return self is other or (seq <= min(self.head, other.head) and self.hash_at(seq) == other.hash_at(seq))

    def has_place(self, seq: int, epoch: str | None, hash8: str | None) -> bool:
        """Whether somebody who is done with everything up to here can go on in this log as if nothing was."""
        if seq > self.head or (hash8 is not None and seq and hash8 != self.hash8(seq)):
            return False
        ends = {a.name: b.last_before for a, b in pairwise(self.epochs)}
        known = epoch is None or (epoch in {each.name for each in self.epochs} and seq <= ends.get(epoch, NEVER))
        return known and not any(each.last_before < seq < each.first - 1 for each in self.epochs)

    def has_all(self, id: str) -> bool:
        """Whether no version of a signal was taken back from under a later one; that is judged where it is no fault."""
        return [fact.event.version for fact in self.signals[id]] == list(range(1, len(self.signals[id]) + 1))

    def wanted(self, filter: Filter, after: int, through: int) -> list[Fact]:
        """What `filter` wants of the events after `after` up to `through`."""
        found = self._matching.get(filter)
        if found is None:
            found = self._matching[filter] = [fact for fact in self.facts if fact.matches(filter)]
        return [fact for fact in found if after < fact.seq <= through]

    # -- what is wrong with it ----------------------------------------------------------------------------------------

    def faults(self) -> Complaints:
        """Dense in each epoch, chained, every id once, every version in its turn."""
        before, at = NO_HASH, 0
        for fact in self.facts:
            event, at = fact.event, self._after(at)
            if event.seq != at or event.epoch != self.epoch_at(at):
                yield f"log {self.channel}: event {event.seq} of {event.epoch} stands where {at} should"
            if event.prev != before:
                yield f"log {self.channel}: event {event.seq} does not join the one before it"
            if (wrong := wrong_with(event)) is not None:
                yield f"log {self.channel}: event {event.seq}: {wrong}"
            before, at = event.hash, event.seq
        if len(self.places) < len(self.facts):
            ids = [fact.event.id for fact in self.facts]
            for id in sorted({id for id in ids if ids.count(id) > 1}):
                yield f"log {self.channel}: {id} is there {ids.count(id)} times"
        for id, versions in self.signals.items():
            yield from self._version_faults(id, versions)

    def _after(self, at: int) -> int:
        seq = at + 1
        for epoch in self.epochs:
            if epoch.last_before < seq < epoch.first:
                seq = epoch.first
        return seq

    def _version_faults(self, id: str, facts: list[Fact]) -> Complaints:
        if not self.has_all(id):
            if self.rewound:
                return  # A change was under way when what it changes was taken back.
            yield f"log {self.channel}: the versions of {id} are {[fact.event.version for fact in facts]}"
        for before, fact in pairwise(facts):
            says = f"log {self.channel}: {id} at {fact.seq}"
            if fact.event.id != event_id(id, fact.event.version):
                yield f"{says} is called {fact.event.id}"
            if before.ends:
                yield f"{says} goes on after its end at {before.seq}"
            if fact.event.type == "signal.expired" and not before.ends_us <= fact.event.ts_us:
                yield f"{says} expired before its time"
            if fact.data.get("instrument") != before.data.get("instrument"):
                yield f"{says} has another instrument"
            if not fact.event.body:
                yield f"{says} says nothing"
            elif not self.rewound and msgspec.json.decode(fact.event.body).get("was") != _was(fact):
                yield f"{says} tells another past than the log"


def _orphaned(doc: dict[str, Any], was: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the versions said that a rewind took back from under a change; nobody else can tell."""
    data = doc["data"]
    said = [{name: value for name, value in (data | each["data"]).items() if value is not None} for each in was]
    docs = [doc | each | {"version": at + 1, "data": said[at]} for at, each in enumerate(was)]
    return docs[::-1]


def _was(fact: Fact) -> list[dict[str, Any]]:
    """What the event has to say of the versions before it."""
    datas = [doc["data"] for doc in fact.docs]
    names = {name for data in datas for name in data}
    changed = [name for name in names if any(data.get(name) != datas[0].get(name) for data in datas)]
    return [
        {"seq": doc["seq"], "type": doc["type"], "ts": doc["ts"], "data": {n: doc["data"].get(n) for n in changed}}
        for doc in fact.docs[:0:-1]
    ]


@dataclass(eq=False)
class History:
    """A channel's present log, those that were taken back, and every first seq that retention left."""

    final: Log
    lost: list[Log] = field(default_factory=list)
    firsts: list[int] = field(default_factory=list)

    @property
    def logs(self) -> list[Log]:
        """All of them, the present one first."""
        return [self.final, *self.lost]

    def present(self, at_us: int) -> list[Log]:
        """Those that were the log at a time or became it later."""
        return [log for log in self.logs if log.until_us >= at_us]

    def somewhere(self, told: Callable[[Log], bool]) -> bool:
        """Whether it is so in any log."""
        return any(told(log) for log in self.logs)

    def faults(self, restored: set[int]) -> Complaints:
        """Those of the present log; and whether a number was used twice, which only the unseen can do: `restored` has
        the times of the rewinds that somebody made on purpose."""
        for log in self.logs:
            log.rewound = any(each.until_us not in restored for each in self.lost)
        yield from self.final.faults()
        for log in self.lost:
            if log.until_us in restored:
                gone = {(f.event.epoch, f.seq): f.event.hash for f in log.facts}
                for fact in self.final.facts:
                    if gone.get((fact.event.epoch, fact.seq), fact.event.hash) != fact.event.hash:
                        yield f"log {log.channel}: {fact.seq} of epoch {fact.event.epoch} was used before the restore"
                        break
