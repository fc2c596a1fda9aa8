"""The Cache port: what may be lost at any moment, shared by all who name the same URL. Back-ends beside this file.

Law: nobody relies on what is in it. A cache that is away or empty costs time, never a signal and never a right.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

CACHES = {
    "memory": "catalyst_signals.caches.memory:MemoryCache",
    "redis": "catalyst_signals.caches.redis:RedisCache",
    "rediss": "catalyst_signals.caches.redis:RedisCache",
    "redis+sentinel": "catalyst_signals.caches.redis:RedisCache",
    "redis+cluster": "catalyst_signals.caches.redis:RedisCache",
    "memcached": "catalyst_signals.caches.memcached:MemcachedCache",
}
"""Scheme of `cache_url` -> back-end."""

VALUE_BYTES_MAX = 1_000_000  # Memcached's own limit is 1 MiB with key and header; so every back-end takes the same.
EPSILON_S = 0.001  # Not worth waiting for; sums of fractions at today's date are off by less.


class Cache(Protocol):
    """Every back-end is an async context manager. A key is any text."""

    async def get(self, key: str) -> bytes | None:
        """What was set, unless its time is over or it was let go.

        Raises:
            Unavailable: the cache did not answer; go on without it.
        """

    async def get_many(self, keys: Sequence[str]) -> dict[str, bytes]:
        """Those of these keys that are there, in one round trip.

        Raises:
            Unavailable: as `get`.
        """

    async def set(self, key: str, value: bytes, ttl_s: float) -> None:
        """Keep a value for `ttl_s` seconds; for less if there is no room, not at all if it is beyond VALUE_BYTES_MAX.

        Raises:
            Unavailable: as `get`.
        """

    async def delete(self, key: str) -> None:
        """It is gone; one that was not there is no error.

        Raises:
            Unavailable: it may still be there.
        """

    async def take(self, key: str, rate: float, burst: float, count: float = 1) -> float:
        """Take `count` of what comes at `rate` a second, of which up to `burst` wait (GCRA); 0, or seconds to wait.

        Atomic over all processes. Nothing is taken when the answer is not 0. More than `burst` at once is taken when
        all is there, and paid for afterwards.

        Raises:
            Unavailable: nobody counted; the caller counts by itself.
        """


def gcra(due_s: float, now_s: float, rate: float, burst: float, count: float = 1) -> tuple[float, float]:
    """The generic cell rate algorithm: (when all of it is there again, seconds to wait); `due_s` is that time before.

    The law of `take` for every back-end.
    """
    due_s = max(due_s, now_s)
    wait_s = due_s + min(count, burst) / rate - now_s - burst / rate
    if wait_s > EPSILON_S:
        return due_s, wait_s
    return due_s + count / rate, 0.0
