"""Opening the SQLite file: its lock, its two kinds of connections, its migrations, and what SQLite's errors mean.

Owns: settings of a connection and the schema's version. Knows nothing of events or threads.
Law: who writes holds the lock file, and reading connections are read-only, so exactly one connection ever writes or
checkpoints: SQLite below 3.51.3 can corrupt a WAL that two connections write and reset at once.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from importlib import resources
from pathlib import Path
from typing import IO

from catalyst_signals.errors import Misconfigured, StoreCorrupt, StoreInUse, StoreUnavailable

SCHEMA_VERSION = 3  # The newest migration of this code.
CACHE_KIB = 32 << 10  # The inner pages of the table of ids of some million events.
CHECKPOINT_PAGES = 4000  # 16 MiB of WAL: a checkpoint's own fsyncs are rare, a restart reads little.
PAGE_BYTES = 4096
BUSY_MS = 5000  # How long a statement waits for another program's lock.
NO_ROOM_BYTES = 64 << 10

# The second when SQLite's own message quotes a damaged name.
SqliteErrors = (sqlite3.Error, UnicodeDecodeError)

# A failed fsync is none of these: what it left behind is unknown, whatever the reason was.
ROLLED_BACK_WITHOUT_ROOM = (sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_SHMSIZE, sqlite3.SQLITE_IOERR_SHMOPEN)


def take_lock(path: Path) -> IO[str]:
    """The lock of who writes to `path`; the kernel takes it back when the process ends, however it ends.

    Raises:
        StoreInUse: another process has it.
        Misconfigured: there can be no file at that place.
    """
    lock_path = path.with_name(path.name + ".lock")
    try:
        lock = os.fdopen(os.open(lock_path, os.O_RDWR | os.O_CREAT, 0o644), "r+")
    except OSError as error:
        raise Misconfigured(f"{lock_path} cannot be opened: {error}", field="store_url", got=str(path)) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise StoreInUse(
            f"another process is writing to {path}; stop it first, or give another --store-url", got=str(path)
        ) from None
    return lock


def open_to_write(path: Path) -> sqlite3.Connection:
    """The one connection that writes and checkpoints, on a file with the newest schema; made if it is not there.

    Raises:
        Misconfigured: the file is not ours, or of a newer Catalyst.
        SqliteErrors: it cannot be opened.
    """
    return _connect(path, "rwc", _prepare_to_write)


def open_to_read(path: Path) -> sqlite3.Connection:
    """A connection that cannot write, beside whoever does.

    Raises:
        Misconfigured: there is no file, or it is not ours, or of a newer Catalyst.
        StoreCorrupt: it was ours once.
        SqliteErrors: it cannot be opened.
    """
    if not path.exists():
        raise Misconfigured(f"there is no store at {path}", field="store_url", got=str(path))
    return _connect(path, "ro", _prepare_to_read)


def open_to_change(path: Path) -> sqlite3.Connection:
    """A connection to a file of the newest schema that nobody else has; it stays a single file.

    Raises:
        Misconfigured, SqliteErrors: as `open_to_write`.
    """
    return _connect(path, "rw", _migrate)


def _connect(path: Path, mode: str, prepare: Callable[[sqlite3.Connection, Path], None]) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}", uri=True, isolation_level=None, check_same_thread=False
    )
    try:
        connection.execute(f"PRAGMA busy_timeout={BUSY_MS}")
        connection.execute(f"PRAGMA cache_size=-{CACHE_KIB}")
        prepare(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare_to_write(connection: sqlite3.Connection, path: Path) -> None:
    mode = connection.execute("PRAGMA journal_mode=WAL").fetchone()[0]
    if mode != "wal":
        raise Misconfigured(
            f"{path} is on a file system without shared memory, which the write-ahead log needs; use a local disk",
            field="store_url", got=str(path),
        )  # fmt: skip
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute(
        "PRAGMA secure_delete=ON"
    )  # What is moved or deleted leaves zeros: an erased body has no copies.
    connection.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
    connection.execute(f"PRAGMA journal_size_limit={CHECKPOINT_PAGES * PAGE_BYTES}")
    _migrate(connection, path)


def _prepare_to_read(connection: sqlite3.Connection, path: Path) -> None:
    if _version(connection, path) == 0:
        raise Misconfigured(f"{path} has no log in it", field="store_url", got=str(path))


def _version(connection: sqlite3.Connection, path: Path) -> int:
    """The newest migration the file has, 0 for an empty one; refuses what this code cannot work with."""
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    if not tables:
        return 0
    if "schema" not in tables or "heads" not in tables:
        raise Misconfigured(f"{path} is a SQLite file of another program", field="store_url", got=str(path))
    version, oldest = connection.execute("SELECT version, oldest FROM schema").fetchone() or (None, None)
    if not isinstance(version, int) or not isinstance(oldest, int):
        raise StoreCorrupt(f"{path} does not say which schema it has", got=str(path))
    if oldest > SCHEMA_VERSION:
        raise Misconfigured(
            f"{path} was written by a newer Catalyst (its schema {version} needs {oldest}, this one knows"
            f" {SCHEMA_VERSION}): upgrade this one",
            field="store_url", got=version, allowed=SCHEMA_VERSION,
        )  # fmt: skip
    return version


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Apply the migrations the file does not have yet, each in a transaction of its own."""
    have = _version(connection, path)
    folder = resources.files("catalyst_signals.stores") / "sql" / "sqlite"
    for script in sorted(folder.iterdir(), key=lambda script: script.name):
        if int(script.name.split("_", 1)[0]) > have:
            connection.executescript(f"BEGIN;\n{script.read_text()}\nCOMMIT;")


@contextmanager
def unsynced(connection: sqlite3.Connection) -> Iterator[None]:
    """Commits within it are safe from the end of this process, and from a power cut with the next commit after it."""
    connection.execute("PRAGMA synchronous=NORMAL")
    try:
        yield
    finally:
        with suppress(sqlite3.ProgrammingError):  # It was closed; the next one begins with FULL.
            connection.execute("PRAGMA synchronous=FULL")


def make_plain(path: Path) -> None:
    """A single file, which may also be read where nothing may be written."""
    with closing(sqlite3.connect(path, isolation_level=None)) as copy:
        copy.execute("PRAGMA journal_mode=DELETE")


@contextmanager
def in_words(path: Path) -> Iterator[None]:
    """What SQLite and the system say of a copy, as errors of ours."""
    try:
        yield
    except SqliteErrors as error:
        if is_damage(error):
            raise StoreCorrupt(f"{path} is damaged: {error}") from error
        raise StoreUnavailable(f"{path} could not be copied: {error}") from error
    except OSError as error:
        raise Misconfigured(f"the copy cannot be written: {error}", field="FILE", got=str(path)) from error


def wal_bytes(path: Path) -> int:
    """How long the write-ahead log is now."""
    try:
        return Path(f"{path}-wal").stat().st_size
    except FileNotFoundError:
        return 0


def begin_wal_again(connection: sqlite3.Connection, wait_ms: int) -> bool:
    """Whether the next commit writes to the beginning of the write-ahead log, nobody reading it any more."""
    try:
        connection.execute(f"PRAGMA busy_timeout={wait_ms}")
        (busy, *_) = connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()
        return not busy
    finally:
        connection.execute(f"PRAGMA busy_timeout={BUSY_MS}")


def code_of(error: Exception) -> int:
    """SQLite's extended code; 0 where Python's module itself complains."""
    return getattr(error, "sqlite_errorcode", 0)


def is_full(error: Exception, path: Path) -> bool:
    """Whether a disk without room is the reason, and the transaction therefore surely not in the log."""
    if code_of(error) & 0xFF == sqlite3.SQLITE_FULL:
        return True
    if code_of(error) not in ROLLED_BACK_WITHOUT_ROOM:
        return False
    space = os.statvfs(path.absolute().parent)
    return space.f_bavail * space.f_frsize < NO_ROOM_BYTES


def is_busy(error: Exception) -> bool:
    """Whether another program (a shell, a copy) holds the file's own lock."""
    return code_of(error) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def is_damage(error: Exception) -> bool:
    """Whether what stands in the file cannot be what was written."""
    undecodable = isinstance(error, UnicodeDecodeError) or "decode to UTF-8" in str(error)
    return undecodable or code_of(error) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
