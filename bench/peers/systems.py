"""The systems: how each is started, subscribed to and published to, as its own documentation recommends for this work.

An object is one run of one system, with a port and a folder of its own. What it does not do (keep, number, filter,
authenticate) is said in `lacks`, and stands in every table.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import sys
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.harness import free_port
from bench.peers.traffic import ACTIONS, Signal, Wish

HERE = Path(__file__).parent
TOOLS = HERE.parent.parent / ".tools"
PYTHON, ENGINE, NATS = TOOLS / "peers/bin/python", TOOLS / "bin/engine", TOOLS / "bin/nats-server"
NATS_OF_DEBIAN = TOOLS / "debian/usr/sbin/nats-server"


@dataclass(frozen=True)
class Publishing:
    """Requests, written out to the last byte but the time, and how to know that they were taken."""

    port: int
    requests: list[bytes]
    answers: int
    answer: str = "HTTP/1.1 200"
    refusal: str = "HTTP/1.1 4"
    before: bytes = b""


NOTHING = "keep, number, filter, authenticate"


class System:
    """What all have: `listen` are the load client's options for one who wants everything."""

    name = ""
    lacks = NOTHING
    environment: dict[str, str] = {}
    listen: Sequence[str] = ("path=/ws",)
    ready: str | None = None
    needs: Path | None = None

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()

    def command(self) -> list[str]:
        """What starts it, without the core it is pinned to."""
        raise NotImplementedError

    def started(self) -> None:
        """It listens; what else it needs before it can be used."""

    def longest_turn_ms(self) -> float | None:
        """How long deliveries held its event loop at most since this was last asked, where it says so."""
        return None

    def hello(self, wish: Wish | None = None) -> str:
        """The messages of a subscriber, with tabs between them."""
        return ""

    def understood(self, wishes: list[Wish]) -> list[Wish]:
        """The part of the wishes it can filter by; the client would have to drop the rest."""
        return wishes

    def publishing(self, signals: list[Signal], per: int = 1, *, tagged: bool = False) -> Publishing:
        """These signals in requests of `per`; `tagged` when subscribers choose."""
        bodies = ["\n".join(s.text for s in signals[i : i + per]) for i in range(0, len(signals), per)]
        return Publishing(self.port, [http("/publish", body) for body in bodies], len(bodies))


class Catalyst(System):
    """As it ships: SQLite with synchronous=FULL, keys, filters, numbers, a hash chain."""

    name = "catalyst"
    lacks = "-"
    ready = '"type":"live"'
    ring_bytes = 64 << 20

    def command(self) -> list[str]:
        url = f"sqlite:///{self.folder / 'catalyst.db'}"
        self.environment = {"CATALYST_STORE_URL": url, "PYTHONUNBUFFERED": "1"}
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
        made = [
            frame(f'{{"type":"publish","ref":{s.number},"channel":"main","signal":{s.text}}}') for s in signals
        ]  # fmt: skip
        return Publishing(
            self.port, made, len(made), '"accepted"', '"error"', upgrade("/v1/ws", self.header)
        )  # fmt: skip

    def longest_turn_ms(self) -> float | None:
        ask = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/metrics", headers=dict([self.header.split(": ", 1)])
        )
        with urllib.request.urlopen(ask, timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        return float(next(x.split()[-1] for x in lines if x.startswith("catalyst_longest_turn_seconds"))) * 1e3

    def over_rest(self, signals: list[Signal], per: int) -> Publishing:
        """One draft or a batch a request."""
        groups = [[s.text for s in signals[i : i + per]] for i in range(0, len(signals), per)]
        bodies = [group[0] if per == 1 else f"[{','.join(group)}]" for group in groups]
        made = [http("/v1/channels/main/signals", body, self.header) for body in bodies]
        return Publishing(self.port, made, len(made), "HTTP/1.1 201")


class CLoop(System):
    """A bare C loop of send(): the limit that the kernel sets. It is told whom to send to."""

    name = "c-loop"
    joined: tuple[str, ...] = ()

    def command(self) -> list[str]:
        from bench.peers.run import tool

        return [str(tool("cloop")), str(self.port), *self.joined]

    def hello(self, wish: Wish | None = None) -> str:
        if wish is None:
            return ""
        self.ready = "OK"
        return f"F {','.join(map(str, wish.symbols))} {wish.floor} {sum(1 << a for a in wish.actions)}"

    def publishing(self, signals: list[Signal], per: int = 1, *, tagged: bool = False) -> Publishing:
        plain = super().publishing(signals, per)
        if not tagged:
            return plain
        made = [http(f"/publish?s={s.symbol}&c={s.confidence}&a={s.action}", s.text) for s in signals]
        return replace(plain, requests=made)


class CLoopJoined(CLoop):
    """The same, with the frames of one request joined into one send() a connection."""

    name = "c-loop joined"
    joined = ("--join",)


class Centrifuge(System):
    """Centrifugo's engine: JSON, memory broker with history, recovery, positioning; `tf` filters by tags."""

    name = "centrifuge"
    lacks = "keep (memory only), authenticate"
    needs = ENGINE
    environment = {"GOMAXPROCS": "1"}
    listen = ("path=/ws", "ping={}", "pong={}")
    ready = '"id":2,"subscribe"'
    history = 10_000
    epoch = ""

    def command(self) -> list[str]:
        return [str(ENGINE), str(self.port), str(self.history)]

    def hello(self, wish: Wish | None = None) -> str:
        subscribe: dict[str, object] = {"channel": "signals"}
        if wish is not None:
            subscribe["tf"] = {
                "op": "and",
                "nodes": [among("symbol", [f"S{s:03d}" for s in wish.symbols]), *rest(wish)],
            }
        return tabbed({"id": 1, "connect": {}}, {"id": 2, "subscribe": subscribe})

    def publishing(self, signals: list[Signal], per: int = 1, *, tagged: bool = False) -> Publishing:
        texts = [self.publication(s, tagged) for s in signals]
        bodies = ["\n".join(texts[i : i + per]) for i in range(0, len(texts), per)]
        return Publishing(self.port, [http("/publish", body) for body in bodies], len(bodies))

    def publication(self, s: Signal, tagged: bool) -> str:
        """One line of a request's body."""
        if not tagged:
            return f'{{"channel":"signals","data":{s.text}}}'
        tags = {"symbol": s.ticker, "action": ACTIONS[s.action], "confidence": f"{s.confidence / 100:.2f}"}
        return f'{{"channel":"{self.channel(s)}","data":{s.text},"tags":{json.dumps(tags)}}}'

    def channel(self, s: Signal) -> str:
        """Where it is published."""
        return "signals"


class CentrifugeBySymbol(Centrifuge):
    """The faster way to use it: a channel per symbol, five a client; only the rest is left to filters."""

    name = "centrifuge, channel per symbol"
    ready = '"id":6,"subscribe"'

    def hello(self, wish: Wish | None = None) -> str:
        assert wish is not None
        tf = {"op": "and", "nodes": rest(wish)}
        channels = [f"S{s:03d}" for s in wish.symbols]
        subscribes: list[object] = [{"id": i, "subscribe": {"channel": c, "tf": tf}} for i, c in enumerate(channels, 2)]
        return tabbed({"id": 1, "connect": {}}, *subscribes)

    def channel(self, s: Signal) -> str:
        return s.ticker


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


class Uvicorn(System):
    """A Python server under Uvicorn with its defaults."""

    module = ""
    needs = PYTHON

    def command(self) -> list[str]:
        return [str(PYTHON), "-m", "uvicorn", self.module, "--host", "127.0.0.1", "--port", str(self.port),
                "--log-level", "warning", "--no-access-log", "--backlog", "4096", "--app-dir",
                str(HERE / "servers")]  # fmt: skip


class FastapiText(Uvicorn):
    """The broadcast loop of FastAPI's tutorial."""

    name = "fastapi send_text"
    module = "fastapi_tutorial:app"


class FastapiJson(FastapiText):
    """The same with send_json."""

    name = "fastapi send_json"
    environment = {"MODE": "json"}


class SocketIO(Uvicorn):
    """python-socketio."""

    name = "python-socketio"
    module = "socketio_server:app"
    listen = ("path=/socket.io/?EIO=4&transport=websocket", "ping=2", "pong=3")
    ready = "40{"

    def hello(self, wish: Wish | None = None) -> str:
        return "40"


class Broadcast(System):
    """websockets.broadcast; it answers no publish."""

    name = "websockets.broadcast"
    needs = PYTHON

    def command(self) -> list[str]:
        return [str(PYTHON), str(HERE / "servers/websockets_broadcast.py"), str(self.port)]

    def publishing(self, signals: list[Signal], per: int = 1, *, tagged: bool = False) -> Publishing:
        made = [b"".join(frame(s.text) for s in signals[i : i + per]) for i in range(0, len(signals), per)]
        return Publishing(self.port, made, 0, "no answer", "no refusal", upgrade("/pub"))


# --- bytes on the wire

NATS_CONNECT = 'CONNECT {"verbose":false,"pedantic":false}\r\n'


def http(path: str, body: str, *headers: str) -> bytes:
    """A whole request."""
    lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", "Content-Type: application/json", *headers]
    content = body.encode()
    return "\r\n".join([*lines, f"Content-Length: {len(content)}", "", ""]).encode() + content


def upgrade(path: str, *headers: str) -> bytes:
    """What opens a WebSocket."""
    lines = [f"GET {path} HTTP/1.1", "Host: 127.0.0.1", "Upgrade: websocket", "Connection: Upgrade",
             "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13", *headers]  # fmt: skip
    return "\r\n".join([*lines, "", ""]).encode()


def frame(text: str) -> bytes:
    """A client's text frame with a zero mask: the hole for the time stays visible."""
    content = text.encode()
    size = len(content)
    head = bytes((0x81, 0x80 | size)) if size < 126 else b"\x81\xfe" + struct.pack(">H", size)
    return head + bytes(4) + content


def tabbed(*commands: object) -> str:
    """Commands as the load client sends them one after the other."""
    return "\t".join(json.dumps(command, separators=(",", ":")) for command in commands)


def among(tag: str, values: list[str]) -> dict[str, Any]:
    """A tag that is one of some."""
    return {"key": tag, "cmp": "in", "vals": values}


def rest(wish: Wish) -> list[dict[str, Any]]:
    """A wish without its symbols."""
    floor: dict[str, Any] = {"key": "confidence", "cmp": "gte", "val": f"{wish.floor / 100:.2f}"}
    return [floor, among("action", [ACTIONS[a] for a in wish.actions])]


def said(log: Path, start: str, wait_s: float = 10) -> str:
    """The rest of the line of a log that starts so, once it is there."""
    until = time.monotonic() + wait_s
    while time.monotonic() < until:
        for line in log.read_text().splitlines():
            if line.startswith(start):
                return line.removeprefix(start)
        time.sleep(0.05)
    raise RuntimeError(f"it did not say `{start}`")


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


KINDS = (Catalyst, CLoop, CLoopJoined, Centrifuge, CentrifugeBySymbol, Nats, NatsOfDebian, NatsSynced, Broadcast)
ALL: dict[str, type[System]] = {kind.name: kind for kind in (*KINDS, FastapiText, FastapiJson, SocketIO)}


def missing(name: str) -> bool:
    """Whether what it needs could not be installed."""
    needs = ALL[name].needs
    return needs is not None and not os.access(needs, os.X_OK)
