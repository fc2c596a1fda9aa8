"""How bytes reach connections: straight to a socket, or gathered so that one connection costs one write a turn.

Owns: what is gathered, the order of what one connection is written, what happens when a write fails or is not taken
whole. Knows nothing of who is due what (hub.py). Law: bytes for one connection leave in the order in which they were
handed in here; what a socket did not take goes to its transport before anything else does.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

from catalyst_signals.tape import Peer, Subscriber, Way

try:
    from catalyst_signals._burst import burst as compiled
except ImportError:  # There was no compiler where it was installed.
    compiled = None  # type: ignore[assignment]

Send = Callable[[int, bytes], int]


def one_by_one(send: Send, ways: list[Way], at: int, end: int, data: bytes) -> tuple[int, int]:
    """The same bytes to the sockets from `at` on, until one does not take all or is none: which, and what it took."""
    for here in range(at, end):
        way = ways[here]
        if not isinstance(way, int):
            return here, 0
        try:
            taken = send(way, data)
        except Exception:  # Full, or dead: whoever writes to it next finds out.
            return here, 0
        if taken != len(data):
            return here, taken
    return end, 0


class Outlet:
    """The writes of one hub. `drop` takes a dead connection out, `schedule` asks for a flush soon."""

    def __init__(self, drop: Callable[[Peer], None], schedule: Callable[[], None], send: Send = os.write) -> None:
        self._drop = drop
        self._schedule = schedule
        self._send = send
        self._burst = compiled if send is os.write and compiled is not None else partial(one_by_one, send)
        self.waiting: deque[Peer] = deque()  # Connections with gathered bytes; some of them were written meanwhile.

    def write(self, peer: Peer, data: bytes) -> None:
        """Write to a connection at once, behind what was gathered; one whose transport raises is dropped."""
        if peer.gathered:
            data = b"".join((*peer.gathered, data))
            peer.gathered.clear()
        self._hand(peer, data)

    def _hand(self, peer: Peer, data: bytes) -> None:
        """To the socket as far as it takes it, the rest and whatever comes while the transport is full to that."""
        try:
            if peer.socket is not None and not peer.paused:
                data = data[self._send(peer.socket, data) :]
        except BlockingIOError:
            pass
        except Exception as error:
            self._break(peer, error)
            return
        if data:
            self._wait_in_transport(peer, data)

    def _wait_in_transport(self, peer: Peer, data: bytes) -> None:
        try:
            peer.write(data)
        except Exception as error:
            self._break(peer, error)

    def _break(self, peer: Peer, error: Exception) -> None:
        peer.listener.broken(error)  # First: where each of its subscriptions stands is still known.
        self._drop(peer)

    def gather(self, peer: Peer, data: bytes) -> None:
        """Write to a connection at the end of this turn, together with whatever else is due to it."""
        if not peer.gathered:
            self.waiting.append(peer)
            self._schedule()
        peer.gathered.append(data)

    def flush(self, goes_along: Callable[[Peer], bytes], in_time: Callable[[], bool]) -> bool:
        """Everything gathered for one connection in one write; whether that was all before the time was over."""
        while self.waiting:
            peer = self.waiting.popleft()
            if peer.gathered:
                self.write(peer, goes_along(peer) if peer.riding else b"")
                if not in_time():
                    break
        return not self.waiting

    def way(self, peer: Peer) -> Way:
        """How live deliveries reach a connection: straight to the socket, unless there is something to join."""
        if len(peer.subscribers) > 1 or peer.riding:
            return partial(self.gather, peer)
        return peer.write if peer.socket is None else peer.socket

    def reroute(self, peer: Peer) -> None:
        """What is due to it, or how many subscriptions it has, has changed."""
        way = self.way(peer)
        for subscriber in peer.subscribers.values():
            if subscriber.slot is not None:
                subscriber.group.ways[subscriber.slot] = way

    def send_all(self, ways: list[Way], live: Sequence[Subscriber | None], data: bytes) -> None:
        """The same bytes on each of these ways, which belong to the subscribers at the same places."""
        at, end = 0, len(ways)
        while (stop := self._burst(ways, at, end, data))[0] < end:
            at, taken = stop
            subscriber = live[at]
            if subscriber is not None:
                self._send_one(subscriber.peer, ways[at], data[taken:])
            at += 1

    def _send_one(self, peer: Peer, way: Way, data: bytes) -> None:
        """To whom it takes more than a call of the kernel: who is gathered for, has a full socket or a dead one."""
        if isinstance(way, int):
            self._hand(peer, data)
            return
        try:
            way(data)
        except Exception as error:  # A dead transport may raise anything; it must cost nobody else their delivery.
            self._break(peer, error)
