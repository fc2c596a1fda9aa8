"""The live table of `catalyst listen`: a row a signal, newest on top, ages ticking, until it is left.

Owns: the picture around the table, when it is drawn, how long what ended stays. Knows nothing of connections: it is
told what happens.
Law: drawing costs the same however fast signals come: it is done a few times a second, of the newest rows only.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from datetime import UTC, datetime
from itertools import islice
from textwrap import wrap
from typing import Any, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.text import Text

from catalyst_signals.cli.table import AGE, COLOURS, DIM, Row, table_of
from catalyst_signals.signals import ENDINGS
from catalyst_signals.words import CHANGES, action_of

ROWS_MAX = 500  # More than any screen has; what is gone from here is in `catalyst history`.
DRAWS_PER_S = 5
TOLD_S = 15.0  # How long a line at the bottom stays.
NEWS_S = 600.0  # How long what was caught up with is shown: who opens the lid looks at the mail first.
LEAVES_S = 60.0  # How long a signal that ended is shown.
WIDE = 100  # From here on the header has room for a filter and the server's address.

_STATES = {
    "live": ("●", "green", "live"), "connecting": ("○", "yellow", "connecting"),
    "reconnecting": ("○", "red", "reconnecting"), "closed": ("○", DIM, "ended"),
}  # fmt: skip


class Screen:
    """The live table, until it is left; `async with` it, and tell it of events, states and whatever else happens."""

    def __init__(self, channel: str, filter: str | None, server: str, console: Console | None = None) -> None:
        self._console = console or Console()
        self._title = (channel, filter, server)
        self._rows: dict[str, dict[str, Any]] = {}  # By signal, the newest last.
        # What ended, and when it goes.
        self._leaving: deque[tuple[float, str, dict[str, Any]]] = deque(maxlen=ROWS_MAX)
        self._counts: Counter[str] = Counter()
        self._signals = 0
        self._state = "connecting"
        self._told, self._told_s = "", 0.0
        self._news, self._news_s = "", 0.0
        self._last = 0
        self._live = Live(console=self._console, screen=True, auto_refresh=False)
        self._draw: asyncio.Task[None] | None = None

    def event(self, event: dict[str, Any]) -> None:
        """A new row; or another version of one, which keeps its place if that is in sight."""
        is_signal = str(event.get("type", "")).startswith("signal.")
        key = str(event.get("id")) if is_signal else f"seq {event.get('seq')}"
        if key in self._rows and key not in self._in_sight():
            del self._rows[key]
        self._rows[key] = event
        if len(self._rows) > ROWS_MAX:
            del self._rows[next(iter(self._rows))]
        if event.get("type") in ENDINGS:
            self._leaving.append((time.monotonic() + LEAVES_S, key, event))
        self._signals += is_signal and event.get("type") not in CHANGES
        self._counts[action_of(event)] += 1
        self._last = event.get("seq", self._last)

    def _in_sight(self) -> list[str]:
        return list(islice(reversed(self._rows), self._room))

    @property
    def _room(self) -> int:
        """How many rows there is room for."""
        return max(1, self._console.size.height - 5 - len(self._news_lines()))

    def _news_lines(self) -> list[str]:
        """What was caught up with, on as many lines as it needs."""
        if not self._news or time.monotonic() - self._news_s > NEWS_S:
            return []
        return wrap(self._news, max(20, self._console.size.width - 2), max_lines=3, placeholder=" ...")

    def _let_go(self) -> None:
        """What ended a while ago is in `catalyst history`."""
        while self._leaving and self._leaving[0][0] <= time.monotonic():
            _, key, event = self._leaving.popleft()
            if self._rows.get(key) is event:
                del self._rows[key]

    def state(self, state: str) -> None:
        """How the connection is: connecting, live, reconnecting or closed."""
        self._state = state

    def tell(self, text: str) -> None:
        """A line at the bottom, for a while."""
        self._told, self._told_s = f"{datetime.now():%H:%M:%S} {text}", time.monotonic()

    def news(self, text: str) -> None:
        """What was caught up with: a line at the top, for longer."""
        self._news, self._news_s = f"{datetime.now():%H:%M} {text}", time.monotonic()

    async def __aenter__(self) -> Self:
        self._live.start()
        self._draw = asyncio.create_task(self._draw_for_ever())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._draw is not None:
            self._draw.cancel()
            await asyncio.gather(self._draw, return_exceptions=True)
        self._live.stop()
        self._leave()

    async def _draw_for_ever(self) -> None:
        while True:
            self._live.update(self.picture(datetime.now(UTC)), refresh=True)
            await asyncio.sleep(1 / DRAWS_PER_S)

    def _leave(self) -> None:
        """The alternate screen is gone: leave what it showed last in the terminal's own."""
        if self._rows:
            now = datetime.now(UTC)
            width, height = self._console.size
            rows = [Row.of(self._rows[key], now) for key in islice(reversed(self._rows), max(3, height - 6))]
            self._console.print(table_of(rows, width - 1, AGE))

    def picture(self, now: datetime) -> RenderableType:
        """The whole screen."""
        self._let_go()
        width, room = self._console.size.width, self._room
        rows = [Row.of(self._rows[key], now) for key in self._in_sight()]
        middle: RenderableType = table_of(rows, width - 2, AGE) if rows else self._waiting()
        used = len(rows) + 1 if rows else 4
        news = [Text(f" {line}", "bold cyan", no_wrap=True, overflow="crop") for line in self._news_lines()]
        parts: list[RenderableType] = [self._header(width), *news, _rule(width), _indented(middle)]
        if used < room + 1:
            parts.append(Text("\n" * max(0, room - used)))
        return Group(*parts, _rule(width), self._footer(width))

    def _waiting(self) -> RenderableType:
        return Text.assemble(
            "\n", ("Waiting for the first signal. From another terminal:\n\n", DIM),
            ("  catalyst publish ACME BUY --confidence 0.82 --stop 9.40", "bold"),
        )  # fmt: skip

    def _header(self, width: int) -> Text:
        channel, filter, server = self._title
        mark, colour, words = _STATES.get(self._state, _STATES["connecting"])
        right = Text(f"{mark} {words} ", colour)
        if not filter or width >= WIDE:
            right.append(f" {server} ", DIM)
        left = Text.assemble((" CATALYST ", "bold reverse"), f" {channel}")
        if filter:
            left.append(f"  {filter}", "italic")
        return _two_ends(left, right, width)

    def _footer(self, width: int) -> Text:
        right = Text.assemble((f"at {self._last:,}  " if self._last else "", ""), ("Ctrl-C leaves ", DIM))
        if self._told and time.monotonic() - self._told_s < TOLD_S:
            return _two_ends(Text(f" {self._told}", "yellow"), right, width)
        left = Text(f" {self._signals:,} signal{'' if self._signals == 1 else 's'}")
        for action, count in self._counts.most_common(5):
            left.append(f"  {action} ", COLOURS.get(action, DIM)).append(f"{count:,}")
        return _two_ends(left, right, width)


def _two_ends(left: Text, right: Text, width: int) -> Text:
    """One line with something at either end; the left gives way."""
    room = max(0, width - right.cell_len - 1)
    left.truncate(room, overflow="ellipsis", pad=True)
    line = left + Text(" ") + right
    line.no_wrap, line.overflow = True, "crop"
    return line


def _rule(width: int) -> Text:
    return Text("─" * width, DIM, no_wrap=True, overflow="crop")


def _indented(what: RenderableType) -> RenderableType:
    return Padding(what, (0, 1))
