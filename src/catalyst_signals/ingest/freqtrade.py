"""freqtrade's webhooks: whatever its user wrote into the config, as JSON, a form or a line of text.

Owns: how the fields of an event come. What they mean is in freqtrade_events.py, also for its WebSocket.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar
from urllib.parse import parse_qsl

from catalyst_signals.errors import InvalidDraft, InvalidJson
from catalyst_signals.ingest import Reading, decode_once
from catalyst_signals.ingest.envelopes import plain_text
from catalyst_signals.ingest.freqtrade_events import reading_of

FIELDS_MAX = 200

_REPR = re.compile(
    r"""['"](?P<name>\w{1,64})['"]\s{0,8}:\s{0,8}(?:<[\w.]{0,64}(?:: ?['"]?(?P<enum>\w{1,64})['"]?)?>|"""
    r"""datetime\.datetime\([^()]{0,80}\)|'(?P<one>[^'\n]*)'|"(?P<two>[^"\n]*)"|(?P<bare>[\w.+-]{1,64}))"""
)
_UNFILLED = re.compile(r"\{[a-z_]{2,30}(?:[:!][^{}]{0,20})?\}")


class Freqtrade:
    """What a freqtrade bot posts."""

    name = "freqtrade"
    OPTIONS: ClassVar[dict[str, tuple[str, ...]]] = {"fills": ("signal", "ignore")}
    PASTE: ClassVar[str] = """\
In freqtrade's config.json:

  "webhook": {
    "enabled": true, "format": "json", "retries": 3, "retry_delay": 0.5, "timeout": 5,
    "url": "{url}",
    "entry": {"event": "entry", "trade_id": "{trade_id}", "exchange": "{exchange}", "pair": "{pair}",
      "direction": "{direction}", "rate": "{open_rate}", "order_type": "{order_type}", "leverage": "{leverage}",
      "open_date": "{open_date}", "sub_trade": "{sub_trade}", "tag": "{enter_tag}"},
    "entry_cancel": {"event": "entry_cancel", "trade_id": "{trade_id}", "pair": "{pair}",
      "direction": "{direction}", "open_date": "{open_date}"},
    "exit": {"event": "exit", "trade_id": "{trade_id}", "pair": "{pair}", "direction": "{direction}",
      "rate": "{close_rate}", "order_type": "{order_type}", "profit_ratio": "{profit_ratio}",
      "exit_reason": "{exit_reason}", "open_date": "{open_date}", "sub_trade": "{sub_trade}",
      "is_final_exit": "{is_final_exit}"},
    "exit_cancel": {"event": "exit_cancel", "trade_id": "{trade_id}", "pair": "{pair}",
      "direction": "{direction}", "open_date": "{open_date}"}
  }

Fills are the same trades once more: leave them out, or give --option fills=ignore.
"""

    def __init__(self, fills: str = "signal") -> None:
        """`fills="ignore"` for a bot that posts entries and exits too: its fills are the same trades once more."""
        self._fills = fills

    def read(self, raw: bytes, content_type: str) -> Reading:
        """The signal of one event; none for events that are no instruction."""
        fields = _fields(plain_text(raw), content_type)
        _check_filled(fields)
        return reading_of(fields, fills=self._fills)


def _fields(text: str, content_type: str) -> dict[str, Any]:
    """The fields of a body: of JSON, a form, a Python repr, or of a text under `text`."""
    start = text.lstrip()
    if start.startswith(("{", "[")):
        return _from_object(text)
    if "x-www-form-urlencoded" in content_type or (re.match(r"\w{1,64}=[^\s=]*(?:&|$)", start) and " " not in start):
        if start.count("&") >= FIELDS_MAX:
            raise InvalidDraft(f"a form may have {FIELDS_MAX} fields", allowed=FIELDS_MAX)
        pairs = parse_qsl(start.strip(), keep_blank_values=True)
        if pairs:
            return _once(pairs)
    return {"text": text}


def _from_object(text: str) -> dict[str, Any]:
    try:
        doc = decode_once(text)
    except InvalidJson:
        found = [(each["name"], _of_repr(each)) for each in _REPR.finditer(text)] if "'" in text else []
        if not found:
            raise
        return _once(found)
    if isinstance(doc, list) and len(doc) == 1:
        doc = doc[0]
    if not isinstance(doc, dict):
        raise InvalidDraft("a webhook of freqtrade is one object", allowed="a JSON object")
    return {**_embedded(doc), **doc}


def _embedded(doc: dict[str, Any]) -> dict[str, Any]:
    """The fields of freqtrade's message to Discord, whose title says pair and event."""
    embeds = doc.pop("embeds", None)
    first = embeds[0] if isinstance(embeds, list) and embeds and isinstance(embeds[0], dict) else {}
    fields: dict[str, Any] = {}
    for each in first.get("fields") or ():
        if isinstance(each, dict) and isinstance(each.get("name"), str):
            fields[re.sub(r"\W+", "_", each["name"].strip().lower())] = each.get("value")
    title = re.fullmatch(r"Trade: (\S+) (\w+)", str(first.get("title", "")))
    return fields | ({"pair": title[1], "event": title[2]} if title is not None else {})


def _of_repr(found: re.Match[str]) -> str:
    return next((value for name in ("enum", "one", "two", "bare") if (value := found[name]) is not None), "None")


def _once(pairs: list[tuple[str, str]]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, value in pairs:
        if fields.setdefault(name, value) != value:
            raise InvalidDraft(f"`{name}` is there twice, with different values: send it once", field=name, got=value)
    return fields


def _check_filled(fields: dict[str, Any]) -> None:
    for name, value in fields.items():
        found = _UNFILLED.search(value) if isinstance(value, str) and name != "text" else None
        if found is not None:
            text = f"the placeholder {found[0]} in `{name}` was not filled in"
            raise InvalidDraft(text, field=name, got=found[0])
