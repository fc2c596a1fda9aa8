"""Writing a log as lines.

Owns: what stands in which line, and that it is what an import will believe. Knows nothing of files.
Law: what is not what was written is not exported, so a copy is not found out on the day it is needed.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from hashlib import sha256

import msgspec

from catalyst_signals.errors import NotFound, StoreCorrupt
from catalyst_signals.events import Event, Extent, Kept, Known, iso
from catalyst_signals.stores import Store
from catalyst_signals.transfer import (
    PAGE,
    ChannelLine,
    EndLine,
    EpochLine,
    EventLine,
    ExportLine,
    GoneLine,
    PlaceLine,
    decode,
)
from catalyst_signals.trust import Reader
from catalyst_signals.wire import SYSTEM_CHANNEL, encode

Progress = Callable[[int, int], None]


async def export_log(
    store: Store, channels: Iterable[str] = (), *, after: int = 0, progress: Progress = lambda done, total: None
) -> AsyncIterator[bytes]:
    """The lines of these channels (of all for none), as of now, some at a time.

    With `after` events up to there are as if retention had dropped them; `system` is always whole, or its users were
    lost. The log may grow meanwhile.

    Raises:
        NotFound: there is no such channel. PositionTooOld: retention dropped meanwhile what was not read yet.
        RangeUntrusted: an event is not what was written; nothing after it was exported.
    """
    places = {name: await store.places(name) for name in await store.extents()}  # First: a place is never ahead then.
    extents = await store.extents()
    for name in channels:
        if name not in extents:
            raise NotFound(f"there is no channel `{name}` in this log", field="channel", got=name)
    chosen = sorted(set(channels)) or sorted(extents)
    total = sum(max(0, extents[name].newest - max(after, extents[name].first - 1)) for name in chosen)
    done = 0
    for name in chosen:
        out = _Out(store, extents[name], 0 if name == SYSTEM_CHANNEL else after)
        async for lines in out.lines(places.get(name, {})):
            progress(done + out.events, total)
            yield lines
        done += out.events
    yield encode(ExportLine(chosen, done)) + b"\n"


class _Out:
    """One channel on its way out."""

    def __init__(self, store: Store, extent: Extent, after: int) -> None:
        self._store, self._reader, self._extent = store, Reader(store), extent
        self._first = min(max(extent.first, after + 1), extent.last + 1)
        self._sum = sha256()
        self._gone = self.events = 0

    async def lines(self, places: Mapping[str, Kept]) -> AsyncIterator[bytes]:
        """All of them, some at a time; the sum is over what was handed out."""
        async for lines in self._before_the_end(places):
            self._sum.update(lines)
            yield lines
        end = EndLine(
            channel=self._extent.channel, gone=self._gone, events=self.events, places=len(places),
            hash=self._extent.hash_last.hex(), sum=self._sum.hexdigest(),
        )  # fmt: skip
        yield encode(end) + b"\n"

    async def _before_the_end(self, places: Mapping[str, Kept]) -> AsyncIterator[bytes]:
        page = await self._page(self._first - 1)
        yield encode(self._head(page)) + b"\n"
        after = ""
        while ids := await self._store.ids(self._extent.channel, after, PAGE):
            after = ids[-1][0]
            gone = [encode(self._gone_line(id, known)) for id, known in ids if known.seq < self._first]
            self._gone += len(gone)
            yield b"".join(line + b"\n" for line in gone)
        while page:
            known = await self._store.find(self._extent.channel, [event.id for event in page])
            self.events += len(page)
            yield b"".join(_event_line(event, known.get(event.id)) + b"\n" for event in page)
            page = await self._page(page[-1].seq)
        for name, kept in sorted(places.items()):
            place = PlaceLine(
                channel=self._extent.channel, name=name, seq=kept.seq, state=b64encode(kept.state).decode()
            )
            yield encode(place) + b"\n"

    async def _page(self, after: int) -> list[Event]:
        if after >= self._extent.newest:
            return []
        page = await self._reader.read(self._extent.channel, after, PAGE)
        return [event for event in page if event.seq <= self._extent.newest]

    def _head(self, page: list[Event]) -> ChannelLine:
        extent = self._extent
        return ChannelLine(
            channel=extent.channel, first=self._first, last=extent.last,
            epochs=[EpochLine(e.name, e.first, e.last_before, e.hash_before.hex(), e.reason) for e in extent.epochs],
            hash_before=(page[0].prev if page else extent.hash_last).hex(),
        )  # fmt: skip

    def _gone_line(self, id: str, known: Known) -> GoneLine:
        return GoneLine(
            channel=self._extent.channel, seq=known.seq, id=id, version=known.version, ts=iso(known.ts_us),
            subject=known.subject, draft_hash=known.draft_hash.hex(),
        )  # fmt: skip


def _event_line(event: Event, known: Known | None) -> bytes:
    if known is None:
        raise _unfit(event, "its id is not in the table of ids")
    line = encode(EventLine(
        channel=event.channel, seq=event.seq, type=event.type, id=event.id, version=event.version, ts=iso(event.ts_us),
        epoch=event.epoch, subject=known.subject, draft_hash=known.draft_hash.hex(), salt=event.salt.hex(),
        body_hash=event.body_hash.hex(), hash=event.hash.hex(), erased=not event.body,
    ))  # fmt: skip
    if event.body:
        line = line[:-1] + b"," + event.body[1:]
        if _body_in(line) != event.body:
            raise _unfit(event, "its body has another form than ours")
    return line


def _unfit(event: Event, why: str) -> StoreCorrupt:
    text = f"event {event.seq} of {event.channel} cannot be exported: {why}"
    return StoreCorrupt(text, channel=event.channel, seq=event.seq)


def _body_in(line: bytes) -> bytes | None:
    try:
        read = decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return read.body if isinstance(read, EventLine) else None
