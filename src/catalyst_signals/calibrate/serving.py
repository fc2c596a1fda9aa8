"""A real server in a process of its own, and what the kernel says of it.

Owns: its start, its end, its processor time and its memory. Knows nothing of what is asked of it.
Law: it is gone when the block is left, however that happens, kill -9 included; it listens on loopback only.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from catalyst_signals.errors import MissingDriver, Unavailable

START_S, STOP_S, LOOK_S = 30.0, 5.0, 0.02
MISSING_EXTRA = 3
SAID, LOG = "said", "log"
KEY, AT = "admin key: ", "listening on http://127.0.0.1:"
PR_SET_PDEATHSIG, CPUCLOCK_SCHED = 1, 2  # <linux/prctl.h>, <linux/posix-timers.h>
UNLIMITED = ("ADDRESS_CONNECTIONS", "KEY_CONNECT_RATE", "KEY_PUBLISH_RATE", "USER_SUBSCRIBE_RATE")


@dataclass(frozen=True, slots=True)
class Server:
    """Where it listens, and its admin's key."""

    pid: int
    port: int
    key: str = field(repr=False)

    def cpu_s(self) -> float:
        """Processor time of all its threads until now, also of those that ended, to the nanosecond."""
        return time.clock_gettime(~self.pid << 3 | CPUCLOCK_SCHED)  # As clock_getcpuclockid(3) has it.

    def rss_bytes(self) -> int:
        """Resident memory now."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@asynccontextmanager
async def serving(store_url: str) -> AsyncIterator[Server]:
    """A server on an empty store, one process, with the usual settings and no limits on one user.

    Raises:
        MissingDriver: the extra `server` is not installed.
        Unavailable: it did not start; says its last words.
    """
    with tempfile.TemporaryDirectory(prefix="catalyst-calibrate-") as name:
        folder = Path(name)
        process = _start(folder, store_url)
        try:
            yield await _started(process, folder)
        finally:
            _stop(process)


def _start(folder: Path, store_url: str) -> subprocess.Popen[bytes]:
    """Its URL may hold a password, so it is not on the command line, where everybody sees it."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("CATALYST_")}
    settings = {f"CATALYST_{name}": "0" for name in UNLIMITED} | {"CATALYST_STORE_URL": store_url}
    prctl = ctypes.CDLL(None).prctl  # Looked up here: nothing but the call itself may happen after the fork.
    with (folder / SAID).open("wb") as answers, (folder / LOG).open("wb") as errors:
        return subprocess.Popen(
            [sys.executable, "-m", "catalyst_signals", "serve", "--host", "127.0.0.1", "--port", "0"],
            cwd=folder, env=clean | settings, stdin=subprocess.DEVNULL, stdout=answers, stderr=errors,
            start_new_session=True, preexec_fn=lambda: prctl(PR_SET_PDEATHSIG, signal.SIGTERM),
        )  # fmt: skip


async def _started(process: subprocess.Popen[bytes], folder: Path) -> Server:
    for _ in range(round(START_S / LOOK_S)):
        if process.poll() is not None:
            break
        if (server := _listening(process.pid, folder)) is not None:
            return server
        await asyncio.sleep(LOOK_S)
    raise _not_started(process, folder)


def _listening(pid: int, folder: Path) -> Server | None:
    """What it is, once it says that it listens."""
    lines = (folder / SAID).read_text().splitlines()
    at = next((line.removeprefix(AT) for line in lines if line.startswith(AT)), None)
    if at is None:
        return None
    key = next(line.removeprefix(KEY) for line in lines if line.startswith(KEY))
    return Server(pid, int(at), key)


def _not_started(process: subprocess.Popen[bytes], folder: Path) -> MissingDriver | Unavailable:
    words = (folder / LOG).read_text(errors="replace").strip().split("\n")[-1] or "it said nothing"
    kind = MissingDriver if process.returncode == MISSING_EXTRA else Unavailable
    return kind(f"the server that was to be measured did not start: {words}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Without an await: a second Ctrl-C cannot come between."""
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
