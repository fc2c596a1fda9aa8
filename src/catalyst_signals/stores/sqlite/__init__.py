"""The log in one SQLite file: one thread writes, another reads, a lock file keeps a second writer out.

Owns: the two threads, the transaction, and what is done after one failed. Laws: every commit is fsynced
(`synchronous=FULL`); reading never waits for a commit; what an I/O error left behind is opened anew and verified before
anyone is answered, since a failed fsync may lie the second time. What stands in the file: rows.py. How: opening.py.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any, Self, TypeVar
from urllib.parse import unquote

from catalyst_signals.errors import CatalystError, Misconfigured, StoreCorrupt, StoreFull, StoreUnavailable
from catalyst_signals.events import Batch, Event, Extent, Kept, Known, Refused, Stored, now_us
from catalyst_signals.stores import PAGE_BYTES_MAX
from catalyst_signals.stores.sqlite import opening, rows
from catalyst_signals.stores.sqlite.opening import SqliteErrors
from catalyst_signals.urls import split

log = logging.getLogger("catalyst.sqlite")
T = TypeVar("T")

VERIFIED_AFTER_ERROR = 1000  # Events of each channel.


class SqliteStore:
    """One file. Open it to write (and hold its lock), or `readonly` beside a running server."""

    durability = "disk"

    def __init__(self, path: str | Path, *, readonly: bool = False) -> None:
        self._path = Path(path)
        self._readonly = readonly
        self._lock: IO[str] | None = None
        self._write: sqlite3.Connection | None = None
        self._read: sqlite3.Connection | None = None
        self._heads: dict[str, rows.Head] = {}  # As committed; the writing thread's alone.
        self._corrupt: StoreCorrupt | None = None
        self._writer = ThreadPoolExecutor(1, "sqlite-writer")
        self._reader = ThreadPoolExecutor(1, "sqlite-reader")

    @classmethod
    def from_url(cls, url: str) -> Self:
        """`sqlite:///relative.db`, `sqlite:////absolute.db`, with `?readonly=1` to look only."""
        parts, query = split(url, known=frozenset(("readonly",)))
        path = unquote(parts.path.removeprefix("/"))
        if not path or parts.netloc:
            raise Misconfigured(
                "a SQLite store is `sqlite:///FILE`, with four slashes for an absolute path", field="store_url", got=url
            )
        readonly = query.get("readonly", "0")
        if readonly not in ("0", "1"):
            raise Misconfigured("`readonly` is 0 or 1", field="readonly", got=readonly, allowed=["0", "1"])
        return cls(path, readonly=readonly == "1")

    async def __aenter__(self) -> Self:
        try:
            if not self._readonly:
                await self._in(self._writer, self._open)
            await self._in(self._reader, self._open_reader)
        except SqliteErrors as error:
            await self.__aexit__()
            kind = StoreCorrupt if opening.is_damage(error) else Misconfigured
            raise kind(f"{self._path} cannot be opened: {error}", field="store_url", got=str(self._path)) from error
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._in(self._reader, self._close_reader)
        await self._in(self._writer, self._close)
        self._reader.shutdown()
        self._writer.shutdown()

    def _in(self, thread: ThreadPoolExecutor, work: Callable[..., T], *args: Any) -> asyncio.Future[T]:
        """`work` in that thread. It is finished also when the caller goes away."""
        outcome = asyncio.get_running_loop().run_in_executor(thread, work, *args)
        outcome.add_done_callback(lambda done: done.cancelled() or done.exception())  # Seen, also if nobody waits.
        return asyncio.shield(outcome)

    # -- the writing thread -------------------------------------------------------------------------------------

    async def append(self, batches: Sequence[Batch]) -> list[Stored | Refused]:
        """Store.append: one transaction for all batches."""
        return await self._in(self._writer, self._append, batches)

    def _append(self, batches: Sequence[Batch]) -> list[Stored | Refused]:
        def work(connection: sqlite3.Connection) -> rows.Change:
            return rows.Change(connection, self._heads, batches, now_us(), self.durability)

        try:
            change = self._commit(work)
        except StoreFull as full:
            return [Refused(full)] * len(batches)
        self._heads |= change.moved
        return change.results

    async def keep(
        self, name: str, channel: str, seq: int, state: bytes = b"", *,
        was: int, holder: str | None = None, ttl_s: float = 0,
    ) -> bool:  # fmt: skip
        """Store.keep"""

        def work(connection: sqlite3.Connection) -> bool:
            now = now_us()
            kept = rows.kept(connection, name, channel)
            if kept.seq != was or (kept.holder not in (None, holder) and kept.until_us > now):
                return False
            until_us = now + int(ttl_s * 1_000_000) if holder else 0
            rows.keep(connection, name, channel, Kept(seq, state, holder, until_us))
            return True

        return await self._transact(work)

    async def drop(self, channel: str, through: int) -> Extent:
        """Store.drop: in several transactions if it is much, so that appends come between."""

        def work(connection: sqlite3.Connection) -> Extent:
            return rows.drop_some(connection, channel, through)

        while True:
            extent = await self._transact(work)
            if extent.first > min(through, extent.last):
                return extent

    async def begin_epoch(self, channel: str, first: int, reason: str) -> Extent:
        """Store.begin_epoch"""

        def work() -> Extent:
            extent = self._commit(lambda connection: rows.begin_epoch(connection, channel, first, reason))
            head = self._heads[channel]
            head.last, head.epoch = extent.last, extent.epoch
            return extent

        return await self._in(self._writer, work)

    async def _transact(self, work: Callable[[sqlite3.Connection], T]) -> T:
        return await self._in(self._writer, lambda: self._commit(work))

    def _commit(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` as one durable transaction.

        Raises:
            StoreFull: rolled back cleanly.
            StoreUnavailable: the outcome is unknown; the file was opened anew and verified.
            StoreCorrupt: the file cannot be trusted any more.
        """
        connection = self._ready()
        try:
            connection.execute("BEGIN IMMEDIATE")
            result = work(connection)
            connection.execute("COMMIT")
        except SqliteErrors as error:
            raise self._recovered(connection, error) from error
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        return result

    def _ready(self) -> sqlite3.Connection:
        if self._readonly:
            raise Misconfigured(f"{self._path} was opened to read only", field="readonly", got="1")
        if self._corrupt is not None:
            raise self._corrupt.with_traceback(None)
        if self._write is None:
            self._open_again()
        assert self._write is not None
        return self._write

    def _recovered(self, connection: sqlite3.Connection, error: Exception) -> CatalystError:
        """What a failed transaction is answered with, once the file is in order again."""
        if opening.is_busy(error) and _rolled_back(connection):
            return StoreUnavailable(f"another program holds {self._path} ({error}); nothing was stored, try again")
        if opening.is_full(error, self._path) and _rolled_back(connection):
            return StoreFull()
        log.error("an I/O error at commit, opening the file anew", extra={"reason": str(error)})
        connection.close()
        self._write = None
        if isinstance(error, sqlite3.IntegrityError) or opening.is_damage(error):
            self._corrupt = StoreCorrupt(f"{self._path} cannot be trusted ({error}); run `catalyst verify` on it")
            return self._corrupt
        self._open_again()
        return StoreUnavailable(f"the store had an I/O error ({error}); it was opened anew and verified")

    def _open_again(self) -> None:
        """The file as the next commit finds it; believed only after its newest events were verified."""
        try:
            self._open()
            assert self._write is not None
            faults = (rows.tail_fault(self._write, channel, VERIFIED_AFTER_ERROR) for channel in self._heads)
            self._corrupt = next((fault for fault in faults if fault is not None), None)
        except (*SqliteErrors, Misconfigured) as error:
            if self._write is not None:
                self._write.close()
                self._write = None
            raise StoreUnavailable(f"the store cannot be opened again yet: {error}") from error
        if self._corrupt is not None:
            raise self._corrupt

    def _open(self) -> None:
        if self._lock is None:
            self._lock = opening.take_lock(self._path)
        self._write = opening.open_to_write(self._path)
        self._heads = rows.read_heads(self._write)

    def _close(self) -> None:
        if self._write is not None:
            try:
                self._write.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            except SqliteErrors as error:
                log.warning("the last checkpoint failed; the next start does it", extra={"reason": str(error)})
            self._write.close()
            self._write = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    # -- the reading thread -------------------------------------------------------------------------------------

    async def read(self, channel: str, after: int, limit: int, bytes_max: int = PAGE_BYTES_MAX) -> list[Event]:
        """Store.read"""
        return await self._in(self._reader, self._look, rows.read, channel, after, limit, bytes_max)

    async def extents(self, channels: Iterable[str] | None = None) -> dict[str, Extent]:
        """Store.extents"""
        return await self._in(self._reader, self._look, rows.extents, channels)

    async def find(self, channel: str, ids: Sequence[str]) -> dict[str, Known]:
        """Store.find"""

        def work(connection: sqlite3.Connection) -> dict[str, Known]:
            return rows.find(connection, rows.standing(connection, channel)[0], ids)

        return await self._in(self._reader, self._look, work)

    async def kept(self, name: str, channel: str) -> Kept:
        """Store.kept"""
        return await self._in(self._reader, self._look, rows.kept, name, channel)

    def _look(self, work: Callable[..., T], *args: Any) -> T:
        """Run `work` on one state of the log, whatever is committed meanwhile."""
        try:
            connection = self._read or self._open_reader()
            connection.execute("BEGIN")
            try:
                return work(connection, *args)
            finally:
                connection.execute("COMMIT")
        except SqliteErrors as error:
            self._close_reader()
            if opening.is_damage(error):
                raise StoreCorrupt(f"{self._path} is damaged: {error}") from error
            raise StoreUnavailable(f"the store could not be read: {error}") from error

    def _open_reader(self) -> sqlite3.Connection:
        self._read = opening.open_to_read(self._path)
        return self._read

    def _close_reader(self) -> None:
        if self._read is not None:
            self._read.close()
            self._read = None


def _rolled_back(connection: sqlite3.Connection) -> bool:
    """Whether the connection could go back to what is committed; some errors make SQLite do it by itself."""
    try:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
    except SqliteErrors:
        return False
    return True
