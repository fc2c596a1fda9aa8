"""How a log's file comes under its name: made beside it, synced, and named last.

Owns: what lies beside a SQLite file, and the order of these steps. Knows nothing of what is in it.
Law: under the name of a log stands a whole one or none, whenever the power goes.
"""

from __future__ import annotations

import os
from pathlib import Path

BESIDE = ("-wal", "-shm", "-journal")


def partial_of(path: Path) -> Path:
    """Where a file is made that will be `path`."""
    return path.with_name(path.name + ".partial")


def put_in_place(partial: Path, path: Path) -> None:
    """What was made at `partial` is at `path`, on the disk; nothing of what was there before can be played into it."""
    sync(partial)
    for suffix in BESIDE:
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    partial.replace(path)
    sync(path.absolute().parent)


def clear(partial: Path) -> None:
    """Nothing is left at `partial`, nor beside it."""
    for suffix in ("", *BESIDE, ".lock"):
        partial.with_name(partial.name + suffix).unlink(missing_ok=True)


def sync(path: Path) -> None:
    """What was written there survives a power cut; of a folder, the names in it."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
