"""A SQLite log that comes in from elsewhere: under its name only when it is whole and on the disk.

Owns: the file it is written to meanwhile. Knows nothing of what comes in.
Laws: what did not come in whole leaves nothing behind; a log is never written over, only an older safety copy is.
"""

from __future__ import annotations

from pathlib import Path
from typing import IO, Self

from catalyst_signals.stores.sqlite import SqliteStore, files, opening
from catalyst_signals.stores.sqlite.vacancy import check_free


class SqliteArrival:
    """`async with` it: an empty store. Left without an error, what was put in it is the log at this place."""

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._partial = files.partial_of(self._path)
        self._lock: IO[str] | None = None
        self._store: SqliteStore | None = None

    @classmethod
    def from_url(cls, url: str) -> Self:
        """As SqliteStore.from_url."""
        return cls(SqliteStore.from_url(url).path)

    async def __aenter__(self) -> SqliteStore:
        """Raises Conflict if there is a log, StoreInUse if a server or another arrival has this place."""
        self._take_place()
        try:
            self._check_free()
            files.clear(self._partial)
            self._store = await SqliteStore(self._partial).__aenter__()
        except BaseException:
            self._leave()
            raise
        return self._store

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        assert self._store is not None
        try:
            await self._store.__aexit__()
            if kind is None:
                self._put_in_place()
        finally:
            self._leave()

    def _take_place(self) -> None:
        self._lock = opening.take_lock(self._path)

    def _check_free(self) -> None:
        check_free(self._path)

    def _put_in_place(self) -> None:
        files.put_in_place(self._partial, self._path)

    def _leave(self) -> None:
        files.clear(self._partial)
        if self._lock is not None:
            self._lock.close()
            self._lock = None


class SqliteSafetyCopy(SqliteArrival):
    """The same for a file that nobody writes to: one plain file, in the place of an older one."""

    def _take_place(self) -> None:
        """Nobody serves it, so there is nothing to lock."""

    def _check_free(self) -> None:
        """An older copy may be there."""

    def _put_in_place(self) -> None:
        with opening.in_words(self._path):
            opening.make_plain(self._partial)
            super()._put_in_place()
