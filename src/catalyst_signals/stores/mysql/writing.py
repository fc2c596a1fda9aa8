"""What changes the log in MySQL: locked heads first, then everything else in a snapshot from after the wait.

Owns: the statements that write, and their order. Knows nothing of connections but `ask` and `commit`. Laws: the fence
is held shared before any head, heads are locked in the order of their names, and ids are looked up by statements of
their own behind them: one statement would use a snapshot from before its lock.
"""

from __future__ import annotations

import time
from binascii import hexlify
from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter

from catalyst_signals.errors import Fenced, Moved, NotFound, PositionTooOld, TooLarge, UnknownChannel
from catalyst_signals.events import (
    NO_HASH,
    Batch,
    Epoch,
    Event,
    Extent,
    Kept,
    Known,
    Part,
    Refused,
    Stored,
    new_epoch_name,
    now_us,
)
from catalyst_signals.stores import check_adopted, check_epoch_first, ids_asked, lacking
from catalyst_signals.stores.batches import Change, Head, opened_by
from catalyst_signals.stores.mysql.links import LIMIT, Link, Rows
from catalyst_signals.stores.mysql.rows import (
    KEPT,
    extents,
    find,
    kept_of,
    known_of,
    literal,
    named,
    sql,
    standings_of,
)

INSERT_BYTES = 512 << 10  # Of one statement.
DROPPED_AT_ONCE = 10_000  # Appends wait no longer than for so many rows.

BEGIN = b"START TRANSACTION"
FENCE = b"SELECT until_us, moved_to, CAST(UNIX_TIMESTAMP(SYSDATE(6)) * 1000000 AS SIGNED) FROM fence WHERE one = 1"
SHARED, ALONE = b" LOCK IN SHARE MODE", b" FOR UPDATE"
HEAD = "SELECT number, epoch, last, ts_us, hash FROM heads WHERE channel = %b FOR UPDATE"
NEW_EVENTS = b"INSERT INTO events (number, seq, type, id, version, ts_us, salt, body, body_hash, hash) VALUES "
NEW_IDS = b"INSERT INTO ids (number, id, seq, subject, draft_hash, version, ts_us) VALUES "


async def begin(link: Link, *statements: bytes) -> list[Rows]:
    """A transaction has begun in which nobody raises a fence; what `statements` answered.

    Raises:
        Fenced, Moved: nothing may be changed.
    """
    (fence,), found = await _ask_behind(link, SHARED, statements)
    until_us, moved_to, now = fence
    if moved_to:
        raise Moved(to=moved_to)
    if now < until_us:
        raise Fenced()
    return found


async def _ask_behind(link: Link, how: bytes, statements: Sequence[bytes]) -> tuple[Rows, list[Rows]]:
    _, _, fence, *found = await link.ask(LIMIT, BEGIN, FENCE + how, *statements)
    return fence, found


# -- appending --------------------------------------------------------------------------------------------------


async def append(
    link: Link, batches: Sequence[Batch], durability: str
) -> tuple[list[Stored | Refused], Change, float]:  # fmt: skip
    """Store.append, what it added, and for how many seconds the heads were locked, as seen from here."""
    heads, known = await _locked(link, batches)
    to_open = opened_by(batches, heads)
    if to_open:
        await link.roll_back()
        await open_channels(link, to_open)
        heads, known = await _locked(link, batches)
    began_s = time.monotonic()
    small = [batch for batch in batches if _size(batch) <= link.packet_bytes]
    change = Change(small, heads, known)
    if change.events:
        await link.commit(*_writes(change))
    else:
        await link.roll_back()
    held_s = time.monotonic() - began_s
    stored = iter(change.results(durability))
    too_large = Refused(TooLarge("the store takes no draft of this size", field="data"))
    results = [next(stored) if _size(batch) <= link.packet_bytes else too_large for batch in batches]
    return results, change, held_s


def _size(batch: Batch) -> int:
    """The most that the row of one of its drafts can take in a statement."""
    return 2 * max((len(draft.body) for draft in batch.drafts), default=0) + 8192


async def _locked(link: Link, batches: Sequence[Batch]) -> tuple[dict[str, Head], dict[str, dict[str, Known]]]:
    """The heads of their channels, locked, and what is known of their ids: one round trip."""
    ids: dict[str, dict[str, None]] = {batch.channel: {} for batch in sorted(batches, key=attrgetter("channel"))}
    for batch in batches:
        ids[batch.channel] |= dict.fromkeys(ids_asked(batch.drafts))
    lookups = {channel: find(channel, list(of_channel)) for channel, of_channel in ids.items()}
    found = await begin(
        link, *(sql(HEAD, channel.encode()) for channel in ids), *(each for of in lookups.values() for each in of)
    )
    heads = {channel: Head(*rows[0]) for channel, rows in zip(ids, found, strict=False) if rows}
    answers = iter(found[len(ids) :])
    known = {channel: known_of([next(answers) for _ in of_channel]) for channel, of_channel in lookups.items()}
    return heads, known


def _writes(change: Change) -> Iterable[bytes]:
    for channel, events in change.events.items():
        head = change.heads[channel]
        yield from new_events(head.number, events)
        yield from new_ids(head.number, change.ids[channel])
        yield _moved(channel, head.last, head.ts_us, head.hash)


def _moved(channel: str, last: int, ts_us: int, hash: bytes) -> bytes:
    return sql(
        "UPDATE heads SET last = %b, ts_us = %b, hash = %b WHERE channel = %b", last, ts_us, hash, channel.encode()
    )


def new_events(number: int, events: Iterable[Event]) -> Iterable[bytes]:
    """Their rows."""
    return _inserts(NEW_EVENTS, (
        b"(%d,%d,%b,x'%b',%d,%d,x'%b',%b,x'%b',x'%b')" % (
            number, e.seq, literal(e.type), hexlify(e.id.encode()), e.version, e.ts_us, hexlify(e.salt),
            literal(e.body), hexlify(e.body_hash), hexlify(e.hash),
        )
        for e in events
    ))  # fmt: skip


def new_ids(number: int, known: Mapping[str, Known]) -> Iterable[bytes]:
    """Their rows."""
    return _inserts(NEW_IDS, (
        b"(%d,x'%b',%d,%b,x'%b',%d,%d)" % (
            number, hexlify(id.encode()), k.seq, literal(k.subject), hexlify(k.draft_hash), k.version, k.ts_us
        )
        for id, k in known.items()
    ))  # fmt: skip


def _inserts(head: bytes, rows: Iterable[bytes]) -> Iterable[bytes]:
    together: list[bytes] = []
    size = 0
    for row in rows:
        if together and size + len(row) > INSERT_BYTES:
            yield head + b",".join(together)
            together, size = [], 0
        together.append(row)
        size += len(row)
    if together:
        yield head + b",".join(together)


async def open_channels(link: Link, channels: Iterable[str]) -> None:
    """They are there, in a transaction of its own; also if somebody else opens them now."""
    statements: list[bytes] = []
    for channel in channels:
        name = new_epoch_name()
        statements.append(sql(
            "INSERT IGNORE INTO heads (channel, epoch, first, last, ts_us, hash_before, hash)"
            " VALUES (%b, %b, 1, 0, 0, %b, %b)", channel.encode(), name, NO_HASH, NO_HASH,
        ))  # fmt: skip
        statements.append(sql(
            "INSERT INTO epochs (number, first, name, last_before, hash_before, reason)"
            " SELECT number, 1, epoch, 0, %b, 'created' FROM heads WHERE channel = %b AND epoch = %b",
            NO_HASH, channel.encode(), name,
        ))  # fmt: skip
    await begin(link)
    await link.commit(*statements)


# -- everything else --------------------------------------------------------------------------------------------


async def _standing(link: Link, channel: str) -> tuple[int, Extent] | None:
    """A transaction has begun with a channel's head locked: its number and extent, None if it is not there."""
    _, found = await begin(link, sql(HEAD, channel.encode()), extents([channel]))
    return standings_of(found).get(channel)


async def _there(link: Link, channel: str) -> tuple[int, Extent]:
    standing = await _standing(link, channel)
    if standing is None:
        raise UnknownChannel(field="channel", got=channel)
    return standing


async def _commit(link: Link, channel: str, *statements: bytes) -> Extent:
    """These, and the end of the transaction; the channel's extent after them."""
    *_, found = await link.ask(*statements, extents([channel]))
    await link.commit()
    return standings_of(found)[channel][1]


async def keep(link: Link, name: str, channel: str, was: int, kept: Kept) -> bool:
    """Store.keep: `kept` is the place from now on, if it may be."""
    where = sql(" WHERE name = %b AND channel = %b", name.encode(), channel.encode())
    (found,) = await begin(link, KEPT + where + ALONE)
    before = kept_of(found).get(name, Kept(0))
    if before.seq != was or (before.holder not in (None, kept.holder) and before.until_us > now_us()):
        await link.roll_back()
        return False
    values = (kept.seq, kept.state, kept.holder, kept.until_us)
    if found:
        await link.commit(sql("UPDATE kept SET seq = %b, state = %b, holder = %b, until_us = %b", *values) + where)
    else:
        await link.commit(sql(
            "INSERT INTO kept (name, channel, seq, state, holder, until_us) VALUES (%b, %b, %b, %b, %b, %b)",
            name.encode(), channel.encode(), *values,
        ))  # fmt: skip
    return True


async def drop_some(link: Link, channel: str, through: int) -> Extent:
    """The oldest events up to `through`, a bearable number of them; the extent says how far it came."""
    number, extent = await _there(link, channel)
    end = min(through, extent.last)
    if end < extent.first:
        await link.roll_back()
        return extent
    inside = b"FROM events WHERE number = %d AND seq <= %%d" % number
    (last,) = await link.ask(b"SELECT seq " + inside % end + b" ORDER BY seq LIMIT 1 OFFSET %d" % (DROPPED_AT_ONCE - 1))
    end = last[0][0] if last else end
    (before,) = await link.ask(b"SELECT hash " + inside % end + b" ORDER BY seq DESC LIMIT 1")
    hash_before = before[0][0] if before else extent.hash_before
    head = sql("UPDATE heads SET first = %b, hash_before = %b WHERE number = %b", end + 1, hash_before, number)
    return await _commit(link, channel, b"DELETE " + inside % end, head)


async def begin_epoch(link: Link, channel: str, first: int, reason: str) -> Extent:
    """Store.begin_epoch"""
    number, extent = await _there(link, channel)
    check_epoch_first(extent, first)
    epoch = Epoch(new_epoch_name(), first, extent.last, extent.hash_last, reason)
    return await _commit(
        link, channel, _new_epoch(number, epoch),
        sql("UPDATE heads SET last = %b, epoch = %b WHERE number = %b", first - 1, epoch.name, number),
    )  # fmt: skip


def _new_epoch(number: int, epoch: Epoch) -> bytes:
    return sql(
        "INSERT INTO epochs (number, first, name, last_before, hash_before, reason) VALUES (%b, %b, %b, %b, %b, %b)",
        number, epoch.first, epoch.name, epoch.last_before, epoch.hash_before, epoch.reason,
    )  # fmt: skip


async def erase(link: Link, channel: str, seq: int) -> None:
    """Store.erase"""
    number, extent = await _there(link, channel)
    if seq < extent.first:
        raise PositionTooOld(field="seq", got=seq, first=extent.first)
    (there,) = await link.ask(sql("SELECT seq FROM events WHERE number = %b AND seq = %b", number, seq))
    if not there:
        raise NotFound(f"there is no event {seq} in `{channel}`", field="seq", got=seq)
    await link.commit(sql("UPDATE events SET salt = '', body = '' WHERE number = %b AND seq = %b", number, seq))


async def adopt(link: Link, part: Part) -> None:
    """Store.adopt"""
    standing = await _standing(link, part.channel)
    extent = standing[1] if standing is not None else None
    events = lacking(part, extent)
    found = known_of(await link.ask(*find(part.channel, list({*part.known, *(event.id for event in part.events)}))))
    check_adopted(part, {**part.known, **found})
    at = max(part.last, extent.last if extent is not None else part.first - 1)
    epochs = [epoch for epoch in part.epochs if epoch.first <= at + 1]
    number = standing[0] if standing is not None else await _new_head(link, part)
    added = [_new_epoch(number, epoch) for epoch in epochs[len(extent.epochs) if extent is not None else 0 :]]
    moved = [_moved(part.channel, at, events[-1].ts_us, events[-1].hash)] if events else []
    await link.commit(
        *new_events(number, events),
        *new_ids(number, {id: known for id, known in part.known.items() if id not in found}),
        *added, *moved,
        sql("UPDATE heads SET last = %b, epoch = %b WHERE number = %b", at, epochs[-1].name, number),
    )  # fmt: skip


async def _new_head(link: Link, part: Part) -> int:
    *_, ((number,),) = await link.ask(
        sql(
            "INSERT INTO heads (channel, epoch, first, last, ts_us, hash_before, hash)"
            " VALUES (%b, '', %b, %b, 0, %b, %b)",
            part.channel.encode(), part.first, part.first - 1, part.hash_before, part.hash_before,
        ),
        b"SELECT number FROM heads WHERE channel = " + named(part.channel),
    )  # fmt: skip
    return int(number)


# -- the fence --------------------------------------------------------------------------------------------------


async def fence(link: Link, moved_to: str, ticket: int, fence_us: int) -> int:
    """Store.fence: waits for whoever changes the log now."""
    ((until_us, to, now),), _ = await _ask_behind(link, ALONE, ())
    if to:
        raise Moved(to=to)
    if moved_to and not now < until_us == ticket:
        await link.roll_back()
        return 0
    if not moved_to:
        until_us = max(now + fence_us, until_us + 1)
    await link.commit(sql("UPDATE fence SET until_us = %b, moved_to = %b WHERE one = 1", until_us, moved_to))
    return int(until_us)
