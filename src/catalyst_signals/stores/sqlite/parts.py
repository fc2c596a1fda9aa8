"""Taking over another log, being taken over, and making one event's body unreadable: what an append never does.

Owns: their statements. Knows nothing of threads or files: it is given a connection inside a transaction.
"""

from __future__ import annotations

from catalyst_signals.errors import NotFound, PositionTooOld, UnknownChannel
from catalyst_signals.events import Event, Extent, Part
from catalyst_signals.stores import check_adopted, lacking
from catalyst_signals.stores.sqlite import rows
from catalyst_signals.stores.sqlite.rows import Connection


def adopt(connection: Connection, part: Part) -> Extent:
    """Store.adopt; the channel's extent afterwards."""
    number, extent = _standing(connection, part)
    events = lacking(part, extent)
    if extent is None:
        connection.execute(
            "INSERT INTO heads (channel, number, first, last, ts_us, hash_before, hash) VALUES (?, ?, ?, ?, 0, ?, ?)",
            (part.channel, number, part.first, part.first - 1, part.hash_before, part.hash_before),
        )
    _write_ids(connection, number, part)
    rows.write_events(connection, number, events)
    _move_head(connection, part, events)
    at = max(part.last, extent.last if extent is not None else 0)
    for epoch in part.epochs[len(extent.epochs) if extent is not None else 0 :]:
        if epoch.first <= at + 1:
            rows.add_epoch(connection, number, epoch)
    return rows.standing(connection, part.channel)[1]


def _standing(connection: Connection, part: Part) -> tuple[int, Extent | None]:
    try:
        return rows.standing(connection, part.channel)
    except UnknownChannel:
        (number,) = connection.execute("SELECT coalesce(max(number), 0) + 1 FROM heads").fetchone()
        return number, None


def _write_ids(connection: Connection, number: int, part: Part) -> None:
    rows.write_ids(connection, number, part.known, "INSERT OR IGNORE")
    check_adopted(part, rows.find(connection, number, {*part.known, *(event.id for event in part.events)}))


def _move_head(connection: Connection, part: Part, events: list[Event]) -> None:
    connection.execute("UPDATE heads SET last = max(last, ?) WHERE channel = ?", (part.last, part.channel))
    if events:
        connection.execute(
            "UPDATE heads SET ts_us = ?, hash = ? WHERE channel = ?", (events[-1].ts_us, events[-1].hash, part.channel)
        )


def moved_to(connection: Connection) -> str:
    """Store.moved_to, as it stands in the file."""
    row = connection.execute("SELECT url FROM moved").fetchone()
    return row[0] if row is not None else ""


def move(connection: Connection, url: str) -> None:
    """From now on the log is there; older code cannot write to this file any more."""
    connection.execute("INSERT INTO moved (url) VALUES (?)", (url,))
    connection.execute("UPDATE schema SET oldest = 2")


def come_back(connection: Connection) -> None:
    """A copy that is put in its place again is a log of its own."""
    connection.execute("DELETE FROM moved")


def erase(connection: Connection, channel: str, seq: int) -> None:
    """Store.erase, as far as rows go; `secure_delete` makes SQLite write zeros over them."""
    number, extent = rows.standing(connection, channel)
    if seq < extent.first:
        raise PositionTooOld(field="seq", got=seq, first=extent.first)
    changed = connection.execute(
        "UPDATE events SET salt = x'', body = x'' WHERE place = ?", (rows.place(number, seq),)
    ).rowcount
    if not changed:
        raise NotFound(f"there is no event {seq} in `{channel}`", field="seq", got=seq)
