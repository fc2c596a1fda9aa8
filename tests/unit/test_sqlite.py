"""What is SQLite's own: the file, its lock and schema, a full disk, failing fsyncs, the WAL, flipped bits.

The laws that every store keeps are in tests/conformance. Covers catalyst_signals.stores.sqlite, its rows and opening,
and `catalyst_signals.verify` on a damaged file.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pytest

from catalyst_signals.errors import CatalystError, Misconfigured, StoreCorrupt, StoreFull, StoreInUse, StoreUnavailable
from catalyst_signals.events import Batch, Draft, Event, Refused, Stored
from catalyst_signals.stores import STORES
from catalyst_signals.stores.sqlite import SqliteStore, opening, rows
from catalyst_signals.urls import open_backend
from catalyst_signals.verify import Report, verify

ALL = 1_000_000


def batch(first: int, count: int = 1, *, body_bytes: int = 100, subject: str = "ann") -> Batch:
    """Drafts n<first> and on, for `main`."""
    return Batch(channel="main", subject=subject, drafts=[
        Draft(type="signal.published", id=f"n{n}", body=b'{"data":"%s"}' % (b"x" * body_bytes),
              draft_hash=hashlib.sha256(b"%d" % n).digest())
        for n in range(first, first + count)
    ])  # fmt: skip


OPEN_MAIN = Batch(channel="main", subject="system", drafts=[])


async def put(store: SqliteStore, *batches: Batch) -> list[Stored]:
    """Append, and all must be stored."""
    results = await store.append(batches)
    stored = [result for result in results if isinstance(result, Stored)]
    assert len(stored) == len(batches), results
    return stored


async def log_of(store: SqliteStore) -> list[Event]:
    """The whole of `main`."""
    return await store.read("main", 0, ALL, 1 << 40)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the file will be."""
    return tmp_path / "catalyst.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqliteStore]:
    """A fresh store with the channel `main`."""
    async with SqliteStore(path) as store:
        await put(store, OPEN_MAIN)
        yield store


# -- URL and file -----------------------------------------------------------------------------------------------


async def test_a_url_names_a_relative_or_an_absolute_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for url, name in (
        ("sqlite:///here.db", "here.db"), (f"sqlite:///{tmp_path}/there.db", "there.db"),
        (f"sqlite:///{tmp_path}/my%20log%3F.db", "my log?.db"),
    ):  # fmt: skip
        async with open_backend(url, STORES, setting="store_url") as store:
            await put(store, OPEN_MAIN, batch(0))
        assert (tmp_path / name).stat().st_size > 0


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:",
        "sqlite://",
        "sqlite:///",
        "sqlite://host/a.db",
        "sqlite:///a.db?mode=ro",
        "sqlite:///a.db?readonly=yes",
    ],
)
def test_a_url_that_says_nothing_sensible_is_refused(url: str) -> None:
    with pytest.raises(Misconfigured) as refused:
        open_backend(url, STORES, setting="store_url")
    assert refused.value.field


async def test_everything_is_there_after_closing(path: Path) -> None:
    async with SqliteStore(path) as store:
        await put(store, OPEN_MAIN, batch(0, 5))
        await store.drop("main", 2)
        await store.begin_epoch("main", 100, "a test")
        assert await store.keep("state", "main", 5, b"snapshot", was=0)
        stored = (await put(store, batch(5)))[0]
        before = await store.extents(), await store.read("main", 2, ALL), await store.kept("state", "main")
    assert [file.name for file in path.parent.iterdir() if file.name.startswith("catalyst.db-")] == [], "no WAL is left"
    async with SqliteStore(path) as store:
        assert (await store.extents(), await store.read("main", 2, ALL), await store.kept("state", "main")) == before
        again, later = await put(store, batch(5), batch(6))
        assert (again.receipts[0].seq, again.receipts[0].duplicate) == (stored.receipts[0].seq, True)
        assert later.events[0].prev == stored.events[0].hash


@pytest.fixture
def letter(path: Path) -> Path:
    """A file that is something else."""
    path.write_bytes(b"This is a letter to my aunt, and not a database at all. " * 100)
    return path


async def test_what_cannot_be_a_store_is_refused_in_words(letter: Path, tmp_path: Path) -> None:
    with pytest.raises((Misconfigured, StoreCorrupt), match="not a database"):
        await SqliteStore(letter).__aenter__()
    _execute(tmp_path / "theirs.db", "CREATE TABLE recipes (cake)")
    for readonly in (False, True):
        with pytest.raises(Misconfigured, match="another program"):
            await SqliteStore(tmp_path / "theirs.db", readonly=readonly).__aenter__()
    with pytest.raises(Misconfigured, match="cannot be opened"):
        await SqliteStore(tmp_path / "no such folder" / "a.db").__aenter__()
    with pytest.raises(Misconfigured, match="cannot be opened"):
        await SqliteStore(tmp_path).__aenter__()


# -- the schema -------------------------------------------------------------------------------------------------


def test_the_newest_migration_is_the_schema_version() -> None:
    folder = Path(opening.__file__).parent.parent / "sql" / "sqlite"
    scripts = sorted(folder.glob("*.sql"))
    assert [int(script.name[:4]) for script in scripts] == list(range(1, opening.SCHEMA_VERSION + 1))
    assert all(script.name[4:].startswith(("_pre_", "_post_")) for script in scripts)


async def test_a_file_of_a_newer_catalyst_is_refused_unless_it_says_we_can(path: Path) -> None:
    async with SqliteStore(path) as store:
        await put(store, OPEN_MAIN, batch(0))
    _execute(path, "UPDATE schema SET version = 99, oldest = 1", "ALTER TABLE events ADD COLUMN later TEXT")
    async with SqliteStore(path) as store:
        await put(store, batch(1))
        assert (await verify(store)).faults == {}
    _execute(path, "UPDATE schema SET oldest = 99")
    for readonly in (False, True):
        with pytest.raises(Misconfigured, match=r"newer Catalyst .* upgrade this one") as refused:
            await SqliteStore(path, readonly=readonly).__aenter__()
        assert (refused.value.got, refused.value.allowed) == (99, opening.SCHEMA_VERSION)


def _execute(path: Path, *statements: str, values: tuple[Any, ...] = ()) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    for statement in statements:
        connection.execute(statement, values)
    connection.close()


# -- who may write ----------------------------------------------------------------------------------------------

HOLDER = """
import asyncio, sys
from catalyst_signals.events import Batch
from catalyst_signals.stores.sqlite import SqliteStore

async def main():
    async with SqliteStore(sys.argv[1]) as store:
        await store.append([Batch(channel="main", subject="system", drafts=[])])
        print("open", flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""


async def test_a_second_writer_is_refused_until_the_first_one_died(path: Path) -> None:
    holder = await asyncio.create_subprocess_exec(sys.executable, "-c", HOLDER, str(path), stdout=subprocess.PIPE)
    try:
        assert holder.stdout is not None
        assert await holder.stdout.readline() == b"open\n"
        with pytest.raises(StoreInUse, match=r"another process is writing to .*stop it first"):
            await SqliteStore(path).__aenter__()
        async with SqliteStore(path, readonly=True) as reader:
            assert set(await reader.extents()) == {"main"}
    finally:
        holder.kill()
        await holder.wait()
    async with SqliteStore(path) as store:
        await put(store, batch(0))


async def test_a_second_writer_in_the_same_process_is_refused_too(store: SqliteStore, path: Path) -> None:
    with pytest.raises(StoreInUse):
        await SqliteStore(path).__aenter__()
    await put(store, batch(0))


async def test_a_reader_beside_the_writer_sees_each_commit_and_writes_nothing(store: SqliteStore, path: Path) -> None:
    async with SqliteStore.from_url(f"sqlite:///{path}?readonly=1") as reader:
        for n in range(3):
            await put(store, batch(n))
            assert await log_of(reader) == await log_of(store)
        for work in (reader.append([batch(9)]), reader.drop("main", 1), reader.keep("a", "main", 1, was=0)):
            with pytest.raises(Misconfigured, match="read only"):
                await work
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            opening.open_to_read(path).execute("DELETE FROM events")
    await put(store, batch(3))


async def test_a_stopped_file_may_be_read_but_must_be_there(path: Path) -> None:
    with pytest.raises(Misconfigured, match="there is no store"):
        await SqliteStore(path, readonly=True).__aenter__()
    assert list(path.parent.iterdir()) == [], "looking makes no file"
    async with SqliteStore(path) as store:
        await put(store, OPEN_MAIN, batch(0, 3))
    async with SqliteStore(path, readonly=True) as reader:
        assert (await verify(reader)).rows == {"main": 3}


async def test_another_programs_lock_is_waited_for_and_then_told(
    store: SqliteStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "_write", opening.open_to_write(path))
    store._write.execute("PRAGMA busy_timeout=50")
    shell = sqlite3.connect(path, isolation_level=None)
    shell.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable, match="another program holds"):
        await store.append([batch(0)])
    shell.close()
    await put(store, batch(0))


# -- a full disk ------------------------------------------------------------------------------------------------


async def test_a_full_disk_refuses_every_batch_and_is_over_when_there_is_room(store: SqliteStore) -> None:
    """A file that may not grow is full too, and needs no root."""
    await put(store, batch(0, 100))
    connection = store._write
    assert connection is not None
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count={pages + 5}")
    results = await store.append([batch(100, 500), batch(0, 1), batch(600, 500)])
    assert [type(r.error) for r in results if isinstance(r, Refused)] == [StoreFull] * 3
    with pytest.raises(StoreFull):
        await store.keep("state", "main", 1, b"x" * 100_000, was=0)
    assert len(await log_of(store)) == 100
    connection.execute("PRAGMA max_page_count=1000000")
    again = (await put(store, batch(100, 500)))[0]
    assert [receipt.seq for receipt in again.receipts] == list(range(101, 601))
    assert store._write is connection, "a full disk needs no re-opening"
    assert (await verify(store)).faults == {}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MiB."""
    if os.geteuid() != 0:
        pytest.skip("mounting a tmpfs needs root")
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


async def test_a_real_full_disk(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(2 << 20))
    async with SqliteStore(small_disk / "catalyst.db") as store:
        await put(store, OPEN_MAIN)
        stored = 0
        while isinstance((await store.append([batch(stored, 100, body_bytes=1000)]))[0], Stored):
            stored += 100
        assert stored > 500
        for _ in range(5):
            (result,) = await store.append([batch(stored, 100, body_bytes=1000)])
            assert isinstance(result, Refused)
            assert isinstance(result.error, StoreFull)
        assert len(await log_of(store)) == stored, "reading goes on"
        ballast.unlink()
        receipts = (await put(store, batch(stored, 100, body_bytes=1000)))[0].receipts
        assert receipts[0].seq == stored + 1
        assert (await verify(store)).faults == {}
    async with SqliteStore(small_disk / "catalyst.db") as store:
        assert (await verify(store)).rows == {"main": stored + 100}


# -- I/O errors -------------------------------------------------------------------------------------------------


class Faulty(sqlite3.Connection):
    """A connection whose commits fail as planned: `lost`, or `kept` though an error was told; or `wait`."""

    plan: ClassVar[list[str]] = []
    waits: ClassVar[threading.Event] = threading.Event()
    go: ClassVar[threading.Event] = threading.Event()
    writes = False

    def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
        if sql.startswith("BEGIN"):
            self.writes = sql == "BEGIN IMMEDIATE"
        if sql != "COMMIT" or not self.writes or not self.plan:
            return super().execute(sql, *args)
        fate = self.plan.pop(0)
        if fate == "wait":
            self.waits.set()
            assert self.go.wait(10)
            return super().execute(sql)
        if fate == "kept":
            super().execute(sql)
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
        raise error


@pytest.fixture
async def faulty(path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[SqliteStore]:
    """A store with 5 events, whose commits will fail as `Faulty.plan` says."""
    Faulty.plan.clear()
    Faulty.waits.clear()
    Faulty.go.clear()
    monkeypatch.setattr(sqlite3, "connect", partial(sqlite3.connect, factory=Faulty))
    async with SqliteStore(path) as store:
        await put(store, OPEN_MAIN, batch(0, 5))
        yield store


@pytest.mark.parametrize("fate", ["lost", "kept"])
async def test_an_io_error_leaves_the_outcome_unknown_until_it_is_appended_again(
    faulty: SqliteStore, path: Path, fate: str
) -> None:
    Faulty.plan[:] = [fate, fate]
    batches = [batch(5, 2), batch(0, 1), batch(7, 1, subject="bob")]
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match="opened anew and verified"):
            await faulty.append(batches)
        with pytest.raises(StoreInUse):  # The lock is held all the time.
            await SqliteStore(path).__aenter__()
    stored = await put(faulty, *batches)
    assert [r.seq for one in stored for r in one.receipts] == [6, 7, 1, 8]
    assert [r.duplicate for one in stored for r in one.receipts] == [fate == "kept"] * 2 + [True] + [fate == "kept"]
    report = await verify(faulty)
    assert (report.rows, report.faults) == ({"main": 8}, {})


async def test_a_file_that_cannot_be_opened_again_is_tried_at_every_append(
    faulty: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cannot(path: Path) -> sqlite3.Connection:
        raise sqlite3.OperationalError("unable to open database file")

    Faulty.plan[:] = ["lost"]
    with monkeypatch.context() as while_it_lasts:
        while_it_lasts.setattr(opening, "open_to_write", cannot)
        for _ in range(3):
            with pytest.raises(StoreUnavailable, match="cannot be opened again yet"):
                await faulty.append([batch(5)])
        assert len(await log_of(faulty)) == 5
    assert (await put(faulty, batch(5)))[0].receipts[0].seq == 6


async def test_a_file_that_does_not_verify_after_an_io_error_is_never_written_again(
    faulty: SqliteStore, path: Path
) -> None:
    Faulty.plan[:] = ["lost"]
    _execute(path, "UPDATE events SET body = x'00' WHERE id = 'n2'")
    for _ in range(3):
        with pytest.raises(StoreCorrupt, match="event 3 of main: its body") as corrupt:
            await faulty.append([batch(5)])
        assert corrupt.value.extra == {"channel": "main", "seq": 3}
    with pytest.raises(StoreCorrupt):
        await faulty.keep("state", "main", 1, was=0)
    assert [event.seq for event in await log_of(faulty)] == [1, 2, 3, 4, 5], "reading goes on"
    Faulty.plan.clear()


async def test_rows_that_contradict_the_heads_stop_the_store(store: SqliteStore, path: Path) -> None:
    """Somebody else wrote, past the lock: a number would be used twice."""
    await put(store, batch(0, 2))
    _execute(path, "UPDATE events SET place = place + 1 WHERE id = 'n1'")
    for _ in range(2):
        with pytest.raises(StoreCorrupt, match="cannot be trusted"):
            await store.append([batch(2)])


async def test_a_broken_batch_is_the_callers_fault_and_changes_nothing(store: SqliteStore) -> None:
    await put(store, batch(0))
    broken = Batch(channel="main", subject="ann", drafts=[*batch(1).drafts, *batch(2).drafts])
    broken.drafts[1] = Draft(type="t", id="x" * 70_000, body=b"", draft_hash=b"")
    with pytest.raises(OverflowError):
        await store.append([broken])
    assert (await put(store, batch(1)))[0].receipts[0].seq == 2
    assert (await verify(store)).faults == {}


SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>
static int fails(void) { return unlink(getenv("FAIL_ONCE")) == 0; }
int fdatasync(int fd) {
    int (*real)(int) = dlsym(RTLD_NEXT, "fdatasync");
    if (fails()) { errno = EIO; return -1; }
    return real(fd);
}
int fsync(int fd) {
    int (*real)(int) = dlsym(RTLD_NEXT, "fsync");
    if (fails()) { errno = EIO; return -1; }
    return real(fd);
}
"""

UNDER_SHIM = """
import asyncio, os, pathlib, sys
from catalyst_signals.errors import StoreUnavailable
from catalyst_signals.stores.sqlite import SqliteStore
from catalyst_signals.verify import verify
from tests.unit.test_sqlite import OPEN_MAIN, batch

async def main():
    async with SqliteStore(sys.argv[1]) as store:
        await store.append([OPEN_MAIN, batch(0, 5)])
        for n in range(5, 30, 5):
            pathlib.Path(os.environ["FAIL_ONCE"]).touch()
            try:
                await store.append([batch(n, 5)])
            except StoreUnavailable:
                (stored,) = await store.append([batch(n, 5)])
                print("again", stored.receipts[0].seq)
        report = await verify(store)
        print("rows", report.rows["main"], "faults", len(report.faults))

asyncio.run(main())
"""


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler; the same is injected above without one")
def test_a_real_failed_fsync(tmp_path: Path) -> None:
    """The system call itself says EIO, once each time."""
    (tmp_path / "shim.c").write_text(SHIM)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", "shim.so", "shim.c", "-ldl"], cwd=tmp_path, check=True)
    env = os.environ | {"LD_PRELOAD": str(tmp_path / "shim.so"), "FAIL_ONCE": str(tmp_path / "fail")}
    done = subprocess.run(
        [sys.executable, "-c", UNDER_SHIM, tmp_path / "catalyst.db"],
        env=env, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[:-1] == [*(f"again {n + 1}" for n in range(5, 30, 5)), "rows 30 faults 0"]


def test_what_an_error_means() -> None:
    """Only what surely left nothing behind counts as full; a failed fsync never does."""
    root = Path("/")
    meanings = {
        sqlite3.SQLITE_FULL: (True, False, False), sqlite3.SQLITE_IOERR_FSYNC: (False, False, False),
        sqlite3.SQLITE_BUSY: (False, True, False), sqlite3.SQLITE_BUSY_SNAPSHOT: (False, True, False),
        sqlite3.SQLITE_CORRUPT: (False, False, True), sqlite3.SQLITE_NOTADB: (False, False, True),
    }  # fmt: skip
    for code, expected in meanings.items():
        error = sqlite3.OperationalError(os.strerror(errno.EIO))
        error.sqlite_errorcode = code
        assert (opening.is_full(error, root), opening.is_busy(error), opening.is_damage(error)) == expected, code
    assert opening.is_damage(sqlite3.OperationalError("Could not decode to UTF-8 column 'id' with text '\\xff'"))


# -- reading beside writing -------------------------------------------------------------------------------------


async def test_reading_does_not_wait_for_a_commit_nor_see_it_early(faulty: SqliteStore) -> None:
    Faulty.plan[:] = ["wait"]
    append = asyncio.create_task(faulty.append([batch(5)]))
    try:
        async with asyncio.timeout(5):
            assert await asyncio.to_thread(Faulty.waits.wait, 5)
            for _ in range(20):
                assert len(await log_of(faulty)) == 5
            assert await faulty.find("main", ["n5"]) == {}
            assert (await faulty.extents())["main"].last == 5
    finally:
        Faulty.go.set()
    await append
    assert len(await log_of(faulty)) == 6


async def test_a_page_is_of_one_moment(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Retention between a page's own statements would make a hole in it."""
    await put(store, batch(0, 10))
    loop = asyncio.get_running_loop()
    standing = rows.standing

    def drops_meanwhile(connection: sqlite3.Connection, channel: str) -> Any:
        found = standing(connection, channel)
        if threading.current_thread().name.startswith("sqlite-reader"):
            asyncio.run_coroutine_threadsafe(store.drop("main", 5), loop).result(10)
        return found

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(rows, "standing", drops_meanwhile)
        assert [event.seq for event in await store.read("main", 0, 100)] == list(range(1, 11))
    assert (await store.extents())["main"].first == 6


async def test_much_is_dropped_in_pieces_so_that_appends_come_between(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "DROPPED_AT_ONCE", 10)
    await put(store, batch(0, 95))
    drop = asyncio.create_task(store.drop("main", 90))
    await asyncio.sleep(0)
    await put(store, batch(95))
    assert (await store.extents())["main"].first <= 31, "the append waited for a piece, not for all of it"
    extent = await drop
    assert (extent.first, extent.last) == (91, 96)
    report = await verify(store)
    assert (report.rows, report.faults) == ({"main": 6}, {})


@pytest.mark.slow
async def test_the_wal_stays_bounded_while_somebody_always_reads(store: SqliteStore, path: Path) -> None:
    """Readers that always overlap are waited for, since a page is short, and the log begins again."""

    async def read_for_ever() -> None:
        async with SqliteStore(path, readonly=True) as reader:
            while True:
                await reader.read("main", 0, 200)

    readers = [asyncio.create_task(read_for_ever()) for _ in range(4)]
    largest = 0
    for n in range(0, 8000, 100):
        await put(store, batch(n, 100, body_bytes=6000))
        largest = max(largest, _size(path.with_name("catalyst.db-wal")))
    for reader in readers:
        reader.cancel()
    await asyncio.gather(*readers, return_exceptions=True)
    assert _size(path) > 40 << 20
    assert largest < 32 << 20


def _size(path: Path) -> int:
    return path.stat().st_size


async def test_only_duplicates_write_nothing(store: SqliteStore) -> None:
    await put(store, batch(0, 3))
    assert store._write is not None
    before = store._write.total_changes
    await put(store, batch(0, 3), batch(1, 1))
    assert store._write.total_changes == before


def test_a_commit_is_synced_and_a_reader_cannot_write(path: Path) -> None:
    writer = opening.open_to_write(path)
    assert writer.execute("PRAGMA synchronous").fetchone() == (2,), "FULL"
    assert writer.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    writer.close()


# -- flipped bits -----------------------------------------------------------------------------------------------


async def _small_log(path: Path) -> list[Event]:
    """Two epochs, a beginning that was dropped, an id that was retried."""
    async with SqliteStore(path) as store:
        await put(store, OPEN_MAIN, batch(0, 12))
        await store.drop("main", 2)
        await store.begin_epoch("main", 100, "a test")
        await put(store, batch(11, 10))
        return await store.read("main", 2, ALL)


async def _verified(path: Path) -> Report:
    async with SqliteStore(path, readonly=True) as store:
        return await verify(store)


def _flipped(value: Any, rng: random.Random) -> Any:
    if isinstance(value, int):
        return value ^ 1 << rng.randrange(40)
    raw = bytearray(value.encode() if isinstance(value, str) else value)
    raw[rng.randrange(len(raw))] ^= 1 << rng.randrange(7)
    return raw.decode() if isinstance(value, str) else bytes(raw)


@pytest.mark.parametrize("column", ["type", "id", "version", "ts_us", "salt", "body", "body_hash", "hash"])
async def test_a_flipped_bit_of_an_event_is_found_and_the_event_named(path: Path, column: str) -> None:
    events = {event.seq: event for event in await _small_log(path)}
    rng = random.Random(column)
    for seq in (3, 7, 12, 100, 108):
        where = (1 << rows.SEQ_BITS | seq,)
        (before,) = sqlite3.connect(path).execute(f"SELECT {column} FROM events WHERE place = ?", where).fetchone()
        _execute(path, f"UPDATE events SET {column} = ? WHERE place = ?", values=(_flipped(before, rng), *where))
        fault = (await _verified(path)).faults["main"]
        assert fault.seq == seq, str(fault)
        if column != "id":
            assert fault.id == events[seq].id
            assert f"event {seq} ({fault.id})" in str(fault)
        _execute(path, f"UPDATE events SET {column} = ? WHERE place = ?", values=(before, *where))
    assert (await _verified(path)).faults == {}


@pytest.mark.parametrize("bit", range(0, 40, 3))
async def test_a_flipped_bit_of_a_seq_is_found(path: Path, bit: int) -> None:
    await _small_log(path)
    for seq in (3, 8, 12, 100, 108):
        moved = [1 << rows.SEQ_BITS | seq, 1 << rows.SEQ_BITS | (seq ^ 1 << bit)]
        taken = sqlite3.connect(path).execute("SELECT count(*) FROM events WHERE place = ?", (moved[1],)).fetchone()[0]
        if taken:
            continue
        _execute(path, "UPDATE events SET place = ? WHERE place = ?", values=(moved[1], moved[0]))
        fault = (await _verified(path)).faults["main"]
        assert fault.seq <= seq, str(fault)
        _execute(path, "UPDATE events SET place = ? WHERE place = ?", values=(moved[0], moved[1]))
    assert (await _verified(path)).faults == {}


@pytest.mark.parametrize(
    ("table", "column", "which", "seq"),
    [
        ("heads", "last", "1", 108), ("heads", "hash", "1", 108), ("heads", "hash_before", "1", 3),
        ("epochs", "hash_before", "first = 100", 100), ("epochs", "name", "first = 1", 3),
        ("epochs", "last_before", "first = 100", 12), ("ids", "id", "id = 'n5'", 6), ("ids", "seq", "id = 'n5'", 6),
        ("ids", "version", "id = 'n5'", 6), ("ids", "ts_us", "id = 'n5'", 6),
    ],
)  # fmt: skip
async def test_a_flipped_bit_beside_the_events_is_found(
    path: Path, table: str, column: str, which: str, seq: int
) -> None:
    await _small_log(path)
    rng = random.Random(column)
    (before,) = sqlite3.connect(path).execute(f"SELECT {column} FROM {table} WHERE {which}").fetchone()
    _execute(path, f"UPDATE {table} SET {column} = ? WHERE {which}", values=(_flipped(before, rng),))
    fault = (await _verified(path)).faults["main"]
    assert abs(fault.seq - seq) <= 1 or column in ("last", "last_before"), str(fault)


async def test_any_flipped_bit_of_the_file_is_found_or_harms_no_event(path: Path) -> None:
    """Also where SQLite keeps its own: a page's header, a record's lengths and types, the schema."""
    events = await _small_log(path)
    rng = random.Random(7)  # 30,000 others were tried once.
    found = 0
    for _ in range(250):
        bit = rng.randrange(_size(path) * 8)
        _flip(path, bit)
        try:
            async with SqliteStore(path, readonly=True) as store:
                report = await verify(store)
                if not report.faults and report.rows == {"main": len(events)}:
                    assert await store.read("main", 2, ALL) == events, f"bit {bit}"
                else:
                    found += 1
        except CatalystError:
            found += 1
        _flip(path, bit)
    assert found > 20
    assert (await _verified(path)).faults == {}


def _flip(path: Path, bit: int) -> None:
    raw = bytearray(path.read_bytes())
    raw[bit // 8] ^= 1 << bit % 8
    path.write_bytes(raw)
