"""Virtual time: an event loop without I/O, whose clock jumps to the next timer when nothing is ready.

Owns: the clock, the order of callbacks, and whose callbacks still run: those of a dead process never do, those of a
frozen one wait. Knows nothing of signals. Law: the same callbacks in the same order for the same seed.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from typing import Any

TURN_S = 20e-6  # What one round of the loop costs, so that a loop that is busy for ever still meets its timers.
_OWNER: ContextVar[Process | None] = ContextVar("owner", default=None)


class StandsStill(Exception):
    """Nothing is ready and no timer is set, or the same moment goes on for ever: somebody waits for nothing."""


class Process:
    """Whatever runs in its context can be killed or frozen as one, the way an operating system does it."""

    def __init__(self) -> None:
        self.context = copy_context()
        self.context.run(_OWNER.set, self)
        self.dead = False
        self.frozen = False
        self.froze_s = self.thawed_s = 0.0
        self.held: deque[asyncio.Handle] = deque()


class InOrder(dict[Any, None]):
    """A set that is walked in the order in which things came, and so the same way in every run."""

    def add(self, thing: Any) -> None:
        """As a set's."""
        self[thing] = None

    def discard(self, thing: Any) -> None:
        """As a set's."""
        self.pop(thing, None)


class VirtualLoop(asyncio.BaseEventLoop):
    """Runs callbacks in order, timers by their time; `time()` is virtual."""

    def __init__(self, rounds_max: int = 400_000) -> None:
        super().__init__()
        self._now = 1000.0  # A machine's monotonic clock does not begin at 0 either.
        self._rounds_left = rounds_max
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []  # By time, then in the order they were set.
        self._set = 0
        self.tasks: list[asyncio.Task[Any]] = []

    def time(self) -> float:
        """Virtual seconds."""
        return self._now

    def call_soon(self, callback: Callable[..., Any], *args: Any, context: Context | None = None) -> asyncio.Handle:
        """As ever, without looking for mistakes."""
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)  # type: ignore[attr-defined]
        return handle

    def call_later(
        self, delay: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """As ever, without looking for mistakes."""
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """As ever; of two timers for the same moment the one that was set first is first."""
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        self._set += 1
        heapq.heappush(self._timers, (when, self._set, timer))
        return timer

    def create_task(self, coro: Coroutine[Any, Any, Any], **kwargs: Any) -> asyncio.Task[Any]:  # type: ignore[override]
        """A task that is remembered, so that none fails unseen."""
        task = super().create_task(coro, **kwargs)
        self.tasks.append(task)
        return task

    def spawn(self, process: Process, work: Callable[[], Coroutine[Any, Any, Any]]) -> asyncio.Task[Any]:
        """A task that belongs to a process, as do the tasks it makes."""
        return self.create_task(work(), context=process.context)

    def freeze(self, process: Process) -> None:
        """A process stands still."""
        process.frozen = True
        process.froze_s = self._now

    def thaw(self, process: Process) -> None:
        """A frozen process goes on with what came meanwhile."""
        process.frozen = False
        process.thawed_s = self._now
        self._ready.extend(process.held)  # type: ignore[attr-defined]
        process.held.clear()

    def end(self, processes: list[Process]) -> None:
        """Let every task that still runs come to its `finally`, of dead processes too, and close."""
        for rounds in range(12):
            for process in processes:
                process.dead = False  # In each round: a drain that goes on kills its process at its end.
                self.thaw(process)
            running = [task for task in self.tasks if not task.done()]
            if not running:
                break
            for task in running if rounds else ():  # A task that never began would say that it was never awaited.
                task.cancel()
            self.run_until_complete(_rounds(5))
        self.run_until_complete(self.shutdown_asyncgens())
        self.close()

    def _run_once(self) -> None:
        ready: deque[asyncio.Handle] = self._ready  # type: ignore[attr-defined]
        timers = self._timers
        self._now += TURN_S
        if not ready:
            self._jump()
        while timers and timers[0][0] <= self._now:
            ready.append(heapq.heappop(timers)[2])
        self._rounds_left -= 1
        if self._rounds_left < 0:
            raise StandsStill("too many rounds of the loop: something is busy for ever")
        for _ in range(len(ready)):
            handle = ready.popleft()
            if handle._cancelled:  # type: ignore[attr-defined]
                continue
            owner = handle._context.get(_OWNER)  # type: ignore[attr-defined]
            if owner is None or not (owner.dead or owner.frozen):
                self._do(handle)
            else:
                owner.held.append(handle)

    def _do(self, handle: Any) -> None:
        try:
            handle._context.run(handle._callback, *handle._args)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as fault:
            self.call_exception_handler({"message": repr(handle), "exception": fault, "handle": handle})

    def _jump(self) -> None:
        timers = self._timers
        while timers and timers[0][2].cancelled():
            heapq.heappop(timers)
        if timers:
            self._now = max(self._now, timers[0][0])
        elif not self._stopping:  # type: ignore[attr-defined]
            raise StandsStill("nothing is ready and no timer is set")

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Cancelled timers are few and are thrown away when their time comes."""

    def _write_to_self(self) -> None:
        """There is no selector to wake."""


async def _rounds(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)
