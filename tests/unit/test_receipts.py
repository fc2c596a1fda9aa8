"""The collector of receipts: what it notes, and what becomes of notes while the store is away.

With tests/conformance/test_ledger.py that covers `catalyst_signals.stores.receipts`,
`catalyst_signals.stores.sqlite.ledger`, `catalyst_signals.stores.mysql.ledger` and
`catalyst_signals.stores.postgres.ledger`, with tests/server/test_receipts.py `catalyst_signals.client.acks`.
"""

from __future__ import annotations

from collections.abc import Collection

import pytest

from catalyst_signals.errors import InvalidRequest
from catalyst_signals.filters import parse
from catalyst_signals.hub import Hub
from catalyst_signals.ledger import Noted
from catalyst_signals.server import receipts
from catalyst_signals.server.receipts import Receipts
from catalyst_signals.stores.memory import MemoryStore
from catalyst_signals.tape import Peer, Subscriber, Tape
from tests.unit.test_hub import Reader, more, turns, world


class Connection(Reader):
    """A connection as the collector knows it."""

    id = "c0ffee"
    who = ("ann", "key-1")

    def __init__(self) -> None:
        super().__init__()
        self.peer = Peer(self.write, self)

    def subscribers(self) -> Collection[Subscriber]:
        """Its subscriptions."""
        return self.peer.subscribers.values()


class Place:
    """A log of `count` signals, alternately ACME and XYZ, one connection, and the collector."""

    def __init__(self, store: MemoryStore, hub: Hub, tape: Tape) -> None:
        self.store, self.hub, self.tape = store, hub, tape
        self.receipts = Receipts(store, hub)
        self.connection = Connection()

    async def join(self, text: str = "", after: int = 0) -> Subscriber:
        """A subscription that has caught up."""
        filter = parse(text or None)
        subscriber = self.hub.join(self.connection.peer, self.tape, filter, after, self.tape.epoch, None)
        self.receipts.joined(self.connection, subscriber, None)
        await turns()
        return subscriber

    async def more(self, count: int = 1) -> None:
        """So many signals more, written to whoever wants them."""
        for frame in await more(self.store, count):
            self.hub.offer(frame)
        await turns()

    async def noted(self, seq: int) -> list[Noted]:
        """What the ledger says after a look and a write."""
        self.receipts.look([self.connection])
        await self.receipts.write()
        return await self.store.noted("main", seq)


@pytest.fixture
async def place() -> Place:
    """Ten signals are there."""
    return Place(*await world(10))


async def test_who_was_sent_something_is_noted_and_who_was_not_is_left_alone(place: Place) -> None:
    """A place that moves over what does not match says nothing of anybody."""
    await place.join("symbol = ACME")
    (noted,) = await place.noted(1)
    assert (noted.who.subject, noted.who.session, noted.who.filter) == ("ann", "c0ffee:main", "symbol = ACME")
    assert (noted.sent, noted.acked, place.receipts.written) == (10, 0, 1)
    await place.noted(1)
    assert place.receipts.written == 1, "nothing moved"
    await place.more(1)  # ACME
    await place.noted(1)
    assert place.receipts.written == 2
    for frame in await more(place.store, 1):  # XYZ
        place.hub.offer(frame)
    await turns()
    await place.noted(1)
    assert place.receipts.written == 2, "what does not match was not sent"


async def test_an_acknowledgement_goes_forward_only_and_never_beyond_what_was_sent(place: Place) -> None:
    """The error says how far one may."""
    subscriber = await place.join()
    place.receipts.acknowledge(subscriber, 7)
    place.receipts.acknowledge(subscriber, 5)
    with pytest.raises(InvalidRequest) as refused:
        place.receipts.acknowledge(subscriber, 11)
    assert (refused.value.field, refused.value.got, refused.value.allowed) == ("through", 11, "<= 10")
    (noted,) = await place.noted(7)
    assert (noted.sent, noted.acked) == (10, 7)
    assert noted.acked_us is not None and noted.sent_us is not None


async def test_a_cursor_that_is_behind_acknowledges_what_it_was_given(place: Place) -> None:
    """And not what the log holds beyond it."""
    subscriber = await place.join(after=3)
    place.hub.pause(place.connection.peer)
    await place.more(5)
    with pytest.raises(InvalidRequest):
        place.receipts.acknowledge(subscriber, 12)
    place.receipts.acknowledge(subscriber, 10)
    (noted,) = await place.noted(4)
    assert (noted.who.began, noted.sent, noted.acked) == (3, 10, 10)


async def test_who_leaves_is_noted_once_more(place: Place) -> None:
    """What was sent and acknowledged since the last look is not lost with the connection."""
    subscriber = await place.join()
    await place.noted(1)
    await place.more(2)
    place.receipts.acknowledge(subscriber, 12)
    place.hub.drop(place.connection.peer)
    place.receipts.left(subscriber)
    (noted,) = await place.noted(12)
    assert (noted.sent, noted.acked) == (12, 12)


async def test_notes_are_written_until_the_store_has_them(
    place: Place, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it is away they wait, said once; of too many the oldest go, but never who somebody is."""
    subscriber = await place.join()
    ticket = await place.store.fence()
    for seq in range(1, 9):
        place.receipts.acknowledge(subscriber, seq)
        assert await place.noted(1) == []
    assert (place.receipts.waiting, len(caplog.records)) == (8, 1)
    monkeypatch.setattr(receipts, "WAITING_MAX", 3)
    place.receipts.acknowledge(subscriber, 10)
    await place.noted(1)
    assert (place.receipts.waiting, place.receipts.lost) == (4, 5)
    assert ticket
    place.store._fenced_until_us = 0
    (noted,) = await place.noted(1)
    assert (place.receipts.waiting, noted.sent, noted.acked) == (0, 10, 10)


async def test_no_two_notes_have_one_moment_whatever_the_clock_does(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clock that stands still or goes back would hide the newer note behind the older."""
    monkeypatch.setattr(receipts, "now_us", lambda: 1_800_000_000_000_000)
    subscriber = await place.join()
    for seq in (1, 2, 3):
        place.receipts.acknowledge(subscriber, seq)
        place.receipts.look([place.connection])
    (noted,) = await place.noted(3)
    assert noted.acked == 3
    assert noted.acked_us is not None and noted.acked_us[0] == noted.acked_us[1] - 1
