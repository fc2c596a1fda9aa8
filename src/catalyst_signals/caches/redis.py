"""The cache on Redis: one server, a primary behind Sentinels, or a Cluster (redis_urls.py says how each is named).

Owns: the script that takes. Law: every call touches one key, or keys that the client sorts by slot; the time is that
of Redis, so the clocks of those who ask do not matter.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any, Self

from redis.exceptions import NoScriptError

from catalyst_signals.caches import EPSILON_S, VALUE_BYTES_MAX
from catalyst_signals.errors import Unavailable
from catalyst_signals.redis_urls import FAILURES, Client, Place, connected, place_of

log = logging.getLogger("catalyst.caches")

AT_ONCE_MAX = 32  # Calls under way, each on a connection of its own; the others wait for their turn.

TAKE = f"""
local rate, burst, count = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1000000
local due = math.max(tonumber(redis.call('GET', KEYS[1]) or 0) or 0, now)
local wait = due + math.min(count, burst) / rate - now - burst / rate
if wait > {EPSILON_S} then return string.format('%.9f', wait) end
due = due + count / rate
redis.call('SET', KEYS[1], string.format('%.17g', due), 'PX', math.ceil((due - now) * 1000) + 1)
return '0'
"""
"""`gcra` of the port. Of a counter that is not used nothing is left once all of it is there again."""

_SHA = hashlib.sha1(TAKE.encode(), usedforsecurity=False).hexdigest()


class RedisCache:
    """Everybody who names the same Redis and `prefix` shares it."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._stack = AsyncExitStack()
        self._room = asyncio.Semaphore(AT_ONCE_MAX)
        self._client: Client = None

    @classmethod
    def from_url(cls, url: str) -> Self:
        """`redis://host/0`, `rediss://`, `redis+sentinel://host,host/name`, `redis+cluster://host,host`"""
        return cls(place_of(url, setting="cache_url"))

    async def __aenter__(self) -> Self:
        self._client = await self._stack.enter_async_context(connected(self._place, retries=1))
        try:
            await self.get("")
        except Unavailable as away:  # The server starts all the same: nobody relies on a cache.
            log.warning("the cache is away", extra={"reason": str(away)})
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._stack.aclose()

    async def get(self, key: str) -> bytes | None:
        """Cache.get"""
        value: bytes | None = await self._ask(self._client.get, self._named(key))
        return value

    async def get_many(self, keys: Sequence[str]) -> dict[str, bytes]:
        """Cache.get_many"""
        if not keys:
            return {}
        mget = self._client.mget_nonatomic if self._place.cluster else self._client.mget
        values = await self._ask(mget, [self._named(key) for key in keys])
        return {key: value for key, value in zip(keys, values, strict=True) if value is not None}

    async def set(self, key: str, value: bytes, ttl_s: float) -> None:
        """Cache.set"""
        if len(value) > VALUE_BYTES_MAX:
            await self.delete(key)
        else:
            await self._ask(self._client.set, self._named(key), value, px=max(1, int(ttl_s * 1000)))

    async def delete(self, key: str) -> None:
        """Cache.delete"""
        await self._ask(self._client.delete, self._named(key))

    async def take(self, key: str, rate: float, burst: float, count: float = 1) -> float:
        """Cache.take"""
        return float(await self._ask(self._take, self._named(f"take:{key}"), str(rate), str(burst), str(count)))

    async def _take(self, *words: str) -> Any:
        try:
            return await self._client.evalsha(_SHA, 1, *words)
        except NoScriptError:  # The first time, and after every restart; this keeps it too.
            return await self._client.eval(TAKE, 1, *words)

    def _named(self, key: str) -> str:
        return f"{self._place.prefix}:{key}"

    async def _ask(self, call: Callable[..., Awaitable[Any]], *words: Any, **options: Any) -> Any:
        try:
            async with asyncio.timeout(self._place.call_s), self._room:
                return await call(*words, **options)
        except FAILURES as error:
            raise Unavailable(f"the cache at {self._place.shown} does not answer: {error!r}") from error
