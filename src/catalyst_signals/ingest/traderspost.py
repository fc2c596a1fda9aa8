"""TradersPost's webhook JSON, which is our own dialect for webhooks too: every documented field, and its error names.

Owns: which fields there are, what each may hold, and the name that TradersPost has for each mistake (`sender_error`).
What verbs, positions and prices mean is in orders.py, plans.py and templates.py.
Law: fields that are not documented there mean nothing: they are kept under `extras`, as TradersPost ignores them.

`buy` is BUY, `sell` is SELL; with `"sentiment": "flat"`, or one that points the other way, they end or reduce what
there is; an `exit` of less than 100 `percent_of_position` is a reduce. `add` does not say which way: refused without
our own `direction` beside it. The sender has no key of its own: put the time into the message and a retry is
recognised; `idempotency_key` wins.
"""

from __future__ import annotations

from typing import Any, ClassVar

from catalyst_signals.errors import InvalidDraft, InvalidJson, InvalidRequest
from catalyst_signals.ingest import Reading, objects_in
from catalyst_signals.ingest.plans import is_part, is_unset, number_of
from catalyst_signals.ingest.templates import drafts_of, sort

ACTIONS = ("buy", "sell", "exit", "cancel", "add")
SENTIMENTS = ("bullish", "bearish", "flat", "long", "short")
CHOICES: dict[str, tuple[str, tuple[str, ...]]] = {
    "orderType": ("invalid-order-type", ("market", "limit", "stop", "stop_limit", "trailing_stop")),
    "quantityType": ("invalid-quantity-type", (
        "fixed_quantity", "dollar_amount", "risk_dollar_amount", "risk_percent", "percent_of_equity",
        "percent_of_position",
    )),
    "timeInForce": ("invalid-time-in-force", ("day", "gtc", "gtd", "opg", "cls", "ioc", "fok")),
    "optionType": ("invalid-option-type", ("call", "put", "both")),
    "intrinsicValue": ("invalid-intrinsic-value", ("itm", "otm")),
}  # fmt: skip
NUMBERS = {
    "quantity": "invalid-quantity", "signalPrice": "invalid-signal-price", "price": "invalid-price",
    "limitPrice": "invalid-limit-price", "stopPrice": "invalid-stop-price", "trailAmount": "invalid-trail-amount",
    "trailPercent": "invalid-trail-percent", "strikePrice": "invalid-strike-price",
}  # fmt: skip
_PLANS = {
    "takeProfit": ("invalid-take-profit", ("limitPrice", "price", "percent", "amount")),
    "stopLoss": ("invalid-stop-loss", (
        "type", "percent", "amount", "stopPrice", "limitPrice", "trailAmount", "trailPercent",
    )),
}  # fmt: skip
_KNOWN = frozenset((
    "ticker", "action", "sentiment", "direction", "signalPrice", "price", "orderType", "limitPrice", "stopPrice",
    "takeProfit", "stopLoss", "quantity", "time", "timenow", "timestamp", "exchange", "idempotency_key", "strategy",
    "comment",
))  # fmt: skip
_OPTIONS = ("optionType", "strikePrice", "expiration", "intrinsicValue", "strikesAway", "strikeCount")


class TradersPost:
    """What any sender posts that was set up for TradersPost."""

    name = "traderspost"
    PASTE: ClassVar[str] = """\
Where TradersPost's webhook URL stood (TradingView, TrendSpider, your own program), put

  {url}

and leave the message as it is. The least there is, and one with a full plan:

  {"ticker": "ACME", "action": "buy", "time": "{{timenow}}"}

  {"ticker": "{{ticker}}", "action": "{{strategy.order.action}}", "sentiment": "{{strategy.market_position}}",
   "signalPrice": "{{close}}", "stopLoss": {"type": "stop", "percent": 5}, "takeProfit": {"percent": 10},
   "time": "{{timenow}}"}
"""

    def read(self, raw: bytes, content_type: str) -> Reading:
        """The signals of one message, or of a list of them."""
        try:
            docs = objects_in(raw, "a TradersPost signal")
        except InvalidJson as fault:
            fault.extra["sender_error"] = "malformed-json"
            raise
        except InvalidDraft as fault:
            fault.extra["sender_error"] = "invalid-payload"
            raise
        drafts, key = [], ""
        for doc in docs:
            drafts += _signals(doc)
            key = str(doc.get("idempotency_key") or "") if len(docs) == 1 else ""
        return Reading(drafts=drafts, id=key)


def _signals(doc: dict[str, Any]) -> list[dict[str, Any]]:
    _check(doc)
    try:
        drafts = drafts_of(sort(doc, _KNOWN))
    except InvalidRequest as fault:
        fault.extra.setdefault("sender_error", "invalid-payload")
        if doc.get("action", "").lower() == "add":
            fault.allowed = '"direction": "long" or "short" beside "add", or "buy" or "sell" instead'
        raise
    for draft in drafts:
        if draft["action"] == "close" and doc["action"].lower() == "exit" and _is_part(doc):
            draft["action"] = "reduce"
        if any(not is_unset(doc.get(name)) for name in _OPTIONS):
            draft["instrument"] = draft["instrument"] | {"asset_class": "option"}
    return drafts


def _is_part(doc: dict[str, Any]) -> bool:
    """Whether an exit is of a part of the position: less than 100 `percent_of_position`."""
    return str(doc.get("quantityType", "")).lower() == "percent_of_position" and is_part(doc.get("quantity"))


def _check(doc: dict[str, Any]) -> None:
    """The checks that TradersPost documents, in its order.

    Raises:
        InvalidDraft: names the field, and TradersPost's own name for it.
    """
    for name in ("action", "ticker"):
        if is_unset(doc.get(name)) and doc.get(name) != "":
            raise _refusal("invalid-payload", name, doc.get(name), "`action` and `ticker` are required")
    ticker, action = doc["ticker"], doc["action"]
    if not isinstance(ticker, str) or not ticker.strip():
        error = "empty-ticker-name" if ticker == "" or isinstance(ticker, str) else "invalid-payload"
        raise _refusal(error, "ticker", ticker, '`ticker` is a text such as "AMD"')
    if len(ticker.strip()) > 64 or not ticker.strip().isprintable():
        raise _refusal("ticker-does-not-exist", "ticker", ticker, "there is no ticker of that name")
    if not isinstance(action, str) or action.lower() not in ACTIONS:
        raise _refusal("invalid-action", "action", action, f"`action` is one of {', '.join(ACTIONS)}", ACTIONS)
    _check_sentiment(doc, action.lower())
    for name, (error, choices) in CHOICES.items():
        value = doc.get(name)
        if not is_unset(value) and (not isinstance(value, str) or value.lower() not in choices):
            raise _refusal(error, name, value, f"`{name}` is one of {', '.join(choices)}", choices)
    for name, error in NUMBERS.items():
        if not is_unset(doc.get(name)) and number_of(doc[name]) is None:
            raise _refusal(error, name, doc[name], f"`{name}` is a number")
    for name, (error, fields) in _PLANS.items():
        _check_plan(name, error, fields, doc.get(name))


def _check_sentiment(doc: dict[str, Any], action: str) -> None:
    sentiment = doc.get("sentiment")
    if is_unset(sentiment):
        return
    if not isinstance(sentiment, str) or sentiment.lower() not in SENTIMENTS:
        says = f"`sentiment` is one of {', '.join(SENTIMENTS)}"
        raise _refusal("invalid-sentiment", "sentiment", sentiment, says, SENTIMENTS)
    if action not in ("buy", "sell"):
        says = f"`sentiment` goes with buy and sell only, this is {action}"
        raise _refusal("invalid-sentiment-action", "sentiment", sentiment, says, ("buy", "sell"))


def _check_plan(name: str, error: str, fields: tuple[str, ...], plan: Any) -> None:
    """A stop or a target: an object whose numbers are numbers; a bare number is read as a template's would be."""
    if not isinstance(plan, dict):
        if not is_unset(plan) and number_of(plan) is None:
            raise _refusal(error, name, plan, f"`{name}` is an object with one of {', '.join(fields)}", fields)
        return
    for field, value in plan.items():
        if field in fields and field != "type" and not is_unset(value) and number_of(value) is None:
            raise _refusal(error, f"{name}.{field}", value, f"`{name}.{field}` is a number")
    kind, choices = plan.get("type"), ("stop", "stop_limit", "trailing_stop")
    if "type" in fields and not is_unset(kind) and (not isinstance(kind, str) or kind.lower() not in choices):
        raise _refusal(error, f"{name}.type", kind, f"`{name}.type` is one of {', '.join(choices)}", choices)


def _refusal(error: str, field: str, got: Any, says: str, allowed: object = None) -> InvalidDraft:
    return InvalidDraft(
        f"{says}, got {got!r:.80}" if got is not None else says, field=field, got=got if got is None else str(got)[:80],
        allowed=list(allowed) if isinstance(allowed, tuple) else allowed, sender_error=error,
    )  # fmt: skip
