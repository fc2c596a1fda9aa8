"""The prices in a signal written for people: what stands behind Entry, Targets and Stop, however it is laid out.

Owns: cleaning a message, its labels, and which numbers are prices. Knows nothing of directions, pairs or drafts.
Law: the number of a target is no price, a percentage is none, nor are pips; a comma that may be two things is said.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import pairwise, zip_longest

from catalyst_signals.errors import InvalidDraft
from catalyst_signals.ingest.plans import FAR
from catalyst_signals.kinds import as_decimal

_TAG = re.compile(r"</?(?:b|i|u|s|code|pre|strong|em|a|span|tg-spoiler|blockquote)(?: [^<>\n]{0,200})?>", re.IGNORECASE)
_INVISIBLE = re.compile("[\u200b-\u200f\u202a-\u202e\u2060\ufeff\ufe0e]")
_KEYCAP = re.compile("([0-9])\ufe0f?\u20e3")
_MARKS = re.compile(r"[*`|]+|(?<![A-Za-z0-9])_+|_+(?![A-Za-z0-9])")
_GLUED = re.compile(r"(?<=[0-9A-Zx])(?=(?:Entry|Entries|Take|Target|Stop|Leverage|Exchange)[A-Za-z -]{0,20} ?[:0-9])")
_CONFIGURATION = re.compile(r"^\W{0,8}trailing configuration", re.IGNORECASE | re.MULTILINE)

_LABEL = re.compile(
    r"""(?<![\w/.])(?<!\w-)(?:
    (?P<stop>stop[ -]?loss(?:es)?(?:[ ](?:targets?|price|level))?|stop[ -]?targets?|stop(?:[ ]price)?|s[./-]?l\.?
        |invalidation|стоп(?:[ -]?лосс)?|сл)
    |(?P<target>(?:sell[ ])?(?:take[ -]?profits?(?:[ -]?(?:targets?|orders?|levels?|zone))?|targets?|t-?ps?)|t(?=[0-9])
        |цел[ьи]|тейк(?:[ -]?профит)?|тп)
    |(?P<entry>(?:limit[ ])?entr(?:y|ies)(?:[ -]?(?:targets?|zone|prices?|orders?|range|points?|levels?|area))?
        |(?:buy(?:ing)?|sell(?:ing)?|long|short|enter)[ ](?:zone|range|area|entry|price|at|around|between|limit|stop)
        |enter|open(?:ing)?[ ]price|точка[ ]входа|вход|entrada)
    |(?P<sided>(?:buy|sell|long|short)(?:[ ](?:now|above|below))?(?=[ ]?[:@=(-]?[ ]?[^\w\n]{0,4}(?:now[ ])?[0-9]))
    |(?P<at>@(?=[ ]?[0-9]))
    )(?![A-Za-z])
    (?:[ ]?\#?[0-9]{1,2}(?=[ ]?[:)=]|[ ]?-[ ])|(?<=[A-Za-z])[0-9]{1,2}(?![0-9.,])
        |[ ]\#?[0-9]{1,2}(?=[ ]+[^\w\n]{0,3}[0-9][0-9.,]*[^0-9\n]*$))?
    (?:[ ]?\([^()\n]{0,24}\))?""",
    re.IGNORECASE | re.VERBOSE | re.MULTILINE,
)
_VALUE_LINE = re.compile(r"[^\w\n]{0,16}(?:[0-9]|$)")
_INDEX = re.compile(
    r"(?:^|(?<=[\s:]))\(?#?[0-9]{1,2}(?:\)[ ]?|[.:][ ]+)(?=[^\w\n]{0,4}(?:[0-9]|$|[^\x00-\x7f]|[A-Za-z]))", re.MULTILINE
)
_DASHED_INDEX = re.compile(r"^\W{0,4}([0-9]{1,2})[ ]?-[ ]?(?=[0-9])")
_NUMBER = re.compile(
    r"(?<![\w.,%])(?<![0-9]:)(?P<number>[0-9][0-9.,]*(?<![.,])|\.[0-9]+)(?P<kilo>[ ]?[kK](?!\w))?"
    r"(?![A-Za-z_]|:[0-9]|[ ](?:days?|hours?|hrs?|min|minutes?|weeks?|months?|candles?|[dhmx])\b)"
    r"(?P<unit>[ ]?%|[ ]?(?:pips?|points?|pts|ticks?)\b)?",
    re.IGNORECASE,
)
_PERCENTS = re.compile(r"(?<![\w.-])([0-9]{1,2})-([0-9]{1,2})%")
_WORD = re.compile(r"[^\W\d_]{3,}")
_AMONG_PRICES = frozenset((
    "usdt", "usdc", "usd", "busd", "btc", "eth", "eur", "and", "the", "between", "around", "near", "above", "below",
    "zone", "limit", "market", "price", "cmp", "now", "current", "pips", "pip", "points", "pts", "ticks", "close",
))  # fmt: skip
_MARKET = re.compile(r"\b(?:market|cmp|current(?: market)? price|now)\b", re.IGNORECASE)
_NUMBERS_MAX = 40


@dataclass(slots=True)
class Section:
    """What stands behind one kind of label: prices as written, percentages, distances, and the words around them."""

    prices: list[str] = field(default_factory=list)
    percents: list[Decimal] = field(default_factory=list)
    distances: list[str] = field(default_factory=list)
    words: str = ""
    named: bool = False

    @property
    def at_market(self) -> bool:
        """Whether it says to act at the price of the moment."""
        return _MARKET.search(self.words) is not None

    def __bool__(self) -> bool:
        return bool(self.prices or self.percents or self.distances or self.at_market)


def cleaned(text: str) -> str:
    """A message without what only decorates it; letters and digits in fancy alphabets as plain ones."""
    if "\n" not in text:
        text = text.replace("\\n", "\n")
    text = _INVISIBLE.sub("", text.replace("\r\n", "\n").replace("\r", "\n").replace("\U0001f51f", "10) "))
    text = unicodedata.normalize("NFKC", _KEYCAP.sub(r"\1) ", text)).replace("\ufe0f", "")
    text = re.sub(r"<br */?>", "\n", text, flags=re.IGNORECASE)
    text = _MARKS.sub(" ", _TAG.sub(" ", text))
    text = re.sub("[\u2010-\u2015\u2212]", "-", text)
    text = re.sub(r"[$€£₹₮](?=[ ]?[0-9])", "", text)
    text = _GLUED.sub("\n", text)
    return re.sub(r"[ \t]+", " ", text)


def sections(text: str) -> dict[str, Section]:
    """The sections of a cleaned message: `entry`, `target`, `stop`, and `buy`, `sell`, `long`, `short` with a price."""
    configuration = _CONFIGURATION.search(text)
    text = text[: configuration.start()] if configuration is not None else text
    labels = list(_LABEL.finditer(text))
    found = {name: Section() for name in ("entry", "target", "stop", "buy", "sell", "long", "short")}
    for label, following in zip_longest(labels, labels[1:]):
        kind = label.lastgroup or "entry"
        if kind == "sided":
            kind = label["sided"].split()[0].lower()
        elif kind == "at":
            kind = "entry"
        end = following.start() if following is not None else len(text)
        _fill(found[kind], label[0], text[label.end() : end])
    return found


def _fill(section: Section, label: str, text: str) -> None:
    """Add what stands behind a label: the rest of its line, and the lines below that begin with a number."""
    section.named = True
    first, *below = text.split("\n")
    lines = [first]
    for line in below:
        if not _VALUE_LINE.match(line):
            break
        lines.append(line)
    listed = [line for line in lines[1:] if line.strip()]
    dashed = [found[1] for line in listed if (found := _DASHED_INDEX.match(line)) is not None]
    if len(listed) > 1 and dashed == [str(number) for number in range(1, len(listed) + 1)]:
        lines = [_DASHED_INDEX.sub("", line) for line in lines]
    for line in lines:
        _numbers(section, _PERCENTS.sub(r"\1% \2%", _INDEX.sub(" ", line)))
    section.words += f" {label} {' '.join(lines)[:120]}"


def _numbers(section: Section, line: str) -> None:
    """The numbers of a line, up to the first word that does not belong among prices."""
    before, at = len(section.prices), 0
    for found in _NUMBER.finditer(line):
        strange = [word for word in _WORD.findall(line[at : found.start()]) if word.lower() not in _AMONG_PRICES]
        if len(strange) > (0 if len(section.prices) > before else 1):
            break
        at = found.end()
        unit = (found["unit"] or "").strip().lower()
        if unit == "%":
            section.percents.append(as_decimal(found["number"].replace(",", ".")) or Decimal(0))
        elif unit:
            section.distances.append(found[0].strip())
        elif len(section.prices) < _NUMBERS_MAX:
            section.prices.append(found["number"] + ("k" if found["kilo"] else ""))


def as_prices(written: list[list[str]], *, satoshi: bool) -> tuple[list[list[Decimal]], list[str]]:
    """Prices as numbers, group by group, and what was assumed in reading them.

    All prices of one message lie within a factor of ten of the next one, which tells most commas from one another.

    Raises:
        InvalidDraft: a comma may be two things.
    """
    readings = {
        name: reading for name in ("plain", "list", "decimal", "thousands") if (reading := _read(written, name))
    }
    if any("," in text for group in written for text in group):
        readings.pop("plain", None)
        doubts = []
        if "thousands" in readings and len(readings) > 1:
            text = next(text for group in written for text in group if "," in text)
            doubts.append(f"the comma of {text} is read as one between thousands")
            readings = {"thousands": readings["thousands"]}
        if len(readings) != 1:
            text = next(text for group in written for text in group if "," in text)
            raise InvalidDraft(
                f"the comma of {text} may be two things: write prices with a point", field="entry", got=text
            )
    else:
        readings, doubts = {"plain": _values(written, "plain") or []}, []
    (groups,) = readings.values()
    if satoshi and all(price >= 1 for group in groups for price in group):
        doubts.append("prices above 1 of a pair in BTC are read as satoshi")
        groups = [[price.scaleb(-8) for price in group] for group in groups]
    return groups, doubts


def _read(written: list[list[str]], way: str) -> list[list[Decimal]] | None:
    """All prices read one way, if that gives prices that belong together."""
    groups = _values(written, way)
    prices = sorted(price for group in groups or () for price in group)
    if not prices or any(high > low * FAR for low, high in pairwise(prices)):
        return None
    return groups


def _values(written: list[list[str]], way: str) -> list[list[Decimal]] | None:
    groups = []
    for texts in written:
        group: list[Decimal] = []
        for text in texts:
            pieces = _pieces(text.removesuffix("k"), way)
            numbers = [number for piece in pieces or () if (number := as_decimal(piece)) is not None]
            if pieces is None or (len(numbers) != len(pieces) and "," in text):
                return None
            group += [number * 1000 if text.endswith("k") else number for number in numbers]
        groups.append(group)
    return groups


def _pieces(text: str, way: str) -> list[str] | None:
    """The numbers of a text with commas, read one way; None if it cannot be read so."""
    if "," not in text or way == "plain":
        return [text]
    if way == "thousands":
        return [text.replace(",", "")] if re.fullmatch(r"[1-9][0-9]{0,2}(?:,[0-9]{3})+(?:\.[0-9]+)?", text) else None
    if way == "decimal":
        return [text.replace(",", ".")] if re.fullmatch(r"[0-9]+,[0-9]+", text) else None
    pieces = text.split(",")
    return pieces if all(re.fullmatch(r"(?:[1-9][0-9]*|0)(?:\.[0-9]+)?", piece) for piece in pieces) else None
