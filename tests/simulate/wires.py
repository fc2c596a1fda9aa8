"""One connection of the simulated world: to the server it looks like server.protocol.SocketProtocol, to a reader like
a socket.

Owns: pushback, bytes in flight, what is cut off when an end dies. Knows nothing of what the bytes say.
Law: bytes arrive in order and whole up to the place where they end; the server hears of a break later than it happens.
"""

from __future__ import annotations

from collections import deque
from itertools import count
from typing import TYPE_CHECKING, Any, Protocol

from catalyst_signals.wire import PING

from .stretches import Moment

if TYPE_CHECKING:
    from .world import ServerProcess, World

LINGER_S = 1.0
DECIDING_S = 0.05  # So long a server may take from deciding what to write to writing it; longer if it was frozen.


class Client(Protocol):
    """Who sits at the far end of a wire."""

    def message(self, wire: Wire, text: bytes, written: Moment) -> None:
        """A whole message came, which was written then."""

    def closed(self, wire: Wire) -> None:
        """The wire has ended."""


class Wire:
    """A WebSocket after its handshake."""

    def __init__(self, world: World, process: ServerProcess, client: Client, *, high: int, low: int, pace_s: float):
        self._world = world
        self._process = process
        self._client = client
        self._high, self._low = high, low
        self._pace_s = pace_s
        self._owner: Any = None
        self._out = bytearray()
        self._sent = self._taken = 0  # Bytes of all times.
        self._moments: deque[tuple[int, Moment]] = deque()  # When the bytes up to there were written.
        self._pushing = False
        self._flowing = False
        self._in: deque[str] = deque()
        self._held = False
        self._got = bytearray()
        self.gone = False
        self._raises = world.chance(0.3)
        self._closing = False
        self.stalled = False
        self.socket = next(number for number in count(3) if number not in process.sockets)  # As a kernel gives them.
        process.sockets[self.socket] = self
        self.loop = world.loop
        self.transport = self  # What a connection asks of its transport is here as well.

    # -- what the server's connection uses ----------------------------------------------------------------------------

    def adopt(self, owner: Any) -> None:
        """From here on `owner` has this connection."""
        self._owner = owner
        self._to_server(0, self._take_in)

    def write(self, data: bytes) -> None:
        """Take bytes; push back when there are too many. A dead wire raises at the hub, or swallows what it gets."""
        if self.gone:
            if self._raises:
                self._world.saw("a write raised")
                raise RuntimeError("unable to perform operation on <TCPTransport closed=True>")
            return
        self._out += data
        self._sent += len(data)
        self._moments.append((self._sent, self._moment()))
        if len(self._out) > self._high and not self._pushing:
            self._pushing = True
            self._world.saw("a transport pushed back")
            self._owner.paused()
        self._go_on()

    def take(self, data: bytes) -> int:
        """A socket takes what it has room for, and says how much; the rest makes its transport push back."""
        room = self._high - len(self._out)
        if self.gone or room >= len(data):
            self.write(data)
            return len(data)
        if room <= 0 or self._pushing:
            raise BlockingIOError
        self._world.saw("a socket took a part")
        self.write(data[:room])
        return room

    def _moment(self) -> Moment:
        now_s, process = self.loop.time(), self._process
        decided_s = process.froze_s if now_s - process.thawed_s < DECIDING_S else now_s
        return Moment(self._world.us(decided_s - DECIDING_S), self._world.us(now_s))

    def ping(self) -> None:
        """Somebody who reads answers."""
        if not self.stalled:
            self._to_server(0.01, lambda: self._owner.heard())

    def hold_reading(self, hold: bool) -> None:
        """Read nothing for now, or go on."""
        self._held = hold
        if not hold:
            self._to_server(0, self._take_in)

    def close(self, code: int, reason: str) -> None:
        """Say goodbye after what was written."""
        if not self._closing and not self.gone:
            self._world.note("wire     is closed by the server: %d %s", code, reason)
            if self._owner is not None:
                self._owner.closing()
            self._closing = True
            self._world.later(LINGER_S, self.end)
            self._go_on()

    def abort(self) -> None:
        """Cut off."""
        self._world.later(0, self.end)

    # -- what the reader uses -----------------------------------------------------------------------------------------

    def send(self, text: str, after_s: float) -> None:
        """A message to the server; it arrives in order."""
        self._in.append(text)
        self._to_server(after_s, self._take_in)

    def cut(self, told_after_s: float) -> None:
        """The network is gone for the reader now, for the server when it notices."""
        if not self.gone:
            self.gone = True
            self._client.closed(self)
            self._to_server(told_after_s, self._lost)

    def stall(self, stalled: bool) -> None:
        """The reader takes nothing for a while."""
        self.stalled = stalled
        self._go_on()

    def choke(self) -> None:
        """The kernel has no room for a moment, whatever was written last; the reader sees nothing of it."""
        if not self.gone and not self._pushing and not self._closing:
            self._pushing = True
            self._owner.paused()
            self._go_on()

    def hurry(self) -> None:
        """Take what comes from now on."""
        self._pace_s = min(self._pace_s, 0.002)
        self.stall(False)

    # -- what the world uses ------------------------------------------------------------------------------------------

    def server_died(self) -> None:
        """Of what was written last, only some arrives; the reader hears of the end a little later."""
        if not self.gone:
            self._arrived(self._world.rng.randint(0, len(self._out)))
            self.gone = True
            self._world.later(self._world.rng.random(), self._client.closed, self)

    def _to_server(self, after_s: float, call: Any) -> None:
        self.loop.call_later(after_s, call, context=self._process.context)

    def _lost(self) -> None:
        if self._owner is not None:
            self._owner.lost()
        self._process.sockets.pop(self.socket, None)

    def _take_in(self) -> None:
        while self._in and self._owner and not self._held and not self.gone and not self._closing:
            self._owner.heard()
            self._owner.received(self._in.popleft())

    def _go_on(self) -> None:
        if not self._flowing and not self.stalled and (self._out or self._closing or self._pushing):
            self._flowing = True
            self._world.later(self._pace_s * self._world.rng.random(), self._flow)

    def _flow(self) -> None:
        self._flowing = False
        if self.gone or self.stalled:
            return
        self._arrived(self._world.rng.randint(1, max(self._high, 1)))
        if self._pushing and len(self._out) <= self._low:
            self._pushing = False
            self._to_server(0, lambda: self.gone or self._owner.resumed())
        if self._closing and not self._out:
            self.end()
        self._go_on()

    def _arrived(self, size: int) -> None:
        self._got += self._out[:size]
        del self._out[:size]
        while not self.gone and (text := self._next_message()) is not None:
            while self._moments[0][0] < self._taken:
                self._moments.popleft()
            self._client.message(self, text, self._moments[0][1])

    def _next_message(self) -> bytes | None:
        """The next whole message of RFC 6455 frames without mask or fragments; a ping among them is answered."""
        got = self._got
        while got.startswith(PING):
            del got[: len(PING)]
            self._taken += len(PING)
            self.ping()
        if len(got) < 2:
            return None
        assert got[0] == 0x81, f"not a text frame: {bytes(got[:20])!r}"
        size, head = got[1], 2
        if size >= 126:
            head = 4 if size == 126 else 10
            size = int.from_bytes(got[2:head], "big")
        if len(got) < head + size:
            return None
        text = bytes(got[head : head + size])
        del got[: head + size]
        self._taken += head + size
        return text

    def end(self) -> None:
        """The connection is over, for both ends."""
        if not self.gone:
            self.gone = True
            self._client.closed(self)
            self._to_server(0, self._lost)
