"""The client: signals as an async iterator that survives drops, and publishing that survives retries.

    async with connect("http://127.0.0.1:8000", "cat_...") as catalyst:
        async for signal in catalyst.signals("confidence >= 0.7", after=0):
            print(signal.symbol, signal.action, signal.confidence)

Owns: the surface, the judging of a signal's age. Knows nothing of the server: this is the light install.
Law: a handler sees each event of its filter once and in order, or is told what it does not see.

Each stream has a connection of its own and publishing has another, so a slow handler holds up nothing but its own
cursor at the server. Nothing runs in the background: a connection is read by who waits for it.

    link.py        one connection            stream.py      one subscription as an iterator
    line.py        made again when it drops  publishing.py  drafts out, receipts in
    cursor.py      the place, without I/O
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

from catalyst_signals.client.cursor import Gap
from catalyst_signals.client.line import Hooks, State, Stats
from catalyst_signals.client.link import Address, Link, address_of, dial
from catalyst_signals.client.publishing import Publisher, Receipt
from catalyst_signals.client.stream import FilterLike, Stream, Wish
from catalyst_signals.errors import CatalystError, InvalidRequest
from catalyst_signals.events import Position, check_channel_name
from catalyst_signals.signals import Signal

__all__ = ["Catalyst", "Gap", "Position", "Receipt", "Signal", "State", "Stats", "Stream", "connect"]

PUBLISH_TIMEOUT_S = 30.0  # Longer than the 25 s after which a silent connection is given up, so one reconnect fits in.

T = TypeVar("T")


def connect(
    url: str,
    key: str,
    *,
    channel: str = "main",
    gaps: Literal["tell", "raise"] = "tell",
    position_s: int | None = None,
    publish_timeout_s: float = PUBLISH_TIMEOUT_S,
    on_reconnect: Callable[[str], object] | None = None,
    on_gap: Callable[[Gap], object] | None = None,
    on_stale: Callable[[Signal], object] | None = None,
    on_state: Callable[[State], object] | None = None,
) -> Catalyst:
    """A client of the server at `url` (http, https, ws or wss); `async with` dials it and checks the key.

    Once it was reached, drops are mended without end: 0.2 to 5 s apart, or as the server asks.

    Args:
        channel: what the methods use when they are given none.
        gaps: what becomes of a range that cannot be delivered, or that the server counts otherwise: `on_gap` is told
            and the stream goes on, or the refusal is raised from the iterator.
        position_s: how often the server proves that nothing is missing, 1 to 60 s; None leaves it to the server.
        publish_timeout_s: the longest wait for the next answer to a publish, retries and reconnects included.
        on_reconnect: called with the reason of the drop, once the connection is back.
        on_gap, on_stale, on_state: called in the order of the events, from the iterator. All are plain functions.

    Raises:
        InvalidRequest: `url` or another argument cannot be used.
        Unauthenticated: `key` is none.

    From `async with`:
        Unreachable, Unauthenticated, Forbidden, Draining: nobody there, or the server's refusal.
    """
    if gaps not in ("tell", "raise"):
        raise InvalidRequest("`gaps` is `tell` or `raise`", field="gaps", got=gaps, allowed=["tell", "raise"])
    hooks = Hooks(on_reconnect, on_gap, on_state)
    return Catalyst(
        address_of(url, key), hooks, channel=check_channel_name(channel), strict=gaps == "raise", position_s=position_s,
        publish_timeout_s=publish_timeout_s, on_stale=on_stale,
    )  # fmt: skip


class Catalyst:
    """A connected client; made by `connect`. For one event loop, and any number of its tasks."""

    def __init__(
        self,
        address: Address,
        hooks: Hooks,
        *,
        channel: str,
        strict: bool,
        position_s: int | None,
        publish_timeout_s: float,
        on_stale: Callable[[Signal], object] | None,
    ) -> None:
        self.channel = channel
        self._address = address
        self._hooks = hooks
        self._strict = strict
        self._position_s = position_s
        self._on_stale = on_stale
        self._spare: Link | None = None  # What `async with` dialled; whoever needs a connection first takes it.
        self._publisher = Publisher(self._dial, hooks, publish_timeout_s)
        self._streams: list[Stream[Any]] = []
        self._latest: dict[str, Stream[Any]] = {}

    async def __aenter__(self) -> Self:
        self._hooks.now("connecting")
        try:
            self._spare = await dial(self._address)
        except BaseException:
            self._hooks.now("closed")
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            for stream in self._streams:
                await stream.aclose()
            await self._publisher.close()
            if self._spare is not None:
                await self._spare.close()
        finally:
            self._hooks.now("closed")

    async def _dial(self) -> Link:
        link, self._spare = self._spare, None
        return link or await dial(self._address)

    @property
    def stats(self) -> Stats:
        """Counters of all streams and of publishing."""
        return self._hooks.stats

    def position(self, channel: str | None = None) -> Position | None:
        """The place of the live stream of that channel that was made last: everything up to there was handled.

        Give it to `signals(after=...)`, in this process or a later one. With several streams on a channel ask each for
        its own `position`. None when there was no stream yet, or the server has not said where it began.
        """
        stream = self._latest.get(channel or self.channel)
        return None if stream is None else stream.position

    def signals(
        self,
        filter: FilterLike = None,
        *,
        after: int | Position | None = None,
        channel: str | None = None,
        skip_expired: bool = True,
    ) -> Stream[Signal]:
        """Signals that match, live and for ever; `after` a place first everything since then.

        Without `after` it begins when the server has the subscription: at the first `anext`, or with
        `async with catalyst.signals() as stream`. `filter` is text or its JSON form; None matches everything.

        A signal whose `expires_at` had passed when it was received goes to `on_stale` and is counted; `skip_expired`
        says whether it is also left out. Endings always come. Events that are no signals, and erased ones, do not.

        The iterator raises, and can be iterated again after:
            InvalidFilter, UnknownChannel, Forbidden, Unauthenticated: as the server refused it.
            PositionLost: only with `gaps="raise"`, or when the server does not say where to go on.
        """
        return self._stream(filter, after, channel, self._judge(skip_expired))

    def events(
        self, filter: FilterLike = None, *, after: int | Position | None = None, channel: str | None = None
    ) -> Stream[dict[str, Any]]:
        """As `signals`, but every event as the JSON object it was sent as: of any type, of any age."""
        return self._stream(filter, after, channel, lambda event: event)

    def history(
        self,
        filter: FilterLike = None,
        *,
        after: int | Position = 0,
        channel: str | None = None,
        limit: int | None = None,
    ) -> Stream[Signal]:
        """Stored signals that match, in order, up to the head (at most `limit` of them); then the iterator ends.

        Their age is not judged: this is the past.
        """
        return self._stream(filter, after, channel, _signal_of, ends_at_head=True, limit=limit)

    def _stream(
        self,
        filter: FilterLike,
        after: int | Position | None,
        channel: str | None,
        shape: Callable[[dict[str, Any]], T | None],
        *,
        ends_at_head: bool = False,
        limit: int | None = None,
    ) -> Stream[T]:
        name = check_channel_name(channel or self.channel)
        wish = Wish(
            channel=name, after=_place(name, after), shape=shape, strict=self._strict, position_s=self._position_s,
            ends_at_head=ends_at_head, limit=limit,
        )  # fmt: skip
        stream = Stream(self._dial, self._hooks, wish, filter)
        self._streams = [one for one in self._streams if not one.ended] + [stream]
        if not ends_at_head:
            self._latest[name] = stream
        return stream

    def _judge(self, skip_expired: bool) -> Callable[[dict[str, Any]], Signal | None]:
        """Age is judged here, on receipt: since the server wrote it, it may have waited for a network or a handler."""

        def shape(event: dict[str, Any]) -> Signal | None:
            signal = _signal_of(event)
            ends = None if signal is None else signal.expires_at
            if signal is None or ends is None or signal.is_ending or ends > datetime.now(UTC):
                return signal
            self._hooks.stats.stale += 1
            if self._on_stale is not None:
                self._on_stale(signal)
            return None if skip_expired else signal

        return shape

    async def publish(self, draft: Mapping[str, Any], *, channel: str | None = None) -> Receipt:
        """Store one draft; when this returns it is in the log.

        A draft without `id` is given one, so that a retry over a reconnect cannot store it twice. Refusals that may
        pass (overloaded, store away) are tried again by themselves.

        Raises:
            CatalystError: the server's refusal (InvalidDraft, IdConflict, Forbidden ...), nothing was stored.
            Unavailable: no answer in `publish_timeout_s`; `error.extra["id"]` is the id to publish it again with.
        """
        (answer,) = await self.publish_many([draft], channel=channel)
        if isinstance(answer, CatalystError):
            raise answer
        return answer

    async def publish_many(
        self, drafts: Iterable[Mapping[str, Any]], *, channel: str | None = None
    ) -> list[Receipt | CatalystError]:
        """Store many drafts, each by itself, as many in flight as the server allows.

        The answers come in the order of the drafts. What was refused stands in its place as the exception `publish`
        would have raised, so that one bad draft does not hide what became of the others.

        Raises:
            InvalidDraft: one of them is not JSON; nothing was sent.
        """
        return await self._publisher.publish(check_channel_name(channel or self.channel), list(drafts))


def _signal_of(event: dict[str, Any]) -> Signal | None:
    return Signal.from_event(event) if event["type"].startswith("signal.") and "data" in event else None


def _place(channel: str, after: int | Position | None) -> Position | None:
    if after is None or (isinstance(after, Position) and after.channel == channel):
        return after
    if isinstance(after, int) and not isinstance(after, bool) and after >= 0:
        return Position(channel, "", after)
    message = f"`after` is a seq from 0, or a Position in channel `{channel}`"
    raise InvalidRequest(message, field="after", got=str(after), allowed=">= 0")
