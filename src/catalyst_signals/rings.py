"""The memory that recent frames of all tapes may take together.

Owns: the one bound and the order in which frames go. What a ring holds stands in its tape.
"""

from __future__ import annotations

from collections import deque

from catalyst_signals.events import Frame
from catalyst_signals.tape import Tape


class Rings:
    """At most `bytes_max` of frames, the oldest of any channel going first."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._order: deque[tuple[Tape, int]] = deque()  # What the rings hold, oldest first, over all tapes.
        self._gone = 0  # How many of these stand for frames that are gone already.
        self.size = 0

    def add(self, tape: Tape, frame: Frame) -> None:
        """Count a frame that its tape has taken in; others go for it when there is no room."""
        self._order.append((tape, frame.seq))
        self.size += len(frame.ws)
        while self.size > self._bytes_max:
            oldest, seq = self._order.popleft()
            freed = oldest.evict(seq)
            self.size -= freed
            self._gone -= not freed

    def empty(self, tape: Tape) -> None:
        """The ring of a tape lets everything go; its places in the order go when they are half of it."""
        self.size -= sum(len(frame.ws) for frame in tape.ring.values())
        self._gone += len(tape.ring)
        tape.ring.clear()
        tape.low = tape.tip + 1
        if self._gone * 2 > len(self._order):
            self._order = deque((each, seq) for each, seq in self._order if seq in each.ring)
            self._gone = 0
