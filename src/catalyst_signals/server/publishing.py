"""What one WebSocket publishes, from the message to its answer.

Owns: its publishes in flight. Knows nothing of subscriptions or sockets: the connection tells what became of each.
Law: each is answered once, with its own `ref`; what needs the store first comes back to be awaited.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Protocol

from catalyst_signals.auth import Principal
from catalyst_signals.changes import Author, supersedes
from catalyst_signals.errors import CatalystError
from catalyst_signals.events import Batch, Draft, Refused, Stored
from catalyst_signals.publish import Result
from catalyst_signals.server.node import author_of, expired
from catalyst_signals.session import Publish
from catalyst_signals.signals import signal_draft
from catalyst_signals.wire import answer, message, ref_of

if TYPE_CHECKING:
    from catalyst_signals.server.node import Node

Slow = Callable[[], Awaitable[None]]


class Told(Protocol):
    """Who is told what became of a publish."""

    closed: bool

    def accepted(self, data: bytes) -> None:
        """It is stored: the answer, as it goes over the wire."""

    def refuse(self, error: CatalystError, ref: object) -> None:
        """It is not."""

    def mind_reading(self) -> None:
        """How many are in flight has changed."""


class Publishing:
    """The publishing half of a connection."""

    __slots__ = ("_node", "_told", "in_flight")

    def __init__(self, node: Node, told: Told) -> None:
        self._node = node
        self._told = told
        self.in_flight = 0

    def publish(self, principal: Principal, command: Publish) -> Slow | None:
        """Take one in; what has to be awaited before the next message is dealt with comes back."""
        self._node.may_publish(principal, command.channel)
        draft, by_server = signal_draft(command.signal, subject=principal.subject)
        if supersedes(draft) is not None:
            return partial(self._supersede, command, author_of(principal), draft, by_server)
        batch = Batch(channel=command.channel, subject=principal.subject, drafts=[draft])
        if expired(draft) is not None:
            return partial(self._publish_late, batch, draft, by_server, command.ref)
        self._submit(batch, by_server, command.ref)
        return None

    async def _publish_late(self, batch: Batch, draft: Draft, by_server: bool, ref: object) -> None:
        await self._node.check_fresh(batch.channel, [draft])
        self._submit(batch, by_server, ref)

    async def _supersede(self, command: Publish, author: Author, draft: Draft, by_server: bool) -> None:
        """A signal that takes another's place needs what was sent before it stored; what follows waits for it."""
        await self._node.publisher.settled()
        await self._node.check_fresh(command.channel, [draft])
        stored = await self._node.changes.publish(command.channel, author, [draft])
        self._accept(stored, by_server, command.ref)

    def _submit(self, batch: Batch, by_server: bool, ref: object) -> None:
        future = self._node.publisher.submit([batch])
        self.in_flight += 1
        self._told.mind_reading()
        future.add_done_callback(lambda done: self._published(done, by_server, ref))

    def _published(self, done: asyncio.Future[Result], by_server: bool, ref: object) -> None:
        self.in_flight -= 1
        if self._told.closed or done.cancelled():
            return
        self._told.mind_reading()
        error = done.exception()
        if isinstance(error, CatalystError):
            self._told.refuse(error, ref)
            return
        (result,) = done.result()
        if isinstance(result, Refused):
            self._told.refuse(result.error, ref)
            return
        self._accept(result, by_server, ref)

    def _accept(self, stored: Stored, by_server: bool, ref: object) -> None:
        said = answer(stored, stored.receipts[0], id_by_server=by_server)
        self._told.accepted(message({"type": "accepted", **ref_of(ref), **said}))
