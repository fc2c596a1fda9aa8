"""A real `catalyst serve` as a child process, for every test that needs one.

Owns: starting it on a free port with a fresh store, reading its two lines, stopping and killing it by pid.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx2

START_S = 30  # Three times what a slow machine needs.


class RunningServer:
    """`with RunningServer(folder) as server:` gives `url`, `admin_key` (kept over restarts) and `log`.

    `within` are the words of a command that starts it somewhere else and becomes it, as `ip netns exec NAME` does.
    """

    def __init__(
        self, folder: Path, *, store_url: str | None = None, within: Sequence[str] = (), **settings: object
    ) -> None:
        self.folder = folder
        self.store_url = store_url or f"sqlite:///{folder / 'catalyst.db'}"
        self.within = within
        self.settings = {f"CATALYST_{name.upper()}": str(value) for name, value in settings.items()}
        self.admin_key = ""
        self.url = ""
        self.port = 0
        self.log_path = folder / "server.log"
        self.process: subprocess.Popen[str] | None = None
        self.keys: list[str] = []

    def start(self) -> Self:
        """Start, and come back when it listens. A restart listens on the same port."""
        self._close()
        with self.log_path.open("a") as log:
            self.process = subprocess.Popen(
                [*self.within, sys.executable, "-m", "catalyst_signals", "serve", "--port", str(self.port)],
                cwd=self.folder, env=self._environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log,
                text=True, start_new_session=True,
            )  # fmt: skip
        watchdog = threading.Timer(START_S, self.process.kill)
        watchdog.start()
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("admin key: "):
                self.admin_key = line.removeprefix("admin key: ").strip()
                self.keys.append(self.admin_key)
            if line.startswith("listening on "):
                self.url = line.removeprefix("listening on ").strip()
                self.port = int(self.url.rsplit(":", 1)[1])
                watchdog.cancel()
                return self
        watchdog.cancel()
        self.process.wait(START_S)
        self._close()
        raise RuntimeError(f"the server did not start:\n{self.log}")

    def _environment(self) -> dict[str, str]:
        plain = {name: value for name, value in os.environ.items() if not name.startswith("CATALYST_")}
        return plain | {"CATALYST_STORE_URL": self.store_url, "PYTHONUNBUFFERED": "1"} | self.settings

    @property
    def log(self) -> str:
        """What it wrote to standard error so far."""
        return self.log_path.read_text()

    def stop(self) -> int:
        """SIGTERM, and wait for the drain; the exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(30)
        self._close()
        return code

    def kill(self) -> None:
        """SIGKILL: no last words."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(30)
        self._close()

    def _close(self) -> None:
        if self.process is not None and self.process.stdout is not None:
            self.process.stdout.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process is not None and self.process.poll() is None:
            self.kill()
        self._close()
        assert not any(key in self.log for key in self.keys), "a key stands in the log"

    def http(self, key: str | None = None) -> httpx2.Client:
        """A client that speaks for `key` (the admin's without one)."""
        return httpx2.Client(
            base_url=self.url, headers={"Authorization": f"Bearer {key or self.admin_key}"}, timeout=30, trust_env=False
        )

    def new_key(self, **body: object) -> str:
        """A key from the admin; `user` and the rest as `POST /v1/keys` takes them."""
        with self.http() as http:
            answer = http.post("/v1/keys", json={"user": "someone"} | body)
            assert answer.status_code == 201, answer.text
            key: str = answer.json()["key"]
            self.keys.append(key)
            return key
