"""`catalyst ingest` and news: lines from a program, and what is fetched.

Covers catalyst_signals.cli.items through the real command and a real server.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from typing import Any

import pytest

from tests.feed_server import FeedServer
from tests.running import RunningServer
from tests.sink import until


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with RunningServer(tmp_path_factory.mktemp("items"), targets_allow="127.0.0.0/8", lease_s=1) as running:
        yield running


def environment(server: RunningServer) -> dict[str, str]:
    plain = {name: value for name, value in os.environ.items() if not name.startswith("CATALYST_")}
    return plain | {"CATALYST_KEY": server.admin_key, "CATALYST_URL": server.url}


def run(server: RunningServer, *words: str, given: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "catalyst_signals", *words], input=given, capture_output=True, text=True, timeout=60,
        check=False, env=environment(server),
    )  # fmt: skip


def door(server: RunningServer) -> str:
    with server.http() as http:
        return str(http.post("/v1/ingest", json={"adapter": "jsonl", "channel": "items"}).json()["url"])


def titles(server: RunningServer) -> list[str]:
    """Of the newest address."""
    with server.http() as http:
        sources = http.get("/v1/ingest").json()["ingest"]
        events = http.get("/v1/channels/items/events", params={"after": 0, "limit": 10_000}).json()["events"]
    newest = sources[-1]["id"]
    return [each["data"]["title"] for each in events if each["id"].startswith(f"jsonl.{newest}.")]


def test_good_lines_are_stored_once_and_bad_ones_are_named(server: RunningServer) -> None:
    url = door(server)
    lines = [json.dumps({"id": n, "title": f"t{n}"}) for n in range(1200)]
    lines[700] = '{"title": '
    lines[900] = '{"url": "https://n.example/"}'
    given = "\n".join(lines) + "\n"
    done = run(server, "ingest", "jsonl", "--to", url, given=given)
    assert done.returncode == 4, done.stderr
    assert "line 701: " in done.stderr and "line 901: " in done.stderr
    assert "1,198 items of 1,200 lines" in done.stderr
    assert len(titles(server)) == 1198
    again = run(server, "ingest", "jsonl", "-", "--to", url, "--json", given=given)
    answers = [json.loads(line) for line in again.stdout.splitlines()]
    assert [each["line"] for each in answers[:-1]] == [701, 901] and answers[-1]["refused"] == 2
    assert len(titles(server)) == 1198


def test_a_line_is_an_item_before_the_next_one_comes(server: RunningServer) -> None:
    url = door(server)
    with subprocess.Popen(
        [sys.executable, "-m", "catalyst_signals", "ingest", "jsonl", "--to", url], stdin=subprocess.PIPE, text=True,
        stderr=subprocess.DEVNULL, env=environment(server),
    ) as program:  # fmt: skip
        assert program.stdin is not None
        program.stdin.write('{"title": "first"}\n')
        program.stdin.flush()
        until(lambda: titles(server) == ["first"])
        program.stdin.write('{"title": "last"}')
        program.stdin.close()
        assert program.wait(30) == 0
    assert titles(server) == ["first", "last"]


@pytest.mark.slow
def test_a_wrong_address_or_file_is_said(server: RunningServer, tmp_path: Any) -> None:
    assert run(server, "ingest", "jsonl", given="{}").returncode == 2
    assert run(server, "ingest", "jsonl", "--to", f"{server.url}/in/rss/x", given="{}").returncode == 2
    assert run(server, "ingest", "jsonl", str(tmp_path / "none"), "--to", door(server)).returncode == 2
    gone = run(server, "ingest", "jsonl", "--to", f"{server.url}/in/jsonl/wrong", given='{"title": "x"}\n')
    assert gone.returncode == 4 and "nothing comes in at this address" in gone.stderr


@pytest.mark.slow
def test_a_feed_is_added_and_seen_on_the_command_line(server: RunningServer) -> None:
    with FeedServer() as feed:
        feed.titles = ["one", "two"]
        made = run(server, "ingest", "add", "rss", "--channel", "items", "--pull", feed.url, "--every", "1s")
        assert made.returncode == 0 and "is fetched from now on" in made.stdout, made.stderr
        ends_s = time.monotonic() + 20
        while "2 new" not in (listed := " ".join(run(server, "ingest", "list").stdout.split())):
            assert time.monotonic() < ends_s, listed
        feed.way = "page"
        until(lambda: "no RSS" in " ".join(run(server, "ingest", "list").stdout.split()), within_s=30)
