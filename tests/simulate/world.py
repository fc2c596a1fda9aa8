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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import Context, copy_context
from types import SimpleNamespace
from typing import Any

from catalyst_signals import events, expiry, follow, hub, pager, pages, publish, tape, turns
from catalyst_signals.events import Batch
from catalyst_signals.server import stream
from catalyst_signals.tape import Peer

from .faults import Ether, FaultyStore, Weather
from .history import NEVER
from .interests import FILTERS
from .judge import Case, Change, Offer, judge
from .processes import ServerProcess, Steady
from .publishers import Publisher
from .readers import MORE_WHIMS, WHIMS, Reader
from .sightings import watched_page
from .virtual import StandsStill, VirtualLoop

SIGHTINGS: Counter[str] = Counter()
"""What happened over all worlds of this run, and in how many of them; the proof that the branches were reached."""

OPERATIONS = ("", "", "", "", "drop", "erase", "drop erase", "restore", "rewind", "drop restore")
REST_S = 60  # Longer than this nobody may wait once the weather has cleared up.
STILL_S = 4.2  # A question that stalled and was given up, a poll, a fill, a position: then nothing more can come.
WALL_US = 1_700_000_000_000_000


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
        self.changing = self.rng.choice((0, 0.1, 0.4))  # Signals change and end,
        self.expiring = self.rng.choice((0, 0, 0.1, 0.5))  # or end by themselves,
        self.modifying = self.rng.choice((0, 0, 0.5, 1))  # and readers want things held back.
        self.operating = self.rng.choice(OPERATIONS)
        self.rewinding = "restore" in self.operating or "rewind" in self.operating
        self.whims = MORE_WHIMS if self.changing or self.modifying else WHIMS
        self.offers: list[Offer] = []
        self.changes: list[Change] = []
        self.restored: set[int] = set()
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

    def us(self, at_s: float) -> int:
        """A moment of the loop's clock as the servers' wall clocks have it."""
        return WALL_US + int(at_s * 1e6)

    def now_us(self) -> int:
        """This moment."""
        return self.us(self.loop.time())

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

    @property
    def was_rewound(self) -> bool:
        """Whether the log was taken back under running processes."""
        return self.store.rewinds > len(self.restored)

    def moment(self, chance: float = 0.1) -> None:
        """The hub is in the middle of something: the best time for a reader to want something else."""
        if not self.calm and self.chance(chance):
            self.later(self.rng.choice((0, 2e-4)) * self.rng.random(), self.rng.choice(self.readers).act, True)

    def choke_soon(self, peer: Peer) -> None:
        """A page is on its way that is for who looks ahead only: the best time to ask for it twice."""
        if not self.calm and self.chance(0.2):
            self.later(2e-3 * self.rng.random(), peer.listener._protocol.choke)  # type: ignore[attr-defined]

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
            self.loop.freeze(process)
            self.later(self.rng.choice((0.02, 0.2, 1.5)), self.loop.thaw, process)

    # -- what the operator does ---------------------------------------------------------------------------------------

    async def _operate(self) -> None:
        """Retention, erasing, and going back to an earlier log, a few times."""
        works = {"drop": self._drop, "erase": self._erase, "restore": self._go_back, "rewind": self._go_back}
        for _ in range(self.rng.choice((1, 2, 4))):
            await asyncio.sleep(self.lasts_s / 2 * self.rng.random())
            for work in self.operating.split():
                if not self.calm:
                    await works[work]()

    async def _drop(self) -> None:
        channel = self.rng.choice(self.channels)
        if kept := self.store.kept(channel):
            through = kept[self.rng.randrange(len(kept))]
            self.note("store    drops %s through %d", channel, through)
            self.saw("retention dropped events")
            self.store.drop(channel, through)

    async def _erase(self) -> None:
        channel = self.rng.choice(self.channels)
        gone = {erasure.seq for erasure in self.store.erasures if erasure.channel == channel}
        if kept := [seq for seq in self.store.kept(channel) if seq not in gone]:
            seq = self.rng.choice(kept if self.chance(0.5) else kept[-3:])  # What is new is on its way still.
            erasure = self.store.erase(channel, seq, self.now_us())
            self.note("store    erases %s %d", channel, erasure.seq)
            self.saw("an event was erased")
            for process in (each for each in self.processes if not each.dead):
                process.untold.add(erasure)
                self.loop.call_later(self.rng.expovariate(5), process.hear_of, erasure, context=process.context)
            for reader in self.readers:
                self.later(2 * self.rng.random(), reader.replay, channel)  # All of it again, while it is still at hand.

    async def _go_back(self) -> None:
        """To a safety copy, on purpose and with every process down; or to a standby that lags, under all of them."""
        copy = self.store.save()
        await asyncio.sleep(self.rng.choice((0.05, 0.3, 1)))
        if self.calm or copy._logs.keys() != self.store.save()._logs.keys():
            return
        at_us = self.now_us()
        on_purpose = "restore" in self.operating
        if on_purpose:
            self.restored.add(at_us)
            for process in self.processes:
                process.die()
        self.note("store    is %s", "restored" if on_purpose else "rewound")
        self.saw("the log was restored" if on_purpose else "the log was rewound")
        self.store.rewind(copy, at_us)
        if on_purpose:
            self.store.begin_epochs()

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
        if self.operating:
            others.append(self._operate())
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
            quiet = self.loop.time() - self.store.changed_s > 0.2
            still = quiet and all(task.done() for task in publishing)
            still = still and all(reader.at_rest for reader in self.readers)
            still_s = still_s + 0.2 if still and not any(p.draining and not p.dead for p in self.processes) else 0.0
        self.note("the world is at rest")

    def _judged(self) -> list[str]:
        for process in self.processes:
            for erasure in process.untold:
                erasure.told_us = NEVER
        histories = {channel: self.store.history(channel) for channel in self.channels}
        lives = [life for reader in self.readers for life in reader.lives]
        refusals = [refusal for reader in self.readers for refusal in reader.refusals]
        case = Case(histories, self.offers, self.changes, lives, refusals, self.restored, self.now_us())
        complaints = judge(case)
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
        (expiry, "LOOK_S", 0.25 if world.expiring else 2.0),  # Where nothing expires, it only costs time.
        (expiry, "time", SimpleNamespace(perf_counter=world.loop.time)),
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
