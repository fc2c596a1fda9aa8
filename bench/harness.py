"""What every measurement needs: a fresh server on core 0, clients on core 1, CPU time as the kernel counts it."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
OUT = Path(tempfile.gettempdir()) / "catalyst-bench"
KEPT = HERE / "results" / "site.json"
SERVER_CORE, CLIENT_CORE = "0", "1"

Row = dict[str, Any]


def tool(name: str) -> Path:
    """A C program of this folder, compiled if it is newer than its binary."""
    source, binary = HERE / f"{name}.c", OUT / name
    OUT.mkdir(exist_ok=True)
    if not binary.exists() or binary.stat().st_mtime < source.stat().st_mtime:
        subprocess.run(["cc", "-O2", "-o", binary, source], check=True)
    return binary


def cpu_s(pid: int) -> float:
    """On-CPU seconds of all threads of a process, to the nanosecond."""
    return sum(int(task.read_text().split()[0]) for task in Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1e9


def rss_kib(pid: int) -> int:
    """Resident memory of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")))


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Server:
    """A Catalyst with its store in a throw-away folder."""

    def __init__(self, process: subprocess.Popen[str], key: str, port: int) -> None:
        self.process, self.key, self.port = process, key, port

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    @property
    def header(self) -> str:
        """The line that says who asks."""
        return f"Authorization: Bearer {self.key}"


NO_LIMITS = dict.fromkeys(
    (
        "CATALYST_ADDRESS_CONNECTIONS", "CATALYST_KEY_CONNECT_RATE", "CATALYST_KEY_PUBLISH_RATE",
        "CATALYST_USER_SUBSCRIBE_RATE",
    ),
    "0",
)  # fmt: skip
"""Everybody here is one user at one address."""


@contextmanager
def server(store: str | None = None, **settings: object) -> Iterator[Server]:
    """A fresh server, alone on its core; `store` is a prepared SQLite file that is copied in."""
    folder = Path(tempfile.mkdtemp(prefix="catalyst-bench-"))
    if store is not None:
        shutil.copy(store, folder / "catalyst.db")
    env = os.environ | NO_LIMITS | {f"CATALYST_{name.upper()}": str(value) for name, value in settings.items()}
    env |= {"CATALYST_STORE_URL": f"sqlite:///{folder / 'catalyst.db'}"}
    process = subprocess.Popen(
        ["taskset", "-c", SERVER_CORE, sys.executable, "-m", "catalyst_signals", "serve", "--port", "0"],
        stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, env=env, cwd=folder,
    )  # fmt: skip
    try:
        key, port = "", 0
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("admin key: "):
                key = line.split()[-1]
            if line.startswith("listening on "):
                port = int(line.strip().rsplit(":", 1)[1])
                break
        yield Server(process, key, port)
    finally:
        process.terminate()
        process.wait(30)
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def sink(port: int, connections: int, frames: int, seconds: float, *words: str) -> Iterator[subprocess.Popen[str]]:
    """Connections that read and count, once all of them are ready."""
    argv = [
        "taskset",
        "-c",
        CLIENT_CORE,
        str(tool("sink")),
        str(port),
        str(connections),
        str(frames),
        str(seconds),
        *words,
    ]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if line != "ready\n":
            raise RuntimeError(f"the sink did not get ready: {line!r}")
        yield process
    finally:
        process.kill()
        process.wait(30)


def result_of(process: subprocess.Popen[str]) -> Row:
    """The JSON a tool prints at its end."""
    assert process.stdout is not None
    answer: Row = json.loads(process.stdout.readline())
    return answer


def subscribe(filter: str | None = None, after: int | None = None) -> str:
    """A subscribe message for the sink."""
    content: Row = {"type": "subscribe", "channel": "main"}
    if filter is not None:
        content["filter"] = filter
    if after is not None:
        content["after"] = after
    return json.dumps(content)


def signal_of(n: int, size: int = 279) -> Row:
    """A usual signal whose event is about `size` bytes on the wire."""
    draft = {
        "id": f"b-{n}", "symbol": f"S{n % 500:03d}", "action": ("BUY", "SELL")[n % 2], "confidence": n % 100 / 100,
        "stop": "9.40",
    }  # fmt: skip
    return draft | {"note": "x" * max(0, size - 279 + 20)}


def ms_at(ordered_s: list[float], part: float) -> float:
    """In ms, what so large a part of the times does not exceed: 0.99 for the p99."""
    return round(ordered_s[int(len(ordered_s) * part)] * 1000, 2)


def keep(name: str, rows: list[Row]) -> None:
    """The rows of a load, in the place of those of its run before; the other loads' rows stay."""
    kept: dict[str, Row] = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=HERE, capture_output=True, text=True)
    kept[name] = {"at": time.strftime("%Y-%m-%d %H:%M"), "commit": commit.stdout.strip(), "rows": rows}
    KEPT.write_text(json.dumps(kept, indent=1) + "\n")


def show(rows: list[Row]) -> None:
    """Rows as lines, for people."""
    for row in rows:
        print("  ".join(f"{name}={value}" for name, value in row.items()), flush=True)
