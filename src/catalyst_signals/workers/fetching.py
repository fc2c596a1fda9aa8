"""One document from the outside over HTTP: asked for only if it changed, bounded in time and size.

Owns: the GET, what was remembered of the last answer, redirects, how often one host is asked. Which addresses may be
reached is outside.py's. Knows nothing of feeds or events.
Laws: every hop of a redirect is checked as the first one is, and none leads from TLS to without; of an answer no more
than BYTES_MAX is read, also unpacked; no host is asked more often than ten times a second, which is what the SEC asks.
"""

from __future__ import annotations

import asyncio
import ssl
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import SplitResult, urljoin

from catalyst_signals.errors import InvalidRequest
from catalyst_signals.workers.outside import (
    Network,
    NotReached,
    connected,
    request_head,
    seconds_of,
    split,
    words_of,
)

WITHIN_S = 30.0
BYTES_MAX = 4 << 20
CHUNK_HEAD_BYTES_MAX = 1024
REDIRECTS_MAX = 3
APART_S = 0.11  # Two requests to one host.
HOSTS_KEPT = 1000
RETRY_AFTER_S_MAX = 3600.0
_MOVED = (301, 302, 303, 307, 308)


@dataclass(frozen=True, slots=True)
class Seen:
    """What tells the server which version we have."""

    etag: str = ""
    modified: str = ""


@dataclass(frozen=True, slots=True)
class Document:
    """What came, and what to remember of it once it was dealt with."""

    body: bytes
    content_type: str
    seen: Seen


class Refusal(NotReached):
    """The server answered with something else than a document; it may have said when to ask again."""

    def __init__(self, text: str, retry_after_s: float | None = None) -> None:
        super().__init__(text)
        self.retry_after_s = min(retry_after_s, RETRY_AFTER_S_MAX) if retry_after_s is not None else None


class Turns:
    """When each host may be asked next."""

    def __init__(self) -> None:
        self._next_s: dict[str, float] = {}

    async def wait(self, host: str) -> None:
        """Return once it is ours to ask."""
        now_s = time.monotonic()
        at_s = max(now_s, self._next_s.pop(host, 0.0))
        self._next_s[host] = at_s + APART_S
        if len(self._next_s) > HOSTS_KEPT:
            self._next_s = {name: moment for name, moment in self._next_s.items() if moment > now_s}
        await asyncio.sleep(at_s - now_s)


async def fetch(
    url: str, seen: Seen, headers: dict[str, str], networks: Sequence[Network], turns: Turns
) -> Document | None:
    """The document at `url`; None if it is still the one that we have seen.

    Raises:
        NotReached: there was no answer, or one that is of no use (`Refusal`); says why, never the URL.
    """
    try:
        async with asyncio.timeout(WITHIN_S):
            return await _fetch(split(url), seen, headers, networks, turns)
    except TimeoutError:
        raise NotReached(f"it was not there within {WITHIN_S:g} s") from None
    except ssl.SSLCertVerificationError as error:
        raise NotReached(f"its certificate is not good: {error.verify_message}") from None
    except InvalidRequest:
        raise Refusal("it leads to an address that is none") from None
    except (OSError, EOFError, ValueError, asyncio.LimitOverrunError, zlib.error) as error:
        raise NotReached(words_of(error)) from None


async def _fetch(
    parts: SplitResult, seen: Seen, headers: dict[str, str], networks: Sequence[Network], turns: Turns
) -> Document | None:
    asked = {**headers, "Accept-Encoding": "gzip, identity"}
    asked |= {"If-None-Match": seen.etag} if seen.etag else {}
    asked |= {"If-Modified-Since": seen.modified} if seen.modified else {}
    for _ in range(REDIRECTS_MAX + 1):
        await turns.wait(parts.hostname or "")
        status, said, body = await _get(parts, asked, networks)
        if status not in _MOVED:
            return _document(status, said, body)
        following = split(urljoin(parts.geturl(), said.get("location", "")))
        if parts.scheme == "https" and following.scheme != "https":
            raise Refusal("it leads from https to http")
        parts = following
    raise Refusal(f"it leads on more than {REDIRECTS_MAX} times")


def _document(status: int, said: dict[str, str], body: bytes) -> Document | None:
    if status == 304:
        return None
    if status != 200:
        raise Refusal(f"it answered {status}", seconds_of(said.get("retry-after", "")))
    if said.get("content-encoding", "identity").lower() in ("gzip", "x-gzip"):
        body = _unpacked(body)
    return Document(body, said.get("content-type", ""), Seen(said.get("etag", ""), said.get("last-modified", "")))


def _unpacked(body: bytes) -> bytes:
    packed = zlib.decompressobj(wbits=31)
    found = packed.decompress(body, BYTES_MAX + 1)
    if len(found) > BYTES_MAX:
        raise Refusal(f"it is larger than {BYTES_MAX >> 20} MiB")
    if not packed.eof:
        raise EOFError
    return found


async def _get(
    parts: SplitResult, headers: dict[str, str], networks: Sequence[Network]
) -> tuple[int, dict[str, str], bytes]:
    reader, writer = await connected(parts, networks)
    try:
        writer.write(request_head("GET", parts, headers))
        status, said = 100, dict[str, str]()
        while status < 200:
            status, said = _head(await reader.readuntil(b"\r\n\r\n"))
        return status, said, await _body(reader, said) if status == 200 else b""
    finally:
        writer.transport.abort()


def _head(head: bytes) -> tuple[int, dict[str, str]]:
    first, *lines = head.decode("latin-1").split("\r\n")
    version, _, rest = first.partition(" ")
    if not version.startswith("HTTP/1."):
        raise ValueError(version)
    said = (line.partition(":") for line in lines if line)
    return int(rest[:3]), {name.strip().lower(): value.strip()[:1024] for name, _, value in said}


async def _body(reader: asyncio.StreamReader, said: dict[str, str]) -> bytes:
    if "chunked" in said.get("transfer-encoding", "").lower():
        return await _chunks(reader)
    length = said.get("content-length")
    if length is None:
        return await _to_the_end(reader)
    _check_size(int(length))
    return await reader.readexactly(int(length))


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    found = bytearray()
    while True:
        line = await reader.readline()
        if len(line) > CHUNK_HEAD_BYTES_MAX or not line.endswith(b"\n"):
            raise EOFError
        size = int(line.partition(b";")[0], 16)
        if not size:
            return bytes(found)
        _check_size(len(found) + size)
        found += await reader.readexactly(size)
        await reader.readexactly(2)


async def _to_the_end(reader: asyncio.StreamReader) -> bytes:
    found = bytearray()
    while piece := await reader.read(64 << 10):
        found += piece
        _check_size(len(found))
    return bytes(found)


def _check_size(size: int) -> None:
    if not 0 <= size <= BYTES_MAX:
        raise Refusal(f"it is larger than {BYTES_MAX >> 20} MiB")
