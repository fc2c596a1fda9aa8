"""Connections come back at once, each at a position: W5 and W9."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from bench.peers import traffic
from bench.peers.catalyst import Catalyst
from bench.peers.centrifuge import Centrifuge, CentrifugeLong
from bench.peers.fan import wrongly
from bench.peers.nats import Nats
from bench.peers.run import Row, Server, Subscribers, publisher, said, started
from bench.peers.system import System
from bench.peers.systems import ALL
from bench.peers.traffic import Signal, Wish

OTHERS_RATE = 50


@dataclass(frozen=True)
class Resume:
    """All of them are `behind` signals behind, while some `others` are told of new ones.

    What the others cost is measured before, and taken off.
    """

    title: str
    connections: int
    behind: int
    selective: bool = False
    others: int = 0
    others_s: float = 8.0
    systems: Sequence[str] = ("catalyst", "centrifuge")
    rounds_max: int = 99

    def seconds(self, name: str) -> float:
        """About how long it takes."""
        return 4 + self.connections / ALL[name].opens_per_s + (self.others_s * 2 + 2 if self.others else 0)

    def measure(self, name: str) -> list[Row]:
        """One row."""
        with started(CentrifugeLong if name == "centrifuge" else ALL[name]) as server:
            stored = traffic.signals(self.behind)
            fill(server, stored, tagged=self.selective)
            if not self.others:
                return [self._storm(server, stored)]
            return [self._with_others(server, stored)]

    def _with_others(self, server: Server, stored: list[Signal]) -> Row:
        count = int(self.others_s * OTHERS_RATE)
        used = server.cpu_s
        before = self._live(server, traffic.signals(count, self.behind + 1))
        alone_s = server.cpu_s - used
        with ThreadPoolExecutor(1) as aside:
            living = aside.submit(self._live, server, traffic.signals(count, self.behind + 1 + count))
            time.sleep(1)
            row = self._storm(server, stored)
            meanwhile = living.result()
        theirs_us = alone_s / self.others_s * row["took_s"] / max(1, row["deliveries"]) * 1e6
        return row | {"net_delivery_us": row["net_delivery_us"] - theirs_us,
                      "others_p99_before_us": before["p99_us"], "others_p99_us": meanwhile["p99_us"],
                      "others_lost": count * self.others - meanwhile["deliveries"]}  # fmt: skip

    def _live(self, server: Server, sent: list[Signal]) -> Row:
        wanted, hello = len(sent) * self.others, server.system.hello()
        what = server.system.publishing(sent, tagged=self.selective)
        since = f"from={sent[0].number}"
        with (
            Subscribers(server, [hello], self.others, wanted, self.others_s + 120, since) as readers,
            publisher(server, what, rate=OTHERS_RATE, wait_s=60) as at_work,
        ):
            said(at_work, self.others_s + 90)
            return readers.row()

    def _storm(self, server: Server, stored: list[Signal]) -> Row:
        system, last = server.system, stored[-1].number
        wishes = system.understood(traffic.wishes(self.connections)) if self.selective else []
        due = traffic.expected(stored, wishes) if wishes else [traffic.all_of(stored)] * self.connections
        hellos = [since_start(system, wish) for wish in wishes] if wishes else [since_start(system)]
        wanted, marks, used = sum(count for count, _ in due), system.folder / "marks", server.cpu_s
        reads, more = system.store_reads(), (f"marks={marks}", f"through={last}", f"at_once={self.connections}")
        began = time.time_ns()
        with Subscribers(
            server, hellos, self.connections, wanted, 120, *more, nice=19 if self.others else 0
        ) as readers:
            came = readers.row()
        took_s, all_s = (came["last_ns"] - began) / 1e9, server.cpu_s - used
        row = {"net_delivery_us": all_s / max(1, came["deliveries"]) * 1e6, "took_s": took_s,
               "per_s": came["deliveries"] / took_s, "lost": wanted - came["deliveries"],
               "wrong_connections": wrongly(marks, due), "peak_mib": server.peak_kib / 1024, **came}  # fmt: skip
        now = system.store_reads()
        if reads is not None and now is not None:
            row["reads_per_1000"] = (now - reads) / self.connections * 1000
        return row


def fill(server: Server, sent: list[Signal], *, tagged: bool = False) -> None:
    """Publish them as fast as it goes, on one connection, in order."""
    per = 1 if isinstance(server.system, Nats) else 200
    what = server.system.publishing(sent, per, tagged=tagged)
    with publisher(server, what, window=256 if per == 1 else 2) as at_work:
        said(at_work, 300)


def since_start(system: System, wish: Wish | None = None) -> str:
    """A subscriber's messages, from the first signal on."""
    hello = system.hello(wish)
    if isinstance(system, Catalyst):
        return json.dumps(json.loads(hello) | {"after": 0})
    assert isinstance(system, Centrifuge)
    recover = f'"recover":true,"offset":0,"epoch":"{epoch_of(system)}",'
    return hello.replace('"subscribe":{', '"subscribe":{' + recover)


def epoch_of(system: Centrifuge) -> str:
    """The epoch of its channel; a position is an offset in one."""
    if not system.epoch:
        url = f"http://127.0.0.1:{system.port}/history?channel=signals&limit=0"
        with urllib.request.urlopen(url, timeout=10) as answer:
            system.epoch = json.load(answer)["epoch"]
    return system.epoch
