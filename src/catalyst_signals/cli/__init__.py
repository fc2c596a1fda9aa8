"""The command line: what each command is called, and how an error becomes a sentence and an exit code.

Owns: `app`, `run`, the exit codes. What a command does stands in the file of its group; what commands share in
console.py (what is printed where), options.py (flags) and rest.py (asking a server).
Law: a person's mistake and a server's refusal are one or two lines on standard error that say the next step, and never
a traceback. Standard output holds answers and nothing else.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from importlib import metadata
from typing import Annotated

import typer
from typer.exceptions import TyperException

from catalyst_signals.cli import (
    advise,
    bench,
    changes,
    channels,
    console,
    deliveries,
    demo,
    deploy,
    filters,
    halts,
    history,
    ingest,
    items,
    keys,
    moving,
    publish,
    safety,
    serve,
    signals,
    status,
    store,
    targets,
    transfer,
)
from catalyst_signals.cli.options import examples
from catalyst_signals.errors import (
    CatalystError,
    Misconfigured,
    MissingDriver,
    StoreCorrupt,
    StoreInUse,
    StoreUnavailable,
    Unavailable,
    Unreachable,
)

__all__ = ["app", "run"]

DONE, NO, USAGE, MISSING_EXTRA, REFUSED, UNREACHABLE = range(6)
INTERRUPTED, BUG, BROKEN_PIPE = 130, 70, 141  # As every Unix program has them.

app = typer.Typer(
    name="catalyst", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
    rich_markup_mode="rich", context_settings={"help_option_names": ["-h", "--help"]},
    help="Trading signals: numbered, kept, filtered, delivered exactly once and in order.",
    epilog=examples(
        "catalyst demo                                   see it work, live",
        "catalyst serve                                  prints a key on first start",
        "catalyst publish ACME BUY --confidence 0.82     into it",
        "catalyst listen --filter 'confidence >= 0.7'    out of it",
        note="CATALYST_URL and CATALYST_KEY stand for --url and --key everywhere.",
    ),
)  # fmt: skip


def _show_version(asked: bool) -> None:
    if asked:
        console.say(metadata.version("catalyst-signals"))
        raise typer.Exit


@app.callback()
def _everywhere(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", is_eager=True, callback=_show_version)
    ] = False,
) -> None: ...


for group in (
    demo, advise, serve, publish, changes, signals, history, deliveries, halts, filters, keys, channels, ingest, items,
    targets, store, safety, transfer, moving, status, deploy, bench,
):  # fmt: skip
    group.add_to(app)


def run(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code. `argv` is without the program's name."""
    args = list(sys.argv[1:] if argv is None else argv)
    try:
        code = app(args, prog_name="catalyst", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else DONE
    except TyperException as mistake:
        return _usage(mistake)
    except ModuleNotFoundError as missing:
        console.complain(
            f"this needs `{missing.name}`, which is not installed", "pip install 'catalyst-signals[server]'"
        )
        return MISSING_EXTRA
    except (BrokenPipeError, SystemExit):
        # Whoever read our output has enough, as `head` does; Typer and Rich leave in their own way then.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return BROKEN_PIPE
    except KeyboardInterrupt:
        return INTERRUPTED
    except CatalystError as error:
        console.refuse(error, as_json="--json" in args)
        return exit_code_of(error)
    except Exception as bug:
        return _bug(bug)


def exit_code_of(error: CatalystError) -> int:
    """0 done, 1 answered no, 2 usage, 3 missing extra, 4 refused, 5 unreachable."""
    if isinstance(error, MissingDriver):
        return MISSING_EXTRA
    if isinstance(error, Misconfigured) and not isinstance(error, StoreInUse | StoreCorrupt):
        return USAGE
    # A store that answers and is not safe enough (`require_durability`) was reached, and refuses.
    away = type(error) in (Unavailable, StoreUnavailable) and "required" not in error.extra
    return UNREACHABLE if isinstance(error, Unreachable) or away else REFUSED


def _usage(mistake: TyperException) -> int:
    """A command that was typed wrong: what is wrong, and where the right way stands."""
    context = getattr(mistake, "ctx", None)
    command = context.command_path if context is not None else "catalyst"
    message = mistake.format_message()
    if message and type(mistake).__name__ != "NoArgsIsHelpError":  # That one has printed the help.
        console.complain(message, f"see `{command} --help`")
    return mistake.exit_code


def _bug(bug: Exception) -> int:
    if os.environ.get("CATALYST_LOG_LEVEL") == "debug":
        traceback.print_exception(bug)
    at = traceback.extract_tb(bug.__traceback__)[-1]
    console.complain(
        f"a bug of ours: {type(bug).__name__}: {bug} ({at.filename}:{at.lineno})",
        "CATALYST_LOG_LEVEL=debug prints where it came from; please report it",
    )
    return BUG
