"""PineConnector alerts: `LicenseID,command,symbol,key=value...`, one a line.

Owns: its commands and the units of its stops and targets. What a plan is, is in templates.py.
Law: the licence id gets nowhere. `sl=20` may be pips, a price or per cent, as its reader is set: without the option
`unit` nobody knows, so it stays under `extras` and `note` says so. `newsltplong`, `breakeven`, `eaoff` and the like
change what is there and open nothing: no signal.

It has no key of its own: the same alert within a minute is one, unless it names a time.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any, ClassVar, NamedTuple

from catalyst_signals.errors import InvalidDraft
from catalyst_signals.ingest import Reading, redact
from catalyst_signals.ingest.envelopes import plain_text
from catalyst_signals.ingest.notes import add_note
from catalyst_signals.ingest.plans import FIAT, is_unset, price_of
from catalyst_signals.ingest.templates import drafts_of, sort
from catalyst_signals.kinds import TEXT_CHARS_MAX

UNITS = ("unknown", "pips", "price", "percent")

_WAYS = {"long": "long", "buy": "long", "bull": "long", "bullish": "long"} | {
    "short": "short", "sell": "short", "bear": "short", "bearish": "short",
}  # fmt: skip
_NO_SIGNAL = re.compile(r"newsltp\w*|modify\w*|breakeven\w*|be|trail\w*|eaon|eaoff|removesl|removetp")
_COMMAND = re.compile(
    r"(?:cancel(?P<cancel>all|long|short|buy|sell))?"
    r"(?:(?:close|exit)(?P<close>all|longshort|long|short|buy|sell)?(?P<part>pct|vol|partial)?)?"
    r"(?:(?:open)?(?P<open>bullish|bearish|bull|bear|long|short|buy|sell)(?P<kind>stop|limit)?)?(?:eaoff)?"
)
_SHORT_NAMES = re.compile(r"c(ls|l|s)\+o([ls])")
_FIELD = re.compile(r"""[^,"“”]*(?:["“”][^"“”]*["“”][^,"“”]*)*""")
_KEY_VALUE = re.compile(r"\s*([A-Za-z][\w.-]{0,63})\s*=(.*)", re.DOTALL)
_LEVEL = re.compile(r"(sl|tp)([0-9]{0,2})(?:_?(pips|points|price|pct|percent))?")
_ENTRY = {"price": "", "pending": "", "entry": "", "entry_price": "price", "entry_pips": "pips", "entry_pct": "percent"}
_LICENCE = re.compile(r"(?m)^[ \t]*[\w.-]{1,64}[ \t]*(?=,)|(?<![\w.=+-])[0-9]{8,}(?![\w.])")
_BROKERS_OWN = re.compile(r"([A-Z]{3})([A-Z]{3})(?:[._-]?[a-z]{1,5}|[._-][A-Za-z]{1,5}|\+|#)?")


class Command(NamedTuple):
    """What a command does: its steps, each action and direction, and the type of order of the last one."""

    steps: list[tuple[str, str | None]]
    kind: str = ""


class PineConnector:
    """What TradingView sends to PineConnector, read before MetaTrader does."""

    name = "pineconnector"
    OPTIONS: ClassVar[dict[str, tuple[str, ...]]] = {"unit": UNITS, "entry_unit": UNITS}
    PASTE: ClassVar[str] = """\
In TradingView's alert, in place of PineConnector's webhook URL, paste

  {url}

and leave the message as it is:

  LicenseID,buy,EURUSD,risk=1,sl=20,tp=40

Say what your EA's Target Type is, or sl and tp are kept but not told: --option unit=pips (or price, percent); the same
for its Pending Order Entry: --option entry_unit=price. The licence id is never kept.
"""

    def __init__(self, unit: str = "unknown", entry_unit: str = "unknown") -> None:
        """`unit` is the reader's Target Type (`sl`, `tp`), `entry_unit` its Pending Order Entry (`price`)."""
        self._units = {"level": unit, "entry": entry_unit}

    def read(self, raw: bytes, content_type: str) -> Reading:
        """The signals of every line; a line that is no alert beside one that is goes under `extras`."""
        lines = [line for line in plain_text(raw).splitlines() if line.strip()]
        split = [_fields(line) for line in lines]
        alerts = [fields for fields in split if _place_of_command(fields) is not None]
        others = [
            (line, fields) for line, fields in zip(lines, split, strict=True) if _place_of_command(fields) is None
        ]
        if not alerts or any(_is_alert(fields) for _, fields in others):
            raise _not_understood(others[0][1])
        drafts = [draft for fields in alerts for draft in self._drafts(fields)]
        if drafts and others:
            drafts[-1].setdefault("extras", {})["text"] = redact(self.hide("\n".join(line for line, _ in others)))[
                :TEXT_CHARS_MAX
            ]
        return Reading(drafts=drafts)

    @staticmethod
    def hide(text: str) -> str:
        """`text` without the licence id, which has no name in front of it."""
        return _LICENCE.sub(lambda found: found[0] if _is_command(found[0]) else "***", text)

    def _drafts(self, fields: list[str]) -> list[dict[str, Any]]:
        at = _place_of_command(fields)
        assert at is not None
        command = _command(fields[at])
        symbol = fields[3 - at] if len(fields) > 2 and "=" not in fields[3 - at] else ""
        if not command.steps:
            return []
        if _is_command(symbol):
            raise _second_command(symbol)
        if is_unset(symbol):
            text = f"`{fields[at]}` needs a symbol: LicenseID,{fields[at]},EURUSD"
            raise InvalidDraft(text, field="symbol", got=symbol, allowed="a symbol")
        plan = self._plan(fields[3:], _symbol(symbol), command)
        return [
            draft
            for number, (action, way) in enumerate(command.steps, 1)
            for draft in _step(_symbol(symbol), action, way, plan if number == len(command.steps) else {})
        ]

    def _plan(self, fields: list[str], symbol: str, command: Command) -> dict[str, Any]:
        """The body's other fields, as templates.py names them; `notes` is what has to be said of them."""
        doc: dict[str, Any] = {"extras": {}, "notes": []}
        if command.kind:
            doc["ordertype"] = command.kind
        for name, value in _named(fields, doc).items():
            level = _LEVEL.fullmatch(name.lower())
            if level is not None and command.steps[-1][0] == "open":
                self._level(doc, name, value, (level[1] + level[2], level[3] or self._units["level"]), symbol)
            elif name.lower() in _ENTRY and command.kind:
                self._entry(doc, name, value)
            elif name.lower() == "comment":
                doc["comment"] = value
            else:
                doc["extras"][name] = value
        if command.kind and "entryprice" not in doc:
            doc["notes"].append(f"a pending order ({command.kind}), not one at the market")
        return doc

    def _level(self, doc: dict[str, Any], name: str, value: str, what: tuple[str, str], symbol: str) -> None:
        """A stop or a target as a price, per cent or distance; in what cannot be told as the sender wrote it."""
        role, unit = what
        number = price_of(value)
        if unit == "price":
            doc[f"{role}_price"] = value
        elif unit in ("percent", "pct") and number is not None:
            doc[role] = f"{number}%"
        elif unit == "pips" and number is not None and (pip := _pip(symbol)) is not None:
            distance = f"{(Decimal(number) * pip).normalize():f}"
            doc[role] = {"amount": distance}
            doc["notes"].append(f"{name}: {value} pips of {symbol} are {distance}")
        elif unit in ("pips", "points") and number is not None:
            doc["extras"][name] = value
            doc["notes"].append(f"{name} is kept under extras: how much a pip of {symbol} is, its broker knows")
        else:
            doc[name] = value

    def _entry(self, doc: dict[str, Any], name: str, value: str) -> None:
        unit = _ENTRY[name.lower()] or self._units["entry"]
        if unit == "price" and price_of(value) is not None:
            doc["entryprice"] = value
            return
        doc["extras"][name] = value
        doc["notes"].append(f"{name} is kept under extras, for a price cannot be told from a distance")


def _fields(line: str) -> list[str]:
    """The fields of a line; a comma inside quotes is none."""
    found, at = [], 0
    while at <= len(line):
        field = _FIELD.match(line, at)
        if field is None or (field.end() < len(line) and line[field.end()] != ","):
            return [part.strip() for part in line.split(",")]  # A quote that is never closed.
        found.append(field[0].strip())
        at = field.end() + 1
    return found


def _place_of_command(fields: list[str]) -> int | None:
    """Second, as documented; or third behind the symbol, as one look-alike writes it."""
    return next((at for at in (1, 2) if at < len(fields) and _is_command(fields[at])), None)


def _is_alert(fields: list[str]) -> bool:
    """Whether a line without a command we know was meant to be one: it has the licence, or a command elsewhere."""
    return len(fields) >= 3 and (bool(re.fullmatch(r"[0-9]{8,}", fields[0])) or _is_command(fields[0]))


def _is_command(text: str) -> bool:
    word = re.sub(r"[\s_-]", "", text.lower())
    return bool(_NO_SIGNAL.fullmatch(word) or _SHORT_NAMES.fullmatch(word) or (word and _COMMAND.fullmatch(word)))


def _command(text: str) -> Command:
    word = re.sub(r"[\s_-]", "", text.lower())
    if _NO_SIGNAL.fullmatch(word):
        return Command([])
    short = _SHORT_NAMES.fullmatch(word)
    if short is not None:
        close = {"ls": "longshort", "l": "long", "s": "short"}[short[1]]
        word = f"close{close}open{ {'l': 'long', 's': 'short'}[short[2]] }"
    found = _COMMAND.fullmatch(word)
    assert found is not None
    steps: list[tuple[str, str | None]] = []
    if found["cancel"]:
        steps.append(("cancel", _WAYS.get(found["cancel"])))
    if word.startswith(("close", "exit")):
        steps.append(("reduce" if found["part"] else "close", _WAYS.get(found["close"] or "")))
    if found["open"]:
        steps.append(("open", _WAYS[found["open"]]))
    return Command(steps, found["kind"] or "")


def _step(symbol: str, action: str, way: str | None, plan: dict[str, Any]) -> list[dict[str, Any]]:
    rest = {name: value for name, value in plan.items() if name != "notes"}
    drafts = drafts_of(
        sort({"symbol": symbol, "action": f"{action}{way or ''}" if action != "cancel" else action} | rest)
    )
    for draft in drafts:
        if way is not None:
            draft["direction"] = way
        add_note(draft, *plan.get("notes", ()))
    return drafts


def _named(fields: list[str], doc: dict[str, Any]) -> dict[str, str]:
    """The `key=value` of a line; fields without a key go under `extras`, for nobody says what they are.

    Raises:
        InvalidDraft: a second command, or a key with two values.
    """
    named: dict[str, str] = {}
    for field in fields:
        pair = _KEY_VALUE.fullmatch(field)
        if pair is None:
            if _is_command(field):
                raise _second_command(field)
            if field:
                doc["extras"].setdefault("fields", []).append(field)
            continue
        value = pair[2].strip().strip("\"“”'").strip()
        if named.setdefault(pair[1], value) != value:
            text = f"the alert says `{pair[1]}` twice: {named[pair[1]]!r} and {value!r}"
            raise InvalidDraft(text, field=pair[1], got=value)
    if "fields" in doc["extras"]:
        doc["notes"].append("fields without a name are kept under extras")
    return named


def _symbol(text: str) -> str:
    """A broker's `EURUSD.a` or `GBPUSDb` is the pair it is; all else stays as it is written."""
    found = _BROKERS_OWN.fullmatch(text)
    return found[1] + found[2] if found is not None and {found[1], found[2]} <= FIAT else text


def _pip(symbol: str) -> Decimal | None:
    """How much a pip is, for pairs of currencies; of all else brokers differ."""
    if len(symbol) != 6 or not {symbol[:3], symbol[3:]} <= FIAT:
        return None
    return Decimal("0.01") if symbol.endswith("JPY") else Decimal("0.0001")


def _second_command(field: str) -> InvalidDraft:
    return InvalidDraft(f"the alert has two commands, `{field}` is the second", field="command", got=field)


def _not_understood(fields: list[str]) -> InvalidDraft:
    allowed = (
        "LicenseID,command,symbol,key=value... with buy, sell, buystop, selllimit, closelong, closeall, cancellong ..."
    )
    if len(fields) < 3 or fields[0].startswith(("{", "[")):
        return InvalidDraft(
            "an alert of PineConnector is LicenseID,command,symbol,...", field="command", allowed=allowed
        )
    if _is_command(fields[0]):
        text = f"an alert begins with the licence id, this one with the command {fields[0]!r}"
        return InvalidDraft(text, field="LicenseID", allowed=allowed)
    return InvalidDraft(
        f"`{fields[1][:80]}` is no command we know", field="command", got=fields[1][:80], allowed=allowed
    )
