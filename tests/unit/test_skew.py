"""Publishers' clocks: what is measured and what is not. Covers `catalyst_signals.skew`."""

from __future__ import annotations

import pytest

from catalyst_signals.events import Batch, Draft, Frame, hash_of_draft, iso, seal
from catalyst_signals.skew import PUBLISHERS_MAX, SIGNALS_KEPT, Skews
from catalyst_signals.wire import encode, frame_of

NOW_US = 1_795_665_790_000_000


def frame(publisher: str, sent_s: float | None, *, type: str = "signal.published") -> Frame:
    """A signal committed now, and sent so many seconds after that by its publisher's clock."""
    data: dict[str, object] = {"provider": {"id": publisher}, "note": "sent_at"}
    if sent_s is not None:
        data["sent_at"] = iso(NOW_US + int(sent_s * 1_000_000))
    draft = Draft(type=type, id="x", body=encode({"data": data}), draft_hash=hash_of_draft(data))
    batch = Batch(channel="main", subject=publisher, drafts=[draft])
    return frame_of(seal(draft, channel=batch.channel, epoch="e", seq=1, ts_us=NOW_US, prev=bytes(32)))


def test_the_smallest_difference_of_the_newest_signals_is_kept() -> None:
    """A slow network makes differences larger, never smaller, so the smallest says most about the clock."""
    skews = Skews()
    for sent_s in (-9, -0.2, -3):
        skews.fold(frame("ann", sent_s))
    assert skews.of("ann") == 0.2 == skews.worst_s
    skews.fold(frame("bob", 1))
    assert (skews.of("bob"), skews.worst_s) == (-1, -1)
    for _ in range(SIGNALS_KEPT):
        skews.fold(frame("ann", 2.5))
    assert skews.of("ann") == -2.5 == skews.worst_s


@pytest.mark.parametrize("other", [frame("ann", None), frame("ann", -60, type="signal.updated")])
def test_what_does_not_say_when_it_was_sent_says_nothing_of_a_clock(other: Frame) -> None:
    """An update repeats the time of the first version: an hour later the clock would seem an hour late."""
    skews = Skews()
    skews.fold(other)
    assert skews.of("ann") is None and skews.worst_s == 0


def test_only_the_publishers_heard_last_are_remembered() -> None:
    """A line for everybody who ever published would grow for ever."""
    skews = Skews()
    for n in range(PUBLISHERS_MAX + 5):
        skews.fold(frame(f"p{n:03d}", -1))
        skews.fold(frame("p000", -1))
    remembered = [n for n in range(PUBLISHERS_MAX + 5) if skews.of(f"p{n:03d}") is not None]
    assert len(remembered) == PUBLISHERS_MAX and {0, 104} <= set(remembered)
