"""What one turn of live deliveries is made of: a stretch of frames, and what it has for each group.

Owns: how much goes into a turn, and what is held back of it. Knows nothing of sockets or of the loop.
"""

from __future__ import annotations

from dataclasses import dataclass

from catalyst_signals.events import Frame, parse_iso
from catalyst_signals.pages import CUT_BYTES_MAX
from catalyst_signals.tape import Group, Tape

_TS = b'"ts":"'


@dataclass(slots=True)
class Due:
    """What a turn has for one group: the joined frames and how many they are, and what is held back of the stretch."""

    group: Group
    data: bytes
    count: int
    held: dict[str, int]


def stretch_of(pending: list[Frame]) -> list[Frame]:
    """The pending frames that go out as one write: as many as one transport may be handed at once, one at least."""
    room = CUT_BYTES_MAX
    for i, frame in enumerate(pending):
        room -= len(frame.ws)
        if room < 0 and i:
            return pending[:i]
    return pending[:]


def matched(tape: Tape, stretch: list[Frame], now_us: int) -> dict[Group, tuple[list[bytes], dict[str, int]]]:
    """Who gets what of a stretch, and what is held back from them."""
    due: dict[Group, tuple[list[bytes], dict[str, int]]] = {}
    for frame in stretch:
        holding = tape.holding(frame, now_us)
        for group in tape.match(frame):
            parts, held = due.get(group) or due.setdefault(group, ([], {}))
            reason = holding.get(group.age) if holding else None
            if reason is None:
                parts.append(frame.ws)
            else:
                held[reason] = held.get(reason, 0) + 1
                group.holds.append((frame.seq, reason))
    return due


def committed_us(frame: Frame) -> int | None:
    """When an event was committed, by its `ts`; read without decoding it: in an id the quotes would be escaped."""
    at = frame.ws.find(_TS) + len(_TS)
    end = frame.ws.find(b'"', at)
    return parse_iso(frame.ws[at:end].decode(errors="replace")) if at >= len(_TS) else None
