"""Who was sent and who has acknowledged what: the rows of the ledger, and what they say of one event.

Owns: Receiver, Note and Noted. Knows nothing of stores, sockets or clocks. Laws: a receipt is a position, so one row
speaks for everything below it; what is known of a moment is from when to when it was, never a guess between.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

NOTED_MAX = 10_000  # Receivers in one answer, the newest.
FORGOTTEN_AT_ONCE = 10_000  # Appends wait no longer than for so many rows.

Span = tuple[int, int]  # From when to when something was, in microseconds: (0, t) where only the end is known.


class Receiver(msgspec.Struct, frozen=True, array_like=True):
    """One subscription as long as its filter stays the same: whose it is, what of the log it asked for, since when.

    `number` is its own in the whole ledger, and larger than that of one that began earlier. It was sent nothing up to
    `began`; `head` is where the log ended then. `modifiers` are JSON, of those that are not the default.
    """

    number: int
    channel: str
    session: str
    subject: str
    key_id: str
    filter: str
    modifiers: str
    began: int
    head: int
    at_us: int


class Note(msgspec.Struct, frozen=True, array_like=True):
    """Through where a receiver was sent and had acknowledged at a moment; `who` stands in its first."""

    number: int
    sent: int
    acked: int
    at_us: int
    who: Receiver | None = None


class Noted(msgspec.Struct, frozen=True, array_like=True):
    """What is kept of one receiver about one seq: its newest note, and when it was sent and acknowledged through there.

    A span begins at the note before, 0 if none is kept since the event was stored, and ends at the first that says so;
    None: it does not say so yet.
    """

    who: Receiver
    sent: int
    acked: int
    at_us: int
    sent_us: Span | None
    acked_us: Span | None


def noted_in(who: Receiver, notes: Iterable[Note], seq: int, since_us: int) -> Noted:
    """What the notes of one receiver, oldest first, say of `seq`, which was stored at `since_us`."""
    before_us = 0
    newest = Note(who.number, who.began, 0, who.at_us)
    sent_us: Span | None = None
    acked_us: Span | None = None
    for newest in notes:
        if newest.sent >= seq and sent_us is None and newest.at_us >= since_us:
            sent_us = (before_us, newest.at_us)
        if newest.acked >= seq and acked_us is None and newest.at_us >= since_us:
            acked_us = (before_us, newest.at_us)
        before_us = newest.at_us if newest.at_us >= since_us else 0
    return Noted(who, newest.sent, newest.acked, newest.at_us, sent_us, acked_us)
