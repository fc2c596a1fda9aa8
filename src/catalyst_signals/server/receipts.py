"""Who was sent and who has acknowledged what, of one process: gathered from the hub, written once a second.

Owns: what was acknowledged here, and the notes that are not written yet. Knows nothing of sockets. Laws: nothing here
runs while an event is delivered; what was not sent is never acknowledged; a note is written until the store has it.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Protocol

import msgspec

from catalyst_signals.errors import CatalystError, InvalidRequest
from catalyst_signals.events import now_us
from catalyst_signals.hub import Hub
from catalyst_signals.ledger import Note, Receiver
from catalyst_signals.modifiers import Modifiers
from catalyst_signals.stores import Store
from catalyst_signals.tape import Subscriber

log = logging.getLogger("catalyst.receipts")

EVERY_S = 1.0
PARTS = 10  # Of all connections: a look at each part is a turn of its own, so that none is long.
AT_ONCE = 2000  # Notes in one write: a few milliseconds of the store's thread.
WAITING_MAX = 50_000  # Notes that wait for a store that is away; the oldest go first, at about 200 bytes each.
_NUMBER_BITS = 10  # Below the moment in a receiver's number.
_DEFAULT = Modifiers()


class Whose(Protocol):
    """A connection as far as this needs it."""

    id: str

    @property
    def who(self) -> tuple[str, str]:
        """Its user and key."""

    def subscribers(self) -> Collection[Subscriber]:
        """Its subscriptions."""


class Receiving:
    """One receiver here: what its last note said, what it acknowledged since, and the one before a change of filter."""

    __slots__ = ("acked", "earlier", "noted_acked", "noted_count", "number", "sent", "who")

    def __init__(self, who: Receiver) -> None:
        self.number = who.number
        self.who: Receiver | None = who  # Until its first note.
        self.sent = who.began
        self.acked = self.noted_acked = 0
        self.noted_count = -1
        self.earlier: Receiving | None = None


class Receipts:
    """The collector of one process. With `keeps` False acknowledgements are judged and nothing is kept."""

    def __init__(self, store: Store, hub: Hub, *, keeps: bool = True) -> None:
        self._store = store
        self._hub = hub
        self._keeps = keeps
        self._of: dict[Subscriber, Receiving] = {}
        self._waiting: list[Note] = []
        self._number = 0
        self._at_us = 0
        self._failed = False
        self.acks = 0
        self.written = 0
        self.lost = 0

    @property
    def waiting(self) -> int:
        """How many notes are not written yet."""
        return len(self._waiting)

    # -- what a connection tells ------------------------------------------------------------------------------------

    def joined(self, connection: Whose, subscriber: Subscriber, earlier: Receiving | None) -> None:
        """A subscription begins here and now; `earlier` is what the one before had, if this is another filter for it.

        What is on its way then may acknowledge what came before.
        """
        if self._keeps:
            receiving = self._of[subscriber] = Receiving(self._receiver(connection, subscriber))
            if earlier is not None and earlier.acked < earlier.sent:
                receiving.earlier = earlier

    def acknowledge(self, subscriber: Subscriber, through: int) -> None:
        """Everything up to there was handled; one that is behind an earlier one changes nothing.

        Raises:
            InvalidRequest: that far nothing was sent yet.
        """
        self.acks += 1
        done = subscriber.judged if subscriber.slot is None else subscriber.tape.done
        if through > done and through > (done := self._hub.place(subscriber).seq):
            raise InvalidRequest(
                f"nothing beyond {done} was sent to this subscription yet, so {through} cannot be acknowledged",
                field="through", got=through, allowed=f"<= {done}",
            )  # fmt: skip
        if not self._keeps:
            return
        receiving = self._of[subscriber]
        receiving.acked = max(receiving.acked, through)
        earlier = receiving.earlier
        if earlier is not None:
            earlier.acked = max(earlier.acked, min(through, earlier.sent))
            self._note(earlier, earlier.sent, self._now_us())
            receiving.earlier = None if earlier.acked == earlier.sent else earlier

    def left(self, subscriber: Subscriber) -> Receiving | None:
        """It has left the hub: what it was sent last is noted, and no more of it."""
        if not self._keeps:
            return None
        self._look_at(subscriber, self._now_us())
        return self._of.pop(subscriber)  # Once each: whoever has left the hub is told so once.

    # -- looking ----------------------------------------------------------------------------------------------------

    async def look_for_ever(self, everybody: Callable[[], Sequence[Whose]]) -> None:
        """Look at every connection once a second, a tenth of them at a time."""
        while True:
            connections = everybody()
            for part in range(PARTS):
                await asyncio.sleep(EVERY_S / PARTS)
                self.look(connections[part::PARTS])

    def look(self, connections: Iterable[Whose]) -> None:
        """Note who was sent something, or has acknowledged something, since the last look."""
        at_us = self._now_us()
        for connection in connections:
            for subscriber in connection.subscribers():
                self._look_at(subscriber, at_us)

    def _look_at(self, subscriber: Subscriber, at_us: int) -> None:
        receiving = self._of[subscriber]
        count = subscriber.sent  # As Hub.place, without making a Place: nearly always nothing has changed.
        if subscriber.slot is not None:
            count += subscriber.group.written - subscriber.base
        if count != receiving.noted_count or receiving.acked != receiving.noted_acked:
            receiving.noted_count = count
            self._note(receiving, self._hub.place(subscriber).seq, at_us)

    def _receiver(self, connection: Whose, subscriber: Subscriber) -> Receiver:
        subject, key_id = connection.who
        channel, modifiers = subscriber.tape.channel, subscriber.modifiers
        self._number = max(self._number + 1, now_us() << _NUMBER_BITS | secrets.randbits(_NUMBER_BITS))
        return Receiver(
            self._number, channel, f"{connection.id}:{channel}", subject, key_id, subscriber.group.filter.text,
            "" if modifiers == _DEFAULT else msgspec.json.encode(modifiers._asdict()).decode(),
            subscriber.began, subscriber.head, self._now_us(),
        )  # fmt: skip

    def _note(self, receiving: Receiving, sent: int, at_us: int) -> None:
        receiving.sent = max(receiving.sent, sent, receiving.acked)
        receiving.noted_acked = receiving.acked
        who, receiving.who = receiving.who, None
        self._waiting.append(Note(receiving.number, receiving.sent, receiving.acked, at_us, who))

    def _now_us(self) -> int:
        """Now, and later than ever before, whatever the clock does: of two notes of a receiver the newer shows."""
        self._at_us = max(self._at_us + 1, now_us())
        return self._at_us

    # -- writing ----------------------------------------------------------------------------------------------------

    async def write_for_ever(self) -> None:
        """Once a second what there is."""
        while True:
            await asyncio.sleep(EVERY_S)
            await self.write()

    async def write(self) -> None:
        """The store has every note, or the next time comes first: it is tried again with the same ones."""
        while self._waiting:
            notes = self._waiting[:AT_ONCE]
            try:
                await self._store.note(notes)
            except CatalystError as error:
                if not self._failed:
                    log.warning("receipts wait to be written", extra={"reason": str(error), "waiting": self.waiting})
                self._failed = True
                self._bound()
                return
            self._failed = False
            self.written += len(notes)
            del self._waiting[: len(notes)]

    def _bound(self) -> None:
        """The oldest go, but for those that say who somebody is."""
        over = len(self._waiting) - WAITING_MAX
        if over > 0:
            oldest = self._waiting[:over]
            kept = [note for note in oldest if note.who is not None]
            self.lost += over - len(kept)
            self._waiting[:over] = kept
