"""One process of the simulated world: the real hub, gate, publisher, changes, expirer and connections, wired as
server/app.py does it.

Owns: how a process starts, serves and ends. Law: nothing of it is a stand-in but the store, the broker and the sockets.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from errno import EBADF
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from catalyst_signals.auth import Principal
from catalyst_signals.changes import Author, supersedes
from catalyst_signals.errors import CatalystError, Draining, Unavailable
from catalyst_signals.events import Batch, Frame, Refused
from catalyst_signals.expiry import Expirer
from catalyst_signals.filters import Filter
from catalyst_signals.server.app import drain
from catalyst_signals.server.node import Node
from catalyst_signals.server.stream import Connection
from catalyst_signals.tape import MatchIndex
from catalyst_signals.trust import Reader
from catalyst_signals.vital import vital
from catalyst_signals.wire import frame_of

from .faults import FaultyBroker, StoreLine
from .history import Erasure
from .interests import filter_of
from .sightings import WatchedFollower, WatchedHub, WatchedPublisher
from .virtual import InOrder, Process

if TYPE_CHECKING:
    from .world import World

KEEP_S = 1.0


class Steady(MatchIndex[Any]):
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
        self.began_us = world.now_us()
        self.wires: list[Any] = []
        self.sockets: dict[int, Any] = {}  # By their numbers, which are given again when one is closed.
        self.node: ServerNode | None = None
        self.broker = FaultyBroker(world, name)
        self.draining = False
        self.untold = InOrder()  # Erasures it has not heard of yet.

    @property
    def ready(self) -> bool:
        """Whether one can connect."""
        return self.node is not None and not self.dead and not self.draining

    async def run(self) -> None:
        """Open every part as app.py does; then visit the connections now and then, for ever."""
        world, rng = self.world, self.world.rng
        store: Any = StoreLine(world)
        reader = Reader(store)

        async def fetch(channel: str, after: int, limit: int) -> list[Frame]:
            return [frame_of(event) for event in await reader.read(channel, after, limit)]

        the_hub = WatchedHub(
            world, fetch, store.find, ring_bytes=rng.choice((1000, 4000, 1 << 20)), clock=_Clock(world), send=self._send
        )
        poll_s = rng.choice((0.2, 0.5, 1.0))
        follower = WatchedFollower(world, store, self.broker, the_hub, poll_s=poll_s, reader=reader)
        await _until_it_works(follower.__aenter__)
        publisher = WatchedPublisher(world, store, follower, self.broker, queue_max=rng.choice((8, 10_000)))
        state: Any = SimpleNamespace(channels=world.channels, keys={}, watch=_nobody, watch_filters=_nobody)
        keys: Any = None
        self.node = ServerNode(_settings(world, self.name), store, the_hub, follower, publisher, state, keys)
        expirer = Expirer(store, follower.reader, self.node.changes, publisher)
        follower.fold(None, expirer.fold)
        follower.watch(expirer.jumped)
        if hasattr(follower, "jumped"):
            follower.jumped(expirer.again)
        vital(expirer.run(list(world.channels)))
        if world.expiring:
            vital(self._keep(expirer))
        world.note("%-8s is ready", self.name)
        while True:
            await asyncio.sleep(0.25)
            for connection in self.node.every_connection():
                if world.loop.time() >= connection.look_s:
                    connection.tick(world.loop.time())

    def _send(self, number: int, data: bytes) -> int:
        """`os.write` of this process."""
        if number not in self.sockets:
            raise OSError(EBADF, "Bad file descriptor")
        return int(self.sockets[number].take(data))

    async def _keep(self, expirer: Expirer) -> None:
        """As house.py does, after fewer events."""
        while True:
            await asyncio.sleep(KEEP_S)
            for channel in list(self.world.channels):
                try:
                    await expirer.keep(channel, every=5)
                except CatalystError:
                    self.world.saw("a place could not be kept")

    def submit(self, batches: Sequence[Batch]) -> asyncio.Future[Any]:
        """What the handler of a POST does."""
        if self.node is None:
            raise Unavailable("this process is not ready")
        for batch in batches:
            if batch.channel in self.world.channels and batch.channel not in self.node.hub.tapes:
                raise Unavailable("this process has not heard of the channel yet")
        if any(supersedes(draft) is not None for batch in batches for draft in batch.drafts):
            return self.do(self._supersede(batches))
        return self.node.publisher.submit(batches)

    async def _supersede(self, batches: Sequence[Batch]) -> list[Any]:
        assert self.node is not None
        results: list[Any] = []
        for batch in batches:
            try:
                stored = await self.node.changes.publish(batch.channel, Author(batch.subject), batch.drafts)
                results.append(stored)
            except CatalystError as error:
                if error.retry:
                    raise
                results.append(Refused(error))
        return results

    def do(self, work: Any) -> asyncio.Future[Any]:
        """Something a handler does, here; its answer or the error it ends with is the future's."""
        answer: asyncio.Future[Any] = self.world.loop.create_future()

        async def done() -> None:
            try:
                result = await work
            except CatalystError as error:
                if not answer.done():
                    answer.set_exception(error)
                    answer.exception()
            else:
                if not answer.done():
                    answer.set_result(result)

        self.world.loop.spawn(self, done)
        return answer

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

    def hear_of(self, erasure: Erasure) -> None:
        """The `system` event that says what was erased, as erasing.watch takes it."""
        if self.node is not None and erasure.channel in self.node.hub.tapes:
            self.node.hub.forget(erasure.channel, [erasure.seq])
        self._heard(erasure)

    def _heard(self, erasure: Erasure) -> None:
        self.untold.discard(erasure)
        erasure.told_us = max(erasure.told_us, self.world.now_us())

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
            for erasure in list(self.untold):
                self._heard(erasure)  # From here on it says nothing.
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


async def _until_it_works(work: Callable[[], Any]) -> None:
    while True:
        try:
            await work()
            return
        except Unavailable:
            await asyncio.sleep(0.1)


def _nobody(watcher: Any) -> None:
    """There are no keys and no saved filters here."""


def _settings(world: World, name: str) -> Any:
    return SimpleNamespace(
        drain_s=30.0,
        node=name, position_s=2, message_bytes=65536, publishes_in_flight=3, auth_s=5, silent_s=8, stall_s=3,
        trust_s=world.trust_s, poll_s=0.5, ingest_rate=1, ingest_burst=1,
        cache_url="memory:", address_connections=0, trusted_proxies=[], key_connect_rate=0, key_publish_rate=0,
        user_subscribe_rate=0, user_replay_rate=0, ledger_s=2_592_000,
    )  # fmt: skip
