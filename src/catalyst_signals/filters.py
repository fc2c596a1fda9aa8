"""Filters: what a subscriber wants, a pure function of one event, and never code.

Owns: the public face (`parse`, `Filter`, `EVERYTHING`) and the JSON form. The vocabulary is in filter_fields, the text
form in filter_text, the canonical tree in filter_tree, the meaning in filter_match, the way into the index in
filter_plan. Knows nothing of subscribers, clocks or stores.
Law: `parse(f.text) == f == parse(f.tree)`; equal filters written differently are equal; `matches` never raises.

    parse("symbol in (ACME, XYZ) and confidence >= 0.7 and not catalyst.type = offering")
    parse({"all": [{"field": "symbol", "op": "in", "value": ["ACME", "XYZ"]},
                   {"field": "features.rvol", "op": "gte", "value": 1.5, "missing": "pass"}]})
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from catalyst_signals.filter_facts import Facts
from catalyst_signals.filter_fields import SYMBOLS
from catalyst_signals.filter_glance import decode_all, decoder_for, glances
from catalyst_signals.filter_match import Test, compile_node
from catalyst_signals.filter_plan import describe, key_of
from catalyst_signals.filter_text import NESTING_MAX, read_text
from catalyst_signals.filter_tree import (
    Node,
    Spot,
    build,
    check_limits,
    clauses_of,
    group,
    negate,
    plain_of,
    refusal,
    text_of,
)
from catalyst_signals.versions import docs_of

_FORMS = "a text, {all: [...]}, {any: [...]}, {not: {...}} or {field, op, value}"
_CLAUSE_KEYS = {"field", "op", "value", "missing"}


@dataclass(frozen=True, slots=True, eq=False)
class Filter:
    """What a subscriber wants. `node` is the canonical tree (None = everything), `text` the same as one line ("")."""

    node: Node | None
    text: str = field(init=False)
    _test: Test | None = field(init=False, repr=False, default=None)
    _decode: Callable[[bytes], Any] | None = field(init=False, repr=False, default=None)
    _key: Any = field(init=False, repr=False, default=None)  # Empty when there is none.

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", "" if self.node is None else text_of(self.node))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Filter) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)

    @property
    def id(self) -> str:
        """12 hex digits that name this filter: of SHA-256 of the canonical text."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:12]

    @property
    def tree(self) -> dict[str, Any] | None:
        """The canonical tree as JSON; None = everything."""
        return None if self.node is None else plain_of(self.node)

    def matches(self, doc: Mapping[str, Any]) -> bool:
        """Whether the event, decoded from its bytes on the wire, is wanted: whether any version it speaks of is.

        So whoever was shown a signal is told what becomes of it. Nobody wants what was erased.
        """
        if "was" not in doc:
            return self.judge(Facts(doc))
        return any(self.judge(Facts(version)) for version in docs_of(doc))

    @property
    def key(self) -> tuple[str, frozenset[Any]] | None:
        """A field and its values, one of which every signal has that matches; None: there is no such field."""
        key = self._key
        if key is None:
            key = key_of(self.node) if self.node is not None else None
            object.__setattr__(self, "_key", key or ())
        return key or None

    def picks(self, texts: Iterable[bytes]) -> list[int]:
        """Which of these events on the wire match; each is decoded only as far as this filter looks."""
        texts = list(texts)
        test = self._test or self._compile(self.node) if self.node is not None else bool
        return [
            i
            for i, facts in enumerate(glances(self._decode or self._prepare(), texts))
            if (self.matches(decode_all(texts[i])) if facts is None else not facts.erased and test(facts))
        ]

    def _prepare(self) -> Callable[[bytes], Any]:
        decode = decoder_for({clause.field.name for clause in clauses_of(self.node)} if self.node is not None else ())
        object.__setattr__(self, "_decode", decode)
        return decode

    def judge(self, facts: Facts) -> bool:
        """`matches` for the facts of one version, shared with other filters."""
        if facts.erased:
            return False
        return self.node is None or (self._test or self._compile(self.node))(facts)

    def _compile(self, node: Node) -> Test:
        """Made on first use: most filters are answered by the index alone."""
        test = compile_node(node)
        object.__setattr__(self, "_test", test)
        return test

    def both(self, other: Filter) -> Filter:
        """What both want, as for an entitlement; may be larger than what one may type."""
        nodes = [each for each in (self.node, other.node) if each is not None]
        return Filter(group("all", nodes)) if nodes else EVERYTHING

    def index(self) -> dict[str, Any]:
        """How the filter will be found among thousands; see `filter_plan.describe`."""
        return describe(self.node)


EVERYTHING = Filter(None)


def parse(source: object) -> Filter:
    """The filter somebody wrote, as text or as a JSON tree; None and an empty text are everything, a list means all.

    Raises InvalidFilter with `at`: the offset in the text, or the JSON path in the tree.
    """
    if source is None:
        return EVERYTHING
    if isinstance(source, str):
        node, start = read_text(source), 0
        if node is None:
            return EVERYTHING
        check_limits(node, start)
        return Filter(node)
    node = _read_tree({"all": source} if isinstance(source, list) else source, "$", 0)
    check_limits(node, "$")
    return Filter(node)


def _read_tree(tree: object, path: str, nesting: int) -> Node:
    if not isinstance(tree, dict):
        raise refusal(f"a filter is {_FORMS}; got {type(tree).__name__}", Spot(tree, path), allowed=_FORMS)
    if nesting > NESTING_MAX:
        raise refusal(f"groups are nested more than {NESTING_MAX} deep", Spot(None, path), allowed=NESTING_MAX)
    if "field" in tree:
        return _read_clause(tree, path)
    if len(tree) == 1 and "not" in tree:
        return negate(_read_tree(tree["not"], f"{path}.not", nesting + 1))
    for kind in ("all", "any"):
        members = tree.get(kind)
        if len(tree) == 1 and isinstance(members, list) and members:
            nodes = [_read_tree(each, f"{path}.{kind}[{i}]", nesting + 1) for i, each in enumerate(members)]
            return group(kind, nodes)
    raise refusal(
        f"a filter is {_FORMS}, with at least one member in a group", Spot(sorted(map(str, tree)), path), allowed=_FORMS
    )


def _read_clause(tree: dict[str, Any], path: str) -> Node:
    unknown = sorted(set(map(str, tree)) - _CLAUSE_KEYS)
    if unknown:
        allowed = sorted(_CLAUSE_KEYS)
        raise refusal(f"a clause has {', '.join(allowed)}; got `{unknown[0]}`", Spot(unknown[0], path), allowed=allowed)
    name, op, missing = tree["field"], tree.get("op"), tree.get("missing", "fail")
    if not isinstance(name, str):
        raise refusal("`field` is the name of a field", Spot(name, f"{path}.field"), "field")
    if not isinstance(op, str) or op not in SYMBOLS:
        raise refusal(f"`op` is one of {', '.join(SYMBOLS)}", Spot(op, f"{path}.op"), name, list(SYMBOLS))
    if missing not in ("pass", "fail"):
        raise refusal("`missing` is pass or fail", Spot(missing, f"{path}.missing"), name, ["pass", "fail"])
    value = tree.get("value")
    if op == "exists" and isinstance(value, bool | None):
        node = build(Spot(name, f"{path}.field"), Spot(op, f"{path}.op"), [], passes=missing == "pass")
        return negate(node) if value is False else node
    if "value" not in tree:
        raise refusal(f"`{op}` needs a `value`", Spot(None, path), name)
    values = _read_values(op, value, f"{path}.value")
    return build(Spot(name, f"{path}.field"), Spot(op, f"{path}.op"), values, passes=missing == "pass")


def _read_values(op: str, value: object, path: str) -> list[Spot]:
    if isinstance(value, list) and op in ("in", "nin", "between", "contains_any", "contains_all"):
        return [Spot(each, f"{path}[{i}]") for i, each in enumerate(value)]
    return [Spot(value, path)]
