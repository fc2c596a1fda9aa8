"""The ledger of a store: what it says of who was sent and who has acknowledged an event, on every back-end."""

from __future__ import annotations

import pytest

from catalyst_signals.ledger import Note, Receiver
from catalyst_signals.stores import Store

T = 1_800_000_000_000_000  # A moment, in microseconds.
S = 1_000_000


def receiver(number: int, *, began: int = 0, channel: str = "main", subject: str = "ann", at_us: int = T) -> Receiver:
    """Somebody who subscribed at `at_us` where the log ended at `began`."""
    return Receiver(
        number, channel, f"{number:012x}:{channel}", subject, f"key-{subject}", "symbol = ACME or symbol = \"Ä'\\\"",
        '{"max_age_s":60}', began, began, at_us,
    )  # fmt: skip


def first(who: Receiver, sent: int, acked: int = 0, after_s: float = 0) -> Note:
    """The first note of somebody."""
    return Note(who.number, sent, acked, who.at_us + int(after_s * S), who)


async def test_a_note_that_reaches_an_event_says_between_when_and_when(store: Store) -> None:
    """The bounds are the note before and the note at, for what was sent and what was acknowledged by themselves."""
    ann = receiver(7)
    await store.note([first(ann, 10, 8)])
    await store.note([Note(7, 20, 10, T + 1 * S), Note(7, 30, 19, T + 2 * S)])
    await store.note([Note(7, 30, 30, T + 3 * S)])
    (noted,) = await store.noted("main", 15, T)
    assert noted.who == ann
    assert (noted.sent, noted.acked, noted.at_us) == (30, 30, T + 3 * S)
    assert noted.sent_us == (T, T + 1 * S)
    assert noted.acked_us == (T + 1 * S, T + 2 * S)


async def test_what_was_not_reached_has_no_moment(store: Store) -> None:
    """Sent, but not acknowledged; and not even sent."""
    await store.note([first(receiver(7), 10, 3)])
    (sent,) = await store.noted("main", 10, T)
    (not_sent,) = await store.noted("main", 11, T)
    assert (sent.sent_us, sent.acked_us) == ((0, T), None)
    assert (not_sent.sent_us, not_sent.acked_us, not_sent.sent) == (None, None, 10)


async def test_a_note_from_before_the_event_says_nothing_of_it(store: Store) -> None:
    """The lower bound is never older than the event, and who was idle for an hour was not an hour late."""
    await store.note([first(receiver(7), 10, 10)])
    await store.note([Note(7, 11, 10, T + 3600 * S), Note(7, 11, 11, T + 3601 * S)])
    (noted,) = await store.noted("main", 11, T + 3599 * S)
    assert noted.sent_us == (0, T + 3600 * S)
    assert noted.acked_us == (T + 3600 * S, T + 3601 * S)


async def test_only_who_began_below_the_event_is_named_the_newest_first(store: Store) -> None:
    """Of that channel, and of one subject if one is asked for."""
    await store.note([
        first(receiver(1), 10), first(receiver(2, subject="bob"), 20), first(receiver(3, began=15), 20),
        first(receiver(4, channel="other"), 20), first(receiver(5, subject="a b'\\"), 12),
    ])  # fmt: skip
    assert [each.who.number for each in await store.noted("main", 15)] == [5, 2, 1]
    assert [each.who.number for each in await store.noted("main", 16)] == [5, 3, 2, 1]
    assert [each.who.number for each in await store.noted("main", 15, 0, "bob")] == [2]
    assert [each.who.number for each in await store.noted("main", 15, 0, "a b'\\")] == [5]
    assert await store.noted("main", 15, 0, "B0b") == [] == await store.noted("nowhere", 15)


async def test_noting_the_same_again_changes_nothing(store: Store) -> None:
    """Whoever does not know the outcome notes again."""
    notes = [first(receiver(7), 10, 8), Note(7, 20, 10, T + 1 * S)]
    for again in (notes, notes, notes[:1], []):
        await store.note(again)
    (noted,) = await store.noted("main", 15, T)
    assert (noted.sent, noted.acked, noted.at_us, noted.sent_us) == (20, 10, T + 1 * S, (T, T + 1 * S))


async def test_what_is_older_than_asked_for_is_forgotten(store: Store) -> None:
    """Notes go by their own age; a receiver goes with the last of its notes."""
    await store.note([first(receiver(1), 10), first(receiver(2, subject="bob"), 10)])
    await store.note([Note(2, 20, 20, T + 100 * S)])
    await store.forget(T + 50 * S)
    (bob,) = await store.noted("main", 5)
    assert (bob.who.number, bob.sent, bob.sent_us) == (2, 20, (0, T + 100 * S))
    await store.forget(T + 101 * S)
    assert await store.noted("main", 5) == []


@pytest.mark.parametrize("count", [12_000])
async def test_many_are_noted_and_forgotten_in_parts(store: Store, count: int) -> None:
    """More than goes at once; the newest are answered."""
    await store.note([first(receiver(number, at_us=T + number), 10) for number in range(1, count + 1)])
    found = await store.noted("main", 5)
    assert [found[0].who.number, found[-1].who.number, len(found)] == [count, 2001, 10_000]
    await store.forget(T + count)
    assert [each.who.number for each in await store.noted("main", 5)] == [count]
