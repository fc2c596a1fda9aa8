"""A small histogram in text: counts by day, or by longer stretches when there are many days.

Owns: which rows there are, and how long a bar is. Knows nothing of terminals.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta

ROWS_MAX = 30
_STRETCHES = (1, 7, 28, 91, 364)  # Days of one row: whole weeks, so that weekends do not wander through it.
_EIGHTHS = " ▏▎▍▌▋▊▉"


def rows_of(per_day: Mapping[str, int]) -> list[tuple[str, int]]:
    """The first day of each row and what came in it, without a gap; at most ROWS_MAX rows, but for many years."""
    days = {date.fromisoformat(day): count for day, count in per_day.items()}
    if not days:
        return []
    first, last = min(days), max(days)
    stretch = next((n for n in _STRETCHES if (last - first).days < n * (ROWS_MAX - 1)), _STRETCHES[-1])
    if stretch > 1:
        first -= timedelta(first.weekday())  # Weeks begin on Monday.
    counts = [0] * ((last - first).days // stretch + 1)
    for day, count in days.items():
        counts[(day - first).days // stretch] += count
    return [((first + timedelta(n * stretch)).isoformat(), count) for n, count in enumerate(counts)]


def stretch_of(rows: list[tuple[str, int]]) -> str:
    """What one row is: `day`, `week`, `4 weeks` ..."""
    if len(rows) < 2:
        return "day"
    days = (date.fromisoformat(rows[1][0]) - date.fromisoformat(rows[0][0])).days
    return {1: "day", 7: "week"}.get(days, f"{days // 7} weeks")


def bar_of(count: int, most: int, width: int) -> str:
    """A bar that is `width` long for `most`; of anything at all a sliver is seen."""
    if not count:
        return ""
    whole, rest = divmod(max(1, round(count * width * 8 / most)), 8)
    return "█" * whole + _EIGHTHS[rest].strip()
