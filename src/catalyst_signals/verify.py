"""Reads a whole log and says what is wrong with it: density, hashes, ids, and that the head is where the log ends.

Owns: the walk and its report. Knows nothing of stores' technologies; it believes nothing that it can compute.
Law: any single flipped bit of what is hashed is found, and the first event it makes wrong is named.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from catalyst_signals.errors import PositionTooOld, StoreCorrupt
from catalyst_signals.events import NO_HASH, Epoch, Event, Extent, Known, next_seq, wrong_with
from catalyst_signals.stores import Store

PAGE = 2000
PAGE_BYTES = 4 << 20  # What large bodies may take of a page, two of which are in memory.

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Fault:
    """The first thing that is wrong in a channel: `seq` 0 for its head alone, `id` empty if it cannot be read."""

    channel: str
    seq: int
    what: str
    id: str = ""

    def __str__(self) -> str:
        """As `catalyst verify` prints it."""
        event = f"event {self.seq} ({self.id})" if self.id else f"event {self.seq}"
        return f"{self.channel}: {event}: {self.what}" if self.seq else f"{self.channel}: {self.what}"


@dataclass(slots=True)
class Report:
    """What a verification found: rows read by channel, and the first fault of each channel that has one."""

    rows: dict[str, int] = field(default_factory=dict)
    faults: dict[str, Fault] = field(default_factory=dict)


async def verify(store: Store, progress: Progress | None = None) -> Report:
    """Read every event of every channel; `progress(done, total)` is told after each page.

    Raises:
        StoreUnavailable: the store could not be read to its end.
        StoreCorrupt: not even its heads could be read.
    """
    extents = await store.extents()
    total = sum(_kept_by(extent) for extent in extents.values())
    report = Report()
    for channel, extent in sorted(extents.items()):
        done = sum(report.rows.values())
        walk = Walk(store, extent)
        while await walk.on():
            if progress is not None:
                progress(done + walk.rows, total)
        report.rows[channel] = walk.rows
        if walk.fault is not None:
            report.faults[channel] = walk.fault
    return report


class Walk:
    """One channel, from its first kept event to its end as of the start; stops at the first fault."""

    def __init__(self, store: Store, extent: Extent, page: int = PAGE) -> None:
        self._store = store
        self._begin_at(extent)
        self._limit = page
        self.rows = 0
        self.fault: Fault | None = None

    def _begin_at(self, extent: Extent) -> None:
        self._extent = extent
        self._at, self._hash, self._on_event = extent.first - 1, extent.hash_before, False
        self._began = {epoch.first: epoch for epoch in extent.epochs}

    async def on(self) -> bool:
        """Look at the next page; whether there may be more after it."""
        channel = self._extent.channel
        page: list[Event] = []
        try:
            page = await self._store.read(channel, self._at, self._limit, PAGE_BYTES)
            page = [event for event in page if event.seq <= self._extent.durable]
            known = await self._store.find(channel, [event.id for event in page])
        except PositionTooOld:  # Retention was faster than we are.
            self._begin_at((await self._store.extents([channel]))[channel])
            return True
        except StoreCorrupt as damage:
            return self._come_closer(damage, page)
        if page:
            self._take(page, known)
        else:
            self._end()
        return self.fault is None and bool(page)

    def _come_closer(self, damage: StoreCorrupt, page: list[Event]) -> bool:
        """A page that cannot be read is halved, until it is the one event."""
        if self._limit > 1:
            self._limit //= 2
            return True
        seq = next_seq(self._extent.epochs, self._at)
        self._blame(seq, in_words(damage, self._extent.channel, seq), page[0].id if page else "")
        return False

    def _take(self, page: list[Event], known: Mapping[str, Known]) -> None:
        for event in page:
            expected = next_seq(self._extent.epochs, self._at) if event.seq in self._began else self._at + 1
            if event.seq != expected:
                return self._blame(expected, f"it is missing: after {self._at} comes {event.seq}", event.id)
            wrong = self._wrong_with(event, known.get(event.id))
            if wrong is not None:
                return self._blame(event.seq, wrong, event.id)
            self._at, self._hash, self._on_event = event.seq, event.hash, True
            self.rows += 1
        return None

    def _wrong_with(self, event: Event, known: Known | None) -> str | None:
        if event.prev != self._hash:
            return "its hash does not join the event before it"
        if event.seq in self._began and not self._joins(self._began[event.seq]):
            return "its epoch does not join the event before it"
        if known is None:
            return "its id is not in the table of ids"
        if (known.seq, known.version, known.ts_us) != (event.seq, event.version, event.ts_us):
            return "the table of ids has another event under its id"
        return wrong_with(event)

    def _joins(self, epoch: Epoch) -> bool:
        """Whether an epoch begins where this walk stands; epochs between may have no event."""
        ends = self._at if self._on_event else epoch.last_before
        before = max((each.first - 1 for each in self._extent.epochs if each.first < epoch.first), default=0)
        return epoch.hash_before == self._hash and epoch.last_before == max(ends, before)

    def _end(self) -> None:
        """Nothing more: this must be where the head says the log ends, and the epochs must be a row of them."""
        extent = self._extent
        if not _in_order(extent.epochs):
            return self._blame(0, "its epochs do not follow one another")
        missing = next_seq(extent.epochs, self._at)
        if missing <= extent.durable:
            self._blame(missing, f"it is missing: the log ends at {self._at}, its head says {extent.durable}")
        elif extent.durable == extent.last and self._hash != extent.hash_last:
            self._blame(self._at, "the head does not have the hash of this, the last event")
        return None

    def _blame(self, seq: int, what: str, id: str = "") -> None:
        self.fault = Fault(self._extent.channel, seq, what, id)


def in_words(damage: StoreCorrupt, channel: str, seq: int) -> str:
    """What a store says of an event it cannot read, without which event it is."""
    return damage.message.removeprefix(f"event {seq} of {channel}").removeprefix(":").strip()


def _in_order(epochs: Sequence[Epoch]) -> bool:
    """Whether each epoch begins above the end of the one before, and the first where every log begins."""
    begun = (epochs[0].first, epochs[0].last_before, epochs[0].hash_before) == (1, 0, NO_HASH)
    return begun and all(a.first - 1 <= b.last_before < b.first for a, b in pairwise(epochs))


def _kept_by(extent: Extent) -> int:
    """How many events a channel has, without reading them: its seqs but for those that are void."""
    void = sum(max(0, epoch.first - max(epoch.last_before + 1, extent.first)) for epoch in extent.epochs)
    return max(0, extent.durable - extent.first + 1 - void)
