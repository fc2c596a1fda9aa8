"""The broker of several machines: hints go over one channel of a Redis, which keeps nothing.

    redis+pubsub://host/0?prefix=catalyst         redis+pubsub+sentinel://host,host/name

Owns: what was offered and not yet sent, and who hears what. Knows nothing of why Redis is away.
Laws: nobody who publishes waits for Redis: one task sends, and all that came meanwhile goes in the next message. What
does not fit is not told. Redis being away is logged once, and once that it is back. Our own hints come back to us and
are known by their first bytes, before anything of them is read. Whoever may write to this Redis is trusted.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, aclosing
from typing import Any, Self

from catalyst_signals.backoff import Backoff
from catalyst_signals.brokers.hints import encode, heard, told
from catalyst_signals.errors import Unavailable
from catalyst_signals.events import Frame
from catalyst_signals.redis_urls import FAILURES, Client, Place, connected, place_of
from catalyst_signals.vital import vital

log = logging.getLogger("catalyst.brokers")

VERSION = 1  # Of the form of a hint; processes that do not understand each other meet on different channels.
BEHIND_BYTES_MAX = 4 << 20  # Offered and not yet sent.
SILENT_S = 1.0  # Then Redis is asked whether it is still there; after another it is not.
AGAIN_S = (0.05, 1.0)
US_BYTES = 8


class _Reach:
    """Whether Redis is reached, for sending or for hearing; says so when it changes, and how long to stay away."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._again = Backoff(*AGAIN_S)
        self.lost = False

    def broke(self, error: BaseException) -> float:
        """It is not; look again after so many seconds."""
        if not self.lost:
            log.warning(f"{self._what}; what is new is found by polling meanwhile", extra={"reason": repr(error)})
        self.lost = True
        return self._again.next_s()

    def works(self) -> None:
        """It is."""
        if self.lost:
            log.warning("hints go over Redis again", extra={"before": self._what})
        self.lost, self._again.tries = False, 0


class RedisPubSubBroker:
    """Hints to everybody who names the same Redis and `prefix`."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._channel = f"{place.prefix}:hints:{VERSION}"
        self._us = os.urandom(US_BYTES)
        self._stack = AsyncExitStack()
        self._client: Client = None
        self._waiting: list[Frame] = []
        self._bytes = 0
        self._offered = asyncio.Event()
        self._sending = _Reach("Redis does not take hints")

    @classmethod
    def from_url(cls, url: str) -> Self:
        """`redis+pubsub://host/0?prefix=catalyst`, `redis+pubsub+sentinel://host,host/name`; see redis_urls.py"""
        return cls(place_of(url, setting="broker_url"))

    async def __aenter__(self) -> Self:
        self._client = await self._stack.enter_async_context(connected(self._place))
        sender = vital(self._send_for_ever())
        self._stack.push_async_callback(_end, sender)
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._stack.aclose()

    async def publish(self, frames: Sequence[Frame]) -> None:
        """Broker.publish; without any wait. What Redis did not take is lost silently but for the log."""
        if self._sending.lost:
            raise Unavailable("Redis does not take hints")
        for frame in frames:
            if self._bytes > BEHIND_BYTES_MAX:
                raise Unavailable("Redis does not take hints as fast as they come")
            self._waiting.append(frame)
            self._bytes += len(frame.ws)
            self._offered.set()

    async def _send_for_ever(self) -> None:
        while True:
            await self._offered.wait()
            self._offered.clear()
            frames, self._waiting, self._bytes = self._waiting, [], 0
            try:
                for hints in told(frames):
                    await self._say(hints)
            except FAILURES as error:
                await self._come_back(error)

    async def _say(self, hints: Any) -> None:
        async with asyncio.timeout(self._place.call_s):
            await self._client.publish(self._channel, self._us + encode(hints))

    async def _come_back(self, error: BaseException) -> None:
        """Tell nothing until Redis answers; what was to be told is old by then."""
        while True:
            await asyncio.sleep(self._sending.broke(error))
            self._waiting, self._bytes = [], 0
            try:
                async with asyncio.timeout(self._place.call_s):
                    await self._client.ping()
            except FAILURES as again:
                error = again
            else:
                return self._sending.works()

    async def listen(self) -> AsyncGenerator[Frame]:
        """Broker.listen; our own do not come back. Goes on by itself when Redis was away, from then on."""
        hearing = _Reach("Redis says no hints")
        while True:
            try:
                async with aclosing(self._messages(hearing)) as messages:
                    async for message in messages:
                        for frame in self._frames(message):
                            yield frame
            except FAILURES as error:
                await asyncio.sleep(hearing.broke(error))

    async def _messages(self, hearing: _Reach) -> AsyncGenerator[bytes]:
        """What is said on our channel, as long as the connection holds."""
        async with self._client.pubsub() as ear:
            async with asyncio.timeout(self._place.call_s):
                await ear.subscribe(self._channel)
            asked = True
            while True:
                message = await ear.get_message(timeout=SILENT_S)
                if message is not None:
                    hearing.works()
                    asked = False
                    if message["type"] == "message":
                        yield message["data"]
                elif asked:
                    raise TimeoutError(f"nothing was heard of {self._place.shown}")
                else:
                    await ear.ping()
                    asked = True

    def _frames(self, message: bytes) -> Sequence[Frame]:
        if message.startswith(self._us):
            return ()
        try:
            return list(heard(memoryview(message)[US_BYTES:]))
        except ValueError as wrong:  # Not ours; the poll finds what it may have been.
            log.warning("a hint cannot be read", extra={"channel": self._channel, "reason": str(wrong)})
            return ()


async def _end(task: asyncio.Task[None]) -> None:
    while not task.done():  # A cancellation can be lost in asyncio.wait_for before Python 3.12.
        task.cancel()
        await asyncio.wait([task], timeout=0.1)
