"""A server that does what a test tells it, one connection at a time.

It speaks our protocol and keeps no log: a test reads what the client says, and says itself what is sent, when the
connection drops and what is counted. So every lie and every loss can be told.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Self

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.http11 import Request, Response

KEY = "cat_test_abc_secretsecret"
PATIENCE_S = 5.0
TS = "2026-11-26T09:30:00.000123Z"


async def until(condition: Callable[[], object]) -> None:
    """Come back when `condition` holds; a test that waits longer than PATIENCE_S has failed."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.002)


def hash_at(seq: int) -> str:
    """The hash8 of the event at `seq` in the scripted log."""
    return f"{seq:08x}"


class Visit:
    """One connection of the client, from the server's side."""

    def __init__(self, socket: ServerConnection) -> None:
        self._socket = socket
        self.authorization = socket.request.headers["Authorization"] if socket.request else ""
        self.sent = 0

    async def say(self, **message: Any) -> None:
        await self._socket.send(json.dumps(message))

    async def hear(self, kind: str) -> dict[str, Any]:
        """The client's next message, which is of that kind."""
        async with asyncio.timeout(PATIENCE_S):
            message: dict[str, Any] = json.loads(await self._socket.recv())
        assert message["type"] == kind, message
        return message

    async def subscribed(self, after: int = 0, epoch: str = "e1", **more: Any) -> dict[str, Any]:
        """Answer the client's `subscribe`: where it asked for, or at `after` if it asked for now. What it had asked."""
        asked = await self.hear("subscribe")
        self.sent = 0
        place = {"after": asked.get("after", after), "epoch": epoch, "head": 0, "filter": asked.get("filter")}
        await self.say(type="subscribed", ref=asked["ref"], channel=asked["channel"], **(place | more))
        return asked

    async def refuse_place(self, error: str, **more: Any) -> dict[str, Any]:
        asked = await self.hear("subscribe")
        await self.refuse(asked, error, **more)
        return asked

    async def refuse(self, asked: dict[str, Any], error: str, *, retry: bool = False, **more: Any) -> None:
        refusal = {"error": error, "message": f"no: {error}", "retry": retry}
        await self.say(type="error", ref=asked["ref"], **(refusal | more))

    async def event(
        self, *seqs: int, kind: str = "published", channel: str = "main", hashes: Callable[[int], str] | None = hash_at,
        id: str = "s{seq}", version: int = 1, **data: Any,
    ) -> None:  # fmt: skip
        """`hashes=None`: as a server sent it that did not name hashes yet."""
        for seq in seqs:
            self.sent += 1
            hash8 = {} if hashes is None else {"hash": hashes(seq)}
            body = {"instrument": {"symbol": "ACME"}, "action": "open", "direction": "long", "confidence": 0.8}
            await self.say(
                type=f"signal.{kind}", channel=channel, seq=seq, id=id.format(seq=seq), version=version, ts=TS, **hash8,
                data=body | data,
            )  # fmt: skip

    async def position(
        self, through: int, *, sent: int | None = None, hash: str = "", epoch: str = "e1", **held: int
    ) -> None:
        """Say what is complete; `sent` is the truth unless a test says otherwise."""
        count = self.sent if sent is None else sent
        place = {"channel": "main", "epoch": epoch, "complete_through": through, "hash": hash}
        await self.say(type="position", **place, sent=count, held=held)

    async def live(self, at: int = 0) -> None:
        await self.say(type="live", channel="main", at=at)

    async def accept(self, asked: dict[str, Any], seq: int, *, duplicate: bool = False) -> None:
        await self.say(
            type="accepted", ref=asked["ref"], channel=asked["channel"], epoch="e1", seq=seq, id=asked["signal"]["id"],
            version=1, ts=TS, duplicate=duplicate, durability="disk",
        )  # fmt: skip

    async def flush(self) -> None:
        """The client's side of the socket has everything that was sent: a pong came back."""
        async with asyncio.timeout(PATIENCE_S):
            await (await self._socket.ping())

    @property
    def waiting(self) -> int:
        """How many messages of the client were not heard yet."""
        return len(self._socket.recv_messages.frames)

    async def drop(self) -> None:
        """Break the connection after what was sent has arrived."""
        await self.flush()
        self._socket.transport.abort()

    async def close(self, code: int, reason: str = "") -> None:
        await self._socket.close(code, reason)

    async def gone(self) -> None:
        """The client left."""
        async with asyncio.timeout(PATIENCE_S):
            await self._socket.wait_closed()


class Peer:
    """The listening side. Tests change `welcome` and `refusal` before a connection comes."""

    def __init__(self) -> None:
        self.welcome: dict[str, Any] = {
            "type": "welcome", "protocol": 1, "node": "n1", "now": "2026-11-26T09:30:00Z", "position_s": 10,
            "message_bytes": 65536, "publishes_in_flight": 64, "expires_at": None,
        }  # fmt: skip
        self.refusal: tuple[int, str] | None = None
        self.refused = 0
        self._visits: asyncio.Queue[Visit] = asyncio.Queue()
        self._server: Server | None = None

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aenter__(self) -> Self:
        self._server = await serve(
            self._handle, "127.0.0.1", 0, compression=None, ping_interval=None, close_timeout=1,
            process_request=self._judge,
        )  # fmt: skip
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    def refuse(self, status: int, **body: Any) -> None:
        """From now on, answer handshakes with this."""
        self.refusal = (status, json.dumps(body))

    def _judge(self, socket: ServerConnection, request: Request) -> Response | None:
        if self.refusal is None and request.path == "/v1/ws":
            return None
        self.refused += 1
        status, text = self.refusal or (404, "<html>")
        return socket.respond(HTTPStatus(status), text)

    async def _handle(self, socket: ServerConnection) -> None:
        await socket.send(json.dumps(self.welcome))
        self._visits.put_nowait(Visit(socket))
        await socket.wait_closed()

    async def visit(self) -> Visit:
        """The next connection that was not looked at yet."""
        async with asyncio.timeout(PATIENCE_S):
            return await self._visits.get()

    @property
    def unseen(self) -> int:
        return self._visits.qsize()


class Taken:
    """What comes out of an async iterator, collected by a task that ends with the `async with`."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self.items: list[Any] = []

    @property
    def seqs(self) -> list[int]:
        return [item.seq for item in self.items]

    async def __aenter__(self) -> Self:
        self.task = asyncio.create_task(self._take())
        return self

    async def __aexit__(self, *_: object) -> None:
        self.task.cancel()
        await asyncio.wait([self.task])
        assert self.task.cancelled() or self.task.exception() is None

    async def _take(self) -> None:
        async for item in self.stream:
            self.items.append(item)

    async def at(self, seq: int) -> None:
        """Wait until the event of that seq came out; what the iterator raises is raised here."""
        await until(lambda: seq in self.seqs or self.task.done())
        if seq not in self.seqs:
            self.task.result()
            raise AssertionError(f"the iterator ended after {self.seqs}")

    async def fails(self) -> BaseException:
        """Wait until the iterator raised; what it was."""
        await until(self.task.done)
        fault = self.task.exception()
        assert fault is not None, "it ended without raising"
        self.task = asyncio.create_task(asyncio.sleep(0))
        return fault
