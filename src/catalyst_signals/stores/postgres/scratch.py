"""A throw-away database on the server of a `postgresql:` URL, for measuring what it does.

Owns: its name, and that it goes. Law: nothing is read or written in the database of the URL.
"""

from __future__ import annotations

import secrets
from typing import Self
from urllib.parse import parse_qsl, urlencode, urlsplit

from psycopg.errors import InsufficientPrivilege

from catalyst_signals.errors import Misconfigured
from catalyst_signals.stores.postgres.address import parse
from catalyst_signals.stores.postgres.line import Line
from catalyst_signals.stores.postgres.pool import Pool

PREFIX = "catalyst_scratch_"
ITS_OWN = ("dbname", "replica")  # Parameters that would lead elsewhere.
MAKE_S = 30.0  # The server copies its template, and checkpoints.


class PostgresScratch:
    """Stores.Scratch; its user must be allowed to make a database."""

    def __init__(self, url: str) -> None:
        self._name = PREFIX + secrets.token_hex(6)
        self._pool = Pool(parse(url).primary, 1, "postgres-scratch")
        parts = urlsplit(url)
        query = urlencode([each for each in parse_qsl(parts.query) if each[0] not in ITS_OWN])
        self.url = parts._replace(path=f"/{self._name}", query=query).geturl()

    @classmethod
    def from_url(cls, url: str) -> Self:
        """As PostgresStore.from_url."""
        return cls(url)

    async def __aenter__(self) -> Self:
        try:
            await self._pool.run(_make, self._name, wait_s=MAKE_S)
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        try:
            await self._pool.run(_remove, self._name, wait_s=MAKE_S)
        finally:
            await self._pool.close()

    async def size_bytes(self) -> int:
        """Scratch.size_bytes"""
        return await self._pool.run(_size, self._name)


def _make(line: Line, name: str) -> None:
    try:
        line.connection.execute(f"CREATE DATABASE {name}")
    except InsufficientPrivilege as error:
        raise Misconfigured(
            "what is measured needs a database of its own, and this user may not make one: `ALTER ROLE ... CREATEDB`,"
            " or give the URL of a server beside it",
            field="store_url",
        ) from error


def _remove(line: Line, name: str) -> None:
    line.connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def _size(line: Line, name: str) -> int:
    rows = line.connection.execute("SELECT pg_database_size(%s)", (name,)).fetchall()
    return int(rows[0][0])
