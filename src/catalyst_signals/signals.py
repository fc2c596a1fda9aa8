"""Signals: from what a publisher sends to what we store, and from what we store to what a reader wants to see.

Owns: decoding untrusted JSON in words people can act on, `signal_draft`, and the typed view `Signal`. The fields
themselves are in vocabulary.py. Knows nothing of stores, sockets or senders' dialects.
Law: what is accepted comes out again: every known field in its normal form, every unknown field as it was sent.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import uuid4

import msgspec

from catalyst_signals.errors import InvalidDraft, InvalidJson, TooLarge
from catalyst_signals.events import Draft, check_id, event_id, hash_of_draft, parse_iso
from catalyst_signals.kinds import PARTS, Kind, fields_of, shown
from catalyst_signals.vocabulary import ACTIONS, DIRECTIONS, FIELDS, SHORT_ACTIONS

__all__ = [
    "ACTIONS", "DIRECTIONS", "DRAFT_BYTES_MAX", "ENDINGS", "FIELDS", "OURS", "Kind", "Signal",
    "check_not_expired", "decode", "place", "side", "signal_draft",
]  # fmt: skip

DRAFT_BYTES_MAX = 64 << 10
OURS = frozenset(("seq", "epoch", "ts", "hash", "version", "channel", "type", "was", "provider", "superseded_by"))
ENDINGS = frozenset(("signal.cancelled", "signal.superseded", "signal.expired"))

_FLOAT_CHARS_MAX = 64
_SMART_QUOTES = "“”„‟«»″‘’‚‛"
_SMART_END = re.compile(rf"[{_SMART_QUOTES}](?=\s*[,:}}\]])")
_WORD = re.compile(r"[^\s,{}\[\]\"]+")
_MONSTER = re.compile(r"(?<![0-9.])(?:[0-9]{4300,}|[0-9]+\.[0-9eE+-]{60,}|[0-9.]+[eE][+-]?[0-9]{7,})")
_HALF_PAIR = re.compile(r"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])")
_NOT_A_NUMBER = ("nan", "-nan", "infinity", "-infinity", "inf", "-inf")
_PYTHON = {"True": "true", "False": "false", "None": "null"}


def _exact(text: str) -> Decimal:
    if len(text) > _FLOAT_CHARS_MAX:
        raise ValueError("a number of too many digits")
    return Decimal(text)


_decoder = msgspec.json.Decoder(float_hook=_exact)
_encode = msgspec.json.encode


def decode(raw: bytes | str) -> Any:
    """JSON from somebody we do not trust; a number with a point or an exponent becomes a Decimal with its digits.

    Raises:
        InvalidJson: names the line and column where that is known, and what is wrong there; nothing else is raised.
    """
    body = raw.encode("utf-8", "surrogatepass") if isinstance(raw, str) else raw
    body = body.removeprefix(b"\xef\xbb\xbf")
    try:
        return _decoder.decode(body)
    except (msgspec.MsgspecError, ArithmeticError, ValueError, RecursionError) as fault:
        raise _invalid(body, fault) from None


def place(text: str, at: int) -> tuple[int, int]:
    """Line and column, both from 1, of the character at index `at`."""
    return text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at)


def _invalid(body: bytes, fault: Exception) -> InvalidJson:
    if isinstance(fault, RecursionError):
        return InvalidJson("the JSON is nested too deeply; a signal needs no more than a few levels")
    try:
        text = body.decode()
    except UnicodeDecodeError as bad:
        good = body[: bad.start].decode()
        return _at(good, len(good), f"the byte 0x{body[bad.start]:02x} is not UTF-8; send the body as UTF-8")
    if isinstance(fault, msgspec.ValidationError | ArithmeticError):
        found = _MONSTER.search(text)
        return _at(text, found.start() if found else None, "a number has too many digits; send it as a text")
    said, _, where = str(fault).partition(" (byte ")
    at = min(len(body[: int(where[:-1])].decode(errors="ignore")), len(text) - 1) if where else len(text)
    return _at(text, *_diagnosis(text, at, said.removeprefix("JSON is malformed: ")))


def _at(text: str, at: int | None, says: str) -> InvalidJson:
    if at is None:
        return InvalidJson(f"the body is not valid JSON: {says}")
    line, column = place(text, at)
    message = f"the body is not valid JSON at line {line}, column {column}: {says}"
    return InvalidJson(message, got=text[at : at + 20] or None, line=line, column=column)


def _diagnosis(text: str, at: int, said: str) -> tuple[int, str]:
    """Where the fault of a JSON text really is, and what to do about it; `at` is where the decoder gave up."""
    char = text[at : at + 1]
    if char and char in _SMART_QUOTES:
        return at, _smart(char)
    if said == "trailing characters":
        return at, "something follows after the end of the JSON"
    if "trailing comma" in said:
        return text.rfind(",", 0, at), "a comma before the closing bracket; remove it"
    if at and text.startswith("{{", at - 1):
        name = text[at + 1 : at + 60].partition("}")[0]
        return at - 1, f"the placeholder {{{{{name}}}}} was not filled in by the sender"
    if char == "'":
        return at, 'JSON needs double quotes (") around names and texts, not single ones'
    if "expected" in said or not char:  # A text that begins with a straight quote and ends with a smart one runs on.
        ends = list(_SMART_END.finditer(text, 0, at))
        if ends:
            return ends[-1].start(), _smart(ends[-1][0])
    if not char:
        return _at_end(text)
    if char < " ":
        return at, "a line break or control character inside a text; write it as \\n, \\t or \\u00XX"
    return _unquoted(text, at, said) or (at, said)


def _smart(char: str) -> str:
    name = unicodedata.name(char).lower()
    return f'{char} (U+{ord(char):04X}, {name}) is a smart quote; JSON needs straight ones (")'


def _at_end(text: str) -> tuple[int, str]:
    if not text.strip():
        return 0, "it is empty"
    half = _HALF_PAIR.search(text)
    if half is not None:
        return half.start(), f"{half[0]} is half of a character; the other half does not follow"
    return len(text), "it ends in the middle; a closing quote or bracket is missing"


def _unquoted(text: str, at: int, said: str) -> tuple[int, str] | None:
    """What to do about a value or a name without quotes around it, if that is what stands at `at`."""
    start = max(text.rfind(stop, 0, at) for stop in '\n\t ,{}[]":') + 1
    found = _WORD.match(text, start)
    if found is None or not any(char.isalpha() for char in found[0]):
        return None
    bare = found[0].partition(":")[0]
    if bare.lower() in _NOT_A_NUMBER:
        return start, f"{bare} is not JSON; leave the field out when there is no value"
    if bare in _PYTHON:
        return start, f"{bare} is not JSON; write {_PYTHON[bare]}"
    word = bare if "keys" in said else found[0]
    return start, f'{word[:40]} needs double quotes around it: "{word[:40]}"'


def signal_draft(sent: Any, *, subject: str, id: str | None = None) -> tuple[Draft, bool]:
    """One signal as a draft ready to be stored, and whether its id is ours, for want of any from the publisher.

    `sent` is what `decode` gave; its own `id` wins over `id`, which comes from an Idempotency-Key or an adapter.

    Raises:
        InvalidDraft: a field is wrong, missing or not the publisher's to set; names it.
        InvalidName: the id is not one.
        TooLarge: it encodes to more than 64 KiB.
    """
    data = canonical(sent)
    named = data.pop("id", None) or (None if id is None else check_id(id))
    data["provider"] = {"id": subject}
    try:
        body = _encode({"data": data})
        draft_hash = hash_of_draft(sent)
    except (TypeError, ValueError, RecursionError) as fault:
        raise InvalidDraft(f"the signal cannot be written as JSON: {fault}") from fault
    if len(body) > DRAFT_BYTES_MAX:
        text = f"a signal is at most {DRAFT_BYTES_MAX:,} bytes, this one is {len(body):,}"
        raise TooLarge(text, got=len(body), allowed=DRAFT_BYTES_MAX)
    draft = Draft(type="signal.published", id=named or uuid4().hex, body=body, draft_hash=draft_hash)
    return draft, named is None


def canonical(sent: Any) -> dict[str, Any]:
    """The canonical `data` of what was sent, with the publisher's `id` still in it."""
    if type(sent) is not dict:
        raise InvalidDraft(f"a signal is a JSON object, got {shown(sent)}", got=shown(sent), allowed="a JSON object")
    if not OURS.isdisjoint(sent):
        name = min(OURS.intersection(sent))
        raise InvalidDraft(f"`{name}` is set by the server; leave it out", field=name, got=shown(sent[name]))
    if "symbol" in sent or "ticker" in sent or "target" in sent:
        sent = expanded(sent)
    data = fields_of(sent, PARTS[""])
    if "symbol" not in data.get("instrument", ()):
        text = 'a signal needs an instrument: "symbol": "ACME", or "instrument": {"symbol": "ACME"}'
        raise InvalidDraft(text, field="instrument.symbol")
    _instruct(data)
    return data


def expanded(sent: dict[str, Any]) -> dict[str, Any]:
    """The short form written out: `symbol` or `ticker` into `instrument`, `target` into `targets`."""
    sent = dict(sent)
    for name in ("symbol", "ticker"):
        short = sent.pop(name, None)
        if short is None:
            continue
        whole = sent.get("instrument") or {}
        whole = {"symbol": whole} if isinstance(whole, str) else whole
        if not isinstance(short, str) or not isinstance(whole, dict) or whole.get("symbol", short) != short:
            says = "a text, and the same as `instrument.symbol` when both are given"
            raise InvalidDraft(f"`{name}` is {says}, got {shown(short)}", field=name, got=shown(short), allowed=says)
        sent["instrument"] = {**whole, "symbol": short}
    target = sent.pop("target", None)
    if target is not None:
        if sent.get("targets") is not None:
            raise InvalidDraft("give `target` or `targets`, not both", field="target")
        sent["targets"] = target if isinstance(target, list) else [target]
    return sent


def _instruct(data: dict[str, Any]) -> None:
    """Write BUY and SELL out as one of the seven actions, and see that an opening one says which way."""
    action = data.get("action")
    if action is None:
        raise InvalidDraft("a signal needs an `action`", field="action", allowed=["BUY", "SELL", *ACTIONS])
    direction = data.get("direction")
    if action in SHORT_ACTIONS:
        data["action"], way = SHORT_ACTIONS[action]
        if direction not in (None, way):
            text = f"`direction` contradicts `action`: {action.upper()} opens a {way}; to end one use close or reduce"
            raise InvalidDraft(text, field="direction", got=direction, allowed=way)
        data["direction"] = way
    elif action in ("open", "increase") and direction not in ("long", "short"):
        text = f"`{action}` needs a `direction`, long or short"
        raise InvalidDraft(text, field="direction", got=direction, allowed=["long", "short"])


def check_not_expired(draft_data: dict[str, Any], now_us: int) -> InvalidDraft | None:
    """The refusal of a signal that ends at or before `now_us`, or None. For ids that are not known yet only."""
    expires_at = draft_data.get("expires_at")
    if expires_at is None or (parse_iso(expires_at) or 0) > now_us:
        return None
    text = "`expires_at` is in the past: nobody would be shown this signal"
    return InvalidDraft(text, field="expires_at", got=expires_at)


def side(data: dict[str, Any]) -> str:
    """What people are shown of an instruction: BUY SELL ADD REDUCE CLOSE CANCEL WATCH AVOID; "" if erased."""
    action = data.get("action", "")
    if action == "open":
        return {"long": "BUY", "short": "SELL"}.get(data.get("direction", ""), "OPEN")
    return "ADD" if action == "increase" else str(action).upper()


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """A signal as a program wants to read it. `data` holds all of it, also what has no property here."""

    id: str
    channel: str
    seq: int
    version: int
    type: str
    ts: datetime
    data: dict[str, Any] = field(hash=False)

    @classmethod
    def from_event(cls, doc: dict[str, Any]) -> Signal:
        """The typed view of a `signal.*` event as it stands on the wire; an erased one has empty `data`."""
        return cls(
            id=doc["id"], channel=doc["channel"], seq=doc["seq"], version=doc["version"], type=doc["type"],
            ts=datetime.fromisoformat(doc["ts"]), data=doc.get("data", {}),
        )  # fmt: skip

    @property
    def key(self) -> str:
        """Names this version of this signal for ever, in its channel: what a handler need not do twice."""
        return event_id(self.id, self.version)

    @property
    def symbol(self) -> str:
        """The instrument's symbol as the publisher wrote it; "" for an erased signal."""
        return str(self.data.get("instrument", {}).get("symbol", ""))

    @property
    def action(self) -> str:
        """One of ACTIONS; "" for an erased signal."""
        return str(self.data.get("action", ""))

    @property
    def direction(self) -> str | None:
        """long, short or flat, if the publisher said."""
        return self.data.get("direction")

    @property
    def side(self) -> str:
        """As `side(data)`: BUY, SELL, CLOSE ..."""
        return side(self.data)

    @property
    def confidence(self) -> float | None:
        """From 0 to 1; what kind it is stands in `data["confidence_kind"]`."""
        return self.data.get("confidence")

    @property
    def entry_price(self) -> Decimal | None:
        """The price to enter at; None at the market and for a zone."""
        return _price(self.data.get("entry"))

    @property
    def stop_price(self) -> Decimal | None:
        """The price of the stop; None without a stop and for one given as an offset."""
        return _price(self.data.get("stop"))

    @property
    def target_prices(self) -> tuple[Decimal, ...]:
        """The targets that are prices, in the publisher's order."""
        return tuple(Decimal(target["price"]) for target in self.data.get("targets", ()) if "price" in target)

    @property
    def expires_at(self) -> datetime | None:
        """When the signal ends by itself."""
        text = self.data.get("expires_at")
        return None if text is None else datetime.fromisoformat(text)

    @property
    def is_ending(self) -> bool:
        """Whether this tells the end of a signal rather than a new one."""
        return self.type in ENDINGS

    def is_expired(self, now: datetime) -> bool:
        """Whether the signal had ended by itself at `now`."""
        return self.expires_at is not None and self.expires_at <= now

    def age_s(self, now: datetime) -> float:
        """Seconds from commit to `now`; below zero when the clocks differ."""
        return (now - self.ts).total_seconds()


def _price(part: dict[str, Any] | None) -> Decimal | None:
    text = part.get("price") if part else None
    return None if text is None else Decimal(text)
