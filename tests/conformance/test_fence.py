"""While a log is moved nothing changes in its store; once it has moved, nothing ever does. Every back-end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

from catalyst_signals.errors import StoreUnavailable
from catalyst_signals.stores import Store
from tests.conformance.test_stores import all_of, batch, draft, put, seqs

ELSEWHERE = "postgresql://me:secret@db/catalyst"
FENCED_BY_CLOCK = ("fencing", "postgres", "mysql")
CHANGES: dict[str, Callable[[Store], Awaitable[object]]] = {
    "append": lambda store: store.append([batch(draft("b"))]),
    "keep": lambda store: store.keep("worker", "main", 1, was=0),
    "drop": lambda store: store.drop("main", 1),
    "begin_epoch": lambda store: store.begin_epoch("main", 1000, "why"),
    "erase": lambda store: store.erase("main", 1),
}


@pytest.mark.parametrize("change", CHANGES)
async def test_behind_a_fence_nothing_changes_and_all_can_be_read(store: Store, change: str) -> None:
    await put(store, draft("a"))
    before = await store.extents()
    ticket = await store.fence()
    with pytest.raises(StoreUnavailable):
        await CHANGES[change](store)
    assert seqs(await all_of(store)) == [1] and await store.extents() == before
    assert await store.fence(ELSEWHERE, ticket)
    with pytest.raises(StoreUnavailable):
        await CHANGES[change](store)
    assert seqs(await all_of(store)) == [1] and await store.extents() == before


async def test_a_fence_that_nobody_makes_stay_goes_by_itself(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever moved the log was killed; and whoever comes too late with their ticket moves nothing."""
    for back_end in FENCED_BY_CLOCK:
        monkeypatch.setattr(f"catalyst_signals.stores.{back_end}.FENCE_US", 500_000)
    ticket = await store.fence()
    again = await store.fence()
    assert again > ticket and not await store.fence(ELSEWHERE, ticket), "somebody else has fenced it since"
    last = await store.fence()
    await stored_at_last(store)
    assert not await store.fence(ELSEWHERE, last)
    await put(store, draft("b"))


async def stored_at_last(store: Store) -> None:
    """Something, once the fence is gone."""
    until = time.monotonic() + 15
    while time.monotonic() < until:
        try:
            await put(store, draft("a"))
            return
        except StoreUnavailable:
            await asyncio.sleep(0.01)
    raise AssertionError("the fence stays")
