"""The match index: which of many thousand filters want this event, at a cost that follows the matches.

Owns: where each filter stands and how it is found. Knows nothing of subscribers; a group is any hashable.
Law: `set(index.match(doc)) == {g for g, f in groups if f.matches(doc)}`, each group once, in no order.

A filter's branches (filter_plan.py) stand on shelves: one for each value of a key, one for "all but", one for no key.
A shelf holds boxes by (pairs of action and direction, field and direction of the limit). A box is sorted by its limit,
so one bisection cuts off what a signal does not reach; where nothing is left to test, the cut is the answer.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from typing import Any, Generic, TypeVar

from catalyst_signals.filter_facts import Facts
from catalyst_signals.filter_match import Test, compile_node, operand
from catalyst_signals.filter_plan import SIDES, Branch, plan, rest_of
from catalyst_signals.filter_tree import Clause
from catalyst_signals.filters import Filter
from catalyst_signals.versions import docs_of

G = TypeVar("G", bound=Hashable)
BoxKey = tuple[int, str | None, str, bool, bool]

_SIDE_BIT = {side: 1 << i for i, side in enumerate(SIDES)}
# How a value cuts the sorted limits, and whether the reached ones lie below the cut: `>= limit` is reached from below.
_CUTS: dict[str, tuple[Callable[[list[Any], Any], int], bool]] = {
    "gte": (bisect_right, True),
    "gt": (bisect_left, True),
    "lte": (bisect_left, False),
    "lt": (bisect_right, False),
}


class _Box(Generic[G]):
    """Branches that differ only in their limit and in what is left to test. The lists are parallel, sorted by limit."""

    __slots__ = ("below", "cut", "field", "groups", "limits", "several", "sides", "tests")

    def __init__(self, key: BoxKey) -> None:
        self.sides, self.field, op, tested, self.several = key
        self.cut, self.below = _CUTS.get(op, (bisect_right, True))
        self.limits: list[Any] = []
        self.groups: list[G] = []
        self.tests: list[Test] | None = [] if tested else None

    def add(self, limit: Any, group: G, test: Test | None) -> None:
        at = bisect_right(self.limits, limit) if self.field else len(self.groups)
        if self.field:
            self.limits.insert(at, limit)
        self.groups.insert(at, group)
        if self.tests is not None and test is not None:
            self.tests.insert(at, test)

    def remove(self, limit: Any, group: G) -> None:
        at = self.groups.index(group, bisect_left(self.limits, limit)) if self.field else self.groups.index(group)
        for column in (self.groups, self.tests, self.limits if self.field else None):
            if column is not None:
                del column[at]


class _Shelf(dict[BoxKey, _Box[G]]):
    """Boxes by what their branches have in common; remembers which of them take an action and direction."""

    __slots__ = ("_by_side",)

    def __init__(self) -> None:
        self._by_side: dict[int, list[_Box[G]]] = {}

    def taking(self, side: int) -> list[_Box[G]]:
        found = self._by_side.get(side)
        if found is None:
            found = self._by_side[side] = [box for box in self.values() if box.sides & side]
        return found

    def box(self, key: BoxKey) -> _Box[G]:
        """The box of that key, made when it is the first."""
        if key not in self:
            self[key] = _Box(key)
            self._by_side.clear()
        return self[key]

    def remove(self, key: BoxKey, limit: Any, group: G) -> None:
        self[key].remove(limit, group)
        if not self[key].groups:
            del self[key]
            self._by_side.clear()


class _AllBut(Generic[G]):
    """Branches for every document but those that have one of their values in a field."""

    __slots__ = ("barred", "many", "shelf")

    def __init__(self, many: bool) -> None:
        self.many = many
        self.shelf: _Shelf[G] = _Shelf()
        self.barred: dict[Any, dict[G, None]] = {}

    def barred_by(self, fact: Any) -> Mapping[G, None]:
        if fact is None or not self.many:
            return self.barred.get(fact) or {}
        return {group: None for value in fact & self.barred.keys() for group in self.barred[value]}


class MatchIndex(Generic[G]):
    """Filters by group. `open_count` of them have nothing to be looked up by and are tested on every signal."""

    def __init__(self) -> None:
        self._filters: dict[G, Filter] = {}
        self._ruled: dict[str | None, dict[G, Filter]] = {}  # By the one field whose value can rule the filter out.
        self._everything: dict[G, None] = {}
        self._open: dict[G, Filter] = {}
        self._single: dict[str, dict[Any, _Shelf[G]]] = {}
        self._many: dict[str, dict[Any, _Shelf[G]]] = {}
        self._but: dict[str, _AllBut[G]] = {}
        self._plain: _Shelf[G] = _Shelf()

    def __len__(self) -> int:
        return len(self._filters)

    @property
    def open_count(self) -> int:
        """How many filters are tested on every signal; EVERYTHING is not among them."""
        return len(self._open)

    def add(self, group: G, filter: Filter) -> None:
        """Match `group` from now on; raises ValueError if it is already here, with whatever filter."""
        if group in self._filters:
            raise ValueError(f"{group!r} already has a filter in this index; remove it first")
        self._filters[group] = filter
        branches = plan(filter.node) if filter.node is not None else []
        self._ruled.setdefault(_ruled_by(branches), {})[group] = filter
        if not branches:
            self._everything[group] = None
        elif any(branch.open for branch in branches):
            self._open[group] = filter
        else:
            for branch in branches:
                self._place(group, branch, alone=len(branches) == 1)

    def remove(self, group: G) -> None:
        """Forget `group`; raises KeyError if it is not here."""
        filter = self._filters.pop(group)
        branches = plan(filter.node) if filter.node is not None else []
        by = _ruled_by(branches)
        del self._ruled[by][group]
        if not self._ruled[by]:
            del self._ruled[by]
        if not branches:
            del self._everything[group]
        elif self._open.pop(group, None) is None:
            for branch in branches:
                self._take_away(group, branch, alone=len(branches) == 1)

    def match(self, doc: Mapping[str, Any]) -> list[G]:
        """The groups whose filter matches the event, by any version it speaks of; each once, in no order."""
        if "was" not in doc:
            return self._match(Facts(doc))
        return list(dict.fromkeys(group for version in docs_of(doc) for group in self._match(Facts(version))))

    def _match(self, facts: Facts) -> list[G]:
        if facts.erased:
            return []
        if facts.lenient:
            return self._match_leniently(facts)
        side = _SIDE_BIT[facts["action"], facts["direction"]]
        found: list[G] = list(self._everything)
        several: set[G] = set()  # Those that can be found in more than one place.
        for shelf in self._shelves(facts):
            _gather(shelf.taking(side), facts, found, several)
        for field, but in self._but.items():
            here: list[G] = []
            _gather(but.shelf.taking(side), facts, here, several)
            barred = but.barred_by(facts[field])
            found += [group for group in here if group not in barred] if barred else here
        if self._open:
            found += [group for group, filter in self._open.items() if filter.judge(facts)]
        return found + list(several) if several else found

    def _match_leniently(self, facts: Facts) -> list[G]:
        """What is not a signal is wanted by all who do not rule it out; only those whose key does are not asked."""
        found: list[G] = []
        for field, filters in self._ruled.items():
            fact = None if field is None else facts[field]
            asked: Iterable[G] = filters
            if field is not None and fact is not None:
                shelf: Mapping[BoxKey, _Box[G]] = self._single[field].get(fact, {})
                asked = [group for box in shelf.values() if not box.several for group in box.groups]
            found += [group for group in asked if filters[group].judge(facts)]
        return found

    def _shelves(self, facts: Facts) -> Iterator[_Shelf[G]]:
        """The shelves a document leads to."""
        yield self._plain
        for field, table in self._single.items():
            shelf = table.get(facts[field])
            if shelf is not None:
                yield shelf
        for field, table in self._many.items():
            fact = facts[field]
            if fact is not None:
                for value in fact & table.keys():
                    yield table[value]

    def _place(self, group: G, branch: Branch, *, alone: bool) -> None:
        rest = rest_of(branch)
        test = None if rest is None else compile_node(rest)
        key, limit = _box_key(branch, alone), _limit(branch.floor)
        for shelf in self._shelves_of(branch):
            shelf.box(key).add(limit, group, test)
        if branch.but:
            barred = self._but[str(branch.by)].barred
            for value in branch.keys:
                barred.setdefault(value, {})[group] = None

    def _take_away(self, group: G, branch: Branch, *, alone: bool) -> None:
        key, limit = _box_key(branch, alone), _limit(branch.floor)
        for shelf in self._shelves_of(branch):
            shelf.remove(key, limit, group)
        self._tidy(group, branch)

    def _shelves_of(self, branch: Branch) -> list[_Shelf[G]]:
        """The shelves a branch belongs on, made when it is the first there."""
        if branch.by is None:
            return [self._plain]
        if branch.but:
            return [self._but.setdefault(branch.by, _AllBut(branch.many)).shelf]
        table = (self._many if branch.many else self._single).setdefault(branch.by, {})
        for value in branch.keys:
            if value not in table:
                table[value] = _Shelf()
        return [table[value] for value in branch.keys]

    def _tidy(self, group: G, branch: Branch) -> None:
        """Forget what a branch leaves empty behind it, so that nothing is looked up in vain."""
        if branch.by is None:
            return
        if branch.but:
            but = self._but[branch.by]
            for value in branch.keys:
                but.barred[value].pop(group, None)
                if not but.barred[value]:
                    del but.barred[value]
            if not but.shelf:
                del self._but[branch.by]
            return
        tables = self._many if branch.many else self._single
        for value in branch.keys:
            if not tables[branch.by].get(value, True):
                del tables[branch.by][value]
        if not tables[branch.by]:
            del tables[branch.by]


def _ruled_by(branches: list[Branch]) -> str | None:
    """The field without whose value on one of its keys a filter cannot match, if it is looked up by just that."""
    only = branches[0] if len(branches) == 1 else None
    return None if only is None or only.but or only.many else only.by


def _box_key(branch: Branch, alone: bool) -> BoxKey:
    floor = branch.floor
    field, op = (None, "") if floor is None else (floor.field.name, floor.op)
    several = not alone or (branch.many and not branch.but and len(branch.keys) > 1)
    return branch.sides, field, op, bool(branch.rest), several


def _limit(floor: Clause | None) -> Any:
    return None if floor is None else operand(floor, floor.values[0])


def _gather(boxes: list[_Box[G]], facts: Facts, found: list[G], several: set[G]) -> None:
    """Add the groups of a shelf that match: to `several` if they may be met again, else to `found`."""
    for box in boxes:
        groups, tests = box.groups, box.tests
        if box.field is not None:
            fact = facts[box.field]
            if fact is None:
                continue
            at = box.cut(box.limits, fact)
            start, end = (0, at) if box.below else (at, len(groups))
            groups = groups[start:end]
            tests = None if tests is None else tests[start:end]
        if tests is not None:
            groups = [group for group, test in zip(groups, tests, strict=True) if test(facts)]
        if box.several:
            several.update(groups)
        else:
            found += groups
