"""The broker of several processes of one machine: hints go over a Unix socket that one of them has open (peers.py).

Owns: what was heard and not yet taken. Law: a hint is passed on as the bytes it came in, one write
a peer and batch; who is behind loses some, and nobody waits for it. Our own hints do not come back.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Self

from catalyst_signals.brokers.hints import heard, told
from catalyst_signals.errors import Unavailable
from catalyst_signals.events import Frame
from catalyst_signals.peers import BEHIND_BYTES_MAX, Link, Relay, pack, path_of, reachable

BATCHES_MAX = 1000  # Heard and not yet taken by a listener.


class _Ears:
    """What was heard, for every listener."""

    def __init__(self) -> None:
        self._queues: set[asyncio.Queue[bytes | None]] = set()

    def heard(self, message: bytes) -> None:
        for queue in self._queues:
            if queue.qsize() < BATCHES_MAX:
                queue.put_nowait(message)

    def broke(self) -> None:
        for queue in self._queues:
            queue.put_nowait(None)

    async def listen(self) -> AsyncGenerator[Frame]:
        """Frames heard from now on.

        Raises:
            Unavailable: the connection broke.
        """
        queue: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._queues.add(queue)
        try:
            while (message := await queue.get()) is not None:
                for frame in heard(message):
                    yield frame
            raise Unavailable("the process that passes on the hints went away")
        finally:
            self._queues.discard(queue)


class UnixBroker:
    """The hints of a process that connects to the one that has the socket."""

    def __init__(self, path: str) -> None:
        self._ears = _Ears()
        self._link = Link(reachable(path), "hints", self._ears.heard, self._ears.broke)

    @classmethod
    def from_url(cls, url: str) -> Self:
        """`unix:///relative.sock`, `unix:////absolute.sock`"""
        return cls(path_of(url, setting="broker_url"))

    async def __aenter__(self) -> Self:
        await self._link.__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._link.__aexit__(*exc)

    async def publish(self, frames: Sequence[Frame]) -> None:
        """Broker.publish"""
        for hints in told(frames):
            if self._link.behind_bytes > BEHIND_BYTES_MAX:
                raise Unavailable("the process that passes on the hints does not take them")
            self._link.say(pack(hints))

    async def listen(self) -> AsyncGenerator[Frame]:
        """Broker.listen

        Raises:
            Unavailable: there is no connection, or it broke; it comes back by itself, then listen again.
        """
        if not self._link.connected:
            await self._link.up(within_s=1)
        async with aclosing(self._ears.listen()) as frames:
            async for frame in frames:
                yield frame


class UnixExchange:
    """The hints of the process that has the socket: the service `hints` of its listener, and its own broker."""

    def __init__(self) -> None:
        self._ears = _Ears()
        self.relay = Relay(self._ears.heard)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        return None

    async def publish(self, frames: Sequence[Frame]) -> None:
        """Broker.publish"""
        for hints in told(frames):
            self.relay.say(pack(hints))

    def listen(self) -> AsyncGenerator[Frame]:
        """Broker.listen"""
        return self._ears.listen()
