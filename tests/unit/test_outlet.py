"""Bytes leave in the order in which they were handed in, whatever a socket takes at once. Real sockets, small ones."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from catalyst_signals import outlet as outlets
from catalyst_signals.outlet import Outlet
from catalyst_signals.tape import Peer, Subscriber, Way


@pytest.fixture(autouse=True, params=["compiled", "python"])
def burst(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything here holds for the compiled loop and for the one in Python."""
    if request.param == "python":
        monkeypatch.setattr(outlets, "compiled", None)
    elif outlets.compiled is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("_burst is not built: there was no C compiler")


class Here:
    """The near end of a connection whose far end does not read yet; `waits` is what its transport was given."""

    def __init__(self) -> None:
        self.near, self.far = socket.socketpair()
        self.near.setblocking(False)
        self.near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        self.waits = b""
        self.broke: list[Exception] = []
        self.peer = Peer(self.write, cast(Any, self), socket=self.near.fileno())

    def write(self, data: bytes) -> None:
        """The transport."""
        self.waits += data

    def broken(self, error: Exception) -> None:
        """Told by the outlet."""
        self.broke.append(error)

    @property
    def came(self) -> bytes:
        """What came until now."""
        self.far.setblocking(False)
        try:
            return self.far.recv(1 << 16, socket.MSG_PEEK)
        except BlockingIOError:
            return b""

    def read(self) -> bytes:
        """All that came, and then what waits."""
        self.far.setblocking(True)
        self.near.close()
        with self.far.makefile("rb") as came:
            return came.read() + self.waits


@pytest.fixture
def here() -> Iterator[Here]:
    here = Here()
    yield here
    here.near.close()
    here.far.close()


def outlet() -> tuple[Outlet, list[Peer]]:
    """One, and whom it dropped."""
    dropped: list[Peer] = []
    return Outlet(dropped.append, lambda: None), dropped


def send(out: Outlet, here: Here, data: bytes) -> None:
    """As the hub does for one live subscriber."""
    out.send_all([out.way(here.peer)], [cast(Subscriber, SimpleNamespace(peer=here.peer))], data)


def test_what_a_socket_does_not_take_waits_before_everything_else(here: Here) -> None:
    out, dropped = outlet()
    out.gather(here.peer, b"gathered")
    send(out, here, b"first")
    large = bytes(range(256)) * 4000
    send(out, here, large)
    assert 0 < len(here.waits) < len(large), "it took a part"
    out.flush(lambda _: b"", lambda: True)
    assert here.read() == b"first" + large + b"gathered" and not dropped


def test_a_full_socket_takes_nothing_and_nothing_is_lost(here: Here) -> None:
    out, dropped = outlet()
    while not here.waits:
        send(out, here, b"x" * 5000)
    full, here.waits = here.waits, b""
    send(out, here, b"behind")
    assert here.waits == b"behind" and full and not dropped and not here.broke


def test_who_is_paused_gets_all_of_it_from_the_transport(here: Here) -> None:
    """What is written past it then would arrive too early."""
    out, _ = outlet()
    here.peer.paused = True
    out.write(here.peer, b"in order")
    assert (here.came, here.waits) == (b"", b"in order")


def test_a_dead_socket_is_dropped_and_costs_nobody_else_anything(here: Here) -> None:
    out, dropped = outlet()
    other = Here()
    here.far.close()
    ways = [out.way(here.peer), out.way(other.peer)]
    live = [cast(Subscriber, SimpleNamespace(peer=each.peer)) for each in (here, other)]
    out.send_all(ways, live, b"data")
    assert dropped == [here.peer] and isinstance(here.broke[0], OSError)
    assert other.read() == b"data"
    other.far.close()


def test_what_was_gathered_is_one_write_in_front_of_what_follows(here: Here) -> None:
    out, _ = outlet()
    for part in (b"a", b"b", b"c"):
        out.gather(here.peer, part)
    out.write(here.peer, b"d")
    assert here.came == b"abcd"
    assert out.flush(lambda _: b"never", lambda: True) and here.came == b"abcd" and not here.waits


def test_a_flush_ends_with_its_time_and_goes_on_later(here: Here) -> None:
    """Ten thousand positions that are due at once do not hold the loop."""
    out, _ = outlet()
    others = [Here() for _ in range(3)]
    for each in (here, *others):
        out.gather(each.peer, b"said")
        each.peer.riding = True
    assert not out.flush(lambda _: b"+", lambda: False)
    assert [each.came for each in (here, *others)] == [b"said+", b"", b"", b""]
    assert out.flush(lambda _: b"+", lambda: True)
    assert [each.came for each in (here, *others)] == [b"said+"] * 4
    for each in others:
        each.near.close()
        each.far.close()


def test_a_burst_ends_at_who_needs_more_than_the_kernel_and_says_what_that_one_took(here: Here) -> None:
    burst = cast(Any, outlet()[0])._burst
    others = [Here() for _ in range(300)]  # More than the compiled loop takes at once.
    ways: list[Way] = [cast(int, each.peer.socket) for each in others]
    assert burst(ways, 0, 300, b"all") == (300, 0)
    assert burst(ways, 290, 299, b"some") == (299, 0)
    assert burst([*ways, print], 299, 301, b"one") == (300, 0)
    assert [each.came for each in (others[0], others[298], others[299])] == [b"all", b"allsome", b"allone"]
    assert burst([here.peer.socket, -1], 1, 2, b"nowhere") == (1, 0)
    large = bytes(1 << 20)
    at, taken = burst([ways[0], here.peer.socket, ways[1]], 1, 3, large)
    assert at == 1 and 0 < taken < len(large)
    for each in others:
        each.near.close()
        each.far.close()
    assert burst([ways[0]], 0, 1, b"closed") == (0, 0)
