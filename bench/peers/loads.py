"""The loads. Each is one object with its full and its quick size; `measure` runs one system through it once."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from bench.peers import traffic
from bench.peers.run import Row, Server, Subscribers, publisher, said, started
from bench.peers.systems import ALL, Catalyst, Centrifuge, Nats, Publishing, System
from bench.peers.traffic import Signal, Wish

EVERYBODY = ("c-loop", "catalyst", "centrifuge", "nats-server", "nats-server 2.9", "websockets.broadcast",
             "fastapi send_text", "fastapi send_json", "python-socketio")  # fmt: skip
WARM_UP, WARM_RATE = 10, 40.0  # requests before anything is counted, and how many of them a second
SLOW_S = 20.0  # how long after the last publish a system may still be delivering


@dataclass(frozen=True)
class Fan:
    """Signals fan out to connections that want all, or each something else.

    Before anybody subscribes the same number is published to nobody: what that costs is taken off in the second figure.
    """

    title: str
    connections: int
    signals: int
    rate: float
    per: int = 1
    selective: bool = False
    systems: Sequence[str] = EVERYBODY

    def measure(self, name: str) -> list[Row]:
        """One row."""
        with started(ALL[name]) as server:
            system, empty_kib = server.system, server.rss_kib
            seconds, warm = self.signals / self.per / self.rate, self.per * WARM_UP
            self._publish(server, traffic.signals(warm), WARM_UP / WARM_RATE, WARM_RATE)
            alone_s = self._publish(server, traffic.signals(self.signals, 1 + warm), seconds, self.rate)
            wishes = self._wishes(system)
            sent = traffic.signals(self.signals, 1 + warm + self.signals)
            due = traffic.expected(sent, wishes) if wishes else [(self.signals, 0)] * self.connections
            hellos = [system.hello(wish) for wish in wishes] if wishes else [system.hello()]
            wanted, marks = sum(count for count, _ in due), system.folder / "marks"
            before_kib = server.rss_kib
            with Subscribers(server, hellos, self.connections, wanted, seconds + SLOW_S, f"marks={marks}") as readers:
                time.sleep(0.5)
                connected_kib, _, used = server.rss_kib, system.longest_turn_ms(), server.cpu_s
                with publisher(server, self._requests(server, sent), rate=self.rate, wait_s=SLOW_S) as at_work:
                    came = readers.row()
                    all_s, turn_ms = server.cpu_s - used, system.longest_turn_ms()
                    late = said(at_work, seconds + 2 * SLOW_S)["late_us"]
            wrong = wrongly(marks, due) if wishes else 0
        got = max(1, came["deliveries"])
        return [{
            "delivery_us": all_s / got * 1e6, "net_delivery_us": (all_s - alone_s) / got * 1e6,
            "publish_us": all_s / self.signals * 1e6, "net_publish_us": (all_s - alone_s) / self.signals * 1e6,
            "alone_us": alone_s / self.signals * 1e6,
            "rss_kib_per_connection": (connected_kib - before_kib) / self.connections,
            "empty_kib": empty_kib, "expected": wanted, "lost": wanted - came["deliveries"], "wrong_connections": wrong,
            "publisher_late_us": late, "longest_turn_ms": turn_ms, **came,
        }]  # fmt: skip

    def _wishes(self, system: System) -> list[Wish]:
        return system.understood(traffic.wishes(self.connections)) if self.selective else []

    def _requests(self, server: Server, sent: list[Signal]) -> Publishing:
        return server.system.publishing(sent, self.per, tagged=self.selective)

    def _publish(self, server: Server, sent: list[Signal], seconds: float, rate: float) -> float:
        used = server.cpu_s
        with publisher(server, self._requests(server, sent), rate=rate, wait_s=SLOW_S) as at_work:
            said(at_work, seconds + 2 * SLOW_S)
        time.sleep(0.2)
        return server.cpu_s - used


def wrongly(marks: Path, due: list[tuple[int, int]]) -> int:
    """How many connections did not receive exactly what they wanted."""
    got = [tuple(map(int, line.split())) for line in marks.read_text().splitlines()]
    return sum(here != wanted for here, wanted in zip(got, due, strict=True))


@dataclass(frozen=True)
class Idle:
    """Connections that are subscribed to everything while nothing happens."""

    title: str
    connections: int
    systems: Sequence[str] = EVERYBODY

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
    "catalyst": (replace(SINGLE, says="single REST, 16 connections", rest=True), PIPELINED, BATCH),
    "nats-server": (SINGLE, PIPELINED),
    "nats-server, fsync": (replace(SINGLE, requests=4_000), replace(PIPELINED, requests=8_000)),
    "centrifuge": (SINGLE, PIPELINED, BATCH),
}


@dataclass(frozen=True)
class Publish:
    """As fast as it takes them, with nobody listening; each way on a fresh server. `share` scales the requests."""

    title: str
    share: float = 1.0
    systems: Sequence[str] = tuple(WAYS)

    def measure(self, name: str) -> list[Row]:
        """A row for each way."""
        return [self._way(name, way) for way in WAYS[name]]

    def _way(self, name: str, way: Way) -> Row:
        count = max(way.connections * 2, int(way.requests * self.share))
        with started(ALL[name]) as server:
            system, sent = server.system, traffic.signals(count * way.per)
            what = (
                system.over_rest(sent, way.per)
                if isinstance(system, Catalyst) and way.rest
                else (system.publishing(sent, way.per))
            )
            used = server.cpu_s
            with publisher(server, what, window=way.window, connections=way.connections) as at_work:
                row = said(at_work, 300)
            all_s = server.cpu_s - used
        done = row["answered"] / what.answers * len(sent)
        return {"way": way.says, "per_s": done / row["took_s"], "publish_us": all_s / done * 1e6,
                "lost": len(sent) - done, **row}  # fmt: skip


class CatalystSmallRing(Catalyst):
    """With next to no recent events in memory: what is read comes from the store."""

    ring_bytes = 1 << 20


class CentrifugeLong(Centrifuge):
    """With a history that holds the whole of the load."""

    history = 200_000


OTHERS_RATE = 50


@dataclass(frozen=True)
class Resume:
    """Connections come back at once, all of them `behind` signals behind, while some `others` are told of new ones.

    What the others cost is measured before, and taken off.
    """

    title: str
    connections: int
    behind: int
    selective: bool
    others: int = 0
    others_s: float = 8.0
    systems: Sequence[str] = ("catalyst", "centrifuge")

    def measure(self, name: str) -> list[Row]:
        """One row."""
        with started(CentrifugeLong if name == "centrifuge" else ALL[name]) as server:
            stored = traffic.signals(self.behind)
            fill(server, stored, tagged=self.selective)
            count = int(self.others_s * OTHERS_RATE)
            if not self.others:
                return [self._storm(server, stored)]
            used = server.cpu_s
            before = self._live(server, traffic.signals(count, self.behind + 1))
            alone_s = server.cpu_s - used
            with ThreadPoolExecutor(1) as aside:
                living = aside.submit(self._live, server, traffic.signals(count, self.behind + 1 + count))
                time.sleep(1)
                row = self._storm(server, stored)
                meanwhile = living.result()
        theirs_us = alone_s / self.others_s * row["took_s"] / max(1, row["deliveries"]) * 1e6
        return [row | {"net_delivery_us": row["net_delivery_us"] - theirs_us,
                       "others_p99_before_us": before["p99_us"], "others_p99_us": meanwhile["p99_us"],
                       "others_lost": count * self.others - meanwhile["deliveries"]}]  # fmt: skip

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
        if self.selective:
            wishes = system.understood(traffic.wishes(self.connections))
            due, hellos = traffic.expected(stored, wishes), [since_start(server, wish) for wish in wishes]
        else:
            due, hellos = [(last, sum(s.number for s in stored))] * self.connections, [since_start(server, None)]
        wanted, marks, used = sum(count for count, _ in due), system.folder / "marks", server.cpu_s
        more = (f"marks={marks}", f"through={last}", f"at_once={self.connections}")
        began = time.time_ns()
        with Subscribers(server, hellos, self.connections, wanted, 120, *more) as readers:
            came = readers.row()
        took_s, all_s = (came["last_ns"] - began) / 1e9, server.cpu_s - used
        return {"net_delivery_us": all_s / max(1, came["deliveries"]) * 1e6, "took_s": took_s,
                "per_s": came["deliveries"] / took_s, "lost": wanted - came["deliveries"],
                "wrong_connections": wrongly(marks, due), "peak_mib": server.peak_kib / 1024, **came}  # fmt: skip


def fill(server: Server, sent: list[Signal], *, tagged: bool = False) -> None:
    """Publish them as fast as it goes, on one connection, in order."""
    per = 1 if isinstance(server.system, Nats) else 200
    what = server.system.publishing(sent, per, tagged=tagged)
    with publisher(server, what, window=256 if per == 1 else 2) as at_work:
        said(at_work, 300)


def since_start(server: Server, wish: Wish | None) -> str:
    """A subscriber's messages, from the first signal on."""
    system, hello = server.system, server.system.hello(wish)
    if isinstance(system, Catalyst):
        return json.dumps(json.loads(hello) | {"after": 0})
    assert isinstance(system, Centrifuge)
    if not system.epoch:
        url = f"http://127.0.0.1:{system.port}/history?channel=signals&limit=0"
        with urllib.request.urlopen(url, timeout=10) as answer:
            system.epoch = json.load(answer)["epoch"]
    recover = f'"recover":true,"offset":0,"epoch":"{system.epoch}",'
    return hello.replace('"subscribe":{', '"subscribe":{' + recover)


@dataclass(frozen=True)
class Replay:
    """One subscriber reads what is stored from the beginning; `half` of it matches, or all."""

    title: str
    stored: int
    systems: Sequence[str] = ("catalyst", "nats-server")

    def measure(self, name: str) -> list[Row]:
        """A row for each number of matches."""
        if name != "catalyst":
            return [self._read(ALL[name], "push consumer", half=False)]
        return [
            self._read(kind, f"from the {where}, {matches}", half=matches == "one in two matches")
            for where, kind in (("store", CatalystSmallRing), ("ring", Catalyst))
            for matches in ("all match", "one in two matches")
        ]

    def _read(self, kind: type[System], way: str, *, half: bool) -> Row:
        with started(kind) as server:
            sent = traffic.signals(self.stored)
            fill(server, sent)
            wanted = sum(s.confidence >= 50 for s in sent) if half else len(sent)
            hello = replayer(server, half=half)
            used = server.cpu_s
            began = time.time_ns()
            with Subscribers(server, [hello], 1, wanted, 60) as readers:
                came = readers.row()
            all_s = server.cpu_s - used
        took_s = (came["last_ns"] - began) / 1e9
        return {"way": way, "per_s": self.stored / took_s, "took_s": took_s,
                "publish_us": all_s / self.stored * 1e6, "lost": wanted - came["deliveries"], **came}  # fmt: skip


def replayer(server: Server, *, half: bool) -> str:
    """Its messages: for NATS a push consumer without acks or flow control, the fastest there is."""
    if isinstance(server.system, Catalyst):
        content = {"type": "subscribe", "channel": "main", "after": 0}
        return json.dumps(content | ({"filter": "confidence >= 0.5"} if half else {}))
    config = {"deliver_subject": "d.bench", "deliver_policy": "all", "ack_policy": "none", "replay_policy": "instant"}
    body = json.dumps({"stream_name": "SIG", "config": config}, separators=(",", ":"))
    listen = 'CONNECT {"verbose":false,"pedantic":false}\\r\\nSUB d.bench 1\\r\\nPING\\r\\n'
    return f"{listen}PUB $JS.API.CONSUMER.CREATE.SIG {len(body)}\\r\\n{body}\\r\\n"


@dataclass(frozen=True)
class Slow:
    """Some readers stop reading while signals go on; then they read again and must become complete."""

    title: str
    connections: int
    stalled: int
    stall_s: float
    rate: float
    systems: Sequence[str] = ("catalyst",)

    def measure(self, name: str) -> list[Row]:
        """A row with everybody healthy for comparison, and one with the stalled."""
        return [self._run(name, 0, min(10.0, self.stall_s)), self._run(name, self.stalled, self.stall_s)]

    def _run(self, name: str, stalled: int, seconds: float) -> Row:
        count = int(self.rate * seconds)
        with started(ALL[name]) as server:
            before_kib, wait_s = server.rss_kib, seconds + 60
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
        return {"way": f"{stalled} of {self.connections} stalled for {seconds:g} s", "grown_mib": grown_kib / 1024,
                "socket_mib": waiting, "delivery_us": all_s / max(1, came["deliveries"]) * 1e6, "lost": lost,
                "before_kib": before_kib, **came}  # fmt: skip


def socket_mib() -> float:
    """Kernel memory of all TCP sockets of this machine."""
    line = next(x for x in Path("/proc/net/sockstat").read_text().splitlines() if x.startswith("TCP:"))
    words = line.split()
    return int(words[words.index("mem") + 1]) * 4096 / 2**20


@dataclass(frozen=True)
class Herd:
    """All connections come back at once, each at a position a little behind."""

    title: str
    connections: int
    behind: int = 5
    systems: Sequence[str] = ("catalyst", "centrifuge")

    def measure(self, name: str) -> list[Row]:
        """One row."""
        return Resume(self.title, self.connections, self.behind, selective=False).measure(name)


Load = Fan | Idle | Publish | Resume | Replay | Slow | Herd
JOINED = ("c-loop", "c-loop joined", *EVERYBODY[1:])
CHOOSING = ("c-loop", "catalyst", "centrifuge", "centrifuge, channel per symbol", "nats-server", "nats-server 2.9")

FULL: dict[str, Load] = {
    "W1": Fan("selective: 10,000 connections, each its own filter, 200 signals/s", 10_000, 2000, 200, selective=True,
              systems=CHOOSING),
    "W2": Fan("steady: 500 subscribers, all match, 200 signals/s", 500, 2000, 200),
    "W3": Fan("burst: 200 signals at once to 500, once a second", 500, 1000, 1, per=200, systems=JOINED),
    "W4": Fan("wide: 10,000 subscribers, all match, one signal a second", 10_000, 10, 1),
    "W5": Resume("resume storm: 1,000 come back at once, each 10,000 signals behind", 1000, 10_000, selective=False,
                 others=100),
    "W5 filtered": Resume("resume storm, each with a filter of its own", 1000, 10_000, selective=True, others=100),
    "W6": Replay("replay: 100,000 stored signals to one subscriber", 100_000),
    "W7": Idle("idle: 10,000 connections", 10_000),
    "W8": Slow("slow: 100 of 500 readers stalled, 500 signals/s", 500, 100, 540, 500),
    "W9": Herd("herd: 10,000 come back at once, each 5 signals behind", 10_000),
    "W10": Publish("publish: as fast as it takes them"),
}  # fmt: skip
QUICK: dict[str, Load] = {
    "W1": Fan("selective: 1,000 connections, each its own filter, 200 signals/s", 1000, 200, 200, selective=True,
              systems=CHOOSING),
    "W2": Fan("steady: 100 subscribers, all match, 200 signals/s", 100, 200, 200),
    "W3": Fan("burst: 200 signals at once to 100, once", 100, 200, 1, per=200, systems=JOINED),
    "W4": Fan("wide: 1,000 subscribers, all match, two signals a second", 1000, 2, 2),
    "W5": Resume("resume storm: 100 come back at once, each 2,000 signals behind", 100, 2000, selective=False,
                 others=20, others_s=2.5),
    "W5 filtered": Resume("resume storm, each with a filter of its own", 100, 2000, selective=True),
    "W6": Replay("replay: 10,000 stored signals to one subscriber", 10_000),
    "W7": Idle("idle: 1,000 connections", 1000),
    "W8": Slow("slow: 10 of 50 readers stalled, 500 signals/s", 50, 10, 3, 500),
    "W9": Herd("herd: 1,000 come back at once, each 5 signals behind", 1000),
    "W10": Publish("publish: as fast as it takes them", 0.05),
}  # fmt: skip
