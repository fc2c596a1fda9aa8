"""`catalyst history`: what is stored, page by page; with --id the life of one signal.

Owns: how the log is read and shown. What a version looks like stands in life.py.
Law: with --json standard output holds events as the server wrote them and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Annotated

import msgspec
import typer

from catalyst_signals.cli import console
from catalyst_signals.cli.life import show_life
from catalyst_signals.cli.lines import line_of
from catalyst_signals.cli.options import (
    DEFAULT_URL,
    After,
    Channel,
    Filter,
    Json,
    Key,
    Mistake,
    Url,
    examples,
    place_of,
    server_of,
)
from catalyst_signals.cli.rest import Rest
from catalyst_signals.events import Position

PAGE = 1000  # Events asked for at once: a third of a megabyte.
SHOWN_MAX = 100  # What is shown on a terminal unless it is asked for more.


def add_to(app: typer.Typer) -> None:
    """Hang the command in."""
    app.command(
        "history",
        epilog=examples(
            "catalyst history",
            "catalyst history --after 10400 --limit 20",
            "catalyst history --filter 'catalyst.type = fda.approval' --json > approvals.ndjson",
            "catalyst history --id fda-2291                    what became of one signal",
            note=f"On a terminal a table of at most {SHOWN_MAX} unless --limit says more; else all, a line a signal.",
        ),
    )(history)


def history(
    channel: Channel = "main",
    filter: Filter = None,
    after: After = None,
    limit: Annotated[int | None, typer.Option(min=1, metavar="N", help="At most so many.")] = None,
    id: Annotated[
        str | None, typer.Option("--id", metavar="ID", help="Every version of this one signal, and how it ended.")
    ] = None,
    json: Json = False,
    url: Url = DEFAULT_URL,
    key: Key = None,
) -> None:
    """Show what is stored, oldest first."""
    server = server_of(url, key)
    if id is not None:
        if filter is not None or after is not None or limit is not None:
            raise Mistake("with --id every version of that signal is shown; leave --filter, --after and --limit out")
        return show_life(server, channel, id, as_json=json)
    place = place_of(after or "0", channel)
    seq, epoch = (place.seq, place.epoch) if isinstance(place, Position) else (place or 0, None)
    table = console.is_terminal() and not json
    most = limit or (SHOWN_MAX if table else None)
    with Rest(server) as rest, console.pointing_at(filter):
        reading = Reading(rest, channel, filter, seq, epoch)
        events = reading.events(most)
        if json:
            for event in events:
                console.say(bytes(event).decode())
        elif table:
            _show_table(events, reading)
        else:
            for event in events:
                console.say(line_of(msgspec.json.decode(event)))
    if not limit and most and reading.found == most:
        console.tell(f"there may be more: catalyst history --channel {channel} --after {reading.last}")
    elif table and not reading.found:
        console.tell(f"nothing in {channel} after {seq}" + (" matches" if filter else ""))
    return None


class _Page(msgspec.Struct):
    events: list[msgspec.Raw]
    complete_through: int
    head: int
    epoch: str


class _Place(msgspec.Struct):
    seq: int


@dataclass(slots=True)
class Reading:
    """A walk through what is stored: `found` events so far, the last at `last`."""

    rest: Rest
    channel: str
    filter: str | None
    after: int
    epoch: str | None
    found: int = 0
    last: int = 0

    def events(self, most: int | None) -> Iterator[msgspec.Raw]:
        """Matching events as the server wrote them, at most so many, with a progress bar when it takes pages."""
        every = self._every(most)
        yield from every if most is None else islice(every, most)

    def _every(self, most: int | None) -> Iterator[msgspec.Raw]:
        bar = None
        try:
            while True:
                limit = PAGE if most is None else min(PAGE, most - self.found)
                page = self._page(limit)
                for event in page.events:
                    self.found += 1
                    self.last = msgspec.json.decode(event, type=_Place).seq
                    yield event
                if page.complete_through >= page.head or (most is not None and self.found >= most):
                    return
                if bar is None:
                    bar = console.Bar("reading", "events", page.head - self.after, beside=True)
                    start = self.after
                self.after = page.complete_through
                bar.at(self.after - start, self.found)
        finally:
            if bar is not None:
                bar.close()

    def _page(self, limit: int) -> _Page:
        raw = self.rest.raw(
            "v1",
            "channels",
            self.channel,
            "events",
            after=self.after,
            limit=limit,
            filter=self.filter,
            epoch=self.epoch,
        )
        self.epoch = None  # It was checked; pages after this one may lie in a later epoch.
        return msgspec.json.decode(raw, type=_Page)


def _show_table(events: Iterator[msgspec.Raw], reading: Reading) -> None:
    """A page at a time, so that the first rows are there at once; the columns keep their widths."""
    from rich.console import Console

    from catalyst_signals.cli.table import TIME, Row, table_of

    out = Console(highlight=False)
    titles = True
    while page := list(islice(events, 100)):
        now = datetime.now(UTC)
        rows = [Row.of(msgspec.json.decode(event), now) for event in page]
        out.print(table_of(rows, out.width - 1, TIME, titles=titles))
        titles = False
