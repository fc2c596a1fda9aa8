"""Plain messages take a short way past the library; the library itself says what each client meant."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.protocol import OPEN, SERVER, Protocol

from catalyst_signals.server.inbound import Inbound
from tests.examples import examples

MAX = 300
TEXTS = st.binary(max_size=20) | st.sampled_from([b"x" * n for n in (125, 126, 127, 128, 255, 256, MAX, MAX + 1)])
CONTROL = st.tuples(st.sampled_from([Opcode.PING, Opcode.PONG]), st.binary(max_size=5))


class Library:
    """What a connection of the library makes of bytes: every frame but empty pongs, and whether it had enough."""

    def __init__(self) -> None:
        self.conn = Protocol(SERVER, state=OPEN, max_size=MAX)
        self.got: list[tuple[int, bytes, bool]] = []

    def feed(self, data: bytes) -> None:
        if not self.failed:
            self.conn.receive_data(data)
            self.got += [(f.opcode, bytes(f.data), f.fin) for f in self.frames() if f.opcode != Opcode.PONG or f.data]

    def frames(self) -> list[Any]:
        return [event for event in self.conn.events_received() if isinstance(event, Frame)]

    @property
    def failed(self) -> bool:
        return self.conn.parser_exc is not None


class Short(Inbound):
    """The short way, with the library behind it."""

    size_max = MAX

    def __init__(self) -> None:
        self.library = Library()
        self.short = 0

    def took_text(self, data: bytes) -> None:
        if not self.library.failed:
            self.library.got.append((Opcode.TEXT, bytes(data), True))
            self.short += 1

    def took_frame(self, frame: bytes) -> None:
        self.library.feed(frame)


def sent(kind: int, data: bytes, fin: bool = True) -> bytes:
    """A client's frame."""
    return Frame(Opcode(kind), data, fin).serialize(mask=True)


@st.composite
def conversations(draw: st.DrawFn) -> bytes:
    """Messages, some in fragments, with control frames anywhere, and sometimes something that is against the rules."""
    out = b""
    for _ in range(draw(st.integers(1, 8))):
        what = draw(st.sampled_from(["text", "text", "text", "control", "fragments", "binary", "wrong", "close"]))
        if what == "fragments":
            parts = draw(st.lists(TEXTS, min_size=2, max_size=4))
            for i, part in enumerate(parts):
                out += sent(*draw(CONTROL)) if draw(st.booleans()) else b""
                out += sent(Opcode.CONT if i else Opcode.TEXT, part, i == len(parts) - 1)
        elif what == "control":
            out += sent(*draw(CONTROL))
        elif what == "close":
            out += sent(Opcode.CLOSE, b"\x03\xe8")
        elif what == "wrong":
            unmasked = Frame(Opcode.TEXT, b"hi").serialize(mask=False)
            out += draw(
                st.sampled_from([unmasked, b"\x8a\x00", sent(Opcode.CONT, b""), sent(Opcode.TEXT, b"a", False)])
            )
        else:
            out += sent(Opcode.BINARY if what == "binary" else Opcode.TEXT, draw(TEXTS))
    return out


@given(conversations(), st.data())
@settings(max_examples=examples(500))
def test_the_short_way_and_the_library_hear_the_same(spoken: bytes, data: Any) -> None:
    """However the network cuts the bytes; a client that breaks the rules fails at the same place."""
    whole, short = Library(), Short()
    while spoken:
        size = data.draw(st.integers(1, len(spoken)))
        whole.feed(spoken[:size])
        if not short.library.failed:
            short.take(spoken[:size])
        spoken = spoken[size:]
    assert short.library.failed == whole.failed
    if not whole.failed:
        assert short.library.got == whole.got


def test_plain_messages_do_take_the_short_way() -> None:
    short = Short()
    short.take(sent(Opcode.TEXT, b"one") + sent(Opcode.TEXT, b"x" * 200) + sent(Opcode.PONG, b""))
    assert short.short == 2 and short.library.got == [(Opcode.TEXT, b"one", True), (Opcode.TEXT, b"x" * 200, True)]


@pytest.mark.parametrize("size", [MAX, 40])
def test_a_message_in_crumbs_costs_no_more_than_one(size: int) -> None:
    """Each crumb is looked at only when enough are there."""
    short = Short()
    for byte in sent(Opcode.TEXT, b"y" * size):
        short.take(bytes([byte]))
        assert short._held is None or len(short._held) <= size + 8
    assert short.library.got == [(Opcode.TEXT, b"y" * size, True)] and short._held is None
