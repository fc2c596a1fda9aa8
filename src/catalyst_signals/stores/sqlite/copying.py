"""Copies of a whole SQLite log, for `catalyst backup` and `catalyst restore`: out beside a running server, and back in.

Owns: how a copy becomes a file that is whole or not there, and the new epochs of a restored log. Knows nothing of what
is printed. Laws: a copy is one state of the log, and one file; a place that has a log is never written over; a restored
log gives out no number that anyone can have seen.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Self

from catalyst_signals.errors import Misconfigured
from catalyst_signals.events import EPOCH_GAP, Extent
from catalyst_signals.stores.sqlite import SqliteStore, files, marks, opening, parts, rows
from catalyst_signals.stores.sqlite.vacancy import check_free

STEP_BYTES = 64 << 10  # Copied at once: a millisecond of a core that others need too.
SYNC_BYTES = 2 << 20  # More unwritten bytes than that would make somebody else's fsync wait for them.
PACE_BYTES_S = 60_000_000  # Beside a server that must go on; most disks could do more.

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Copied:
    """A copy that is on the disk: its size, how long it took, and what it holds of each channel."""

    size_bytes: int
    took_s: float
    extents: dict[str, Extent]


class SqliteCopies:
    """The copies of the log at one place."""

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)

    @classmethod
    def from_url(cls, url: str) -> Self:
        """As SqliteStore.from_url."""
        return cls(SqliteStore.from_url(url).path)

    def back_up(self, target: Path, progress: Progress) -> Copied:
        """Copy the log to `target`, which is replaced when all of it is on the disk; `progress(done, total)` in bytes.

        Raises:
            Misconfigured: there is no log here, or `target` cannot be written.
            StoreCorrupt, StoreUnavailable: the log cannot be read.
        """
        if target.exists() and self._path.exists() and target.samefile(self._path):
            raise Misconfigured(
                f"{target} is the log itself; give the copy another name", field="FILE", got=str(target)
            )
        with opening.in_words(self._path):
            return _copy(self._path, target, progress, pace_bytes_s=PACE_BYTES_S)

    def check_free(self) -> None:
        """Pass, or raise Conflict if there is a log here already."""
        check_free(self._path)

    def restore(self, source: Path, progress: Progress) -> dict[str, Extent]:
        """Put a copy of `source` here, in which each channel goes on in a new epoch; its extents afterwards.

        Raises:
            Conflict: there is a log here already.
            StoreInUse: a server is running here.
            Misconfigured: `source` has no log.
        """
        with opening.take_lock(self._path) as lock, opening.in_words(source):
            self.check_free()
            extents: dict[str, Extent] = {}
            _copy(source, self._path, progress, finish=lambda copy: extents.update(_begin_epochs(copy, lock)))
            ends = {name: marks.Mark(e.epoch, e.last, e.hash_last.hex()) for name, e in extents.items()}
            marks.write(lock, marks.read(lock) | ends, synced=True)
        return extents


def _copy(
    source: Path, target: Path, progress: Progress, *,
    pace_bytes_s: float = float("inf"), finish: Callable[[Path], None] = lambda copy: None,
) -> Copied:  # fmt: skip
    """One state of `source` as a single plain file, under its name only when it is whole and on the disk."""
    began_s = time.monotonic()
    partial = files.partial_of(target)
    files.clear(partial)
    partial.touch()
    try:
        with closing(opening.open_to_read(source)) as log:
            log.execute("BEGIN")  # One state, whatever is committed meanwhile; and so the copy never starts over.
            extents = rows.extents(log, None)
            _copy_pages(log, partial, progress, pace_bytes_s)
        finish(partial)
        files.put_in_place(partial, target)
    finally:
        files.clear(partial)
    return Copied(target.stat().st_size, time.monotonic() - began_s, extents)


def _copy_pages(log: sqlite3.Connection, partial: Path, progress: Progress, pace_bytes_s: float) -> None:
    (page_bytes,) = log.execute("PRAGMA page_size").fetchone()
    began_s, synced = time.monotonic(), 0
    with closing(sqlite3.connect(partial, isolation_level=None)) as copy, partial.open("rb") as file:
        copy.execute("PRAGMA synchronous=OFF")  # We do that, in smaller pieces.

        def stepped(status: int, remaining: int, total: int) -> None:
            nonlocal synced
            done = (total - remaining) * page_bytes
            if done - synced >= SYNC_BYTES:
                os.fdatasync(file.fileno())
                synced = done
            progress(done, total * page_bytes)
            time.sleep(max(0.0, began_s + done / pace_bytes_s - time.monotonic()))

        log.backup(copy, pages=max(1, STEP_BYTES // page_bytes), progress=stepped)
    opening.make_plain(partial)


def _begin_epochs(copy: Path, lock: IO[str]) -> dict[str, Extent]:
    """Every channel goes on above what was given out after the copy was made, as far as that is known."""
    before = marks.read(lock)
    with closing(opening.open_to_change(copy)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        parts.come_back(connection)
        extents = {
            channel: rows.begin_epoch(connection, channel, _first_of(extent, before.get(channel)), "restored")
            for channel, extent in rows.extents(connection, None).items()
        }
        connection.execute("COMMIT")
    return extents


def _first_of(extent: Extent, mark: marks.Mark | None) -> int:
    first = extent.last + EPOCH_GAP
    return first if mark is None or mark.seq + EPOCH_GAP // 2 < first else marks.first_above(mark)
