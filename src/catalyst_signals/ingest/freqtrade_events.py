"""freqtrade's events: what an entry, an exit, a fill or a cancel of its trades is as a signal.

Owns: the names of its events and fields, and the texts of its documentation's sample. Knows nothing of how they come
(freqtrade.py, freqtrade_ws.py). What fields mean beside them is in templates.py.
Law: only an entry or an exit is a signal. Status, protection and start-up messages are none; a cancelled exit is no
close; a partial exit is a reduce; an entry needs its direction. Values are texts, and `None` means that there is none.

The sender's own key is event, trade and what tells this event of the trade from others (order, dates, rates), where the
body names a trade and one of these: a database that is made anew counts its trades from 1 again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from hashlib import sha256
from typing import Any

from catalyst_signals.errors import InvalidDraft
from catalyst_signals.ingest import Reading, redact
from catalyst_signals.ingest.notes import add_note
from catalyst_signals.ingest.orders import verb_of
from catalyst_signals.ingest.plans import is_unset, number_of, price_of
from catalyst_signals.ingest.templates import drafts_of, sort
from catalyst_signals.kinds import TEXT_CHARS_MAX, WORD, as_time

_ENTRY, _EXIT = ("entry", "buy"), ("exit", "sell")
EVENTS = {
    f"{prefix}{word}{tail}": f"{kind}{suffix}"
    for kind, words in (("entry", _ENTRY), ("exit", _EXIT))
    for word in words
    for tail, suffix in (
        ("", ""),
        ("fill", "_fill"),
        ("filled", "_fill"),
        ("cancel", "_cancel"),
        ("cancelled", "_cancel"),
    )
    for prefix in ("", "webhook")
} | {"enter": "entry", "partialexit": "exit", "partial_exit": "exit"}
_NO_SIGNAL = frozenset((
    "status", "startup", "warning", "exception", "protectiontrigger", "protectiontriggerglobal", "strategymsg",
    "whitelist", "analyzeddf", "newcandle", "wallet", "running", "stopped", "reloadconfig",
))  # fmt: skip
_EVENT_NAMES = (
    "event", "event_type", "type", "message_type", "msg_type", "webhook", "action", "command", "signal", "status",
)  # fmt: skip
_PAIR_NAMES = ("pair", "symbol", "ticker", "instrument", "market", "trading_pair", "coin")
_RATES = {
    "entry": ("limit", "open_rate", "entry_rate", "order_rate", "rate", "price", "entry_price", "current_rate"),
    "exit": ("close_rate", "limit", "exit_rate", "order_rate", "rate", "price", "exit_price", "current_rate"),
}
_DATES = {
    kind: (f"{name}_date", f"{kind}_date", "date", "time", "timestamp")
    for kind, name in (("entry", "open"), ("exit", "close"))
}
_ORDERS = ("order_id", "order", "ft_order_id", "exchange_order_id")
_TELLS_APART = (
    "open_date", "close_date", "open_rate", "close_rate", "limit", "rate", "price", "amount", "stake_amount",
    "profit_ratio", "profit_amount", "is_final_exit",
)  # fmt: skip

_PAIR = r"(?P<pair>[A-Z0-9.]{1,20}[/_-][A-Z0-9]{2,10}(?::[A-Z0-9]{2,10})?|[A-Z0-9]{5,20})"
_TEXTS = tuple(
    (event, way, re.compile(rf"(?:^|[^\w])(?:{words}) +#?{_PAIR}(?: filled)?(?![\w/])", re.IGNORECASE))
    for event, way, words in (
        ("entry_cancel", "", "cancell?ing open (?:buy|entry|enter|long|short) order for"),
        ("entry_cancel", "", "cancell?ed (?:buy|entry|enter)(?: order)?(?: for)?"),
        ("exit_cancel", "", "cancell?ing open (?:exit|sell) order for|cancell?ed (?:sell|exit)(?: order)?(?: for)?"),
        ("entry_fill", "long", "buy order for|bought|long order for"),
        ("entry_fill", "short", "short order for|shorted"),
        ("entry_fill", "", "entry order for|entered"),
        ("exit_fill", "", "(?:exit|sell) order for|sold|exited"),
        ("entry", "long", "buying|entering long|long entry(?: for)?|opening long"),
        ("entry", "short", "shorting|entering short|short entry(?: for)?|opening short"),
        ("entry", "", "entering|opening"),
        ("exit", "", "exiting(?: (?:long|short))?|selling|closing(?: (?:long|short))?"),
    )
)  # fmt: skip
_RATE_IN_TEXT = re.compile(
    r"(?:^|\s)(limit|at|rate|price)[ :=@]+(?P<rate>[0-9]+(?:\.[0-9]+)?)\.?(?=\s|$)", re.IGNORECASE
)
_SALE = re.compile(r"\W*(?:webhook)?(?:sell|sold)", re.IGNORECASE)
_NAIVE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?")


def reading_of(fields: dict[str, Any], *, fills: str) -> Reading:
    """The signal of one event by its fields; none for events that are no instruction.

    Of an order and its fill, `fills` says which is a signal: both ("signal"), the order ("ignore"), the fill ("only").

    Raises:
        InvalidDraft: an entry or an exit does not say of what, which way or how much of it.
    """
    event, way = _event(fields)
    if event is None:
        return _without_event(fields)
    if not event or (fills == "ignore" and event.endswith("_fill")) or (fills == "only" and event in ("entry", "exit")):
        return Reading(drafts=[])
    _check_clear(fields, event)
    if is_unset(_first(fields, _PAIR_NAMES)):
        raise InvalidDraft(f"the {event} names no pair", field="pair", allowed='"pair": "{pair}"')
    return Reading(drafts=[_draft(fields, event, way)], id=_key(fields, event))


def _event(fields: dict[str, Any]) -> tuple[str | None, str]:
    """The event and the way it says itself, "long" or "short"; "" for one that is no signal, None when nothing says."""
    for name in _EVENT_NAMES:
        value = fields.get(name)
        if not isinstance(value, str) or is_unset(value):
            continue
        word = re.sub(r"[\W_]", "", value.rpartition(".")[2].lower())
        if word in _NO_SIGNAL:
            return "", ""
        if word in EVENTS:
            return EVENTS[word], "long" if word.startswith(("buy", "webhookbuy")) else ""
        verb = verb_of(value)
        if verb is not None and verb[0] in ("open", "close", "hold") and verb[1]:
            kind = "exit" if verb[0] == "close" else "entry"
            return kind, "long" if verb[1] > 0 else "short"
    for text in _texts(fields):
        for event, way, pattern in _TEXTS:
            found = pattern.search(text)
            if found is not None and _is_pair(found["pair"]):
                fields.setdefault("pair", found["pair"])
                return event, way
    return None, ""


def _texts(fields: dict[str, Any]) -> Iterator[str]:
    return (value for value in fields.values() if isinstance(value, str) and len(value) <= TEXT_CHARS_MAX)


def _check_clear(fields: dict[str, Any], event: str) -> None:
    """freqtrade says "sell" of the exit of a long; of a short it may be either.

    Raises:
        InvalidDraft: it says both.
    """
    words = [value for name in _EVENT_NAMES if isinstance(value := fields.get(name), str)]
    sale = any(_SALE.match(word) for word in [*words, *_texts(fields)])
    if event.startswith("exit") and sale and _direction(fields) == "short":
        text = "a sale beside the direction short: is it the entry or the exit?"
        raise InvalidDraft(text, field="event", allowed='"event": "entry" or "event": "exit"')


def _is_pair(text: str) -> bool:
    return text.isupper() or "/" in text


def _without_event(fields: dict[str, Any]) -> Reading:
    """Nothing names an event: no signal, unless there is a pair, for then something was meant.

    Raises:
        InvalidDraft: says which field has to say it.
    """
    pair = _first(fields, _PAIR_NAMES)
    if is_unset(pair):
        return Reading(drafts=[])
    text = f"the message for {str(pair)[:40]} says no event"
    raise InvalidDraft(text, field="event", allowed='"event": "entry" in the dict `entry`, "exit" in `exit` ...')


def _draft(fields: dict[str, Any], event: str, way: str) -> dict[str, Any]:
    kind = event.partition("_")[0]
    way = _direction(fields) or way
    action = _action(fields, event, kind)
    if action in ("open", "increase") and not way:
        raise InvalidDraft(f"the {event} says no direction", field="direction", allowed='"direction": "{direction}"')
    doc, notes = _known(fields, event, kind)
    draft = drafts_of(sort(doc | {"action": action if action == "cancel" else f"{_VERB[action]}{way}"}))[-1]
    if way:
        draft["direction"] = way
    if "/" in doc["symbol"] and ":" not in doc["symbol"] and way != "short" and _unlevered(fields):
        draft["instrument"].setdefault("asset_class", "crypto_spot")  # What futures settle in stands behind a colon.
    tag = _first(fields, ("enter_tag", "tag", "buy_tag"))
    if isinstance(tag, str) and not is_unset(tag) and len(tag) <= 64 and tag.strip().isprintable():
        draft["tags"] = [WORD.check(tag, "tags")]
    trade = fields.get("trade_id")
    if isinstance(trade, str | int) and not is_unset(trade) and len(str(trade)) <= 32 and "~" not in str(trade):
        draft.setdefault("extras", {})["trade_id"] = trade
    if event.endswith("_cancel"):
        notes.append(f"an order is withdrawn, {'the position stays open' if kind == 'exit' else 'nothing was opened'}")
    add_note(draft, *notes)
    return draft


_VERB = {"open": "open", "increase": "add", "close": "close", "reduce": "reduce"}


def _action(fields: dict[str, Any], event: str, kind: str) -> str:
    if event.endswith("_cancel"):
        return "cancel"
    part = _is(fields, "sub_trade", "true")
    if kind == "entry":
        return "increase" if part else "open"
    partial = _is(fields, "event", "partial_exit") or _is(fields, "type", "partial_exit")
    final = _is(fields, "is_final_exit", "true")
    # While an exit is only ordered the trade is open, so freqtrade says it is not the final one: `sub_trade` tells.
    told = event.endswith("_fill") or is_unset(fields.get("sub_trade"))
    not_final = told and _is(fields, "is_final_exit", "false")
    return "reduce" if (part and not final) or partial or not_final else "close"


def _known(fields: dict[str, Any], event: str, kind: str) -> tuple[dict[str, Any], list[str]]:
    """The fields as templates.py names them, the rest under `extras`, and what has to be said of them."""
    rate_name = next((name for name in _RATES[kind] if price_of(fields.get(name)) is not None), "")
    word, rate = next((found.groups() for text in _texts(fields) if (found := _RATE_IN_TEXT.search(text))), ("", None))
    rate = fields.get(rate_name) or rate
    date_name = next((name for name in _DATES[kind] if _time(fields.get(name)) is not None), "")
    order_type = "" if is_unset(fields.get("order_type")) else str(fields["order_type"]).lower()
    limit = event == "entry" and (order_type == "limit" or (not order_type and (rate_name or word) == "limit"))
    pair = _first(fields, _PAIR_NAMES)
    doc: dict[str, Any] = {
        "symbol": str(pair).strip(), "exchange": _first(fields, ("exchange",)), "time": _time(fields.get(date_name)),
        "strategy": _first(fields, ("strategy", "bot_name")), "limitprice" if limit else "price": rate,
    }  # fmt: skip
    if event == "entry" and order_type in ("limit", "market"):
        doc["ordertype"] = order_type
    used = {
        *_EVENT_NAMES,
        *_PAIR_NAMES,
        "exchange",
        "direction",
        "side",
        "order_type",
        rate_name,
        "strategy",
        "bot_name",
    }
    used |= {"trade_id", date_name}
    rest = {name: value for name, value in fields.items() if name not in used and not is_unset(value)}
    doc["extras"] = {name: redact(value) if isinstance(value, str) else value for name, value in rest.items()}
    levels = [name for name in rest if "stop" in name.lower() or "take_profit" in name.lower()]
    return doc, [f"kept under extras: {', '.join(levels)}"] if levels else []


def _unlevered(fields: dict[str, Any]) -> bool:
    leverage = fields.get("leverage")
    return is_unset(leverage) or number_of(leverage) == 1


def _direction(fields: dict[str, Any]) -> str:
    """long or short as a field says it.

    Raises:
        InvalidDraft: two fields say different things.
    """
    said = {}
    for name in ("direction", "side", "trade_direction", "position_side"):
        verb = verb_of(fields.get(name))
        if verb is not None and verb[0] == "hold" and verb[1]:
            said[name] = "long" if verb[1] > 0 else "short"
    if not is_unset(fields.get("is_short")):
        said["is_short"] = "short" if _is(fields, "is_short", "true") else "long"
    if len(set(said.values())) > 1:
        names = " and ".join(f"`{name}`" for name in said)
        raise InvalidDraft(f"{names} say different directions", field="direction", got=str(said))
    return next(iter(said.values()), "")


def _key(fields: dict[str, Any], event: str) -> str:
    trade, order = (
        fields.get("trade_id"),
        next((fields[name] for name in _ORDERS if not is_unset(fields.get(name))), None),
    )
    told = [str(order)] if order is not None else [str(fields.get(name)) for name in _TELLS_APART]
    if is_unset(trade) or all(is_unset(each) for each in told):
        return ""
    return f"{event}-{sha256(repr((event, str(trade), told)).encode()).hexdigest()[:32]}"


def _first(fields: dict[str, Any], names: tuple[str, ...]) -> Any:
    return next(
        (fields[name] for name in names if isinstance(fields.get(name), str) and not is_unset(fields[name])), None
    )


def _is(fields: dict[str, Any], name: str, value: str) -> bool:
    return str(fields.get(name)).strip().lower() == value


def _time(value: object) -> str | None:
    """A date as freqtrade writes it, which is UTC where it does not say."""
    if not isinstance(value, str):
        return None
    text = f"{value}Z" if _NAIVE.fullmatch(value) else value
    return text if as_time(text) is not None else None
