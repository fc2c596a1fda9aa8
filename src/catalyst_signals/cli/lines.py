"""An event in words: as one line of text, and piece by piece for the table.

Owns: how prices, plans and times are written for people. Knows nothing of terminals.
Law: it never raises, whatever an event holds; what a newer server sends is shown by its type and id.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec

from catalyst_signals.cli.console import clean
from catalyst_signals.signals import ENDINGS, side

CHANGES = {
    "signal.updated": "UPDATE", "signal.cancelled": "CANCEL", "signal.superseded": "SUPERSEDED",
    "signal.expired": "EXPIRED",
}  # fmt: skip
_UNITS = {"pct": "%", "atr": " atr", "abs": ""}


def line_of(event: dict[str, Any]) -> str:
    """`12:30:01 BUY ACME 0.82 entry 10.10 stop 9.40 target 11.50 12.80 catalyst fda.approval`.

    A change is `UPDATE ACME BUY 0.91 (was 0.82) ...`, an end `CANCEL ACME BUY reason trial halted`.
    """
    data = data_of(event)
    head = [clock_of(event.get("ts")), action_of(event)]
    if "action" not in data:
        return " ".join([*head, clean(event.get("id", ""))])
    head.append(symbol_of(data) or "-")
    if event.get("type") in ENDINGS:
        return " ".join(filter(None, [*head, side_of(data), *_why(event)]))
    pieces = _pieces(event)
    if event.get("type") != "signal.updated":
        pieces["action"] = way_of(data)
        return " ".join([*head, *(_named(name, words) for name, words in pieces.items() if words)])
    before = _pieces({**event, "data": earlier_of(event) or data})
    return " ".join(filter(None, [*head, *(_changed(name, before[name], words) for name, words in pieces.items())]))


def _pieces(event: dict[str, Any]) -> dict[str, str]:
    data = data_of(event)
    confidence = data.get("confidence")
    return {
        "action": side_of(data), "confidence": f"{confidence:.2f}" if is_number(confidence) else "",
        "entry": entry_of(data), "stop": stop_of(data), "target": " ".join(targets_of(data)),
        "catalyst": catalyst_of(data), "source": source_of(event),
        "ends": clock_of(data["expires_at"]) if "expires_at" in data else "", "note": note_of(data),
        "supersedes": clean(data.get("supersedes", "")),
    }  # fmt: skip


def _named(name: str, words: str) -> str:
    return words if name in ("action", "confidence") else f"{name} {words}"


def _changed(name: str, before: str, words: str) -> str:
    if words == before:
        return _named(name, words) if words else ""
    return f"{_named(name, words or 'none')} (was {before or 'none'})"


def _why(event: dict[str, Any]) -> list[str]:
    data = data_of(event)
    if event.get("type") == "signal.cancelled" and data.get("reason"):
        return ["reason", clean(data["reason"])]
    return ["by", clean(data["superseded_by"])] if "superseded_by" in data else []


def end_of(event: dict[str, Any]) -> str:
    """How a signal ended: `cancelled: trial halted`, `superseded by dj-17`, `expired`; "" while it goes on."""
    kind = str(event.get("type", ""))
    if kind not in ENDINGS:
        return ""
    ended, why = kind.removeprefix("signal."), _why(event)
    return " ".join([f"{ended}:", *why[1:]] if why[:1] == ["reason"] else [ended, *why])


def earlier_of(event: dict[str, Any]) -> dict[str, Any] | None:
    """The body as it was before this change; None for a first version."""
    was = event.get("was")
    before = was[-1].get("data") if isinstance(was, list) and was and isinstance(was[-1], dict) else None
    if not isinstance(before, dict):
        return None
    return {name: value for name, value in {**data_of(event), **before}.items() if value is not None}


def first_ts_of(event: dict[str, Any]) -> object:
    """When the first version of the signal was written."""
    was = event.get("was")
    first = was[0] if isinstance(was, list) and was else event
    return first.get("ts") if isinstance(first, dict) else None


def changes_of(before: dict[str, Any], after: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Each field that differs, by its path, with what it was and what it is; an empty text: it is not there."""
    for name in {**before, **after}:
        old, new = before.get(name), after.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            for path, *words in changes_of(old, new):
                yield f"{clean(name)}.{path}".removesuffix(".price"), words[0], words[1]
        elif old != new:
            yield clean(name), _words_of(name, old), _words_of(name, new)


def _words_of(name: str, value: object) -> str:
    if value is None:
        return ""
    if name.endswith("_at"):
        return clock_of(value)
    if isinstance(value, dict) and (level := level_of(value)):
        return level
    if name == "targets" and isinstance(value, list):
        return " ".join(targets_of({name: value}))
    return clean(value if isinstance(value, str) else msgspec.json.encode(value).decode())


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
        return clean(kind)
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


def clock_of(text: object) -> str:
    """A time as the clock on the wall shows it; with its date when that is not today's."""
    moment = moment_of(text)
    if moment is None:
        return "--:--:--"
    here = moment.astimezone()
    return f"{here:%H:%M:%S}" if here.date() == datetime.now().date() else f"{here:%Y-%m-%d %H:%M:%S}"


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


def age_of(seconds: float) -> str:
    """A duration in at most four characters: `8s`, `4m`, `3h`, `12d`."""
    return span_of(seconds).partition(" ")[0]


def is_number(value: object) -> bool:
    """Whether it is a number that can be shown as one."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _part(data: dict[str, Any], name: str) -> dict[str, Any]:
    part = data.get(name)
    return part if isinstance(part, dict) else {}
