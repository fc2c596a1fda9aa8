"""Why an event matches or does not: the sentences, and that they never say other than what is delivered."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalyst_signals.explain import ask, explain, holds_whole, judge
from catalyst_signals.filter_facts import Facts
from catalyst_signals.filter_match import compile_node
from catalyst_signals.filter_tree import clauses_of
from catalyst_signals.filters import parse
from catalyst_signals.versions import docs_of
from tests.examples import examples
from tests.unit.filter_strategies import documents, trees

DOC: dict[str, Any] = {
    "type": "signal.published", "channel": "main", "seq": 10412, "id": "s1", "version": 1,
    "ts": "2026-11-26T09:30:00.000123Z",
    "data": {
        "instrument": {"symbol": "ACME"}, "action": "open", "direction": "long", "confidence": 0.61,
        "reference_price": "10.40", "tags": ["FDA", "news"], "title": "Phase 3 trial met", "horizon": "PT4H",
        "stop": {"price": "9.40"}, "extras": {"desk": "north", "grade": 5, "legs": [1, 2]},
    },
}  # fmt: skip
HALT: dict[str, Any] = {"type": "halt.set", "id": "h", "ts": DOC["ts"], "data": {"symbol": "ACME"}}


def versioned() -> Any:
    """Events that speak of up to three versions, whose earlier ones differ in some fields."""

    def with_was(doc: Any, olds: list[Any]) -> Any:
        if not olds or doc.get("erased"):
            return doc
        fields = {name for old in olds for name in old["data"]}
        was = [
            {"seq": n, "type": "signal.published", "ts": old["ts"], "data": {f: old["data"].get(f) for f in fields}}
            for n, old in enumerate(olds, 1)
        ]
        return doc | {"version": len(olds) + 1, "was": was}

    return st.builds(with_was, documents(), st.lists(documents(), max_size=2))


@given(trees(), versioned())
@settings(max_examples=examples(300))
def test_explain_says_what_is_delivered(tree: Any, doc: Any) -> None:
    """Whoever asks why trusts the answer: every clause, every version and the whole agree with the match."""
    filter = parse(tree)
    told = msgspec.json.decode(msgspec.json.encode(explain(filter, doc)))
    assert told["matches"] is filter.matches(doc)
    versions = docs_of(doc)
    for version, shown in zip(versions, told.get("versions", [told]), strict=True):
        facts = Facts(version)
        verdict = judge(filter, version)
        assert shown["matches"] is verdict.matches is filter.judge(facts)
        assert [c["holds"] for c in shown["clauses"]] == [answer.holds for answer in verdict.answers]
        if not facts.erased and filter.node is not None:
            answers = {clause: ask(clause, facts) for clause in clauses_of(filter.node)}
            assert all(answers[clause].holds is compile_node(clause)(facts) for clause in answers)
            assert holds_whole(filter.node, answers) is verdict.matches
    assert all(clause["says"] for clause in told["clauses"]) and told["says"]


SAYS = [
    ("confidence >= 0.7", "confidence 0.61 < 0.7"),
    ("confidence >= 0.6", "confidence 0.61 >= 0.6"),
    ("not confidence >= 0.6", "confidence 0.61 >= 0.6"),
    ("confidence > 0.7", "confidence 0.61 <= 0.7"),
    ("confidence < 0.7", "confidence 0.61 < 0.7"),
    ("confidence <= 0.5", "confidence 0.61 > 0.5"),
    ("price >= 10.5", "price 10.40 < 10.5"),
    ("symbol = ACME", "symbol is ACME"),
    ("symbol = XYZ", "symbol is ACME, not XYZ"),
    ("symbol != XYZ", "symbol is ACME, not XYZ"),
    ("symbol in (A, B, C)", "symbol is ACME, none of A, B or C"),
    ("symbol in (A, B, C, D, E, F, G)", "symbol is ACME, none of A, B, C, D, E or 2 more"),
    ("symbol prefix AC", "symbol ACME begins with AC"),
    ("symbol prefix B", "symbol ACME does not begin with B"),
    ("stop exists", "stop is given"),
    ("targets exists", "there are no targets"),
    ("tags exists", "tags are fda and news"),
    ("catalyst.type exists", "there is no catalyst.type"),
    ("not catalyst.type = offering", "there is no catalyst.type, so it is not offering"),
    ("catalyst.type = fda", "there is no catalyst.type"),
    ("rvol >= 1.5 or missing", "there is no features.rvol, which `or missing` allows"),
    ("not (rvol >= 1.5 or missing)", "there is no features.rvol, and `not` rules that out"),
    ("not rvol >= 1.5", "there is no features.rvol that could be ruled out"),
    ("disclosures = paid", "there are no disclosures"),
    ("tags = fda", "tags have fda"),
    ("tags = biotech", "tags are fda and news: no biotech"),
    ("tags contains_any (biotech, halted)", "tags are fda and news: none of biotech or halted"),
    ("tags contains_all (fda, biotech)", "tags lack biotech"),
    ("tags contains_all (fda, news)", "tags have fda and news"),
    ("keywords contains_any ('phase 3', deal)", 'its text has "phase 3"'),
    ("keywords contains_all ('phase 3', deal)", "its text lacks deal"),
    ("keywords = merger", "its text has no merger"),
    ("horizon <= 2h", "horizon PT4H > PT2H"),
    ("time_of_day >= 16:00", "time_of_day 09:30:00.000123 < 16:00"),
    ("weekday = mon", "weekday is thu, not mon"),
    ("extras.desk = south", "extras.desk is north, not south"),
    ("extras.desk > 5", "extras.desk is the text north, not a number"),
    ('extras.grade = "5"', 'extras.grade is 5, not "5"'),
    ("extras.grade prefix 5", 'extras.grade 5 does not begin with "5"'),
    ("extras.legs = 5", "extras.legs is a list or an object"),
    ("extras.legs exists", "there is a list or an object at extras.legs"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "says"), SAYS)
def test_a_clause_is_answered_as_a_person_would(text: str, says: str) -> None:
    """It is read at three in the morning by somebody who missed a signal."""
    (clause,) = explain(parse(text), DOC)["clauses"]
    assert clause["says"] == says
    assert clause["holds"] is parse(text).matches(DOC)


def test_both_values_stand_beside_the_sentence() -> None:
    """A program shows them in its own way."""
    (clause,) = explain(parse("confidence >= 0.7"), DOC)["clauses"]
    assert clause == {
        "clause": "confidence >= 0.7", "field": "confidence", "op": "gte", "value": [0.7], "got": 0.61, "holds": False,
        "says": "confidence 0.61 < 0.7",
    }  # fmt: skip
    (negated,) = explain(parse("not rvol > 2 or missing"), DOC)["clauses"]
    assert negated["not"] is True and negated["missing"] == "pass" and negated["got"] is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "There is no filter, so everything matches."),
        ("symbol = ACME and confidence >= 0.6", "It matches: confidence 0.61 >= 0.6 and symbol is ACME."),
        ("symbol = ACME and confidence >= 0.7", "It does not match: confidence 0.61 < 0.7."),
        ("symbol = ACME or confidence >= 0.7", "It matches: symbol is ACME."),
        ("symbol = X or confidence >= 0.7", "It does not match: confidence 0.61 < 0.7 and symbol is ACME, not X."),
    ],
)
def test_the_whole_is_one_sentence_of_what_decided(text: str, says: str) -> None:
    """Of ten clauses the one that failed is what people want to read."""
    assert explain(parse(text), DOC)["says"] == says


def test_what_is_no_signal_is_asked_for_what_it_carries_only() -> None:
    """A halt reaches everyone whose filter does not rule it out, and the answer says that this is why."""
    told = explain(parse("symbol = ACME and confidence >= 0.7"), HALT)
    assert told["matches"] and told["clauses"][0]["says"] == "there is no confidence, which is asked of signals only"


def test_an_erased_event_has_no_clauses() -> None:
    """What is gone cannot be shown."""
    told = explain(parse("symbol = ACME"), {"type": "signal.published", "id": "x", "erased": True})
    assert told["says"] == "It was erased, and what is erased matches no filter." and told["clauses"] == []


def test_of_several_versions_the_one_that_decides_is_shown() -> None:
    """A cancel comes although the signal no longer matches: the answer names the version that did."""
    was = [{"seq": 7, "type": "signal.published", "ts": DOC["ts"], "data": {"confidence": 0.9}}]
    doc = DOC | {"type": "signal.cancelled", "version": 2, "was": was}
    told = explain(parse("confidence >= 0.7"), doc)
    assert told["matches"] and told["decided_by"] == 1 and told["clauses"][0]["got"] == 0.9
    assert told["says"] == (
        "It matches because version 1 did: confidence 0.9 >= 0.7; so its end and its changes come too."
    )
    assert [(v["version"], v["seq"], v["matches"]) for v in told["versions"]] == [(2, 10412, False), (1, 7, True)]
    lost = explain(parse("confidence >= 0.95"), doc)
    assert lost["says"] == "None of its 2 versions matches; as it is now: confidence 0.61 < 0.95."
