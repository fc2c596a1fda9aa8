"""`catalyst update` and `catalyst cancel`: another version of a signal, or its end.

Owns: how what was typed becomes a merge patch (RFC 7396), and what to do when somebody was first. What may change is
the server's to judge. Law: with --if-version nothing is written over what one has not seen.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from catalyst_signals.cli import console
from catalyst_signals.cli.options import (
    DEFAULT_URL,
    Channel,
    Json,
    Key,
    Mistake,
    Url,
    ends_in,
    examples,
    server_of,
)
from catalyst_signals.cli.rest import Rest
from catalyst_signals.errors import CatalystError, InvalidJson, NotFound, SignalEnded, VersionConflict
from catalyst_signals.signals import decode

SEVERAL = ("target",)  # What may be set more than once.

Id = Annotated[str, typer.Argument(metavar="ID", help="The signal's id.", show_default=False)]
IfVersion = Annotated[
    int | None, typer.Option("--if-version", min=1, metavar="N", help="Only if that is its version now.")
]

_decode_raw = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def add_to(app: typer.Typer) -> None:
    """Hang the commands in."""
    app.command(
        "update",
        epilog=examples(
            "catalyst update fda-2291 --set stop=9.80 --set confidence=0.91",
            "catalyst update fda-2291 --set target=11.50 --set target=12.80 --expires-in 2h",
            "catalyst update fda-2291 --set note=                 take the note away",
            """echo '{"stop": "9.80"}' | catalyst update fda-2291 --json - --if-version 3""",
            note="Whoever was shown the signal gets the new version. What changes nothing is answered with the present "
            "one. `catalyst history --id ID` shows them all.",
        ),
    )(update)
    app.command(
        "cancel",
        epilog=examples(
            "catalyst cancel fda-2291 --reason 'trial halted'",
            "catalyst cancel fda-2291 --if-version 3",
            note="Whoever was shown the signal is told its end. Nothing can follow.",
        ),
    )(cancel)


def update(
    id: Id,
    set: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="FIELD=VALUE", help="A field, such as stop=9.80; without a value it is removed."),
    ] = None,
    expires_in: Annotated[str | None, typer.Option(metavar="4h", help="From now on: 90s, 15m, 4h, 2d.")] = None,
    json: Annotated[
        str | None, typer.Option("--json", metavar="FILE|-", help="Read a JSON merge patch; answer in JSON.")
    ] = None,
    if_version: IfVersion = None,
    channel: Channel = "main",
    url: Url = DEFAULT_URL,
    key: Key = None,
) -> None:
    """Change a signal; when this returns its new version is in the log."""
    if json is not None and (set or expires_in):
        raise Mistake("with --json the changes stand in the file; leave --set and --expires-in out")
    patch = _patch_in(json) if json is not None else patch_of(set or [])
    if expires_in is not None:
        patch["expires_at"] = ends_in(expires_in)
    if not patch:
        raise Mistake("what changes? --set FIELD=VALUE, or --json FILE")
    with Rest(server_of(url, key)) as rest, _next_step(id, channel):
        answer = rest.patch("v1", "channels", channel, "signals", id, body=patch, if_version=if_version)
    _answer(answer, "is at version {version} now" if not answer["duplicate"] else "says so already", json is not None)


def cancel(
    id: Id,
    reason: Annotated[str | None, typer.Option(metavar="TEXT", help="Why, in words; everybody is told.")] = None,
    if_version: IfVersion = None,
    channel: Channel = "main",
    json: Json = False,
    url: Url = DEFAULT_URL,
    key: Key = None,
) -> None:
    """End a signal; whoever was shown it is told."""
    body = {} if reason is None else {"reason": reason}
    with Rest(server_of(url, key)) as rest, _next_step(id, channel):
        answer = rest.post("v1", "channels", channel, "signals", id, "cancel", body=body, if_version=if_version)
    _answer(answer, "is cancelled", json)


def _answer(answer: dict[str, Any], says: str, as_json: bool) -> None:
    if as_json or not console.is_terminal():
        return console.say_json(answer)
    return console.say(f"{answer['channel']} {answer['seq']}: {answer['id']} {says.format(**answer)}")


def patch_of(settings: Sequence[str]) -> dict[str, Any]:
    """`stop=9.80`, `catalyst.type=fda`, `note=` as a merge patch.

    A value is JSON if it can be read as that, else a text; numbers keep their digits.

    Raises:
        Mistake: one of them is no setting, or said twice.
    """
    patch: dict[str, Any] = {}
    for setting in settings:
        path, equals, text = setting.partition("=")
        *parents, name = path.strip().split(".")
        if not equals or not name or not all(parents):
            raise Mistake(f"--set takes FIELD=VALUE, such as stop=9.80; got {setting!r}")
        inner = patch
        for parent in parents:
            inner = inner.setdefault(parent, {})
            if not isinstance(inner, dict):
                raise Mistake(f"`{parent}` is set as a whole and in part; got {setting!r}")
        value = _value_of(text)
        if path == "target" and value is None:
            name = "targets"  # As it is stored: the short form is written out only when it says something.
        if name in inner and name not in SEVERAL:
            raise Mistake(f"`{path}` is set twice; only {', '.join(SEVERAL)} may be")
        inner[name] = [*inner.get(name, []), value] if name in SEVERAL and value is not None else value
    return patch


def _value_of(text: str) -> Any:
    if not text.strip():
        return None
    try:
        decode(text)
    except InvalidJson:
        return text
    return msgspec.Raw(text.encode())


def _patch_in(path: str) -> dict[str, Any]:
    """The JSON object in a file or on standard input, its values as they were written."""
    try:
        raw = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
    except OSError as fault:
        raise Mistake(f"{path} cannot be read: {fault.strerror}") from None
    try:
        decode(raw)
        return dict(_decode_raw(raw))
    except InvalidJson as fault:
        raise Mistake(fault.message) from None
    except msgspec.MsgspecError:
        raise Mistake('a change is a JSON object, such as {"stop": "9.80"}') from None


@contextmanager
def _next_step(id: str, channel: str) -> Iterator[None]:
    """Within it a refusal says what to look at."""
    where = "" if channel == "main" else f" --channel {channel}"
    try:
        yield
    except CatalystError as error:
        match error:
            case VersionConflict():
                again = f", then again with --if-version {error.extra['version']}" if "version" in error.extra else ""
                error.add_note(f"see what it says now: catalyst history --id {id}{where}{again}")
            case SignalEnded():
                error.add_note(f"catalyst history --id {id}{where} shows how it went")
            case NotFound():
                error.add_note(f"each signal's id stands in: catalyst history{where} --json")

        raise
