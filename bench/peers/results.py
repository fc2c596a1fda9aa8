"""The rows of all runs, kept in bench/results/ after every one of them: a stop or a crash loses nothing.

Law: rows of one file are of one commit on one machine. What was measured of another is put aside as *.before.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import time
from pathlib import Path

from bench.peers.run import Row
from bench.peers.system import HERE

RESULTS, ROOT = HERE.parent / "results", HERE.parent.parent


class Results:
    """One file of rows."""

    def __init__(self, stem: Path, *, quick: bool) -> None:
        self.path = stem.with_suffix(".json")
        self.about: Row = {"machine": machine(), "commit": commit(), "quick": quick}
        self.rows: list[Row] = []
        stem.parent.mkdir(exist_ok=True)
        if self.path.exists():
            content = json.loads(self.path.read_text())
            if content["about"] == self.about:
                self.rows = content["rows"]
            else:
                self.path.replace(stem.with_suffix(".json.before"))

    def forget(self, load: str) -> None:
        """It is measured again; its rows are compared with others of the same round, so all of them go."""
        self.rows = [row for row in self.rows if row["load"] != load]

    def has(self, load: str, round: int, system: str) -> bool:
        """Whether that was measured, without an error."""
        mine = [row for row in self.rows if (row["load"], row["round"], row["system"]) == (load, round, system)]
        return bool(mine) and not any("error" in row for row in mine)

    def add(self, load: str, round: int, system: str, busy: float, found: list[Row]) -> None:
        """The rows of one run, in place of older ones of the same."""
        self.rows = [r for r in self.rows if (r["load"], r["round"], r["system"]) != (load, round, system)]
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        mine = {"load": load, "round": round, "system": system, "at": at, "busy": busy}
        assert not any(mine.keys() & row.keys() for row in found), "a load may not name its rows itself"
        self.rows += [mine | row for row in found]
        whole = self.path.with_suffix(".new")
        whole.write_text(json.dumps({"about": self.about, "rows": self.rows}, indent=1) + "\n")
        whole.replace(self.path)

    def of(self, load: str) -> list[Row]:
        """The rows of one load, round by round."""
        return sorted((row for row in self.rows if row["load"] == load), key=lambda row: row["round"])


def commit() -> str:
    """What is measured: the commit, and a mark of the sources if they are not as committed."""
    head = asked_git("rev-parse", "--short", "HEAD") or "no git"
    if not asked_git("status", "--porcelain", "--", "src"):
        return head
    whole = hashlib.sha256()
    for path in sorted((ROOT / "src").rglob("*.py")):
        whole.update(path.read_bytes())
    return f"{head} with changes {whole.hexdigest()[:6]}"


def asked_git(*words: str) -> str:
    """What git says; nothing if there is no git."""
    try:
        return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def machine() -> str:
    """What it is measured on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    return f"{os.cpu_count()} x {model}, Linux {platform.release()}, Python {platform.python_version()}"
