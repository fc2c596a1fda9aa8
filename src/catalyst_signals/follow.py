"""The gate: hints, polls and our own appends come in, contiguous frames go to the hub.

Owns: what is next on each channel, and the noticing of holes, lost tails and rewritten history. Refuses to trust the
broker for anything. Law: this is the only caller of `hub.offer`; a channel whose history was rewritten is stopped and
goes on in a new epoch, never silently.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict, deque
from collections.abc import Callable
from contextlib import aclosing, suppress
from typing import Self

from catalyst_signals.backoff import Backoff
from catalyst_signals.brokers import Broker
from catalyst_signals.errors import (
    CatalystError,
    HistoryRewritten,
    PositionTooOld,
    RangeUntrusted,
    StoreUnavailable,
    Unavailable,
)
from catalyst_signals.events import EPOCH_GAP, Extent, Frame, next_seq, rewound_after
from catalyst_signals.hub import Hub
from catalyst_signals.stores import Store
from catalyst_signals.tape import Tape
from catalyst_signals.trust import Reader
from catalyst_signals.vital import vital
from catalyst_signals.wire import frame_of

log = logging.getLogger("catalyst.follow")

FILL_EVENTS = 1000
GO_ON_S = 5.0  # A channel that cannot go on at all does not keep others from being written for ever.
PASSED_MAX = 1000  # Seq and hash8 of the newest that were let through: after a rewind they tell how far all agree.
Fold = Callable[[Frame], None]


class Follower:
    """Follows every channel of a store into a hub. Enter it to start; its tasks end with it."""

    def __init__(
        self, store: Store, broker: Broker, hub: Hub, *, poll_s: float = 1.0, reader: Reader | None = None
    ) -> None:
        self._store = store
        self.reader = reader or Reader(store)
        self._broker = broker
        self._hub = hub
        self._poll_s = poll_s
        self._folds: dict[str | None, list[Fold]] = {}  # Under None for every channel.
        self._filling: dict[str, asyncio.Task[None]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._recovering: set[asyncio.Task[None]] = set()
        self._passed: dict[str, deque[tuple[int, str]]] = defaultdict(lambda: deque(maxlen=PASSED_MAX))
        self._jumped: list[Callable[[str], None]] = []
        self.extents: dict[str, Extent] = {}  # As of the last poll; the tapes know newer heads.
        self.confirmed_s: float | None = None  # When the last poll that was answered was asked, on the loop's clock.

    async def __aenter__(self) -> Self:
        await self.poll()
        self._tasks = [vital(self._poll_for_ever()), vital(self._listen_for_ever())]
        return self

    async def __aexit__(self, *exc: object) -> None:
        tasks = [*self._tasks, *self._filling.values(), *self._recovering]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def fold(self, channel: str | None, fold: Fold) -> None:
        """Call `fold` with every frame of a channel (of all for None), in order, right when it passes the gate."""
        self._folds.setdefault(channel, []).append(fold)

    def watch(self, jumped: Callable[[str], None]) -> None:
        """Call `jumped` when a channel goes on elsewhere than after its tip, so that folds did not see all of it."""
        self._jumped.append(jumped)

    def take(self, frame: Frame) -> None:
        """Let a frame through if it is the next one; otherwise drop it, or go and look in the store."""
        tape = self._hub.tapes.get(frame.channel)
        if tape is None or tape.stopped is not None:
            return
        if frame.seq == tape.tip + 1 and frame.prev8 == tape.tip8 and not _outdated(tape, frame):
            self._pass(tape, frame)
        elif frame.seq > tape.tip:
            self.fill(tape)
        elif _contradicts(tape, frame):
            self._stop(tape, f"event {frame.seq} is another one now")

    def fill(self, tape: Tape) -> None:
        """Read what is missing from the store, one task a channel however many ask."""
        if tape.channel not in self._filling:
            task = vital(self._fill(tape))
            self._filling[tape.channel] = task
            task.add_done_callback(lambda _: self._filling.pop(tape.channel, None))

    async def _fill(self, tape: Tape) -> None:
        try:
            while tape.stopped is None and await self._fill_some(tape):
                pass
        except CatalystError as error:
            log.warning("a hole could not be filled yet", extra={"channel": tape.channel, "reason": str(error)})

    async def _fill_some(self, tape: Tape) -> bool:
        """Whether the store had anything after our tip; then it has passed."""
        try:
            events = await self.reader.read(tape.channel, tape.tip, FILL_EVENTS)
        except (RangeUntrusted, PositionTooOld) as error:  # What comes next is not to be had, here or anywhere.
            self._halt(tape, Unavailable(f"{error.message}; resume from your position", channel=tape.channel))
            return False
        if tape.stopped is not None:  # While we read; another tape may be in its place.
            return False
        self._take_read(tape, [frame_of(event) for event in events])
        return bool(events)

    def _take_read(self, tape: Tape, frames: list[Frame]) -> None:
        """Frames from the store are the truth: one that does not join our tip means we were shown something else."""
        for frame in frames:
            if frame.seq <= tape.tip:
                continue  # Came in by another way while we read.
            if _outdated(tape, frame):
                return  # Read before it was erased; the next read shows it so.
            if frame.prev8 != tape.tip8:
                self._stop(tape, f"event {frame.seq} does not follow what was delivered before it")
                return
            self._pass(tape, frame)

    def _pass(self, tape: Tape, frame: Frame) -> None:
        self._hub.offer(frame)
        tape.erased.discard(frame.seq)
        self._passed[tape.channel].append((frame.seq, frame.hash8))
        for fold in (*self._folds.get(tape.channel, ()), *self._folds.get(None, ())):
            fold(frame)

    def _stop(self, tape: Tape, why: str) -> None:
        """Nothing goes on that does not follow what was delivered; the subscribers come back to what there is now."""
        log.error("history was rewritten, the channel is stopped", extra={"channel": tape.channel, "reason": why})
        self._halt(tape, HistoryRewritten(f"{HistoryRewritten.__doc__} ({tape.channel}: {why})", channel=tape.channel))

    def _halt(self, tape: Tape, error: CatalystError) -> None:
        """Everyone comes back with their own place, and the resume table tells them what of it there is."""
        if tape.stopped is not None:
            return
        self._hub.stop(tape, error)
        if tape.channel in self._folds:
            raise RuntimeError(f"the server's own state is not as it was read, so this process ends: {error.message}")
        task = vital(self._recover(tape))
        self._recovering.add(task)
        task.add_done_callback(self._recovering.discard)

    async def _recover(self, tape: Tape) -> None:
        """Go on in an epoch above all that anyone can have seen; in the same one if the store has our tip after all."""
        again = Backoff(self._poll_s / 4, self._poll_s)
        while True:
            try:
                extent = await self._above(tape)
                await self._open(extent)
                break
            except (ValueError, CatalystError) as error:  # Another process was first, or the store is away: look again.
                log.warning("the channel cannot go on yet", extra={"channel": tape.channel, "reason": str(error)})
                await asyncio.sleep(again.next_s())
        log.warning("the channel goes on", extra={"channel": tape.channel, "epoch": extent.epoch})
        self.extents[tape.channel] = extent
        for jumped in self._jumped:
            jumped(tape.channel)

    async def _above(self, tape: Tape) -> Extent:
        """The log as it is, with an epoch above our tip unless it holds our tip, or retention dropped that."""
        extent = (await self._store.extents([tape.channel]))[tape.channel]
        if extent.epochs[-1].first > tape.tip or tape.tip < extent.first - 1:
            return extent
        agreed = await self._agreed(tape, extent)
        if agreed == tape.tip:
            return extent
        first = max(tape.tip, extent.last) + EPOCH_GAP
        return await self._store.begin_epoch(tape.channel, first, rewound_after(agreed))

    async def _agreed(self, tape: Tape, extent: Extent) -> int:
        """The newest of our events that the store has too: beyond it other processes may have written other ones."""
        for seq, hash8 in reversed(self._passed[tape.channel]):
            if seq < extent.first:
                return seq if seq == extent.first - 1 and extent.hash_before[:4].hex() == hash8 else 0
            events = await self._store.read(tape.channel, seq - 1, 1)
            if events and (events[0].seq, events[0].hash[:4].hex()) == (seq, hash8):
                return seq
        return 0

    async def poll(self) -> None:
        """Compare the store's heads with our tips: new channels open, a lost tail is fetched, a shorter log is noticed.

        Raises:
            StoreUnavailable: nothing was learned.
        """
        asked_s = asyncio.get_running_loop().time()
        tips = {channel: (tape.tip, tape.tip8) for channel, tape in self._hub.tapes.items()}
        extents = await self._store.extents()
        if self.confirmed_s is None or asked_s >= self.confirmed_s:
            self.extents, self.confirmed_s = self.extents | extents, asked_s
        else:  # A later poll was answered before this one; then we may still have seen a channel that it did not.
            self.extents = extents | self.extents
        for channel, extent in extents.items():
            self._hub.pager.begins(channel, extent.first)
            tape = self._hub.tapes.get(channel)
            if tape is None:
                with suppress(PositionTooOld):  # Retention is quicker than this poll; the next one finds it so.
                    await self._open(extent)
            elif tape.stopped is None and channel in tips and not _reaches(extent, *tips[channel]):
                self._stop(tape, f"the store no longer has event {tips[channel][0]}")
            elif extent.newest > tape.tip:
                self.fill(tape)

    async def look_again(self) -> None:
        """After an outage, before more is written: a log that lost its end goes on above all that we gave out.

        Raises:
            Unavailable: nothing was learned.
        """
        try:
            await self.poll()
        except Unavailable:
            raise
        except CatalystError as error:  # It is for whoever writes to find out what that means for them.
            log.warning("the store was asked where it ends and refused", extra={"reason": str(error)})
        if self._recovering:
            await asyncio.wait(self._recovering, timeout=GO_ON_S)

    async def _open(self, extent: Extent) -> None:
        """A tape at the newest event that may be shown; its hash, but at the log's end, is known by reading it."""
        seq, tip, epoch = extent.newest, extent.hash_last, extent.epoch_at(extent.newest)
        if extent.durable < extent.first:
            tip = extent.hash_before
        elif extent.durable < extent.last:
            read = await self._store.read(extent.channel, seq - 1, 1)
            if [event.seq for event in read] != [seq]:
                raise StoreUnavailable("the log was taken back while it was asked for its end", channel=extent.channel)
            tip = read[0].hash
        known = self._hub.tapes.get(extent.channel)
        if known is None or known.stopped is not None:
            self._hub.open(extent.channel, epoch, seq, tip[:4].hex())
            self._passed[extent.channel] = deque([(seq, tip[:4].hex())], maxlen=PASSED_MAX)

    async def caught_up(self, channel: str) -> None:
        """Bring a channel to the store's present end, and wait until the hub has served it.

        A fill that is under way may have asked before that end was there, and gives up in silence: we read ourselves.

        Raises:
            StoreUnavailable: the store did not answer; safe to try again.
        """
        await self.poll()
        tape, extent = self._hub.tapes.get(channel), self.extents.get(channel)
        if tape is None or extent is None:
            return
        while tape.tip < extent.newest and tape.stopped is None and await self._fill_some(tape):
            pass
        await tape.grown(min(tape.tip, extent.newest) - 1)

    async def _poll_for_ever(self) -> None:
        while True:
            await asyncio.sleep(self._poll_s)
            try:
                await self.poll()
            except CatalystError as error:
                log.warning("the store did not answer a poll", extra={"reason": str(error)})

    async def _listen_for_ever(self) -> None:
        again = Backoff(self._poll_s / 4, self._poll_s)
        while True:
            try:
                async with aclosing(self._broker.listen()) as frames:
                    async for frame in frames:
                        again.tries = 0
                        self.take(frame)
            except Unavailable as error:
                if not again.tries:  # Not for every try while it is away.
                    log.warning("the broker is away, polling meanwhile", extra={"reason": str(error)})
            await asyncio.sleep(again.next_s())


def _outdated(tape: Tape, frame: Frame) -> bool:
    """Whether a frame still has what was erased meanwhile."""
    return frame.seq in tape.erased and not frame.erased


def _reaches(extent: Extent, tip: int, tip8: str) -> bool:
    """Whether a log still goes as far as `tip`, and not with a void or, at its very end, another event in its place."""
    if tip == extent.newest and extent.durable == extent.last:
        return extent.hash_last[:4].hex() == tip8
    return extent.last >= tip and next_seq(extent.epochs, tip - 1) == tip


def _contradicts(tape: Tape, frame: Frame) -> bool:
    """Whether a seq we know is offered with another hash."""
    known = tape.ring.get(frame.seq)
    if known is not None:
        return known.hash8 != frame.hash8
    return frame.seq == tape.tip and frame.hash8 != tape.tip8
