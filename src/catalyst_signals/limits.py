"""Rate limits by GCRA: one number a key, no window, no timer.

Owns: when a key may go again. Knows nothing of what is limited. Bounded: keys that are idle are forgotten.
"""

from __future__ import annotations

KEYS_MAX = 10_000


class Limiter:
    """`rate` a second on average, `burst` at once."""

    def __init__(self, rate: float, burst: int) -> None:
        self._gap_s = 1 / rate
        self._burst_s = burst / rate
        self._free_at: dict[str, float] = {}

    def take(self, key: str, now_s: float) -> float:
        """0 when `key` may go now, and then it has; otherwise the seconds until it may."""
        free_at = max(self._free_at.get(key, 0.0), now_s)
        wait_s = free_at + self._gap_s - self._burst_s - now_s
        if wait_s > 1e-9:
            return wait_s
        if len(self._free_at) >= KEYS_MAX:
            self._free_at = {k: t for k, t in self._free_at.items() if t > now_s}
        self._free_at[key] = free_at + self._gap_s
        return 0.0
