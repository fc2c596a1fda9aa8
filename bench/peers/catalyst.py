"""Catalyst as it ships: SQLite with synchronous=FULL, keys, filters, numbers, a hash chain."""

from __future__ import annotations

import json
import sys
import time
import urllib.request
from pathlib import Path

from bench.harness import NO_LIMITS
from bench.peers.system import Publishing, Question, System
from bench.peers.traffic import ACTIONS, Signal, Wish
from bench.peers.wires import frame, http, upgrade


class Catalyst(System):
    """As it ships: SQLite with synchronous=FULL, keys, filters, numbers, a hash chain."""

    name = "catalyst"
    lacks = "-"
    ready = '"type":"live"'
    ring_bytes = 20 << 20
    opens_per_s = 2000

    def command(self) -> list[str]:
        url = f"sqlite:///{self.folder / 'catalyst.db'}"
        self.environment = {"CATALYST_STORE_URL": url, "PYTHONUNBUFFERED": "1", **NO_LIMITS}
        self.environment["CATALYST_RING_BYTES"] = str(self.ring_bytes)
        return [sys.executable, "-m", "catalyst_signals", "serve", "--port", str(self.port)]

    def started(self) -> None:
        key = said(self.folder / "log", "admin key: ")
        self.header = f"Authorization: Bearer {key}"
        self.listen = ("path=/v1/ws", f"header={self.header}")

    def hello(self, wish: Wish | None = None) -> str:
        content: dict[str, object] = {"type": "subscribe", "channel": "main"}
        if wish is not None:
            symbols, actions = ", ".join(f"S{s:03d}" for s in wish.symbols), ", ".join(ACTIONS[a] for a in wish.actions)
            content["filter"] = f"symbol in ({symbols}) and action in ({actions}) and confidence >= {wish.floor / 100}"
        return json.dumps(content)

    def publishing(self, signals: list[Signal], per: int = 1, *, tagged: bool = False) -> Publishing:
        if per > 1:
            return self.over_rest(signals, per)
        made = [frame(f'{{"type":"publish","ref":{s.number},"channel":"main","signal":{s.text}}}') for s in signals]
        return Publishing(self.port, made, len(made), '"accepted"', '"error"', upgrade("/v1/ws", self.header))

    def questions(self) -> list[Question]:
        made = urllib.request.Request(f"http://127.0.0.1:{self.port}/v1/channels/probe", b"{}", method="PUT")
        made.add_header(*self.header.split(": ", 1))
        urllib.request.urlopen(made, timeout=10).close()  # Its publishes reach none of the subscribers.
        publish = frame('{"type":"publish","ref":1,"channel":"probe","signal":{"symbol":"S000","action":"BUY"}}')
        health = f"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n{self.header}\r\n\r\n".encode()
        return [
            *super().questions(),
            Question("publish", self.port, upgrade("/v1/ws", self.header), publish, b'"accepted"'),
            Question("health", self.port, b"", health, b'"alive"'),
        ]

    def longest_turn_ms(self) -> float | None:
        turn_s = self.metric("catalyst_longest_turn_seconds")
        return None if turn_s is None else turn_s * 1e3

    def store_reads(self) -> float | None:
        return self.metric("catalyst_store_reads_total")

    def metric(self, name: str) -> float | None:
        """A number of /metrics; none if this version has no such number."""
        headers = dict([self.header.split(": ", 1)])
        ask = urllib.request.Request(f"http://127.0.0.1:{self.port}/metrics", headers=headers)
        with urllib.request.urlopen(ask, timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        return next((float(line.split()[-1]) for line in lines if line.split()[0] == name), None)

    def over_rest(self, signals: list[Signal], per: int) -> Publishing:
        """One draft or a batch a request."""
        groups = [[s.text for s in signals[i : i + per]] for i in range(0, len(signals), per)]
        bodies = [group[0] if per == 1 else f"[{','.join(group)}]" for group in groups]
        made = [http("/v1/channels/main/signals", body, self.header) for body in bodies]
        return Publishing(self.port, made, len(made), "HTTP/1.1 201")


class CatalystLargeRing(Catalyst):
    """With a ring that holds the whole of a load."""

    ring_bytes = 256 << 20


class CatalystSmallRing(Catalyst):
    """With next to no recent events in memory: what is read comes from the store."""

    ring_bytes = 1 << 20


def said(log: Path, start: str, wait_s: float = 10) -> str:
    """The rest of the line of a log that starts so, once it is there."""
    until = time.monotonic() + wait_s
    while time.monotonic() < until:
        for line in log.read_text().splitlines():
            if line.startswith(start):
                return line.removeprefix(start)
        time.sleep(0.05)
    raise RuntimeError(f"it did not say `{start}`")
