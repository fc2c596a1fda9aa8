"""The ledger's question in SQL, for back-ends that keep it in the tables `receivers` and `receipts`.

Owns: the statement and what its rows mean. Knows nothing of drivers: a back-end puts its own marks where values go.
Law: the answers are those of the store in memory (ledger.noted_in); each look into the receipts begins at the event and
ends at the first that answers, so an old event in a long ledger costs no more than a young one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from catalyst_signals.ledger import Note, Noted, Receiver, Span

RECEIVER = "number, channel, session, subject, key_id, filter, modifiers, began, head, started_us"
RECEIVERS = f"{RECEIVER}, sent, acked, at_us"

_OF_IT = "FROM {schema}receipts t WHERE t.at_us >= {greatest}({since}, {of}.started_us) AND t.number = {of}.number"
_FIRST = (
    "CASE WHEN r.{what} >= {{seq}} THEN (SELECT t.at_us {of_it} AND t.{what} >= {{seq}} ORDER BY t.at_us LIMIT 1) END"
)
_BEFORE = "(SELECT t.at_us {of_it} AND t.at_us < w.{what}_us ORDER BY t.at_us DESC LIMIT 1)"


def _of_it(of: str) -> str:
    return _OF_IT.replace("{of}", of)


NOTED = (
    f"SELECT {RECEIVERS}, {_BEFORE.format(of_it=_of_it('w'), what='sent')}, sent_us,"
    f" {_BEFORE.format(of_it=_of_it('w'), what='acked')}, acked_us FROM (SELECT r.*,"
    f" {_FIRST.format(of_it=_of_it('r'), what='sent')} AS sent_us,"
    f" {_FIRST.format(of_it=_of_it('r'), what='acked')} AS acked_us"
    " FROM {schema}receivers r WHERE r.channel = {channel} AND r.began < {seq}{whose}"
    " ORDER BY r.number DESC LIMIT {most}) AS w ORDER BY w.number DESC"
)
"""Store.noted; `whose` is nothing, or ` AND r.subject = ` and a mark."""


def values_of(note: Note) -> tuple[str | int, ...] | None:
    """The row of RECEIVERS that a receiver's first note makes."""
    who = note.who
    if who is None:
        return None
    return (
        who.number, who.channel, who.session, who.subject, who.key_id, who.filter, who.modifiers, who.began, who.head,
        who.at_us, note.sent, note.acked, note.at_us,
    )  # fmt: skip


def noted_of(rows: Iterable[Sequence[Any]]) -> list[Noted]:
    """What the rows of NOTED say."""
    return [
        Noted(Receiver(*row[:10]), row[10], row[11], row[12], _span(row[13], row[14]), _span(row[15], row[16]))
        for row in rows
    ]


def _span(before_us: int | None, at_us: int | None) -> Span | None:
    return None if at_us is None else (before_us or 0, at_us)
