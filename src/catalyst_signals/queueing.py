"""A queue in which nobody waits for somebody else's flood: each has a line, and the lines take turns.

Owns: whose turn it is. Knows nothing of what waits. Law: what one puts in comes out in that order; between two takes of
the same line every other line that is not empty is taken from once.
"""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class FairQueue(Generic[T]):
    """Things that wait, by whose they are. Their sizes are counted in whatever unit the user means."""

    def __init__(self) -> None:
        self._lines: dict[str, deque[tuple[T, int]]] = {}
        self.size = 0

    def __bool__(self) -> bool:
        return bool(self._lines)

    def __contains__(self, whose: str) -> bool:
        """Whether something of theirs waits."""
        return whose in self._lines

    @property
    def waiting(self) -> list[str]:
        """Whose things wait, in the order in which their turns come."""
        return list(self._lines)

    @property
    def next_size(self) -> int:
        """The size of what comes out next; there must be something."""
        return next(iter(self._lines.values()))[0][1]

    def put(self, whose: str, thing: T, size: int) -> None:
        """At the end of their line."""
        line = self._lines.get(whose)
        if line is None:
            line = self._lines[whose] = deque()
        line.append((thing, size))
        self.size += size

    def take(self) -> T:
        """The first of the line whose turn it is, which then waits for its next one; there must be something."""
        whose, line = next(iter(self._lines.items()))
        thing, size = line.popleft()
        self.size -= size
        if not line:
            del self._lines[whose]
        elif len(self._lines) > 1:
            self._lines[whose] = self._lines.pop(whose)
        return thing

    def take_all(self) -> list[T]:
        """Everything, line by line."""
        things = [thing for line in self._lines.values() for thing, _ in line]
        self._lines.clear()
        self.size = 0
        return things
