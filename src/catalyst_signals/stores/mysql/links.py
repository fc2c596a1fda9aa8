"""Connections to a MySQL or MariaDB server: opened with the settings we need, reused, thrown away when in doubt.

Owns: the driver, the server's settings that durability hangs on, time-outs, and what the driver's errors mean. Knows
nothing of the log. Law: a connection on which anything failed is closed, so that its transaction ends; what surely was
not stored is tried again here, what may have been is StoreUnavailable.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import unquote

import asyncmy
from asyncmy.errors import DataError, IntegrityError, MySQLError

from catalyst_signals.errors import (
    CatalystError,
    InvalidRequest,
    Misconfigured,
    StoreCorrupt,
    StoreFull,
    StoreUnavailable,
)
from catalyst_signals.urls import split, without_password

T = TypeVar("T")
Rows = list[tuple[Any, ...]]

CONNECT_S = 5.0
CALL_S = 15.0  # All of a call: waiting for a connection, for a lock (LOCK_S), and tries.
LOCK_S = 5
IDLE_S = 2  # So long may a transaction wait for its client; one that is cut off holds nobody up for longer.
TRIES_MAX = 5
PACKET_BYTES_MIN = 16 << 20  # MariaDB's default. One draft may have 4 MiB, and twice that once it is quoted.
PACKET_SLACK = 64 << 10

DEADLOCK, LOCK_TIMEOUT, CHANGED_SINCE, DUPLICATE = 1213, 1205, 1020, 1062
BEGIN_AGAIN = frozenset((DEADLOCK, LOCK_TIMEOUT, CHANGED_SINCE, DUPLICATE))  # Rolled back, all of it.
FULL = frozenset((1021, 1114))
SERVER_ERRORS = range(1000, 2000)  # Below and above it is the driver's own word: the server may have done it.

DriverErrors = (MySQLError, OSError, TimeoutError)

SETTINGS = (
    f"SET SESSION sql_mode = 'STRICT_ALL_TABLES', time_zone = '+00:00', innodb_lock_wait_timeout = {LOCK_S},"
    f" net_read_timeout = {LOCK_S}, net_write_timeout = {LOCK_S}"
).encode()
ASKED = b"SELECT @@max_allowed_packet, @@innodb_flush_log_at_trx_commit, @@log_bin, @@sync_binlog"
LIMIT, NO_LIMIT = f"SET SESSION wait_timeout = {IDLE_S}".encode(), b"SET SESSION wait_timeout = DEFAULT"


@dataclass(frozen=True, slots=True)
class Address:
    """Where the server is, who we are there, and which database is ours."""

    host: str
    port: int
    user: str
    password: str
    database: str
    shown: str  # The URL without its password.


def address_of(url: str) -> Address:
    """`mysql://user:password@host:3306/database`

    Raises:
        Misconfigured: something is missing.
    """
    parts, _ = split(url)
    database = unquote(parts.path.removeprefix("/"))
    if not parts.hostname or not parts.username or not database or "/" in database:
        raise Misconfigured(
            "a MySQL store is `mysql://USER:PASSWORD@HOST:PORT/DATABASE`", field="store_url", got=without_password(url)
        )
    return Address(
        parts.hostname, parts.port or 3306, unquote(parts.username), unquote(parts.password or ""), database,
        without_password(url),
    )  # fmt: skip


class Link:
    """One connection, with what the server said of itself."""

    def __init__(self, connection: asyncmy.Connection) -> None:
        self._connection = connection
        self.packet_bytes = PACKET_BYTES_MIN - PACKET_SLACK
        self.shows_before_flushed = True
        self.reused = False
        self.committing = False  # From when a COMMIT may have been sent until it was answered.

    def learn(self, facts: tuple[Any, ...]) -> None:
        """What ASKED was answered.

        Raises:
            Misconfigured: the server does not keep what it answered, or takes too little at once.
        """
        packet, flush, binlog, sync = (int(fact) for fact in facts)
        _check(packet, flush, binlog, sync)
        self.packet_bytes = packet - PACKET_SLACK
        self.shows_before_flushed = not binlog

    @property
    def alive(self) -> bool:
        """As far as is known here."""
        transport = self._transport
        return transport is not None and not transport.is_closing()

    @property
    def _transport(self) -> asyncio.WriteTransport | None:
        # The driver's own `close` waits for what a server that hangs does not take.
        transport: asyncio.WriteTransport | None = self._connection._transport  # type: ignore[attr-defined]
        return transport

    async def ask(self, *statements: bytes) -> list[Rows]:
        """What each statement answers; as many as fit are sent together and done one after the other."""
        found: list[Rows] = []
        cursor = self._connection.cursor()
        for packet in self._packets(statements):
            await cursor.execute(packet)
            found.append(list(await cursor.fetchall()))
            while await cursor.nextset():
                found.append(list(await cursor.fetchall()))
        return found

    async def commit(self, *statements: bytes) -> None:
        """These, and the end of the transaction. If it raises, the outcome may be unknown."""
        self.committing = True
        await self.ask(*statements, b"COMMIT", NO_LIMIT)
        self.committing = False

    def _packets(self, statements: Iterable[bytes]) -> Iterable[bytes]:
        packet: list[bytes] = []
        room = self.packet_bytes
        for statement in statements:
            if packet and len(statement) >= room:
                yield b";".join(packet)
                packet, room = [], self.packet_bytes
            packet.append(statement)
            room -= len(statement) + 1
        if packet:
            yield b";".join(packet)

    async def roll_back(self) -> None:
        """Nothing of the transaction is stored."""
        await self.ask(b"ROLLBACK", NO_LIMIT)

    def drop(self) -> None:
        """Closed at once; the server takes back what was not committed."""
        if self._transport is not None:
            self._transport.abort()
        self._connection.close()

    async def close(self) -> None:
        """With a good-bye, or without one if the server takes too long."""
        try:
            async with asyncio.timeout(1):
                await self._connection.ensure_closed()
        except DriverErrors:
            self.drop()


class Pool:
    """At most `size` connections at once; `isolation` as MySQL calls it."""

    def __init__(self, address: Address, size: int, isolation: str) -> None:
        self._address = address
        self._isolation = isolation
        self._slots = asyncio.Semaphore(size)
        self._free: list[Link] = []
        self._connected_once = False
        self.fault: StoreCorrupt | None = None  # Why a person must look at the tables first.

    async def do(self, work: Callable[[Link], Awaitable[T]], within_s: float | None = None) -> T:
        """What `work` does on a connection; all over again while surely nothing of it was stored, within CALL_S.

        Raises:
            StoreFull: the disk is full, nothing was stored.
            StoreUnavailable: the outcome is unknown, or it does not work for now.
            StoreCorrupt: what stands in the tables cannot have been written by us; `fault` from now on.
            InvalidRequest: a value has no room in its column.
        """
        tries = 0
        try:
            async with asyncio.timeout(CALL_S if within_s is None else within_s):
                while True:
                    async with self._slots:
                        link = self._idle() or await self._connect()
                        try:
                            return await self._on(link, work)
                        except DriverErrors as error:
                            tries += 1
                            if _code(error) not in SERVER_ERRORS:
                                self._forget()
                            if tries == TRIES_MAX or not _again(error, link):
                                raise
                    await asyncio.sleep(random.random() * 0.01)
        except DriverErrors as error:
            said = _said(error, self._address)
            self.fault = said if isinstance(said, StoreCorrupt) else self.fault
            raise said from error

    async def _on(self, link: Link, work: Callable[[Link], Awaitable[T]]) -> T:
        """What `work` answers or refuses; the connection is free for the next one then, else it is thrown away."""
        good = False
        try:
            try:
                result = await work(link)
            except (CatalystError, ValueError):
                await link.roll_back()
                good = True
                raise
            good = True
            return result
        finally:
            if good:
                link.reused = True
                self._free.append(link)
            else:
                link.drop()

    def _idle(self) -> Link | None:
        while self._free:
            link = self._free.pop()
            if link.alive:
                return link
            link.drop()
        return None

    async def _connect(self) -> Link:
        to = self._address
        async with asyncio.timeout(CONNECT_S):
            connection = await asyncmy.connect(
                host=to.host, port=to.port, user=to.user, password=to.password, database=to.database,
                charset="utf8mb4", autocommit=True, connect_timeout=CONNECT_S,
            )  # fmt: skip
            link = Link(connection)
            try:
                isolation = f"SET SESSION TRANSACTION ISOLATION LEVEL {self._isolation}"
                link.learn((await link.ask(SETTINGS, isolation.encode(), ASKED))[-1][0])
            except Misconfigured as error:
                link.drop()
                if self._connected_once:  # It was set up well when this process began.
                    raise StoreUnavailable(error.message) from error
                raise
            except BaseException:
                link.drop()
                raise
        self._connected_once = True
        return link

    def _forget(self) -> None:
        """The server went away, or does not answer: idle connections went with it."""
        while self._free:
            self._free.pop().drop()

    async def close(self) -> None:
        """Those that nobody uses."""
        while self._free:
            await self._free.pop().close()


def _check(packet: int, flush: int, binlog: int, sync: int) -> None:
    """`sync_binlog`: with a binary log, that is what a crash is recovered from."""
    if flush != 1 or (binlog and sync != 1):
        raise Misconfigured(
            "the server answers before what it stored is on the disk: set innodb_flush_log_at_trx_commit = 1"
            " (and sync_binlog = 1 where there is a binary log) in its configuration, or by SET GLOBAL",
            field="store_url",
            got=f"innodb_flush_log_at_trx_commit = {flush}, log_bin = {binlog}, sync_binlog = {sync}",
        )
    if packet < PACKET_BYTES_MIN:
        raise Misconfigured(
            f"the server takes too little at once: set max_allowed_packet = {PACKET_BYTES_MIN} or more",
            field="store_url", got=packet, allowed=PACKET_BYTES_MIN,
        )  # fmt: skip


def _code(error: Exception) -> int:
    return error.args[0] if isinstance(error, MySQLError) and error.args and isinstance(error.args[0], int) else 0


def _again(error: Exception, link: Link) -> bool:
    """Whether surely nothing was stored, and the next try may end better."""
    code = _code(error)
    lost_idle = code not in SERVER_ERRORS and link.reused and not isinstance(error, TimeoutError)
    return code in BEGIN_AGAIN or (lost_idle and not link.committing)


def _said(error: Exception, address: Address) -> CatalystError:
    """The driver's error in our words."""
    if _code(error) in FULL:
        return StoreFull()
    if isinstance(error, IntegrityError):
        return StoreCorrupt(f"the log in MySQL cannot be trusted ({error.args[-1]}); run `catalyst verify` on it")
    if isinstance(error, DataError):
        return InvalidRequest(f"MySQL cannot keep this: {error.args[-1]}")
    if isinstance(error, TimeoutError):
        return StoreUnavailable(f"{address.shown} did not answer in time")
    return StoreUnavailable(f"{address.shown}: {error.args[-1] if error.args else error!r}")
