"""One process with everything but a listener: what a slow or dead client, an admin or damage may not do to it.

Covers `catalyst_signals.server.house`, `catalyst_signals.server.stream`, `catalyst_signals.server.erasing` from within.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import httpx2
import pytest

from catalyst_signals.changes import Author
from catalyst_signals.errors import CatalystError, NotFound
from catalyst_signals.events import Batch, Frame
from catalyst_signals.filters import parse
from catalyst_signals.server.app import build_app, open_node
from catalyst_signals.server.node import Node
from catalyst_signals.server.protocol import SocketProtocol
from catalyst_signals.server.settings import Settings
from catalyst_signals.server.stream import Connection
from catalyst_signals.signals import signal_draft
from catalyst_signals.verify import Fault
from catalyst_signals.wire import SYSTEM_CHANNEL

HIGH_WATER = 16 << 10


class Wire:
    """A transport as asyncio's and uvloop's: says once that it is full, and raises when it is dead."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.transport = self
        self.owner: Connection | None = None
        self.stuck = self.full = self.dead = False
        self.buffered = 0

    def adopt(self, owner: Connection) -> None:
        self.owner = owner

    def hold_reading(self, held: bool) -> None:
        """Nothing is read here."""

    def abort(self) -> None:
        """Told by the connection."""

    def write(self, data: bytes) -> None:
        if self.dead:
            raise RuntimeError("unable to perform operation on a closed transport")
        self.buffered += len(data) if self.stuck else 0
        if self.buffered > HIGH_WATER and not self.full:
            assert self.owner is not None
            self.full = True
            self.owner.paused()

    socket = None  # There is none to write to beside it.

    def drain(self) -> None:
        """The client takes all there is, once."""
        assert self.owner is not None and self.full
        self.buffered, self.full = 0, False
        self.owner.resumed()


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    """A process on a log in memory; none of its vital parts may fail."""
    failed: list[Any] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: failed.append(context.get("exception") or context["message"]))
    settings = Settings(store_url="memory:", retention_s=0.02, scrub_s=0.02, poll_s=60)
    try:
        async with open_node(settings) as node:
            yield node
    finally:
        loop.set_exception_handler(None)
    assert failed == []


def connected(node: Node) -> tuple[Connection, Wire]:
    """The admin, on a WebSocket."""
    wire = Wire()
    return Connection(node, cast(SocketProtocol, wire), node.authenticate(node.first_key)), wire


async def opened(node: Node, *names: str) -> None:
    """More channels."""
    for name in names:
        await node.open_channel(name)
        await node.administer(node.authenticate(node.first_key), "channel.set", {"name": name})


async def publish(node: Node, channel: str, count: int = 1, **fields: Any) -> None:
    """So many signals."""
    signal = {"symbol": "ACME", "action": "BUY"} | fields
    drafts = [signal_draft(signal, subject="admin")[0] for _ in range(count)]
    await node.publisher.publish(Batch(channel=channel, subject="admin", drafts=drafts))


def http(node: Node) -> httpx2.AsyncClient:
    """Its REST, without a socket."""
    headers = {"Authorization": f"Bearer {node.first_key}"}
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(build_app(node)), base_url="http://here", headers=headers)


async def within(seconds: float, what: Any) -> bool:
    """Whether it comes to be true in time."""
    for _ in range(int(seconds / 0.01)):
        if what():
            return True
        await asyncio.sleep(0.01)
    return bool(what())


# -- admins ---------------------------------------------------------------------------------------------------------


async def test_a_channel_that_has_no_log_yet_does_not_end_the_process(node: Node) -> None:
    """Whoever makes a channel while the store refuses the second commit must not take everybody down."""
    await node.administer(node.authenticate(node.first_key), "channel.set", {"name": "half"})
    await publish(node, "main")
    node.swept.clear()
    assert await within(0.3, lambda: "main" in node.swept), "the others are swept"
    assert "half" not in node.swept
    await asyncio.sleep(0.05)


async def test_a_channel_that_everybody_knows_of_has_a_log(node: Node) -> None:
    """Every process that folds `channel.set` may go and read it at once."""
    had_a_log: list[bool] = []

    def look(frame: Frame) -> None:
        if b'"channel.set"' in frame.text:
            had_a_log.append("made" in node.hub.tapes)

    node.follower.fold(SYSTEM_CHANNEL, look)
    async with http(node) as rest:
        assert (await rest.put("/v1/channels/made", json={})).status_code == 201
    assert had_a_log == [True]


async def test_a_good_scrub_clears_the_fault_of_the_whole_store(node: Node) -> None:
    """The probe of a store that was mended lets traffic back in without a restart."""
    reader = node.follower.reader
    reader.note("", Fault("the store", 0, "its heads could not be read"))
    async with http(node) as rest:
        assert (await rest.get("/readyz")).status_code == 503
        assert await within(0.3, lambda: not reader.faults)
        assert (await rest.get("/readyz")).status_code == 200


# -- erasing --------------------------------------------------------------------------------------------------------


async def words_left(node: Node) -> list[int]:
    """Where the log still has what was to be erased."""
    return [event.seq for event in await node.store.read("main", 0, 1000) if b"SECRET" in event.body]


@pytest.mark.parametrize("steps", range(6))
async def test_a_change_that_is_being_stored_is_erased_with_the_rest(node: Node, steps: int) -> None:
    """The answer to somebody's demand says `erased`, and then it has to be so."""
    await publish(node, "main", id="s1", note="SECRET")
    change = asyncio.create_task(node.changes.update("main", "s1", {"confidence": 0.5}, Author("admin")))
    for _ in range(steps):
        await asyncio.sleep(0)
    async with http(node) as rest:
        answer = await rest.delete("/v1/channels/main/signals/s1")
    await asyncio.gather(change, return_exceptions=True)
    assert answer.status_code == 200 and await words_left(node) == []


class Gate:
    """A store that takes its time: to answer what it has read of a channel, or to append to it."""

    def __init__(self, node: Node, patch: pytest.MonkeyPatch, name: str, channel: str) -> None:
        self.asked, self.go_on = asyncio.Event(), asyncio.Event()
        do = getattr(node.store, name)

        async def read(*args: Any) -> Any:
            answer = await do(*args)
            await self.wait(args[0] == channel)
            return answer

        async def append(batches: list[Batch]) -> Any:
            await self.wait(batches[0].channel == channel)
            return await do(batches)

        patch.setattr(node.store, name, read if name == "read" else append)

    async def wait(self, concerned: bool) -> None:
        if concerned:
            self.asked.set()
            await self.go_on.wait()


async def test_what_was_read_before_an_erasure_is_not_written_after_it(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change waits for the disk while everything it has read is erased."""
    await publish(node, "main", id="s1", note="SECRET")
    await publish(node, "main", id="s2", note="SECRET")
    reading = Gate(node, monkeypatch, "read", "main")
    draft, _ = signal_draft({"symbol": "ACME", "action": "BUY", "supersedes": "s2"}, subject="admin")
    changes = asyncio.gather(
        node.changes.update("main", "s1", {"confidence": 0.5}, Author("admin")),
        node.changes.publish("main", Author("admin"), [draft]),
        return_exceptions=True,
    )
    await reading.asked.wait()
    async with http(node) as rest:
        for id in ("s1", "s2"):
            assert (await rest.delete(f"/v1/channels/main/signals/{id}")).status_code == 200
    reading.go_on.set()
    changed, superseded = await changes
    assert isinstance(changed, NotFound)
    assert isinstance(superseded, CatalystError) and superseded.field == "supersedes"
    assert await words_left(node) == []


async def test_what_is_written_while_the_erasure_is_being_told_is_erased_too(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change that nobody could stop any more is found before anyone is answered."""
    await publish(node, "main", id="s1", note="SECRET")
    reading = Gate(node, monkeypatch, "read", "main")
    telling, storing = (Gate(node, monkeypatch, "append", channel) for channel in (SYSTEM_CHANNEL, "main"))
    change = asyncio.create_task(node.changes.update("main", "s1", {"confidence": 0.5}, Author("admin")))
    await reading.asked.wait()
    async with http(node) as rest:
        erasing = asyncio.create_task(rest.delete("/v1/channels/main/signals/s1"))
        await telling.asked.wait()
        reading.go_on.set()
        await asyncio.sleep(0.01)
        telling.go_on.set()
        await storing.asked.wait()
        await asyncio.sleep(0.01)
        storing.go_on.set()
        answer = await erasing
    await change
    assert answer.json() == {"erased": [1, 2]} and await words_left(node) == []


# -- slow and dead clients ------------------------------------------------------------------------------------------


async def test_a_client_that_is_full_again_while_it_is_told_of_an_edited_filter_stays_paused(node: Node) -> None:
    """Memory has a limit: what a slow client costs is a cursor, whatever it subscribes to."""
    await opened(node, *"abcd")
    me = node.authenticate(node.first_key)

    async def save(filter: str) -> None:
        said = {"user": me.subject, "name": "mine", "filter": parse(filter).text}
        await node.administer(me, "filter.saved", said)

    await save("symbol = ACME")
    connection, wire = connected(node)
    connection.received('{"type":"subscribe","channels":["a","b","c","d"],"filter":"mine"}')
    assert await within(0.3, lambda: all(node.hub.tapes[name].subscribers for name in "abcd"))
    wire.stuck = True
    await publish(node, "a", 40, note="x" * 1000)
    assert await within(0.3, lambda: wire.full)
    await save("symbol in (ACME, " + ", ".join(f"S{n:013d}" for n in range(490)) + ")")
    wire.drain()
    told = wire.buffered
    assert wire.full and told < 28 << 10, "three answers of 8 KB fill it, the fourth waits"
    await publish(node, "a", 300, note="x" * 1000)
    await asyncio.sleep(0.05)
    assert wire.buffered == told
    wire.stuck = False
    wire.drain()
    await asyncio.sleep(0.05)
    assert not wire.full and node.hub.tapes["a"].done == 340
    assert {node.hub.place(s).seq for s in node.hub.tapes["a"].subscribers} == {340}
    assert len({s.group.filter.text for name in "abcd" for s in node.hub.tapes[name].subscribers}) == 1
    connection.closing()


async def test_a_socket_that_dies_while_it_subscribes_leaves_nothing_behind(node: Node) -> None:
    """Nobody is matched and counted for ever for a client that is gone, and the process lives."""
    await opened(node, "a", "b")
    connection, wire = connected(node)
    connection.received('{"type":"subscribe","channels":["a","b"]}')
    assert await within(0.3, lambda: all(node.hub.tapes[name].subscribers for name in "ab"))
    wire.dead = True
    connection.received('{"type":"subscribe","channels":["a","b"],"filter":"symbol = X"}')
    assert await within(0.3, lambda: connection.closed)
    await asyncio.sleep(0.02)
    assert not any(tape.subscribers or tape.groups for tape in node.hub.tapes.values())
