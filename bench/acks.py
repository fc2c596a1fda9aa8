"""When a publish is answered, durable in PostgreSQL with an fsync of 2 ms, through a real node.

Publishers send at a fixed rate, whatever was answered; a wait counts from the moment of sending. The node has core
0, PostgreSQL and the publishers share core 1. `busy` is how much of its core the node used; of single signals the
messages themselves are most of that.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from contextlib import ExitStack
from dataclasses import dataclass

from bench.harness import CLIENT_CORE, SERVER_CORE, Row, ms_at, show
from bench.peers.run import Server, started
from bench.peers.traffic import HOLE, signals
from bench.peers.wires import frame, http, upgrade
from bench.site import Node, slow_postgres

LINES, SECONDS, END_S = 16, 5.0, 20.0
REFUSED = b'"error"'


@dataclass(frozen=True)
class Load:
    """`rate` signals a second, `per` of them in a request."""

    says: str
    rate: int
    per: int
    answer: bytes
    goal: str = ""


LOADS = (
    Load("single over 16 WebSockets", 2000, 1, b'"accepted"'),
    Load("single over 16 WebSockets", 5000, 1, b'"accepted"'),
    Load("single over 16 WebSockets", 10_000, 1, b'"accepted"', "p99 <= 15 ms"),
    Load("20 a request over 16 connections", 10_000, 20, b"HTTP/1.1 201", "p99 <= 15 ms"),
)


def run() -> list[Row]:
    """A row for each load, on one node. Its PostgreSQL has log files to use again, as any has that runs for a while."""
    os.sched_setaffinity(0, {int(CLIENT_CORE)})
    with ExitStack() as stack:
        database = stack.enter_context(slow_postgres())
        kind = type("Alone", (Node,), {"store_url": database.url, "cores": SERVER_CORE})
        node = stack.enter_context(started(kind))
        asyncio.run(_paced(node, LOADS[-1], 1))
        rows = []
        for n, load in enumerate(LOADS, 2):
            database.sql("CHECKPOINT")
            rows.append(asyncio.run(_paced(node, load, n * 1_000_000)))
        return rows


class Publisher(asyncio.Protocol):
    """One connection: what it sent and is not answered yet, by when it was sent, and how long the others waited."""

    def __init__(self, answer: bytes) -> None:
        self.sent_s: deque[float] = deque()
        self.waited_s: list[float] = []
        self._answer, self._tail, self._idle = answer, b"", asyncio.Event()

    def data_received(self, data: bytes) -> None:
        """Answers come in the order of what was sent."""
        now_s, data = time.perf_counter(), self._tail + data
        assert REFUSED not in data, data[:500]
        self.waited_s += [now_s - self.sent_s.popleft() for _ in range(data.count(self._answer))]
        self._tail = data[1 - len(self._answer) :]
        if not self.sent_s:
            self._idle.set()

    async def answered(self) -> None:
        """Nothing is left."""
        if self.sent_s:
            self._idle.clear()
            await self._idle.wait()


async def _paced(node: Server, load: Load, first: int) -> Row:
    requests = _requests(node, load, first)
    lines = [await _dialled(node, load) for _ in range(LINES)]
    used_s, began_s = node.cpu_s, time.perf_counter()
    for n, each in enumerate(requests):
        early_s = began_s + n * load.per / load.rate - time.perf_counter()
        if early_s > 0:
            await asyncio.sleep(early_s)
        transport, publisher = lines[n % LINES]
        publisher.sent_s.append(time.perf_counter())
        transport.write(each)
    async with asyncio.timeout(END_S):
        for _, publisher in lines:
            await publisher.answered()
    took_s, used_s = time.perf_counter() - began_s, node.cpu_s - used_s
    for transport, _ in lines:
        transport.close()
    waited_s = sorted(s for _, publisher in lines for s in publisher.waited_s)
    return {
        "load": f"{load.says}, {load.rate} signals a second", "events_per_s": round(len(requests) * load.per / took_s),
        "ack_p50_ms": ms_at(waited_s, 0.5), "ack_p99_ms": ms_at(waited_s, 0.99), "busy": round(used_s / took_s, 2),
        "goal": load.goal,
    }  # fmt: skip


def _requests(node: Server, load: Load, first: int) -> list[bytes]:
    texts = [each.text.replace(HOLE, "1" * len(HOLE)) for each in signals(int(load.rate * SECONDS), first)]
    if load.per == 1:
        return [frame(f'{{"type":"publish","channel":"main","signal":{text}}}') for text in texts]
    bodies = (f"[{','.join(texts[at : at + load.per])}]" for at in range(0, len(texts), load.per))
    return [http("/v1/channels/main/signals", body, node.system.header) for body in bodies]


async def _dialled(node: Server, load: Load) -> tuple[asyncio.Transport, Publisher]:
    dial = asyncio.get_running_loop().create_connection
    transport, publisher = await dial(lambda: Publisher(load.answer), "127.0.0.1", node.system.port)
    if load.per == 1:
        transport.write(upgrade("/v1/ws", node.system.header))
        await asyncio.sleep(0.1)
    return transport, publisher


if __name__ == "__main__":
    show(run())
