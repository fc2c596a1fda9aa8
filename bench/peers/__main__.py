"""`make bench-peers`: every load, every system, in turns; tables, results and a plot in bench/results/.

python -m bench.peers [--quick] [--rounds N] [--only SYSTEM,SYSTEM] [LOAD ...]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import time
from pathlib import Path

from bench.peers import install
from bench.peers.loads import FULL, QUICK, Load
from bench.peers.report import table
from bench.peers.run import HERE, Row, all_files
from bench.peers.systems import PYTHON, missing

RESULTS = HERE.parent / "results"
ORDER = ("W2", "W3", "W4", "W1", "W7", "W10", "W5", "W5 filtered", "W6", "W9", "W8")
BUSY_MAX, QUIET_S, QUIET_QUICK_S = 0.1, 60.0, 0.0


def main() -> int:
    """0 if every system could be measured under every load that was asked for."""
    asked = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what runs is stopped too
    install.everything()
    all_files()
    loads, rounds = (QUICK, 1) if asked.quick else (FULL, 3)
    chosen = [name for name in ORDER if not asked.loads or name.split()[0] in asked.loads]
    rows: list[Row] = []
    for name in chosen:
        mine = measured(name, loads[name], asked.rounds or rounds, asked)
        rows += mine
        print(f"\n{table(name, loads[name].title, mine)}\n", flush=True)
    kept(rows, [table(name, loads[name].title, [r for r in rows if r["load"] == name]) for name in chosen], asked.quick)
    return int(any("error" in row for row in rows))


def arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(prog="bench.peers", description=__doc__)
    parser.add_argument("loads", nargs="*", help="W1 to W10; all of them if none is named")
    parser.add_argument("--quick", action="store_true", help="small counts, one round: minutes instead of hours")
    parser.add_argument("--rounds", type=int, default=0, help="how often each system is measured under each load")
    parser.add_argument("--only", default="", help="systems, with commas between")
    return parser.parse_args()


def measured(name: str, load: Load, rounds: int, asked: argparse.Namespace) -> list[Row]:
    """All rows of one load; the systems take turns, so that a change of the machine hits all of them."""
    systems = [s for s in load.systems if not asked.only or s in asked.only.split(",")]
    rows: list[Row] = []
    for round in range(rounds):
        for system in systems:
            busy = quiet(QUIET_QUICK_S if asked.quick else QUIET_S)
            found = one(load, system)
            rows += [{"load": name, "round": round, "system": system, "busy": busy} | row for row in found]
            said = rows[-1].get("error") or "measured"
            print(f"{name} round {round + 1} of {rounds}: {system}: {said}", file=sys.stderr, flush=True)
    return rows


def one(load: Load, system: str) -> list[Row]:
    """What one run found; a fault is a row too, so that the others are still measured."""
    if missing(system):
        return [{"error": "not installed"}]
    try:
        return load.measure(system)
    except Exception as fault:
        return [{"error": str(fault)}]


def quiet(wait_s: float) -> float:
    """The share of the machine that others use; waits a while for it to become small."""
    until = time.monotonic() + wait_s
    while True:
        before = ticks()
        time.sleep(0.3)
        used, idle = (b - a for a, b in zip(before, ticks(), strict=True))
        busy = used / max(1, used + idle)
        if busy < BUSY_MAX or time.monotonic() > until:
            return round(busy, 3)


def ticks() -> tuple[int, int]:
    """Of all cores: busy and idle time so far."""
    numbers = [int(word) for word in Path("/proc/stat").read_text().splitlines()[0].split()[1:]]
    return sum(numbers[:3]) + sum(numbers[5:8]), numbers[3] + numbers[4]


def kept(rows: list[Row], tables: list[str], quick: bool) -> None:
    """Results as JSON and as tables, and the plot of them."""
    RESULTS.mkdir(exist_ok=True)
    stem = RESULTS / ("peers-quick" if quick else "peers")
    about = {"at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "machine": machine(), "quick": quick,
             "busy_most": max((row["busy"] for row in rows), default=0)}  # fmt: skip
    stem.with_suffix(".json").write_text(json.dumps({"about": about, "rows": rows}, indent=1) + "\n")
    head = f"# Side by side\n\n{about['at']}, {about['machine']}. Median of the rounds (lowest to highest)."
    warning = "\n\nA quick run with small counts: it shows that all works, not how fast it is." if quick else ""
    stem.with_suffix(".md").write_text("\n\n".join([head + warning, *tables]) + "\n")
    if os.access(PYTHON, os.X_OK):
        subprocess.run([str(PYTHON), str(HERE / "plot.py"), str(stem.with_suffix(".json"))], check=True)
    print(f"results: {stem}.json .md .png .svg", flush=True)


def machine() -> str:
    """What it was measured on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    return f"{os.cpu_count()} x {model}, Linux {platform.release()}, Python {platform.python_version()}"


if __name__ == "__main__":
    sys.exit(main())
