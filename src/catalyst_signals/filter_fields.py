"""The vocabulary of filters: which fields there are, what they hold, which operators they take, how values are written.

Owns: names, kinds, operators, the reading and printing of values. Knows nothing of trees, text grammar or documents.
What a choice may be is the signal's own vocabulary (vocabulary.py).
Law: `kind.read(kind.plain(value)) == value` and `kind.read(kind.show(value)) == value` for every value `read` returned.

Names (symbol, id, provider, group_id, type) compare exactly, as they were sent; everything else that is text compares
case-folded. Numbers are decimals here; a clause turns them into what the document holds (filter_match.py).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Context, Decimal
from difflib import get_close_matches

from catalyst_signals.vocabulary import ACTIONS, ASSET_CLASSES, DIRECTIONS, SESSIONS

Value = str | Decimal | int

SYMBOLS = {
    "eq": "=", "ne": "!=", "lt": "<", "lte": "<=", "gt": ">", "gte": ">=", "in": "in", "nin": "not in",
    "between": "between", "prefix": "prefix", "exists": "exists",
    "contains_any": "contains_any", "contains_all": "contains_all",
}  # fmt: skip
ORDERED = ("lt", "lte", "gt", "gte")
SAME = ("eq", "ne", "in", "nin")
_RANGE = (*ORDERED, "between")
VALUE_CHARS_MAX = 256
NAME_CHARS_MAX = 128

BARE = re.compile(r"""(?:[^\s(),=<>!"'\\“”‘’]|!(?!=))+""")  # What needs no quotes in the text form.
_NUMBER = re.compile(r"([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e[+-]?[0-9]{1,3})?)([kmb%]?)", re.IGNORECASE)
_SCALE = {"": 0, "k": 3, "m": 6, "b": 9, "%": -2}
_EXACT = Context(prec=60)
_AMOUNT = r"(?:([0-9]{1,9}(?:\.[0-9]{1,6})?)%s)?"
_ISO = re.compile("P" + "".join(_AMOUNT % u for u in "YMWD") + "(?:T" + "".join(_AMOUNT % u for u in "HMS") + ")?")
_SHORT = re.compile("".join(_AMOUNT % u for u in "wdhms"), re.IGNORECASE)
_DAY = 86_400
_ISO_SECONDS = (365 * _DAY, 30 * _DAY, 7 * _DAY, _DAY, 3600, 60, 1)
_SHORT_SECONDS = _ISO_SECONDS[2:]
_CLOCK = re.compile(r"([01]?[0-9]|2[0-3]):([0-5][0-9])(?::([0-5][0-9]))?")
_WORD = re.compile(r"\w+")


class Bare(str):
    """A value typed without quotes, which may mean a number where the field has no type of its own."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, eq=False)
class Kind:
    """What a field holds. `read` raises ValueError for anything else; `show` is for text, `plain` for JSON."""

    name: str
    ops: tuple[str, ...]
    read: Callable[[object], Value]
    show: Callable[[Value], str]
    plain: Callable[[Value], object]
    choices: tuple[str, ...] = ()
    many: bool = False  # The document holds a set, and `=` asks whether the value is in it.


@dataclass(frozen=True, slots=True)
class Field:
    """One field of the vocabulary. `low` and `high` bound its values, both inclusive."""

    name: str
    kind: Kind
    low: int | None = None
    high: int | None = None


def read_name(raw: object) -> str:
    """A text as it stands, 1 to 256 printable characters; an integer is taken as its digits."""
    if isinstance(raw, int) and not isinstance(raw, bool) and abs(raw) < 10**20:
        return str(raw)
    if not isinstance(raw, str) or not 0 < len(raw) <= VALUE_CHARS_MAX or not raw.isprintable() or raw.isspace():
        raise ValueError
    return str(raw)


def read_word(raw: object) -> str:
    """A text, case-folded."""
    return read_name(read_name(raw).casefold())


def read_number(raw: object) -> Decimal:
    """A number of at most 21 digits before and 18 after the point; `20M`, `300k`, `2b` and `5%` are understood."""
    if isinstance(raw, bool) or not isinstance(raw, str | int | float | Decimal):
        raise ValueError
    found = _NUMBER.fullmatch(str(raw).strip())
    if found is None:
        raise ValueError
    value = Decimal(found[1]).scaleb(_SCALE[found[2].lower()], _EXACT).normalize(_EXACT)
    if not value:
        return Decimal(0)
    exponent = value.as_tuple().exponent
    if value.adjusted() > 20 or not isinstance(exponent, int) or exponent < -18:
        raise ValueError
    return value


def read_duration(raw: object) -> int:
    """Seconds of an ISO-8601 duration (`PT4H`; a month counts 30 days, a year 365) or of `4h`, `1d12h`, `30m`."""
    if not isinstance(raw, str):
        raise ValueError
    for pattern, seconds in ((_ISO, _ISO_SECONDS), (_SHORT, _SHORT_SECONDS)):
        found = pattern.fullmatch(raw.strip())
        if found and any(found.groups()):
            parts = zip(found.groups(), seconds, strict=True)
            return int(sum(Decimal(amount) * each for amount, each in parts if amount))
    raise ValueError


def show_duration(value: Value) -> str:
    """The shortest ISO-8601 duration of so many seconds, in days, hours, minutes and seconds."""
    days, rest = divmod(int(value), _DAY)
    clock = "".join(f"{n}{unit}" for n, unit in ((rest // 3600, "H"), (rest % 3600 // 60, "M"), (rest % 60, "S")) if n)
    if not clock:
        return f"P{days}D"
    return f"P{days}DT{clock}" if days else f"PT{clock}"


def read_clock(raw: object) -> str:
    """A time of day as the log writes it, so that texts compare as times: `9:30` is `09:30:00.000000`."""
    found = _CLOCK.fullmatch(raw.strip()) if isinstance(raw, str) else None
    if found is None:
        raise ValueError
    return f"{int(found[1]):02}:{found[2]}:{found[3] or '00'}.000000"


def show_clock(value: Value) -> str:
    """`09:30`, or `09:30:15` when there are seconds."""
    text = str(value)[:8]
    return text.removesuffix(":00") if text.count(":") == 2 else text


def words_of(text: str) -> list[str]:
    """The words of a text, case-folded: runs of letters, digits and `_`."""
    return _WORD.findall(text.casefold())


def read_phrase(raw: object) -> str:
    """One or more words, case-folded, one space between: `Phase 3` is found where both stand in a row."""
    return read_name(" ".join(words_of(read_name(raw))))


def read_loose(raw: object) -> Value:
    """A number or a text, by how it is written: `5` is a number, `"5"` in quotes is a text, `true` is a text."""
    if isinstance(raw, bool):
        return "true" if raw else "false"
    if isinstance(raw, str) and not (isinstance(raw, Bare) and _NUMBER.fullmatch(raw)):
        return read_name(raw)
    number = read_number(raw)
    if isinstance(plain_number(number), str):  # As JSON it would come back as a text.
        raise ValueError
    return number


def show_text(value: Value) -> str:
    """A text as it is typed: bare where that is possible, else in double quotes."""
    text = str(value)
    if BARE.fullmatch(text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def show_number(value: Value) -> str:
    """Digits, never an exponent."""
    return f"{value:f}" if isinstance(value, Decimal) else str(value)


def show_loose(value: Value) -> str:
    """As `read_loose` reads it back: a text that looks like a number stands in quotes."""
    if isinstance(value, Decimal):
        return show_number(value)
    shown = show_text(value)
    return f'"{shown}"' if _NUMBER.fullmatch(shown) else shown


def plain_number(value: Value) -> object:
    """A JSON number where that is exact, else its digits as a text."""
    if not isinstance(value, Decimal):
        return value
    if value == value.to_integral_value() and abs(value) < 2**53:
        return int(value)
    return float(value) if Decimal(repr(float(value))) == value else show_number(value)


def plain_loose(value: Value) -> object:
    """A JSON number or a text."""
    return plain_number(value) if isinstance(value, Decimal) else value


def _choice(*choices: str, **also: str) -> Kind:
    """Kind of a field with a fixed list of values; `also` gives other spellings of them."""

    def read(raw: object) -> str:
        word = read_word(raw)
        word = also.get(word, word)
        if word not in choices:
            raise ValueError
        return word

    return Kind(f"one of {', '.join(choices)}", (*SAME, "exists"), read, show_text, str, choices)


_CONTAINS = ("contains_any", "contains_all")
NAME = Kind("a text", (*SAME, "prefix", "exists"), read_name, show_text, str)
WORD = Kind("a text", (*SAME, "prefix", "exists"), read_word, show_text, str)
NUMBER = Kind("a number", (*SAME, *_RANGE, "exists"), read_number, show_number, plain_number)
PRICE = Kind("a price such as 9.40", (*SAME, *_RANGE, "exists"), read_number, show_number, show_number)
DURATION = Kind(
    "a duration such as PT4H, 4h, 30m or 5d", (*SAME, *_RANGE, "exists"), read_duration, show_duration, show_duration
)
CLOCK = Kind("a time of day in UTC such as 09:30", _RANGE, read_clock, show_clock, show_clock)
TAGS = Kind("a text", (*_CONTAINS, *SAME, "exists"), read_word, show_text, str, many=True)
WORDS = Kind("words", (*_CONTAINS, *SAME, "exists"), read_phrase, show_text, str, many=True)
FLAG = Kind("no value", ("exists",), read_name, show_text, str)
LOOSE = Kind("a number or a text", (*SAME, *_RANGE, "prefix", "exists"), read_loose, show_loose, plain_loose)

_DAYS = {"monday": "mon", "tuesday": "tue", "wednesday": "wed", "thursday": "thu", "friday": "fri"}
_WEEKEND = {"saturday": "sat", "sunday": "sun"}

FIELDS = {
    field.name: field
    for field in (
        *(Field(name, NAME) for name in ("symbol", "id", "provider", "group_id", "type")),
        *(Field(f"catalyst.{part}", WORD) for part in ("type", "subtype", "stage", "severity")),
        *(Field(name, WORD) for name in ("venue", "mic", "currency", "sector", "country", "lang")),
        *(Field(name, WORD) for name in ("source.name", "source.kind", "model.name")),
        Field("action", _choice(*ACTIONS)),
        Field("direction", _choice(*DIRECTIONS)),
        Field("confidence_kind", _choice("probability", "score", "none")),
        Field("session", _choice(*SESSIONS)),
        Field("asset_class", _choice(*ASSET_CLASSES)),
        Field("weekday", _choice("mon", "tue", "wed", "thu", "fri", "sat", "sun", **_DAYS, **_WEEKEND)),
        Field("confidence", NUMBER, low=0, high=1),
        *(Field(name, NUMBER) for name in ("expected_return", "magnitude", "rr", "stop_pct")),
        Field("price", PRICE),
        Field("horizon", DURATION),
        Field("time_of_day", CLOCK),
        *(Field(name, TAGS) for name in ("tags", "disclosures")),
        Field("keywords", WORDS),
        *(Field(name, FLAG) for name in ("entry", "stop", "targets", "expires_at")),
    )
}

_FEATURES = (
    "market_cap", "float_shares", "rvol", "volume", "avg_volume", "spread_bps", "volatility", "atr_pct", "gap_pct",
    "age_days", "sentiment", "vix", "short_interest", "provider.score",
)  # fmt: skip
ALIASES = {
    **{name: f"features.{name}" for name in _FEATURES},
    **{f"instrument.{name}": name for name in ("symbol", "asset_class", "venue", "mic", "currency")},
    "ticker": "symbol", "exchange": "venue", "provider.id": "provider", "source": "source.name",
    "catalyst": "catalyst.type", "model": "model.name", "reference_price": "price",
}  # fmt: skip
ELSEWHERE = {
    "age_ms": "`age_ms` is not a field: age is judged at delivery, by the modifier `max_age_s` of `subscribe`",
    "max_age_s": "`max_age_s` is not a field: it is a modifier of `subscribe`",
    "watchlist": "`watchlist` is not a field: list the symbols, as in `symbol in (ACME, XYZ)`",
    "news_window": "`news_window` is not a field: it is not built",
}
_OPEN_ENDED = {"features": NUMBER, "extras": LOOSE, "data": LOOSE}
FIELD_NAMES = sorted({*FIELDS, *_FEATURES, *(f"{prefix}.NAME" for prefix in _OPEN_ENDED)})


def find_field(name: str) -> Field | None:
    """The field of that name or of its other spelling, or None. The NAME of `features.NAME` is up to 128 long."""
    known = name if name in FIELDS else ALIASES.get(name) or ALIASES.get(name.lower()) or name
    field = FIELDS.get(known) or FIELDS.get(known.lower())
    if field is not None:
        return field
    prefix, dot, rest = known.partition(".")
    kind = _OPEN_ENDED.get(prefix)
    if kind is None or not dot or len(rest) > NAME_CHARS_MAX or not BARE.fullmatch(rest) or not rest.isprintable():
        return None
    return Field(known, kind) if prefix == "features" or all(rest.split(".")) else None


def nearest(word: str, choices: list[str] | tuple[str, ...]) -> str | None:
    """What was probably meant, for an error message."""
    found = get_close_matches(word.lower()[:NAME_CHARS_MAX], choices, 1, 0.6)
    return found[0] if found else None
