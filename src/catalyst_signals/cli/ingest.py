"""`catalyst ingest`: where webhooks come in, what to paste into the sender's settings, and what a body would become.

Owns: the flags and the words. What a sender's messages mean, and what to paste where, is its adapter's business
(ingest/). `test` needs no server: it reads a body as the server would.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer

from catalyst_signals.cli import console
from catalyst_signals.cli.options import DEFAULT_URL, Channel, Json, Key, Mistake, Url, duration_of, examples, server_of
from catalyst_signals.cli.rest import Rest
from catalyst_signals.events import now_us
from catalyst_signals.ingest import ADAPTERS, check_options, options_of, paste_of, preview

group = typer.Typer(no_args_is_help=True, help="Webhooks: signals from TradingView and others; for admins.")

BODY_BYTES_MAX = 4 << 20  # As the server's.
TEST = "test"  # The id of no source: of what is only tried.

Id = Annotated[str, typer.Argument(metavar="ID", help="As `catalyst ingest list` shows it.", show_default=False)]
Adapter = Annotated[
    str, typer.Argument(metavar="ADAPTER", help=f"One of {', '.join(sorted(ADAPTERS))}.", show_default=False)
]
Option = Annotated[
    list[str] | None, typer.Option("--option", metavar="NAME=VALUE", help="How the adapter reads; may be repeated.")
]


def add_to(app: typer.Typer) -> None:
    """Hang the group in."""
    app.add_typer(group, name="ingest")


@group.command("list", epilog=examples("catalyst ingest list"))
def list_sources(json: Json = False, url: Url = DEFAULT_URL, key: Key = None) -> None:
    """Show where webhooks come in, without the secrets."""
    with Rest(server_of(url, key)) as rest:
        found = rest.get("v1", "ingest")
    if json:
        return console.say_json(found)
    rows = [
        (s["id"], s["adapter"], s["channel"], s["created_at"][:16].replace("T", " ") + "Z", _pull_in_words(s))
        for s in found["ingest"]
    ]
    none = "nothing comes in yet; make an address with `catalyst ingest add tradingview`"
    return console.say_table(("id", "adapter", "channel", "since", "fetched"), rows, none=none)


def _pull_in_words(source: dict[str, Any]) -> str:
    """How it goes with what is fetched; empty where the sender posts."""
    pull = source.get("pull")
    if pull is None:
        return ""
    if pull.get("state") in (None, "elsewhere"):
        return f"{pull['url']}, by another process"
    if pull["state"] != "closed":
        return f"{pull['url']}: {pull['last_error']}"
    return f"{pull['url']}: {pull['items']:,} new, last at {pull.get('last_ok', 'never')[:19]}"


@group.command(
    "add",
    epilog=examples(
        "catalyst ingest add tradingview",
        "catalyst ingest add pineconnector --channel fx --option unit=pips",
        "catalyst ingest add threecommas --body-token secret=eyJh...",
        "catalyst ingest add generic --hmac --allow 203.0.113.7",
        "catalyst ingest add rss --pull https://news.example.com/feed.xml --every 60s",
        note="The URL holds a secret and is shown once; `catalyst ingest rotate ID` makes a new one.",
    ),
)
def add_source(
    adapter: Adapter,
    channel: Channel = "main",
    option: Option = None,
    allow: Annotated[
        list[str] | None, typer.Option(metavar="NETWORK", help="Who may post: an address, or 10.0.0.0/8.")
    ] = None,
    hmac: Annotated[bool, typer.Option("--hmac", help="Only messages signed by the Standard Webhooks scheme.")] = False,
    body_token: Annotated[
        list[str] | None, typer.Option(metavar="FIELD=TEXT", help="What must stand in the body, as `secret=...`.")
    ] = None,
    pull: Annotated[str | None, typer.Option(metavar="URL", help="Fetch this: a feed, or a bot's WebSocket.")] = None,
    every: Annotated[str | None, typer.Option(metavar="60s", help="How often a feed is asked; else 60s.")] = None,
    token: Annotated[
        str | None, typer.Option(metavar="TEXT", help="The bot's ws_token.", envvar="CATALYST_BOT_TOKEN")
    ] = None,
    new_only: Annotated[
        bool, typer.Option("--new-only", help="Pass over what the feed published before this moment.")
    ] = False,
    json: Json = False,
    url: Url = DEFAULT_URL,
    key: Key = None,
) -> None:
    """Make an address for webhooks, and show what to paste where; with --pull, fetch by itself."""
    body: dict[str, Any] = {"adapter": adapter, "channel": channel, "hmac": hmac}
    body |= {"options": _pairs(option), "allow": allow or [], "body_token": _pairs(body_token)}
    body |= {"url": pull, "token": token if pull else None}
    sent = {name: value for name, value in body.items() if value}
    if every is not None:
        sent["every_s"] = duration_of(every, "--every").total_seconds()
    if new_only:
        sent["backlog"] = False
    with Rest(server_of(url, key)) as rest:
        made = rest.post("v1", "ingest", body=sent)
    return console.say_json(made) if json else _say_how(made)


@group.command(
    "rotate",
    epilog=examples("catalyst ingest rotate 3f9a01c2", "catalyst ingest rotate 3f9a01c2 --overlap 1h"),
)
def rotate_source(
    id: Id,
    overlap: Annotated[
        str | None,
        typer.Option(metavar="1h", help="How long the old one works beside it, at most 7d; else not at all."),
    ] = None,
    json: Json = False,
    url: Url = DEFAULT_URL,
    key: Key = None,
) -> None:
    """Make a new secret for the same address; the old one stops working at once, or after --overlap."""
    body = {} if overlap is None else {"overlap_s": duration_of(overlap, "--overlap").total_seconds()}
    with Rest(server_of(url, key)) as rest:
        made = rest.post("v1", "ingest", id, "rotate", body=body)
    return console.say_json(made) if json else _say_how(made)


@group.command(
    TEST,
    epilog=examples(
        "catalyst ingest test tradingview alert.json",
        "pbpaste | catalyst ingest test pineconnector - --option unit=pips",
        note="No server is asked and nothing is published. Exit code 4 when the body would be refused.",
    ),
)
def test_body(
    adapter: Adapter,
    file: Annotated[
        str, typer.Argument(metavar="FILE|-", help="The body, as the sender posts it.", show_default=False)
    ],
    option: Option = None,
    content_type: Annotated[str, typer.Option(metavar="TYPE", help="As the sender says it.")] = "",
    json: Json = False,
) -> None:
    """Show what a body would become, without a server and without publishing anything."""
    options = _pairs(option)
    check_options(adapter, options)
    shown = preview(
        adapter, _body_of(file), content_type, ingest_id=TEST, subject=f"ingest.{TEST}", now_us=now_us(),
        options=options,
    )  # fmt: skip
    return console.say_json(shown) if json else _say_preview(shown)


@group.command("remove", epilog=examples("catalyst ingest remove 3f9a01c2"))
def remove_source(id: Id, json: Json = False, url: Url = DEFAULT_URL, key: Key = None) -> None:
    """Let nothing come in there any more."""
    with Rest(server_of(url, key)) as rest:
        done = rest.delete("v1", "ingest", id)
    return console.say_json(done) if json else console.say(f"{id} is removed")


def _pairs(given: list[str] | None) -> dict[str, str]:
    """What several `NAME=VALUE` say.

    Raises:
        Mistake: one of them is none.
    """
    pairs = {}
    for each in given or []:
        name, equals, value = each.partition("=")
        if not equals or not name or not value:
            raise Mistake(f"this is written NAME=VALUE; got {each!r}")
        pairs[name] = value
    return pairs


def _body_of(file: str) -> bytes:
    try:
        body = sys.stdin.buffer.read(BODY_BYTES_MAX + 1) if file == "-" else Path(file).read_bytes()
    except OSError as fault:
        raise Mistake(f"{file} cannot be read: {fault.strerror or fault}") from None
    if len(body) > BODY_BYTES_MAX:
        raise Mistake(f"a body may have {BODY_BYTES_MAX} bytes")
    return body


def _say_preview(shown: dict[str, Any]) -> None:
    found = [("signal", each) for each in shown["drafts"]] + [("item", each) for each in shown.get("items", [])]
    if not found:
        return console.say("no signal is in it: the sender would be answered 200, and nothing would be published")
    for at, (what, each) in enumerate(found, 1):
        console.say(f"{what} {at} of {len(found)}, not published" if len(found) > 1 else f"one {what}, not published")
        rows = [row for name, value in each.items() if name not in ("id", "provider") for row in _rows(name, value)]
        console.say_table(("field", "value"), rows, none="")
    for doubt in shown.get("doubts", []):
        console.tell(f"posted now it would wait to be confirmed: {doubt}")
    if "would_refuse" in shown:
        console.tell(f"posted now it would be refused: {shown['would_refuse']['message']}")
    return None


def _rows(name: str, value: Any) -> Iterator[tuple[str, str]]:
    """A field as lines: what is inside an object has a dotted name."""
    if isinstance(value, dict) and value:
        for inner, each in value.items():
            yield from _rows(f"{name}.{inner}", each)
    elif isinstance(value, list) and any(isinstance(each, dict) for each in value):
        for at, each in enumerate(value, 1):
            yield from _rows(f"{name}[{at}]", each)
    else:
        yield name, ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _say_how(made: dict[str, Any]) -> None:
    if "pull" in made:
        return console.say(f"{made['pull']['url']} is fetched from now on, id {made['id']}; see `catalyst ingest list`")
    console.say(f"webhooks of {made['adapter']} into {made['channel']}, id {made['id']}; the URL is shown only now:")
    console.say()
    console.say(f"  {made['url']}")
    if "signing_secret" in made:
        console.say(f"  {made['signing_secret']}   signs every message (Standard Webhooks), shown only now")
    console.say()
    if "old_until" in made:
        console.say(f"the one before works until {made['old_until']}")
    for line in instructions_for(made["adapter"], made["url"]):
        console.say(line)
    return None


def instructions_for(adapter: str, url: str) -> list[str]:
    """What to do at the sender's, line by line."""
    lines = paste_of(adapter, url).splitlines()
    parts = urlsplit(url)
    near = parts.port not in (None, 80, 443) or parts.hostname in ("localhost", "127.0.0.1", "::1")
    if near and any("TradingView" in line for line in lines):
        lines += [
            "", "TradingView reaches public addresses on ports 80 and 443 only: put a proxy or a tunnel before this",
            "server, and its name into the URL.",
        ]  # fmt: skip
    options = options_of(adapter) if adapter in ADAPTERS else {}
    if options:
        lines += ["", *(f"option {name}: {', '.join(values)}" for name, values in options.items())]
    return lines
