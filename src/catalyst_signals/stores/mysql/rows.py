"""The log's rows in MySQL: literals, what is asked, and what the answers mean.

Owns: the statements that read. Knows nothing of connections but `ask`. Names and ids are bytes in the tables, so that
they are compared as such.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from operator import itemgetter

from catalyst_signals.errors import PositionTooOld, UnknownChannel
from catalyst_signals.events import Epoch, Event, Extent, Kept, Known
from catalyst_signals.stores.batches import page_of
from catalyst_signals.stores.mysql.links import Link, Rows

SEQ_MAX = 1 << 62
IDS_AT_ONCE = 500  # MariaDB makes a table of a list of 1,000 and more.
HEX_BYTES_MAX = 64  # Longer values are quoted, which is shorter.

SNAPSHOT = b"START TRANSACTION READ ONLY"  # In REPEATABLE READ: of the first statement.
EXTENTS = (
    b"SELECT h.channel, h.number, h.first, h.last, h.hash_before, h.hash,"
    b" e.name, e.first, e.last_before, e.hash_before, e.reason FROM heads h JOIN epochs e ON e.number = h.number"
)
IN_ORDER = b" ORDER BY h.channel, e.first"
HASH_AT = (
    b"SELECT e.hash FROM heads h JOIN events e ON e.number = h.number WHERE h.channel = %b AND e.seq <= %d"
    b" ORDER BY e.seq DESC LIMIT 1"
)
# A page ends behind the first body that is too much. Its seqs are found first: a table that is made for a while would
# lie on the disk if it had bodies in it.
PAGE = (
    b"SELECT e.seq, e.type, CONVERT(e.id USING utf8mb4), e.version, e.ts_us, e.salt, e.body, e.body_hash, e.hash FROM"
    b" (SELECT number, seq, SUM(size) OVER (ORDER BY seq) - size AS before_it FROM"
    b" (SELECT e.number, e.seq, LENGTH(e.body) AS size FROM heads h JOIN events e ON e.number = h.number"
    b" WHERE h.channel = %b AND e.seq > %d AND e.seq <= h.last ORDER BY e.seq LIMIT %d) AS most) AS sized"
    b" JOIN events e ON e.number = sized.number AND e.seq = sized.seq WHERE sized.before_it <= %d ORDER BY e.seq"
)
IDS = b"SELECT i.id, i.seq, i.subject, i.draft_hash, i.version, i.ts_us FROM heads h JOIN ids i ON i.number = h.number"
MOVED_TO = b"SELECT moved_to FROM fence WHERE one = 1"
KEPT = b"SELECT name, seq, state, holder, until_us FROM kept"


def literal(value: str | bytes | int | None) -> bytes:
    """A value as it stands in a statement; a text is of utf8mb4, bytes are bytes. Needs backslash escapes."""
    if value is None:
        return b"NULL"
    if isinstance(value, int):
        return b"%d" % value
    if isinstance(value, str):
        return _quoted(value.encode())
    if len(value) <= HEX_BYTES_MAX:
        return b"x'" + value.hex().encode() + b"'"
    return b"_binary" + _quoted(value)


def _quoted(value: bytes) -> bytes:
    return b"'" + value.replace(b"\\", b"\\\\").replace(b"'", b"\\'") + b"'"


def sql(text: str, *values: str | bytes | int | None) -> bytes:
    """A statement with its values in the places of `%b`."""
    return text.encode() % tuple(map(literal, values))


def named(channel: str) -> bytes:
    """A channel's name, or an id, as the tables have it."""
    return literal(channel.encode())


async def standing(link: Link, channel: str, *more: bytes) -> tuple[Extent, list[Rows]]:
    """A channel's extent, and what `more` answers in the same snapshot.

    Raises:
        UnknownChannel: it was never opened.
    """
    _, found, *others, _ = await link.ask(SNAPSHOT, extents([channel]), *more, b"COMMIT")
    standings = standings_of(found)
    if channel not in standings:
        raise UnknownChannel(field="channel", got=channel)
    return standings[channel][1], others


def standings_of(rows: Rows) -> dict[str, tuple[int, Extent]]:
    """Number and extent by channel, from the rows of EXTENTS: one an epoch, a channel's together."""
    found: dict[str, tuple[int, Extent]] = {}
    for head, of_channel in groupby(rows, key=itemgetter(slice(6))):
        name, number, first, last, hash_before, hash = head
        channel = name.decode()
        found[channel] = number, Extent(
            channel=channel, epochs=tuple(Epoch(*row[6:]) for row in of_channel), first=first, last=last,
            durable=last, hash_before=hash_before, hash_last=hash,
        )  # fmt: skip
    return found


def extents(channels: Iterable[str] | None) -> bytes:
    """What Store.extents asks."""
    if channels is None:
        return EXTENTS + IN_ORDER
    names = b", ".join(map(named, channels)) or b"NULL"
    return EXTENTS + b" WHERE h.channel IN (" + names + b")" + IN_ORDER


async def read(link: Link, channel: str, after: int, limit: int, bytes_max: int) -> tuple[list[Event], Extent]:
    """Store.read in one round trip, and the extent it was read of.

    Raises:
        StoreCorrupt: an event is missing; carries its seq.
    """
    name, after = named(channel), min(after, SEQ_MAX)
    extent, (before, rows) = await standing(
        link, channel, HASH_AT % (name, after), PAGE % (name, after, min(limit, SEQ_MAX), bytes_max)
    )
    if after < extent.first - 1:
        raise PositionTooOld(field="after", got=after, first=extent.first)
    prev = before[0][0] if before else extent.hash_before
    return page_of(extent, rows, after, limit, bytes_max, prev), extent


def find(channel: str, ids: Sequence[str]) -> list[bytes]:
    """What is asked of these ids, in as many statements as it takes."""
    where = IDS + b" WHERE h.channel = " + named(channel) + b" AND i.id IN ("
    return [
        where + b", ".join(map(named, ids[at : at + IDS_AT_ONCE])) + b")" for at in range(0, len(ids), IDS_AT_ONCE)
    ]  # fmt: skip


def page_of_ids(channel: str, after: str, limit: int) -> bytes:
    """What Store.ids asks."""
    asked = IDS + b" WHERE h.channel = %b AND i.id > %b ORDER BY i.id LIMIT %d"
    return asked % (named(channel), named(after), limit)


def known_of(answers: Iterable[Rows]) -> dict[str, Known]:
    """What is known, by id, from the rows of IDS."""
    return {row[0].decode(): Known(*row[1:]) for rows in answers for row in rows}


def kept_of(rows: Rows) -> dict[str, Kept]:
    """Places by their follower's name, from the rows of KEPT."""
    return {row[0].decode(): Kept(*row[1:]) for row in rows}
