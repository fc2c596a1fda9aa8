"""OKX signal bots: alerts of strategies (the order and the position) and the universal form (`ENTER_LONG` ...).

Owns: which fields there are. What verbs and positions mean is in orders.py and templates.py.
Laws: signals end at `timestamp` + `maxLag` where both are there; an exit of less than 100 `percentage_position` is a
reduce. `id` is the name of the order, not of the alert, so it is no key: the time in the message makes a retry known.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar

from catalyst_signals.errors import InvalidDraft
from catalyst_signals.ingest import Reading, objects_in
from catalyst_signals.ingest.orders import verb_of
from catalyst_signals.ingest.plans import ends_at, is_part, is_unset, moment_of
from catalyst_signals.ingest.templates import drafts_of, sort

ACTIONS = ("buy", "sell", "ENTER_LONG", "EXIT_LONG", "ENTER_SHORT", "EXIT_SHORT")
_KNOWN = frozenset((
    "instrument", "action", "marketPosition", "prevMarketPosition", "marketPositionSize", "timestamp", "orderType",
    "price", "orderPrice", "exchange", "idempotency_key",
))  # fmt: skip
_SPOT = re.compile(r"[A-Z0-9]{1,20}-[A-Z]{3,5}")  # An instrument id of OKX's own; of a swap it ends in -SWAP.


class Okx:
    """What TradingView, or a program, sends to OKX."""

    name = "okx"
    PASTE: ClassVar[str] = """\
In TradingView's alert, in place of OKX's webhook URL, paste

  {url}

and leave the message as OKX shows it; for a strategy:

  {"id": "{{strategy.order.id}}", "action": "{{strategy.order.action}}", "instrument": "{{ticker}}",
   "marketPosition": "{{strategy.market_position}}", "prevMarketPosition": "{{strategy.prev_market_position}}",
   "signalToken": "...", "timestamp": "{{timenow}}", "maxLag": "60"}

or, from anything else:

  {"action": "ENTER_LONG", "instrument": "{{ticker}}", "signalToken": "...", "timestamp": "{{timenow}}",
   "maxLag": "60"}

The `signalToken` is never kept; `--body-token signalToken=...` lets in only messages that have it.
"""

    def read(self, raw: bytes, content_type: str) -> Reading:
        """The signals of one alert, or of a list of them."""
        return Reading(drafts=[draft for doc in objects_in(raw, "an alert for OKX") for draft in _signals(doc)])


def _signals(doc: dict[str, Any]) -> list[dict[str, Any]]:
    action, verb = doc.get("action"), verb_of(doc.get("action"))
    if verb is None or verb[0] not in ("trade", "open", "close") or (verb[0] == "close" and is_unset(action)):
        text = f"`action` is none that OKX knows, got {str(action)[:80]!r}"
        raise InvalidDraft(text, field="action", got=str(action)[:80], allowed=list(ACTIONS))
    if is_unset(doc.get("instrument")):
        text = "the alert names no `instrument`"
        raise InvalidDraft(text, field="instrument", allowed='"instrument": "BTC-USDT-SWAP" or "BTCUSDT.P"')
    drafts = drafts_of(sort(doc, _KNOWN))
    if _is_part(doc):
        drafts = [draft | {"action": "reduce"} if draft["action"] == "close" else draft for draft in drafts]
    for draft in drafts:
        if _SPOT.fullmatch(str(doc["instrument"]).strip()):
            draft["instrument"]["asset_class"] = "crypto_spot"
    sent = moment_of(doc.get("timestamp"))
    ends = ends_at(sent, doc.get("maxLag")) if sent is not None else None
    return [draft | ({} if ends is None else {"expires_at": ends}) for draft in drafts]


def _is_part(doc: dict[str, Any]) -> bool:
    """Whether an exit is of a part of the position: `percentage_position` of less than 100."""
    return str(doc.get("investmentType", "")).strip().lower() == "percentage_position" and is_part(doc.get("amount"))
