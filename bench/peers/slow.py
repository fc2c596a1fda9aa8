"""Some readers stop reading while signals go on; then they read again and must become complete: W8."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.peers import traffic
from bench.peers.run import Row, Subscribers, publisher, said, started
from bench.peers.systems import ALL

HEALTHY_S = 15.0


@dataclass(frozen=True)
class Slow:
    """First a short run with everybody healthy, for comparison; once, as it takes so long."""

    title: str
    connections: int
    stalled: int
    stall_s: float
    rate: float
    systems: Sequence[str] = ("catalyst",)
    rounds_max: int = 1

    def seconds(self, name: str) -> float:
        """About how long it takes."""
        return 8 + min(HEALTHY_S, self.stall_s) + self.stall_s * 1.03

    def measure(self, name: str) -> list[Row]:
        """A row for everybody healthy, and one with the stalled."""
        return [self._run(name, 0, min(HEALTHY_S, self.stall_s)), self._run(name, self.stalled, self.stall_s)]

    def _run(self, name: str, stalled: int, seconds: float) -> Row:
        count = int(self.rate * seconds)
        with started(ALL[name]) as server:
            wait_s = seconds + 60
            what = server.system.publishing(traffic.signals(count))
            more = (f"stalled={stalled}", f"stall_s={seconds + 2}") if stalled else ()
            hellos = [server.system.hello()]
            with Subscribers(server, hellos, self.connections, count * self.connections, wait_s, *more) as readers:
                time.sleep(0.5)
                connected_kib, used, kernel = server.rss_kib, server.cpu_s, socket_mib()
                with publisher(server, what, rate=self.rate, wait_s=60) as at_work:
                    said(at_work, wait_s + 60)
                    grown_kib, waiting = server.peak_kib - connected_kib, socket_mib() - kernel
                    came = readers.row()
                all_s = server.cpu_s - used
        lost = count * self.connections - came["deliveries"]
        return {"way": f"{stalled} of {self.connections} stalled for {seconds:g} s" if stalled else "all healthy",
                "stalled": stalled, "grown_mib": grown_kib / 1024, "socket_mib": waiting,
                "delivery_us": all_s / max(1, came["deliveries"]) * 1e6, "lost": lost, **came}  # fmt: skip


def socket_mib() -> float:
    """Kernel memory of all TCP sockets of this machine."""
    line = next(x for x in Path("/proc/net/sockstat").read_text().splitlines() if x.startswith("TCP:"))
    words = line.split()
    return int(words[words.index("mem") + 1]) * 4096 / 2**20
