"""`catalyst filters check`: what a filter means, and how it will be found among thousands. Needs no server.

Owns: the tree as people read it, the index in words. What a filter means is decided by catalyst_signals.filters.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import typer

from catalyst_signals.cli import console
from catalyst_signals.cli.options import Json, examples
from catalyst_signals.errors import InvalidFilter
from catalyst_signals.filters import parse

group = typer.Typer(no_args_is_help=True, help="Filters: what a subscriber wants.")


def add_to(app: typer.Typer) -> None:
    """Hang the group in."""
    app.add_typer(group, name="filters")


@group.command(
    "check",
    epilog=examples(
        "catalyst filters check 'symbol in (ACME, GLBX) and confidence >= 0.7'",
        "catalyst filters check 'not catalyst.type = offering' --json",
        note="Works without a server. Exit code 4 when it is refused; then a caret stands under the mistake.",
    ),
)
def check(
    text: Annotated[
        str, typer.Argument(metavar="TEXT", help="A filter as text, or as a JSON tree.", show_default=False)
    ],
    json: Json = False,
) -> None:
    """Show a filter in its canonical form, as a tree, and how it is looked up."""
    with console.pointing_at(text):
        filter = parse(_source_of(text))
    if json:
        return console.say_json(
            {"filter": filter.text, "filter_id": filter.id, "tree": filter.tree, "index": filter.index()}
        )
    console.say(filter.text or "(everything)")
    if filter.tree is not None:
        _say_tree(filter.tree)
    for line in index_in_words(filter.index()):
        console.say(line)
    return None


def _source_of(text: str) -> object:
    if not text.lstrip().startswith(("{", "[")):
        return text
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError as fault:
        raise InvalidFilter(f"it begins as JSON does, but is none: {fault}") from None


def _say_tree(tree: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.text import Text
    from rich.tree import Tree

    def grow(onto: Tree, node: dict[str, Any]) -> None:
        for kind in ("all", "any"):
            if kind in node:
                branch = onto.add(Text({"all": "all of", "any": "any of"}[kind]))
                for member in node[kind]:
                    grow(branch, member)
                return
        if "not" in node:
            grow(onto.add(Text("not")), node["not"])
        else:
            onto.add(Text(_clause_in_words(node)))

    root = Tree("")
    grow(root, tree)
    top = root.children[0]
    if top.children:
        Console(highlight=False, width=max(80, Console().width)).print(top)


def _clause_in_words(clause: dict[str, Any]) -> str:
    value = clause.get("value")
    words = ", ".join(map(str, value)) if isinstance(value, list) else "" if value is None else str(value)
    missing = ", or missing" if clause.get("missing") == "pass" else ""
    return console.clean(f"{clause.get('field')} {clause.get('op')} {words}".rstrip() + missing)


def index_in_words(index: dict[str, Any]) -> list[str]:
    """How a filter is found, in sentences."""
    if index.get("open"):
        return [f"open: {index.get('why', 'it is tested on every signal')}", *_advice(index.get("add"))]
    if index.get("by") == "everything":
        return ["matches everything, at no cost"]
    if index.get("by") == "branches":
        return ["found in one of these ways:", *(f"  {_branch_in_words(each)}" for each in index["branches"])]
    return [f"found {_branch_in_words(index)}"]


def _branch_in_words(branch: dict[str, Any]) -> str:
    by, floor = branch.get("by"), branch.get("floor")
    if floor and not branch.get("keys") and not branch.get("actions"):
        by, floor = floor, None
    words = f"by {by}"
    if branch.get("keys"):
        keys = ", ".join(map(str, branch["keys"]))
        words += (" other than " if branch.get("but") else " beginning with " if branch.get("prefix") else " ") + keys
    if branch.get("actions"):
        words += f"{' and action' if by != 'action' else ''} {', '.join(branch['actions'])}"
    if floor:
        words += f" and {floor}"
    rest = branch.get("rest", 0)
    return console.clean(words) + (f"; then {rest} more clause{'s are' if rest > 1 else ' is'} tested" if rest else "")


def _advice(add: object) -> list[str]:
    if not add:
        return []
    return [f"so {', '.join(map(str, add)) if isinstance(add, list) else add}"]
