"""The read replica of a log in PostgreSQL: when it is asked, and for how long it has lacked something.

Owns: its connections, and that measurement. Knows nothing of what may be shown: heads.py judges its pages. Laws: a
replica is asked only for what the primary is known to have, and is never believed to have nothing; nobody waits for a
measurement.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Mapping

from catalyst_signals.errors import CatalystError, StoreUnavailable
from catalyst_signals.events import Event
from catalyst_signals.stores.postgres import rows
from catalyst_signals.stores.postgres.heads import Heads
from catalyst_signals.stores.postgres.pool import Pool

log = logging.getLogger("catalyst.postgres")

READERS, WAIT_S = 2, 3.0  # What a replica has not answered by then, the primary is asked for.
AWAY_S = 5.0
LOOK_S = 1.0  # How often it is compared with the primary at most, and so how exact its lag is.
LACKS_MAX = 1000


class Replica:
    """`read` asks it; `look` keeps `lag_s` right."""

    def __init__(self, conninfo: str, heads: Heads) -> None:
        self._pool = Pool(conninfo, READERS, "postgres-replica")
        self._heads = heads
        self._from_s = 0.0
        self._look_from_s = 0.0
        self._looking: asyncio.Task[None] | None = None
        self._lacks: deque[tuple[float, Mapping[str, int]]] = deque()  # Where the primary was when; oldest first.

    @property
    def lag_s(self) -> float:
        """For how long it has lacked something of the log, as far as is known; 0 when it has all."""
        return time.monotonic() - self._lacks[0][0] if self._lacks else 0.0

    async def read(self, channel: str, after: int, limit: int, bytes_max: int) -> list[Event]:
        """A page from it; nothing if it cannot be asked, or does not know enough."""
        now_s = time.monotonic()
        if now_s < self._from_s or not self._heads.surely_has(channel, after):
            return []
        try:
            _, standing, events = await self._pool.run(rows.read, channel, after, limit, bytes_max, wait_s=WAIT_S)
        except CatalystError as error:
            if isinstance(error, StoreUnavailable):
                self._from_s = now_s + AWAY_S
            log.warning("the replica cannot answer, the primary is asked", extra={"reason": str(error)})
            return []
        return self._heads.believed(standing, events)

    def look(self) -> None:
        """Compare it with what is known of the primary, unless that was done just now."""
        now_s = time.monotonic()
        if now_s < self._look_from_s or (self._looking is not None and not self._looking.done()):
            return
        self._look_from_s = now_s + LOOK_S
        if len(self._lacks) < LACKS_MAX:
            self._lacks.append((now_s, self._heads.ends))
        else:  # Away for so long that nobody asks by how much to the second.
            self._lacks[-1] = (self._lacks[-1][0], self._heads.ends)
        self._looking = asyncio.create_task(self._compare())

    async def _compare(self) -> None:
        try:
            _, theirs = await self._pool.run(rows.standings, None, wait_s=WAIT_S)
        except CatalystError:
            return  # Whatever it lacked it lacks still.
        has = {channel: standing.extent.last for channel, standing in theirs.items()}
        while self._lacks and all(has.get(channel, 0) >= last for channel, last in self._lacks[0][1].items()):
            self._lacks.popleft()

    async def close(self) -> None:
        """Nothing is asked any more."""
        if self._looking is not None:
            self._looking.cancel()
        await self._pool.close()
