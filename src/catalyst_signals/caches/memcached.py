"""The cache on Memcached: `memcached://host[:11211],host,host`; each key is on one of the servers.

Owns: keys and times as Memcached takes them, and which server has what. Law: a counter is moved by compare-and-set and
by nothing else; the time is that of whoever asks, so the clocks of several machines must agree: one that is ahead makes
the others wait as long.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import re
import struct
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Self
from urllib.parse import urlsplit

from catalyst_signals.caches import VALUE_BYTES_MAX, gcra
from catalyst_signals.caches.memcached_line import FAILURES, Item, Server
from catalyst_signals.errors import Misconfigured, Unavailable
from catalyst_signals.urls import split

PORT = 11211
TIMEOUT_MS = 250
CONNECTIONS_MAX = 8  # To each server.
TRIES_MAX = 50  # Others moved the counter each time; beyond it nobody counted.
KEY_BYTES_MAX = 250
RELATIVE_S_MAX = 30 * 86_400  # Memcached reads a longer time as a date.

_FIT = re.compile(r"[!-~]+")
_Until = struct.Struct(">d")  # Before a value: Memcached itself knows whole seconds only.


class MemcachedCache:
    """Everybody who names the same servers and `prefix` shares it."""

    def __init__(self, addresses: Sequence[tuple[str, int]], *, prefix: str, timeout_s: float) -> None:
        self._servers = [Server(host, port, connections_max=CONNECTIONS_MAX) for host, port in addresses]
        self._prefix = prefix
        self._timeout_s = timeout_s

    @classmethod
    def from_url(cls, url: str) -> Self:
        """`memcached://host:11211,host?prefix=catalyst&timeout_ms=250`"""
        parts, query = split(url, known=frozenset(("timeout_ms", "prefix")))
        try:
            addresses = [_address(each) for each in parts.netloc.split(",")]
            timeout_s = float(query.get("timeout_ms", TIMEOUT_MS)) / 1000
            if not 0.001 <= timeout_s <= 60 or parts.path.strip("/") or "@" in parts.netloc:
                raise ValueError
        except ValueError:
            raise Misconfigured(
                "this is no URL of a Memcached: it has hosts and no password; timeout_ms is from 1 to 60000",
                field="cache_url", allowed="memcached://host:11211,host:11211",
            ) from None  # fmt: skip
        return cls(addresses, prefix=query.get("prefix", "catalyst"), timeout_s=timeout_s)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        for server in self._servers:
            server.close()

    async def get(self, key: str) -> bytes | None:
        """Cache.get"""
        return (await self.get_many([key])).get(key)

    async def get_many(self, keys: Sequence[str]) -> dict[str, bytes]:
        """Cache.get_many"""
        named = {self._named(key): key for key in keys}
        now_s = time.time()
        items = await self._items(list(named))
        return {
            named[name]: item.value[_Until.size :]
            for name, item in items.items()
            if _Until.unpack_from(item.value)[0] > now_s
        }

    async def _items(self, names: Sequence[bytes]) -> dict[bytes, Item]:
        by_server: dict[Server, list[bytes]] = {}
        for name in names:
            by_server.setdefault(self._server(name), []).append(name)
        found = await asyncio.gather(*(self._fetch(server, its) for server, its in by_server.items()))
        return {name: item for items in found for name, item in items.items()}

    async def _fetch(self, server: Server, names: Sequence[bytes]) -> dict[bytes, Item]:
        async with self._in_time():
            return await server.fetch(names)

    async def set(self, key: str, value: bytes, ttl_s: float) -> None:
        """Cache.set"""
        if len(value) > VALUE_BYTES_MAX:
            await self.delete(key)
        else:
            await self._store(b"set", self._named(key), _Until.pack(time.time() + ttl_s) + value, ttl_s)

    async def _store(self, verb: bytes, name: bytes, value: bytes, ttl_s: float, cas: bytes = b"") -> bool:
        async with self._in_time():
            return await self._server(name).store(verb, name, value, _whole_s(ttl_s), cas)

    async def delete(self, key: str) -> None:
        """Cache.delete"""
        name = self._named(key)
        async with self._in_time():
            await self._server(name).delete(name)

    async def take(self, key: str, rate: float, burst: float, count: float = 1) -> float:
        """Cache.take"""
        name = self._named(f"take:{key}")
        for _ in range(TRIES_MAX):
            item = (await self._items([name])).get(name)
            now_s = time.time()
            due_s, wait_s = gcra(float(item.value) if item is not None else 0.0, now_s, rate, burst, count)
            if wait_s:
                return wait_s
            verb, cas = (b"add", b"") if item is None else (b"cas", item.cas)
            if await self._store(verb, name, repr(due_s).encode(), due_s - now_s, cas):
                return 0.0
        raise Unavailable(f"{TRIES_MAX} times others moved this counter meanwhile")

    def _named(self, key: str) -> bytes:
        """A key as Memcached takes it: hashed if it is too long, or has what would end it."""
        name = f"{self._prefix}:{key}"
        if len(name) <= KEY_BYTES_MAX and _FIT.fullmatch(name):
            return name.encode()
        return hashlib.sha256(name.encode()).hexdigest().encode()

    def _server(self, name: bytes) -> Server:
        """Where a key is: one more server, or one less, moves no other keys than its own."""
        if len(self._servers) == 1:
            return self._servers[0]
        return max(self._servers, key=lambda server: hashlib.sha256(server.name.encode() + b" " + name).digest())

    @asynccontextmanager
    async def _in_time(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._timeout_s):
                yield
        except FAILURES as error:
            where = ",".join(server.name for server in self._servers)
            raise Unavailable(f"the cache at {where} does not answer: {error!r}") from error


def _whole_s(ttl_s: float) -> int:
    """Not before the time is over, as Memcached takes it."""
    whole_s = math.ceil(ttl_s) + 1
    return whole_s if whole_s < RELATIVE_S_MAX else math.ceil(time.time()) + whole_s


def _address(text: str) -> tuple[str, int]:
    parts = urlsplit(f"//{text}")
    if not parts.hostname:
        raise ValueError(text)
    return parts.hostname, parts.port or PORT
