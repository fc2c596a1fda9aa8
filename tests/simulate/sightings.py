"""The real hub, gate and publisher, watched: each interesting branch that is taken is counted, and nothing is changed.

Owns: the list of what has to happen somewhere in a run, or the run proves nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from catalyst_signals.events import Batch, Extent, Frame
from catalyst_signals.filters import Filter
from catalyst_signals.follow import Follower
from catalyst_signals.hub import Hub, Place
from catalyst_signals.modifiers import Modifiers
from catalyst_signals.pager import Fetch, Find, Pager, Then
from catalyst_signals.pages import Page
from catalyst_signals.publish import Publisher
from catalyst_signals.tape import Peer, Subscriber, Tape

from .virtual import InOrder

if TYPE_CHECKING:
    from .world import World

EXPECTED = (
    # the store, the broker, the processes
    "a call to the store stalled",
    "an append with an unknown outcome: never asked",
    "an append with an unknown outcome: never answered",
    "an append with an unknown outcome: asked too late",
    "a commit was shown before it was durable",
    "events that were shown vanished with the store",
    "the store died",
    "the broker went away",
    "the broker stalled",
    "a hint was lost",
    "a hint was repeated",
    "a hint came late",
    "a process was killed",
    "a process was drained",
    "a process stood still for a while",
    # publishing
    "an unknown outcome was appended again",
    "a refused batch had neighbours in its commit",
    "an acknowledgement of a duplicate",
    "an answered batch was sent again",
    "a waiting publisher was cancelled",
    "a commit of several publishers",
    "a publish was put off: overloaded",
    "a publish was put off: draining",
    # a signal's life
    "a signal was changed",
    "a change that changes nothing",
    "a signal was superseded",
    "a signal expired",
    "an end was written by two processes",
    "two wrote the same version",
    "a change was refused: version_conflict",
    "a change was refused: signal_ended",
    "a change was refused: not_found",
    "a change was refused: forbidden",
    "an event was held: expired",
    "an event was held: aged",
    "an event was held: replaced",
    "an event was held: ended",
    # what an operator does
    "retention dropped events",
    "an event was erased",
    "the log was restored",
    "the log was rewound",
    "a channel was stopped as rewritten",
    "an epoch was begun by a process",
    "a subscription was ended: history_rewritten",
    "a subscription was ended: position_too_old",
    "a place was refused: epoch_changed",
    "a place was refused: position_too_old",
    "a place was refused: position_ahead",
    # the gate
    "a frame in order",
    "a frame that was known",
    "a hole was noticed",
    "a hole was filled from the store",
    "a lost tail was found by a poll",
    "a channel was opened below its last event",
    # the hub
    "a frame was matched for several groups",
    "a turn was suspended",
    "a subscriber left in the middle of a turn, before its write",
    "a subscriber left in the middle of a turn, after its write",
    "a subscriber was parked in the middle of a turn, before its write",
    "a subscriber was parked in the middle of a turn, after its write",
    "a cursor arrived in the middle of a turn",
    "a cursor was ahead of the hub",
    "a cursor became live again",
    "a page came from the ring",
    "a page came from the cache",
    "a page came from the store",
    "a page came after its reader had gone",
    "a page was asked for twice at once",
    "a page was cut short by its bytes",
    "a page came that was asked for while looking ahead, which is over",
    "a page was matched through the index",
    "a reader was ahead of this process",
    "the ring let frames go",
    "the last subscriber left with frames pending",
    # the connections
    "a transport pushed back",
    "a write raised",
    "a position rode in a delivery",
    "a position went alone",
    "several channels on one connection",
    "a filter was changed on a cursor",
    "a filter was changed on a live subscriber",
    "a subscribe was put off: unavailable",
    "a subscribe was put off: unknown_channel",
    "a reader was told to go away",
)


class WatchedFollower(Follower):
    """The gate, watched."""

    def __init__(self, world: World, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._world = world
        self._opening: set[str] = set()

    def take(self, frame: Frame) -> None:
        """Which of its three ways a frame goes."""
        tape = self._hub.tapes.get(frame.channel)
        if tape is not None:
            if frame.seq <= tape.tip:
                self._world.saw("a frame that was known")
            else:
                self._world.saw("a frame in order" if frame.seq == tape.tip + 1 else "a hole was noticed")
        super().take(frame)

    def _take_read(self, tape: Tape, frames: list[Frame]) -> None:
        before = tape.tip
        super()._take_read(tape, frames)
        if tape.tip > before:
            self._world.saw("a hole was filled from the store")

    async def poll(self) -> None:
        """Whether it found something."""
        await super().poll()
        if any(
            extent.durable > tape.tip
            for channel, extent in self.extents.items()
            if (tape := self._hub.tapes.get(channel)) is not None
        ):
            self._world.saw("a lost tail was found by a poll")

    async def _open(self, extent: Extent) -> None:
        if extent.channel in self._opening:
            self._world.saw("a channel was opened by two polls at once")
        self._opening.add(extent.channel)
        if extent.durable < extent.last:
            self._world.saw("a channel was opened below its last event")
            self._world.bad_moment()
        await super()._open(extent)
        self._opening.discard(extent.channel)

    async def caught_up(self, channel: str) -> None:
        """Somebody knows more than this process."""
        self._world.saw("a reader was ahead of this process")
        await super().caught_up(channel)

    def _stop(self, tape: Tape, why: str) -> None:
        """Where nothing durable is ever rewritten, whoever says so is wrong."""
        self._world.saw("a channel was stopped as rewritten")
        self._world.note("gate     stops %s: %s", tape.channel, why)
        if not self._world.was_rewound:
            self._world.escaped.append(f"{tape.channel} was stopped as rewritten, and is not: {why}")
        super()._stop(tape, why)


class WatchedPublisher(Publisher):
    """The write path, watched."""

    def __init__(self, world: World, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._world = world
        store = self._store
        self._store = _CountingStore(world, store)  # type: ignore[assignment]

    def _take(self) -> list[Any]:
        taken = super()._take()
        if len(taken) > 1:
            self._world.saw("a commit of several publishers")
        return taken


class _CountingStore:
    """Sees when the same batches are appended a second time."""

    def __init__(self, world: World, store: Any) -> None:
        self._world = world
        self._store = store
        self._last: list[Batch] | None = None

    async def append(self, batches: list[Batch]) -> Any:
        """Counted, and passed on."""
        if batches is self._last:
            self._world.saw("an unknown outcome was appended again")
        self._last = batches
        return await self._store.append(batches)


class WatchedHub(Hub):
    """The hub, watched."""

    def __init__(self, world: World, fetch: Fetch, find: Find, **kwargs: Any) -> None:
        super().__init__(fetch, find, **kwargs)
        self._world = world
        self.pager = WatchedPager(world, fetch, find)

    def open(self, channel: str, epoch: str, tip: int, tip8: str) -> Tape:
        """With an order where there is none."""
        tape = super().open(channel, epoch, tip, tip8)
        tape.subscribers, tape.waiters = InOrder(), InOrder()  # type: ignore[assignment]
        return tape

    def offer(self, frame: Frame) -> None:
        """Whether the ring lets go."""
        before = self.ring_bytes
        super().offer(frame)
        if self.ring_bytes < before:
            self._world.saw("the ring let frames go")

    def join(
        self, peer: Peer, tape: Tape, filter: Filter, after: int, epoch: str, hash8: str | None,
        modifiers: Modifiers = Modifiers(),
    ) -> Subscriber:  # fmt: skip
        """How many a connection has."""
        if peer.subscribers:
            self._world.saw("several channels on one connection")
        self._world.note("hub      joins %s after %d (done %d, tip %d)", tape.channel, after, tape.done, tape.tip)
        return super().join(peer, tape, filter, after, epoch, hash8, modifiers)

    def leave(self, subscriber: Subscriber) -> Place:
        """Where in a turn it is."""
        live = subscriber.slot is not None
        self._mid_turn(subscriber, "left")
        pending = bool(subscriber.tape.pending)
        place = super().leave(subscriber)
        if subscriber.peer.write.__name__ != "_closed":
            what = "live subscriber" if live else "cursor"
            self._world.saw(f"a filter was changed on a {what}")
        if pending and not subscriber.tape.groups:
            self._world.saw("the last subscriber left with frames pending")
        return place

    def pause(self, peer: Peer) -> None:
        """Where in a turn it is."""
        for subscriber in peer.subscribers.values():
            self._mid_turn(subscriber, "was parked")
        super().pause(peer)

    def _mid_turn(self, subscriber: Subscriber, what: str) -> None:
        if subscriber.slot is not None and subscriber.group.pending:
            when = "before" if self._written(subscriber) is None else "after"
            self._world.saw(f"a subscriber {what} in the middle of a turn, {when} its write")

    def _begin(self, tape: Tape) -> None:
        super()._begin(tape)
        if self._turn is not None:
            if len(self._turn[1]) > 1:
                self._world.saw("a frame was matched for several groups")
            self._world.moment()

    def _go_on(self, until: float) -> bool:
        over = super()._go_on(until)
        if self._turn is not None:
            self._world.saw("a turn was suspended")
            self._world.moment(0.3)
        return over

    def _step(self, subscriber: Subscriber) -> None:
        if subscriber.judged > subscriber.tape.done:
            self._world.saw("a cursor was ahead of the hub")
        looks_ahead = subscriber.reads_at > subscriber.judged
        super()._step(subscriber)
        if looks_ahead and not subscriber.queued:
            self._world.choke_soon(subscriber.peer)

    def _arrive(self, subscriber: Subscriber) -> None:
        if subscriber.tape.next_done is not None:
            self._world.saw("a cursor arrived in the middle of a turn")
        elif subscriber.told_live:
            self._world.saw("a cursor became live again")
        super()._arrive(subscriber)

    def _serve(self, subscriber: Subscriber, page: Page) -> None:
        super()._serve(subscriber, page)
        if subscriber.judged < page.last:
            self._world.saw("a page was cut short by its bytes")
        self._world.moment()

    def _paged(self, subscriber: Subscriber, *asked: Any) -> None:
        result = asked[-1]
        gone = subscriber.peer.subscribers.get(subscriber.tape.channel) is not subscriber
        self._world.saw("a page came after its reader had gone" if gone else "a page came from the store")
        if not gone and isinstance(result, Page) and result.last < subscriber.judged:
            self._world.saw("a page came that its reader was past already")
        if not gone and subscriber.reads_at < asked[0]:
            self._world.saw("a page came that was asked for while looking ahead, which is over")
        super()._paged(subscriber, *asked)

    def _position_due(self, peer: Peer, now_s: float) -> bytes:
        self._world.saw("a position rode in a delivery" if peer.riding and peer.gathered else "a position went alone")
        return super()._position_due(peer, now_s)


class WatchedPager(Pager):
    """Where pages come from, watched."""

    def __init__(self, world: World, fetch: Fetch, find: Find) -> None:
        super().__init__(fetch, find)
        self._world = world

    def at_hand(self, tape: Tape, after: int) -> Page | None:
        """Which it is."""
        known = set(map(id, self._pages._pages.values()))
        page = super().at_hand(tape, after)
        if page is not None:
            self._world.saw(f"a page came from the {'cache' if id(page) in known else 'ring'}")
        return page

    def read(self, tape: Tape, after: int, then: Then, *, exactly: bool = False) -> None:
        """Whether others wait for one too."""
        if any(channel == tape.channel for channel, _ in self._reads):
            self._world.saw("a page was asked for twice at once")
        super().read(tape, after, then, exactly=exactly)
        self._world.moment()


def watched_page(world: World) -> type[Page]:
    """The real page, watched."""

    class WatchedPage(Page):
        __slots__ = ()

        def _match_all(self, tape: Tape) -> None:
            world.saw("a page was matched through the index")
            super()._match_all(tape)

    return WatchedPage
