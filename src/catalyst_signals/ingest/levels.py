"""Stops and targets into a signal that is being made, and what cannot be read of them beside it.

Owns: which of several levels a signal gets, and how it is told what was left out. What one value means is in plans.py.
Laws: whatever is left out stands under `extras`, and `note` names it; a stop that lies beyond a target is a mistake of
which nobody knows the half, so both are left out.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Any, NamedTuple

from catalyst_signals.vocabulary import FRACTIONS_MAX, TARGETS_MAX

_DISTANCE = "a price cannot be told from a distance"
_CROSSED = "the stop lies beyond the target"
_VALUES = frozenset((
    "stopPrice", "limitPrice", "price", "percent", "amount", "trailPercent", "trailAmount", "price_percent",
    "price_percentage", "stop_percentage", "stop_price", "trigger_price_percent", "trigger_price", "percentage",
))  # fmt: skip
_PLAIN = _VALUES | {"type", "enabled", "order_type", "volume_percent", "position_percentage"}


class Level(NamedTuple):
    """A stop or a target under the sender's name for it; `meaning` is its stored form, None where nobody can tell."""

    role: str
    name: str
    value: Any
    meaning: dict[str, Any] | None


def add_levels(draft: dict[str, Any], levels: Iterable[Level]) -> None:
    """Put the levels into `draft`, if it opens or increases a position; all others are kept under `extras`."""
    opens = draft["action"] in ("open", "increase")
    way = {"long": 1, "short": -1}.get(draft.get("direction", ""), 0) if opens else 0
    levels = list(levels)
    crossed = _are_crossed(levels, way)
    unread = []
    for role, name, value, meaning in levels:
        room = "stop" not in draft if role == "stop" else len(draft.get("targets", ())) < TARGETS_MAX
        if not meaning or not way or crossed or not room:
            put(draft.setdefault("extras", {}), tuple(name.split(".")), value)
            unread.append(name)
            continue
        if role == "stop":
            draft["stop"] = meaning
        else:
            draft.setdefault("targets", []).append(meaning)
        if _says_more(value):
            put(draft.setdefault("extras", {}), tuple(name.split(".")), value)
    if unread and way:
        why = _CROSSED if crossed else _DISTANCE
        _tell(draft, f"kept under extras, for {why}: {', '.join(dict.fromkeys(unread))}")
    _check_fractions(draft)


def put(extras: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    """Set what stands at a path, making the objects on the way; several values under one name are a list."""
    for name in path[:-1]:
        inside = extras.setdefault(name, {})
        if not isinstance(inside, dict):
            return
        extras = inside
    if path[-1] in extras:  # Several targets under one name.
        before = extras[path[-1]]
        value = [*(before if isinstance(before, list) else [before]), value]
    extras[path[-1]] = value


def _are_crossed(levels: list[Level], way: int) -> bool:
    prices: dict[str, list[Decimal]] = {"stop": [], "target": []}
    for role, _, _, meaning in levels:
        if meaning and "price" in meaning:
            prices[role].append(Decimal(meaning["price"]))
    return any((target - stop) * way < 0 or target == stop for stop in prices["stop"] for target in prices["target"])


def _says_more(value: Any) -> bool:
    """Whether an object held more than the level that was read of it."""
    return isinstance(value, dict) and (not value.keys() <= _PLAIN or len(value.keys() & _VALUES) > 1)


def _check_fractions(draft: dict[str, Any]) -> None:
    """Parts that add up to more than the whole mean something else: the targets stay, the parts do not."""
    targets = draft.get("targets", [])
    if sum(target.get("fraction", 0) for target in targets) > FRACTIONS_MAX:
        draft["targets"] = [{name: each for name, each in target.items() if name != "fraction"} for target in targets]
        _tell(draft, "the parts of the targets add up to more than the whole and are left out")


def _tell(draft: dict[str, Any], text: str) -> None:
    draft["note"] = f"{draft['note']}; {text}" if "note" in draft else text
