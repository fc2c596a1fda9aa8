"""Alerts as JSON templates: fields under many spellings, sorted by what they mean, become drafts.

Owns: which spelling means what. What verbs, positions and prices mean is in orders.py and plans.py; which sender it
was is not known here. Law: what is not understood is kept under `extras`, and `note` says so where it was a stop or
a target.

The price of an alert is `reference_price`, for it is where the market was; `entry` needs a limit price by name. Sizes
are kept under `extras`: friends differ in size. A body that is only market data, or has neither a symbol nor an action,
holds no signal.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from functools import lru_cache
from typing import Any

from catalyst_signals.errors import InvalidDraft, InvalidRequest
from catalyst_signals.ingest import NAME_CHARS_KEPT, redact, without_secrets
from catalyst_signals.ingest.levels import Level, add_levels, put
from catalyst_signals.ingest.orders import (
    DIRECTION,
    Verb,
    directed,
    instructions,
    position_before,
    position_of,
    sign,
    verb_of,
)
from catalyst_signals.ingest.plans import instrument_of, is_unset, level_of, moment_of, number_of, price_of
from catalyst_signals.kinds import TEXT_CHARS_MAX
from catalyst_signals.signals import FIELDS, OURS
from catalyst_signals.vocabulary import ENTRY_TYPES

_ROLES = {
    "symbol": "ticker symbol instrument pair tvinstrument tickerid",
    "exchange": "exchange tvexchange venue",
    "action": "action side order signal orderaction strategyorderaction command cmd transactiontype",
    "kind": "ordertype type",
    "price": "price close orderprice strategyorderprice signalprice triggerprice lastprice currentprice",
    "entry": "entry entryprice limitprice limit",
    "stop": "sl stop stoploss slprice stopprice stoplossprice slstopprice",
    "target": (
        "tp takeprofit target tpprice takeprofitprice targetprice targets takeprofits tps takeprofittargets "
        "tplimitprice"
    ),
    "now": "marketposition strategymarketposition sentiment position",
    "before": "prevposition prevmarketposition strategyprevmarketposition previousposition",
    "direction": "direction",
    "held": "positionside",
    "size": "positionsize strategypositionsize marketpositionsize strategymarketpositionsize",
    "contracts": "contracts quantity qty ordercontracts strategyordercontracts",
    "bar_time": "time bartime",
    "sent_time": "timenow timestamp alerttime",
    "strategy": "strategy strategyname bot",
    "title": "alertname comment alertmessage ordercomment strategyordercomment strategyorderalertmessage",
    "text": "message text content msg",
    "confidence": "confidence",
    "key": "idempotencykey signalid",
}
_ROLE_OF = {spelling: role for role, spellings in _ROLES.items() for spelling in spellings.split()}
_MARKET_DATA = frozenset((
    "open", "high", "low", "close", "volume", "price", "time", "timenow", "interval", "timeframe", "exchange",
    "currency",
))  # fmt: skip
_MARKET_DATA_ROLES = frozenset(("symbol", "exchange", "price", "bar_time", "sent_time"))
_VISIBLE = frozenset(("test", "staging"))
_NO_LETTER = re.compile(r"[^a-z0-9]")
_NUMBERED_TARGET = re.compile(r"(?:tp|takeprofit|target)(?:price)?[0-9]{1,2}(?:price)?")
_NUMBER_OF_TARGET = re.compile(r"(?:t|tp|target)?_?[0-9]{1,2}", re.IGNORECASE)
_EXIT_WORDS = re.compile(r"\s*(?:close|exit|cover|flatten|reduce)", re.IGNORECASE)
_EXIT_SWITCHES = frozenset(("reduceonly", "closeposition", "closeonly", "isexit", "exit", "close"))
_EXIT_FIELDS = frozenset((
    "comment", "orderid", "strategyorderid", "id", "intent", "position", "positioneffect", "reason", "tradetype",
))  # fmt: skip
_EVENTS = frozenset(("event", "eventtype", "signaltype", "tradetype", "alerttype", "data"))
_ALSO_SYMBOLS = frozenset(("asset", "market", "coin", "stock", "tradingpair", "currencypair", "instid"))
_TICKER = re.compile(r"[A-Z0-9]{1,20}(?:[A-Z0-9:/._-]{0,40}[A-Z0-9!])?")
_NO_TICKERS = frozenset(("SPOT", "FUTURES", "CRYPTO", "STOCKS", "FOREX", "LIVE", "PAPER", "OPEN", "CLOSED", "USDM"))
_ENDED = re.compile(
    r"(?:^|[^a-z])(?:tp ?[0-9]*|sl|take ?profit|stop ?loss|stopped|closed?|exit|exited|cancel|cancelled|breakeven|"
    r"trailing ?stop)(?:$|[^a-z])"
)
_ENDED_FIELDS = _EVENTS | {"type", "status", "state", "alert", "signal", "trigger", "exitreason", "reason"}
_UNIT_OF_LEVEL = re.compile(r"(.+?)_?(?:type|unit|units|mode)", re.IGNORECASE)
_ACTIONS = "buy, sell, long, short, flat, exit, close, add, reduce, cancel, watch, enter_long, exit_long ..."


Leaf = tuple[tuple[str, ...], Any, str | None]
"""A field of a body: its path, its value, and what it means."""


@dataclass(slots=True)
class Said:
    """A body sorted by what its fields mean.

    `names` are the sender's spellings, `levels` the stops and targets with theirs, `rest` what no role took.
    """

    roles: dict[str, Any] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    levels: list[tuple[str, str, Any]] = field(default_factory=list)
    verb: Verb | None = None
    rest: list[tuple[tuple[str, ...], Any]] = field(default_factory=list)


def drafts_of(said: Said) -> list[dict[str, Any]]:
    """The signals of a sorted body; none when it holds none.

    Raises:
        InvalidDraft: it means to say something, but not clearly; names what.
    """
    roles = said.roles
    now, before = _positions(said)
    if said.verb is None and now is not None and "action" not in roles:
        said.verb = ("hold", now)
    if said.verb is None:
        return _without_verb(said)
    if "symbol" not in roles:
        raise InvalidDraft("the alert names no instrument", field="ticker", allowed='"ticker": "{{ticker}}"')
    _check_clear(said, now, before)
    verb, word = directed(said.verb, roles.get("direction")), str(roles.get("action", roles.get("now")))
    steps = instructions(verb, now=now, before=before, said=word)
    return [_draft(said, action, way, at == len(steps) - 1) for at, (action, way) in enumerate(steps)]


def _without_verb(said: Said) -> list[dict[str, Any]]:
    """A body that does not say what to do: market data and status lines hold no signal, the rest is a mistake."""
    roles = said.roles
    if "action" in roles:
        name, got = said.names["action"], str(roles["action"])
        text = f"`{name}` is no instruction we know, got {got[:80]!r}"
        raise InvalidDraft(text, field=name, got=got, allowed=_ACTIONS)
    only_data = all(path[-1].lower() in _MARKET_DATA or path[0] == "bar" for path, _ in said.rest)
    if "symbol" not in roles or (only_data and _MARKET_DATA_ROLES.issuperset(roles) and not said.levels):
        return []
    text = f"the alert for {roles['symbol']} says no action"
    raise InvalidDraft(text, field="action", allowed=_ACTIONS)


def sort(doc: dict[str, Any], known: frozenset[str] | None = None) -> Said:
    """Every field of a body by its meaning; secrets and what means "not set" are left out.

    Of a dialect whose fields are all documented, and whose body is without secrets already, only those in `known` mean
    anything; others are kept as they are.
    """
    said = Said()
    clean = doc if known is not None else without_secrets(doc)
    found = [(path, value) for path, value in _leaves(clean) if not is_unset(value)]
    leaves = [
        (path, value, _role(path, value) if known is None or path[0] in known else None) for path, value in found
    ]  # fmt: skip
    if known is None:
        leaves = _with_events(leaves)
    several = len({verb_of(value) for _, value, role in leaves if role == "action"}) > 1
    for path, value, role in leaves:
        if role == "action" and several and path[-1].lower() == "side":
            role = "direction"  # Beside an action, a side says which way.
        if role == "action" and verb_of(value) is None and (role in said.roles or path[-1].lower() != "action"):
            role = None  # "order": "limit", "signal": "RSI": not what to do.
        if role in ("action", "direction") and role in said.roles:
            _check_agreement(said, role, path[-1], value)
        if role in ("stop", "target"):
            said.levels.extend(_each_level(role, path, value))
        elif role is None or role in said.roles or not _fits(role, value):
            said.rest.append((path, value))
        else:
            said.roles[role], said.names[role] = _normal(role, value), path[-1]
    if known is None and "symbol" not in said.roles:
        _symbol_by_another_name(said)
    said.verb = _beside_held(verb_of(said.roles.get("action", said.roles.get("direction"))), said.roles.get("held"))
    return said


def _beside_held(verb: Verb | None, held: object) -> Verb | None:
    """A buy or sell of the position that an exchange's hedge mode names: one that goes against it closes it."""
    side = position_of(held)
    if verb is None or not side:
        return verb
    if verb[0] == "trade":
        return verb if verb[1] == side else ("close", side)
    return directed(verb, held) if verb[0] in ("open", "increase", "reduce", "close") else verb


def _normal(role: str, value: Any) -> Any:
    return moment_of(value) if role in ("bar_time", "sent_time") else value


def _with_events(leaves: list[Leaf]) -> list[Leaf]:
    """`"event": "LONG_ENTRY"` or `"exit"` says what to do, and a side beside it which way.

    `"entry"` beside a buy adds nothing; `"close"` alone may be the bar's.
    """
    verbs = [verb_of(value) for _, value, role in leaves if role == "action"]
    bare = not any(role in ("action", "direction", "now") for _, _, role in leaves)
    trades = any(verb is not None and verb[0] == "trade" for verb in verbs)
    out = []
    for path, value, role in leaves:
        verb = verb_of(value) if role is None and _letters(path[-1]) in _EVENTS else None
        if verb is None or (verb[0] == "open" and trades) or (bare and verb in (("open", None), ("close", None))):
            out.append((path, value, role))
        else:
            out.append((path, value, "action"))
    return out


def _symbol_by_another_name(said: Said) -> None:
    """`"asset": "BTC"` or `"market": "ESH3"`, where nothing else names the instrument."""
    for path, value in said.rest:
        if _letters(path[-1]) not in _ALSO_SYMBOLS or not isinstance(value, str) or value in _NO_TICKERS:
            continue
        if _TICKER.fullmatch(value):
            said.rest.remove((path, value))
            said.roles["symbol"], said.names["symbol"] = value, path[-1]
            return


def _letters(name: str) -> str:
    return re.sub(r"[^a-z]", "", name.lower())


def _role(path: tuple[str, ...], value: Any) -> str | None:
    role = role_of(*path)
    return "action" if role == "kind" and verb_of(value) is not None else role


def _check_agreement(said: Said, role: str, name: str, value: Any) -> None:
    """What to do is said once, or twice in the same sense; a guess which one is meant may cost somebody money.

    Raises:
        InvalidDraft: two fields disagree; names both.
    """
    one, other = verb_of(said.roles[role]), verb_of(value)
    same_way = one and other and one[1] == other[1] is not None and {one[0], other[0]} <= {"trade", "hold", "open"}
    same_kind = one and other and one[0] == other[0] and None in (one[1], other[1])
    if one != other and not same_way and not same_kind:
        first = f"`{said.names[role]}` {str(said.roles[role])[:80]!r}"
        text = f"{first} and `{name}` {str(value)[:80]!r} say different things: send one of them"
        raise InvalidDraft(text, field=name, got=str(value))
    if same_kind and one and one[1] is None:
        said.roles[role], said.names[role] = value, name  # `"type": "ENTRY"`, and `"action": "LONG_ENTRY"` beside it.


def _check_clear(said: Said, now: int | None, before: int | None) -> None:
    """A bare buy or sell opens; refuse one that says beside it that it closes, or whose size points the other way.

    Raises:
        InvalidDraft: says to send the position, which settles it.
    """
    assert said.verb is not None
    hint = _exit_hint(said)
    size = number_of(said.roles.get("size"))
    text = ""
    if said.verb[0] not in ("trade", "hold") or said.verb[1] == 0 or "now" in said.roles or before is not None:
        return
    if now is None and hint is not None:
        word = said.roles.get("action", said.roles.get("direction"))
        text = f"{word!r} beside {hint[:80]!r}: does it open a position or close one?"
    elif said.verb[0] == "trade" and size and "contracts" not in said.roles and sign(size) != said.verb[1]:
        text = f"{said.roles.get('action')!r} with the size {size}: is it the order's or what became of the position?"
    if text:
        allowed = '"market_position": "{{strategy.market_position}}"'
        raise InvalidDraft(f"{text} Send the position too", field=said.names.get("action"), allowed=allowed)


def _exit_hint(said: Said) -> str | None:
    """Words or switches by which an order says that it ends a position, or None."""
    title = said.roles.get("title")
    if isinstance(title, str) and _EXIT_WORDS.match(title):
        return title
    for path, value in said.rest:
        name = re.sub(r"[^a-z]", "", path[-1].lower())
        if name in _EXIT_SWITCHES and str(value).lower() in ("true", "1", "yes"):
            return path[-1]
        if name in _EXIT_FIELDS and isinstance(value, str) and _EXIT_WORDS.match(value):
            return value
        short = re.sub("[_-]", " ", value.lower()) if isinstance(value, str) and len(value) <= NAME_CHARS_KEPT else ""
        if name in _ENDED_FIELDS and _ENDED.search(short):
            return str(value)
    return None


def _leaves(doc: dict[str, Any]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """The fields of a body and of the objects it groups them in, the body's own first, the bar's last."""
    groups = [name for name, value in doc.items() if isinstance(value, dict) and _is_group(name)]
    for name, value in doc.items():
        if name not in groups:
            yield (name,), value
    for name in sorted(groups, key=lambda name: name == "bar"):
        for path, value in _leaves(doc[name]):
            yield (name, *path), value


def _is_group(name: str) -> bool:
    """Whether the fields of an object of that name are read as the body's; a stop and fields of ours are not."""
    return name != "extras" and name not in FIELDS and role_of(name) in (None, "strategy", "action", "now", "text")


def role_of(*path: str) -> str | None:
    """What a field of that name means, inside the objects named before it; None if we do not know."""
    return _role_of_name(path) if sum(map(len, path)) <= NAME_CHARS_KEPT else _role_of_path(path)


def _role_of_path(path: tuple[str, ...]) -> str | None:
    last = _NO_LETTER.sub("", path[-1].lower())
    if _NUMBERED_TARGET.fullmatch(last):
        return "target"
    whole = _NO_LETTER.sub("", "".join(path).lower())
    return _ROLE_OF.get(whole) or _ROLE_OF.get(last)


_role_of_name = lru_cache(maxsize=4096)(_role_of_path)


def _fits(role: str, value: Any) -> bool:
    """Whether a value is of the sort that its role needs; what is not goes under `extras`."""
    if role in ("exchange", "text", "title", "strategy"):
        return isinstance(value, str)
    if role == "symbol":  # Tokyo's tickers are numbers.
        return isinstance(value, str | int) and not isinstance(value, bool)
    if role == "direction":
        return verb_of(value) is not None
    if role == "held":
        return position_of(value) in (1, -1)
    if role in ("price", "entry"):
        return price_of(value) is not None
    if role in ("bar_time", "sent_time"):
        return moment_of(value) is not None
    if role == "kind":
        return isinstance(value, str) and value.lower() in ENTRY_TYPES
    if role == "confidence":
        return _confidence(value) is not None
    if role in ("now", "before"):
        return position_of(value) is not None or number_of(value) is not None
    return not isinstance(value, dict | list)


def _each_level(role: str, path: tuple[str, ...], value: Any) -> Iterator[tuple[str, str, Any]]:
    values = value if role == "target" and isinstance(value, list) else [value]
    if role == "target" and isinstance(value, dict) and value and all(map(_NUMBER_OF_TARGET.fullmatch, value)):
        values = list(value.values())  # {"1": 10.5, "2": 11}, {"t1": 10.5, "t2": 11}
    for each in values:
        if not is_unset(each) and number_of(each) != 0:
            yield role, ".".join(path), each


def _positions(said: Said) -> tuple[int | None, int | None]:
    """Where the position stands and where it stood before, as far as the sizes and words of the body say."""
    roles = said.roles
    now, before = _position(roles.get("now")), _position(roles.get("before"))
    size, contracts = number_of(roles.get("size", roles.get("now"))), number_of(roles.get("contracts"))
    if size is not None:
        size = size if now is None else abs(size) * now  # `market_position_size` comes without its sign.
        now = sign(size) if now is None else now
    if before is None and size is not None and contracts and contracts > 0 and said.verb and said.verb[0] == "trade":
        before = position_before(said.verb[1] or 0, contracts, size)
    return now, before


def _position(value: Any) -> int | None:
    at = position_of(value)
    size = number_of(value) if at is None else None
    return at if size is None else sign(size)


def _confidence(value: Any) -> dict[str, Any] | None:
    """0 to 1 as it is; up to 100 as a score out of 100."""
    number = number_of(value.removesuffix("%") if isinstance(value, str) else value)
    if number is None or not 0 <= number <= 100:
        return None
    if 1 < number < 2 and not (isinstance(value, str) and value.endswith("%")):
        return None  # 1.5 of what? Neither a probability nor much of a score.
    percent = number > 1 or (isinstance(value, str) and value.endswith("%"))
    if percent:
        return {"confidence": float(number / 100), "confidence_kind": "score"}
    return {"confidence": float(number)}


def _draft(said: Said, action: str, way: int | None, last: bool) -> dict[str, Any]:
    """One signal of the alert; of a reversal only the last one carries the plan."""
    roles = said.roles
    draft: dict[str, Any] = {"instrument": instrument_of(str(roles["symbol"]), roles.get("exchange")), "action": action}
    if way is not None:
        draft["direction"] = DIRECTION[way]
    price = price_of(roles.get("price"))
    if price is not None:
        draft["reference_price"] = price
    for role, name in (("bar_time", "event_at"), ("sent_time", "sent_at"), ("strategy", "model")):
        if role in roles:
            draft[name] = {"name": roles[role][:TEXT_CHARS_MAX]} if role == "strategy" else roles[role]
    title = roles.get("title", roles.get("text"))
    if title is not None:
        draft["title"] = redact(title)[:TEXT_CHARS_MAX]
    draft |= _confidence(roles.get("confidence")) or {}
    extras = _rest(said, draft)
    if extras:
        draft["extras"] = extras
    if last:
        _plan(said, draft, way if action in ("open", "increase") else None)
    return draft


def _plan(said: Said, draft: dict[str, Any], way: int | None) -> None:
    """Entry, stop and targets into `draft`; what cannot be told from a distance into `extras`, and a note."""
    entry = price_of(said.roles.get("entry"))
    kind = said.roles.get("kind", "").lower()
    if kind == "stop":  # Of an order to enter by a stop, the stop price is where it enters.
        entry = next((price_of(value) for role, name, value in said.levels if _is_trigger(role, name)), entry)
    if kind in ("limit", "stop", "stop_limit") and entry is None:
        entry = draft.get("reference_price")
    if way and kind == "market":
        draft["entry"] = {"type": "market"}
    elif way and entry:
        draft["entry"] = {"type": kind or "limit", "price": entry}
    aside = [(said.names[role], said.roles[role]) for role in ("entry", "kind") if role in said.roles]
    triggers = [(name, value) for role, name, value in said.levels if _is_trigger(role, name)]
    triggers = triggers if kind in ("stop", "stop_limit") else []
    for name, value in [*(aside if "entry" not in draft else []), *triggers]:
        put(draft.setdefault("extras", {}), tuple(name.split(".")), value)
    near = entry or draft.get("reference_price")
    beside = Decimal(near) if near else None
    in_units = {found[1].lower() for path, _ in said.rest if (found := _UNIT_OF_LEVEL.fullmatch(path[-1])) is not None}

    prices: set[str] = set()  # Names under which one value is a price: the others are in the same unit.

    def meant(role: str, name: str, value: Any, exact: bool) -> Level:
        known, sure = way is not None and name.lower() not in in_units, "price" in name.lower() or name in prices
        meaning = level_of(value, way=way or 0, near=beside, sure=sure, stop=role == "stop", exact=exact)
        return Level(role, name, value, meaning if known else None)

    given = [(role, name, value) for role, name, value in said.levels if (name, value) not in triggers]
    levels = [meant(*each, True) for each in given]
    prices |= {level.name for level in levels if "price" in (level.meaning or ()) and not isinstance(level.value, dict)}
    if prices:
        levels = [meant(*each, False) for each in given]  # One is a price: the others are not per cent.
    add_levels(draft, levels)


def _is_trigger(role: str, name: str) -> bool:
    return role == "stop" and name.lower().replace("_", "") == "stopprice"


def _rest(said: Said, draft: dict[str, Any]) -> dict[str, Any]:
    """What no role took: a field of ours with a value we accept goes into `draft`, all else is returned as extras."""
    extras: dict[str, Any] = {}
    for role in ("size", "contracts"):
        if role in said.roles:
            extras[said.names[role]] = said.roles[role]
    for path, value in said.rest:
        if len(path) == 1 and path[0] not in draft and _is_ours(path[0], value):
            draft[path[0]] = value
        elif path == ("extras",) and isinstance(value, dict):
            extras |= value
        else:
            put(extras, path, value)
    return extras


def _is_ours(name: str, value: Any) -> bool:
    kind = FIELDS.get(name)
    if name in _VISIBLE or kind is None or name in OURS or name in ("id", "instrument", "action"):
        return name in _VISIBLE
    try:
        kind.check(value, name)
    except InvalidRequest:
        return False
    return True
