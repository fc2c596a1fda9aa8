"""Whether a place is free for a log that comes from elsewhere.

Law: a place that has a log is never written over, whatever state that log is in.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from catalyst_signals.errors import Conflict, Misconfigured, StoreCorrupt
from catalyst_signals.stores.sqlite import opening, rows
from catalyst_signals.stores.sqlite.opening import SqliteErrors


def check_free(path: Path) -> None:
    """Pass, or raise Conflict if there is a log here already, or a file that may be one."""
    if not path.exists() or path.stat().st_size == 0:
        return
    try:
        with closing(opening.open_to_read(path)) as connection:
            channels = rows.extents(connection, None)
    except (*SqliteErrors, Misconfigured, StoreCorrupt):
        channels = None
    if channels != {}:
        raise Conflict(
            f"there is a log at {path} already, which this would end: move it away with the files "
            "beside it (-wal and -shm, not .lock), or give another --store-url",
            field="store_url", got=str(path),
        )  # fmt: skip
