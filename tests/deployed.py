"""The sets of `catalyst deploy`, for the tests of all targets: every target at every scale that it has.

Owns: the sets with default names, what is said in them, and the check of one by a program.
"""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from catalyst_signals.deploy import Names, files_of, targets
from catalyst_signals.deploy.writing import write
from tests.services.child import OURS, program

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "deploy"
SETS = [(target.name, scale) for target in targets().values() for scale in target.scales]


@cache
def set_of(target: str, scale: str, domain: str = Names().domain) -> dict[str, str]:
    """Its files by their paths."""
    return files_of(targets()[target], scale, Names(domain=domain))


def written(target: str, scale: str, folder: Path, domain: str = Names().domain) -> Path:
    """The folder, with the set in it as `catalyst deploy` writes it."""
    write(folder, set_of(target, scale, domain))
    return folder


def sets_with(name: str) -> list[tuple[str, str]]:
    """Those that have such a file."""
    return [each for each in SETS if name in set_of(*each)]


def composed(scale: str) -> dict[str, Any]:
    """compose.yaml at that scale, with its anchors followed."""
    found: dict[str, Any] = yaml.safe_load(set_of("compose", scale)["compose/compose.yaml"])
    return found


def commands_of(name: str, text: str) -> Iterator[list[str]]:
    """Every `catalyst ...` as words: of a page in a block of shell or between backticks, of any other file anywhere."""
    lines = text.replace("\\\n", " ").splitlines()
    if name.endswith(".md"):
        blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
        lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    for line in lines + re.findall(r"`([^`\n]+)`", text):
        for found in re.finditer(r"(?:^\s*|bin/|&& |exec |do |then )catalyst ([a-z][^|;&#>)<]*)", line):
            yield shlex.split(re.sub("['\"]", "", found[1]))


def checked(name: str, *arguments: str | Path, cwd: Path | None = None) -> str:
    """What a program says of a file; it has to be content."""
    done = subprocess.run(
        [program(name, OURS), *map(str, arguments)], capture_output=True, text=True,
        timeout=60, check=False, cwd=cwd,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr
