"""Safety copies, older files and erasing through a real server: what its clients and its operator are told.

Covers catalyst_signals.cli.safety, catalyst_signals.erasing and catalyst_signals.server.erasing. The laws of the file
itself: tests/unit/test_sqlite_safety.py.
"""

from __future__ import annotations

import json
import os
import pty
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.running import RunningServer
from tests.socket_client import wire

GAP = 1_000_000

# Servers and commands by the dozen; the store's part is in tests/unit/test_sqlite_safety.py.
pytestmark = pytest.mark.slow


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningServer]:
    """A server on a file of its own, which is stopped and started in these tests."""
    with RunningServer(tmp_path, poll_s=0.2) as server:
        yield server


def catalyst(server: RunningServer, *args: object, stdin: int = subprocess.DEVNULL) -> subprocess.CompletedProcess[str]:
    """One command, with the server's store and the admin's key in its environment."""
    known = {"CATALYST_STORE_URL": server.store_url, "CATALYST_URL": server.url, "CATALYST_KEY": server.admin_key}
    return subprocess.run(
        [sys.executable, "-m", "catalyst_signals", *map(str, args)], env=os.environ | known, cwd=server.folder,
        stdin=stdin, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def publish(http: httpx2.Client, first: int, count: int, note: str = "") -> list[dict[str, Any]]:
    """Signals s<first> and on; their receipts."""
    drafts = [
        {"id": f"s{n}", "symbol": "ACME", "action": "BUY", "confidence": 0.8, "note": f"{note}{n}"}
        for n in range(first, first + count)
    ]
    answer = http.post("/v1/channels/main/signals", json=drafts)
    assert answer.status_code == 201, answer.text
    results: list[dict[str, Any]] = answer.json()["results"]
    return results


def events(http: httpx2.Client, after: int = 0, **more: str) -> dict[str, Any]:
    """A page of history."""
    page: dict[str, Any] = http.get("/v1/channels/main/events", params={"after": after} | more).json()
    return page


def put_back(server: RunningServer, old: Path) -> None:
    """Somebody copies an old file over the log, and knows that -wal and -shm belong to the other one."""
    place = server.folder / "catalyst.db"
    shutil.copy(old, place)
    for beside in ("-wal", "-shm"):
        place.with_name(place.name + beside).unlink(missing_ok=True)


# -- an older file ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_a_client_of_a_rewound_log_is_told_what_is_void(server: RunningServer, tmp_path: Path, end: str) -> None:
    """Or it would miss what is now under the numbers that it has seen."""
    with server.http() as http:
        publish(http, 0, 10)
        made = catalyst(server, "backup", tmp_path / "old.db")
        assert made.returncode == 0, made.stderr
        last = publish(http, 10, 20)[-1]
    getattr(server, end)()
    put_back(server, tmp_path / "old.db")
    server.start()
    with server.http() as http:
        again = publish(http, 100, 2)
        first = again[0]["seq"]
        assert first >= GAP
        refused = events(http, last["seq"], epoch=last["epoch"])
        assert (refused["error"], refused["void"]) == ("epoch_changed", [11, first - 1])
        assert [each["seq"] for each in events(http, refused["resume_after"])["events"]] == [first, first + 1]
        resumed = events(http, 8, epoch=last["epoch"])["events"]
        assert [each["seq"] for each in resumed] == [9, 10, first, first + 1], "an older position resumes exactly"
    assert "an older or another file is in the place of the log" in server.log


def test_a_killed_server_that_finds_its_own_file_goes_on_as_it_was(server: RunningServer) -> None:
    """A crash is no rewind."""
    with server.http() as http:
        before = publish(http, 0, 10)[-1]
    server.kill()
    server.start()
    with server.http() as http:
        after = publish(http, 10, 1)[0]
    assert (after["seq"], after["epoch"]) == (11, before["epoch"])


# -- copies -----------------------------------------------------------------------------------------------------


def test_a_restored_log_is_served_a_million_above(server: RunningServer, tmp_path: Path) -> None:
    """The whole way that an operator goes after a lost disk, in the words of docs/operations.md."""
    with server.http() as http:
        publish(http, 0, 10)
        made = catalyst(server, "backup", tmp_path / "copy.db", "--json")
        told = json.loads(made.stdout)
        assert told["channels"]["main"]["head"] == 10
        assert told["bytes"] == (tmp_path / "copy.db").stat().st_size
        last = publish(http, 10, 5)[-1]
    assert catalyst(server, "backup", tmp_path / "copy.db").returncode == 4, "a copy is not replaced unasked"
    elsewhere = catalyst(server, "backup", tmp_path / "other.db", "--store-url", "memory:")
    assert (elsewhere.returncode, "ends with its process" in elsewhere.stderr) == (2, True)
    assert catalyst(server, "restore", tmp_path / "copy.db").returncode == 4, "beside a running server"
    server.stop()
    refused = catalyst(server, "restore", tmp_path / "copy.db")
    assert refused.returncode == 4, "over a log"
    assert "move it away" in refused.stderr
    (tmp_path / "catalyst.db").rename(tmp_path / "broken.db")
    done = catalyst(server, "restore", tmp_path / "copy.db", "--json")
    assert done.returncode == 0, done.stderr
    main = next(each for each in json.loads(done.stdout)["restored"] if each["channel"] == "main")
    assert (main["head"], main["void"], main["first"]) == (10, [11, 10 + GAP - 1], 10 + GAP)
    server.start()
    with server.http() as http:
        refused = events(http, last["seq"], epoch=last["epoch"])
        assert (refused["error"], refused["void"]) == ("epoch_changed", [11, 10 + GAP - 1])
        again = publish(http, 10, 1)[0]
        assert (again["seq"], again["epoch"]) == (10 + GAP, main["epoch"])
        assert publish_again(http)["duplicate"], "what the copy has is known"
    assert "an older or another file" not in server.log
    assert catalyst(server, "verify").returncode == 0


def publish_again(http: httpx2.Client) -> dict[str, Any]:
    """A retry of the first signal."""
    draft = {"id": "s0", "symbol": "ACME", "action": "BUY", "confidence": 0.8, "note": "0"}
    receipt: dict[str, Any] = http.post("/v1/channels/main/signals", json=draft).json()
    return receipt


def test_a_spoilt_copy_is_not_restored_and_the_event_is_named(server: RunningServer, tmp_path: Path) -> None:
    """Before the last good copy is thrown away."""
    with server.http() as http:
        publish(http, 0, 10)
    assert catalyst(server, "backup", tmp_path / "copy.db").returncode == 0
    copy = sqlite3.connect(tmp_path / "copy.db")
    copy.execute("UPDATE events SET body = x'7b7d' WHERE id = 's4'")
    copy.commit()
    copy.close()
    done = catalyst(server, "restore", tmp_path / "copy.db", "--store-url", f"sqlite:///{tmp_path}/new.db")
    assert done.returncode == 1
    assert "event 5 (s4)" in done.stderr
    assert not (tmp_path / "new.db").exists()


# -- erasing ----------------------------------------------------------------------------------------------------


def test_an_erased_event_is_forgotten_by_disk_and_memory(server: RunningServer, tmp_path: Path) -> None:
    """Whoever asks from now on gets its place and nothing of what it said; the log verifies as before."""
    with server.http() as http:
        publish(http, 0, 10, note="secret-")
        assert "secret-4" in http.get("/v1/channels/main/events").text
        before = events(http)["events"]
        answer = http.delete("/v1/channels/main/events/5")
        assert (answer.status_code, answer.json()) == (200, {"erased": [5]})
        after = events(http, filter="") | {}
        assert "secret-4" not in json.dumps(after)
        assert [each["seq"] for each in after["events"]] == [1, 2, 3, 4, 6, 7, 8, 9, 10]
        assert after["complete_through"] == 10
        assert [each["hash"] for each in before if each["seq"] != 5] == [each["hash"] for each in after["events"]]
        assert http.delete("/v1/channels/main/events/5").json() == {"erased": [5]}, "again is no error"
    assert b"secret-4" not in b"".join(file.read_bytes() for file in tmp_path.glob("catalyst.db*"))
    assert catalyst(server, "verify").returncode == 0
    server.stop()
    server.start()
    with server.http() as http:
        assert publish(http, 20, 1)[0]["seq"] == 11


async def test_a_live_ring_forgets_what_was_erased(server: RunningServer) -> None:
    """With somebody subscribed the newest events stand in memory."""
    async with wire(server.url, server.admin_key) as live, wire(server.url, server.admin_key) as late:
        await live.subscribe(channel="main")
        with server.http() as http:
            publish(http, 0, 10, note="secret-")
            await live.events(10)
            assert http.delete("/v1/channels/main/events/5").status_code == 200
        await late.subscribe(channel="main", after=0)
        got = await late.events(9)
        assert [each["seq"] for each in got] == [1, 2, 3, 4, 6, 7, 8, 9, 10]
        assert "secret-4" not in str(got)


def test_every_version_of_a_signal_is_erased(server: RunningServer) -> None:
    """A later version says what the earlier ones said."""
    with server.http() as http:
        publish(http, 0, 3)
        changed = http.patch("/v1/channels/main/signals/s1", json={"note": "another"})
        assert changed.status_code == 200, changed.text
        done = catalyst(server, "erase", "--id", "s1", "--json")
        assert json.loads(done.stdout) == {"erased": [2, 4]}, done.stderr
        assert [each["seq"] for each in events(http)["events"]] == [1, 3]


def test_only_an_admin_erases_and_only_what_is_there_and_never_the_servers_own_state(server: RunningServer) -> None:
    """The state is a fold of every event of `system`."""
    key = server.new_key(scopes=["publish", "subscribe"])
    with server.http() as http, server.http(key) as other:
        publish(http, 0, 3)
        assert other.delete("/v1/channels/main/events/1").status_code == 403
        for path, status in (
            ("main/events/99", 404), ("main/signals/nobody", 404), ("nowhere/events/1", 404), ("system/events/1", 403),
            ("main/events/x", 400), ("main/events/-1", 400),
        ):  # fmt: skip
            assert http.delete(f"/v1/channels/{path}").status_code == status, path
        assert len(events(http)["events"]) == 3


def test_a_stopped_servers_log_is_erased_by_the_command(server: RunningServer) -> None:
    """Without a server there is nobody to ask."""
    with server.http() as http:
        publish(http, 0, 3, note="secret-")
    used = catalyst(server, "erase", "--seq", 2, "--store-url", server.store_url)
    assert used.returncode == 4, "a server runs on it"
    server.stop()
    done = catalyst(server, "erase", "--seq", 2, "--store-url", server.store_url)
    assert (done.returncode, done.stdout) == (0, "main: 2 erased\n"), done.stderr
    assert catalyst(server, "erase", "--seq", 1, "--channel", "system", "--store-url", server.store_url).returncode == 4
    assert catalyst(server, "erase", "--store-url", server.store_url).returncode == 2
    server.start()
    with server.http() as http:
        assert [each["seq"] for each in events(http)["events"]] == [1, 3]


@pytest.mark.parametrize(
    ("says", "code", "left"), [(b"n\n", 1, [1, 2, 3]), (b"y\n", 0, [1, 3]), (b"\x04", 130, [1, 2, 3])]
)
def test_a_person_is_asked_before_anything_is_erased(
    server: RunningServer, says: bytes, code: int, left: list[int]
) -> None:
    """There is no way back."""
    ours, theirs = pty.openpty()
    os.write(ours, says)
    with server.http() as http:
        publish(http, 0, 3)
        done = catalyst(server, "erase", "--seq", 2, stdin=theirs)
        assert (done.returncode, "gone for good" in done.stderr) == (code, True), done.stderr
        assert [each["seq"] for each in events(http)["events"]] == left
        assert catalyst(server, "erase", "--seq", 2, "--yes", stdin=theirs).returncode == 0
    os.close(ours)
    os.close(theirs)
