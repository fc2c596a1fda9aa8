"""One run: a fresh server alone on one core, the client and the publisher on another, and what the kernel counted.

Law: every wait ends, everything started here is stopped here by its own process id, and only loopback is used.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.harness import CLIENT_CORE, OUT, SERVER_CORE, rss_kib
from bench.peers.system import HERE, Publishing, System

START_S, STOP_S, SETTLE_S = 30.0, 20.0, 0.5

Row = dict[str, Any]


def tool(name: str) -> Path:
    """A C program of this folder, compiled if it is newer than its binary."""
    source, binary = HERE / "c" / f"{name}.c", OUT / f"peers-{name}"
    OUT.mkdir(exist_ok=True)
    if not binary.exists() or binary.stat().st_mtime < source.stat().st_mtime:
        subprocess.run(["cc", "-O2", "-Wall", "-Wextra", "-o", binary, source], check=True)
    return binary


@dataclass
class Server:
    """A system that runs."""

    system: System
    process: subprocess.Popen[bytes]

    @property
    def cpu_s(self) -> float:
        """What the process used so far, all its threads, also those that ended, to the nanosecond."""
        return time.clock_gettime((~self.process.pid << 3) | 2)

    @property
    def rss_kib(self) -> int:
        """Its resident memory."""
        return rss_kib(self.process.pid)

    @property
    def peak_kib(self) -> int:
        """The most it ever had."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))


@contextmanager
def started(kind: type[System]) -> Iterator[Server]:
    """A fresh server that listens; gone afterwards, with all it wrote."""
    folder = Path(tempfile.mkdtemp(prefix="bench-peers-"))
    system = kind(folder)
    command = ["taskset", "-c", SERVER_CORE, *system.command()]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command, env=os.environ | system.environment, cwd=folder, stdin=subprocess.DEVNULL, stdout=log,
            stderr=subprocess.STDOUT, preexec_fn=all_files,
        )  # fmt: skip
    try:
        await_port(system.port, process)
        system.started()
        time.sleep(SETTLE_S)
        yield Server(system, process)
    except Exception as fault:
        raise RuntimeError(f"{system.name}: {fault!r}; its log ends: {(folder / 'log').read_text()[-400:]}") from fault
    finally:
        process.kill()  # All is measured and nothing is kept; a goodbye to 10,000 takes some half a minute.
        process.wait(STOP_S)
        shutil.rmtree(folder, ignore_errors=True)


def all_files() -> None:
    """As many open files as this machine allows; also for this process's children."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def await_port(port: int, process: subprocess.Popen[bytes]) -> None:
    """Until it listens."""
    until = time.monotonic() + START_S
    while process.poll() is None and time.monotonic() < until:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError("it did not listen")


def stop(process: subprocess.Popen[Any]) -> None:
    """Politely, then not."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class Subscribers:
    """The load client, once all its connections are subscribed."""

    def __init__(
        self, server: Server, hellos: list[str], connections: int, wanted: int, wait_s: float, *more: str, nice: int = 0
    ) -> None:
        """`nice`: how far it stands back for those who are measured on the same core."""
        system, options = server.system, list(more)
        if len(hellos) > 1:
            (system.folder / "hellos").write_text("\n".join(hellos) + "\n")
            options.append(f"hellos={system.folder / 'hellos'}")
        elif hellos[0]:
            options.append(f"hello={hellos[0]}")
        if system.ready is not None:
            options.append(f"ready={system.ready}")
        argv = [
            "nice",
            "-n",
            nice,
            "taskset",
            "-c",
            CLIENT_CORE,
            tool("load"),
            system.port,
            connections,
            wanted,
            wait_s,
            *system.listen,
            *options,
        ]
        self.process = subprocess.Popen([str(a) for a in argv], stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> Subscribers:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line.startswith("ready "):
            raise RuntimeError("the subscribers did not get ready")
        self.opened: Row = json.loads(line.removeprefix("ready "))
        return self

    def __exit__(self, *_: object) -> None:
        stop(self.process)

    def row(self) -> Row:
        """What came, once it did or its time is over; the connections stay open until the end of the block."""
        assert self.process.stdout is not None
        answer: Row = json.loads(self.process.stdout.readline())
        return answer

    def enough(self) -> Row:
        """What came until now; it ends."""
        self.process.send_signal(signal.SIGTERM)
        return self.row()


@contextmanager
def publisher(server: Server, what: Publishing, **options: object) -> Iterator[subprocess.Popen[str]]:
    """The publisher at work; its result is read with `said`."""
    folder = server.system.folder
    path = folder / f"requests-{time.monotonic_ns()}"
    path.write_bytes(b"".join(struct.pack("<I", len(r)) + r for r in what.requests))
    if what.before:
        (folder / "before").write_bytes(what.before)
        options["before"] = folder / "before"
    options |= {"answer": what.answer, "refusal": what.refusal}
    argv = ["taskset", "-c", CLIENT_CORE, tool("publish"), what.port, path, what.answers]
    words = [f"{name}={value}" for name, value in options.items()]
    process = subprocess.Popen([*map(str, argv), *words], stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        stop(process)
        path.unlink(missing_ok=True)


def said(process: subprocess.Popen[str], wait_s: float) -> Row:
    """The publisher's result; loud if something was refused."""
    out, _ = process.communicate(timeout=wait_s)
    if not out:
        raise RuntimeError("the publisher failed")
    answer: Row = json.loads(out)
    if answer["refused"]:
        raise RuntimeError(f"refused: {answer['answer']}")
    return answer
