"""Workers that follow a channel: each is handed what its filter wants of everything after its place, in order, once.

Owns: the judging of what passes the gate, once a filter for all who are level with it, and the way from a place in the
store to there. Knows nothing of what is done with an event, nor how a place is kept.
Laws: nothing runs per follower on the way of a publish; who falls behind holds no more than QUEUE_MAX events and reads
the store; what cannot be read any more is counted, and the follower goes on after it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence

from catalyst_signals.erasing import ERASED
from catalyst_signals.errors import PositionTooOld, RangeUntrusted
from catalyst_signals.events import Epoch, Frame
from catalyst_signals.filters import Filter
from catalyst_signals.matching import MatchIndex
from catalyst_signals.pages import picked
from catalyst_signals.stores import Store
from catalyst_signals.trust import Reader
from catalyst_signals.wire import SYSTEM_CHANNEL, decode, frame_of

log = logging.getLogger("catalyst.workers")

QUEUE_MAX = 64  # Of one follower; frames are shared.
PENDING_MAX = 10_000  # Passed the gate, not judged yet.
PAGE_EVENTS = 256
PAGES_KEPT = 8
TURN_S = 0.004
LOOK_S = 0.05

_ERASED = b'{"type":"%s"' % ERASED.encode()


class Following:
    """One follower of one channel. `woken` is called when there may be something to `pop`."""

    def __init__(
        self, tip: Tip, channel: str, after: int, epoch: str, filter: Filter, woken: Callable[[], None]
    ) -> None:
        self.channel = channel
        self.filter = filter
        self.epoch = epoch
        self.live = False  # Level with the gate: what passes there comes here by itself.
        self.lost = 0  # Seqs that could not be read any more.
        self.woken = woken
        self._tip = tip
        self._seen = after  # Up to here it is judged; while live the tip knows better.
        self._queue: deque[Frame] = deque()
        self._at_home = False  # Whether `_seen` is known to be a place of the present epoch.

    @property
    def through(self) -> int:
        """Up to here everything was popped, or is not wanted."""
        if self._queue:
            return self._queue[0].seq - 1
        return max(self._seen, self._tip.judged(self.channel)) if self.live else self._seen

    def pop(self) -> Frame | None:
        """The next event; None: there is none now, and more may be read if it is not `live`."""
        return self._queue.popleft() if self._queue else None

    def seek(self, after: int) -> None:
        """Go on after another place, in the present epoch."""
        self._tip.leave(self)
        self._queue.clear()
        self._seen = after
        self.woken()

    def leave(self) -> None:
        """Its end: nothing is handed to it any more."""
        self._tip.end(self)

    def refilter(self, filter: Filter) -> None:
        """Want something else of everything that was not popped yet."""
        self.seek(self.through)
        self.filter = filter

    def holds(self, seqs: Iterable[int]) -> bool:
        """Whether one of these waits to be popped."""
        wanted = set(seqs)
        return any(frame.seq in wanted for frame in self._queue)

    async def fill(self) -> None:
        """Read a page of what is missing, or become live.

        Raises:
            StoreUnavailable: safe to try again.
        """
        if self.live or self._queue:
            return None
        if not self._at_home:
            epochs = await self._tip.epochs(self.channel)
            self._seen, self.epoch, self._at_home = place_in(epochs, self.epoch, self._seen), epochs[-1].name, True
        after, erasures = self._seen, self._tip.erasures
        try:
            frames = await self._tip.page(self.channel, after)
        except PositionTooOld as error:
            return self._lose(after, error.extra["first"] - 1)
        except RangeUntrusted as error:
            return self._lose(after, error.extra["resume_after"])
        if self.live or self._queue or self._seen != after or self._tip.erasures != erasures:
            return None  # It went elsewhere while this was read, or what was read may be erased.
        if frames:
            self._queue.extend(frames[i] for i in picked(self.filter, frames))
            self._seen = frames[-1].seq
        if len(frames) < PAGE_EVENTS and not self._tip.join(self, self._seen):
            await asyncio.sleep(LOOK_S)  # The gate is ahead of what we read; it is there in a moment.
        return None

    def _lose(self, after: int, through: int) -> None:
        if self._seen == after:
            self.lost += through - after
            self._seen = through
            log.error("a worker lost events", extra={"channel": self.channel, "after": after, "through": through})

    def take(self, frame: Frame) -> None:
        """The tip's: what it judged as wanted."""
        if frame.seq <= self._seen:
            return
        if len(self._queue) >= QUEUE_MAX:
            self.fall_behind(frame.seq - 1)
            return
        self._queue.append(frame)
        if len(self._queue) == 1:
            self.woken()

    def fall_behind(self, seen: int, *, elsewhere: bool = False) -> None:
        """What comes after `seen` will be read; `elsewhere`: the channel may go on in another epoch."""
        self._seen = max(seen, self._seen)
        self._tip.leave(self)
        if elsewhere:
            self._at_home = False
            self._seen = self._queue[0].seq - 1 if self._queue else self._seen
            self._queue.clear()
        self.woken()


class _Group:
    """All live followers with one filter."""

    def __init__(self) -> None:
        self.members: dict[Following, None] = {}


class Tip:
    """What passes the gate. Nothing of it is looked at unless `run` is running: this process has a duty."""

    def __init__(self, store: Store, reader: Reader, head: Callable[[str], int]) -> None:
        """`head` says the seq that passed the gate last in a channel; -1: this process does not know of it yet."""
        self._store = store
        self._reader = reader
        self.head = head
        self.erasures = 0  # Frames that were taken before one may hold what is erased now.
        self._running = False
        self._pending: deque[Frame] = deque()
        self._wake = asyncio.Event()
        self._judged: dict[str, int] = {}
        self._groups: dict[str, dict[str, _Group]] = {}
        self._index: dict[str, MatchIndex[str]] = {}
        self._all: dict[Following, None] = {}
        self._pages: OrderedDict[tuple[str, int], Sequence[Frame]] = OrderedDict()
        self._reading: dict[tuple[str, int], asyncio.Task[list[Frame]]] = {}

    # -- what passes --------------------------------------------------------------------------------------------

    def fold(self, frame: Frame) -> None:
        """The gate's, for every event of every channel."""
        if not self._running:
            return
        if frame.channel == SYSTEM_CHANNEL:
            if frame.text.startswith(_ERASED) and not frame.erased:
                self._forget(decode(frame.text)["data"])
            return
        if frame.channel not in self._groups:
            return
        self._pending.append(frame)
        if len(self._pending) > PENDING_MAX:
            self._pending.clear()
            for channel in list(self._groups):
                self._all_behind(channel)
        self._wake.set()

    def jumped(self, channel: str) -> None:
        """The gate's: a channel goes on in another epoch, and the fold did not see all of it."""
        self._pending = deque(frame for frame in self._pending if frame.channel != channel)
        self._all_behind(channel, elsewhere=True)
        self._pages.clear()

    def _all_behind(self, channel: str, *, elsewhere: bool = False) -> None:
        judged = self.judged(channel)
        for group in list(self._groups.get(channel, {}).values()):
            for each in list(group.members):
                each.fall_behind(judged, elsewhere=elsewhere)

    def _forget(self, erased: dict[str, object]) -> None:
        self.erasures += 1
        self._pages.clear()
        channel, seqs = str(erased["channel"]), erased["seqs"]
        assert isinstance(seqs, list)
        gone = set(seqs)
        self._pending = deque(frame for frame in self._pending if frame.channel != channel or frame.seq not in gone)
        for each in self._all:
            if each.channel == channel and each.holds(gone):
                each.seek(each.through)

    def judged(self, channel: str) -> int:
        """Up to here live followers were handed what they want."""
        return self._judged[channel] if channel in self._judged else self.head(channel)

    async def run(self) -> None:
        """Judge what passes, for ever, some milliseconds at a time."""
        self._running = True
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                while self._pending:
                    self._judge_some(time.perf_counter() + TURN_S)
                    await asyncio.sleep(0)
        finally:
            self._running = False
            self._pending.clear()

    def _judge_some(self, until_s: float) -> None:
        while self._pending and time.perf_counter() < until_s:
            frame = self._pending.popleft()
            groups = self._groups.get(frame.channel)
            if groups is None or frame.seq <= self._judged[frame.channel]:
                continue
            for text in self._index[frame.channel].match(decode(frame.text)):
                for member in list(groups[text].members):
                    member.take(frame)
            if frame.channel in self._judged:
                self._judged[frame.channel] = frame.seq

    # -- followers ----------------------------------------------------------------------------------------------

    def follow(
        self, channel: str, after: int, epoch: str, filter: Filter, woken: Callable[[], None]
    ) -> Following:  # fmt: skip
        """A follower that stands there; it reads up to the gate at first."""
        following = Following(self, channel, after, epoch, filter, woken)
        self._all[following] = None
        return following

    def end(self, following: Following) -> None:
        """It is no more."""
        self.leave(following)
        self._all.pop(following, None)

    def join(self, following: Following, seen: int) -> bool:
        """Whether the follower, who has seen so much, is level with the gate; from now on it is handed what passes."""
        channel, filter = following.channel, following.filter
        if seen < self.judged(channel) or self.head(channel) < 0:
            return False
        if channel not in self._groups:
            self._groups[channel], self._index[channel] = {}, MatchIndex()
            self._judged[channel] = self.head(channel)
        groups = self._groups[channel]
        if filter.text not in groups:
            groups[filter.text] = _Group()
            self._index[channel].add(filter.text, filter)
        groups[filter.text].members[following] = None
        following.live = True
        return True

    def leave(self, following: Following) -> None:
        """It is not handed anything any more."""
        if not following.live:
            return
        following.live = False
        text, channel = following.filter.text, following.channel
        groups = self._groups[channel]
        groups[text].members.pop(following)
        if not groups[text].members:
            del groups[text]
            self._index[channel].remove(text)
        if not groups:
            del self._groups[channel], self._index[channel], self._judged[channel]

    # -- what was -----------------------------------------------------------------------------------------------

    async def epochs(self, channel: str) -> Sequence[Epoch]:
        """Of a channel's log."""
        return (await self._store.extents([channel]))[channel].epochs

    async def page(self, channel: str, after: int) -> Sequence[Frame]:
        """The next events after a place, at most PAGE_EVENTS; all who are in the same stretch share one read.

        Raises:
            PositionTooOld, RangeUntrusted: as Reader.read. StoreUnavailable: safe to try again.
        """
        start = after - after % PAGE_EVENTS
        try:
            frames = await self._page(channel, start)
        except (PositionTooOld, RangeUntrusted):
            frames = await self._page(channel, after)
        found = [frame for frame in frames if frame.seq > after]
        return found or (await self._page(channel, after) if frames else [])

    async def _page(self, channel: str, after: int) -> Sequence[Frame]:
        key = (channel, after)
        if key in self._pages:
            self._pages.move_to_end(key)
            return self._pages[key]
        task = self._reading.get(key)
        if task is None:
            task = self._reading[key] = asyncio.create_task(self._read(channel, after))
            task.add_done_callback(lambda _: self._reading.pop(key, None))
        return await asyncio.shield(task)

    async def _read(self, channel: str, after: int) -> list[Frame]:
        erasures = self.erasures
        frames = [frame_of(event) for event in await self._reader.read(channel, after, PAGE_EVENTS)]
        if len(frames) == PAGE_EVENTS and erasures == self.erasures:
            self._pages[channel, after] = frames
            while len(self._pages) > PAGES_KEPT:
                self._pages.popitem(last=False)
        return frames

    async def some(self, channel: str, seqs: Sequence[int]) -> list[Frame]:
        """These events, as far as they are still there and not erased; `seqs` ascend.

        Raises:
            StoreUnavailable: safe to try again.
        """
        found: dict[int, Frame] = {}
        for seq in seqs:
            if seq not in found:
                try:
                    found |= {frame.seq: frame for frame in await self.page(channel, seq - 1)}
                except (PositionTooOld, RangeUntrusted):
                    continue
        return [found[seq] for seq in seqs if seq in found and not found[seq].erased]


def place_in(epochs: Sequence[Epoch], epoch: str, seq: int) -> int:
    """Where to go on in a log that may have been rewound since: not beyond what everybody agrees on."""
    names = [each.name for each in epochs]
    since = epochs[names.index(epoch) + 1 :] if epoch in names else epochs[1:][-1:]
    return min([seq, *(each.agreed for each in since)])
