"""One duty is done by one process at a time, and by the next one soon after that one is gone (workers/)."""

from __future__ import annotations

import asyncio

import pytest

from catalyst_signals.events import Batch
from catalyst_signals.stores.memory import MemoryStore
from catalyst_signals.workers import Lease, on_duty

TTL_S = 0.3


class Mortal(Lease):
    """Of a process that is killed: nobody gives it up."""

    async def give_up(self) -> None:
        pass


async def opened() -> MemoryStore:
    store = MemoryStore()
    await store.append([Batch(channel="system", subject="system", drafts=[])])
    return store


async def test_a_duty_is_held_by_one_until_it_is_given_up() -> None:
    store = await opened()
    first, second = (Lease(store, "out", holder) for holder in ("a", "b"))
    assert await first.renew() and not await second.renew()
    assert first.held and not second.held
    await first.give_up()
    assert not first.held
    assert await second.renew() and not await first.renew()


async def test_who_was_away_longer_than_its_lease_no_longer_takes_it_for_its_own() -> None:
    store = await opened()
    first, second = (Lease(store, "out", holder, ttl_s=TTL_S) for holder in ("a", "b"))
    assert await first.renew()
    await asyncio.sleep(TTL_S * 1.1)
    assert not first.held
    assert await second.renew() and not await first.renew()


async def test_when_the_process_on_duty_is_gone_another_takes_over_and_never_two_at_once() -> None:
    store, at_work, most, begun = await opened(), 0, 0, list[str]()

    def worker(holder: str) -> asyncio.Task[None]:
        async def work() -> None:
            nonlocal at_work, most
            at_work, most = at_work + 1, max(most, at_work + 1)
            begun.append(holder)
            try:
                await asyncio.sleep(60)
            finally:
                at_work -= 1

        return asyncio.create_task(on_duty(Mortal(store, "out", holder, ttl_s=TTL_S), work))

    tasks = {holder: worker(holder) for holder in ("a", "b", "c")}
    while not begun:
        await asyncio.sleep(0.01)
    tasks.pop(begun[0]).cancel()
    async with asyncio.timeout(TTL_S * 20):
        while len(begun) < 2:
            await asyncio.sleep(0.01)
    assert begun[0] != begun[1] and most == 1
    for task in tasks.values():
        task.cancel()
    await asyncio.gather(*tasks.values(), return_exceptions=True)
    assert at_work == 0


async def test_work_that_fails_is_not_begun_again_in_silence() -> None:
    async def work() -> None:
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        await on_duty(Lease(await opened(), "out", "a", ttl_s=TTL_S), work)


async def test_a_duty_that_is_ended_is_given_up_at_once() -> None:
    store, at_work = await opened(), asyncio.Event()

    async def work() -> None:
        at_work.set()
        await asyncio.sleep(60)

    task = asyncio.create_task(on_duty(Lease(store, "out", "a"), work))
    await at_work.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert await Lease(store, "out", "b").renew()
