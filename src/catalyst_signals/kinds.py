"""Kinds of fields: what a value may be, the check that brings it into the form we store, and the walk over an object.

Owns: the kinds, PARTS. Knows nothing of which fields a signal has (vocabulary.py).
Law: a stored value is its own normal form, `check(check(value)) == check(value)`; a field nobody knows is kept.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from math import nan
from typing import Any

from catalyst_signals.errors import InvalidDraft, shorten
from catalyst_signals.events import check_id

DECIMAL_CHARS_MAX = 40
TEXT_CHARS_MAX = 4096
DEPTH_MAX = 16

_PLAIN = re.compile(r"(?:0|[1-9][0-9]*)(?:\.[0-9]+)?")
_DECIMAL = re.compile(r"\+?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")
_UTC = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,6})?Z")
RFC3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?(?:[Zz]|[+-][0-9]{2}:[0-9]{2})"
)
_DURATION = re.compile(
    "P(?=.)" + "".join(rf"(?:[0-9]{{1,9}}{u})?" for u in "YMWD")
    + "(?:T(?=.)" + "".join(rf"(?:[0-9]{{1,9}}{u})?" for u in "HMS") + ")?"
)  # fmt: skip
_SHORT_DURATION = re.compile(r"([0-9]{1,9})([smhdw])")
_NUMBER_MAX = 1.7976931348623157e308
_INT_MAX = 10**DECIMAL_CHARS_MAX

Check = Callable[[Any, str], Any]

PARTS: dict[str, dict[str, tuple[Check, str]]] = {}
"""For each object, by its path ("" is the draft itself), its fields with check and path; vocabulary.py fills it."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What a field holds. `check(value, path)` returns the stored form or raises InvalidDraft; `says` is for people."""

    name: str
    says: str
    check: Check
    choices: tuple[str, ...] = ()


def wrong(path: str, says: str, got: object, hint: str = "") -> InvalidDraft:
    """The refusal of a value: which field, what it holds, what was got."""
    text = f"`{path}` is {says}, got {shown(got)}{hint}"
    return InvalidDraft(text, field=path, got=got if isinstance(got, str | bool) else shown(got), allowed=says)


def shown(value: object) -> str:
    """A value as an error message may show it."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    if isinstance(value, int) and abs(value) > _INT_MAX:
        return f"a number of more than {DECIMAL_CHARS_MAX} digits"
    return str(shorten(str(value) if isinstance(value, Decimal) else repr(value), 80))


def fields_of(sent: Mapping[str, Any], parts: Mapping[str, tuple[Check, str]]) -> dict[str, Any]:
    """Every field in its stored form; a known one that is null is left out, an unknown one is kept."""
    out = {}
    for name, value in sent.items():
        part = parts.get(name)
        if part is None:
            out[name] = kept(value, name)
        elif value is not None:
            out[name] = part[0](value, part[1])
    return out


def kept(value: Any, path: str, depth: int = 1) -> Any:
    """A value of a field we do not know, as it was sent; a decimal becomes the JSON number it was."""
    kind = type(value)
    if kind is str or kind is bool or value is None:
        return value
    if kind is int and -_INT_MAX < value < _INT_MAX:
        return value
    if kind is Decimal or kind is float or kind is int:
        return number_in()(value, path)
    if depth > DEPTH_MAX:
        raise InvalidDraft(f"`{path}` is nested more than {DEPTH_MAX} deep", field=path, allowed=DEPTH_MAX)
    if kind is dict:
        return {name: kept(each, path, depth + 1) for name, each in value.items()}
    if kind is list:
        return [kept(each, path, depth + 1) for each in value]
    raise wrong(path, "something JSON can hold", value)


def as_decimal(value: Any) -> Decimal | None:
    """A positive, finite number of at most 40 characters from a JSON number or a decimal text; None for all else."""
    kind = type(value)
    if kind is str:
        text = value.strip()
        if len(text) > DECIMAL_CHARS_MAX or not _DECIMAL.fullmatch(text):
            return None
    elif kind is float or (kind is int and value < _INT_MAX):
        text = repr(value)
    elif kind is Decimal:
        text = value
    else:
        return None
    try:
        number = Decimal(text)
    except InvalidOperation:
        return None
    # Only with a bounded exponent may it be written out: 1e999999 would be a megabyte of zeros.
    if not number.is_finite() or number <= 0 or not -DECIMAL_CHARS_MAX < number.adjusted() < DECIMAL_CHARS_MAX:
        return None
    return number if len(f"{number:f}") <= DECIMAL_CHARS_MAX else None


def as_time(text: str) -> datetime | None:
    """The moment an RFC 3339 text with an offset names, or None."""
    if not RFC3339.fullmatch(text):
        return None
    try:
        return datetime.fromisoformat(text.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def text_of(chars_max: int) -> Kind:
    says = f"a text of at most {chars_max:,} characters"

    def check(value: Any, path: str) -> str:
        if type(value) is str and len(value) <= chars_max:
            return value
        raise wrong(path, says, value, f" with {len(value):,} characters" if isinstance(value, str) else "")

    return Kind("text", says, check)


def name_of(chars_max: int) -> Kind:
    says = f"a text of 1 to {chars_max} printable characters"

    def check(value: Any, path: str) -> str:
        if type(value) is str:
            name = value.strip()
            if 0 < len(name) <= chars_max and name.isprintable():
                return name
        raise wrong(path, says, value)

    return Kind("name", says, check)


def choice_of(*choices: str, also: tuple[str, ...] = ()) -> Kind:
    says = f"one of {', '.join((*choices, *also))}"
    allowed = frozenset((*choices, *also))

    def check(value: Any, path: str) -> str:
        if type(value) is str:
            word = value.strip().lower()
            if word in allowed:
                return word
        raise wrong(path, says, value)

    return Kind("choice", says, check, choices)


def check_decimal(value: Any, path: str) -> str:
    if type(value) is str and len(value) <= DECIMAL_CHARS_MAX and _PLAIN.fullmatch(value) and value.strip("0."):
        return value  # As most arrive, and in its normal form: "9.40" stays "9.40".
    number = as_decimal(value)
    if number is None:
        hint = "; leave the field out when there is no value" if value in (0, "", "0", "NaN", "null") else ""
        raise wrong(path, DECIMAL.says, value, hint)
    return f"{number:f}".removesuffix(".")


def number_in(low: float = -_NUMBER_MAX, high: float = _NUMBER_MAX) -> Check:
    span = f" from {low:g} to {high:g}" if high < _NUMBER_MAX else ""

    def check(value: Any, path: str) -> int | float:
        kind = type(value)
        if kind is Decimal:
            plain = float(value) if value.is_finite() else nan
        elif kind is float or kind is int:
            plain = value
        else:
            hint = "; send it without quotes" if kind is str and as_decimal(value) is not None else ""
            raise wrong(path, f"a number{span}", value, hint)
        if low <= plain <= high:
            return plain
        raise wrong(path, f"a number{span or ' that a 64-bit float can hold'}", value, _scaled(path, value))

    return check


def _scaled(path: str, value: Any) -> str:
    """What somebody who sent a confidence of 82 most likely meant."""
    if path != "confidence" or not 1 < value <= 100:
        return ""
    return f'; if that is a score out of 100, send {float(value) / 100:g} with "confidence_kind": "score"'


def _check_time(value: Any, path: str) -> str:
    if type(value) is str:
        try:
            if _UTC.fullmatch(value) and datetime.fromisoformat(value):
                return value  # As most arrive, and in its normal form.
        except ValueError:
            raise wrong(path, TIME.says, value) from None
        moment = as_time(value)
        if moment is not None:
            return moment.isoformat().replace("+00:00", "Z")
    raise wrong(path, TIME.says, value)


def _check_horizon(value: Any, path: str) -> str:
    if type(value) is str:
        word = value.strip()
        if _DURATION.fullmatch(word):
            return word
        short = _SHORT_DURATION.fullmatch(word)
        if short is not None:
            return f"P{'T' if short[2] in 'smh' else ''}{short[1]}{short[2].upper()}"
        if as_time(word) is not None:
            return str(_check_time(word, path))
    raise wrong(path, HORIZON.says, value)


def _check_flag(value: Any, path: str) -> bool:
    if type(value) is bool:
        return value
    raise wrong(path, FLAG.says, value)


def _check_id(value: Any, path: str) -> str:
    return check_id(value, path)


def _check_url(value: Any, path: str) -> str:
    # Only these two schemes: the dashboard makes a link of it, and `javascript:` is a scheme too.
    if type(value) is str and len(value) <= TEXT_CHARS_MAX and value.lower().startswith(("http://", "https://")):
        return value
    raise wrong(path, URL.says, value)


def list_of(each: Kind, most: int) -> Kind:
    says = f"a list of at most {most}, each {each.says}"

    def check(value: Any, path: str) -> list[Any]:
        if type(value) is not list or len(value) > most:
            raise wrong(path, says, value, f" of {len(value)}" if isinstance(value, list) else "")
        return [each.check(one, path) for one in value]

    return Kind("list", says, check)


def object_of(short: str = "") -> Kind:
    says = "an object" + (f", or the bare value of its `{short}`" if short else "")

    def check(value: Any, path: str) -> dict[str, Any]:
        if type(value) is dict:
            return fields_of(value, PARTS[path])
        if short and type(value) is str:
            return fields_of({short: value}, PARTS[path])
        raise wrong(path, says, value)

    return Kind("object", says, check)


TEXT = text_of(TEXT_CHARS_MAX)
WORD = name_of(64)
NUMBER = Kind("number", "a number", number_in())
FRACTION = Kind("number", "a number from 0 to 1", number_in(0, 1))
DECIMAL = Kind("decimal", 'a positive decimal of at most 40 characters, such as "9.40"', check_decimal)
TIME = Kind("time", "an RFC 3339 time with its offset, such as 2026-11-26T09:30:00Z", _check_time)
HORIZON = Kind("horizon", "an ISO 8601 duration such as PT4H or P5D, or an RFC 3339 time", _check_horizon)
FLAG = Kind("flag", "true or false", _check_flag)
ID = Kind("id", "a text of 1 to 128 printable characters without '~'", _check_id)
URL = Kind("url", "a URL that starts with http:// or https://", _check_url)
