"""What is done to the log in PostgreSQL beside appending: channels, epochs, retention, erasing, taking over, the fence.

Owns: these transactions. Law: each has the head of its channel locked, and is refused behind a fence.
"""

from __future__ import annotations

from catalyst_signals.errors import Moved, NotFound, PositionTooOld
from catalyst_signals.events import NO_HASH, Epoch, Kept, Part, new_epoch_name, now_us
from catalyst_signals.stores import check_adopted, check_epoch_first, lacking
from catalyst_signals.stores.postgres.appending import add_events, add_ids
from catalyst_signals.stores.postgres.line import FENCE_LOCK, About, Connection, Cursor, Line
from catalyst_signals.stores.postgres.rows import (
    HASH_AT,
    Standing,
    ask_known,
    ask_standings,
    known_in,
    standing_in,
)

LOCK = "SELECT 1 FROM catalyst.heads WHERE channel = %s FOR UPDATE"
OPEN = """
WITH opened AS (
    INSERT INTO catalyst.heads (channel, first, last, ts_us, epoch, hash_before, hash)
    VALUES (%s, %s, %s, 0, %s, %s, %s) ON CONFLICT (channel) DO NOTHING RETURNING number
)
INSERT INTO catalyst.epochs (number, first, name, last_before, hash_before, reason)
SELECT number, %s, %s, %s, %s, %s FROM opened
"""
ADD_EPOCH = """
INSERT INTO catalyst.epochs (number, first, name, last_before, hash_before, reason) VALUES (%s, %s, %s, %s, %s, %s)
"""
ENTER_EPOCH = "UPDATE catalyst.heads SET last = greatest(last, %s), epoch = %s WHERE number = %s"
NOW_US = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
# Begins where the last one ended, so that it does not look at what that one left behind until a vacuum.
DROP_SOME = """
WITH next AS (SELECT min(seq) AS seq FROM catalyst.events WHERE number = %s AND seq >= %s AND seq < %s),
     gone AS (DELETE FROM catalyst.events WHERE number = %s AND seq < %s
              AND seq >= (SELECT seq FROM next) AND seq < (SELECT seq FROM next) + %s)
SELECT seq + %s FROM next
"""
DROPPED_AT_ONCE = 10_000
CONFIRM = "SELECT pg_logical_emit_message(true, 'catalyst', '')"  # Something for a commit to wait for.
CONFIRM_S = 1.0  # A poll asks for it, and must be answered while what it found is still worth something.


def open_channels(line: Line, channels: list[str]) -> None:
    """These channels are there; of several who open one at once the first one does."""

    def write(connection: Connection) -> None:
        for channel in sorted(channels):
            epoch = Epoch(new_epoch_name(), 1, 0, NO_HASH, "created")
            _open(connection, channel, epoch, 1, NO_HASH)

    line.change(write)


def _open(connection: Connection, channel: str, epoch: Epoch, first: int, hash_before: bytes) -> Cursor:
    row = (channel, first, first - 1, epoch.name, hash_before, hash_before)
    return connection.execute(OPEN, (*row, epoch.first, epoch.name, epoch.last_before, epoch.hash_before, epoch.reason))


def confirm(line: Line) -> str:
    """Everything that could be seen before is as durable as is answered: it is waited for, also behind a fence.

    Raises:
        StoreUnavailable: a standby did not confirm it in time.
    """

    def write(connection: Connection) -> None:
        connection.execute("BEGIN")
        line.set_timeouts()
        connection.execute(CONFIRM)

    return line.commit(write, within_s=CONFIRM_S)[0]


def _locked(line: Line, channel: str) -> tuple[About, Standing]:
    """A transaction has begun in which nobody else changes the channel."""

    def ask(connection: Connection) -> Cursor:
        connection.execute(LOCK, (channel,))
        return ask_standings(connection, [channel])

    about, cursor = line.begin(ask)
    return about, standing_in(cursor, channel)


def begin_epoch(line: Line, channel: str, first: int, reason: str) -> Standing:
    """Store.begin_epoch"""
    about, standing = _locked(line, channel)
    extent = standing.extent
    check_epoch_first(extent, first)
    epoch = Epoch(new_epoch_name(), first, extent.last, extent.hash_last, reason)

    def write(connection: Connection) -> Cursor:
        add_epoch(connection, standing.number, epoch)
        return ask_standings(connection, [channel])

    return standing_in(line.commit(write, about)[1], channel)


def add_epoch(connection: Connection, number: int, epoch: Epoch) -> None:
    """The channel, whose head is locked, goes on in this epoch; what lies before it and has no event is void."""
    _add_epoch(connection, number, epoch)
    connection.execute(ENTER_EPOCH, (epoch.first - 1, epoch.name, number))


def _add_epoch(connection: Connection, number: int, epoch: Epoch) -> None:
    row = (epoch.first, epoch.name, epoch.last_before, epoch.hash_before, epoch.reason)
    connection.execute(ADD_EPOCH, (number, *row))


def drop(line: Line, channel: str, through: int) -> Standing:
    """Store.drop, but for the rows: nobody sees them any more; `drop_some` takes them away."""
    about, standing = _locked(line, channel)
    extent = standing.extent
    first = max(extent.first, min(through, extent.last) + 1)
    row = line.connection.execute(HASH_AT, (channel, first - 1), binary=True).fetchone()

    def write(connection: Connection) -> Cursor:
        if first > extent.first:
            hash_before = row[0] if row is not None else extent.hash_before
            connection.execute(
                "UPDATE catalyst.heads SET first = %s, hash_before = %s WHERE number = %s",
                (first, hash_before, standing.number),
            )
        return ask_standings(connection, [channel])

    return standing_in(line.commit(write, about)[1], channel)


def drop_some(line: Line, standing: Standing, after: int) -> int:
    """Some of the rows from `after` on that nobody sees any more went; where to go on, 0 when there are none."""
    number, first = standing.number, standing.extent.first
    row = (number, after, first, number, first, DROPPED_AT_ONCE, DROPPED_AT_ONCE)
    _, cursor = line.change(lambda connection: connection.execute(DROP_SOME, row))
    return (cursor.fetchone() or (0,))[0] or 0


def erase(line: Line, channel: str, seq: int) -> Standing:
    """Store.erase, as far as what anybody can read."""
    about, standing = _locked(line, channel)
    if seq < standing.extent.first:
        raise PositionTooOld(field="seq", got=seq, first=standing.extent.first)
    there = line.connection.execute(
        "UPDATE catalyst.events SET salt = '', body = '' WHERE number = %s AND seq = %s", (standing.number, seq)
    ).rowcount
    if not there:
        raise NotFound(f"there is no event {seq} in `{channel}`", field="seq", got=seq)

    def write(connection: Connection) -> Cursor:
        connection.execute("UPDATE catalyst.heads SET erasures = erasures + 1 WHERE number = %s", (standing.number,))
        return ask_standings(connection, [channel])

    return standing_in(line.commit(write, about)[1], channel)


def sweep(line: Line) -> None:
    """The rows that an erasure replaced are taken out of the table; its indexes are left to autovacuum."""
    line.connection.execute("VACUUM (INDEX_CLEANUP OFF, TRUNCATE OFF) catalyst.events")


def keep(line: Line, name: str, channel: str, was: int, kept: Kept) -> bool:
    """Store.keep; `kept` is the place as it is to be."""
    free = "k.seq = %s AND (k.holder IS NULL OR k.holder = %s OR k.until_us <= %s)"
    row = (kept.seq, kept.state, kept.holder, kept.until_us)
    asked = (was, kept.holder, now_us())

    def write(connection: Connection) -> Cursor:
        if was:
            move = f"""UPDATE catalyst.kept AS k SET seq = %s, state = %s, holder = %s, until_us = %s
                       WHERE name = %s AND channel = %s AND {free}"""
            return connection.execute(move, (*row, name, channel, *asked))
        begin = f"""INSERT INTO catalyst.kept AS k (seq, state, holder, until_us, name, channel)
                    VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT (name, channel) DO UPDATE SET seq = excluded.seq,
                    state = excluded.state, holder = excluded.holder, until_us = excluded.until_us WHERE {free}"""
        return connection.execute(begin, (*row, name, channel, *asked))

    return line.change(write)[1].rowcount == 1


def adopt(line: Line, part: Part) -> Standing:
    """Store.adopt"""
    ids = {*part.known, *(event.id for event in part.events)}

    def ask(connection: Connection) -> tuple[Cursor, Cursor, Cursor]:
        opened = _open(connection, part.channel, part.epochs[0], part.first, part.hash_before)
        connection.execute(LOCK, (part.channel,))
        return opened, ask_standings(connection, [part.channel]), ask_known(connection, part.channel, ids)

    about, (opened, cursor, known) = line.begin(ask)
    standing = standing_in(cursor, part.channel)
    events = lacking(part, None if opened.rowcount else standing.extent)
    check_adopted(part, {**part.known, **known_in(known)})

    def write(connection: Connection) -> Cursor:
        add_ids(connection, standing.number, part.known, " ON CONFLICT (number, id) DO NOTHING")
        add_events(connection, standing.number, events)
        if events:
            row = (events[-1].ts_us, events[-1].hash, standing.number)
            connection.execute("UPDATE catalyst.heads SET ts_us = %s, hash = %s WHERE number = %s", row)
        _adopt_epochs(connection, standing, part)
        return ask_standings(connection, [part.channel])

    return standing_in(line.commit(write, about)[1], part.channel)


def _adopt_epochs(connection: Connection, standing: Standing, part: Part) -> None:
    extent = standing.extent
    at, name = max(part.last, extent.last), extent.epoch
    for epoch in part.epochs[len(extent.epochs) :]:
        if epoch.first <= at + 1:
            _add_epoch(connection, standing.number, epoch)
            name = epoch.name
    connection.execute(ENTER_EPOCH, (at, name, standing.number))


def fence(line: Line, moved_to: str, ticket: int, fence_us: int) -> int:
    """Store.fence: whoever was changing something has finished, and whoever comes waits for it."""
    connection = line.connection
    with connection.pipeline():
        connection.execute("BEGIN")
        line.set_timeouts()
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (FENCE_LOCK,))
        cursor = connection.execute(f"SELECT until_us, moved_to, {NOW_US} FROM catalyst.fence", binary=True)
    until_us, moved, at_us = cursor.fetchone() or (0, "", 0)
    if moved:
        raise Moved(to=moved)
    if not moved_to:
        until_us = max(at_us + fence_us, until_us + 1)
    elif not at_us < until_us == ticket:
        connection.rollback()
        return 0
    write = "UPDATE catalyst.fence SET until_us = %s, moved_to = %s"
    line.commit(lambda connection: connection.execute(write, (until_us, moved_to)))
    return int(until_us)
