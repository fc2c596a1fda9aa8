"""nats-server: core subscribers over its WebSocket, a JetStream file stream that answers each publish."""

from __future__ import annotations

import json
import socket
import time
from dataclasses import replace
from pathlib import Path

from bench.harness import free_port
from bench.peers.system import TOOLS, Publishing, System
from bench.peers.traffic import ACTIONS, Signal, Wish

NATS = TOOLS / "bin/nats-server"
NATS_OF_DEBIAN = TOOLS / "debian/usr/sbin/nats-server"
NATS_CONNECT = 'CONNECT {"verbose":false,"pedantic":false}\r\n'


class Nats(System):
    """nats-server: core subscribers over its WebSocket, a JetStream file stream that answers each publish."""

    name = "nats-server"
    lacks = "keep at once (fsync every 2 min), number deliveries, filter by value, authenticate"
    needs = NATS
    environment = {"GOMAXPROCS": "1"}
    listen = ("path=/", "binary=1", "ping=PING\\r\\n", "pong=PONG\\r\\n")
    ready = "PONG"
    sync = ""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.tcp = free_port()

    def command(self) -> list[str]:
        config = self.folder / "nats.conf"
        config.write_text(
            f'listen: "127.0.0.1:{self.tcp}"\nwebsocket {{ listen: "127.0.0.1:{self.port}"\n no_tls: true }}\n'
            f'jetstream {{ store_dir: "{self.folder}"\n {self.sync} }}\n'
        )
        return [str(self.needs), "-c", str(config)]

    def started(self) -> None:
        stream = {"name": "SIG", "subjects": ["sig.>"], "storage": "file", "retention": "limits", "max_consumers": -1,
                  "max_msgs": -1, "max_bytes": -1, "max_age": 0, "num_replicas": 1}  # fmt: skip
        answer = nats_ask(self.tcp, "$JS.API.STREAM.CREATE.SIG", json.dumps(stream))
        assert b'"error"' not in answer, answer

    def hello(self, wish: Wish | None = None) -> str:
        subjects = ["sig.>"]
        if wish is not None:
            subjects = [f"sig.S{s:03d}.{ACTIONS[a]}" for s in wish.symbols for a in wish.actions]
        return "".join([NATS_CONNECT, *(f"SUB {s} {i}\r\n" for i, s in enumerate(subjects, 1)), "PING\r\n"]).replace(
            "\r\n", "\\r\\n"
        )

    def understood(self, wishes: list[Wish]) -> list[Wish]:
        return [replace(wish, floor=0) for wish in wishes]

    def publishing(self, signals: list[Signal], per: int = 1, *, tagged: bool = False) -> Publishing:
        made = [self.publication(s) for s in signals]
        joined = [b"".join(made[i : i + per]) for i in range(0, len(made), per)]
        before = f"{NATS_CONNECT}SUB _INBOX.LINK.* 1\r\nPING\r\n".encode()
        return Publishing(self.tcp, joined, len(signals), '"seq":', "-ERR", before)

    def publication(self, s: Signal) -> bytes:
        """One PUB with a subject to answer to."""
        return f"PUB sig.{s.ticker}.{ACTIONS[s.action]} _INBOX.LINK.1 {len(s.text)}\r\n{s.text}\r\n".encode()


class NatsOfDebian(Nats):
    """The version that Debian ships."""

    name = "nats-server 2.9"
    needs = NATS_OF_DEBIAN


class NatsSynced(Nats):
    """The same with an fsync for each message, as Catalyst has it for each commit."""

    name = "nats-server, fsync"
    lacks = "number deliveries, filter by value, authenticate"
    sync = "sync_interval: always"


def nats_ask(port: int, subject: str, body: str, wait_s: float = 10) -> bytes:
    """One request and its answer."""
    with socket.create_connection(("127.0.0.1", port), wait_s) as wire:
        ask = f"{NATS_CONNECT}SUB _INBOX.ask 1\r\nPUB {subject} _INBOX.ask {len(body)}\r\n{body}\r\n"
        wire.sendall(ask.encode())
        answer, until = b"", time.monotonic() + wait_s
        while b"MSG _INBOX.ask" not in answer or not answer.endswith(b"}\r\n"):
            if not (more := wire.recv(65536)) or time.monotonic() > until:
                raise RuntimeError(f"nats-server did not answer: {answer!r}")
            answer += more
        return answer
