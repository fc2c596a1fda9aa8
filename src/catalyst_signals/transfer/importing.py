"""Reading a log from lines, into a store that has none.

Owns: the proof that the lines are a whole log, as it was written. Knows nothing of files.
Law: nothing is believed that can be computed; a fault is named by its line.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Literal

import msgspec

from catalyst_signals.errors import Conflict, StoreCorrupt
from catalyst_signals.events import Epoch, Event, Extent, Known, Part, next_seq, parse_iso, wrong_with
from catalyst_signals.stores import Store
from catalyst_signals.transfer import PAGE, ChannelLine, EndLine, EventLine, ExportLine, GoneLine, PlaceLine, decode
from catalyst_signals.transfer.copying import begin_epochs, check_empty
from catalyst_signals.verify import verify

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Imported:
    """What came in: the extent of each channel as it is now, and how many events there were."""

    extents: dict[str, Extent]
    events: int


async def import_log(
    store: Store, lines: Iterable[bytes], *, epoch: Literal["new", "same"] = "new", progress: Progress | None = None
) -> Imported:
    """Take over a log into a store that has none; every hash was computed again when this returns.

    In a new epoch, far above, since the old log may have gone on; in the same one when it has ended for good. After an
    error the store holds a part of the log: throw it away.

    Raises:
        Conflict: the store has a log.
        StoreCorrupt: a line was edited or is missing; says which, as `line`.
    """
    await check_empty(store)
    incoming = _In(store)
    number = 0
    for number, line in enumerate(lines, 1):
        await incoming.take(number, line)
        if progress is not None and not number % PAGE:
            progress(incoming.events, number)
    if not incoming.complete:
        raise _wrong(number + 1, f"the file ends here{incoming.where}: its end is missing")
    report = await verify(store)
    for fault in report.faults.values():
        raise StoreCorrupt(f"what was imported does not verify: {fault}", channel=fault.channel, seq=fault.seq)
    if epoch == "new":
        await begin_epochs(store, "imported")
    return Imported(await store.extents(), incoming.events)


@dataclass(slots=True)
class _Channel:
    """One channel on its way in: how far it is, and what was not handed to the store yet."""

    line: ChannelLine
    epochs: tuple[Epoch, ...]
    at: int
    prev: bytes
    began: int  # The number of the first line that is pending.
    sum: Any = field(default_factory=sha256)
    events: list[Event] = field(default_factory=list)
    known: dict[str, Known] = field(default_factory=dict)
    counted: dict[str, int] = field(default_factory=lambda: {"gone": 0, "event": 0, "place": 0})


class _In:
    """The lines of a file, in order; the store gets them in parts."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._channel: _Channel | None = None
        self._names: list[str] = []
        self._number = 0
        self.events = 0
        self.complete = False

    @property
    def where(self) -> str:
        """In the middle of what this is."""
        return f" in the middle of `{self._channel.line.channel}`" if self._channel is not None else ""

    async def take(self, number: int, raw: bytes) -> None:
        """One line more.

        Raises:
            StoreCorrupt: it is not what was exported, or one before it is missing.
        """
        self._number = number
        try:
            line = decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as fault:
            raise self._wrong(f"this is no line of an export: {fault}") from None
        if self.complete:
            raise self._wrong("something follows the end of the export")
        if isinstance(line, ExportLine):
            return self._end(line)
        if isinstance(line, ChannelLine):
            return self._open(line, raw)
        channel = self._channel
        if channel is None or channel.line.channel != line.channel:
            raise self._wrong(f"it is of `{line.channel}`, whose first line is missing")
        if isinstance(line, EndLine):
            return await self._close(channel, line)
        channel.sum.update(raw if raw.endswith(b"\n") else raw + b"\n")
        try:
            await self._add(channel, line)
        except ValueError as fault:  # Of `bytes.fromhex` and its like.
            raise self._wrong(f"a field cannot be read: {fault}") from None
        return None

    def _open(self, line: ChannelLine, raw: bytes) -> None:
        if self._channel is not None or line.channel in self._names:
            raise self._wrong(f"`{line.channel}` begins here, and `{self._names[-1]}` did not end")
        if line.form != 1:
            raise self._wrong(f"form {line.form} of this file is newer than this Catalyst: upgrade it")
        try:
            epochs = [
                Epoch(e.epoch, e.first, e.last_before, bytes.fromhex(e.hash_before), e.reason) for e in line.epochs
            ]
            prev = bytes.fromhex(line.hash_before)
        except ValueError as fault:
            raise self._wrong(f"a hash cannot be read: {fault}") from None
        self._names.append(line.channel)
        self._channel = _Channel(line, tuple(epochs), line.first - 1, prev, self._number)
        self._channel.sum.update(raw)

    async def _add(self, channel: _Channel, line: GoneLine | EventLine | PlaceLine) -> None:
        if isinstance(line, PlaceLine):
            await self._flush(channel)
            state = b64decode(line.state, validate=True)
            await self._store.keep(line.name, line.channel, line.seq, state, was=0)
            channel.counted["place"] += 1
            return
        if isinstance(line, GoneLine):
            channel.counted["gone"] += 1
        else:
            self._chain(channel, line)
        ts_us = _time_of(line.ts)
        channel.known[line.id] = Known(line.seq, line.subject, bytes.fromhex(line.draft_hash), line.version, ts_us)
        if len(channel.known) == PAGE:
            await self._flush(channel)

    def _chain(self, channel: _Channel, line: EventLine) -> None:
        """The event of a line, proved to be what was hashed after the one before it."""
        expected = next_seq(channel.epochs, channel.at)
        if line.seq != expected:
            raise self._wrong(f"event {expected} of {line.channel} is missing before event {line.seq}")
        event = Event(
            channel=line.channel, epoch=line.epoch, seq=line.seq, type=line.type, id=line.id, version=line.version,
            ts_us=_time_of(line.ts), salt=bytes.fromhex(line.salt), body=line.body, prev=channel.prev,
            body_hash=bytes.fromhex(line.body_hash), hash=bytes.fromhex(line.hash),
        )  # fmt: skip
        wrong = wrong_with(event)
        if wrong is not None:
            raise self._wrong(f"event {line.seq} ({line.id}) of {line.channel} was edited: {wrong}")
        channel.events.append(event)
        channel.at, channel.prev = event.seq, event.hash
        channel.counted["event"] += 1
        self.events += 1

    async def _flush(self, channel: _Channel, last: int | None = None) -> None:
        """Hand over what is pending; with `last` also the void behind it."""
        part = Part(
            channel=channel.line.channel, epochs=channel.epochs, first=channel.line.first,
            hash_before=bytes.fromhex(channel.line.hash_before), last=channel.at if last is None else last,
            events=channel.events, known=channel.known,
        )  # fmt: skip
        try:
            await self._store.adopt(part)
        except (Conflict, StoreCorrupt) as fault:
            raise StoreCorrupt(
                f"lines {channel.began} to {self._number}: {fault.message}", line=channel.began
            ) from fault
        channel.events, channel.known, channel.began = [], {}, self._number + 1

    async def _close(self, channel: _Channel, line: EndLine) -> None:
        counted = {"gone": line.gone, "event": line.events, "place": line.places}
        for kind, number in counted.items():
            if channel.counted[kind] != number:
                raise self._wrong(f"there are {channel.counted[kind]} lines `{kind}` of {line.channel}, not {number}")
        if channel.prev.hex() != line.hash or next_seq(channel.epochs, channel.at) <= channel.line.last:
            raise self._wrong(f"{line.channel} does not end where its export did")
        if channel.sum.hexdigest() != line.sum:
            raise self._wrong(f"a line of {line.channel} was edited where no hash covers it")
        await self._flush(channel, channel.line.last)
        self._channel = None

    def _end(self, line: ExportLine) -> None:
        if self._channel is not None:
            raise self._wrong(f"the export ends here{self.where}")
        if (line.channels, line.events) != (self._names, self.events):
            raise self._wrong("a channel is missing")
        self.complete = True

    def _wrong(self, what: str) -> StoreCorrupt:
        return _wrong(self._number, what)


def _wrong(number: int, what: str) -> StoreCorrupt:
    return StoreCorrupt(f"line {number}: {what}", line=number)


def _time_of(text: str) -> int:
    ts_us = parse_iso(text)
    if ts_us is None:
        raise ValueError(f"{text!r} is not a time")
    return ts_us
