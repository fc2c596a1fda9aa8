"""A circuit breaker: what does not answer is left alone, and asked now and then whether it does again.

Owns: whether something outside may be asked at this moment. Knows nothing of what that is, and never waits itself.
Laws: `closed` lets everything through. FAILURES_MAX failures in a row, or one that took SLOW_S, open it: then nothing
is let through but one question after each pause (`half_open`), and its answer closes the breaker. An answer that says
no is an answer.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal

from catalyst_signals.backoff import Backoff

FAILURES_MAX = 3
SLOW_S = 1.0  # Whoever hangs costs everybody who asks all of their time-out.
PAUSES_S = (0.1, 1.0)  # A second at most: subscribers may miss hints for a poll, and trust in keys lasts five.

State = Literal["closed", "open", "half_open"]


class Breaker:
    """Of one thing that is asked. Who asks says how it ended: `worked`, `failed`, or `let_go` when nobody knows."""

    def __init__(
        self, name: str, *, pauses_s: tuple[float, float] = PAUSES_S, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.name = name
        self.state: State = "closed"
        self.error = ""  # Why it was opened, or last stayed so; empty while it is closed.
        self._clock = clock
        self._since_s = clock()
        self._failures = 0
        self._pauses = Backoff(*pauses_s)
        self._until_s = 0.0

    @property
    def since_s(self) -> float:
        """For how many seconds it has been closed, or has not been."""
        return self._clock() - self._since_s

    @property
    def retry_after_s(self) -> float:
        """When the next question will be let through, from now; one that is under way may take as long as it likes."""
        return max(0.1, self._until_s - self._clock())

    def admit(self) -> bool:
        """Whether to ask now. True while it is open means: you ask for all, so say how it ended."""
        if self.state == "open" and self._clock() >= self._until_s:
            self.state = "half_open"
            return True
        return self.state == "closed"

    def worked(self) -> bool:
        """There was an answer. Whether the breaker was open until now."""
        self._failures = 0
        if self.state == "closed":
            return False
        self.state, self.error = "closed", ""
        self._since_s = self._clock()
        self._pauses.tries = 0
        return True

    def failed(self, error: str, took_s: float = 0.0) -> bool:
        """There was none. Whether the breaker was closed until now and is open."""
        self._failures += 1
        was = self.state
        if was == "closed" and self._failures < FAILURES_MAX and took_s < SLOW_S:
            return False
        now_s = self._clock()
        self.state, self.error = "open", error
        self._until_s = now_s + self._pauses.next_s()
        if was == "closed":
            self._since_s = now_s
        return was == "closed"

    def let_go(self) -> None:
        """Who asked went away without an answer, so that another one may ask."""
        if self.state == "half_open":
            self.state = "open"
