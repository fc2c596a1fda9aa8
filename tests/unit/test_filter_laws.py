"""The laws of filters, for random filters over the whole vocabulary: one meaning, one form, no exceptions."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from catalyst_signals.errors import InvalidFilter
from catalyst_signals.filter_facts import Facts
from catalyst_signals.filter_fields import FIELDS, LOOSE, WORD, Field, find_field
from catalyst_signals.filter_glance import decode_all, decoder_for, keys_of
from catalyst_signals.filters import parse
from tests.examples import examples
from tests.unit.filter_strategies import documents, trees

PARTS = ("instrument", "action", "entry", "stop", "targets", "horizon", "confidence", "source", "features", "tags")


@given(trees())
def test_text_and_tree_read_back_to_the_same_filter(tree: Any) -> None:
    filter = parse(tree)
    assert parse(filter.text) == filter
    assert parse(filter.text).text == filter.text
    assert parse(msgspec.json.decode(msgspec.json.encode(filter.tree))) == filter


@given(trees(), st.randoms())
def test_a_tree_may_be_typed_in_many_ways(tree: Any, rng: Any) -> None:
    """What a person types, in whatever spelling the grammar allows, is the tree that a program would send."""
    text = typed(tree, rng)
    assert parse(text) == parse(tree), text


SPELLINGS = {
    "eq": ("=", "=="), "ne": ("!=", "<>"), "lt": ("<",), "lte": ("<=",), "gt": (">",), "gte": (">=",),
    "in": ("in", "IN"), "nin": ("not in", "NOT  IN"), "prefix": ("prefix",), "exists": ("exists", "Exists"),
    "contains_any": ("contains_any", "contains any", "contains"), "contains_all": ("contains_all", "contains ALL"),
}  # fmt: skip


def typed(tree: Any, rng: Any) -> str:
    """A tree as somebody might type it: other spellings, brackets, quotes and spaces."""
    for kind, word in (("all", " and "), ("any", " or ")):
        if kind in tree:
            return "(" + rng.choice([word, word.upper()]).join(typed(member, rng) for member in tree[kind]) + ")"
    if "not" in tree:
        return f"{rng.choice(['not ', 'NOT  '])}({typed(tree['not'], rng)})"
    op, value = tree["op"], tree.get("value")
    missing = rng.choice([" or missing", " OR  Missing"]) if tree["missing"] == "pass" else ""
    if op == "between":
        words = f"between {typed_value(value[0], rng)} and {typed_value(value[1], rng)}"
    elif op == "exists":
        words = rng.choice(SPELLINGS[op])
    elif isinstance(value, list):
        words = f"{rng.choice(SPELLINGS[op])} ({', '.join(typed_value(each, rng) for each in value)})"
    else:
        words = f"{rng.choice(SPELLINGS[op])} {typed_value(value, rng)}"
    clause = f"{tree['field']} {words}{missing}"
    return f"( {clause} )" if rng.random() < 0.3 else clause


def typed_value(value: Any, rng: Any) -> str:
    """A number bare; a text in quotes of either sort, since bare it might be a number."""
    if not isinstance(value, str):
        return repr(value)
    return rng.choice([f'"{value}"', f"'{value}'"])


@given(trees(), documents(), st.randoms())
def test_order_nesting_and_repetition_do_not_make_another_filter(tree: Any, doc: Any, rng: Any) -> None:
    filter, other = parse(tree), parse(_rewritten(tree, rng))
    assert filter == other
    assert filter.matches(doc) == other.matches(doc)


def _rewritten(tree: Any, rng: Any) -> Any:
    kind = next((kind for kind in ("all", "any") if kind in tree), None)
    if kind is not None:
        members = [_rewritten(member, rng) for member in tree[kind]]
        rng.shuffle(members)
        cut = rng.randrange(len(members))
        inner = [{kind: members[cut:]}, members[-1]] if rng.random() < 0.5 else members[cut:]
        return {kind: members[:cut] + inner}
    if "not" in tree:
        return {"not": _rewritten(tree["not"], rng)}
    return {"not": {"not": tree}} if rng.random() < 0.2 else tree


def plainly(tree: Any, facts: Facts, wanted: bool = True) -> bool:
    """What a tree says by the rules alone: no canonical form, no closures. With `wanted` False, what its `not` says."""
    if "not" in tree:
        return plainly(tree["not"], facts, not wanted)
    for kind in ("all", "any"):
        if kind in tree:
            answers = [plainly(member, facts, wanted) for member in tree[kind]]
            return all(answers) if (kind == "all") is wanted else any(answers)
    op, values = tree["op"], tree.get("value")
    if op in ("ne", "nin"):
        positive = {"ne": "eq", "nin": "in"}[op]
        return plainly({**tree, "op": positive, "missing": "fail"}, facts, not wanted)
    if tree["field"] == "action" and op in ("eq", "in"):
        return plainly(spelt_out(tree, values if isinstance(values, list) else [values]), facts, wanted)
    field = find_field(tree["field"])
    assert field is not None
    fact = facts[field.name]
    if fact is None:
        return facts.lenient or (tree["missing"] == "pass") is wanted
    return holds(field, op, values if isinstance(values, list) else [values], fact) is wanted


def spelt_out(tree: Any, values: list[str]) -> Any:
    """BUY is `open` and `long`, SELL `open` and `short`."""

    def one(field: str, value: str) -> Any:
        return {"field": field, "op": "exactly", "value": value, "missing": tree["missing"]}

    sides = {"BUY": "long", "SELL": "short"}
    ways = [(("open", sides[v]) if v in sides else (v.lower(), None)) for v in values]
    return {"any": [{"all": [one("action", a), *([one("direction", d)] if d else [])]} for a, d in ways]}


def holds(field: Field, op: str, values: list[Any], fact: Any) -> bool:
    if op == "exists":
        return True
    read: list[Any] = [field.kind.read(value) for value in values]
    if field.name == "keywords":
        found = [f" {row} " in fact.text for row in read]
        return all(found) if op == "contains_all" else any(found)
    if field.name not in ("price", "horizon"):
        read = [float(value) if isinstance(value, Decimal) else value for value in read]
    if isinstance(fact, frozenset):
        found = [value in fact for value in read]
        return all(found) if op == "contains_all" else any(found)
    if op == "prefix":
        return isinstance(fact, str) and fact.startswith(values[0].casefold() if field.kind is WORD else values[0])
    if op in ("eq", "in", "exactly"):
        return fact in read
    if field.kind is LOOSE and not isinstance(fact, int | float):
        return False
    low, high = read[0], read[-1]
    if op == "between":
        return bool(low <= fact <= high if low <= high else fact >= low or fact <= high)
    return bool({"lt": fact < low, "lte": fact <= low, "gt": fact > low, "gte": fact >= low}[op])


@given(trees(), st.lists(documents(), min_size=1, max_size=5))
@settings(max_examples=examples(300))
def test_a_filter_means_what_its_tree_says_by_the_rules(tree: Any, docs: list[Any]) -> None:
    filter = parse(tree)
    for doc in docs:
        assert filter.matches(doc) is (not doc.get("erased") and plainly(tree, Facts(doc)))


RICH = {
    "instrument": {"symbol": "ACME", "asset_class": "equity", "venue": "nasdaq", "mic": "XNAS", "currency": "usd"},
    "provider": {"id": "bot"}, "group_id": "g", "source": {"name": "edgar", "kind": "filing"}, "model": {"name": "m"},
    "catalyst": {"type": "fda", "subtype": "approval", "stage": "final", "severity": "high"}, "sector": "tech",
    "country": "us", "lang": "en", "session": "pre", "confidence_kind": "model", "action": "open", "direction": "long",
    "confidence": 0.8, "expected_return": 0.1, "magnitude": 0.2, "tags": ["x"], "disclosures": ["own"],
    "entry": {"price": "10"}, "stop": {"price": "9"}, "targets": [{"price": "12"}], "features": {"rvol": 2.5},
    "expires_at": "2030-01-01T00:00:00Z", "extras": {"a": {"b": 1}}, "anything": {"at": "all"},
}  # fmt: skip
OF_EVENT = {"id": "b-1", "ts": "2026-11-26T09:30:00.000123Z"}
OPEN_ENDED = ("features.rvol", "extras.a.b", "data.anything.at", "symbol^", "id^")


@pytest.mark.parametrize("field", [*sorted(field for field in FIELDS if keys_of(field) is not None), *OPEN_ENDED])
def test_a_glance_has_all_that_its_field_is_read_from(field: str) -> None:
    """Also where what is not a signal carries its symbol and source by itself, as a halt does."""
    halt = RICH | {"instrument": None, "symbol": "ACME", "source": "edgar"}
    docs: list[Any] = [OF_EVENT | {"type": "signal.published", "data": RICH}, OF_EVENT | {"type": "halt", "data": halt}]
    for doc in docs:
        glance = decoder_for({field})(msgspec.json.encode(doc))
        assert Facts(glance)[field] == Facts(doc)[field]
    assert Facts(docs[0])[field] is not None


def test_most_filters_need_only_a_glance() -> None:
    """A field made of many others is read from the whole event, and a change is judged by all of its versions."""
    assert decoder_for({"symbol", "action", "confidence"}) is not decode_all
    assert decoder_for({"symbol", "keywords"}) is decode_all and keys_of("rr") is None
    data: Any = {"confidence": 0.1}
    changed = {
        "type": "signal.updated",
        "data": data,
        "was": [{"type": "signal.published", "data": {"confidence": 0.9}}],
    }
    assert parse("confidence > 0.5").picks([msgspec.json.encode(changed)]) == [0]


@given(trees(), st.lists(documents(), min_size=1, max_size=5))
@example({"field": "symbol", "op": "eq", "value": "ACME"}, [{"type": "signal.published", "data": "no object"}])
@settings(max_examples=examples(300))
def test_a_glance_at_an_event_says_what_the_whole_event_says(tree: Any, docs: list[Any]) -> None:
    """While catching up no more of an event is decoded than its filter looks at (filter_glance.py)."""
    filter, texts = parse(tree), [msgspec.json.encode(doc) for doc in docs]
    assert filter.picks(texts) == [i for i, text in enumerate(texts) if filter.matches(msgspec.json.decode(text))]


@given(trees(), documents())
def test_a_negation_is_the_opposite_for_every_signal(tree: Any, doc: Any) -> None:
    if not doc.get("erased") and str(doc.get("type")).startswith("signal."):
        assert parse({"not": tree}).matches(doc) is not parse(tree).matches(doc)


WORDS = [
    "symbol",
    "confidence",
    "tags",
    "stop",
    "(",
    ")",
    ",",
    "and",
    "or",
    "not",
    "in",
    "=",
    ">=",
    "between",
    "exists",
]
WORDS += [
    "missing",
    "contains",
    "any",
    "0.5",
    "ACME",
    "'a",
    '"b"',
    "data.x",
    "features.y",
    "time_of_day",
    "09:30",
    "!",
    "\\",
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(WORDS),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["all", "any", "not", "field", "op", "value", "missing"]), inner, max_size=4)
        | st.dictionaries(st.text(max_size=5), inner, max_size=2)
    ),
    max_leaves=8,
)
CLAUSES = st.fixed_dictionaries(
    {
        "field": st.sampled_from(
            ["symbol", "confidence", "price", "tags", "keywords", "horizon", "time_of_day", "data.x"]
        ),
        "op": st.sampled_from(["eq", "ne", "in", "nin", "gt", "lte", "between", "prefix", "contains_all", "exists"]),
        "value": JSON,
    }
)


@given(st.text(max_size=60) | st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join) | JSON | CLAUSES)
@example("symbol = 'x\x00y'")
@example({"field": "price", "op": "eq", "value": float("nan")})
@example({"field": "price", "op": "eq", "value": 10**5000})
@example({"field": "action", "op": "in", "value": [10**5000, "buy"]})
@example({"field": "symbol", "op": "eq", "value": "ŉ" * 256})
@settings(max_examples=examples(300))
def test_anything_is_a_filter_or_an_invalid_filter(source: Any) -> None:
    try:
        filter = parse(source)
    except InvalidFilter as error:
        assert error.message and "at" in error.extra
        return
    assert parse(filter.text) == filter == parse(filter.tree)


@given(trees(), JSON)
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_no_document_makes_a_filter_raise(tree: Any, anything: Any) -> None:
    filter = parse(tree)
    plan = {
        "stop": {"price": anything, "offset": anything, "unit": "abs"},
        "targets": [anything],
        "entry": {"price": "5"},
    }
    for doc in (
        {"type": "signal.published", "data": anything, "ts": anything},
        {"type": anything, "id": anything, "data": dict.fromkeys(PARTS, anything)},
        {"type": "signal.published", "data": plan},
    ):
        assert filter.matches(doc) in (True, False)
