"""What the log is known to have reached, kept beside the file: so that an older file in its place is noticed.

Owns: the content of the lock file, what it proves, and what is done then. Knows nothing of threads.
Law: a mark is only ever written of what was durable, so a file that lacks it was put there by somebody; a file that is
newer than its mark is what a crash leaves. Marks that cannot be read prove nothing, and stop nothing.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from hashlib import sha256
from typing import IO

import msgspec

from catalyst_signals.events import EPOCH_GAP, Extent
from catalyst_signals.stores.batches import Head
from catalyst_signals.stores.sqlite import rows
from catalyst_signals.stores.sqlite.rows import Connection

log = logging.getLogger("catalyst.sqlite")

Marks = Mapping[str, "Mark"]


class Mark(msgspec.Struct, frozen=True):
    """The end of one channel at some moment: what its newest seq was, in which epoch, and the hash there."""

    epoch: str
    seq: int
    hash: str


class _Content(msgspec.Struct):
    channels: dict[str, Mark]
    sum: str  # Of the channels, since a crash may tear what is not synced.


def read(lock: IO[str]) -> dict[str, Mark]:
    """The marks in the lock file; none if there are none that can be believed."""
    try:
        lock.seek(0)
        content = msgspec.json.decode(lock.read(), type=_Content)
    except (msgspec.DecodeError, ValueError, OSError):
        return {}
    return content.channels if content.sum == _sum(content.channels) else {}


def write(lock: IO[str], marks: Marks, *, synced: bool) -> None:
    """Replace the marks; the file stays the same one, since it is the lock."""
    raw = msgspec.json.encode(_Content(dict(marks), _sum(marks)))
    os.pwrite(lock.fileno(), raw, 0)
    os.ftruncate(lock.fileno(), len(raw))
    if synced:
        os.fsync(lock.fileno())


def _sum(marks: Marks) -> str:
    return sha256(msgspec.json.encode(marks)).hexdigest()[:16]


def go_on_above(connection: Connection, marks: Marks) -> None:
    """Begin an epoch in each channel that is behind its mark; one whose file is newer is left alone."""
    for channel, extent in rows.extents(connection, marks).items():
        mark = marks[channel]
        if is_behind(extent, mark, rows.hash_through(connection, channel, mark.seq)):
            now = rows.begin_epoch(connection, channel, first_above(mark, extent.last), "rewound")
            log.warning(
                "an older or another file is in the place of the log, the channel goes on in a new epoch",
                extra={"channel": channel, "ends_at": extent.last, "was_at": mark.seq, "epoch": now.epoch},
            )


def of_heads(heads: Mapping[str, Head]) -> dict[str, Mark]:
    """The marks of a file that ends there."""
    return {channel: Mark(head.epoch, head.last, head.hash.hex()) for channel, head in heads.items()}


def is_behind(extent: Extent, mark: Mark, hash_there: bytes | None) -> bool:
    """Whether a channel is not the one that was marked, or an older state of it.

    `hash_there` is that of the newest event at or below the mark's seq, None where retention dropped it. What lies in a
    void was lost before and is told so already.
    """
    if mark.epoch not in {epoch.name for epoch in extent.epochs}:
        return True
    if any(epoch.last_before < mark.seq < epoch.first - 1 for epoch in extent.epochs[1:]):
        return False
    return mark.seq > extent.last or (hash_there is not None and hash_there.hex() != mark.hash)


def first_above(mark: Mark, last: int = 0) -> int:
    """Where an epoch begins that is above everything anyone can have seen of a channel that ends at `last`."""
    return max(mark.seq, last) + EPOCH_GAP
