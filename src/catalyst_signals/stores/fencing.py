"""The fence of a store that one process writes: while it is for a time, it stands nowhere but in that process.

Owns: whether the log may be changed here. Knows nothing of where it is kept. Law: a fence stays only if it held all the
while since its ticket was answered.
"""

from __future__ import annotations

from catalyst_signals.errors import Fenced, Moved
from catalyst_signals.stores import FENCE_US, ticks_us


class FencedHere:
    """Half of such a store; the other half asks `_check_here` before it changes anything."""

    def __init__(self) -> None:
        self._fenced_until_us = 0
        self.moved_to = ""

    def _fence(self, moved_to: str, ticket: int) -> int:
        """Store.fence"""
        if self.moved_to:
            raise Moved(to=self.moved_to)
        if not moved_to:
            self._fenced_until_us = max(ticks_us() + FENCE_US, self._fenced_until_us + 1)
        elif not ticks_us() < self._fenced_until_us == ticket:
            return 0
        else:
            self._write_moved(moved_to)
        self.moved_to = moved_to
        return self._fenced_until_us

    def _write_moved(self, moved_to: str) -> None:
        """For a store that is there after this process: it has to know."""

    def _check_here(self) -> None:
        if self.moved_to:
            raise Moved(to=self.moved_to)
        if ticks_us() < self._fenced_until_us:
            raise Fenced()
