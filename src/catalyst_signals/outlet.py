"""How bytes reach connections: straight to a socket, or gathered so that one connection costs one write a turn.

Owns: what is gathered, the order of what one connection is written, what happens when a write fails or is not taken
whole. Knows nothing of who is due what (hub.py). Law: bytes for one connection leave in the order in which they were
handed in here; what a socket did not take goes to its transport before anything else does.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

from catalyst_signals.tape import Peer, Subscriber, Way

log = logging.getLogger("catalyst.hub")


class Outlet:
    """The writes of one hub. `drop` takes a dead connection out, `schedule` asks for a flush soon."""

    def __init__(
        self, drop: Callable[[Peer], None], schedule: Callable[[], None], send: Callable[[int, bytes], int] = os.write
    ) -> None:
        self._drop = drop
        self._schedule = schedule
        self._send = send
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
        log.info("a write failed, the connection is dropped", extra={"reason": repr(error)})
        self._drop(peer)
        peer.listener.broken(error)

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

    def send_all(self, ways: Sequence[Way], live: Sequence[Subscriber | None], data: bytes) -> None:
        """The same bytes on each of these ways, which belong to the subscribers at the same places."""
        send, size = self._send, len(data)
        for at, way in enumerate(ways):
            try:
                if not isinstance(way, int):
                    way(data)
                elif (taken := send(way, data)) != size:
                    self._goes_on(live[at], data[taken:])
            except BlockingIOError:
                self._goes_on(live[at], data)
            except Exception as error:  # A dead socket may raise anything; it must cost nobody else their delivery.
                if (subscriber := live[at]) is not None:
                    self._break(subscriber.peer, error)

    def _goes_on(self, subscriber: Subscriber | None, rest: bytes) -> None:
        """The socket is full: the transport has the rest, before all else, and pauses this connection meanwhile."""
        if subscriber is not None:
            self._wait_in_transport(subscriber.peer, rest)
