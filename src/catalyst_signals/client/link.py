"""One connection to a server: dialled, greeted, watched; and why it ended.

Owns: the address and the key, refusals before the upgrade, decoding, the rule of silence.
Knows nothing of subscriptions, positions, publishing or dialling again.
Law: a connection ends in one of two ways. `Dropped` asks for another connection and never leaves the client; a
CatalystError is for the person who can fix it. While nobody asks for a message nothing is read beyond a bounded
buffer, so a slow handler slows the server's cursor and fills nobody's memory.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import msgspec
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as _connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from catalyst_signals.errors import (
    CatalystError,
    Forbidden,
    InvalidJson,
    InvalidRequest,
    Overloaded,
    Unauthenticated,
    Unreachable,
    Unsupported,
    every_error,
    from_dict,
)

PROTOCOL: Final = 1
OPEN_S = 10.0  # For the handshake, and again for the welcome. The server allows itself 5 s to authenticate.
CLOSE_S = 1.0  # How long a good-bye may take; what is missed by leaving early is sent again on the next connection.
BUFFER_FRAMES = 1000  # Read ahead of the consumer, then TCP pushes back; at 345 bytes a frame that is 345 KB.
MESSAGE_BYTES_MAX = 4 << 20  # An event is a draft of at most 64 KiB, and `was` what up to 32 versions changed.
SILENCE_GRACE_S = 5.0  # Beyond two positions that should have come: the network's share.
GOAWAY_S_MAX = 60.0  # The longest absence a server may ask for.
SOCKET_PATH: Final = "/v1/ws"

_SCHEMES = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}
_FINAL_CODES = frozenset({1002, 1003, 1007, 1009})
_BY_STATUS = {401: Unauthenticated, 403: Forbidden, 429: Overloaded, 503: Overloaded}
_NOTED = frozenset({"goaway", "error"})
_decode = msgspec.json.Decoder(dict[str, Any]).decode
encode = msgspec.json.encode


class Dropped(Exception):
    """The connection is gone; another should be made, after `wait_s` or, when that is None, as the back-off says."""

    def __init__(self, reason: str, wait_s: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.wait_s = wait_s


@dataclass(frozen=True, slots=True)
class Address:
    """Where to dial and with what key; `url` is as the user wrote it, for messages. The key is never shown."""

    url: str
    socket_url: str
    key: str = field(repr=False)


def address_of(url: str, key: str) -> Address:
    """Read `http(s)://host:port` or `ws(s)://host:port`, with or without a path before `/v1/ws`.

    Raises:
        InvalidRequest: the URL cannot be dialled; says what can.
        Unauthenticated: the key cannot be one.
    """
    allowed = "http://host:port, https://host:port, ws://host:port or wss://host:port"
    parts = urlsplit(url)
    if parts.scheme not in _SCHEMES or not parts.hostname:
        raise InvalidRequest(f"the server's URL looks like {allowed}", field="url", got=url, allowed=allowed)
    if parts.query or parts.fragment or "@" in parts.netloc:
        raise InvalidRequest("a URL holds no key, user or query: give the key by itself", field="url", allowed=allowed)
    if not (key and key.isascii() and key.isprintable() and " " not in key):
        raise Unauthenticated("the key is empty or holds characters no key has; it looks like cat_...", field="key")
    path = parts.path.rstrip("/").removesuffix(SOCKET_PATH) + SOCKET_PATH
    return Address(url, urlunsplit((_SCHEMES[parts.scheme], parts.netloc, path, "", "")), key)


async def dial(address: Address) -> Link:
    """A connection that has been welcomed.

    Raises:
        Unreachable: nobody answers there, or not in our protocol; trying again may help.
        CatalystError: what the server said when it refused.
    """
    try:
        socket = await _connect(
            address.socket_url,
            additional_headers={"Authorization": f"Bearer {address.key}"},
            compression=None,
            open_timeout=OPEN_S,
            close_timeout=CLOSE_S,
            ping_interval=None,  # A pong waits behind unread events, so a slow handler would look like a dead server.
            max_size=MESSAGE_BYTES_MAX,
            max_queue=(BUFFER_FRAMES, BUFFER_FRAMES // 2),
        )
    except InvalidStatus as refused:
        response = refused.response
        wait_s = response.headers.get("Retry-After", "")
        raise refusal(address, response.status_code, bytes(response.body or b""), wait_s) from None
    except (OSError, EOFError, WebSocketException) as fault:
        found = f"no Catalyst server answers at {address.url} ({str(fault) or type(fault).__name__})"
        raise Unreachable(f"{found}; check the address, or start one with `catalyst serve`", url=address.url) from fault
    return await _greeted(Link(socket), address)


async def _greeted(link: Link, address: Address) -> Link:
    try:
        async with asyncio.timeout(OPEN_S):
            await link.greet()
    except (Dropped, TimeoutError) as fault:
        link.abort("no welcome came")
        reason = str(fault) or f"no welcome within {OPEN_S:g} s"
        raise Unreachable(f"{address.url} took the connection and gave it up: {reason}", url=address.url) from fault
    except BaseException:
        link.abort("no welcome came")
        raise
    return link


def refusal(address: Address, status: int, body: bytes, wait_s: str) -> CatalystError:
    """An HTTP answer as our error: the JSON refusal if it is one, else the nearest to the status."""
    try:
        said = _decode(body)
    except msgspec.DecodeError:
        said = {}
    if "error" not in said and status not in _BY_STATUS:
        return Unreachable(f"{address.url} answers HTTP {status}: that is no Catalyst server", url=address.url)
    error = from_dict(said) if "error" in said else _BY_STATUS[status]()
    if wait_s.isdigit():
        error.extra.setdefault("retry_after_s", int(wait_s))
    return error


class Link:
    """One WebSocket to a server. One task receives at a time; any may send."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._loop = asyncio.get_running_loop()
        self._asked_at: float | None = None  # When somebody began to wait for a message; None while nobody does.
        self._leave_at: float | None = None  # Set by a goaway.
        self._complaint: CatalystError | None = None  # The last error frame that answered nothing: why a close follows.
        self._why = ""  # Why we ended it ourselves.
        self.publishes_in_flight = 1
        self.message_bytes = MESSAGE_BYTES_MAX
        self.ack_s: float | None = None  # How often the server takes acknowledgements; None: not at all.
        self.silence_s = OPEN_S
        self._watch = self._loop.call_later(self.silence_s, self._look)

    async def greet(self) -> None:
        """Wait for the welcome and take over its limits; messages before it are not ours to know."""
        while (welcome := await self.receive()).get("type") != "welcome":
            if self._complaint is not None:
                raise self._complaint
        if welcome.get("protocol", PROTOCOL) != PROTOCOL:
            raise Unsupported(
                f"the server speaks protocol {welcome['protocol']}, this client {PROTOCOL}: upgrade the older one",
                field="protocol", got=welcome["protocol"], allowed=PROTOCOL,
            )  # fmt: skip
        self.publishes_in_flight = max(1, int(welcome.get("publishes_in_flight", 1)))
        self.message_bytes = int(welcome.get("message_bytes", MESSAGE_BYTES_MAX))
        self.ack_s = welcome.get("ack_s")
        self.expect_positions(welcome.get("position_s", 10))

    def expect_positions(self, every_s: float | None) -> None:
        """From now on, nothing at all for twice that long and a grace means the connection is dead."""
        if every_s is not None:
            self.silence_s = 2 * every_s + SILENCE_GRACE_S
            self._rearm(self._loop.time() + self.silence_s)

    async def send(self, text: bytes) -> None:
        """Hand one JSON text to the socket, waiting while it pushes back."""
        try:
            await self._socket.send(text, text=True)
        except ConnectionClosed as closed:
            raise self._end_of(closed) from None

    async def receive(self) -> dict[str, Any]:
        """The next message. What arrived before the connection broke is still given out first.

        Raises:
            Dropped: make another connection.
            CatalystError: the server said that another connection would not help.
        """
        self._asked_at = self._loop.time()
        try:
            text = await self._socket.recv(decode=False)
        except ConnectionClosed as closed:
            raise self._end_of(closed) from None
        finally:
            self._asked_at = None
        try:
            message = _decode(text)
        except msgspec.DecodeError as fault:
            raise InvalidJson(f"the server sent something that is not a JSON object: {fault}") from None
        if message.get("type") in _NOTED:
            self._note(message)
        return message

    def _note(self, message: dict[str, Any]) -> None:
        if message["type"] == "goaway":
            wait_s = min(max(0.0, float(message.get("reconnect_in_s", 0.0))), GOAWAY_S_MAX)
            self._leave_at = self._loop.time() + wait_s
            self._rearm(self._leave_at)
        elif message.get("ref") is None:
            self._complaint = from_dict(message)

    def _look(self) -> None:
        """The watch: leave when a goaway is due, give up a connection on which nothing comes, else look again later."""
        now = self._loop.time()
        if self._leave_at is not None and now >= self._leave_at:
            return self.abort("the server asked us to leave")
        quiet_since = now if self._asked_at is None else self._asked_at
        if now - quiet_since >= self.silence_s:
            return self.abort(f"nothing was received for {self.silence_s:g} s")
        due = quiet_since + self.silence_s
        return self._rearm(due if self._leave_at is None else min(due, self._leave_at))

    def _rearm(self, when: float) -> None:
        self._watch.cancel()
        self._watch = self._loop.call_at(when, self._look)

    def _end_of(self, closed: ConnectionClosed) -> Dropped | CatalystError:
        self._watch.cancel()
        end = closed.rcvd or closed.sent
        code = end.code if end else 1006
        words = self._why or (end.reason if end else "") or f"the connection broke (close code {code})"
        if code in _FINAL_CODES or 4500 <= code <= 4999:
            return self._complaint or _error_of_code(code, words)
        return Dropped(words, None if self._leave_at is None else max(0.0, self._leave_at - self._loop.time()))

    def abort(self, why: str) -> None:
        """End it now; what has already arrived can still be received, then `Dropped` says why."""
        self._why = self._why or why
        self._watch.cancel()
        self._socket.transport.abort()

    async def close(self) -> None:
        """Say good-bye and wait for it, at most `CLOSE_S`."""
        self._why = self._why or "closed"
        self._watch.cancel()
        await self._socket.close()


def _error_of_code(code: int, words: str) -> CatalystError:
    kind = next((cls for cls in every_error() if cls.close_code == code), CatalystError)
    return kind(words, close_code=code)
