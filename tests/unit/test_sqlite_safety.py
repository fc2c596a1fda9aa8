"""What an operator relies on when things went wrong: erased bytes, older files put back, copies, a spoilt tail.

Covers catalyst_signals.stores.sqlite.marks, catalyst_signals.stores.sqlite.files and erasing in the file, and
catalyst_signals.stores.sqlite.copying. Through a real server: tests/server/test_safety.py.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from catalyst_signals.errors import Conflict, Misconfigured, StoreCorrupt, StoreFull, StoreInUse, StoreUnavailable
from catalyst_signals.events import EPOCH_GAP, NO_HASH, Batch, Draft, Extent
from catalyst_signals.stores import sqlite
from catalyst_signals.stores.sqlite import SqliteStore, opening, rows
from catalyst_signals.stores.sqlite.copying import SqliteCopies
from catalyst_signals.verify import verify

from .test_sqlite import OPEN_MAIN, batch, log_of, put

SECRET = b"the secret of " * 700  # More than a page.


def quiet(done: int, total: int) -> None:
    """Progress that nobody looks at."""


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


def gone(path: Path) -> None:
    """Somebody deletes a file."""
    path.unlink()


def names_in(folder: Path) -> list[str]:
    """What a folder holds."""
    return sorted(file.name for file in folder.iterdir())


def python(script: str, *args: object) -> subprocess.Popen[str]:
    """A script in a process of its own, which can be killed."""
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, args)], cwd=Path(__file__).parents[2], text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


async def grown(path: Path, first: int, count: int) -> Extent:
    """Open, append, close; how far `main` is then."""
    async with SqliteStore(path) as store:
        await put(store, OPEN_MAIN, batch(first, count))
        return (await store.extents())["main"]


async def opened(path: Path) -> Extent:
    """How far `main` is once the file was opened to write."""
    async with SqliteStore(path) as store:
        return (await store.extents())["main"]


# -- erasing ----------------------------------------------------------------------------------------------------


def everywhere(path: Path) -> bytes:
    """Every byte that the store has on the disk."""
    return b"".join(file.read_bytes() for file in path.parent.iterdir())


@pytest.mark.parametrize("body_bytes", [30, 300, 20_000])
async def test_an_erased_body_is_nowhere_on_the_disk(store: SqliteStore, path: Path, body_bytes: int) -> None:
    """Who must erase something must be able to say that it is gone; also where pages were split around it."""
    other = Batch(channel="other", subject="ann", drafts=[])
    await put(store, other)
    secret = b'{"data":"%s"}' % SECRET[:body_bytes]
    for n in range(0, 120, 4):
        events = batch(n, 4, body_bytes=body_bytes)
        if n == 60:
            events = Batch(channel="main", subject="ann", drafts=[_saying(d, secret) for d in events.drafts])
        await put(store, events, Batch(channel="other", subject="ann", drafts=batch(n, 4, body_bytes=300).drafts))
    assert secret[-30:] in everywhere(path)
    for seq in (61, 62, 63, 64):
        await store.erase("main", seq)
    assert SECRET[:30] not in everywhere(path)
    assert (await verify(store)).faults == {}


def _saying(draft: Draft, body: bytes) -> Draft:
    return replace(draft, body=body)


async def test_what_somebody_still_reads_is_erased_later_and_nobody_is_told_otherwise(
    store: SqliteStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A backup that runs keeps the old pages; to say `erased` then would be a lie."""
    monkeypatch.setattr(sqlite, "ERASE_TRIES", 3)
    await put(store, batch(0, 3, body_bytes=5000))
    backup = opening.open_to_read(path)
    backup.execute("BEGIN")
    rows.extents(backup, None)
    await put(store, batch(3))
    with pytest.raises(StoreUnavailable, match="erase it again"):
        await store.erase("main", 2)
    await put(store, batch(4))
    backup.close()
    await store.erase("main", 2)
    assert path.with_name("catalyst.db-wal").stat().st_size == 0
    assert [len(event.body) > 0 for event in await log_of(store)] == [True, False, True, True, True]


# -- an older file in the log's place ---------------------------------------------------------------------------


def _put_back(path: Path, old: Path) -> None:
    """What people do with a copy of the file."""
    shutil.copy(old, path)
    for beside in ("-wal", "-shm"):
        path.with_name(path.name + beside).unlink(missing_ok=True)


async def test_an_older_file_goes_on_above_all_that_was_given_out(
    path: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Or a client that saw more would resume on other events under the same numbers."""
    await grown(path, 0, 10)
    shutil.copy(path, tmp_path / "old.db")
    before = await grown(path, 10, 30)
    _put_back(path, tmp_path / "old.db")
    extent = await opened(path)
    assert [(e.first, e.last_before, e.reason) for e in extent.epochs] == [
        (1, 0, "created"), (40 + EPOCH_GAP, 10, "rewound"),
    ]  # fmt: skip
    assert extent.epochs[0].name == before.epoch
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert (await grown(path, 10, 1)).last == 40 + EPOCH_GAP
    assert len((await opened(path)).epochs) == 2, "once"


@pytest.mark.parametrize("more", [5, 30, 50])
async def test_a_file_that_went_its_own_way_is_noticed_by_its_hash(path: Path, tmp_path: Path, more: int) -> None:
    """The same epoch, and as many events or more: but others."""
    await grown(path, 0, 10)
    (tmp_path / "elsewhere").mkdir()
    other = tmp_path / "elsewhere" / "catalyst.db"
    shutil.copy(path, other)
    await grown(path, 10, 30)
    await grown(other, 100, more)
    _put_back(path, other)
    extent = await opened(path)
    assert [epoch.reason for epoch in extent.epochs] == ["created", "rewound"]
    assert extent.epochs[-1].first == max(40, 10 + more) + EPOCH_GAP


async def test_the_file_of_another_log_is_noticed(path: Path, tmp_path: Path) -> None:
    """Its epoch is unknown, whatever its numbers are."""
    await grown(path, 0, 10)
    (tmp_path / "elsewhere").mkdir()
    await grown(tmp_path / "elsewhere" / "catalyst.db", 0, 100)
    _put_back(path, tmp_path / "elsewhere" / "catalyst.db")
    assert (await opened(path)).epochs[-1].first == 100 + EPOCH_GAP


async def test_a_file_that_was_deleted_begins_above_what_was_there(path: Path) -> None:
    """The clients are still out there, and their numbers too."""
    await grown(path, 0, 10)
    gone(path)
    async with SqliteStore(path) as store:  # Nothing opens `main` this time: it is remembered.
        await put(store, Batch(channel="other", subject="ann", drafts=[]))
    extent = await grown(path, 0, 2)
    assert [(e.first, e.last_before, e.hash_before) for e in extent.epochs] == [
        (1, 0, NO_HASH), (10 + EPOCH_GAP, 0, NO_HASH),
    ]  # fmt: skip
    assert extent.last == 11 + EPOCH_GAP
    async with SqliteStore(path) as store:
        assert (await store.extents())["other"].last == 0
        assert (await verify(store)).faults == {}


async def test_a_file_that_is_newer_than_its_mark_goes_on_as_it_is(path: Path) -> None:
    """What every crash leaves: the marks are up to a second old."""
    await grown(path, 0, 10)
    marked = path.with_name("catalyst.db.lock").read_bytes()
    await grown(path, 10, 30)
    path.with_name("catalyst.db.lock").write_bytes(marked)
    assert len((await opened(path)).epochs) == 1


async def test_a_killed_process_leaves_its_mark_within_seconds(path: Path, tmp_path: Path) -> None:
    """Also of the last event before a pause, and the killed process's own file is no older one."""
    with python(_UNTIL_KILLED, path) as child:
        assert child.stdout is not None
        child.stdout.readline()
        shutil.copy(path, tmp_path / "old.db")
        shutil.copy(f"{path}-wal", tmp_path / "old.db-wal")
        child.stdout.readline()
        child.kill()
    (tmp_path / "kept").mkdir()
    for file in ("catalyst.db", "catalyst.db-wal", "catalyst.db.lock"):
        shutil.copy(tmp_path / file, tmp_path / "kept" / file)
    assert len((await opened(tmp_path / "kept" / "catalyst.db")).epochs) == 1
    _put_back(path, tmp_path / "old.db")
    shutil.copy(tmp_path / "old.db-wal", f"{path}-wal")
    extent = await opened(path)
    assert (extent.epochs[-1].last_before, extent.epochs[-1].first) == (5, 12 + EPOCH_GAP)


_UNTIL_KILLED = """
import asyncio, sys
from catalyst_signals.stores.sqlite import SqliteStore, MARK_S
from tests.unit.test_sqlite import OPEN_MAIN, batch

async def main():
    async with SqliteStore(sys.argv[1]) as store:
        await store.append([OPEN_MAIN, batch(0, 5)])
        print("five", flush=True)
        await asyncio.sleep(0.3)
        await store.append([batch(5, 7)])
        await asyncio.sleep(MARK_S + 0.5)
        print("twelve, marked", flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""


@pytest.mark.parametrize("spoil", ["missing", "empty", "half", "torn", "flipped"])
async def test_marks_that_cannot_be_read_stop_nothing(path: Path, spoil: str) -> None:
    """They are not synced: after a power cut anything may stand there."""
    await grown(path, 0, 10)
    lock = path.with_name("catalyst.db.lock")
    raw = lock.read_bytes()
    lock.unlink()
    if spoil != "missing":
        lock.write_bytes({
            "empty": b"", "half": raw[: len(raw) // 2], "torn": raw[:60] + bytes(len(raw) - 60),
            "flipped": raw.replace(b'"seq":10', b'"seq":90'),
        }[spoil])  # fmt: skip
    assert len((await opened(path)).epochs) == 1
    assert (await grown(path, 10, 1)).last == 11


async def test_what_retention_dropped_is_no_older_file(path: Path) -> None:
    """The event at the mark may be gone, as long as the log goes on beyond it."""
    await grown(path, 0, 10)
    marked = path.with_name("catalyst.db.lock").read_bytes()
    async with SqliteStore(path) as store:
        await put(store, batch(10, 10))
        await store.drop("main", 15)
    path.with_name("catalyst.db.lock").write_bytes(marked)
    assert len((await opened(path)).epochs) == 1


async def test_everything_dropped_and_a_void_are_no_older_file(path: Path) -> None:
    async with SqliteStore(path) as store:
        await put(store, OPEN_MAIN, batch(0, 10))
        await store.drop("main", 10)
    assert len((await opened(path)).epochs) == 1
    async with SqliteStore(path) as store:
        await store.begin_epoch("main", 500, "a test")
    assert len((await opened(path)).epochs) == 2


async def test_a_rewind_that_was_dealt_with_before_a_crash_is_not_dealt_with_again(path: Path, tmp_path: Path) -> None:
    """The process may die between the new epoch and the new mark."""
    await grown(path, 0, 10)
    shutil.copy(path, tmp_path / "old.db")
    await grown(path, 10, 30)
    marked = path.with_name("catalyst.db.lock").read_bytes()
    _put_back(path, tmp_path / "old.db")
    await opened(path)
    path.with_name("catalyst.db.lock").write_bytes(marked)
    assert len((await opened(path)).epochs) == 2


async def test_a_start_that_fails_leaves_the_marks_as_they_were(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a full disk the new epoch cannot be begun; the next start must still know."""

    def full(*args: object) -> None:
        raise StoreFull

    await grown(path, 0, 10)
    shutil.copy(path, tmp_path / "old.db")
    await grown(path, 10, 30)
    _put_back(path, tmp_path / "old.db")
    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(rows, "begin_epoch", full)
        with pytest.raises(StoreFull):
            await opened(path)
    assert (await opened(path)).epochs[-1].first == 40 + EPOCH_GAP


# -- a tail that does not verify --------------------------------------------------------------------------------


def _change(path: Path, statement: str) -> None:
    connection = sqlite3.connect(path)
    connection.execute(statement)
    connection.commit()
    connection.close()


SPOILT = {
    "UPDATE events SET body = x'7b7d' WHERE id = 'n5'": 6,
    "UPDATE events SET hash = zeroblob(32) WHERE id = 'n5'": 6,
    "DELETE FROM events WHERE id = 'n5'": 6,
    "UPDATE heads SET hash = zeroblob(32)": 10,
}


@pytest.mark.parametrize("statement", SPOILT)
async def test_a_spoilt_tail_stops_appends_and_not_the_start(path: Path, statement: str) -> None:
    """What is good is still there to be read, and somebody can ask what is wrong."""
    await grown(path, 0, 10)
    _change(path, statement)
    async with SqliteStore(path) as store:
        assert isinstance(store.fault, StoreCorrupt)
        assert store.fault.extra["seq"] == SPOILT[statement]
        await put(store, OPEN_MAIN)  # A start opens its channels.
        for refused in (store.append([batch(10)]), store.keep("state", "main", 1, was=0), store.drop("main", 3)):
            with pytest.raises(StoreCorrupt):
                await refused
        assert [event.seq for event in await store.read("main", 0, 5)] == [1, 2, 3, 4, 5]


async def test_a_sound_log_has_no_fault(store: SqliteStore) -> None:
    await put(store, batch(0, 10))
    assert store.fault is None


# -- copies -----------------------------------------------------------------------------------------------------


async def test_a_backup_is_one_moment_of_the_log_and_one_file(store: SqliteStore, path: Path, tmp_path: Path) -> None:
    """Made beside a server that goes on; it can be read where nothing can be written."""
    await put(store, batch(0, 3000, body_bytes=3000))
    seen: list[tuple[int, int]] = []
    copying = asyncio.create_task(
        asyncio.to_thread(SqliteCopies(path).back_up, tmp_path / "copy.db", lambda *at: seen.append(at))
    )
    n = 3000
    while not copying.done():
        await put(store, batch(n, 5))
        n += 5
    copied = await copying
    assert n > 3010, "publishing went on"
    assert [name for name in names_in(tmp_path) if name.startswith("copy")] == ["copy.db"]
    assert seen == sorted(seen)
    assert seen[-1][0] == seen[-1][1] == copied.size_bytes == (tmp_path / "copy.db").stat().st_size
    raw = (tmp_path / "copy.db").read_bytes()
    assert raw[18:20] == b"\x01\x01", "no write-ahead log is needed to read it"
    async with SqliteStore(tmp_path / "copy.db", readonly=True) as copy:
        assert (await copy.extents()) == copied.extents
        report = await verify(copy)
        assert (report.rows["main"], report.faults) == (copied.extents["main"].last, {})
        assert 3000 <= report.rows["main"] < n


async def test_a_backup_that_fails_leaves_nothing_and_the_old_copy_as_it_was(
    store: SqliteStore, path: Path, tmp_path: Path
) -> None:
    """Yesterday's copy is worth more than half of today's."""
    await put(store, batch(0, 300, body_bytes=3000))
    (tmp_path / "copy.db").write_bytes(b"yesterday")

    def interrupted(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        SqliteCopies(path).back_up(tmp_path / "copy.db", interrupted)
    assert (tmp_path / "copy.db").read_bytes() == b"yesterday"
    assert not [name for name in names_in(tmp_path) if "partial" in name]
    for nowhere in (tmp_path / "no such folder" / "copy.db", path):
        with pytest.raises(Misconfigured):
            SqliteCopies(path).back_up(nowhere, quiet)
    assert (await verify(store)).rows == {"main": 300}


async def test_a_restored_log_goes_on_a_million_above_and_nobody_is_taken_for_rewound(
    path: Path, tmp_path: Path
) -> None:
    """Older positions resume, newer ones are told: nothing that was given out since is given out again."""
    before = await grown(path, 0, 10)
    SqliteCopies(path).back_up(tmp_path / "copy.db", quiet)
    await grown(path, 10, 30)
    gone(path)
    extents = SqliteCopies(path).restore(tmp_path / "copy.db", quiet)
    assert [(e.first, e.last_before, e.reason) for e in extents["main"].epochs] == [
        (1, 0, "created"), (10 + EPOCH_GAP, 10, "restored"),
    ]  # fmt: skip
    assert extents["main"].epochs[0].name == before.epoch
    assert await opened(path) == extents["main"], "the marks are the restored log's"
    assert (await grown(path, 10, 1)).last == 10 + EPOCH_GAP
    async with SqliteStore(path, readonly=True) as store:
        assert (await verify(store)).faults == {}


async def test_a_restored_log_begins_above_more_than_a_million_that_were_given_out(path: Path, tmp_path: Path) -> None:
    await grown(path, 0, 10)
    SqliteCopies(path).back_up(tmp_path / "copy.db", quiet)
    async with SqliteStore(path) as store:
        await store.begin_epoch("main", 5_000_000, "stands for so many events")
        await put(store, batch(10))
    gone(path)
    assert SqliteCopies(path).restore(tmp_path / "copy.db", quiet)["main"].last == 5_000_000 + EPOCH_GAP - 1


async def test_nothing_is_restored_over_a_log_or_beside_a_server(path: Path, tmp_path: Path) -> None:
    await grown(path, 0, 10)
    SqliteCopies(path).back_up(tmp_path / "copy.db", quiet)
    with pytest.raises(Conflict, match="move it away"):
        SqliteCopies(path).restore(tmp_path / "copy.db", quiet)
    (tmp_path / "letter.db").write_bytes(b"a letter " * 1000)
    with pytest.raises(Conflict):
        SqliteCopies(tmp_path / "letter.db").restore(tmp_path / "copy.db", quiet)
    async with SqliteStore(tmp_path / "empty.db"):
        with pytest.raises(StoreInUse):
            SqliteCopies(tmp_path / "empty.db").restore(tmp_path / "copy.db", quiet)
    SqliteCopies(tmp_path / "empty.db").restore(tmp_path / "copy.db", quiet)
    assert (await opened(tmp_path / "empty.db")).newest == 10


_RESTORE = """
import os, sys
from pathlib import Path
from catalyst_signals.stores.sqlite import copying
at = [0]

def step(name, real):
    def stepped(*args, **more):
        if at[0] == int(sys.argv[3]):
            os.kill(os.getpid(), 9)
        at[0] += 1
        return real(*args, **more)
    return stepped

copying._begin_epochs = step("epochs", copying._begin_epochs)
copying.files.sync = step("sync", copying.files.sync)
copying.marks.write = step("marks", copying.marks.write)
copying.SqliteCopies(Path(sys.argv[1])).restore(Path(sys.argv[2]), step("copied", lambda done, total: None))
"""


async def test_a_restore_that_is_killed_anywhere_leaves_all_or_nothing(path: Path, tmp_path: Path) -> None:
    """A copy without its new epochs in the log's place would be served as if nothing had happened."""
    await grown(path, 0, 10)
    SqliteCopies(path).back_up(tmp_path / "copy.db", quiet)
    await grown(path, 10, 30)
    marked = path.with_name("catalyst.db.lock").read_bytes()
    outcomes = set()
    for at in range(50):
        folder = tmp_path / str(at)
        folder.mkdir()
        place = folder / "catalyst.db"
        place.with_name("catalyst.db.lock").write_bytes(marked)
        with python(_RESTORE, place, tmp_path / "copy.db", at) as restoring:
            _, said = restoring.communicate()
        if restoring.returncode == 0:
            break
        assert restoring.returncode == -9, said
        there = place.exists()
        outcomes.add(there)
        if not there:
            SqliteCopies(place).restore(tmp_path / "copy.db", quiet)
        extent = await opened(place)
        assert [epoch.reason for epoch in extent.epochs] == ["created", "restored"], f"killed at {at}"
        assert extent.last == 10 + EPOCH_GAP - 1
    assert outcomes == {True, False}
