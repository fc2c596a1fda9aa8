"""What is said of sources and instruments beside signals: halts, silences, clocks that are off.

Owns: what a halt and a declared heartbeat are, the events that tell of them, and when a silence is too long. Knows
nothing of stores, time or requests. Laws: an event of these is one however many processes tell it, since its id is the
occurrence's; the end of an occurrence is version 2 of the event that began it. Nothing here refuses a signal.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from catalyst_signals.events import Draft, event_id, hash_of_draft

HALTS = ("halt.began", "halt.ended")
SILENCES = ("source.silent", "source.heard")
SKEWS = ("source.skewed", "source.right")
EVERY_S = (1.0, 7 * 86_400.0)
_GRACE, _GRACE_S_MAX = 0.1, 0.3  # A producer that beats exactly as often as it said is not late by its network.


class Halt(msgspec.Struct, frozen=True):
    """Somebody has stopped a source (a provider's id) or an instrument; `channels` are those that were told."""

    id: str
    reason: str
    by: str
    since: str
    channels: tuple[str, ...]
    source: str = ""
    symbol: str = ""

    @property
    def about(self) -> dict[str, Any]:
        """As an event names it, so that a filter can rule it out."""
        return about_source(self.source) if self.source else {"instrument": {"symbol": self.symbol}}

    @property
    def data(self) -> dict[str, Any]:
        """What `halt.began` says."""
        return {**self.about, "reason": self.reason, "by": self.by, "since": self.since}


class Heartbeat(msgspec.Struct, frozen=True):
    """A source has promised to be heard in a channel at least every `every_s` seconds; `id` is this promise's own."""

    id: str
    source: str
    channel: str
    every_s: float
    by: str
    since: str

    @property
    def key(self) -> str:
        """A source has one for each channel."""
        return heartbeat_key(self.channel, self.source)

    @property
    def grace_s(self) -> float:
        """How much later than promised it may be heard."""
        return min(_GRACE * self.every_s, _GRACE_S_MAX)


def heartbeat_key(channel: str, source: str) -> str:
    """No channel's name holds a slash."""
    return f"{channel}/{source}"


def about_source(source: str) -> dict[str, Any]:
    """As an event names a source."""
    return {"provider": {"id": source}}


def watch_draft(type: str, id: str, data: Mapping[str, Any], *, version: Literal[1, 2] = 1) -> Draft:
    """An event of an occurrence; whoever tells of it says the same thing, in whatever words."""
    body = msgspec.json.encode({"data": data})
    said = hash_of_draft({"type": type, "id": id})
    return Draft(type=type, id=event_id(id, version), body=body, draft_hash=said, version=version)
