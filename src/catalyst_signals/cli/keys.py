"""`catalyst keys` and `catalyst users`: who may do what.

Owns: how keys are listed, and that a new key stands alone on standard output, so that a script can take it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from catalyst_signals.cli import console
from catalyst_signals.cli.options import DEFAULT_URL, Json, Key, Url, duration_of, examples, server_of
from catalyst_signals.cli.rest import Rest

keys = typer.Typer(no_args_is_help=True, help="API keys; for admins.")
users = typer.Typer(no_args_is_help=True, help="Who has keys; for admins.")

User = Annotated[str, typer.Argument(metavar="USER", help="A name, such as ann or scanner-bot.", show_default=False)]


def add_to(app: typer.Typer) -> None:
    """Hang the groups in."""
    app.add_typer(keys, name="keys")
    app.add_typer(users, name="users")


@keys.command("list", epilog=examples("catalyst keys list"))
def list_keys(json: Json = False, url: Url = DEFAULT_URL, key: Key = None) -> None:
    """Show every key that works, without its secret."""
    with Rest(server_of(url, key)) as rest:
        found = rest.get("v1", "keys")
    if json:
        return console.say_json(found)
    rows = [
        (k["id"], k["user"], " ".join(k["scopes"]), " ".join(k["channels"]), k["filter"], _short(k["expires_at"]))
        for k in found["keys"]
    ]
    return console.say_table(("id", "user", "scopes", "channels", "filter", "expires"), rows, none="there are no keys")


@keys.command(
    "add",
    epilog=examples(
        "catalyst keys add ann",
        "catalyst keys add scanner-bot --scope publish --channel main --expires-in 90d",
        "catalyst keys add bob --filter 'not symbol = SECRET'",
        "CATALYST_KEY=$(catalyst keys add ann) catalyst listen",
        note="The key is shown once, alone on standard output.",
    ),
)
def add_key(
    user: User,
    scope: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="publish, subscribe or admin; may be repeated. [default: subscribe]"),
    ] = None,
    channel: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A channel, or * for all; may be repeated. [default: main]")
    ] = None,
    filter: Annotated[str | None, typer.Option(metavar="TEXT", help="All that this key can ever see.")] = None,
    expires_in: Annotated[str | None, typer.Option(metavar="90d", help="How long it works.")] = None,
    json: Json = False,
    url: Url = DEFAULT_URL,
    key: Key = None,
) -> None:
    """Make a key for somebody."""
    body: dict[str, Any] = {"user": user, "scopes": scope or ["subscribe"], "channels": channel or ["main"]}
    if filter is not None:
        body["filter"] = filter
    if expires_in is not None:
        ends = datetime.now(UTC) + duration_of(expires_in, "--expires-in")
        body["expires_at"] = ends.isoformat(timespec="seconds").replace("+00:00", "Z")
    with Rest(server_of(url, key)) as rest, console.pointing_at(filter):
        made = rest.post("v1", "keys", body=body)
    if json:
        return console.say_json(made)
    may = f"{made['user']} may {' and '.join(made['scopes'])} on {', '.join(made['channels'])}"
    console.tell(f"{made['id']}: {may}; the key is shown only now:")
    return console.say(made["key"])


@keys.command("revoke", epilog=examples("catalyst keys revoke 7Kx2mQ9a", note="`catalyst keys list` shows the ids."))
def revoke_key(
    id: Annotated[str, typer.Argument(metavar="ID", help="The key's id, not the key.", show_default=False)],
    json: Json = False,
    url: Url = DEFAULT_URL,
    key: Key = None,
) -> None:
    """Make a key worthless; its connections are closed within 5 s."""
    with Rest(server_of(url, key)) as rest:
        done = rest.delete("v1", "keys", id)
    return console.say_json(done) if json else console.say(f"{id} is revoked")


@users.command("list", epilog=examples("catalyst users list"))
def list_users(json: Json = False, url: Url = DEFAULT_URL, key: Key = None) -> None:
    """Show everybody who has or had a key."""
    with Rest(server_of(url, key)) as rest:
        found = rest.get("v1", "users")
    if json:
        return console.say_json(found)
    rows = [(user["user"], _short(user["created_at"]), " ".join(user["keys"])) for user in found["users"]]
    return console.say_table(("user", "since", "keys"), rows, none="there are no users")


@users.command("add", epilog=examples("catalyst users add ann", note="A key for a new name makes its user too."))
def add_user(user: User, json: Json = False, url: Url = DEFAULT_URL, key: Key = None) -> None:
    """Make a user, without a key yet."""
    with Rest(server_of(url, key)) as rest:
        made = rest.post("v1", "users", body={"user": user})
    return console.say_json(made) if json else console.say(f"{user} is there; a key: catalyst keys add {user}")


@users.command("remove", epilog=examples("catalyst users remove ann"))
def remove_user(user: User, json: Json = False, url: Url = DEFAULT_URL, key: Key = None) -> None:
    """Remove a user; all their keys are revoked."""
    with Rest(server_of(url, key)) as rest:
        done = rest.delete("v1", "users", user)
    return console.say_json(done) if json else console.say(f"{user} is removed, and every key of theirs revoked")


def _short(moment: str | None) -> str | None:
    return None if moment is None else moment[:16].replace("T", " ") + "Z"
