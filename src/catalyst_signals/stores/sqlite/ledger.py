"""The ledger in SQL: what is written of receipts, asked of them and forgotten.

Owns: the statements on the tables `receivers` and `receipts`. Knows nothing of threads or files: it is given a
connection inside a transaction.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

import msgspec

from catalyst_signals.ledger import FORGOTTEN_AT_ONCE, NOTED_MAX, Note, Noted
from catalyst_signals.stores.receipts import NOTED, RECEIVERS, noted_of, values_of

_ROWS, _WHO = (", ".join(f"json_extract(value, '$[{at}]')" for at in range(width)) for width in (4, 13))
NEW_RECEIVERS = f"INSERT OR IGNORE INTO receivers ({RECEIVERS}) SELECT {_WHO} FROM json_each(?)"
NEW_RECEIPTS = f"INSERT OR IGNORE INTO receipts (at_us, number, sent, acked) SELECT {_ROWS} FROM json_each(?)"
RECEIVED = f"""
WITH newest (at_us, number, sent, acked) AS (SELECT {_ROWS} FROM json_each(?))
UPDATE receivers SET sent = newest.sent, acked = newest.acked, at_us = newest.at_us FROM newest
WHERE receivers.number = newest.number AND receivers.at_us < newest.at_us
"""

_MARKS = {"schema": "", "greatest": "max", "seq": ":seq", "since": ":since", "channel": ":channel", "most": ":most"}
_NOTED = NOTED.format(whose="", **_MARKS)
_NOTED_OF = NOTED.format(whose=" AND r.subject = :subject", **_MARKS)


def note(connection: sqlite3.Connection, notes: Sequence[Note]) -> None:
    """Store.note: a statement for all rows of a kind, since between two the interpreter changes threads."""
    first = [row for each in notes if (row := values_of(each)) is not None]
    newest = {each.number: each for each in notes if each.who is None}
    if first:
        connection.execute(NEW_RECEIVERS, (_json(first),))
    connection.execute(NEW_RECEIPTS, (_json([_row(each) for each in notes]),))
    if newest:
        connection.execute(RECEIVED, (_json([_row(each) for each in newest.values()]),))


def _row(note: Note) -> tuple[int, int, int, int]:
    return note.at_us, note.number, note.sent, note.acked


def _json(rows: Sequence[tuple[str | int, ...]]) -> str:
    return msgspec.json.encode(rows).decode()


def noted(connection: sqlite3.Connection, channel: str, seq: int, since_us: int, subject: str | None) -> list[Noted]:
    """Store.noted"""
    values = {"channel": channel, "seq": seq, "since": since_us, "subject": subject, "most": NOTED_MAX}
    return noted_of(connection.execute(_NOTED if subject is None else _NOTED_OF, values))


def forget_some(connection: sqlite3.Connection, before_us: int) -> bool:
    """The oldest notes from before that moment, a bearable number of them; whether there may be more."""
    row = connection.execute(
        "SELECT at_us FROM receipts WHERE at_us < ? ORDER BY at_us LIMIT 1 OFFSET ?", (before_us, FORGOTTEN_AT_ONCE)
    ).fetchone()
    connection.execute("DELETE FROM receipts WHERE at_us < ?", (row[0] if row is not None else before_us,))
    if row is None:
        connection.execute("DELETE FROM receivers WHERE at_us < ?", (before_us,))
    return row is not None
