"""The recent frames that are kept in memory, and the memory that those of all channels may take together.

Owns: the one bound and the order in which frames go. Law: a ring has no holes, and what it counts is what it takes.
"""

from __future__ import annotations

from collections import deque

from catalyst_signals.events import Frame


class Ring:
    """The newest frames of one channel, `low` up to its tip; while it is empty, `low` is above the tip."""

    __slots__ = ("_frames", "_start", "ghosts", "low")

    def __init__(self, low: int) -> None:
        self.low = low
        self.ghosts = 0  # Frames that went with `empty` and still have their places in the order of all rings.
        self._frames: list[Frame | None] = []
        self._start = 0  # What is before it has gone.

    def __len__(self) -> int:
        return len(self._frames) - self._start

    def add(self, frame: Frame) -> None:
        """The next frame; the first one says where the ring begins."""
        if not self:
            self.low = frame.seq
        self._frames.append(frame)

    def get(self, seq: int) -> Frame | None:
        """The frame at `seq`, if it is here."""
        at = self._start + seq - self.low
        return self._frames[at] if self._start <= at < len(self._frames) else None

    def between(self, first: int, last: int) -> list[Frame]:
        """The frames from `first` through `last`, all of which are here."""
        at = self._start + first - self.low
        return self._frames[at : at + last - first + 1]  # type: ignore[return-value]  # Only what has gone is None.

    def let_go(self) -> int:
        """The oldest frame goes; answers what it took."""
        frame = self._frames[self._start]
        assert frame is not None
        self._frames[self._start] = None
        self._start += 1
        self.low = frame.seq + 1
        if self._start * 2 > len(self._frames):
            del self._frames[: self._start]
            self._start = 0
        return frame.size

    def clear(self, low: int) -> int:
        """All go; answers what they took. The next frame may have any seq from `low` on."""
        freed = sum(frame.size for frame in self._frames[self._start :] if frame is not None)
        self.ghosts += len(self)
        self._frames.clear()
        self._start, self.low = 0, low
        return freed


class Rings:
    """At most `bytes_max` of frames, the oldest of any channel going first."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._order: deque[Ring] = deque()  # Whose the frames are, oldest first, over all rings.
        self._ghosts = 0
        self.size = 0

    def add(self, ring: Ring, frame: Frame) -> None:
        """A frame into its ring; others go for it when there is no room."""
        ring.add(frame)
        self._order.append(ring)
        self.size += frame.size
        while self.size > self._bytes_max:
            oldest = self._order.popleft()
            if oldest.ghosts:  # They are older than what it has now.
                oldest.ghosts -= 1
                self._ghosts -= 1
            else:
                self.size -= oldest.let_go()

    def empty(self, ring: Ring, low: int) -> None:
        """Everything of a channel goes; its places in the order go when such places are half of it."""
        self._ghosts += len(ring)
        self.size -= ring.clear(low)
        if self._ghosts * 2 > len(self._order):
            self._order = deque(each for each in self._order if not self._is_ghost(each))
            self._ghosts = 0

    @staticmethod
    def _is_ghost(ring: Ring) -> bool:
        if ring.ghosts:
            ring.ghosts -= 1
            return True
        return False
