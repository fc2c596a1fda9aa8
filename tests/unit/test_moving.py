"""A log moves whole, or not at all, wherever it is interrupted. Covers `catalyst_signals.transfer.moving`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalyst_signals.erasing import ERASED
from catalyst_signals.errors import Conflict, Misconfigured, Moved, StoreUnavailable
from catalyst_signals.events import Batch
from catalyst_signals.projections import system_draft
from catalyst_signals.server.app import open_node
from catalyst_signals.server.moving import MovingStore
from catalyst_signals.server.settings import Settings
from catalyst_signals.server.transfers import STOPPED
from catalyst_signals.stores import Store, fencing, ticks_us
from catalyst_signals.stores.memory import MemoryStore
from catalyst_signals.stores.sqlite import SqliteStore, opening
from catalyst_signals.transfer import moving
from catalyst_signals.transfer.moving import OpenTarget, Progress, move
from catalyst_signals.verify import verify
from tests.conformance.test_stores import all_of, draft, put
from tests.unit.test_transfer import STEPS, write

TO = "postgresql://there"


def staying(store: Store) -> OpenTarget:
    """A target that stays as it is when it is left: in memory."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Store]:
        yield store

    return opened


async def made(steps: list[tuple[str, Any]]) -> MemoryStore:
    """A store with `system` and a channel in which these things were done."""
    store = MemoryStore()
    await store.append([Batch(channel="system", subject="system", drafts=[])])
    await write(store, steps)
    return store


async def same(ours: Store, theirs: Store) -> None:
    """Everything of one is in the other."""
    extents = await ours.extents()
    assert await theirs.extents() == extents
    for name in extents:
        assert await all_of(theirs, name) == await all_of(ours, name)
        assert await theirs.ids(name) == await ours.ids(name)
        assert {n: (k.seq, k.state, k.holder) for n, k in (await theirs.places(name)).items()} == {
            n: (k.seq, k.state, k.holder) for n, k in (await ours.places(name)).items()
        }
    assert not (await verify(theirs)).faults


class Dying:
    """A store whose process is killed at one of the calls that change something."""

    def __init__(self, store: Store, lives: int) -> None:
        self._store, self._lives = store, lives

    def __getattr__(self, name: str) -> Any:
        if name in ("adopt", "keep", "fence", "erase"):
            self._lives -= 1
            if self._lives < 0:
                raise StoreUnavailable("killed")
        return getattr(self._store, name)


@given(st.lists(STEPS, max_size=8), st.integers(0, 12), st.lists(STEPS, max_size=3))
@settings(max_examples=60, deadline=None)
def test_a_log_moves_whole_whoever_is_killed_meanwhile(
    before: list[tuple[str, Any]], lives: int, between: list[tuple[str, Any]]
) -> None:
    """The first attempt dies at some call, more is written, the second goes on where it was."""

    async def life() -> None:
        source, target = await made(before), MemoryStore()
        try:
            mortal = cast(Store, Dying(source, lives)), staying(cast(Store, Dying(target, lives)))
            await move(*mortal, TO, Progress())
        except StoreUnavailable:
            source._fenced_until_us = 0  # Its time is over.
            await write(source, [(what, value) for what, value in between if what == "append"], "later")
            progress = Progress()
            await move(source, staying(target), TO, progress)
            assert progress.phase == "moved" and progress.done == progress.total
        await same(source, target)
        with pytest.raises(Moved):
            await source.append([Batch(channel="main", subject="s", drafts=[draft("late")])])

    asyncio.run(life())


async def test_what_is_erased_after_it_was_copied_is_erased_in_the_copy() -> None:
    source, target = await made([]), MemoryStore()
    await put(source, draft("a"), draft("b"))
    with pytest.raises(StoreUnavailable):
        await move(cast(Store, Dying(source, 0)), staying(target), TO, Progress())  # It had copied everything.
    assert all(event.body for event in await all_of(target))
    await source.erase("main", 1)
    await put(source, system_draft(ERASED, {"channel": "main", "seqs": [1]}), channel="system")
    await move(source, staying(target), TO, Progress())
    assert [bool(event.body) for event in await all_of(target)] == [False, True]


async def test_what_was_dropped_after_it_was_copied_is_dropped_in_the_copy() -> None:
    source, target = await made([]), MemoryStore()
    await put(source, draft("a"), draft("b"), draft("c"))
    with pytest.raises(StoreUnavailable):
        await move(cast(Store, Dying(source, 0)), staying(target), TO, Progress())
    await source.drop("main", 2)
    await move(source, staying(target), TO, Progress())
    await same(source, target)


async def test_every_id_goes_along_whoever_is_killed_and_whatever_is_dropped_meanwhile() -> None:
    """An id that is left behind is a signal that could be published twice."""
    for lives in range(8):
        source, target = await made([]), MemoryStore()
        for first in range(0, 2500, 500):
            await put(source, *(draft(f"n{n}") for n in range(first, first + 500)))
        await source.drop("main", 2400)
        with suppress(StoreUnavailable):
            await move(source, staying(cast(Store, Dying(target, lives))), TO, Progress())
        source._fenced_until_us = 0
        if not source.moved_to:
            await move(source, staying(target), TO, Progress())
        assert len(await target.ids("main", limit=9999)) == 2500, lives


async def test_a_mover_who_was_too_slow_touches_nothing_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind a fence whose time is over others may have moved the log, and use it."""
    source, target = await made([]), MemoryStore()
    await put(source, draft("a"))
    for module in (moving, fencing):
        monkeypatch.setattr(module, "FENCE_US", 50_000)

    class Slow(Dying):
        def __getattr__(self, name: str) -> Any:
            if name == "places" and ticks_us() < source._fenced_until_us:
                return self._never
            return super().__getattr__(name)

        async def _never(self, channel: str) -> None:
            await asyncio.Event().wait()

    with pytest.raises(Conflict, match="fenced"):
        await move(cast(Store, Slow(source, 99)), staying(target), TO, Progress())
    await asyncio.sleep(0.06)
    await put(source, draft("b"))


async def test_a_url_that_leads_elsewhere_from_here_is_not_gone_to(tmp_path: Path) -> None:
    """An empty store in the place of the log would be a second one."""
    async with MovingStore(f"sqlite:///{tmp_path}/old.db") as store:
        await store.append([Batch(channel=name, subject="system", drafts=[]) for name in ("system", "main")])
        await put(cast(Store, store), draft("a"))
        await store.fence(f"sqlite:///{tmp_path}/empty.db", await store.fence())
        with pytest.raises(StoreUnavailable, match="same place"):
            await store.append([Batch(channel="main", subject="s", drafts=[draft("b")])])


async def test_a_log_is_not_moved_to_where_it_is_nor_to_where_it_came_from() -> None:
    """With nothing left to copy nobody would notice, and the store would send everybody to itself, for ever."""
    store, target = await made([]), MemoryStore()
    with pytest.raises(Conflict, match="there already"):
        await move(store, staying(store), TO, Progress())
    store._fenced_until_us = 0  # Its time is over.
    await put(store, draft("a"))
    await move(store, staying(target), TO, Progress())
    with pytest.raises(Conflict, match="moved away from there"):
        await move(target, staying(store), TO, Progress())
    await put(target, draft("b"))


async def test_another_log_is_never_written_over() -> None:
    source, target = await made([]), await made([])
    await put(source, draft("a"))
    with pytest.raises(Conflict, match="another log"):
        await move(source, staying(target), TO, Progress())
    await put(source, draft("b"))


async def test_what_is_asked_of_a_store_that_moves_is_asked_of_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Appends wait and are stored once, in the new place; an erasure that nobody recorded is done there."""
    old, new = f"sqlite:///{tmp_path}/old.db", f"sqlite:///{tmp_path}/new.db"
    async with MovingStore(old) as store:
        await store.append([Batch(channel=name, subject="system", drafts=[]) for name in ("system", "main")])
        await put(store, draft("a"), draft("b"))
        with pytest.raises(StoreUnavailable):
            await move(cast(Store, Dying(store, 0)), lambda: SqliteStore(tmp_path / "new.db"), new, Progress())
        await store.erase("main", 1)  # After it was copied, and nobody says so in `system`.
        stop = False

        async def publish() -> int:
            sent = 0
            while not stop:
                await put(store, draft(f"n{sent}"))
                sent += 1
            return sent

        publishing = asyncio.create_task(publish())
        await asyncio.sleep(0.05)
        await move(store, lambda: SqliteStore(tmp_path / "new.db"), new, Progress())
        await asyncio.sleep(0.05)
        stop = True
        sent = await publishing
        events = await all_of(store)
        assert [event.id for event in events] == ["a", "b", *(f"n{n}" for n in range(sent))]
        assert not events[0].body and not (await verify(store)).faults and store.url == new
    async with MovingStore(old) as store:
        assert store.url == new, "the next start goes there too"
    monkeypatch.setattr(opening, "SCHEMA_VERSION", 1)
    with pytest.raises(Misconfigured, match="newer Catalyst"):  # Code that knows no fence must not write past it.
        await SqliteStore(tmp_path / "old.db").__aenter__()


async def test_a_server_that_stops_lets_go_of_a_move(tmp_path: Path) -> None:
    """Nothing of it is left running, with stores that are closed: whoever begins it again finds the place free."""
    to = f"sqlite:///{tmp_path}/new.db"
    settings = Settings(store_url="memory:", port=0)
    async with open_node(settings) as node:
        for first in range(0, 4000, 500):
            await put(node.store, *(draft(f"n{n}") for n in range(first, first + 500)))
        progress = node.transfers.begin(to)
        async with asyncio.timeout(10):
            while not progress.done:
                await asyncio.sleep(0)
        with pytest.raises(Conflict, match="moved already"):
            node.transfers.begin(to)
    assert (progress.phase, progress.error) == ("failed", STOPPED)
    async with SqliteStore(tmp_path / "new.db") as store:  # Its lock is free.
        assert sum(extent.last for extent in (await store.extents()).values()) > 0
