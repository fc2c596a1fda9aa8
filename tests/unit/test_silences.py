"""Many who watch one log tell one silence. Covers `catalyst_signals.server.silences` and `server.occurrences`."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from catalyst_signals.server.app import open_node
from catalyst_signals.server.node import Node
from catalyst_signals.server.occurrences import Occurrence, Place
from catalyst_signals.server.settings import Settings
from catalyst_signals.server.silences import Silences
from catalyst_signals.watch import Heartbeat

MANY = 8


async def told(node: Node) -> list[tuple[str, int]]:
    """What `main` was told: type and version."""
    return [(event.type, event.version) for event in await node.store.read("main", 0, 100)]


@pytest.mark.anyio
async def test_of_many_who_look_at_the_same_moment_one_decides(tmp_path: Path) -> None:
    """As many processes as one likes, a store that takes its time: one `source.silent`, one `source.heard`."""
    async with open_node(Settings(store_url=f"sqlite:///{tmp_path / 'a.db'}")) as node:
        heartbeat = Heartbeat("h", "bot", "main", 1.0, "admin", "2026-11-26T00:00:00Z")
        node.state._now.heartbeats[heartbeat.key] = heartbeat
        many = [Silences(node.store, node.publisher, node.state) for _ in range(MANY)]
        async with asyncio.timeout(10):
            while len(await told(node)) < 1:
                await asyncio.gather(*(one.look() for one in many))
                await asyncio.sleep(0.05)
            await asyncio.gather(*(one.look() for one in many))
        assert await told(node) == [("source.silent", 1)]
        for one in many:
            one.beat(heartbeat)
        for _ in range(2 * MANY):  # Each has something to share, and of those who write at once one is first.
            await asyncio.gather(*(one.look() for one in many))
        assert await told(node) == [("source.silent", 1), ("source.heard", 2)]
        assert [one.silent for one in many] == [0] * MANY


@pytest.mark.anyio
async def test_a_place_is_written_by_one_and_what_was_not_told_is_told_by_the_next(tmp_path: Path) -> None:
    """A process that dies between deciding and telling leaves it to whoever reads that."""
    async with open_node(Settings(store_url="memory:")) as node:
        one, other = (Place(node.store, node.publisher, "beat", "main/bot") for _ in range(2))
        await one.read("h")
        await other.read("h")
        assert await one.write(Occurrence("h", "silence.x", on=True, told=False))
        assert not await other.write(Occurrence("h", "silence.y", on=True, told=False))
        heartbeat = Heartbeat("h", "bot", "main", 60.0, "admin", "2026-11-26T00:00:00Z")
        node.state._now.heartbeats[heartbeat.key] = heartbeat
        await Silences(node.store, node.publisher, node.state).look()
        events = await node.store.read("main", 0, 100)
        assert [(event.type, event.id) for event in events] == [("source.silent", "silence.x")]
        assert (await other.read("h")).told
        assert (await other.read("another promise")).id == "", "what belongs to another promise is none of this"
