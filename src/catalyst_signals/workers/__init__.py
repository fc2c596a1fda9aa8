"""Work on the outside that only one process does at a time: which one, for how long, and what it must not do after.

Owns: the lease. Knows nothing of what is done under it. Law: who was away longer than its lease finds out before it
touches the outside again; a place is moved only by who holds it, so what is repeated after a crash is at most the one
thing that was in flight.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from typing import Any

from catalyst_signals.backoff import Backoff
from catalyst_signals.errors import CatalystError, StoreUnavailable
from catalyst_signals.stores import Store
from catalyst_signals.wire import SYSTEM_CHANNEL

log = logging.getLogger("catalyst.workers")

GIVE_UP_S = 1.0  # A store that hangs must not keep a process that stops.
LEASE_S = 15.0  # After a crash another process goes on this much later.


class Lease:
    """One duty, held by at most one process; kept as a follower's place on `system` whose seq never moves."""

    def __init__(self, store: Store, duty: str, holder: str, *, ttl_s: float = LEASE_S) -> None:
        self.duty = duty
        self.ttl_s = ttl_s
        self._store = store
        self._holder = holder
        self._until_s = 0.0

    @property
    def held(self) -> bool:
        """Whether it is surely ours now: asked before anything that touches the outside.

        It ends here a quarter earlier than in the store, so that what began under it is over when another begins.
        """
        return time.monotonic() < self._until_s

    async def renew(self) -> bool:
        """Take it, or hold it `ttl_s` from now on; False: another process has it.

        Raises:
            StoreUnavailable: nobody knows; it is ours as long as `held` says so.
        """
        asked_s = time.monotonic()
        ours = await self._store.keep(
            self.duty, SYSTEM_CHANNEL, 0, was=0, holder=self._holder, ttl_s=self.ttl_s
        )  # fmt: skip
        self._until_s = asked_s + self.ttl_s * 3 / 4 if ours else 0.0
        return ours

    async def give_up(self) -> None:
        """Let another process begin at once.

        Raises:
            StoreUnavailable: it ends by itself then.
        """
        if not self.held:
            return
        self._until_s = 0.0
        try:
            async with asyncio.timeout(GIVE_UP_S):
                await self._store.keep(self.duty, SYSTEM_CHANNEL, 0, was=0, holder=self._holder, ttl_s=0)
        except TimeoutError:
            raise StoreUnavailable("the store did not take it in time") from None


async def on_duty(lease: Lease, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Do `work` whenever the lease is ours, for ever: it is begun when we have it and cancelled when we have not.

    What `work` raises ends it: it is vital, and says itself what goes wrong outside. Whenever this ends, another
    process may begin at once.
    """
    doing: asyncio.Task[None] | None = None
    again = Backoff(lease.ttl_s / 30, lease.ttl_s / 3)
    try:
        while True:
            ours = await _renewed(lease)
            if ours and doing is None:
                log.info("on duty", extra={"duty": lease.duty})
                doing = asyncio.create_task(work())
            elif not lease.held and doing is not None:
                log.warning("the duty went to another process", extra={"duty": lease.duty})
                await _cancelled(doing)
                doing = None
            again.tries = 0 if ours else again.tries
            pause_s = lease.ttl_s / 4 if ours else max(again.next_s(), lease.ttl_s / 30)
            if doing is None:
                await asyncio.sleep(pause_s)
            elif (await asyncio.wait({doing}, timeout=pause_s))[0]:
                doing.result()
                return
    finally:
        if doing is not None:
            await _cancelled(doing)
        try:
            await lease.give_up()
        except CatalystError as error:  # It ends by itself then.
            log.info("the duty could not be given up", extra={"duty": lease.duty, "reason": str(error)})


async def _renewed(lease: Lease) -> bool:
    try:
        return await lease.renew()
    except CatalystError as error:
        log.warning("the store does not say whose duty it is", extra={"duty": lease.duty, "reason": str(error)})
        return False


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
