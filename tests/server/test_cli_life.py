"""The command line over a signal's life: changed, cancelled, looked at, and caught up with after some time away.

Covers catalyst_signals.cli.changes, catalyst_signals.cli.history, catalyst_signals.cli.life and
catalyst_signals.cli.signals.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from catalyst_signals.cli import run
from tests.running import RunningServer

pytestmark = pytest.mark.slow

WAIT_S = 20

Catalyst = Callable[..., str]


@pytest.fixture
def catalyst(
    server: RunningServer,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    request: pytest.FixtureRequest,
) -> Catalyst:
    """Run a command in a channel of its own; what stood on standard output, or with `code` on standard error."""
    monkeypatch.setenv("CATALYST_URL", server.url)
    monkeypatch.setenv("CATALYST_KEY", server.admin_key)
    channel = re.sub("[^a-z0-9]", "-", request.node.name.lower())[:60]

    def command(*args: str, code: int | None = None) -> str:
        capfd.readouterr()
        assert run([*args, "--channel", channel]) == (code or 0), capfd.readouterr().err
        out, err = capfd.readouterr()
        assert "Traceback" not in err
        return out if code is None else err

    assert run(["channels", "add", channel]) == 0
    return command


def events(lines: str) -> list[dict[str, Any]]:
    """What was printed with --json."""
    return [json.loads(line) for line in lines.splitlines()]


def test_a_life_from_publish_to_its_end(catalyst: Catalyst) -> None:
    """All of it by hand: what a friend without a bot does."""
    catalyst("publish", "ACME", "BUY", "--id", "a", "--stop", "9.40", "--confidence", "0.8", "--note", "early")
    changed = json.loads(catalyst("update", "a", "--set", "stop=9.80", "--set", "note=", "--if-version", "1"))
    assert (changed["version"], changed["duplicate"]) == (2, False)
    assert json.loads(catalyst("update", "a", "--set", "stop=9.80"))["duplicate"]
    assert json.loads(catalyst("cancel", "a", "--reason", "trial halted"))["version"] == 3
    heard = catalyst("listen", "--after", "0", "--count", "3").splitlines()
    assert [line[9:] for line in heard] == [
        "BUY ACME 0.80 stop 9.40 source admin note early",
        "UPDATE ACME BUY 0.80 stop 9.80 (was 9.40) source admin note none (was early)",
        "CANCEL ACME BUY reason trial halted",
    ]
    told = catalyst("history", "--id", "a")
    assert "stop  9.40 -> 9.80" in told and "note  early -> taken away" in told and "reason  trial halted" in told
    versions = events(catalyst("history", "--id", "a", "--json"))
    assert versions == events(catalyst("history", "--json"))


def test_who_comes_too_late_is_told_what_to_do(catalyst: Catalyst) -> None:
    """Two people on one signal: the second reads it again, and does not guess."""
    catalyst("publish", "ACME", "BUY", "--id", "a", "--stop", "9.40")
    catalyst("update", "a", "--set", "stop=9.80")
    err = catalyst("update", "a", "--set", "stop=9", "--if-version", "1", code=4)
    assert "at version 2 now" in err and "catalyst history --id a --channel " in err and "--if-version 2" in err
    assert "at version 2 now" in catalyst("cancel", "a", "--if-version", "1", code=4)
    catalyst("cancel", "a")
    assert "has ended (cancelled)" in catalyst("update", "a", "--set", "stop=9", code=4)
    assert "catalyst history --id a" in catalyst("cancel", "a", code=4)
    for args in (["update", "no", "--set", "stop=9"], ["cancel", "no"], ["history", "--id", "no"]):
        assert "no signal of that id" in catalyst(*args, code=4)


def test_a_change_is_read_from_a_file(catalyst: Catalyst, tmp_path: Path) -> None:
    """A merge patch as it is: its prices keep their digits, what is null goes."""
    catalyst("publish", "ACME", "BUY", "--id", "a", "--stop", "9.40", "--note", "x")
    patch = tmp_path / "patch.json"
    patch.write_text('{"stop": 9.80, "note": null}')
    assert json.loads(catalyst("update", "a", "--json", str(patch)))["version"] == 2
    data = events(catalyst("history", "--id", "a", "--json"))[-1]["data"]
    assert data["stop"] == {"price": "9.80"} and "note" not in data
    patch.write_text("[1]")
    assert "a change is a JSON object" in catalyst("update", "a", "--json", str(patch), code=2)
    patch.write_text('{"stop": “9”}')
    assert "smart quote" in catalyst("update", "a", "--json", str(patch), code=2)


def test_a_signal_that_takes_the_place_of_another_ends_it(catalyst: Catalyst) -> None:
    """The same story from another wire."""
    catalyst("publish", "ACME", "BUY", "--id", "a")
    catalyst("publish", "ACME", "BUY", "--id", "b", "--supersedes", "a")
    assert "SUPERSEDED ACME BUY by b" in catalyst("history")


def test_listen_goes_on_from_its_file_and_shows_nothing_twice(catalyst: Catalyst, tmp_path: Path) -> None:
    """Also the event it ended with: it was shown."""
    state = ["--state", str(tmp_path / "me")]
    for name in "abcd":
        catalyst("publish", name.upper(), "BUY", "--id", name)
    first = catalyst("listen", *state, "--after", "0", "--count", "2", "--json")
    then = catalyst("listen", *state, "--count", "2", "--json")
    assert [event["id"] for event in events(first + then)] == ["a", "b", "c", "d"]


def test_what_expired_meanwhile_is_held_unless_asked_for(
    catalyst: Catalyst, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Who was away reads no stale signal as fresh, and is told how many there were; its end comes all the same."""
    state = ["--state", str(tmp_path / "me")]
    catalyst("publish", "FIRST", "BUY", "--id", "first")
    catalyst("listen", *state, "--after", "0", "--count", "1")
    catalyst("publish", "OLD", "BUY", "--id", "old", "--expires-in", "1s")
    ends = time.monotonic() + WAIT_S
    while len(events(catalyst("history", "--id", "old", "--json"))) < 2 and time.monotonic() < ends:
        time.sleep(0.1)
    catalyst("publish", "NEW", "BUY", "--id", "new")
    sent = catalyst("listen", "--after", "1", "--stale", "send", "--count", "3", "--json")
    held = catalyst("listen", *state, "--count", "2", "--json")
    assert [(event["id"], event["type"].partition(".")[2]) for event in events(sent)] == [
        ("old", "published"), ("old", "expired"), ("new", "published"),
    ]  # fmt: skip
    assert [(event["id"], event["type"].partition(".")[2]) for event in events(held)] == [
        ("old", "expired"), ("new", "published"),
    ]  # fmt: skip


def test_with_json_what_was_held_is_said_at_the_end(catalyst: Catalyst, request: pytest.FixtureRequest) -> None:
    """On standard error: a program's input stays events and nothing else."""
    catalyst("publish", "OLD", "BUY", "--id", "old", "--stop", "1")
    catalyst("update", "old", "--set", "stop=2")
    channel = re.sub("[^a-z0-9]", "-", request.node.name.lower())[:60]
    command = [sys.executable, "-m", "catalyst_signals", "listen", "--json", "--after", "0", "--ended", "hold"]
    listener = subprocess.Popen(
        [*command, "--channel", channel], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert listener.stdout is not None
    first = listener.stdout.readline()
    catalyst("publish", "NEW", "BUY")  # What comes after `live` comes after its position, which counts.
    second = listener.stdout.readline()
    listener.send_signal(signal.SIGINT)
    out, err = listener.communicate(timeout=WAIT_S)
    assert [event["version"] for event in events(first + second)] == [2, 1] and out == ""
    assert err == "held back: 1 was replaced by a later version (--ended send shows them)\n"


def test_while_catching_up_only_the_newest_comes_if_one_wishes(catalyst: Catalyst) -> None:
    """A new screen in the middle of the day: what is in force, not how it came to be."""
    catalyst("publish", "ACME", "BUY", "--id", "a", "--stop", "1")
    catalyst("update", "a", "--set", "stop=2")
    catalyst("publish", "ACME", "CLOSE", "--id", "b")
    latest = catalyst("listen", "--after", "0", "--mode", "latest", "--count", "1", "--json")
    assert [event["id"] for event in events(latest)] == ["b"]
    ended = catalyst("listen", "--after", "0", "--ended", "hold", "--count", "2", "--json")
    assert [(event["id"], event["version"]) for event in events(ended)] == [("a", 2), ("b", 1)]
