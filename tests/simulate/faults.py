"""The store and the broker of the simulated world, and the weather they stand in.

Owns: what can go wrong between a process and the log, and how often. Knows nothing of hubs or subscribers.
Law: the faulty store breaks only what its port allows: a raise leaves the outcome unknown, nothing above `durable` is
read, what was durable stays unless the world rewinds it. The log it keeps, and what it ever took back, is the only
truth the judge has.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import TYPE_CHECKING, Any

from catalyst_signals.errors import StoreUnavailable, Unavailable
from catalyst_signals.events import EPOCH_GAP, Batch, Event, Extent, Frame, Kept, Known, Refused, Stored
from catalyst_signals.stores import PAGE_BYTES_MAX
from catalyst_signals.stores.memory import MemoryStore

from .history import Erasure, History, Log

if TYPE_CHECKING:
    from .world import World

TIMEOUT_S = 0.5  # After this long a caller of the store gives up and does not know.


@dataclass
class Weather:
    """Chances of what goes wrong, each in 0..1, and mean times between disasters (0 = never)."""

    stall: float = 0  # A call to the store takes up to seconds.
    unknown: float = 0  # A call to the store ends without an answer.
    early: float = 0  # A commit is seen before it is durable.
    short: float = 0  # A read gives less than it could, as when the bodies are large.
    store_dies_s: float = 0
    lose: float = 0  # A hint is lost,
    repeat: float = 0  # comes again,
    delay: float = 0  # or comes late, after others.
    broker_away_s: float = 0
    crash_s: float = 0  # A process is killed.
    drain_s: float = 0  # A process is restarted politely.
    freeze_s: float = 0  # A process stands still for a while.
    hurry: float = 0.2  # The hub runs out of time between two looks at its clock.

    @classmethod
    def draw(cls, rng: Random) -> Weather:
        """Some faults often, some seldom, some not at all: which ones are together differs by seed."""
        weather = cls(hurry=rng.choice((0, 0.1, 0.4, 0.8)))
        for name in ("stall", "unknown", "early", "short", "lose", "repeat", "delay"):
            setattr(weather, name, rng.choice((0, 0, 0.03, 0.1, 0.4)))
        for name in ("store_dies_s", "broker_away_s", "crash_s", "drain_s", "freeze_s"):
            setattr(weather, name, rng.choice((0, 0, 1.5, 4)))
        return weather

    def clear_up(self) -> None:
        """No more faults, except those that cost nothing but time."""
        self.__init__(hurry=self.hurry)  # type: ignore[misc]


Reply = Callable[[Any], None]


class FaultyStore:
    """One log for the whole world: a MemoryStore that dies, comes back, and shows a commit before it is durable."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._inner = MemoryStore()
        self._down = False
        self._durable: dict[str, int] = {}  # Of each channel, while something that is shown is not durable.
        self._before: MemoryStore | None = None  # The log as it will be if we die before that.
        self._waiting: list[tuple[Reply, Any]] = []
        self._whole: dict[str, list[Event]] = {}  # What the log says, and said before it was dropped or erased.
        self._lost: dict[str, list[Log]] = {}  # What it said before it was rewound.
        self._firsts: dict[str, list[int]] = {}
        self.erasures: list[Erasure] = []
        self.changed_s = 0.0  # When anything was appended last.
        self.rewinds = 0

    def open(self, channels: Sequence[str]) -> None:
        """Open channels, durably."""
        now(self._inner.append([Batch(channel=channel, subject="system", drafts=[]) for channel in channels]))
        if self._before is not None:
            self._durable |= dict.fromkeys(channels, 0)
            self._before._logs |= {channel: _copy(self._inner)._logs[channel] for channel in channels}

    def history(self, channel: str) -> History:
        """Everything there is and was, for the judge."""
        erased = {erasure.seq: erasure for erasure in self.erasures if erasure.channel == channel}
        final = Log(channel, self._all(channel), self._inner._logs[channel].epochs, erased=erased)
        return History(final, self._lost.get(channel, []), self._firsts.get(channel, [1]))

    def _all(self, channel: str) -> list[Event]:
        return self._whole.setdefault(channel, [])

    # -- what its operator does ---------------------------------------------------------------------------------------

    def save(self) -> MemoryStore:
        """A copy of what is durable."""
        return _copy(self._before or self._inner)

    def rewind(self, copy: MemoryStore, at_us: int) -> None:
        """The log is that of an earlier copy again; whoever waits for a commit does not learn how it ended."""
        assert copy._logs.keys() == self._inner._logs.keys()
        for channel, log in self._inner._logs.items():
            shown = [event for event in self._all(channel) if event.seq <= self.visible(channel)]
            self._lost.setdefault(channel, []).append(Log(channel, shown, tuple(log.epochs), at_us))
        self._inner, self._before = _copy(copy), None
        self.rewinds += 1
        self._cut()
        for reply, _ in self._waiting:
            reply(StoreUnavailable("the store was rewound"))
        self._waiting.clear()

    def begin_epochs(self) -> None:
        """What `catalyst restore` does with the copy."""
        for channel, extent in now(self._inner.extents()).items():
            now(self._inner.begin_epoch(channel, extent.last + EPOCH_GAP, "restored"))

    def drop(self, channel: str, through: int) -> None:
        """Retention."""
        for store in self._both():
            extent = now(store.drop(channel, through))
        self._firsts.setdefault(channel, [1]).append(extent.first)

    def erase(self, channel: str, seq: int, at_us: int) -> Erasure:
        """What one event said is gone."""
        for store in self._both():
            now(store.erase(channel, seq))
        self.erasures.append(Erasure(channel, seq, at_us, at_us))
        return self.erasures[-1]

    def kept(self, channel: str) -> list[int]:
        """The seqs that can be dropped or erased."""
        log = (self._before or self._inner)._logs.get(channel)
        return [] if log is None else [event.seq for event in log.events]

    def _both(self) -> list[MemoryStore]:
        return [self._inner] if self._before is None else [self._inner, self._before]

    def _cut(self) -> None:
        """Forget what is not in the log any more."""
        for channel, events in self._whole.items():
            last = self._inner._logs[channel].events[-1:] or None
            end = last[0].seq if last else self._inner._logs[channel].first - 1
            self._whole[channel] = [event for event in events if event.seq <= end]

    # -- what is asked of it ------------------------------------------------------------------------------------------

    def serve(self, name: str, args: tuple[Any, ...], reply: Reply, rewinds: int) -> None:
        """A request arrives, if it was not sent to the store that was here before a rewind."""
        if self._down or rewinds != self.rewinds:
            reply(StoreUnavailable("the store is down"))
        elif name == "append":
            self._append(args[0], reply)
        else:
            try:
                reply(getattr(self, f"_{name}")(*args))
            except Exception as error:
                reply(error)

    def _append(self, batches: Sequence[Batch], reply: Reply) -> None:
        world = self._world
        if self._before is None and world.chance(world.weather.early):
            self._durable = {channel: extent.last for channel, extent in now(self._inner.extents()).items()}
            self._before = _copy(self._inner)
            world.loop.call_later(world.rng.choice((0.005, 0.05, 0.5, 2)), self._synced, self._before)
        results = now(self._inner.append(batches))
        for result in results:
            if isinstance(result, Stored) and result.events:
                self._all(result.channel).extend(result.events)
                self.changed_s = world.loop.time()
        self._look_at(batches, results)
        if self._before is None:
            reply(results)
        else:
            world.saw("a commit was shown before it was durable")
            self._waiting.append((reply, results))

    def _look_at(self, batches: Sequence[Batch], results: list[Stored | Refused]) -> None:
        world = self._world
        world.note("store    %s", "; ".join(_told(b, r) for b, r in zip(batches, results, strict=True)))
        for batch, result in zip(batches, results, strict=True):
            for draft in batch.drafts:
                if draft.version > 1:
                    self._look_at_change(draft.type, result)
        refused = sum(isinstance(result, Refused) for result in results)
        if 0 < refused < len(results):
            world.saw("a refused batch had neighbours in its commit")

    def _look_at_change(self, type: str, result: Stored | Refused) -> None:
        world, duplicate = self._world, isinstance(result, Stored) and all(r.duplicate for r in result.receipts)
        if isinstance(result, Refused):
            world.saw("two wrote the same version")
        elif type == "signal.expired":
            world.saw("an end was written by two processes" if duplicate else "a signal expired")
        elif type == "signal.superseded":
            world.saw("a signal was superseded")

    def _synced(self, before: MemoryStore) -> None:
        if self._before is before:
            self._world.note("store    is durable again")
            self._before = None
            for reply, results in self._waiting:
                reply(results)
            self._waiting.clear()

    def die(self) -> None:
        """What was not durable is gone, and nobody is told."""
        self._down = True
        self._world.note("store    dies")
        if self._before is not None:
            if any(self._inner._logs[channel].last > last for channel, last in self._durable.items()):
                self._world.saw("events that were shown vanished with the store")
            self._inner, self._before = self._before, None
            self._cut()
            for reply, _ in self._waiting:
                reply(StoreUnavailable("the store died"))
            self._waiting.clear()

    def come_back(self) -> None:
        """Up again."""
        if self._down:
            self._world.note("store    is back")
        self._down = False

    def visible(self, channel: str) -> int:
        """The highest seq of a channel that may be shown."""
        return self._durable[channel] if self._before is not None else 1 << 60

    def _durably(self) -> None:
        """What waits to be durable is, before something else is done."""
        if self._before is not None:
            self._synced(self._before)

    def _read(self, channel: str, after: int, limit: int, bytes_max: int) -> list[Event]:
        world, top = self._world, self.visible(channel)
        if world.chance(world.weather.short):
            limit = world.rng.randint(1, limit)
        return [event for event in now(self._inner.read(channel, after, limit, bytes_max)) if event.seq <= top]

    def _extents(self, channels: Iterable[str] | None) -> dict[str, Extent]:
        found = now(self._inner.extents(channels))
        if self._before is None:
            return found
        return {channel: replace(extent, durable=self._durable[channel]) for channel, extent in found.items()}

    def _find(self, channel: str, ids: Sequence[str]) -> dict[str, Known]:
        return now(self._inner.find(channel, ids))

    def _begin_epoch(self, channel: str, first: int, reason: str) -> Extent:
        self._durably()
        self._world.saw("an epoch was begun by a process")
        self._world.note("store    begins an epoch of %s at %d", channel, first)
        return now(self._inner.begin_epoch(channel, first, reason))

    def _kept(self, name: str, channel: str) -> Kept:
        return now(self._inner.kept(name, channel))

    def _keep(self, name: str, channel: str, seq: int, state: bytes, was: int) -> bool:
        return now(self._inner.keep(name, channel, seq, state, was=was))


class StoreLine:
    """A process's own way to the store: every call takes time, some are never answered."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def append(self, batches: Sequence[Batch]) -> list[Stored | Refused]:
        """As the port says."""
        return await self._ask("append", batches)

    async def read(self, channel: str, after: int, limit: int, bytes_max: int = PAGE_BYTES_MAX) -> list[Event]:
        """As the port says."""
        return await self._ask("read", channel, after, limit, bytes_max)

    async def extents(self, channels: Iterable[str] | None = None) -> dict[str, Extent]:
        """As the port says."""
        return await self._ask("extents", channels)

    async def find(self, channel: str, ids: Sequence[str]) -> dict[str, Known]:
        """As the port says."""
        return await self._ask("find", channel, ids)

    async def begin_epoch(self, channel: str, first: int, reason: str) -> Extent:
        """As the port says."""
        return await self._ask("begin_epoch", channel, first, reason)

    async def kept(self, name: str, channel: str) -> Kept:
        """As the port says."""
        return await self._ask("kept", name, channel)

    async def keep(self, name: str, channel: str, seq: int, state: bytes = b"", *, was: int) -> bool:
        """As the port says."""
        return await self._ask("keep", name, channel, seq, state, was)

    def _ask(self, name: str, *args: Any) -> asyncio.Future[Any]:
        world = self._world
        answer: asyncio.Future[Any] = world.loop.create_future()
        go_s, rewinds = self._way_s(), world.store.rewinds
        if not world.chance(world.weather.unknown):
            world.later(go_s, world.store.serve, name, args, lambda result: self._reply(answer, result), rewinds)
            return answer
        fate = world.rng.choice(("never asked", "never answered", "asked too late"))
        if name == "append":
            world.saw(f"an append with an unknown outcome: {fate}")
            world.note("store    an append of %s will be %s", ",".join(d.id for b in args[0] for d in b.drafts), fate)
        if fate != "never asked":
            late_s = TIMEOUT_S * (1 + world.rng.random()) if fate == "asked too late" else 0
            world.later(go_s + late_s, world.store.serve, name, args, _nobody, rewinds)
        world.later(go_s + TIMEOUT_S, _settle, answer, StoreUnavailable("the store did not answer"))
        return answer

    def _reply(self, answer: asyncio.Future[Any], result: Any) -> None:
        self._world.later(self._way_s(), _settle, answer, result)

    def _way_s(self) -> float:
        world = self._world
        if world.chance(world.weather.stall):
            world.saw("a call to the store stalled")
            return world.rng.uniform(0.05, 2)
        return world.rng.expovariate(1000)


class Ether:
    """What the brokers of all processes share. Loses, repeats and delays; is away at times."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.away = False
        self.queues: dict[asyncio.Queue[Frame | None], str] = {}

    def send(self, frames: Sequence[Frame]) -> None:
        """Each listener gets most frames, most of them once, many in order."""
        world = self._world
        for queue in self.queues:
            for frame in frames:
                if world.chance(world.weather.lose):
                    world.saw("a hint was lost")
                    continue
                self._deliver(queue, frame)
                if world.chance(world.weather.repeat):
                    world.saw("a hint was repeated")
                    self._deliver(queue, frame)

    def _deliver(self, queue: asyncio.Queue[Frame | None], frame: Frame) -> None:
        world = self._world
        late = world.chance(world.weather.delay)
        if late:
            world.saw("a hint came late")
        after_s = world.rng.choice((0.02, 0.2, 2)) * world.rng.random() if late else world.rng.expovariate(2000)
        world.later(after_s, queue.put_nowait, frame)

    def go_away(self) -> None:
        """Everybody's connection to the broker breaks."""
        self.away = True
        self._world.saw("the broker went away")
        for queue in self.queues:
            queue.put_nowait(None)


class FaultyBroker:
    """One process's broker."""

    def __init__(self, world: World, name: str) -> None:
        self._world = world
        self._name = name

    async def publish(self, frames: Sequence[Frame]) -> None:
        """As the port says."""
        world = self._world
        if world.chance(world.weather.stall):
            world.saw("the broker stalled")
            await asyncio.sleep(world.rng.choice((0.1, 100)))
        await asyncio.sleep(world.rng.expovariate(2000))
        if world.ether.away:
            raise Unavailable("the broker is away")
        world.ether.send(frames)

    async def listen(self) -> AsyncGenerator[Frame]:
        """As the port says."""
        ether = self._world.ether
        if ether.away:
            raise Unavailable("the broker is away")
        queue: asyncio.Queue[Frame | None] = asyncio.Queue()
        ether.queues[queue] = self._name
        try:
            while (frame := await queue.get()) is not None:
                yield frame
            raise Unavailable("the connection to the broker broke")
        finally:
            ether.queues.pop(queue, None)

    def vanish(self) -> None:
        """The process was killed: nobody listens any more."""
        queues = self._world.ether.queues
        for queue in [queue for queue, name in queues.items() if name == self._name]:
            del queues[queue]


def now(work: Coroutine[Any, Any, Any]) -> Any:
    """The result of a coroutine that never waits, as a MemoryStore's never do."""
    try:
        work.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("the MemoryStore waited for something")


def _copy(store: MemoryStore) -> MemoryStore:
    """The same log, by itself: what is in it never changes, only the lists do."""
    twin = copy.copy(store)
    twin._kept = dict(store._kept)
    twin._logs = {
        channel: replace(log, epochs=list(log.epochs), events=list(log.events), ids=dict(log.ids))
        for channel, log in store._logs.items()
    }
    return twin


def _settle(answer: asyncio.Future[Any], result: Any) -> None:
    if answer.done():
        return
    if isinstance(result, Exception):
        answer.set_exception(result)
        answer.exception()  # Whoever waited may have been killed: then nobody looks at it, and that is fine.
    else:
        answer.set_result(result)


def _nobody(result: Any) -> None:
    """Where an answer goes that nobody waits for any more."""


def _told(batch: Batch, result: Stored | Refused) -> str:
    ids = ",".join(draft.id for draft in batch.drafts)
    if isinstance(result, Refused):
        return f"{batch.channel} refuses {ids}: {result.error.name}"
    return f"{batch.channel} has " + ", ".join(
        f"{r.id} at {r.seq}{' already' if r.duplicate else ''}" for r in result.receipts
    )
