"""`catalyst halt`, `resume` and `halts`: stop a source or an instrument for everybody, and lift that.

Owns: what a bare name is, a source or a symbol. What a halt does is the server's (docs/protocol.md).
Law: a name that could be either, or that is neither, is asked about, never guessed.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from catalyst_signals.cli import console
from catalyst_signals.cli.options import DEFAULT_URL, Json, Key, Mistake, Url, examples, server_of
from catalyst_signals.cli.rest import Rest

AsSource = Annotated[bool, typer.Option("--source", help="The name is a source's.")]
AsSymbol = Annotated[bool, typer.Option("--symbol", help="The name is a symbol.")]


def add_to(app: typer.Typer) -> None:
    """Hang the commands in."""
    app.command(
        "halt",
        epilog=examples(
            "catalyst halt ACME --reason 'trading is suspended'",
            "catalyst halt scanner-bot --reason 'wrong prices since 14:10'",
            "catalyst halt ingest.7Kx2mQ9a --reason 'the alert fires twice'",
            note="A source is a user, or ingest.ID. All who hear it are told; signals still come in. Admins only.",
        ),
    )(halt)
    app.command("resume", epilog=examples("catalyst resume ACME", "catalyst resume scanner-bot"))(resume)
    app.command("halts", epilog=examples("catalyst halts"))(halts)


def halt(
    name: Annotated[str, typer.Argument(metavar="SOURCE|SYMBOL", help="What is stopped.", show_default=False)],
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why; people are shown it.", show_default=False)],
    source: AsSource = False,
    symbol: AsSymbol = False,
    channel: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only there. [default: wherever it concerns]")
    ] = None,
    json: Json = False,
    url: Url = DEFAULT_URL,
    key: Key = None,
) -> None:
    """Tell everybody that a source or an instrument is stopped."""
    with Rest(server_of(url, key)) as rest:
        kind = _kind_of(rest, name, source, symbol)
        body = {kind: name, "reason": reason} | ({} if channel is None else {"channel": channel})
        made = rest.post("v1", "halts", body=body)
    if json:
        return console.say_json(made)
    where = ", ".join(made["channels"]) or "no channel"
    return console.say(f"{_about(made)} is halted ({where}); lift it with: catalyst resume {made['id']}")


def resume(
    name: Annotated[str, typer.Argument(metavar="ID|SOURCE|SYMBOL", help="Of the halt.", show_default=False)],
    source: AsSource = False,
    symbol: AsSymbol = False,
    json: Json = False,
    url: Url = DEFAULT_URL,
    key: Key = None,
) -> None:
    """Lift a halt, or every halt of a source or an instrument."""
    kinds = [kind for kind, asked in (("source", source), ("symbol", symbol)) if asked] or ["id", "source", "symbol"]
    with Rest(server_of(url, key)) as rest:
        inforce = rest.get("v1", "halts")["halts"]
        found = [each for each in inforce if name in [each.get(kind) for kind in kinds]]
        if not found:
            raise Mistake(f"no halt of {name!r} is in force; `catalyst halts` shows those that are")
        if len({"source" in each for each in found}) > 1:
            raise Mistake(f"{name!r} is halted as a source and as a symbol; say which with --source or --symbol")
        lifted = [rest.delete("v1", "halts", each["id"]) for each in found]
    if json:
        return console.say_json({"lifted": lifted})
    return console.say(f"{_about(found[0])} goes on")


def halts(json: Json = False, url: Url = DEFAULT_URL, key: Key = None) -> None:
    """Show the halts in force."""
    with Rest(server_of(url, key)) as rest:
        found = rest.get("v1", "halts")
    if json:
        return console.say_json(found)
    rows = [
        (each["id"], _about(each), each["reason"], each["by"], each["since"][:19] + "Z", " ".join(each["channels"]))
        for each in found["halts"]
    ]
    return console.say_table(("id", "halted", "reason", "by", "since", "channels"), rows, none="nothing is halted")


def _kind_of(rest: Rest, name: str, source: bool, symbol: bool) -> str:
    """What a name is: a source that there is, or what looks like a symbol; both or neither is a mistake."""
    if source and symbol:
        raise Mistake("a halt is of a source or of a symbol: --source or --symbol")
    if source or symbol:
        return "source" if source else "symbol"
    known = name in [user["user"] for user in rest.get("v1", "users")["users"]]
    known = known or name in [f"ingest.{each['id']}" for each in rest.get("v1", "ingest")["ingest"]]
    looks = name == name.upper() and any(char.isalpha() for char in name)
    if known and looks:
        raise Mistake(f"{name!r} is a source and looks like a symbol; say which with --source or --symbol")
    if not known and not looks:
        raise Mistake(f"there is no source {name!r}; --symbol if it is a symbol, --source if it has no key any more")
    return "source" if known else "symbol"


def _about(halt: dict[str, Any]) -> str:
    return console.clean(f"source {halt['source']}" if "source" in halt else halt["symbol"])
