"""Breakers around what a process asks of others: the store, the broker, the cache.

Owns: which breaker stands before which question, and what is said when it is open. Laws: a poll and a commit under way
are never kept from the store, so they are how it is found to be back; nothing new is taken while commits fail; what
else is written (places, retention, erasures, fences) keeps nobody from publishing; a broker that is away costs hints
only, a cache that is away is done without; every question has an end.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from catalyst_signals.breakers import Breaker
from catalyst_signals.brokers import Broker
from catalyst_signals.caches import Cache
from catalyst_signals.errors import CatalystError, StoreFull, StoreUnavailable, Unavailable
from catalyst_signals.events import Batch, Event, Extent, Frame, Kept, Known, Part, Refused, Stored
from catalyst_signals.ledger import Note, Noted
from catalyst_signals.publish import Appends
from catalyst_signals.stores import PAGE_BYTES_MAX, Store
from catalyst_signals.wire import SYSTEM_CHANNEL

log = logging.getLogger("catalyst.guarding")
T = TypeVar("T")

LOOK_S = 1.0
NOBODY = "nobody"  # A follower that does not exist.
HINTS_S = 0.5  # A hint that takes longer is slower than half a poll.
CACHE_S = 1.0  # Whatever a back-end's own time-outs are.
STORE_S = 30.0  # Every driver ends a call sooner itself (PostgreSQL's 24 s), unless a thread or a disk hangs.
UPKEEP_S = 300.0  # An erasure in PostgreSQL sweeps the table for up to 240 s; a large drop takes many commits.


class Breakers:
    """All of one process."""

    def __init__(self) -> None:
        self.writes = Breaker("store_writes")
        self.reads = Breaker("store_reads")
        self.upkeep = Breaker("store_upkeep")
        self.broker = Breaker("broker")
        self.cache = Breaker("cache")

    def __iter__(self) -> Any:
        return iter((self.writes, self.reads, self.upkeep, self.broker, self.cache))

    def back(self) -> None:
        """Whatever was asked has come back and said so: the store is asked by everybody again."""
        for breaker in (self.writes, self.reads, self.upkeep):
            _worked(breaker)

    def check_writes(self) -> None:
        """Pass, or raise StoreUnavailable: what would be taken now would only wait."""
        if self.writes.state != "closed":
            raise _away(self.writes)

    async def before_writing(self, look: Callable[[], Awaitable[None]]) -> None:
        """What must be known of the store before it is written to: when it cannot be, nothing is written either.

        Raises:
            Unavailable: as `look`.
        """
        began_s = time.monotonic()
        try:
            await look()
        except Unavailable as error:
            self.writes.failed(str(error), time.monotonic() - began_s)
            raise


def _away(breaker: Breaker) -> StoreUnavailable:
    return StoreUnavailable(
        f"the store has not answered for {breaker.since_s:.1f} s; nothing was taken, try again in a moment",
        retry_after_s=round(max(1.0, breaker.retry_after_s), 1),
    )


async def through(
    breaker: Breaker, ask: Callable[[], Awaitable[T]], *, within_s: float | None = None, always: bool = False
) -> T:
    """What a question is answered; `always` asks whatever the breaker says, and tells it how it went.

    Raises:
        Unavailable: nobody was asked, or there was no answer.
    """
    if not breaker.admit() and not always:
        raise _away(breaker) if breaker.name.startswith("store") else Unavailable(f"the {breaker.name} is left alone")
    began_s = time.monotonic()
    try:
        async with asyncio.timeout(within_s):
            answer = await ask()
    except StoreFull:
        _worked(breaker)
        raise
    except (Unavailable, TimeoutError) as error:
        if breaker.failed(str(error) or repr(error), time.monotonic() - began_s):
            log.warning("it does not answer and is left alone", extra={"part": breaker.name, "reason": breaker.error})
        if isinstance(error, TimeoutError):
            raise _kind(breaker)(f"the {breaker.name} did not answer in time") from error
        raise
    except CatalystError:
        _worked(breaker)
        raise
    except BaseException:
        breaker.let_go()
        raise
    _worked(breaker)
    return answer


def _kind(breaker: Breaker) -> type[Unavailable]:
    return StoreUnavailable if breaker.name.startswith("store") else Unavailable


def _worked(breaker: Breaker) -> None:
    away_s = breaker.since_s
    if breaker.worked():
        log.warning("it answers again", extra={"part": breaker.name, "away_s": round(away_s, 1)})


async def look_for_ever(cache: Cache, broker: Broker, store: Store, upkeep: Breaker) -> None:
    """Ask the cache and the broker now and then, so that how they are is known also while nobody needs them.

    The store only while it is not known to take what `upkeep` stands before: by a place that nobody can move.
    """
    while True:
        await asyncio.sleep(LOOK_S)
        if upkeep.state != "closed":
            with suppress(CatalystError):
                await store.keep(NOBODY, SYSTEM_CHANNEL, 0, was=-1)
        with suppress(Unavailable):
            await cache.get("")
        with suppress(Unavailable):
            await broker.publish([])


class GuardedAppends:
    """Appends of the flusher: a commit whose outcome is unknown is asked again whatever the breaker says."""

    def __init__(self, appends: Appends, breaker: Breaker) -> None:
        self._appends = appends
        self._breaker = breaker

    async def append(self, batches: Sequence[Batch]) -> list[Stored | Refused]:
        """Store.append"""
        return await through(self._breaker, lambda: self._appends.append(batches), within_s=STORE_S, always=True)


class GuardedStore:
    """A store behind three breakers: for appends, for what is read, and for what else is written."""

    def __init__(self, store: Store, breakers: Breakers) -> None:
        self._store = store
        self._writes, self._reads, self._upkeep = breakers.writes, breakers.reads, breakers.upkeep

    def __getattr__(self, name: str) -> Any:
        """What only some stores have: `durability`, `url`, `lock_held_s`."""
        return getattr(self._store, name)

    @property
    def fault(self) -> CatalystError | None:
        """Store.fault"""
        return self._store.fault

    @property
    def moved_to(self) -> str:
        """Store.moved_to"""
        return self._store.moved_to

    async def append(self, batches: Sequence[Batch]) -> list[Stored | Refused]:
        """Store.append"""
        return await through(self._writes, lambda: self._store.append(batches), within_s=STORE_S, always=True)

    async def _read(self, ask: Callable[[], Awaitable[T]]) -> T:
        return await through(self._reads, ask, within_s=STORE_S)

    async def _keep_up(self, ask: Callable[[], Awaitable[T]], within_s: float | None = None) -> T:
        return await through(self._upkeep, ask, within_s=within_s or STORE_S)

    async def read(self, channel: str, after: int, limit: int, bytes_max: int = PAGE_BYTES_MAX) -> list[Event]:
        """Store.read"""
        return await self._read(lambda: self._store.read(channel, after, limit, bytes_max))

    async def extents(self, channels: Iterable[str] | None = None) -> dict[str, Extent]:
        """Store.extents: the poll's question."""
        return await through(self._reads, lambda: self._store.extents(channels), within_s=STORE_S, always=True)

    async def find(self, channel: str, ids: Sequence[str]) -> dict[str, Known]:
        """Store.find"""
        return await self._read(lambda: self._store.find(channel, ids))

    async def ids(self, channel: str, after: str = "", limit: int = 1000) -> list[tuple[str, Known]]:
        """Store.ids"""
        return await self._read(lambda: self._store.ids(channel, after, limit))

    async def kept(self, name: str, channel: str) -> Kept:
        """Store.kept"""
        return await self._read(lambda: self._store.kept(name, channel))

    async def places(self, channel: str) -> dict[str, Kept]:
        """Store.places"""
        return await self._read(lambda: self._store.places(channel))

    async def keep(self, name: str, channel: str, seq: int, state: bytes = b"", **how: Any) -> bool:
        """Store.keep"""
        return await self._keep_up(lambda: self._store.keep(name, channel, seq, state, **how))

    async def note(self, notes: Sequence[Note]) -> None:
        """Store.note"""
        await self._keep_up(lambda: self._store.note(notes))

    async def noted(self, channel: str, seq: int, since_us: int = 0, subject: str | None = None) -> list[Noted]:
        """Store.noted"""
        return await self._read(lambda: self._store.noted(channel, seq, since_us, subject))

    async def forget(self, before_us: int) -> None:
        """Store.forget"""
        await self._keep_up(lambda: self._store.forget(before_us), UPKEEP_S)

    async def drop(self, channel: str, through: int) -> Extent:
        """Store.drop"""
        return await self._keep_up(lambda: self._store.drop(channel, through), UPKEEP_S)

    async def begin_epoch(self, channel: str, first: int, reason: str) -> Extent:
        """Store.begin_epoch"""
        return await self._keep_up(lambda: self._store.begin_epoch(channel, first, reason))

    async def erase(self, channel: str, seq: int) -> None:
        """Store.erase: asked whatever the breaker says, since what an earlier one left must not keep this one back."""
        await through(self._upkeep, lambda: self._store.erase(channel, seq), within_s=UPKEEP_S, always=True)

    async def adopt(self, part: Part) -> None:
        """Store.adopt"""
        await self._keep_up(lambda: self._store.adopt(part))

    async def fence(self, moved_to: str = "", ticket: int = 0) -> int:
        """Store.fence"""
        return await self._keep_up(lambda: self._store.fence(moved_to, ticket))


class GuardedBroker:
    """A broker that is left alone while it does not take hints; listening has its own pauses (follow.py)."""

    def __init__(self, broker: Broker, breaker: Breaker) -> None:
        self._broker = broker
        self._breaker = breaker

    async def publish(self, frames: Sequence[Frame]) -> None:
        """Broker.publish"""
        await through(self._breaker, lambda: self._broker.publish(frames), within_s=HINTS_S)

    def listen(self) -> AsyncGenerator[Frame]:
        """Broker.listen"""
        return self._broker.listen()


class GuardedCache:
    """A cache that is done without while it does not answer."""

    def __init__(self, cache: Cache, breaker: Breaker) -> None:
        self._cache = cache
        self._breaker = breaker

    async def get(self, key: str) -> bytes | None:
        """Cache.get"""
        return await through(self._breaker, lambda: self._cache.get(key), within_s=CACHE_S)

    async def get_many(self, keys: Sequence[str]) -> dict[str, bytes]:
        """Cache.get_many"""
        return await through(self._breaker, lambda: self._cache.get_many(keys), within_s=CACHE_S)

    async def set(self, key: str, value: bytes, ttl_s: float) -> None:
        """Cache.set"""
        await through(self._breaker, lambda: self._cache.set(key, value, ttl_s), within_s=CACHE_S)

    async def delete(self, key: str) -> None:
        """Cache.delete"""
        await through(self._breaker, lambda: self._cache.delete(key), within_s=CACHE_S)

    async def take(self, key: str, rate: float, burst: float, count: float = 1) -> float:
        """Cache.take"""
        return await through(self._breaker, lambda: self._cache.take(key, rate, burst, count), within_s=CACHE_S)
