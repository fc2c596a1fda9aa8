"""A signal's versions: what a change may say, what `was` remembers, and that a filter needs nothing but the event."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalyst_signals.errors import CatalystError, InvalidDraft, TooLarge
from catalyst_signals.events import Draft, event_id, signal_id
from catalyst_signals.filters import parse
from catalyst_signals.matching import MatchIndex
from catalyst_signals.signals import signal_draft
from catalyst_signals.versions import docs_of, end, merge, update

TS = "2026-11-26T09:30:{:02d}.000000Z"
Doc = dict[str, Any]


def doc_of(draft: Draft, id: str = "a") -> Doc:
    """The event as it would stand on the wire, its seq and time told by its version."""
    body: Doc = json.loads(draft.body)
    version = draft.version
    return {"type": draft.type, "seq": version * 10, "id": id, "version": version, "ts": TS.format(version), **body}


def published(**fields: Any) -> Doc:
    """A first version."""
    return doc_of(signal_draft({"symbol": "ACME", "action": "BUY", "confidence": 0.8} | fields, subject="bot")[0])


def changed(doc: Doc, patch: Any) -> Doc:
    """The next version by a patch that changes something."""
    draft = update(doc, patch)
    assert draft is not None
    return doc_of(draft)


def test_a_change_carries_the_whole_new_state_and_what_was_before() -> None:
    """A reader needs nothing but the event."""
    first = published(stop="9.40", note="x")
    second = changed(first, {"confidence": 0.6, "stop": "9.10", "note": None})
    assert second["version"] == 2 and second["type"] == "signal.updated"
    assert second["data"] == {
        "instrument": {"symbol": "ACME"}, "action": "open", "direction": "long", "confidence": 0.6,
        "stop": {"price": "9.10"}, "provider": {"id": "bot"},
    }  # fmt: skip
    assert second["was"] == [
        {"seq": 10, "type": "signal.published", "ts": first["ts"], "data": {
            "confidence": 0.8, "stop": {"price": "9.40"}, "note": "x"}}
    ]  # fmt: skip


def test_an_end_carries_the_state_and_its_reason() -> None:
    """Whoever was shown the signal is told what became of it, and why."""
    last = doc_of(end(published(), "signal.cancelled", reason="trial halted"))
    assert last["type"] == "signal.cancelled" and last["data"]["reason"] == "trial halted"
    assert last["was"][0]["data"] == {"reason": None}


@pytest.mark.parametrize(
    ("patch", "field"),
    [
        ({"symbol": "XYZ"}, "instrument"),
        ({"instrument": {"venue": "NYSE"}}, "instrument"),
        ({"source": {"name": "other"}}, "source"),
        ({"id": "b"}, "id"),
        ({"supersedes": "b"}, "supersedes"),
        ({"version": 7}, "version"),
        ({"provider": {"id": "me"}}, "provider"),
        ({"confidence": 7}, "confidence"),
        ({"action": None}, "action"),
        ([1], None),
    ],
)
def test_what_may_not_change_is_refused_by_name(patch: Any, field: str | None) -> None:
    """A signal must stay recognisable, and as valid as when it was published."""
    with pytest.raises(InvalidDraft) as refused:
        update(published(), patch)
    assert refused.value.field == field


def test_a_patch_may_use_the_short_forms_a_draft_may() -> None:
    """The sender knows one language."""
    doc = published(targets=["10.5"])
    assert changed(doc, {"target": "11"})["data"]["targets"] == [{"price": "11"}]
    sold = changed(doc, {"action": "SELL"})["data"]
    assert (sold["action"], sold["direction"]) == ("open", "short")
    assert changed(doc, {"symbol": "ACME", "id": "a", "note": "n"})["data"]["note"] == "n"


def test_a_change_that_changes_nothing_is_none() -> None:
    """A retried change does not make another version."""
    doc = published(stop="9.40", extras={"a": 1.5})
    for patch in ({}, {"confidence": 0.8}, {"stop": "9.40"}, {"note": None}, {"action": "BUY"}, {"symbol": "ACME"}):
        assert update(doc, patch) is None, patch


def test_a_state_that_would_be_too_large_is_refused() -> None:
    """As a draft of that size would be."""
    with pytest.raises(TooLarge):
        update(published(extras={"a": "x" * 40_000}), {"extras": {"b": "x" * 40_000}})


@pytest.mark.parametrize(
    ("target", "patch", "merged"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}), ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}), ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}), ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}), (["a", "b"], ["c", "d"], ["c", "d"]), ({"a": "b"}, ["c"], ["c"]),
        ({"a": "foo"}, None, None), ({"a": "foo"}, "bar", "bar"), ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}), ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)  # fmt: skip
def test_merging_is_rfc_7396(target: Any, patch: Any, merged: Any) -> None:
    """Every example of the RFC's appendix."""
    assert merge(target, patch) == merged


def test_ids_of_versions_lead_back_to_their_signal() -> None:
    """`~` is refused in a publisher's id, so there is one way back."""
    assert [event_id("a", 1), event_id("a", 2)] == ["a", "a~2"]
    assert signal_id("a~12") == signal_id("a") == "a"


PATCHES = st.fixed_dictionaries({}, optional={
    "confidence": st.sampled_from([None, 0, 0.3, 0.5, 0.9, 1]), "tags": st.sampled_from([None, ["x"], ["x", "y"]]),
    "note": st.sampled_from([None, "fda approval", "halt"]), "stop": st.sampled_from([None, "9.40", "9.1"]),
    "action": st.sampled_from(["BUY", "SELL", "close"]), "catalyst": st.sampled_from([None, "merger", "fda"]),
    "extras": st.sampled_from([None, {"a": 1}, {"a": None, "b": "x"}]), "expires_at": st.just("2030-01-01T00:00:00Z"),
})  # fmt: skip
FILTERS = [
    "confidence >= 0.5", "not confidence >= 0.5", "tags = x", "not tags = y", "catalyst.type = fda", "action = SELL",
    "stop exists", "keywords contains_any (halt)", "extras.a = 1", "time_of_day < 09:30:02", "type = signal.published",
    "type = signal.cancelled", "confidence < 0.1", "symbol = ACME",
    "symbol = OTHER", "",
]  # fmt: skip


@given(st.lists(PATCHES, max_size=6), st.sampled_from([None, "signal.cancelled", "signal.expired"]))
def test_every_version_can_be_rebuilt_from_the_newest_event(patches: list[Doc], ended: str | None) -> None:
    """So whoever was shown any of them is told what follows, by the event's bytes alone."""
    versions = [published(note="first")]
    for patch in patches:
        try:
            draft = update(versions[-1], patch)
        except CatalystError:
            continue
        if draft is not None:
            versions.append(doc_of(draft))
    if ended is not None:
        versions.append(doc_of(end(versions[-1], ended)))
    rebuilt = docs_of(versions[-1])[::-1]
    strip = [{name: value for name, value in doc.items() if name != "was"} for doc in versions]
    assert [{name: value for name, value in doc.items() if name != "was"} for doc in rebuilt] == strip
    index: MatchIndex[str] = MatchIndex()
    for text in FILTERS:
        index.add(text, parse(text))
    found = index.match(versions[-1])
    for text in FILTERS:
        shown = any(parse(text).matches(doc) for doc in strip)
        assert parse(text).matches(versions[-1]) is shown, text
        assert (text in found) is shown, text
    assert len(found) == len(set(found))
