"""The log in MySQL or MariaDB: any number of processes write it, each commits what it has in one transaction.

Owns: which connection does what, and what of it may be shown. Laws: a transaction that was begun is finished, also when
who asked for it goes away; what another process committed is shown only when it is on the disk. InnoDB lets others
see a commit before its log is flushed (with a binary log it is the other way round), so whoever finds something new
commits something small first: that reaches the disk behind everything before it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Self, TypeVar

from catalyst_signals.errors import CatalystError, StoreFull
from catalyst_signals.events import Batch, Event, Extent, Kept, Known, Part, Refused, Stored, now_us
from catalyst_signals.ledger import Note, Noted
from catalyst_signals.stores import FENCE_US, PAGE_BYTES_MAX
from catalyst_signals.stores.mysql import ledger, rows, schema, writing
from catalyst_signals.stores.mysql.links import Address, Link, Pool, address_of

T = TypeVar("T")

WRITERS, READERS = 2, 4  # Connections a process has at most.
LOCKS_KEPT = 1000
MIGRATE_S = 120.0  # Each table is several fsyncs, and another process may be at it.


class MysqlStore:
    """One database of a server; many processes may have it open."""

    durability = "disk"

    def __init__(self, address: Address) -> None:
        self._writers = Pool(address, WRITERS, "READ COMMITTED")
        self._readers = Pool(address, READERS, "REPEATABLE READ")
        self._flushed: dict[str, int] = {}  # By channel: the newest seq that is known to be on the disk.
        self._under_way: set[asyncio.Task[object]] = set()
        self.moved_to = ""
        self.lock_held_s: deque[float] = deque(maxlen=LOCKS_KEPT)
        """How long each of the newest appends had its heads locked, as seen from here, oldest first."""

    @classmethod
    def from_url(cls, url: str) -> Self:
        """`mysql://USER:PASSWORD@HOST:PORT/DATABASE`"""
        return cls(address_of(url))

    async def __aenter__(self) -> Self:
        try:
            await self._writers.do(schema.prepare, within_s=MIGRATE_S)
            await self.extents(())
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        await asyncio.gather(*self._under_way, return_exceptions=True)
        await self._writers.close()
        await self._readers.close()

    @property
    def fault(self) -> CatalystError | None:
        """Store.fault"""
        return self._writers.fault

    # -- what changes something ---------------------------------------------------------------------------------

    async def append(self, batches: Sequence[Batch]) -> list[Stored | Refused]:
        """Store.append: one transaction for all batches."""
        if not any(batch.drafts for batch in batches):
            there = await self.extents({batch.channel for batch in batches})
            if all(batch.channel in there for batch in batches):
                return [self._open_already(there[batch.channel]) for batch in batches]

        async def work(link: Link) -> list[Stored | Refused]:
            results, change, held_s = await writing.append(link, batches, self.durability)
            self.lock_held_s.append(held_s)
            if change.events:
                self._on_disk(change.ends)
            else:
                await self._flush(link, change.ends)
            return results

        try:
            return await self._change(work)
        except StoreFull as full:
            return [Refused(full)] * len(batches)

    def _open_already(self, extent: Extent) -> Stored:
        """What an empty batch of a channel that is there is answered: also where nothing can be written any more."""
        return Stored(
            channel=extent.channel, epoch=extent.epoch, receipts=[], events=[], durability=self.durability
        )  # fmt: skip

    async def keep(
        self, name: str, channel: str, seq: int, state: bytes = b"", *,
        was: int, holder: str | None = None, ttl_s: float = 0,
    ) -> bool:  # fmt: skip
        """Store.keep"""
        until_us = now_us() + int(ttl_s * 1_000_000) if holder else 0
        kept = Kept(seq, state, holder, until_us)
        return await self._change(lambda link: writing.keep(link, name, channel, was, kept))

    async def note(self, notes: Sequence[Note]) -> None:
        """Store.note"""
        if notes:
            await self._change(lambda link: ledger.note(link, notes))

    async def noted(self, channel: str, seq: int, since_us: int = 0, subject: str | None = None) -> list[Noted]:
        """Store.noted"""
        return await self._readers.do(lambda link: ledger.noted(link, channel, seq, since_us, subject))

    async def forget(self, before_us: int) -> None:
        """Store.forget: in several transactions if it is much."""
        while await self._change(lambda link: ledger.forget_some(link, before_us)):
            pass

    async def drop(self, channel: str, through: int) -> Extent:
        """Store.drop: in several transactions if it is much, so that appends come between."""
        while True:
            extent = await self._change(lambda link: writing.drop_some(link, channel, through))
            if extent.first > min(through, extent.last):
                return extent

    async def begin_epoch(self, channel: str, first: int, reason: str) -> Extent:
        """Store.begin_epoch"""
        return await self._change(lambda link: writing.begin_epoch(link, channel, first, reason))

    async def erase(self, channel: str, seq: int) -> None:
        """Store.erase: from the table; how long the server's own logs have the bytes is for them to say."""
        await self._change(lambda link: writing.erase(link, channel, seq))

    async def adopt(self, part: Part) -> None:
        """Store.adopt"""
        await self._change(lambda link: writing.adopt(link, part))

    async def fence(self, moved_to: str = "", ticket: int = 0) -> int:
        """Store.fence: by the server's clock, for every process."""
        return await self._change(lambda link: writing.fence(link, moved_to, ticket, FENCE_US))

    async def _change(self, work: Callable[[Link], Awaitable[T]]) -> T:
        """`work` is finished also when the caller goes away."""
        if self._writers.fault is not None:
            raise self._writers.fault.with_traceback(None)
        task = asyncio.create_task(self._writers.do(work))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        task.add_done_callback(lambda done: done.cancelled() or done.exception())  # Seen, also if nobody waits.
        return await asyncio.shield(task)

    # -- what is read -------------------------------------------------------------------------------------------

    async def read(self, channel: str, after: int, limit: int, bytes_max: int = PAGE_BYTES_MAX) -> list[Event]:
        """Store.read"""

        async def work(link: Link) -> list[Event]:
            events, extent = await rows.read(link, channel, after, limit, bytes_max)
            if events and events[-1].seq > self._flushed.get(channel, 0):
                await self._flush(link, {channel: extent.last})
            return events

        return await self._readers.do(work)

    async def extents(self, channels: Iterable[str] | None = None) -> dict[str, Extent]:
        """Store.extents"""
        names = None if channels is None else list(channels)

        async def work(link: Link) -> dict[str, Extent]:
            _, ((self.moved_to,),), found, _ = await link.ask(
                rows.SNAPSHOT, rows.MOVED_TO, rows.extents(names), b"COMMIT"
            )
            extents = {channel: extent for channel, (_, extent) in rows.standings_of(found).items()}
            await self._flush(link, {channel: extent.last for channel, extent in extents.items()})
            return extents

        return await self._readers.do(work)

    async def find(self, channel: str, ids: Sequence[str]) -> dict[str, Known]:
        """Store.find"""

        async def work(link: Link) -> dict[str, Known]:
            return rows.known_of((await rows.standing(link, channel, *rows.find(channel, ids)))[1])

        return await self._readers.do(work)

    async def ids(self, channel: str, after: str = "", limit: int = 1000) -> list[tuple[str, Known]]:
        """Store.ids"""

        async def work(link: Link) -> list[tuple[str, Known]]:
            _, found = await rows.standing(link, channel, rows.page_of_ids(channel, after, limit))
            return list(rows.known_of(found).items())

        return await self._readers.do(work)

    async def kept(self, name: str, channel: str) -> Kept:
        """Store.kept"""
        return (await self.places(channel)).get(name, Kept(0))

    async def places(self, channel: str) -> dict[str, Kept]:
        """Store.places"""

        async def work(link: Link) -> dict[str, Kept]:
            (found,) = await link.ask(rows.KEPT + b" WHERE channel = " + rows.named(channel))
            return rows.kept_of(found)

        return await self._readers.do(work)

    async def _flush(self, link: Link, seen: dict[str, int]) -> None:
        """What was seen, by channel, is on the disk."""
        if any(seq > self._flushed.get(channel, 0) for channel, seq in seen.items()):
            if link.shows_before_flushed:
                await link.ask(b"UPDATE flushes SET count = count + 1 WHERE one = 1")
            self._on_disk(seen)

    def _on_disk(self, ends: dict[str, int]) -> None:
        for channel, seq in ends.items():
            self._flushed[channel] = max(seq, self._flushed.get(channel, 0))
