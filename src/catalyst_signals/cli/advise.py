"""`catalyst advise`: what to run for so many users and signals, what it costs, and what to do for it.

Owns: the flags, which question is asked of whom (this machine, or a running server), where a picture goes. What is
advised is the advisor's; how it looks on a screen is advice.py's.
Law: `--json` is what `/v1/advice` answers to the same question, and with `--from-server` its very bytes.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from catalyst_signals.advisor import Advice, Load, advise
from catalyst_signals.advisor.capacity import read_capacity
from catalyst_signals.advisor.facts import facts_of
from catalyst_signals.advisor.picture import png_of, svg_of
from catalyst_signals.cli import console
from catalyst_signals.cli.options import Json, Key, Mistake, Server, examples, server_of
from catalyst_signals.cli.rest import Rest
from catalyst_signals.cli.wizard import Answers, ask
from catalyst_signals.errors import NotFound, Unsupported

PICTURES = (".svg", ".png")
ENVIRONMENT = "CATALYST_"

Users = Annotated[int | None, typer.Option("--users", min=0, metavar="N", help="How many people get signals.")]
Signals = Annotated[int | None, typer.Option("--signals", min=0, metavar="N", help="Signals a day.")]
Replay = Annotated[bool, typer.Option("--replay", help="Who was away must get what came meanwhile.")]
Budget = Annotated[float | None, typer.Option("--budget", min=0, metavar="USD", help="Dollars a month at most.")]
Hours = Annotated[
    float | None, typer.Option("--devops-hours", min=0, metavar="H", help="Hours a week to look after it, at most.")
]
CapacityFile = Annotated[
    Path | None,
    typer.Option("--capacity", metavar="FILE", help="What a machine does, by `catalyst bench --calibrate`."),
]
Picture = Annotated[
    Path | None, typer.Option("--picture", metavar="FILE", help="Also draw it, to FILE.svg or FILE.png.")
]
Full = Annotated[bool, typer.Option("--full", help="Also every option, feature and step that the matrix has.")]
FromServer = Annotated[
    str | None, typer.Option("--from-server", metavar="URL", help="Ask a running server, by what it really has to do.")
]


def add_to(app: typer.Typer) -> None:
    """Hang the command in."""
    app.command(
        "advise",
        epilog=examples(
            "catalyst advise                                   asks a few questions",
            "catalyst advise --users 15 --signals 200 --budget 50 --devops-hours 4",
            "catalyst advise --users 60 --signals 500 --replay --picture costs.svg",
            "catalyst advise --from-server https://signals.example.org --key cat_...",
            note="--from-server takes what is not given from the server, and says where that stands.",
        ),
    )(advise_on)


def advise_on(
    users: Users = None,
    signals: Signals = None,
    replay: Replay = False,
    budget: Budget = None,
    devops_hours: Hours = None,
    capacity: CapacityFile = None,
    picture: Picture = None,
    from_server: FromServer = None,
    key: Key = None,
    full: Full = False,
    json: Json = False,
) -> None:
    """Say what to run for so many users: the stack, its cost, its settings, what is still to do."""
    if picture is not None and picture.suffix not in PICTURES:
        raise Mistake(f"a picture is a FILE.svg or a FILE.png; got {str(picture)!r}")
    asked = {"users": users, "signals": signals, "budget": budget, "devops_hours": devops_hours}
    raw, answers = None, None
    if from_server is not None:
        if capacity is not None:
            raise Mistake("--capacity is for an answer of this machine; a server has its own")
        raw = _ask_server(server_of(from_server, key), asked | {"replay": "true" if replay else None}).decode()
        if json and picture is None:
            return console.say(raw)  # Also an answer that only a newer release can read.
        advice = _read(raw, from_server)
    else:
        answers = _ask_person(json) if not replay and set(asked.values()) == {None} else None
        load = answers.load if answers is not None else _load_of(asked, replay)
        advice = advise(load, facts=facts_of(_settings_here()), capacity=read_capacity(capacity))
    if picture is not None:
        _draw(advice, picture)
    if json:
        return console.say(raw) if raw is not None else console.say_json(advice)
    return _say(advice, answers, is_full=full)


def _ask_server(server: Server, asked: dict[str, Any]) -> bytes:
    try:
        with Rest(server) as rest:
            return rest.raw("v1", "advice", **asked)
    except NotFound as fault:
        raise NotFound(
            f"the server at {server.url} gives no advice: it is older than this command; upgrade it, or say what it "
            "has to do with --users and --signals, without --from-server"
        ) from fault


def _read(raw: str, url: str) -> Advice:
    try:
        return msgspec.json.decode(raw, type=Advice)
    except msgspec.ValidationError as fault:
        raise Unsupported(
            f"the server at {url} is of another release, and its advice has another form ({fault}); `--json` shows it"
        ) from fault


def _ask_person(json: bool) -> Answers | None:
    """What somebody at a terminal answers; None where nobody is there to be asked."""
    if json or not (sys.stdin.isatty() and console.is_terminal()):
        return None
    return ask()


def _load_of(asked: dict[str, Any], replay: bool) -> Load:
    if asked["users"] is None:
        raise Mistake(
            "say for how many: `catalyst advise --users 15 --signals 200 --budget 50 --devops-hours 4`, with --replay "
            "besides; or on a terminal none of them, to be asked; or --from-server URL"
        )
    return Load(**{name: value for name, value in asked.items() if value is not None}, replay=replay)


def _settings_here() -> dict[str, str]:
    """What this shell would start a server with."""
    return {
        name.removeprefix(ENVIRONMENT).lower(): value
        for name, value in os.environ.items()
        if name.startswith(ENVIRONMENT)
    }


def _draw(advice: Advice, file: Path) -> None:
    svg = svg_of(advice)
    content = png_of(svg) if file.suffix == ".png" else svg.encode()
    try:
        file.write_bytes(content)
    except OSError as fault:
        raise Mistake(f"{file} cannot be written: {fault.strerror}") from None
    console.tell(f"{file} is written")


def _say(advice: Advice, answers: Answers | None, *, is_full: bool) -> None:
    from catalyst_signals.cli.advice import say_advice, say_charts

    say_advice(advice)
    if answers is not None:
        say_charts(advice, answers)
    if is_full:
        from catalyst_signals.cli.advice_full import say_full

        say_full(advice)
