"""The log on its way to a central store (ELK): the shipped rsyslog file, a real rsyslogd and log, a sink of ours."""

from __future__ import annotations

import http.server
import json
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.services.child import Child, Folder, free_ports, program
from tests.test_deploy import DEPLOY

pytestmark = pytest.mark.slow


class Sink(http.server.ThreadingHTTPServer):
    """As much of Elasticsearch as `_bulk` is."""

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", port), Bulk)
        self.lines: list[dict[str, Any]] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Bulk(http.server.BaseHTTPRequestHandler):
    """Takes lines, keeps them, says that all went well."""

    server: Sink

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        found = [json.loads(line) for line in body.splitlines() if line.strip()]
        self.server.lines += found
        answer = {"errors": False, "items": [{"index": {"status": 201}} for _ in found[::2]]}
        self._say(json.dumps(answer).encode())

    def do_HEAD(self) -> None:
        self._say(b"")

    do_GET = do_HEAD

    def _say(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing."""


def test_the_log_reaches_a_central_store_also_when_that_comes_late() -> None:
    """Each line as it was written: what was logged before the store was there, and what after."""
    folder = Folder("rsyslog")
    port, elastic = free_ports(2)
    config = shipped(folder, elastic)
    rsyslogd = program("rsyslogd")
    subprocess.run([rsyslogd, "-N1", "-f", config], check=True, capture_output=True, timeout=30)
    child = Child([rsyslogd, "-n", "-f", config, "-i", folder.path / "pid"], folder, lambda: True)
    try:
        child.start()
        server(folder, port)
        sink = Sink(elastic)
        server(folder, port)
        written = (folder.path / "logs" / "8080.log").read_text().splitlines()
        wait_for(lambda: len(sink.lines) >= 2 * len(written))
    finally:
        child.stop(10)
        folder.remove()
    sink.shutdown()
    sink.server_close()
    assert len(written) >= 2
    assert all(set(line) <= {"index", "create"} for line in sink.lines[::2])
    assert sink.lines[1::2] == [json.loads(line) for line in written]


def shipped(folder: Folder, port: int) -> Path:
    """The file with this folder and that port."""
    (folder.path / "logs").mkdir()
    text = (DEPLOY / "rsyslog" / "catalyst.conf").read_text()
    for old, new in (("/var/log/catalyst", str(folder.path / "logs")), ('serverport="9200"', f'serverport="{port}"')):
        assert old in text
        text = text.replace(old, new)
    return folder.write("rsyslog.conf", f'global(workDirectory="{folder.path}")\n{text}')


def server(folder: Folder, port: int) -> None:
    """One that logs into the folder, starts, answers and ends."""
    own = Folder("server")
    environment = {"CATALYST_LOG_FILE": str(folder.path / "logs" / "8080.log"), "CATALYST_STORE_URL": "memory:"}
    child = Child(
        [sys.executable, "-m", "catalyst_signals", "serve", "--port", str(port)], own,
        lambda: urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=2), env=environment,
    )  # fmt: skip
    try:
        child.start()
    finally:
        child.stop()
        own.remove()


def wait_for(done: Callable[[], bool], within_s: float = 30) -> None:
    """Until it is so."""
    until = time.monotonic() + within_s
    while not done():
        assert time.monotonic() < until, "it did not come"
        time.sleep(0.05)
