"""Every measurement, one after the other: `make bench`. Ratios from one run, printed, never asserted."""

from __future__ import annotations

import importlib
import os
import sys

from bench.harness import keep, show

SITE = ("postgres", "acks", "crossing", "nodes", "transfer")  # With real services; what came of the last run is kept.
LOADS = (
    "append",
    *SITE,
    "match",
    "publish",
    "webhooks",
    "replay",
    "deliver",
    "receipts",
    "targets",
    "backup",
    "rehearse",
)

CORES = os.sched_getaffinity(0)


def main() -> None:
    """All loads, or those named on the command line."""
    for name in sys.argv[1:] or LOADS:
        print(f"\n{name}", flush=True)
        os.sched_setaffinity(0, CORES)  # Some loads stay on one core.
        rows = importlib.import_module(f"bench.{name}").run()
        show(rows)
        if name in SITE:
            keep(name, rows)


if __name__ == "__main__":
    main()
