"""Making what a signal said unreadable, for good: the body goes, the chain stays whole.

Owns: which events that is, and the `system` event that tells every process to forget what it has of them in memory.
Knows nothing of HTTP. Law: the server's own state is never erased; it is a fold of every event.
"""

from __future__ import annotations

from collections.abc import Sequence

from catalyst_signals.errors import Forbidden, NotFound, PositionTooOld, StoreUnavailable
from catalyst_signals.events import signal_id
from catalyst_signals.stores import Store
from catalyst_signals.versions import event_ids
from catalyst_signals.wire import SYSTEM_CHANNEL

ERASED = "event.erased"  # The `system` event: {"channel", "seqs"}.


def check_erasable(channel: str) -> None:
    """Pass, or raise Forbidden: the channel is the server's own state."""
    if channel == SYSTEM_CHANNEL:
        raise Forbidden(f"nothing of `{channel}` is erased: it is who may do what", field="channel", got=channel)


async def seqs_of(store: Store, channel: str, id: str) -> list[int]:
    """Where every kept version of a signal stands; a later one says what the earlier ones said, so all of them go.

    Raises:
        NotFound: there is no signal of that id.
        PositionTooOld: retention dropped all of it.
    """
    known = await store.find(channel, event_ids(id))
    if not known:
        raise NotFound("there is no signal of that id", field="id", got=id)
    first = (await store.extents([channel]))[channel].first
    kept = sorted(each.seq for each in known.values() if each.seq >= first)
    if not kept:
        raise PositionTooOld("retention has dropped all of this signal", field="id", got=id, first=first)
    return kept


async def quoting(store: Store, channel: str, seq: int) -> list[int]:
    """An event and the later versions of its signal, which still say in `was` what it said.

    Raises:
        NotFound, PositionTooOld: there is no such event.
    """
    events = await store.read(channel, seq - 1, 1) if seq > 0 else []
    if not events or events[0].seq != seq:
        raise NotFound("there is no event of that seq", field="seq", got=seq)
    if not events[0].type.startswith("signal."):
        return [seq]
    return [each for each in await seqs_of(store, channel, signal_id(events[0].id)) if each >= seq]


async def erase(store: Store, channel: str, seqs: Sequence[int]) -> StoreUnavailable | None:
    """Erase these events; answers why a trace of them may be left, which erasing them again takes away.

    Raises:
        NotFound, PositionTooOld: there is no such event; nothing after it was erased.
    """
    left: StoreUnavailable | None = None
    for seq in seqs:
        try:
            await store.erase(channel, seq)
        except StoreUnavailable as error:
            left = error
    return left
