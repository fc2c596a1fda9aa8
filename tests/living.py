"""Load on real servers by the real client, and the judgement afterwards: it knows only `filter(log)`.

Publishers send until each signal is acknowledged, wherever they are; readers reconnect by themselves. Then everybody
must have exactly what their filter matches, in order and once, and whatever was acknowledged stands where that said.
What a log lost is not there, so its own epochs must say which range that is, whoever had any of it must have been told
exactly this range, and no number of it may ever have been another signal's too.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import msgspec

from catalyst_signals.client import Gap, connect
from catalyst_signals.events import Event, Extent
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
    more: Mapping[str, Any] = field(default_factory=dict)  # In every signal.
    ids: str = "p"  # How ids begin; of several loads on one log each has its own.
    delays_s: list[float] = field(default_factory=list)  # From the commit to the reader whose filter is none.
    acked: dict[str, int] = field(default_factory=dict)
    handled: list[list[int]] = field(default_factory=list)
    told: list[list[Gap]] = field(default_factory=list)
    ids_at: dict[int, set[str]] = field(default_factory=dict)  # Whose each number was, for anybody who was given it.
    _stop: asyncio.Event = field(default_factory=asyncio.Event)
    _publishing: list[asyncio.Task[None]] = field(default_factory=list)
    _reading: list[asyncio.Task[None]] = field(default_factory=list)

    async def __aenter__(self) -> Self:
        self.handled = [[] for _ in self.filters]
        self.told = [[] for _ in self.filters]
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

    @property
    def gaps(self) -> list[Gap]:
        """What anybody was told not to be there."""
        return [gap for told in self.told for gap in told]

    async def _publish(self, server: RunningServer, number: int) -> None:
        async with connect(server.url, self.servers[0].admin_key, publish_timeout_s=120) as catalyst:
            for count in itertools.count():
                if self._stop.is_set():
                    return
                draft = {
                    "id": f"{self.ids}{number}-{count}", "symbol": random.choice(SYMBOLS), "action": "BUY",
                    "confidence": random.randrange(100) / 100, **self.more,
                }  # fmt: skip
                receipt = await catalyst.publish(draft)
                self.acked[receipt.id] = receipt.seq
                self.ids_at.setdefault(receipt.seq, set()).add(receipt.id)
                await asyncio.sleep(random.uniform(0, 2 * self.publishers / self.rate))

    async def _read(self, server: RunningServer, at: int) -> None:
        async with connect(server.url, self.servers[0].admin_key, on_gap=self.told[at].append) as catalyst:
            async for signal in catalyst.signals(self.filters[at], after=0):
                self.handled[at].append(signal.seq)
                self.ids_at.setdefault(signal.seq, set()).add(signal.id)
                if not self.filters[at]:
                    self.delays_s.append(time.time() - signal.ts.timestamp())

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
        while self._had(log) != wanted and asyncio.get_running_loop().time() < until_s:
            for task in self._reading:
                assert not task.done(), f"a reader ended: {task}"
            await asyncio.sleep(0.05)
        for text, got, due in zip(self.filters, self._had(log), wanted, strict=True):
            assert got == due, f"`{text}` got {_difference(got, due)}"
        self._judge_lost(log, (await store.extents(["main"]))["main"])
        assert not (await verify(store)).faults
        return log

    def _had(self, log: dict[int, Event]) -> list[list[int]]:
        """What each had of what is there."""
        return [[seq for seq in got if seq in log] for got in self.handled]

    def _judge_lost(self, log: dict[int, Event], extent: Extent) -> None:
        voids = [(epoch.agreed + 1, epoch.first - 1) for epoch in extent.epochs[1:]]
        for seq, ids in self.ids_at.items():
            assert len(ids) == 1, f"{seq} was {ids}"
            there = seq in log and log[seq].id in ids
            assert there or _in_any(seq, voids), f"{ids} was given at {seq}, and is neither there nor said to be lost"
        for got, told in zip(self.handled, self.told, strict=True):
            assert all(gap.void in voids for gap in told), (told, voids)
            untold = [seq for seq in got if seq not in log and not _in_any(seq, [gap.void for gap in told])]
            assert not untold, f"{untold[:5]} are lost, and who had them was told {told}"

    def _wanted(self, log: dict[int, Event]) -> list[list[int]]:
        docs = {seq: msgspec.json.decode(frame_of(event).text) for seq, event in sorted(log.items())}
        judges = [parse(text) for text in self.filters]
        return [[seq for seq, doc in docs.items() if judge.matches(doc)] for judge in judges]


def _in_any(seq: int, ranges: Sequence[tuple[int, int]]) -> bool:
    return any(first <= seq <= last for first, last in ranges)


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
