"""TradingView alerts: JSON templates, its own default strategy text, short commands, and plain price alerts.

Owns: which of these a body is, and the texts. What the fields of a template mean is in templates.py.
Law: a text is one clear instruction and nothing else, or a price alert, or it is refused in the sender's own words.

The sender's own key is `idempotency_key` or `signal_id`; not `id` and `alert_id`, which templates fill with the name of
the order or with a constant, so that the second alert of a strategy would be taken for a retry of its first.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from catalyst_signals.errors import InvalidDraft
from catalyst_signals.ingest import Reading, decode_once, is_secret, redact, sender_text
from catalyst_signals.ingest.orders import verb_of
from catalyst_signals.ingest.plans import instrument_of, price_of
from catalyst_signals.ingest.templates import drafts_of, role_of, sort
from catalyst_signals.kinds import TEXT_CHARS_MAX, shown

_TICKER = r"(?:[A-Z0-9_]+:|(?=[A-Z0-9._/!-]*[A-Z]))[A-Z0-9][A-Z0-9._/!:-]{0,62}"
_SYMBOL = re.compile(_TICKER)
_NOT_SYMBOLS = frozenset((
    "ALERT", "ALL", "BUY", "CLOSE", "CONFIRMED", "DO", "ENTRY", "EXIT", "FLAT", "IT", "LIMIT", "LONG", "MARKET", "NO",
    "NOT", "NOW", "ON", "ORDER", "POSITION", "SELL", "SETUP", "SHORT", "SIGNAL", "STOP", "THE", "THIS", "TO", "TRADE",
))  # fmt: skip
"""Words in capitals that stand beside a verb; some are tickers too, and then need their exchange: `BUY NYSE:NOW`."""
_FILLED = re.compile(
    r"\border (?P<action>buy|sell) @ (?P<contracts>[0-9.eE+-]+) filled on (?P<ticker>\S+?)\.?\s+"
    r"New strategy position is (?P<position_size>[−-]?[0-9.eE+-]+?)\.?(?=\s|$)",
    re.IGNORECASE,
)
_PRICE_ALERT = re.compile(
    rf"(?P<symbol>{_TICKER})(?:,\s*\w+)?\s+(?i:crossing|greater than|less than|moving (?:up|down)|"
    r"(?:entering|exiting|inside|outside) channel)(?=\s|$)(?P<rest>[^\n]*)"
)
_PAIR = re.compile(r"""(?<![\w.])([A-Za-z_][\w.]{0,63})\s*(=|:\s)\s*("[^"\n]*"|[^\s,;]+)""")


class TradingView:
    """Whatever an alert of TradingView is told to send."""

    name = "tradingview"

    def read(self, raw: bytes, content_type: str) -> Reading:
        """The signals of one alert. The content type is not trusted: a trailing newline makes JSON `text/plain`."""
        text = sender_text(raw)
        doc = decode_once(text) if text.lstrip().startswith(("{", "[", '"')) else text
        if not isinstance(doc, list):
            return _read_one(doc)
        return Reading(drafts=[draft for each in doc for draft in _read_one(each).drafts])


def _read_one(doc: Any) -> Reading:
    if isinstance(doc, str):
        return Reading(drafts=_from_text(doc.strip()))
    if not isinstance(doc, dict):
        text = f"an alert is a JSON object or a text, got {shown(doc)}"
        raise InvalidDraft(text, got=shown(doc), allowed="a JSON object")
    said = sort(doc)
    message = said.roles.get("text")
    if message is not None and said.verb is None and not {"action", "now"}.intersection(said.roles):
        return Reading(drafts=_from_text(message.strip()))
    return Reading(drafts=drafts_of(said), id=str(said.roles.get("key", "")))


def _from_text(text: str) -> list[dict[str, Any]]:
    """The signals of an alert in words.

    Raises:
        InvalidDraft: the words are no instruction; quotes them.
    """
    title = redact(text)[:TEXT_CHARS_MAX]
    fills = [_filled(text, found, title) for found in _FILLED.finditer(text)]
    if fills:
        return [draft for drafts in fills for draft in drafts]
    alert = _PRICE_ALERT.fullmatch(text)
    if alert is not None and not any(verb_of(word.strip(".,;:!")) for word in alert["rest"].split()):
        return [{"instrument": instrument_of(alert["symbol"]), "action": "watch", "title": title}]
    pairs = _pairs_once(text)
    words = re.sub(r"[,;]", " ", _PAIR.sub(lambda found: " " if found[1] in pairs else found[0], text)).split()
    command = _command(words) if words else {}
    for name, value in (command or {}).items():
        if pairs.get(name, value) != value or (name == "ticker" and "symbol" in map(role_of, pairs)):
            raise InvalidDraft(f"the alert names two of `{name}`: {title[:200]!r}", field=name, got=title)
    said = sort({**pairs, **(command or {}), "text": title})
    if command is None or said.verb is None or "symbol" not in said.roles:
        example = 'BUY AAPL, or JSON such as {"ticker": "AAPL", "action": "buy"}'
        raise InvalidDraft(f"there is no clear instruction in {title[:200]!r}", got=title, allowed=example)
    return drafts_of(said)


def _filled(text: str, found: re.Match[str], title: str) -> list[dict[str, Any]]:
    """TradingView's own words: "@" stands before the number of contracts, the position says what became of it."""
    strategy = text[: found.start()].rpartition("\n")[2].rstrip(": ")
    return drafts_of(sort({**found.groupdict(), "strategy": strategy, "text": title}))


def _pairs_once(text: str) -> dict[str, str]:
    """The pairs of a text.

    Raises:
        InvalidDraft: one is there twice, with different values.
    """
    pairs: dict[str, str] = {}
    for name, value in _pairs(text):
        if pairs.setdefault(name, value) != value:
            raise InvalidDraft(f"the alert says `{name}` twice: {pairs[name]!r} and {value!r}", field=name, got=value)
    return pairs


def _pairs(text: str) -> Iterator[tuple[str, str]]:
    """The `key=value` of a text, and the `key: value` whose key is one we know."""
    for found in _PAIR.finditer(text):
        if found[2] == "=" or role_of(found[1]) is not None or is_secret(found[1]):
            yield found[1], found[3].strip('"')


def _command(words: list[str]) -> dict[str, str] | None:
    """`BUY AAPL`, `AAPL exit long`, `buy AAPL at 190.5`: a verb, perhaps a symbol, perhaps a price; else None."""
    doc: dict[str, str] = {}
    if len(words) > 3 and words[-2].lower() in ("@", "at") and price_of(words[-1]) is not None:
        doc["price"] = words[-1]
        words = words[:-2]
    if verb_of(" ".join(words)) is not None:
        return doc | {"action": " ".join(words)}
    for symbol, verb in ((words[-1], words[:-1]), (words[0], words[1:])):
        symbol = symbol.strip(".:")
        if verb_of(" ".join(verb)) is not None and _SYMBOL.fullmatch(symbol) and symbol not in _NOT_SYMBOLS:
            return doc | {"action": " ".join(verb), "ticker": symbol}
    return None
