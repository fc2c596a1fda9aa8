"""What one append adds to the log in PostgreSQL, in two round trips while the heads are locked.

Owns: the statements of both. Knows nothing of how batches are judged. Law: the ids are looked up by a statement of its
own behind the lock, since one that waited for the lock would look at a snapshot from before the wait.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from catalyst_signals.events import Batch, Event, Known
from catalyst_signals.stores import ids_asked
from catalyst_signals.stores.batches import Change as Judged
from catalyst_signals.stores.batches import Head
from catalyst_signals.stores.postgres.line import Connection, Cursor
from catalyst_signals.stores.postgres.rows import ask_known, known_in

LOCK_HEADS = """
SELECT channel, number, epoch, last, ts_us, hash FROM catalyst.heads WHERE channel = ANY (%s::text[])
ORDER BY channel FOR UPDATE
"""
MOVE_HEAD = """
UPDATE catalyst.heads SET last = %s, ts_us = %s, hash = %s, durable = greatest(durable, %s) WHERE number = %s
"""
ADD_EVENTS = """
INSERT INTO catalyst.events (number, seq, type, id, version, ts_us, salt, body, body_hash, hash)
SELECT %s, * FROM unnest(%b::bigint[], %b::text[], %b::text[], %b::bigint[], %b::bigint[], %b::bytea[], %b::bytea[],
                         %b::bytea[], %b::bytea[])
"""
ADD_IDS = """
INSERT INTO catalyst.ids (number, id, seq, subject, draft_hash, version, ts_us)
SELECT %s, * FROM unnest(%b::text[], %b::bigint[], %b::text[], %b::bytea[], %b::bigint[], %b::bigint[])
"""


@dataclass(slots=True)
class Asked:
    """What the first round trip asked."""

    heads: Cursor
    known: dict[str, Cursor]


def ask(connection: Connection, batches: Sequence[Batch]) -> Asked:
    """Lock the heads, in the order of channels; then look up every id of theirs."""
    ids: dict[str, list[str]] = {}
    for batch in batches:
        ids.setdefault(batch.channel, []).extend(ids_asked(batch.drafts))
    heads = connection.execute(LOCK_HEADS, (list(ids),), binary=True)
    return Asked(heads, {channel: ask_known(connection, channel, of) for channel, of in ids.items()})


class Change(Judged):
    """What one append adds, and the rows of it."""

    def __init__(self, asked: Asked, batches: Sequence[Batch]) -> None:
        heads = {row[0]: Head(*row[1:]) for row in asked.heads.fetchall()}
        super().__init__(batches, heads, {channel: known_in(cursor) for channel, cursor in asked.known.items()})

    def write(self, connection: Connection, durable: Callable[[str], int]) -> None:
        """All rows, and the heads they moved; without any, the lock on the heads is what the commit waits for."""
        for channel, events in self.events.items():
            head = self.heads[channel]
            add_events(connection, head.number, events)
            add_ids(connection, head.number, self.ids[channel])
            connection.execute(MOVE_HEAD, (head.last, head.ts_us, head.hash, durable(channel), head.number))


def add_events(connection: Connection, number: int, events: Iterable[Event]) -> None:
    """More rows of a channel's events, in one statement."""
    rows = [(e.seq, e.type, e.id, e.version, e.ts_us, e.salt, e.body, e.body_hash, e.hash) for e in events]
    if rows:
        connection.execute(ADD_EVENTS, (number, *map(list, zip(*rows, strict=True))))


def add_ids(connection: Connection, number: int, ids: Mapping[str, Known], how: str = "") -> None:
    """More rows of what a channel knows, in one statement; `how` is what is done about those that are there."""
    rows = [(id, k.seq, k.subject, k.draft_hash, k.version, k.ts_us) for id, k in ids.items()]
    if rows:
        connection.execute(ADD_IDS + how, (number, *map(list, zip(*rows, strict=True))))
