"""What a subscription holds back, and why: the modifiers beside its filter.

Owns: `stale`, `max_age_s`, `mode`, `ended`, the reasons, and what of an event they look at. Knows nothing of hubs.
Law: a modifier may look at the clock or at other events, and may only hold back, which is counted by reason:
`matched = sent + held`. An ending is never held for its age or because something newer came.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

import msgspec

from catalyst_signals.events import Frame, parse_iso
from catalyst_signals.signals import ENDINGS

REASONS = ("expired", "aged", "replaced", "ended")
Reason = Literal["expired", "aged", "replaced", "ended"]

NEVER = 1 << 62  # As a moment, in microseconds.

_SIGNAL = b'{"type":"signal.'


class Age(NamedTuple):
    """How old is too old: what all subscribers of a group have in common beside the filter."""

    stale: Literal["hold", "send"] = "hold"
    max_age_s: int | None = None

    def looks_at(self, frame: Frame) -> bool:
        """Whether the frame may be held at some time; without decoding it."""
        return bool(self.max_age_s) or may_expire(frame)

    def holds(self, frame: Frame, now_us: int) -> Reason | None:
        """Why the frame is held at this moment, or None."""
        if not self.looks_at(frame):
            return None
        life = life_of(frame)
        if self.stale == "hold" and life.ends_us <= now_us:
            return "expired"
        return "aged" if self.max_age_s and life.ages_from_us + self.max_age_s * 1_000_000 < now_us else None

    def holds_from_us(self, frame: Frame) -> int:
        """The moment from which the frame is held; NEVER if it is not."""
        if not self.looks_at(frame):
            return NEVER
        life = life_of(frame)
        expires_us = life.ends_us if self.stale == "hold" else NEVER
        return min(expires_us, life.ages_from_us + self.max_age_s * 1_000_000 + 1) if self.max_age_s else expires_us


class Modifiers(NamedTuple):
    """All of a subscription's modifiers; the defaults are those of a subscription that names none."""

    stale: Literal["hold", "send"] = "hold"
    max_age_s: int | None = None
    mode: Literal["all", "latest"] = "all"
    ended: Literal["send", "hold"] = "send"

    @property
    def age(self) -> Age:
        """The part that also holds back what is live."""
        return Age(self.stale, self.max_age_s)

    @property
    def looks_around(self) -> bool:
        """Whether what comes later in the log decides what is sent, while catching up."""
        return self.mode == "latest" or self.ended == "hold"


class Life(NamedTuple):
    """What a modifier looks at. An ending, and what is not a signal, never ends by itself, ages or is replaced.

    `instrument` is what `mode=latest` keeps the newest of; None where everything is sent.
    """

    id: str = ""
    version: int = 0
    ends_us: int = NEVER
    ages_from_us: int = NEVER
    instrument: str | None = None


class _Instrument(msgspec.Struct):
    symbol: str = ""
    venue: str = ""
    mic: str = ""


class _Data(msgspec.Struct):
    expires_at: str | None = None
    instrument: _Instrument | None = None


class _Event(msgspec.Struct):
    type: str
    id: str
    version: int
    ts: str
    data: _Data | None = None


_decode = msgspec.json.Decoder(_Event).decode


def life_of(frame: Frame) -> Life:
    """Read once a frame, as far as needed; of what is not a signal nothing is ever held."""
    if frame.life is None:
        frame.life = _read(frame) if frame.ws.startswith(_SIGNAL, frame.head_bytes) else Life()
    life: Life = frame.life
    return life


def _read(frame: Frame) -> Life:
    try:
        event = _decode(frame.text)
    except msgspec.ValidationError:  # Written by something that is not a server of this kind; nothing of it is held.
        return Life()
    data = event.data
    if data is None or event.type in ENDINGS:
        return Life(event.id, event.version)
    ends_us = parse_iso(data.expires_at) if data.expires_at is not None else None
    named = data.instrument
    instrument = f"{named.symbol} {named.venue} {named.mic}" if named is not None else None
    return Life(
        event.id, event.version, NEVER if ends_us is None else ends_us, parse_iso(event.ts) or NEVER, instrument
    )


def may_expire(frame: Frame) -> bool:
    """Whether the frame could expire, without decoding it: most that cannot are told apart by this."""
    return b'"expires_at"' in frame.ws


def total(*counts: Mapping[str, int], less: Mapping[str, int] | None = None) -> dict[str, int]:
    """Counts by reason added up, in the order of REASONS, without zeros."""
    less = less or {}
    sums = {reason: sum(each.get(reason, 0) for each in counts) - less.get(reason, 0) for reason in REASONS}
    return {reason: number for reason, number in sums.items() if number}
