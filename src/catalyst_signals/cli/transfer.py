"""`catalyst export` and `import`: a log as lines of JSON that a person can read and compare.

Owns: files, pipes and what is said. The form of the lines and what is wrong with one are those of transfer.py.
Law: a file is there only when all of it is; a log is never written over.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Annotated

import typer

from catalyst_signals.cli import console
from catalyst_signals.cli.options import Json, examples
from catalyst_signals.cli.stopping import run_until_stopped
from catalyst_signals.cli.store import INTERRUPTED, NO, StoreUrl, check_kept, read_only
from catalyst_signals.errors import Conflict, Misconfigured, RangeUntrusted, StoreCorrupt
from catalyst_signals.stores import ARRIVALS, STORES
from catalyst_signals.transfer import LINE_BYTES_MAX
from catalyst_signals.transfer.exporting import export_log
from catalyst_signals.transfer.importing import Imported, import_log
from catalyst_signals.urls import open_backend, without_password

PIPE = "-"
PRIVATE = 0o600  # What was published is for those who may see it; the hashes of keys are in it as well.


def add_to(app: typer.Typer) -> None:
    """Hang the commands in."""
    app.command(
        "export",
        epilog=examples(
            "catalyst export log.ndjson",
            "catalyst export - --channel main | zstd > main.ndjson.zst",
            "catalyst export - --channel main --after 10400 | jq -c 'select(.line == \"event\") | .data'",
            note="The server may run. Exit code 1: an event is not what was written; it is named.",
        ),
    )(export)
    app.command(
        "import",
        epilog=examples(
            "catalyst import log.ndjson --store-url sqlite:////var/lib/catalyst.db",
            "catalyst import log.ndjson --store-url postgresql://catalyst@db/empty",
            "zstdcat log.ndjson.zst | catalyst import - --continue",
            note="Into a place without a log. Every hash is computed again. Exit code 1: a line was edited or is "
            "missing; it is named, and no file was made; a database holds a part then: empty it.",
        ),
    )(import_)


File = Annotated[str, typer.Argument(metavar="FILE|-", help="A file, or `-` for a pipe.", show_default=False)]


# -- out ------------------------------------------------------------------------------------------------------------


def export(
    file: File,
    store_url: StoreUrl = "sqlite:///catalyst.db",
    channel: Annotated[
        list[str] | None, typer.Option("--channel", metavar="NAME", help="Only this channel; may be repeated.")
    ] = None,
    after: Annotated[
        int, typer.Option("--after", metavar="SEQ", min=0, help="Leave out events up to this seq; not of `system`.")
    ] = 0,
    json: Json = False,
) -> None:
    """Write the whole log as lines of JSON, also beside a running server."""
    check_kept(store_url)
    started_s = time.monotonic()
    counted = [0]
    try:
        with _new_file(file) as out:
            if not run_until_stopped(_export(store_url, out, channel or [], after, counted)):
                raise typer.Exit(INTERRUPTED)
    except (RangeUntrusted, StoreCorrupt) as fault:
        console.refuse(fault, as_json=json)
        raise typer.Exit(NO) from None
    took_s = time.monotonic() - started_s
    if file == PIPE:
        return  # It is the answer.
    if json:
        console.say_json({"file": file, "events": counted[0], "bytes": Path(file).stat().st_size, "took_s": took_s})
    else:
        console.say(f"{file}: {counted[0]:,} events in {took_s:.1f} s")


async def _export(store_url: str, out: IO[bytes], channels: list[str], after: int, counted: list[int]) -> None:
    with console.Bar("exporting", "events", 0, beside=True) as bar:

        def progress(done: int, total: int) -> None:
            counted[0] = done
            bar.of(total)
            bar.at(done, done)

        async with open_backend(read_only(store_url), STORES, setting="store_url") as store:
            async for lines in export_log(store, channels, after=after, progress=progress):
                out.write(lines)
    out.flush()


@contextmanager
def _new_file(name: str) -> Iterator[IO[bytes]]:
    """Where the lines go; a file has its name when all of them are on the disk."""
    if name == PIPE:
        yield sys.stdout.buffer
        return
    path = Path(name)
    if path.exists():
        raise Conflict(f"{path} is there already; give another name", field="FILE", got=name)
    partial = path.with_name(path.name + ".partial")
    try:
        partial.unlink(missing_ok=True)
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE), "wb") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        partial.replace(path)
    except OSError as error:
        raise Misconfigured(f"{path} cannot be written: {error.strerror or error}", field="FILE", got=name) from error
    finally:
        partial.unlink(missing_ok=True)


# -- in -------------------------------------------------------------------------------------------------------------


def import_(
    file: File,
    store_url: StoreUrl = "sqlite:///catalyst.db",
    same_epoch: Annotated[
        bool,
        typer.Option("--continue", help="Go on in the same epoch: only if the log it comes from has ended for good."),
    ] = False,
    json: Json = False,
) -> None:
    """Take over an exported log where no log is; its channels go on in new epochs, unless told otherwise."""
    check_kept(store_url)
    found: list[Imported] = []
    try:
        with _old_file(file) as lines:
            if not run_until_stopped(_import(store_url, lines, same_epoch, found)):
                raise typer.Exit(INTERRUPTED)
    except StoreCorrupt as fault:
        console.refuse(fault, as_json=json)
        raise typer.Exit(NO) from None
    _say(found[0], store_url, json)


async def _import(store_url: str, lines: IO[bytes], same_epoch: bool, found: list[Imported]) -> None:
    size = os.fstat(lines.fileno()).st_size
    with console.Bar("importing", "events", size or None) as bar:
        place = [0]

        def each() -> Iterator[bytes]:
            while line := lines.readline(LINE_BYTES_MAX):
                place[0] += len(line)
                yield line

        async with open_backend(store_url, ARRIVALS, setting="store_url") as store:
            imported = await import_log(
                store, each(), epoch="same" if same_epoch else "new",
                progress=lambda events, _: bar.at(place[0], events),
            )  # fmt: skip
    found.append(imported)


@contextmanager
def _old_file(name: str) -> Iterator[IO[bytes]]:
    if name == PIPE:
        yield sys.stdin.buffer
        return
    try:
        lines = Path(name).open("rb")  # noqa: SIM115 - what is done with it raises other errors, which are not of the file.
    except OSError as error:
        raise Misconfigured(f"{name} cannot be read: {error.strerror or error}", field="FILE", got=name) from error
    with lines:
        yield lines


def _say(imported: Imported, store_url: str, json: bool) -> None:
    ends = {
        name: {"first": e.first, "head": e.newest, "epoch": e.epoch, "reason": e.epochs[-1].reason}
        for name, e in sorted(imported.extents.items())
    }
    if json:
        return console.say_json({"events": imported.events, "channels": ends})
    for name, end in ends.items():
        console.say(f"{name}: through {end['head']}, goes on in epoch {end['epoch']} ({end['reason']})")
    return console.say(f"{imported.events:,} events, every hash right; {without_password(store_url)} is ready")
