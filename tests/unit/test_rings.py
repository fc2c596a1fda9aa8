"""What is recent is at hand, without holes, and takes no more memory than it may. Whole lives, against a plain list."""

from __future__ import annotations

import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from catalyst_signals.events import NO_HASH, Draft, Frame, seal
from catalyst_signals.rings import Ring, Rings
from catalyst_signals.wire import frame_of

BYTES_MAX = 3000


def frame(seq: int, size: int) -> Frame:
    """One of that many bytes on the wire."""
    return Frame("main", "e", seq, "", "", bytes(size), 0)


@given(
    st.lists(st.tuples(st.sampled_from("ABC"), st.sampled_from(("add", "add", "add", "empty")), st.integers(1, 900)))
)
def test_the_oldest_go_and_what_is_left_has_no_holes(steps: list[tuple[str, str, int]]) -> None:
    rings, ring = Rings(BYTES_MAX), {name: Ring(1) for name in "ABC"}
    tips = dict.fromkeys("ABC", 0)
    kept: list[tuple[str, Frame]] = []
    for name, what, size in steps:
        if what == "empty":
            tips[name] += size  # An epoch may begin anywhere above.
            rings.empty(ring[name], tips[name] + 1)
            kept = [each for each in kept if each[0] != name]
        else:
            tips[name] += 1
            rings.add(ring[name], frame(tips[name], size))
            kept.append((name, frame(tips[name], size)))
            while sum(each.size for _, each in kept) > BYTES_MAX:
                kept.pop(0)
        assert rings.size == sum(each.size for _, each in kept) <= BYTES_MAX
        for each, tip in tips.items():
            here = [seq.seq for whose, seq in kept if whose == each]
            assert len(ring[each]) == len(here) and ring[each].low == (here[0] if here else tip + 1)
            assert [f.seq for f in ring[each].between(ring[each].low, tip)] == here
            found = [seq for seq in range(tip + 3) if ring[each].get(seq) is not None]
            assert found == here


def test_a_ring_takes_the_memory_that_it_counts() -> None:
    """Within a tenth: whoever says how much memory there is means all of it."""
    rings, ring, prev = Rings(2 << 20), Ring(1), NO_HASH
    body = b'{"data":{"action":"open","instrument":{"symbol":"ACME"}}}'
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for seq in range(1, 10_000):
        draft = Draft(type="signal.published", id=f"id-{seq}", body=body, draft_hash=b"")
        event = seal(draft, channel="main", epoch="epoch", seq=1000 + seq, ts_us=seq, prev=prev)
        prev = event.hash
        rings.add(ring, frame_of(event))
    taken = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert 0.9 < taken / rings.size < 1.1
