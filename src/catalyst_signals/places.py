"""Where a subscriber stands, and how it is told.

Owns: Place and the `position` message. Law: what matched up to there is `sent` and all of `held` together.
"""

from __future__ import annotations

from dataclasses import dataclass

from catalyst_signals.wire import message


@dataclass(frozen=True, slots=True)
class Place:
    """What a subscriber has been judged for; since its last `subscribed` what was written, and what held by reason.

    What matched is `sent` and all of `held` together.
    """

    channel: str
    epoch: str
    seq: int
    hash8: str | None
    sent: int
    held: dict[str, int]


def position_message(place: Place) -> bytes:
    """ "You are complete through here": with the hash there when it is known, and the count written."""
    content: dict[str, object] = {
        "type": "position", "channel": place.channel, "epoch": place.epoch, "complete_through": place.seq,
    }  # fmt: skip
    if place.hash8 is not None:
        content["hash"] = place.hash8
    return message(content | {"sent": place.sent, "held": place.held})
