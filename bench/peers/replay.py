"""One subscriber reads what is stored from the beginning: W6."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass

from bench.peers import traffic
from bench.peers.catalyst import Catalyst, CatalystLargeRing, CatalystSmallRing
from bench.peers.centrifuge import Centrifuge, CentrifugeLong
from bench.peers.nats import Nats
from bench.peers.resume import epoch_of, fill
from bench.peers.run import Row, Server, Subscribers, publisher, said, started
from bench.peers.system import Publishing, System
from bench.peers.traffic import Signal

PAGE = 1000  # of Centrifugo's history; larger pages are no faster
CATALYST_WAYS = [
    (kind, f"from the {where}, {matches}", matches == "one in two matches")
    for where, kind in (("store", CatalystSmallRing), ("ring", CatalystLargeRing))
    for matches in ("all match", "one in two matches")
]


@dataclass(frozen=True)
class Replay:
    """As fast as it comes; of Catalyst from its store and from its ring, and with a filter that half of it matches."""

    title: str
    stored: int
    systems: Sequence[str] = ("catalyst", "nats-server", "centrifuge")
    rounds_max: int = 99

    def seconds(self, name: str) -> float:
        """About how long it takes."""
        return (2 + self.stored / 20_000) * len(CATALYST_WAYS) if name == "catalyst" else 2 + self.stored / 100_000

    def measure(self, name: str) -> list[Row]:
        """A row for each way."""
        if name == "catalyst":
            return [self._pushed(kind, way, half=half) for kind, way, half in CATALYST_WAYS]
        if name == "centrifuge":
            return [self._paged()]
        return [self._pushed(Nats, "JetStream push consumer", half=False)]

    def _pushed(self, kind: type[System], way: str, *, half: bool) -> Row:
        with started(kind) as server:
            sent = traffic.signals(self.stored)
            if kind is not CatalystLargeRing:
                fill(server, sent)
                return {"way": way, **self._read(server, sent, half=half)}
            with Subscribers(server, [server.system.hello()], 1, len(sent), 120) as live:
                fill(server, sent)
                live.row()  # A channel has a ring only while somebody follows it.
                return {"way": way, **self._read(server, sent, half=half)}

    def _read(self, server: Server, sent: list[Signal], *, half: bool) -> Row:
        wanted = sum(s.confidence >= 50 for s in sent) if half else len(sent)
        used, began = server.cpu_s, time.time_ns()
        with Subscribers(server, [replayer(server.system, half=half)], 1, wanted, 60) as readers:
            came = readers.row()
        all_s, took_s = server.cpu_s - used, (came["last_ns"] - began) / 1e9
        return {"per_s": self.stored / took_s, "took_s": took_s, "publish_us": all_s / self.stored * 1e6,
                "lost": wanted - came["deliveries"], **came}  # fmt: skip

    def _paged(self) -> Row:
        """Page after page on one connection; each signal in an answer is counted by its number."""
        with started(CentrifugeLong) as server:
            system = server.system
            assert isinstance(system, Centrifuge)
            fill(server, traffic.signals(self.stored))
            what, used = pages(system, self.stored), server.cpu_s
            with publisher(server, what, window=1) as at_work:
                row = said(at_work, 120)
            all_s = server.cpu_s - used
        return {"way": f"history in pages of {PAGE:,}", "per_s": row["answered"] / row["took_s"],
                "publish_us": all_s / self.stored * 1e6, "lost": self.stored - row["answered"], **row}  # fmt: skip


def pages(system: Centrifuge, stored: int) -> Publishing:
    """The requests that read all of its history."""
    position = f"&epoch={epoch_of(system)}&limit={PAGE}"
    asks = [f"GET /history?channel=signals&offset={at}{position} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
            for at in range(0, stored, PAGE)]  # fmt: skip
    return Publishing(system.port, asks, stored, answer='"n":')


def replayer(system: System, *, half: bool) -> str:
    """Its messages: for NATS a push consumer without acks or flow control, the fastest there is."""
    if isinstance(system, Catalyst):
        content = {"type": "subscribe", "channel": "main", "after": 0}
        return json.dumps(content | ({"filter": "confidence >= 0.5"} if half else {}))
    config = {"deliver_subject": "d.bench", "deliver_policy": "all", "ack_policy": "none", "replay_policy": "instant"}
    body = json.dumps({"stream_name": "SIG", "config": config}, separators=(",", ":"))
    listen = 'CONNECT {"verbose":false,"pedantic":false}\\r\\nSUB d.bench 1\\r\\nPING\\r\\n'
    return f"{listen}PUB $JS.API.CONSUMER.CREATE.SIG {len(body)}\\r\\n{body}\\r\\n"
