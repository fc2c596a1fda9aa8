"""The part of W1 that needs no connections: what finding the filters costs, in this process (`bench.match`)."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from bench import match
from bench.peers.run import Row
from catalyst_signals.filters import Filter
from catalyst_signals.matching import MatchIndex

HELD = "all operators: 20 matches held"


@dataclass(frozen=True)
class Matching:
    """10,000 and 100,000 filters with 20 matches held, and 10,000 drawn from all operators."""

    title: str
    systems: Sequence[str] = ("catalyst",)
    rounds_max: int = 1

    def seconds(self, name: str) -> float:
        """About how long it takes."""
        return 50

    def measure(self, name: str) -> list[Row]:
        """A row for each set of filters."""
        rng = random.Random(7)
        signals = [match.signal(rng, 500) for _ in range(200)]
        found = [*match.run(), match.measure(HELD, seldom(rng, signals), signals)]
        return [row | {"way": f"{row['filters']:,} filters, {row.pop('load')}"} for row in found]


def seldom(rng: random.Random, signals: list[dict[str, Any]], count: int = 10_000) -> list[Filter]:
    """Filters drawn from all operators; those that match more than 3 of 200 signals are thrown away."""
    drawn = list(dict.fromkeys(match.mixed(rng) for _ in range(6 * count)))
    index: MatchIndex[int] = MatchIndex()
    for number, filter in enumerate(drawn):
        index.add(number, filter)
    often = Counter(number for signal in signals for number in index.match(signal))
    return list(islice((filter for number, filter in enumerate(drawn) if often[number] <= 3), count))
