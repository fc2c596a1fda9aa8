"""Filters saved by name: a fold of `system`, bounded, the same in every process; and names that are never filters."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalyst_signals.errors import InvalidFilter
from catalyst_signals.events import Draft, Frame, seal
from catalyst_signals.filters import parse
from catalyst_signals.projections import (
    FILTER_NAME,
    SAVED_FILTERS_MAX,
    Snapshot,
    SystemState,
    from_bytes,
    system_draft,
)
from catalyst_signals.wire import SYSTEM_CHANNEL, frame_of


def frame(seq: int, draft: Draft) -> Frame:
    """A `system` event."""
    return frame_of(seal(draft, channel=SYSTEM_CHANNEL, epoch="e", seq=seq, ts_us=0, prev=bytes(32)))


def folded(*said: tuple[str, dict[str, Any]], state: SystemState | None = None) -> SystemState:
    """The state after some events."""
    state = state or SystemState(Snapshot("e", 0, "00000000"))
    for seq, (type, data) in enumerate(said, state.place[1] + 1):
        state.fold(frame(seq, system_draft(type, data)))
    return state


def saved(name: str, filter: str, user: str = "ann") -> tuple[str, dict[str, Any]]:
    """A filter is saved."""
    return "filter.saved", {"user": user, "name": name, "filter": filter}


def test_a_user_has_the_filters_they_saved_last() -> None:
    """Each has names of their own, and a restart knows them from the snapshot."""
    state = folded(saved("a", "symbol = X"), saved("a", "symbol = Y"), saved("a", "symbol = Z", user="bob"))
    assert state.filters_of("ann") == {"a": "symbol = Y"} and state.filters_of("nobody") == {}
    again = SystemState(from_bytes(state.to_bytes()))
    assert again.filters_of("ann") == {"a": "symbol = Y"} and again.filters_of("bob") == {"a": "symbol = Z"}
    folded(("filter.removed", {"user": "ann", "name": "a"}), state=again)
    assert again.filters_of("ann") == {} and again.filters_of("bob")


def test_a_removed_user_leaves_no_filters() -> None:
    """The next of that name does not find them."""
    assert folded(saved("a", "symbol = X"), ("user.removed", {"user": "ann"})).filters_of("ann") == {}


def test_a_user_has_at_most_so_many() -> None:
    """Every process holds all of them in memory; one that is there may still be changed."""
    state = folded(*(saved(f"f{n}", "symbol = X") for n in range(SAVED_FILTERS_MAX + 5)), saved("f0", "symbol = Y"))
    assert len(state.filters_of("ann")) == SAVED_FILTERS_MAX and state.filters_of("ann")["f0"] == "symbol = Y"


def test_who_watches_is_told_of_every_save_and_of_no_removal() -> None:
    """Live subscribers are moved to what was saved, and keep what was removed."""
    state, seen = SystemState(Snapshot("e", 0, "00000000")), list[tuple[str, str, str]]()
    state.watch_filters(lambda user, name: seen.append((user, name, state.filters_of(user)[name])))
    folded(
        saved("a", "symbol = X"),
        saved("a", "symbol = Y"),
        ("filter.removed", {"user": "ann", "name": "a"}),
        state=state,
    )
    assert seen == [("ann", "a", "symbol = X"), ("ann", "a", "symbol = Y")]


@given(st.from_regex(FILTER_NAME, fullmatch=True))
def test_no_name_is_a_filter(name: str) -> None:
    """Else nobody could say which of the two is meant."""
    with pytest.raises(InvalidFilter):
        parse(name)
