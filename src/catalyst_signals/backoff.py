"""How long to wait before something is tried again: a ceiling that doubles up to a cap, and a random wait below it.

Owns: that one decision, for everything here that tries for ever. Knows nothing of what is tried and never waits itself.
Law: of a thousand who failed at the same moment no two come back at the same moment ("full jitter").
"""

from __future__ import annotations

import random


class Backoff:
    """Waits of one thing that fails again and again: `first_s` is the ceiling of the first, `most_s` of any."""

    __slots__ = ("_first_s", "_most_s", "tries")

    def __init__(self, first_s: float, most_s: float) -> None:
        self._first_s = first_s
        self._most_s = most_s
        self.tries = 0  # Since it worked; whoever sees that it works sets it to 0.

    def next_s(self) -> float:
        """Seconds to wait now; the ceiling of the next wait is twice as high."""
        ceiling_s = min(self._most_s, self._first_s * 2 ** min(self.tries, 16))
        self.tries += 1
        return random.uniform(0, ceiling_s)
