"""The write path: queue, group commit, append, offer, hint, answer.

Owns: the one flusher of this process and its bounded queue (queueing.py). Knows nothing of stores' technologies,
sockets or rights.
Laws: nobody is answered and nothing is offered before the store said how it ended; an unknown outcome is appended again
with the same ids until it is known. Publishers take turns: one's flood costs another a few commits, not all of its own.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol, Self

from catalyst_signals.backoff import Backoff
from catalyst_signals.brokers import Broker
from catalyst_signals.errors import CatalystError, Draining, Overloaded, StoreUnavailable, TooLarge, Unavailable
from catalyst_signals.events import Batch, Refused, Stored
from catalyst_signals.follow import Follower
from catalyst_signals.histograms import LATENCY_S, Histogram
from catalyst_signals.queueing import FairQueue
from catalyst_signals.vital import vital
from catalyst_signals.wire import frame_of

log = logging.getLogger("catalyst.publish")

DRAFTS_MAX = 1000  # In one request.
COMMIT_DRAFTS_MAX = 1000  # One commit: about 40 ms of SQLite here (bench/append, 2026-11), so an ack is never far.
AGAIN_S = (0.05, 2.0)
HINT_S = 1.0  # A broker that takes longer than a poll is of no use, and the next commit waits for it.

UNKNOWN = "it is not known whether this was stored; send it again with the same id"

Result = list[Stored | Refused]


class Appends(Protocol):
    """A store, or what gathers the appends of several processes for one."""

    async def append(self, batches: Sequence[Batch]) -> Result:
        """Store.append"""


@dataclass(slots=True)
class _Waiting:
    batches: Sequence[Batch]
    drafts: int
    answer: asyncio.Future[Result]
    began_s: float


class Publisher:
    """Turns batches into answers. Enter it to start; leaving finishes what was accepted."""

    def __init__(
        self, store: Appends, follower: Follower, broker: Broker, *, queue_max: int = 10_000,
        check_there: Callable[[], None] = lambda: None, look_again: Callable[[], Awaitable[None]] | None = None,
    ) -> None:  # fmt: skip
        """`check_there` raises StoreUnavailable while it is known that nothing can be stored.

        `look_again` is what is done before a commit whose outcome is unknown is asked again; None: Follower's.
        """
        self._store = store
        self.check_there = check_there
        self._follower = follower
        self._look_again = look_again or follower.look_again
        self._broker = broker
        self._queue_max = queue_max
        self._queue: FairQueue[_Waiting] = FairQueue()
        self._taken: list[_Waiting] = []  # In the commit that is under way.
        self._flusher: asyncio.Task[None] | None = None
        self._draining = False
        self.commits = 0
        self.stored = 0
        self.answer_s = Histogram(LATENCY_S)  # From taking a publish to its answer.
        self.commit_s = Histogram(LATENCY_S)
        self._is_back = asyncio.Event()
        self._told = True  # The others, of the commit before.

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.drain()

    async def drain(self, within_s: float = 5.0) -> None:
        """Refuse what is new and finish what was accepted; what a store that hangs leaves is told to be unknown."""
        self._draining = True
        if self._flusher is None:
            return
        await asyncio.wait([self._flusher], timeout=within_s)
        if self._flusher is not None:
            self._flusher.cancel()
            await asyncio.wait([self._flusher])

    @property
    def queued(self) -> int:
        """Drafts accepted and not yet committed."""
        return self._queue.size

    def submit(self, batches: Sequence[Batch]) -> asyncio.Future[Result]:
        """Queue batches that belong in one commit; the future answers one result a batch.

        A caller that goes away may cancel the future; what it sent may then be stored all the same.

        Raises:
            Overloaded: the queue is full; nothing was taken.
            Draining: the server is going down; nothing was taken.
            StoreUnavailable: the process that owns the log is away; nothing was taken.
        """
        if self._draining:
            raise Draining(retry_after_s=1)
        self.check_there()
        drafts = sum(len(batch.drafts) for batch in batches)
        if drafts > 2 * DRAFTS_MAX + 1:  # The ends of what they supersede and a webhook's raw body come on top.
            raise TooLarge(f"{DRAFTS_MAX} signals may come at once", got=drafts, allowed=DRAFTS_MAX)
        whose = batches[0].subject if batches else ""
        self.check_room(whose, drafts)
        return self._put(whose, batches, drafts)

    def check_room(self, whose: str, drafts: int = 1) -> None:
        """Pass, or refuse: to be asked before anything is made of what came. Nobody's flood keeps others out.

        Raises:
            Overloaded: the queue is full.
        """
        room = self._queue_max if whose in self._queue else 2 * self._queue_max
        if self._queue and self._queue.size + drafts > room:
            raise Overloaded("too many publishes are waiting to be stored; try again in a second", retry_after_s=1)

    def _put(self, whose: str, batches: Sequence[Batch], drafts: int) -> asyncio.Future[Result]:
        waiting = _Waiting(batches, drafts, asyncio.get_running_loop().create_future(), time.perf_counter())
        self._queue.put(whose, waiting, drafts)
        if self._flusher is None:
            self._flusher = vital(self._flush())
        return waiting.answer

    async def settled(self) -> None:
        """Everything that was accepted before this is stored or refused, the commit that is under way included.

        Raises:
            StoreUnavailable: nobody knows.
        """
        await asyncio.gather(*(self._put(whose, [], 0) for whose in {"", *self._queue.waiting}))

    async def publish(self, batch: Batch) -> Stored:
        """Store one batch and wait for it.

        Raises:
            CatalystError: what the store refused it with.
        """
        (result,) = await self.submit([batch])
        if isinstance(result, Refused):
            raise result.error
        return result

    async def _flush(self) -> None:
        """Commit whatever queued while the last commit was in flight, until nothing is left."""
        try:
            while self._queue:
                self._taken = self._take()
                results = await self._append([batch for waiting in self._taken for batch in waiting.batches])
                await self._settle(self._taken, results)
        finally:
            self._flusher = None
            self._give_up()

    def _give_up(self) -> None:
        """Whoever still waits is told that nothing is known; after a clean end that is nobody."""
        for waiting in (*self._taken, *self._queue.take_all()):
            if not waiting.answer.done():
                waiting.answer.set_exception(StoreUnavailable(UNKNOWN))
        self._taken = []

    def _take(self) -> list[_Waiting]:
        taken: list[_Waiting] = []
        room = COMMIT_DRAFTS_MAX
        while self._queue and (not taken or self._queue.next_size <= room):
            waiting = self._queue.take()
            if not waiting.answer.cancelled():
                taken.append(waiting)
                room -= waiting.drafts
        return taken

    async def _append(self, batches: list[Batch]) -> Result:
        again = Backoff(*AGAIN_S)
        while True:
            began_s = time.perf_counter()
            try:
                if again.tries:  # What answers now may be another server, which lacks what was given out before.
                    await self._look_again()
                results = await self._store.append(batches) if batches else []
                self.commit_s.note(time.perf_counter() - began_s)
                return results
            except Unavailable as error:
                log.warning("a commit has an unknown outcome, appending again", extra={"reason": str(error)})
            except CatalystError as error:
                return [Refused(error)] * len(batches)
            await self._pause(again.next_s())

    def store_is_back(self) -> None:
        """What waits to be appended again is appended now."""
        self._is_back.set()

    async def _pause(self, longest_s: float) -> None:
        self._is_back.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(longest_s):
                await self._is_back.wait()

    async def _settle(self, taken: list[_Waiting], results: Result) -> None:
        """Offer what is new, answer each publisher for itself, and hint to the others."""
        frames = [frame_of(event) for result in results if isinstance(result, Stored) for event in result.events]
        self.commits += 1
        self.stored += len(frames)
        for frame in frames:
            self._follower.take(frame)
        rest, now_s = iter(results), time.perf_counter()
        for waiting in taken:
            own = [next(rest) for _ in waiting.batches]
            if not waiting.answer.done():
                waiting.answer.set_result(own)
                self.answer_s.note(now_s - waiting.began_s)
        try:
            async with asyncio.timeout(HINT_S):
                await self._broker.publish(frames)
            self._told = True
        except (Unavailable, TimeoutError) as error:
            if self._told:  # Not for every commit while the broker is away.
                log.warning("the others are not told, they find it by their poll", extra={"reason": repr(error)})
            self._told = False
