"""Processes of one machine that talk over a Unix socket: whole messages, a greeting, and going on after a break.

Owns: the socket file and who may open it, the cutting of bytes into messages, the greeting, the coming back of a
client, errors as bytes. Knows nothing of what is said: `stores/unix/`, `brokers/unix.py` and `server/siblings.py` do.
Laws: a message is whole or not there; no wait and no buffer without a bound; whoever may open the file is trusted.

A message is a length (4 bytes, big-endian) and that many bytes of msgpack. The first of a client is ["catalyst",
version, what it wants]; the first of a server ["catalyst", version, null or why not].
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import stat
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Protocol, Self, cast
from urllib.parse import unquote

import msgspec

from catalyst_signals.backoff import Backoff
from catalyst_signals.errors import (
    CatalystError,
    Misconfigured,
    StoreInUse,
    TooLarge,
    Unavailable,
    every_error,
    shorten,
)
from catalyst_signals.urls import split
from catalyst_signals.vital import vital

log = logging.getLogger("catalyst.peers")

VERSION = 1
MESSAGE_BYTES_MAX = 64 << 20
BEHIND_BYTES_MAX = 4 << 20  # Not yet taken by a peer; what it would be told on top of that it does not hear.
GREET_S = 5.0
AGAIN_S = (0.05, 0.25)  # A look at a file of this machine costs nothing, and others wait for what it finds.
PATH_BYTES_MAX = 100  # Linux takes 107, others 103.


class Wrong(msgspec.Struct, array_like=True):
    """An error on its way to another process: all that a CatalystError has, or a ValueError's text."""

    name: str
    message: str
    field: str | None = None
    got: Any = None
    allowed: Any = None
    extra: dict[str, Any] = {}

    def error(self) -> Exception:
        """The error again, of the same class."""
        if self.name == "ValueError":
            return ValueError(self.message)
        cls = _classes().get(self.name, CatalystError)
        return cls(self.message, field=self.field, got=self.got, allowed=self.allowed, **self.extra)


def wrong_of(error: CatalystError | ValueError) -> Wrong:
    """An error as it crosses the socket."""
    if isinstance(error, CatalystError):
        return Wrong(error.name, error.message, error.field, error.got, error.allowed, error.extra)
    return Wrong("ValueError", str(error))


@cache
def _classes() -> dict[str, type[CatalystError]]:
    return {cls.name: cls for cls in every_error()}


_encoder = msgspec.msgpack.Encoder(enc_hook=shorten)  # What an error was `got` may be anything.


def pack(content: Any) -> bytes:
    """A message, ready to be written.

    Raises:
        TooLarge: nobody would take it.
    """
    packed = bytearray(4)
    _encoder.encode_into(content, packed, 4)
    size = len(packed) - 4
    if size > MESSAGE_BYTES_MAX:
        raise TooLarge("a message between processes would be too large", got=size, allowed=MESSAGE_BYTES_MAX)
    packed[:4] = size.to_bytes(4, "big")
    return bytes(packed)


def path_of(url: str, *, setting: str) -> str:
    """The socket that a `unix:///relative.sock` or `unix:////absolute.sock` names.

    Raises:
        Misconfigured: it names none.
    """
    parts, _ = split(url)
    path = unquote(parts.path.removeprefix("/"))
    if not path or parts.netloc:
        raise Misconfigured(
            "a socket is `unix:///SOCKET`, with four slashes for an absolute path", field=setting, got=url
        )
    return path


class Peer(asyncio.Protocol):
    """One end of a connection. `heard` gets each message, `lost` is called once."""

    def __init__(self, heard: Callable[[Peer, bytes], None], lost: Callable[[Peer], None]) -> None:
        self.heard = heard
        self.lost = lost
        self._bytes = bytearray()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio.Protocol"""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name.

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio.Protocol"""
        self._transport = None
        self.lost(self)

    def data_received(self, data: bytes) -> None:
        """Hand out every message that is whole; one that is too long ends the connection."""
        self._bytes += data
        at, have = 0, len(self._bytes)
        while have - at >= 4 and self._transport is not None:
            end = at + 4 + int.from_bytes(self._bytes[at : at + 4], "big")
            if end - at - 4 > MESSAGE_BYTES_MAX:
                log.error("a peer sends a message that is too large", extra={"bytes": end - at - 4})
                return self.abort()
            if end > have:
                break
            message = bytes(memoryview(self._bytes)[at + 4 : end])
            at = end
            try:
                self.heard(self, message)
            except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                log.error("a peer says what cannot be understood", extra={"reason": str(error)})
                return self.abort()
        del self._bytes[:at]
        return None

    def write(self, packed: bytes) -> None:
        """Write a packed message; nothing happens when the connection is gone."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(packed)

    @property
    def behind_bytes(self) -> int:
        """What was written and not yet taken."""
        return self._transport.get_write_buffer_size() if self._transport is not None else 0

    def hold(self) -> None:
        """Hear nothing more until `go_on`."""
        if self._transport is not None and self._transport.is_reading():
            self._transport.pause_reading()

    def go_on(self) -> None:
        """Hear again."""
        if self._transport is not None and not self._transport.is_reading():
            self._transport.resume_reading()

    def close(self) -> None:
        """End the connection once what was written is taken."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """End the connection now."""
        if self._transport is not None:
            self._transport.abort()


class Service(Protocol):
    """What a listener offers under a name."""

    def joined(self, peer: Peer) -> None:
        """A peer is there."""

    def heard(self, peer: Peer, message: bytes) -> None:
        """It said something."""

    def left(self, peer: Peer) -> None:
        """It is gone."""


class Relay:
    """What one says all others hear, and we do: one write a peer. Who is too far behind does not hear it."""

    def __init__(self, heard: Callable[[bytes], None]) -> None:
        self._heard = heard
        self._peers: set[Peer] = set()
        self.unheard = 0

    def joined(self, peer: Peer) -> None:
        """Service.joined"""
        self._peers.add(peer)

    def left(self, peer: Peer) -> None:
        """Service.left"""
        self._peers.discard(peer)

    def heard(self, peer: Peer, message: bytes) -> None:
        """Service.heard: passed on as it is."""
        self.say(len(message).to_bytes(4, "big") + message, but=peer)
        self._heard(message)

    def say(self, packed: bytes, but: Peer | None = None) -> None:
        """Tell all peers, `but` the one it comes from."""
        for peer in self._peers:
            if peer is but:
                continue
            if peer.behind_bytes > BEHIND_BYTES_MAX:
                self.unheard += 1
            else:
                peer.write(packed)


class Listener:
    """A socket file that only this user may open, and who comes to it. Enter it to listen; leaving takes it away."""

    def __init__(self, path: str, services: Mapping[str, Service]) -> None:
        self._path = path
        self._services = services
        self._peers: dict[Peer, Service | None] = {}  # None: it has not greeted yet.
        self._server: asyncio.AbstractServer | None = None

    async def __aenter__(self) -> Self:
        listener = _bind(self._path)
        self._server = await asyncio.get_running_loop().create_unix_server(self._peer, sock=listener)
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._server is not None:
            self._server.close()
        for peer in list(self._peers):
            peer.close()
        _remove(self._path)

    def _peer(self) -> Peer:
        peer = Peer(self._greeted, self._left)
        self._peers[peer] = None
        asyncio.get_running_loop().call_later(GREET_S, self._still_silent, peer)
        return peer

    def _still_silent(self, peer: Peer) -> None:
        if self._peers.get(peer, self) is None:
            peer.abort()

    def _greeted(self, peer: Peer, message: bytes) -> None:
        match msgspec.msgpack.decode(message):
            case ["catalyst", int(version), *_] if version != VERSION:
                refusal = _other_version(version)
            case ["catalyst", _, str(want), *_] if want in self._services:
                service = self._services[want]
                self._peers[peer], peer.heard = service, service.heard
                peer.write(pack(["catalyst", VERSION, None]))
                return service.joined(peer)
            case ["catalyst", _, want, *_]:
                refusal = Misconfigured("there is no such service here", got=want, allowed=sorted(self._services))
            case _:
                return peer.abort()
        peer.write(pack(["catalyst", VERSION, wrong_of(refusal)]))
        return peer.close()

    def _left(self, peer: Peer) -> None:
        service = self._peers.pop(peer, None)
        if service is not None:
            service.left(peer)


class Link:
    """A client's end, which comes back by itself. Enter it to connect; that does not wait (`up` does)."""

    def __init__(
        self, path: str, want: str, heard: Callable[[bytes], None], lost: Callable[[], None] = lambda: None
    ) -> None:
        self._path = path
        self._want = want
        self._heard = heard
        self._lost = lost
        self._peer: Peer | None = None
        self._task: asyncio.Task[None] | None = None
        self._there = asyncio.Event()
        self._gone = asyncio.Event()
        self._refusal: Exception | None = None

    async def __aenter__(self) -> Self:
        self._task = vital(self._stay())
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._peer is not None:
            self._peer.close()

    @property
    def connected(self) -> bool:
        """Whether something can be said now."""
        return self._peer is not None

    async def up(self, within_s: float) -> None:
        """Wait for the connection.

        Raises:
            Misconfigured: we were refused; says why.
            Unavailable: nobody answered in time.
        """
        try:
            async with asyncio.timeout(within_s):
                await self._there.wait()
        except TimeoutError:
            raise Unavailable(f"nobody answers on {self._path}") from None
        if self._refusal is not None:
            raise self._refusal

    def say(self, packed: bytes) -> None:
        """Write a packed message.

        Raises:
            Unavailable: there is no connection now.
        """
        if self._peer is None:
            raise Unavailable(f"nobody answers on {self._path}")
        self._peer.write(packed)

    @property
    def behind_bytes(self) -> int:
        """What was said and not yet taken."""
        return self._peer.behind_bytes if self._peer is not None else 0

    async def _stay(self) -> None:
        again = Backoff(*AGAIN_S)
        while True:
            try:
                async with asyncio.timeout(GREET_S):
                    await self._dial()
                again.tries = 0
                await self._gone.wait()
            except OSError:  # TimeoutError is one too.
                pass
            except Exception as refusal:
                if not isinstance(refusal, CatalystError | ValueError | msgspec.MsgspecError):
                    raise
                log.error("we were refused", extra={"path": self._path, "reason": str(refusal)})
                self._refusal = refusal
                self._there.set()
            await asyncio.sleep(again.next_s())

    async def _dial(self) -> None:
        """Connect and greet; from then on `heard` gets what comes.

        Raises:
            OSError: nobody is there.
            CatalystError: we were refused.
        """
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._gone.clear()

        def greeted(peer: Peer, message: bytes) -> None:
            if _is_welcome(message):  # At once: what follows may be here already.
                peer.heard = lambda _, message: self._heard(message)
                self._peer, self._refusal = peer, None
                self._there.set()
            answer.set_result(message)

        def lost(peer: Peer) -> None:
            if not answer.done():
                answer.set_exception(ConnectionResetError("closed without a greeting"))
            self._gone.set()
            if self._peer is peer:
                self._peer = None
                self._there.clear()
                self._lost()

        _, peer = await asyncio.get_running_loop().create_unix_connection(lambda: Peer(greeted, lost), self._path)
        try:
            peer.write(pack(["catalyst", VERSION, self._want]))
            message = await answer
        finally:
            if self._peer is not peer:
                peer.abort()
        if self._peer is not peer and not _is_welcome(message):
            raise _refusal(message)


def _is_welcome(message: bytes) -> bool:
    return bool(msgspec.msgpack.decode(message)[:3] == ["catalyst", VERSION, None])


def _refusal(message: bytes) -> Exception:
    match msgspec.msgpack.decode(message):
        case ["catalyst", version, [_, *_] as wrong] if version == VERSION:
            return msgspec.convert(wrong, Wrong).error()
        case ["catalyst", version, *_]:
            return _other_version(version)
    return Misconfigured("what answers on that socket is not Catalyst")


def _other_version(version: object) -> Misconfigured:
    return Misconfigured(
        f"the other process speaks version {version} and this one {VERSION}: stop all and start them of one version",
        got=version, allowed=VERSION,
    )  # fmt: skip


def reachable(path: str) -> str:
    """`path` as short as it can be written from here: a socket's has little room.

    Raises:
        Misconfigured: it is too long all the same.
    """
    short = min(str(Path(path).absolute()), os.path.relpath(path), key=len)
    if len(os.fsencode(short)) > PATH_BYTES_MAX:
        raise Misconfigured(
            f"the path of a socket has at most {PATH_BYTES_MAX} bytes: start in the folder of the file, or move it",
            got=short, allowed=PATH_BYTES_MAX,
        )  # fmt: skip
    return short


def _bind(path: str) -> socket.socket:
    """A listening socket at `path`, which no other user could open at any moment.

    Raises:
        StoreInUse: somebody answers there.
        Misconfigured: something else stands there, or nothing can.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _clear(path)
        listener.bind(path)
        Path(path).chmod(0o600)  # Before it listens.
        listener.listen(128)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise Misconfigured(f"cannot listen on {path}: {error.strerror or error}", got=path) from error
    except BaseException:
        listener.close()
        raise
    return listener


def _remove(path: str) -> None:
    Path(path).unlink(missing_ok=True)


def _clear(path: str) -> None:
    """Take away what a process that was killed left behind; never what somebody answers on."""
    try:
        if not stat.S_ISSOCK(Path(path).lstat().st_mode):
            raise Misconfigured(f"{path} is there already and is no socket", got=path)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(1)
            probe.connect(path)
    except FileNotFoundError:
        return None
    except ConnectionRefusedError:
        return _remove(path)
    raise StoreInUse(f"another process answers on {path}; stop it first", got=path)
