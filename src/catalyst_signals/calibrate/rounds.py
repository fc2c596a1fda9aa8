"""How often something happens a second while a load goes on: three rounds, the median, and how far they lie apart.

Owns: the clock of the rounds. Knows nothing of what is counted.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from statistics import median
from typing import Any, NamedTuple, Protocol

ROUNDS = 3
WARM_ROUNDS = 0.5  # Before the first.
LOOK_S = 0.1
PATIENCE_S = 3.0  # A round is longer by up to this where nothing was done in it: the machine may be busy.

Told = Callable[[float, float], None]
"""Hears which part is done, from 0 to 1, and how many were counted."""


class Load(Protocol):
    """Something that is done again and again."""

    @property
    def done(self) -> int:
        """How often it was done until now."""

    async def go_on(self) -> None:
        """For ever; cancelled from outside."""


class Reading(NamedTuple):
    """How many there were until now, and what the clock says that they are divided by."""

    counted: float
    clock_s: float


@dataclass(frozen=True, slots=True)
class Rate:
    """How many a second: the median, and the slowest and the fastest round."""

    per_s: float
    low: float
    high: float


async def rate_of(load: Coroutine[Any, Any, None], read: Callable[[], Reading], round_s: float, told: Told) -> Rate:
    """What `read` counts while `load`, which goes on for ever, is under way; it is cancelled at the end."""
    task, first = asyncio.ensure_future(load), read().counted
    began_s, whole_s, rates = time.monotonic(), round_s * (WARM_ROUNDS + ROUNDS), []

    def look() -> None:
        told((time.monotonic() - began_s) / whole_s, read().counted - first)

    try:
        await _until(began_s + WARM_ROUNDS * round_s, task, look)
        for _ in range(ROUNDS):
            before, ends_s = read(), time.monotonic() + round_s
            await _until(ends_s, task, look)
            while (after := read()).counted == before.counted and time.monotonic() < ends_s + PATIENCE_S:
                await _until(time.monotonic() + LOOK_S, task, look)
            rates.append((after.counted - before.counted) / max(after.clock_s - before.clock_s, 1e-9))
    finally:
        task.cancel()
        await asyncio.wait([task])
    return Rate(median(rates), min(rates), max(rates))


async def _until(ends_s: float, task: asyncio.Task[None], look: Callable[[], None]) -> None:
    while (left_s := ends_s - time.monotonic()) > 0:
        if (await asyncio.wait([task], timeout=min(left_s, LOOK_S)))[0]:
            return task.result()
        look()
    return None
