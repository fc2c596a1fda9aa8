"""Who is caught up, who is behind, and the pump that serves both.

Owns: live subscribers, cursors, the order of writes. Knows nothing of sockets (it is given `write`), of stores (it is
given `fetch`) or of users. Laws: a subscriber is a cursor, never a queue; it is live only when it has been judged for
everything up to its tape's `done`; between noticing that and making it live there is no `await`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from catalyst_signals.errors import CatalystError
from catalyst_signals.events import Frame
from catalyst_signals.filters import Filter
from catalyst_signals.pager import Fetch, PageOrError, Pager
from catalyst_signals.pages import CUT_BYTES_MAX, Page
from catalyst_signals.tape import Group, Peer, Subscriber, Tape, Write
from catalyst_signals.wire import message

log = logging.getLogger("catalyst.hub")

WRITES_PER_LOOK = 64  # Writes between two looks at the clock: about 0.5 ms of them.
RIDE_S = 1.0  # A position may ride in a delivery from this long before it is due.


@dataclass(frozen=True, slots=True)
class Place:
    """What a subscriber has been judged for, and how much of it was written since its last `subscribed`."""

    channel: str
    epoch: str
    seq: int
    hash8: str | None
    sent: int


class Hub:
    """The tapes of this process. Everything here happens on one event loop, in turns of about `turn_ms`."""

    def __init__(
        self,
        fetch: Fetch,
        *,
        ring_bytes: int = 64 << 20,
        turn_ms: float = 4,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.pager = Pager(fetch)
        self._ring_bytes_max = ring_bytes
        self._turn_s = turn_ms / 1000
        self._clock = clock
        self.tapes: dict[str, Tape] = {}
        self.longest_turn_s = 0.0
        self.deliveries = 0
        self._in_ring = 0
        self._order: deque[tuple[Tape, int]] = deque()  # What the rings hold, oldest first, over all tapes.
        self._stale = 0  # How many of these stand for frames that are gone already.
        self._busy: deque[Tape] = deque()  # Tapes with pending frames.
        self._turn: tuple[Tape, list[tuple[Group, bytes, int]]] | None = None
        self._at = 0  # How far the turn in progress got in its current group.
        self._ready: deque[Subscriber] = deque()  # Cursors that can be served now.
        self._dirty: list[Peer] = []  # Connections with gathered writes.
        self._scheduled = False
        self._held = False

    @property
    def ring_bytes(self) -> int:
        """What the rings of all tapes hold now."""
        return self._in_ring

    # -- the log side -------------------------------------------------------------------------------------------

    def open(self, channel: str, epoch: str, tip: int, tip8: str) -> Tape:
        """A tape for a channel whose log ends at `tip`."""
        tape = self.tapes[channel] = Tape(channel, epoch, tip, tip8)
        return tape

    def offer(self, frame: Frame) -> None:
        """Take in the next frame of a channel; only the gate in follow.py calls this, and only in order."""
        tape = self.tapes[frame.channel]
        if frame.epoch != tape.epoch:
            self._empty(tape)  # A page of the ring has no holes, and before an epoch there is one.
        tape.accept(frame)
        if not tape.groups:
            self._wake(tape)
            return
        self._order.append((tape, frame.seq))
        self._in_ring += len(frame.ws)
        while self._in_ring > self._ring_bytes_max:
            oldest, seq = self._order.popleft()
            freed = oldest.evict(seq)
            self._in_ring -= freed
            self._stale -= not freed
        if not tape.busy:
            tape.busy = True
            self._busy.append(tape)
        self._schedule()

    def stop(self, tape: Tape, error: CatalystError) -> None:
        """History was rewritten: nothing of this channel is served any more, and its subscribers are told."""
        tape.stopped = error
        self.pager.forget(tape)
        for subscriber in list(tape.subscribers):
            self.leave(subscriber)
            subscriber.peer.listener.ended(subscriber, error)

    # -- the subscriber side --------------------------------------------------------------------------------------

    def join(self, peer: Peer, tape: Tape, filter: Filter, after: int, epoch: str, hash8: str | None) -> Subscriber:
        """A new subscriber, judged for everything up to `after`; what is due to it follows in the next turns."""
        subscriber = Subscriber(peer, tape, tape.group_for(filter), after, epoch, hash8)
        peer.subscribers[tape.channel] = subscriber
        tape.subscribers.add(subscriber)
        if len(peer.subscribers) > 1:
            self._reroute(peer)
        self._enqueue(subscriber)
        return subscriber

    def leave(self, subscriber: Subscriber) -> Place:
        """Take a subscriber out; answers where it stood."""
        place = self._park(subscriber)
        subscriber.tape.release(subscriber.group)
        subscriber.tape.subscribers.discard(subscriber)
        subscriber.peer.subscribers.pop(subscriber.tape.channel, None)
        if not subscriber.tape.groups:
            self._abandon(subscriber.tape)
        return place

    def pause(self, peer: Peer) -> None:
        """The transport pushes back: everyone on it is a cursor again."""
        peer.paused = True
        for subscriber in peer.subscribers.values():
            self._park(subscriber)

    def resume(self, peer: Peer) -> None:
        """The transport takes more: go on where each subscriber stands."""
        peer.paused = False
        for subscriber in peer.subscribers.values():
            self._enqueue(subscriber)

    def drop(self, peer: Peer) -> None:
        """The connection is gone: nothing of it stays here."""
        peer.write = _closed
        for subscriber in list(peer.subscribers.values()):
            self.leave(subscriber)

    def place(self, subscriber: Subscriber) -> Place:
        """Where a subscriber stands at this moment, in the middle of a turn too."""
        tape, group = subscriber.tape, subscriber.group
        if subscriber.slot is None:
            return Place(tape.channel, subscriber.epoch, subscriber.judged, subscriber.hash8, subscriber.sent)
        sent = subscriber.sent + group.matched - subscriber.base
        if tape.next_done is None:
            return Place(tape.channel, tape.done_epoch, tape.done, tape.done8, sent)
        if group.pending:
            written = self._written(subscriber)
            if written is None:
                return Place(tape.channel, tape.done_epoch, tape.done, tape.done8, sent)
            sent += written
        end = tape.next_done
        return Place(tape.channel, end.epoch, end.seq, end.hash8, sent)

    def _written(self, subscriber: Subscriber) -> int | None:
        """How many frames the turn in progress has written to a live subscriber of a pending group; None: not yet."""
        if self._turn is not None:
            group, _, count = self._turn[1][-1]
            if group is subscriber.group and subscriber.slot is not None and subscriber.slot < self._at:
                return count
        return None

    def _park(self, subscriber: Subscriber) -> Place:
        """From live to cursor, at the place it has reached."""
        place = self.place(subscriber)
        if subscriber.slot is not None:
            subscriber.group.leave(subscriber.slot)
            subscriber.slot = None
            subscriber.epoch, subscriber.judged = place.epoch, place.seq
            subscriber.hash8, subscriber.sent = place.hash8, place.sent
        return place

    def _enqueue(self, subscriber: Subscriber) -> None:
        if not subscriber.queued and not subscriber.peer.paused and subscriber.slot is None:
            subscriber.queued = True
            self._ready.append(subscriber)
            self._schedule()

    def _abandon(self, tape: Tape) -> None:
        """Nobody is left on a tape: what was kept and still due for them goes."""
        self._empty(tape)
        if tape.pending:
            tape.served(tape.pending[-1])
            tape.pending.clear()
            self._wake(tape)

    def _empty(self, tape: Tape) -> None:
        """The ring of a tape lets everything go; its places in the order go when they are half of it."""
        self._in_ring -= sum(len(frame.ws) for frame in tape.ring.values())
        self._stale += len(tape.ring)
        tape.ring.clear()
        tape.low = tape.tip + 1
        if self._stale * 2 > len(self._order):
            self._order = deque((each, seq) for each, seq in self._order if seq in each.ring)
            self._stale = 0

    # -- the pump -------------------------------------------------------------------------------------------------

    def hold(self, held: bool) -> None:
        """Deliver nothing for now, because nobody can say who may still get it; and go on."""
        if self._held and not held:
            self._held = False
            self._schedule()
        self._held = held

    def _schedule(self) -> None:
        if not self._scheduled and not self._held:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._pump)

    def _pump(self) -> None:
        """One turn: live deliveries for `turn_ms`, cursors for `turn_ms`, then the loop has it back."""
        self._scheduled = False
        if self._held:
            return
        began = self._clock()
        self._serve_live(began + self._turn_s)
        self._serve_cursors(self._clock() + self._turn_s)
        self._flush()
        self.longest_turn_s = max(self.longest_turn_s, self._clock() - began)
        if self._turn is not None or self._busy or self._ready:
            self._schedule()

    def _serve_live(self, until: float) -> None:
        while self._turn is not None or self._busy:
            if self._turn is None:
                self._begin(self._busy.popleft())
            if self._turn is not None and not self._go_on(until):
                return

    def _begin(self, tape: Tape) -> None:
        """Match the next stretch of pending frames and lay out who gets which bytes."""
        stretch = _stretch(tape.pending)
        if not stretch:
            tape.busy = False
            return
        del tape.pending[: len(stretch)]
        due: dict[Group, list[bytes]] = {}
        for frame in stretch:
            for group in tape.match(frame):
                due.setdefault(group, []).append(frame.ws)
        work = []
        for group, parts in due.items():
            if group.live:
                group.compact()
                group.pending = True
                work.append((group, parts[0] if len(parts) == 1 else b"".join(parts), len(parts)))
        tape.next_done = stretch[-1]
        self._at = 0
        self._turn = (tape, work)

    def _go_on(self, until: float) -> bool:
        """Write the turn in progress until it is over (True) or the time is (False)."""
        assert self._turn is not None
        tape, work = self._turn
        while work:
            group, data, count = work[-1]
            while self._at < len(group.writes):
                if self._clock() > until and self._at:
                    return False
                self._write_some(group, data)
            self.deliveries += count * (len(group.live) - group.holes)
            group.matched += count
            group.pending = False
            self._at = 0
            work.pop()
        self._finish(tape)
        return self._clock() <= until

    def _write_some(self, group: Group, data: bytes) -> None:
        start = self._at
        self._at = min(start + WRITES_PER_LOOK, len(group.writes))
        for offset, write in enumerate(group.writes[start : self._at]):
            try:
                write(data)
            except Exception as error:  # A dead socket may raise anything; it must cost nobody else their delivery.
                self._broken(group.live[start + offset], error)

    def _broken(self, subscriber: Subscriber | None, error: Exception) -> None:
        if subscriber is not None:
            log.info("a write failed, the connection is dropped", extra={"reason": repr(error)})
            peer = subscriber.peer
            self.drop(peer)
            peer.listener.broken(error)

    def _finish(self, tape: Tape) -> None:
        assert tape.next_done is not None
        if tape.next_done.seq > tape.done:
            tape.served(tape.next_done)
        tape.next_done = None
        self._turn = None
        if tape.pending:
            self._busy.append(tape)
        else:
            tape.busy = False
        for subscriber in tape.ahead:
            self._enqueue(subscriber)
        tape.ahead.clear()
        self._wake(tape)

    def _flush(self) -> None:
        """Everything gathered for one connection in this turn goes out in one write, a due position with it."""
        for peer in self._dirty:
            if peer.riding:
                peer.gathered.append(self._position_due(peer))
            data = b"".join(peer.gathered)
            peer.gathered.clear()
            self.write(peer, data)
        self._dirty.clear()

    def write(self, peer: Peer, data: bytes) -> None:
        """Write to a connection at once; one whose transport raises is dropped."""
        try:
            peer.write(data)
        except Exception as error:
            self.drop(peer)
            peer.listener.broken(error)

    def gather(self, peer: Peer, data: bytes) -> None:
        """Write to a connection at the end of this turn, together with whatever else is due to it."""
        if not peer.gathered:
            self._dirty.append(peer)
            self._schedule()
        peer.gathered.append(data)

    def _route(self, peer: Peer) -> Write:
        """How live deliveries reach a connection: straight to the transport, unless there is something to join."""
        return partial(self.gather, peer) if len(peer.subscribers) > 1 or peer.riding else peer.write

    def _reroute(self, peer: Peer) -> None:
        write = self._route(peer)
        for subscriber in peer.subscribers.values():
            if subscriber.slot is not None:
                subscriber.group.writes[subscriber.slot] = write

    # -- cursors ----------------------------------------------------------------------------------------------------

    def _serve_cursors(self, until: float) -> None:
        """A page in turn for each cursor that can be served; one at least, so that live traffic starves nobody."""
        for _ in range(len(self._ready)):
            subscriber = self._ready.popleft()
            subscriber.queued = False
            if _is_current(subscriber) and not subscriber.peer.paused:
                self._step(subscriber)
            if self._clock() > until:
                return

    def _step(self, subscriber: Subscriber) -> None:
        tape = subscriber.tape
        if subscriber.judged > tape.done:
            tape.ahead.append(subscriber)
        elif subscriber.judged == tape.done:
            self._arrive(subscriber)
        else:
            page = self.pager.at_hand(tape, subscriber.judged)
            if page is None:
                self.pager.read(tape, subscriber.judged, lambda result: self._paged(subscriber, result))
            else:
                self._serve(subscriber, page)

    def _arrive(self, subscriber: Subscriber) -> None:
        """At the tip: live from here on. In the middle of a turn of this channel it waits for the turn's end."""
        tape = subscriber.tape
        if tape.next_done is not None:
            tape.ahead.append(subscriber)
            return
        subscriber.group.compact()
        subscriber.group.enter(subscriber, self._route(subscriber.peer))
        if not subscriber.told_live:
            subscriber.told_live = True
            self.gather(subscriber.peer, message({"type": "live", "channel": tape.channel, "at": tape.done}))

    def _paged(self, subscriber: Subscriber, result: PageOrError) -> None:
        if not _is_current(subscriber) or subscriber.slot is not None:
            return
        if isinstance(result, CatalystError):
            self.leave(subscriber)
            subscriber.peer.listener.ended(subscriber, result)
        elif result.last <= subscriber.judged:
            self._enqueue(subscriber)  # It asked twice, and the other page was first.
        elif not subscriber.peer.paused:
            self._serve(subscriber, result)

    def _serve(self, subscriber: Subscriber, page: Page) -> None:
        cut = page.cut(subscriber.group, subscriber.tape, subscriber.judged)
        through = cut.through
        subscriber.judged, subscriber.epoch, subscriber.hash8 = through.seq, through.epoch, through.hash8
        subscriber.sent += cut.count
        if cut.count:
            self.deliveries += cut.count
            self.write(subscriber.peer, cut.data)
        self._enqueue(subscriber)

    # -- reading without a subscription -------------------------------------------------------------------------------

    async def grown(self, tape: Tape, after: int) -> None:
        """Wait until there is something after `after`."""
        while tape.done <= after:
            answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            tape.waiters.add(answer)
            try:
                await answer
            finally:
                tape.waiters.discard(answer)

    def _wake(self, tape: Tape) -> None:
        for waiter in tape.waiters:
            if not waiter.done():
                waiter.set_result(None)

    # -- positions ----------------------------------------------------------------------------------------------------

    def positions(self, peer: Peer) -> bytes:
        """One `position` message for each subscription of a connection."""
        return b"".join(position_message(self.place(s)) for s in peer.subscribers.values())

    def tick(self, peer: Peer, now_s: float) -> None:
        """About once a second for each connection: its positions, alone when due, in a delivery's write shortly before.

        Called between turns, so what is written here stands after every event it speaks of.
        """
        if peer.paused or not peer.subscribers:
            return
        if now_s >= peer.due_s:
            self.write(peer, self._position_due(peer))
        elif now_s >= peer.due_s - RIDE_S and not peer.riding:
            peer.riding = True
            self._reroute(peer)

    def _position_due(self, peer: Peer) -> bytes:
        peer.due_s = asyncio.get_running_loop().time() + peer.position_s
        if peer.riding:
            peer.riding = False
            self._reroute(peer)
        return self.positions(peer)

    async def close(self) -> None:
        """Stop reading; nobody is served after this."""
        await self.pager.close()


def position_message(place: Place) -> bytes:
    """ "You are complete through here": with the hash there when it is known, and the count written."""
    content: dict[str, object] = {
        "type": "position", "channel": place.channel, "epoch": place.epoch, "complete_through": place.seq,
    }  # fmt: skip
    if place.hash8 is not None:
        content["hash"] = place.hash8
    return message(content | {"sent": place.sent, "held": {}})


def _stretch(pending: list[Frame]) -> list[Frame]:
    """The pending frames that go out as one write: as many as one transport may be handed at once, one at least."""
    room = CUT_BYTES_MAX
    for i, frame in enumerate(pending):
        room -= len(frame.ws)
        if room < 0 and i:
            return pending[:i]
    return pending[:]


def _is_current(subscriber: Subscriber) -> bool:
    return subscriber.peer.subscribers.get(subscriber.tape.channel) is subscriber


def _closed(data: bytes) -> None:
    """Where a connection that is gone is written to."""
