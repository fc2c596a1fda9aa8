"""One child process of the tests: started, waited for until it answers, stopped by its pid, its folder removed.

A service that is not installed fails the test in CI and skips it elsewhere; `tools/services` installs them all.
"""

from __future__ import annotations

import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

READY_S = 30.0
OURS = str(Path(sys.executable).parent)  # Where `catalyst` is, and every tool of the venv.


def program(name: str, *folders: str) -> str:
    """Where a service's program is, on PATH or in one of these folders; without it the test cannot run."""
    path = os.pathsep.join([*folders, os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
    found = shutil.which(name, path=path)
    if found is None:
        missing = f"{name} is not installed; `tools/services` installs what the tests need"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(missing)
    return found


def path_with(*folders: str | Path) -> str:
    """PATH, with these folders and then those of the venv before it."""
    return os.pathsep.join([*map(str, folders), OURS, os.environ["PATH"]])


# Below those that Linux gives to whoever connects: nobody else takes one between this look and the service's start.
PORTS = range(12_000, 32_768)
_given: set[int] = set()


def free_ports(count: int) -> list[int]:
    """Loopback ports that nobody has now, and that were not given to anybody before."""
    found: list[int] = []
    while len(found) < count:
        port = random.SystemRandom().choice(PORTS)
        if port not in _given and _is_free(port):
            _given.add(port)
            found.append(port)
    return found


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


class Folder:
    """A throw-away folder, of another user if that is asked for and we may."""

    def __init__(self, name: str, owner: str | None = None) -> None:
        self.path = Path(tempfile.mkdtemp(prefix=f"catalyst-{name}-"))
        self.owner = owner if owner is not None and os.getuid() == 0 else None
        if self.owner is not None:
            self.give(self.path)

    def give(self, path: Path) -> None:
        """The file or folder belongs to whoever the service runs as."""
        if self.owner is not None:
            user = pwd.getpwnam(self.owner)
            os.chown(path, user.pw_uid, user.pw_gid)

    def write(self, name: str, text: str) -> Path:
        """A file in it."""
        path = self.path / name
        path.write_text(text)
        self.give(path)
        return path

    def remove(self) -> None:
        """With all that is in it."""
        shutil.rmtree(self.path, ignore_errors=True)


def as_user(folder: Folder) -> dict[str, object]:
    """What `subprocess` is told to run something as the folder's owner, with the folder as its home."""
    env = {**os.environ, "HOME": str(folder.path)}
    if folder.owner is None:
        return {"env": env}
    return {"env": env, "user": folder.owner, "group": pwd.getpwnam(folder.owner).pw_gid, "extra_groups": []}


class Child:
    """A running service. Its output is in `log`; `answers` says, by a real question, whether it is ready."""

    stop_signal = signal.SIGTERM

    def __init__(
        self, command: Sequence[str | Path], folder: Folder, answers: Callable[[], object], *,
        name: str = "", stop_signal: signal.Signals = signal.SIGTERM, env: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        self._command = [str(word) for word in command]
        self._folder = folder
        self._answers = answers
        self._env = env or {}
        self.stop_signal = stop_signal
        self.log = folder.path / f"{name or Path(self._command[0]).name}.log"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """While it runs."""
        assert self.process is not None
        return self.process.pid

    def start(self, within_s: float = READY_S) -> Self:
        """Start it and wait until it answers."""
        how = as_user(self._folder)
        how["env"] = {**how["env"], **self._env}  # type: ignore[dict-item]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self._folder.path,
                start_new_session=True, **how,  # type: ignore[call-overload]
            )  # fmt: skip
        try:
            self.wait(within_s)
        except BaseException:
            self.kill()
            raise
        return self

    def wait(self, within_s: float = READY_S) -> None:
        """Until it answers."""
        until, why = time.monotonic() + within_s, "it does not answer"
        while time.monotonic() < until:
            assert self.process is not None
            if self.process.poll() is not None:
                why = f"it ended with {self.process.returncode}"
                break
            try:
                if self._answers():
                    return
            except Exception as error:
                why = repr(error)
            time.sleep(0.02)
        raise AssertionError(f"{self._command[0]}: {why}\n{self.log.read_text(errors='replace')[-3000:]}")

    def stop(self, within_s: float = 30) -> None:
        """As an administrator would; killed if it takes too long."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.send_signal(self.stop_signal)
        try:
            self.process.wait(within_s)
        except subprocess.TimeoutExpired:
            self.kill()
        else:
            self._sweep()

    def kill(self) -> None:
        """kill -9"""
        if self.process is not None and self.process.poll() is None:
            self._sweep()
            self.process.wait()

    def _sweep(self) -> None:
        """What a script started goes with it, as with the first process of a container."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    def freeze(self) -> None:
        """It hangs from now on, with its sockets open."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """It goes on."""
        os.kill(self.pid, signal.SIGCONT)


class Service:
    """One child in a folder of its own, for as long as a `with` lasts; whoever derives from it sets both."""

    folder: Folder
    child: Child
    stops_within_s = 30.0  # 0 for one that has nothing to lose: it is killed.

    @property
    def log(self) -> str:
        """What it said."""
        return self.child.log.read_text()

    def __enter__(self) -> Self:
        self.child.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.stops_within_s:
            self.child.stop(self.stops_within_s)
        else:
            self.child.kill()
        self.folder.remove()
