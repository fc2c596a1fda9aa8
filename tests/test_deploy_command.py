"""`catalyst deploy`: what it writes, what it refuses, and what becomes of secrets.

Covers `catalyst_signals.cli.deploy`, `catalyst_signals.deploy.writing` and `catalyst_signals.deploy.index`.
"""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from catalyst_signals.advisor.built import missing_for
from catalyst_signals.advisor.tables import SCALES
from catalyst_signals.auth.api_keys import take_apart
from catalyst_signals.cli import run
from catalyst_signals.deploy import targets
from tests.deployed import SETS, set_of


def deploy(capfd: pytest.CaptureFixture[str], *words: object, code: int = 0) -> str:
    """What it says: on standard output, or with a code on standard error."""
    capfd.readouterr()
    assert run(["deploy", *map(str, words)]) == code, capfd.readouterr().err
    out, err = capfd.readouterr()
    assert "Traceback" not in err
    return err if code else out


def there(folder: Path) -> dict[str, str]:
    """Everything in a folder."""
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(("target", "scale"), SETS)
def test_a_set_is_written_whole_and_no_secret_is_in_it(
    target: str, scale: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Scripts can be run, each secret is told where to go, and three steps are enough to begin."""
    said = json.loads(deploy(capfd, target, "--scale", scale, "--out", tmp_path, "--json"))
    files = there(tmp_path)
    assert files == set_of(target, scale)
    assert said["files"] == sorted(files)
    for path, text in files.items():
        assert stat.S_IMODE((tmp_path / path).stat().st_mode) == (0o755 if text.startswith("#!") else 0o644)
    assert [each["name"] for each in said["secrets"]] == [s.name for s in targets()[target].secrets_at(scale)]
    for secret in said["secrets"]:
        assert secret["put"]
        assert not any(secret["value"] in text for text in files.values())
    assert 1 <= len(said["next"]) <= 3


def test_secrets_are_new_each_time_shown_once_and_of_the_right_form(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The screen is the only place they ever stand in."""
    shown = []
    for _ in range(2):
        said = deploy(capfd, "compose", "--out", tmp_path)
        secrets = dict(
            line.strip().split("=", 1) for line in said.splitlines() if line.startswith("  ") and "=" in line
        )
        assert set(secrets) == {"CATALYST_ADMIN_KEY", "POSTGRES_PASSWORD"}
        assert take_apart(secrets["CATALYST_ADMIN_KEY"]) is not None
        assert len(secrets["POSTGRES_PASSWORD"]) >= 32
        assert secrets["POSTGRES_PASSWORD"].isalnum(), "it stands in a URL"
        assert all(said.count(value) == 1 for value in secrets.values())
        shown += secrets.values()
    assert len(set(shown)) == 4


def test_who_writes_a_set_again_is_told_that_its_secrets_are_not_for_what_runs(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The set of the next release goes into the same folder: with its password the nodes would be locked out."""
    assert "keeps those it has" not in deploy(capfd, "compose", "--out", tmp_path)
    assert "keeps those it has" in deploy(capfd, "compose", "--out", tmp_path)


def test_the_screen_is_short_and_says_whose_name_it_is(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Secrets and steps are not pushed off it by files; an example's name is called one."""
    for target, scale in SETS:
        said = deploy(capfd, target, "--scale", scale, "--out", tmp_path / target / scale)
        assert said.count("\n") < 40, target
        assert all(path.rpartition("/")[2] in said for path in set_of(target, scale))
        assert ("That name is an example: --domain" in said) == (target != "local"), target
    assert "is an example" not in deploy(capfd, "compose", "--domain", "a.acme.dev", "--out", tmp_path / "named")


@pytest.mark.parametrize(("target", "scale"), SETS)
def test_no_name_of_the_example_is_left(target: str, scale: str) -> None:
    """Commands of a guide are copied as they stand."""
    for path, text in set_of(target, scale, "tape.acme.dev").items():
        assert "signals.example.org" not in text, path


def test_what_differs_is_filled_in(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The name in the proxy, in the settings and in the certificate is one."""
    deploy(capfd, "compose", "--out", tmp_path, "--domain", "tape.acme.dev", "--email", "ops@acme.dev")
    files = there(tmp_path)
    assert "server_name tape.acme.dev;" in files["nginx/catalyst.conf"]
    assert 'CATALYST_PUBLIC_URL: "https://tape.acme.dev"' in files["compose/compose.yaml"]
    assert "DOMAIN: tape.acme.dev, EMAIL: ops@acme.dev" in files["compose/compose.yaml"]


def test_nothing_that_somebody_changed_is_replaced_and_nothing_is_deleted(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Also not half of it: a refusal writes nothing."""
    deploy(capfd, "local", "--out", tmp_path)
    deploy(capfd, "local", "--out", tmp_path)  # The same again is no change.
    ours, other = tmp_path / "local" / "catalyst.toml", tmp_path / "local" / "notes.txt"
    ours.write_text("port = 9000\n")
    other.write_text("mine")
    (tmp_path / "local.md").unlink()
    before = there(tmp_path)
    said = deploy(capfd, "local", "--out", tmp_path, "--json", code=4)
    assert "local/catalyst.toml" in said
    assert json.loads(said.splitlines()[-1])["files"] == ["local/catalyst.toml"]
    assert there(tmp_path) == before
    deploy(capfd, "local", "--out", tmp_path, "--force")
    assert there(tmp_path) == set_of("local", "mvp") | {"local/notes.txt": "mine"}


def test_a_folder_that_cannot_be_written_is_said_so(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A file is no folder."""
    (tmp_path / "file").write_text("")
    assert "cannot be written to" in deploy(capfd, "local", "--out", tmp_path / "file", code=4)
    (tmp_path / "local.md").mkdir()
    assert "cannot be written to" in deploy(capfd, "local", "--out", tmp_path, code=4)


@pytest.mark.parametrize("scale", [scale for scale in SCALES if missing_for(scale)])
@pytest.mark.parametrize("target", sorted(targets()))
def test_a_scale_that_cannot_run_yet_is_refused_with_what_is_missing(
    target: str, scale: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Advised and priced, but nobody shall start what does not exist."""
    said = deploy(capfd, target, "--scale", scale, "--out", tmp_path, code=4)
    for each in missing_for(scale):
        assert each in said
    assert not there(tmp_path)


def test_a_scale_that_a_target_has_not_is_refused_with_those_it_has(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """And why, where there is a reason."""
    said = deploy(capfd, "local", "--scale", "small", "--out", tmp_path, code=4)
    assert "the target `compose`" in said
    assert "allowed: mvp" in said


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--domain", "https://signals.example.org"), ("--domain", "localhost"), ("--domain", "Signals.example.org"),
        ("--domain", "a..b"), ("--domain", "10.0.0.1"), ("--domain", "x.org; rm -rf /"), ("--domain", "x.org\n"),
        ("--email", "nobody"), ("--email", "a b@example.org"), ("--email", "$(id)@example.org"),
        ("--email", "a@b@example.org"), ("--region", "eu central"), ("--region", ""), ("--scale", "tiny"),
    ],
)  # fmt: skip
def test_what_cannot_stand_in_a_file_is_refused_with_what_can(
    flag: str, value: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """What is typed ends in scripts that run as root."""
    said = deploy(capfd, "systemd", "--out", tmp_path, flag, value, "--json", code=4)
    refusal = json.loads(said.splitlines()[-1])
    assert refusal["field"] == flag.removeprefix("--")
    assert refusal["got"] == value
    assert refusal["allowed"]
    assert not there(tmp_path)


def test_without_a_target_they_are_listed(capfd: pytest.CaptureFixture[str]) -> None:
    """What for, at which scales, for how much."""
    for words in ([], ["--list"]):
        said = deploy(capfd, *words)
        assert all(name in said for name in targets())
    listed = json.loads(deploy(capfd, "--json"))
    assert [each["name"] for each in listed] == list(targets())
    assert all(each["bills"] for each in listed)


def test_a_target_has_the_names_that_people_have_for_it(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """`eks` is Kubernetes; no name is of two."""
    names = [name for target in targets().values() for name in (target.name, *target.also)]
    assert len(set(names)) == len(names)
    deploy(capfd, "eks", "--out", tmp_path)
    assert there(tmp_path) == set_of("kubernetes", "small")


def test_a_target_that_is_not_there_and_a_folder_that_is_not_given(capfd: pytest.CaptureFixture[str]) -> None:
    """What was most likely meant is said."""
    assert "did you mean `compose`" in deploy(capfd, "compse", "--out", "x", code=4)
    assert "--out DIR" in deploy(capfd, "compose", code=2)
    assert "leave --scale out" in deploy(capfd, "all", "--scale", "mvp", "--out", "x", code=2)
