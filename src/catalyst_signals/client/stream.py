"""One subscription as an async iterator that survives drops, restarts and restores.

Owns: the order of messages with drops and filter changes. Knows nothing of sockets, keys or what a signal means.
Law: the consumer gets each event once, in order, or is told which range and why not. The place moves over an event
only when the consumer asks for the next one, so an event whose handler failed is not passed.

There is no task and no queue here: whoever asks for the next event reads the socket.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from itertools import count
from types import TracebackType
from typing import Any, Final, Generic, Self, TypeVar

from catalyst_signals.client.cursor import Cursor
from catalyst_signals.client.line import Hooks, Line
from catalyst_signals.client.link import Dropped, Link, encode
from catalyst_signals.errors import CatalystError, PositionLost, from_dict
from catalyst_signals.events import Position

ASKS_MAX: Final = 5  # For one subscription: again after a gap, again when the filter was changed meanwhile, no more.

FilterLike = str | Mapping[str, Any] | None
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish(Generic[T]):
    """What a stream is to give. `shape` makes of an event what is handed out, or None to pass over it.

    `strict`: gaps are raised, not told. `ends_at_head`: the stream ends when the server says `live`, or after `limit`.
    """

    channel: str
    after: Position | None
    shape: Callable[[dict[str, Any]], T | None]
    strict: bool = False
    position_s: int | None = None
    ends_at_head: bool = False
    limit: int | None = None


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
        self.filter = filter
        self._wish = wish
        self._hooks = hooks
        self._shape = wish.shape
        self._left = wish.limit
        self._ended = wish.limit is not None and wish.limit < 1
        self._cursor = Cursor(wish.channel, wish.after)
        self._line = Line(dial, self._subscribe, hooks)
        self._refs = count(1)
        self._turn = asyncio.Lock()  # Who holds it reads the socket.
        self._ahead: deque[dict[str, Any]] = deque()  # Read while a change waited for its answer.
        self._change: _Change | None = None
        self._changing = asyncio.Lock()
        self._controls = {"position": self._on_position, "subscribed": self._on_subscribed, "live": self._on_live}

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
        self._cursor.settle()
        while not self._ended:
            message = self._ahead.popleft() if self._ahead else await self._next()
            if message is None:
                continue
            control = self._controls.get(message.get("type", ""))
            if control is not None:
                control(message)
            elif (item := self._event(message)) is not None:
                return item
        await self.aclose()
        raise StopAsyncIteration

    async def __aenter__(self) -> Self:
        """The server has the subscription: what is published from here on arrives."""
        async with self._turn:
            await self._line.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End the stream; its `position` stays readable."""
        self._ended = True
        await self._line.close()

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
        asked: dict[str, Any] = {"type": "subscribe", "ref": ref, "channel": self.channel, **where}
        if self.filter is not None:
            asked["filter"] = self.filter
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
                self._cursor.opened(answer["epoch"], answer["after"])
                link.expect_positions(answer.get("position_s"))
                if self.filter is filter:
                    return self._conclude(None)
            else:
                self._refused(answer, filter)
        raise CatalystError(f"the server took none of {ASKS_MAX} subscriptions in a row to `{self.channel}`")

    def _refused(self, answer: dict[str, Any], filter: FilterLike) -> None:
        """Return if asking again can help: another place after a gap, another filter after a change. Else raise."""
        error = from_dict(answer)
        if answer.get("retry") is True:
            raise Dropped(error.message, error.extra.get("retry_after_s"))
        if isinstance(error, PositionLost):
            self._jump(error)
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
        self._line.tries = 0
        stats = self._hooks.stats
        stats.received += 1
        if not self._cursor.admit(seq):
            stats.dropped_duplicates += 1
            return None
        item = self._shape(message)
        if item is not None and self._left is not None:
            self._left -= 1
            self._ended = self._left < 1
        return item

    def _on_position(self, message: dict[str, Any]) -> None:
        if message.get("channel") != self.channel:
            return
        through, sent = message["complete_through"], message.get("sent")
        if self._cursor.reached(message["epoch"], through, message.get("hash", ""), sent):
            self._line.tries = 0
        else:
            self._distrust(through, sent)

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
            self._cursor.moved(message["epoch"], message["after"])

    def _on_live(self, message: dict[str, Any]) -> None:
        if message.get("channel") == self.channel:
            self._line.tries = 0
            self._ended = self._ended or self._wish.ends_at_head
            self._hooks.now("live")
