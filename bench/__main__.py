"""Every measurement, one after the other: `make bench`. Ratios from one run, printed, never asserted."""

from __future__ import annotations

import importlib
import sys

from bench.harness import show

LOADS = ("append", "postgres", "match", "publish", "replay", "deliver", "backup", "rehearse")


def main() -> None:
    """All loads, or those named on the command line."""
    for name in sys.argv[1:] or LOADS:
        print(f"\n{name}", flush=True)
        show(importlib.import_module(f"bench.{name}").run())


if __name__ == "__main__":
    main()
