"""What protects a process: waits between tries, breakers, a fair queue. None of them has a clock of its own."""

from __future__ import annotations

import asyncio
import inspect
import random
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalyst_signals import breakers as breakers_module
from catalyst_signals.backoff import Backoff
from catalyst_signals.breakers import FAILURES_MAX, PAUSES_S, SLOW_S, Breaker
from catalyst_signals.brokers.memory import MemoryBroker
from catalyst_signals.caches.memory import MemoryCache
from catalyst_signals.errors import NotFound, Overloaded, StoreFull, StoreUnavailable, Unavailable
from catalyst_signals.events import Batch, Frame, Stored
from catalyst_signals.follow import Follower
from catalyst_signals.hub import Hub
from catalyst_signals.publish import Publisher
from catalyst_signals.queueing import FairQueue
from catalyst_signals.server import guarding
from catalyst_signals.server.guarding import Breakers, GuardedCache, GuardedStore, look_for_ever, through
from catalyst_signals.signals import signal_draft
from catalyst_signals.stores import Store
from catalyst_signals.stores.memory import MemoryStore


class Clock:
    """Time that passes when told."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


# -- waits ----------------------------------------------------------------------------------------------------------


def test_waits_grow_to_a_cap_and_those_who_failed_together_come_back_apart() -> None:
    """A thousand clients that lost a server must not all knock in the same millisecond."""
    random.seed(7)
    crowd = [Backoff(0.2, 5.0) for _ in range(1000)]
    for ceiling_s in (0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0):
        waits = [each.next_s() for each in crowd]
        assert max(waits) <= ceiling_s
        assert max(waits) > 0.9 * ceiling_s and min(waits) < 0.1 * ceiling_s, "over the whole range"
    crowd[0].tries = 0
    assert crowd[0].next_s() <= 0.2, "after progress it begins anew"


# -- breakers -------------------------------------------------------------------------------------------------------


def opened(clock: Clock) -> Breaker:
    """One that has just opened."""
    breaker = Breaker("store", clock=clock)
    for _ in range(FAILURES_MAX):
        assert breaker.admit()
        breaker.failed("no route")
    assert (breaker.state, breaker.error) == ("open", "no route")
    return breaker


def test_a_breaker_opens_after_failures_in_a_row_and_not_after_some_among_answers() -> None:
    """A single reset connection is no outage."""
    breaker = Breaker("store", clock=Clock())
    for _ in range(10):
        breaker.failed("reset")
        breaker.failed("reset")
        breaker.worked()
    assert breaker.state == "closed"


def test_one_failure_that_hung_is_enough() -> None:
    """Two more would cost everybody who asks two more time-outs."""
    breaker = Breaker("store", clock=Clock())
    assert breaker.failed("timed out", took_s=SLOW_S)
    assert breaker.state == "open"


def test_an_open_breaker_lets_one_question_through_after_a_pause() -> None:
    """Whatever comes back must not be met by everybody at once."""
    clock = Clock()
    breaker = opened(clock)
    clock.now_s += PAUSES_S[1]
    assert [breaker.admit() for _ in range(5)] == [True, False, False, False, False]
    assert breaker.state == "half_open"
    assert not breaker.failed("still no route"), "nothing new"
    assert breaker.state == "open"
    clock.now_s += PAUSES_S[1]
    assert breaker.admit()
    assert breaker.worked()
    assert breaker.state == "closed" and breaker.error == "" and breaker.admit()


def test_a_question_that_was_given_up_does_not_keep_the_breaker_half_open_for_ever() -> None:
    """Its answer never comes, so another one has to ask."""
    clock = Clock()
    breaker = opened(clock)
    clock.now_s += PAUSES_S[1]
    assert breaker.admit() and not breaker.admit()
    breaker.let_go()
    assert breaker.admit()


def test_since_when_is_told() -> None:
    """An operator reads it on /readyz; looking in vain does not begin the time anew."""
    clock = Clock()
    breaker = opened(clock)
    for _ in range(5):
        clock.now_s += PAUSES_S[1]
        breaker.admit()
        breaker.failed("no route")
    assert breaker.since_s == pytest.approx(5 * PAUSES_S[1])


async def test_a_no_is_an_answer() -> None:
    """A full disk or an unknown channel is told by a store that is there."""
    breakers = Breakers()

    async def no(error: Exception) -> None:
        raise error

    for error in (StoreFull(), NotFound()):
        for _ in range(FAILURES_MAX):
            with pytest.raises(type(error)):
                await through(breakers.writes, lambda error=error: no(error))
    breakers.check_writes()


async def test_what_is_open_refuses_at_once_with_when_to_come_again() -> None:
    """A publisher must not wait for a time-out to hear what is known already."""
    breakers = Breakers()
    breakers.writes.failed("gone", took_s=SLOW_S)
    with pytest.raises(StoreUnavailable) as refused:
        breakers.check_writes()
    assert refused.value.extra["retry_after_s"] >= 1
    assert breakers.reads.state == "closed"


async def test_a_poll_asks_whatever_the_breaker_says_and_closes_it() -> None:
    """Trust in keys hangs on it, and it is how a store is found to be back."""
    breakers = Breakers()
    breakers.reads.failed("gone", took_s=SLOW_S)

    async def heads() -> str:
        return "heads"

    with pytest.raises(StoreUnavailable):
        await through(breakers.reads, heads)
    assert await through(breakers.reads, heads, always=True) == "heads"
    assert await through(breakers.reads, heads) == "heads"


class Stuck(MemoryStore):
    """A store that never answers what it is told to hang at."""

    hangs = ""

    def __getattribute__(self, name: str) -> Any:
        if name == object.__getattribute__(self, "hangs"):
            return _never
        return object.__getattribute__(self, name)


async def _never(*_: Any, **__: Any) -> None:
    await asyncio.Event().wait()


CALLS: dict[str, tuple[Any, ...]] = {
    "append": ([],), "read": ("main", 0, 1), "extents": (), "find": ("main", []), "ids": ("main",),
    "kept": ("f", "main"), "places": ("main",), "keep": ("f", "main", 0), "drop": ("main", 1),
    "begin_epoch": ("main", 9, "rewound"), "erase": ("main", 1), "adopt": (None,), "fence": (),
    "note": ([],), "noted": ("main", 1), "forget": (1,),
}  # fmt: skip
READING = {"read", "extents", "find", "ids", "kept", "places", "noted"}


def test_every_call_of_the_port_is_meant() -> None:
    """One that is added goes past no breaker."""
    methods = {name for name, each in vars(Store).items() if inspect.iscoroutinefunction(each)}
    assert methods == set(CALLS)


@pytest.mark.parametrize("call", CALLS)
async def test_every_call_to_a_store_has_an_end_and_tells_its_breaker(
    call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that hangs holds nobody for ever, and the next who asks hears at once that it does."""
    monkeypatch.setattr(guarding, "STORE_S", 0.05)
    monkeypatch.setattr(guarding, "UPKEEP_S", 0.05)
    monkeypatch.setattr(breakers_module, "SLOW_S", 0.01)
    store, breakers = Stuck(), Breakers()
    store.hangs = call
    guarded = GuardedStore(store, breakers)
    how: dict[str, Any] = {"was": 0} if call == "keep" else {}
    async with asyncio.timeout(5):
        with pytest.raises(StoreUnavailable):
            await getattr(guarded, call)(*CALLS[call], **how)
    told = "store_writes" if call == "append" else "store_reads" if call in READING else "store_upkeep"
    assert [each.name for each in breakers if each.state != "closed"] == [told]


async def test_upkeep_that_failed_keeps_no_publish_back_and_is_found_to_work_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An erasure that waits for a backup is no reason to take no signals; nor does anybody have to try it again."""
    monkeypatch.setattr(guarding, "LOOK_S", 0.05)
    breakers, store = Breakers(), MemoryStore()
    breakers.upkeep.failed("somebody still reads", took_s=SLOW_S)
    breakers.check_writes()
    guarded = GuardedStore(store, breakers)
    looking = asyncio.create_task(look_for_ever(MemoryCache(), MemoryBroker(), guarded, breakers.upkeep))
    async with asyncio.timeout(5):
        while breakers.upkeep.state != "closed":
            await asyncio.sleep(0.01)
    looking.cancel()
    assert not await store.places("system"), "asking leaves nothing behind"


class Hanging(MemoryCache):
    """A cache that is away, and says so."""

    asked = 0

    async def take(self, key: str, rate: float, burst: float, count: float = 1) -> float:
        self.asked += 1
        raise Unavailable("away")


async def test_a_cache_that_is_away_is_not_asked_by_everybody() -> None:
    """Each question costs its time-out."""
    cache = Hanging()
    guarded = GuardedCache(cache, Breakers().cache)
    for _ in range(100):
        with pytest.raises(Unavailable):
            await guarded.take("k", 1, 1)
    assert cache.asked == FAILURES_MAX


# -- turns ----------------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.sampled_from("abcde"), st.integers(0, 50)), max_size=60))
def test_what_one_puts_in_comes_out_in_order_and_nothing_is_lost(puts: list[tuple[str, int]]) -> None:
    """A publisher's signals get their numbers in the order they were sent."""
    queue: FairQueue[tuple[str, int]] = FairQueue()
    for number, (whose, size) in enumerate(puts):
        queue.put(whose, (whose, number), size)
    assert queue.size == sum(size for _, size in puts)
    out = [queue.take() for _ in puts]
    assert not queue and queue.size == 0
    for whose in "abcde":
        assert [n for w, n in out if w == whose] == [n for n, (w, _) in enumerate(puts) if w == whose]


def test_a_flood_waits_for_everybody_once_a_turn() -> None:
    """B's one signal comes after one of A's thousand, not after all."""
    queue: FairQueue[str] = FairQueue()
    for _ in range(1000):
        queue.put("a", "a", 1)
    for whose in "bc":
        queue.put(whose, whose, 1)
    assert [queue.take() for _ in range(5)] == ["a", "b", "c", "a", "a"]


async def test_a_signal_beside_a_flood_is_stored_after_two_of_its_commits() -> None:
    """B's one signal is not the last of ten thousand that A sent at once, and it is not refused for them."""
    commits: list[list[str]] = []
    store = MemoryStore()
    await store.append([Batch(channel="main", subject="s", drafts=[])])

    class Counting:
        async def append(self, batches: Sequence[Batch]) -> Any:
            commits.append([batch.subject for batch in batches])
            await asyncio.sleep(0)
            return await store.append(batches)

    hub = Hub(nothing, store.find)
    broker = MemoryBroker()
    async with (
        Follower(store, broker, hub, poll_s=60) as follower,
        Publisher(Counting(), follower, broker, queue_max=10_000) as publisher,
    ):
        flood = [publisher.submit([batch_of("a", 1000)]) for _ in range(10)]
        with pytest.raises(Overloaded):
            publisher.submit([batch_of("a", 1)])
        with pytest.raises(Overloaded):
            publisher.check_room("a")
        publisher.check_room("b")
        await asyncio.sleep(0)
        (result,) = await publisher.submit([batch_of("b", 1)])
        assert isinstance(result, Stored)
        first = next(n for n, commit in enumerate(commits) if "b" in commit)
        assert first <= 2, "one was under way, and one was next"
        settled = asyncio.ensure_future(publisher.settled())
        await settled
        assert all(each.done() for each in flood), "what was accepted before is stored"
        assert [sum(each == "a" for each in commit) for commit in commits if "a" in commit] == [1] * 10
    await hub.close()


async def nothing(channel: str, after: int, limit: int) -> list[Frame]:
    """No store to page from."""
    return []


def batch_of(subject: str, count: int) -> Batch:
    """So many drafts of one publisher."""
    drafts = [signal_draft({"symbol": "ACME", "action": "BUY"}, subject=subject)[0] for _ in range(count)]
    return Batch(channel="main", subject=subject, drafts=drafts)
