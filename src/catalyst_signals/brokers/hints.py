"""Hints as bytes: what every broker that leaves the process sends, in one form.

Owns: which fields of a frame are told, and how many go into a message. Knows nothing of how a message travels.
Law: a message is bounded, and one that cannot be read is worth as much as a lost one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from catalyst_signals.events import Frame

HINT_BYTES_MAX = 1 << 20  # Of one message; a frame beyond it is found by the poll.

Told = tuple[str, str, int, str, str, bytes, int]

encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Told]).decode


def told(frames: Sequence[Frame]) -> Iterator[list[Told]]:
    """What is said of the frames, in as few messages as they need."""
    message: list[Told] = []
    room = HINT_BYTES_MAX
    for frame in frames:
        size = len(frame.ws)
        if size > HINT_BYTES_MAX:
            continue
        if size > room:
            yield message
            message, room = [], HINT_BYTES_MAX
        message.append((frame.channel, frame.epoch, frame.seq, frame.prev8, frame.hash8, frame.ws, frame.head_bytes))
        room -= size
    if message:
        yield message


def heard(message: bytes | memoryview) -> Iterator[Frame]:
    """The frames of a message.

    Raises:
        ValueError: it is none of ours.
    """
    return (Frame(*each) for each in _decode(message))
