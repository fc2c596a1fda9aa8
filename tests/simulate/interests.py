"""What a reader wants of each channel, where it stands there, and what it asked and was not answered yet.

Owns: the filters there are in this world. Knows nothing of how a reader behaves.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from catalyst_signals.filters import Filter, parse

from .judge import Offer
from .stretches import PLAIN, Life, Stretch, Wish
from .wires import Wire

FILTERS = tuple(
    parse(text)
    for text in (
        "",
        "",
        "symbol = ACME",
        "symbol in (ACME, XYZ) and confidence >= 0.5",
        "confidence >= 0.7",
        "confidence < 0.4 or symbol = BTC",
        "not symbol = NVDA",
        "symbol = NVDA and confidence >= 0.3",
        "tags contains_any (loud, news)",
        "symbol = NOBODY",
        "direction = short or tags contains_any (news)",
    )
)
BY_TEXT = {filter.text: filter for filter in FILTERS}


def filter_of(source: object) -> Filter:
    """Parsed once for all seeds."""
    return BY_TEXT[str(source or "")]


@dataclass
class Interest:
    """What a reader wants of a channel, and where it stands there, as the client library keeps it."""

    channel: str
    filter: Filter
    place: int | None = None
    epoch: str = ""
    hash8: str | None = None  # Of the event at `place`, when a position said so.
    top: int = 0  # The highest that was handed out, or that a place lies at.
    wish: Wish = PLAIN
    life: Life | None = None
    stretch: Stretch | None = None  # On the present connection.
    wanted: bool = True


@dataclass
class Asked:
    """A `subscribe` or `unsubscribe` that is not answered yet."""

    interest: Interest
    filter: Filter
    wish: Wish
    where: dict[str, Any]
    at_us: int
    change: bool = False  # Only the filter is to be another one.

    @property
    def after(self) -> int | None:
        """The place it named."""
        after: int | None = self.where.get("after")
        return after


@dataclass
class Said:
    """A signal published over the socket and not answered yet."""

    channel: str
    signal: dict[str, Any]
    offer: Offer


@dataclass
class Link:
    """One connection of a reader: what it asked and was not answered on it."""

    wire: Wire
    asked: dict[int, Asked] = field(default_factory=dict)
    said: dict[int, Said] = field(default_factory=dict)
