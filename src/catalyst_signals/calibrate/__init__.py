"""Measuring what this machine does: each part by itself, a whole server in a process of its own, real sockets.

Owns: what is measured, in what order, and for how long. The loads: loads.py; the rounds: rounds.py.
Laws: no log that is there is touched, nor a broker's channel that others hear; it ends by itself, and nothing is left.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from catalyst_signals.advisor.capacity import FILTERS
from catalyst_signals.advisor.tables import Capacity, Measured
from catalyst_signals.brokers import BROKERS
from catalyst_signals.calibrate.loads import (
    COMMIT_DRAFTS,
    HINTS,
    IN_FLIGHT,
    SUBSCRIBE,
    Hinting,
    Judging,
    Publishing,
    Reaching,
    Storing,
    aside,
)
from catalyst_signals.calibrate.machine import machine
from catalyst_signals.calibrate.rounds import PATIENCE_S, ROUNDS, WARM_ROUNDS, Load, Rate, Reading, rate_of
from catalyst_signals.calibrate.serving import Server, serving
from catalyst_signals.calibrate.sockets import Socket
from catalyst_signals.errors import Misconfigured, Unavailable, Unsupported
from catalyst_signals.stores import SCRATCHES, STORES
from catalyst_signals.urls import open_backend, without_password

SECONDS_MIN, SECONDS_MAX = 3.0, 120.0
BESIDE_S = 3.5  # Starting and stopping the server, connecting, making filters.
ROUND_S_MIN = 0.1
LATE_S = 30.0  # Beyond the time given: then something hangs.
SUBSCRIBERS, FIRST_SUBSCRIBERS, TOGETHER = 500, 20, 50
SIGNALS_PER_S = 200
SPARE_FILES = 64
SETTLE_S = 0.2
ACCEPTED, DELIVERED = b'"accepted"', b'"signal.published"'
NOBODY_ELSE = ("memory", "unix")

Progress = Callable[[str, str, float, float], None]
"""Hears what is measured, in what it counts, which part of it is done, and how many were counted."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """What was measured; `rates` has the slowest and fastest round of each, `load` the load average before."""

    capacity: Capacity
    rates: Mapping[str, Rate]
    load: float


async def calibrate(store_url: str, broker_url: str | None, seconds: float, progress: Progress) -> Calibration:
    """Measure it all, within about so many seconds.

    Raises:
        Unsupported: this system does not say what a process uses.
        Misconfigured: the store or the broker cannot be measured; says why.
        Unavailable: a part went away, or all of it hangs.
    """
    if sys.platform != "linux":
        raise Unsupported("only Linux says how much processor time a process used; measure on the machine that serves")
    _check(store_url, broker_url)
    load = os.getloadavg()[0]
    run = _Run(store_url, broker_url, seconds, progress)
    try:
        async with asyncio.timeout(seconds + LATE_S):
            return Calibration(await run.all(), run.rates, load)
    except TimeoutError:
        raise Unavailable(f"it hangs: not done {LATE_S:.0f} s after its time") from None


def _check(store_url: str, broker_url: str | None) -> None:
    """Before anything is measured, what can be said of the URLs without asking anybody."""
    scheme = store_url.partition(":")[0]
    if scheme in STORES and scheme not in SCRATCHES:
        raise Misconfigured(
            f"a {scheme}: store cannot be measured", field="store_url", got=scheme, allowed=sorted(SCRATCHES)
        )
    if broker_url is None:
        return
    open_backend(broker_url, BROKERS, setting="broker_url")
    scheme = broker_url.partition(":")[0]
    if scheme in NOBODY_ELSE:
        allowed = sorted(set(BROKERS) - set(NOBODY_ELSE))
        raise Misconfigured(f"{scheme}: has no network to measure", field="broker_url", got=scheme, allowed=allowed)


class _Run:
    """One calibration."""

    def __init__(self, store_url: str, broker_url: str | None, seconds: float, progress: Progress) -> None:
        self._store_url, self._broker_url, self._progress = store_url, broker_url, progress
        measures = 4 + (broker_url is not None)
        self._round_s = max(ROUND_S_MIN, (seconds - BESIDE_S) / measures / (ROUNDS + WARM_ROUNDS))
        self.rates: dict[str, Rate] = {}

    async def all(self) -> Capacity:
        """First what may not be there, so that nobody waits to be told."""
        broker = await self._broker(self._broker_url) if self._broker_url is not None else None
        publish, fanout, connection_bytes = await self._server()
        store, signal_bytes = await self._store()
        match = await self._match()
        return Capacity(
            machine=machine(), store_url=without_password(self._store_url),
            broker_url=without_password(self._broker_url or "memory:"),
            publish=publish, fanout=fanout, match=match, store=store, broker=broker,
            connection_bytes=connection_bytes, signal_bytes=signal_bytes,
        )  # fmt: skip

    async def _rate(self, what: str, unit: str, load: Load, clock: Callable[[], float] = time.perf_counter) -> Rate:
        def told(part: float, counted: float) -> None:
            self._progress(f"measuring {what}", unit, part, counted)

        rate = await rate_of(load.go_on(), lambda: Reading(load.done, clock()), self._round_s, told)
        if rate.low <= 0:
            raise Unavailable(f"{what}: nothing was done within {PATIENCE_S:.0f} s; is it there?")
        self.rates[what] = rate
        return rate

    def _measured(self, rate: Rate, how: str) -> Measured:
        spread = f"median of {ROUNDS} rounds of {self._round_s:.1f} s, {rate.low:,.0f} to {rate.high:,.0f}"
        return Measured(per_s=round(rate.per_s), how=f"{how}; {spread}")

    async def _store(self) -> tuple[Measured, int]:
        async with open_backend(self._store_url, SCRATCHES, setting="store_url") as scratch:
            async with open_backend(scratch.url, STORES, setting="store_url") as store:
                empty, load = await scratch.size_bytes(), Storing(store)
                rate = await self._rate("store", "signals", load)
            grown = await scratch.size_bytes() - empty  # Closed: nothing stands in a journal only.
        how = f"the store alone, each commit of {COMMIT_DRAFTS} signals on the disk"
        return self._measured(rate, how), max(1, round(grown / load.done))

    async def _match(self) -> Measured:
        self._progress("making filters", "", 0, 0)
        load = Judging()
        await load.fill()
        rate = await self._rate("match", "filters", load, time.thread_time)
        how = f"{FILTERS:,} filters of symbols, actions and confidence, through the index, by processor time"
        return self._measured(rate, how)

    async def _broker(self, url: str) -> Measured:
        url = aside(url)
        async with (
            open_backend(url, BROKERS, setting="broker_url") as teller,
            open_backend(url, BROKERS, setting="broker_url") as hearer,
        ):
            load = Hinting(teller, hearer)
            rate = await self._rate("broker", "hints", load)
        return self._measured(
            rate, f"hints heard by another connection, {HINTS} of a commit at once, bundled as they come"
        )

    async def _server(self) -> tuple[Measured, Measured, int]:
        """Memory first, while the server is fresh: what a load has used and given back would hide it."""
        self._progress("starting the server", "", 0, 0)
        async with (
            open_backend(self._store_url, SCRATCHES, setting="store_url") as scratch,
            serving(scratch.url) as server,
        ):
            try:
                connection_bytes = await self._memory(server)
                return await self._publish(server), await self._fanout(server), connection_bytes
            except OSError as broken:
                raise Unavailable(f"the server that was measured went away: {broken}") from broken

    async def _memory(self, server: Server) -> int:
        async with _subscribers(server, FIRST_SUBSCRIBERS):  # What the first ones load is not theirs.
            await asyncio.sleep(SETTLE_S)
            before = server.rss_bytes()
            count = _subscriber_count()
            async with _subscribers(server, count):
                await asyncio.sleep(SETTLE_S)
                return max(1, round((server.rss_bytes() - before) / count))

    async def _publish(self, server: Server) -> Measured:
        async with _sockets(server, 1, ACCEPTED) as (line,):
            load = Publishing(line)
            rate = await self._rate("publish", "signals", load)
        how = f"acknowledged after the commit, through one WebSocket with {IN_FLIGHT} under way"
        return self._measured(rate, how)

    async def _fanout(self, server: Server) -> Measured:
        async with (
            _subscribers(server, _subscriber_count()) as subscribers,
            _sockets(server, 1, ACCEPTED) as (publisher,),
        ):
            load = Reaching(publisher, subscribers, SIGNALS_PER_S)
            rate = await self._rate("fanout", "deliveries", load, server.cpu_s)
        how = (
            f"deliveries counted at {len(subscribers)} WebSockets by the server's own processor time, publishing and"
            f" filters included ({1e6 / rate.per_s:.1f} us each), at {SIGNALS_PER_S} signals/s"
        )
        return self._measured(rate, how)


def _subscriber_count() -> int:
    """As many as this process may have files open."""
    import resource  # Not on every system; this is reached on Linux only.

    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return SUBSCRIBERS if allowed == resource.RLIM_INFINITY else max(1, min(SUBSCRIBERS, allowed // 2 - SPARE_FILES))


@asynccontextmanager
async def _subscribers(server: Server, count: int) -> AsyncIterator[list[Socket]]:
    """So many subscriptions that are live."""
    async with _sockets(server, count, DELIVERED) as lines:
        for line in lines:
            await line.say(SUBSCRIBE)
        yield lines


@asynccontextmanager
async def _sockets(server: Server, count: int, mark: bytes) -> AsyncIterator[list[Socket]]:
    lines = [Socket(mark) for _ in range(count)]
    try:
        for first in range(0, count, TOGETHER):
            await asyncio.gather(*(line.open(server.port, server.key) for line in lines[first : first + TOGETHER]))
        yield lines
    finally:
        for line in lines:
            line.close()
