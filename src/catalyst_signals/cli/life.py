"""`catalyst history --id`: one signal from its first version to its end.

Owns: how a version is told by what it changed. Knows nothing of how it is changed; that is changes.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from catalyst_signals.cli import console
from catalyst_signals.cli.console import clean
from catalyst_signals.cli.lines import changes_of, clock_of, earlier_of, line_of
from catalyst_signals.cli.options import Server
from catalyst_signals.cli.rest import Rest
from catalyst_signals.signals import ENDINGS
from catalyst_signals.words import data_of, moment_of, side_of, span_of, symbol_of

if TYPE_CHECKING:
    from rich.text import Text


def show_life(server: Server, channel: str, id: str, *, as_json: bool = False) -> None:
    """Every version that is kept, oldest first.

    Raises:
        NotFound: there is no such signal, or none that this key may see.
    """
    with Rest(server) as rest:
        versions: list[dict[str, Any]] = rest.get("v1", "channels", channel, "signals", id)["versions"]
    if as_json:
        for event in versions:
            console.say_json(event)
        return
    from rich.console import Console
    from rich.padding import Padding

    out = Console(highlight=False)
    for line in life_of(versions):
        indent = len(line.plain) - len(line.plain.lstrip(" "))
        if out.is_terminal:
            out.print(Padding.indent(line[indent:], indent))  # What is folded stays indented.
        else:
            out.print(line, soft_wrap=True)


def life_of(versions: list[dict[str, Any]]) -> Iterator[Text]:
    """A signal's life in lines: a block a version, with what it changed from the one before."""
    from rich.text import Text

    last = versions[-1]
    yield Text.assemble(
        (f"{symbol_of(data_of(last)) or '-'} {side_of(data_of(last))}".strip(), "bold"),
        (f"  {clean(last['id'])} in {clean(last['channel'])}", "bright_black"),
    )
    before: dict[str, Any] | None = None
    for event in versions:
        yield Text("")
        yield _title(event, versions[0])
        if event.get("erased"):
            yield Text("     what it said was erased", "bright_black")
            continue
        data = data_of(event)
        if before is None and event["version"] > 1:
            yield Text("     the versions before it are kept no longer", "bright_black")
            before = earlier_of(event)
        if before is None:
            yield Text(f"     {line_of(event).removeprefix(clock_of(event.get('ts'))).strip()}")
        else:
            yield from _changes(before, data)
        before = data
    if last["type"] not in ENDINGS:
        ends = data_of(last).get("expires_at")
        yield Text("")
        yield Text(f"in force{f', ends {clock_of(ends)}' if ends else ', without an end'}", "bright_black")


def _title(event: dict[str, Any], first: dict[str, Any]) -> Text:
    """`  2  updated      12:31:10  seq 10420  1m 09s after it was published`."""
    from rich.text import Text

    kind = clean(event["type"]).removeprefix("signal.")
    here, began = moment_of(event.get("ts")), moment_of(first.get("ts"))
    later = f"  after {span_of((here - began).total_seconds())}" if here and began and event is not first else ""
    colour = "green" if kind == "published" else "cyan" if kind == "updated" else "yellow"
    return Text.assemble(
        (f"{event['version']:3}  ", "bold"), (f"{kind:12}", f"bold {colour}"), clock_of(event.get("ts")),
        (f"  seq {event['seq']:,}{later}", "bright_black"),
    )  # fmt: skip


def _changes(before: dict[str, Any], after: dict[str, Any]) -> Iterator[Text]:
    """`     stop        9.40 -> 9.80`, a line a field."""
    from rich.text import Text

    changes = list(changes_of(before, after))
    width = max((len(name) for name, _, _ in changes), default=0)
    for name, old, new in changes:
        line = Text(f"     {name:{width}}  ")
        if old:
            line.append(old, "strike bright_black" if not new else "bright_black").append(" -> ", "bright_black")
        yield line.append(new or "taken away", "bold" if new else "italic bright_black")
