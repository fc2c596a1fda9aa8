"""A page is matched as each group's own filter says, whichever way the matches are found."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import example, given, settings
from hypothesis import strategies as st

from catalyst_signals.events import Frame
from catalyst_signals.filters import parse
from catalyst_signals.modifiers import Age
from catalyst_signals.pages import Page
from catalyst_signals.tape import Tape
from tests.examples import examples
from tests.unit.filter_strategies import documents, trees

SYMBOL = {"field": "symbol", "op": "in", "value": ["ACME", "XYZ"]}
CHANGED = {
    "type": "signal.updated", "data": {"instrument": {"symbol": "OTHER"}},
    "was": [{"type": "signal.published", "data": {"instrument": {"symbol": "ACME"}}}],
}  # fmt: skip
HALT = {"type": "halt", "data": {"symbol": "XYZ"}}


def page_of(docs: list[Any]) -> Page:
    """A page of these events."""
    texts = [msgspec.json.encode(doc) for doc in docs]
    return Page([Frame("main", "e", seq, "", "", text, 0) for seq, text in enumerate(texts, 1)])


@given(st.lists(trees(), min_size=1, max_size=12), st.lists(documents(), min_size=1, max_size=8))
@example([SYMBOL, {"all": [SYMBOL, {"field": "confidence", "op": "gt", "value": 0.5}]}], [CHANGED, HALT])
@settings(max_examples=examples(200))
def test_every_group_finds_what_its_filter_matches(wanted: list[Any], docs: list[Any]) -> None:
    """Alone, with so many others that the index is asked, or looked up by its key in what the page has of it."""
    docs = [doc for doc in docs if "erased" not in doc]
    tape = Tape("main", "e", 0, "")
    filters = [parse(tree) for tree in wanted]
    groups = [tape.group_for(filter, Age()) for filter in filters]
    page = page_of(docs or [HALT])
    for group, filter in zip(groups, filters, strict=True):
        found = [frame.seq for frame in page.matching(group, tape)]
        assert found == [frame.seq for frame in page.frames if filter.matches(frame.doc)]


def test_a_filter_is_looked_up_by_a_key_that_all_it_matches_have() -> None:
    """Otherwise something would be passed over in silence."""
    assert parse("symbol in (A, B) and confidence > 0.5").key == ("symbol", frozenset(("A", "B")))
    assert parse("symbol = A or symbol = B and confidence > 0.5").key == ("symbol", frozenset(("A", "B")))
    for without in ("confidence > 0.5", "symbol != A", "symbol prefix A", "symbol = A or confidence > 0.5", ""):
        assert parse(without).key is None, without
