"""The law of `take`, and the cache of one process: never more than the rate allows, never less than it promises."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalyst_signals.caches import EPSILON_S, gcra
from catalyst_signals.caches import memory as caches_memory
from catalyst_signals.caches.memory import MemoryCache


class Clock:
    """A time that a test moves."""

    def __init__(self, now_s: float = 1_800_000_000.0) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s


@given(st.lists(st.floats(0, 2), max_size=20), st.sampled_from([0.5, 3, 20, 1000]), st.integers(1, 40))
@settings(deadline=None)
def test_no_window_takes_more_than_the_burst_and_what_came_meanwhile(
    pauses: list[float], rate: float, burst: int
) -> None:
    """Whatever the pattern of those who ask."""
    clock = Clock()
    cache = MemoryCache(clock)
    taken: list[float] = []
    for pause_s in pauses:
        clock.now_s += pause_s
        taken += [clock.now_s for _ in range(burst // 2 + 1) if cache.take_now("a", rate, burst) == 0]
    for at, first_s in enumerate(taken):
        for count, last_s in enumerate(taken[at:], 1):
            assert count <= burst + rate * (last_s - first_s + EPSILON_S) + 1e-3


@given(st.sampled_from([0.3, 3, 7, 20, 1000]), st.integers(1, 300), st.floats(0, 2e9))
def test_a_whole_burst_is_there_for_who_did_not_ask_for_long(rate: float, burst: int, now_s: float) -> None:
    """To the last one, whatever the fractions add up to."""
    cache = MemoryCache(Clock(now_s))
    assert [cache.take_now("a", rate, burst) for _ in range(burst)] == [0.0] * burst
    wait_s = cache.take_now("a", rate, burst)
    assert wait_s == pytest.approx(1 / rate, abs=1e-3) or (rate == 1000 and wait_s == 0)


@given(st.sampled_from([0.5, 3, 20]), st.integers(1, 50), st.integers(1, 200))
def test_who_waits_as_long_as_he_was_told_is_served(rate: float, burst: int, count: int) -> None:
    """Also when he asked for more than a burst; and nothing was taken by asking."""
    clock = Clock()
    cache = MemoryCache(clock)
    while (wait_s := cache.take_now("a", rate, burst, count)) == 0:
        pass
    assert cache.take_now("a", rate, burst, count) == pytest.approx(wait_s)
    clock.now_s += wait_s
    assert cache.take_now("a", rate, burst, count) == 0


def test_a_wait_that_is_nothing_is_none() -> None:
    """A millisecond would send a caller round once more for a fraction's sake."""
    _, wait_s = gcra(100.0 + EPSILON_S / 2, 100.0, 1, 1)
    assert wait_s == 0


async def test_memory_is_bounded_and_what_was_used_least_lately_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """A flood of keys costs an old value, never the process."""
    monkeypatch.setattr(caches_memory, "BYTES_MAX", 10)
    monkeypatch.setattr(caches_memory, "COUNTERS_MAX", 2)
    clock = Clock()
    async with MemoryCache(clock) as cache:
        for key in ("a", "b"):
            await cache.set(key, b"12345", 60)
        await cache.get("a")
        await cache.set("c", b"12345", 60)
        assert await cache.get_many(["a", "b", "c"]) == {"a": b"12345", "c": b"12345"}
        for key in ("a", "b", "a", "c"):
            cache.take_now(key, 1, 2)
        assert cache.take_now("a", 1, 2) > 0, "it was used lately"
        assert cache.take_now("b", 1, 2) == 0, "forgotten, and begins with a full burst"
        clock.now_s += 61
        assert await cache.get_many(["a", "c"]) == {} and cache._bytes == 0
