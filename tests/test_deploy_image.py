"""The image: what is in it, as whom it runs, that the set alone makes it. Its steps: tests/services/test_image.py."""

from __future__ import annotations

import fnmatch
import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.deployed import ROOT, SETS, checked, set_of, sets_with, written

DOCKERFILE = "docker/Dockerfile"
EXPORT = (
    "export --frozen --no-dev --no-emit-project --no-hashes --no-annotate --no-header --extra server "
    "--extra postgresql --extra redis"
)


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile as (word, rest), continued lines joined."""
    text = re.sub(r"^\s*#.*\n", "", set_of("compose", "small")[DOCKERFILE], flags=re.MULTILINE).replace("\\\n", " ")
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in text.splitlines() if line.strip()]


def test_every_target_has_the_same_image() -> None:
    """One is tested."""
    assert len({set_of(*each)[DOCKERFILE] for each in sets_with(DOCKERFILE)}) == 1
    assert sets_with(DOCKERFILE) != SETS


def test_hadolint_finds_nothing_in_the_dockerfile(tmp_path: Path) -> None:
    """Docker's own linter, with what it knows of shells."""
    checked("hadolint", written("compose", "small", tmp_path) / DOCKERFILE)


def test_the_image_is_of_two_stages_and_runs_as_nobody() -> None:
    """No compiler, no root, a health check, and a pinned base."""
    steps = instructions()
    bases = [rest.split()[0] for word, rest in steps if word == "FROM"]
    assert len(bases) == 2
    assert len(set(bases)) == 1
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+", bases[0])
    last = steps[max(at for at, (word, _) in enumerate(steps) if word == "FROM") :]
    words = [word for word, _ in last]
    assert not any("apt-get" in rest or "pip " in rest for _, rest in last)
    assert next(int(rest.split(":")[0]) for word, rest in last if word == "USER") >= 10_000
    assert words.index("USER") < words.index("ENTRYPOINT")
    assert {"HEALTHCHECK", "STOPSIGNAL", "EXPOSE"} <= set(words)
    version = re.search(r"^UV=(\S+)", (ROOT / "tools" / "setup").read_text(), re.MULTILINE)
    assert version is not None
    assert any(f"uv=={version[1]}" in rest for _, rest in steps), "another uv than tools/setup has"


def test_the_image_takes_what_it_copies_and_nothing_else() -> None:
    """A log or a key that lies about in the folder does not end in an image."""
    files = set_of("compose", "small")
    copied = [
        source.removeprefix("./")
        for word, rest in instructions() if word == "COPY" and "--from" not in rest for source in rest.split()[:-1]
    ]  # fmt: skip
    assert sorted(copied) == sorted(re.findall(r"^!(\S+)$", files[f"{DOCKERFILE}.dockerignore"], re.MULTILINE))
    # The second may be missing: a pattern that matches nothing is passed over as long as another source is there.
    assert f"docker/{copied[0]}" in files
    assert not fnmatch.filter(files, f"docker/{copied[1]}")


def test_the_versions_in_the_image_are_those_of_the_lock() -> None:
    """What was tested is what runs. After `uv lock`: the command above, into parts/docker/constraints.txt."""
    uv = ROOT / ".tools" / "bin" / "uv"
    if not uv.exists():
        (pytest.fail if os.environ.get("CI") else pytest.skip)("uv is missing; `make test` brings it")
    done = subprocess.run([uv, *EXPORT.split()], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    lines = set_of("compose", "small")["docker/constraints.txt"].splitlines()
    assert lines[1:] == done.stdout.splitlines()
