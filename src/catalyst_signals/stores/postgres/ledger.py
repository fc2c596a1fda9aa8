"""The ledger in PostgreSQL: what is written of receipts, asked of them and forgotten.

Owns: the statements on the tables `receivers` and `receipts`. Law: nobody waits for a disk or a standby here; a commit
that the server lost in its crash takes receipts with it and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from catalyst_signals.ledger import FORGOTTEN_AT_ONCE, NOTED_MAX, Note, Noted
from catalyst_signals.stores.postgres.line import Connection, Line
from catalyst_signals.stores.receipts import NOTED, RECEIVERS, noted_of, values_of

UNSYNCED = "SET LOCAL synchronous_commit = off"
NEW_RECEIVERS = f"""
INSERT INTO catalyst.receivers ({RECEIVERS})
SELECT * FROM unnest(%s::bigint[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::bigint[],
                     %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[]) ON CONFLICT DO NOTHING
"""
NEW_RECEIPTS = """
INSERT INTO catalyst.receipts (at_us, number, sent, acked)
SELECT * FROM unnest(%s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[]) ON CONFLICT DO NOTHING
"""
RECEIVED = """
UPDATE catalyst.receivers r SET sent = n.sent, acked = n.acked, at_us = n.at_us
FROM unnest(%s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[]) AS n (at_us, number, sent, acked)
WHERE r.number = n.number AND r.at_us < n.at_us
"""
FORGET = "DELETE FROM catalyst.receipts WHERE at_us < %s"
FORGET_WHOM = "DELETE FROM catalyst.receivers WHERE at_us < %s"
BOUND = "SELECT at_us FROM catalyst.receipts WHERE at_us < %s ORDER BY at_us LIMIT 1 OFFSET %s"

_MARKS = {
    "schema": "catalyst.", "greatest": "greatest", "seq": "%(seq)s::bigint", "since": "%(since)s::bigint",
    "channel": "%(channel)s", "most": "%(most)s",
}  # fmt: skip
_NOTED = NOTED.format(whose="", **_MARKS)
_NOTED_OF = NOTED.format(whose=" AND r.subject = %(subject)s", **_MARKS)


def note(line: Line, notes: Sequence[Note]) -> None:
    """Store.note. Of two notes of a receiver in one call the later is its newest."""
    first = [row for each in notes if (row := values_of(each)) is not None]
    newest = {each.number: each for each in notes if each.who is None}

    def write(connection: Connection) -> None:
        connection.execute(UNSYNCED)
        if first:
            connection.execute(NEW_RECEIVERS, [list(column) for column in zip(*first, strict=True)])
        connection.execute(NEW_RECEIPTS, _columns(notes))
        if newest:
            connection.execute(RECEIVED, _columns(list(newest.values())))

    _change(line, write)


def _columns(notes: Sequence[Note]) -> list[list[int]]:
    rows = [(each.at_us, each.number, each.sent, each.acked) for each in notes]
    return [list(column) for column in zip(*rows, strict=True)]


def _change(line: Line, write: Callable[[Connection], None]) -> None:
    """A transaction beside the log: also on a server that was promoted, before anybody has looked at its log."""
    about, _ = line.begin(lambda _: None, also_promoted=True)
    line.commit(write, about)


def noted(line: Line, channel: str, seq: int, since_us: int, subject: str | None) -> list[Noted]:
    """Store.noted"""
    values = {"channel": channel, "seq": seq, "since": since_us, "subject": subject, "most": NOTED_MAX}
    asked = _NOTED if subject is None else _NOTED_OF
    return noted_of(line.look(lambda connection: connection.execute(asked, values))[1].fetchall())


def forget_some(line: Line, before_us: int) -> bool:
    """The oldest notes from before that moment, a bearable number of them; whether there may be more."""
    row = line.look(lambda connection: connection.execute(BOUND, (before_us, FORGOTTEN_AT_ONCE)))[1].fetchone()

    def write(connection: Connection) -> None:
        connection.execute(FORGET, (row[0] if row is not None else before_us,))
        if row is None:
            connection.execute(FORGET_WHOM, (before_us,))

    _change(line, write)
    return row is not None
