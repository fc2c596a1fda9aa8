"""Signals fan out: W1 to W4.

What the same publishes cost with nobody listening is measured on the same server, just before.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from bench.peers import traffic
from bench.peers.asking import answers
from bench.peers.run import Row, Server, Subscribers, publisher, said, started
from bench.peers.system import Publishing, System
from bench.peers.systems import ALL
from bench.peers.traffic import Signal

WARM_UP, WARM_RATE = 10, 40.0  # requests before anything is counted, and how many of them a second
SLOW_S = 20.0  # how long after the last publish a system may still be delivering
ASK_S, ASK_BUSY = 2.0, 0.8  # how long questions are asked, and how much of that time deliveries take


@dataclass(frozen=True)
class Fan:
    """Connections that want all, or each something else (`selective`), and signals in requests of `per`."""

    title: str
    connections: int
    signals: int
    rate: float
    systems: Sequence[str]
    per: int = 1
    alone: int = 0  # signals that are published to nobody
    selective: bool = False
    asking: bool = False  # afterwards, whether it answers small questions while it delivers
    share: Mapping[str, float] = field(default_factory=dict)  # slow systems get so much of the signals
    rounds_max: int = 99

    def seconds(self, name: str) -> float:
        """About how long it takes."""
        counted = (self._signals(name) + self.alone) / self.per / self.rate
        return 2 + counted + self.connections / ALL[name].opens_per_s + (ASK_S + 1 if self.asking else 0)

    def measure(self, name: str) -> list[Row]:
        """One row."""
        with started(ALL[name]) as server:
            empty_kib, warm = server.rss_kib, self.per * WARM_UP
            self._publish(server, traffic.signals(warm), WARM_RATE)
            alone_s = self._publish(server, traffic.signals(self.alone, 1 + warm), self.rate) / self.alone
            sent = traffic.signals(self._signals(name), 1 + warm + self.alone)
            return [{"empty_kib": empty_kib, "alone_us": alone_s * 1e6, **self._fanned(server, sent, alone_s)}]

    def _signals(self, name: str) -> int:
        """Whole requests, at least one."""
        return max(1, round(self.signals * self.share.get(name, 1) / self.per)) * self.per

    def _fanned(self, server: Server, sent: list[Signal], alone_s: float) -> Row:
        system, before_kib = server.system, server.rss_kib
        wishes = system.understood(traffic.wishes(self.connections)) if self.selective else []
        due = traffic.expected(sent, wishes) if wishes else [traffic.all_of(sent)] * self.connections
        hellos = [system.hello(wish) for wish in wishes] if wishes else [system.hello()]
        wanted, marks = sum(count for count, _ in due), system.folder / "marks"
        seconds = len(sent) / self.per / self.rate + SLOW_S
        with Subscribers(server, hellos, self.connections, wanted, seconds, f"marks={marks}") as readers:
            time.sleep(0.5)
            connected_kib, _, used = server.rss_kib, system.longest_turn_ms(), server.cpu_s
            with publisher(server, self._requests(system, sent), rate=self.rate, wait_s=SLOW_S) as at_work:
                came = readers.row()
                all_s, turn_ms = server.cpu_s - used, system.longest_turn_ms()
                late_us = said(at_work, seconds + SLOW_S)["late_us"]
            answered = self._asked(server, sent[-1].number + 1, all_s / len(sent)) if self.asking else {}
        got, alone_all_s = max(1, came["deliveries"]), alone_s * len(sent)
        return {
            "delivery_us": all_s / got * 1e6, "net_delivery_us": (all_s - alone_all_s) / got * 1e6,
            "publish_us": all_s / len(sent) * 1e6, "net_publish_us": (all_s - alone_all_s) / len(sent) * 1e6,
            "rss_kib_per_connection": (connected_kib - before_kib) / self.connections, "signals": len(sent),
            "lost": wanted - came["deliveries"], "wrong_connections": wrongly(marks, due),
            "publisher_late_us": late_us, "longest_turn_ms": turn_ms, **answered, **came,
        }  # fmt: skip

    def _asked(self, server: Server, first: int, publish_s: float) -> Row:
        """The same goes on, so fast that the server is nearly busy; the load client sleeps and reads no more."""
        rate = ASK_BUSY / publish_s
        sent = traffic.signals(min(100, max(3, int(rate * ASK_S))), first)
        with ThreadPoolExecutor(1) as aside, publisher(server, self._requests(server.system, sent), rate=rate) as busy:
            asking = aside.submit(answers, server.system.questions(), ASK_S)
            said(busy, ASK_S + 3 * SLOW_S)
            return asking.result()

    def _requests(self, system: System, sent: list[Signal]) -> Publishing:
        return system.publishing(sent, self.per, tagged=self.selective)

    def _publish(self, server: Server, sent: list[Signal], rate: float) -> float:
        """The CPU seconds it took."""
        used = server.cpu_s
        with publisher(server, self._requests(server.system, sent), rate=rate, wait_s=SLOW_S) as at_work:
            said(at_work, len(sent) / self.per / rate + 2 * SLOW_S)
        time.sleep(0.2)
        return server.cpu_s - used


def wrongly(marks: Path, due: list[tuple[int, int]]) -> int:
    """How many connections did not receive exactly what they wanted: as many, with the same sum of numbers."""
    got = [tuple(map(int, line.split())) for line in marks.read_text().splitlines()]
    return sum(here != wanted for here, wanted in zip(got, due, strict=True))
