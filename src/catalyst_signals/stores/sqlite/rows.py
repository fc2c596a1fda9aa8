"""The log's rows in SQL: what is read of a channel, and what one append adds.

Owns: the statements. Knows nothing of threads, files or recovery: it is given a connection inside a transaction.
Law: what cannot have been written (a hole, a field of another type) is StoreCorrupt, never a shorter page.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from operator import itemgetter
from typing import Any

import msgspec

from catalyst_signals.errors import PositionTooOld, StoreCorrupt, UnknownChannel
from catalyst_signals.events import (
    NO_HASH,
    Batch,
    Epoch,
    Event,
    Extent,
    Kept,
    Known,
    new_epoch_name,
    wrong_with,
)
from catalyst_signals.stores import check_epoch_first, ids_asked
from catalyst_signals.stores.batches import EVENT_TYPES, Head, enter, opened_by
from catalyst_signals.stores.batches import Change as Judged

SEQ_BITS = 40  # A place is channel number << 40 | seq: a million million events a channel.
ANY_BYTES = 1 << 62
DROPPED_AT_ONCE = 10_000  # Appends wait no longer than for so many rows.

EVENT_COLUMNS = "place, type, id, version, ts_us, salt, body, body_hash, hash"
EXTENTS = """
SELECT h.channel, h.number, h.ts_us, h.first, h.last, h.hash_before, h.hash,
       e.name, e.first, e.last_before, e.hash_before, e.reason
FROM heads h JOIN epochs e ON e.number = h.number
"""
ONE, SOME = "WHERE h.channel = ?", "WHERE h.channel IN (SELECT value FROM json_each(?))"
IN_ORDER = " ORDER BY h.channel, e.first"
EXTENT_TYPES = (str, int, int, int, int, bytes, bytes, str, int, int, bytes, str)

Connection = sqlite3.Connection


class Change:
    """What one append adds: judged by the law of all back-ends, then written at once."""

    def __init__(
        self, connection: Connection, heads: Mapping[str, Head], batches: Sequence[Batch], durability: str,
        above: Mapping[str, int],
    ) -> None:  # fmt: skip
        """`above` says where a channel that is opened anew begins, since there was another log under its name.

        `moved` has the heads afterwards; `heads` is not touched, since the commit may fail.
        """
        self._connection = connection
        self.moved = {batch.channel: replace(heads[batch.channel]) for batch in batches if batch.channel in heads}
        for channel in opened_by(batches, heads):
            number = 1 + max((head.number for head in (*heads.values(), *self.moved.values())), default=0)
            self.moved[channel] = self._open(channel, number, above.get(channel))
        judged = Judged(batches, self.moved, self._look_up(batches))
        self.results = judged.results(durability)
        self._write(judged)

    def _look_up(self, batches: Sequence[Batch]) -> dict[str, dict[str, Known]]:
        """What is known of all ids, in one statement a channel."""
        ids: dict[str, list[str]] = {channel: [] for channel in self.moved}
        for batch in batches:
            if batch.channel in ids:
                ids[batch.channel].extend(ids_asked(batch.drafts))
        return {channel: find(self._connection, self.moved[channel].number, of) for channel, of in ids.items()}

    def _open(self, channel: str, number: int, above: int | None) -> Head:
        head = Head(number, new_epoch_name(), 0, 0, NO_HASH)
        self._connection.execute(
            "INSERT INTO heads (channel, number, first, last, ts_us, hash_before, hash) VALUES (?, ?, 1, 0, 0, ?, ?)",
            (channel, number, NO_HASH, NO_HASH),
        )
        add_epoch(self._connection, number, Epoch(head.epoch, 1, 0, NO_HASH, "created"))
        if above is not None:
            extent = begin_epoch(self._connection, channel, above, "rewound")
            head.last, head.epoch = extent.last, extent.epoch
        return head

    def _write(self, judged: Judged) -> None:
        """All rows, and the heads they moved; duplicates alone write nothing."""
        for channel, events in judged.events.items():
            head = self.moved[channel]
            write_events(self._connection, head.number, events)
            write_ids(self._connection, head.number, judged.ids[channel])
            self._connection.execute(
                "UPDATE heads SET last = ?, ts_us = ?, hash = ? WHERE channel = ?",
                (head.last, head.ts_us, head.hash, channel),
            )


def read_heads(connection: Connection) -> dict[str, Head]:
    """Every channel as a writer needs it."""
    return {
        channel: Head(number, extent.epoch, extent.last, ts_us, extent.hash_last)
        for channel, (number, ts_us, extent) in _standings(connection.execute(EXTENTS + IN_ORDER)).items()
    }


def write_events(connection: Connection, number: int, events: Iterable[Event]) -> None:
    """More rows of a channel's events."""
    connection.executemany(
        f"INSERT INTO events ({EVENT_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (place(number, e.seq), e.type, e.id, e.version, e.ts_us, e.salt, e.body, e.body_hash, e.hash)
            for e in events
        ],
    )  # fmt: skip


def write_ids(connection: Connection, number: int, known: Mapping[str, Known], how: str = "INSERT") -> None:
    """More of the ids that a channel knows."""
    connection.executemany(
        f"{how} INTO ids (number, id, seq, subject, draft_hash, version, ts_us) VALUES (?, ?, ?, ?, ?, ?, ?)",
        [(number, id, k.seq, k.subject, k.draft_hash, k.version, k.ts_us) for id, k in known.items()],
    )


def add_epoch(connection: Connection, number: int, epoch: Epoch) -> None:
    """One more row of a channel's epochs."""
    connection.execute(
        "INSERT INTO epochs (number, name, first, last_before, hash_before, reason) VALUES (?, ?, ?, ?, ?, ?)",
        (number, epoch.name, epoch.first, epoch.last_before, epoch.hash_before, epoch.reason),
    )


def begin_epoch(connection: Connection, channel: str, first: int, reason: str) -> Extent:
    """Store.begin_epoch"""
    number, extent = standing(connection, channel)
    check_epoch_first(extent, first)
    add_epoch(connection, number, Epoch(new_epoch_name(), first, extent.last, extent.hash_last, reason))
    connection.execute("UPDATE heads SET last = ? WHERE channel = ?", (first - 1, channel))
    return standing(connection, channel)[1]


def drop_some(connection: Connection, channel: str, through: int) -> Extent:
    """The oldest events up to `through`, a bearable number of them; the extent says how far it came."""
    number, extent = standing(connection, channel)
    end = min(through, extent.last)
    if end >= extent.first:
        inside = (place(number, 0), place(number, end))
        last = connection.execute(
            "SELECT place FROM events WHERE place BETWEEN ? AND ? ORDER BY place LIMIT 1 OFFSET ?",
            (*inside, DROPPED_AT_ONCE - 1),
        ).fetchone()
        end = last[0] - place(number, 0) if last is not None else end
        before = _hash_at(connection, number, end) or extent.hash_before
        connection.execute("DELETE FROM events WHERE place BETWEEN ? AND ?", (inside[0], place(number, end)))
        connection.execute("UPDATE heads SET first = ?, hash_before = ? WHERE channel = ?", (end + 1, before, channel))
    return standing(connection, channel)[1]


def standing(connection: Connection, channel: str) -> tuple[int, Extent]:
    """A channel's number and extent.

    Raises:
        UnknownChannel: it was never opened.
    """
    found = _standings(connection.execute(EXTENTS + ONE + IN_ORDER, (channel,)))
    if channel not in found:
        raise UnknownChannel(field="channel", got=channel)
    number, _, extent = found[channel]
    return number, extent


def extents(connection: Connection, channels: Iterable[str] | None) -> dict[str, Extent]:
    """Store.extents"""
    if channels is None:
        found = connection.execute(EXTENTS + IN_ORDER)
    else:
        found = connection.execute(EXTENTS + SOME + IN_ORDER, (_json(channels),))
    return {channel: extent for channel, (_, _, extent) in _standings(found).items()}


def _standings(rows: Iterable[tuple[Any, ...]]) -> dict[str, tuple[int, int, Extent]]:
    """Number, newest ts and extent by channel, from the rows of EXTENTS: one an epoch, a channel's together."""
    found: dict[str, tuple[int, int, Extent]] = {}
    for head, of_channel in groupby(rows, key=itemgetter(slice(7))):
        epochs = list(of_channel)
        if any(tuple(map(type, row)) != EXTENT_TYPES for row in epochs):
            raise StoreCorrupt(f"the head of {head[0]} or one of its epochs is not what was written")
        channel, number, ts_us, first, last, hash_before, hash = head
        found[channel] = number, ts_us, Extent(
            channel=channel, epochs=tuple(Epoch(*row[7:]) for row in epochs), first=first, last=last,
            durable=last, hash_before=hash_before, hash_last=hash,
        )  # fmt: skip
    return found


def find(connection: Connection, number: int, ids: Iterable[str]) -> dict[str, Known]:
    """What is known of these ids of a channel. One statement of one shape, however many: it is compiled once."""
    rows = connection.execute(
        "SELECT ids.id, seq, subject, draft_hash, version, ts_us FROM json_each(?) AS asked"
        " CROSS JOIN ids ON ids.number = ? AND ids.id = asked.value",
        (_json(ids), number),
    )
    return {row[0]: Known(*row[1:]) for row in rows}


def ids(connection: Connection, channel: str, after: str, limit: int) -> list[tuple[str, Known]]:
    """Store.ids"""
    number, _ = standing(connection, channel)
    found = connection.execute(
        "SELECT id, seq, subject, draft_hash, version, ts_us FROM ids WHERE number = ? AND id > ? ORDER BY id LIMIT ?",
        (number, after, limit),
    )
    return [(row[0], Known(*row[1:])) for row in found]


def kept(connection: Connection, name: str, channel: str) -> Kept:
    """Store.kept"""
    row = connection.execute(
        "SELECT seq, state, holder, until_us FROM kept WHERE name = ? AND channel = ?", (name, channel)
    ).fetchone()
    return Kept(*row) if row is not None else Kept(0)


def places(connection: Connection, channel: str) -> dict[str, Kept]:
    """Store.places"""
    found = connection.execute("SELECT name, seq, state, holder, until_us FROM kept WHERE channel = ?", (channel,))
    return {row[0]: Kept(*row[1:]) for row in found}


def keep(connection: Connection, name: str, channel: str, kept: Kept) -> None:
    """A follower's place as it is from now on."""
    connection.execute(
        "INSERT OR REPLACE INTO kept (name, channel, seq, state, holder, until_us) VALUES (?, ?, ?, ?, ?, ?)",
        (name, channel, kept.seq, kept.state, kept.holder, kept.until_us),
    )


def read(connection: Connection, channel: str, after: int, limit: int, bytes_max: int) -> list[Event]:
    """Store.read

    Raises:
        StoreCorrupt: an event is missing or not what an event is; carries its seq.
    """
    number, extent = standing(connection, channel)
    if after < extent.first - 1:
        raise PositionTooOld(field="after", got=after, first=extent.first)
    if after >= extent.last:
        return []
    base = place(number, 0)
    rows = connection.execute(
        f"SELECT {EVENT_COLUMNS} FROM events WHERE place > ? AND place <= ? ORDER BY place LIMIT ?",
        (base + after, base + extent.last, limit),
    )
    prev = _hash_at(connection, number, after) or extent.hash_before
    page: list[Event] = []
    expected, epoch, epoch_end = after + 1, "", 0
    for row in rows:
        at, kind, id, version, ts_us, salt, body, body_hash, hash = row
        seq = at - base
        if seq != expected or seq >= epoch_end:
            epoch, epoch_end = enter(extent, expected - 1, seq)
        if tuple(map(type, row)) != EVENT_TYPES:
            raise StoreCorrupt(f"event {seq} of {channel} is not what was written", channel=channel, seq=seq)
        bytes_max -= len(body)
        if bytes_max < 0 and page:
            return page
        page.append(Event(channel, epoch, seq, kind, id, version, ts_us, salt, body, body_hash, prev, hash))
        prev, expected = hash, seq + 1
    if len(page) < limit:
        enter(extent, expected - 1, extent.last + 1)
    return page


def tail_fault(connection: Connection, channel: str, count: int) -> StoreCorrupt | None:
    """What is wrong with the newest `count` events of a channel, or None."""
    _, extent = standing(connection, channel)
    try:
        events = read(connection, channel, max(extent.first - 1, extent.last - count), count, ANY_BYTES)
    except StoreCorrupt as fault:
        return fault
    for event in events:
        wrong = wrong_with(event)
        if wrong is not None:
            return StoreCorrupt(f"event {event.seq} of {channel}: {wrong}", channel=channel, seq=event.seq)
    if events and events[-1].hash != extent.hash_last:
        return StoreCorrupt(
            f"the head of {channel} does not have the hash of its last event, {events[-1].seq}",
            channel=channel, seq=events[-1].seq,
        )  # fmt: skip
    return None


def first_fault(connection: Connection, channels: Iterable[str], count: int) -> StoreCorrupt | None:
    """What is wrong with the newest `count` events of any of these channels, or None."""
    for channel in channels:
        try:
            fault = tail_fault(connection, channel, count)
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            fault = StoreCorrupt(f"the newest events of {channel} cannot be read: {error}", channel=channel)
        if fault is not None:
            return fault
    return None


def hash_through(connection: Connection, channel: str, seq: int) -> bytes | None:
    """The hash of the newest event at or below `seq`, None if retention dropped it."""
    number, extent = standing(connection, channel)
    if seq < extent.first - 1:
        return None
    return _hash_at(connection, number, seq) or extent.hash_before


def _hash_at(connection: Connection, number: int, seq: int) -> bytes | None:
    """The hash of the newest kept event at or below `seq`."""
    row = connection.execute(
        "SELECT hash FROM events WHERE place BETWEEN ? AND ? ORDER BY place DESC LIMIT 1",
        (place(number, 0), place(number, seq)),
    ).fetchone()
    return row[0] if row is not None else None


def place(number: int, seq: int) -> int:
    """Where an event stands in the table of all channels' events."""
    return number << SEQ_BITS | seq


def _json(names: Iterable[str]) -> str:
    return msgspec.json.encode(list(names)).decode()
