"""`catalyst listen`: what comes, and what came while one was away.

Owns: the three ways an event is shown (JSON lines, text lines, the table) and which one is meant.
Law: with --json standard output holds events and nothing else, each written out before the next is awaited. An event
that was shown is not shown again by the next `listen` with the same --state, whatever ended this one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol, Self

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
from catalyst_signals.cli.stopping import run_until_stopped
from catalyst_signals.client import CaughtUp, Gap, State, connect
from catalyst_signals.events import Position
from catalyst_signals.signals import ENDINGS
from catalyst_signals.words import span_of

AWAY_S = 60.0  # Who was away for less is not told what came meanwhile: it is on the screen.


def add_to(app: typer.Typer) -> None:
    """Hang the commands in."""
    app.command(
        "listen",
        epilog=examples(
            "catalyst listen",
            "catalyst listen --filter 'symbol in (ACME, GLBX) and confidence >= 0.7'",
            "catalyst listen --after 0 --json | jq .data.action",
            "catalyst listen --json --count 1                  wait for the next one",
            "catalyst listen --state ~/.catalyst/me            go on where it stopped",
            "catalyst listen --after 0 --mode latest           the newest of each first",
            note="On a terminal a live table, else a line a signal. It survives restarts of the server. Ctrl-C ends.",
        ),
    )(listen)


class Presenter(Protocol):
    """Where events are shown."""

    def event(self, event: dict[str, Any]) -> None:
        """Show it."""

    def state(self, state: str) -> None:
        """The connection is connecting, live, reconnecting or closed."""

    def tell(self, text: str) -> None:
        """Something that is no event."""

    def news(self, text: str) -> None:
        """What was caught up with after some time away."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *_: object) -> None: ...


class Stale(StrEnum):
    """What becomes of a signal that has expired before it is sent."""

    HOLD = "hold"
    SEND = "send"


class Mode(StrEnum):
    """What of an instrument is sent while catching up."""

    ALL = "all"
    LATEST = "latest"


class Ended(StrEnum):
    """What becomes, while catching up, of versions that a later one replaces."""

    SEND = "send"
    HOLD = "hold"


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody wants to hear. With a `state` file and no `after` it goes on from the place that is kept there."""

    channel: str = "main"
    filter: str | None = None
    after: int | Position | None = None
    count: int | None = None
    stale: Literal["hold", "send"] = "hold"
    max_age_s: int | None = None
    mode: Literal["all", "latest"] = "all"
    ended: Literal["hold", "send"] = "send"
    state: Path | None = None


@dataclass(slots=True)
class Heard:
    """What came of it: the place where it ended, and what the server held back, by reason."""

    place: Position | None = None
    held: Mapping[str, int] = field(default_factory=dict)


def listen(
    channel: Channel = "main",
    filter: Filter = None,
    after: After = None,
    count: Annotated[int | None, typer.Option(min=1, metavar="N", help="End after so many.")] = None,
    stale: Annotated[Stale, typer.Option(help="What has expired before it is sent: hold it back, or send it.")] = (
        Stale.HOLD
    ),
    max_age_s: Annotated[
        int | None, typer.Option("--max-age-s", min=1, metavar="N", help="Hold back what is older.")
    ] = None,
    mode: Annotated[Mode, typer.Option(help="While catching up: all, or the newest of each instrument.")] = Mode.ALL,
    ended: Annotated[
        Ended, typer.Option(help="While catching up: send or hold back what a later version replaces.")
    ] = Ended.SEND,
    state: Annotated[
        Path | None,
        typer.Option(
            "--state", metavar="FILE", dir_okay=False, help="Keep the place there, and go on from it without --after."
        ),
    ] = None,
    json: Json = False,
    url: Url = DEFAULT_URL,
    key: Key = None,
) -> None:
    """Show signals as they come, each with what becomes of it."""
    server = server_of(url, key)
    wish = Wish(
        channel, filter, place_of(after, channel), count, stale.value, max_age_s, mode.value, ended.value, state
    )  # fmt: skip
    heard = Heard()
    with console.pointing_at(filter):
        run_until_stopped(show(server, wish, presenter_of(wish, server.url, as_json=json), heard))
    if heard.held:
        console.tell(f"held back: {held_in_words(heard.held)}")
    if heard.place is not None and not json:
        place = f"--after {str(heard.place).rstrip(':')}" if state is None else f"--state {state}"
        console.tell(f"up to here; go on with: catalyst listen --channel {channel} {place}")


def presenter_of(wish: Wish, server: str, *, as_json: bool = False) -> Presenter:
    """The way that fits: JSON if asked for, a table on a terminal, else lines."""
    if as_json:
        return JsonLines()
    if not console.is_terminal():
        return TextLines()
    from catalyst_signals.cli.screen import Screen

    return Screen(wish.channel, wish.filter, server)


async def show(server: Server, wish: Wish, to: Presenter, heard: Heard) -> None:
    """Show what is wished for until that many came, or for ever; `heard` is filled in when it ends.

    Raises:
        CatalystError: the server cannot be reached at first, or refuses.
    """
    watch = Watch(to)
    async with connect(
        server.url, server.key, channel=wish.channel, state=wish.state, on_state=watch.state,
        on_gap=lambda gap: to.tell(_gap_in_words(gap)), on_caught_up=watch.caught_up,
        on_reconnect=lambda reason: to.tell(f"connected again, after: {console.clean(reason.partition(';')[0])}"),
    ) as catalyst, to:  # fmt: skip
        stream = catalyst.events(
            wish.filter, after=wish.after, stale=wish.stale, max_age_s=wish.max_age_s, mode=wish.mode, ended=wish.ended
        )
        left = wish.count
        try:
            async for event in stream:
                watch.event(event)
                stream.done()
                left = None if left is None else left - 1
                if left == 0:
                    return
        finally:
            heard.place, heard.held = stream.position, stream.held


@dataclass(slots=True)
class Watch:
    """Between the stream and who shows it: counts what ended while nobody was there."""

    to: Presenter
    live: bool = False
    ended: int = 0

    def event(self, event: dict[str, Any]) -> None:
        """Show it."""
        self.ended += not self.live and event["type"] in ENDINGS
        self.to.event(event)

    def state(self, state: State) -> None:
        """The connection is connecting, live, reconnecting or closed."""
        self.live = state == "live"
        self.to.state(state)

    def caught_up(self, news: CaughtUp) -> None:
        """Say what was missed, to who was away or does not see all of it."""
        ended, self.ended = self.ended, 0
        if news.held or (news.away_s or 0) >= AWAY_S:
            self.to.news(caught_up_in_words(news, ended))


def caught_up_in_words(news: CaughtUp, ended: int) -> str:
    """`caught up: 14 events in 6h 31m away, 2 ended; 9 had expired meanwhile (--stale send shows them)`."""
    away = f" in {span_of(news.away_s)} away" if news.away_s else ""
    came = f"caught up: {news.received:,} event{'' if news.received == 1 else 's'}{away}"
    return "; ".join(filter(None, [f"{came}, {ended:,} ended" if ended else came, held_in_words(news.held)]))


def held_in_words(held: Mapping[str, int]) -> str:
    """What was held back, and how it is seen all the same."""
    words = ((count, _HELD.get(reason, console.clean(reason))) for reason, count in held.items() if count)
    return ", ".join(f"{count:,} {says.replace('{were}', 'was' if count == 1 else 'were')}" for count, says in words)


_HELD = {
    "expired": "had expired meanwhile (--stale send shows them)",
    "aged": "{were} too old (--max-age-s)",
    "replaced": "{were} not the newest (--mode all shows them)",
    "ended": "{were} replaced by a later version (--ended send shows them)",
}


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

    def news(self, text: str) -> None:
        """Nothing: a program is told at the end what was held back."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None: ...


class TextLines(JsonLines):
    """Each event as a line of text."""

    def event(self, event: dict[str, Any]) -> None:
        """One line, at once."""
        console.say(line_of(event))
        console.flush()

    def news(self, text: str) -> None:
        """On standard error."""
        console.tell(text)
