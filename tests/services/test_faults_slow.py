"""Subscribers stop reading under the load of two nodes: a slow reader hurts only itself, and loses nothing.

Covers the cursors of `catalyst_signals.hub` and the stall of `catalyst_signals.server.stream` from outside.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect as dial
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from catalyst_signals.filters import parse
from catalyst_signals.wire import decode, frame_of
from tests.running import RunningServer
from tests.services.nodes import Site, a_site

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

SLOW, STUCK = 14, 6  # Who goes on after a while, and who does not before the end.
STOPS_S, STALL_S = 4.0, 8.0
NOTE = "x" * 2000  # A signal of 2 KB: what a stalled reader has not taken is more than the kernel keeps for it.
ROOM_KIB = 16 << 10  # Ten queues of all that is sent meanwhile would be 60 MB a node.
DELAY_S = 1.0
TOO_SLOW, DROPPED = 4008, 1006  # The close frame arrives only if there was room for it.


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with a_site(tmp_path, stall_s=STALL_S, ring_bytes=4 << 20) as found:
        yield found


class Slow:
    """A subscriber on a bare socket that reads while `reading` is set, and comes back when it was closed."""

    def __init__(self, node: RunningServer, key: str, filter: str) -> None:
        self.node, self.key, self.filter = node, key, filter
        self.reading = asyncio.Event()
        self.reading.set()
        self.seqs: list[int] = []
        self.through = 0
        self.epoch = ""
        self.closed: list[int] = []

    async def read(self) -> None:
        """For ever."""
        while True:
            port = int(self.node.url.rsplit(":", 1)[1])
            narrow = socket.socket()
            narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 << 10)
            narrow.connect(("127.0.0.1", port))
            narrow.setblocking(False)
            url = self.node.url.replace("http", "ws", 1) + "/v1/ws"
            headers = {"Authorization": f"Bearer {self.key}"}
            try:
                async with dial(url, sock=narrow, additional_headers=headers, proxy=None, ping_interval=None) as wire:
                    asked = {"type": "subscribe", "channel": "main", "filter": self.filter, "after": self.through}
                    await wire.send(json.dumps(asked | ({"epoch": self.epoch} if self.epoch else {})))
                    while True:
                        await self.reading.wait()
                        self._take(json.loads(await wire.recv()))
            except ConnectionClosed as closed:
                self.closed.append(closed.rcvd.code if closed.rcvd is not None else 1006)
            except (InvalidHandshake, OSError, TimeoutError):
                await asyncio.sleep(0.1)  # A busy machine's node takes nobody for a moment: every client asks again.

    def _take(self, message: dict[str, Any]) -> None:
        if "data" in message:
            self.seqs.append(message["seq"])
            self.through = message["seq"]
        elif message["type"] in ("subscribed", "position"):
            self.epoch = message["epoch"]
            self.through = max(self.through, message.get("complete_through", 0))
        else:
            assert message["type"] in ("welcome", "live"), message


def rss_kib(node: RunningServer) -> int:
    """The memory of a node."""
    assert node.process is not None
    lines = Path(f"/proc/{node.process.pid}/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmRSS")))


def all_given_up(site: Site) -> int:
    """How many both nodes closed because they were too slow."""
    return sum(given_up(node, site.nodes[0].admin_key) for node in site.nodes)


def given_up(node: RunningServer, key: str) -> int:
    """How many of them were one node's."""
    with node.http(key) as http:
        found = re.search(r'catalyst_connections_closed_total\{reason="too_slow"\} (\d+)', http.get("/metrics").text)
    return int(found[1]) if found else 0


@asynccontextmanager
async def readers(site: Site) -> AsyncIterator[list[Slow]]:
    """They read from the first signal on."""
    key = site.nodes[0].admin_key
    slow = [Slow(site.nodes[n % 2], key, "" if n % 2 else "confidence >= 0.3") for n in range(SLOW + STUCK)]
    tasks = [asyncio.create_task(each.read()) for each in slow]
    try:
        yield slow
    finally:
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(each, asyncio.CancelledError) for each in ended), ended


async def test_who_stops_reading_hurts_nobody_and_has_everything_once_he_reads_again(site: Site) -> None:
    """And whom the server gave up is told so, and goes on from the place where he stood."""
    async with readers(site) as slow:
        async with site.under_load({"note": NOTE}) as load:
            before = [rss_kib(node) for node in site.nodes]
            load.delays_s.clear()
            for each in slow:
                each.reading.clear()
            await asyncio.sleep(STOPS_S)
            for each in slow[:SLOW]:
                each.reading.set()
            # How soon a stalled reader is full depends on how much a busy machine sends meanwhile.
            async with asyncio.timeout(60):
                while await asyncio.to_thread(all_given_up, site) < STUCK:
                    await asyncio.sleep(0.2)
            grown = [rss_kib(node) - kib for node, kib in zip(site.nodes, before, strict=True)]
            delays_s = sorted(load.delays_s)
            for each in slow:
                each.reading.set()
        await all_have_what_is_theirs(slow, site)
    assert not any(each.closed for each in slow[:SLOW]), "who was only slow was closed"
    stuck = [each.closed for each in slow[SLOW:]]
    assert all(closed in ([TOO_SLOW], [DROPPED]) for closed in stuck), stuck
    assert all_given_up(site) == STUCK
    assert delays_s[len(delays_s) * 99 // 100] < DELAY_S, "the others waited"
    assert max(grown) < ROOM_KIB, grown


async def all_have_what_is_theirs(slow: list[Slow], site: Site) -> None:
    """Each exactly what matches, in order and once."""
    docs = {seq: doc_of(event) for seq, event in sorted(site.log.items())}
    for each in slow:
        due = [seq for seq, doc in docs.items() if parse(each.filter).matches(doc)]
        async with asyncio.timeout(60):
            while len(each.seqs) < len(due):
                await asyncio.sleep(0.05)
        assert each.seqs == due


def doc_of(event: Any) -> dict[str, Any]:
    """An event as its subscribers get it."""
    doc: dict[str, Any] = decode(frame_of(event).text)
    return doc
