"""What a stream acknowledges: how far its consumer is done, at most as often as the server asks.

Owns: what was acknowledged and the timer of the next. Knows nothing of events. Laws: only what was handled is
acknowledged; a consumer never waits for it, and a connection that breaks meanwhile is somebody else's to notice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from catalyst_signals.client.link import Dropped, Link, encode
from catalyst_signals.errors import CatalystError

LAST_S: Final = 1.0  # For the last one, when the stream is closed.


class Acks:
    """The acknowledgements of one stream; `link` is its present connection, `done` the seq up to which it is done."""

    __slots__ = ("_channel", "_done", "_first", "_last", "_last_s", "_link", "_sending", "_timer")

    def __init__(self, channel: str, link: Callable[[], Link | None], done: Callable[[], int]) -> None:
        self._channel = channel
        self._link = link
        self._done = done
        self._first = 0  # The first that was handed out and is not acknowledged yet; 0: there is none.
        self._last = 0
        self._last_s = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._sending: asyncio.Task[None] | None = None

    def handed(self, seq: int) -> None:
        """An event was handed out: there will be something to acknowledge."""
        self._last = seq
        self._first = min(self._first or seq, seq)

    def settled(self) -> None:
        """The consumer may be done with it. Of what follows within the server's second one is sent."""
        if self._timer is None and self._is_due():
            link, loop = self._link(), asyncio.get_running_loop()
            if link is not None and link.ack_s is not None:
                wait_s = max(0.0, self._last_s + link.ack_s - loop.time())
                self._timer = loop.call_later(wait_s, self._send_soon)

    def _is_due(self) -> bool:
        return 0 < self._first <= self._done()

    def at_once(self) -> None:
        """The server asks us to leave: what is handled by now is said before."""
        if self._timer is not None:
            self._timer.cancel()
            self._send_soon()

    def _send_soon(self) -> None:
        self._timer = None
        self._sending = asyncio.get_running_loop().create_task(self._send())

    async def _send(self) -> None:
        link, through = self._link(), self._done()
        if link is None or link.ack_s is None or not self._is_due():
            return
        self._last_s = asyncio.get_running_loop().time()
        with suppress(Dropped, CatalystError):  # Whoever reads next is told.
            await link.send(encode({"type": "ack", "channel": self._channel, "through": through}))
            self._first = self._last if self._last > through else 0

    async def last(self) -> None:
        """The stream ends: what is handled and not yet acknowledged is, if the connection takes it."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_S):
                if self._sending is not None:
                    await asyncio.wait((self._sending,))
                await self._send()
