"""Deeds: what somebody did about a signal they were shown, as an event of the channel `acks`.

Owns: the fields of a deed and what may stand in them; how the deeds of one signal are found again. Knows nothing of
stores or requests. Law: a deed is judged as loudly as a signal: which field, what came, what is allowed.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from catalyst_signals.errors import InvalidDraft, TooLarge
from catalyst_signals.events import Draft, check_id, hash_of_draft
from catalyst_signals.kinds import (
    DECIMAL,
    DECIMAL_CHARS_MAX,
    FLAG,
    TEXT,
    TIME,
    WORD,
    Kind,
    as_decimal,
    choice_of,
    kept,
    name_of,
    wrong,
)
from catalyst_signals.signals import DRAFT_BYTES_MAX

ACKS = "acks"  # The channel, written by the server alone.
DEED = "deed.reported"
DONE = ("shown", "executed", "ignored", "rejected")
FILLS_MAX = 100
_NOTHING = re.compile(r"0{1,40}(?:\.0{0,40})?")
_SIGNAL_CHARS, _SUBJECT_CHARS = 24, 12  # Hex digits of hashes, so that a prefix of ids is one signal's, or one user's.


def _check_signed(value: Any, path: str) -> str:
    """A decimal that may be nothing, or less than that: a rebate."""
    says = f'a decimal of at most {DECIMAL_CHARS_MAX} characters, such as "0.10" or "-0.02"'
    text = value.strip() if isinstance(value, str) else str(value) if type(value) is not bool else ""
    digits = text.removeprefix("-")
    if _NOTHING.fullmatch(digits):
        return "0"
    number = as_decimal(digits)
    if number is None:
        raise wrong(path, says, value)
    return f"{'-' if text.startswith('-') else ''}{number:f}"


FILL: dict[str, Kind] = {
    "qty": DECIMAL,
    "price": DECIMAL,
    "fee": Kind("decimal", "a decimal, less than 0 for a rebate", _check_signed),
    "fee_ccy": name_of(16),
    "liquidity": choice_of("maker", "taker"),
    "venue": WORD,
    "paper": FLAG,
    "filled_at": TIME,
}
"""What one fill may say; quantity and price it must."""

_WHAT = choice_of(*DONE)
_FIELDS = ("what", "reason", "fills", "outcome", "id")


def check_deed(sent: Any) -> dict[str, Any]:
    """A deed in the form it is stored in.

    Raises:
        InvalidDraft: names the field, what came and what is allowed.
    """
    if type(sent) is not dict:
        raise InvalidDraft('a deed is an object such as {"what": "executed"}', field="body", allowed="an object")
    _check_names(sent, _FIELDS, "")
    deed: dict[str, Any] = {"what": _WHAT.check(sent.get("what"), "what")}
    if sent.get("reason") is not None:
        deed["reason"] = TEXT.check(sent["reason"], "reason")
    if sent.get("fills") is not None:
        deed["fills"] = _fills(sent["fills"], deed["what"])
    if sent.get("outcome") is not None:
        if type(sent["outcome"]) is not dict:
            raise wrong("outcome", "an object", sent["outcome"])
        deed["outcome"] = kept(sent["outcome"], "outcome")
    if sent.get("id") is not None:
        deed["id"] = check_id(sent["id"])
    return deed


def _fills(sent: Any, what: str) -> list[dict[str, Any]]:
    if type(sent) is not list:
        raise wrong("fills", f"a list of at most {FILLS_MAX} fills", sent)
    if len(sent) > FILLS_MAX:
        raise InvalidDraft(
            f"a deed has at most {FILLS_MAX} fills, got {len(sent)}", field="fills", got=len(sent), allowed=FILLS_MAX
        )
    if sent and what != "executed":
        raise InvalidDraft(f"a signal that was {what} has no fills; send what=executed", field="fills", got=what)
    return [_fill(each, f"fills[{at}]") for at, each in enumerate(sent)]


def _fill(sent: Any, path: str) -> dict[str, Any]:
    if type(sent) is not dict:
        raise wrong(path, 'an object such as {"qty": "10", "price": "9.41"}', sent)
    _check_names(sent, tuple(FILL), f"{path}.")
    for name in ("qty", "price"):
        if sent.get(name) is None:
            raise InvalidDraft(f"a fill needs `{path}.{name}`", field=f"{path}.{name}", allowed=FILL[name].says)
    return {name: FILL[name].check(value, f"{path}.{name}") for name, value in sent.items() if value is not None}


def _check_names(sent: Mapping[str, Any], known: tuple[str, ...], before: str) -> None:
    for name in sent:
        if name not in known:
            where = f"{before}{name}"
            raise InvalidDraft(f"a deed has no `{where}`", field=where, got=name, allowed=list(known))


def deed_draft(deed: Mapping[str, Any], *, id: str, who: str, signal: Mapping[str, Any]) -> Draft:
    """The draft of a deed about `signal` (its channel, id, seq and version).

    A retry is the same draft whatever version the signal has by then.

    Raises:
        TooLarge: it is more than a signal may be.
    """
    said = {name: value for name, value in deed.items() if name != "id"}
    body = msgspec.json.encode({"data": {"id": id, "who": who, "signal": signal, **said}})
    if len(body) > DRAFT_BYTES_MAX:
        raise TooLarge(f"a deed may have {DRAFT_BYTES_MAX} bytes", field="body", got=len(body), allowed=DRAFT_BYTES_MAX)
    sent = {"channel": signal["channel"], "signal": signal["id"], **said}
    return Draft(
        type=DEED, id=deeds_of(signal["channel"], signal["id"], who) + id, body=body, draft_hash=hash_of_draft(sent)
    )


def deeds_of(channel: str, id: str, who: str | None = None) -> str:
    """What the ids of all deeds about a signal begin with; with `who`, of all that are theirs."""
    of_signal = hashlib.sha256(f"{channel}~{id}".encode()).hexdigest()[:_SIGNAL_CHARS] + "."
    return of_signal if who is None else f"{of_signal}{hashlib.sha256(who.encode()).hexdigest()[:_SUBJECT_CHARS]}."
