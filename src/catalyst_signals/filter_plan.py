"""How a filter is found among thousands: the part of it that an index can look up, and the rest.

Owns: the choice of the cheapest necessary conjunct. Knows nothing of groups or of how lookups are stored.
Law: a branch's key, sides, floor and rest together are the branch, and the branches together are the filter.

A filter is split into branches (an `or` into its members). A branch has at most one key (a field and its values, or
"all but" these values), the pairs of action and direction it takes, one numeric limit, and what is left to test.
A branch with none of them makes the filter *open*: it is tested on every signal.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from catalyst_signals.filter_facts import PREFIX, PREFIX_CHARS_MAX, Facts
from catalyst_signals.filter_fields import WORDS, words_of
from catalyst_signals.filter_match import compile_node, is_floor, operands
from catalyst_signals.filter_tree import Clause, Group, Node, clauses_of, group, text_of
from catalyst_signals.vocabulary import ACTIONS, DIRECTIONS

BRANCHES_MAX = 64
SIDES = [(action, direction) for action in (*ACTIONS, None) for direction in (*DIRECTIONS, None)]
EVERY_SIDE = (1 << len(SIDES)) - 1

# Fields by how few signals share a value; any other field comes in the middle.
_RANK = {name: rank for rank, name in enumerate((
    "id", "group_id", "symbol", "source.name", "provider", "catalyst.subtype", "catalyst.type", "tags", "keywords",
    "model.name",
))} | {name: 100 + rank for rank, name in enumerate((
    "sector", "catalyst.stage", "catalyst.severity", "source.kind", "country", "venue", "mic", "currency", "weekday",
    "asset_class", "session", "lang", "disclosures", "confidence_kind", "type",
))}  # fmt: skip
_SIDE_FIELDS = {"action", "direction"}
_SIDE_FACTS = [Facts({"type": "signal.", "data": {"action": a, "direction": d}}) for a, d in SIDES]
_ADVICE = "add a clause on symbol, source.name, catalyst.type, tags or action, or a limit such as confidence >= 0.7"


@dataclass(frozen=True, slots=True)
class Branch:
    """One way for a filter to match. `sides` has bit i set if SIDES[i] is taken; `keys` are facts.

    `by` is the fact to look up, None for no key. `but`: the branch is for all documents but those with these keys.
    `many`: documents have a set of such facts, so they may find the branch under several of its keys.
    """

    by: str | None
    keys: tuple[Any, ...]
    but: bool
    many: bool
    sides: int
    floor: Clause | None
    rest: tuple[Node, ...]

    @property
    def open(self) -> bool:
        """Whether nothing in it can be looked up."""
        return self.by is None and self.sides == EVERY_SIDE and self.floor is None


def plan(node: Node) -> list[Branch]:
    """The branches of a filter. All but `but` branches may stand beside others."""
    parts = _split(node)
    if len(parts) == 1:
        return [_branch(parts[0], alone=True)]
    return [_branch(part, alone=False) for part in parts]


def _split(node: Node) -> list[list[Node]]:
    """The filter as alternatives, each a list of nodes that must all hold; an `or` is opened to find keys in it."""
    todo, done = [_members(node)], list[list[Node]]()
    while todo:
        members = todo.pop()
        choice = None if any(map(_key_of, members)) else _keyed_or(members)
        if choice is None or len(todo) + len(done) + len(choice.members) > BRANCHES_MAX:
            done.append(members)
        else:
            others = [member for member in members if member is not choice]
            todo += [others + _members(each) for each in choice.members]
    return done


def _members(node: Node) -> list[Node]:
    return list(node.members) if isinstance(node, Group) and node.kind == "all" else [node]


def _keyed_or(members: list[Node]) -> Group | None:
    """An `or` all of whose alternatives can be looked up, unless something cheaper can be."""
    found = _has_key if any(isinstance(m, Clause) and is_floor(m) for m in members) else _has_way_in
    usable = [m for m in members if isinstance(m, Group) and not _is_side(m) and all(map(found, m.members))]
    return min(usable, key=lambda m: len(m.members), default=None)


def _has_key(node: Node) -> bool:
    """Whether every document that fulfils a node has one of a few values in some field."""
    if isinstance(node, Clause):
        return _key_of(node) is not None
    return (any if node.kind == "all" else all)(_has_key(member) for member in node.members)


def _has_way_in(node: Node) -> bool:
    """Whether a node can be looked up at all: by a key, by action and direction, by a limit."""
    if isinstance(node, Clause):
        return _key_of(node) is not None or is_floor(node) or _is_side(node)
    return (any if node.kind == "all" else all)(_has_way_in(member) for member in node.members)


def _is_side(node: Node) -> bool:
    return {clause.field.name for clause in clauses_of(node)} <= _SIDE_FIELDS


def _key_of(node: Node) -> tuple[int, int] | None:
    """How good a key a node is (lower is better), None if it is none."""
    if not isinstance(node, Clause) or node.negated or node.passes or node.field.name in _SIDE_FIELDS:
        return None
    if node.op == "prefix":
        return (_RANK.get(node.field.name, 50) + 10, 1) if len(str(node.values[0])) <= PREFIX_CHARS_MAX else None
    if node.op in ("eq", "in", "contains_any", "contains_all"):
        return _RANK.get(node.field.name, 50), len(node.values)
    return None


def _is_but(node: Node) -> bool:
    """Whether a clause takes all but a few values, the field being there or not."""
    if not isinstance(node, Clause) or not node.negated or node.passes or node.field.name in _SIDE_FIELDS:
        return False
    rows = node.field.kind is WORDS and any(" " in str(value) for value in node.values)
    return node.op in ("eq", "in", "contains_any") and not rows


def _branch(members: list[Node], *, alone: bool) -> Branch:
    sides, rest = EVERY_SIDE, list[Node]()
    for member in members:
        if _is_side(member):
            sides &= _sides_of(member)
        else:
            rest.append(member)
    floors = sorted((m for m in rest if isinstance(m, Clause) and is_floor(m)), key=_floor_rank)
    floor = floors[0] if floors else None
    rest = [member for member in rest if member is not floor]
    bare = Branch(None, (), False, False, sides, floor, tuple(rest))
    keyed = [member for member in rest if isinstance(member, Clause) and _key_of(member)]
    if keyed:
        return _with_key(bare, min(keyed, key=lambda m: _key_of(m) or (0, 0)))
    buts = [member for member in rest if isinstance(member, Clause) and _is_but(member)]
    if buts and alone:
        but = buts[0]
        left = tuple(member for member in rest if member is not but)
        return replace(
            bare, by=but.field.name, keys=tuple(operands(but)), but=True, many=but.field.kind.many, rest=left
        )
    return bare


def _with_key(bare: Branch, key: Clause) -> Branch:
    values, exact = operands(key), True
    if key.field.kind is WORDS:  # A row of words is looked up by its first.
        exact = not any(" " in value for value in values)
        values = list(dict.fromkeys(words_of(value)[0] for value in values))
    if key.op == "contains_all":
        values, exact = values[:1], False
    by = key.field.name + PREFIX if key.op == "prefix" else key.field.name
    rest = tuple(member for member in bare.rest if member is not key or not exact)
    return replace(bare, by=by, keys=tuple(values), many=key.field.kind.many or key.op == "prefix", rest=rest)


def _floor_rank(clause: Clause) -> tuple[bool, bool, str]:
    return clause.field.name != "confidence", clause.op not in ("gt", "gte"), clause.field.name


@lru_cache(maxsize=1024)
def _sides_of(node: Node) -> int:
    """The pairs of action and direction, missing ones too, that fulfil a node which asks for nothing else."""
    test = compile_node(node)
    return sum(1 << i for i, facts in enumerate(_SIDE_FACTS) if test(facts))


def key_of(node: Node) -> tuple[str, frozenset[Any]] | None:
    """The one field by which every branch is looked up, and all its values; None: they differ, or one has no key."""
    branches = plan(node)
    fields = {None if branch.but or branch.many else branch.by for branch in branches}
    if len(fields) != 1 or (by := fields.pop()) is None:
        return None
    return by, frozenset(value for branch in branches for value in branch.keys)


def describe(node: Node | None) -> dict[str, Any]:
    """How a filter will be found: `by` a field and its `keys`, then `rest` clauses tested; `open` if by none."""
    if node is None:
        return {"by": "everything", "keys": [], "rest": 0, "open": False}
    branches = plan(node)
    if any(branch.open for branch in branches):
        why = "nothing in it can be looked up, so it is tested on every signal"
        return {"by": None, "keys": [], "rest": len(clauses_of(node)), "open": True, "why": why, "add": _ADVICE}
    shown = [_describe_branch(branch) for branch in branches]
    if len(shown) == 1:
        return shown[0]
    rest = sum(each["rest"] for each in shown)
    return {"by": "branches", "keys": [], "rest": rest, "open": False, "branches": shown}


def _describe_branch(branch: Branch) -> dict[str, Any]:
    rest = sum(len(clauses_of(node)) for node in branch.rest)
    by = branch.by.removesuffix(PREFIX) if branch.by else None
    keys = sorted(branch.keys, key=str)
    shown: dict[str, Any] = {"by": by, "keys": keys, "rest": rest, "open": False}
    if branch.by and branch.by.endswith(PREFIX):
        shown["prefix"] = True
    if branch.but:
        shown["but"] = True
    if branch.sides != EVERY_SIDE:
        shown["by"] = by or "action"
        shown["actions"] = list(dict.fromkeys(a or "none" for i, (a, _) in enumerate(SIDES) if branch.sides >> i & 1))
    if branch.floor is not None:
        shown["by"] = shown["by"] or branch.floor.field.name
        shown["floor"] = text_of(branch.floor)
    return shown


def rest_of(branch: Branch) -> Node | None:
    """What is left to test once the branch was found, as one node."""
    return group("all", branch.rest) if branch.rest else None
