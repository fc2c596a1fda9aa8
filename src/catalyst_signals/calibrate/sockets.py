"""WebSockets that cost the reader next to nothing: what comes is counted, not decoded.

Owns: the handshake, masked frames, counting. Knows nothing of what is said, but for the mark that is counted.
Law: who measures may not be the limit: many sockets are read in turns, each with one call.
"""

from __future__ import annotations

import asyncio
import re
import socket
from typing import Self

from catalyst_signals.errors import Unavailable

READ_BYTES = 1 << 18
OPEN_S = 10.0
REFUSED = b'"type":"error"'
_MESSAGE = re.compile(rb'"message":"([^"]*)')
_HELLO = (
    "GET /v1/ws HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nAuthorization: Bearer {key}\r\n\r\n"
)


class Socket:
    """One connection; `seen` is how often `mark` came."""

    def __init__(self, mark: bytes) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._mark, self._rest = mark, b""
        self.seen = 0

    async def open(self, port: int, key: str) -> Self:
        """Connected and upgraded.

        Raises:
            Unavailable: the server refused, or did not answer in time.
        """
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(OPEN_S):
                await loop.sock_connect(self._socket, ("127.0.0.1", port))
                await loop.sock_sendall(self._socket, _HELLO.format(port=port, key=key).encode())
                answer = b""
                while b"\r\n\r\n" not in answer:
                    answer += await self._more()
        except TimeoutError:
            raise Unavailable("the server that is measured does not take connections") from None
        if b" 101 " not in answer.split(b"\r\n", 1)[0]:
            raise Unavailable(f"the server that is measured refused: {answer.decode(errors='replace')[-200:]}")
        return self

    async def say(self, *texts: bytes) -> None:
        """Send them, in as few calls as they need."""
        await asyncio.get_running_loop().sock_sendall(self._socket, b"".join(map(_frame, texts)))

    async def hear(self) -> None:
        """Wait for what comes next, and count."""
        self._count(await self._more())

    def look(self) -> None:
        """Count what is there, if anything is."""
        try:
            self._count(_not_ended(self._socket.recv(READ_BYTES)))
        except BlockingIOError:
            return

    def close(self) -> None:
        """Gone, without a good-bye."""
        self._socket.close()

    async def _more(self) -> bytes:
        return _not_ended(await asyncio.get_running_loop().sock_recv(self._socket, READ_BYTES))

    def _count(self, data: bytes) -> None:
        if REFUSED in data:
            why = _MESSAGE.search(data, data.index(REFUSED))
            said = why[1].decode(errors="replace") if why is not None else "it does not say why"
            raise Unavailable(f"the server that is measured refused: {said}")
        data = self._rest + data
        self.seen += data.count(self._mark)
        self._rest = data[-len(self._mark) + 1 :]  # Shorter than the mark: it is counted once.


def _not_ended(data: bytes) -> bytes:
    if not data:
        raise ConnectionResetError("the server closed a connection")
    return data


def _frame(text: bytes) -> bytes:
    """A text frame with a mask of zeros."""
    size = len(text)
    head = bytes((0x81, 0x80 | size)) if size < 126 else b"\x81\xfe" + size.to_bytes(2, "big")
    return head + bytes(4) + text
