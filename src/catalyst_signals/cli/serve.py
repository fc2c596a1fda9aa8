"""`catalyst serve`: the server, with the settings that people change as flags.

Owns: the flags, and settings that cannot be as a sentence. Everything else of a server is in server/.
"""

from __future__ import annotations

from tomllib import TOMLDecodeError
from typing import Annotated, Any

import typer
from rich.markup import escape

from catalyst_signals.cli.options import examples
from catalyst_signals.errors import Misconfigured


def _option(metavar: str, says: str) -> Any:
    return typer.Option(metavar=metavar, help=escape(says))


def add_to(app: typer.Typer) -> None:
    """Hang the command in."""
    app.command(
        "serve",
        epilog=examples(
            "catalyst serve",
            "catalyst serve --host 0.0.0.0 --store-url sqlite:////var/lib/catalyst.db",
            "catalyst serve --processes 2   one on each of two cores, on one port and one file",
            "catalyst serve --port 0 --store-url memory:   a free port, nothing kept",
            note="Its first start prints an admin key. Every other setting is an environment variable CATALYST_... or "
            "stands in catalyst.toml: docs/settings.md. At Ctrl-C or SIGTERM nobody loses anything.",
        ),
    )(serve)


def serve(
    host: Annotated[str | None, _option("HOST", "Address to listen on. [default: 127.0.0.1]")] = None,
    port: Annotated[int | None, _option("PORT", "Port to listen on; 0 takes a free one. [default: 8080]")] = None,
    processes: Annotated[
        int | None, _option("N", "Serve with so many processes; 0 is one per core. [default: 1]")
    ] = None,
    store_url: Annotated[str | None, _option("URL", "Where the log is kept. [default: sqlite:///catalyst.db]")] = None,
    broker_url: Annotated[str | None, _option("URL", "How other processes hear of it. [default: memory:]")] = None,
    cache_url: Annotated[str | None, _option("URL", "Where rate limits are counted. [default: memory:]")] = None,
    log_level: Annotated[str | None, _option("LEVEL", "debug, info, warning or error. [default: info]")] = None,
    json: Annotated[bool, typer.Option("--json", help="Errors in JSON too, on standard error.")] = False,
) -> None:
    """Run a server until it is told to stop."""
    from catalyst_signals.server.processes import run
    from catalyst_signals.server.settings import Settings

    flags: dict[str, Any] = {
        "host": host,
        "port": port,
        "processes": processes,
        "store_url": store_url,
        "broker_url": broker_url,
        "cache_url": cache_url,
        "log_level": log_level,
    }
    try:
        settings = Settings(**{name: value for name, value in flags.items() if value is not None})
    except TOMLDecodeError as fault:
        raise Misconfigured(f"catalyst.toml cannot be read: {fault}") from None
    except ValueError as fault:
        raise _misconfigured(fault) from None
    try:
        run(settings)
    except SystemExit as stopped:
        if stopped.code:
            raise Misconfigured(
                f"the server cannot listen on {settings.host}:{settings.port}; the line above says why. Choose another "
                "with --port (0 takes a free one)", field="port", got=settings.port,
            ) from None  # fmt: skip


def _misconfigured(invalid: Any) -> Misconfigured:
    """The first of pydantic's complaints, with the names it goes by."""
    fault = invalid.errors()[0]
    name = ".".join(map(str, fault["loc"]))
    says = str(fault["msg"]).removeprefix("Value error, ")
    if fault["type"] == "extra_forbidden":
        return Misconfigured(
            f"catalyst.toml has `{name}`, which is no setting; docs/settings.md lists them", field=name
        )
    if not name:
        return Misconfigured(says)
    env = f"CATALYST_{name.upper()}"
    if name == "admin_key":  # What was given may be most of a key.
        return Misconfigured(f"the setting {name} ({env}) cannot be what it is: {says}", field=name)
    return Misconfigured(
        f"the setting {name} ({env}) cannot be {fault['input']!r}: {says}", field=name, got=fault["input"]
    )
