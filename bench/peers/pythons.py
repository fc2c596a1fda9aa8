"""Servers in Python: the tutorial loop of FastAPI, python-socketio, websockets.broadcast."""

from __future__ import annotations

from bench.peers.system import HERE, TOOLS, Publishing, System
from bench.peers.traffic import Signal, Wish
from bench.peers.wires import frame, upgrade

PYTHON = TOOLS / "peers/bin/python"


class Uvicorn(System):
    """A Python server under Uvicorn with its defaults."""

    module = ""
    needs = PYTHON
    opens_per_s = 3000

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
    opens_per_s = 900

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
