"""What stands in examples/ works, exactly as it stands there. Who relies on it: whoever begins by copying one.

Each runs as a process of its own against a real server, in an empty folder; the followers are killed once, as bots are.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Self

import pytest

from tests.running import RunningServer
from tests.services.child import path_with, program

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"
WAIT_S = 20.0
BARS = [
    f"2026-11-26T09:{30 + n}:00Z,ACME,{close}"
    for n, close in enumerate(("10.00", "10.10", "10.05", "10.08", "10.20", "10.15", "9.90"))
]


class Program:
    """A program as a child; `line(pattern)` waits for what it says."""

    def __init__(self, command: Sequence[str], folder: Path, server: RunningServer, key: str, *, reads: bool = False):
        plain = {name: value for name, value in os.environ.items() if not name.startswith("CATALYST_")}
        environment = plain | {"CATALYST_URL": server.url, "CATALYST_KEY": key, "PYTHONUNBUFFERED": "1"}
        self.said: list[str] = []
        self._lines: SimpleQueue[str] = SimpleQueue()
        self.process = subprocess.Popen(
            command, cwd=folder, env=environment, text=True, start_new_session=True,
            stdin=subprocess.PIPE if reads else subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line.rstrip("\n"))

    def line(self, pattern: str) -> str:
        """The next line that matches; what comes before it is passed over."""
        while True:
            try:
                found = self._lines.get(timeout=WAIT_S)
            except Empty:
                pytest.fail(f"no line like {pattern!r} came; so far: {self.said}")
            self.said.append(found)
            if re.search(pattern, found):
                return found

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(WAIT_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.kill()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with RunningServer(tmp_path_factory.mktemp("examples"), position_s=1) as running:
        yield running


def python(name: str, *args: str) -> list[str]:
    return [sys.executable, str(EXAMPLES / name), *args]


def put(server: RunningServer, **signal: object) -> None:
    with server.http() as http:
        answer = http.post("/v1/channels/main/signals", json={"symbol": "ACME", "action": "BUY"} | signal)
        assert answer.status_code == 201, answer.text


def test_the_producer_publishes_cancels_and_repeats_nothing_after_a_kill(server: RunningServer, tmp_path: Path) -> None:
    key = server.new_key(user="producer", scopes=["publish"])
    with Program(python("producer.py", "-"), tmp_path, server, key, reads=True) as bot:
        assert bot.process.stdin is not None
        bot.process.stdin.write("\n".join(BARS[:5]) + "\n")
        bot.process.stdin.flush()
        assert bot.line("published|duplicate") == "published breakout-ACME-2026-11-26T09:34:00Z"
        bot.kill()
    with server.http() as http:
        (promised,) = http.get("/v1/heartbeats").json()["heartbeats"]
    assert (promised["source"], promised["every_s"]) == ("producer", 60.0)
    (tmp_path / "bars.csv").write_text("\n".join(BARS) + "\n")
    with Program(python("producer.py", "bars.csv"), tmp_path, server, key) as bot:
        assert bot.line("published|cancelled") == "cancelled breakout-ACME-2026-11-26T09:34:00Z"
        assert bot.process.wait(WAIT_S) == 0
    (tmp_path / "producer.state.json").unlink()  # Even so the ids tell that all of it is there.
    with Program(python("producer.py", "bars.csv"), tmp_path, server, key) as bot:
        assert bot.process.wait(WAIT_S) == 0
    with server.http() as http:
        found = http.get("/v1/channels/main/signals/breakout-ACME-2026-11-26T09:34:00Z").json()["versions"]
        assert http.get("/v1/heartbeats").json()["heartbeats"] == [], "who ends by itself keeps nobody waiting"
    assert [each["type"] for each in found] == ["signal.published", "signal.cancelled"]
    assert found[0]["data"]["stop"] == {"price": "10.00"}


def test_the_follower_acts_once_and_reports_also_after_a_kill(server: RunningServer, tmp_path: Path) -> None:
    key = server.new_key(user="follower", scopes=["subscribe"])
    command = python("follower.py", "confidence >= 0.7 and tags contains_any (follower)")
    with Program(command, tmp_path, server, key) as bot:
        bot.line("^live$")
        put(server, id="f-low", confidence=0.2, tags=["follower"])
        put(server, id="f-1", confidence=0.8, tags=["follower"], entry="10.15")
        assert bot.line("^f-") == "f-1 ACME BUY 10.15"
        bot.kill()
    put(server, id="f-2", confidence=0.9, tags=["follower"], entry="10.40")
    with server.http() as http:
        http.post("/v1/channels/main/signals/f-1/cancel", json={"reason": "halted"})
    with Program(command, tmp_path, server, key) as bot:
        bot.line("^f-1~2 ACME CLOSE$")
        seen = [line for line in bot.said if line.startswith("f-")]
        assert seen[-2:] == ["f-2 ACME BUY 10.40", "f-1~2 ACME CLOSE"]
        put(server, id="f-3", confidence=0.9, tags=["follower"])
        bot.line("^f-3 ACME BUY$")
    with server.http() as http:
        told = {id: http.get(f"/v1/channels/main/signals/{id}/deliveries").json() for id in ("f-1", "f-2")}
    deeds = [(deed["what"], deed["id"]) for deed in told["f-1"]["deeds"]]
    assert deeds == [("executed", "f-1.1"), ("executed", "f-1.2")]
    assert told["f-2"]["deeds"][0]["fills"] == [{"qty": "100", "price": "10.40", "paper": True}]


def test_the_javascript_follower_goes_on_where_it_was(server: RunningServer, tmp_path: Path) -> None:
    """It knows nothing but docs/protocol.md, and uses nothing but Node."""
    node = program("node")
    key = server.new_key(user="node", scopes=["subscribe"])
    command = [node, str(EXAMPLES / "follower.mjs"), "tags contains_any (node)"]
    with Program(command, tmp_path, server, key) as bot:
        bot.line("^at ")
        put(server, id="n-1", tags=["node"])
        bot.line("^signal.published n-1 ACME open$")
        put(server, id="n-2", tags=["node"])
        bot.line("^signal.published n-2 ACME open$")
        bot.line("^at ")  # Now its place is behind both.
        bot.kill()
    put(server, id="n-3", tags=["node"])
    with server.http() as http:
        http.post("/v1/channels/main/signals/n-1/cancel", json={})
    with Program(command, tmp_path, server, key) as bot:
        bot.line("^signal.cancelled n-1~2 ACME")
        assert [line.split()[1] for line in bot.said if line.startswith("signal")] == ["n-3", "n-1~2"]
        server.stop()
        bot.line("^away|^at")
        server.start()
        put(server, id="n-4", tags=["node"])
        bot.line("^signal.published n-4 ACME open$")
    with Program(command, tmp_path, server, "cat_live_none") as bot:
        bot.line("^unauthenticated ")
        assert bot.process.wait(WAIT_S) == 1


def blocks(page: Path) -> list[str]:
    return re.findall(r"```sh\n(.*?)```", page.read_text(), re.DOTALL)


def test_the_way_from_tradingview_can_be_pasted_line_by_line(tmp_path: Path) -> None:
    """But for `catalyst serve`, which stands in another terminal, and the key that it prints."""
    folder = tmp_path / "tradingview"
    shutil.copytree(EXAMPLES / "tradingview", folder)
    serve, *pasted = blocks(folder / "README.md")
    assert serve == "catalyst serve\n"
    script = "\n".join(block for block in pasted).replace("export CATALYST_KEY=cat_live_...", "")
    with RunningServer(tmp_path) as server:
        plain = {name: value for name, value in os.environ.items() if not name.startswith("CATALYST_")}
        environment = plain | {
            "CATALYST_URL": server.url, "CATALYST_KEY": server.admin_key,
            "PATH": path_with(),
        }  # fmt: skip
        ran = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script], cwd=folder, env=environment, capture_output=True, text=True,
            timeout=60,
        )  # fmt: skip
        assert ran.returncode == 0, ran.stdout + ran.stderr
        with server.http() as http:
            events = http.get("/v1/channels/main/events").json()["events"]
    assert [(each["data"]["action"], each["data"]["instrument"]["symbol"]) for each in events] == [
        ("open", "ACME"), ("close", "ACME"),
    ]  # fmt: skip
    answers = [json.loads(line) for line in ran.stdout.splitlines() if line.startswith("{")]
    assert [each["duplicate"] for each in answers if "duplicate" in each] == [False, True, False]
    refusal = next(each for each in answers if "error" in each)
    assert "{{" in refusal["message"] and "was not filled in" in refusal["message"]


def test_every_example_is_in_the_list_and_in_the_readme() -> None:
    listed = (EXAMPLES / "README.md").read_text()
    for path in EXAMPLES.iterdir():
        assert path.name == "README.md" or f"({path.name}" in listed, f"examples/README.md does not name {path.name}"
    assert "examples/README.md" in (ROOT / "README.md").read_text()
