"""`catalyst ingest`: where webhooks come in, and what to paste into the sender's settings.

Owns: the instructions for each sender. What its messages mean is its adapter's business (ingest/).
"""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import urlsplit

import typer

from catalyst_signals.cli import console
from catalyst_signals.cli.options import DEFAULT_URL, Channel, Json, Key, Url, examples, server_of
from catalyst_signals.cli.rest import Rest

group = typer.Typer(no_args_is_help=True, help="Webhooks: signals from TradingView and others; for admins.")

Id = Annotated[str, typer.Argument(metavar="ID", help="As `catalyst ingest list` shows it.", show_default=False)]

TRADINGVIEW_STRATEGY = """\
{"ticker": "{{ticker}}", "exchange": "{{exchange}}", "action": "{{strategy.order.action}}",
 "market_position": "{{strategy.market_position}}", "prev_market_position": "{{strategy.prev_market_position}}",
 "price": "{{strategy.order.price}}", "comment": "{{strategy.order.comment}}", "timenow": "{{timenow}}"}"""
TRADINGVIEW_INDICATOR = """\
{"ticker": "{{ticker}}", "exchange": "{{exchange}}", "action": "buy",
 "price": "{{close}}", "timenow": "{{timenow}}"}"""
GENERIC = '{"symbol": "ACME", "action": "BUY", "confidence": 0.82, "stop": "9.40"}'


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
        (s["id"], s["adapter"], s["channel"], s["created_at"][:16].replace("T", " ") + "Z") for s in found["ingest"]
    ]
    none = "nothing comes in yet; make an address with `catalyst ingest add tradingview`"
    return console.say_table(("id", "adapter", "channel", "since"), rows, none=none)


@group.command(
    "add",
    epilog=examples(
        "catalyst ingest add tradingview",
        "catalyst ingest add generic --channel crypto",
        note="The URL holds a secret and is shown once; `catalyst ingest rotate ID` makes a new one.",
    ),
)
def add_source(
    adapter: Annotated[str, typer.Argument(metavar="ADAPTER", help="tradingview or generic.", show_default=False)],
    channel: Channel = "main",
    json: Json = False,
    url: Url = DEFAULT_URL,
    key: Key = None,
) -> None:
    """Make an address for webhooks, and show what to paste where."""
    with Rest(server_of(url, key)) as rest:
        made = rest.post("v1", "ingest", body={"adapter": adapter, "channel": channel})
    return console.say_json(made) if json else _say_how(made)


@group.command("rotate", epilog=examples("catalyst ingest rotate 3f9a01c2"))
def rotate_source(id: Id, json: Json = False, url: Url = DEFAULT_URL, key: Key = None) -> None:
    """Make a new secret for the same address; the old one stops working at once."""
    with Rest(server_of(url, key)) as rest:
        made = rest.post("v1", "ingest", id, "rotate")
    return console.say_json(made) if json else _say_how(made)


@group.command("remove", epilog=examples("catalyst ingest remove 3f9a01c2"))
def remove_source(id: Id, json: Json = False, url: Url = DEFAULT_URL, key: Key = None) -> None:
    """Let nothing come in there any more."""
    with Rest(server_of(url, key)) as rest:
        done = rest.delete("v1", "ingest", id)
    return console.say_json(done) if json else console.say(f"{id} is removed")


def _say_how(made: dict[str, Any]) -> None:
    console.say(f"webhooks of {made['adapter']} into {made['channel']}, id {made['id']}; the URL is shown only now:")
    console.say()
    console.say(f"  {made['url']}")
    console.say()
    for line in instructions_for(made["adapter"], made["url"]):
        console.say(line)


def instructions_for(adapter: str, url: str) -> list[str]:
    """What to do at the sender's, line by line."""
    if adapter != "tradingview":
        return ["try it:", "", f"  curl -H 'Content-Type: application/json' -d '{GENERIC}' \\", f"    {url}"]
    lines = [
        "1. in TradingView's alert, under Notifications, tick Webhook URL and paste the line above",
        "2. in its Message, paste for a strategy:", "", *_indented(TRADINGVIEW_STRATEGY), "",
        "   or for an indicator, with buy, sell, close or watch as its action:", "",
        *_indented(TRADINGVIEW_INDICATOR), "",
        '   "sl", "tp" and "confidence" may be added; any other text or field is kept as well.',
    ]  # fmt: skip
    parts = urlsplit(url)
    if parts.port not in (None, 80, 443) or parts.hostname in ("localhost", "127.0.0.1", "::1"):
        lines += [
            "", "TradingView reaches public addresses on ports 80 and 443 only: put a proxy or a tunnel before this",
            "server, and its name into the URL.",
        ]  # fmt: skip
    return lines


def _indented(text: str) -> list[str]:
    return [f"   {line}" for line in text.split("\n")]
