"""Why an event matches a filter or does not: clause by clause, with what was asked and what is there.

Owns: the sentences. Knows nothing of subscribers or stores, and decides nothing: every answer is that of filter_match
and filter_facts, which deliver.
Law: the clauses' `holds`, put together as the filter's tree does, are `matches`, which is what `Filter.matches` says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

from catalyst_signals.errors import shorten
from catalyst_signals.filter_facts import Facts, Words
from catalyst_signals.filter_fields import (
    CLOCK,
    DURATION,
    FLAG,
    LOOSE,
    ORDERED,
    SYMBOLS,
    WORDS,
    show_clock,
    show_duration,
    show_loose,
    show_number,
    show_text,
    words_of,
)
from catalyst_signals.filter_match import compile_node, operands
from catalyst_signals.filter_tree import Clause, Node, clauses_of, text_of
from catalyst_signals.filters import Filter
from catalyst_signals.versions import docs_of

NAMED_MAX = 5  # Values of a list that a sentence names; the clause itself has them all.
REASONS_MAX = 4  # Clauses that the last sentence names.
GOT_CHARS_MAX = 200
_OPPOSITE = {"lt": ">=", "lte": ">", "gt": "<=", "gte": "<"}


class Answer(NamedTuple):
    """What one clause says of one version: what is there, whether it holds, and both in words."""

    clause: Clause
    got: Any
    holds: bool
    says: str

    def shown(self) -> dict[str, Any]:
        """As JSON; `clause` is the text of it, `got` null where the field is missing."""
        clause = self.clause
        parts: dict[str, Any] = {"clause": text_of(clause), "field": clause.field.name, "op": clause.op}
        if clause.negated:
            parts["not"] = True
        if clause.passes:
            parts["missing"] = "pass"
        values = [clause.field.kind.plain(value) for value in clause.values]
        return parts | {"value": values, "got": plain_fact(clause, self.got), "holds": self.holds, "says": self.says}


class Verdict(NamedTuple):
    """What a filter says of one version of a signal."""

    doc: Mapping[str, Any]
    matches: bool
    answers: list[Answer]
    says: str


def explain(filter: Filter, doc: Mapping[str, Any]) -> dict[str, Any]:
    """Why a filter matches an event, decoded from its bytes on the wire, or why it does not.

    `clauses` are those of the version that decides: the newest that matches, else the present one. Where the event
    speaks of several, `versions` has each, newest first. An erased event has no clauses.
    """
    verdicts = [judge(filter, version) for version in docs_of(doc)]
    decisive = next((each for each in verdicts if each.matches), verdicts[0])
    out: dict[str, Any] = {
        "matches": decisive.matches,
        "filter": filter.text,
        "event": {name: doc.get(name) for name in ("channel", "seq", "id", "version", "type", "ts")},
        "clauses": [answer.shown() for answer in decisive.answers],
    }
    if len(verdicts) > 1:
        out["decided_by"] = decisive.doc.get("version")
        out["versions"] = [_version_shown(each) for each in verdicts]
    return out | {"says": _whole(verdicts, decisive)}


def judge(filter: Filter, doc: Mapping[str, Any]) -> Verdict:
    """One version by itself."""
    facts = Facts(doc)
    matches = filter.judge(facts)
    if facts.erased:
        return Verdict(doc, matches, [], "it was erased, and what is erased matches no filter")
    if filter.node is None:
        return Verdict(doc, matches, [], "there is no filter, so everything matches")
    answers = {clause: ask(clause, facts) for clause in clauses_of(filter.node)}
    reasons = _reasons(filter.node, answers)
    named = reasons[:REASONS_MAX] + ([f"{len(reasons) - REASONS_MAX} more"] if len(reasons) > REASONS_MAX else [])
    return Verdict(doc, matches, list(answers.values()), _listed(named, "and"))


def ask(clause: Clause, facts: Facts) -> Answer:
    """One clause, by the function that delivers."""
    got = facts[clause.field.name]
    holds = compile_node(clause)(facts)
    return Answer(clause, got, holds, _missing(clause, facts) if got is None else _says(clause, got))


def holds_whole(node: Node, answers: Mapping[Clause, Answer]) -> bool:
    """What the clauses' answers are together."""
    if isinstance(node, Clause):
        return answers[node].holds
    return (all if node.kind == "all" else any)(holds_whole(member, answers) for member in node.members)


def _reasons(node: Node, answers: Mapping[Clause, Answer]) -> list[str]:
    """What made it so: of an `all` that fails the members that do, of an `any` that holds those that do."""
    if isinstance(node, Clause):
        return [answers[node].says]
    holds = holds_whole(node, answers)
    deciding = [m for m in node.members if holds_whole(m, answers) is holds]
    return list(dict.fromkeys(reason for member in deciding for reason in _reasons(member, answers)))


def _whole(verdicts: Sequence[Verdict], decisive: Verdict) -> str:
    present = verdicts[0]
    if not present.answers:
        return _sentence(present.says)
    if len(verdicts) == 1:
        return _sentence(f"it matches: {present.says}" if present.matches else f"it does not match: {present.says}")
    if present.matches:
        return _sentence(f"it matches as it is now: {present.says}")
    if decisive.matches:
        why = "so its end and its changes come too"
        return _sentence(f"it matches because version {decisive.doc.get('version')} did: {decisive.says}; {why}")
    return _sentence(f"none of its {len(verdicts)} versions matches; as it is now: {present.says}")


def _sentence(words: str) -> str:
    return words[:1].upper() + words[1:] + "."


def _version_shown(verdict: Verdict) -> dict[str, Any]:
    head = {name: verdict.doc.get(name) for name in ("version", "seq", "type")}
    clauses = [answer.shown() for answer in verdict.answers]
    return head | {"matches": verdict.matches, "says": verdict.says, "clauses": clauses}


# --- One clause in words -----------------------------------------------------------------------------------------


def _missing(clause: Clause, facts: Facts) -> str:
    none = _none_there(clause)
    if clause.op == "exists" and (clause.negated or not facts.lenient):
        return none
    if facts.lenient and clause.passes == clause.negated:
        return f"{none}, which is asked of signals only"
    if clause.passes:
        return f"{none}, {'and `not` rules that out' if clause.negated else 'which `or missing` allows'}"
    if not clause.negated or clause.field.kind.many:
        return none
    if clause.op in ORDERED or clause.op == "prefix":
        return f"{none} that could be ruled out"
    return f"{none}, so it is not {_named(clause, 'or')}"


def _none_there(clause: Clause) -> str:
    if clause.field.kind is WORDS:
        return "there is no text"
    return f"there {'are' if _is_plural(clause) else 'is'} no {clause.field.name}"


def _is_plural(clause: Clause) -> bool:
    return clause.field.kind.many or clause.field.name == "targets"


def _says(clause: Clause, got: Any) -> str:
    """What is there, and how that stands to what was asked; true whether the clause is negated or not."""
    name = clause.field.name
    if clause.op == "exists":
        return f"there is a list or an object at {name}" if got is ... else _there(clause, got)
    if got is ...:
        return f"{name} is a list or an object"
    if clause.field.kind is WORDS:
        return _says_words(clause, got)
    if clause.field.kind.many:
        return _says_set(clause, got)
    shown = show_fact(clause, got)
    if clause.op in ORDERED:
        return _says_order(clause, got, shown)
    if clause.op == "prefix":
        begins = type(got) is str and got.startswith(str(operands(clause)[0]))
        return f"{name} {shown} {'begins' if begins else 'does not begin'} with {_named(clause, 'or')}"
    if got in operands(clause):
        return f"{name} is {shown}"
    return f"{name} is {shown}, " + (f"not {_named(clause, 'or')}" if len(clause.values) == 1 else _none_of(clause))


def _there(clause: Clause, got: Any) -> str:
    name = clause.field.name
    if clause.field.kind is FLAG:
        return f"{name} {'are' if _is_plural(clause) else 'is'} given"
    if clause.field.kind is WORDS:
        return "there is text"
    return f"{name} {'are' if _is_plural(clause) else 'is'} {show_fact(clause, got)}"


def _says_order(clause: Clause, got: Any, shown: str) -> str:
    name, (value,) = clause.field.name, operands(clause)
    if clause.field.kind is LOOSE and type(got) is str:
        return f"{name} is the text {shown}, not a number"
    true = {"lt": got < value, "lte": got <= value, "gt": got > value, "gte": got >= value}[clause.op]
    return f"{name} {shown} {SYMBOLS[clause.op] if true else _OPPOSITE[clause.op]} {_named(clause, 'or')}"


def _says_set(clause: Clause, got: frozenset[str]) -> str:
    name = clause.field.name
    found, lacking = _split(clause, lambda value: value in got)
    if clause.op == "contains_all" and lacking:
        return f"{name} lack {_listed(lacking, 'and')}"
    if found:
        return f"{name} have {_listed(found, 'and')}"
    return f"{name} are {show_fact(clause, got)}: " + (f"no {lacking[0]}" if len(lacking) == 1 else _none_of(clause))


def _says_words(clause: Clause, got: Words) -> str:
    """A single word is looked for among the words, several in a row in the text; as filter_match does."""

    def stands(value: object) -> bool:
        return value in got if len(words_of(str(value))) == 1 else f" {value} " in got.text

    found, lacking = _split(clause, stands)
    if clause.op == "contains_all" and lacking:
        return f"its text lacks {_listed(lacking, 'and')}"
    if found:
        return f"its text has {_listed(found, 'and')}"
    return f"its text has no {lacking[0]}" if len(lacking) == 1 else f"its text has {_none_of(clause)}"


def _split(clause: Clause, is_there: Any) -> tuple[list[str], list[str]]:
    """The values that are there and those that are not, as they are typed."""
    found: list[str] = []
    lacking: list[str] = []
    for value in clause.values:
        (found if is_there(value) else lacking).append(clause.field.kind.show(value))
    return found, lacking


def _none_of(clause: Clause) -> str:
    return f"none of {_named(clause, 'or')}"


def _named(clause: Clause, last: str) -> str:
    return _listed([clause.field.kind.show(value) for value in clause.values], last)


def _listed(words: Sequence[str], last: str) -> str:
    """`a`, `a or b`, `a, b or c`; of many the first few, and how many more."""
    if len(words) > NAMED_MAX + 1:
        words = [*words[:NAMED_MAX], f"{len(words) - NAMED_MAX} more"]
    return f"{', '.join(words[:-1])} {last} {words[-1]}" if len(words) > 1 else words[0]


# --- Facts -------------------------------------------------------------------------------------------------------


def show_fact(clause: Clause, got: Any) -> str:
    """What is there, as it would be typed in a filter; long texts are cut."""
    return str(shorten(_shown(clause, got), GOT_CHARS_MAX))


def _shown(clause: Clause, got: Any) -> str:
    kind = clause.field.kind
    if kind is CLOCK:
        return show_clock(got) if got.endswith(".000000") else got.rstrip("0")
    if kind is DURATION:
        return show_duration(got) if got >= 0 else f"-{show_duration(-got)}"
    if isinstance(got, frozenset):
        return _listed(sorted(map(show_text, got)), "and")
    if type(got) is str:
        return show_loose(got) if kind is LOOSE else show_text(got)
    return show_number(got)


def plain_fact(clause: Clause, got: Any) -> Any:
    """What is there, as JSON: null where it is missing, a list of what is many, else as it stands in the event."""
    if got is ... or isinstance(got, bool):
        return True  # It is there, and nothing else is asked of it.
    if isinstance(got, Words):
        return str(shorten(" ".join(got.text.split()), GOT_CHARS_MAX))
    if isinstance(got, frozenset):
        return sorted(got)
    if clause.field.kind in (CLOCK, DURATION) and got is not None:
        return show_fact(clause, got)
    return f"{got:f}" if isinstance(got, Decimal) else got
