"""`make bench-peers`: every load, every system, in turns; tables, verdicts, results and a plot in bench/results/.

python -m bench.peers [--quick] [--rounds N] [--only SYSTEM,SYSTEM] [--resume] [LOAD ...]
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from bench.peers import install
from bench.peers.loads import FULL, QUICK, Load
from bench.peers.pythons import PYTHON
from bench.peers.report import page
from bench.peers.results import RESULTS, Results
from bench.peers.run import Row, all_files
from bench.peers.schedule import Progress, Step, overview, steps
from bench.peers.system import HERE
from bench.peers.systems import missing

BUSY_MAX, QUIET_S, QUIET_QUICK_S = 0.1, 60.0, 0.0


def main() -> int:
    """0 if every system could be measured under every load that was asked for."""
    asked = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what runs is stopped too
    install.everything()
    all_files()
    all_loads: dict[str, Load] = QUICK if asked.quick else FULL
    loads = {name: load for name, load in all_loads.items() if not asked.loads or name.split()[0] in asked.loads}
    results = Results(RESULTS / ("peers-quick" if asked.quick else "peers"), quick=asked.quick)
    rounds = asked.rounds or (1 if asked.quick else 3)
    to_do = steps(loads, rounds, asked.only.split(",") if asked.only else [])
    if asked.resume:
        to_do = [step for step in to_do if not results.has(step.name, step.round, step.system)]
    else:
        for name in loads:
            results.forget(name)
    print(f"{overview(to_do)}\n", flush=True)
    try:
        everything(to_do, results, QUIET_QUICK_S if asked.quick else QUIET_S)
    finally:
        written(results, all_loads)
    return int(any("error" in row for name in loads for row in results.of(name)))


def arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(prog="bench.peers", description=__doc__)
    parser.add_argument("loads", nargs="*", help="W1 to W10; all of them if none is named")
    parser.add_argument("--quick", action="store_true", help="small counts, one round: it shows that all works")
    parser.add_argument("--rounds", type=int, default=0, help="how often each system is measured under each load")
    parser.add_argument("--only", default="", help="systems, with commas between")
    parser.add_argument("--resume", action="store_true", help="only what the results file does not have yet")
    return parser.parse_args()


def everything(to_do: list[Step], results: Results, quiet_s: float) -> None:
    """One after the other, each kept at once."""
    progress = Progress(to_do)
    for step in to_do:
        busy = quiet(quiet_s)
        began = time.monotonic()
        found = one(step)
        results.add(step.name, step.round, step.system, busy, found)
        fault = next((row["error"] for row in found if "error" in row), None)
        said = fault or f"measured in {time.monotonic() - began:.1f} s (expected {step.seconds:.0f})"
        print(progress.after(step, said), file=sys.stderr, flush=True)


def one(step: Step) -> list[Row]:
    """What one run found; a fault is a row too, so that the others are still measured."""
    if missing(step.system):
        return [{"error": "not installed"}]
    try:
        return step.load.measure(step.system)
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


def written(results: Results, loads: dict[str, Load]) -> None:
    """The tables, also on the screen, and the plot."""
    text = page(results, loads)
    results.path.with_suffix(".md").write_text(text)
    print(f"\n{text}", flush=True)
    if os.access(PYTHON, os.X_OK):
        subprocess.run([str(PYTHON), str(HERE / "plot.py"), str(results.path)], check=True)
    print(f"results: {results.path.with_suffix('')}.json .md .png .svg", flush=True)


if __name__ == "__main__":
    sys.exit(main())
