"""The moves of the log to another store that were begun here, or in another process on this port.

Owns: the one that may be under way in this process, and which is the newest of all. Knows nothing of HTTP. How a log
moves is catalyst_signals.transfer.moving's. Law: a stop ends a move as a kill would, but waits until it has let go.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec

from catalyst_signals.errors import CatalystError, Conflict
from catalyst_signals.events import now_us
from catalyst_signals.stores import STORES, Store
from catalyst_signals.transfer.moving import Progress, move
from catalyst_signals.urls import open_backend, without_password

if TYPE_CHECKING:
    from catalyst_signals.server.siblings import Siblings

log = logging.getLogger("catalyst.transfer")

STOPPED = "the server was stopped, or has a bug; see its log, and begin again"


class Transfer(msgspec.Struct, array_like=True):
    """One move: when it began, in microseconds, and how far it is."""

    began_us: int
    progress: Progress


class Transfers:
    """Of one process. `siblings` are the others on its port, which are told and tell."""

    def __init__(self, store: Store, siblings: Siblings | None = None) -> None:
        self._store = store
        self._siblings = siblings
        self._moving: asyncio.Task[None] | None = None
        self.own: Transfer | None = None  # What was begun last in this process.

    @property
    def newest(self) -> Progress | None:
        """How far the move is that was begun last in any process that is heard."""
        known = [self.own] if self.own is not None else []
        known += self._siblings.transfers() if self._siblings is not None else []
        return max(known, key=lambda each: each.began_us).progress if known else None

    def begin(self, to: str) -> Progress:
        """The log is on its way to that store; the answer goes on telling how far.

        Raises:
            Conflict: it is on its way already.
        """
        present = self.newest
        if present is not None and present.phase in ("copying", "fenced"):
            raise Conflict("the log is being moved already; GET /v1/transfer says how far it is")
        progress = Progress()
        self.own = Transfer(now_us(), progress)
        self._moving = asyncio.create_task(self._run(to, progress))
        self._tell()
        return progress

    async def close(self) -> None:
        """Nothing is under way here any more; what was is not moved, and can be begun again."""
        if self._moving is not None:
            self._moving.cancel()
            await asyncio.gather(self._moving, return_exceptions=True)

    def _tell(self) -> None:
        if self._siblings is not None:
            self._siblings.tell()

    async def _run(self, to: str, progress: Progress) -> None:
        error: str | None = STOPPED
        try:
            await move(self._store, lambda: open_backend(to, STORES, setting="to"), to, progress)
            await self._went(to)  # This process at once, the others by their polls.
            error = None
        except CatalystError as refusal:
            error = str(refusal) if not await self._went(to) else None
        finally:
            progress.phase, progress.error = ("failed", error) if error is not None else ("moved", "")
            self._tell()
        if error is None:
            log.warning(
                "the log has moved", extra={"to": without_password(to), "paused_s": round(progress.paused_s, 3)}
            )
        else:
            log.error("the log was not moved", extra={"to": without_password(to), "reason": error})

    async def _went(self, to: str) -> bool:
        """Whether the log has moved all the same: the answer to the very last step may have been lost."""
        with suppress(CatalystError):
            await self._store.extents([])
        return getattr(self._store, "url", "") == to
