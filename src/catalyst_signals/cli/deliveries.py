"""`catalyst deliveries`: who got a signal, when, how late by hop, what they did; and who should have and has not.

Owns: how that is said to a person. What is known stands in the server's answer (docs/protocol.md).
Law: a bound is shown as a bound: "within 0.8 s" is what the ledger knows, not when it was.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from catalyst_signals.cli import console
from catalyst_signals.cli.lines import clock_of
from catalyst_signals.cli.options import DEFAULT_URL, Channel, Json, Key, Url, examples, server_of
from catalyst_signals.cli.rest import Rest
from catalyst_signals.errors import NotFound
from catalyst_signals.words import span_of

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

FILTER_CHARS_MAX = 60
LESS = (
    "not all of it: what the event said is erased, so whom it matched is not known any more; or there are more than the"
    " newest 10,000 sessions or 1,000 deeds that are shown"
)


def add_to(app: typer.Typer) -> None:
    """Hang the command in."""
    app.command(
        "deliveries",
        epilog=examples(
            "catalyst deliveries fda-2291                  of its first version",
            "catalyst deliveries fda-2291 --version 2",
            "catalyst deliveries 10412 --channel crypto    by its number",
            note="Who published it and an admin see everybody, a subscriber itself. Receipts are written once a "
            "second, so the last of them may still be missing.",
        ),
    )(deliveries)


def deliveries(
    signal: Annotated[str, typer.Argument(metavar="ID|SEQ", help="The signal's id, or an event's number.")],
    version: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Of this version. [default: the first]", show_default=False)
    ] = None,
    channel: Channel = "main",
    json: Json = False,
    url: Url = DEFAULT_URL,
    key: Key = None,
) -> None:
    """Show who got a signal, when, and what they did about it."""
    with Rest(server_of(url, key)) as rest:
        if signal.isascii() and signal.isdigit() and version is None:
            signal, version = _named(rest, channel, int(signal)) or (signal, None)
        told = rest.get("v1", "channels", channel, "signals", signal, "deliveries", version=version)
    return console.say_json(told) if json else say_deliveries(told)


def _named(rest: Rest, channel: str, seq: int) -> tuple[str, int] | None:
    """Id and version of the event at `seq`; None if there is none: then the number is an id."""
    found = rest.get("v1", "channels", channel, "events", after=max(0, seq - 1), limit=1)["events"]
    if not found or found[0]["seq"] != seq:
        return None
    if not found[0]["type"].startswith("signal."):
        raise NotFound(f"event {seq} of {channel} is no signal but `{found[0]['type']}`", field="signal", got=seq)
    return found[0]["id"], found[0]["version"]


def say_deliveries(told: dict[str, Any]) -> None:
    """What `GET .../deliveries` answered, for a person."""
    from rich.console import Console

    screen = Console(highlight=False)
    if not screen.is_terminal:
        screen = Console(highlight=False, width=200)  # For `grep` and `awk`: nothing is folded.
    _say_head(screen, told)
    _say_rows(screen, told)
    _say_waiting(screen, told["waiting"])
    _say_deeds(screen, told["deeds"])
    if not told["complete"]:
        screen.print(_dim(LESS))


def _say_head(screen: Console, told: dict[str, Any]) -> None:
    from rich.text import Text

    kind = console.clean(told["type"]).removeprefix("signal.")
    screen.print(Text.assemble(
        (console.clean(told["id"]), "bold"), (f"  version {told['version']}, {kind}, seq {told['seq']:,} in ", "dim"),
        (console.clean(told["channel"]), "dim"), (f", stored {clock_of(told['ts'])}", "dim"),
    ))  # fmt: skip
    hops, since = told["hops_ms"], "it was sent" if told["sent_at"] else "the event"
    said = [("sent", hops["to_publisher"], "the event"), ("stored", hops["to_commit"], since)]
    known = [f"{what} {_ms(ms)} after {before}" for what, ms, before in said if ms is not None]
    if known:
        screen.print(_dim(", ".join(known)))


def _say_rows(screen: Console, told: dict[str, Any]) -> None:
    rows = told["deliveries"]
    screen.print()
    if not rows:
        screen.print(_dim("nobody is known to have got it"))
        return
    table = _table("got it", "sent", "acknowledged", "did", "filter")
    for row in rows:
        table.add_row(
            console.clean(row["who"]), _sent(row), _acknowledged(row), _did(row["did"]), _filter(row["filter"])
        )
    screen.print(table)


def _sent(row: dict[str, Any]) -> Text:
    from rich.text import Text

    if row["state"] == "held":
        return Text(f"held: {console.clean(row['reason'])}", "yellow")
    when = _within(row["hops_ms"]["to_subscriber"])
    return Text(f"{when} (or held)" if row["state"] == "sent_or_held" else when)


def _acknowledged(row: dict[str, Any]) -> Text:
    from rich.text import Text

    if row["acknowledged"] is None:
        return Text("-" if row["state"] == "held" else "not yet", "dim" if row["state"] == "held" else "yellow")
    return Text(_within(row["hops_ms"]["to_acknowledgement"]), "green")


def _within(bounds: list[float] | None) -> str:
    """`within 0.8 s`, `8.1 s to 9.1 s`; `15.3 s` where both read alike."""
    if bounds is None:
        return "yes; when is not known"
    least, most = bounds
    if least < 1000:
        return f"within {_ms(most)}"
    return _ms(most) if _ms(least) == _ms(most) else f"{_ms(least)} to {_ms(most)}"


def _ms(ms: float) -> str:
    if abs(ms) < 1000:
        return f"{ms:.0f} ms"
    return f"{ms / 1000:.1f} s" if abs(ms) < 60_000 else span_of(ms / 1000)


def _did(did: list[str]) -> Text:
    from rich.text import Text

    return Text(", ".join(map(console.clean, dict.fromkeys(did))) or "-", "" if did else "dim")


def _filter(text: str) -> Text:
    said = console.clean(text) or "everything"
    return _dim(said if len(said) <= FILTER_CHARS_MAX else f"{said[:FILTER_CHARS_MAX]} ...")


def _say_waiting(screen: Console, waiting: list[dict[str, Any]]) -> None:
    if not waiting:
        return
    screen.print()
    table = _table("not yet", "stands at", "heard of last", "filter")
    for each in waiting:
        table.add_row(
            console.clean(each["who"]), f"{each['stands_at']:,}", clock_of(each["at"]), _filter(each["filter"])
        )
    screen.print(table)


def _say_deeds(screen: Console, deeds: list[dict[str, Any]]) -> None:
    if not deeds:
        return
    screen.print()
    table = _table("what was done", "by", "at", "of version", "how")
    for deed in deeds:
        table.add_row(
            console.clean(deed["what"]), console.clean(deed["who"]), clock_of(deed["ts"]), str(deed["version"]),
            "; ".join(_how(deed)) or _dim("-"),
        )  # fmt: skip
    screen.print(table)


def _how(deed: dict[str, Any]) -> list[str]:
    said = [console.clean(deed["reason"])] if "reason" in deed else []
    for fill in deed.get("fills", ()):
        paper = " on paper" if fill.get("paper") else ""
        said.append(console.clean(f"{fill['qty']} @ {fill['price']}{paper}"))
    said += [console.clean(f"{name} {value}") for name, value in deed.get("outcome", {}).items()]
    return said


def _table(*names: str) -> Any:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="bold")
    for name in names:
        table.add_column(name, overflow="fold", justify="right" if name == "stands at" else "left")
    return table


def _dim(text: str) -> Text:
    from rich.text import Text

    return Text(text, "dim")
