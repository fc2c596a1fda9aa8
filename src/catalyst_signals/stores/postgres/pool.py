"""A few connections to one server, each used by one thread, with whoever waits for them in the event loop.

Owns: the threads and the clock that cuts what takes too long. Knows nothing of what is asked.
Law: who asks is answered in bounded time, whatever the server does.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any, TypeVar

from catalyst_signals.errors import StoreUnavailable
from catalyst_signals.stores.postgres.line import Line

T = TypeVar("T")

WAIT_S = 12.0  # For a server that hangs: a lock and a commit may each take their time.
CLOSE_S = 1.0  # For what is under way at the end: nobody waits for it any more.
LOOK_S = 0.25  # How exactly time-outs are kept.


class Pool:
    """`run` asks the connection that is free first."""

    def __init__(self, conninfo: str, size: int, name: str) -> None:
        self._lines = [Line(conninfo) for _ in range(size)]
        self._free: SimpleQueue[Line] = SimpleQueue()
        for line in self._lines:
            self._free.put(line)
        self._threads = ThreadPoolExecutor(size, name)
        self._under_way = 0
        self._clock: asyncio.TimerHandle | None = None

    async def run(self, work: Callable[..., T], *args: Any, wait_s: float | None = None) -> T:
        """`work(line, *args)` in a thread.

        Raises:
            StoreUnavailable: no connection was free, or no answer came in time; of a change the outcome is unknown.
            CatalystError: as `work` does.
        """
        wait_s = wait_s or WAIT_S
        outcome = asyncio.wrap_future(self._started(self._threads.submit(self._work, work, args, wait_s)))
        outcome.add_done_callback(lambda done: done.cancelled() or done.exception())  # Seen, also if nobody waits.
        try:
            async with asyncio.timeout(2 * wait_s):
                return await asyncio.shield(outcome)
        except TimeoutError:
            outcome.cancel()
            raise StoreUnavailable("PostgreSQL does not answer; everybody waits for it") from None

    def _work(self, work: Callable[..., T], args: tuple[Any, ...], wait_s: float) -> T:
        line = self._free.get()
        try:
            return line.run(lambda line: work(line, *args), wait_s)
        finally:
            self._free.put(line)

    def _started(self, work: Future[T]) -> Future[T]:
        """The clock runs as long as something is under way, whether or not anybody still waits for it."""
        loop = asyncio.get_running_loop()
        self._under_way += 1
        work.add_done_callback(lambda _: loop.call_soon_threadsafe(self._ended))
        if self._clock is None:
            self._look()
        return work

    def _ended(self) -> None:
        self._under_way -= 1

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        for line in self._lines:
            line.cut_if_late()
            if line.waits_too_long:  # A thread that keeps nobody from stopping: it may wait for as long as a hang.
                threading.Thread(target=line.cancel, name="postgres-cancel", daemon=True).start()
        self._clock = loop.call_later(LOOK_S, self._look) if self._under_way else None

    async def close(self) -> None:
        """What is under way is finished, in bounded time; then nothing is connected any more."""
        for line in self._lines:
            line.hurry(CLOSE_S)
        await asyncio.to_thread(self._threads.shutdown, cancel_futures=True)
        if self._clock is not None:
            self._clock.cancel()
        for line in self._lines:
            line.close()
