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
from decimal import Decimal, InvalidOperation
from typing import Any

from catalyst_signals.errors import InvalidDraft, InvalidRequest
from catalyst_signals.ingest import redact, without_secrets
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
from catalyst_signals.ingest.plans import instrument_of, is_unset, level_of, price_of
from catalyst_signals.kinds import TEXT_CHARS_MAX, as_time
from catalyst_signals.signals import FIELDS, OURS
from catalyst_signals.vocabulary import ENTRY_TYPES, TARGETS_MAX

_ROLES = {
    "symbol": "ticker symbol instrument pair tvinstrument tickerid",
    "exchange": "exchange tvexchange venue",
    "action": "action side order signal orderaction strategyorderaction command cmd",
    "kind": "ordertype type",
    "price": "price close orderprice strategyorderprice signalprice triggerprice lastprice currentprice",
    "entry": "entry entryprice limitprice limit",
    "stop": "sl stop stoploss slprice stopprice stoplossprice",
    "target": "tp takeprofit target tpprice takeprofitprice targetprice targets takeprofits tps",
    "now": "marketposition strategymarketposition sentiment position",
    "before": "prevposition prevmarketposition strategyprevmarketposition previousposition",
    "direction": "direction",
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
_NUMBERED_TARGET = re.compile(r"(?:tp|takeprofit|target)(?:price)?[0-9]{1,2}(?:price)?")
_EXIT_WORDS = re.compile(r"\s*(?:close|exit|cover|flatten|reduce)", re.IGNORECASE)
_EXIT_SWITCHES = frozenset(("reduceonly", "closeposition", "closeonly", "isexit", "exit", "close"))
_EXIT_FIELDS = frozenset((
    "comment", "orderid", "strategyorderid", "id", "intent", "position", "positioneffect", "reason", "tradetype",
))  # fmt: skip
_UNIT_OF_LEVEL = re.compile(r"(.+?)_?(?:type|unit|units|mode)", re.IGNORECASE)
_ACTIONS = "buy, sell, long, short, flat, exit, close, add, reduce, cancel, watch, enter_long, exit_long ..."


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


def sort(doc: dict[str, Any]) -> Said:
    """Every field of a body by its meaning; secrets and what means "not set" are left out."""
    said = Said()
    leaves = [(path, value, _role(path, value)) for path, value in _leaves(without_secrets(doc)) if not is_unset(value)]
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
            said.roles[role], said.names[role] = value, path[-1]
    said.verb = verb_of(said.roles.get("action", said.roles.get("direction")))
    return said


def _role(path: tuple[str, ...], value: Any) -> str | None:
    role = role_of(*path)
    return "action" if role == "kind" and verb_of(value) is not None else role


def _check_agreement(said: Said, role: str, name: str, value: Any) -> None:
    """What to do is said once, or twice in the same sense; a guess which one is meant may cost somebody money.

    Raises:
        InvalidDraft: two fields disagree; names both.
    """
    if verb_of(said.roles[role]) != verb_of(value):
        first = f"`{said.names[role]}` {str(said.roles[role])[:80]!r}"
        text = f"{first} and `{name}` {str(value)[:80]!r} say different things: send one of them"
        raise InvalidDraft(text, field=name, got=str(value))


def _check_clear(said: Said, now: int | None, before: int | None) -> None:
    """A bare buy or sell opens; refuse one that says beside it that it closes, or whose size points the other way.

    Raises:
        InvalidDraft: says to send the position, which settles it.
    """
    assert said.verb is not None
    hint = _exit_hint(said)
    size = _size(said.roles.get("size"))
    text = ""
    if said.verb[0] != "trade" or "now" in said.roles or before is not None:
        return
    if now is None and hint is not None:
        text = f"{said.roles.get('action')!r} beside {hint[:80]!r}: does it open a position or close one?"
    elif size and "contracts" not in said.roles and sign(size) != said.verb[1]:
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
    last = re.sub(r"[^a-z0-9]", "", path[-1].lower())
    if _NUMBERED_TARGET.fullmatch(last):
        return "target"
    whole = re.sub(r"[^a-z0-9]", "", "".join(path).lower())
    return _ROLE_OF.get(whole) or _ROLE_OF.get(last)


def _fits(role: str, value: Any) -> bool:
    """Whether a value is of the sort that its role needs; what is not goes under `extras`."""
    if role in ("exchange", "text", "title", "strategy"):
        return isinstance(value, str)
    if role == "symbol":  # Tokyo's tickers are numbers.
        return isinstance(value, str | int) and not isinstance(value, bool)
    if role == "direction":
        return verb_of(value) is not None
    if role in ("price", "entry"):
        return price_of(value) is not None
    if role in ("bar_time", "sent_time"):
        return isinstance(value, str) and as_time(value) is not None
    if role == "kind":
        return isinstance(value, str) and value.lower() in ENTRY_TYPES
    if role == "confidence":
        return _confidence(value) is not None
    if role in ("now", "before"):
        return position_of(value) is not None or _size(value) is not None
    return not isinstance(value, dict | list)


def _each_level(role: str, path: tuple[str, ...], value: Any) -> Iterator[tuple[str, str, Any]]:
    values = value if role == "target" and isinstance(value, list) else [value]
    for each in values:
        if not is_unset(each) and _size(each) != 0:
            yield role, ".".join(path), each


def _size(value: Any) -> Decimal | None:
    """A signed size, also zero and also as a text; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
        return None
    try:
        number = Decimal(value.replace("−", "-") if isinstance(value, str) else value)
    except (InvalidOperation, ValueError):
        return None
    return number if number.is_finite() and abs(number.adjusted()) < 40 else None


def _positions(said: Said) -> tuple[int | None, int | None]:
    """Where the position stands and where it stood before, as far as the sizes and words of the body say."""
    roles = said.roles
    now, before = _position(roles.get("now")), _position(roles.get("before"))
    size, contracts = _size(roles.get("size", roles.get("now"))), _size(roles.get("contracts"))
    if size is not None:
        size = size if now is None else abs(size) * now  # `market_position_size` comes without its sign.
        now = sign(size) if now is None else now
    if before is None and size is not None and contracts and contracts > 0 and said.verb and said.verb[0] == "trade":
        before = position_before(said.verb[1] or 0, contracts, size)
    return now, before


def _position(value: Any) -> int | None:
    at = position_of(value)
    size = _size(value) if at is None else None
    return at if size is None else sign(size)


def _confidence(value: Any) -> dict[str, Any] | None:
    """0 to 1 as it is; up to 100 as a score out of 100."""
    number = _size(value.removesuffix("%") if isinstance(value, str) else value)
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
    if last:
        _plan(said, draft, extras, way if action in ("open", "increase") else None)
    if extras:
        draft["extras"] = extras
    return draft


def _plan(said: Said, draft: dict[str, Any], extras: dict[str, Any], way: int | None) -> None:
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
    near = entry or draft.get("reference_price")
    unread = []
    in_units = {found[1].lower() for path, _ in said.rest if (found := _UNIT_OF_LEVEL.fullmatch(path[-1])) is not None}
    for role, name, value in said.levels:
        sure = "price" in name.lower()
        known = way and name.lower() not in in_units
        beside = Decimal(near) if near else None
        level = known and level_of(value, way=way or 0, near=beside, sure=sure, stop=role == "stop")
        if kind in ("stop", "stop_limit") and _is_trigger(role, name):
            _put(extras, tuple(name.split(".")), value)
        elif level and role == "stop" and "stop" not in draft:
            draft["stop"] = level
        elif level and role == "target" and len(draft.get("targets", ())) < TARGETS_MAX:
            draft.setdefault("targets", []).append(level)
        else:
            _put(extras, tuple(name.split(".")), value)
            unread.append(name)
    if unread and way:
        draft.setdefault("note", f"kept under extras, for a price cannot be told from a distance: {', '.join(unread)}")


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
            _put(extras, path, value)
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


def _put(extras: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    for name in path[:-1]:
        inside = extras.setdefault(name, {})
        if not isinstance(inside, dict):
            return
        extras = inside
    if path[-1] in extras:  # Several targets under one name.
        before = extras[path[-1]]
        value = [*(before if isinstance(before, list) else [before]), value]
    extras[path[-1]] = value
