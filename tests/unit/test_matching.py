"""What the index promises: exactly what every filter by itself would say, whatever was added and removed."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from catalyst_signals.filters import EVERYTHING, Filter, parse
from catalyst_signals.matching import MatchIndex
from tests.examples import examples
from tests.unit.filter_strategies import documents, trees


def signal(symbol: str = "ACME", **data: Any) -> dict[str, Any]:
    return {"type": "signal.published", "id": "1", "data": {"instrument": {"symbol": symbol}, **data}}


def index_of(*texts: str) -> MatchIndex[str]:
    index: MatchIndex[str] = MatchIndex()
    for text in texts:
        index.add(text, parse(text))
    return index


def agree(index: MatchIndex[int], filters: dict[int, Filter], doc: Any) -> None:
    found = index.match(doc)
    assert len(found) == len(set(found)), "a group was found twice"
    assert set(found) == {group for group, filter in filters.items() if filter.matches(doc)}


@given(st.lists(trees(), min_size=1, max_size=12), st.lists(documents(), min_size=1, max_size=4), st.randoms())
@settings(max_examples=examples(300), suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_the_index_says_what_each_filter_says(sources: list[Any], docs: list[Any], rng: random.Random) -> None:
    index: MatchIndex[int] = MatchIndex()
    filters = dict(enumerate([*map(parse, sources), EVERYTHING]))
    for group, filter in filters.items():
        index.add(group, filter)
    for doc in docs:
        agree(index, filters, doc)
    for group in rng.sample(sorted(filters), len(filters) // 2):
        index.remove(group)
        del filters[group]
    assert len(index) == len(filters)
    for doc in docs:
        agree(index, filters, doc)
    for group in filters:
        index.remove(group)
    assert all(not part for part in vars(index).values()), "something was left behind"


@given(trees(), st.lists(documents(), min_size=1, max_size=6))
@settings(max_examples=examples(300))
def test_one_filter_alone_is_found_when_it_matches(tree: Any, docs: list[Any]) -> None:
    filter = parse(tree)
    index: MatchIndex[int] = MatchIndex()
    index.add(1, filter)
    for doc in docs:
        agree(index, {1: filter}, doc)
    assert index.open_count == filter.index()["open"]


def test_many_selective_filters_agree_with_each_filter_alone() -> None:
    rng = random.Random(7)
    actions = ("open", "close", "watch", "BUY", "SELL")
    index: MatchIndex[int] = MatchIndex()
    filters = {}
    for group in range(2000):
        symbols = ", ".join(f"S{rng.randrange(20)}" for _ in range(3))
        floor = f"confidence {rng.choice(('>=', '>', '<', '<='))} {rng.randrange(100) / 100}"
        text = f"symbol in ({symbols}) and action in ({', '.join(rng.sample(actions, 2))}) and {floor}"
        filters[group] = parse(text)
        index.add(group, filters[group])
    assert index.open_count == 0
    for _ in range(60):
        action, direction = rng.choice(("open", "close", "watch")), rng.choice(("long", "short"))
        confidence = rng.randrange(100) / 100
        agree(
            index, filters, signal(f"S{rng.randrange(25)}", action=action, direction=direction, confidence=confidence)
        )


def test_a_group_that_can_be_found_in_several_places_is_found_once() -> None:
    index = index_of("symbol = ACME or tags = a", "tags contains_any (a, b)", "keywords contains_any (x, y)")
    assert len(index.match(signal(tags=["a", "b"], note="x y"))) == 3


def test_all_but_a_few_values_is_exact_also_beside_others_and_after_a_change() -> None:
    low = "confidence <= 0.2 and not symbol = XYZ"
    index = index_of("not keywords = 'phase 3'", "not tags = a", f"confidence >= 0.5 and not symbol = ACME or {low}")
    doc = signal(confidence=0.9, tags=["b", "a"], note="phase 3")
    assert index.match(doc) == []
    assert len(index.match(signal(confidence=0.1, tags=["b"], note="3 phase"))) == 3
    index.add("other", parse("not tags = b"))
    index.remove("not tags = a")
    index.add("not tags = a", parse("not tags = c"))
    assert index.match(doc) == ["not tags = a"]


def test_values_that_are_one_number_to_a_document_are_one_key() -> None:
    index = index_of("magnitude in (0.1, 0.10000000000000001)", "magnitude in (1, 1.0)")
    assert index.match(signal(magnitude=0.1)) == ["magnitude in (0.1, 0.10000000000000001)"]
    assert index.match(signal(magnitude=1.0)) == ["magnitude in (1, 1.0)"]


def test_a_limit_is_exact_at_its_edge() -> None:
    index = index_of(*(f"confidence {op} 0.5" for op in (">=", ">", "<=", "<")))
    assert set(index.match(signal(confidence=0.5))) == {"confidence >= 0.5", "confidence <= 0.5"}
    assert set(index.match(signal(confidence=0.6))) == {"confidence >= 0.5", "confidence > 0.5"}
    assert set(index.match(signal(confidence=0.4))) == {"confidence <= 0.5", "confidence < 0.5"}
    assert index.match(signal()) == []


def test_only_filters_without_any_key_are_open_and_everything_is_not() -> None:
    keyed = (
        "symbol = A",
        "not symbol = A",
        "action = BUY",
        "confidence >= 0.5",
        "symbol = A or price < 5",
        "type prefix s",
    )
    index = index_of("", *keyed)
    assert index.open_count == 0
    index.add("open", parse("stop exists or symbol = ACME"))
    assert index.open_count == 1
    assert "open" in index.match(signal())
    index.remove("open")
    assert index.open_count == 0


def test_what_is_not_a_signal_reaches_all_who_do_not_rule_it_out() -> None:
    index = index_of("symbol = ACME and confidence >= 0.9", "symbol = XYZ", "not symbol = ACME", "stop exists", "")
    halt = {"type": "halt.set", "id": "h", "data": {"symbol": "ACME"}}
    assert set(index.match(halt)) == {"symbol = ACME and confidence >= 0.9", "stop exists", ""}
    assert index.match({**halt, "erased": True}) == []


def test_a_group_has_one_filter() -> None:
    index = index_of("symbol = A")
    with pytest.raises(ValueError, match="remove it first"):
        index.add("symbol = A", EVERYTHING)
    with pytest.raises(KeyError):
        index.remove("nobody")
    index.remove("symbol = A")
    index.add("symbol = A", EVERYTHING)
    assert index.match(signal()) == ["symbol = A"]
