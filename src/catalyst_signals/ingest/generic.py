"""The generic adapter: our own signal as JSON, one or several, or as lines of `key=value`.

Owns: that plain form. Knows nothing of anybody's dialect. The sender's own key is the signal's `id`.
Law: what is ours to set does not get in the way: a field of that name goes under `extras`.

    symbol=ACME
    action=BUY
    confidence=0.82
    source.name=my bot
    tags=fda,small-cap
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any, ClassVar

from catalyst_signals.errors import InvalidDraft
from catalyst_signals.ingest import Reading, decode_once, sender_text, without_secrets
from catalyst_signals.ingest.plans import instrument_of
from catalyst_signals.signals import FIELDS, OURS, place

_NAME = re.compile(r"[A-Za-z_][\w.-]{0,127}")
_NUMBER = re.compile(r"[+-]?[0-9]{1,40}(?:\.[0-9]{1,40})?")
_FLAGS = {"true": True, "false": False}


class Generic:
    """Our own signal, leniently."""

    name = "generic"
    PASTE: ClassVar[str] = """\
try it:

  curl -H 'Content-Type: application/json' \\
    -d '{"symbol": "ACME", "action": "BUY", "confidence": 0.82, "stop": "9.40"}' \\
    {url}
"""

    def read(self, raw: bytes, content_type: str) -> Reading:
        """The signals of a JSON object, a JSON array, or one signal of `key=value` lines."""
        text = sender_text(raw)
        doc = decode_once(text) if text.lstrip().startswith(("{", "[")) else _from_lines(text)
        return Reading(drafts=[_draft(each) for each in (doc if isinstance(doc, list) else [doc])])


def _draft(sent: Any) -> dict[str, Any]:
    if not isinstance(sent, dict):
        raise InvalidDraft("a signal is a JSON object", got=sent, allowed="an object or an array of objects")
    draft: dict[str, Any] = without_secrets(sent)
    ticker = draft.get("symbol", draft.get("ticker"))
    if isinstance(ticker, str) and "instrument" not in draft and ("symbol" in draft) != ("ticker" in draft):
        draft["instrument"] = instrument_of(ticker, draft.get("exchange"))
        draft = {name: value for name, value in draft.items() if name not in ("symbol", "ticker")}
    clashing = {name: draft.pop(name) for name in sorted(OURS.intersection(draft))}
    if clashing:
        extras = draft.get("extras")
        draft["extras"] = clashing | (extras if isinstance(extras, dict) else {})
    return draft


def _from_lines(text: str) -> dict[str, Any]:
    doc: dict[str, Any] = {}
    for found in re.finditer(r"[^\n;]+", text):
        line = found[0].strip()
        if not line:
            continue
        name, equals, value = (part.strip() for part in line.partition("="))
        if not equals or not _NAME.fullmatch(name):
            at, _ = place(text, found.start())
            raise InvalidDraft(f"line {at} is not `key=value`: {line[:80]!r}", got=line, line=at)
        _put(doc, name, _value(name, value))
    return doc


def _value(name: str, text: str) -> Any:
    """What a value means, by the field it is for; for a field nobody knows, by how it looks."""
    kind = FIELDS.get(name)
    if kind is not None and kind.name == "list":
        return [part.strip() for part in text.split(",") if part.strip()]
    if (kind is None or kind.name == "flag") and text.lower() in _FLAGS:
        return _FLAGS[text.lower()]
    if (name.startswith("features.") or (kind is not None and kind.name == "number")) and _NUMBER.fullmatch(text):
        return Decimal(text)
    return text


def _put(doc: dict[str, Any], name: str, value: Any) -> None:
    """Set a dotted name: `source.name` is the `name` of `source`."""
    parent, dot, rest = name.partition(".")
    if not dot:
        doc[name] = value
        return
    inside = doc.setdefault(parent, {})
    if not isinstance(inside, dict) or not rest:
        raise InvalidDraft(f"`{name}` cannot stand beside `{parent}`", field=name)
    _put(inside, rest, value)
