"""Group commit of several processes: what comes while a commit is under way is joined into the next one.

Owns: the one append that is under way on a store. Knows nothing of sockets. Law: every caller gets its own results, or
the error of the commit it was in; an unknown outcome is unknown to all who were in it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from catalyst_signals.errors import CatalystError, StoreUnavailable
from catalyst_signals.events import Batch, Refused, Stored
from catalyst_signals.stores import Store
from catalyst_signals.vital import vital

DRAFTS_MAX = 1000  # As many as one process commits at once (publish.py): no acknowledgement is further away for it.


@dataclass(slots=True)
class _Waiting:
    batches: Sequence[Batch]
    drafts: int
    answer: asyncio.Future[list[Stored | Refused]]


class Gatherer:
    """`append` of a store, for several who call it at the same time."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._queue: deque[_Waiting] = deque()
        self._taken: list[_Waiting] = []
        self._flusher: asyncio.Task[None] | None = None
        self.commits = 0

    async def append(self, batches: Sequence[Batch]) -> list[Stored | Refused]:
        """Store.append"""
        drafts = sum(len(batch.drafts) for batch in batches)
        waiting = _Waiting(batches, drafts, asyncio.get_running_loop().create_future())
        self._queue.append(waiting)
        if self._flusher is None:
            self._flusher = vital(self._flush())
        return await waiting.answer

    async def close(self, within_s: float = 5.0) -> None:
        """Wait until what is under way has ended; what a store that hangs leaves is told to be unknown."""
        if self._flusher is None:
            return
        await asyncio.wait([self._flusher], timeout=within_s)
        if self._flusher is not None:
            self._flusher.cancel()
            await asyncio.wait([self._flusher])

    async def _flush(self) -> None:
        try:
            while self._queue:
                self._taken = self._take()
                await self._commit(self._taken)
        finally:
            self._flusher = None
            for waiting in (*self._taken, *self._queue):
                if not waiting.answer.done():
                    waiting.answer.set_exception(StoreUnavailable("it is not known whether this was stored"))
            self._taken = []
            self._queue.clear()

    def _take(self) -> list[_Waiting]:
        taken: list[_Waiting] = []
        room = DRAFTS_MAX
        while self._queue and (not taken or self._queue[0].drafts <= room):
            waiting = self._queue.popleft()
            if not waiting.answer.cancelled():
                taken.append(waiting)
                room -= waiting.drafts
        return taken

    async def _commit(self, taken: list[_Waiting]) -> None:
        try:
            results = await self._store.append([batch for waiting in taken for batch in waiting.batches])
        except CatalystError as error:
            for waiting in taken:
                if not waiting.answer.done():
                    waiting.answer.set_exception(error.with_traceback(None))
            return
        self.commits += 1
        rest = iter(results)
        for waiting in taken:
            own = [next(rest) for _ in waiting.batches]
            if not waiting.answer.done():
                waiting.answer.set_result(own)
