"""An event in words, piece by piece: what people are shown of it, wherever that is.

Owns: how instructions, prices and times are written for people. Knows nothing of terminals or messages.
Law: it never raises, whatever an event holds; what a newer server sends is shown by its type.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from catalyst_signals.signals import side

CHANGES = {
    "signal.updated": "UPDATE", "signal.cancelled": "CANCEL", "signal.superseded": "SUPERSEDED",
    "signal.expired": "EXPIRED",
}  # fmt: skip
WATCHED = {
    "halt.began": "HALT", "halt.ended": "RESUME", "source.silent": "SILENT", "source.heard": "HEARD",
    "source.skewed": "SKEWED", "source.right": "RIGHT",
}  # fmt: skip
_UNITS = {"pct": "%", "atr": " atr", "abs": ""}


def clean(text: object) -> str:
    """`text` on one line, with control characters made visible, so that a signal cannot paint on the screen."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in " ".join(str(text).split()))


def data_of(event: dict[str, Any]) -> dict[str, Any]:
    """The body of an event; empty when it was erased."""
    data = event.get("data")
    return data if isinstance(data, dict) else {}


def action_of(event: dict[str, Any]) -> str:
    """BUY, SELL, WATCH ...; what became of a signal: UPDATE, CANCEL ...; for what is no signal, its type."""
    kind = str(event.get("type", ""))
    if event.get("erased"):
        return "ERASED"
    if not kind.startswith("signal."):
        return WATCHED.get(kind) or clean(kind)
    return CHANGES.get(kind) or _side(data_of(event)) or clean(kind)


def side_of(data: dict[str, Any]) -> str:
    """BUY, SELL, CLOSE long ...: an action that does not say by itself which side it is about says it besides."""
    return f"{_side(data)} {way_of(data)}".strip()


def _side(data: dict[str, Any]) -> str:
    return clean(side({**data, "direction": str(data.get("direction", ""))}))


def way_of(data: dict[str, Any]) -> str:
    """long or short, where the action leaves that open; else nothing."""
    way = data.get("direction")
    return way if way in ("long", "short") and data.get("action") != "open" else ""


def symbol_of(data: dict[str, Any]) -> str:
    """The instrument as its publisher writes it."""
    return clean(_part(data, "instrument").get("symbol", ""))


def entry_of(data: dict[str, Any]) -> str:
    """The price to enter at, `market`, a zone; else, with a `~`, where the market was."""
    entry = _part(data, "entry")
    if "low" in entry and "high" in entry:
        return clean(f"{entry['low']}-{entry['high']}")
    if "price" in entry:
        return clean(entry["price"])
    if "reference_price" in data:
        return f"~{clean(data['reference_price'])}"
    return clean(entry.get("type", ""))


def stop_of(data: dict[str, Any]) -> str:
    """The price of the stop, or how far away it is."""
    return level_of(_part(data, "stop"))


def targets_of(data: dict[str, Any]) -> list[str]:
    """Each target, in the publisher's order."""
    targets = data.get("targets")
    return [level_of(each) for each in targets if isinstance(each, dict)] if isinstance(targets, list) else []


def level_of(level: dict[str, Any]) -> str:
    """A price, or a distance as `2%` or `1.5 atr`."""
    if "price" in level:
        return clean(level["price"])
    if "offset" not in level:
        return ""
    unit = str(level.get("unit", ""))
    offset = str(level["offset"])
    if unit == "pct":
        try:
            offset = f"{float(offset) * 100:g}"
        except ValueError:
            pass
    return clean(offset + _UNITS.get(unit, f" {unit}"))


def catalyst_of(data: dict[str, Any]) -> str:
    """Why: the type of the catalyst, and what of it."""
    catalyst = _part(data, "catalyst")
    return clean(" ".join(str(catalyst[part]) for part in ("type", "subtype", "stage") if part in catalyst))


def source_of(event: dict[str, Any]) -> str:
    """Who says so: the source that is named, else the adapter that its id begins with, else the publisher."""
    data = data_of(event)
    provider = str(_part(data, "provider").get("id", ""))
    adapter, inside, _ = str(event.get("id", "")).partition(provider.removeprefix("ingest") + ".")
    via = adapter if provider.startswith("ingest.") and inside else provider
    return clean(_part(data, "source").get("name") or via)


def note_of(data: dict[str, Any]) -> str:
    """What the publisher adds in words."""
    return clean(data.get("note") or data.get("title") or "")


def moment_of(text: object) -> datetime | None:
    """The moment that an RFC 3339 time names, or None."""
    try:
        moment = datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None
    return moment if moment is None or moment.tzinfo else moment.replace(tzinfo=UTC)


def span_of(seconds: float) -> str:
    """A duration in at most six characters: `8s`, `4m 12s`, `3h 05m`, `12d`."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02}s"
    if whole < 86_400:
        return f"{whole // 3600}h {whole % 3600 // 60:02}m"
    return f"{whole // 86_400}d"


def is_number(value: object) -> bool:
    """Whether it is a number that can be shown as one."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _part(data: dict[str, Any], name: str) -> dict[str, Any]:
    part = data.get(name)
    return part if isinstance(part, dict) else {}


def sentence_of(event: dict[str, Any]) -> str:
    """`BUY ACME @ 9.80, stop 9.40, target 10.60, confidence 0.82, valid 4 h, from bot-1`: by itself, in a message."""
    data = data_of(event)
    if "action" not in data:
        return _other(event, data)
    kind = CHANGES.get(str(event.get("type", "")), "")
    entry, confidence = entry_of(data), data.get("confidence")
    told = " ".join(filter(None, [kind, side_of(data), symbol_of(data) or "-"]))
    if kind and kind != "UPDATE":
        pieces = {"": clean(data.get("reason", "")), "from": source_of(event)}
    else:
        told += f" @ {entry}" if entry else ""
        pieces = {
            "stop": stop_of(data), "target": " ".join(targets_of(data)),
            "confidence": f"{confidence:.2f}" if is_number(confidence) else "", "valid": valid_of(event),
            "": note_of(data), "from": source_of(event),
        }  # fmt: skip
    return ", ".join([told, *(f"{name} {words}".strip() for name, words in pieces.items() if words)])


def _other(event: dict[str, Any], data: dict[str, Any]) -> str:
    """What is no signal: its type, what it is about, and why."""
    reason = why_watched(event)
    return f"{action_of(event)} {about_of(event)}" + (f": {reason}" if reason else "")


def about_of(event: dict[str, Any]) -> str:
    """What an event that is no signal is about: an instrument, a source, a title."""
    data = data_of(event)
    about = (
        symbol_of(data) or data.get("symbol") or data.get("source") or data.get("title")
        or _part(data, "provider").get("id") or event.get("id", "")
    )  # fmt: skip
    return clean(about)


def why_watched(event: dict[str, Any]) -> str:
    """The reason of a halt or silence and who says so, or how far a clock is off."""
    data = data_of(event)
    reason, by = clean(data.get("reason", "")), clean(data.get("lifted_by") or data.get("by") or "")
    ended = event.get("type") == "halt.ended"
    said = f"was: {reason}" if ended and reason else reason
    return f"{said} (by {by})" if by and said else said


def valid_of(event: dict[str, Any]) -> str:
    """For how long a signal is good from its publication on: `4 h`, `90 s`; "" if nothing is said."""
    ends, began = moment_of(data_of(event).get("expires_at")), moment_of(event.get("ts"))
    if ends is None or began is None or ends <= began:
        return ""
    seconds = (ends - began).total_seconds()
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= size * 0.99:
            return f"{round(seconds / size, 1):g} {unit}"
    return f"{round(seconds)} s"
