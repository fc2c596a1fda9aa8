"""The gate: hints, polls and our own appends come in, contiguous frames go to the hub.

Owns: what is next on each channel, and the noticing of holes, lost tails and rewritten history. Refuses to trust the
broker for anything. Law: this is the only caller of `hub.offer`; a channel whose history was rewritten is stopped,
never continued silently.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import aclosing
from typing import Self

from catalyst_signals.brokers import Broker
from catalyst_signals.errors import CatalystError, HistoryRewritten, Unavailable
from catalyst_signals.events import Extent, Frame
from catalyst_signals.hub import Hub
from catalyst_signals.stores import Store
from catalyst_signals.tape import Tape
from catalyst_signals.vital import vital
from catalyst_signals.wire import frame_of

log = logging.getLogger("catalyst.follow")

FILL_EVENTS = 1000
Fold = Callable[[Frame], None]


class Follower:
    """Follows every channel of a store into a hub. Enter it to start; its tasks end with it."""

    def __init__(self, store: Store, broker: Broker, hub: Hub, *, poll_s: float = 1.0) -> None:
        self._store = store
        self._broker = broker
        self._hub = hub
        self._poll_s = poll_s
        self._folds: dict[str, list[Fold]] = {}
        self._filling: dict[str, asyncio.Task[None]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self.extents: dict[str, Extent] = {}  # As of the last poll; the tapes know newer heads.
        self.confirmed_s: float | None = None  # When the last poll that was answered was asked, on the loop's clock.

    async def __aenter__(self) -> Self:
        await self.poll()
        self._tasks = [vital(self._poll_for_ever()), vital(self._listen_for_ever())]
        return self

    async def __aexit__(self, *exc: object) -> None:
        tasks = [*self._tasks, *self._filling.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def fold(self, channel: str, fold: Fold) -> None:
        """Call `fold` with every frame of a channel, in order, right when it passes the gate."""
        self._folds.setdefault(channel, []).append(fold)

    def take(self, frame: Frame) -> None:
        """Let a frame through if it is the next one; otherwise drop it, or go and look in the store."""
        tape = self._hub.tapes.get(frame.channel)
        if tape is None or tape.stopped is not None:
            return
        if frame.seq == tape.tip + 1 and frame.prev8 == tape.tip8:
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
        events = await self._store.read(tape.channel, tape.tip, FILL_EVENTS)
        self._take_read(tape, [frame_of(event) for event in events])
        return bool(events)

    def _take_read(self, tape: Tape, frames: list[Frame]) -> None:
        """Frames from the store are the truth: one that does not join our tip means we were shown something else."""
        for frame in frames:
            if frame.seq <= tape.tip:
                continue  # Came in by another way while we read.
            if frame.prev8 != tape.tip8:
                self._stop(tape, f"event {frame.seq} does not follow what was delivered before it")
                return
            self._pass(tape, frame)

    def _pass(self, tape: Tape, frame: Frame) -> None:
        self._hub.offer(frame)
        for fold in self._folds.get(tape.channel, ()):
            fold(frame)

    def _stop(self, tape: Tape, why: str) -> None:
        log.error("history was rewritten, the channel is stopped", extra={"channel": tape.channel, "reason": why})
        self._hub.stop(
            tape, HistoryRewritten(f"{HistoryRewritten.__doc__} ({tape.channel}: {why})", channel=tape.channel)
        )

    async def poll(self) -> None:
        """Compare the store's heads with our tips: new channels open, a lost tail is fetched, a shorter log is noticed.

        Raises:
            StoreUnavailable: nothing was learned.
        """
        asked_s = asyncio.get_running_loop().time()
        tips = {channel: tape.tip for channel, tape in self._hub.tapes.items()}
        extents = await self._store.extents()
        if self.confirmed_s is None or asked_s >= self.confirmed_s:
            self.extents, self.confirmed_s = self.extents | extents, asked_s
        else:  # A later poll was answered before this one; then we may still have seen a channel that it did not.
            self.extents = extents | self.extents
        for channel, extent in extents.items():
            tape = self._hub.tapes.get(channel)
            if tape is None:
                await self._open(extent)
            elif extent.last < tips.get(channel, 0) and tape.stopped is None:
                self._stop(tape, f"the store ends at {extent.last}, before {tips[channel]}")
            elif extent.durable > tape.tip:
                self.fill(tape)

    async def _open(self, extent: Extent) -> None:
        """A tape that begins at the durable end; at its hash, which the extent knows only at the very ends."""
        tip = extent.hash_last
        if extent.durable < extent.first:
            tip = extent.hash_before
        elif extent.durable < extent.last:
            (newest,) = await self._store.read(extent.channel, extent.durable - 1, 1)
            tip = newest.hash
        if extent.channel not in self._hub.tapes:  # Another poll may have been first while we read.
            self._hub.open(extent.channel, extent.epoch, extent.durable, tip[:4].hex())

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
        while tape.tip < extent.durable and tape.stopped is None and await self._fill_some(tape):
            pass
        await self._hub.grown(tape, min(tape.tip, extent.durable) - 1)

    async def _poll_for_ever(self) -> None:
        while True:
            await asyncio.sleep(self._poll_s)
            try:
                await self.poll()
            except CatalystError as error:
                log.warning("the store did not answer a poll", extra={"reason": str(error)})

    async def _listen_for_ever(self) -> None:
        while True:
            try:
                async with aclosing(self._broker.listen()) as frames:
                    async for frame in frames:
                        self.take(frame)
            except Unavailable as error:
                log.warning("the broker is away, polling meanwhile", extra={"reason": str(error)})
            await asyncio.sleep(self._poll_s)


def _contradicts(tape: Tape, frame: Frame) -> bool:
    """Whether a seq we know is offered with another hash."""
    known = tape.ring.get(frame.seq)
    if known is not None:
        return known.hash8 != frame.hash8
    return frame.seq == tape.tip and frame.hash8 != tape.tip8
