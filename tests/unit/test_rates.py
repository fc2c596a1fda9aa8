"""Rate limits: what is let through over any stretch of time, alone, with a shared bucket, and without one.

Covers catalyst_signals.server.limits from within; through a real server: tests/server/test_limits.py.
"""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalyst_signals.caches.memory import MemoryCache
from catalyst_signals.errors import RateLimited, Unavailable
from catalyst_signals.server.addresses import Addresses
from catalyst_signals.server.limits import Limits
from catalyst_signals.server.rates import KEYS_MAX, PORTION_S, Rate
from catalyst_signals.server.settings import Settings


class Clock:
    """Time that passes when told."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def allowed(rate: Rate, key: str, times: int) -> int:
    """How many of so many tries are let through."""
    passed = 0
    for _ in range(times):
        try:
            rate.spend(key)
            passed += 1
        except RateLimited:
            pass
    return passed


@given(st.sampled_from([(2, 5), (1, 1), (1000, 1000), (20, 200), (0.5, 3)]), st.lists(st.floats(0, 2), max_size=100))
def test_never_more_than_the_burst_and_the_rate_over_any_stretch(limit: tuple[float, float], gaps: list[float]) -> None:
    """And a refusal's wait is enough."""
    per_s, burst = limit
    clock = Clock()
    rate = Rate("x", per_s, burst=burst, clock=clock)
    began_s = clock.now_s
    for passed, gap in enumerate(gaps, 1):
        clock.now_s += gap
        try:
            rate.spend("key")
        except RateLimited as refusal:
            clock.now_s += refusal.extra["retry_after_s"] + 0.001
            rate.spend("key")
        assert passed <= burst + per_s * (clock.now_s - began_s) + 1


def test_a_full_burst_is_there_at_once_and_the_rate_goes_on_for_ever() -> None:
    """A limit that gives less than it says breaks honest bots."""
    clock = Clock()
    rate = Rate("x", 100, clock=clock)
    assert allowed(rate, "key", 150) == 100
    for _ in range(50):
        clock.now_s += 0.1
        assert allowed(rate, "key", 20) == 10


def test_keys_are_limited_each_by_itself_and_0_is_no_limit() -> None:
    """One wild sender costs the others nothing."""
    rate = Rate("x", 5, clock=Clock())
    assert allowed(rate, "a", 10) == 5
    assert allowed(rate, "b", 10) == 5
    assert allowed(Rate("x", 0), "a", 10_000) == 10_000


def test_the_refusal_says_which_limit_and_when_to_come_again() -> None:
    """It is for the person who can fix it: the bot's owner, or the operator."""
    rate = Rate("publishes of a key", 2, setting="key_publish_rate", clock=Clock())
    assert allowed(rate, "a", 2) == 2
    with pytest.raises(RateLimited) as refused:
        rate.spend("a")
    told = refused.value.as_dict()
    assert (told["error"], told["field"], told["allowed"], told["retry"]) == (
        "rate_limited", "key_publish_rate", 2, True,
    )  # fmt: skip
    assert told["retry_after_s"] == pytest.approx(0.5) and "2 publishes of a key a second" in told["message"]


async def test_what_is_taken_and_not_used_is_given_back() -> None:
    """Who loses the connection in the middle of a replay has not had it, and asks for the rest."""
    rate = Rate("rows", 100, burst=1000, clock=Clock())
    await rate.spend_many("a", 1000)
    with pytest.raises(RateLimited):
        await rate.spend_many("a", 400)
    rate.give_back("a", 600)
    await rate.spend_many("a", 600)
    with pytest.raises(RateLimited):
        await rate.spend_many("a", 1)


async def test_a_replay_larger_than_any_burst_goes_and_is_paid_for_afterwards() -> None:
    """Somebody who was away for a month must be able to come back."""
    clock = Clock()
    rate = Rate("rows", 100, burst=1000, clock=clock)
    await rate.spend_many("a", 5000)
    clock.now_s += 39
    with pytest.raises(RateLimited):
        rate.spend("a")
    clock.now_s += 2
    rate.spend("a")


# -- one bucket for several processes --------------------------------------------------------------------------------


class Shared(MemoryCache):
    """The bucket of several processes: an answer takes a moment, and it may be away."""

    away = False
    asked = 0

    async def take(self, key: str, rate: float, burst: float, count: float = 1) -> float:
        self.asked += 1
        await asyncio.sleep(0)
        if self.away:
            raise Unavailable("away")
        return self.take_now(key, rate, burst, count)


async def flood(rates: list[Rate], clock: Clock, for_s: float, times: int) -> int:
    """How much comes through when every process gets far more than its part, for so long."""
    passed = 0
    for _ in range(round(for_s / 0.01)):
        for rate in rates:
            passed += allowed(rate, "key", times)
        for _ in range(4):
            await asyncio.sleep(0)
        clock.now_s += 0.01
    return passed


async def test_several_processes_let_through_one_limit_together() -> None:
    """Who spreads a flood over all nodes gains a portion or two a node, and is not slowed below the limit either."""
    clock = Clock()
    bucket = Shared(clock)
    rates = [Rate("x", 1000, shared=bucket, clock=clock) for _ in range(4)]
    passed = await flood(rates, clock, 5, 20)
    assert 5500 <= passed <= 1000 + 5 * 1000 + 4 * 2 * 1000 * PORTION_S


async def test_the_bucket_is_asked_for_portions_and_nobody_waits_for_it() -> None:
    """18,000 publishes a second cannot each ask a Redis."""
    clock = Clock()
    bucket = Shared(clock)
    rate = Rate("x", 20_000, shared=bucket, clock=clock)
    passed = await flood([rate], clock, 2, 180)
    assert passed == 36_000, "below the limit nothing is refused"
    assert bucket.asked <= 2 / PORTION_S + 1


async def test_without_the_bucket_each_process_counts_its_part() -> None:
    """Fail safe: a Redis that died opens no gate and closes none."""
    clock = Clock()
    bucket = Shared(clock)
    bucket.away = True
    rates = [Rate("x", 1000, shared=bucket, processes=2, clock=clock) for _ in range(2)]
    passed = await flood(rates, clock, 5, 20)
    assert 5000 <= passed <= 1000 + 5 * 1000 + 2 * 2 * 1000 * PORTION_S
    bucket.away = False
    before = bucket.asked
    await flood(rates, clock, 1, 20)
    assert bucket.asked > before, "and back it is"


def test_the_keys_that_are_remembered_are_bounded() -> None:
    """A limit must not be the hole in the memory."""
    rate = Rate("x", 10, clock=Clock())
    for n in range(KEYS_MAX + 100):
        rate.spend(str(n))
    assert len(rate._held) == KEYS_MAX


def test_who_was_refused_a_connection_comes_back_apart_from_the_others() -> None:
    """A thousand that lost a server, each told `in 5 ms`, would be a storm for ever."""
    limits = Limits(Settings(key_connect_rate=1), MemoryCache(), 1)
    limits.connect("k")
    waits = []
    for _ in range(200):
        with pytest.raises(RateLimited) as refused:
            limits.connect("k")
        waits.append(refused.value.extra["retry_after_s"])
    assert max(waits) - min(waits) > 0.8


# -- addresses -------------------------------------------------------------------------------------------------------


def came(peer: str, *forwarded: str, trusted: tuple[str, ...] = ()) -> str:
    """The address of a request from `peer` with these headers."""
    headers = [(b"x-forwarded-for", each.encode()) for each in forwarded]
    return Addresses(0, trusted).of({"client": (peer, 1), "headers": headers})


@pytest.mark.parametrize(
    ("peer", "forwarded", "trusted", "address"),
    [
        ("9.9.9.9", ["1.2.3.4"], [], "9.9.9.9"),  # Anybody can write that.
        ("9.9.9.9", ["1.2.3.4"], ["10.0.0.0/8"], "9.9.9.9"),
        ("10.0.0.1", ["1.2.3.4"], ["10.0.0.0/8"], "1.2.3.4"),
        ("10.0.0.1", ["6.6.6.6, 1.2.3.4"], ["10.0.0.0/8"], "1.2.3.4"),  # The left one the client wrote itself.
        ("10.0.0.1", ["6.6.6.6", "1.2.3.4, 10.0.0.2"], ["10.0.0.0/8"], "1.2.3.4"),
        ("10.0.0.1", [], ["10.0.0.0/8"], "10.0.0.1"),
        ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], ["10.0.0.0/8"], "10.0.0.3"),
        ("10.0.0.1", ["1.2.3.4, nonsense"], ["10.0.0.0/8"], "10.0.0.1"),
        ("::1", ["2001:db8:1:2:3:4:5:6"], ["::1"], "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", [], [], "2001:db8:1:2::/64"),
        ("::ffff:1.2.3.4", [], [], "1.2.3.4"),
    ],
)
def test_an_address_is_believed_only_from_a_proxy_that_is_named(
    peer: str, forwarded: list[str], trusted: list[str], address: str
) -> None:
    """Else one header opens every limit by address, or closes it on somebody else."""
    assert came(peer, *forwarded, trusted=tuple(trusted)) == address


def test_connections_of_an_address_are_counted_down_too() -> None:
    """Or a friend on a bad line is locked out for good."""
    addresses = Addresses(2, ())
    for _ in range(5):
        addresses.check("a")
        addresses.come("a")
        addresses.check("a")
        addresses.come("a")
        with pytest.raises(RateLimited):
            addresses.check("a")
        addresses.check("b")
        addresses.leave("a")
        addresses.leave("a")
    assert addresses._open == {}


def test_a_proxy_that_is_no_network_is_refused_at_start() -> None:
    """Typing mistakes are found at once, and not by who wanted them."""
    with pytest.raises(ValueError, match=r"10\.0\.0"):
        Settings(trusted_proxies=["10.0.0/8x"])
