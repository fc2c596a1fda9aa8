"""The client without `await`, for scripts and notebooks.

    with connect("http://127.0.0.1:8000", "cat_...") as catalyst:
        for signal in catalyst.signals("confidence >= 0.7"):
            print(signal.symbol, signal.action)

Owns: a thread with an event loop, in which the one client runs; so it works beside a running loop too (Jupyter).
Knows nothing of protocols: every method is the client's of the same name, waited for.
Law: who gives up waiting (a timeout, Ctrl-C) loses nothing: the next call gets what came meanwhile.

Callbacks are called in that thread and must not wait for the client.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, wait
from contextlib import suppress
from functools import wraps
from threading import Thread, current_thread
from types import TracebackType
from typing import Any, Concatenate, Final, Generic, ParamSpec, Self, TypeVar

from catalyst_signals.client import Catalyst
from catalyst_signals.client.line import Stats
from catalyst_signals.client.shown import FilterLike
from catalyst_signals.client.stream import Stream
from catalyst_signals.events import Position

P = ParamSpec("P")
T = TypeVar("T")

CLOSE_S: Final = 10.0  # For all good-byes together; each connection has a second for its own.


class Loop:
    """An event loop in a thread of its own, for as long as somebody needs it."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, name="catalyst", daemon=True)
        self._thread.start()

    def begin(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """It runs over there.

        Raises:
            RuntimeError: over there is here (a callback), or it is closed.
        """
        here, closed = current_thread() is self._thread, self._loop.is_closed()
        if here or closed:
            work.close()
            raise RuntimeError("the client is closed" if closed else "a callback cannot wait for the client itself")
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def wait(self, work: Coroutine[Any, Any, T], timeout_s: float | None = None) -> T:
        """What it returned or raised. Who stops waiting (Ctrl-C) takes it back."""
        future = self.begin(work)
        try:
            return future.result(timeout_s)
        except BaseException:
            future.cancel()
            raise

    def close(self) -> None:
        """End what still runs, and the thread."""
        try:
            with suppress(TimeoutError):
                self.wait(_end_all(), CLOSE_S)
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()


async def _end_all() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    await asyncio.get_running_loop().shutdown_default_executor()


class BlockingStream(Generic[T]):
    """A `Stream` as a plain iterator, for one thread."""

    def __init__(self, loop: Loop, stream: Stream[T]) -> None:
        self._loop = loop
        self._stream = stream
        self._coming: Future[T | None] | None = None  # Asked for, and not handed out.

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        return self.next()

    def next(self, timeout_s: float | None = None) -> T:
        """The next item.

        Raises:
            TimeoutError: none in `timeout_s`; nothing is lost, ask again.
            StopIteration: there will be none.
        """
        if self._coming is None:
            self._coming = self._loop.begin(self._take())
        wait([self._coming], timeout_s)
        if not self._coming.done():
            raise TimeoutError(f"nothing came in {timeout_s:g} s")
        coming, self._coming = self._coming, None
        item = coming.result()
        if item is None:
            raise StopIteration
        return item

    async def _take(self) -> T | None:
        try:
            return await anext(self._stream)
        except StopAsyncIteration:
            return None

    def __enter__(self) -> Self:
        self._loop.wait(self._stream.__aenter__())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the stream; its `position` stays readable."""
        self._loop.wait(self._stream.aclose())

    def change(self, filter: FilterLike) -> None:
        """As `Stream.change`."""
        self._loop.wait(self._stream.change(filter))

    @property
    def filter(self) -> FilterLike:
        """As `Stream.filter`."""
        return self._stream.filter

    @property
    def held(self) -> dict[str, int]:
        """As `Stream.held`."""
        return dict(self._stream.held)

    @property
    def position(self) -> Position | None:
        """As `Stream.position`."""
        return self._stream.position


def _waited(
    method: Callable[Concatenate[Catalyst, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[Blocking, P], T]:
    @wraps(method)
    def face(self: Blocking, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self.loop.wait(method(self.catalyst, *args, **kwargs))

    return face


def _iterated(
    method: Callable[Concatenate[Catalyst, P], Stream[T]],
) -> Callable[Concatenate[Blocking, P], BlockingStream[T]]:
    @wraps(method)
    def face(self: Blocking, /, *args: P.args, **kwargs: P.kwargs) -> BlockingStream[T]:
        async def make() -> Stream[T]:
            return method(self.catalyst, *args, **kwargs)

        return BlockingStream(self.loop, self.loop.wait(make()))

    return face


class Blocking:
    """What `with connect(...)` gives: the client's methods, waited for. For any number of threads."""

    def __init__(self, catalyst: Catalyst) -> None:
        self.catalyst = catalyst
        self.loop = Loop()
        try:
            self.loop.wait(catalyst.__aenter__())
        except BaseException:
            self.loop.close()
            raise

    signals = _iterated(Catalyst.signals)
    events = _iterated(Catalyst.events)
    history = _iterated(Catalyst.history)
    publish = _waited(Catalyst.publish)
    publish_many = _waited(Catalyst.publish_many)
    update = _waited(Catalyst.update)
    cancel = _waited(Catalyst.cancel)
    versions = _waited(Catalyst.versions)
    did = _waited(Catalyst.did)
    deliveries = _waited(Catalyst.deliveries)
    heartbeat = _waited(Catalyst.heartbeat)
    halts = _waited(Catalyst.halts)
    latest = _waited(Catalyst.latest)

    @property
    def stats(self) -> Stats:
        """As `Catalyst.stats`."""
        return self.catalyst.stats

    def position(self, channel: str | None = None) -> Position | None:
        """As `Catalyst.position`."""
        return self.catalyst.position(channel)

    def close(self) -> None:
        """End everything."""
        try:
            with suppress(TimeoutError):  # Whoever does not answer is left without a good-bye.
                self.loop.wait(self.catalyst.__aexit__(None, None, None), CLOSE_S)
        finally:
            self.loop.close()
