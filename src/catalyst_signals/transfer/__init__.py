"""A log as lines of JSON that a person can read and compare, and back again.

Owns: the form of these lines, and the proof that they are a whole log. Knows nothing of files or technologies.
Laws: a body goes through as the bytes it is, so what was exported and imported has the same hashes, and exported again
the same bytes. Nothing is believed that can be computed; a fault is named by its line.

Of each channel, in this order: `channel`, its epochs and where it begins; `gone`, an id whose event retention dropped;
`event`; `place`, how far a follower is; `end`, how many there were. The last line of all is `export`.
"""

from __future__ import annotations

import msgspec

LINE_BYTES_MAX = 64 << 20  # More than any event has; a file without lines must not fill the memory.
PAGE = 1000  # Lines that are in memory at once.


class Line(msgspec.Struct, frozen=True, tag_field="line", forbid_unknown_fields=True, kw_only=True):
    """What every line has; `line` says which kind it is."""

    channel: str


class EpochLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An epoch, in the line of its channel."""

    epoch: str
    first: int
    last_before: int
    hash_before: str
    reason: str


class ChannelLine(Line, frozen=True, tag="channel", kw_only=True):
    """The first line of a channel."""

    form: int = 1
    epochs: list[EpochLine]
    first: int
    hash_before: str
    last: int


class GoneLine(Line, frozen=True, tag="gone", kw_only=True):
    """An id that is known though its event was dropped."""

    seq: int
    id: str
    version: int
    ts: str
    subject: str
    draft_hash: str


class EventLine(Line, frozen=True, tag="event", omit_defaults=True, kw_only=True):
    """An event. What its body holds stands at the end, as the bytes it is; one that was erased has none."""

    seq: int
    type: str
    id: str
    version: int
    ts: str
    epoch: str
    subject: str
    draft_hash: str
    salt: str
    body_hash: str
    hash: str
    erased: bool = False
    data: msgspec.Raw = msgspec.Raw()
    was: msgspec.Raw = msgspec.Raw()

    @property
    def body(self) -> bytes:
        """The bytes that were hashed."""
        if self.erased:
            return b""
        was = b',"was":' + bytes(self.was) if self.was else b""
        return b'{"data":%s%s}' % (bytes(self.data), was)


class PlaceLine(Line, frozen=True, tag="place", kw_only=True):
    """How far a follower is, and what it has made of that; who held it is nobody's business elsewhere."""

    name: str
    seq: int
    state: str


class EndLine(Line, frozen=True, tag="end", kw_only=True):
    """The last line of a channel: how much it has, the hash of its newest event, and the sum of its lines before."""

    gone: int
    events: int
    places: int
    hash: str
    sum: str


class ExportLine(msgspec.Struct, frozen=True, tag_field="line", tag="export", forbid_unknown_fields=True):
    """The last line of all."""

    channels: list[str]
    events: int


AnyLine = ChannelLine | GoneLine | EventLine | PlaceLine | EndLine | ExportLine
decode = msgspec.json.Decoder(AnyLine).decode
