"""What Catalyst fetches by itself: feeds over HTTP, and bots that it follows (bots.py).

Owns: when each feed is asked, what is told of it, and that one process of a log does it. How a document is fetched is
fetching.py's, what it means an adapter's, who stores it the server's (`take`).
Laws: one feed that hangs or is broken keeps no other waiting; what was fetched is remembered as seen only once it is
stored, so a crash at any moment loses nothing, and ids keep it from coming twice; no URL and no token stands in a log.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import urlsplit

from catalyst_signals.breakers import Breaker
from catalyst_signals.errors import CatalystError, InvalidRequest
from catalyst_signals.events import Frame, iso, now_us
from catalyst_signals.projections import Source
from catalyst_signals.wire import SYSTEM_CHANNEL
from catalyst_signals.workers import Lease, on_duty
from catalyst_signals.workers.bots import Bot
from catalyst_signals.workers.fetching import Refusal, Seen, Turns, fetch
from catalyst_signals.workers.outside import Network, NotReached

log = logging.getLogger("catalyst.feeds")

FEEDS = "feeds"  # The duty.
PAUSE_S_MAX = 1800.0
OURS_S = 2.0  # After a fault of our own store, which is no fault of the feed's.

Take = Callable[[Source, bytes, str, set[str]], Awaitable[int]]
"""Store what a document or a message says and return how much of it was not yet in the set, which then holds it."""


@dataclass
class State:
    """What there is to tell of one of them, since the process has the duty."""

    breaker: Breaker
    last_ok: str = ""
    last_error: str = ""
    error_at: str = ""
    requests: int = 0
    items: int = 0

    def worked(self, items: int) -> None:
        """It answered, and so much of it was new."""
        self.items += items
        self.last_ok = iso(now_us())
        if self.breaker.worked():
            log.info("it answers again", extra={"source": self.breaker.name})

    def failed(self, text: str, took_s: float = 0.0) -> None:
        """It did not answer, or with nothing that can be read."""
        self.last_error, self.error_at = text, iso(now_us())
        if self.breaker.failed(text, took_s):
            log.warning("it is asked less often", extra={"source": self.breaker.name, "reason": text})

    def shown(self) -> dict[str, Any]:
        """As `GET /v1/ingest` tells it."""
        said = {"last_ok": self.last_ok, "last_error": self.last_error, "error_at": self.error_at}
        shown: dict[str, Any] = {"state": self.breaker.state, "requests": self.requests, "items": self.items}
        return shown | {name: value for name, value in said.items() if value}


@dataclass
class Desk:
    """What all of them share."""

    lease: Lease
    take: Take
    networks: Sequence[Network]
    agent: Callable[[str], str]  # Of a host; raises NotReached where the operator has to say something first.
    turns: Turns = field(default_factory=Turns)


class Worker(Protocol):
    """What fetches for one source."""

    state: State

    async def run(self) -> None:
        """For ever; whatever goes wrong outside is told in `state`."""


class Feed:
    """One document that is asked for again and again."""

    def __init__(self, source: Source, desk: Desk) -> None:
        assert source.pull is not None
        self._source = source
        self._pull = source.pull
        self._desk = desk
        self._seen = Seen()
        self._known: set[str] = set()
        self.state = State(Breaker(source.id, pauses_s=(2 * self._pull.every_s, PAUSE_S_MAX)))

    async def run(self) -> None:
        """Ask every `every_s`, less often while it does not answer."""
        while True:
            pause_s = await self._turn() if self._desk.lease.held else OURS_S
            await asyncio.sleep(pause_s * random.uniform(0.95, 1.05))

    async def _turn(self) -> float:
        """Ask if it may be asked; how long to wait then, in seconds."""
        breaker, began_s = self.state.breaker, time.monotonic()
        if not breaker.admit():
            return breaker.retry_after_s
        retry_after_s = 0.0
        try:
            self.state.worked(await self._fetch())
            return self._pull.every_s
        except (NotReached, InvalidRequest) as error:
            self.state.failed(str(error), time.monotonic() - began_s)
            retry_after_s = (error.retry_after_s or 0.0) if isinstance(error, Refusal) else 0.0
        except CatalystError as error:
            breaker.let_go()
            self.state.last_error, self.state.error_at = f"it could not be stored: {error.message}", iso(now_us())
            return OURS_S
        except asyncio.CancelledError:
            breaker.let_go()
            raise
        except Exception as error:
            log.exception("a feed could not be dealt with", extra={"source": self._source.id})
            self.state.failed(f"it could not be dealt with: {type(error).__name__}")
        waits_s = 0.0 if breaker.state == "closed" else breaker.retry_after_s
        return max(self._pull.every_s, retry_after_s, waits_s)

    async def _fetch(self) -> int:
        headers = {"User-Agent": self._desk.agent(urlsplit(self._pull.url).hostname or ""), "Accept": "*/*"}
        self.state.requests += 1
        found = await fetch(self._pull.url, self._seen, headers, self._desk.networks, self._desk.turns)
        if found is None:
            return 0
        stored = await self._desk.take(self._source, found.body, found.content_type, self._known)
        self._seen = found.seen
        return stored


class Feeds:
    """All that one process fetches: nothing until the duty is its own."""

    def __init__(
        self, lease: Lease, sources: Callable[[], Mapping[str, Source]], take: Take, networks: Sequence[Network],
        agent: Callable[[str], str],
    ) -> None:  # fmt: skip
        self.workers: dict[str, Worker] = {}
        self.done = [0, 0]  # Requests and items of those that have ended.
        self._lease = lease
        self._sources = sources
        self._desk = Desk(lease, take, networks, agent)
        self._working: dict[str, tuple[Source, asyncio.Task[None]]] = {}
        self._changed = asyncio.Event()

    def fold(self, frame: Frame) -> None:
        """The gate's, for every event: what is `system` may concern a source."""
        if frame.channel == SYSTEM_CHANNEL:
            self._changed.set()

    async def run(self) -> None:
        """Fetch whenever the duty is ours, for ever."""
        await on_duty(self._lease, self._work)

    async def _work(self) -> None:
        self._changed.set()
        try:
            while True:
                await self._changed.wait()
                self._changed.clear()
                await self._sync({id: source for id, source in self._sources().items() if source.pull is not None})
        finally:
            await self._sync({})

    async def _sync(self, wanted: dict[str, Source]) -> None:
        """Begin, change and end as `system` says."""
        gone = [id for id, (source, _) in self._working.items() if wanted.get(id) != source]
        tasks = [self._working.pop(id)[1] for id in gone]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for id in gone:
            state = self.workers.pop(id).state
            self.done = [self.done[0] + state.requests, self.done[1] + state.items]
        for id in wanted.keys() - self._working.keys():
            self._begin(wanted[id])

    def _begin(self, source: Source) -> None:
        worker: Worker = self._worker(source)
        self.workers[source.id] = worker
        self._working[source.id] = source, asyncio.create_task(worker.run())

    def _worker(self, source: Source) -> Worker:
        if source.pull is not None and source.pull.url.startswith(("ws:", "wss:")):
            state = State(Breaker(source.id, pauses_s=(2.0, PAUSE_S_MAX)))
            return Bot(source, state, self._desk.lease, self._desk.take, self._desk.networks)
        return Feed(source, self._desk)

    # -- seeing -------------------------------------------------------------------------------------------------

    def shown(self, id: str) -> dict[str, Any]:
        """What there is to tell of one; another process has the duty where that is nothing."""
        worker = self.workers.get(id)
        return {"state": "elsewhere"} if worker is None else worker.state.shown()

    @property
    def failing(self) -> int:
        """How many do not answer."""
        return sum(worker.state.breaker.state != "closed" for worker in self.workers.values())

    @property
    def requests(self) -> int:
        """How often something was asked for, since the process began."""
        return self.done[0] + sum(worker.state.requests for worker in self.workers.values())

    @property
    def items(self) -> int:
        """What was new in it."""
        return self.done[1] + sum(worker.state.items for worker in self.workers.values())
