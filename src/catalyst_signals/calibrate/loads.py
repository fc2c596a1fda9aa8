"""The loads: what is done to a store, an index of filters, a broker and a server while it is counted.

Owns: signals and filters as people have them, and how much is under way at once. Knows nothing of files or of screens.
Law: each load goes on until it is cancelled, and lets the event loop look at the clock between.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from collections.abc import Sequence
from itertools import count
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import msgspec

from catalyst_signals.advisor.capacity import FILTERS
from catalyst_signals.brokers import Broker
from catalyst_signals.calibrate.sockets import Socket
from catalyst_signals.events import Batch, Draft, Frame, Refused, hash_of_draft
from catalyst_signals.filters import parse
from catalyst_signals.matching import MatchIndex
from catalyst_signals.stores import Store

CHANNEL = "main"
COMMIT_DRAFTS = 100  # Of as many publishers, in one commit.
DOCS = 200
IN_FLIGHT, TOGETHER = 256, 64  # Publishes of one WebSocket: unanswered at most, and sent by one call.
OTHERS = 10**9  # Ids from here on are of signals that Publishing has not published.
SWEEP_S = 0.02  # How often subscribers are read.
HINTS, HINTS_AHEAD, HINT_LOST_S = 64, 512, 1.0  # Of one commit; told and not heard at most; then it is lost.
ACTIONS = ("open", "increase", "reduce", "close", "cancel", "watch", "avoid")

SUBSCRIBE = b'{"type":"subscribe","channel":"main","filter":"confidence >= 0"}'
_encode = msgspec.json.encode


def signal(n: int) -> dict[str, Any]:
    """A usual signal, whose event is about 280 bytes on the wire."""
    return {
        "id": f"c-{n}", "symbol": f"S{n % 500:03d}", "action": ("BUY", "SELL")[n % 2],
        "confidence": n % 100 / 100, "stop": "9.40", "note": "x" * 20,
    }  # fmt: skip


def _asking(n: int) -> bytes:
    return _encode({"type": "publish", "ref": n, "channel": CHANNEL, "signal": signal(n)})


class Storing:
    """Commits of COMMIT_DRAFTS drafts, each of another publisher, one after the other."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.done = 0

    async def go_on(self) -> None:
        """For ever."""
        await self._store.append([Batch(channel=CHANNEL, subject="calibrate", drafts=[])])
        for first in count(0, COMMIT_DRAFTS):
            drafts = [_draft(n) for n in range(first, first + COMMIT_DRAFTS)]
            results = await self._store.append(
                [Batch(channel=CHANNEL, subject="calibrate", drafts=[draft]) for draft in drafts]
            )
            for result in results:
                if isinstance(result, Refused):
                    raise result.error
            self.done += COMMIT_DRAFTS


def _draft(n: int) -> Draft:
    said = signal(n)
    return Draft(
        type="signal.published", id=said["id"], body=_encode({"data": said}), draft_hash=hash_of_draft(said)
    )  # fmt: skip


class Judging:
    """An index of FILTERS filters, each of 5 of 500 symbols, 2 of 7 actions and a floor of confidence."""

    def __init__(self) -> None:
        self._luck = random.Random(1)
        self._index: MatchIndex[int] = MatchIndex()
        self._docs = [self._doc() for _ in range(DOCS)]
        self.done = 0

    async def fill(self) -> None:
        """With all filters."""
        for n in range(FILTERS):
            self._index.add(n, parse(self._filter()))
            if n % 100 == 0:
                await asyncio.sleep(0)

    async def go_on(self) -> None:
        """For ever."""
        while True:
            for doc in self._docs:
                self._index.match(doc)
            self.done += DOCS * FILTERS
            await asyncio.sleep(0)

    def _filter(self) -> str:
        symbols = ", ".join(f"S{n:03d}" for n in self._luck.sample(range(500), 5))
        actions = ", ".join(self._luck.sample(ACTIONS, 2))
        return f"symbol in ({symbols}) and action in ({actions}) and confidence >= {self._luck.random() * 0.6:.4f}"

    def _doc(self) -> dict[str, Any]:
        data = {
            "instrument": {"symbol": f"S{self._luck.randrange(500):03d}", "asset_class": "equity"},
            "action": self._luck.choice(ACTIONS), "direction": "long", "confidence": round(self._luck.random(), 3),
        }  # fmt: skip
        at = {"seq": 1, "id": "x", "version": 1, "ts": "2026-11-26T12:00:00.000000Z"}
        return {"type": "signal.published", "channel": CHANNEL, **at, "data": data}


class Hinting:
    """Hints from one connection to another, as a commit of HINTS events tells them."""

    def __init__(self, teller: Broker, hearer: Broker) -> None:
        self._teller, self._hearer = teller, hearer
        self._ws = bytes(280)
        self._newest = self.done = 0

    async def go_on(self) -> None:
        """For ever; what is lost is not counted."""
        hearing = asyncio.ensure_future(self._hear())
        try:
            for first in count(1, HINTS):
                await self._teller.publish([self._hint(first + n) for n in range(HINTS)])
                await self._caught_up(first, hearing)
        finally:
            hearing.cancel()
            await asyncio.wait([hearing])

    async def _caught_up(self, sent: int, hearing: asyncio.Task[None]) -> None:
        until_s, missing = time.monotonic() + HINT_LOST_S, sent - HINTS_AHEAD
        while self._newest < missing and time.monotonic() < until_s:
            if hearing.done():
                return hearing.result()
            await asyncio.sleep(0)
        return None

    async def _hear(self) -> None:
        async for frame in self._hearer.listen():
            self.done += 1
            self._newest = frame.seq

    def _hint(self, seq: int) -> Frame:
        return Frame(CHANNEL, "calibrate", seq, "00000000", "00000000", self._ws, 0)


def aside(broker_url: str) -> str:
    """The same broker under a name that nobody else listens to."""
    parts = urlsplit(broker_url)
    query = [each for each in parse_qsl(parts.query) if each[0] != "prefix"]
    name = f"catalyst-calibrate-{secrets.token_hex(6)}"
    return parts._replace(query=urlencode([*query, ("prefix", name)])).geturl()


class Publishing:
    """One WebSocket, pipelined: IN_FLIGHT publishes unanswered at most."""

    def __init__(self, line: Socket) -> None:
        self._line = line

    @property
    def done(self) -> int:
        """How many were acknowledged, which is after their commit."""
        return self._line.seen

    async def go_on(self) -> None:
        """For ever."""
        for first in count(0, TOGETHER):
            await self._line.say(*map(_asking, range(first, first + TOGETHER)))
            while first + TOGETHER - self._line.seen > IN_FLIGHT - TOGETHER:
                await self._line.hear()


class Reaching:
    """`rate` signals a second to all of these subscribers; each signal is published by itself."""

    def __init__(self, publisher: Socket, subscribers: Sequence[Socket], rate: int) -> None:
        self._publisher, self._subscribers, self._rate = publisher, subscribers, rate

    @property
    def done(self) -> int:
        """Deliveries, as they were counted at the sockets."""
        return sum(each.seen for each in self._subscribers)

    async def go_on(self) -> None:
        """For ever."""
        began_s = swept_s = time.monotonic()
        for n in count():
            await self._publisher.say(_asking(OTHERS + n))
            if time.monotonic() - swept_s > SWEEP_S:
                swept_s = time.monotonic()
                self._sweep()
            await asyncio.sleep(max(0.0, began_s + n / self._rate - time.monotonic()))

    def _sweep(self) -> None:
        for each in (self._publisher, *self._subscribers):
            each.look()
