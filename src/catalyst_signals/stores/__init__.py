"""The Store port: the log, which is the only truth. Back-ends live beside this file, one each.

Law: per channel, `seq` is dense within an epoch and in commit order; ids are unique for ever; nothing is shown
above `durable`. tests/conformance/test_stores.py is the long form, and every back-end passes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from catalyst_signals.errors import IdConflict, IdTaken
from catalyst_signals.events import Batch, Event, Extent, Kept, Known, Refused, Stored

STORES = {
    "memory": "catalyst_signals.stores.memory:MemoryStore",
    "sqlite": "catalyst_signals.stores.sqlite:SqliteStore",
}
"""Scheme of `store_url` -> back-end."""

PAGE_BYTES_MAX = 1 << 20  # One page of a read: 1 MiB holds about 3,000 usual signals.


class Store(Protocol):
    """The log of every channel. Every back-end is an async context manager: open means usable, closed means closed."""

    async def append(self, batches: Sequence[Batch]) -> list[Stored | Refused]:
        """Store each batch all or none by itself, in order; answer one result a batch.

        A draft whose id the channel knows, by the same subject and with the same draft hash, is a duplicate: its first
        receipt again. Another draft under it refuses that batch with IdConflict, another subject's id with IdTaken, and
        no other batch is touched; a full disk refuses all with StoreFull. The same id twice in one batch is judged the
        same way. An empty batch opens a channel; another one for a channel never opened is refused with UnknownChannel.

        Raises:
            StoreUnavailable: the outcome is unknown; append the same batches again before anyone is answered.
        """

    async def read(self, channel: str, after: int, limit: int, bytes_max: int = PAGE_BYTES_MAX) -> list[Event]:
        """Events with seq > `after`, ascending, without holes but for an epoch's beginning, never above `durable`.

        At most `limit` and about `bytes_max` of bodies, but one at least; empty means caught up.

        Raises:
            UnknownChannel: the channel was never opened.
            PositionTooOld: `after` is below the oldest kept; carries `first`.
            StoreUnavailable: safe to try again.
        """

    async def extents(self, channels: Iterable[str] | None = None) -> dict[str, Extent]:
        """What is held of these channels (of all for None), in one query; a channel never opened is left out."""

    async def find(self, channel: str, ids: Sequence[str]) -> dict[str, Known]:
        """What is known of these ids, also of events that retention dropped; unknown ones are left out."""

    async def kept(self, name: str, channel: str) -> Kept:
        """A follower's place and snapshot; seq 0 if it never kept one."""

    async def keep(
        self, name: str, channel: str, seq: int, state: bytes = b"", *,
        was: int, holder: str | None = None, ttl_s: float = 0,
    ) -> bool:  # fmt: skip
        """Move a follower's place and snapshot together, if its place still is `was` and no other holder has it.

        False means no longer yours: stop. `ttl_s` is how long `holder` has it from now on.
        """

    async def drop(self, channel: str, through: int) -> Extent:
        """Retention: events up to `through` go; ids, epochs and the hash before the first kept stay."""

    async def begin_epoch(self, channel: str, first: int, reason: str) -> Extent:
        """Begin a new epoch whose first seq is `first`, above everything anyone can have seen.

        The seqs between are void: `last` and `durable` are then `first` - 1, and `read` crosses over to `first`.

        Raises:
            ValueError: `first` is not above the last seq and the present epoch's own first.
        """


def check_epoch_first(extent: Extent, first: int) -> None:
    """Pass, or raise ValueError if no epoch may begin at `first`; two of them never begin at the same seq."""
    last = max(extent.last, extent.epochs[-1].first)
    if first <= last:
        raise ValueError(f"an epoch begins above {last}, not at {first}")


def judge(drafts: Sequence[tuple[str, bytes]], subject: str, known: Mapping[str, Known]) -> None:
    """Pass, or raise why a batch's (id, draft hash) pairs may not be stored; the law of ids for every back-end.

    Raises:
        IdTaken: an id belongs to another subject; says only that.
        IdConflict: the same id with another draft.
    """
    seen: dict[str, bytes] = {}
    for id, draft_hash in drafts:
        first = known.get(id)
        if first is not None and first.subject != subject:
            raise IdTaken(field="id", got=id)
        if (first.draft_hash if first is not None else seen.setdefault(id, draft_hash)) != draft_hash:
            raise IdConflict(field="id", got=id)
