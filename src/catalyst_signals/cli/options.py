"""Flags and arguments that several commands have, each described once.

Owns: their names, environment variables, and how what was typed becomes a value.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer
from rich.markup import escape

from catalyst_signals.client.link import address_of
from catalyst_signals.errors import InvalidRequest, Unauthenticated
from catalyst_signals.events import Position

DEFAULT_URL = "http://127.0.0.1:8080"

Url = Annotated[str, typer.Option("--url", envvar="CATALYST_URL", metavar="URL", help="The server.")]
Key = Annotated[
    str | None,
    typer.Option("--key", envvar="CATALYST_KEY", metavar="KEY", show_default=False, help="Your API key, `cat_...`."),
]
Json = Annotated[bool, typer.Option("--json", help="Answer in JSON, for programs; errors too, on standard error.")]
Channel = Annotated[str, typer.Option("--channel", metavar="NAME", help="The channel.")]
Filter = Annotated[
    str | None,
    typer.Option("--filter", metavar="TEXT", help="Only signals that match, such as `confidence >= 0.7`."),
]
After = Annotated[
    str | None,
    typer.Option("--after", metavar="SEQ", help="Begin behind this seq; 0 is everything from the first."),
]

_PARTS = {"d": "days", "h": "hours", "m": "minutes", "s": "seconds"}
_DURATION = re.compile(r"(?:(\d{1,5})d)?(?:(\d{1,6})h)?(?:(\d{1,7})m)?(?:(\d{1,9})s)?")
_POSITION = re.compile(r"([0-9a-z]{1,64}):(\d{1,18})(?::([0-9a-f]{8})?)?")


class Mistake(typer.BadParameter):
    """A command that was typed wrong, in our own words; exit code 2."""

    def format_message(self) -> str:
        """Nothing but the sentence."""
        return self.message


@dataclass(frozen=True, slots=True)
class Server:
    """Where to ask and as whom. The key is never shown."""

    url: str
    key: str = field(repr=False)


def server_of(url: str, key: str | None) -> Server:
    """What --url and --key say.

    Raises:
        Mistake: one of them cannot be used.
    """
    if not key:
        raise Mistake(
            "a key is needed: `export CATALYST_KEY=cat_...`. The first start of `catalyst serve` prints the admin's, "
            "and `catalyst keys add NAME` makes more",
        )  # fmt: skip
    try:
        address_of(url, key)
    except InvalidRequest as fault:
        raise Mistake(f"{fault.message}; got {url!r}") from None
    except Unauthenticated as fault:
        raise Mistake(fault.message) from None
    return Server(url.rstrip("/"), key)


def duration_of(text: str, flag: str) -> timedelta:
    """`90s`, `15m`, `4h`, `30d` or `1h30m` as a duration.

    Raises:
        Mistake: it is none, or nothing.
    """
    found = _DURATION.fullmatch(text.strip().lower())
    parts = dict(zip(_PARTS.values(), map(int, found.groups("0")), strict=True)) if found else {}
    try:
        duration = timedelta(**parts)
    except OverflowError:
        duration = timedelta()
    if not duration:
        raise Mistake(f"a duration looks like 90s, 15m, 4h, 30d or 1h30m; got {text!r}")
    return duration


def ends_in(text: str) -> str:
    """The `expires_at` that --expires-in means, counted from now.

    Raises:
        Mistake: it is no duration.
    """
    ends = datetime.now(UTC) + duration_of(text, "--expires-in")
    return ends.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def place_of(text: str | None, channel: str) -> int | Position | None:
    """What --after says: a seq, or the `epoch:seq:hash` that `listen` printed when it ended."""
    if text is None:
        return None
    if text.isascii() and text.isdigit() and len(text) <= 18:
        return int(text)
    found = _POSITION.fullmatch(text)
    if found is None:
        raise Mistake(f"a seq is a whole number from 0, or epoch:seq:hash; got {text!r}")
    return Position(channel, found[1], int(found[2]), found[3] or "")


def examples(*lines: str, note: str = "") -> str:
    """The examples at the end of a command's help."""
    shown = [f"  {escape(line)}" for line in lines]
    return "\n".join(
        ["[bold]Example[/]" if len(lines) == 1 else "[bold]Examples[/]", *shown, *(["", escape(note)] if note else [])]
    )
