"""A WebSocket client that knows nothing: it sends what a test says and shows what comes. Knows only PROTOCOL names."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as dial

WAIT_S = 15

Message = dict[str, Any]


class Wire:
    """One socket, after its welcome."""

    def __init__(self, socket: ClientConnection, welcome: Message) -> None:
        self.socket = socket
        self.welcome = welcome

    async def send(self, **content: Any) -> None:
        """One message."""
        await self.socket.send(json.dumps(content))

    async def next(self) -> Message:
        """The next message, whatever it is."""
        async with asyncio.timeout(WAIT_S):
            message: Message = json.loads(await self.socket.recv())
            return message

    async def until(self, wanted: Callable[[Message], bool]) -> list[Message]:
        """Every message up to and including the first that is wanted."""
        seen = [await self.next()]
        while not wanted(seen[-1]):
            seen.append(await self.next())
        return seen

    async def subscribe(self, **content: Any) -> Message:
        """Subscribe and answer the `subscribed` (or the error)."""
        await self.send(type="subscribe", ref="s", **content)
        return (await self.until(lambda m: m.get("ref") == "s"))[-1]

    async def events(self, count: int) -> list[Message]:
        """The next `count` events, passing over everything else."""
        found: list[Message] = []
        while len(found) < count:
            message = await self.next()
            if "seq" in message and "data" in message:
                found.append(message)
        return found


@asynccontextmanager
async def wire(url: str, key: str | None) -> AsyncIterator[Wire]:
    """A socket to a server; without a key it has not said who it is."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    async with dial(url.replace("http", "ws", 1) + "/v1/ws", additional_headers=headers, proxy=None) as socket:
        yield Wire(socket, json.loads(await socket.recv()))
