"""What an order of a strategy means: a verb, where the position stood and where it stands, become instructions.

Owns: the verbs senders use and the algebra of positions. Knows nothing of bodies, symbols or prices.
Law: a direction that does not follow from what was said is not given; what contradicts itself is refused.

A position is 1 (long), 0 (flat), -1 (short), or None when the sender does not say.
"""

from __future__ import annotations

import re
from decimal import Decimal
from functools import lru_cache

from catalyst_signals.errors import InvalidDraft

Verb = tuple[str, int | None]
Step = tuple[str, int | None]

WORD_CHARS_MAX = 64
_BETWEEN = re.compile(r"[\s_.-]")

DIRECTION = {1: "long", -1: "short", 0: "flat"}

VERBS: dict[str, Verb] = {
    "buy": ("trade", 1), "sell": ("trade", -1), "strongbuy": ("trade", 1), "strongsell": ("trade", -1),
    "long": ("hold", 1), "short": ("hold", -1), "flat": ("hold", 0), "bullish": ("hold", 1), "bearish": ("hold", -1),
    **{f"{verb}long": ("open", 1) for verb in ("enter", "open", "go", "entry", "start")},
    **{f"{verb}short": ("open", -1) for verb in ("enter", "open", "go", "entry", "start", "sell")},
    **{f"long{verb}": ("open", 1) for verb in ("entry", "open", "enter")},
    **{f"short{verb}": ("open", -1) for verb in ("entry", "open", "enter")},
    **{f"long{verb}": ("close", 1) for verb in ("exit", "close")},
    **{f"short{verb}": ("close", -1) for verb in ("exit", "close", "cover")},
    **{f"{verb}long": ("close", 1) for verb in ("exit", "close")}, "closebuy": ("close", 1), "closesell": ("close", -1),
    **{f"{verb}short": ("close", -1) for verb in ("exit", "close", "cover", "buytocover")},
    **dict.fromkeys(("exit", "close", "closeall", "exitall", "flatten", "closeposition"), ("close", None)),
    "buytocover": ("close", -1), "buytoopen": ("open", 1), "selltoclose": ("close", 1), "selltoopen": ("open", -1),
    "add": ("increase", None), "increase": ("increase", None),
    "addlong": ("increase", 1), "addshort": ("increase", -1),
    "reduce": ("reduce", None), "reducelong": ("reduce", 1), "reduceshort": ("reduce", -1),
    "open": ("open", None), "enter": ("open", None), "entry": ("open", None), "reverse": ("reverse", None),
    "cancel": ("cancel", None), "watch": ("watch", None), "avoid": ("avoid", None),
}  # fmt: skip


def verb_of(value: object) -> Verb | None:
    """The verb a word stands for, however it is written (`ENTER_LONG`, `enter-long`, `Enter Long`), or None."""
    if not isinstance(value, str):
        return None
    return _verb_of(value) if len(value) <= WORD_CHARS_MAX else None


@lru_cache(maxsize=1024)
def _verb_of(word: str) -> Verb | None:
    return VERBS.get(_BETWEEN.sub("", word.lower()))


def position_of(value: object) -> int | None:
    """Where a position stands, by word; None for anything else."""
    verb = verb_of(value)
    return verb[1] if verb is not None and verb[0] == "hold" else None


def directed(verb: Verb, direction: object) -> Verb:
    """The verb with the direction that was said beside it.

    Raises:
        InvalidDraft: the verb has another one.
    """
    beside = verb_of(direction)
    if beside is None or beside[0] not in ("trade", "hold") or verb[1] == beside[1]:
        return verb
    if verb[1] is None and verb[0] in ("close", "reduce") and beside[0] == "trade":
        text = f"{str(direction)[:80]!r} beside a close may be the order or the position: say long or short"
        raise InvalidDraft(text, field="direction", got=str(direction), allowed=["long", "short"])
    if verb[1] is None:
        return verb[0], beside[1]
    text = f"`direction` {str(direction)[:80]!r} contradicts the action"
    raise InvalidDraft(text, field="direction", got=str(direction))


def sign(size: Decimal) -> int:
    """The position of a signed size."""
    return (size > 0) - (size < 0)


def position_before(way: int, contracts: Decimal, size: Decimal) -> int:
    """Where a position of `size` stood before `contracts` were bought (way 1) or sold (way -1)."""
    before = size - way * contracts
    # The sizes are rounded in the text: what is left of a millionth of the order is nothing.
    return 0 if abs(before) < contracts * Decimal("1e-6") else sign(before)


def instructions(verb: Verb, *, now: int | None, before: int | None, said: str) -> list[Step]:
    """The actions that follow, in order, each with its direction; a reversal is a close and an open.

    Raises:
        InvalidDraft: they contradict one another, or the direction is not said.
    """
    kind, way = verb
    if kind == "trade":
        assert way is not None
        steps = _traded(way, now, before)
    elif kind == "hold":
        assert way is not None
        steps = _held(way, now, before)
    elif kind == "reverse":
        steps = _reversed(now, before)
    elif kind in ("cancel", "watch", "avoid"):
        steps = [(kind, None)]
    else:
        steps = _plain(kind, way, now, before)
    if steps:
        return steps
    stood = ", ".join(f"{name} {DIRECTION[at]}" for name, at in (("before", before), ("now", now)) if at is not None)
    text = f"{said!r} with the position {stood or 'not given'} is no clear instruction"
    raise InvalidDraft(text, field="action", got=said)


def _moved(before: int, after: int) -> list[Step]:
    steps: list[Step] = [("close", before)] if before else []
    return [*steps, ("open", after)] if after else steps


def _traded(way: int, now: int | None, before: int | None) -> list[Step]:
    if now is None:
        now = way if before != -way else 0  # Buying while short ends the short; more than that was not said.
    if before is None:
        before = 0 if now == way else -way
    if now == before:
        return [("increase" if now == way else "reduce", now)] if now else []
    return _moved(before, now) if (now - before) * way > 0 else []


def _held(target: int, now: int | None, before: int | None) -> list[Step]:
    if now not in (None, target):
        return []
    if before is None:
        return [("open", target)] if target else [("close", None)]
    if before == target:
        return [("increase", target)] if target else [("close", None)]
    return _moved(before, target)


def _reversed(now: int | None, before: int | None) -> list[Step]:
    after = now or (-before if before else None)
    return _moved(-after, after) if after else []


def _plain(kind: str, way: int | None, now: int | None, before: int | None) -> list[Step]:
    """open, increase, reduce, close: the direction is the verb's own, else that of the position."""
    if way is None:
        way = (now if kind in ("open", "increase") else before or now) or None
    if kind in ("open", "increase") and (way is None or now not in (None, way)):
        return []
    return [(kind, way)]
