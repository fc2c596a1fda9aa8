"""The most there was of something within a day.

Owns: how that is kept: 24 numbers, whatever is noted. Knows nothing of what is counted.
"""

from __future__ import annotations

from collections import deque

HOUR_S, HOURS = 3600, 24


class Peak:
    """The highest of what was noted in this hour and the 23 before it; times are seconds of any clock that goes on."""

    __slots__ = ("_hours",)

    def __init__(self) -> None:
        self._hours: deque[tuple[int, int]] = deque(maxlen=HOURS)  # The hour, and the highest in it.

    def note(self, value: int, now_s: float) -> None:
        """So many there are now."""
        hour = int(now_s // HOUR_S)
        if not self._hours or self._hours[-1][0] != hour:
            self._hours.append((hour, value))
        elif value > self._hours[-1][1]:
            self._hours[-1] = (hour, value)

    def highest(self, now_s: float) -> int:
        """0 if nothing was noted so lately."""
        since = int(now_s // HOUR_S) - HOURS
        return max((value for hour, value in self._hours if hour > since), default=0)
