"""TradingView alerts: JSON templates, its own default strategy text, short commands, and plain price alerts.

Owns: which of these a body is, and the texts. What the fields of a template mean is in templates.py.
Law: a text is one clear instruction and nothing else, or a price alert, or it is refused in the sender's own words.

The sender's own key is `idempotency_key` or `signal_id`; not `id` and `alert_id`, which templates fill with the name of
the order or with a constant, so that the second alert of a strategy would be taken for a retry of its first.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, ClassVar

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
_NO = frozenset(("not", "no", "don't", "never", "Not", "No", "Don't", "NOT", "NO"))
_FILLED = re.compile(
    r"\border\s{1,4}(?P<action>buy|sell)\s{1,4}@\s{1,4}(?P<contracts>[0-9.eE+-]+)\s{1,4}"
    r"filled on (?P<ticker>\S+?)\.?\s+New strategy position is\s{1,4}(?P<position_size>[−-]?[0-9.eE+-]+?)\.?(?=\s|$)",
    re.IGNORECASE,
)
_PRICE_ALERT = re.compile(
    rf"(?P<symbol>{_TICKER})(?:,\s*\w+)?\s+(?i:crossing|greater than|less than|moving (?:up|down)|"
    r"(?:entering|exiting|inside|outside) channel)(?=\s|$)(?P<rest>[^\n]*)"
)
_LEVEL = re.compile(
    r"(?<![\w.])(sl|tp[0-9]{0,2}|stop ?loss|take ?profit)\s{1,4}([0-9]{1,20}(?:\.[0-9]{1,20})?%?)(?![\w.])",
    re.IGNORECASE,
)
_BRACKETS = re.compile(r"\([^()\n]{0,80}\)")  # Of an indicator: `EMA (9, close, 0)`.
_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?")
_PAIR = re.compile(r"""(?<![\w.])([A-Za-z_][\w.]{0,63})\s*(=|:\s)\s*("[^"\n]*"|[^\s,;]+)""")


class TradingView:
    """Whatever an alert of TradingView is told to send."""

    name = "tradingview"
    PASTE: ClassVar[str] = """\
1. in TradingView's alert, under Notifications, tick Webhook URL and paste

   {url}

2. in its Message, paste for a strategy:

   {"ticker": "{{ticker}}", "exchange": "{{exchange}}", "action": "{{strategy.order.action}}",
    "market_position": "{{strategy.market_position}}", "prev_market_position": "{{strategy.prev_market_position}}",
    "price": "{{strategy.order.price}}", "comment": "{{strategy.order.comment}}", "timenow": "{{timenow}}"}

   or for an indicator, with buy, sell, close or watch as its action:

   {"ticker": "{{ticker}}", "exchange": "{{exchange}}", "action": "buy",
    "price": "{{close}}", "timenow": "{{timenow}}"}

   "sl", "tp" and "confidence" may be added; any other text or field is kept as well.
"""

    def read(self, raw: bytes, content_type: str) -> Reading:
        """The signals of one alert. The content type is not trusted: a trailing newline makes JSON `text/plain`."""
        text = sender_text(raw)
        doc = decode_once(text) if text.lstrip().startswith(("{", "[", '"')) else text
        if isinstance(doc, str) and doc is not text and doc.lstrip().startswith("{"):
            doc = decode_once(doc)  # JSON inside a text of JSON.
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
        words = re.findall(r"[A-Za-z]+", message[:TEXT_CHARS_MAX])
        if "symbol" in said.roles and not any(verb_of(word) for word in words):
            instrument = instrument_of(str(said.roles["symbol"]), said.roles.get("exchange"))
            title = redact(message)[:TEXT_CHARS_MAX]
            return Reading(drafts=[{"instrument": instrument, "action": "watch", "title": title}])
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
    beyond = _BRACKETS.sub(" ", alert["rest"]).split() if alert is not None else []
    if alert is not None and not any(verb_of(word.strip(".,;:!")) for word in beyond):
        return [{"instrument": instrument_of(alert["symbol"]), "action": "watch", "title": title}]
    pairs = _pairs_once(_LEVEL.sub(lambda found: f"{found[1].replace(' ', '')}={found[2]}", text))
    text = _LEVEL.sub(" ", text)
    words = re.sub(r"[,;]", " ", _PAIR.sub(lambda found: " " if found[1] in pairs else found[0], text)).split()
    command = _command(words) if words else {}
    if command is None and _is_whole(pairs) and not any(verb_of(word.strip(".:!")) or word in _NO for word in words):
        command = {}  # "Signal" or "🎯 Alert" above `Symbol: X`, `Action: buy`.
    for name, value in (command or {}).items():
        if pairs.get(name, value) != value or (name == "ticker" and "symbol" in map(role_of, pairs)):
            raise InvalidDraft(f"the alert names two of `{name}`: {title[:200]!r}", field=name, got=title)
    said = sort({**pairs, **(command or {}), "text": title})
    if command is None or said.verb is None or "symbol" not in said.roles:
        example = 'BUY AAPL, or JSON such as {"ticker": "AAPL", "action": "buy"}'
        raise InvalidDraft(f"there is no clear instruction in {title[:200]!r}", got=title, allowed=example)
    return drafts_of(said)


def _is_whole(pairs: dict[str, str]) -> bool:
    """Whether the pairs alone say what to do with what."""
    said = sort(dict(pairs))
    return said.verb is not None and "symbol" in said.roles


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
    elif len(words) > 2 and _NUMBER.fullmatch(words[-1]):
        words = words[:-1]  # A price or a size, nobody knows; it stays in the title.
    if verb_of(" ".join(words)) is not None:
        return doc | {"action": " ".join(words)}
    for symbol, verb in ((words[-1], words[:-1]), (words[0], words[1:])):
        symbol = symbol.strip(".:")
        if verb_of(" ".join(verb)) is not None and _SYMBOL.fullmatch(symbol) and symbol not in _NOT_SYMBOLS:
            return doc | {"action": " ".join(verb), "ticker": symbol}
    return None
