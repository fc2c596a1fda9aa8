"""The way to the outside: which addresses may be reached, and one HTTP request to one of them.

Owns: the look-up of a name, the refusal of what is no public address, the request, its bounds in time and size. Knows
nothing of targets or events.
Laws: the address that was checked is the one that is connected to; TLS is checked against the name; no redirect is
followed, no proxy asked, no more of an answer is looked at than its head.
"""

from __future__ import annotations

import asyncio
import base64
import os
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, NamedTuple, TypeVar
from urllib.parse import SplitResult, quote, unquote, urlsplit

from catalyst_signals.errors import InvalidRequest

T = TypeVar("T")
Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

WITHIN_S = 10.0  # One request, from the look-up to the head of its answer.
HEAD_BYTES_MAX = 32 << 10
BODY_BYTES_MAX = 16 << 10  # A longer one is not read at all.
BODY_S = 1.0
ADDRESSES_MAX = 4  # Of one name, one after the other until one takes the connection.
NOT_PUBLIC = "its name stands for no public address; the operator can allow others with `targets_allow`"
_UNICAST = ip_network("2000::/3")
_NOBODYS = (ip_network("3fff::/20"), ip_network("192.88.99.0/24"))  # Newer than Python's own list.
_NAT64 = ip_network("64:ff9b::/96")
_6TO4 = ip_network("2002::/16")
_SAFE = "/?:@!$&'()*+,;=-._~%[]"


class Answer(NamedTuple):
    """The head of an HTTP answer: its status, and how many seconds `Retry-After` says, if it does."""

    status: int
    retry_after_s: float | None = None


class NotReached(Exception):
    """No answer came. The text says why, without the URL."""


class NotAllowed(NotReached):
    """The name stands for addresses that are not public, and that the operator did not allow."""


def allowed(address: Address, networks: Sequence[Network]) -> bool:
    """Whether a target may be at this address: a public one of one machine, or one of those the operator allows.

    What carries an IPv4 address inside (mapped, NAT64, 6to4) is judged by that.
    """
    inner = _inside(address)
    if any(each in network for network in networks for each in {address, inner} if each.version == network.version):
        return True
    if inner.is_multicast or not inner.is_global or any(inner in network for network in _NOBODYS):
        return False
    return isinstance(inner, IPv4Address) or inner in _UNICAST


def _inside(address: Address) -> Address:
    if isinstance(address, IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    if address in _6TO4 and address.sixtofour is not None:
        return address.sixtofour
    return address


def split(url: str) -> SplitResult:
    """The parts of an `http(s)://` URL.

    Raises:
        InvalidRequest: it is none that can be asked; never shows it, since it may hold a secret.
    """
    try:
        parts = urlsplit(url)
        port, name = parts.port, ascii_name(parts.hostname or "")
    except ValueError:
        port, name, parts = None, "", urlsplit("")
    plain = url.isprintable() and " " not in url and port != 0
    if parts.scheme not in ("http", "https") or not name or not plain:
        raise InvalidRequest("`url` reads https://host/path", field="url", allowed="https://..., http://...")
    return parts


def ascii_name(host: str) -> str:
    """A host as it is looked up.

    Raises:
        ValueError: it cannot be one.
    """
    return host.encode("idna").decode()


async def checked(host: str, port: int, networks: Sequence[Network]) -> list[str]:
    """The addresses behind a name that may be reached, in the order in which they are to be tried.

    Raises:
        NotReached: there is none of that name. NotAllowed: there is, but none that may be reached.
    """
    try:
        found = [ip_address(host.partition("%")[0])]
    except ValueError:
        found = await _look_up(host, port)
    good = [str(each) for each in found if allowed(each, networks)]
    if not good:
        raise NotAllowed(NOT_PUBLIC)
    return good[:ADDRESSES_MAX]


async def _look_up(host: str, port: int) -> list[Address]:
    try:
        found = await apart(lambda: _getaddrinfo(host, port, type=socket.SOCK_STREAM))
    except (OSError, UnicodeError) as error:
        raise NotReached(f"its name is not known: {getattr(error, 'strerror', '') or type(error).__name__}") from None
    return [ip_address(str(each[4][0]).partition("%")[0]) for each in found]


async def post(url: str, body: bytes, headers: dict[str, str], networks: Sequence[Network]) -> Answer:
    """What a POST is answered.

    Raises:
        NotReached: there was no answer; whether the body arrived nobody knows, but for NotAllowed: it did not.
    """
    parts = split(url)
    try:
        async with asyncio.timeout(WITHIN_S):
            return await _post(parts, body, headers, networks)
    except TimeoutError:
        raise NotReached(f"it did not answer within {WITHIN_S:g} s") from None
    except ssl.SSLCertVerificationError as error:
        raise NotReached(f"its certificate is not good: {error.verify_message}") from None
    except (OSError, EOFError, ValueError, asyncio.LimitOverrunError) as error:
        raise NotReached(words_of(error)) from None


def words_of(error: Exception) -> str:
    """Why there was no answer, without the URL."""
    if isinstance(error, OSError):
        said = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
        return said or type(error).__name__
    return "it answered something that is not HTTP" if not isinstance(error, EOFError) else "it hung up"


async def _post(parts: SplitResult, body: bytes, headers: dict[str, str], networks: Sequence[Network]) -> Answer:
    reader, writer = await connected(parts, networks)
    try:
        writer.write(request_head("POST", parts, headers | {"Content-Length": str(len(body))}) + body)
        while True:
            answer, body_bytes = _answer(await reader.readuntil(b"\r\n\r\n"))
            if answer.status >= 200:
                await _heard_out(reader, body_bytes)
                return answer
    finally:
        writer.transport.abort()


async def connected(
    parts: SplitResult, networks: Sequence[Network]
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection to an address behind this URL that may be reached.

    Raises:
        NotReached, NotAllowed: as `checked`. OSError: none of its addresses takes one.
    """
    name = ascii_name(parts.hostname or "")
    tls = parts.scheme in ("https", "wss")
    port = parts.port or (443 if tls else 80)
    return await _connect(await checked(name, port, networks), port, name if tls else "")


async def _heard_out(reader: asyncio.StreamReader, body_bytes: int) -> None:
    """A short answer is taken to its end, so that nobody is cut off who works while they speak; it is not looked at."""
    if body_bytes <= BODY_BYTES_MAX:
        with suppress(TimeoutError, EOFError, OSError):
            async with asyncio.timeout(BODY_S):
                await reader.readexactly(body_bytes)


async def _connect(addresses: list[str], port: int, tls_name: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    how: dict[str, Any] = {"ssl": tls_context(), "server_hostname": tls_name} if tls_name else {}
    for address in addresses[:-1]:
        try:
            return await asyncio.open_connection(address, port, limit=HEAD_BYTES_MAX, **how)
        except ssl.SSLCertVerificationError:
            raise
        except OSError:
            continue
    return await asyncio.open_connection(addresses[-1], port, limit=HEAD_BYTES_MAX, **how)


@cache
def tls_context() -> ssl.SSLContext:
    """Certificates are checked against those of the system, or of SSL_CERT_FILE. Made once: that takes 10 ms."""
    return ssl.create_default_context()


def request_head(method: str, parts: SplitResult, headers: dict[str, str]) -> bytes:
    """The head of a request; the name and the password of a URL go out as HTTP Basic."""
    name = ascii_name(parts.hostname or "")
    host = f"[{name}]" if ":" in name else name
    path = quote(parts.path or "/", safe=_SAFE) + (f"?{quote(parts.query, safe=_SAFE)}" if parts.query else "")
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}" + (f":{parts.port}" if parts.port else "")]
    if parts.username:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        lines.append("Authorization: Basic " + base64.b64encode(pair.encode()).decode())
    lines += [f"{key}: {value}" for key, value in headers.items()]
    return "\r\n".join([*lines, "Connection: close", "", ""]).encode("ascii", "replace")


def _answer(head: bytes) -> tuple[Answer, int]:
    """The head of an answer, and how many bytes it says will follow."""
    first, *lines = head.decode("latin-1").split("\r\n")
    version, _, rest = first.partition(" ")
    if not version.startswith("HTTP/1."):
        raise ValueError(version)
    said = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    follow = said.get("content-length", "")
    return (
        Answer(int(rest[:3]), seconds_of(said.get("retry-after", ""))),
        int(follow) if follow.isascii() and follow.isdigit() else 0,
    )


def seconds_of(text: str) -> float | None:
    """`Retry-After` in seconds; a date or anything else is as if it were not there."""
    return float(text) if text.isascii() and text.isdigit() and len(text) < 9 else None


# --- Threads -----------------------------------------------------------------------------------------------------


async def apart(work: Callable[[], T]) -> T:
    """What `work` returns or raises, done in a thread of its own: one that hangs keeps nobody else waiting.

    The thread ends by itself, also when nobody waits for it any more, and never keeps the process from ending.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def tell(result: T | None, error: BaseException | None) -> None:
        if done.cancelled():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        result, error = None, None
        try:
            result = work()
        except Exception as fault:
            error = fault
        if not loop.is_closed():
            loop.call_soon_threadsafe(tell, result, error)

    threading.Thread(target=run, name="catalyst-outside", daemon=True).start()
    return await done


_getaddrinfo = socket.getaddrinfo
_guarded = threading.local()


def _getaddrinfo_guarded(*args: Any, **how: Any) -> Any:
    found = _getaddrinfo(*args, **how)
    networks = getattr(_guarded, "networks", None)
    if networks is None:
        return found
    good = [each for each in found if allowed(ip_address(str(each[4][0]).partition("%")[0]), networks)]
    if not good:
        _guarded.refused.append(str(args[0]))
        raise socket.gaierror(socket.EAI_NONAME, "no public address")
    return good


@contextmanager
def only_public(networks: Sequence[Network]) -> Iterator[list[str]]:
    """Within it this thread reaches no address that may not be reached, whatever library it runs (docs/gotchas.md).

    Gives the names that were refused, which grows meanwhile: a library may keep that to itself.

    A library's own connection cannot be given an address; so the look-up that it makes itself is what is checked.
    """
    socket.getaddrinfo = _getaddrinfo_guarded
    refused: list[str] = []
    _guarded.networks, _guarded.refused = networks, refused
    try:
        yield refused
    finally:
        _guarded.networks = None
