"""`catalyst filters`: what a filter means, why an event matches it, what it would have sent; and filters saved by name.

Owns: the tree as people read it, the index in words, answers as they stand on a screen. `check` needs no server.
What a filter means is decided by catalyst_signals.filters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from catalyst_signals.cli import chart, console
from catalyst_signals.cli.lines import line_of
from catalyst_signals.cli.options import (
    DEFAULT_URL,
    Channel,
    Filter,
    Json,
    Key,
    Mistake,
    Url,
    examples,
    server_of,
)
from catalyst_signals.cli.rest import Rest
from catalyst_signals.errors import InvalidFilter
from catalyst_signals.filters import parse
from catalyst_signals.words import moment_of

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

group = typer.Typer(no_args_is_help=True, help="Filters: what a subscriber wants.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="Such as momentum.", show_default=False)]
Against = Annotated[
    str | None, typer.Option("--against", metavar="TEXT", help="Another filter, or a name: what would be new?")
]


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


# --- Why ---------------------------------------------------------------------------------------------------------


@group.command(
    "explain",
    epilog=examples(
        "catalyst filters explain --seq 10412 --filter 'symbol = ACME and confidence >= 0.7'",
        "catalyst filters explain --seq 10412 --filter momentum",
        "catalyst filters explain --seq 10412 --subscriber 7f3a01c2d4e5:main",
        note="`subscribed` says a subscriber's id; then it is also said whether the event was sent, and why not.",
    ),
)
def explain(
    seq: Annotated[int, typer.Option("--seq", metavar="SEQ", min=1, help="The event.", show_default=False)],
    filter: Filter = None,
    subscriber: Annotated[
        str | None, typer.Option("--subscriber", metavar="ID", help="Who did or did not get it.")
    ] = None,
    channel: Annotated[
        str | None, typer.Option("--channel", metavar="NAME", help="The channel. [default: main]")
    ] = None,
    json: Json = False,
    url: Url = DEFAULT_URL,
    key: Key = None,
) -> None:
    """Show why an event matches a filter or does not, clause by clause."""
    if (filter is None) == (subscriber is None):
        raise Mistake("say what is to be explained: --filter TEXT, or --subscriber ID")
    body: dict[str, Any] = {"seq": seq, "channel": channel}
    body |= {"subscriber": subscriber} if filter is None else {"filter": _source_of(filter)}
    with Rest(server_of(url, key)) as rest, console.pointing_at(filter):
        told = rest.post("v1", "filters", "explain", body=body)
    return console.say_json(told) if json else say_why(told)


def say_why(told: dict[str, Any]) -> None:
    """What `POST /v1/filters/explain` answered, for a person."""
    screen, event = _screen(), told["event"]
    when = f"{moment_of(event['ts']):%Y-%m-%d %H:%M:%S}Z"
    _print(screen, (f"{event['channel']} {event['seq']} {event['type']} {when} {event['id']}", "dim"))
    _print(screen, _mark(told["matches"]), (f" {told['says']}", "bold"))
    versions = told.get("versions") or [told]
    for each in versions:
        if len(versions) > 1:
            _print(screen, (f"\nversion {each['version']}, event {each['seq']}, {each['type']}", "dim"))
        if each["clauses"]:
            screen.print(_clauses_in_rows(each["clauses"]))
    if "delivery" in told:
        sent = told["delivery"]["state"] == "sent"
        _print(screen, "\ndelivery: ", (told["delivery"]["says"], "green" if sent else "yellow"))


def _clauses_in_rows(clauses: list[dict[str, Any]]) -> Table:
    from rich.table import Table
    from rich.text import Text

    rows = Table(box=None, show_header=False, pad_edge=False, padding=(0, 3, 0, 0))
    rows.add_column(width=3, justify="right")
    rows.add_column(overflow="fold", ratio=1)
    rows.add_column(overflow="fold", ratio=1)
    for clause in clauses:
        rows.add_row(
            Text.assemble(_mark(clause["holds"])), Text(console.clean(clause["says"])),
            Text(console.clean(clause["clause"]), "dim"),
        )  # fmt: skip
    return rows


def _mark(holds: bool) -> tuple[str, str]:
    return ("✓", "green") if holds else ("✗", "red")


def _screen() -> Console:
    """Where answers are printed: as wide as the terminal, 80 where there is none; nothing is coloured by its looks."""
    from rich.console import Console

    screen = Console(highlight=False)
    return screen if screen.is_terminal else Console(highlight=False, width=80)


def _print(screen: Console, *parts: str | tuple[str, str]) -> None:
    """Texts, each with its style; what a publisher wrote is not obeyed."""
    from rich.text import Text

    clean = [(_keep_ends(part), "") if isinstance(part, str) else (_keep_ends(part[0]), part[1]) for part in parts]
    screen.print(Text.assemble(*clean))


def _keep_ends(text: str) -> str:
    """As `console.clean`, but a line break or a space of ours at its ends stays."""
    inner = text.strip()
    start = text.index(inner) if inner else len(text)
    return text[:start] + console.clean(inner) + text[start + len(inner) :]


# --- Rehearsal ---------------------------------------------------------------------------------------------------


@group.command(
    "try",
    epilog=examples(
        "catalyst filters try 'confidence >= 0.7'",
        "catalyst filters try 'confidence >= 0.8' --against 'confidence >= 0.7'",
        "catalyst filters try 'symbol = ACME' --against momentum",
        note="Of the stored past; nothing is subscribed.",
    ),
)
def try_filter(
    text: Annotated[str, typer.Argument(metavar="TEXT", help="A filter, or the name of one.", show_default=False)],
    against: Against = None,
    channel: Channel = "main",
    json: Json = False,
    url: Url = DEFAULT_URL,
    key: Key = None,
) -> None:
    """Show what a filter would have sent of what is stored, by day."""
    body: dict[str, Any] = {"filter": _source_of(text), "channel": channel}
    if against is not None:
        body["against"] = _source_of(against)
    with Rest(server_of(url, key)) as rest, console.pointing_at(text if against is None else None):
        told = rest.post("v1", "filters", "rehearse", body=body)
    return console.say_json(told) if json else say_rehearsal(told)


def say_rehearsal(told: dict[str, Any]) -> None:
    """What `POST /v1/filters/rehearse` answered, for a person."""
    screen = _screen()
    of, matched = told["of"], told["matched"]
    if not of:
        return _print(screen, "there is nothing stored that could match")
    share = f" ({matched / of:.1%})"
    _print(screen, (f"{matched:,} of {of:,} events match{share}", "bold"), f", seq {told['from']} to {told['through']}")
    if not told["complete"]:
        _print(screen, (f"what came before {told['from']} was not looked at", "yellow"))
    if "against" in told:
        newly_in, newly_out = told["newly_in"]["count"], told["newly_out"]["count"]
        other = f"the other filter matches {told['against']['matched']:,}: "
        _print(screen, other, (f"{newly_in:,} newly in", "green"), ", ", (f"{newly_out:,} newly out", "red"))
    _say_histogram(screen, told["per_day"])
    worst = told["worst_burst"]
    if worst is not None:
        when = f"{moment_of(worst['at']):%Y-%m-%d %H:%M:%S}Z"
        _print(screen, f"\nworst burst: {worst['count']:,} within {worst['in_s']} s, at {when}")
    if "against" in told:
        _say_examples(screen, "newly in", "green", told["newly_in"]["examples"])
        _say_examples(screen, "newly out", "red", told["newly_out"]["examples"])
    else:
        _say_examples(screen, "the newest", "", told["examples"])
    return None


def _say_histogram(screen: Console, per_day: dict[str, int]) -> None:
    rows = chart.rows_of(per_day)
    if not rows:
        return
    most = max(count for _, count in rows)
    digits = len(f"{most:,}")
    width = min(screen.width, 100) - len(rows[0][0]) - digits - 4
    _print(screen, (f"\nby {chart.stretch_of(rows)}, in UTC", "dim"))
    for label, count in rows:
        _print(screen, f"{label}  ", f"{count:>{digits},}", (f"  {chart.bar_of(count, most, width)}".rstrip(), "cyan"))


def _say_examples(screen: Console, what: str, style: str, events: list[dict[str, Any]]) -> None:
    from rich.text import Text

    if events:
        _print(screen, (f"\n{what}", style or "dim"))
    for event in events:
        screen.print(Text(f"  {line_of(event)}"), no_wrap=True, overflow="ellipsis")


# --- Saved by name -----------------------------------------------------------------------------------------------


@group.command(
    "save",
    epilog=examples(
        "catalyst filters save momentum 'rvol >= 3 and confidence >= 0.7'",
        "catalyst listen --filter momentum",
        note="Saving again moves whoever uses it by name to the new one, where they stand.",
    ),
)
def save(
    name: Name,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="A filter.", show_default=False)],
    json: Json = False,
    url: Url = DEFAULT_URL,
    key: Key = None,
) -> None:
    """Save a filter under a name that stands for it wherever a filter may."""
    with Rest(server_of(url, key)) as rest, console.pointing_at(text):
        saved = rest.put("v1", "filters", name, body={"filter": _source_of(text)})
    return console.say_json(saved) if json else console.say(f"{name} is {saved['filter'] or '(everything)'}")


@group.command("list", epilog=examples("catalyst filters list"))
def list_filters(json: Json = False, url: Url = DEFAULT_URL, key: Key = None) -> None:
    """Show the filters you have saved."""
    with Rest(server_of(url, key)) as rest:
        found = rest.get("v1", "filters")
    if json:
        return console.say_json(found)
    rows = [(each["name"], each["filter"] or "(everything)") for each in found["filters"]]
    return console.say_table(("name", "filter"), rows, none="you have saved no filter")


@group.command("remove", epilog=examples("catalyst filters remove momentum"))
def remove(name: Name, json: Json = False, url: Url = DEFAULT_URL, key: Key = None) -> None:
    """Forget a saved filter; who uses it goes on with it as it was."""
    with Rest(server_of(url, key)) as rest:
        done = rest.delete("v1", "filters", name)
    return console.say_json(done) if json else console.say(f"{name} is removed")
