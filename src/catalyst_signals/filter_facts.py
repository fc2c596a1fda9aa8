"""What a document says about each field of the filter vocabulary.

Owns: where each field stands in an event, and when it counts as missing. Knows nothing of clauses or filters.
Law: reading never raises, whatever the document holds; a wrong type, an empty text and NaN count as missing. A fact is
None (missing) or hashable: str, int, float, Decimal, True, or a frozenset of words.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date
from decimal import Context, Decimal
from typing import Any

from catalyst_signals.filter_fields import read_duration, words_of
from catalyst_signals.kinds import DECIMAL_CHARS_MAX, as_time
from catalyst_signals.vocabulary import ACTIONS, DIRECTIONS

PREFIX = "^"  # `symbol^` is the set of all beginnings of the symbol: how a prefix becomes a key of the index.
PREFIX_CHARS_MAX = 64
_context = Context(prec=DECIMAL_CHARS_MAX, traps=[])


class Words(frozenset[str]):
    """The words of several texts; `text` has them in order, spaces around, a line between two texts."""

    __slots__ = ("text",)
    text: str


class Facts(dict[str, Any]):
    """The facts of one document, each read once, when it is first asked for.

    `lenient`: the event is not a signal's, so a clause on a field it does not carry passes, negated or not.
    """

    __slots__ = ("data", "doc", "erased", "lenient")

    def __init__(self, doc: Mapping[str, Any]) -> None:
        data = doc.get("data")
        kind = doc.get("type")
        self.doc = doc
        self.data: Mapping[str, Any] = data if type(data) is dict else {}
        self.erased = doc.get("erased") is True
        self.lenient = not (type(kind) is str and kind.startswith("signal."))

    def __missing__(self, field: str) -> Any:
        read = _READERS.get(field)
        value = self[field] = read(self) if read is not None else _read_open_ended(self, field)
        return value


Reader = Callable[[Facts], Any]


def _dig(data: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        if type(data) is not dict:
            return None
        data = data.get(name)
    return data


def _exact(*path: str) -> Reader:
    def read(facts: Facts) -> str | None:
        value = _dig(facts.data, path)
        return value if type(value) is str and value else None

    return read


def _folded(*path: str) -> Reader:
    def read(facts: Facts) -> str | None:
        value = _dig(facts.data, path)
        return value.casefold() if type(value) is str and value else None

    return read


def _choice(name: str, choices: tuple[str, ...]) -> Reader:
    known = {spelling: choice for choice in choices for spelling in (choice, choice.upper())}

    def read(facts: Facts) -> str | None:
        value = facts.data.get(name)
        return known.get(value) if type(value) is str else None

    return read


def _number(value: Any) -> int | float | None:
    return value if type(value) is int or (type(value) is float and value == value) else None


def _plain_number(name: str) -> Reader:
    return lambda facts: _number(facts.data.get(name))


def _decimal(value: Any) -> Decimal | None:
    """A price; one that is not finite, absurdly long or absurdly large is none."""
    if type(value) is int or type(value) is float:
        value = repr(value) if abs(value) < 1e40 else ""
    if type(value) is not str or not 0 < len(value) <= DECIMAL_CHARS_MAX:
        return None
    found = _context.create_decimal(value)
    return found if found.is_finite() and abs(found.adjusted()) <= DECIMAL_CHARS_MAX else None


def _symbol(facts: Facts) -> str | None:
    """The instrument's symbol; an event that is not a signal's may carry it by itself, as a halt does."""
    instrument = facts.data.get("instrument")
    found = instrument.get("symbol") if type(instrument) is dict else None
    if found is None and facts.lenient:
        found = facts.data.get("symbol")
    return found if type(found) is str and found else None


def _source_name(facts: Facts) -> str | None:
    """The source's name; an event that is not a signal's may carry it by itself, as a halt does."""
    found = facts.data.get("source")
    if type(found) is dict:
        found = found.get("name")
    elif not facts.lenient:
        return None
    return found.casefold() if type(found) is str and found else None


def _price(facts: Facts) -> Decimal | None:
    """The last trade the publisher saw, else the entry it asks for."""
    reference = _decimal(facts.data.get("reference_price"))
    return reference if reference is not None else _decimal(_dig(facts.data, ("entry", "price")))


def _planned_entry(facts: Facts) -> Decimal | None:
    """Where the plan goes in: the entry's price, the middle of its zone, else the reference price; above zero."""
    entry = facts.data.get("entry")
    found = _decimal(_dig(entry, ("price",)))
    if found is None:
        low, high = _decimal(_dig(entry, ("low",))), _decimal(_dig(entry, ("high",)))
        found = (low + high) / 2 if low is not None and high is not None else facts["price"]
    return found if found is not None and found > 0 else None


def _away(facts: Facts, goal: Any, entry: Decimal) -> Decimal | None:
    """How far a target (or with the sign turned, a stop) is above the entry. An offset has no sign of its own."""
    price = _decimal(_dig(goal, ("price",)))
    if price is not None:
        return price - entry
    offset, unit = _decimal(_dig(goal, ("offset",))), _dig(goal, ("unit",))
    scale = {"abs": Decimal(1), "pct": entry, "atr": _atr(facts, entry)}.get(unit) if type(unit) is str else None
    if offset is None or scale is None:
        return None
    return abs(offset) * scale * (-1 if facts["direction"] == "short" else 1)


def _atr(facts: Facts, entry: Decimal) -> Decimal | None:
    """The average true range in the price's unit, which a plan in multiples of it needs."""
    absolute = _decimal(_dig(facts.data, ("features", "atr")))
    if absolute is not None:
        return absolute
    fraction = _decimal(_dig(facts.data, ("features", "atr_pct")))
    return None if fraction is None else fraction * entry


def _risk(facts: Facts, entry: Decimal) -> Decimal | None:
    stop = facts.data.get("stop")
    away = _away(facts, stop, entry)
    if away is None:
        return None
    return -away if _decimal(_dig(stop, ("price",))) is not None else away


def _stop_pct(facts: Facts) -> float | None:
    """The distance from entry to stop, as a fraction of the entry."""
    entry = _planned_entry(facts)
    risk = None if entry is None else _risk(facts, entry)
    return None if entry is None or risk is None else float(abs(risk) / entry)


def _rr(facts: Facts) -> float | None:
    """Reward to risk, of the first target; missing where target and stop lie on one side of the entry."""
    targets = facts.data.get("targets")
    entry = _planned_entry(facts)
    if entry is None or type(targets) is not list or not targets:
        return None
    reward, risk = _away(facts, targets[0], entry), _risk(facts, entry)
    return float(reward / risk) if reward and risk and reward / risk > 0 else None


def _ts(facts: Facts) -> str | None:
    """The event's own time, as the log writes it: 2026-11-26T09:30:00.000123Z."""
    ts = facts.doc.get("ts")
    return ts if type(ts) is str and len(ts) == 27 and ts[10] == "T" and ts[26] == "Z" else None


def _time_of_day(facts: Facts) -> str | None:
    ts = _ts(facts)
    return ts and ts[11:26]


def _horizon(facts: Facts) -> int | None:
    """Seconds; of a horizon that is a moment, from the event's own time until then."""
    value = facts.data.get("horizon")
    try:
        return read_duration(value)
    except ValueError:
        since, until = as_time(_ts(facts) or ""), as_time(value) if type(value) is str else None
    return None if since is None or until is None else round((until - since).total_seconds())


def _weekday(facts: Facts) -> str | None:
    ts = _ts(facts)
    try:
        return ts and ("mon", "tue", "wed", "thu", "fri", "sat", "sun")[date.fromisoformat(ts[:10]).weekday()]
    except ValueError:
        return None


def _set(name: str) -> Reader:
    def read(facts: Facts) -> frozenset[str] | None:
        value = facts.data.get(name)
        if type(value) is not list:
            return None
        return frozenset(tag.casefold() for tag in value if type(tag) is str and tag) or None

    return read


def _keywords(facts: Facts) -> Words | None:
    """The words of title, note, source title and source excerpt."""
    source = facts.data.get("source")
    texts = (facts.data.get("title"), facts.data.get("note"), _dig(source, ("title",)), _dig(source, ("excerpt",)))
    lines = [words_of(text) for text in texts if type(text) is str]
    words = Words(word for line in lines for word in line)
    words.text = " \n ".join(["", *(" ".join(line) for line in lines if line), ""])
    return words or None


def _present(name: str) -> Reader:
    return lambda facts: True if facts.data.get(name) not in (None, [], {}, "") else None


def _of_event(name: str) -> Reader:
    def read(facts: Facts) -> str | None:
        value = facts.doc.get(name)
        return value if type(value) is str and value else None

    return read


def _read_open_ended(facts: Facts, field: str) -> Any:
    """`features.NAME` is one key of `features`; `extras.A.B` and `data.A.B` are paths; `NAME^` its beginnings."""
    if field.endswith(PREFIX):
        value = facts[field[:-1]]
        return frozenset(value[:n] for n in range(1, PREFIX_CHARS_MAX + 1)) if type(value) is str else None
    prefix, _, name = field.partition(".")
    if prefix == "features":
        return _number(_dig(facts.data, ("features", name)))
    path = tuple(name.split("."))
    return _loose(_dig(facts.data, path if prefix == "data" else (prefix, *path)))


def _loose(value: Any) -> Any:
    """A number or a text as it is, `true` and `false` as texts; of a list or object only that it exists."""
    if type(value) is bool:
        return "true" if value else "false"
    if type(value) is str:
        return value or None
    return ... if type(value) in (list, dict) and value else _number(value)


_READERS: dict[str, Reader] = {
    "symbol": _symbol,
    "id": _of_event("id"),
    "type": _of_event("type"),
    "provider": _exact("provider", "id"),
    "group_id": _exact("group_id"),
    **{f"catalyst.{part}": _folded("catalyst", part) for part in ("type", "subtype", "stage", "severity")},
    **{name: _folded("instrument", name) for name in ("asset_class", "venue", "mic", "currency")},
    **{name: _folded(name) for name in ("sector", "country", "lang", "session", "confidence_kind")},
    "source.name": _source_name,
    "source.kind": _folded("source", "kind"),
    "model.name": _folded("model", "name"),
    "action": _choice("action", ACTIONS),
    "direction": _choice("direction", DIRECTIONS),
    "weekday": _weekday,
    "time_of_day": _time_of_day,
    **{name: _plain_number(name) for name in ("confidence", "expected_return", "magnitude")},
    "rr": _rr,
    "stop_pct": _stop_pct,
    "price": _price,
    "horizon": _horizon,
    "tags": _set("tags"),
    "disclosures": _set("disclosures"),
    "keywords": _keywords,
    **{name: _present(name) for name in ("entry", "stop", "targets", "expires_at")},
}
