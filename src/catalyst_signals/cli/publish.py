"""`catalyst publish`: one signal from a person, or a stream of them from a program.

Owns: what the flags mean in a draft, reading NDJSON as it comes, one answer a line. What a draft may say is the
server's to judge. Law: each line that is not empty is answered by one line, in order.
"""

from __future__ import annotations

import asyncio
import os
import stat
import sys
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from catalyst_signals.cli import console
from catalyst_signals.cli.options import Channel, Key, Mistake, Server, Url, ends_in, examples, server_of
from catalyst_signals.cli.stopping import run_until_stopped
from catalyst_signals.client import Receipt, connect
from catalyst_signals.errors import CatalystError, InvalidDraft, InvalidJson, TooLarge, Unavailable
from catalyst_signals.signals import decode

CHUNK_BYTES = 1 << 18  # Read at once; about 900 signals of 280 bytes, which is many windows of 64.
LINE_BYTES_MAX = 4 << 20  # A draft is at most 64 KiB; without a limit a file without line ends would fill the memory.
INTERRUPTED = 130

_decode_raw = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def add_to(app: typer.Typer) -> None:
    """Hang the command in."""
    app.command(
        "publish",
        epilog=examples(
            "catalyst publish ACME BUY --confidence 0.82 --stop 9.40 --expires-in 4h",
            "catalyst publish ACME CLOSE --note 'target reached'",
            "catalyst publish --json signals.ndjson",
            "my-scanner | catalyst publish --json - > answers.ndjson",
            note="Actions: BUY SELL WATCH AVOID CLOSE REDUCE CANCEL; INCREASE and OPEN need a --direction. "
            "With --json each line is answered by one line; exit code 4 when one was refused.",
        ),
    )(publish)


def publish(
    symbol: Annotated[str | None, typer.Argument(metavar="SYMBOL", help="The instrument; or - to read NDJSON.")] = None,
    action: Annotated[str | None, typer.Argument(metavar="ACTION", help="BUY, SELL, WATCH, CLOSE ...")] = None,
    confidence: Annotated[float | None, typer.Option(metavar="0-1", help="How sure you are.")] = None,
    entry: Annotated[str | None, typer.Option(metavar="PRICE", help="Where to enter, or `market`.")] = None,
    stop: Annotated[str | None, typer.Option(metavar="PRICE", help="Where it was wrong.")] = None,
    target: Annotated[
        list[str] | None, typer.Option(metavar="PRICE", help="Where to take profit; may be repeated.")
    ] = None,
    direction: Annotated[str | None, typer.Option(metavar="long|short", help="For INCREASE and OPEN.")] = None,
    expires_in: Annotated[str | None, typer.Option(metavar="4h", help="How long it holds: 90s, 15m, 4h, 2d.")] = None,
    catalyst: Annotated[str | None, typer.Option(metavar="TYPE", help="Why, such as fda.approval or earnings.")] = None,
    note: Annotated[str | None, typer.Option(metavar="TEXT", help="Anything in words.")] = None,
    supersedes: Annotated[
        str | None, typer.Option(metavar="ID", help="The signal that this one takes the place of; it ends.")
    ] = None,
    id: Annotated[
        str | None, typer.Option("--id", metavar="ID", help="Your own id: the same one is stored once.")
    ] = None,
    channel: Channel = "main",
    json: Annotated[
        str | None, typer.Option("--json", metavar="FILE|-", help="Read NDJSON, a signal a line; answer in JSON.")
    ] = None,
    url: Url = "http://127.0.0.1:8080",
    key: Key = None,
) -> None:
    """Publish a signal; when this returns it is in the log."""
    if symbol == "-" and action is None and json is None:
        symbol, json = None, "-"
    flags = {
        "confidence": confidence, "entry": entry, "stop": stop, "targets": target or None, "direction": direction,
        "catalyst": _catalyst_of(catalyst), "note": note, "id": id,
        "supersedes": supersedes,
    }  # fmt: skip
    if json is not None:
        if symbol is not None or expires_in is not None or any(value is not None for value in flags.values()):
            raise Mistake("with --json the signals stand in the file; leave the rest out")
        raise typer.Exit(_publish_lines(server_of(url, key), channel, json))
    if symbol is None or action is None:
        raise Mistake("what is published is a SYMBOL and an ACTION, or --json FILE")
    draft = {"symbol": symbol, "action": action} | {name: value for name, value in flags.items() if value is not None}
    if expires_in is not None:
        draft["expires_at"] = ends_in(expires_in)
    if not run_until_stopped(_publish_one(server_of(url, key), channel, draft)):
        raise typer.Exit(INTERRUPTED)


def _catalyst_of(text: str | None) -> dict[str, str] | None:
    """`fda.approval` is the type `fda` with the subtype `approval`."""
    if text is None:
        return None
    kind, dot, subtype = text.partition(".")
    return {"type": kind, "subtype": subtype} if dot else {"type": kind}


async def _publish_one(server: Server, channel: str, draft: dict[str, Any]) -> None:
    async with connect(server.url, server.key, channel=channel) as catalyst:
        receipt = await catalyst.publish(draft)
    if not console.is_terminal():
        return console.say_json(receipt)
    known = " (it was there before)" if receipt.duplicate else ""
    console.say(f"{receipt.channel} {receipt.seq}: {draft['action'].upper()} {draft['symbol']}, id {receipt.id}{known}")
    return None


def _publish_lines(server: Server, channel: str, path: str) -> int:
    """Publish NDJSON from a file or standard input; the exit code."""
    with ExitStack() as stack:
        try:
            file = sys.stdin.fileno() if path == "-" else stack.enter_context(Path(path).open("rb")).fileno()
        except OSError as fault:
            raise Mistake(f"{path} cannot be read: {fault.strerror}") from None
        lines = _Lines(server, channel, file)
        if not run_until_stopped(lines.run()):
            console.tell(f"stopped after line {lines.line}")
            return INTERRUPTED
    if lines.refused:
        console.tell(f"{lines.refused:,} of {lines.answered:,} were refused; their lines say why")
    return 4 if lines.refused else 0


class _Lines:
    """One run over a file: it is at `line`, has `answered` so many signals, and `refused` of them."""

    def __init__(self, server: Server, channel: str, file: int) -> None:
        self._server = server
        self._channel = channel
        self._file = file
        self.line = 0
        self.answered = 0
        self.refused = 0

    async def run(self) -> None:
        """Until the input ends.

        Raises:
            Unavailable: the server went away; the lines after the last answer were not read.
        """
        with console.Bar("publishing", "signals", size_of(self._file), beside=True) as bar:
            async with connect(self._server.url, self._server.key, channel=self._channel) as catalyst:
                place = 0
                async for chunk in chunks_of_lines(self._file):
                    place += sum(map(len, chunk)) + len(chunk)
                    drafts = [_draft_of(line) for line in chunk]
                    sent = [draft for draft in drafts if isinstance(draft, dict)]
                    answers = iter(await catalyst.publish_many(sent))
                    self._answer([next(answers) if isinstance(draft, dict) else draft for draft in drafts])
                    bar.at(place, self.answered)

    def _answer(self, answers: list[Receipt | CatalystError | None]) -> None:
        """Write what became of some lines; None is an empty line, which is not answered."""
        for answer in answers:
            self.line += 1
            if answer is None:
                continue
            if isinstance(answer, Receipt):
                console.say_json(answer)
            else:
                self.refused += 1
                console.say_json(answer.as_dict() | {"line": self.line})
                if type(answer) is Unavailable:
                    raise answer
            self.answered += 1


def _draft_of(line: bytes) -> dict[str, Any] | CatalystError | None:
    """A line as a draft whose values are sent as they were written; or why it is none."""
    if not line.strip():
        return None
    try:
        decode(line)
        draft: dict[str, Any] = dict(_decode_raw(line))
    except InvalidJson as fault:
        where = fault.message.replace("the body is not valid JSON at line 1, column", "not valid JSON at column")
        return InvalidJson(where, got=fault.got, **fault.extra)
    except msgspec.MsgspecError:
        return InvalidDraft(
            "a signal is a JSON object", got=line[:80].decode(errors="replace"), allowed="a JSON object"
        )
    if "id" in draft:
        draft["id"] = msgspec.json.decode(draft["id"])
    return draft


def size_of(file: int) -> int | None:
    """How many bytes there are to read, if that is known."""
    about = os.fstat(file)
    return about.st_size if stat.S_ISREG(about.st_mode) and about.st_size else None


async def chunks_of_lines(file: int) -> AsyncIterator[list[bytes]]:
    """Whatever whole lines have come, as soon as they have."""
    rest = b""
    while True:
        await _readable(file)
        piece = os.read(file, CHUNK_BYTES)
        *lines, rest = (rest + piece).split(b"\n")
        if not piece and rest:
            lines, rest = [rest], b""
        if lines:
            yield lines
        if not piece:
            return
        if len(rest) > LINE_BYTES_MAX:
            raise TooLarge(f"a line has more than {LINE_BYTES_MAX} bytes; NDJSON is a signal a line", field="--json")


async def _readable(file: int) -> None:
    """Come back when a read would not wait. A file never waits, and the loop cannot watch it."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    try:
        loop.add_reader(file, _done, ready)
    except (PermissionError, NotImplementedError):
        return
    try:
        await ready
    finally:
        loop.remove_reader(file)


def _done(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)
