"""Heartbeats that go on by themselves: the server tells everybody when they stop.

Owns: a task for each promise. Knows nothing of streams. Law: three beats come in the time that was promised, so one
that is lost is no silence; what is refused for good ends, and is logged.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final

import msgspec

from catalyst_signals.client import rest
from catalyst_signals.client.link import Address
from catalyst_signals.errors import CatalystError

log = logging.getLogger("catalyst.client")

IN_A_PERIOD: Final = 3


class Beats:
    """The promises of one client."""

    def __init__(self, address: Address, timeout_s: float) -> None:
        self._address = address
        self._timeout_s = timeout_s
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def promise(self, channel: str, every_s: float | None) -> None:
        """Be heard there so often from now on; None ends it.

        Raises:
            CatalystError: the server's refusal; it goes on as it was.
        """
        await self._say(channel, every_s, self._timeout_s)
        self._stop(channel)
        if every_s is not None:
            self._tasks[channel] = asyncio.get_running_loop().create_task(self._go_on(channel, every_s))

    async def _go_on(self, channel: str, every_s: float) -> None:
        pause_s = every_s / IN_A_PERIOD
        while True:
            await asyncio.sleep(pause_s)
            try:
                await self._say(channel, every_s, max(1.0, pause_s))
            except CatalystError as error:
                if not error.retry:
                    log.error("a heartbeat is refused and ends", extra={"channel": channel, "reason": str(error)})
                    return

    async def _say(self, channel: str, every_s: float | None, timeout_s: float) -> dict[str, Any]:
        body = msgspec.json.encode({"every_s": every_s})
        path = ["channels", channel, "heartbeat"]
        return await rest.ask(self._address, "PUT", path, body, timeout_s=timeout_s)

    def _stop(self, channel: str) -> None:
        task = self._tasks.pop(channel, None)
        if task is not None:
            task.cancel()

    async def close(self) -> None:
        """Nobody is heard from here on; what was promised still stands, so the server will say so."""
        tasks = list(self._tasks.values())
        for channel in list(self._tasks):
            self._stop(channel)
        await asyncio.gather(*tasks, return_exceptions=True)
