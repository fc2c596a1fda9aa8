"""What is replaced by something later in the log: `mode=latest` and `ended=hold`, for subscribers who are catching up.

Owns: looking ahead before anything of a stretch is sent. Knows nothing of sockets or stores.
Law: of each instrument the newest match of a stretch is sent, and every ending; of a signal the last version there is.
Nothing is remembered from one stretch to the next.
"""

from __future__ import annotations

from collections.abc import Iterable

from catalyst_signals.events import Frame
from catalyst_signals.modifiers import life_of

INSTRUMENTS_MAX = 100_000  # Of one survey: of the instruments beyond it everything is sent.


class Survey:
    """The newest match of each instrument in `after + 1 ... until`; `at` is how far it has looked."""

    __slots__ = ("_newest", "at", "until")

    def __init__(self, after: int, until: int) -> None:
        self.at = after
        self.until = until
        self._newest: dict[str, int] = {}

    @property
    def complete(self) -> bool:
        """Whether the whole stretch was looked at."""
        return self.at >= self.until

    def look(self, matching: Iterable[Frame], through: int) -> None:
        """Take in what matches of the next page, which reaches `through`."""
        for frame in matching:
            instrument = life_of(frame).instrument
            room = instrument in self._newest or len(self._newest) < INSTRUMENTS_MAX
            if instrument is not None and room and self.at < frame.seq <= self.until:
                self._newest[instrument] = frame.seq
            frame.forget()
        self.at = min(max(self.at, through), self.until)

    def replaces(self, frame: Frame) -> bool:
        """Whether something newer of the same instrument follows in this stretch."""
        instrument = life_of(frame).instrument
        return instrument is not None and self._newest.get(instrument, 0) > frame.seq
