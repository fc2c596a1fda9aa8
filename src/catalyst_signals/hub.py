"""Who is caught up, who is behind, and the pump that serves both.

Owns: live subscribers, cursors, the order of writes. Knows nothing of sockets (it is given `write`), of stores (it is
given `fetch`) or of users. Laws: a subscriber is a cursor, never a queue; it is live only when it has been judged for
everything up to its tape's `done`; between noticing that and making it live there is no `await`.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter, deque
from collections.abc import Callable, Collection
from math import inf

from catalyst_signals.errors import CatalystError, HistoryRewritten
from catalyst_signals.events import Frame, now_us
from catalyst_signals.filters import Filter
from catalyst_signals.histograms import COMPUTE_S, LATENCY_S, Histogram
from catalyst_signals.modifiers import Modifiers, total
from catalyst_signals.outlet import Outlet
from catalyst_signals.pager import Fetch, Find, PageOrError, Pager
from catalyst_signals.pages import Page
from catalyst_signals.places import Place, position_message
from catalyst_signals.rings import Rings
from catalyst_signals.survey import Survey
from catalyst_signals.tape import Group, Peer, Subscriber, Tape, nowhere
from catalyst_signals.turns import Due, committed_us, matched, stretch_of
from catalyst_signals.wire import erased, message

WRITES_PER_LOOK = 128  # Writes between two looks at the clock: about 1 ms of them.
RIDE = 0.3  # The last part of its time in which a position may ride in a delivery: a write of its own costs four.


class Hub:
    """The tapes of this process. Everything here happens on one event loop, in turns of about `turn_ms`."""

    def __init__(
        self,
        fetch: Fetch,
        find: Find,
        *,
        ring_bytes: int = 20 << 20,
        turn_ms: float = 4,
        clock: Callable[[], float] = time.perf_counter,
        send: Callable[[int, bytes], int] = os.write,
    ) -> None:
        self.pager = Pager(fetch, find)
        self._rings = Rings(ring_bytes)
        self._turn_s = turn_ms / 1000
        self._clock = clock
        self.tapes: dict[str, Tape] = {}
        self.longest_turn_s = 0.0
        self.deliveries = 0
        self.delivery_s = Histogram(LATENCY_S)
        self.match_s = Histogram(COMPUTE_S)
        self.held: Counter[str] = Counter()  # By reason, of all subscribers.
        self._busy: deque[Tape] = deque()  # Tapes with pending frames.
        self._turn: tuple[Tape, list[Due]] | None = None
        self._committed_us: int | None = None  # When its oldest event was; None: nothing is written to anybody.
        self._at = 0  # How far the turn in progress got in its current group.
        self._ready: deque[Subscriber] = deque()  # Cursors that can be served now.
        self._out = Outlet(self.drop, self._schedule, send)
        self._scheduled = False
        self._held = False

    @property
    def ring_bytes(self) -> int:
        """What the rings of all tapes hold now."""
        return self._rings.size

    # -- the log side -------------------------------------------------------------------------------------------

    def open(self, channel: str, epoch: str, tip: int, tip8: str) -> Tape:
        """A tape for a channel whose log ends at `tip`."""
        tape = self.tapes[channel] = Tape(channel, epoch, tip, tip8)
        return tape

    def offer(self, frame: Frame) -> None:
        """Take in the next frame of a channel; only the gate in follow.py calls this, and only in order."""
        tape = self.tapes[frame.channel]
        if frame.epoch != tape.epoch:
            self._rings.empty(
                tape.ring, tape.tip + 1
            )  # A page of the ring has no holes, and before an epoch there is one.
        tape.accept(frame)
        if not tape.groups:
            tape.wake()
            return
        self._rings.add(tape.ring, frame)
        if not tape.busy:
            tape.busy = True
            self._busy.append(tape)
        self._schedule()

    def stop(self, tape: Tape, error: CatalystError) -> None:
        """History was rewritten: nothing of this channel is served any more, and its subscribers are told."""
        tape.stopped = error
        self.pager.forget(tape)
        tape.wake()
        for subscriber in list(tape.subscribers):
            self.leave(subscriber)
            subscriber.peer.listener.ended(subscriber, error)

    def forget(self, channel: str, seqs: Collection[int]) -> None:
        """These events were erased: what is at hand of their channel goes and is read anew; the gate knows the rest."""
        tape = self.tapes.get(channel)
        if tape is None:
            return
        self._rings.empty(tape.ring, tape.tip + 1)
        self.pager.forget(tape)
        tape.pending = [erased(frame) if frame.seq in seqs else frame for frame in tape.pending]
        tape.erased.update(seq for seq in seqs if seq > tape.tip)
        end = tape.next_done
        if end is not None and any(tape.done < seq <= end.seq for seq in seqs):
            for subscriber in tape.subscribers:  # The bytes of this turn are joined: who still waits for them reads.
                self._park(subscriber)
                self._enqueue(subscriber)

    # -- the subscriber side --------------------------------------------------------------------------------------

    def join(
        self, peer: Peer, tape: Tape, filter: Filter, after: int, epoch: str, hash8: str | None,
        modifiers: Modifiers = Modifiers(),
    ) -> Subscriber:  # fmt: skip
        """A new subscriber, judged for everything up to `after`; what is due to it follows in the next turns."""
        group = tape.group_for(filter, modifiers.age)
        subscriber = Subscriber(peer, tape, group, modifiers, after, epoch, hash8)
        peer.subscribers[tape.channel] = subscriber
        tape.subscribers.add(subscriber)
        if len(peer.subscribers) > 1:
            self._out.reroute(peer)
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
        peer.write, peer.socket = nowhere, None
        for subscriber in list(peer.subscribers.values()):
            self.leave(subscriber)

    def place(self, subscriber: Subscriber) -> Place:
        """Where a subscriber stands at this moment, in the middle of a turn too."""
        tape, group = subscriber.tape, subscriber.group
        if subscriber.slot is None:
            epoch, seq, hash8 = subscriber.epoch, subscriber.judged, subscriber.hash8
            return Place(tape.channel, epoch, seq, hash8, subscriber.sent, subscriber.held)
        sent = subscriber.sent + group.written - subscriber.base
        held = subscriber.held
        if group.held is not subscriber.base_held:
            held = total(held, group.held, less=subscriber.base_held)
        end = tape.next_done
        if end is not None and group.pending:
            due = self._written(subscriber)
            if due is None:
                end = None
            else:
                sent, held = sent + due.count, total(held, due.held)
        if end is None:
            return Place(tape.channel, tape.done_epoch, tape.done, tape.done8, sent, held)
        return Place(tape.channel, end.epoch, end.seq, end.hash8, sent, held)

    def _written(self, subscriber: Subscriber) -> Due | None:
        """What the turn in progress has written to a live subscriber of a pending group; None: nothing yet."""
        if self._turn is not None:
            due = self._turn[1][-1]
            if due.group is subscriber.group and subscriber.slot is not None and subscriber.slot < self._at:
                return due
        return None

    def _park(self, subscriber: Subscriber) -> Place:
        """From live to cursor, at the place it has reached."""
        place = self.place(subscriber)
        if subscriber.slot is not None:
            subscriber.group.leave(subscriber.slot)
            subscriber.slot = None
            subscriber.epoch, subscriber.judged = place.epoch, place.seq
            subscriber.hash8, subscriber.sent, subscriber.held = place.hash8, place.sent, place.held
        return place

    def _enqueue(self, subscriber: Subscriber) -> None:
        if not subscriber.queued and not subscriber.peer.paused and subscriber.slot is None:
            subscriber.queued = True
            self._ready.append(subscriber)
            self._schedule()

    def _abandon(self, tape: Tape) -> None:
        """Nobody is left on a tape: what was kept and still due for them goes."""
        self._rings.empty(tape.ring, tape.tip + 1)
        if tape.pending:
            tape.served(tape.pending[-1])
            tape.pending.clear()
            tape.wake()

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
        """One turn: live deliveries for `turn_ms`, cursors for a quarter of it, then the loop has it back.

        Whoever catches up takes nothing from what is live but that quarter, which a publish meets several times.
        """
        self._scheduled = False
        if self._held:
            return
        began = self._clock()
        if self._flush():  # What is left of the last turn goes before anything that is due now.
            self._serve_live(began + self._turn_s)
            self._serve_cursors(self._clock() + self._turn_s / 4)
            self._flush()
        self.longest_turn_s = max(self.longest_turn_s, self._clock() - began)
        if self._turn is not None or self._busy or self._ready or self._out.waiting:
            self._schedule()

    def _flush(self) -> bool:
        """What was gathered goes out, positions that are due with it; whether all of it did."""
        until, now_s = self._clock() + self._turn_s, asyncio.get_running_loop().time()
        return self._out.flush(lambda peer: self._position_due(peer, now_s), lambda: self._clock() <= until)

    def _serve_live(self, until: float) -> None:
        while self._turn is not None or self._busy:
            if self._turn is None:
                self._begin(self._busy.popleft())
            if self._turn is not None and not self._go_on(until):
                return

    def _begin(self, tape: Tape) -> None:
        """Match the next stretch of pending frames and lay out who gets which bytes."""
        stretch = stretch_of(tape.pending)
        if not stretch:
            tape.busy = False
            return
        del tape.pending[: len(stretch)]
        work = []
        began_us = now_us()  # Measured by this clock: each look at the other is a place where a turn may end.
        found = matched(tape, stretch, began_us)
        self.match_s.note((now_us() - began_us) / 1e6 / len(stretch), len(stretch))
        for group, (parts, held) in found.items():
            if held:
                self._count_held(group, held)
            if group.live and parts:
                group.compact()
                group.pending = True
                work.append(Due(group, parts[0] if len(parts) == 1 else b"".join(parts), len(parts), held))
            elif held:
                group.held = total(
                    group.held, held
                )  # Nothing is written, so everyone is past it when the turn is over.
        self._committed_us = committed_us(stretch[0]) if work else None
        tape.next_done = stretch[-1]
        self._at = 0
        self._turn = (tape, work)

    def _go_on(self, until: float) -> bool:
        """Write the turn in progress until it is over (True) or the time is (False)."""
        assert self._turn is not None
        tape, work = self._turn
        while work:
            due = work[-1]
            group = due.group
            while self._at < len(group.ways):
                if self._clock() > until and self._at:
                    return False
                self._write_some(group, due.data)
            self.deliveries += due.count * (len(group.live) - group.holes)
            group.written += due.count
            group.held = total(group.held, due.held) if due.held else group.held
            group.pending = False
            self._at = 0
            work.pop()
        if self._committed_us is not None:
            self.delivery_s.note((now_us() - self._committed_us) / 1e6)
        self._finish(tape)
        return self._clock() <= until

    def _count_held(self, group: Group, held: dict[str, int]) -> None:
        live = len(group.live) - group.holes
        for reason, count in held.items():
            self.held[reason] += count * live

    def _write_some(self, group: Group, data: bytes) -> None:
        start = self._at
        self._at = min(start + WRITES_PER_LOOK, len(group.ways))
        self._out.send_all(group.ways[start : self._at], group.live[start : self._at], data)

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
        tape.wake()

    def write(self, peer: Peer, data: bytes) -> None:
        """Outlet.write"""
        self._out.write(peer, data)

    def gather(self, peer: Peer, data: bytes) -> None:
        """Outlet.gather"""
        self._out.gather(peer, data)

    # -- cursors ----------------------------------------------------------------------------------------------------

    def _serve_cursors(self, until: float) -> None:
        """A page in turn for each cursor that can be served; one at least, so that live traffic starves nobody."""
        for _ in range(len(self._ready)):
            subscriber = self._ready.popleft()
            subscriber.queued = False
            if subscriber.is_current and not subscriber.peer.paused:
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
            at = subscriber.reads_at
            page = self.pager.at_hand(tape, at)
            if page is None:
                self.pager.read(tape, at, lambda result: self._paged(subscriber, at, result))
            else:
                self._serve(subscriber, page)

    def _arrive(self, subscriber: Subscriber) -> None:
        """At the tip: live from here on. In the middle of a turn of this channel it waits for the turn's end."""
        tape = subscriber.tape
        if tape.next_done is not None:
            tape.ahead.append(subscriber)
            return
        if subscriber.hash8 not in (None, tape.done8):
            self._rewritten(subscriber)
            return
        subscriber.survey = None
        subscriber.group.compact()
        subscriber.group.enter(subscriber, self._out.way(subscriber.peer))
        if not subscriber.told_live:
            subscriber.told_live = True
            if subscriber.held:  # Who was away is told at once, not when a position is due.
                self.gather(subscriber.peer, position_message(self.place(subscriber)))
            self.gather(subscriber.peer, message({"type": "live", "channel": tape.channel, "at": tape.done}))

    def _rewritten(self, subscriber: Subscriber) -> None:
        """A cursor joins by hash, as the gate does: it may have read what was taken back before its tape was there."""
        self.pager.forget(subscriber.tape)
        self.leave(subscriber)
        subscriber.peer.listener.ended(subscriber, HistoryRewritten())

    def _paged(self, subscriber: Subscriber, at: int, result: PageOrError) -> None:
        """What comes after `at`, for a cursor that may have moved since it asked."""
        if not subscriber.is_current or subscriber.slot is not None:
            return
        if at != subscriber.reads_at or (isinstance(result, Page) and result.last <= at):
            self._enqueue(subscriber)  # It asked twice and the other answer was first, or the page was read anew.
        elif isinstance(result, CatalystError) and subscriber.survey is not None and at > subscriber.judged:
            subscriber.survey.until = at  # It looked ahead: first what comes before is served.
            self._enqueue(subscriber)
        elif isinstance(result, CatalystError):
            self.leave(subscriber)
            subscriber.peer.listener.ended(subscriber, result)
        elif not subscriber.peer.paused:
            self._serve(subscriber, result)

    def _serve(self, subscriber: Subscriber, page: Page) -> None:
        if subscriber.modifiers.looks_around and self._looks_ahead(subscriber, page):
            return
        if subscriber.hash8 not in (None, page.hash8_before(subscriber.judged)):
            self._rewritten(subscriber)
            return
        cut = page.cut(subscriber, now_us())
        through = cut.through
        subscriber.judged, subscriber.epoch, subscriber.hash8 = through.seq, through.epoch, through.hash8
        subscriber.sent += cut.count
        if cut.held:
            subscriber.hold(cut.held)
            self.held.update(reason for _, reason in cut.held)
        if cut.count:
            self.deliveries += cut.count
            self.write(subscriber.peer, cut.data)
        self._enqueue(subscriber)

    def _looks_ahead(self, subscriber: Subscriber, page: Page) -> bool:
        """Whether something had to be looked at first that comes later in the log; then its turn comes again."""
        tape = subscriber.tape
        if subscriber.modifiers.mode == "latest":
            survey = subscriber.survey
            if survey is None or subscriber.judged >= survey.until:
                survey = subscriber.survey = Survey(subscriber.judged, tape.done)
            if not survey.complete:
                survey.look(page.matching(subscriber.group, tape), page.last)
                self._enqueue(subscriber)
                return True
        if subscriber.modifiers.ended == "hold" and page.known_through < subscriber.head > subscriber.judged:
            at = subscriber.judged
            self.pager.look_up(tape, page, lambda result: self._paged(subscriber, at, result))
            return True
        return False

    # -- positions ----------------------------------------------------------------------------------------------------

    def positions(self, peer: Peer) -> bytes:
        """One `position` message for each subscription of a connection."""
        return b"".join(position_message(self.place(s)) for s in peer.subscribers.values())

    def tick(self, peer: Peer, now_s: float) -> float:
        """A connection's positions, alone when due, in a delivery's write shortly before; answers when to come again.

        Called between turns, so what is written here stands after every event it speaks of.
        """
        if peer.paused or not peer.subscribers:
            return inf
        if now_s >= peer.due_s:
            self.write(peer, self._position_due(peer, now_s))
        elif now_s >= peer.due_s - peer.position_s * RIDE and not peer.riding:
            peer.riding = True
            self._out.reroute(peer)
        return peer.due_s if peer.riding else peer.due_s - peer.position_s * RIDE

    def _position_due(self, peer: Peer, now_s: float) -> bytes:
        peer.due_s = now_s + peer.position_s
        if peer.riding:
            peer.riding = False
            self._out.reroute(peer)
        ping, peer.ping = peer.ping, b""
        return self.positions(peer) + ping

    async def close(self) -> None:
        """Stop reading; nobody is served after this."""
        await self.pager.close()
