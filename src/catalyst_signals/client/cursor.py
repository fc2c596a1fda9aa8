"""Where one subscription of a client stands, what it handed out, and whether the server's count agrees. No I/O.

Owns: the place to resume from, de-duplication, the check of `sent`, what a refused place means.
Knows nothing of connections, filters or what an event says.
Law: each seq is handed out once; the place never passes an event that was not settled; a place is verified only when
as many events arrived as the server says it sent.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right, insort
from dataclasses import dataclass
from typing import Any

from catalyst_signals.errors import EpochChanged, PositionAhead, PositionLost, PositionTooOld, RangeUntrusted
from catalyst_signals.events import Position


@dataclass(frozen=True, slots=True)
class Gap:
    """The range `void`, both ends included, is not as it should be; the stream goes on after `resume_after`.

    `reason` is `epoch_changed`, `position_too_old` or `position_ahead`: the range is gone, or will hold other events.
    With `sent` nothing is lost: the counts differed, so the range is read again and what was missing follows, late.
    """

    channel: str
    void: tuple[int, int]
    reason: str
    resume_after: int


class Cursor:
    """One subscription's place. `admit` counts an event, `settle` moves the place over it, `reached` verifies."""

    __slots__ = (
        "_arrived", "_channel", "_epoch", "_given", "_hash8", "_seq", "_top", "_unsettled", "_unsettled8", "_verified",
    )  # fmt: skip

    def __init__(self, channel: str, after: Position | None) -> None:
        self._channel = channel
        self._epoch = after.epoch if after else ""
        self._seq = after.seq if after else -1  # -1: from now on; the first `subscribed` says which seq that is.
        self._hash8 = after.hash8 if after else ""
        self._unsettled = 0  # The last that was admitted; the place moves there when the next one is asked for.
        self._unsettled8 = ""  # Its hash: what was handled last is named when we resume, so a rewritten log is found.
        self._arrived = 0  # Since the last `subscribed` on this connection.
        self._top = self._seq  # The highest that was handed out, or that a place lies at.
        self._verified = after
        self._given = array("Q")  # Handed out since `_verified`, ascending: 8 bytes an event, until the next position.

    @property
    def place(self) -> Position | None:
        """Done with everything up to here; None before the first `subscribed` of a stream that begins now."""
        return None if self._seq < 0 else Position(self._channel, self._epoch, self._seq, self._hash8)

    def done(self) -> int:
        """The seq of the place; -1 before the first `subscribed` of a stream that begins now."""
        return self._seq

    def where(self) -> dict[str, Any]:
        """The place as `subscribe` carries it; without the hash only where the server told none."""
        fields = {"after": self._seq if self._seq >= 0 else "", "epoch": self._epoch, "hash": self._hash8}
        return {name: value for name, value in fields.items() if value != ""}

    def settle(self) -> None:
        """The consumer is done with what it was handed."""
        if self._unsettled:
            self._seq, self._hash8, self._unsettled = self._unsettled, self._unsettled8, 0

    def admit(self, seq: int, hash8: str = "") -> bool:
        """Count an event that arrived; whether it is to be handed out."""
        self.settle()
        self._arrived += 1
        if seq > self._seq:  # What is repeated takes the place nowhere.
            self._unsettled, self._unsettled8 = seq, hash8
        if seq > self._top:
            self._top = seq
            self._given.append(seq)
            return True
        if self._verified is None or seq <= self._verified.seq or self._was_given(seq):
            return False
        insort(self._given, seq)
        return True

    def _was_given(self, seq: int) -> bool:
        at = bisect_left(self._given, seq)
        return at < len(self._given) and self._given[at] == seq

    def opened(self, epoch: str, after: int, hash8: str = "") -> None:
        """The `subscribed` of a new connection: counting begins; a stream that begins now learns where that is."""
        self._arrived = 0
        self._epoch = epoch
        if self._seq < 0:
            self._jump(epoch, after, hash8)

    def moved(self, epoch: str, after: int, hash8: str = "") -> None:
        """A `subscribed` while it runs: another filter holds from `after` on, and the count begins again."""
        self._arrived = 0
        self.reached(epoch, after, hash8, None)

    def reached(self, epoch: str, seq: int, hash8: str, sent: int | None) -> bool:
        """Take a `position`; False when the server counts otherwise. One older than our place moves nothing."""
        if sent is not None and sent != self._arrived:
            return False
        self.settle()
        if seq >= self._seq:
            known8 = self._hash8 if seq == self._seq else ""
            self._epoch, self._seq, self._hash8 = epoch, seq, hash8 or known8
            self._top = max(self._top, seq)
            self._verified = self.place
            del self._given[: bisect_right(self._given, seq)]
        return True

    def rewind(self, through: int) -> Gap:
        """Go back to where the counts last agreed. What was handed out since is remembered and not handed out again."""
        verified = self._verified
        assert verified is not None, "a position came before the first `subscribed`"
        self._epoch, self._seq, self._hash8, self._unsettled = verified.epoch, verified.seq, verified.hash8, 0
        return Gap(self._channel, (verified.seq + 1, through), "sent", verified.seq)

    def gap_of(self, refused: PositionLost) -> Gap | None:
        """What a refusal of our place declares void; None when it does not say where to go on."""
        said = refused.extra
        match refused:
            case EpochChanged() | RangeUntrusted() if "void" in said and "resume_after" in said:
                void, resume_after = (said["void"][0], said["void"][1]), said["resume_after"]
            case PositionTooOld() if "first" in said:
                void, resume_after = (self._seq + 1, said["first"] - 1), said["first"] - 1
            case PositionAhead() if "void" in said and "resume_after" in said:
                void, resume_after = (said["void"][0], said["void"][1]), said["resume_after"]
            case PositionAhead() if "head" in said:
                void, resume_after = (said["head"] + 1, self._seq), said["head"]
            case _:
                return None
        return Gap(self._channel, void, refused.name, resume_after)

    def go_on(self, gap: Gap, epoch: str) -> bool:
        """Take up the place the server told; whether anything of ours was void.

        A new epoch begins above all that anyone has seen. So a place above the void range belongs to the new epoch
        already, which an event does not say: then only its name was missing.
        """
        if gap.reason == EpochChanged.name and self._seq > gap.void[1]:
            self._epoch = epoch
            return False
        new = gap.reason == EpochChanged.name
        self._jump(epoch if new else epoch or self._epoch, gap.resume_after)
        return True

    def _jump(self, epoch: str, seq: int, hash8: str = "") -> None:
        self._epoch, self._seq, self._hash8, self._unsettled = epoch, seq, hash8, 0
        self._top, self._verified = seq, self.place
        del self._given[:]
