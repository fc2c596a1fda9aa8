"""`CATALYST_ADMIN_KEY`: the first admin key, made before the server is; where others read the log, none stands in it.

Covers `catalyst_signals.server.app` (the bootstrap) and `catalyst_signals.server.settings`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from catalyst_signals.auth.api_keys import new_key
from catalyst_signals.server.settings import Settings
from tests.running import RunningServer


def given() -> str:
    """A key that nobody knows yet."""
    return new_key("live")[1]


def shows(key: str, text: str) -> bool:
    """Whether a piece of its id or secret stands there: what shortens a value shows its ends."""
    return any(key[at : at + 8] in text for at in range(len("cat_live_"), len(key) - 7))


@pytest.mark.parametrize("processes", [1, 2])
def test_an_empty_log_takes_the_key_that_is_given_and_prints_none(tmp_path: Path, processes: int) -> None:
    """With several processes too: whichever is first, it is this key."""
    key = given()
    with RunningServer(tmp_path, admin_key=key, processes=processes) as server:
        assert server.admin_key == "", "a key was printed"
        server.keys.append(key)  # Looked for in the log at the end.
        assert all(key not in given_to(child) for child in children_of(server))
        assert len(children_of(server)) == (processes if processes > 1 else 0)
        with server.http(key) as http:
            (only,) = http.get("/v1/keys").json()["keys"]
            assert only["id"] == key.split("_")[2]
            assert set(only["scopes"]) == {"admin", "publish", "subscribe"}
            assert only["channels"] == ["*"]


def children_of(server: RunningServer) -> list[int]:
    """The processes that it started."""
    assert server.process is not None
    path = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children")
    return [int(word) for word in path.read_text().split()]


def given_to(pid: int) -> str:
    """What anybody of the same user can see of it: its environment and its words."""
    return "".join(Path(f"/proc/{pid}/{name}").read_text() for name in ("environ", "cmdline"))


def test_a_log_that_has_users_does_not_take_it(tmp_path: Path) -> None:
    """Who can set the environment of a running installation gets no second way in by it; the log says so."""
    first, second = given(), given()
    with RunningServer(tmp_path, admin_key=first) as server:
        server.stop()
        server.settings["CATALYST_ADMIN_KEY"] = second
        server.start()
        server.keys += [first, second]
        assert "admin_key is not used" in server.log
        with server.http(first) as http:
            assert http.get("/v1/keys").status_code == 200
        with server.http(second) as http:
            assert http.get("/v1/keys").status_code == 401


@pytest.mark.parametrize("where", ["environment", "file", "file, as a list"])
def test_a_mistyped_key_is_refused_before_anything_is_written_and_not_shown(tmp_path: Path, where: str) -> None:
    """Most of a key is as good as a key."""
    wrong = given()[:-1] + "!"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CATALYST_")}
    environment |= {"CATALYST_ADMIN_KEY": wrong} if where == "environment" else {}
    if where != "environment":
        (tmp_path / "catalyst.toml").write_text(f"admin_key = {[wrong] if 'list' in where else repr(wrong)}\n")
    done = subprocess.run(
        [sys.executable, "-m", "catalyst_signals", "serve", "--port", "0", "--json"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "admin_key" in done.stderr
    assert not shows(wrong, done.stdout + done.stderr)
    assert not list(tmp_path.glob("*.db"))


def test_the_key_shows_nowhere_in_the_settings() -> None:
    """Settings are printed when something is looked for."""
    key = given()
    settings = Settings(admin_key=key)
    assert key not in f"{settings!r} {settings} {settings.model_dump()} {settings.model_dump_json()}"
    with pytest.raises(ValueError, match="whole API key") as refused:
        Settings(admin_key=key[:-1] + "!")
    assert not shows(key, str(refused.value))
    with pytest.raises(ValueError, match="admin_key") as refused:
        Settings(admin_key=[key])
    assert not shows(key, str(refused.value))
