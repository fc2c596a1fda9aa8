"""How many examples a law is tried on: all of them in CI, a part of them in the everyday `make` (EXAMPLES_PART)."""

from __future__ import annotations

import os

PART = float(os.environ.get("EXAMPLES_PART") or 1)
LEAST = 50


def examples(all_of: int) -> int:
    """`all_of`, or the part of them that is tried this time, LEAST of them at any rate."""
    return max(min(LEAST, all_of), int(all_of * PART))
