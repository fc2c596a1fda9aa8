"""The log in one SQLite file: one thread writes, another reads, a lock file keeps a second writer out.

Owns: the two threads, the transaction, and what is done after one failed. Laws: every commit is fsynced
(`synchronous=FULL`); reading never waits for a commit; what an I/O error left behind is opened anew and verified before
anyone is answered, since a failed fsync may lie the second time. What stands in the file: rows.py. How: opening.py.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Self, TypeVar
from urllib.parse import unquote

from catalyst_signals.errors import (
    CatalystError,
    Misconfigured,
    StoreCorrupt,
    StoreFull,
    StoreUnavailable,
)
from catalyst_signals.events import Batch, Event, Extent, Kept, Known, Part, Refused, Stored, now_us
from catalyst_signals.ledger import Note, Noted
from catalyst_signals.stores import PAGE_BYTES_MAX
from catalyst_signals.stores.batches import Head
from catalyst_signals.stores.fencing import FencedHere
from catalyst_signals.stores.sqlite import ledger, marks, opening, parts, rows
from catalyst_signals.stores.sqlite.opening import SqliteErrors
from catalyst_signals.urls import split

log = logging.getLogger("catalyst.sqlite")
T = TypeVar("T")

VERIFIED_AT_OPENING = 1000  # Events of each channel: what the last commits before a power cut can have spoilt.
MARK_S = 1.0  # Nothing stays unmarked for longer: it could be missing from an older file without being noticed.
MARK_DUTY = 0.01  # Of the writer's time: with few channels that is after every commit.
WAL_BYTES_MAX = 24 << 20  # From here on commits wait for readers who, by overlapping, never let it begin again.
WAL_WAIT_MS = 250  # A page is read in milliseconds; a backup is not, and is not waited for.
CLOSE_WAIT_MS = 1000  # For the last checkpoint; the next start does it as well.
ERASE_TRIES, ERASE_AGAIN_S = 100, 0.05  # A page that is being read is done in milliseconds, a backup is not.


class SqliteStore(FencedHere):
    """One file. Open it to write (and hold its lock), or `readonly` beside a running server."""

    durability = "disk"

    def __init__(self, path: str | Path, *, readonly: bool = False) -> None:
        super().__init__()
        self.path = Path(path)
        self._readonly = readonly
        self._lock: IO[str] | None = None
        self._write: sqlite3.Connection | None = None
        self._read: sqlite3.Connection | None = None
        self._heads: dict[str, Head] = {}  # As committed; the writing thread's alone.
        self._corrupt: StoreCorrupt | None = None
        self._marks: dict[str, marks.Mark] = {}  # As they were found; of channels that have none of ours yet.
        self._above: dict[str, int] = {}  # Where these begin when they are opened, since there was a log before.
        self._adopted: set[str] = set()  # Judged by the marks that were found when the file is opened the next time.
        self._judged = False  # Whether the file was compared with its marks; before that they are not replaced.
        self._wal_bytes_max = WAL_BYTES_MAX
        self._marking: asyncio.TimerHandle | None = None
        self._closing = False
        self._mark_from_s = 0.0
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
                await self._in(self._writer, self._open_first)
            await self._in(self._reader, self._open_reader)
        except SqliteErrors as error:
            await self.__aexit__()
            kind = StoreCorrupt if opening.is_damage(error) else Misconfigured
            raise kind(f"{self.path} cannot be opened: {error}", field="store_url", got=str(self.path)) from error
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._closing = True
        if self._marking is not None:
            self._marking.cancel()
        await self._in(self._reader, self._close_reader)
        await self._in(self._writer, self._close)
        self._reader.shutdown()
        self._writer.shutdown()

    @property
    def fault(self) -> CatalystError | None:
        """Store.fault"""
        return self._corrupt

    def _in(self, thread: ThreadPoolExecutor, work: Callable[..., T], *args: Any) -> asyncio.Future[T]:
        """`work` in that thread. It is finished also when the caller goes away."""
        outcome = asyncio.get_running_loop().run_in_executor(thread, work, *args)
        outcome.add_done_callback(lambda done: done.cancelled() or done.exception())  # Seen, also if nobody waits.
        return asyncio.shield(outcome)

    # -- the writing thread -------------------------------------------------------------------------------------

    async def append(self, batches: Sequence[Batch]) -> list[Stored | Refused]:
        """Store.append: one transaction for all batches."""
        results = await self._in(self._writer, self._append, batches)
        self._mark_soon()
        return results

    def _append(self, batches: Sequence[Batch]) -> list[Stored | Refused]:
        if all(batch.channel in self._heads and not batch.drafts for batch in batches):
            return [self._open_already(batch.channel) for batch in batches]
        self._check_here()

        def work(connection: sqlite3.Connection) -> rows.Change:
            return rows.Change(connection, self._heads, batches, self.durability, self._above)

        try:
            change = self._commit(work)
        except StoreFull as full:
            return [Refused(full)] * len(batches)
        self._heads |= change.moved
        if time.monotonic() >= self._mark_from_s:
            self._mark()
        return change.results

    def _open_already(self, channel: str) -> Stored:
        """What an empty batch of a channel that is there is answered: also where nothing can be written any more."""
        epoch = self._heads[channel].epoch
        return Stored(channel=channel, epoch=epoch, receipts=[], events=[], durability=self.durability)

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

    async def note(self, notes: Sequence[Note]) -> None:
        """Store.note: committed, but fsynced with the next append only, so that no append ever waits for it."""
        await self._in(self._writer, self._note, notes)

    def _note(self, notes: Sequence[Note]) -> None:
        self._check_here()
        with opening.unsynced(self._ready()):
            self._commit(lambda connection: ledger.note(connection, notes))

    async def forget(self, before_us: int) -> None:
        """Store.forget: in several transactions if it is much."""
        while await self._transact(lambda connection: ledger.forget_some(connection, before_us)):
            pass

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
            self._check_here()
            extent = self._commit(lambda connection: rows.begin_epoch(connection, channel, first, reason))
            head = self._heads[channel]
            head.last, head.epoch = extent.last, extent.epoch
            return extent

        extent = await self._in(self._writer, work)
        self._mark_soon()
        return extent

    async def erase(self, channel: str, seq: int) -> None:
        """Store.erase: also from the write-ahead log, as soon as nobody reads an older state of the file."""
        await self._transact(lambda connection: parts.erase(connection, channel, seq))
        for _ in range(ERASE_TRIES):
            if await self._in(self._writer, self._emptied_wal):
                return
            await asyncio.sleep(ERASE_AGAIN_S)
        raise StoreUnavailable(
            f"event {seq} of {channel} is erased, but somebody still reads an older state of {self.path} (a backup?),"
            " so its bytes are still in the write-ahead log: erase it again later"
        )

    def _emptied_wal(self) -> bool:
        """Whether the whole write-ahead log was taken into the file and cut; does not wait for those who read it."""
        connection = self._ready()
        try:
            connection.execute("PRAGMA busy_timeout=0")
            (busy, *_) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            return not busy
        except SqliteErrors as error:
            raise self._recovered(connection, error) from error
        finally:
            with suppress(sqlite3.ProgrammingError):  # It was closed.
                connection.execute(f"PRAGMA busy_timeout={opening.BUSY_MS}")

    async def adopt(self, part: Part) -> None:
        """Store.adopt"""

        def work() -> None:
            self._check_here()
            self._commit(lambda connection: parts.adopt(connection, part))
            assert self._write is not None
            self._heads = rows.read_heads(self._write)
            self._adopted.add(part.channel)

        await self._in(self._writer, work)

    async def fence(self, moved_to: str = "", ticket: int = 0) -> int:
        """Store.fence: only this process writes, so that one for a time stands nowhere but here."""
        return await self._in(self._writer, self._fence, moved_to, ticket)

    def _write_moved(self, moved_to: str) -> None:
        self._commit(lambda connection: parts.move(connection, moved_to))

    async def _transact(self, work: Callable[[sqlite3.Connection], T]) -> T:
        return await self._in(self._writer, self._change, work)

    def _change(self, work: Callable[[sqlite3.Connection], T]) -> T:
        self._check_here()
        return self._commit(work)

    def _commit(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` as one durable transaction.

        Raises:
            StoreFull: rolled back cleanly.
            StoreUnavailable: the outcome is unknown; the file was opened anew and verified.
            StoreCorrupt: the file cannot be trusted any more.
        """
        connection = self._ready()
        try:
            if self._closing:  # Whoever asked is gone, and another program's lock must not keep the process.
                connection.execute("PRAGMA busy_timeout=0")
            connection.execute("BEGIN IMMEDIATE")
            result = work(connection)
            connection.execute("COMMIT")
        except SqliteErrors as error:
            raise self._recovered(connection, error) from error
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        self._bound_wal(connection)
        return result

    def _bound_wal(self, connection: sqlite3.Connection) -> None:
        """Readers that always overlap would let the write-ahead log grow for ever."""
        size = opening.wal_bytes(self.path)
        if size < self._wal_bytes_max:
            return
        try:
            begins_again = opening.begin_wal_again(connection, WAL_WAIT_MS)
        except SqliteErrors as error:
            begins_again = False
            log.warning("a checkpoint failed", extra={"reason": str(error)})
        self._wal_bytes_max = WAL_BYTES_MAX + (0 if begins_again else size)

    def _ready(self) -> sqlite3.Connection:
        if self._readonly:
            raise Misconfigured(f"{self.path} was opened to read only", field="readonly", got="1")
        if self._corrupt is not None:
            raise self._corrupt.with_traceback(None)
        if self._write is None:
            self._open_again()
        assert self._write is not None
        return self._write

    def _recovered(self, connection: sqlite3.Connection, error: Exception) -> CatalystError:
        """What a failed transaction is answered with, once the file is in order again."""
        if opening.is_busy(error) and _rolled_back(connection):
            return StoreUnavailable(f"another program holds {self.path} ({error}); nothing was stored, try again")
        if opening.is_full(error, self.path) and _rolled_back(connection):
            return StoreFull()
        log.error("an I/O error at commit, opening the file anew", extra={"reason": str(error)})
        connection.close()
        self._write = None
        if isinstance(error, sqlite3.IntegrityError) or opening.is_damage(error):
            self._corrupt = StoreCorrupt(f"{self.path} cannot be trusted ({error}); run `catalyst verify` on it")
            return self._corrupt
        self._open_again()
        return StoreUnavailable(f"the store had an I/O error ({error}); it was opened anew and verified")

    def _open_again(self) -> None:
        """The file as the next commit finds it; believed only after its newest events were verified."""
        try:
            self._open()
            assert self._write is not None
            self._corrupt = rows.first_fault(self._write, self._heads, VERIFIED_AT_OPENING)
        except (*SqliteErrors, Misconfigured) as error:
            if self._write is not None:
                self._write.close()
                self._write = None
            raise StoreUnavailable(f"the store cannot be opened again yet: {error}") from error
        if self._corrupt is not None:
            raise self._corrupt

    def _open_first(self) -> None:
        """Take the lock, and believe the file as far as it verifies; what is wrong is said by `fault`, not here."""
        self._lock = opening.take_lock(self.path)
        self._marks = marks.read(self._lock)
        self._above = {channel: marks.first_above(mark) for channel, mark in self._marks.items()}
        self._open()
        assert self._write is not None
        self._corrupt = rows.first_fault(self._write, self._heads, VERIFIED_AT_OPENING)
        if self._corrupt is None:
            self._commit(lambda connection: marks.go_on_above(connection, self._marks))
            self._heads = rows.read_heads(self._write)
            self._judged = True
        else:
            log.error("the log does not verify, nothing is written to it", extra={"reason": str(self._corrupt)})

    def _open(self) -> None:
        self._write = opening.open_to_write(self.path)
        self._heads = rows.read_heads(self._write)
        self.moved_to = parts.moved_to(self._write)

    def _mark_soon(self) -> None:
        """Where the log ends now is marked within MARK_S."""
        if self._marking is None:
            self._marking = asyncio.get_running_loop().call_later(MARK_S, self._mark_now)

    def _mark_now(self) -> None:
        self._marking = None
        self._in(self._writer, self._mark)

    def _mark(self, *, synced: bool = False) -> None:
        if self._lock is None or not self._judged or self._corrupt is not None:
            return
        began_s = time.monotonic()
        ours = {channel: head for channel, head in self._heads.items() if channel not in self._adopted}
        try:
            marks.write(self._lock, self._marks | marks.of_heads(ours), synced=synced)
        except OSError as error:
            log.warning("where the log ends could not be marked", extra={"reason": str(error)})
        now_s = time.monotonic()
        self._mark_from_s = now_s + (now_s - began_s) / MARK_DUTY

    def _close(self) -> None:
        if self._write is not None:
            try:
                self._write.execute(f"PRAGMA busy_timeout={CLOSE_WAIT_MS}")
                self._write.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            except SqliteErrors as error:
                log.warning("the last checkpoint failed; the next start does it", extra={"reason": str(error)})
            self._mark(synced=True)
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

    async def ids(self, channel: str, after: str = "", limit: int = 1000) -> list[tuple[str, Known]]:
        """Store.ids"""
        return await self._in(self._reader, self._look, rows.ids, channel, after, limit)

    async def places(self, channel: str) -> dict[str, Kept]:
        """Store.places"""
        return await self._in(self._reader, self._look, rows.places, channel)

    async def kept(self, name: str, channel: str) -> Kept:
        """Store.kept"""
        return await self._in(self._reader, self._look, rows.kept, name, channel)

    async def noted(self, channel: str, seq: int, since_us: int = 0, subject: str | None = None) -> list[Noted]:
        """Store.noted"""
        return await self._in(self._reader, self._look, ledger.noted, channel, seq, since_us, subject)

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
                raise StoreCorrupt(f"{self.path} is damaged: {error}") from error
            raise StoreUnavailable(f"the store could not be read: {error}") from error

    def _open_reader(self) -> sqlite3.Connection:
        self._read = opening.open_to_read(self.path)
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
