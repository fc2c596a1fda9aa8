"""What is read of the log in PostgreSQL.

Owns: the statements that change nothing, and what their rows mean. Knows nothing of threads, replicas or time-outs.
Law: what cannot have been written (a hole, a field of another type) is StoreCorrupt, never a shorter page.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter

from catalyst_signals.errors import PositionTooOld, UnknownChannel
from catalyst_signals.events import Epoch, Event, Extent, Kept, Known
from catalyst_signals.stores.batches import page_of
from catalyst_signals.stores.postgres.line import About, Connection, Cursor, Line

STANDINGS = """
SELECT h.channel, h.number, h.first, h.last, h.durable, h.erasures, h.hash_before, h.hash,
       e.name, e.first, e.last_before, e.hash_before, e.reason
FROM catalyst.heads h JOIN catalyst.epochs e ON e.number = h.number
"""
OF_THESE, IN_ORDER = "WHERE h.channel = ANY (%s::text[])", " ORDER BY h.channel, e.first"
NUMBER = "(SELECT number FROM catalyst.heads WHERE channel = %s)"
KNOWN = "SELECT id, seq, subject, draft_hash, version, ts_us FROM catalyst.ids"
# A look-up for each id: `= ANY` is, without statistics, a walk through all ids of the channel.
KNOWN_OF = f"""
SELECT known.* FROM unnest(%s::text[]) AS asked (id)
CROSS JOIN LATERAL ({KNOWN} WHERE number = {NUMBER} AND ids.id = asked.id LIMIT 1) AS known
"""
KEPT = "SELECT name, seq, state, holder, until_us FROM catalyst.kept WHERE channel = %s"
# A page stops behind the first body that is too much, so that one that ends early is known to be full or short.
PAGE = f"""
SELECT seq, type, id, version, ts_us, salt, body, body_hash, hash FROM (
    SELECT *, sum(octet_length(body)) OVER (ORDER BY seq) - octet_length(body) AS before
    FROM (SELECT * FROM catalyst.events WHERE number = {NUMBER} AND seq > %s ORDER BY seq LIMIT %s) AS most
) AS counted WHERE before <= %s ORDER BY seq
"""
HASH_AT = f"SELECT hash FROM catalyst.events WHERE number = {NUMBER} AND seq <= %s ORDER BY seq DESC LIMIT 1"


@dataclass(frozen=True, slots=True)
class Standing:
    """One channel in one snapshot. `durable` is what was proved before its newest commit; the store may know more."""

    number: int
    erasures: int
    durable: int
    extent: Extent


def standings(line: Line, channels: Iterable[str] | None) -> tuple[About, dict[str, Standing]]:
    """What is held of these channels, of all for None."""
    about, cursor = line.look(lambda connection: ask_standings(connection, channels))
    return about, standings_in(cursor)


def ask_standings(connection: Connection, channels: Iterable[str] | None) -> Cursor:
    """The question alone, where it goes with others."""
    if channels is None:
        return connection.execute(STANDINGS + IN_ORDER, binary=True)
    return connection.execute(STANDINGS + OF_THESE + IN_ORDER, (list(channels),), binary=True)


def standings_in(cursor: Cursor) -> dict[str, Standing]:
    """Its answer."""
    found: dict[str, Standing] = {}
    for channel, rows in groupby(cursor.fetchall(), itemgetter(0)):
        same = list(rows)
        _, number, first, last, durable, erasures, hash_before, hash = same[0][:8]
        extent = Extent(
            channel=channel, epochs=tuple(Epoch(*row[8:]) for row in same), first=first, last=last, durable=last,
            hash_before=hash_before, hash_last=hash,
        )  # fmt: skip
        found[channel] = Standing(number, erasures, durable, extent)
    return found


def standing_in(cursor: Cursor, channel: str) -> Standing:
    """Its answer for one channel.

    Raises:
        UnknownChannel: the channel was never opened.
    """
    found = standings_in(cursor).get(channel)
    if found is None:
        raise UnknownChannel(field="channel", got=channel)
    return found


def read(
    line: Line, channel: str, after: int, limit: int, bytes_max: int
) -> tuple[About, Standing, list[Event]]:  # fmt: skip
    """Store.read, in one snapshot with where the channel stands.

    Raises:
        StoreCorrupt: an event is missing or not what an event is; carries its seq.
    """

    def ask(connection: Connection) -> tuple[Cursor, Cursor, Cursor]:
        return (
            ask_standings(connection, [channel]),
            connection.execute(HASH_AT, (channel, after), binary=True),
            connection.execute(PAGE, (channel, after, limit, bytes_max), binary=True),
        )

    about, (standing, before, page) = line.look(ask)
    found = standing_in(standing, channel)
    if after < found.extent.first - 1:
        raise PositionTooOld(field="after", got=after, first=found.extent.first)
    if after >= found.extent.last:
        return about, found, []
    row = before.fetchone()
    prev = row[0] if row is not None else found.extent.hash_before
    return about, found, page_of(found.extent, page.fetchall(), after, limit, bytes_max, prev)


def ask_known(connection: Connection, channel: str, ids: Iterable[str]) -> Cursor:
    """What is known of these ids: the question alone. No id has a NUL in it, which PostgreSQL would refuse."""
    asked = [id for id in ids if "\0" not in id]
    return connection.execute(KNOWN_OF, (asked, channel), binary=True)


def known_in(cursor: Cursor) -> dict[str, Known]:
    """Its answer."""
    return {row[0]: Known(*row[1:]) for row in cursor.fetchall()}


def find(line: Line, channel: str, ids: Iterable[str]) -> dict[str, Known]:
    """Store.find"""
    _, (standing, known) = line.look(
        lambda connection: (ask_standings(connection, [channel]), ask_known(connection, channel, ids))
    )
    standing_in(standing, channel)
    return known_in(known)


def ids(line: Line, channel: str, after: str, limit: int) -> list[tuple[str, Known]]:
    """Store.ids"""

    def ask(connection: Connection) -> tuple[Cursor, Cursor]:
        above = f"{KNOWN} WHERE number = {NUMBER} AND id > %s ORDER BY id LIMIT %s"
        return (
            ask_standings(connection, [channel]),
            connection.execute(above, (channel, after, limit), binary=True),
        )

    _, (standing, above) = line.look(ask)
    standing_in(standing, channel)
    return list(known_in(above).items())


def places(line: Line, channel: str) -> dict[str, Kept]:
    """Store.places"""
    _, cursor = line.look(lambda connection: connection.execute(KEPT, (channel,), binary=True))
    return {row[0]: Kept(*row[1:]) for row in cursor.fetchall()}


def kept(line: Line, name: str, channel: str) -> Kept:
    """Store.kept"""
    _, cursor = line.look(
        lambda connection: connection.execute(f"{KEPT} AND name = %s", (channel, name), binary=True)
    )  # fmt: skip
    row = cursor.fetchone()
    return Kept(*row[1:]) if row is not None else Kept(0)
