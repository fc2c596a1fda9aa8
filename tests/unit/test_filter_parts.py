"""The laws of the pieces a filter is made of: values, facts, trees, text, plans."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalyst_signals import filter_fields as fields
from catalyst_signals.filter_facts import Facts
from catalyst_signals.filter_match import compile_node
from catalyst_signals.filter_plan import SIDES, plan, rest_of
from catalyst_signals.filter_text import read_text
from catalyst_signals.filter_tree import Clause, Node, clauses_of, negate, text_of
from catalyst_signals.filters import parse
from tests.unit.filter_strategies import documents, trees

SCALARS = st.text(max_size=12) | st.integers() | st.floats() | st.decimals(allow_nan=False) | st.sampled_from(
    ["PT4H", "1d12h", "P1Y2M3DT4H5M6S", "0s", "09:30", "9:30:15", "20M", "5%", "-1.50e3", "Phase 3", "fri", "a b", '"']
)  # fmt: skip
OPEN_ENDED = (fields.Field("data.x", fields.LOOSE), fields.Field("features.x", fields.NUMBER))
KINDS = {field.name: field.kind for field in (*fields.FIELDS.values(), *OPEN_ENDED)}


@given(st.sampled_from(sorted(KINDS)), SCALARS)
def test_what_was_read_once_is_written_and_read_again_as_the_same(name: str, raw: Any) -> None:
    kind = KINDS[name]
    try:
        value = kind.read(raw)
    except ValueError:
        return
    shown = kind.show(value)
    assert kind.read(kind.plain(value)) == value
    assert kind is fields.FLAG or read_text(f"group_id = {shown}") is not None
    if not shown.startswith('"'):
        assert kind.read(fields.Bare(shown)) == value


@pytest.mark.parametrize(
    ("text", "seconds", "shown"),
    [
        ("PT4H", 14_400, "PT4H"),
        ("4h", 14_400, "PT4H"),
        ("1d12h", 129_600, "P1DT12H"),
        ("90s", 90, "PT1M30S"),
        ("P1W", 604_800, "P7D"),
        ("P1M", 2_592_000, "P30D"),
        ("PT0S", 0, "P0D"),
        ("PT0.5H", 1800, "PT30M"),
    ],
)
def test_a_duration_is_seconds_and_has_one_spelling(text: str, seconds: int, shown: str) -> None:
    assert fields.read_duration(text) == seconds
    assert fields.show_duration(seconds) == shown
    assert fields.read_duration(shown) == seconds


@pytest.mark.parametrize("text", ["P", "PT", "", "h", "4", "4h5", "-4h", "P4H", "4 hours"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        fields.read_duration(text)


def test_numbers_are_bounded_and_exact() -> None:
    assert fields.read_number("20M") == 20_000_000
    assert fields.read_number("5%") == Decimal("0.05")
    assert fields.read_number(0.1) == Decimal("0.1")
    wrongs: tuple[Any, ...] = ("1e22", "1e-19", "nan", "inf", "1,000", "١", "0x1", "--1", True, None, [], float("inf"))
    for wrong in wrongs:
        with pytest.raises(ValueError):
            fields.read_number(wrong)


def test_every_field_can_be_found_by_each_of_its_names() -> None:
    for name in fields.FIELDS:
        assert fields.find_field(name) is fields.FIELDS[name]
    for alias, name in fields.ALIASES.items():
        found = fields.find_field(alias)
        assert found is not None and found.name == name
    assert fields.find_field("Confidence") is fields.FIELDS["confidence"]
    for wrong in ("", "features", "features.", "data..x", "data.x y", "x.y", "features." + "n" * 200):
        assert fields.find_field(wrong) is None


@given(documents())
def test_a_fact_is_missing_or_can_be_looked_up(doc: Any) -> None:
    facts = Facts(doc)
    for name in (*fields.FIELDS, "features.rvol", "extras.k", "data.own", "symbol^", "extras.k^"):
        assert facts[name] is None or hash(facts[name]) is not None
        assert name in facts


@given(trees(), documents())
def test_the_branches_of_a_plan_are_together_the_filter(tree: Any, doc: Any) -> None:
    filter = parse(tree)
    if not doc.get("erased") and doc["type"].startswith("signal."):
        assert any(_fulfils(branch, Facts(doc)) for branch in plan(_node(filter.node))) is filter.matches(doc)


def _fulfils(branch: Any, facts: Facts) -> bool:
    if not branch.sides >> SIDES.index((facts["action"], facts["direction"])) & 1:
        return False
    if branch.floor is not None and not compile_node(branch.floor)(facts):
        return False
    if branch.by is not None:
        fact = facts[branch.by]
        found = fact is not None and any(key in fact if branch.many else key == fact for key in branch.keys)
        if found is branch.but:
            return False
    rest = rest_of(branch)
    return rest is None or compile_node(rest)(facts)


def _node(node: Node | None) -> Node:
    assert node is not None
    return node


@given(trees())
def test_a_tree_is_printed_so_that_it_reads_back_and_its_double_negation_is_itself(tree: Any) -> None:
    node = _node(parse(tree).node)
    assert read_text(text_of(node)) == node
    assert negate(negate(node)) == node
    assert all(isinstance(clause, Clause) for clause in clauses_of(node))


def test_only_part_of_a_filter_is_left_to_test_after_the_lookup() -> None:
    (branch,) = plan(_node(parse("symbol in (A, B) and action in (BUY, WATCH) and confidence >= 0.7").node))
    assert (branch.by, branch.keys, branch.rest) == ("symbol", ("A", "B"), ())
    assert branch.floor is not None and not branch.open
    (branch,) = plan(_node(parse("keywords = 'phase 3'").node))
    assert (branch.by, branch.keys, len(branch.rest)) == ("keywords", ("phase",), 1)
    assert len(plan(_node(parse("symbol = A or (provider = b and rr > 2)").node))) == 2
