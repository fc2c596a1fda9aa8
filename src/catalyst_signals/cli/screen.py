"""The live table of `catalyst listen`: newest on top, ages ticking, until it is left.

Owns: the picture around the table, when it is drawn. Knows nothing of connections: it is told what happens.
Law: drawing costs the same however fast signals come: it is done a few times a second, of the newest rows only.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from datetime import UTC, datetime
from typing import Any, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.text import Text

from catalyst_signals.cli.lines import action_of
from catalyst_signals.cli.table import AGE, COLOURS, DIM, Row, table_of

ROWS_MAX = 500  # More than any screen has; what is gone from here is in `catalyst history`.
DRAWS_PER_S = 5
TOLD_S = 15.0  # How long a line at the bottom stays.
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
        self._rows: deque[dict[str, Any]] = deque(maxlen=ROWS_MAX)
        self._counts: Counter[str] = Counter()
        self._state = "connecting"
        self._told, self._told_s = "", 0.0
        self._last = 0
        self._live = Live(console=self._console, screen=True, auto_refresh=False)
        self._draw: asyncio.Task[None] | None = None

    def event(self, event: dict[str, Any]) -> None:
        """A new row."""
        self._rows.appendleft(event)
        self._counts[action_of(event)] += 1
        self._last = event.get("seq", self._last)

    def state(self, state: str) -> None:
        """How the connection is: connecting, live, reconnecting or closed."""
        self._state = state

    def tell(self, text: str) -> None:
        """A line at the bottom, for a while."""
        self._told, self._told_s = f"{datetime.now():%H:%M:%S} {text}", time.monotonic()

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
            rows = [Row.of(event, now) for event in list(self._rows)[: max(3, height - 6)]]
            self._console.print(table_of(rows, width - 1, AGE))

    def picture(self, now: datetime) -> RenderableType:
        """The whole screen."""
        width, height = self._console.size
        room = max(1, height - 5)
        rows = [Row.of(event, now) for event in list(self._rows)[:room]]
        middle: RenderableType = table_of(rows, width - 2, AGE) if rows else self._waiting()
        used = len(rows) + 1 if rows else 4
        filler = Text("\n" * max(0, room + 1 - used - 1)) if used < room + 1 else Text("")
        parts: list[RenderableType] = [self._header(width), _rule(width), _indented(middle)]
        if used < room + 1:
            parts.append(filler)
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
        total = self._counts.total()
        right = Text.assemble((f"at {self._last:,}  " if self._last else "", ""), ("Ctrl-C leaves ", DIM))
        if self._told and time.monotonic() - self._told_s < TOLD_S:
            return _two_ends(Text(f" {self._told}", "yellow"), right, width)
        left = Text(f" {total:,} signal{'' if total == 1 else 's'}")
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
