"""3Commas: what is posted to its signal bots and to its DCA bots.

Owns: the two forms and their percentages. What verbs and positions mean is in orders.py, prices in plans.py.
Laws: `price_percent` and the like are offsets. A DCA bot's message does not say whether the bot is long or short: what
opens is refused unless the source has the option `direction`. Switching a bot on or off is no signal.

Signals end at `timestamp` + `max_lag`. There is no key of the sender's own: the time in a message makes a retry known.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, ClassVar

from catalyst_signals.errors import InvalidDraft
from catalyst_signals.ingest import Reading, objects_in
from catalyst_signals.ingest.levels import Level, add_levels
from catalyst_signals.ingest.plans import (
    ends_at,
    fraction_of,
    is_unset,
    level_of,
    moment_of,
    percent_of,
    price_of,
)
from catalyst_signals.ingest.templates import drafts_of, sort

SIGNAL_ACTIONS = ("enter_long", "exit_long", "enter_short", "exit_short", "buy", "sell")
_KNOWN = frozenset((
    "tv_exchange", "tv_instrument", "pair", "action", "trigger_price", "timestamp", "strategy_info", "idempotency_key",
))  # fmt: skip
_PLANS = ("order", "take_profit", "stop_loss")
_STARTS = ("", "start_deal", "start_bot_and_start_deal", "start_and_open")
_ADDS = ("add_funds_in_quote", "add_funds_in_base", "add_funds")
_CLOSES = (
    "close_at_market_price", "close_at_market_price_all", "panic_sell", "panic_sell_all_deals",
    "stop_bot_and_panic_sell", "close_deal", "stop_bot_and_close_deals",
)  # fmt: skip
_CANCELS = ("cancel", "cancel_deal", "cancel_all_deals", "stop_bot_and_cancel_deals")
_SWITCHES = ("start_bot", "stop_bot")
_DCA_ACTIONS = (*_STARTS[1:], *_ADDS, *_CLOSES, *_CANCELS, *_SWITCHES)


class ThreeCommas:
    """What TradingView, or a program, sends to 3Commas."""

    name = "threecommas"
    OPTIONS: ClassVar[dict[str, tuple[str, ...]]] = {"direction": ("long", "short")}
    PASTE: ClassVar[str] = """\
In TradingView's alert, in place of 3Commas' webhook URL, paste

  {url}

and leave the message as 3Commas shows it; for a signal bot:

  {"secret": "...", "max_lag": "300", "timestamp": "{{timenow}}", "trigger_price": "{{close}}",
   "tv_exchange": "{{exchange}}", "tv_instrument": "{{ticker}}", "action": "enter_long", "bot_uuid": "..."}

The `secret` is never kept; `--body-token secret=...` lets in only messages that have it. A DCA bot's message does not
say which way its bot trades: give `--option direction=long` (or short).
"""

    def __init__(self, direction: str = "") -> None:
        """`direction` is that of the DCA bot, where the source is one's."""
        self._direction = direction

    def read(self, raw: bytes, content_type: str) -> Reading:
        """The signals of one message, or of a list of them."""
        drafts = []
        for doc in objects_in(raw, "a message to 3Commas"):
            is_dca = "message_type" in doc or ("bot_id" in doc and "tv_instrument" not in doc)
            drafts += self._of_dca_bot(doc) if is_dca else _of_signal_bot(doc)
        return Reading(drafts=drafts)

    def _of_dca_bot(self, doc: dict[str, Any]) -> list[dict[str, Any]]:
        action = "" if is_unset(doc.get("action")) else str(doc["action"]).strip().lower()
        if action in _SWITCHES:
            return []
        if action not in ("", *_DCA_ACTIONS):
            text = f"`action` is nothing a DCA bot knows, got {action[:80]!r}"
            raise InvalidDraft(text, field="action", got=action, allowed=list(_DCA_ACTIONS))
        if is_unset(doc.get("pair")):
            text = "the message names no pair: nobody outside 3Commas knows which one its bot trades"
            raise InvalidDraft(text, field="pair", allowed='"pair": "USDT_BTC"')
        verb = "close" if action in _CLOSES else "cancel" if action in _CANCELS else "open"
        verb = "increase" if action in _ADDS else verb
        if verb in ("open", "increase") and not self._direction:
            text = "a DCA bot's message does not say whether its bot is long or short"
            allowed = "the option `direction` of this source: catalyst ingest add threecommas --option direction=long"
            raise InvalidDraft(text, field="direction", allowed=allowed)
        given = {**doc, "action": verb}
        if self._direction and verb != "cancel":
            given["direction"] = self._direction
        drafts = drafts_of(sort(given, _KNOWN | {"direction"}))
        for draft in drafts:
            draft.setdefault("extras", {})["action"] = action or "start_deal"
        return drafts


def _of_signal_bot(doc: dict[str, Any]) -> list[dict[str, Any]]:
    action = doc.get("action")
    if not isinstance(action, str) or action.strip().lower() not in SIGNAL_ACTIONS:
        text = f"`action` is nothing a signal bot knows, got {str(action)[:80]!r}"
        raise InvalidDraft(text, field="action", got=str(action)[:80], allowed=list(SIGNAL_ACTIONS))
    if is_unset(doc.get("tv_instrument")):
        text = "the message names no instrument"
        raise InvalidDraft(text, field="tv_instrument", allowed='"tv_instrument": "{{ticker}}"')
    rest = {name: value for name, value in doc.items() if name not in _PLANS or not isinstance(value, dict)}
    drafts = drafts_of(sort(rest, _KNOWN))
    sent = moment_of(doc.get("timestamp"))
    ends = ends_at(sent, doc.get("max_lag")) if sent is not None else None
    for draft in drafts:
        if ends is not None:
            draft["expires_at"] = ends
    for name in _PLANS:
        if drafts and isinstance(doc.get(name), dict):
            _PLAN_OF[name](drafts[-1], doc[name])
    return drafts


def _order(draft: dict[str, Any], order: dict[str, Any]) -> None:
    """A limit price is where to enter; amounts are kept aside: friends differ in size."""
    kind, price = str(order.get("order_type", "")).lower(), price_of(order.get("price"))
    if draft["action"] in ("open", "increase"):
        if kind == "limit" and price is not None:
            draft["entry"] = {"type": "limit", "price": price}
        elif kind == "market":
            draft["entry"] = {"type": "market"}
    _keep(draft, "order", order)


def _take_profit(draft: dict[str, Any], plan: dict[str, Any]) -> None:
    steps = plan.get("steps")
    if _is_off(plan):
        return
    if not isinstance(steps, list) or not all(isinstance(step, dict) for step in steps):
        _keep(draft, "take_profit", plan)
        return
    add_levels(draft, [Level("target", "take_profit", step, _target(draft, step)) for step in steps])


def _target(draft: dict[str, Any], step: dict[str, Any]) -> dict[str, Any] | None:
    way = 1 if draft.get("direction") == "long" else -1
    level = None
    if not is_unset(step.get("price_percent")):
        level = percent_of(step["price_percent"], way=way, stop=False)
    elif not is_unset(step.get("price")):
        level = level_of(step["price"], way=way, near=_near(draft), sure=True, stop=False)
    part = fraction_of(step.get("volume_percent"))
    return level if level is None or part is None else {**level, "fraction": part}


def _stop_loss(draft: dict[str, Any], plan: dict[str, Any]) -> None:
    if _is_off(plan):
        return
    way = 1 if draft.get("direction") == "long" else -1
    level = None
    percent = plan.get("trigger_price_percent", plan.get("price_percent"))
    if not is_unset(percent):
        level = percent_of(percent, way=way, stop=True)
    elif not is_unset(plan.get("trigger_price")):
        level = level_of(plan["trigger_price"], way=way, near=_near(draft), sure=True, stop=True)
    add_levels(draft, [Level("stop", "stop_loss", plan, level)])


def _near(draft: dict[str, Any]) -> Decimal | None:
    text = draft.get("entry", {}).get("price") or draft.get("reference_price")
    return None if text is None else Decimal(text)


def _is_off(plan: dict[str, Any]) -> bool:
    return str(plan.get("enabled", True)).lower() in ("false", "0", "no")


def _keep(draft: dict[str, Any], name: str, value: Any) -> None:
    draft.setdefault("extras", {})[name] = value


_PLAN_OF = {"order": _order, "take_profit": _take_profit, "stop_loss": _stop_loss}
