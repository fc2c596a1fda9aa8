"""How often something took how long: counts in buckets, cheap enough to keep while signals go by.

Owns: the bounds, and one addition a measurement. Knows nothing of what is measured or who reads it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping

LATENCY_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)
COMPUTE_S = (1e-6, 2.5e-6, 5e-6, 1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 5e-3, 0.025)
INFINITE = "+Inf"
SUM = "sum"


class Histogram:
    """Counts of measurements up to each bound, and their sum; both only grow."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def note(self, value: float, times: int = 1) -> None:
        """It was `value`, so many times; what a clock that was set back makes negative is 0."""
        if value < 0.0:
            value = 0.0
        self._counts[bisect_left(self._bounds, value)] += times
        self._sum += value * times

    def cumulative(self) -> dict[str, float]:
        """By bound, as text, how many were at most that; `+Inf` is all of them, `sum` what they add up to."""
        found: dict[str, float] = {}
        so_far = 0
        for bound, count in zip((*map(str, self._bounds), INFINITE), self._counts, strict=True):
            so_far += count
            found[bound] = so_far
        return found | {SUM: self._sum}


def quantile(cumulative: Mapping[str, float], share: float) -> float | None:
    """The value that this share of the measurements was below at most, as evenly spread within a bucket; None: of none.

    Beyond the last bound it is that bound, since nothing is known of what lies above.
    """
    wanted, lower, below = share * cumulative.get(INFINITE, 0.0), 0.0, 0.0
    if not wanted:
        return None
    for bound, count in cumulative.items():
        if bound in (INFINITE, SUM):
            break
        if count >= wanted:
            return lower + (float(bound) - lower) * (wanted - below) / (count - below)
        lower, below = float(bound), count
    return lower
