"""A connection that is made again whenever it drops, and what the user is told of that.

Owns: the waits between dials, callbacks, counters. Knows nothing of what goes over the connection.
Law: before another try comes a growing random wait, or the one the server asked for, so that a thousand clients do
not come back at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Literal

from catalyst_signals.backoff import Backoff
from catalyst_signals.client.absence import CaughtUp
from catalyst_signals.client.cursor import Gap
from catalyst_signals.client.link import Dropped, Link
from catalyst_signals.errors import CatalystError

BACKOFF_S = (0.2, 5.0)  # Ceiling of the first wait and of any wait.

State = Literal["connecting", "live", "reconnecting", "closed"]


@dataclass(slots=True)
class Stats:
    """Counters of one client. `received` counts events as they arrive, the duplicates and the stale ones among them.

    `held` is what the server held back, by reason, as far as it has told.
    """

    received: int = 0
    dropped_duplicates: int = 0
    stale: int = 0
    reconnects: int = 0
    gaps: int = 0
    held: dict[str, int] = field(default_factory=dict)


class Hooks:
    """What the client tells its user: callbacks (plain functions), counters and the last known state."""

    def __init__(
        self,
        on_reconnect: Callable[[str], object] | None = None,
        on_gap: Callable[[Gap], object] | None = None,
        on_state: Callable[[State], object] | None = None,
        on_caught_up: Callable[[CaughtUp], object] | None = None,
    ) -> None:
        self.stats = Stats()
        self.state: State = "closed"
        self._on_reconnect = on_reconnect
        self._on_gap = on_gap
        self._on_state = on_state
        self._on_caught_up = on_caught_up

    def now(self, state: State) -> None:
        """Say it, once."""
        if state != self.state:
            self.state = state
            if self._on_state is not None:
                self._on_state(state)

    def lost(self) -> None:
        """A connection dropped."""
        self.now("reconnecting")

    def again(self, reason: str) -> None:
        """A connection that dropped for `reason` is back."""
        self.stats.reconnects += 1
        if self._on_reconnect is not None:
            self._on_reconnect(reason)

    def gap(self, gap: Gap) -> None:
        """A range is not as it should be."""
        self.stats.gaps += 1
        if self._on_gap is not None:
            self._on_gap(gap)

    def caught_up(self, news: CaughtUp) -> None:
        """A stream that was behind is live again."""
        if self._on_caught_up is not None:
            self._on_caught_up(news)


class Line:
    """A connection that is made again whenever it dropped. `prepare` makes a new one usable before anyone sees it."""

    def __init__(
        self,
        dial: Callable[[], Awaitable[Link]],
        prepare: Callable[[Link], Awaitable[None]],
        hooks: Hooks,
    ) -> None:
        self._dial = dial
        self._prepare = prepare
        self._hooks = hooks
        self._dropped: Dropped | None = None
        self._closed = False
        self.again = Backoff(*BACKOFF_S)  # Whoever sees progress sets its `tries` to 0.
        self.link: Link | None = None

    async def open(self) -> None:
        """Have a prepared link, however long that takes; returns without one only when closed meanwhile.

        Raises:
            CatalystError: a refusal that trying again would not change.
        """
        while self.link is None and not self._closed:
            if self._dropped is not None:
                wait_s = self._dropped.wait_s
                await asyncio.sleep(self.again.next_s() if wait_s is None else wait_s)
            try:
                await self._try()
            except Dropped as dropped:
                self.lose(dropped)
            except CatalystError as refused:
                self._give_up_link()
                if not refused.retry:
                    raise
                self.lose(Dropped(refused.message, refused.extra.get("retry_after_s")))
        if self._dropped is not None and self.link is not None:
            reason, self._dropped = self._dropped.reason, None
            self._hooks.again(reason)

    async def _try(self) -> None:
        link = await self._dial()
        try:
            await self._prepare(link)
        except BaseException:
            link.abort("it could not be prepared")
            raise
        if self._closed:
            link.abort("closed")
        else:
            self.link = link

    def lose(self, dropped: Dropped) -> None:
        """The link is gone, or not to be trusted any more."""
        self._give_up_link()
        self._dropped = dropped
        self._hooks.lost()

    def _give_up_link(self) -> None:
        link, self.link = self.link, None
        if link is not None:
            link.abort("given up")

    async def close(self) -> None:
        """For good; whoever waits for a message is told the connection dropped."""
        self._closed = True
        link, self.link = self.link, None
        if link is not None:
            await link.close()
