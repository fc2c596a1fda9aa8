"""`catalyst export` and `import` as an operator types them.

Covers `catalyst_signals.cli.transfer`, `catalyst_signals.stores.sqlite.arriving` and `.vacancy`, that is
`catalyst_signals.stores.sqlite.vacancy`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.running import RunningServer

ACME = {"symbol": "ACME", "action": "BUY", "note": "caf\u00e9"}


def catalyst(*args: str, stdin: bytes | None = None, folder: Path) -> subprocess.CompletedProcess[bytes]:
    """A command, to its end."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("CATALYST_")}
    command = [sys.executable, "-m", "catalyst_signals", *args]
    return subprocess.run(command, input=stdin, capture_output=True, cwd=folder, env=plain, timeout=60, check=False)


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server with some signals and a friend's key, running while it is exported."""
    with RunningServer(tmp_path_factory.mktemp("origin")) as server:
        with server.http() as http:
            http.post("/v1/channels/main/signals", json=[ACME | {"id": f"n{n}"} for n in range(50)]).raise_for_status()
        server.new_key(user="friend")
        yield server


@pytest.mark.slow
def test_a_running_log_moves_to_another_place_with_its_users_and_its_ids(origin: RunningServer, tmp_path: Path) -> None:
    """A new machine: the same keys work, a retry is still a retry, and old positions resume exactly."""
    done = catalyst("export", str(tmp_path / "log.ndjson"), "--store-url", origin.store_url, folder=tmp_path)
    assert done.returncode == 0 and b"events" in done.stdout, done.stderr
    assert (tmp_path / "log.ndjson").stat().st_mode & 0o077 == 0, "others may not read it"
    with origin.http() as http:
        epoch, head = (http.get("/v1/channels/main").json()[name] for name in ("epoch", "last"))
    done = catalyst("import", "log.ndjson", "--json", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)["channels"]["main"]
    assert said["head"] == head and said["epoch"] != epoch and said["reason"] == "imported"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["catalyst.db", "catalyst.db.lock", "log.ndjson"]
    with RunningServer(tmp_path) as server:
        server.admin_key = origin.admin_key
        for key in origin.keys:
            with server.http(key) as http:
                assert http.get("/v1/channels").status_code == 200
        with server.http() as http:
            again = http.post("/v1/channels/main/signals", json=ACME | {"id": "n7"}).json()
            assert (again["seq"], again["duplicate"]) == (8, True)
            params = {"after": head - 1, "epoch": epoch}
            assert len(http.get("/v1/channels/main/events", params=params).json()["events"]) == 1
            refused = http.get("/v1/channels/main/events", params={"after": head + 5, "epoch": epoch})
            assert refused.status_code == 409 and refused.json()["void"][1] == said_first(server) - 1
            place = {"after": refused.json()["resume_after"], "epoch": refused.json()["epoch"]}
            assert http.get("/v1/channels/main/events", params=place).json()["events"] == [], "it takes what it told"
            assert http.post("/v1/channels/main/signals", json=ACME).json()["seq"] == said_first(server)
            told = http.get("/v1/channels/main/events", params=place).json()["events"]
            assert [event["seq"] for event in told] == [said_first(server)]


def said_first(server: RunningServer) -> int:
    """Where the newest epoch of `main` begins."""
    with server.http() as http:
        first: int = http.get("/v1/channels/main").json()["epochs"][-1]["first"]
        return first


@pytest.mark.slow
def test_a_stopped_log_goes_on_in_the_same_epoch_through_a_pipe(origin: RunningServer, tmp_path: Path) -> None:
    """`export | import --continue`, and an export of that is the same, byte for byte."""
    out = catalyst("export", "-", "--store-url", origin.store_url, folder=tmp_path)
    assert out.returncode == 0 and out.stderr == b""
    done = catalyst("import", "-", "--continue", folder=tmp_path, stdin=out.stdout)
    assert done.returncode == 0, done.stderr
    again = catalyst("export", "-", folder=tmp_path)
    assert again.stdout == out.stdout
    assert catalyst("verify", folder=tmp_path).returncode == 0


@pytest.mark.slow
def test_a_faulty_file_is_refused_by_line_and_leaves_nothing(origin: RunningServer, tmp_path: Path) -> None:
    """An operator learns which line it is, and can try again at the same place."""
    lines = catalyst("export", "-", "--store-url", origin.store_url, folder=tmp_path).stdout.splitlines(keepends=True)
    at = next(n for n, line in enumerate(lines) if b'"id":"n9"' in line)
    for spoilt in ([*lines[:at], lines[at].replace(b"ACME", b"ACMF"), *lines[at + 1 :]], lines[:-1]):
        done = catalyst("import", "-", folder=tmp_path, stdin=b"".join(spoilt))
        line = at + 1 if len(spoilt) == len(lines) else len(lines)
        assert done.returncode == 1 and f"line {line}: ".encode() in done.stderr, done.stderr
        assert b"Traceback" not in done.stderr
        assert [each.name for each in tmp_path.iterdir()] == ["catalyst.db.lock"]
    assert catalyst("import", "-", folder=tmp_path, stdin=b"".join(lines)).returncode == 0


@pytest.mark.slow
def test_nothing_is_written_over(origin: RunningServer, tmp_path: Path) -> None:
    """Neither a log nor a file, however much in a hurry."""
    out = catalyst("export", "-", "--channel", "main", "--store-url", origin.store_url, folder=tmp_path)
    assert {json.loads(line).get("channel", "main") for line in out.stdout.splitlines()} == {"main"}
    for place in (origin.store_url, f"sqlite:///{tmp_path}/other.db"):
        catalyst("import", "-", "--store-url", f"sqlite:///{tmp_path}/other.db", folder=tmp_path, stdin=out.stdout)
        done = catalyst("import", "-", "--store-url", place, folder=tmp_path, stdin=out.stdout)
        assert done.returncode == 4 and done.stdout == b"", done.stderr
    (tmp_path / "there").write_text("mine")
    done = catalyst("export", "there", "--store-url", origin.store_url, folder=tmp_path)
    assert done.returncode == 4 and (tmp_path / "there").read_text() == "mine"
    for command in ("export", "import"):
        assert catalyst(command, "-", "--store-url", "memory:", folder=tmp_path).returncode == 2
