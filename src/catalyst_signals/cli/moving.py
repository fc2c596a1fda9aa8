"""`catalyst transfer`: the log moves to another store while everybody stays connected.

Owns: what is asked of the server, and how it is shown. How a log moves is catalyst_signals.transfer.moving's.
"""

from __future__ import annotations

import asyncio
import time
from typing import Annotated, Any

import msgspec
import typer

from catalyst_signals.cli import console
from catalyst_signals.cli.options import DEFAULT_URL, Json, Key, Url, examples, server_of
from catalyst_signals.cli.rest import Rest
from catalyst_signals.errors import CatalystError
from catalyst_signals.stores import STORES, target_of
from catalyst_signals.transfer.moving import Progress, move
from catalyst_signals.urls import open_backend, without_password

LOOK_S = 0.2


def add_to(app: typer.Typer) -> None:
    """Hang the command in."""
    app.command(
        "transfer",
        epilog=examples(
            "catalyst transfer sqlite:///catalyst.db postgresql://catalyst@db/catalyst",
            "catalyst transfer sqlite:///catalyst.db postgresql://catalyst@db/catalyst --offline",
            note="The server copies, follows, stops for less than a second, compares, and goes on in the new store. "
            "Clients stay connected and their positions stay valid. Killed at any point, run it again. Afterwards set "
            "CATALYST_STORE_URL to the new store; the old one refuses to be written to, and says where the log is.",
        ),
    )(transfer)


def transfer(
    source: Annotated[str, typer.Argument(metavar="FROM", help="The store_url of the server.", show_default=False)],
    to: Annotated[str, typer.Argument(metavar="TO", help="The store the log goes to.", show_default=False)],
    offline: Annotated[bool, typer.Option("--offline", help="Without a server: none uses the log now.")] = False,
    url: Url = DEFAULT_URL,
    key: Key = None,
    json: Json = False,
) -> None:
    """Move the whole log to another store, beside a running server."""
    target_of(to)
    began_s = time.monotonic()
    with console.Bar("copying", "events", 0) as bar:
        if offline:
            progress = asyncio.run(_move_here(source, to, bar))
        else:
            with Rest(server_of(url, key)) as rest:
                progress = _watched(rest, rest.post("v1", "transfer", body={"from": source, "to": to}), bar)
    if progress.phase != "moved":
        raise CatalystError(f"the log was not moved: {progress.error}")
    took_s = time.monotonic() - began_s
    if json:
        return console.say_json({
            "to": without_password(to), "events": progress.done, "took_s": round(took_s, 3),
            "paused_s": round(progress.paused_s, 3),
        })  # fmt: skip
    console.say(f"{progress.done:,} events in {took_s:.1f} s; nothing was stored for {progress.paused_s:.2f} s")
    return console.say(f"set CATALYST_STORE_URL={without_password(to)} before the next start")


def _watched(rest: Rest, said: Any, bar: console.Bar) -> Progress:
    """Ask until it is over."""
    progress = msgspec.convert(said, Progress)
    while progress.phase in ("copying", "fenced"):
        bar.of(progress.total)
        bar.at(progress.done, progress.done)
        time.sleep(LOOK_S)
        progress = msgspec.convert(rest.get("v1", "transfer"), Progress)
    return progress


async def _move_here(source: str, to: str, bar: console.Bar) -> Progress:
    progress = Progress()
    async with open_backend(source, STORES, setting="FROM") as store:
        moving = asyncio.create_task(move(store, lambda: open_backend(to, STORES, setting="TO"), to, progress))
        while not moving.done():
            bar.of(progress.total)
            bar.at(progress.done, progress.done)
            await asyncio.wait([moving], timeout=LOOK_S)
        await moving
    return progress
