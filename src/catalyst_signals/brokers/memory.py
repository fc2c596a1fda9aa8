"""The broker of a single process: there is nobody else to tell. `catalyst serve` with one process needs no more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Self

from catalyst_signals.events import Frame
from catalyst_signals.urls import split


class MemoryBroker:
    """Hands frames to listeners of this process; without listeners a publish costs nothing."""

    def __init__(self) -> None:
        self._listeners: set[asyncio.Queue[Frame]] = set()

    @classmethod
    def from_url(cls, url: str) -> Self:
        """`memory:`"""
        split(url)
        return cls()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._listeners.clear()

    async def publish(self, frames: Sequence[Frame]) -> None:
        """Offer frames to every listener; one that is too far behind loses some, as with every broker."""
        for queue in self._listeners:
            for frame in frames[: queue.maxsize - queue.qsize()]:
                queue.put_nowait(frame)

    async def listen(self) -> AsyncGenerator[Frame]:
        """Frames published from now on."""
        queue: asyncio.Queue[Frame] = asyncio.Queue(10_000)
        self._listeners.add(queue)
        try:
            while True:
                yield await queue.get()
        finally:
            self._listeners.discard(queue)
