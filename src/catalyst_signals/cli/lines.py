"""An event in words: as one line of text, and piece by piece for the table.

Owns: how prices, plans and times are written for people. Knows nothing of terminals.
Law: it never raises, whatever an event holds; what a newer server sends is shown by its type and id.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from catalyst_signals.cli.console import clean
from catalyst_signals.signals import ENDINGS, side

_UNITS = {"pct": "%", "atr": " atr", "abs": ""}


def line_of(event: dict[str, Any]) -> str:
    """`12:30:01 BUY ACME 0.82 entry 10.10 stop 9.40 target 11.50 12.80 catalyst fda.approval`."""
    data = data_of(event)
    head = [clock_of(event.get("ts")), action_of(event)]
    if "action" not in data:
        return " ".join([*head, clean(event.get("id", ""))])
    head.append(symbol_of(data) or "-")
    if is_number(data.get("confidence")):
        head.append(f"{data['confidence']:.2f}")
    said = {
        "entry": entry_of(data), "stop": stop_of(data), "target": " ".join(targets_of(data)),
        "catalyst": catalyst_of(data), "source": source_of(event),
        "ends": clock_of(data["expires_at"]) if "expires_at" in data else "", "note": note_of(data),
    }  # fmt: skip
    return " ".join([*head, *(f"{name} {words}" for name, words in said.items() if words)])


def data_of(event: dict[str, Any]) -> dict[str, Any]:
    """The body of an event; empty when it was erased."""
    data = event.get("data")
    return data if isinstance(data, dict) else {}


def action_of(event: dict[str, Any]) -> str:
    """BUY, SELL, WATCH ...; how a signal ended; for what is no signal, its type."""
    kind = str(event.get("type", ""))
    if event.get("erased"):
        return "ERASED"
    if not kind.startswith("signal."):
        return clean(kind)
    if kind in ENDINGS:
        return kind.removeprefix("signal.").upper()
    return clean(side(data_of(event))) or clean(kind)


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
