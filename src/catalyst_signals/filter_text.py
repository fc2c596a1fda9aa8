"""The one-line text form of filters that people type: `symbol in (ACME, XYZ) and confidence >= 0.7 and stop exists`.

Owns: tokens and grammar. Knows nothing of what fields mean: every clause is made by `filter_tree.build`.
Law: `read_text(text_of(node)) == node`, and a mistake is refused with its offset.

    filter  = term ("or" term)*
    term    = factor ("and" factor)*                   `not` binds tighter than `and`, `and` tighter than `or`
    factor  = "not"* ( "(" filter ")" | clause )
    clause  = FIELD test ["or" "missing"]              `or missing` is its clause's: true where the field is missing
    test    = ("=" | "!=" | "<" | "<=" | ">" | ">=" | "prefix") VALUE
            | ["not"] "in" list | "between" VALUE "and" VALUE | ["not"] "exists"
            | ("contains_any" | "contains_all" | "contains_none" | "contains" ["any" | "all" | "none"]) list
    list    = "(" VALUE ("," VALUE)* ")" | VALUE
    VALUE   = a bare word without spaces, commas, brackets, quotes and comparison signs, or a text in quotes
              of either sort, in which a backslash takes the next character as it is

Words of the grammar are case-insensitive. A value may be any word, also `and`.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from catalyst_signals.errors import InvalidFilter
from catalyst_signals.filter_fields import BARE, SYMBOLS, Bare
from catalyst_signals.filter_tree import TEXT_BYTES_MAX, Node, Spot, build, group, negate, refusal

NESTING_MAX = 16  # Brackets as typed; the canonical depth is judged later. Bounds the recursion.

_TOKEN = re.compile(
    rf"""\s*(?:(?P<sign>[(),]|<=|>=|!=|<>|==|=|<|>)|(?P<bare>{BARE.pattern})|"(?P<double>(?:[^"\\]|\\.)*)"|'(?P<single>(?:[^'\\]|\\.)*)')"""
)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_OPERATORS = {symbol: op for op, symbol in SYMBOLS.items()} | {"==": "eq", "<>": "ne"}
_COMPARE = ("=", "==", "!=", "<>", "<", "<=", ">", ">=", "prefix")
_LISTS = {
    "in": "in", "contains": "contains_any", "contains_any": "contains_any", "contains_all": "contains_all",
    "contains_none": "contains_none",
}  # fmt: skip
_TESTS = ["= != < <= > >=", "in", "not in", "between", "prefix", "exists", "not exists", "contains_any", "contains_all"]


class Token(NamedTuple):
    """A sign, a bare word, a quoted text, or the end; `at` is its offset, `word` its lower case if it is bare."""

    kind: str
    text: str
    at: int

    @property
    def word(self) -> str:
        """What the grammar compares; a quoted text is never a word of the grammar."""
        return "" if self.kind == "quoted" else self.text.lower()


def read_text(text: str) -> Node | None:
    """The canonical tree of a filter in the text form; None for an empty text. Raises InvalidFilter with `at`."""
    if len(text) > TEXT_BYTES_MAX:
        spot = Spot(len(text), TEXT_BYTES_MAX)
        raise refusal(f"a filter has at most {TEXT_BYTES_MAX} bytes of text", spot, allowed=TEXT_BYTES_MAX)
    parser = _Parser(_tokens(text))
    if parser.next.kind == "end":
        return None
    node = parser.any_of(0)
    if parser.next.kind != "end":
        raise parser.refusal("`and`, `or` or the end was expected", ["and", "or"])
    return node


def _tokens(text: str) -> list[Token]:
    tokens: list[Token] = []
    at, end = 0, len(text.rstrip())
    while at < end:
        found = _TOKEN.match(text, at)
        if found is None:
            raise _strange_character(text, at)
        name = str(found.lastgroup)
        start = found.start(name)
        if name in ("double", "single"):
            tokens.append(Token("quoted", _ESCAPE.sub(r"\1", found[name]), start - 1))
        else:
            tokens.append(Token(name, found[name], start))
        at = found.end()
    return [*tokens, Token("end", "", end)]


def _strange_character(text: str, at: int) -> InvalidFilter:
    at += len(text[at:]) - len(text[at:].lstrip())
    got = text[at]
    if got in "\"'":
        return refusal("this quote is not closed", Spot(got, at))
    if got in "“”‘’":
        return refusal("curly quotes are not understood; use straight ones, \" or '", Spot(got, at), allowed="\" or '")
    return refusal(f"{got!r} is not understood here; put values with such characters in quotes", Spot(got, at))


class _Parser:
    """Recursive descent over the tokens; `next` is the one not yet taken."""

    def __init__(self, tokens: list[Token]) -> None:
        self.tokens = tokens
        self.place = 0

    @property
    def next(self) -> Token:
        return self.tokens[self.place]

    def refusal(self, message: str, allowed: object) -> InvalidFilter:
        token = self.next
        got = "the end of the filter" if token.kind == "end" else f"{token.text[:80]!r}"
        return refusal(f"{message}; got {got}", Spot(token.text, token.at), allowed=allowed)

    def take(self) -> Token:
        token = self.tokens[self.place]
        self.place += 1
        return token

    def taken(self, *words: str) -> bool:
        """Whether the next tokens are these; if so they are taken."""
        ahead = [token.word for token in self.tokens[self.place : self.place + len(words)]]
        if ahead != list(words):
            return False
        self.place += len(words)
        return True

    def any_of(self, nesting: int) -> Node:
        nodes = [self.all_of(nesting)]
        while self.taken("or"):
            nodes.append(self.all_of(nesting))
        return group("any", nodes)

    def all_of(self, nesting: int) -> Node:
        nodes = [self.factor(nesting)]
        while self.taken("and"):
            nodes.append(self.factor(nesting))
        return group("all", nodes)

    def factor(self, nesting: int) -> Node:
        negated = False
        while self.taken("not"):
            negated = not negated
        node = self.bracket(nesting + 1) if self.next.word == "(" else self.clause()
        return negate(node) if negated else node

    def bracket(self, nesting: int) -> Node:
        if nesting > NESTING_MAX:
            raise self.refusal(f"brackets are nested more than {NESTING_MAX} deep", NESTING_MAX)
        self.take()
        node = self.any_of(nesting)
        if not self.taken(")"):
            raise self.refusal("`)` was expected", ["and", "or", ")"])
        return node

    def clause(self) -> Node:
        if self.next.kind != "bare" or self.next.word in ("and", "or"):
            raise self.refusal("the name of a field was expected", ["a field", "not", "("])
        name = self.take()
        field = Spot(name.text, name.at)
        inverted = self.taken("not")
        op = self.operator(inverted)
        if op.got == "contains_none":
            op, inverted = Spot("contains_any", op.at), not inverted
        values = self.values(str(op.got))
        passes = self.taken("or", "missing")
        node = build(field, op, values, passes=passes and not inverted)
        return negate(node) if inverted else node

    def operator(self, inverted: bool) -> Spot:
        at, word = self.next.at, self.next.word
        if word in _COMPARE and not inverted:
            self.take()
            return Spot(_OPERATORS[word], at)
        if word in ("exists", "between"):
            self.take()
            return Spot(word, at)
        if word not in _LISTS:
            raise self.refusal("an operator was expected", _TESTS)
        self.take()
        if word == "contains":
            word = next((f"contains_{which}" for which in ("any", "all", "none") if self.taken(which)), word)
        return Spot(_LISTS[word], at)

    def values(self, op: str) -> list[Spot]:
        if op == "exists":
            return []
        if op == "between":
            low = self.value()
            if not self.taken("and"):
                raise self.refusal("`between` is written `between A and B`", ["and"])
            return [low, self.value()]
        if op not in _LISTS.values() or self.next.word != "(":
            return [self.value()]
        self.take()
        values = [self.value()]
        while self.taken(","):
            values.append(self.value())
        if not self.taken(")"):
            raise self.refusal("`,` or `)` was expected", [",", ")"])
        return values

    def value(self) -> Spot:
        if self.next.kind not in ("bare", "quoted"):
            raise self.refusal("a value was expected", "a word, a number or a text in quotes")
        token = self.take()
        return Spot(Bare(token.text) if token.kind == "bare" else token.text, token.at)
