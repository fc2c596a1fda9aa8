"""Load on real servers by the real client, and the judgement afterwards: it knows only `filter(log)`.

Publishers send until each signal is acknowledged, wherever they are; readers reconnect by themselves. Then everybody
must have exactly what their filter matches, in order and once, and whatever was acknowledged stands where that said.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import msgspec

from catalyst_signals.client import connect
from catalyst_signals.events import Event
from catalyst_signals.filters import parse
from catalyst_signals.stores import Store
from catalyst_signals.verify import verify
from catalyst_signals.wire import frame_of
from tests.running import RunningServer

PAGE = 1000
SETTLED_S = 60.0
SYMBOLS = [f"S{n:02}" for n in range(40)]


def filters(count: int) -> list[str]:
    """So many filters, each of another kind of signal; the first is none."""
    made = [""]
    for n in range(1, count):
        pair = f"symbol in ({SYMBOLS[n % 40]}, {SYMBOLS[(n * 7 + 3) % 40]})"
        made.append(f"{pair} and confidence >= 0.{n % 8}" if n % 2 else pair)
    return made


@dataclass
class Load:
    """`async with Load(servers) as load:` runs until `settle`, which judges."""

    servers: Sequence[RunningServer]
    filters: Sequence[str]
    publishers: int = 16
    rate: float = 500  # Signals a second of all publishers together.
    ids: str = "p"  # How ids begin; of several loads on one log each has its own.
    acked: dict[str, int] = field(default_factory=dict)
    handled: list[list[int]] = field(default_factory=list)
    gaps: list[Any] = field(default_factory=list)
    _stop: asyncio.Event = field(default_factory=asyncio.Event)
    _publishing: list[asyncio.Task[None]] = field(default_factory=list)
    _reading: list[asyncio.Task[None]] = field(default_factory=list)

    async def __aenter__(self) -> Self:
        self.handled = [[] for _ in self.filters]
        at = itertools.cycle(self.servers)
        self._reading = [asyncio.create_task(self._read(next(at), i)) for i in range(len(self.filters))]
        self._publishing = [asyncio.create_task(self._publish(next(at), n)) for n in range(self.publishers)]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        for task in (*self._publishing, *self._reading):
            task.cancel()
        await asyncio.gather(*self._publishing, *self._reading, return_exceptions=True)

    async def _publish(self, server: RunningServer, number: int) -> None:
        async with connect(server.url, self.servers[0].admin_key, publish_timeout_s=120) as catalyst:
            for count in itertools.count():
                if self._stop.is_set():
                    return
                draft = {
                    "id": f"{self.ids}{number}-{count}", "symbol": random.choice(SYMBOLS), "action": "BUY",
                    "confidence": random.randrange(100) / 100,
                }  # fmt: skip
                receipt = await catalyst.publish(draft)
                self.acked[receipt.id] = receipt.seq
                await asyncio.sleep(random.uniform(0, 2 * self.publishers / self.rate))

    async def _read(self, server: RunningServer, at: int) -> None:
        async with connect(server.url, self.servers[0].admin_key, on_gap=self.gaps.append) as catalyst:
            async for signal in catalyst.signals(self.filters[at], after=0):
                self.handled[at].append(signal.seq)

    async def under_way(self, count: int = 500) -> None:
        """Wait until so much was acknowledged and everybody has had something."""
        until_s = asyncio.get_running_loop().time() + SETTLED_S
        while len(self.acked) < count or not all(self.handled):
            assert asyncio.get_running_loop().time() < until_s, f"{len(self.acked)} acknowledged: too little to prove"
            await asyncio.sleep(0.05)

    async def settle(self, store: Store) -> dict[int, Event]:
        """End the load, wait until everybody has everything, and judge; the log."""
        self._stop.set()
        await asyncio.wait_for(asyncio.gather(*self._publishing), 150)
        log = await log_of(store)
        wanted = self._wanted(log)
        until_s = asyncio.get_running_loop().time() + SETTLED_S
        while self.handled != wanted and asyncio.get_running_loop().time() < until_s:
            for task in self._reading:
                assert not task.done(), f"a reader ended: {task}"
            await asyncio.sleep(0.05)
        for text, got, due in zip(self.filters, self.handled, wanted, strict=True):
            assert got == due, f"`{text}` got {_difference(got, due)}"
        for id, seq in self.acked.items():
            assert seq in log and log[seq].id == id, f"{id} was acknowledged at {seq}, and is not there"
        assert not (await verify(store)).faults
        return log

    def _wanted(self, log: dict[int, Event]) -> list[list[int]]:
        docs = {seq: msgspec.json.decode(frame_of(event).text) for seq, event in sorted(log.items())}
        judges = [parse(text) for text in self.filters]
        return [[seq for seq, doc in docs.items() if judge.matches(doc)] for judge in judges]


async def log_of(store: Store, channel: str = "main") -> dict[int, Event]:
    """Every event of a channel, as the store has it."""
    found: dict[int, Event] = {}
    after = (await store.extents([channel]))[channel].first - 1
    while page := await store.read(channel, after, PAGE):
        found |= {event.seq: event for event in page}
        after = page[-1].seq
    return found


def _difference(got: Sequence[int], due: Sequence[int]) -> str:
    twice = sorted({seq for seq in got if got.count(seq) > 1})[:5] if len(got) != len(set(got)) else []
    missing, added = sorted(set(due) - set(got)), sorted(set(got) - set(due))
    order = "" if got == sorted(got) else ", not in order"
    return f"{len(got)} of {len(due)}: missing {missing[:5]}, added {added[:5]}, twice {twice}{order}"
