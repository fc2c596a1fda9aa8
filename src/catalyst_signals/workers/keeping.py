"""Places of many workers, kept so that a thousand of them cost the store no more than a few writes a second.

Owns: each worker's own place with its state, and one record besides, of who moved on since: written for all who moved
meanwhile at once. Knows nothing of what a state says.
Laws: who waits for `moved` or `keep` knows then that it is durable; one write is under way at a time, so that
publishing never waits for many; a place is moved by compare-and-set, and only while the lease is ours.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

import msgspec

from catalyst_signals.backoff import Backoff
from catalyst_signals.errors import StoreUnavailable, Unavailable
from catalyst_signals.events import Kept
from catalyst_signals.stores import Store
from catalyst_signals.wire import SYSTEM_CHANNEL
from catalyst_signals.workers import Lease

log = logging.getLogger("catalyst.workers")

GATHER_S = 0.01
OVER = 1 << 62  # The place of a worker that is gone: nothing is kept for it, and nothing missing.


class Keeper:
    """The places of all workers under one lease. `name` is the record's, and before a dot that of each worker."""

    def __init__(self, store: Store, lease: Lease, name: str) -> None:
        self._store = store
        self._lease = lease
        self._name = name
        self._record = f"{name}.moved"
        self._was: dict[tuple[str, str], int] = {}  # By name and channel, what stands in the store.
        self._writes: dict[str, int] = {}  # How often each own place was written; the record counts for that one only.
        self._moves: dict[str, tuple[int, int]] = {}
        self._wake = asyncio.Event()
        self._written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._one = asyncio.Lock()

    async def load(self, channels: Iterable[str]) -> dict[str, tuple[str, Kept]]:
        """Every worker's channel and place as of its last move; from here on older writers are shut out.

        Raises:
            StoreUnavailable: safe to try again.
        """
        record = await self._store.kept(self._record, SYSTEM_CHANNEL)
        self._was[self._record, SYSTEM_CHANNEL] = record.seq
        moves = msgspec.json.decode(record.state, type=dict[str, tuple[int, int]]) if record.state else {}
        found: dict[str, tuple[str, Kept]] = {}
        for channel in channels:
            for name, kept in (await self._store.places(channel)).items():
                if name.startswith(f"{self._name}.") and kept.seq != OVER:
                    self._was[name, channel] = kept.seq
                    self._writes[name] = writes_in(kept.state)
                    writes, seq = moves.get(name, (-1, 0))
                    if writes == self._writes[name]:
                        self._moves[name] = (writes, seq)
                        kept = Kept(seq, kept.state, kept.holder, kept.until_us)
                    found[name] = (channel, kept)
        await self._write_record()
        return found

    async def run(self) -> None:
        """Write the record whenever somebody moved, for ever."""
        again = Backoff(0.1, 2.0)
        while True:
            await self._wake.wait()
            await asyncio.sleep(GATHER_S)
            self._wake.clear()
            waiting, self._written = self._written, asyncio.get_running_loop().create_future()
            while True:
                try:
                    await self._write_record()
                    break
                except Unavailable as error:
                    if not again.tries:
                        log.warning("places cannot be kept yet", extra={"reason": str(error)})
                    await asyncio.sleep(again.next_s())
            again.tries = 0
            waiting.set_result(None)

    async def moved(self, name: str, seq: int) -> None:
        """A worker's place is `seq` now, and its state what it was; durable when this returns."""
        self._moves[name] = (self._writes.get(name, 0), seq)
        waiting = self._written
        self._wake.set()
        await asyncio.shield(waiting)

    async def keep(self, name: str, channel: str, seq: int, state: bytes) -> None:
        """A worker's place and state are these now; `state` begins as `numbered` makes it.

        Raises:
            StoreUnavailable: nobody knows; keep it again, or something newer.
        """
        self._writes[name] = writes_in(state)
        await self._write(name, channel, seq, state)
        self._moves.pop(name, None)

    def next_number(self, name: str) -> int:
        """For the next state of that worker."""
        return self._writes.get(name, 0) + 1

    async def over(self, name: str, channel: str) -> None:
        """A worker is gone for good: nothing waits for it any more.

        Raises:
            StoreUnavailable: do it again.
        """
        await self._write(name, channel, OVER, b"")
        self._moves.pop(name, None)

    async def _write_record(self) -> None:
        seq = self._was[self._record, SYSTEM_CHANNEL] + 1
        await self._write(self._record, SYSTEM_CHANNEL, seq, msgspec.json.encode(self._moves))

    async def _write(self, name: str, channel: str, seq: int, state: bytes) -> None:
        """While the lease is ours nobody else writes; what stands there otherwise is an earlier write of ours."""
        key = (name, channel)
        async with self._one:
            if not self._lease.held:
                raise StoreUnavailable("another process may have this duty")
            if await self._store.keep(name, channel, seq, state, was=self._was.get(key, 0)):
                self._was[key] = seq
                return
            if await self._lease.renew():
                self._was[key] = (await self._store.kept(name, channel)).seq
            raise StoreUnavailable("the place was another one; it is kept again")


class _Numbered(msgspec.Struct):
    writes: int = 0


def writes_in(state: bytes) -> int:
    """The number of a state: its field `writes`."""
    return msgspec.json.decode(state, type=_Numbered).writes if state else 0
