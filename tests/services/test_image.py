"""The image, as far as that goes without Docker: its steps by hand below a folder, run as nobody, its health asked."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.deployed import ROOT, written
from tests.services.child import Child, Folder, free_ports
from tests.test_deploy_image import instructions

BUILD_S = 120.0

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


def test_the_steps_of_the_image_make_a_server_that_runs_as_nobody(tmp_path: Path) -> None:
    """What `docker build` and `docker run` would do, but for the layers."""
    where = Folder("image", "nobody")
    where.path.chmod(0o755)
    try:
        build(where.path)
        state = Folder("state", "nobody")
        (port,) = free_ports(1)
        environment = {"CATALYST_PORT": str(port), "CATALYST_STORE_URL": f"sqlite:///{state.path}/catalyst.db"}
        (check,) = [json.loads(rest[rest.index("[") :]) for word, rest in instructions() if word == "HEALTHCHECK"]
        python = where.path / "opt" / "catalyst" / "bin" / "python"
        asked = [python, *(word.replace("8080", str(port)) for word in check[1:])]
        child = Child(
            [where.path / "opt" / "catalyst" / "bin" / "catalyst", "serve"], state,
            lambda: subprocess.run(asked, capture_output=True, timeout=10, check=False).returncode == 0,
            env=environment,
        )  # fmt: skip
        child.start()
        try:
            if os.getuid() == 0:
                assert Path(f"/proc/{child.pid}").stat().st_uid == pwd.getpwnam("nobody").pw_uid
        finally:
            child.stop()
            state.remove()
        assert child.process is not None
        assert child.process.returncode == 0, "SIGTERM is its STOPSIGNAL, and it drains"
    finally:
        where.remove()


def build(root: Path) -> None:
    """The first stage, from the set and a source package beside its Dockerfile: its `uv` steps as they are written."""
    context = written("compose", "small", root / "set") / "docker"
    uv("build", "--quiet", "--sdist", "--out-dir", str(context), str(ROOT), cwd=ROOT)
    (copied,) = [rest.split()[:-1] for word, rest in instructions() if word == "COPY" and "--from" not in rest]
    (root / "build").mkdir()
    for path in (path for pattern in copied for path in context.glob(pattern)):
        shutil.copy(path, root / "build")
    steps = [rest for word, rest in instructions() if (word == "RUN" and "uv pip install" in rest) or "uv venv" in rest]
    assert len(steps) == 2
    for step in steps:
        step = step.replace("/opt/catalyst", str(root / "opt" / "catalyst")).replace("--no-cache", "")
        step = step.replace("uv venv", f"uv venv --python {readable_python()}")
        sh(step, cwd=root / "build")
    found = list((root / "opt" / "catalyst").glob("lib/python3*/site-packages/catalyst_signals-*.dist-info"))
    assert len(found) == 1


def sh(step: str, cwd: Path) -> None:
    """A RUN of the Dockerfile."""
    path = f"{ROOT / '.tools' / 'bin'}{os.pathsep}{os.environ['PATH']}"
    _run(["/bin/sh", "-c", step], cwd, PATH=path, UV_LINK_MODE="copy", UV_COMPILE_BYTECODE="1")  # As its ENV says.


def uv(*words: str, cwd: Path) -> None:
    """A command of the installer that `make test` brings."""
    _run([str(ROOT / ".tools" / "bin" / "uv"), *words], cwd)


def _run(words: list[str], cwd: Path, **more: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "PYTHONPATH")}
    done = subprocess.run(
        words, cwd=cwd, env=environment | more, capture_output=True, text=True, timeout=BUILD_S, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def readable_python() -> str:
    """A Python that also another user may run: /root is closed to them."""
    base = Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}"
    return "/usr/bin/python3" if base.is_relative_to("/root") and Path("/usr/bin/python3").exists() else str(base)
