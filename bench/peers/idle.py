"""Connections that are subscribed to everything while nothing happens: W7."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from bench.peers.run import Row, Subscribers, started
from bench.peers.systems import ALL


@dataclass(frozen=True)
class Idle:
    """What each costs in memory, and how long they took to open."""

    title: str
    connections: int
    systems: Sequence[str]
    rounds_max: int = 99

    def seconds(self, name: str) -> float:
        """About how long it takes."""
        return 2.5 + self.connections / ALL[name].opens_per_s

    def measure(self, name: str) -> list[Row]:
        """One row."""
        with started(ALL[name]) as server:
            empty_kib = server.rss_kib
            with Subscribers(server, [server.system.hello()], self.connections, 0, 60) as readers:
                time.sleep(1.5)
                full_kib = server.rss_kib
                came = readers.enough()
        each = (full_kib - empty_kib) / max(1, readers.opened["open"])
        return [{"rss_kib_per_connection": each, "empty_kib": empty_kib, **came}]
