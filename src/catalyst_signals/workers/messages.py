"""What is sent to a target at once, and how that can end.

Owns: Message, Outcome, and the Way port. Ways are webhooks.py and notifying.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol

import msgspec

from catalyst_signals.events import Frame, event_id

Kind = Literal["sent", "later", "refused", "gone"]


class Outcome(NamedTuple):
    """`sent`; try it `later`; `refused` for good; or nobody is there any more: `gone`. `error` holds no secret."""

    kind: Kind
    error: str = ""
    retry_after_s: float | None = None
    limited: bool = False  # It is later because there was too much.


class Message(NamedTuple):
    """One event; or several that were `held`, by reason; or a `test`, which is a text."""

    id: str
    frames: Sequence[Frame] = ()
    held: dict[str, int] | None = None
    test: str = ""


class Way(Protocol):
    """How one target is spoken to."""

    at_most: int  # Events in one digest.
    per_minute: int | None  # Messages that its service takes.
    holds_when_limited: bool  # Whether what it does not take now comes in a digest, and not again by itself.

    async def send(self, message: Message) -> Outcome:
        """Send it once, within a bounded time; never raises what the other side can cause."""


class _Head(msgspec.Struct):
    id: str
    version: int = 1


class _Instrument(msgspec.Struct):
    symbol: str = ""


class _Data(msgspec.Struct):
    instrument: _Instrument | None = None


class _About(msgspec.Struct):
    data: _Data | None = None


_head = msgspec.json.Decoder(_Head).decode
_about = msgspec.json.Decoder(_About).decode


def single(frame: Frame) -> Message:
    """The message of one event, under its id with the version."""
    return Message(id_of(frame), (frame,))


def digest(channel: str, frames: Sequence[Frame], reasons: Sequence[str]) -> Message:
    """One message of several events; the same events are always sent under the same id."""
    id = f"digest.{channel}.{frames[0].seq}-{frames[-1].seq}.{len(frames)}"
    return Message(id, frames, dict(Counter(reasons)))


def id_of(frame: Frame) -> str:
    """The event's id as the log has it."""
    head = _head(frame.text)
    return event_id(head.id, head.version)


def symbol_of(frame: Frame) -> str:
    """What a cooldown counts by; "" where an event is about no instrument."""
    try:
        data = _about(frame.text).data
    except msgspec.ValidationError:
        return ""
    return data.instrument.symbol if data is not None and data.instrument is not None else ""
