"""The store of a process whose log may move to another store while it runs.

Owns: which store that is at present. Laws: what was asked of a store whose log has moved is asked of the new one, with
the same ids, so nobody notices but by a moment's wait; what was erased here is erased there too.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, suppress
from typing import Any, Self, TypeVar

from catalyst_signals.errors import (
    CatalystError,
    Conflict,
    Fenced,
    Moved,
    NotFound,
    PositionTooOld,
    StoreUnavailable,
)
from catalyst_signals.events import Batch, Event, Extent, Kept, Known, Part, Refused, Stored
from catalyst_signals.ledger import Note, Noted
from catalyst_signals.stores import PAGE_BYTES_MAX, STORES, Store
from catalyst_signals.urls import open_backend, without_password

log = logging.getLogger("catalyst")
T = TypeVar("T")

AGAIN_S = 0.02  # While the store is fenced, which is for as long as it takes to copy a few hundred events.


class MovingStore:
    """Forwards to the store of `url`, and to where its log is, once it has moved."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._stack = AsyncExitStack()
        self._store: Store
        self._going: asyncio.Task[None] | None = None
        self._erased: list[tuple[str, int]] = []

    async def __aenter__(self) -> Self:
        await self._stack.__aenter__()
        try:
            await self._open(self.url)
            await self.extents([])
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._stack.aclose()

    async def _open(self, url: str) -> None:
        self._store = await self._stack.enter_async_context(open_backend(url, STORES, setting="store_url"))
        self.url = url

    async def _go(self, left: Store, url: str) -> None:
        """On to where the log is; of several who find that out at once, and may be cancelled, one goes."""
        if self._store is left:
            if self._going is None or self._going.done():
                self._going = asyncio.create_task(self._gone(left, url))
            await asyncio.shield(self._going)

    async def _gone(self, left: Store, url: str) -> None:
        """Raises StoreUnavailable if that cannot be; then the next who asks begins again."""
        shown = without_password(url)
        async with AsyncExitStack() as opened:
            try:
                store: Store = await opened.enter_async_context(open_backend(url, STORES, setting="store_url"))
                await _check_is_same(left, store)
                if not store.moved_to:  # Else it goes on from there.
                    await self._erase_again(store)
            except Exception as error:
                raise StoreUnavailable(f"the log is in {shown}, and that cannot be used: {error}") from error
            self._stack.push_async_exit(opened.pop_all())
        self._store, self.url = store, url
        log.warning(
            "the log is in another store now; set CATALYST_STORE_URL to it before the next start",
            extra={"store_url": shown},
        )

    async def _erase_again(self, store: Store) -> None:
        """What was erased here after it was copied; an event that is gone there needs nothing."""
        while self._erased:
            channel, seq = self._erased[-1]
            with suppress(NotFound, PositionTooOld):
                events = await store.read(channel, seq - 1, 1)
                if events and events[0].seq == seq and events[0].body:
                    await store.erase(channel, seq)
            self._erased.remove((channel, seq))

    async def _ask(self, ask: Callable[[Store], Awaitable[T]]) -> T:
        while True:
            store = self._store
            try:
                return await ask(store)
            except Moved as moved:
                await self._go(store, moved.to)
            except Fenced:
                await asyncio.sleep(AGAIN_S)

    @property
    def durability(self) -> str:
        """What an acknowledgement of the present store means."""
        return str(getattr(self._store, "durability", ""))

    @property
    def lock_held_s(self) -> Sequence[float]:
        """How long the newest appends held their channels locked, where the present store keeps that."""
        held_s: Sequence[float] = getattr(self._store, "lock_held_s", ())
        return held_s

    @property
    def replica_lag_s(self) -> float | None:
        """For how long the replica of the present store has lacked something, where there is one."""
        lag_s: float | None = getattr(self._store, "replica_lag_s", None)
        return lag_s

    @property
    def fault(self) -> CatalystError | None:
        """Store.fault"""
        return self._store.fault

    @property
    def moved_to(self) -> str:
        """Store.moved_to: this one goes along."""
        return ""

    async def append(self, batches: Sequence[Batch]) -> list[Stored | Refused]:
        """Store.append"""
        return await self._ask(lambda store: store.append(batches))

    async def read(self, channel: str, after: int, limit: int, bytes_max: int = PAGE_BYTES_MAX) -> list[Event]:
        """Store.read"""
        return await self._store.read(channel, after, limit, bytes_max)

    async def extents(self, channels: Iterable[str] | None = None) -> dict[str, Extent]:
        """Store.extents: by the poll that calls it every process learns that the log has moved."""
        while True:
            store = self._store
            extents = await store.extents(channels)
            if not store.moved_to:
                return extents
            await self._go(store, store.moved_to)

    async def find(self, channel: str, ids: Sequence[str]) -> dict[str, Known]:
        """Store.find"""
        return await self._store.find(channel, ids)

    async def ids(self, channel: str, after: str = "", limit: int = 1000) -> list[tuple[str, Known]]:
        """Store.ids"""
        return await self._store.ids(channel, after, limit)

    async def kept(self, name: str, channel: str) -> Kept:
        """Store.kept"""
        return await self._store.kept(name, channel)

    async def places(self, channel: str) -> dict[str, Kept]:
        """Store.places"""
        return await self._store.places(channel)

    async def keep(self, name: str, channel: str, seq: int, state: bytes = b"", **how: Any) -> bool:
        """Store.keep"""
        return await self._ask(lambda store: store.keep(name, channel, seq, state, **how))

    async def note(self, notes: Sequence[Note]) -> None:
        """Store.note: the ledger begins anew in the store that the log moved to."""
        await self._ask(lambda store: store.note(notes))

    async def noted(self, channel: str, seq: int, since_us: int = 0, subject: str | None = None) -> list[Noted]:
        """Store.noted"""
        return await self._store.noted(channel, seq, since_us, subject)

    async def forget(self, before_us: int) -> None:
        """Store.forget"""
        await self._ask(lambda store: store.forget(before_us))

    async def drop(self, channel: str, through: int) -> Extent:
        """Store.drop"""
        return await self._ask(lambda store: store.drop(channel, through))

    async def begin_epoch(self, channel: str, first: int, reason: str) -> Extent:
        """Store.begin_epoch"""
        return await self._ask(lambda store: store.begin_epoch(channel, first, reason))

    async def erase(self, channel: str, seq: int) -> None:
        """Store.erase"""
        self._erased.append((channel, seq))
        await self._ask(lambda store: store.erase(channel, seq))

    async def adopt(self, part: Part) -> None:
        """Store.adopt"""
        await self._store.adopt(part)

    async def fence(self, moved_to: str = "", ticket: int = 0) -> int:
        """Store.fence"""
        return await self._store.fence(moved_to, ticket)


async def _check_is_same(left: Store, store: Store) -> None:
    """Pass, or raise Conflict: what is under that URL here is not the log that left, and would begin a second one."""
    there = await store.extents()
    for name, extent in (await left.extents()).items():
        new = there.get(name)
        if new is None or new.last < extent.last or new.epochs[: len(extent.epochs)] != extent.epochs:
            raise Conflict(f"its channel `{name}` is not the one that was moved; is the URL the same place from here?")
