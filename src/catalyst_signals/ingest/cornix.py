"""Signals as people post them in Telegram, by Cornix's rules: a pair, Entry, Targets, Stop, perhaps Leverage.

Owns: a message's pair and direction, and its plan. Where the prices stand is in cornix_words.py, which messages are
no new signals in cornix_reports.py.
Law: a direction is said, or all prices agree on it; a target or a stop on the wrong side is left out and told. What is
read with a doubt says so in `doubts`: somebody looks at it before it is published. Reports ("target 1 reached",
"closed") and advice ("move SL to entry") are no new signals.

The sender's own key is the chat and the number of a Telegram message; a text without its envelope has none.
"""

from __future__ import annotations

import re
from decimal import Decimal
from itertools import pairwise
from typing import Any, ClassVar

from catalyst_signals.errors import InvalidDraft, TooLarge
from catalyst_signals.ingest import Reading, redact
from catalyst_signals.ingest.cornix_reports import is_no_signal
from catalyst_signals.ingest.cornix_words import Section, as_prices, cleaned, sections
from catalyst_signals.ingest.envelopes import opened
from catalyst_signals.ingest.notes import add_note
from catalyst_signals.ingest.orders import verb_of
from catalyst_signals.ingest.plans import FAR, FIAT, instrument_of
from catalyst_signals.kinds import TEXT_CHARS_MAX
from catalyst_signals.vocabulary import TARGETS_MAX

CHARS_MAX = 16 << 10

_QUOTE = r"(?:USDT|USDC|FDUSD|TUSD|BUSD|USD|PERP|BTC|ETH|BNB|EUR|GBP|JPY|TRY|AUD|CAD|CHF|NZD|INR)"
_TOKEN = r"[A-Za-z0-9]{2,15}"
_LABELLED = re.compile(
    r"(?<![\w])(?:trading pair|pair|coin|symbol|name|ticker|asset|instrument|trade|монета|пара) ?[:=] ?[^\w\n#$]{0,8}"
    rf"[#$]?({_TOKEN}(?: ?[/_-] ?[A-Za-z]{{3,5}})?(?::[A-Za-z]{{3,5}})?(?:\.P)?)(?!\w)",
    re.IGNORECASE,
)
_WRITTEN = (
    re.compile(rf"(?<![\w/])[#$]?({_TOKEN} ?[/_-] ?{_QUOTE}(?::[A-Z]{{3,5}})?(?:\.P)?)(?![\w/])", re.IGNORECASE),
    re.compile(r"(?<![\w/])[#$]?([A-Za-z0-9]{2,12}(?:USDT|USDC|FDUSD|BUSD|PERP|USD)(?:\.P)?)(?!\w)", re.IGNORECASE),
    re.compile(r"(?<![\w/])[#$]?([A-Z]{6})(?![\w/])"),
)
_SIDE_WORD = r"(?:BUY|SELL|LONG|SHORT)"
_BESIDE = (
    re.compile(rf"(?<![\w/])[#$]?([A-Z][A-Z0-9.]{{1,11}})[^\w\n]{{1,8}}(?:LIMIT )?{_SIDE_WORD}\b"),
    re.compile(rf"\b{_SIDE_WORD}[^\w\n]{{1,8}}[#$]?([A-Z][A-Z0-9.]{{1,11}})(?![\w/])"),
    re.compile(r"(?<!\w)[#$]([A-Z][A-Z0-9]{0,11})(?![\w/])"),
    re.compile(
        r"(?<![\w/])(GOLD|SILVER|XAU|XAG|US30|US100|US500|NAS100|SPX500|GER30|GER40|DE40|UK100|USOIL|UKOIL"
        r"|(?i:(?:(?<=buy )|(?<=sell )|(?<=long )|(?<=short ))(?:gold|silver)"
        r"|(?:gold|silver)(?= (?:buy|sell|long|short)\b))"
        r")(?![\w/])"
    ),
)
_NO_PAIRS = frozenset((
    "ALERT", "ALL", "BUY", "CALL", "CLOSE", "DIRECTION", "ENTRY", "EXIT", "FREE", "FUTURES", "LIMIT", "LONG", "MARKET",
    "NEW", "NOW", "OPEN", "ORDER", "POSITION", "PREMIUM", "SCALP", "SELL", "SETUP", "SHORT", "SIDE", "SIGNAL", "SPOT",
    "STOP", "SWING", "TARGET", "TARGETS", "TRADE", "TYPE", "VIP", "ZONE",
))  # fmt: skip

_SIDE_LABEL = re.compile(
    r"(?<!\w)(?:signal type|trade type|direction|side|position|type) ?[:=-]([^\n]{0,60})", re.IGNORECASE
)
_WAYS = (
    (1, re.compile(r"\b(?:long|bullish)\b(?![ -]?term)|\bлонг\b", re.IGNORECASE)),
    (-1, re.compile(r"\b(?:short|bearish)\b(?![ -]?term)|\bшорт\b", re.IGNORECASE)),
)
_TRADES = (
    (1, re.compile(r"\b(?:buy|buying)\b|\bпокупка\b", re.IGNORECASE)),
    (-1, re.compile(r"\b(?:sell|selling)\b(?! targets?)|\bпродажа\b", re.IGNORECASE)),
)

_LEVERAGE = re.compile(r"(?<!\w)(?:max )?(?:leverage|lev|margin mode|плечо) ?[:=-]? ?([^\n]{1,60})", re.IGNORECASE)
_EXCHANGE = re.compile(r"(?<!\w)exchanges? ?[:=-]\s{0,3}([A-Za-z][^\n]{0,80})", re.IGNORECASE)
_NOW = re.compile(r"\b(?:buy|sell|long|short) (?:now|at market|market)\b", re.IGNORECASE)
_EITHER = re.compile(
    r"\b(?:buy|long) ?(?:or|/) ?(?:sell|short)\b|\b(?:sell|short) ?(?:or|/) ?(?:buy|long)\b", re.IGNORECASE
)
_NAMELESS = re.compile(r"^[^\w\n]{1,8}[0-9][0-9., /-]*$", re.MULTILINE)  # `🔵 1.75, 1.85`
_NEW = re.compile(r"^\W{0,8}new signal\b", re.IGNORECASE | re.MULTILINE)
_BREAKOUT = {1: re.compile(r"\babove\b", re.IGNORECASE), -1: re.compile(r"\bbelow\b", re.IGNORECASE)}
_LONG_OR_SHORT = {1: "long", -1: "short"}


class Cornix:
    """A message of a signal channel."""

    name = "cornix"
    OPTIONS: ClassVar[dict[str, tuple[str, ...]]] = {"confirm": ("doubtful", "always", "never")}
    PASTE: ClassVar[str] = """\
Let your bot, or Telegram itself (setWebhook), post the channel's messages to

  {url}

as text, as {"text": "..."} or as Telegram's updates. A message in full is published at once:

  #BTC/USDT LONG
  Entry Zone: 61000 - 61500
  Targets: 62000, 63000
  Stop: 59800

What is read with a doubt is answered with 202, the drafts and a word that publishes them (?confirm=...).
"""

    def __init__(self, confirm: str = "doubtful") -> None:
        """`confirm` is which signals wait for somebody to look at them: those read with a doubt, all, or none."""
        self._confirm = confirm

    def read(self, raw: bytes, content_type: str) -> Reading:
        """The signals of a message, none if it reports on an earlier one."""
        letter = opened(raw)
        if len(letter.text) > CHARS_MAX:
            text = f"a message may have {CHARS_MAX:,} characters; Telegram's have at most 4,096"
            raise TooLarge(text, got=len(letter.text), allowed=CHARS_MAX)
        if letter.edited or not letter.text.strip():
            return Reading(drafts=[], id=letter.key)
        found = [read for block in _blocks(cleaned(letter.text)) if (read := _Message(block).draft()) is not None]
        doubts = [doubt for _, of_one in found for doubt in of_one]
        if self._confirm == "always":
            doubts = doubts or ["every signal of this source is confirmed"]
        return Reading(
            drafts=[draft for draft, _ in found], id=letter.key, doubts=[] if self._confirm == "never" else doubts
        )


def _blocks(text: str) -> list[str]:
    """The parts of a message that speak of one pair each; a paragraph belongs to the pair that stands in it."""
    again = _NEW.search(text)
    if again is not None and text[: again.start()].strip():
        return [*_blocks(text[: again.start()]), *_blocks(text[again.start() :])]
    starts: list[int] = []
    last = ""
    for at, pair in _marks(text):
        if pair == last:
            continue
        line = text.rfind("\n", 0, at) + 1
        paragraph = text.rfind("\n\n", 0, at) + 2
        starts.append(paragraph if paragraph > (starts[-1] if starts else 1) else line)
        last = pair
    if len(starts) < 2:
        return [text]
    starts[0] = 0
    return [text[start:end] for start, end in pairwise([*starts, len(text)]) if end > start]


def _marks(text: str) -> list[tuple[int, str]]:
    """Where pairs stand that are written in full, or beside a direction and a price: the same one once in a row."""
    found = [each for pattern in _WRITTEN for each in pattern.finditer(text)]
    found += [each for pattern in _BESIDE[:2] for each in pattern.finditer(text) if _has_price(text, each)]
    marks = [(each.start(1), _bare(each[1])) for each in found if each[1].upper() not in _NO_PAIRS]
    return sorted(mark for mark in marks if len(mark[1]) != 6 or mark[1][:3] not in FIAT or _is_fx(mark[1]))


def _has_price(text: str, found: re.Match[str]) -> bool:
    end = text.find("\n", found.end())
    return re.search(r"[0-9]", text[found.end() : end if end >= 0 else len(text)]) is not None


def _pairs_in(text: str) -> list[re.Match[str]]:
    """Every pair that is written in full, or stands beside the direction."""
    for pattern in (*_WRITTEN[:2], None, _BESIDE[0], _BESIDE[1]):
        if pattern is None:
            found = [each for each in _WRITTEN[2].finditer(text) if _is_fx(each[1])]
        else:
            found = [each for each in pattern.finditer(text) if each[1].upper() not in _NO_PAIRS]
        if found:
            return found
    return []


def _bare(pair: str) -> str:
    return re.sub(r"[^A-Z0-9]", "", pair.upper().removesuffix(".P"))


def _is_fx(text: str) -> bool:
    return {text[:3], text[3:]} <= FIAT | {"XAU", "XAG"}


class _Message:
    """One signal, perhaps, and what is in doubt about it."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.parts = sections(text)
        self.doubts: list[str] = []
        self.extras: dict[str, Any] = {}

    def draft(self) -> tuple[dict[str, Any], list[str]] | None:
        """The signal and the doubts; None if this is none.

        Raises:
            InvalidDraft: it means to be one, but is not clear.
        """
        short = self._command()
        if short is not None:
            return short, []
        entry, targets, stops = self._sorted_out()
        kinds = sum(map(bool, (entry, targets, stops)))
        if is_no_signal(self.text, has_plan=kinds > 1):
            return None
        way, pair = self._way(), self._pair()
        if not kinds and pair and way and len(_NAMELESS.findall(self.text)) > 1:
            text = "the prices have no names: which is the entry, which the stop?"
            raise InvalidDraft(text, field="entry", allowed="Entry, Targets and Stop before their prices")
        if not kinds or (kinds < 2 and (pair is None or way is None)):
            return None
        if pair is None:
            raise InvalidDraft("the signal names no pair", field="pair", allowed="#BTC/USDT, BTCUSDT, Pair: BTC/USDT")
        return self._plan(pair, way, entry, targets, stops), self.doubts

    def _command(self) -> dict[str, Any] | None:
        """`BUY BTC/USDT`, `close ETHUSDT now`: a verb and a pair and nothing else."""
        words = re.sub(r"[^\w/.:$#-]+", " ", self.text).replace(" now", "").strip()
        if len(words) > 60 or len(words.split()) not in (2, 3):
            return None
        for pair, verb in ((words.split()[-1], words.split()[:-1]), (words.split()[0], words.split()[1:])):
            found = verb_of(" ".join(verb))
            sure = any(pattern.fullmatch(pair) for pattern in _WRITTEN[:2]) or (pair.isupper() and _is_fx(pair))
            if found is not None and sure and found[0] in ("trade", "hold", "open", "close", "reduce", "cancel"):
                draft: dict[str, Any] = {"instrument": instrument_of(pair.upper()), "action": found[0]}
                if found[0] in ("trade", "hold", "open"):
                    draft["action"] = "open"
                if found[1]:
                    draft["direction"] = _LONG_OR_SHORT[found[1]]
                return draft if found[1] or draft["action"] != "open" else None
        return None

    def _sorted_out(self) -> tuple[Section, Section, Section]:
        """Entry, targets and stops; "Sell: 160" is a target beside "Buy: 150" and else an entry."""
        entry, targets, stops = (self.parts[name] for name in ("entry", "target", "stop"))
        buy, sell = self.parts["buy"], self.parts["sell"]
        if buy.prices and sell.prices and not targets:
            targets, sell = sell, Section()
        if not entry.prices:
            for each in (buy, sell, self.parts["long"], self.parts["short"]):
                if each.prices:
                    each.words += entry.words
                    entry = each
                    break
        return entry, targets, stops

    def _way(self) -> int | None:
        """1 or -1 as the words say, None if they do not.

        Raises:
            InvalidDraft: they say both.
        """
        said = {
            way
            for found in _SIDE_LABEL.finditer(self.text)
            for way, word in (*_WAYS, *_TRADES)
            if word.search(found[1])
        }
        said |= {way for way, word in _WAYS if word.search(self.text)}
        trades = {way for way, word in _TRADES if word.search(self.text)}
        if len(trades) == 1 and not (self.parts["buy"].prices and self.parts["sell"].prices):
            said |= trades
        if len(said) > 1 or _EITHER.search(self.text):
            raise InvalidDraft("the signal says both long and short", field="direction", allowed=["long", "short"])
        return next(iter(said), None)

    def _pair(self) -> str | None:
        """The pair as it is written; None if there is none.

        Raises:
            InvalidDraft: there are two.
        """
        for found in (
            [each[1] for each in _LABELLED.finditer(self.text)],
            [each[1] for each in _pairs_in(self.text)],
            [each[1] for each in _BESIDE[2].finditer(self.text)],
            [each[1] for each in _BESIDE[3].finditer(self.text)],
        ):
            pairs = {_bare(pair): pair for pair in reversed(found) if pair.upper() not in _NO_PAIRS}
            if len(pairs) > 1:
                names = " and ".join(sorted(pairs.values())[:3])
                raise InvalidDraft(f"the signal names several pairs: {names}", field="pair", got=names)
            if pairs:
                return next(iter(pairs.values()))
        return None

    def _plan(self, pair: str, way: int | None, entry: Section, targets: Section, stops: Section) -> dict[str, Any]:
        instrument = instrument_of(re.sub(r"\s", "", pair).upper(), self._exchange())
        satoshi = bool(re.search(r"[/_-]BTC$", re.sub(r"\s", "", pair).upper()))
        groups, assumed = as_prices([entry.prices, targets.prices, stops.prices], satoshi=satoshi)
        self.doubts += assumed
        entries, goals, ends = self._together(groups)
        if way is None:
            way = _inferred(entries, goals, ends)
            self.doubts.append("the direction is read from the prices")
        draft: dict[str, Any] = {"instrument": instrument, "action": "open", "direction": _LONG_OR_SHORT[way]}
        self._enter(draft, entry, entries, way)
        self._levels(draft, way, entries, (targets, goals), (stops, ends))
        self._tell(draft)
        return draft

    def _together(self, groups: list[list[Decimal]]) -> list[list[Decimal]]:
        """The prices without entries ten times away from the one in the middle: `2350-53` is no zone from 53."""
        prices = sorted(price for group in groups for price in group)
        middle = prices[len(prices) // 2] if prices else Decimal(1)
        odd = [price for price in groups[0] if not middle / FAR <= price <= middle * FAR]
        if odd:
            self.doubts.append(f"no entry, for it is too far away: {', '.join(f'{price:f}' for price in odd)}")
        return [[price for price in groups[0] if price not in odd], *groups[1:]]

    def _enter(self, draft: dict[str, Any], section: Section, entries: list[Decimal], way: int) -> None:
        """One price is a limit, or a breakout; several are a zone."""
        if section.at_market or _NOW.search(self.text):
            draft["entry"] = {"type": "market"}
            if len(entries) == 1:
                draft["reference_price"] = f"{entries[0]:f}"
        elif len(set(entries)) == 1:
            breakout = _BREAKOUT[way].search(section.words)
            draft["entry"] = {"type": "stop" if breakout else "limit", "price": f"{entries[0]:f}"}
        elif entries:
            draft["entry"] = {"type": "zone", "low": f"{min(entries):f}", "high": f"{max(entries):f}"}
            if "zone" not in section.words.lower() or len(entries) > 2:
                self.extras["entries"] = [f"{price:f}" for price in entries]
        else:
            self.doubts.append("no entry is given")

    def _levels(
        self, draft: dict[str, Any], way: int, entries: list[Decimal], targets: tuple[Section, list[Decimal]],
        stops: tuple[Section, list[Decimal]],
    ) -> None:  # fmt: skip
        """Targets and stop into `draft`; what lies on the wrong side or ten times away is left out and told.

        Raises:
            InvalidDraft: all of them lie on the wrong side: then the direction may be wrong, or they are.
        """
        goals, ends = targets[1], stops[1]
        good_goals = [price for price in goals if _lies(price, entries or ends, way)]
        good_ends = [price for price in ends if _lies(price, entries or good_goals, -way)]
        wrong = [price for price in goals if price not in good_goals] + [
            price for price in ends if price not in good_ends
        ]
        if wrong and not good_goals and not good_ends:
            side = "above" if way > 0 else "below"
            text = f"targets of a {_LONG_OR_SHORT[way]} lie {side} its entry, its stop on the other side; these do not"
            raise InvalidDraft(text, field="targets", got=", ".join(f"{price:f}" for price in wrong[:6]))
        if wrong:
            self.extras["left_out"] = [f"{price:f}" for price in wrong]
            self.doubts.append(f"left out, on the wrong side or too far away: {', '.join(self.extras['left_out'])}")
        if good_goals:
            draft["targets"] = [{"price": f"{price:f}"} for price in good_goals[:TARGETS_MAX]]
            _share(draft["targets"], targets[0].percents if not wrong else [])
        elif targets[0].percents:
            draft["targets"] = [_offset(percent) for percent in targets[0].percents[:TARGETS_MAX] if percent > 0]
        if good_ends:
            draft["stop"] = {"price": f"{good_ends[0]:f}"}
        elif len(stops[0].percents) == 1 and not ends and stops[0].percents[0] > 0:
            draft["stop"] = _offset(stops[0].percents[0])
        self._missing(draft, targets[0], stops[0], len(good_goals), len(good_ends))

    def _missing(self, draft: dict[str, Any], targets: Section, stops: Section, goals: int, ends: int) -> None:
        if not draft.get("targets"):
            draft.pop("targets", None)
        distances = [*targets.distances, *stops.distances]
        if distances:
            self.extras["distances"] = distances
            self.doubts.append(f"distances are kept under extras: {', '.join(distances)}")
        if stops.named and "stop" not in draft and not stops.distances and not stops.prices:
            self.doubts.append("the stop is not given as a price")
        if "stop" not in draft and "targets" not in draft:
            self.doubts.append("neither stop nor target is given")
        if goals > TARGETS_MAX:
            self.doubts.append(f"of {goals} targets the first {TARGETS_MAX} are told")
        if ends > 1:
            self.doubts.append(f"of {ends} stops the first is told")

    def _exchange(self) -> str | None:
        """The one exchange that is named, by its first word; several say nothing."""
        found = _EXCHANGE.search(self.text)
        if found is None:
            return None
        self.extras["exchanges"] = found[1].strip()
        return None if re.search(r"[,/&|]|\band\b", found[1]) else found[1].split()[0].upper()

    def _tell(self, draft: dict[str, Any]) -> None:
        leverage = _LEVERAGE.search(self.text)
        if leverage is not None:
            self.extras["leverage"] = leverage[1].strip()
        future = re.search(r"\bfutures?\b", self.extras.get("exchanges", ""), re.IGNORECASE)
        if future is not None and "asset_class" not in draft["instrument"]:
            draft["instrument"]["asset_class"] = "crypto_perp"
        draft["extras"] = self.extras | {"text": redact(self.text.strip())[:TEXT_CHARS_MAX]}
        add_note(draft, *self.doubts)


def _lies(price: Decimal, beside: list[Decimal], way: int) -> bool:
    """Whether a price lies beyond all of those (`way` 1: above), and not ten times away."""
    if not beside:
        return True
    edge = max(beside) if way > 0 else min(beside)
    return (price - edge) * way > 0 and edge / FAR <= price <= edge * FAR


def _inferred(entries: list[Decimal], goals: list[Decimal], ends: list[Decimal]) -> int:
    """The direction that all prices agree on: targets and stop, or two targets, around the entry.

    Raises:
        InvalidDraft: they do not, or are too few.
    """
    if entries and (ends or len(goals) > 1) and goals:
        for way in (1, -1):
            if all(_lies(price, entries, way) for price in goals) and all(
                _lies(price, entries, -way) for price in ends
            ):
                return way
    text = "the signal says neither long nor short, and its prices do not say it either"
    raise InvalidDraft(text, field="direction", allowed="LONG or SHORT, or entry, targets and stop that agree")


def _share(targets: list[dict[str, Any]], percents: list[Decimal]) -> None:
    """How much of the position each target closes, if the percentages beside them add up to all of it."""
    if len(percents) == len(targets) > 1 and abs(sum(percents, Decimal(0)) - 100) <= Decimal("0.1"):
        for target, percent in zip(targets, percents, strict=True):
            target["fraction"] = float(percent / 100)


def _offset(percent: Decimal) -> dict[str, str]:
    return {"offset": f"{percent / 100:f}", "unit": "pct"}
