"""The log in PostgreSQL, written by any number of processes at once.

Owns: which connection answers what, and how much is shown. Laws: an answer that names `disk+standby` was waited for,
also where it repeats an older one; nothing above the durable head is shown. The statements: rows.py, appending.py,
changing.py; the connection, its time-outs and its unknown ends: line.py; a replica: replica.py.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, Self, TypeVar

from catalyst_signals.errors import CatalystError, Fenced, Moved, StoreCorrupt, StoreFull, StoreUnavailable
from catalyst_signals.events import Batch, Event, Extent, Kept, Known, Part, Refused, Stored, now_us
from catalyst_signals.ledger import Note, Noted
from catalyst_signals.stores import FENCE_US, PAGE_BYTES_MAX
from catalyst_signals.stores.postgres import address, appending, changing, ledger, promoted, rows, schema
from catalyst_signals.stores.postgres.address import Address
from catalyst_signals.stores.postgres.heads import Heads
from catalyst_signals.stores.postgres.line import DURABILITIES, STANDBY, About, Line, Promoted
from catalyst_signals.stores.postgres.pool import Pool
from catalyst_signals.stores.postgres.replica import Replica

T = TypeVar("T")

READERS = 3  # Connections of one process to the primary, besides the one that writes.
MIGRATE_S = 600.0  # Another process may be building an index.
VACUUM_S = 120.0
LOCKS_KEPT = 1000


class PostgresStore:
    """One PostgreSQL server, or several of which one takes writes."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._writer = Pool(address.primary, 1, "postgres-writer")
        self._readers = Pool(address.primary, READERS, "postgres-reader")
        self._heads = Heads()
        self._replica = Replica(address.replica, self._heads) if address.replica else None
        self._confirm_from_s = 0.0
        self._corrupt: StoreCorrupt | None = None
        self.durability = "disk"  # Of the newest commit, or as the server is set where there was none yet.
        self.moved_to = ""
        self.lock_held_s: deque[float] = deque(maxlen=LOCKS_KEPT)
        """How long each of the newest appends had its heads locked, as seen from here, oldest first."""

    @classmethod
    def from_url(cls, url: str) -> Self:
        """`postgresql://USER:PASSWORD@HOST:PORT/DATABASE`, with `?replica=` and `require_durability=`."""
        return cls(address.parse(url))

    async def __aenter__(self) -> Self:
        try:
            await self._prepare()
            about, _ = await self._standings([])
            self.durability = about.durability
            self._check_level(about)
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def _prepare(self) -> None:
        try:
            await self._writer.run(schema.prepare, wait_s=MIGRATE_S)
        except StoreUnavailable as error:
            raise StoreUnavailable(
                f"{error} (at {self._address.shown}: is it up, and are the user, password and database right?)"
            ) from error

    async def __aexit__(self, *exc: object) -> None:
        for pool in (self._replica, self._readers, self._writer):
            if pool is not None:
                await pool.close()

    @property
    def fault(self) -> CatalystError | None:
        """Store.fault"""
        return self._corrupt

    @property
    def replica_lag_s(self) -> float | None:
        """For how long the replica has lacked something of the log; None without a replica."""
        return self._replica.lag_s if self._replica is not None else None

    def _check_level(self, about: About) -> None:
        required = self._address.required
        if DURABILITIES.index(about.durability) < DURABILITIES.index(required):
            raise StoreUnavailable(
                f"commits reach `{about.durability}` only, and `require_durability` is {required}: set"
                " synchronous_standby_names on the server, or require less",
                required=required, reached=about.durability,
            )  # fmt: skip

    # -- what is written ----------------------------------------------------------------------------------------

    async def append(self, batches: Sequence[Batch]) -> list[Stored | Refused]:
        """Store.append: one transaction for all batches, two round trips while the heads are locked."""
        wanted = {batch.channel for batch in batches if not batch.drafts}
        if wanted:
            there = await self.extents(wanted)
            if len(there) == len(wanted) and not any(batch.drafts for batch in batches):
                return [self._open_already(there[batch.channel]) for batch in batches]
            if missing := sorted(wanted - there.keys()):
                await self._write(changing.open_channels, missing)
        try:
            change, durability = await self._write(self._append, batches)
        except StoreFull as full:
            return [Refused(full)] * len(batches)
        self.durability = durability
        for channel, end in change.ends.items():
            self._heads.confirmed(channel, end)
        return change.results(durability)

    def _append(self, line: Line, batches: Sequence[Batch]) -> tuple[appending.Change, str]:
        about, asked = line.begin(lambda connection: appending.ask(connection, batches))
        began_s = time.monotonic()
        self._check_level(about)
        change = appending.Change(asked, batches)
        durability, _ = line.commit(lambda connection: change.write(connection, self._heads.durable), about)
        self.lock_held_s.append(time.monotonic() - began_s)
        return change, durability

    def _open_already(self, extent: Extent) -> Stored:
        """What an empty batch of a channel that is there is answered: also where nothing can be written any more."""
        return Stored(
            channel=extent.channel, epoch=extent.epoch, receipts=[], events=[], durability=self.durability
        )  # fmt: skip

    async def _write(self, work: Callable[..., T], *args: Any) -> T:
        """`work` on the writing connection. It is finished also when the caller goes away."""
        if self._corrupt is not None:
            raise self._corrupt.with_traceback(None)
        try:
            return await self._written(work, *args)
        except StoreCorrupt as error:
            self._corrupt = error
            raise

    async def _written(self, work: Callable[..., T], *args: Any) -> T:
        try:
            return await self._writer.run(work, *args)
        except Promoted:
            await self._writer.run(promoted.go_on_above, self._heads.durable)
            return await self._writer.run(work, *args)

    async def keep(
        self, name: str, channel: str, seq: int, state: bytes = b"", *,
        was: int, holder: str | None = None, ttl_s: float = 0,
    ) -> bool:  # fmt: skip
        """Store.keep"""
        until_us = now_us() + int(ttl_s * 1_000_000) if holder else 0
        return await self._write(changing.keep, name, channel, was, Kept(seq, state, holder, until_us))

    async def note(self, notes: Sequence[Note]) -> None:
        """Store.note: on a connection that no append waits for."""
        if notes:
            await self._readers.run(ledger.note, notes)

    async def noted(self, channel: str, seq: int, since_us: int = 0, subject: str | None = None) -> list[Noted]:
        """Store.noted"""
        return await self._readers.run(ledger.noted, channel, seq, since_us, subject)

    async def forget(self, before_us: int) -> None:
        """Store.forget: in several transactions if it is much."""
        while await self._readers.run(ledger.forget_some, before_us):
            pass

    async def drop(self, channel: str, through: int) -> Extent:
        """Store.drop: the rows go in several transactions that nobody waits for."""
        standing = await self._write(changing.drop, channel, through)
        at = 1
        while at:
            at = await self._write(changing.drop_some, standing, at)
        return self._noted(standing)

    async def begin_epoch(self, channel: str, first: int, reason: str) -> Extent:
        """Store.begin_epoch"""
        return self._noted(await self._write(changing.begin_epoch, channel, first, reason))

    async def erase(self, channel: str, seq: int) -> None:
        """Store.erase: also the row that was replaced, as soon as no transaction sees an older state."""
        self._noted(await self._write(changing.erase, channel, seq))
        await self._readers.run(changing.sweep, wait_s=VACUUM_S)

    async def adopt(self, part: Part) -> None:
        """Store.adopt"""
        self._noted(await self._written(changing.adopt, part))

    async def fence(self, moved_to: str = "", ticket: int = 0) -> int:
        """Store.fence: by the server's clock."""
        until_us = await self._write(changing.fence, moved_to, ticket, FENCE_US)
        self.moved_to = moved_to if until_us else self.moved_to
        return until_us

    def _noted(self, standing: rows.Standing) -> Extent:
        """The extent after a clean commit, which everything before it is as durable as."""
        self._heads.note(standing)
        self._heads.confirmed(standing.extent.channel, standing.extent.last)
        return standing.extent

    # -- what is read -------------------------------------------------------------------------------------------

    async def extents(self, channels: Iterable[str] | None = None) -> dict[str, Extent]:
        """Store.extents"""
        about, found = await self._standings(list(channels) if channels is not None else None)
        self._check_primary(about)
        self.moved_to = about.moved_to
        await self._confirm(about, found)
        if self._replica is not None:
            self._replica.look()
        return {channel: self._heads.shown(standing, about) for channel, standing in found.items()}

    async def _standings(self, channels: list[str] | None) -> tuple[About, dict[str, rows.Standing]]:
        """Where channels stand, and after a promotion where they go on; behind a fence that has to wait."""
        about, found = await self._readers.run(rows.standings, channels)
        if about.promoted:
            with suppress(Fenced, Moved):
                await self._writer.run(promoted.go_on_above, self._heads.durable)
                about, found = await self._readers.run(rows.standings, channels)
        return about, found

    async def read(self, channel: str, after: int, limit: int, bytes_max: int = PAGE_BYTES_MAX) -> list[Event]:
        """Store.read: history from the replica, if there is one; the end of the log from the primary."""
        asked = (channel, after, limit, bytes_max)
        history = await self._replica.read(*asked) if self._replica is not None else []
        return history or await self._read_primary(*asked)

    async def _read_primary(self, channel: str, after: int, limit: int, bytes_max: int) -> list[Event]:
        about, standing, events = await self._readers.run(rows.read, channel, after, limit, bytes_max)
        self._check_primary(about)
        if events and events[-1].seq > self._heads.shown(standing, about).durable:
            await self._confirm(about, {channel: standing})
        durable = self._heads.shown(standing, about).durable
        return events if not events or events[-1].seq <= durable else [e for e in events if e.seq <= durable]

    async def find(self, channel: str, ids: Sequence[str]) -> dict[str, Known]:
        """Store.find"""
        return await self._readers.run(rows.find, channel, ids)

    async def ids(self, channel: str, after: str = "", limit: int = 1000) -> list[tuple[str, Known]]:
        """Store.ids"""
        return await self._readers.run(rows.ids, channel, after, limit)

    async def places(self, channel: str) -> dict[str, Kept]:
        """Store.places"""
        return await self._readers.run(rows.places, channel)

    async def kept(self, name: str, channel: str) -> Kept:
        """Store.kept"""
        return await self._readers.run(rows.kept, name, channel)

    def _check_primary(self, about: About) -> None:
        """A standby may lack what was acknowledged."""
        if about.read_only:
            raise StoreUnavailable(STANDBY)

    async def _confirm(self, about: About, found: dict[str, rows.Standing]) -> None:
        """What others committed is shown once the standby has it, which one commit behind it proves."""
        for standing in found.values():
            self._heads.note(standing)
        ends = {channel: standing.extent.last for channel, standing in found.items()}
        unsure = {name: last for name, last in ends.items() if self._heads.shown(found[name], about).durable < last}
        if not unsure or time.monotonic() < self._confirm_from_s:
            return
        with suppress(StoreUnavailable):
            if await self._readers.run(changing.confirm) == "disk+standby":
                for channel, last in unsure.items():
                    self._heads.confirmed(channel, last)
                return
        self._confirm_from_s = time.monotonic() + changing.CONFIRM_S
