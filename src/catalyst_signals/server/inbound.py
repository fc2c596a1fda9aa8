"""A client's bytes as frames: whole plain text messages are taken here, everything else goes to the library.

Owns: where one frame ends and the next begins, and the shortest way from there to a text. Knows nothing of RFC 6455
beyond that: what is fragmented, compressed, unmasked, a control frame or against the rules is the library's, which is
handed whole frames and so always stands between two of them. Why it is here: docs/decisions/0006.
"""

from __future__ import annotations

try:
    from websockets.speedups import apply_mask
except ImportError:  # Where the library has no wheel.
    from websockets.utils import apply_mask

_PLAIN_TEXT, _PONG, _MASKED, _CLOSE = 0x81, 0x8A, 0x80, 8


class Inbound:
    """What one connection has sent. A mixin whose state costs nothing while no frame is cut in two."""

    size_max = 65_536  # Of a message.
    _held: bytearray | None = None  # The beginning of a frame whose rest has not come.
    _wanted = 0  # How much of it there must be before it is worth another look.
    _fragmented = False
    _over = False  # It has said goodbye, or something so large that only a refusal follows.

    def took_text(self, data: bytes) -> None:
        """A whole message, as UTF-8 if it is right."""
        raise NotImplementedError

    def took_frame(self, frame: bytes) -> None:
        """Any other frame, whole; or what there is of one that is too large."""
        raise NotImplementedError

    def take(self, data: bytes) -> None:
        """Bytes as they came."""
        if self._held is not None:
            self._held += data
            if len(self._held) < self._wanted:
                return
            data, self._held = bytes(self._held), None
        at, end = 0, len(data)
        while at < end and not self._over:
            size = self._frame_size(data, at)
            if size > end - at:
                self._held, self._wanted = bytearray(data[at:]), size
                return
            self._take_frame(data[at : at + size])
            at += size

    def _frame_size(self, data: bytes, at: int) -> int:
        """How many bytes the frame at `at` has, or its header until that is whole."""
        have = len(data) - at
        if have < 2:
            return 2
        size = data[at + 1] & 127
        head = (2 if size < 126 else 4 if size == 126 else 10) + (4 if data[at + 1] & _MASKED else 0)
        if have < head:
            return head
        if size > 125:
            size = int.from_bytes(data[at + 2 : at + (4 if size == 126 else 10)], "big")
        return head + min(size, self.size_max + 1)

    def _take_frame(self, frame: bytes) -> None:
        first, size = frame[0], frame[1] - _MASKED
        if first == _PLAIN_TEXT and 0 <= size < 127 and not self._fragmented:
            head = 2 if size < 126 else 4
            if len(frame) - head - 4 <= self.size_max:
                self.took_text(apply_mask(frame[head + 4 :], frame[head : head + 4]))
                return
        if first != _PONG or size:  # An empty pong says only that somebody is there.
            kind = first & 15
            if kind < _CLOSE:
                self._fragmented = not first & 0x80
            self._over = kind == _CLOSE
            self.took_frame(frame)
