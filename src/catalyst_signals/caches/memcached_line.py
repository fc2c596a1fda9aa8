"""Memcached's text protocol, as far as the cache needs it: fetch, store, delete, over a few connections to a server.

Owns: bytes and connections. Knows nothing of what is kept. Laws: a connection has one question at a time, and whatever
goes wrong on it, a caller who gave up included, ends it: no answer can reach anyone but who asked.

Why not a driver (read in their sources, 2026-11): aiomcache gives a connection back after a call that was cancelled,
with the answer still to come, so that the next one gets it for his own; emcache connects again after up to a minute,
one await deeper each time, and no more once that is too deep. What is needed of the protocol is less than what would
have to be put around either.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple

FAILURES = (OSError, EOFError, TimeoutError, ValueError)
"""All that a call raises when the server is away, hangs or says what cannot be."""


class Item(NamedTuple):
    """A value, and what it must still be for `cas` to store another."""

    value: bytes
    cas: bytes


class _Line:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @property
    def open(self) -> bool:
        return not self._reader.at_eof() and not self._writer.is_closing()

    def close(self) -> None:
        self._writer.transport.abort()

    async def ask(self, words: Sequence[bytes], body: bytes | None = None) -> bytes:
        """The first line of the answer."""
        self._writer.write(b" ".join(words) + b"\r\n" + (b"" if body is None else body + b"\r\n"))
        await self._writer.drain()
        return await self.line()

    async def line(self) -> bytes:
        line = await self._reader.readline()
        if not line.endswith(b"\r\n"):
            raise EOFError("the connection was closed")
        return line[:-2]

    async def value(self, size: int) -> bytes:
        return (await self._reader.readexactly(size + 2))[:-2]


class Server:
    """One Memcached. Every call raises one of FAILURES if it cannot be answered."""

    def __init__(self, host: str, port: int, *, connections_max: int) -> None:
        self.name = f"{host}:{port}"
        self._host, self._port = host, port
        self._room = asyncio.Semaphore(connections_max)
        self._idle: list[_Line] = []

    def close(self) -> None:
        """Nothing is open afterwards."""
        while self._idle:
            self._idle.pop().close()

    async def fetch(self, names: Sequence[bytes]) -> dict[bytes, Item]:
        """What is there of these."""
        found: dict[bytes, Item] = {}
        async with self._line() as line:
            answer = await line.ask([b"gets", *names])
            while answer != b"END":
                kind, name, _, size, cas = answer.split(b" ")
                if kind != b"VALUE":
                    raise ValueError(answer)
                found[name] = Item(await line.value(int(size)), cas)
                answer = await line.line()
        return found

    async def store(self, verb: bytes, name: bytes, value: bytes, ttl_s: int, cas: bytes = b"") -> bool:
        """`set`; `add`, False if there is one already; `cas`, False if it is another by now."""
        words = [verb, name, b"0", b"%d" % ttl_s, b"%d" % len(value), *([cas] if cas else [])]
        async with self._line() as line:
            answer = await line.ask(words, value)
            if answer not in (b"STORED", b"NOT_STORED", b"EXISTS", b"NOT_FOUND"):
                raise ValueError(answer)
        return answer == b"STORED"

    async def delete(self, name: bytes) -> None:
        """It is not there."""
        async with self._line() as line:
            answer = await line.ask([b"delete", name])
            if answer not in (b"DELETED", b"NOT_FOUND"):
                raise ValueError(answer)

    @asynccontextmanager
    async def _line(self) -> AsyncIterator[_Line]:
        async with self._room:
            line = self._rested() or _Line(*await asyncio.open_connection(self._host, self._port))
            try:
                yield line
            except BaseException:
                line.close()
                raise
            self._idle.append(line)

    def _rested(self) -> _Line | None:
        """A connection that waits for its next question and was not closed meanwhile."""
        while self._idle:
            line = self._idle.pop()
            if line.open:
                return line
            line.close()
        return None
