"""How often somebody may do something: a limit a key or a user, counted over every process that shares the cache.

Owns: the counting and the refusal. Knows nothing of what is limited nor of HTTP.
Laws:
- GCRA: `rate` a second on average, a second's worth of it at once unless said otherwise; a rate of 0 limits nothing.
- Nobody waits for the cache: what is taken from the shared bucket comes in portions of a tenth of a second's worth,
  spent here by one look-up and one subtraction. While one is being asked for a process runs at most one portion ahead,
  and the next one pays for that. So the sum over all processes is what the bucket gives, and two portions a process.
- While the cache is away each process counts by itself with its part of the rate, which is that of the processes on
  this port: never nothing, and never everything.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from catalyst_signals.caches import Cache
from catalyst_signals.caches.memory import MemoryCache
from catalyst_signals.errors import RateLimited, Unavailable
from catalyst_signals.vital import vital

PORTION_S = 0.1
KEYS_MAX = 10_000  # Whoever is forgotten asks the bucket again.


class _Held:
    """What this process has of somebody's bucket."""

    __slots__ = ("asking", "left", "until_s")

    def __init__(self) -> None:
        self.left = 0.0  # Below 0: spent ahead.
        self.until_s = 0.0  # Before this the bucket has nothing.
        self.asking: asyncio.Task[None] | None = None


class Rate:
    """One limit. `what` is what is counted, as it stands in the refusal."""

    def __init__(
        self, what: str, rate: float, *, setting: str | None = None, burst: float | None = None,
        shared: Cache | None = None, processes: int = 1, clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        """`shared` is None where there is no cache but this process's own; it is one of `processes` on its port."""
        self.rate = rate
        self._what = what
        self._setting = setting
        self._burst = burst if burst is not None else max(1.0, rate)
        self._portion = max(1.0, rate * PORTION_S)
        self._shared = shared
        self._processes = processes
        self._clock = clock
        self._alone = MemoryCache(clock)
        self._held: dict[str, _Held] = {}

    def spend(self, key: str, count: float = 1) -> None:
        """Take `count` of what `key` may do now.

        Raises:
            RateLimited: it is used up; says when to come again. Nothing was taken.
        """
        if not self.rate:
            return
        held = self._held.get(key)
        if held is not None and held.left >= count:
            held.left -= count
            return
        wait_s = self._more(key, held or self._remember(key), count)
        if wait_s > 0:
            raise self._refusal(wait_s)

    async def spend_many(self, key: str, count: float) -> None:
        """As `spend`, of more than a portion: waits until the shared bucket has answered.

        Raises:
            RateLimited: as `spend`.
        """
        if self.rate and self._shared is not None:
            held = self._held.get(key) or self._remember(key)
            if held.left < count and held.until_s <= self._clock():
                await asyncio.shield(self._asked(key, held, count))
        self.spend(key, count)

    def owe(self, key: str, count: float) -> None:
        """So much more was used than was asked for; the next one who spends waits until it is paid."""
        if self.rate and count > 0:
            held = self._held.get(key) or self._remember(key)
            held.left -= count

    def give_back(self, key: str, count: float) -> None:
        """Of what was taken `count` was not used after all."""
        if self.rate and count > 0:
            held = self._held.get(key) or self._remember(key)
            held.left = min(self._burst, held.left + count)

    def _remember(self, key: str) -> _Held:
        if len(self._held) >= KEYS_MAX:
            del self._held[next(iter(self._held))]
        self._held[key] = held = _Held()
        return held

    def _more(self, key: str, held: _Held, count: float) -> float:
        """Spend what has to be asked for first; 0, or the seconds until it is there."""
        if self._shared is None:
            return self._take_alone(key, held, count)
        now_s = self._clock()
        if now_s < held.until_s:
            return held.until_s - now_s
        self._asked(key, held, count)
        if held.left - count < -self._portion:
            return PORTION_S
        held.left -= count
        return 0.0

    def _take_alone(self, key: str, held: _Held, count: float) -> float:
        """A portion if there is one, else exactly what is missing."""
        missing = count - held.left
        for some in {max(self._portion, missing): None, missing: None}:
            wait_s = self._alone.take_now(key, self.rate, self._burst, some)
            if not wait_s:
                held.left += some - count
                return 0.0
        return wait_s

    def _asked(self, key: str, held: _Held, count: float) -> asyncio.Task[None]:
        """The question that is under way, or a new one."""
        if held.asking is None:
            held.asking = vital(self._ask(key, held, count))
        return held.asking

    async def _ask(self, key: str, held: _Held, count: float) -> None:
        """A portion, and what was spent ahead."""
        assert self._shared is not None
        some = max(self._portion, count) - held.left
        try:
            wait_s = await self._shared.take(f"{self._what}:{key}", self.rate, self._burst, some)
        except Unavailable:
            part = 1 / self._processes
            wait_s = self._alone.take_now(key, self.rate * part, max(1.0, self._burst * part), some)
        finally:
            held.asking = None
        if wait_s:
            held.until_s = self._clock() + wait_s
        else:
            held.left += some

    def _refusal(self, wait_s: float) -> RateLimited:
        return RateLimited(
            f"more than {self.rate:g} {self._what} a second; wait `retry_after_s` and send it again",
            field=self._setting, allowed=self.rate, retry_after_s=round(wait_s, 3),
        )  # fmt: skip
