"""The log of another process of this machine: every call is forwarded over its Unix socket (stores/unix/serving.py).

Owns: the calls as bytes, and what is under way. Laws: many calls are under way at once, each has a number, the answers
come when they are ready; when the connection breaks each of them raises StoreUnavailable, so an append's outcome is
then unknown, and the link (peers.py) comes back by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import count
from typing import Any, Self

import msgspec

from catalyst_signals.errors import CatalystError, StoreUnavailable, Unavailable
from catalyst_signals.events import Batch, Event, Extent, Kept, Known, Part, Refused, Stored
from catalyst_signals.ledger import Note, Noted
from catalyst_signals.peers import Link, Wrong, pack, path_of, reachable
from catalyst_signals.stores import PAGE_BYTES_MAX

OPEN_S = 10.0  # For the process that owns the log to come: it may be starting.
ASK_S = 60.0  # An erasure waits 5 s for readers, a large drop takes many commits; a process that stands still is away.
PORTION_BYTES = 16 << 20  # Drafts in one message; batches beyond it go in the next.
AWAY = "the process that owns the log is away and comes back by itself; try again in a moment"
BROKE = "the process that owns the log went away; it is not known what became of this"

Outcome = tuple[Stored | None, Wrong | None]

CALLS: dict[str, tuple[Any, Any]] = {
    "append": (tuple[list[Batch]], list[Outcome]),
    "read": (tuple[str, int, int, int], list[Event]),
    "extents": (tuple[list[str] | None], dict[str, Extent]),
    "find": (tuple[str, list[str]], dict[str, Known]),
    "ids": (tuple[str, str, int], list[tuple[str, Known]]),
    "kept": (tuple[str, str], Kept),
    "places": (tuple[str], dict[str, Kept]),
    "keep": (tuple[str, str, int, bytes, int, str | None, float], bool),
    "note": (tuple[list[Note]], None),
    "noted": (tuple[str, int, int, str | None], list[Noted]),
    "forget": (tuple[int], None),
    "drop": (tuple[str, int], Extent),
    "begin_epoch": (tuple[str, int, str], Extent),
    "erase": (tuple[str, int], None),
    "adopt": (tuple[Part], None),
    "fence": (tuple[str, int], int),
}
"""Method of the Store port -> its arguments in order, and what it answers."""


class Ask(msgspec.Struct, array_like=True):
    """A call; `args` are those of CALLS."""

    number: int
    call: str
    args: msgspec.Raw


class Answer(msgspec.Struct, array_like=True):
    """What a call answered, or raised; number 0 is no answer but a State."""

    number: int
    result: msgspec.Raw
    wrong: Wrong | None = None


class State(msgspec.Struct, array_like=True):
    """What a store is known by besides its answers; told at the greeting and when it changes."""

    durability: str
    fault: Wrong | None


_answer = msgspec.msgpack.Decoder(Answer).decode
_state = msgspec.msgpack.Decoder(State).decode
_results = {call: msgspec.msgpack.Decoder(result).decode for call, (_, result) in CALLS.items()}


class UnixStore:
    """A store that another process has open; entering waits until it answers."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._link = Link(reachable(path), "store", self._heard, self._broke)
        self._numbers = count(1)
        self._waiting: dict[int, tuple[str, asyncio.Future[Any]]] = {}
        self._fault: CatalystError | None = None
        self.durability = ""
        self._was_away = False
        self._back: list[Callable[[], None]] = []
        self._told = asyncio.Event()

    @classmethod
    def from_url(cls, url: str) -> Self:
        """`unix:///relative.sock`, `unix:////absolute.sock`"""
        return cls(path_of(url, setting="store_url"))

    async def __aenter__(self) -> Self:
        await self._link.__aenter__()
        try:
            await self._link.up(OPEN_S)
            async with asyncio.timeout(OPEN_S):
                await self._told.wait()
        except (Unavailable, TimeoutError):
            await self.__aexit__()
            raise StoreUnavailable(f"no process that owns a log answers on {self._path}") from None
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._link.__aexit__(*exc)
        self._broke()

    @property
    def fault(self) -> CatalystError | None:
        """Store.fault, as the owner told last."""
        return self._fault

    @property
    def moved_to(self) -> str:
        """Store.moved_to: the owner goes there by itself, and serves what it has then."""
        return ""

    def check_there(self) -> None:
        """Pass, or raise StoreUnavailable: the owner is away, so nothing new should be accepted."""
        if not self._link.connected:
            raise StoreUnavailable(AWAY, retry_after_s=1)

    def when_back(self, back: Callable[[], None]) -> None:
        """Call `back` whenever an owner that was away answers again."""
        self._back.append(back)

    # -- calls --------------------------------------------------------------------------------------------------

    async def append(self, batches: Sequence[Batch]) -> list[Stored | Refused]:
        """Store.append"""
        results: list[Stored | Refused] = []
        for portion in _portions(batches):
            results += [_result(outcome) for outcome in await self._ask("append", portion)]
        return results

    async def read(self, channel: str, after: int, limit: int, bytes_max: int = PAGE_BYTES_MAX) -> list[Event]:
        """Store.read"""
        events: list[Event] = await self._ask("read", channel, after, limit, bytes_max)
        return events

    async def extents(self, channels: Iterable[str] | None = None) -> dict[str, Extent]:
        """Store.extents"""
        extents: dict[str, Extent] = await self._ask("extents", None if channels is None else list(channels))
        return extents

    async def find(self, channel: str, ids: Sequence[str]) -> dict[str, Known]:
        """Store.find"""
        known: dict[str, Known] = await self._ask("find", channel, ids)
        return known

    async def ids(self, channel: str, after: str = "", limit: int = 1000) -> list[tuple[str, Known]]:
        """Store.ids"""
        ids: list[tuple[str, Known]] = await self._ask("ids", channel, after, limit)
        return ids

    async def kept(self, name: str, channel: str) -> Kept:
        """Store.kept"""
        kept: Kept = await self._ask("kept", name, channel)
        return kept

    async def places(self, channel: str) -> dict[str, Kept]:
        """Store.places"""
        places: dict[str, Kept] = await self._ask("places", channel)
        return places

    async def keep(
        self, name: str, channel: str, seq: int, state: bytes = b"", *,
        was: int, holder: str | None = None, ttl_s: float = 0,
    ) -> bool:  # fmt: skip
        """Store.keep"""
        kept: bool = await self._ask("keep", name, channel, seq, state, was, holder, ttl_s)
        return kept

    async def note(self, notes: Sequence[Note]) -> None:
        """Store.note"""
        await self._ask("note", notes)

    async def noted(self, channel: str, seq: int, since_us: int = 0, subject: str | None = None) -> list[Noted]:
        """Store.noted"""
        noted: list[Noted] = await self._ask("noted", channel, seq, since_us, subject)
        return noted

    async def forget(self, before_us: int) -> None:
        """Store.forget"""
        await self._ask("forget", before_us)

    async def drop(self, channel: str, through: int) -> Extent:
        """Store.drop"""
        extent: Extent = await self._ask("drop", channel, through)
        return extent

    async def begin_epoch(self, channel: str, first: int, reason: str) -> Extent:
        """Store.begin_epoch"""
        extent: Extent = await self._ask("begin_epoch", channel, first, reason)
        return extent

    async def erase(self, channel: str, seq: int) -> None:
        """Store.erase"""
        await self._ask("erase", channel, seq)

    async def adopt(self, part: Part) -> None:
        """Store.adopt"""
        await self._ask("adopt", part)

    async def fence(self, moved_to: str = "", ticket: int = 0) -> int:
        """Store.fence"""
        until: int = await self._ask("fence", moved_to, ticket)
        return until

    # -- the socket ---------------------------------------------------------------------------------------------

    async def _ask(self, call: str, *args: Any) -> Any:
        """The answer to one call.

        Raises:
            StoreUnavailable: the owner is away, or went away meanwhile.
            CatalystError, ValueError: what the store raised.
        """
        self.check_there()
        number = next(self._numbers)
        packed = pack((number, call, args))
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting[number] = (call, answer)
        try:
            self._link.say(packed)
            async with asyncio.timeout(ASK_S):
                return await answer
        except TimeoutError:
            raise StoreUnavailable(f"{BROKE}: no answer for {ASK_S:.0f} s") from None
        finally:
            self._waiting.pop(number, None)

    def _heard(self, message: bytes) -> None:
        answer = _answer(message)
        if answer.number == 0:
            return self._tell(_state(answer.result))
        call, waiting = self._waiting.get(answer.number, ("", None))
        if waiting is None or waiting.done():
            return None
        if answer.wrong is not None:
            return waiting.set_exception(answer.wrong.error())
        return waiting.set_result(_results[call](answer.result))

    def _tell(self, state: State) -> None:
        self.durability = state.durability
        fault = state.fault.error() if state.fault is not None else None
        self._fault = fault if isinstance(fault, CatalystError) else None
        self._told.set()
        if self._was_away:
            self._was_away = False
            for back in self._back:
                back()

    def _broke(self) -> None:
        self._was_away = True
        for _, answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(StoreUnavailable(BROKE))


def _result(outcome: Outcome) -> Stored | Refused:
    stored, wrong = outcome
    if stored is not None:
        return stored
    error = wrong.error() if wrong is not None else None
    return Refused(error if isinstance(error, CatalystError) else StoreUnavailable(BROKE))


def _portions(batches: Sequence[Batch]) -> Iterator[Sequence[Batch]]:
    """The batches in as many messages as they need; each batch is all or none by itself, so they may be parted."""
    portion: list[Batch] = []
    room = PORTION_BYTES
    for batch in batches:
        size = sum(len(draft.body) for draft in batch.drafts)
        if portion and size > room:
            yield portion
            portion, room = [], PORTION_BYTES
        portion.append(batch)
        room -= size
    yield portion
