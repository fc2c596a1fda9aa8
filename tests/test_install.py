"""The light install, for real: the wheel alone is the client library, small, and says what else a command needs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
INSTALLED_BYTES_MAX = 4_000_000  # Without bytecode, which depends on the Python that runs it; 2.4 MB of it is ours.

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def uv() -> Path:
    """The installer that `make test` brings."""
    uv = ROOT / ".tools" / "bin" / "uv"
    uv = uv if uv.exists() else Path(shutil.which("uv") or "")
    if not uv.is_file():
        (pytest.fail if os.environ.get("CI") else pytest.skip)("uv is missing; `make test` brings it")
    return uv


@pytest.fixture(scope="module")
def light(uv: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder `venv` with the wheel in it and no extras."""
    folder = tmp_path_factory.mktemp("light")
    run(uv, "build", "--quiet", "--out-dir", folder, ROOT)  # The wheel is made from the source package.
    run(uv, "venv", "--quiet", "--python", sys.executable, folder / "venv")
    (wheel,) = folder.glob("catalyst_signals-*.whl")
    run(uv, "pip", "install", "--quiet", "--python", folder / "venv" / "bin" / "python", wheel)
    return folder / "venv"


def run(*command: str | Path, cwd: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    """The command, which has to succeed, outside of any environment of ours."""
    done = attempt(*command, cwd=cwd, **env)
    assert done.returncode == 0, done.stderr
    return done


def attempt(*command: str | Path, cwd: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    """The command and how it ended."""
    clean = {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "PYTHONPATH")}
    return subprocess.run(
        [str(word) for word in command],
        env=clean | env,
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_it_has_two_dependencies_and_is_small(light: Path) -> None:
    """A bot on a small machine installs it without a second thought."""
    (packages,) = light.glob("lib/python*/site-packages")
    found = sorted(path.name.split("-")[0] for path in packages.glob("*.dist-info"))
    assert found == ["catalyst_signals", "msgspec", "websockets"]
    ours = [path for name in found for pattern in (name, f"{name}-*") for path in packages.glob(f"{pattern}/**/*")]
    size = sum(path.stat().st_size for path in ours if path.is_file() and path.suffix != ".pyc")
    assert size < INSTALLED_BYTES_MAX, f"{size:,} bytes of {INSTALLED_BYTES_MAX:,}"


def test_every_file_that_deploy_writes_is_in_it(light: Path) -> None:
    """Also those whose names begin with a dot: a set without one is not noticed before it is used."""
    (installed,) = light.glob("lib/python*/site-packages/catalyst_signals/deploy")
    ours = ROOT / "src" / "catalyst_signals" / "deploy"
    wanted = {path.relative_to(ours) for path in ours.rglob("*") if path.is_file() and path.suffix != ".pyc"}
    assert len(wanted) > 50
    assert wanted == {
        path.relative_to(installed) for path in installed.rglob("*") if path.is_file() and path.suffix != ".pyc"
    }


def test_it_is_the_client_library_with_its_types(light: Path, tmp_path: Path) -> None:
    """`connect` and what it needs work with nothing else installed; type checkers may look inside."""
    code = (
        "import catalyst_signals as c\n"
        "print([name for name in c.__all__ if getattr(c, name) is None], c.__version__)\n"
        "print(c.parse_filter('confidence >= 0.7').text, c.connect('http://127.0.0.1:1', 'cat_x').channel)\n"
    )
    done = run(light / "bin" / "python", "-c", code, cwd=tmp_path)
    assert done.stdout.splitlines() == ["[] 0.1.0", "confidence >= 0.7 main"]
    assert list(light.glob("lib/python*/site-packages/catalyst_signals/py.typed"))


@pytest.mark.parametrize(
    ("command", "extra"),
    [("listen", "cli"), ("publish -", "cli"), ("--help", "cli"), ("", "cli"), ("serve", "server"), ("demo", "server")],
)
def test_a_command_says_which_extra_it_needs(light: Path, tmp_path: Path, command: str, extra: str) -> None:
    """One line that can be copied, on standard error, and exit code 3."""
    for catalyst in ([light / "bin" / "catalyst"], [light / "bin" / "python", "-m", "catalyst_signals"]):
        done = attempt(*catalyst, *command.split(), cwd=tmp_path)
        assert done.returncode == 3
        assert done.stdout == ""
        assert done.stderr.count("\n") == 1
        assert f"pip install 'catalyst-signals[{extra}]'" in done.stderr


def test_where_there_is_no_compiler_it_is_all_python(uv: Path, light: Path, tmp_path: Path) -> None:
    """It installs all the same and writes one by one; with a compiler the loop of writes is compiled."""
    compiled = "from catalyst_signals.outlet import compiled; print(compiled is not None)"
    assert run(light / "bin" / "python", "-c", compiled).stdout == f"{shutil.which('cc') is not None}\n"
    run(uv, "venv", "--quiet", "--python", sys.executable, tmp_path / "venv")
    python = tmp_path / "venv" / "bin" / "python"
    (package,) = light.parent.glob("catalyst_signals-*.tar.gz")
    run(uv, "pip", "install", "--quiet", "--no-cache", "--python", python, package, CC="/bin/false")
    assert run(python, "-c", compiled).stdout == "False\n"
