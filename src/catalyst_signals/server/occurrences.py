"""Something that begins and ends, seen by several processes and told once: a silence, a clock that is off.

Owns: the place in the store by which they agree, and the telling. Knows nothing of what is told.
Laws: a change of the place is a compare-and-set, so one process decides and the others see it; an occurrence that was
decided and not told is told by whoever sees that next, under the same id. The places stand under `system`, which keeps
everything, so retention never waits for them.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Sequence

import msgspec

from catalyst_signals.events import Batch, Draft, Refused
from catalyst_signals.publish import Publisher
from catalyst_signals.stores import Store
from catalyst_signals.wire import SYSTEM_CHANNEL


class Occurrence(msgspec.Struct, frozen=True):
    """The newest of its kind: `id` is its own ("" for none yet), `on` whether it lasts, `told` whether that is said.

    `of` is what it belongs to: another one's is none. `heard_us` is the newest beat, `before_us` the last before the
    silence. `seconds` is how far a clock is off, `channels` are those that are told.
    """

    of: str = ""
    id: str = ""
    on: bool = False
    told: bool = True
    heard_us: int = 0
    before_us: int = 0
    seconds: float = 0.0
    channels: tuple[str, ...] = ()


def new_id(kind: str) -> str:
    """That nobody can have taken before."""
    return f"{kind}.{uuid.uuid4().hex[:16]}"


class Place:
    """The place of one thing that is watched."""

    __slots__ = ("_name", "_publisher", "_store", "_was")

    def __init__(self, store: Store, publisher: Publisher, kind: str, key: str) -> None:
        self._store = store
        self._publisher = publisher
        self._name = f"{kind}.{hashlib.sha256(key.encode()).hexdigest()[:24]}"
        self._was = 0

    async def read(self, of: str) -> Occurrence:
        """What all processes know now.

        Raises:
            StoreUnavailable: nobody knows.
        """
        kept = await self._store.kept(self._name, SYSTEM_CHANNEL)
        self._was = kept.seq
        try:
            known = msgspec.json.decode(kept.state, type=Occurrence) if kept.state else Occurrence(of)
        except msgspec.DecodeError:  # Another version's.
            known = Occurrence(of)
        return known if known.of == of else Occurrence(of)

    async def write(self, now: Occurrence) -> bool:
        """Whether nobody else changed it since it was read; then it is this."""
        done = await self._store.keep(
            self._name, SYSTEM_CHANNEL, self._was + 1, msgspec.json.encode(now), was=self._was
        )  # fmt: skip
        self._was += done
        return done

    async def tell(self, now: Occurrence, channels: Sequence[str], drafts: list[Draft]) -> None:
        """Publish what is not told yet, and remember that it is."""
        if now.told:
            return
        batches = [Batch(channel=channel, subject=SYSTEM_CHANNEL, drafts=drafts) for channel in channels]
        for result in await self._publisher.submit(batches):
            if isinstance(result, Refused):
                raise result.error
        await self.write(msgspec.structs.replace(now, told=True))
