"""From a tree to a function that says whether the facts of a document match: closures, made once a filter.

Owns: what every operator means. Knows nothing of text, JSON or indexes; runs no text of anybody's as code.
Law, two-valued: a clause on a missing field of a signal is false, so its negation is true; a clause that `passes` is
true there, so its negation is false. In an event that is not a signal's, a clause on a missing field is true, negated
or not.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from catalyst_signals.filter_facts import Facts
from catalyst_signals.filter_fields import LOOSE, NUMBER, ORDERED, WORDS, Value, words_of
from catalyst_signals.filter_tree import Clause, Node

Test = Callable[[Facts], bool]
_COSTLY = {"keywords": 3, "rr": 2, "stop_pct": 2, "price": 1, "horizon": 1, "time_of_day": 1, "weekday": 1}


def compile_node(node: Node) -> Test:
    """The function of a node; members that are cheap and say no more often are asked first."""
    if isinstance(node, Clause):
        return _clause(node)
    tests = [compile_node(member) for member in sorted(node.members, key=_cost)]
    if len(tests) == 2:
        first, second = tests
        if node.kind == "all":
            return lambda facts: first(facts) and second(facts)
        return lambda facts: first(facts) or second(facts)
    if len(tests) == 3 and node.kind == "all":
        first, second, third = tests
        return lambda facts: first(facts) and second(facts) and third(facts)
    return _every(tests) if node.kind == "all" else _some(tests)


def _cost(node: Node) -> int:
    if isinstance(node, Clause):
        return 2 * _COSTLY.get(node.field.name, 0) + (node.negated or node.passes or node.op == "exists")
    return 1 + max(map(_cost, node.members))


def _every(tests: list[Test]) -> Test:
    def every(facts: Facts) -> bool:
        for test in tests:  # noqa: SIM110 - a generator costs more than the tests.
            if not test(facts):
                return False
        return True

    return every


def _some(tests: list[Test]) -> Test:
    def some(facts: Facts) -> bool:
        for test in tests:  # noqa: SIM110 - a generator costs more than the tests.
            if test(facts):
                return True
        return False

    return some


def operand(clause: Clause, value: Value) -> Any:
    """A value as documents hold it: numbers are floats and integers there, prices are decimals, the rest is as here."""
    if isinstance(value, Decimal) and clause.field.kind in (NUMBER, LOOSE):
        return int(value) if value == value.to_integral_value() else float(value)
    return value


def operands(clause: Clause) -> list[Any]:
    """The values as documents hold them, each once."""
    return list(dict.fromkeys(operand(clause, value) for value in clause.values))


def _clause(clause: Clause) -> Test:
    field = clause.field.name
    if clause.op == "exists":
        if clause.negated:
            return lambda facts: facts[field] is None
        return lambda facts: facts[field] is not None or facts.lenient
    values = operands(clause)
    plain = not clause.negated and not clause.passes and not clause.field.kind.many and clause.field.kind is not LOOSE
    if plain and clause.op in _COMMON:
        return _COMMON[clause.op](field, frozenset(values) if clause.op == "in" else values[0])
    holds, wanted = _core(clause, values), not clause.negated
    if clause.passes == wanted:
        return lambda facts: (value := facts[field]) is None or holds(value) is wanted
    return lambda facts: facts.lenient if (value := facts[field]) is None else holds(value) is wanted


# The commonest clauses without a call inside the call.
_COMMON: dict[str, Callable[[str, Any], Test]] = {
    "eq": lambda field, x: lambda facts: (v := facts[field]) == x or (v is None and facts.lenient),
    "in": lambda field, x: lambda facts: (v := facts[field]) in x or (v is None and facts.lenient),
    "lt": lambda field, x: lambda facts: v < x if (v := facts[field]) is not None else facts.lenient,
    "lte": lambda field, x: lambda facts: v <= x if (v := facts[field]) is not None else facts.lenient,
    "gt": lambda field, x: lambda facts: v > x if (v := facts[field]) is not None else facts.lenient,
    "gte": lambda field, x: lambda facts: v >= x if (v := facts[field]) is not None else facts.lenient,
}
_COMPARE: dict[str, Callable[[Any], Callable[[Any], bool]]] = {
    "lt": lambda x: lambda v: v < x,
    "lte": lambda x: lambda v: v <= x,
    "gt": lambda x: lambda v: v > x,
    "gte": lambda x: lambda v: v >= x,
}


def _core(clause: Clause, values: list[Any]) -> Callable[[Any], bool]:
    """Whether the clause, not negated, holds for a fact that is there."""
    if clause.field.kind is WORDS:
        return _has_phrases(values, any if clause.op != "contains_all" else all)
    members = frozenset(values)
    if clause.field.kind.many:
        return members.issubset if clause.op == "contains_all" else lambda v: not members.isdisjoint(v)
    if clause.op in ("eq", "in"):
        return lambda v: v in members
    if clause.op == "prefix":
        beginning = str(values[0])
        return lambda v: type(v) is str and v.startswith(beginning)
    compare = _COMPARE[clause.op](values[0])
    if clause.field.kind is LOOSE:
        return lambda v: (type(v) is int or type(v) is float) and compare(v)
    return compare


def _has_phrases(phrases: list[str], which: Callable[..., bool]) -> Callable[[Any], bool]:
    """A single word is looked up; several in a row are looked for in the text."""
    singles = frozenset(phrase for phrase in phrases if len(words_of(phrase)) == 1)
    rows = [f" {phrase} " for phrase in phrases if phrase not in singles]
    if which is all:
        return lambda words: singles <= words and all(row in words.text for row in rows)
    return lambda words: not singles.isdisjoint(words) or any(row in words.text for row in rows)


def is_floor(clause: Clause) -> bool:
    """Whether a clause only asks that a field is there and on one side of a limit."""
    return clause.op in ORDERED and not clause.negated and not clause.passes and clause.field.kind is not LOOSE
