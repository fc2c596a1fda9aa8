"""Altrady's webhook signals: open, increase, reduce, close and reverse a position; bots that are switched on or off.

Owns: its actions and its percentages. What positions mean is in orders.py, prices in plans.py, exchanges in venues.py.
Laws: `price_percentage` and the like are offsets; without a `side` nothing opens. Starting or stopping a bot is no
signal. The sender's own key is `signal_id`.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, ClassVar

from catalyst_signals.errors import InvalidDraft
from catalyst_signals.ingest import Reading, objects_in
from catalyst_signals.ingest.levels import Level, add_levels
from catalyst_signals.ingest.plans import fraction_of, is_unset, level_of, percent_of
from catalyst_signals.ingest.templates import drafts_of, sort

ACTIONS = {
    "open": "open", "increase": "increase", "reduce": "reduce", "close": "close", "reverse": "reverse",
    "start_and_open": "open", "stop_and_close": "close",
}  # fmt: skip
SWITCHES = ("start_bot", "stop_bot")
_KNOWN = frozenset((
    "symbol", "exchange", "action", "direction", "signal_price", "order_type", "signal_id", "limit_price",
))  # fmt: skip


class Altrady:
    """What TradingView, an Altrady alert or a program sends to Altrady."""

    name = "altrady"
    PASTE: ClassVar[str] = """\
In the alert, in place of Altrady's webhook URL, paste

  {url}

and leave the message as Altrady's Webhook Builder shows it:

  {"api_key": "...", "api_secret": "...", "action": "open", "side": "long",
   "exchange": "BYBI", "symbol": "BYBI_USDT_SOL", "signal_price": "{{close}}", "signal_id": "{{timenow}}"}

Key and secret are never kept; `--body-token api_secret=...` lets in only messages that have it.
"""

    def read(self, raw: bytes, content_type: str) -> Reading:
        """The signals of one message, or of a list of them."""
        docs = objects_in(raw, "a signal for Altrady")
        key = docs[0].get("signal_id") if len(docs) == 1 else None
        drafts = [draft for doc in docs for draft in _signals(doc)]
        return Reading(drafts=drafts, id="" if is_unset(key) else str(key))


def _signals(doc: dict[str, Any]) -> list[dict[str, Any]]:
    said = "open" if is_unset(doc.get("action")) else str(doc["action"]).strip().lower()
    if said in SWITCHES:
        return []
    if said not in ACTIONS:
        text = f"`action` is none that Altrady knows, got {said[:80]!r}"
        raise InvalidDraft(text, field="action", got=said[:80], allowed=[*ACTIONS, *SWITCHES])
    side, action = _side(doc, ACTIONS[said]), ACTIONS[said]
    if is_unset(doc.get("symbol")):
        raise InvalidDraft("the signal names no `symbol`", field="symbol", allowed='"symbol": "BINA_USDT_BTC"')
    given = {name: value for name, value in doc.items() if name not in ("side", "take_profit", "stop_loss")}
    given |= {"action": action} | ({"direction": side} if side and action != "reverse" else {})
    if action == "reverse":
        given |= {"action": "open", "direction": side}
    drafts = drafts_of(sort(given, _KNOWN))
    if action == "reverse":
        other = "short" if side == "long" else "long"
        plain = {name: value for name, value in drafts[0].items() if name != "entry"}
        drafts.insert(0, plain | {"action": "close", "direction": other})
    for draft in drafts:  # Altrady names spot and futures exchanges apart.
        if "venue" in draft["instrument"] and action != "reverse":
            draft["instrument"].setdefault("asset_class", "crypto_spot")
    _plan(drafts[-1], doc)
    return drafts


def _side(doc: dict[str, Any], action: str) -> str | None:
    """long, short, or None where it may be left out.

    Raises:
        InvalidDraft: it may not, or is neither.
    """
    side = None if is_unset(doc.get("side")) else str(doc["side"]).strip().lower()
    if side not in (None, "long", "short") or (side is None and action in ("open", "increase", "reverse")):
        text = f"`side` is long or short, {'it is missing' if side is None else f'got {side[:80]!r}'}"
        raise InvalidDraft(text, field="side", got=side and side[:80], allowed=["long", "short"])
    return side


def _plan(draft: dict[str, Any], doc: dict[str, Any]) -> None:
    way = 1 if draft.get("direction") == "long" else -1
    near = draft.get("entry", {}).get("price") or draft.get("reference_price")
    beside = None if near is None else Decimal(near)
    levels = []
    plans = doc.get("take_profit")
    for plan in plans if isinstance(plans, list) else [] if is_unset(plans) else [plans]:
        level = _level(plan, ("price_percentage", "percentage"), ("price",), way, beside, False)
        part = fraction_of(plan.get("position_percentage")) if isinstance(plan, dict) else None
        meaning = None if level is None else level | ({} if part is None else {"fraction": part})
        levels.append(Level("target", "take_profit", plan, meaning))
    stop = doc.get("stop_loss")
    if not is_unset(stop):
        names = ("stop_percentage", "price_percentage")
        level = _level(stop, names, ("stop_price", "price"), way, beside, True)
        levels.append(Level("stop", "stop_loss", stop, level))
    add_levels(draft, levels)


def _level(
    plan: Any, percents: tuple[str, ...], prices: tuple[str, ...], way: int, near: Decimal | None, stop: bool
) -> dict[str, Any] | None:
    if not isinstance(plan, dict):
        return None
    for name in prices:
        if not is_unset(plan.get(name)):
            return level_of(plan[name], way=way, near=near, sure=True, stop=stop)
    percent = next((plan[name] for name in percents if not is_unset(plan.get(name))), None)
    return None if percent is None else percent_of(percent, way=way, stop=stop)
