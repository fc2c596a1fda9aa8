"""The trading vocabulary: every field of a signal, by its dotted path, and what is allowed there.

Owns: FIELDS and the shapes of a plan (entry, stop, targets). Knows nothing of events, filters or senders' dialects.
Law: only what cannot be understood is refused; whether a plan is wise is the publisher's business.
"""

from __future__ import annotations

from typing import Any

from catalyst_signals.errors import InvalidDraft
from catalyst_signals.kinds import (
    DECIMAL,
    FLAG,
    FRACTION,
    HORIZON,
    ID,
    NUMBER,
    PARTS,
    TEXT,
    TIME,
    URL,
    WORD,
    Kind,
    check_decimal,
    choice_of,
    fields_of,
    list_of,
    name_of,
    object_of,
    text_of,
    wrong,
)  # fmt: skip

ACTIONS = ("open", "increase", "reduce", "close", "cancel", "watch", "avoid")
DIRECTIONS = ("long", "short", "flat")
SHORT_ACTIONS = {"buy": ("open", "long"), "sell": ("open", "short")}
ENTRY_TYPES = ("market", "limit", "stop", "stop_limit", "zone")
UNITS = ("pct", "abs", "atr")
ASSET_CLASSES = ("equity", "etf", "crypto_spot", "crypto_perp", "future", "option", "fx", "index")
SESSIONS = ("pre", "regular", "post", "closed", "24x7")

TARGETS_MAX = 10
FRACTIONS_MAX = 1.00002  # Senders divide 1 by three and round each part up.


def _check_entry(value: Any, path: str) -> dict[str, Any]:
    if type(value) is str and value.strip().lower() == "market":
        return {"type": "market"}
    if type(value) is not dict:
        return {"type": "limit", "price": check_decimal(value, path)}
    entry = fields_of(value, PARTS[path])
    zone = "low" in entry or "high" in entry
    entry.setdefault("type", "zone" if zone else "limit" if "price" in entry else "market")
    needs = {"market": (), "zone": ("low", "high")}.get(entry["type"], ("price",))
    for name in needs:
        if name not in entry:
            raise InvalidDraft(f"an entry of type {entry['type']} needs `entry.{name}`", field=f"entry.{name}")
    return entry


def _check_level(value: Any, path: str) -> dict[str, Any]:
    """A stop or a target: exactly one of a price and an offset, and an offset says its unit."""
    if type(value) is not dict:
        try:
            return {"price": check_decimal(value, path)}
        except InvalidDraft:
            hint = '; an offset is written {"offset": "0.02", "unit": "pct"} for 2 %'
            raise wrong(path, "a price, or an object with `price`, or with `offset` and `unit`", value, hint) from None
    level = fields_of(value, PARTS[path])
    if ("price" in level) == ("offset" in level) or ("offset" in level) != ("unit" in level):
        says = "an object with either `price`, or `offset` and `unit`"
        raise wrong(path, says, value, f" with {', '.join(level) or 'nothing in it'}")
    return level


def _check_targets(value: Any, path: str) -> list[dict[str, Any]]:
    if type(value) is not list or len(value) > TARGETS_MAX:
        raise wrong(path, f"a list of at most {TARGETS_MAX} targets", value)
    targets = []
    for at, each in enumerate(value):
        try:
            targets.append(_check_level(each, path))
        except InvalidDraft as fault:
            here = f"{path}[{at}]"
            where = (fault.field or path).replace(path, here, 1)
            text = fault.message.replace(f"`{path}", f"`{here}", 1)
            raise InvalidDraft(text, field=where, got=fault.got, allowed=fault.allowed) from None
    total = sum(target.get("fraction", 0) for target in targets)
    if total > FRACTIONS_MAX:
        raise wrong(path, "a list whose fractions add up to at most 1", total)
    return targets


def _check_features(value: Any, path: str) -> dict[str, int | float]:
    if type(value) is not dict:
        raise wrong(path, "an object of names and numbers", value)
    check = NUMBER.check
    return {WORD.check(name, path): check(each, f"{path}.{name}") for name, each in value.items() if each is not None}


FIELDS: dict[str, Kind] = {
    "id": ID,
    "instrument": object_of("symbol"),
    "instrument.symbol": name_of(64),
    "instrument.asset_class": choice_of(*ASSET_CLASSES),
    **{f"instrument.{part}": WORD for part in ("mic", "venue", "figi", "isin", "cik")},
    "instrument.currency": name_of(16),
    "instrument.tick": DECIMAL,
    "instrument.lot": DECIMAL,
    "action": choice_of(*ACTIONS, also=tuple(SHORT_ACTIONS)),
    "direction": choice_of(*DIRECTIONS),
    "entry": Kind("object", "an object with `type` and `price`, or `low` and `high`; or a bare price", _check_entry),
    "entry.type": choice_of(*ENTRY_TYPES),
    **{f"entry.{part}": DECIMAL for part in ("price", "low", "high")},
    "stop": Kind("object", "an object with `price`, or `offset` and `unit`; or a bare price", _check_level),
    "stop.price": DECIMAL,
    "stop.offset": DECIMAL,
    "stop.unit": choice_of(*UNITS),
    "stop.trailing": FLAG,
    "targets": Kind("list", f"at most {TARGETS_MAX} targets, each as `stop` is, with a `fraction`", _check_targets),
    "targets.price": DECIMAL,
    "targets.offset": DECIMAL,
    "targets.unit": choice_of(*UNITS),
    "targets.fraction": FRACTION,
    "horizon": HORIZON,
    **dict.fromkeys(("expires_at", "event_at", "sent_at", "quote_at"), TIME),
    "reference_price": DECIMAL,
    "quote_source": TEXT,
    "confidence": FRACTION,
    "confidence_kind": choice_of("probability", "score", "none"),
    "expected_return": NUMBER,
    "magnitude": NUMBER,
    "suggested_risk": object_of(),
    "suggested_risk.fraction_of_equity": FRACTION,
    "suggested_risk.max_notional": DECIMAL,
    "catalyst": object_of("type"),
    **{f"catalyst.{part}": WORD for part in ("type", "subtype", "stage", "severity")},
    "source": object_of("name"),
    **{f"source.{part}": TEXT for part in ("name", "kind", "external_id", "title")},
    "source.url": URL,
    "source.published_at": TIME,
    "source.excerpt": text_of(280),
    "features": Kind("map", "an object of names and numbers", _check_features),
    "tags": list_of(WORD, 20),
    **dict.fromkeys(("sector", "country", "lang"), WORD),
    "session": choice_of(*SESSIONS),
    "model": object_of("name"),
    **{f"model.{part}": TEXT for part in ("name", "version", "features_hash")},
    "group_id": ID,
    "supersedes": ID,
    "disclosures": list_of(TEXT, 20),
    "title": TEXT,
    "note": TEXT,
}
"""Every field a publisher may send, by its dotted path; `targets.*` are the parts of each target."""

for _path, _kind in FIELDS.items():
    _parent, _, _leaf = _path.rpartition(".")
    PARTS.setdefault(_parent, {})[_leaf] = (_kind.check, _path)
