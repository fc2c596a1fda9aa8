"""Publishes as fast as they are taken, with nobody listening: W10."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from bench.peers import traffic
from bench.peers.catalyst import Catalyst
from bench.peers.run import Row, publisher, said, started
from bench.peers.systems import ALL


@dataclass(frozen=True)
class Way:
    """A way to publish: `per` signals a request, `window` unanswered requests on each of some connections."""

    says: str
    per: int
    window: int
    connections: int
    requests: int
    rest: bool = False


SINGLE = Way("single, 16 connections", 1, 1, 16, 20_000)
PIPELINED = Way("pipelined, 256 in flight", 1, 256, 1, 40_000)
BATCH = Way("batches of 500", 500, 2, 1, 200)
WAYS = {
    "catalyst": (replace(SINGLE, says="single REST, 16 connections", rest=True, requests=10_000), PIPELINED, BATCH),
    "nats-server": (SINGLE, PIPELINED),
    "nats-server, fsync": (replace(SINGLE, requests=4_000), replace(PIPELINED, requests=8_000)),
    "centrifuge": (SINGLE, PIPELINED, BATCH),
}


@dataclass(frozen=True)
class Publish:
    """Each way on a fresh server. `share` scales the requests."""

    title: str
    share: float = 1.0
    systems: Sequence[str] = tuple(WAYS)
    rounds_max: int = 99

    def seconds(self, name: str) -> float:
        """About how long it takes."""
        return (1.5 + 3 * self.share) * len(WAYS[name])

    def measure(self, name: str) -> list[Row]:
        """A row for each way."""
        return [self._way(name, way) for way in WAYS[name]]

    def _way(self, name: str, way: Way) -> Row:
        count = max(way.connections * 2, int(way.requests * self.share))
        with started(ALL[name]) as server:
            system, sent = server.system, traffic.signals(count * way.per)
            what = system.publishing(sent, way.per)
            if way.rest and isinstance(system, Catalyst):
                what = system.over_rest(sent, way.per)
            used = server.cpu_s
            with publisher(server, what, window=way.window, connections=way.connections) as at_work:
                row = said(at_work, 300)
            all_s = server.cpu_s - used
        done = row["answered"] / what.answers * len(sent)
        return {"way": way.says, "per_s": done / row["took_s"], "publish_us": all_s / done * 1e6,
                "lost": len(sent) - done, **row}  # fmt: skip
