"""A SQLite log that comes in from elsewhere: under its name only when it is whole and on the disk.

Owns: the file it is written to meanwhile. Knows nothing of what comes in.
Law: a place that has a log is never written over, and what did not come in whole leaves nothing behind.
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
        self._lock = opening.take_lock(self._path)
        try:
            check_free(self._path)
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
                files.put_in_place(self._partial, self._path)
        finally:
            self._leave()

    def _leave(self) -> None:
        files.clear(self._partial)
        if self._lock is not None:
            self._lock.close()
            self._lock = None
