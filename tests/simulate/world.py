"""The simulated world: processes with the real hub, gate, publisher and connections, the store and the broker they
share, and the people who use them. One seed is one world.

Owns: what is in a world, when something happens to a process, and how it comes to rest. Draws everything from the seed.
Law: when the weather has cleared up everyone is answered and everyone is complete; then the judge looks.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import Context, copy_context
from types import SimpleNamespace
from typing import Any

from catalyst_signals import events, follow, hub, pager, pages, publish, tape, turns
from catalyst_signals.auth import Principal
from catalyst_signals.errors import Draining, Unavailable
from catalyst_signals.events import Batch, Frame
from catalyst_signals.filters import Filter
from catalyst_signals.server import stream
from catalyst_signals.server.app import drain
from catalyst_signals.server.node import Node
from catalyst_signals.server.stream import Connection
from catalyst_signals.wire import frame_of

from .faults import Ether, FaultyBroker, FaultyStore, StoreLine, Weather
from .judge import Log, Offer, judge
from .people import FILTERS, Publisher, Reader, filter_of
from .sightings import WatchedFollower, WatchedHub, WatchedPublisher, watched_page
from .virtual import Process, StandsStill, VirtualLoop

SIGHTINGS: Counter[str] = Counter()
"""What happened over all worlds of this run, and in how many of them; the proof that the branches were reached."""

REST_S = 60  # Longer than this nobody may wait once the weather has cleared up.
STILL_S = 2.6  # A poll, a fill, a position: after that much quiet nothing more can come.
WALL_US = 1_700_000_000_000_000


class Steady(tape.MatchIndex[Any]):
    """The real index, but its answers come in an order that is the same in every process."""

    def __init__(self) -> None:
        super().__init__()
        self._numbers: dict[Any, int] = {}
        self._next = 0

    def add(self, group: Any, filter: Filter) -> None:
        """As ever, with a number."""
        super().add(group, filter)
        self._next += 1
        self._numbers[group] = self._next

    def match(self, doc: Any) -> list[Any]:
        """As ever, in the order of the numbers."""
        return sorted(super().match(doc), key=self._numbers.__getitem__)


class ServerNode(Node):
    """The real node, but everybody may do everything."""

    def still(self, principal: Principal) -> Principal:
        """There are no keys here."""
        return principal

    def filter_for(self, principal: Principal, source: object) -> Filter:
        """Parsed once for all seeds."""
        return filter_of(source)


class ServerProcess(Process):
    """One process of `catalyst serve`, from its start to its end."""

    def __init__(self, world: World, name: str) -> None:
        super().__init__()
        self.world = world
        self.name = name
        self.wires: list[Any] = []
        self.node: ServerNode | None = None
        self.broker = FaultyBroker(world, name)
        self.draining = False

    @property
    def ready(self) -> bool:
        """Whether one can connect."""
        return self.node is not None and not self.dead and not self.draining

    async def run(self) -> None:
        """Open every part as app.py does; then visit the connections now and then, for ever."""
        world, rng = self.world, self.world.rng
        store = StoreLine(world)

        async def fetch(channel: str, after: int, limit: int) -> list[Frame]:
            return [frame_of(event) for event in await store.read(channel, after, limit)]

        the_hub = WatchedHub(world, fetch, store.find, ring_bytes=rng.choice((500, 2000, 1 << 20)), clock=_Clock(world))
        follower = WatchedFollower(world, store, self.broker, the_hub, poll_s=rng.choice((0.2, 0.5, 1.0)))
        await _until_it_works(follower.__aenter__)
        publisher = WatchedPublisher(world, store, follower, self.broker, queue_max=rng.choice((8, 10_000)))
        state = SimpleNamespace(
            channels=world.channels, watch=lambda watcher: None, watch_filters=lambda watcher: None
        )  # fmt: skip
        self.node = ServerNode(_settings(world, self.name), store, the_hub, follower, publisher, state, None)  # type: ignore[arg-type]
        world.note("%-8s is ready", self.name)
        while True:
            await asyncio.sleep(0.25)
            for connection in self.node.every_connection():
                connection.tick(world.loop.time())

    def submit(self, batches: Sequence[Batch]) -> asyncio.Future[Any]:
        """What the handler of a POST does."""
        if self.node is None:
            raise Unavailable("this process is not ready")
        return self.node.publisher.submit(batches)

    def accept(self, wire: Any, subject: str) -> None:
        """A reader connects; the handshake comes to an end a little later."""
        self.wires.append(wire)
        self.world.loop.call_later(0.001, self._adopt, wire, subject, context=self.context)

    def _adopt(self, wire: Any, subject: str) -> None:
        scopes = frozenset(("publish", "subscribe"))
        who = Principal(subject=subject, key_id=subject, scopes=scopes, channels=("*",))
        assert self.node is not None
        if wire.gone:
            return
        try:
            self.node.check_open()
        except (Draining, Unavailable):
            wire.end()
            return
        Connection(self.node, wire, who)

    async def drain(self) -> None:
        """SIGTERM, as app.py has it."""
        assert self.node is not None
        self.draining = True
        await drain(self.node)
        for wire in self.wires:
            wire.close(1012, "the server is restarting")
        await asyncio.sleep(0.05)
        self.die()

    def die(self) -> None:
        """kill -9: nothing of it runs any more."""
        if not self.dead:
            self.world.note("%-8s dies", self.name)
            self.dead = True
            self.broker.vanish()
            for wire in self.wires:
                wire.server_died()
            self.world.died(self)


class _Clock:
    """The hub's clock: most looks at it cost little, some a whole turn."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._now = 0.0

    def __call__(self) -> float:
        self._now += 0.005 if self._world.chance(self._world.weather.hurry) else 0.00001
        return self._now


class World:
    """Everything there is for one seed."""

    def __init__(self, seed: int, *, trace: bool = False) -> None:
        self.seed = seed
        self.rng = random.Random(seed)
        self.trace: list[str] | None = [] if trace else None
        self.loop = VirtualLoop()
        self.loop.set_exception_handler(self._escaped)
        self.context: Context = copy_context()
        self.weather = Weather.draw(self.rng)
        self.calm = False
        self.escaped: list[str] = []  # What is wrong whatever the judge says.
        self.seen: set[str] = set()
        self.store = FaultyStore(self)
        self.ether = Ether(self)
        self.channels = ["main", "other"][: self.rng.choice((1, 1, 2, 2))]
        self._opens_later = len(self.channels) == 1 and self.chance(0.5)
        self.rate = self.rng.choice((3, 8, 20))
        self.fickle = self.rng.choice((0.5, 2, 5))
        self.lasts_s = 10 / self.rate + 1
        self.filters = self.rng.sample(FILTERS, self.rng.choice((1, 2, 3, len(FILTERS))))  # Few: many have the same.
        self.trust_s = self.rng.choice((1, 5))
        self.offers: list[Offer] = []
        self._ids = 0
        self.processes: list[ServerProcess] = []  # Of all times.
        self._slots = [f"server{n}" for n in range(1, self.rng.choice((1, 2, 2, 3)) + 1)]
        self.publishers = [Publisher(self, f"bot{n}") for n in range(1, self.rng.choice((1, 2, 3)) + 1)]
        self.readers = [
            Reader(self, f"reader{n}", self.channels[: self.rng.choice((1, 2))])
            for n in range(1, self.rng.choice((2, 3, 4, 6)) + 1)
        ]

    # -- what people and things use -----------------------------------------------------------------------------------

    def chance(self, of: float) -> bool:
        """True that often."""
        return of > 0 and self.rng.random() < of

    def later(self, after_s: float, call: Callable[..., Any], *args: Any) -> None:
        """Something the world does itself, whoever dies meanwhile."""
        self.loop.call_later(after_s, call, *args, context=self.context)

    def saw(self, what: str) -> None:
        """This branch was reached."""
        self.seen.add(what)

    def note(self, text: str, *args: Any) -> None:
        """A line of the trace, when there is one."""
        if self.trace is not None:
            self.trace.append(f"{self.loop.time() - 1000:11.6f}  {text % args}")

    def next_id(self, name: str) -> str:
        """An id nobody used."""
        self._ids += 1
        return f"{name}.{self._ids}"

    def offer(self, batch: Batch) -> Offer:
        """On the record: somebody wants this stored."""
        offer = Offer(batch)
        self.offers.append(offer)
        return offer

    def any_process(self) -> ServerProcess | None:
        """One that takes connections."""
        ready = [process for process in self.processes if process.ready]
        return self.rng.choice(ready) if ready else None

    def moment(self, chance: float = 0.1) -> None:
        """The hub is in the middle of something: the best time for a reader to want something else."""
        if not self.calm and self.chance(chance):
            self.later(self.rng.choice((0, 2e-4)) * self.rng.random(), self.rng.choice(self.readers).act, True)

    def bad_moment(self) -> None:
        """Something is known that is not durable: the best time for the store to die."""
        if not self.calm and self.chance(0.5):
            self.later(0.1 * self.rng.random(), self._store_dies)

    def died(self, process: ServerProcess) -> None:
        """A process is gone; it is started again a little later."""
        self.later(self.rng.choice((0.05, 0.5, 1.5)), self._start, process.name.partition("/")[0])

    def _start(self, slot: str) -> None:
        process = ServerProcess(self, f"{slot}/{len(self.processes)}")
        self.processes.append(process)
        self.loop.spawn(process, process.run)

    async def _open_later(self) -> None:
        """Somebody makes another channel; every process finds it by its poll."""
        await asyncio.sleep(self.lasts_s * self.rng.random())
        self.store.open(["other"])
        self.channels.append("other")
        for reader in self.readers:
            reader.take_interest("other")

    # -- disasters ----------------------------------------------------------------------------------------------------

    async def _disasters(self, every_s: float, strike: Callable[[], None]) -> None:
        while every_s and not self.calm:
            await asyncio.sleep(self.rng.expovariate(1 / every_s))
            if not self.calm:
                strike()

    def _store_dies(self) -> None:
        if self.calm:
            return
        self.saw("the store died")
        self.store.die()
        self.later(self.rng.choice((0.01, 0.3, 1)), self.store.come_back)

    def _broker_goes(self) -> None:
        self.ether.go_away()
        self.later(self.rng.choice((0.1, 1)), self._broker_comes)

    def _broker_comes(self) -> None:
        self.ether.away = False

    def _crash(self) -> None:
        if (process := self.any_process()) is not None:
            self.saw("a process was killed")
            process.die()

    def _drain(self) -> None:
        if (process := self.any_process()) is not None:
            self.saw("a process was drained")
            process.draining = True
            self.loop.spawn(process, process.drain)
            self.later(5, process.die)

    def _freeze(self) -> None:
        if (process := self.any_process()) is not None and not process.frozen:
            self.saw("a process stood still for a while")
            self.note("%-8s is frozen", process.name)
            process.frozen = True
            self.later(self.rng.choice((0.02, 0.2, 1.5)), self.loop.thaw, process)

    def _clear_up(self) -> None:
        self.note("the weather clears up")
        self.calm = True
        self.weather.clear_up()
        self.store.come_back()
        self.ether.away = False
        for process in self.processes:
            if process.frozen:
                self.loop.thaw(process)
        for reader in self.readers:
            reader.hurry()

    # -- from beginning to end ----------------------------------------------------------------------------------------

    def run(self) -> list[str]:
        """Live through the seed; answers the judge's complaints."""
        try:
            with _patched(self):
                self.store.open(self.channels)
                try:
                    self.loop.run_until_complete(self._live())
                except StandsStill as why:
                    self.escaped.append(str(why))
                complaints = self.escaped + self._judged()
                self.loop.end(list(self.processes))
        finally:
            SIGHTINGS.update(self.seen)
        return complaints

    async def _live(self) -> None:
        weather = self.weather
        for slot in self._slots:
            self._start(slot)
        publishing = [self.loop.create_task(publisher.live()) for publisher in self.publishers]
        others = [reader.live() for reader in self.readers] + [
            self._disasters(weather.store_dies_s, self._store_dies),
            self._disasters(weather.broker_away_s, self._broker_goes),
            self._disasters(weather.crash_s, self._crash),
            self._disasters(weather.drain_s, self._drain),
            self._disasters(weather.freeze_s, self._freeze),
        ]
        if self._opens_later:
            others.append(self._open_later())
        for other in others:
            self.loop.create_task(other)
        await asyncio.sleep(self.lasts_s)
        self._clear_up()
        await self._come_to_rest(publishing)

    async def _come_to_rest(self, publishing: list[asyncio.Task[None]]) -> None:
        """Everyone is answered and connected; then long enough for a poll, a fill and a position."""
        until = self.loop.time() + REST_S
        still_s = 0.0
        while still_s < STILL_S and self.loop.time() < until:
            await asyncio.sleep(0.2)
            still = all(task.done() for task in publishing) and all(reader.at_rest for reader in self.readers)
            still_s = still_s + 0.2 if still and not any(p.draining and not p.dead for p in self.processes) else 0.0
        self.note("the world is at rest")

    def _judged(self) -> list[str]:
        logs = {channel: Log(channel, self.store.log(channel)) for channel in self.channels}
        lives = [life for reader in self.readers for life in reader.lives]
        refusals = [refusal for reader in self.readers for refusal in reader.refusals]
        complaints = judge(logs, self.offers, lives, refusals)
        complaints += [f"{r.name} is not connected, or waits for an answer" for r in self.readers if not r.at_rest]
        for task in self.loop.tasks:
            if task.done() and not task.cancelled() and task.exception() is not None:
                complaints.append(f"a task failed: {task!r}: {task.exception()!r}")
        return complaints

    def _escaped(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if self.loop.tasks and "exception" in context:
            self.escaped.append(f"an exception escaped: {context['exception']!r} ({context['message']})")


def live_through(seed: int, *, trace: bool = False) -> tuple[list[str], list[str]]:
    """The judge's complaints about a seed, and what happened if asked for."""
    world = World(seed, trace=trace)
    complaints = world.run()
    return complaints, world.trace or []


async def _until_it_works(work: Callable[[], Any]) -> None:
    while True:
        try:
            await work()
            return
        except Unavailable:
            await asyncio.sleep(0.1)


def _settings(world: World, name: str) -> Any:
    return SimpleNamespace(
        drain_s=30.0,
        node=name, position_s=2, message_bytes=65536, publishes_in_flight=3, auth_s=5, silent_s=8, stall_s=3,
        trust_s=world.trust_s, poll_s=0.5, ingest_rate=1, ingest_burst=1,
    )  # fmt: skip


@contextmanager
def _patched(world: World) -> Iterator[None]:
    """Small sizes, so that every border is crossed; seeded chance and virtual time instead of the real ones."""
    rng = world.rng
    page, cut = rng.choice((2, 4, 16)), rng.choice((400, 1200, 1 << 16))
    secrets = SimpleNamespace(token_bytes=rng.randbytes, token_hex=lambda size: rng.randbytes(size).hex())
    clock = SimpleNamespace(
        time_ns=lambda: WALL_US * 1000 + int(world.loop.time() * 1e9), strftime=events.time.strftime,
        gmtime=events.time.gmtime,
    )  # fmt: skip
    state = random.getstate()
    random.seed(world.seed)
    changes: list[tuple[Any, str, Any]] = [
        (pages, "PAGE_EVENTS", page), (pager, "PAGE_EVENTS", page),
        (pages, "CUT_BYTES_MAX", cut), (turns, "CUT_BYTES_MAX", cut),
        (hub, "WRITES_PER_LOOK", rng.choice((1, 2, 64))), (pager, "PAGES_BYTES_MAX", rng.choice((0, 2000, 1 << 20))),
        (pager, "Page", watched_page(world)), (pages, "_GROUPS_BY_FILTER", rng.choice((0, 1, 8))),
        (follow, "FILL_EVENTS", rng.choice((1, 3, 1000))),
        (publish, "COMMIT_DRAFTS_MAX", rng.choice((2, 6, 1000))), (tape, "MatchIndex", Steady),
        (events, "secrets", secrets), (stream, "secrets", secrets), (events, "time", clock),
    ]  # fmt: skip
    before = [(module, name, getattr(module, name)) for module, name, _ in changes]
    for module, name, value in changes:
        setattr(module, name, value)
    log = logging.getLogger("catalyst")
    level, handler = log.level, _Noting(world)
    log.setLevel(logging.INFO if world.trace is not None else logging.CRITICAL + 1)
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
        for module, name, value in before:
            setattr(module, name, value)
        random.setstate(state)


class _Noting(logging.Handler):
    """What the servers log is part of what happened."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world

    def emit(self, record: logging.LogRecord) -> None:
        """One line."""
        self._world.note("log      %s (%s)", record.getMessage(), getattr(record, "reason", ""))
