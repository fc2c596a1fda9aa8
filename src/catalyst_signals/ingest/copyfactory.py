"""CopyFactory (MetaApi): the trading signals that are posted to its webhooks.

Owns: its types of trades. What prices mean is in plans.py and templates.py.
Laws: `stopLoss` and `takeProfit` are prices, as CopyFactory documents them, unless `stopLossUnits` or `takeProfitUnits`
say otherwise; a stop beyond the target is kept aside. There is no key of the sender's own: `time` makes a retry known.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, ClassVar

from catalyst_signals.errors import InvalidDraft
from catalyst_signals.ingest import Reading, objects_in
from catalyst_signals.ingest.levels import Level, add_levels
from catalyst_signals.ingest.plans import is_unset, level_of, price_of
from catalyst_signals.ingest.templates import drafts_of, sort

TYPES = {
    "POSITION_TYPE_BUY": ("long", "market"), "POSITION_TYPE_SELL": ("short", "market"),
    "ORDER_TYPE_BUY": ("long", "market"), "ORDER_TYPE_SELL": ("short", "market"),
    "ORDER_TYPE_BUY_LIMIT": ("long", "limit"), "ORDER_TYPE_SELL_LIMIT": ("short", "limit"),
    "ORDER_TYPE_BUY_STOP": ("long", "stop"), "ORDER_TYPE_SELL_STOP": ("short", "stop"),
}  # fmt: skip
_KNOWN = frozenset(("symbol", "direction", "action", "time", "idempotency_key", "signalId"))
_LEVELS = {"stopLoss": "stop", "takeProfit": "target"}


class CopyFactory:
    """What TradingView, or a program, sends to a CopyFactory webhook."""

    name = "copyfactory"
    PASTE: ClassVar[str] = """\
In place of the address of CopyFactory's webhook, put

  {url}

and leave the message as it is:

  {"symbol": "{{ticker}}", "type": "POSITION_TYPE_BUY", "time": "{{timenow}}", "volume": 0.01,
   "stopLoss": 0.4, "takeProfit": 0.6}
"""

    def read(self, raw: bytes, content_type: str) -> Reading:
        """The signals of one message, or of a list of them."""
        docs = objects_in(raw, "a signal for CopyFactory")
        key = docs[0].get("signalId") if len(docs) == 1 else None
        return Reading(drafts=[draft for doc in docs for draft in _signals(doc)], id="" if is_unset(key) else str(key))


def _signals(doc: dict[str, Any]) -> list[dict[str, Any]]:
    if is_unset(doc.get("symbol")):
        raise InvalidDraft("the signal names no `symbol`", field="symbol", allowed='"symbol": "EURUSD"')
    type = str(doc.get("type", "")).strip().upper()
    if type not in TYPES:
        text = f"`type` is none that CopyFactory knows, got {str(doc.get('type'))[:80]!r}"
        raise InvalidDraft(text, field="type", got=str(doc.get("type"))[:80], allowed=list(TYPES))
    direction, kind = TYPES[type]
    price = price_of(doc.get("openPrice"))
    if kind != "market" and price is None:
        text = f"a pending order needs the `openPrice` it opens at, {type} has none"
        raise InvalidDraft(text, field="openPrice", got=str(doc.get("openPrice"))[:80], allowed='"openPrice": 1.0825')
    plain = {name: value for name, value in doc.items() if name not in _LEVELS and name != "type"}
    if kind != "market":
        plain.pop("openPrice")
    (draft,) = drafts_of(sort(plain | {"action": "open", "direction": direction}, _KNOWN))
    draft["entry"] = {"type": kind} if kind == "market" else {"type": kind, "price": price}
    near = Decimal(price) if price is not None and kind != "market" else None
    way = 1 if direction == "long" else -1
    add_levels(draft, [
        Level(role, name, doc[name], _level(doc, name, way, near, role == "stop"))
        for name, role in _LEVELS.items() if not is_unset(doc.get(name)) and price_of(doc[name]) is not None
    ])  # fmt: skip
    return [draft]


def _level(doc: dict[str, Any], name: str, way: int, near: Decimal | None, stop: bool) -> dict[str, Any] | None:
    units = doc.get(f"{name}Units")
    if not is_unset(units) and str(units).upper() != "ABSOLUTE_PRICE":
        return None
    return level_of(doc[name], way=way, near=near, sure=True, stop=stop)
