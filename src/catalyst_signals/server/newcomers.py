"""Keys, webhook secrets and channels that are not known here yet: made on another node a moment ago.

Owns: how often the log is asked for them. Law: nobody is turned away for a key or a channel that was in the log when
they came; and however many strange ones come, one look is under way, and one more waits for those who came after it
began.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Container, Iterable
from contextlib import suppress

from catalyst_signals.auth.api_keys import take_apart
from catalyst_signals.errors import CatalystError
from catalyst_signals.events import Frame
from catalyst_signals.follow import Follower
from catalyst_signals.vital import vital
from catalyst_signals.wire import SYSTEM_CHANNEL

_CHANNEL = b'{"type":"channel.set"'
LOOK_S = 1.0  # Without an answer until then the key is not known, and refused.


class Newcomers:
    """Brings `system` to the store's head when a key comes that is not among `known`, or a channel that is not open."""

    def __init__(self, known: Container[str], is_open: Callable[[str], bool], follower: Follower) -> None:
        self._known = known
        self._is_open = is_open
        self._follower = follower
        self._under_way: asyncio.Task[None] | None = None
        self._next: asyncio.Task[None] | None = None

    async def look_for(self, credential: str) -> None:
        """Afterwards the key is known, if it was in the log when this was called."""
        taken = take_apart(credential)
        if taken is not None and taken[0] not in self._known:
            await self.look()

    async def look_for_channels(self, names: Iterable[str]) -> None:
        """Afterwards these channels are open here, if they were made when this was called."""
        if not all(self._is_open(name) for name in names):
            await self.look()

    async def look(self) -> None:
        """Afterwards everything is known that was in the log when this was called."""
        if self._next is None:
            self._next = vital(self._look(self._under_way))
        await asyncio.shield(self._next)

    def fold(self, frame: Frame) -> None:
        """A channel that was made on another node opens now, not with the next poll: its log is there already."""
        if frame.ws.startswith(_CHANNEL, frame.head_bytes):
            vital(self._open())

    async def _open(self) -> None:
        with suppress(CatalystError):  # The next poll opens it.
            await self._follower.poll()

    async def _look(self, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await asyncio.wait([before])
        self._under_way, self._next = self._next, None
        with suppress(CatalystError, TimeoutError):
            async with asyncio.timeout(LOOK_S):
                await self._follower.caught_up(SYSTEM_CHANNEL)
