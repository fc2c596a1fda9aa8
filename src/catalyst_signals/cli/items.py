"""`catalyst ingest jsonl`: news from a program of one's own, a JSON object a line, as it comes.

Owns: reading the lines and posting them in groups. What a line says is ingest/jsonl.py's. Law: a line that cannot be
read is named by its number and keeps no other from being sent; what was sent twice is stored once.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer

from catalyst_signals.cli import console
from catalyst_signals.cli.ingest import group
from catalyst_signals.cli.options import Json, Mistake, Server, examples
from catalyst_signals.cli.publish import chunks_of_lines, size_of
from catalyst_signals.cli.rest import Rest
from catalyst_signals.cli.stopping import run_until_stopped
from catalyst_signals.errors import InvalidRequest, Overloaded
from catalyst_signals.ingest import adapter_of

LINES, BYTES = 500, 512 << 10  # Of one post.
TRIES = 8
REFUSED, INTERRUPTED = 4, 130


def add_to(app: typer.Typer) -> None:
    """Hang the command in, below `catalyst ingest`."""
    group.command(
        "jsonl",
        epilog=examples(
            "your-program | catalyst ingest jsonl --to http://127.0.0.1:8080/in/jsonl/SECRET",
            "CATALYST_JSONL_URL=... catalyst ingest jsonl news.jsonl",
            note="`catalyst ingest add jsonl` makes the address. Exit code 4: a line was refused, the others are in.",
        ),
    )(post_lines)


def post_lines(
    file: Annotated[str, typer.Argument(metavar="[FILE|-]", help="The lines; else standard input.")] = "-",
    to: Annotated[
        str, typer.Option("--to", metavar="URL", envvar="CATALYST_JSONL_URL", help="As `ingest add jsonl` showed it.")
    ] = "",
    json: Json = False,
) -> None:
    """Post news, a JSON object a line, as the lines come."""
    server, path = _door(to)
    with ExitStack() as stack:
        try:
            source = sys.stdin.fileno() if file == "-" else stack.enter_context(Path(file).open("rb")).fileno()
        except OSError as fault:
            raise Mistake(f"{file} cannot be read: {fault.strerror}") from None
        lines = _Lines(stack.enter_context(Rest(server)), path, as_json=json)
        stopped = not run_until_stopped(lines.run(source))
    said = {"lines": lines.line, "items": lines.items, "refused": lines.refused}
    if json:
        console.say_json(said)
    else:
        console.tell(f"{lines.items:,} items of {lines.line:,} lines, {lines.refused:,} lines refused")
    if stopped or lines.refused:
        raise typer.Exit(INTERRUPTED if stopped else REFUSED)


def _door(to: str) -> tuple[Server, tuple[str, ...]]:
    """The server and the path of an address that takes JSON lines.

    Raises:
        Mistake: it is none.
    """
    parts = urlsplit(to)
    before, door, after = parts.path.rpartition("/in/")
    if parts.scheme not in ("http", "https") or not door or not after.startswith("jsonl/"):
        raise Mistake("--to (or CATALYST_JSONL_URL) is the address that `catalyst ingest add jsonl` showed")
    return Server(f"{parts.scheme}://{parts.netloc}{before}", ""), ("in", *after.split("/"))


class _Lines:
    """One run: it is at `line`, has posted `items`, and `refused` lines."""

    def __init__(self, rest: Rest, path: tuple[str, ...], *, as_json: bool) -> None:
        self._rest = rest
        self._path = path
        self._as_json = as_json
        self._adapter = adapter_of("jsonl")
        self.line = 0
        self.items = 0
        self.refused = 0

    async def run(self, file: int) -> None:
        """Until the input ends."""
        with console.Bar("posting", "items", size_of(file), beside=True) as bar:
            place = 0
            async for chunk in chunks_of_lines(file):
                place += sum(map(len, chunk)) + len(chunk)
                for lines in _groups([line for line in chunk if self._is_good(line)]):
                    await self._post(lines)
                bar.at(place, self.items)

    def _is_good(self, line: bytes) -> bool:
        self.line += 1
        if not line.strip():
            return False
        try:
            self._adapter.read(line, "")
        except InvalidRequest as fault:
            self.refused += 1
            self._refuse(fault)
            return False
        return True

    def _refuse(self, fault: InvalidRequest) -> None:
        message = fault.message.replace("line 1: ", f"line {self.line}: ", 1)
        if self._as_json:
            console.say_json(fault.as_dict() | {"message": message, "line": self.line})
        else:
            console.tell(message)

    async def _post(self, lines: list[bytes]) -> None:
        """Post a group, and once more while the server is full."""
        for attempt in range(TRIES):
            try:
                said: dict[str, Any] = await asyncio.to_thread(self._rest.send, *self._path, content=b"\n".join(lines))
            except Overloaded as busy:
                if attempt + 1 == TRIES:
                    raise
                await asyncio.sleep(float(busy.extra.get("retry_after_s", 1)))
                continue
            self.items += said.get("items", 0)
            return


def _groups(lines: list[bytes]) -> Iterator[list[bytes]]:
    """The lines in groups that one post may hold."""
    group: list[bytes] = []
    size = 0
    for line in lines:
        if group and (len(group) == LINES or size + len(line) > BYTES):
            yield group
            group, size = [], 0
        group.append(line)
        size += len(line) + 1
    if group:
        yield group
