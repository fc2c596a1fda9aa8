"""The ledger in MySQL: what is written of receipts, asked of them and forgotten.

Owns: the statements on the tables `receivers` and `receipts`. Knows nothing of connections but `ask` and `commit`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from catalyst_signals.ledger import FORGOTTEN_AT_ONCE, NOTED_MAX, Note, Noted, Receiver, Span
from catalyst_signals.stores.mysql.links import Link
from catalyst_signals.stores.mysql.rows import literal, named, sql
from catalyst_signals.stores.mysql.writing import begin
from catalyst_signals.stores.receipts import RECEIVERS, values_of

S = TypeVar("S")
T = TypeVar("T")

AT_ONCE = 500  # Rows of one statement.
BYTES = (1, 3)  # Of values_of: the channel and the subject, which are compared as bytes.
NEW_RECEIVERS = f"INSERT IGNORE INTO receivers ({RECEIVERS}) VALUES ".encode()
NEW_RECEIPTS = b"INSERT IGNORE INTO receipts (at_us, number, sent, acked) VALUES "
ASKED = (
    f"SELECT {RECEIVERS} FROM receivers WHERE channel = %b AND began < %d%b ORDER BY number DESC LIMIT %d"
).encode()
_OF_IT = b"SELECT at_us FROM receipts WHERE %b AND number = %d"
FIRST = _OF_IT + b" AND %b >= %d ORDER BY at_us LIMIT 1"
BEFORE = _OF_IT + b" AND at_us < %d ORDER BY at_us DESC LIMIT 1"
# Numbers that are not there would be rows of their own, so each is looked up first.
RECEIVED = (
    b"UPDATE receivers r JOIN receipts t ON t.number = r.number AND t.at_us = %d"
    b" SET r.sent = t.sent, r.acked = t.acked, r.at_us = t.at_us WHERE r.at_us < t.at_us AND r.number IN ("
)


async def note(link: Link, notes: Sequence[Note]) -> None:
    """Store.note"""
    first = [_row(_as_kept(row)) for each in notes if (row := values_of(each)) is not None]
    receipts = [b"(%d,%d,%d,%d)" % (each.at_us, each.number, each.sent, each.acked) for each in notes]
    by_moment: dict[int, list[bytes]] = {}
    for each in notes:
        if each.who is None:
            by_moment.setdefault(each.at_us, []).append(b"%d" % each.number)
    await begin(link)
    await link.commit(
        *_parts(NEW_RECEIVERS, first), *_parts(NEW_RECEIPTS, receipts),
        *(RECEIVED % at_us + b",".join(numbers) + b")" for at_us, numbers in sorted(by_moment.items())),
    )  # fmt: skip


def _as_kept(row: tuple[str | int, ...]) -> Iterable[str | bytes | int]:
    return (str(value).encode() if at in BYTES else value for at, value in enumerate(row))


def _row(values: Iterable[str | bytes | int]) -> bytes:
    return b"(" + b",".join(map(literal, values)) + b")"


def _parts(statement: bytes, rows: Sequence[bytes]) -> Iterable[bytes]:
    return (statement + b",".join(rows[at : at + AT_ONCE]) for at in range(0, len(rows), AT_ONCE))


async def noted(link: Link, channel: str, seq: int, since_us: int, subject: str | None) -> list[Noted]:
    """Store.noted: asked receiver by receiver, since a range that comes from an outer row is a walk through all."""
    whose = b"" if subject is None else b" AND subject = " + named(subject)
    (rows,) = await link.ask(ASKED % (named(channel), seq, whose, NOTED_MAX))
    ranges = [(b"at_us >= %d" % max(since_us, row[9]), row[0]) for row in rows]
    sent = await _spans(
        link, [(*within, b"sent", seq) if row[10] >= seq else None for within, row in _zip(ranges, rows)]
    )
    acked = await _spans(
        link, [(*within, b"acked", seq) if row[11] >= seq else None for within, row in _zip(ranges, rows)]
    )
    return [
        Noted(_receiver(row), row[10], row[11], row[12], sent_us, acked_us)
        for row, sent_us, acked_us in zip(rows, sent, acked, strict=True)
    ]


async def _spans(link: Link, asked: Sequence[tuple[bytes, int, bytes, int] | None]) -> list[Span | None]:
    """For each that is asked for, when it was first so, and the note before."""
    found = iter(await link.ask(*(FIRST % each for each in asked if each is not None)))
    ends = [next(found) if each is not None else [] for each in asked]
    before = iter(
        await link.ask(*(BEFORE % (each[0], each[1], end[0][0]) for each, end in _zip(asked, ends) if each and end))
    )
    return [((next(before) or [(0,)])[0][0], end[0][0]) if end else None for end in ends]


def _zip(one: Sequence[S], other: Sequence[T]) -> Iterable[tuple[S, T]]:
    return zip(one, other, strict=True)


def _receiver(row: Sequence[Any]) -> Receiver:
    number, channel, session, subject, *rest = row[:10]
    return Receiver(number, channel.decode(), session, subject.decode(), *rest)


async def forget_some(link: Link, before_us: int) -> bool:
    """The oldest notes from before that moment, a bearable number of them; whether there may be more."""
    (found,) = await begin(
        link,
        sql(
            "SELECT at_us FROM receipts WHERE at_us < %b ORDER BY at_us LIMIT 1 OFFSET %b", before_us, FORGOTTEN_AT_ONCE
        ),
    )
    bound_us = found[0][0] if found else before_us
    whom = [] if found else [sql("DELETE FROM receivers WHERE at_us < %b", before_us)]
    await link.commit(sql("DELETE FROM receipts WHERE at_us < %b", bound_us), *whom)
    return bool(found)
