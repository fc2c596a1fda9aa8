"""`catalyst listen` and `catalyst history`: what comes, and what was.

Owns: the three ways an event is shown (JSON lines, text lines, the table) and which one is meant.
Law: with --json standard output holds events and nothing else, each written out before the next is awaited.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Annotated, Any, Protocol, Self

import msgspec
import typer

from catalyst_signals.cli import console
from catalyst_signals.cli.lines import line_of
from catalyst_signals.cli.options import (
    DEFAULT_URL,
    After,
    Channel,
    Filter,
    Json,
    Key,
    Server,
    Url,
    examples,
    place_of,
    server_of,
)
from catalyst_signals.cli.rest import Rest
from catalyst_signals.cli.stopping import run_until_stopped
from catalyst_signals.client import Gap, connect
from catalyst_signals.events import Position

PAGE = 1000  # Events asked for at once: a third of a megabyte.
SHOWN_MAX = 100  # What `history` shows on a terminal unless it is asked for more.


def add_to(app: typer.Typer) -> None:
    """Hang the commands in."""
    app.command(
        "listen",
        epilog=examples(
            "catalyst listen",
            "catalyst listen --filter 'symbol in (ACME, GLBX) and confidence >= 0.7'",
            "catalyst listen --after 0 --json | jq .data.action",
            "catalyst listen --json --count 1                  wait for the next one",
            note="On a terminal a live table, else a line a signal. It survives restarts of the server. Ctrl-C ends.",
        ),
    )(listen)
    app.command(
        "history",
        epilog=examples(
            "catalyst history",
            "catalyst history --after 10400 --limit 20",
            "catalyst history --filter 'catalyst.type = fda.approval' --json > approvals.ndjson",
            note=f"On a terminal a table of at most {SHOWN_MAX} unless --limit says more; else all, a line a signal.",
        ),
    )(history)


class Presenter(Protocol):
    """Where events are shown."""

    def event(self, event: dict[str, Any]) -> None:
        """Show it."""

    def state(self, state: str) -> None:
        """The connection is connecting, live, reconnecting or closed."""

    def tell(self, text: str) -> None:
        """Something that is no event."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *_: object) -> None: ...


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody wants to hear."""

    channel: str = "main"
    filter: str | None = None
    after: int | Position | None = None
    count: int | None = None


def listen(
    channel: Channel = "main",
    filter: Filter = None,
    after: After = None,
    count: Annotated[int | None, typer.Option(min=1, metavar="N", help="End after so many.")] = None,
    json: Json = False,
    url: Url = DEFAULT_URL,
    key: Key = None,
) -> None:
    """Show signals as they come."""
    server = server_of(url, key)
    wish = Wish(channel, filter, place_of(after, channel), count)
    places: list[Position | None] = []
    with console.pointing_at(filter):
        run_until_stopped(show(server, wish, presenter_of(wish, server.url, as_json=json), places))
    if places and places[-1] is not None and not json:
        place = str(places[-1]).rstrip(":")
        console.tell(f"up to here; go on with: catalyst listen --channel {channel} --after {place}")


def presenter_of(wish: Wish, server: str, *, as_json: bool = False) -> Presenter:
    """The way that fits: JSON if asked for, a table on a terminal, else lines."""
    if as_json:
        return JsonLines()
    if not console.is_terminal():
        return TextLines()
    from catalyst_signals.cli.screen import Screen

    return Screen(wish.channel, wish.filter, server)


async def show(server: Server, wish: Wish, to: Presenter, places: list[Position | None]) -> None:
    """Show what is wished for until that many came, or for ever; `places` gets the place where it ended.

    Raises:
        CatalystError: the server cannot be reached at first, or refuses.
    """
    async with connect(
        server.url, server.key, channel=wish.channel, on_state=to.state, on_gap=lambda gap: to.tell(_gap_in_words(gap)),
        on_reconnect=lambda reason: to.tell(f"connected again, after: {console.clean(reason.partition(';')[0])}"),
    ) as catalyst, to:  # fmt: skip
        stream = catalyst.events(wish.filter, after=wish.after)
        shown = 0
        try:
            left = wish.count
            async for event in stream:
                to.event(event)
                shown = event["seq"]
                left = None if left is None else left - 1
                if left == 0:
                    return
        finally:
            place = stream.position
            if place is not None and place.seq < shown:  # It moves over an event only when the next one is asked for.
                place = Position(place.channel, place.epoch, shown)
            places.append(place)


def _gap_in_words(gap: Gap) -> str:
    first, last = gap.void
    if gap.reason == "sent":
        return f"{first} to {last} are read again: the server counts otherwise"
    if gap.reason == "position_ahead":
        return f"{gap.channel} ends at {gap.resume_after}, {last} does not exist yet; going on from its end"
    return (
        f"{first} to {last} of {gap.channel} cannot be had any more ({gap.reason}); going on after {gap.resume_after}"
    )


class JsonLines:
    """Each event as it is on the wire; the rest for a person, on standard error."""

    def event(self, event: dict[str, Any]) -> None:
        """One line, at once."""
        console.say_json(event)

    def state(self, state: str) -> None:
        """Only a lost connection is worth a word."""
        if state == "reconnecting":
            console.tell("the connection is lost; trying again")

    def tell(self, text: str) -> None:
        """On standard error."""
        console.tell(text)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None: ...


class TextLines(JsonLines):
    """Each event as a line of text."""

    def event(self, event: dict[str, Any]) -> None:
        """One line, at once."""
        console.say(line_of(event))
        console.flush()


def history(
    channel: Channel = "main",
    filter: Filter = None,
    after: After = "0",
    limit: Annotated[int | None, typer.Option(min=1, metavar="N", help="At most so many.")] = None,
    json: Json = False,
    url: Url = DEFAULT_URL,
    key: Key = None,
) -> None:
    """Show what is stored, oldest first."""
    place = place_of(after, channel)
    seq, epoch = (place.seq, place.epoch) if isinstance(place, Position) else (place or 0, None)
    table = console.is_terminal() and not json
    most = limit or (SHOWN_MAX if table else None)
    with Rest(server_of(url, key)) as rest, console.pointing_at(filter):
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
