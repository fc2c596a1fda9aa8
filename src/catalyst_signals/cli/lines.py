"""An event in words: as one line of text, and piece by piece for the table.

Owns: how prices, plans and times are written for people. Knows nothing of terminals.
Law: it never raises, whatever an event holds; what a newer server sends is shown by its type and id.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import msgspec

from catalyst_signals.signals import ENDINGS
from catalyst_signals.words import (
    WATCHED,
    about_of,
    action_of,
    catalyst_of,
    clean,
    data_of,
    entry_of,
    is_number,
    level_of,
    moment_of,
    note_of,
    side_of,
    source_of,
    span_of,
    stop_of,
    symbol_of,
    targets_of,
    way_of,
    why_watched,
)


def line_of(event: dict[str, Any]) -> str:
    """`12:30:01 BUY ACME 0.82 entry 10.10 stop 9.40 target 11.50 12.80 catalyst fda.approval`.

    A change is `UPDATE ACME BUY 0.91 (was 0.82) ...`, an end `CANCEL ACME BUY reason trial halted`, a halt `HALT ACME
    trading is suspended (by ann)`.
    """
    data = data_of(event)
    head = [clock_of(event.get("ts")), action_of(event)]
    if event.get("type") in WATCHED and not event.get("erased"):
        return " ".join(filter(None, [*head, about_of(event), why_watched(event)]))
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


def clock_of(text: object) -> str:
    """A time as the clock on the wall shows it; with its date when that is not today's."""
    moment = moment_of(text)
    if moment is None:
        return "--:--:--"
    here = moment.astimezone()
    return f"{here:%H:%M:%S}" if here.date() == datetime.now().date() else f"{here:%Y-%m-%d %H:%M:%S}"


def age_of(seconds: float) -> str:
    """A duration in at most four characters: `8s`, `4m`, `3h`, `12d`."""
    return span_of(seconds).partition(" ")[0]
