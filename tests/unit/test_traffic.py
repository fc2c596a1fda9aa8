"""How many signals a day a log is given, and how many users there are: counted, and how that grows.

Covers `catalyst_signals.server.traffic`, `catalyst_signals.server.peaks` and the users of
`catalyst_signals.server.advising`. What a real server says of itself is in tests/server/test_advice.py.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalyst_signals.errors import StoreCorrupt
from catalyst_signals.events import Batch, Draft, Event, hash_of_draft, iso
from catalyst_signals.histograms import LATENCY_S, Histogram, quantile
from catalyst_signals.projections import Key, Snapshot, SystemState
from catalyst_signals.server.advising import users_of
from catalyst_signals.server.peaks import Peak
from catalyst_signals.server.traffic import CHANNELS_MAX, COUNTED, DAY_US, SPREAD, Traffic, traffic
from catalyst_signals.stores.memory import MemoryStore

NOW_US = 1_800_000_000_000_000
SIGNAL, CHANGE = "signal.published", "signal.changed"


def drafts(count: int, type: str, name: str) -> list[Draft]:
    """Some events of a type."""
    return [
        Draft(type=type, id=f"{name}.{n}", body=b'{"data":{}}', draft_hash=hash_of_draft({"n": n}))
        for n in range(count)
    ]  # fmt: skip


async def append(
    store: MemoryStore, days_ago: float, count: int = 1, type: str = SIGNAL, channel: str = "main"
) -> None:
    """So many events were committed at once, so long ago."""
    with patch("catalyst_signals.stores.memory.now_us", lambda: NOW_US - int(days_ago * DAY_US)):
        batch = Batch(channel=channel, subject="s", drafts=drafts(count, type, f"{days_ago}.{type}"))
        await store.append([Batch(channel=channel, subject="s", drafts=[]), batch])


async def log_of(days_ago: Iterable[float], **how: Any) -> MemoryStore:
    """A log in memory with events of these days."""
    store = MemoryStore()
    for days in days_ago:
        await append(store, days, **how)
    return store


async def told(store: MemoryStore, *channels: str, began_days: float | None = None) -> Traffic:
    """What is counted now."""
    began_us = NOW_US - int(began_days * DAY_US) if began_days is not None else None
    return await traffic(store, channels or ("main",), NOW_US, began_us=began_us)


class Asked(MemoryStore):
    """Counts what it is asked."""

    reads = events = 0

    async def read(self, channel: str, after: int, limit: int, bytes_max: int = 1 << 20) -> list[Event]:
        page = await super().read(channel, after, limit, bytes_max)
        self.reads, self.events = self.reads + 1, self.events + len(page)
        return page


async def test_signals_a_day_are_means_of_the_last_day_week_and_month() -> None:
    """Who plans needs neither today's rush nor the quiet weeks alone."""
    found = await told(await log_of([40, 25.5, 20.5, 6.5, 5.5, 0.5, 0.4, 0.3]))
    assert (found.day, found.week, found.month) == (3, 5 / 7, 7 / 30)
    assert found.since_us == NOW_US - 40 * DAY_US


async def test_growth_is_from_the_days_before_to_the_last_seven() -> None:
    """10 a day for 23 days, then 25 a day: 15 more in 15 days, from middle to middle."""
    days = [n + 0.5 for n in range(40)]
    store = MemoryStore()
    for each in reversed(days):
        await append(store, each, 25 if each < 7 else 10)
    found = await told(store)
    assert found.week == 25 and found.growth == pytest.approx(1.0)
    steady = await told(await log_of(reversed(days), count=4))
    assert (steady.month, steady.growth) == (4, 0)


@pytest.mark.parametrize("age", [2.5, 5, 9, 13, 20])
async def test_a_log_that_is_not_a_month_old_is_compared_with_its_own_beginning(age: float) -> None:
    """A steady one does not grow, whatever its age, or a young server would be told to move."""
    found = await told(await log_of([age - n / 10 for n in range(int(age * 10))], count=3))
    assert found.month == pytest.approx(30, rel=0.05)
    assert found.growth == 0


async def test_a_young_log_is_a_day_old_and_says_nothing_of_growth() -> None:
    """Ten signals in the first hour are ten a day as far as anybody knows, not 240."""
    found = await told(await log_of([0.04], count=10))
    assert (found.day, found.week, found.month, found.growth) == (10, 10, 10, None)
    later = await told(await log_of([0.04], count=10), began_days=20)
    assert (later.day, later.month) == (10, 0.5)
    assert later.growth == pytest.approx((10 / 7) / 10)


async def test_a_log_without_signals_is_no_traffic() -> None:
    nothing = Traffic(NOW_US, None, 0, 0, 0, None, 0, 0)
    assert await told(MemoryStore()) == nothing
    assert await told(await log_of([])) == nothing
    found = await told(await log_of([0.5, 0.2], type=CHANGE), began_days=3)
    assert (found.day, found.month, found.busiest_minute, found.growth) == (0, 0, 0, 0)


async def test_what_becomes_of_a_signal_is_no_signal() -> None:
    """Else a publisher who corrects each of theirs would seem to be two."""
    store = await log_of([0.9, 0.8, 0.7])
    for days in (0.6, 0.5, 0.4):
        await append(store, days, type=CHANGE)
    found = await told(store)
    assert (found.day, found.busiest_minute) == (3, 1)


PARTS = st.tuples(st.floats(0.01, 35), st.integers(1, 400), st.booleans())


@given(st.lists(PARTS, min_size=1, max_size=30, unique_by=lambda part: part[0]))
async def test_few_are_counted_and_of_many_as_many_are_looked_at(parts: list[tuple[float, int, bool]]) -> None:
    """The estimate is of the types alone: how many events there were is always known."""
    store = Asked()
    for days, count, signal in sorted(parts, reverse=True):
        await append(store, days, count, SIGNAL if signal else CHANGE)
    found = await told(store, began_days=35)
    for window, mean in ((1, found.day), (7, found.week), (30, found.month)):
        events = sum(count for days, count, _ in parts if days <= window)
        signals = sum(count for days, count, signal in parts if days <= window and signal)
        assert mean * window <= events + 1e-6
        if events <= COUNTED:
            assert mean * window == pytest.approx(signals)
    assert store.reads <= 200


async def test_of_a_large_log_a_little_is_read_and_it_is_nearly_right() -> None:
    """Three of four are signals, in runs, over 30 days."""
    store = Asked()
    for hour in range(720, 0, -1):
        await append(store, hour / 24, 75)
        await append(store, hour / 24 - 0.01, 25, type=CHANGE)
    store.reads = store.events = 0
    found = await told(store)
    assert found.month == pytest.approx(24 * 75, rel=0.15) and found.week == pytest.approx(24 * 75, rel=0.15)
    assert store.reads <= 200 and store.events <= 4 * (COUNTED + SPREAD) + 8192 + 200
    assert found.busiest_minute == 75


async def test_every_channel_counts_and_a_minute_is_that_of_all_of_them() -> None:
    store = MemoryStore()
    for channel in ("a", "b", "c"):
        await append(store, 0.5, 4, channel=channel)
    found = await told(store, "a", "b", "c", "none")
    assert (found.day, found.busiest_minute, found.channels_left_out) == (12, 12, 0)


async def test_too_many_channels_are_left_out_by_number_the_smallest_first() -> None:
    store = MemoryStore()
    names = [f"c{n}" for n in range(CHANNELS_MAX + 3)]
    for n, name in enumerate(names):
        await append(store, 0.5, 1 + (n >= 3), channel=name)
    found = await told(store, *names)
    assert (found.channels_left_out, found.day) == (3, 2 * CHANNELS_MAX)


async def test_what_is_void_after_a_restore_is_no_signal() -> None:
    """A restored log begins a million above: those were never given out."""
    store = await log_of([5.5, 4.5, 3.5])
    await store.begin_epoch("main", 1_000_004, "restored")
    assert (await told(store)).month == pytest.approx(3 / 5.5)
    await append(store, 0.5, 2)
    found = await told(store)
    assert found.day == 2 and found.week == pytest.approx(5 / 5.5)


async def test_where_events_were_dropped_the_days_before_are_not_taken_for_quiet_ones() -> None:
    """A channel that keeps two days has had so many a day, and does not grow by being cut."""
    store = await log_of([n / 10 for n in range(300, 0, -1)])
    full = await told(store)
    await store.drop("main", 280)
    cut = await told(store, began_days=30)
    assert full.week == pytest.approx(10, rel=0.02)
    assert cut.week == cut.month == pytest.approx(10, rel=0.06)
    assert cut.growth == 0


async def test_a_damaged_channel_is_left_out_and_the_others_are_counted() -> None:
    """An advice is no reason to need a whole log."""

    class Damaged(MemoryStore):
        async def read(self, channel: str, after: int, limit: int, bytes_max: int = 1 << 20) -> list[Event]:
            if channel == "bad" and limit > 1:
                raise StoreCorrupt("a page cannot be read", channel=channel)
            return await super().read(channel, after, limit, bytes_max)

    store = Damaged()
    for channel in ("bad", "good"):
        await append(store, 0.5, 3, channel=channel)
    found = await told(store, "bad", "good")
    assert (found.day, found.channels_left_out) == (3, 1)


def test_a_peak_is_of_a_day() -> None:
    """A rush is remembered for a day, and costs 24 numbers."""
    peak = Peak()
    assert peak.highest(0) == 0
    for minute in range(3000):
        peak.note(500 if minute == 600 else minute % 7, minute * 60)
        assert peak.highest(minute * 60) == (500 if 600 <= minute < 600 + 1440 else min(minute, 6))
    alone = Peak()
    alone.note(5, 0)
    assert (alone.highest(86_399), alone.highest(86_400)) == (5, 0)


@given(st.lists(st.floats(0, 50), min_size=1), st.floats(0.01, 1))
def test_a_quantile_is_in_the_bucket_where_it_was_measured(values: list[float], share: float) -> None:
    histogram = Histogram(LATENCY_S)
    for value in values:
        histogram.note(value)
    exact = sorted(values)[max(0, -int(-len(values) * share // 1) - 1)]
    found = quantile(histogram.cumulative(), share)
    assert found is not None
    above = next((bound for bound in LATENCY_S if bound >= exact), LATENCY_S[-1])
    below = max([0.0, *(bound for bound in LATENCY_S if bound < exact)])
    assert below <= found <= above


def test_a_quantile_of_nothing_is_none() -> None:
    assert quantile(Histogram(LATENCY_S).cumulative(), 0.99) is None


def users(*days_ago: float, expired: int = 0) -> SystemState:
    """So many users with a key each, made then; of the last ones the key has expired."""
    made = {f"u{n}": iso(NOW_US - int(days * DAY_US)) for n, days in enumerate(days_ago)}
    keys = {
        name: Key(name, name, ("subscribe",), ("*",), "", at, expires_at=at if n >= len(made) - expired else None)
        for n, (name, at) in enumerate(made.items())
    }
    return SystemState(Snapshot("e", 0, "0" * 8, users=made, keys=keys))


def test_users_are_those_with_a_key_that_works() -> None:
    assert users_of(users(9, 8, 7, expired=2), NOW_US)[0] == 1


def test_users_that_a_server_began_with_are_no_growth() -> None:
    """Five friends on the first evening are not five a day."""
    assert users_of(users(3, 2.9, 2.8, 2.7, 2.6), NOW_US) == (5, 0)
    assert users_of(users(3, 2.9, 2.8, 2.7, 1.5), NOW_US) == (5, 1 / 2)
    assert users_of(users(100, 99, 40, 29, 1), NOW_US) == (5, 2 / 30)


def test_a_young_server_does_not_say_how_its_users_grow() -> None:
    assert users_of(users(1.9, 1.5, 0.1), NOW_US) == (3, None)
    assert users_of(users(), NOW_US) == (0, None)
