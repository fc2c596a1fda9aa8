"""The image, as far as that goes without Docker: its steps by hand below a folder, run as nobody, its health asked."""

from __future__ import annotations

import json
import os
import pwd
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.services.child import Child, Folder, free_ports
from tests.test_deploy import ROOT, instructions

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
    """The first stage: what is copied, copied; `uv sync` as it is written, into the folder."""
    for name in ("pyproject.toml", "uv.lock", "README.md", "src"):
        subprocess.run(["cp", "-r", ROOT / name, root], check=True)
    (sync,) = [rest for word, rest in instructions() if word == "RUN" and rest.startswith("uv sync")]
    words = [word for word in shlex.split(sync) if word != "--no-cache"]  # Or the index is asked each time.
    uv = ROOT / ".tools" / "bin" / "uv"
    environment = {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "PYTHONPATH")}
    environment |= {"UV_PROJECT_ENVIRONMENT": str(root / "opt" / "catalyst"), "UV_LINK_MODE": "copy"}
    done = subprocess.run(
        [uv, *words[1:], "--python", readable_python()], cwd=root, env=environment, capture_output=True, text=True,
        timeout=BUILD_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def readable_python() -> str:
    """A Python that also another user may run: /root is closed to them."""
    base = Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}"
    return "/usr/bin/python3" if base.is_relative_to("/root") and Path("/usr/bin/python3").exists() else str(base)
