"""OctoBot's TradingView alerts: `KEY=VALUE`, one a line or between semicolons, or the same as JSON.

Owns: its keys, its prices with units and how it splits targets. What a plan is, is in templates.py.
Law: `-5%`, `10d` and `@e...` are distances, never prices. They become offsets where they count from the entry (an order
at the market, `e`), else they stay under `extras` and `note` says so.

SELL without more is SELL, as everywhere; with REDUCE_ONLY or TRADING_TYPE=spot it sells what is held: reduce, long.
ORDER_TYPE=STOP puts a stop to a position that is there: no signal. It has no key of its own: the same alert within a
minute is one, unless it names a time.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any, ClassVar

from catalyst_signals.errors import InvalidDraft
from catalyst_signals.ingest import Reading, decode_once, is_secret, redact
from catalyst_signals.ingest.envelopes import plain_text
from catalyst_signals.ingest.notes import add_note
from catalyst_signals.ingest.orders import verb_of
from catalyst_signals.ingest.plans import is_unset, price_of
from catalyst_signals.ingest.templates import drafts_of, sort

_SIGNALS = ["BUY", "SELL", "CANCEL", "CLOSE", "LONG", "SHORT"]
_NO_SIGNAL = re.compile(r"ensure_\w+|withdraw_funds|transfer_funds|hold|neutral|none|wait")
_SEPARATORS = re.compile(r"\\n|[\r\n;]+")
_BARE_TOKEN = re.compile(r"(?im)^([ \t]*(?:token|secret|pass\w{0,16}|api_?key)[ \t]+)[^\s=:;][^\n;]*")
_KEY = re.compile(r"[A-Za-z_][\w.-]{0,63}")
_PRICE = re.compile(
    r"(?P<from>@|e)?(?P<sign>[+-]?)(?P<number>[0-9]{1,30}(?:\.[0-9]{0,30})?)(?P<unit>%|d)?", re.IGNORECASE
)
_TARGET = re.compile(r"TAKE_PROFIT_PRICE(?:_([0-9]{1,2}))?")
_RATIO = re.compile(r"TAKE_PROFIT_VOLUME_RATIO(?:_([0-9]{1,2}))?")
_PLAN = ("PRICE", "STOP_PRICE")


class OctoBot:
    """What TradingView sends to an OctoBot."""

    name = "octobot"
    PASTE: ClassVar[str] = """\
In TradingView's alert, in place of OctoBot's webhook URL, paste

  {url}

and leave the message as it is:

  EXCHANGE={{exchange}}
  SYMBOL={{ticker}}
  SIGNAL=BUY
  ORDER_TYPE=LIMIT
  PRICE={{close}}

The TOKEN is never kept.
"""

    def read(self, raw: bytes, content_type: str) -> Reading:
        """The signal of an alert."""
        text = plain_text(raw)
        keys = _from_json(text) if text.lstrip().startswith("{") else _from_lines(text)
        return Reading(drafts=_drafts(keys))

    @staticmethod
    def hide(text: str) -> str:
        """`text` without what stands behind a `TOKEN` whose equals sign is missing."""
        return _BARE_TOKEN.sub(r"\1***", text)


def _from_lines(text: str) -> dict[str, Any]:
    """The keys of an alert in capitals; a line that is no `KEY=VALUE` is kept, as OctoBot passes over it.

    Raises:
        InvalidDraft: nothing is `KEY=VALUE`, or a key has two values.
    """
    keys: dict[str, Any] = {}
    others = []
    for line in _SEPARATORS.split(text):
        name, equals, value = (part.strip() for part in line.partition("="))
        if equals and _KEY.fullmatch(name):
            if keys.setdefault(name.upper(), value) != value:
                raise InvalidDraft(
                    f"`{name}` is there twice, with different values: send it once", field=name, got=value
                )
        elif line.strip() and not is_secret(line):
            others.append(redact(line.strip()))
    if not keys:
        text = "an alert of OctoBot is lines of KEY=VALUE"
        raise InvalidDraft(text, got=others[0][:80] if others else None, allowed="EXCHANGE=, SYMBOL=, SIGNAL= ...")
    return keys | ({"LINES": others} if others else {})


def _from_json(text: str) -> dict[str, Any]:
    doc: dict[str, Any] = decode_once(text)
    keys: dict[str, Any] = {}
    for name, value in doc.items():
        if keys.setdefault(name.upper(), value) != value:
            raise InvalidDraft(f"`{name}` is there twice, with different values: send it once", field=name)
    return keys


def _drafts(keys: dict[str, Any]) -> list[dict[str, Any]]:
    signal = str(keys.get("SIGNAL", "")).strip()
    if _NO_SIGNAL.fullmatch(signal.lower()):
        return []
    verb = verb_of(signal)
    if verb is None:
        text = f"`SIGNAL` is no instruction we know, got {signal[:80]!r}" if signal else "the alert has no `SIGNAL`"
        raise InvalidDraft(text, field="SIGNAL", got=signal or None, allowed=_SIGNALS)
    if is_unset(keys.get("SYMBOL")):
        raise InvalidDraft("the alert has no `SYMBOL`", field="SYMBOL", allowed="SYMBOL={{ticker}}")
    if str(keys.get("ORDER_TYPE", "")).strip().lower() == "stop" and verb[0] == "trade":
        return []
    notes: list[str] = []
    doc = {"symbol": keys["SYMBOL"], "exchange": keys.get("EXCHANGE"), "action": _action(keys, signal)}
    doc |= _plan(keys, verb[1], notes) if verb[0] in ("trade", "open", "hold") else {}
    used = {"SYMBOL", "EXCHANGE", "SIGNAL"} | set(doc.pop("used", ()))
    doc["extras"] = {name: value for name, value in keys.items() if name not in used and not is_unset(value)}
    drafts = drafts_of(sort(doc))
    for draft in drafts:
        _split(draft, keys, notes)
        add_note(draft, *notes)
    return drafts


def _action(keys: dict[str, Any], signal: str) -> str:
    """The verb, or what a buy or a sell is where it can only make a position smaller."""
    verb = verb_of(signal)
    if verb is None or verb[0] != "trade":
        return signal
    spot = str(keys.get("TRADING_TYPE", "")).strip().lower() == "spot" and verb[1] == -1
    if _is_true(keys.get("REDUCE_ONLY")) or spot:
        return "reducelong" if verb[1] == -1 else "reduceshort"
    return signal


def _plan(keys: dict[str, Any], way: int | None, notes: list[str]) -> dict[str, Any]:
    """Entry, stop and targets under the names that templates.py knows; `used` are the keys they came from."""
    order = str(keys.get("ORDER_TYPE", "")).strip().lower()
    at_market = order == "market" or (not order and is_unset(keys.get("PRICE")))
    doc: dict[str, Any] = {"ordertype": order} if order in ("market", "limit") else {}
    used = ["ORDER_TYPE"] if doc else []
    for name in [*_PLAN, *sorted((key for key in keys if _TARGET.fullmatch(key)), key=_number)]:
        if is_unset(keys.get(name)):
            continue
        value = _level(name, str(keys[name]).strip(), way, at_market, notes)
        if value is None:
            continue
        used.append(name)
        if name == "PRICE":
            doc |= {"price": value} if order == "market" else {"limitprice": value, "ordertype": "limit"}
        else:
            doc[name] = value
    return doc | {"used": used}


def _level(name: str, text: str, way: int | None, at_market: bool, notes: list[str]) -> str | dict[str, str] | None:
    """A price as it is; a distance as an offset where it counts from the entry; None for what stays under `extras`."""
    found = _PRICE.fullmatch(text)
    if found is None:
        notes.append(f"{name} is kept under extras: {text[:40]!r} is no price of OctoBot's")
        return None
    if found["unit"] is None and found["from"] != "e":
        return found["number"] if not found["sign"] else None
    side = way if name == "STOP_PRICE" else -(way or 0)
    from_entry = found["from"] == "e" or (found["from"] is None and at_market)
    right = side == (1 if found["sign"] == "-" else -1)
    number = price_of(found["number"])
    if name == "PRICE" or not from_entry or not right or number is None or found["unit"] is None:
        notes.append(f"{name} is kept under extras: {text[:40]} is a distance from the price at the time, not a price")
        return None
    per_cent = found["unit"] == "%"
    notes.append(f"{name}: {text[:40]} is an offset from the entry")
    return {"percent" if per_cent else "amount": number}


def _split(draft: dict[str, Any], keys: dict[str, Any], notes: list[str]) -> None:
    """How much of the position each target closes; ratios are weights, in the order of the targets."""
    names = sorted((key for key in keys if _RATIO.fullmatch(key)), key=_number)
    ratios = [Decimal(said) for name in names if (said := price_of(str(keys[name]))) is not None]
    targets = draft.get("targets", [])
    if not ratios or not targets:
        return
    if len(ratios) != len(targets) or len(ratios) != len(names):
        notes.append("the ratios are kept under extras: there is not one for each target")
        return
    for target, weight in zip(targets, ratios, strict=True):
        target["fraction"] = float(round(weight / sum(ratios, Decimal(0)), 6))
    for name in names:
        draft["extras"].pop(name, None)
    if not draft["extras"]:
        del draft["extras"]


def _number(key: str) -> int:
    found = _TARGET.fullmatch(key) or _RATIO.fullmatch(key)
    return int(found[1] or 0) if found is not None else 0


def _is_true(value: object) -> bool:
    return str(value).strip().lower() in ("true", "1", "yes")
