"""A worker is handed what it wants of everything after its place, once, in order, whatever happens in between.

Covers catalyst_signals.workers.following and catalyst_signals.workers.keeping.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from catalyst_signals.errors import StoreUnavailable
from catalyst_signals.events import Batch, Draft, Epoch, hash_of_draft
from catalyst_signals.filters import EVERYTHING, Filter, parse
from catalyst_signals.stores.memory import MemoryStore
from catalyst_signals.trust import Reader
from catalyst_signals.wire import frame_of
from catalyst_signals.workers import Lease
from catalyst_signals.workers.following import PAGE_EVENTS, PENDING_MAX, QUEUE_MAX, Following, Tip, place_in
from catalyst_signals.workers.keeping import OVER, Keeper

HIGH = parse("confidence >= 0.5")


class Log:
    """A channel in memory with a gate of one line: what is published passes it at once."""

    def __init__(self, store: MemoryStore) -> None:
        self.store = store
        self.head = 0
        self.reads = 0
        self.tip = Tip(store, Reader(store), lambda channel: self.head)
        read = store.read

        async def counted(*args: object, **how: object) -> object:
            self.reads += 1
            return await read(*args, **how)  # type: ignore[arg-type]

        store.read = counted  # type: ignore[method-assign, assignment]

    async def publish(self, count: int, confidence: float = 0.9, *, passing: bool = True) -> None:
        first = self.head + 1
        body = b'{"data":{"action":"open","confidence":%g}}' % confidence
        drafts = [
            Draft(type="signal.published", id=f"s{n}", body=body, draft_hash=hash_of_draft({"n": n}))
            for n in range(first, first + count)
        ]
        (stored,) = await self.store.append([Batch(channel="main", subject="ann", drafts=drafts)])
        self.head += count
        for event in stored.events if passing else ():  # type: ignore[union-attr]
            self.tip.fold(frame_of(event))

    def follow(self, after: int, filter: Filter = EVERYTHING) -> Following:
        return self.tip.follow("main", after, "", filter, lambda: None)


async def popped(following: Following, count: int) -> list[int]:
    """The next so many, waited for."""
    found: list[int] = []
    async with asyncio.timeout(5):
        while len(found) < count:
            frame = following.pop()
            if frame is not None:
                found.append(frame.seq)
                continue
            await following.fill()
            await asyncio.sleep(0)
    return found


@pytest.fixture
async def log() -> AsyncIterator[Log]:
    async with MemoryStore() as store:
        await store.append([Batch(channel=name, subject="system", drafts=[]) for name in ("main", "system")])
        found = Log(store)
        task = asyncio.create_task(found.tip.run())
        await asyncio.sleep(0)
        yield found
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_from_an_old_place_over_the_stored_to_what_passes_now(log: Log) -> None:
    await log.publish(PAGE_EVENTS + 40, passing=False)
    following = log.follow(10)
    assert await popped(following, PAGE_EVENTS + 30) == list(range(11, PAGE_EVENTS + 41))
    await following.fill()
    assert following.live
    reads = log.reads
    await log.publish(30)
    assert await popped(following, 30) == list(range(PAGE_EVENTS + 41, PAGE_EVENTS + 71))
    assert log.reads == reads, "who is level with the gate asks the store nothing"
    assert following.through == log.head


async def test_a_thousand_at_one_place_cost_one_read(log: Log) -> None:
    await log.publish(100, passing=False)
    followings = [log.follow(n % 50) for n in range(1000)]
    await asyncio.gather(*(following.fill() for following in followings))
    assert log.reads == 1


async def test_what_is_not_wanted_moves_the_place_and_wakes_nobody(log: Log) -> None:
    woken: list[int] = []
    following = log.tip.follow("main", 0, "", HIGH, lambda: woken.append(1))
    await following.fill()
    await log.publish(50, confidence=0.1)
    await asyncio.sleep(0.05)
    assert not woken and following.pop() is None and following.through == 50


async def test_who_does_not_take_what_it_gets_holds_little_and_misses_nothing(log: Log) -> None:
    following = log.follow(0)
    await following.fill()
    await log.publish(QUEUE_MAX * 3)
    await asyncio.sleep(0.05)
    assert not following.live and len(following._queue) <= QUEUE_MAX and following.through == 0
    assert await popped(following, QUEUE_MAX * 3) == list(range(1, QUEUE_MAX * 3 + 1))


async def test_more_than_can_be_judged_in_time_is_read_from_the_store(log: Log) -> None:
    following = log.follow(0)
    await following.fill()
    for _ in range(PENDING_MAX // 1000 + 2):
        await log.publish(1000)
    assert await popped(following, log.head) == list(range(1, log.head + 1))


async def test_another_filter_holds_from_the_place_on(log: Log) -> None:
    following = log.follow(0)
    await following.fill()
    await log.publish(3, 0.9)
    await log.publish(3, 0.1)
    assert await popped(following, 2) == [1, 2]
    following.refilter(parse("confidence < 0.5"))
    assert await popped(following, 3) == [4, 5, 6]
    following.seek(1)
    following.refilter(EVERYTHING)
    assert await popped(following, 5) == [2, 3, 4, 5, 6]


async def test_what_retention_dropped_is_counted(log: Log) -> None:
    await log.publish(20, passing=False)
    await log.store.drop("main", 12)
    following = log.follow(4)
    assert await popped(following, 8) == list(range(13, 21))
    assert following.lost == 8


async def test_an_event_that_was_erased_meanwhile_is_not_handed_out(log: Log) -> None:
    following = log.follow(0)
    await following.fill()
    await log.publish(3)
    await asyncio.sleep(0.05)
    await log.store.erase("main", 2)
    erased = Draft(
        type="event.erased", id="x", body=b'{"data":{"channel":"main","seqs":[2]}}', draft_hash=hash_of_draft({})
    )
    (stored,) = await log.store.append([Batch(channel="system", subject="system", drafts=[erased])])
    log.tip.fold(frame_of(stored.events[0]))  # type: ignore[union-attr]
    assert await popped(following, 2) == [1, 3]


async def test_a_channel_that_goes_on_elsewhere_is_read_from_what_all_agree_on(log: Log) -> None:
    following = log.follow(0)
    await following.fill()
    await log.publish(3)
    assert await popped(following, 3) == [1, 2, 3]
    extent = await log.store.begin_epoch("main", 1_000_003, "rewound after 2")
    log.head = 1_000_002
    log.tip.jumped("main")
    await log.publish(2, passing=False)
    assert await popped(following, 3) == [3, 1_000_003, 1_000_004], "the third may be another one by now"
    assert following.epoch == extent.epoch


@pytest.mark.parametrize(
    ("epoch", "seq", "place"),
    [("a", 5, 5), ("a", 12, 10), ("a", 25, 10), ("b", 25, 25), ("b", 40, 30), ("c", 99, 99), ("gone", 40, 30)],
)
def test_a_place_of_an_earlier_epoch_is_one_that_everybody_agrees_on(epoch: str, seq: int, place: int) -> None:
    log = [
        Epoch("a", 1, 0, bytes(32), ""), Epoch("b", 21, 10, bytes(32), "restored"),
        Epoch("c", 90, 50, bytes(32), "rewound after 30"),
    ]  # fmt: skip
    assert place_in(log, epoch, seq) == place
    assert place_in(log[:1], "gone", seq) == seq, "the first epoch took nothing back"


# --- Keeping ---------------------------------------------------------------------------------------------------------


def state(number: int, more: str = "") -> bytes:
    return b'{"writes":%d,"more":"%s"}' % (number, more.encode())


async def keeper_of(store: MemoryStore, holder: str) -> tuple[Keeper, asyncio.Task[None]]:
    lease = Lease(store, "out", holder, ttl_s=60)
    assert await lease.renew()
    keeper = Keeper(store, lease, "out")
    return keeper, asyncio.create_task(keeper.run())


async def test_places_are_those_of_the_last_move_however_a_process_ended(log: Log) -> None:
    keeper, task = await keeper_of(log.store, "a")
    assert await keeper.load(["main"]) == {}
    for name in ("out.x", "out.y", "out.gone"):
        await keeper.keep(name, "main", 1, state(keeper.next_number(name)))
    await asyncio.gather(keeper.moved("out.x", 5), keeper.moved("out.y", 7))
    await keeper.keep("out.y", "main", 3, state(keeper.next_number("out.y"), "replayed"))
    await keeper.over("out.gone", "main")
    task.cancel()  # As a kill: nothing more is said.
    newer, task = await keeper_of(log.store, "a")
    found = await newer.load(["main"])
    task.cancel()
    assert {name: kept.seq for name, (_, kept) in found.items()} == {"out.x": 5, "out.y": 3}
    assert (await log.store.kept("out.gone", "main")).seq == OVER


async def test_a_thousand_who_move_at_once_cost_a_few_writes(log: Log) -> None:
    keeper, task = await keeper_of(log.store, "a")
    await keeper.load(["main"])
    before = (await log.store.kept("out.moved", "system")).seq
    for round in range(3):
        await asyncio.gather(*(keeper.moved(f"out.{n}", round) for n in range(1000)))
    task.cancel()
    assert (await log.store.kept("out.moved", "system")).seq - before <= 6


async def test_who_lost_the_duty_moves_no_place(log: Log) -> None:
    old, task = await keeper_of(log.store, "a")
    await old.load(["main"])
    await old._lease.give_up()
    newer, other = await keeper_of(log.store, "b")
    await newer.load(["main"])
    with pytest.raises(StoreUnavailable):
        await old.keep("out.x", "main", 9, state(1))
    old._lease._until_s = float("inf")  # It does not know yet: it was away, as in a long stop of the machine.
    old._lease._holder = "a"
    await newer.keep("out.x", "main", 3, state(1))
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            await old.keep("out.x", "main", 9, state(1))
    assert (await log.store.kept("out.x", "main")).seq == 3
    task.cancel()
    other.cancel()
