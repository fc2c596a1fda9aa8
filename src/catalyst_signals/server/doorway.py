"""Newcomers come in a few at a time, so that whoever is in already is served meanwhile.

Owns: who waits to come in. A handshake is 0.2 ms of work, and all come at once when a server or a network was away.
Law: they come in in the order in which they came.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable

TURN_S = 0.001


class Doorway:
    """One a server. In each turn of the event loop it lets in for `turn_s`, one at least."""

    def __init__(self, turn_s: float = TURN_S, clock: Callable[[], float] = time.perf_counter) -> None:
        self._turn_s = turn_s
        self._clock = clock
        self._until = 0.0
        self._open = False  # Somebody came in in this turn, or waits.
        self._waiting: deque[Callable[[], None]] = deque()

    def come(self, enter: Callable[[], None]) -> bool:
        """Call `enter` now if this turn has the time (True), else in one of the next."""
        if not self._open:
            self._next_turn()
        elif self._waiting or self._clock() > self._until:
            self._waiting.append(enter)
            return False
        enter()
        return True

    def _next_turn(self) -> None:
        self._open = True
        self._until = self._clock() + self._turn_s
        asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        if not self._waiting:
            self._open = False
            return
        self._next_turn()
        while self._waiting:
            self._waiting.popleft()()
            if self._clock() > self._until:
                break
