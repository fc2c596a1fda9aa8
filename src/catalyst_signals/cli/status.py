"""`catalyst status`: whether a server is well, and where its channels stand.

Owns: the exit code 1 for a server that answers and is not well.
"""

from __future__ import annotations

from typing import Any

import typer

from catalyst_signals.cli import console
from catalyst_signals.cli.channels import say_channels
from catalyst_signals.cli.options import DEFAULT_URL, Json, Key, Server, Url, examples, server_of
from catalyst_signals.cli.rest import Rest
from catalyst_signals.words import span_of

NO = 1


def add_to(app: typer.Typer) -> None:
    """Hang the command in."""
    app.command(
        "status",
        epilog=examples(
            "catalyst status",
            "catalyst status --json | jq .ready",
            note="With a key it also says what the channels keep. Exit code 1: the server is not ready.",
        ),
    )(status)


def status(json: Json = False, url: Url = DEFAULT_URL, key: Key = None) -> None:
    """Show whether a server is well, and where its channels stand."""
    server = server_of(url, key or "none")  # To be asked whether one is well, no key is needed.
    with Rest(server if key else Server(server.url, "")) as rest:
        said = rest.readiness()
        channels = rest.get("v1", "channels")["channels"] if key and said["ready"] else []
    if json:
        console.say_json(said | ({"extents": channels} if channels else {}))
    else:
        _say(server.url, said, channels)
    if not said["ready"]:
        raise typer.Exit(NO)


def _say(url: str, said: dict[str, Any], channels: list[dict[str, Any]]) -> None:
    word = "ready" if said["ready"] else "NOT READY"
    up = f", up {span_of(said['up_s'])}" if "up_s" in said else ""
    console.say(
        f"{url} is {word}: {said.get('node', '')} {said.get('version', '')}{up}, {said.get('connections', 0)} connected"
    )
    for what, why in said.get("wrong", {}).items():
        console.say(f"  {what}: {why}")
    for warning in said.get("warnings", ()):
        console.say(f"  warning: {console.clean(warning)}")
    if channels:
        console.say()
        console.flush()
        say_channels(channels)
