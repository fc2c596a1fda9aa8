"""The client: signals as an async iterator that survives drops, and publishing that survives retries.

    async with connect("http://127.0.0.1:8000", "cat_...") as catalyst:
        async for signal in catalyst.signals("confidence >= 0.7", after=0):
            print(signal.symbol, signal.action, signal.confidence)

Owns: the surface, the judging of a signal's age. Knows nothing of the server: this is the light install.
Law: a handler sees each event of its filter once and in order, or is told what it does not see.

Each stream has a connection of its own and publishing has another, so a slow handler holds up nothing but its own
cursor at the server. Nothing runs in the background but the timer of acknowledgements and the heartbeats that were
promised: a connection is read by who waits for it.

    link.py        one connection            stream.py      one subscription as an iterator
    line.py        made again when it drops  publishing.py  drafts out, receipts in
    cursor.py      the place, without I/O    rest.py        requests that have no message on the socket
    acks.py        how far it is done
    state.py       the place, in a file      shown.py       whose end the user has to be told
    absence.py     what was caught up        blocking.py    the same without `await`
    records.py     rows for a data frame           beats.py       promises to be heard
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar
from uuid import uuid4

from catalyst_signals.client import rest
from catalyst_signals.client.absence import CaughtUp
from catalyst_signals.client.beats import Beats
from catalyst_signals.client.cursor import Gap
from catalyst_signals.client.line import Hooks, State, Stats
from catalyst_signals.client.link import Address, Link, address_of, dial
from catalyst_signals.client.publishing import Publisher, Receipt, receipt_of, text_of
from catalyst_signals.client.records import to_records
from catalyst_signals.client.shown import FilterLike
from catalyst_signals.client.state import StateFile
from catalyst_signals.client.stream import Stream, Wish
from catalyst_signals.errors import CatalystError, InvalidRequest
from catalyst_signals.events import Position, check_channel_name
from catalyst_signals.modifiers import Modifiers
from catalyst_signals.session import modifiers_of
from catalyst_signals.signals import Signal
from catalyst_signals.watch import HALTS

if TYPE_CHECKING:
    from catalyst_signals.client.blocking import Blocking

__all__ = [
    "Catalyst", "CaughtUp", "Gap", "Position", "Receipt", "Signal", "State", "Stats", "Stream", "connect", "to_records",
]  # fmt: skip

PUBLISH_TIMEOUT_S = 30.0  # Longer than the 25 s after which a silent connection is given up, so one reconnect fits in.

T = TypeVar("T")
What = Literal["shown", "executed", "ignored", "rejected"]


def connect(
    url: str,
    key: str,
    *,
    channel: str = "main",
    gaps: Literal["tell", "raise"] = "tell",
    position_s: int | None = None,
    ack: bool = True,
    publish_timeout_s: float = PUBLISH_TIMEOUT_S,
    state: str | os.PathLike[str] | None = None,
    on_reconnect: Callable[[str], object] | None = None,
    on_gap: Callable[[Gap], object] | None = None,
    on_stale: Callable[[Signal], object] | None = None,
    on_halt: Callable[[dict[str, Any]], object] | None = None,
    on_state: Callable[[State], object] | None = None,
    on_caught_up: Callable[[CaughtUp], object] | None = None,
) -> Catalyst:
    """A client of the server at `url` (http, https, ws or wss); `async with` dials it and checks the key.

    Without `await`, in a script or a notebook, `with` does the same: see client/blocking.py.

    Once it was reached, drops are mended without end: 0.2 to 5 s apart, or as the server asks.

    Args:
        channel: what the methods use when they are given none.
        gaps: what becomes of a range that cannot be delivered, or that the server counts otherwise: `on_gap` is told
            and the stream goes on, or the refusal is raised from the iterator.
        position_s: how often the server proves that nothing is missing, 1 to 60 s; None leaves it to the server.
        ack: whether live streams tell the server how far they are done: at most once a second, when the handler of an
            event has returned, and at the end. `Catalyst.deliveries` shows it; nothing else depends on it.
        publish_timeout_s: the longest wait for the next answer to a publish, retries and reconnects included.
        state: a file in which each live stream keeps its place, and resumes from it when it is given no `after`. After
            `kill -9` at most the one item comes again whose handler was running; `Signal.key` tells it.
        on_reconnect: called with the reason of the drop, once the connection is back.
        on_caught_up: called when a stream that had been behind is live, with what it caught up with.
        on_halt: called with the events `halt.began` and `halt.ended` that `signals` passes over: stop trading it.
        on_gap, on_stale, on_state: called in the order of the events, from the iterator. All are plain functions.

    Raises:
        InvalidRequest: `url` or another argument cannot be used.
        Unauthenticated: `key` is none.

    From `async with`:
        Unreachable, Unauthenticated, Forbidden, Draining: nobody there, or the server's refusal.
        Misconfigured: another client has the file `state`, or it cannot be read.
    """
    if gaps not in ("tell", "raise"):
        raise InvalidRequest("`gaps` is `tell` or `raise`", field="gaps", got=gaps, allowed=["tell", "raise"])
    hooks = Hooks(on_reconnect, on_gap, on_state, on_caught_up)
    return Catalyst(
        address_of(url, key), hooks, channel=check_channel_name(channel), strict=gaps == "raise", position_s=position_s,
        ack=ack, publish_timeout_s=publish_timeout_s, state=None if state is None else StateFile(state),
        on_stale=on_stale, on_halt=on_halt,
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
        ack: bool,
        publish_timeout_s: float,
        state: StateFile | None,
        on_stale: Callable[[Signal], object] | None,
        on_halt: Callable[[dict[str, Any]], object] | None,
    ) -> None:
        self.channel = channel
        self._address = address
        self._hooks = hooks
        self._strict = strict
        self._position_s = position_s
        self._ack = ack
        self._timeout_s = publish_timeout_s
        self._state = state
        self._blocking: Blocking | None = None
        self._on_stale = on_stale
        self._on_halt = on_halt
        self._beats = Beats(address, publish_timeout_s)
        self._spare: Link | None = None  # What `async with` dialled; whoever needs a connection first takes it.
        self._publisher = Publisher(self._dial, hooks, publish_timeout_s)
        self._streams: list[Stream[Any]] = []
        self._latest: dict[str, Stream[Any]] = {}

    async def __aenter__(self) -> Self:
        if self._state is not None:
            self._state.open()
        self._hooks.now("connecting")
        try:
            self._spare = await dial(self._address)
        except BaseException:
            self._closed()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            for stream in self._streams:
                await stream.aclose()
            await self._beats.close()
            await self._publisher.close()
            if self._spare is not None:
                await self._spare.close()
        finally:
            self._closed()

    def _closed(self) -> None:
        self._hooks.now("closed")
        if self._state is not None:
            self._state.close()

    def __enter__(self) -> Blocking:
        """The same client for who does not `await`: its methods, waited for, and streams as plain iterators."""
        from catalyst_signals.client.blocking import Blocking

        self._blocking = Blocking(self)
        return self._blocking

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._blocking is not None:
            self._blocking.close()

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
        name: str = "main",
        skip_expired: bool = True,
        max_age_s: int | None = None,
        mode: Literal["all", "latest"] = "all",
        ended: Literal["send", "hold"] = "send",
    ) -> Stream[Signal]:
        """Signals that match, live and for ever; `after` a place first everything since then.

        Without `after` it begins when the server has the subscription: at the first `anext`, or with
        `async with catalyst.signals() as stream`. `filter` is text or its JSON form; None matches everything.

        `name` is the stream's in the file `state`: two live ones on a channel need two names.

        What had expired before it was sent is held back by the server and counted in `Stream.held`. A signal whose
        `expires_at` had passed when it was received goes to `on_stale`, is counted and left out. With
        `skip_expired=False` both are handed out. Events that are no signals, and erased ones, never are.

        Held back and counted too, but never an ending: what is older than `max_age_s` when it is sent; with
        `mode="latest"`, while catching up, all but the newest of an instrument; with `ended="hold"`, while catching
        up, versions of a signal that a later one replaces.

        The iterator raises, and can be iterated again after:
            InvalidFilter, UnknownChannel, Forbidden, Unauthenticated: as the server refused it.
            PositionLost: only with `gaps="raise"`, or when the server does not say where to go on.
        """
        stale = "hold" if skip_expired else "send"
        modifiers = _modifiers(stale=stale, max_age_s=max_age_s, mode=mode, ended=ended)
        return self._stream(filter, after, channel, self._judge(skip_expired), modifiers, name=name)

    def events(
        self,
        filter: FilterLike = None,
        *,
        after: int | Position | None = None,
        channel: str | None = None,
        name: str = "main",
        stale: Literal["hold", "send"] = "send",
        max_age_s: int | None = None,
        mode: Literal["all", "latest"] = "all",
        ended: Literal["send", "hold"] = "send",
    ) -> Stream[dict[str, Any]]:
        """As `signals`, but every event as the JSON object it was sent as, of any type; age is not judged here.

        With `stale="hold"` the server holds back, and counts, what had expired before it was sent.
        """
        modifiers = _modifiers(stale=stale, max_age_s=max_age_s, mode=mode, ended=ended)
        return self._stream(filter, after, channel, lambda event: event, modifiers, name=name)

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
        modifiers = _modifiers(stale="send")
        return self._stream(filter, after, channel, _signal_of, modifiers, ends_at_head=True, limit=limit)

    def _stream(
        self,
        filter: FilterLike,
        after: int | Position | None,
        channel: str | None,
        shape: Callable[[dict[str, Any]], T | None],
        modifiers: Mapping[str, Any],
        *,
        name: str | None = None,
        ends_at_head: bool = False,
        limit: int | None = None,
    ) -> Stream[T]:
        channel = check_channel_name(channel or self.channel)
        place = _place(channel, after)
        bookmark = self._state.take(channel, name) if self._state is not None and name is not None else None
        if place is None and bookmark is not None:
            place = bookmark.position
        wish = Wish(
            channel=channel, after=place, shape=shape, strict=self._strict, position_s=self._position_s,
            ends_at_head=ends_at_head, limit=limit, modifiers=modifiers, bookmark=bookmark,
            ack=self._ack and not ends_at_head,
        )  # fmt: skip
        stream = Stream(self._dial, self._hooks, wish, filter)
        self._streams = [one for one in self._streams if not one.ended] + [stream]
        if not ends_at_head:
            self._latest[channel] = stream
        return stream

    async def latest(self, filter: FilterLike = None, *, channel: str | None = None) -> dict[str, Signal]:
        """What is in force now: by symbol the newest signal that has not ended, in its present version.

        Reads the log to its head; of each signal the server sends what it came to.
        """
        modifiers = _modifiers(ended="hold")
        open: dict[str, Signal] = {}  # By id, the newest last.
        async with self._stream(filter, 0, channel, _signal_of, modifiers, ends_at_head=True) as signals:
            async for signal in signals:
                open.pop(signal.id, None)
                if not signal.is_ending:
                    open[signal.id] = signal
        now = datetime.now(UTC)
        return {signal.symbol: signal for signal in open.values() if not signal.is_expired(now)}

    def _judge(self, skip_expired: bool) -> Callable[[dict[str, Any]], Signal | None]:
        """Age is judged here, on receipt: since the server wrote it, it may have waited for a network or a handler."""

        def shape(event: dict[str, Any]) -> Signal | None:
            signal = _signal_of(event)
            if self._on_halt is not None and event["type"] in HALTS and "data" in event:
                self._on_halt(event)
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

    async def update(
        self, id: str, changes: Mapping[str, Any], *, if_version: int | None = None, channel: str | None = None
    ) -> Receipt:
        """Make a new version of a signal; whoever was shown it gets that. `changes` is a JSON merge patch (RFC 7396).

        What changes nothing is answered with the present version as a duplicate, so it may be tried again.

        Raises:
            VersionConflict: it is not `if_version` any more, or others change it all the time: read it again.
            SignalEnded, NotFound, InvalidDraft, Forbidden: nothing was stored.
            Unreachable: no answer; it is not known whether it was done.
        """
        channel = check_channel_name(channel or self.channel)
        said = await self._ask("PATCH", ["channels", channel, "signals", id], text_of(changes), if_version)
        return receipt_of(said, channel)

    async def cancel(self, id: str, reason: str | None = None, *, channel: str | None = None) -> Receipt:
        """End a signal; whoever was shown it is told, with the reason. Raises as `update`."""
        channel = check_channel_name(channel or self.channel)
        body = {} if reason is None else {"reason": reason}
        said = await self._ask("POST", ["channels", channel, "signals", id, "cancel"], text_of(body))
        return receipt_of(said, channel)

    async def versions(self, id: str, *, channel: str | None = None) -> list[Signal]:
        """Every version of a signal that is kept, oldest first; its end, if it has one, is the last."""
        channel = check_channel_name(channel or self.channel)
        said = await self._ask("GET", ["channels", channel, "signals", id])
        return [Signal.from_event(event) for event in said["versions"]]

    async def did(
        self,
        signal: Signal | str,
        what: What,
        *,
        reason: str | None = None,
        fills: Iterable[Mapping[str, Any]] | None = None,
        outcome: Mapping[str, Any] | None = None,
        id: str | None = None,
        channel: str | None = None,
    ) -> Receipt:
        """Say what was done about a signal, or the one of that id; it is kept in the channel `acks`.

        A fill is `{"qty": "100", "price": "9.41"}` with, if known, `fee`, `fee_ccy`, `liquidity`, `venue`, `paper` and
        `filled_at`; numbers that must be exact are texts or Decimals. The same `id` twice is kept once; without one it
        is given one, so that what does not reach the server is tried again until `publish_timeout_s`.

        Raises:
            InvalidDraft: names the field and what is allowed.
            NotFound: there is no such signal for this key. IdConflict: the id stands for another deed.
            Unreachable, Unavailable: it is not known whether it is kept; `error.extra["id"]` is the id to say it again.
        """
        name = signal if isinstance(signal, str) else signal.id
        channel = check_channel_name(channel or (self.channel if isinstance(signal, str) else signal.channel))
        said = {"reason": reason, "fills": None if fills is None else list(fills), "outcome": outcome}
        deed = {"what": what, "id": id or uuid4().hex} | {key: each for key, each in said.items() if each is not None}
        path, body = ["channels", channel, "signals", name, "deeds"], text_of(deed)
        try:
            answer = await rest.retried(lambda: self._ask("POST", path, body), self._timeout_s)
        except CatalystError as error:
            error.extra.setdefault("id", deed["id"])
            raise
        return receipt_of(answer, channel, "client" if id is None else "publisher")

    async def deliveries(
        self, signal: Signal | str, *, version: int | None = None, channel: str | None = None
    ) -> dict[str, Any]:
        """Who got a signal, when, how late by hop, and what they did: as docs/protocol.md has it.

        Everybody for who published it or is an admin, else what concerns this user. Of `version`, else of that of a
        Signal, else of the first.
        """
        name = signal if isinstance(signal, str) else signal.id
        channel = check_channel_name(channel or (self.channel if isinstance(signal, str) else signal.channel))
        wanted = version if version is not None or isinstance(signal, str) else signal.version
        return await self._ask("GET", ["channels", channel, "signals", name, "deliveries"], version=wanted)

    async def heartbeat(self, channel: str | None = None, every_s: float | None = 60.0) -> None:
        """Promise to be heard in a channel every `every_s` seconds (1 s to 7 d), and keep it until this client closes.

        Who listens is told `source.silent` when it is not kept, and `source.heard` when it is again. None ends it.

        Raises:
            InvalidRequest, Forbidden, Unreachable ...: nothing is promised.
        """
        await self._beats.promise(check_channel_name(channel or self.channel), every_s)

    async def halts(self) -> list[dict[str, Any]]:
        """The halts in force, as docs/protocol.md has them, of what this key may see."""
        halts: list[dict[str, Any]] = (await self._ask("GET", ["halts"]))["halts"]
        return halts

    async def _ask(
        self,
        method: str,
        path: list[str],
        body: bytes | None = None,
        if_version: int | None = None,
        version: int | None = None,
    ) -> dict[str, Any]:
        return await rest.ask(
            self._address, method, path, body, if_version=if_version, version=version, timeout_s=self._timeout_s
        )


def _signal_of(event: dict[str, Any]) -> Signal | None:
    return Signal.from_event(event) if event["type"].startswith("signal.") and "data" in event else None


def _modifiers(**asked: Any) -> dict[str, Any]:
    """Those that are not the server's default: one that does not know them need not be told."""
    modifiers = modifiers_of(asked)._asdict()
    return {name: value for name, value in modifiers.items() if value != Modifiers._field_defaults[name]}


def _place(channel: str, after: int | Position | None) -> Position | None:
    if after is None or (isinstance(after, Position) and after.channel == channel):
        return after
    if isinstance(after, int) and not isinstance(after, bool) and after >= 0:
        return Position(channel, "", after)
    message = f"`after` is a seq from 0, or a Position in channel `{channel}`"
    raise InvalidRequest(message, field="after", got=str(after), allowed=">= 0")
