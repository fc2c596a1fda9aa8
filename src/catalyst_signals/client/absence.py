"""What a stream caught up with after it was away: asleep, cut off, not running.

Owns: CaughtUp and the counting towards it. Law: an absence ends at `live`, however many connections that took.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from catalyst_signals.events import Position


@dataclass(frozen=True, slots=True, kw_only=True)
class CaughtUp:
    """The stream was behind and is live again, at `at`.

    `since` is where it stood, `received` how many events came since then, `held` what the server held back of them, by
    reason. `away_s` is how long nothing had been heard, by the clock on the wall; None when that is not known.
    """

    channel: str
    since: Position
    at: int
    received: int
    held: dict[str, int]
    away_s: float | None


@dataclass(slots=True)
class Absence:
    """One that goes on: where the stream stood, and what its counters said then."""

    since: Position
    away_s: float | None
    received: int
    held: dict[str, int]

    def over(self, at: int, received: int, held: dict[str, int]) -> CaughtUp:
        """The counters now, less those from then."""
        more = {reason: count - self.held.get(reason, 0) for reason, count in held.items()}
        return CaughtUp(
            channel=self.since.channel, since=self.since, at=at, received=received - self.received,
            held={reason: count for reason, count in more.items() if count}, away_s=self.away_s,
        )  # fmt: skip


def is_behind(subscribed: dict[str, Any]) -> bool:
    """Whether there is something in the log after the place that was resumed."""
    return int(subscribed.get("head", 0)) > int(subscribed["after"])
