"""A signal's versions: what each of them said, and the drafts that change or end it.

Owns: `was`, and which fields never change. Knows nothing of stores, of who may change what, or of time.
Law: a signal is immutable. A change is an event with the whole new state in `data`, and in `was` what each earlier
version had in the fields that ever changed; so a filter needs nothing but the event to know what any version said.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from catalyst_signals.errors import InvalidDraft, TooLarge
from catalyst_signals.events import Draft, event_id, hash_of_draft
from catalyst_signals.kinds import shown
from catalyst_signals.signals import DRAFT_BYTES_MAX, ENDINGS, canonical, expanded
from catalyst_signals.vocabulary import SHORT_ACTIONS

VERSIONS_MAX = 32  # Then only its end.
FIXED = ("instrument", "source")  # Who was shown a signal must recognise it.

Doc = Mapping[str, Any]


def event_ids(id: str) -> list[str]:
    """What the log calls the versions that a signal can have, first to last; the last is an end."""
    return [event_id(id, version) for version in range(1, VERSIONS_MAX + 2)]


def docs_of(doc: Doc) -> list[Doc]:
    """The event as each version of its signal would read: the present one, then the earlier ones, newest first."""
    was = doc.get("was")
    if type(was) is not list:
        return [doc]
    return [doc, *(_earlier(doc, was, version) for version in range(len(was), 0, -1))]


def _earlier(doc: Doc, was: list[Doc], version: int) -> Doc:
    before = was[version - 1]
    data = {name: value for name, value in {**doc["data"], **before["data"]}.items() if value is not None}
    return {**{name: value for name, value in doc.items() if name != "was"}, **before, "version": version, "data": data}


def update(doc: Doc, patch: Any) -> Draft | None:
    """The draft of the next version by a JSON merge patch (RFC 7396) in a publisher's words; None: it changes nothing.

    Raises:
        InvalidDraft: a field is wrong, or one that never changes; names it.
        TooLarge: the new state is.
    """
    if type(patch) is not dict:
        raise InvalidDraft(f"a change is a JSON object, got {shown(patch)}", got=shown(patch), allowed="a JSON object")
    data = dict(doc["data"])
    provider = data.pop("provider", None)
    _check_fixed(doc, patch)
    patch = expanded(_spelt_out({name: value for name, value in patch.items() if name != "id"}))
    if str(patch.get("action")).lower() in SHORT_ACTIONS:
        data.pop("direction", None)  # BUY and SELL say it themselves.
    merged = canonical(merge(data, patch))
    for name in FIXED:
        if merged.get(name) != data.get(name):
            raise InvalidDraft(
                f"`{name}` never changes; cancel this signal and publish another",
                field=name,
                got=shown(patch.get(name)),
            )
    if provider is not None:
        merged["provider"] = provider
    size = len(msgspec.json.encode(merged))
    if size > DRAFT_BYTES_MAX:
        text = f"a signal is at most {DRAFT_BYTES_MAX:,} bytes, with this change it has {size:,}"
        raise TooLarge(text, got=size, allowed=DRAFT_BYTES_MAX)
    return None if merged == doc["data"] else _draft(doc, "signal.updated", merged)


def _spelt_out(patch: dict[str, Any]) -> dict[str, Any]:
    """A short form that takes something away, as what it stands for: a null is nothing in a draft, not in a patch."""
    for name in ("symbol", "ticker"):
        if name in patch and patch[name] is None:
            raise InvalidDraft("`instrument` never changes; cancel this signal and publish another", field="instrument")
    if "target" in patch and patch["target"] is None:
        return {**{name: value for name, value in patch.items() if name != "target"}, "targets": None}
    return patch


def _check_fixed(doc: Doc, patch: Mapping[str, Any]) -> None:
    if patch.get("id", doc["id"]) != doc["id"]:
        raise InvalidDraft("`id` never changes; publish another signal", field="id", got=shown(patch["id"]))
    if "supersedes" in patch and patch["supersedes"] != doc["data"].get("supersedes"):
        raise InvalidDraft(
            "`supersedes` is said when a signal is published", field="supersedes", got=shown(patch["supersedes"])
        )


def end(doc: Doc, type: str, **why: str) -> Draft:
    """The draft that ends a signal; `why` stands in its data."""
    assert type in ENDINGS
    return _draft(doc, type, {**doc["data"], **why})


def merge(target: Any, patch: Any) -> Any:
    """RFC 7396: a null takes away, an object goes into the object that is there, all else replaces."""
    if type(patch) is not dict:
        return patch
    merged = dict(target) if type(target) is dict else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge(merged.get(name), value)
    return merged


def _draft(doc: Doc, type: str, data: dict[str, Any]) -> Draft:
    version = doc["version"] + 1
    return Draft(
        type=type,
        id=event_id(doc["id"], version),
        body=msgspec.json.encode({"data": data, "was": _was(doc, data)}),
        draft_hash=hash_of_draft({"type": type, "data": data}),
        version=version,
        follows=(event_id(doc["id"], doc["version"]), doc["seq"]),
    )


def _was(doc: Doc, data: Doc) -> list[dict[str, Any]]:
    """What every version so far had in the fields that ever changed, oldest first; null: it did not have it."""
    versions = docs_of(doc)[::-1]
    old = doc["data"]
    changed = [name for name in {**old, **data} if old.get(name) != data.get(name)]
    fields = {**(doc["was"][0]["data"] if doc.get("was") else {}), **dict.fromkeys(changed)}
    return [
        {"seq": each["seq"], "type": each["type"], "ts": each["ts"], "data": {f: each["data"].get(f) for f in fields}}
        for each in versions
    ]
