"""The write path: queue, group commit, append, offer, hint, answer.

Owns: the one flusher of this process and its bounded queue. Knows nothing of stores' technologies, sockets or rights.
Law: nobody is answered and nothing is offered before the store said how it ended; an unknown outcome is appended again
with the same ids until it is known.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, Self

from catalyst_signals.brokers import Broker
from catalyst_signals.errors import CatalystError, Draining, Overloaded, StoreUnavailable, TooLarge, Unavailable
from catalyst_signals.events import Batch, Refused, Stored
from catalyst_signals.follow import Follower
from catalyst_signals.vital import vital
from catalyst_signals.wire import frame_of

log = logging.getLogger("catalyst.publish")

DRAFTS_MAX = 1000  # In one request.
COMMIT_DRAFTS_MAX = 1000  # One commit: about 40 ms of SQLite here (bench/append, 2026-11), so an ack is never far.
RETRY_S = (0.05, 2.0)
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


class Publisher:
    """Turns batches into answers. Enter it to start; leaving finishes what was accepted."""

    def __init__(
        self, store: Appends, follower: Follower, broker: Broker, *, queue_max: int = 10_000,
        check_there: Callable[[], None] = lambda: None,
    ) -> None:  # fmt: skip
        """`check_there` raises StoreUnavailable while it is known that nothing can be stored."""
        self._store = store
        self._check_there = check_there
        self._follower = follower
        self._broker = broker
        self._queue_max = queue_max
        self._queue: deque[_Waiting] = deque()
        self._queued = 0
        self._taken: list[_Waiting] = []  # In the commit that is under way.
        self._flusher: asyncio.Task[None] | None = None
        self._draining = False
        self.commits = 0
        self.stored = 0

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
        return self._queued

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
        self._check_there()
        drafts = sum(len(batch.drafts) for batch in batches)
        if drafts > 2 * DRAFTS_MAX + 1:  # The ends of what they supersede and a webhook's raw body come on top.
            raise TooLarge(f"{DRAFTS_MAX} signals may come at once", got=drafts, allowed=DRAFTS_MAX)
        if self._queued and self._queued + drafts > self._queue_max:
            raise Overloaded("too many publishes are waiting to be stored; try again in a second", retry_after_s=1)
        waiting = _Waiting(batches, drafts, asyncio.get_running_loop().create_future())
        self._queue.append(waiting)
        self._queued += drafts
        if self._flusher is None:
            self._flusher = vital(self._flush())
        return waiting.answer

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
        for waiting in (*self._taken, *self._queue):
            if not waiting.answer.done():
                waiting.answer.set_exception(StoreUnavailable(UNKNOWN))
        self._taken, self._queued = [], 0
        self._queue.clear()

    def _take(self) -> list[_Waiting]:
        taken: list[_Waiting] = []
        room = COMMIT_DRAFTS_MAX
        while self._queue and (not taken or self._queue[0].drafts <= room):
            waiting = self._queue.popleft()
            self._queued -= waiting.drafts
            if not waiting.answer.cancelled():
                taken.append(waiting)
                room -= waiting.drafts
        return taken

    async def _append(self, batches: list[Batch]) -> Result:
        pause_s, longest_s = RETRY_S
        while True:
            try:
                return await self._store.append(batches) if batches else []
            except Unavailable as error:
                log.warning("a commit has an unknown outcome, appending again", extra={"reason": str(error)})
            except CatalystError as error:
                return [Refused(error)] * len(batches)
            await asyncio.sleep(random.uniform(pause_s / 2, pause_s))
            pause_s = min(pause_s * 2, longest_s)

    async def _settle(self, taken: list[_Waiting], results: Result) -> None:
        """Offer what is new, answer each publisher for itself, and hint to the others."""
        frames = [frame_of(event) for result in results if isinstance(result, Stored) for event in result.events]
        self.commits += 1
        self.stored += len(frames)
        for frame in frames:
            self._follower.take(frame)
        rest = iter(results)
        for waiting in taken:
            own = [next(rest) for _ in waiting.batches]
            if not waiting.answer.done():
                waiting.answer.set_result(own)
        try:
            async with asyncio.timeout(HINT_S):
                await self._broker.publish(frames)
        except (Unavailable, TimeoutError) as error:
            log.warning("the others were not told, they will find it by their poll", extra={"reason": repr(error)})
