"""Rehearsal: what a filter would have sent of the stored past, before anybody subscribes with it.

Owns: the counting, how much of a process it may take, and its answers in the cache, by filter and head. Knows nothing
of HTTP or of who asks. Laws: what it counts is what a subscriber with that filter and `stale=send` would have been
sent, event by event; the cache has numbers only, and the examples are read from the log each time, as it is then.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import msgspec

from catalyst_signals.caches import Cache
from catalyst_signals.errors import Overloaded, PositionTooOld, RangeUntrusted, Unavailable, UnknownChannel
from catalyst_signals.events import Event, Extent, iso, signal_id
from catalyst_signals.filter_facts import Facts
from catalyst_signals.filter_tree import clauses_of
from catalyst_signals.filters import EVERYTHING, Filter
from catalyst_signals.stores import Store
from catalyst_signals.trust import Reader
from catalyst_signals.versions import docs_of
from catalyst_signals.wire import frame_of

EVENTS_MAX = 1_000_000  # The newest; what is before them is not rehearsed, and the answer says so.
AT_ONCE_MAX = 2  # In one process: each takes about a core's worth of what delivery leaves.
PAGE_EVENTS = 1000
TURN_S = 0.004  # As long as a turn of the hub.
EXAMPLES_MAX = 5
BURST_S = 60
DAY_S = 86_400
KEPT_S = 3600.0  # An answer is of one head of the log, so most are of no use to anyone long before.
VERSION = 1  # Of an answer as it is kept; older and newer processes share a cache.

_OF_TIME = frozenset(("horizon", "time_of_day", "weekday"))
_decode = msgspec.json.Decoder(dict[str, Any]).decode


@dataclass(slots=True)
class Tally:
    """How many events, and the newest of them."""

    count: int = 0
    newest: deque[int] = field(default_factory=lambda: deque(maxlen=EXAMPLES_MAX))

    def add(self, event: Event) -> None:
        """One more."""
        self.count += 1
        self.newest.append(event.seq)

    def shown(self) -> dict[str, Any]:
        """As JSON; of the examples the seq, newest first."""
        return {"count": self.count, "examples": [*reversed(self.newest)]}


class Bursts:
    """The most that came within BURST_S, by whole seconds: so it remembers at most BURST_S numbers."""

    def __init__(self) -> None:
        self.worst = 0
        self.began_s = 0
        self._seconds: deque[list[int]] = deque()
        self._within = 0

    def add(self, second: int) -> None:
        """One that came in that second; they come in order, but for a clock that was set back."""
        seconds = self._seconds
        if seconds and second <= seconds[-1][0]:
            seconds[-1][1] += 1
        else:
            seconds.append([second, 1])
            while seconds[0][0] <= second - BURST_S:
                self._within -= seconds.popleft()[1]
        self._within += 1
        if self._within > self.worst:
            self.worst, self.began_s = self._within, seconds[0][0]


class Count:
    """The events of a channel, judged one by one. The facts of an event are shared by all filters."""

    def __init__(self, wanted: Filter, against: Filter | None, within: Filter) -> None:
        self._wanted, self._against, self._within = wanted, against, within
        asked = [clause.field.name for each in (wanted, against, within) if each for clause in _clauses(each)]
        self._asks_time = not _OF_TIME.isdisjoint(asked)
        self.seen = self.matched_against = 0
        self.matched, self.newly_in, self.newly_out = Tally(), Tally(), Tally()
        self.days: Counter[int] = Counter()
        self.bursts = Bursts()

    def take(self, event: Event) -> None:
        """Judge the next event. What is erased, or may not be seen, counts nowhere."""
        if not event.body:
            return
        versions = [Facts(doc) for doc in docs_of(self._doc(event))]
        if self._within.node is not None and not any(map(self._within.judge, versions)):
            return
        self.seen += 1
        is_in = any(map(self._wanted.judge, versions))
        if is_in:
            second = event.ts_us // 1_000_000
            self.matched.add(event)
            self.days[second // DAY_S] += 1
            self.bursts.add(second)
        if self._against is not None:
            was_in = any(map(self._against.judge, versions))
            self.matched_against += was_in
            if is_in != was_in:
                (self.newly_in if is_in else self.newly_out).add(event)

    def _doc(self, event: Event) -> dict[str, Any]:
        """What a filter looks at, as it stands in the event's bytes on the wire."""
        doc = _decode(event.body)
        doc["type"], doc["id"] = event.type, signal_id(event.id)
        if self._asks_time:
            doc["ts"] = iso(event.ts_us)
        return doc

    def shown(self) -> dict[str, Any]:
        """As JSON."""
        worst = self.bursts
        out: dict[str, Any] = {
            "of": self.seen,
            "matched": self.matched.count,
            "per_day": {iso(day * DAY_S * 1_000_000)[:10]: count for day, count in sorted(self.days.items())},
            "worst_burst": {"count": worst.worst, "in_s": BURST_S, "at": iso(worst.began_s * 1_000_000)}
            if worst.worst
            else None,
            "examples": self.matched.shown()["examples"],
        }
        if self._against is not None:
            out["against"] = {"filter": self._against.text, "matched": self.matched_against}
            out["newly_in"], out["newly_out"] = self.newly_in.shown(), self.newly_out.shown()
        return out


def _clauses(filter: Filter) -> Iterator[Any]:
    return iter(clauses_of(filter.node) if filter.node is not None else ())


class Rehearsals:
    """The rehearsals of one process: few at once, and none in the way of delivery for longer than a turn."""

    def __init__(self, store: Store, reader: Reader, cache: Cache | None = None) -> None:
        self._store = store
        self._reader = reader
        self._cache = cache
        self._running = 0

    async def run(
        self,
        channel: str,
        wanted: Filter,
        *,
        against: Filter | None = None,
        within: Filter = EVERYTHING,
        after: int | None = None,
        as_of: int = 0,
    ) -> dict[str, Any]:
        """What `wanted` would have sent of what is stored, beside what `against` would have.

        `within` is all that may be seen at all, and part of the others already. `as_of` is the head of `system`, which
        tells of what is erased. `from` to `through` is what was looked at; `complete` whether that is all there is
        after `after`.

        Raises:
            Overloaded: there are AT_ONCE_MAX already.
            UnknownChannel: there is none of that name.
        """
        extent = (await self._store.extents([channel])).get(channel)
        if extent is None:
            raise UnknownChannel(field="channel", got=channel)
        filters = [filter.text if filter is not None else None for filter in (wanted, against, within)]
        key = _key(extent, filters, after, as_of)
        told = await self._kept(key)
        if told is None:
            with self._place():
                told = await self._count(extent, Count(wanted, against, within), after, key)
        parts = [told, *(told[name] for name in ("newly_in", "newly_out") if name in told)]
        for part in parts:
            part["examples"] = await self._examples(channel, part["examples"])
        return {"channel": channel, "filter": wanted.text} | told

    async def _count(self, extent: Extent, count: Count, after: int | None, key: str) -> dict[str, Any]:
        asked = extent.first - 1 if after is None else after
        begun = min(max(asked, extent.first - 1, extent.newest - EVENTS_MAX), extent.newest)
        steady = await self._read(count, extent.channel, begun, extent.newest)
        told = {"from": begun + 1, "through": extent.newest, "complete": steady and begun <= asked} | count.shown()
        if steady:
            await self._keep(key, told)
        return told

    async def _kept(self, key: str) -> dict[str, Any] | None:
        """The answer that somebody was given already, if the cache has it."""
        with suppress(Unavailable, msgspec.DecodeError):
            kept = await self._cache.get(key) if self._cache is not None else None
            return _decode(kept) if kept is not None else None
        return None

    async def _keep(self, key: str, told: dict[str, Any]) -> None:
        with suppress(Unavailable):
            if self._cache is not None:
                await self._cache.set(key, msgspec.json.encode(told), KEPT_S)

    async def _examples(self, channel: str, seqs: Sequence[int]) -> list[msgspec.Raw]:
        """Events as on the wire, but for what is no longer there."""
        found: list[msgspec.Raw] = []
        for seq in seqs:
            with suppress(PositionTooOld, RangeUntrusted):
                events = await self._reader.read(channel, seq - 1, 1)
                found += [msgspec.Raw(frame_of(each).text) for each in events if each.seq == seq and each.body]
        return found

    async def _read(self, count: Count, channel: str, at: int, until: int) -> bool:
        """Judge everything in `at + 1 ... until`; False if some of it was dropped meanwhile or cannot be trusted."""
        whole = True
        while at < until:
            try:
                page = await self._reader.read(channel, at, PAGE_EVENTS)
            except PositionTooOld as gone:
                at, whole = gone.extra["first"] - 1, False
                continue
            except RangeUntrusted as gone:
                at, whole = gone.extra["resume_after"], False
                continue
            if not page:
                break
            await _in_turns(count, [event for event in page if event.seq <= until])
            at = page[-1].seq
        return whole

    @contextmanager
    def _place(self) -> Iterator[None]:
        if self._running >= AT_ONCE_MAX:
            raise Overloaded(
                f"{AT_ONCE_MAX} rehearsals are running, which is all this process does at once; try again in a moment",
                allowed=AT_ONCE_MAX,
                retry_after_s=2,
            )
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1


def _key(extent: Extent, filters: Sequence[str | None], after: int | None, as_of: int) -> str:
    """What an answer depends on: the log from its first event to its head, what is erased of it, and what was asked."""
    log = [extent.channel, extent.epoch, extent.first, extent.newest, extent.hash_last.hex(), as_of]
    asked = msgspec.json.encode([VERSION, log, filters, after, EVENTS_MAX])
    return f"rehearsal:{hashlib.sha256(asked).hexdigest()}"


async def _in_turns(count: Count, page: Sequence[Event]) -> None:
    """Judge a page; whoever waits has a turn in between."""
    ends_s = time.perf_counter() + TURN_S
    for event in page:
        count.take(event)
        if time.perf_counter() > ends_s:
            await asyncio.sleep(0)
            ends_s = time.perf_counter() + TURN_S
    await asyncio.sleep(0)
