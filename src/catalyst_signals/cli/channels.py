"""`catalyst channels`: the named logs, and how long each keeps its events.

Owns: that what is not said about a channel's retention stays as it was.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from catalyst_signals.cli import console
from catalyst_signals.cli.options import DEFAULT_URL, Json, Key, Mistake, Url, duration_of, examples, server_of
from catalyst_signals.cli.rest import Rest
from catalyst_signals.errors import Conflict, NotFound

group = typer.Typer(no_args_is_help=True, help="Channels: the named logs.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="a-z, 0-9, '.', '_' and '-'.", show_default=False)]
KeepFor = Annotated[
    str | None, typer.Option("--keep-for", metavar="30d", help="Drop events older than this; `ever` keeps them.")
]
KeepLast = Annotated[
    str | None, typer.Option("--keep-last", metavar="N", help="Keep only so many events; `all` keeps them.")
]


def add_to(app: typer.Typer) -> None:
    """Hang the group in."""
    app.add_typer(group, name="channels")


@group.command("list", epilog=examples("catalyst channels list"))
def list_channels(json: Json = False, url: Url = DEFAULT_URL, key: Key = None) -> None:
    """Show the channels this key may see."""
    with Rest(server_of(url, key)) as rest:
        found = rest.get("v1", "channels")
    if json:
        return console.say_json(found)
    return say_channels(found["channels"])


def say_channels(channels: list[dict[str, Any]]) -> None:
    """A small table of channels."""
    rows = [(c["channel"], c["first"], c["last"], kept_in_words(c["retention"]), c["epoch"]) for c in channels]
    console.say_table(("channel", "first", "last", "keeps", "epoch"), rows, none="this key may see no channel")


@group.command(
    "add",
    epilog=examples("catalyst channels add crypto", "catalyst channels add scalps --keep-for 30d --keep-last 100000"),
)
def add_channel(
    name: Name, keep_for: KeepFor = None, keep_last: KeepLast = None, json: Json = False,
    url: Url = DEFAULT_URL, key: Key = None,
) -> None:  # fmt: skip
    """Make a channel; without a flag it keeps everything."""
    with Rest(server_of(url, key)) as rest:
        try:
            rest.get("v1", "channels", name)
        except NotFound:
            made = rest.put("v1", "channels", name, body={"retention": _retention({}, keep_for, keep_last)})
        else:
            raise Conflict(f"the channel `{name}` is there already; change it with `catalyst channels set {name}`")
    _answer(made, json)


@group.command(
    "set", epilog=examples("catalyst channels set scalps --keep-for 7d", "catalyst channels set scalps --keep-last all")
)
def set_channel(
    name: Name, keep_for: KeepFor = None, keep_last: KeepLast = None, json: Json = False,
    url: Url = DEFAULT_URL, key: Key = None,
) -> None:  # fmt: skip
    """Change how long a channel keeps its events."""
    if keep_for is None and keep_last is None:
        raise Mistake("say what to change: --keep-for 30d or --keep-last 100000")
    with Rest(server_of(url, key)) as rest:
        before = rest.get("v1", "channels", name)["retention"]
        made = rest.put("v1", "channels", name, body={"retention": _retention(before, keep_for, keep_last)})
    _answer(made, json)


def _retention(before: dict[str, Any], keep_for: str | None, keep_last: str | None) -> dict[str, int | None]:
    age_s, count = before.get("age_s"), before.get("count")
    if keep_for is not None:
        age_s = None if keep_for == "ever" else int(duration_of(keep_for, "--keep-for").total_seconds())
    if keep_last is not None:
        if keep_last != "all" and not (keep_last.isascii() and keep_last.isdigit()):
            raise Mistake(f"a number of events, or `all`; got {keep_last!r}")
        count = None if keep_last == "all" else int(keep_last)
    return {"age_s": age_s, "count": count}


def _answer(channel: dict[str, Any], json: bool) -> None:
    if json:
        return console.say_json(channel)
    return console.say(
        f"{channel['channel']} keeps {kept_in_words(channel['retention'])}; the last is {channel['last']}"
    )


def kept_in_words(retention: dict[str, Any]) -> str:
    """How long a channel keeps its events."""
    age_s, count = retention.get("age_s"), retention.get("count")
    parts = []
    if age_s is not None:
        parts.append(next(f"{age_s // of:,} {unit}" for of, unit in _UNITS if age_s % of == 0))
    if count is not None:
        parts.append(f"the last {count:,}")
    return ", ".join(parts) or "everything"


_UNITS = ((86_400, "days"), (3600, "hours"), (60, "minutes"), (1, "seconds"))
