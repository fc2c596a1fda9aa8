"""The cache of one process. Owns: its bound; what was used least lately goes first."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Self

from catalyst_signals.caches import VALUE_BYTES_MAX, gcra
from catalyst_signals.urls import split

BYTES_MAX = 16 << 20
COUNTERS_MAX = 100_000  # A flood of addresses costs about 20 MB; who is forgotten begins with a full burst.


class MemoryCache:
    """Two dicts. Every method is one step of the event loop, so nothing can come between."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._values: OrderedDict[str, tuple[float, bytes]] = OrderedDict()
        self._bytes = 0
        self._due: OrderedDict[str, float] = OrderedDict()

    @classmethod
    def from_url(cls, url: str) -> Self:
        """`memory:`"""
        split(url)
        return cls()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._values.clear()

    async def get(self, key: str) -> bytes | None:
        """Cache.get"""
        until_s, value = self._values.get(key, (0.0, b""))
        if until_s <= self._clock():
            self._forget(key)
            return None
        self._values.move_to_end(key)
        return value

    async def get_many(self, keys: Sequence[str]) -> dict[str, bytes]:
        """Cache.get_many"""
        found = {key: await self.get(key) for key in keys}
        return {key: value for key, value in found.items() if value is not None}

    async def set(self, key: str, value: bytes, ttl_s: float) -> None:
        """Cache.set"""
        self._forget(key)
        if len(value) > VALUE_BYTES_MAX:
            return
        self._values[key] = (self._clock() + ttl_s, value)
        self._bytes += len(value)
        while self._bytes > BYTES_MAX:
            self._forget(next(iter(self._values)))

    async def delete(self, key: str) -> None:
        """Cache.delete"""
        self._forget(key)

    async def take(self, key: str, rate: float, burst: float, count: float = 1) -> float:
        """Cache.take"""
        return self.take_now(key, rate, burst, count)

    def take_now(self, key: str, rate: float, burst: float, count: float = 1) -> float:
        """Cache.take, without waiting for anyone: for what is counted by each process, or while the cache is away."""
        self._due[key], wait_s = gcra(self._due.pop(key, 0.0), self._clock(), rate, burst, count)
        while len(self._due) > COUNTERS_MAX:
            self._due.popitem(last=False)
        return wait_s

    def _forget(self, key: str) -> None:
        _, value = self._values.pop(key, (0.0, b""))
        self._bytes -= len(value)
