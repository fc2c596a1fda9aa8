"""The two Uvicorn protocol classes: HTTP with a deadline for its head, a WebSocket that is ours after the handshake.

Owns: the transport of a connection, the closing handshake, what Uvicorn's classes would do otherwise. Knows nothing of
signals. FastAPI does the handshake and the authentication; then `adopt` gives the connection an owner, the ASGI task
ends, and messages reach the owner by call. Uvicorn is pinned to a minor version; tests/unit/test_protocol.py lists
every attribute of it that is touched here.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from asyncio.transports import BaseTransport
from functools import partial
from typing import Any, Protocol

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import InvalidState, PayloadTooBig
from websockets.frames import Frame

from catalyst_signals.errors import CatalystError, Draining, InvalidJson, InvalidRequest, TooLarge, TooLate
from catalyst_signals.server.doorway import Doorway
from catalyst_signals.server.inbound import Inbound
from catalyst_signals.wire import PING, encode, error_message

log = logging.getLogger("catalyst.socket")

UNSENT_BYTES_MAX = 16 << 10  # In the kernel: pushback after some 200 usual events instead of 14,000 (docs/decisions).
HEAD_BYTES_MAX = 64 << 10
LINGER_S = 1.0  # What is in flight is read off this long, so that our last words are not lost to a reset.
NOTSENT_LOWAT = getattr(socket, "TCP_NOTSENT_LOWAT", 25)


class Owner(Protocol):
    """Who gets an adopted connection's messages."""

    def received(self, text: str) -> None:
        """A whole text message."""

    def heard(self) -> None:
        """Anything at all came in."""

    def paused(self) -> None:
        """The transport takes no more for now."""

    def resumed(self) -> None:
        """The transport takes more again."""

    def closing(self) -> None:
        """Nothing may be written any more; may be called more than once."""

    def lost(self) -> None:
        """The connection is gone."""


class SocketProtocol(Inbound, WebSocketsSansIOProtocol):
    """One WebSocket. Until `adopt` it is Uvicorn's; after it, ours."""

    head_s = 10.0
    hasty = False  # Sent frames before it was adopted: where they end only the library knows.
    owner: Owner | None = None
    failed = False
    handshake_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: BaseTransport) -> None:
        """The request head is here; the rest of the handshake has a deadline too."""
        super().connection_made(transport)
        self.handshake_timer = self.loop.call_later(self.head_s, self.transport.abort)

    def handle_connect(self, event: Any) -> None:
        """Let the endpoint find its protocol object."""
        super().handle_connect(event)
        if hasattr(self, "scope"):
            extensions: dict[str, Any] = self.scope["extensions"]
            extensions["catalyst.socket"] = self

    def adopt(self, owner: Owner) -> None:
        """From here on `owner` has this connection; the ASGI task may end."""
        self.owner = owner
        self._stop_clock()
        self.transport.set_write_buffer_limits(high=0)  # Nothing waits in it unless it pushes back.
        raw = self.transport.get_extra_info("socket")
        if raw is not None and raw.family != socket.AF_UNIX:
            raw.setsockopt(socket.IPPROTO_TCP, NOTSENT_LOWAT, UNSENT_BYTES_MAX)

    def write(self, data: bytes) -> None:
        """Write bytes that are already framed."""
        self.transport.write(data)

    @property
    def socket(self) -> int | None:
        """The number of the socket, to write to it past the transport, whose memory is cold when there are thousands.

        Right only while nothing waits in the transport, and until `connection_lost`: afterwards the number may be
        another connection's.
        """
        raw = self.transport.get_extra_info("socket")
        return raw.fileno() if raw is not None and os.name == "posix" else None

    def ping(self) -> None:
        """Ask whether anyone is there; any answer is heard."""
        if not self.close_sent:
            self.transport.write(PING)

    def hold_reading(self, hold: bool) -> None:
        """Stop reading from a client that has too much in flight, and go on."""
        if not self.transport.is_closing():
            (self.transport.pause_reading if hold else self.transport.resume_reading)()

    def close(self, code: int, reason: str, *, linger_s: float = LINGER_S) -> None:
        """Say why, and close; whoever does not answer is cut off after `linger_s`."""
        if self.close_sent:
            return
        self._owner_closing()
        try:
            self.conn.send_close(code, reason[:120])
        except InvalidState:
            pass
        else:
            self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        self.close_timer = self.loop.call_later(linger_s, self.transport.abort)

    def refuse(self, error: CatalystError, code: int) -> None:
        """The error as a message, then a close with its name: for what no connection survives."""
        self.failed = True
        self._owner_closing()
        self.transport.write(error_message(error))
        if not self.close_sent:
            if self.conn.close_sent is None:
                self.conn.fail(code, error.message[:120])
            self.transport.write(b"".join(self.conn.data_to_send()))
            self.close_sent = True
        self.close_timer = self.loop.call_later(LINGER_S, self.transport.close)

    def _stop_clock(self) -> None:
        if self.handshake_timer is not None:
            self.handshake_timer.cancel()
            self.handshake_timer = None

    def _owner_closing(self) -> None:
        if self.owner is not None:
            self.owner.closing()

    # -- what Uvicorn calls -----------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Bytes from the client; after a failure they are read off and forgotten."""
        if self.failed:
            return
        if self.owner is not None:
            self.owner.heard()
            if not self.hasty:
                self.take(data)
                return
        if self.handshake_complete:
            self.hasty = True
        super().data_received(data)
        if self.conn.reader.buffer:
            self.hasty = True
        if self.owner is None and self.conn.handshake_exc is not None and not self.handshake_complete:
            self.handle_parser_exception()

    def took_frame(self, frame: bytes) -> None:
        """The library deals with what is not plain text."""
        if not self.failed:
            super().data_received(frame)

    def handle_parser_exception(self) -> None:
        """A frame that breaks the protocol, or a message that is too large."""
        if self.owner is None:
            self.failed = True
            self.transport.write(
                answer_to_no_http(b"400 Bad Request", InvalidRequest("this is not a valid WebSocket handshake"))
            )
            self.transport.close()
            return
        too_big = isinstance(self.conn.parser_exc, PayloadTooBig)
        limit = self.config.ws_max_size
        error: CatalystError = InvalidRequest("this is not a valid WebSocket frame (RFC 6455)")
        if too_big:
            error = TooLarge(f"a message may have {limit} bytes", field="message", allowed=limit)
        self.refuse(error, 1009 if too_big else 1002)

    def send_receive_event_to_app(self) -> None:
        """A whole message: to the owner by call, before adoption to the endpoint."""
        if self.owner is None:
            super().send_receive_event_to_app()
            return
        data = self.frames[0] if len(self.frames) == 1 else b"".join(self.frames)
        self.frames = []
        if self.curr_msg_data_type == "text":
            self.took_text(data)
        elif not self.close_sent:
            self.refuse(InvalidRequest("messages are JSON text, not binary", got="binary", allowed="text"), 1003)

    def took_text(self, data: bytes) -> None:
        """A whole message, unless we are past listening."""
        if self.close_sent or self.failed or self.owner is None:
            return
        try:
            text = str(data, "utf-8")
        except UnicodeDecodeError as bad:
            self.refuse(
                InvalidJson(f"the message is not valid UTF-8: byte {bad.start} is 0x{data[bad.start]:02x}"), 1007
            )
            return
        self.owner.received(text)

    def handle_pong(self, event: Frame) -> None:
        """Heard already; our pings need no bookkeeping."""
        if self.owner is None:
            super().handle_pong(event)

    def handle_close(self, event: Frame) -> None:
        """The client closes, or answers our close."""
        self._owner_closing()
        super().handle_close(event)

    def pause_writing(self) -> None:
        """The transport pushes back."""
        super().pause_writing()
        if self.owner is not None:
            self.owner.paused()

    def resume_writing(self) -> None:
        """The transport takes more."""
        super().resume_writing()
        if self.owner is not None:
            self.owner.resumed()

    def connection_lost(self, exc: Exception | None) -> None:
        """Gone, for whatever reason."""
        self._stop_clock()
        if self.owner is not None:
            self.owner.lost()  # First: what the hub writes to is another connection's soon.
            self.owner = None
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """The last thing Uvicorn calls: whoever is still here is told to come back."""
        if self.owner is not None:
            self.close(Draining.close_code, "the server is restarting", linger_s=0.05)
        else:
            super().shutdown()

    async def run_asgi(self) -> None:
        """The endpoint's task; its return closes the connection only if nobody adopted it."""
        try:
            await self.app(self.scope, self.receive, self.send)
        except ClientDisconnected:
            pass
        except Exception:
            self.logger.exception("the WebSocket endpoint failed")
            self.send_500_response()
        if self.owner is None and self.close_timer is None:
            self.transport.close()
        elif self.owner is not None:
            self._forget_the_handshake()

    def _forget_the_handshake(self) -> None:
        """What only the handshake needed: several KiB a connection. The library's parser holds on to the request."""
        self.request.headers.clear()
        for name in ("scope", "request", "response"):
            self.__dict__.pop(name, None)
        self.queue = self.writable = NOBODY  # type: ignore[assignment]


class _Nobody:
    """Where Uvicorn's bookkeeping for the endpoint goes once there is no endpoint."""

    __slots__ = ()

    def put_nowait(self, item: object) -> None:
        """Forget it."""

    def set(self) -> None:
        """Nobody waits to write."""

    clear = set


NOBODY = _Nobody()


class HttpProtocol(HttpToolsProtocol):
    """HTTP/1.1 with `head_s` and HEAD_BYTES_MAX for a request head; a body has its deadline where it is read.

    The clock runs whenever bytes come that belong to no request under way, so that nobody holds a place with crumbs.
    """

    doorway: Doorway
    head_s = 10.0
    head_timer: asyncio.TimerHandle | None = None
    head_bytes = 0
    inside = False
    in_body = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client: the clock runs."""
        super().connection_made(transport)
        self._start_clock()

    def data_received(self, data: bytes) -> None:
        """Bytes: the first ones come in through the doorway, and no others are read meanwhile."""
        if self.inside:
            self._take(data)
        elif not self.doorway.come(partial(self._come_in, data)):
            self.transport.pause_reading()

    def _come_in(self, data: bytes) -> None:
        self.inside = True
        if not self.transport.is_closing():
            self.transport.resume_reading()
            self._take(data)

    def _take(self, data: bytes) -> None:
        """Bytes: of a request under way, or of a head to come."""
        if not self.in_body or self.cycle.response_complete:
            self._start_clock()
        if not self.in_body:
            self.head_bytes += len(data)
        super().data_received(data)
        if self.head_timer is not None and self.head_bytes > HEAD_BYTES_MAX:
            error = TooLarge(f"a request head may have {HEAD_BYTES_MAX} bytes", allowed=HEAD_BYTES_MAX)
            self._refuse(b"431 Request Header Fields Too Large", error)

    def on_headers_complete(self) -> None:
        """The head is here."""
        self._stop_clock()
        self.in_body = True
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The body is here."""
        self.in_body = False
        self._stop_clock()
        super().on_message_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Gone."""
        self._stop_clock()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP gets one answer, in our own form."""
        self._refuse(b"400 Bad Request", InvalidRequest("this is not a valid HTTP request"))

    def _start_clock(self) -> None:
        if self.head_timer is None:
            self.head_timer = self.loop.call_later(self.head_s, self._refuse, b"408 Request Timeout", TooLate())

    def _stop_clock(self) -> None:
        self.head_bytes = 0
        if self.head_timer is not None:
            self.head_timer.cancel()
            self.head_timer = None

    def _refuse(self, status: bytes, error: CatalystError) -> None:
        self._stop_clock()
        if not self.transport.is_closing():
            self.transport.write(answer_to_no_http(status, error))
            self.transport.close()


def answer_to_no_http(status: bytes, error: CatalystError) -> bytes:
    """A refusal to somebody whose request never became one."""
    body = encode(error.as_dict())
    return b"HTTP/1.1 %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%s" % (
        status, len(body), body,
    )  # fmt: skip
