"""What goes to Railway and Heroku: as they understand it, and of one mind with the program and the image.

What is started for real in their environment stands in tests/services/test_paas.py.
"""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest

from catalyst_signals.deploy import targets
from catalyst_signals.server.settings import Settings
from tests.deployed import checked, set_of, written

FIXTURES = Path(__file__).parent / "fixtures"
HEROKU_KILLS_S = 30  # From SIGTERM on: devcenter.heroku.com/articles/dyno-shutdown-behavior


@pytest.mark.parametrize("scale", ["mvp", "small"])
def test_railway_knows_every_word_of_its_configuration(scale: str, tmp_path: Path) -> None:
    """A misspelt one would be passed over, and the dashboard's value taken."""
    folder = written("railway", scale, tmp_path) / "railway"
    (tmp_path / "railway.json").write_text(json.dumps(tomllib.loads((folder / "railway.toml").read_text())))
    checked("check-jsonschema", "--schemafile", FIXTURES / "railway-config.schema.json", tmp_path / "railway.json")


def test_what_writes_a_file_is_never_there_twice() -> None:
    """Two deployments on one volume would be two writers; with a database the new one comes before the old one goes."""
    overlap = {scale: railway(scale)["deploy"]["overlapSeconds"] for scale in ("mvp", "small")}
    assert overlap["mvp"] == 0 < overlap["small"]
    assert all(railway(scale)["deploy"]["numReplicas"] == 1 for scale in overlap)


def test_what_comes_next_on_railway_keeps_the_log() -> None:
    """Without the volume every deployment would begin a new log, and nobody would be told."""
    steps = " ".join(targets()["railway"].next)
    folder = variables("mvp")["CATALYST_STORE_URL"].removeprefix("sqlite:///").rpartition("/")[0]
    for text in (steps, set_of("railway", "mvp")["railway.md"]):
        assert f"railway volume add --service catalyst --mount-path {folder}" in text
    assert steps.index("volume add") < steps.index("railway up")


@pytest.mark.parametrize("scale", ["mvp", "small"])
def test_railway_waits_for_who_is_stopping_and_asks_what_there_is(scale: str) -> None:
    """The port, the path and the time that are named here are the program's."""
    deploy, env = railway(scale)["deploy"], variables(scale)
    assert deploy["drainingSeconds"] > Settings().drain_s
    assert deploy["healthcheckPath"] == "/readyz"
    assert int(env["PORT"]) == Settings().port
    dockerfile = set_of("railway", scale)["railway/Dockerfile"]
    assert f"EXPOSE {env['PORT']}" in dockerfile
    assert not re.search(r"^VOLUME", dockerfile, re.MULTILINE), "Railway builds no image that names a volume"


@pytest.mark.parametrize("scale", ["mvp", "small"])
def test_the_shell_hands_each_variable_over_as_one_word(scale: str) -> None:
    """The guide's command gives the lines of the file as arguments."""
    lines = [line for line in set_of("railway", scale)["railway/variables.env"].splitlines() if line[0] != "#"]
    assert lines
    assert all(re.fullmatch(r"[A-Z_]+=\S+", line) and "*" not in line and "?" not in line for line in lines)


def test_heroku_knows_every_word_of_app_json(tmp_path: Path) -> None:
    """By the schema that Heroku itself publishes (npm: @heroku/mcp-server 1.0.7)."""
    app = written("heroku", "small", tmp_path) / "heroku" / "app.json"
    checked("check-jsonschema", "--schemafile", FIXTURES / "heroku-app-1.0.7.schema.json", app)


def test_the_start_on_heroku_is_sound_shell(tmp_path: Path) -> None:
    """And is what the Procfile starts; the dyno is not killed before it has drained."""
    folder = written("heroku", "small", tmp_path) / "heroku"
    checked("shellcheck", folder / "start.sh")
    assert (folder / "Procfile").read_text() == "web: sh start.sh\n"
    assert Settings().drain_s < HEROKU_KILLS_S


def test_the_guide_and_app_json_set_the_same(tmp_path: Path) -> None:
    """Whoever clicks and whoever types get the same app."""
    found = set_of("heroku", "small")
    app = json.loads(found["heroku/app.json"])
    for name, about in app["env"].items():
        assert f"{name}={about.get('value', '...')}" in found["heroku.md"]
    for addon in app["addons"]:
        assert f"heroku addons:create {addon}" in found["heroku.md"]


def test_heroku_installs_the_versions_that_were_tested() -> None:
    """pip takes the release with the constraints of the image."""
    from importlib import metadata

    found = set_of("heroku", "small")
    wanted = [line for line in found["heroku/requirements.txt"].splitlines() if line[0] != "#"]
    version = metadata.version("catalyst-signals")
    assert wanted == ["-c constraints.txt", f"catalyst-signals[server,postgresql,redis]=={version}"]
    assert found["heroku/constraints.txt"] == set_of("railway", "mvp")["railway/constraints.txt"]
    assert "fastapi==" in found["heroku/constraints.txt"]


def railway(scale: str) -> dict[str, dict[str, object]]:
    """railway.toml at that scale."""
    return tomllib.loads(set_of("railway", scale)["railway/railway.toml"])


def variables(scale: str) -> dict[str, str]:
    """variables.env at that scale."""
    lines = set_of("railway", scale)["railway/variables.env"].splitlines()
    return dict(line.split("=", 1) for line in lines if line[0] != "#")
