"""One subscription as an async iterator that survives drops, restarts and restores.

Owns: the order of messages with drops and filter changes. Knows nothing of sockets, keys or what a signal means.
Law: the consumer gets each event once, in order, or is told which range and why not. The place moves over an event
only when the consumer asks for the next one, so an event whose handler failed is not passed.

There is no task and no queue here: whoever asks for the next event reads the socket.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from itertools import count
from types import TracebackType
from typing import Any, Final, Generic, Self, TypeVar

from catalyst_signals.client.absence import Absence, is_behind
from catalyst_signals.client.acks import Acks
from catalyst_signals.client.cursor import Cursor
from catalyst_signals.client.line import Hooks, Line
from catalyst_signals.client.link import Dropped, Link, encode
from catalyst_signals.client.shown import FilterLike, Shown
from catalyst_signals.client.state import Bookmark
from catalyst_signals.errors import CatalystError, PositionLost, Unsupported, from_dict
from catalyst_signals.events import Position

ASKS_MAX: Final = 5  # For one subscription: again after a gap, again when the filter was changed meanwhile, no more.

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish(Generic[T]):
    """What a stream is to give. `shape` makes of an event what is handed out, or None to pass over it.

    `strict`: gaps are raised, not told. `ends_at_head`: the stream ends when the server says `live`, or after `limit`.
    `modifiers`: those that are not the server's default. `bookmark`: where the place is kept. `ack`: the server is told
    how far the consumer is done.
    """

    channel: str
    after: Position | None
    shape: Callable[[dict[str, Any]], T | None]
    strict: bool = False
    position_s: int | None = None
    ends_at_head: bool = False
    limit: int | None = None
    modifiers: Mapping[str, Any] = field(default_factory=dict)
    bookmark: Bookmark | None = None
    ack: bool = False


@dataclass(slots=True)
class _Change:
    """A filter change under way: the `ref` it was sent with, the filter before it, and the server's answer."""

    ref: int
    before: FilterLike
    done: bool = False
    refused: CatalystError | None = None


class Stream(Generic[T]):
    """Events of one channel that match a filter: an async iterator for one consumer, for ever.

    Its connection is its own. It is made by the first `anext` (or by `async with`) and kept through a `break`: iterate
    again and it goes on with the next one. `aclose()`, or the end of the client, gives it up.
    """

    def __init__(self, dial: Callable[[], Awaitable[Link]], hooks: Hooks, wish: Wish[T], filter: FilterLike) -> None:
        self.channel = wish.channel
        self.filter = filter  # As the user gave it; what is asked for may name signals besides.
        self.held: dict[str, int] = {}  # What the server held back since the stream began, by reason.
        self._wish = wish
        self._hooks = hooks
        self._shape = wish.shape
        self._modifiers = dict(wish.modifiers)
        self._shown = Shown()
        self._held_here: Mapping[str, int] = {}  # As last told, since the last `subscribed`.
        self._handed = 0
        self._absence: Absence | None = None
        self._heard_at_s = wish.bookmark.at_s if wish.bookmark is not None else None
        self._left = wish.limit
        self._ended = wish.limit is not None and wish.limit < 1
        self._cursor = Cursor(wish.channel, wish.after)
        self._line = Line(dial, self._subscribe, hooks)
        self._acks = Acks(wish.channel, lambda: self._line.link, self._cursor.done) if wish.ack else None
        self._refs = count(1)
        self._turn = asyncio.Lock()  # Who holds it reads the socket.
        self._ahead: deque[dict[str, Any]] = deque()  # Read while a change waited for its answer.
        self._change: _Change | None = None
        self._changing = asyncio.Lock()
        self._controls = {
            "position": self._on_position, "subscribed": self._on_subscribed, "live": self._on_live,
            "error": self._on_error, "goaway": self._on_goaway,
        }  # fmt: skip

    @property
    def position(self) -> Position | None:
        """Done with everything up to here; `signals(after=...)` resumes there. None until the server said where."""
        return self._cursor.place

    @property
    def ended(self) -> bool:
        """Whether nothing more will come out of it."""
        return self._ended

    # -- the consumer's side ------------------------------------------------------------------------------------------

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        self.done()
        while not self._ended:
            message = self._ahead.popleft() if self._ahead else await self._next()
            control = self._controls.get(message.get("type", "")) if message is not None else None
            if control is not None and message is not None:
                control(message)
            elif message is not None and (item := self._event(message)) is not None:
                return item
            self._keep()
        await self.aclose()
        raise StopAsyncIteration

    def done(self) -> None:
        """What was handed out last is handled: the place moves over it without asking for the next one."""
        self._cursor.settle()
        self._keep()
        if self._acks is not None:
            self._acks.settled()

    async def __aenter__(self) -> Self:
        """The server has the subscription: what is published from here on arrives."""
        async with self._turn:
            await self._line.open()
        self._keep()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End the stream; its `position` stays readable."""
        self._ended = True
        if self._wish.bookmark is not None:
            self._wish.bookmark.release()
        if self._acks is not None:
            await self._acks.last()
        await self._line.close()

    def _keep(self) -> None:
        """Whatever happens to this process now, the next one begins here."""
        if self._wish.bookmark is not None and (place := self._cursor.place) is not None:
            self._wish.bookmark.move(place)

    async def change(self, filter: FilterLike) -> None:
        """Filter otherwise from where the stream stands: loses nothing, repeats nothing. Returns once it is in force.

        What the server had sent before still comes out first. May be called from the handler or from another task. A
        stream that was not begun yet begins with it.

        Raises:
            InvalidFilter: the server refused it; the filter before stays in force.
        """
        async with self._changing:
            before, self.filter = self.filter, filter
            link = self._line.link
            if link is None and not self._turn.locked():
                return
            self._change = change = _Change(next(self._refs), before)
            if link is not None:  # Else a subscribe is under way, which will see that the filter is another one now.
                await self._ask_on(link, change.ref)
            while not change.done and not self._ended:
                await self._read_ahead(change)
            if change.refused is not None:
                raise change.refused

    # -- reading the socket, one at a time ----------------------------------------------------------------------------

    async def _read_ahead(self, change: _Change) -> None:
        """One message more, unless the consumer read the answer meanwhile. Few: what was under way when we asked."""
        async with self._turn:
            message = None if change.done else await self._read()
            if message is not None:
                self._ahead.append(message)

    async def _next(self) -> dict[str, Any] | None:
        async with self._turn:
            return self._ahead.popleft() if self._ahead else await self._read()

    async def _read(self) -> dict[str, Any] | None:
        """The next message; None when there is a new connection, or the message was for us."""
        link = self._line.link
        if link is None:
            await self._line.open()
            return None
        try:
            message = await link.receive()
        except Dropped as dropped:
            self._lose(link, dropped)
            return None
        except CatalystError as final:
            self._lose(link, Dropped(final.message))
            raise
        self._heard_at_s = time.time()
        if self._change is None or message.get("ref") != self._change.ref:
            return message
        return self._answered(message)

    def _answered(self, message: dict[str, Any]) -> dict[str, Any] | None:
        if message["type"] != "error":
            self._conclude(None)
            return message
        self._conclude(from_dict(message))
        return None

    def _conclude(self, refused: CatalystError | None) -> None:
        """The change under way, if any, is in force, or the filter before it is again."""
        change, self._change = self._change, None
        if change is not None:
            change.done, change.refused = True, refused
            self.filter = self.filter if refused is None else change.before

    def _lose(self, link: Link, dropped: Dropped) -> None:
        """What was read ahead comes again: the place has not moved over it."""
        if link is self._line.link:
            self._ahead.clear()
            self._line.lose(dropped)

    # -- subscribing --------------------------------------------------------------------------------------------------

    async def _ask(self, link: Link, ref: int, where: dict[str, Any]) -> None:
        asked: dict[str, Any] = {"type": "subscribe", "ref": ref, "channel": self.channel, **where, **self._modifiers}
        if self.filter is not None:
            asked["filter"] = self._shown.with_shown(self.filter)
        if self._wish.position_s is not None:
            asked["position_s"] = self._wish.position_s
        await link.send(encode(asked))

    async def _ask_on(self, link: Link, ref: int) -> None:
        """Ask where the subscription stands. If that fails, the next connection is made with the new filter anyway."""
        try:
            await self._ask(link, ref, {})
        except Dropped as dropped:
            self._lose(link, dropped)

    async def _subscribe(self, link: Link) -> None:
        """Subscribe where we stand, on a new link; a refused place is told as a gap and left for a good one."""
        for _ in range(ASKS_MAX):
            ref, filter = next(self._refs), self.filter
            await self._ask(link, ref, self._cursor.where())
            while (answer := await link.receive()).get("ref") != ref:
                pass  # What an earlier ask of this loop set going comes again: each ask names the place.
            if answer["type"] == "subscribed":
                self._opened(answer)
                link.expect_positions(answer.get("position_s"))
                if self.filter is filter:
                    return self._conclude(None)
            else:
                self._refused(answer, filter)
        raise CatalystError(f"the server took none of {ASKS_MAX} subscriptions in a row to `{self.channel}`")

    def _opened(self, answer: dict[str, Any]) -> None:
        place, now_s = self._cursor.place, time.time()
        if place is not None and self._absence is None and is_behind(answer):
            away_s = None if self._heard_at_s is None else max(0.0, now_s - self._heard_at_s)
            self._absence = Absence(place, away_s, self._handed, dict(self.held))
        self._heard_at_s = now_s
        self._held_here = {}
        self._cursor.opened(answer["epoch"], answer["after"], answer.get("hash", ""))

    def _refused(self, answer: dict[str, Any], filter: FilterLike) -> None:
        """Return if asking again can help: another place after a gap, another filter after a change. Else raise."""
        error = from_dict(answer)
        if answer.get("retry") is True:
            raise Dropped(error.message, error.extra.get("retry_after_s"))
        if isinstance(error, PositionLost):
            self._jump(error)
        elif isinstance(error, Unsupported) and error.field == "stale" and self._modifiers.get("stale") == "send":
            del self._modifiers["stale"]  # A server that knows no age sends everything anyway.
        elif self.filter is filter:
            if self._change is None:
                raise error
            self._conclude(error)

    def _jump(self, error: PositionLost) -> None:
        gap = self._cursor.gap_of(error)
        if gap is None or self._wish.strict:
            raise error
        if self._cursor.go_on(gap, str(error.extra.get("epoch", ""))):
            self._hooks.gap(gap)

    # -- what arrives -------------------------------------------------------------------------------------------------

    def _event(self, message: dict[str, Any]) -> T | None:
        seq = message.get("seq")
        if type(seq) is not int or "." not in message.get("type", "") or message.get("channel") != self.channel:
            return None  # A kind of message that is newer than this client.
        self._line.again.tries = 0
        stats = self._hooks.stats
        stats.received += 1
        if not self._cursor.admit(seq, message.get("hash", "")):
            stats.dropped_duplicates += 1
            return None
        self._handed += 1
        if self._acks is not None:
            self._acks.handed(seq)
        item = self._shape(message)
        if item is not None and not self._wish.ends_at_head:
            self._shown.note(message)
        if item is not None and self._left is not None:
            self._left -= 1
            self._ended = self._left < 1
        return item

    def _on_position(self, message: dict[str, Any]) -> None:
        if message.get("channel") != self.channel:
            return
        through, sent = message["complete_through"], message.get("sent")
        if self._cursor.reached(message["epoch"], through, message.get("hash", ""), sent):
            self._line.again.tries = 0
            self._count_held(message.get("held") or {})
        else:
            self._distrust(through, sent)

    def _count_held(self, held: Mapping[str, int]) -> None:
        for reason, number in held.items():
            more = number - self._held_here.get(reason, 0)
            for counters in (self.held, self._hooks.stats.held):
                counters[reason] = counters.get(reason, 0) + more
        self._held_here = held

    def _distrust(self, through: int, sent: int | None) -> None:
        """The counts differ: give up the connection and read again from where they last agreed."""
        gap = self._cursor.rewind(through)
        reason = f"the server counts {sent} events up to {through} and other than that arrived; reading them again"
        if self._line.link is not None:
            self._lose(self._line.link, Dropped(reason))
        if self._wish.strict:
            raise PositionLost(reason, void=list(gap.void), resume_after=gap.resume_after)
        self._hooks.gap(gap)

    def _on_subscribed(self, message: dict[str, Any]) -> None:
        """A filter changed, ours or our rights: everything up to `after` was judged by the one before."""
        if message.get("channel") == self.channel:
            self._held_here = {}
            self._cursor.moved(message["epoch"], message["after"], message.get("hash", ""))

    def _on_error(self, message: dict[str, Any]) -> None:
        """The server gave up the subscription in the middle: what comes next in the log cannot be had, or not now."""
        if message.get("channel") != self.channel or "ref" in message:
            return
        error = from_dict(message)
        if self._line.link is not None:
            self._lose(self._line.link, Dropped(error.message, error.extra.get("retry_after_s")))
        if isinstance(error, PositionLost):
            self._jump(error)
        elif message.get("retry") is not True:
            raise error

    def _on_goaway(self, message: dict[str, Any]) -> None:
        if self._acks is not None:
            self._acks.at_once()

    def _on_live(self, message: dict[str, Any]) -> None:
        if message.get("channel") == self.channel:
            self._line.again.tries = 0
            self._ended = self._ended or self._wish.ends_at_head
            self._hooks.now("live")
            absence, self._absence = self._absence, None
            if absence is not None and not self._wish.ends_at_head:
                self._hooks.caught_up(absence.over(message.get("at", absence.since.seq), self._handed, self.held))
