"""What the peers need, in .tools/, at pinned versions; nothing of it enters the product or the machine.

What cannot be had is left out, with a sentence; its rows then say "not installed".
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from bench.peers.centrifuge import ENGINE
from bench.peers.nats import NATS, NATS_OF_DEBIAN
from bench.peers.pythons import PYTHON
from bench.peers.system import HERE, TOOLS

NATS_VERSION = "v2.15.2"
INSTALL_S = 900
REQUIREMENTS, GO_FOLDER = HERE / "requirements.txt", HERE.parent / "go"


def everything() -> None:
    """Install what is not there yet."""
    once(PYTHON, REQUIREMENTS.read_text(), python_peers)
    the_engine()
    once(NATS, NATS_VERSION, nats)
    once(NATS_OF_DEBIAN, "apt", nats_of_debian)


def the_engine() -> None:
    """Centrifugo's alone."""
    once(ENGINE, "".join((GO_FOLDER / f).read_text() for f in ("go.mod", "go.sum", "main.go")), engine)


def once(made: Path, wanted: str, how: Callable[[], None]) -> None:
    """Make it, unless it was made of exactly this before."""
    stamp = TOOLS / f"{made.relative_to(TOOLS).as_posix().replace('/', '-')}.made-of"
    if os.access(made, os.X_OK) and stamp.exists() and stamp.read_text() == wanted:
        return
    print(f"installing {made} (once)", file=sys.stderr, flush=True)
    try:
        how()
        stamp.write_text(wanted)
    except (OSError, subprocess.SubprocessError, StopIteration) as fault:
        print(f"{made.name} could not be installed and is left out: {fault}", file=sys.stderr, flush=True)


def python_peers() -> None:
    """A virtual environment of its own."""
    uv = str(TOOLS / "bin/uv")
    run(uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(PYTHON.parent.parent))
    run(uv, "pip", "install", "--quiet", "--python", str(PYTHON), "--requirement", str(REQUIREMENTS))


def engine() -> None:
    """The server of bench/go."""
    run(go(), "build", "-o", str(ENGINE), ".", cwd=GO_FOLDER)


def nats() -> None:
    """nats-server, from its own module."""
    run(go(), "install", f"github.com/nats-io/nats-server/v2@{NATS_VERSION}", GOBIN=str(NATS.parent))


def nats_of_debian() -> None:
    """The package of the distribution, unpacked and not installed."""
    folder = TOOLS / "debian"
    folder.mkdir(exist_ok=True)
    run("apt-get", "--quiet", "--quiet", "download", "nats-server", cwd=folder)
    run("dpkg", "--extract", str(next(folder.glob("nats-server_*.deb"))), str(folder))


def go() -> str:
    """The Go compiler."""
    found = shutil.which("go")
    if found is None:
        raise FileNotFoundError("Go is needed: https://go.dev/dl")
    return found


def run(*command: str, cwd: Path = TOOLS, **environment: str) -> None:
    """One command that must succeed in time."""
    subprocess.run(command, cwd=cwd, check=True, timeout=INSTALL_S, env=os.environ | environment)
