"""The canonical tree of a filter: clauses in groups of all and any, negation at the clauses, everything sorted.

Owns: the nodes, the making of a clause from what somebody wrote, canonical order, the two ways to print, the limits.
Knows nothing of the text grammar, of documents or of indexes.
Law: what two people wrote differently but means the same by the rules below prints the same, so it is one group of
subscribers: nested groups are flat, negations stand at the clauses (De Morgan), members and values are sorted and
unique, `a = 1 or a = 2` is `a in (1, 2)`, `between` is two clauses, BUY and SELL are what they stand for.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from catalyst_signals.errors import InvalidFilter, shorten
from catalyst_signals.filter_fields import (
    ELSEWHERE,
    FIELD_NAMES,
    FIELDS,
    LOOSE,
    NAME,
    NUMBER,
    SAME,
    SYMBOLS,
    Field,
    Value,
    find_field,
    nearest,
)
from catalyst_signals.vocabulary import SHORT_ACTIONS

DEPTH_MAX = 5
CLAUSES_MAX = 64
LIST_VALUES_MAX = 500
VALUES_MAX = 1000
TEXT_BYTES_MAX = 8192


class Spot(NamedTuple):
    """Something somebody wrote, and where: an offset in the text, or a JSON path."""

    got: object
    at: int | str


@dataclass(frozen=True, slots=True)
class Clause:
    """One question about one field. `passes`: true when the field is missing. `negated` turns the answer round.

    `op` is one of eq, in, lt, lte, gt, gte, prefix, exists, contains_any, contains_all; on a field that holds many
    values eq means "is among them". `values` are canonical, sorted, unique.
    """

    field: Field
    op: str
    values: tuple[Value, ...] = ()
    passes: bool = False
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Group:
    """At least two nodes of which `all` or `any` must be true. A member is a clause or a group of the other kind."""

    kind: str
    members: tuple[Node, ...]


Node = Clause | Group


def negate(node: Node) -> Node:
    """The opposite of a node, negations at the clauses."""
    if isinstance(node, Clause):
        return replace(node, negated=not node.negated)
    return group("any" if node.kind == "all" else "all", map(negate, node.members))


def group(kind: str, nodes: Iterable[Node]) -> Node:
    """The nodes, of which there is at least one, as one canonical node."""
    flat: dict[Node, None] = {}
    for node in nodes:
        flat.update(dict.fromkeys(node.members if isinstance(node, Group) and node.kind == kind else [node]))
    members = _merge(kind, flat)
    return members[0] if len(members) == 1 else Group(kind, tuple(sorted(members, key=_place)))


def _place(node: Node) -> tuple[str, str]:
    text = text_of(node)
    return text.removeprefix("not "), text


def _merge(kind: str, nodes: Iterable[Node]) -> list[Node]:
    """Join clauses on one field that together are one list: `a = 1 or a = 2`, `not a = 1 and not a = 2`."""
    members: list[Node] = []
    lists: dict[tuple[str, bool, bool], list[Clause]] = {}
    for node in nodes:
        if isinstance(node, Clause) and _is_list(kind, node):
            lists.setdefault((node.field.name, node.passes, node.negated), []).append(node)
        else:
            members.append(node)
    for found in lists.values():
        first = found[0]
        joined = listed(first, {value for each in found for value in each.values}, every=_is_every(kind, first))
        members.append(joined)
    return members


def _is_list(kind: str, clause: Clause) -> bool:
    if clause.op == "contains_all":
        return _is_every(kind, clause)
    if clause.op in ("in", "contains_any"):
        return not _is_every(kind, clause)
    return clause.op == "eq" and (clause.field.kind.many or not _is_every(kind, clause))


def _is_every(kind: str, clause: Clause) -> bool:
    """Whether members of this group, on one field, must all hold: an `all`, or by negation an `any`."""
    return (kind == "all") != clause.negated


def listed(clause: Clause, values: Iterable[Value], *, every: bool = False) -> Clause:
    """The clause with these values: `eq` for one, else `in`, or for fields that hold many `contains_any` or `_all`."""
    ordered = tuple(sorted(set(values), key=lambda v: (isinstance(v, str), v)))
    if len(ordered) == 1:
        return replace(clause, op="eq", values=ordered)
    several = "contains_all" if every else "contains_any"
    return replace(clause, op=several if clause.field.kind.many else "in", values=ordered)


# --- Making a clause ---------------------------------------------------------------------------------------------


def build(name: Spot, op: Spot, values: Sequence[Spot], *, passes: bool = False) -> Node:
    """A clause from a field's name, an operator (as in SYMBOLS) and its values; raises InvalidFilter at the mistake."""
    field = _field(name)
    _check_operator(field, op, values)
    if field.name == "action" and any(map(_side_of, values)):
        return _expand_sides(field, op, values, passes)
    what = str(op.got)
    read = [_value(field, spot, what) for spot in values]
    if what in ("ne", "nin"):  # True already where the field is missing, so `passes` has nothing to add.
        return negate(listed(Clause(field, "in"), read))
    clause = Clause(field, what, tuple(read), passes)
    if what == "between":
        return _between(clause, values)
    if what == "exists" and passes:
        raise refusal(f"`{field.name} exists or missing` is always true; leave it out", op, field=field.name)
    if what in ("eq", "in", "contains_any", "contains_all"):
        return listed(clause, read, every=what == "contains_all")
    return clause


def _field(name: Spot) -> Field:
    written = str(name.got)
    field = find_field(written)
    if field is not None:
        return field
    if written.lower() in ELSEWHERE:
        raise refusal(ELSEWHERE[written.lower()], name, field=written, allowed=FIELD_NAMES)
    meant = nearest(written, FIELD_NAMES)
    hint = f"did you mean `{meant}`?" if meant else "see `allowed`; `data.NAME` is for fields of your own"
    raise refusal(f"`{shorten(written, 80)}` is not a field; {hint}", name, field=written, allowed=FIELD_NAMES)


def _check_operator(field: Field, op: Spot, values: Sequence[Spot]) -> None:
    allowed = [SYMBOLS[each] for each in field.kind.ops]
    symbol = SYMBOLS[str(op.got)]
    if op.got not in field.kind.ops:
        raise refusal(f"`{field.name}` does not take `{symbol}`; use {' '.join(allowed)}", op, field.name, allowed)
    fewest, most = {"exists": (0, 0), "between": (2, 2)}.get(str(op.got), (1, 1))
    if op.got in ("in", "nin", "contains_any", "contains_all"):
        most = LIST_VALUES_MAX
    if not fewest <= len(values) <= most:
        wanted = str(most) if fewest == most else f"{fewest} to {most}"
        raise refusal(f"`{symbol}` takes {wanted} value{'s' * (most != 1)}; got {len(values)}", op, field.name, wanted)


def _value(field: Field, spot: Spot, op: str = "eq") -> Value:
    kind = field.kind
    if kind is LOOSE and op not in SAME:  # The operator says what the field must be.
        kind = NAME if op == "prefix" else NUMBER
    try:
        value = kind.read(spot.got)
    except (ValueError, ArithmeticError):
        allowed = [*kind.choices, *(["BUY", "SELL", "WATCH"] if field.name == "action" else [])]
        meant = nearest(spot.got, [each.lower() for each in allowed]) if isinstance(spot.got, str) else None
        hint = f"; did you mean `{meant}`?" if meant else ""
        raise refusal(
            f"`{field.name}` takes {kind.name}; got {_quote(spot.got)}{hint}", spot, field.name, allowed or kind.name
        ) from None
    if field.low is not None and field.high is not None and not field.low <= float(value) <= field.high:
        bounds = f"{field.low} to {field.high}"
        raise refusal(f"`{field.name}` goes from {bounds}; got {_quote(spot.got)}", spot, field.name, bounds)
    return value


def _quote(got: object) -> str:
    brief = _brief(got)
    return f"'{shorten(brief, 80)}'" if isinstance(got, str) else str(brief)


def _brief(got: object) -> str | int | float | None:
    """What somebody wrote, fit for an error: JSON may hold an integer too long to print."""
    if isinstance(got, int) and got.bit_length() > 64:
        return "an integer of that size"
    if isinstance(got, str):
        return str(got)
    return got if isinstance(got, int | float | None) else str(shorten(got))


def _between(clause: Clause, values: Sequence[Spot]) -> Node:
    """Both ends included. A time of day may wrap midnight; anything else must name the lower end first."""
    low, high = clause.values
    ends = (replace(clause, op="gte", values=(low,)), replace(clause, op="lte", values=(high,)))
    if low <= high:  # type: ignore[operator]
        return group("all", ends)
    if clause.field.name != "time_of_day":
        raise refusal("`between` takes the lower end first", values[0], field=clause.field.name)
    return group("any", ends)


def _side_of(spot: Spot) -> str | None:
    """The direction that BUY or SELL stands for; both open."""
    return SHORT_ACTIONS.get(spot.got.lower(), ("", None))[1] if isinstance(spot.got, str) else None


def _expand_sides(action: Field, op: Spot, values: Sequence[Spot], passes: bool) -> Node:
    """`action in (BUY, WATCH)` as what it stands for: buy and sell are the openings of a long and of a short."""
    negative = op.got in ("ne", "nin")
    passes = passes and not negative
    nodes: list[Node] = []
    for spot in values:
        side = _side_of(spot)
        value: Value = "open" if side else _value(action, spot)
        node: Node = Clause(action, "eq", (value,), passes)
        if side:
            node = group("all", (node, Clause(FIELDS["direction"], "eq", (side,), passes)))
        nodes.append(node)
    whole = group("any", nodes)
    return negate(whole) if negative else whole


def refusal(message: str, spot: Spot, field: str | None = None, allowed: object = None) -> InvalidFilter:
    """What to raise about a spot."""
    field = None if field is None else str(shorten(field))
    return InvalidFilter(message, field=field, got=_brief(spot.got), allowed=allowed, at=spot.at)


# --- Printing and limits -----------------------------------------------------------------------------------------


def text_of(node: Node) -> str:
    """The one line that `filter_text.read_text` reads back to this same node."""
    if isinstance(node, Clause):
        return f"{'not ' * node.negated}{_text_of_clause(node)}{' or missing' * node.passes}"
    members = (f"({text_of(m)})" if isinstance(m, Group) else text_of(m) for m in node.members)
    return (" and " if node.kind == "all" else " or ").join(members)


def _text_of_clause(clause: Clause) -> str:
    shown = [clause.field.kind.show(v) for v in clause.values]
    symbol = SYMBOLS[clause.op]
    if clause.op == "exists":
        return f"{clause.field.name} exists"
    several = clause.op in ("in", "contains_any", "contains_all")
    return f"{clause.field.name} {symbol} {'(' + ', '.join(shown) + ')' if several else shown[0]}"


def plain_of(node: Node) -> dict[str, object]:
    """The node as JSON: `{"all":[...]}`, `{"any":[...]}`, `{"not":{...}}` or `{"field","op","value"}`."""
    if isinstance(node, Group):
        return {node.kind: [plain_of(m) for m in node.members]}
    plain: dict[str, object] = {"field": node.field.name, "op": node.op}
    values = [node.field.kind.plain(v) for v in node.values]
    if node.op in ("in", "contains_any", "contains_all"):
        plain["value"] = values
    elif node.op != "exists":
        plain["value"] = values[0]
    if node.passes:
        plain["missing"] = "pass"
    return {"not": plain} if node.negated else plain


def clauses_of(node: Node) -> list[Clause]:
    """All clauses of a node, in canonical order."""
    return [node] if isinstance(node, Clause) else [clause for member in node.members for clause in clauses_of(member)]


def depth_of(node: Node) -> int:
    """How deeply groups are nested: 0 for a clause."""
    return 0 if isinstance(node, Clause) else 1 + max(map(depth_of, node.members))


def check_limits(node: Node, at: int | str) -> None:
    """Raise InvalidFilter if the filter is too large; judged on the canonical form, so that it reads back."""
    clauses = clauses_of(node)
    for name, got, most in (
        ("levels of groups", depth_of(node), DEPTH_MAX),
        ("clauses", len(clauses), CLAUSES_MAX),
        ("values in one list", max(len(c.values) for c in clauses), LIST_VALUES_MAX),
        ("values in all", sum(len(c.values) for c in clauses), VALUES_MAX),
        ("bytes of text", len(text_of(node).encode()), TEXT_BYTES_MAX),
    ):
        if got > most:
            raise refusal(f"a filter has at most {most} {name}; this one has {got}", Spot(got, at), allowed=most)
