"""A bot that Catalyst follows over its own WebSocket, as freqtrade's consumers do.

Owns: that connection. What a message means is its adapter's, who stores it the server's.
Laws: the address that was checked is the one that is connected to; a message in hand is stored before the next one is
taken, however long our store is away; the token goes into the handshake and nowhere else.

What a bot says while nobody is connected is gone: it keeps nothing for those who come back.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from urllib.parse import SplitResult, urlencode, urlsplit

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from catalyst_signals.backoff import Backoff
from catalyst_signals.errors import CatalystError, InvalidRequest
from catalyst_signals.projections import Source
from catalyst_signals.workers import Lease
from catalyst_signals.workers.outside import Network, NotReached, ascii_name, checked, tls_context

OPEN_S, PING_S = 10.0, 20.0
MESSAGE_BYTES_MAX = 4 << 20
TYPES = ("entry", "entry_fill", "entry_cancel", "exit", "exit_fill", "exit_cancel")
_QUIET = logging.getLogger("catalyst.feeds.socket")  # websockets' own words hold the token.
_QUIET.disabled = True


class Bot:
    """One bot, connected for as long as it is there."""

    def __init__(
        self, source: Source, state: Any, lease: Lease, take: Callable[[Source, bytes, str, set[str]], Awaitable[int]],
        networks: Sequence[Network],
    ) -> None:  # fmt: skip
        assert source.pull is not None
        self.state = state
        self._source = source
        self._pull = source.pull
        self._lease = lease
        self._take = take
        self._networks = networks
        self._again = Backoff(2.0, 60.0)

    async def run(self) -> None:
        """Stay connected, for ever."""
        while True:
            if self._lease.held:
                self.state.failed(await self._followed())
            await asyncio.sleep(0.5 + self._again.next_s())

    async def _followed(self) -> str:
        """Follow it until it ends, and why it did."""
        self.state.requests += 1
        try:
            async with asyncio.timeout(OPEN_S):
                link = await self._connect()
        except TimeoutError:
            return f"it did not answer within {OPEN_S:g} s"
        except InvalidStatus as error:
            status = error.response.status_code
            return f"it answered {status}" + (": is the token right?" if status in (401, 403) else "")
        except NotReached as error:
            return str(error)
        except (OSError, WebSocketException, ValueError) as error:
            return getattr(error, "strerror", None) or "it speaks no WebSocket"
        try:
            return await self._listen(link)
        finally:
            await link.close()

    async def _connect(self) -> ClientConnection:
        parts = urlsplit(self._pull.url)
        token = urlencode({"token": self._pull.token}) if self._pull.token else ""
        url = parts._replace(query="&".join(each for each in (parts.query, token) if each)).geturl()
        sock = await _socket(parts, self._networks)
        secure: dict[str, Any] = {}
        if parts.scheme == "wss":
            secure = {"ssl": tls_context(), "server_hostname": ascii_name(parts.hostname or "")}
        try:
            return await connect(
                url, sock=sock, max_size=MESSAGE_BYTES_MAX, ping_interval=PING_S, ping_timeout=PING_S,
                open_timeout=OPEN_S, logger=_QUIET, proxy=None, **secure,
            )  # fmt: skip
        except BaseException:
            sock.close()
            raise

    async def _listen(self, link: ClientConnection) -> str:
        try:
            await link.send(msgspec.json.encode({"type": "subscribe", "data": TYPES}).decode())
            self.state.worked(0)
            self._again.tries = 0
            async for message in link:
                if self._lease.held:
                    await self._keep(message.encode() if isinstance(message, str) else message)
        except ConnectionClosed as closed:
            return f"it hung up: {closed.rcvd.reason if closed.rcvd and closed.rcvd.reason else 'without a word'}"
        return "it hung up"

    async def _keep(self, message: bytes) -> None:
        again = Backoff(0.2, 5.0)
        while True:
            try:
                self.state.worked(await self._take(self._source, message, "application/json", set()))
                return
            except InvalidRequest as error:  # Kept with what is wrong in it; the next one may be good.
                self.state.last_error = error.message
                return
            except CatalystError as error:
                self.state.last_error = f"it could not be stored: {error.message}"
                await asyncio.sleep(again.next_s())


async def _socket(parts: SplitResult, networks: Sequence[Network]) -> socket.socket:
    """A connected one, at an address that may be reached.

    Raises:
        NotReached: there is none. OSError: none of them takes a connection.
    """
    port = parts.port or (443 if parts.scheme == "wss" else 80)
    fault: OSError = OSError("no address")
    for address in await checked(ascii_name(parts.hostname or ""), port, networks):
        sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
        sock.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(sock, (address, port))
            return sock
        except ssl.SSLError:
            raise
        except OSError as error:
            sock.close()
            fault = error
        except BaseException:
            sock.close()
            raise
    raise fault
