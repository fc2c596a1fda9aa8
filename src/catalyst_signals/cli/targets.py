"""`catalyst targets`: where signals go outside.

Owns: how targets are typed and listed, and that the secret of a webhook stands alone on standard output. What is sent
there, and when, is the server's (docs/targets.md).
"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from catalyst_signals.cli import console
from catalyst_signals.cli.options import DEFAULT_URL, Channel, Filter, Json, Key, Mistake, Url, examples, server_of
from catalyst_signals.cli.rest import Rest

group = typer.Typer(no_args_is_help=True, help="Targets: webhooks and notifications that signals are sent to.")

Id = Annotated[str, typer.Argument(metavar="ID", help="As `catalyst targets list` shows it.", show_default=False)]


def add_to(app: typer.Typer) -> None:
    """Hang the group in."""
    app.add_typer(group, name="targets")


@group.command(
    "add",
    epilog=examples(
        "catalyst targets add https://example.com/hook --filter 'confidence >= 0.8'",
        "catalyst targets add discord://WEBHOOK_ID/WEBHOOK_TOKEN --quiet 22:00-07:00 --tz Europe/Berlin",
        "catalyst targets add tgram://BOT_TOKEN/CHAT_ID --max-per-hour 20 --cooldown 300",
        "SECRET=$(catalyst targets add https://example.com/hook)",
        note="A webhook's secret is shown once, alone on standard output. docs/targets.md lists the services.",
    ),
)
def add_target(
    to: Annotated[str, typer.Argument(metavar="TARGET", help="https://..., discord://...", show_default=False)],
    channel: Channel = "main",
    filter: Filter = None,
    max_per_hour: Annotated[int | None, typer.Option(metavar="N", help="No more messages than that.")] = None,
    quiet: Annotated[str | None, typer.Option(metavar="22:00-07:00", help="When nothing is said.")] = None,
    tz: Annotated[str, typer.Option(metavar="ZONE", help="By the clock of this time zone.")] = "UTC",
    cooldown: Annotated[int, typer.Option(metavar="SECONDS", help="So long nothing more of the same symbol.")] = 0,
    digest: Annotated[str, typer.Option(metavar="WHEN", help="minute, hour or 90s: all of it at once.")] = "none",
    json: Json = False,
    url: Url = DEFAULT_URL,
    key: Key = None,
) -> None:
    """Send what comes from now on to a webhook or a notification service."""
    body: dict[str, Any] = {
        "url": to, "channel": channel, "filter": filter, "max_per_hour": max_per_hour,
        "quiet_hours": _quiet_of(quiet, tz), "cooldown_per_symbol_s": cooldown, "digest": digest,
    }  # fmt: skip
    with Rest(server_of(url, key)) as rest, console.pointing_at(filter):
        made = rest.post("v1", "targets", body=body)
    if json:
        return console.say_json(made)
    how = f"{made['id']}: {made['url']} is told of {made['channel']}; try it: catalyst targets test {made['id']}"
    if "secret" not in made:
        return console.say(how)
    console.tell(f"{how}\nit can verify what comes with this secret, shown only now:")
    return console.say(made["secret"])


def _quiet_of(text: str | None, tz: str) -> dict[str, str] | None:
    if text is None:
        return None
    begins, dash, ends = text.partition("-")
    if not dash:
        raise Mistake(f"quiet hours look like 22:00-07:00; got {text!r}")
    return {"from": begins.strip(), "to": ends.strip(), "tz": tz}


@group.command("list", epilog=examples("catalyst targets list"))
def list_targets(json: Json = False, url: Url = DEFAULT_URL, key: Key = None) -> None:
    """Show your targets and how they do; an admin sees everybody's."""
    with Rest(server_of(url, key)) as rest:
        found = rest.get("v1", "targets")
    if json:
        return console.say_json(found)
    rows = [
        (t["id"], t["user"], t["url"], t["channel"], t["filter"], t["state"], str(t["sent"]), str(t["holding"]),
         str(t["dead"]), t["why"])
        for t in found["targets"]
    ]  # fmt: skip
    columns = ("id", "user", "to", "channel", "filter", "state", "sent", "held", "dead", "why")
    return console.say_table(columns, rows, none="there are no targets; make one with `catalyst targets add TARGET`")


@group.command("test", epilog=examples("catalyst targets test Jx81kQz0aB", note="Exit code 1 when it did not arrive."))
def test_target(id: Id, json: Json = False, url: Url = DEFAULT_URL, key: Key = None) -> None:
    """Send a test there now."""
    with Rest(server_of(url, key)) as rest:
        done = rest.post("v1", "targets", id, "test")
    if json:
        console.say_json(done)
    else:
        console.say(f"it arrived, in {done['took_ms']} ms" if done["sent"] else f"it did not arrive: {done['error']}")
    if not done["sent"]:
        raise typer.Exit(1)


@group.command("dead", epilog=examples("catalyst targets dead Jx81kQz0aB"))
def dead_letters(id: Id, json: Json = False, url: Url = DEFAULT_URL, key: Key = None) -> None:
    """Show what a target did not take and is not tried any more."""
    with Rest(server_of(url, key)) as rest:
        found = rest.get("v1", "targets", id, "dead")
    if json:
        return console.say_json(found)
    rows = [(str(d["seq"]), d["id"], d["at"][:19].replace("T", " ") + "Z", d["error"]) for d in found["dead"]]
    if found["lost"]:
        console.tell(f"{found['lost']} older ones are not listed any more")
    return console.say_table(("seq", "id", "since", "why"), rows, none="there are no dead letters")


@group.command(
    "replay",
    epilog=examples("catalyst targets replay Jx81kQz0aB --dead all", "catalyst targets replay Jx81kQz0aB --after 1200"),
)
def replay(
    id: Id,
    after: Annotated[int | None, typer.Option(metavar="SEQ", help="Everything behind this seq again.")] = None,
    dead: Annotated[str | None, typer.Option(metavar="SEQS", help="Dead letters: all, or seqs with commas.")] = None,
    json: Json = False,
    url: Url = DEFAULT_URL,
    key: Key = None,
) -> None:
    """Send something again, under the ids it had."""
    if (after is None) == (dead is None):
        raise Mistake("say either --after SEQ or --dead all")
    body = {"after": after} if after is not None else {"dead": _seqs_of(str(dead))}
    with Rest(server_of(url, key)) as rest:
        done = rest.post("v1", "targets", id, "replay", body=body)
    return console.say_json(done) if json else console.say(f"{id} is sent that again")


def _seqs_of(text: str) -> list[int] | str:
    if text == "all":
        return text
    try:
        return [int(each) for each in text.split(",")]
    except ValueError:
        raise Mistake(f"seqs are whole numbers with commas between, or all; got {text!r}") from None


@group.command("remove", epilog=examples("catalyst targets remove Jx81kQz0aB"))
def remove_target(id: Id, json: Json = False, url: Url = DEFAULT_URL, key: Key = None) -> None:
    """Send nothing there any more."""
    with Rest(server_of(url, key)) as rest:
        done = rest.delete("v1", "targets", id)
    return console.say_json(done) if json else console.say(f"{id} is removed")
