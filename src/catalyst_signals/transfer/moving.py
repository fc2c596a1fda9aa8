"""A log moves from one store to another while it is in use.

Owns: the order in which that is done. Knows nothing of technologies, of settings or of who uses the log.
Laws: nothing is written in the old place once anything can be written in the new one; whoever stops in between, at any
point, has changed nothing, and the next one goes on where it was.

What happens: everything is copied and followed until hardly anything is missing; then the old store is fenced for a few
seconds, the rest is copied, both are compared, and the fence is made to stay, with the new URL on it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from catalyst_signals.erasing import ERASED
from catalyst_signals.errors import Conflict, Fenced, Moved, NotFound, PositionTooOld
from catalyst_signals.events import Extent, Kept, now_us
from catalyst_signals.stores import FENCE_US, Store
from catalyst_signals.transfer import PAGE
from catalyst_signals.transfer.copying import copy_events, copy_ids_of_dropped
from catalyst_signals.trust import Reader
from catalyst_signals.wire import SYSTEM_CHANNEL, decode

LEVEL = 500  # Events that may be missing when the old store is fenced: some 20 ms of copying.
TRIES_MAX = 5
NOBODY = "nobody"  # A follower that does not exist.

OpenTarget = Callable[[], AbstractAsyncContextManager[Store]]


@dataclass(slots=True)
class Progress:
    """How far it is. `phase`: `copying`, `fenced`, `moved`, or `failed` with `error`; `paused_s`: nothing was kept."""

    phase: str = "copying"
    done: int = 0
    total: int = 0
    paused_s: float = 0.0
    error: str = ""


async def move(source: Store, open_target: OpenTarget, moved_to: str, progress: Progress) -> dict[str, Extent]:
    """Move the log; its extents in the new place, which are those of the old one.

    Raises:
        Conflict: the new place has another log, or part of an older state that cannot be gone on with.
        RangeUntrusted: an event is not what was written; nothing was moved.
        Unavailable: one of the stores does not answer; begin again.
    """
    for _ in range(TRIES_MAX):
        async with open_target() as target:
            copy = _Copy(source, target, progress)
            await copy.check_place()
            while await copy.go_on() > LEVEL:
                pass
            await copy.settle()
            began_s = asyncio.get_running_loop().time()
            ticket = await source.fence()
            progress.phase = "fenced"
            try:
                async with asyncio.timeout_at(began_s + FENCE_US / 1_000_000):  # Later it may be in use already.
                    extents = await copy.finish()
            except Fenced:
                raise Conflict("the log is there already, under another name of the same store", field="to") from None
            except TimeoutError:
                continue
            finally:
                progress.phase = "copying"
        if await source.fence(moved_to, ticket):
            progress.paused_s = asyncio.get_running_loop().time() - began_s
            progress.phase = "moved"
            return extents
    raise Conflict(
        "the rest could not be copied while the old store was fenced, so nothing was moved; try when less is going on"
    )


class _Copy:
    """One log on its way into a store that has nothing, or the beginning of this log."""

    def __init__(self, source: Store, target: Store, progress: Progress) -> None:
        self._source, self._target, self._progress = source, target, progress
        self._reader = Reader(source)
        self._at: dict[str, int] = {}
        self._gone: dict[str, int] = {}  # Before which seq every id of a channel was taken over.
        self._places: dict[str, dict[str, Kept]] = {}  # As they stand in the new place.
        self._erased: set[tuple[str, int]] = set()
        self._erasures_read = 0

    async def check_place(self) -> None:
        """Pass, or raise Conflict; what an earlier attempt copied is gone on with."""
        await self._check_open()
        theirs, ours = await self._target.extents(), await self._source.extents()
        for name, extent in theirs.items():
            if name not in ours or extent.epochs != ours[name].epochs[: len(extent.epochs)]:
                raise Conflict(f"there is another log already: its channel `{name}` is not ours", field="to", got=name)
            if extent.last < ours[name].first - 1:
                raise Conflict(
                    f"retention dropped what follows what was copied of `{name}` before; empty the new place first",
                    field="to", got=name,
                )  # fmt: skip
            self._at[name] = extent.last
        self._places = {name: await self._target.places(name) for name in theirs}
        self._progress.done = sum(max(0, at - ours[name].first + 1) for name, at in self._at.items())

    async def _check_open(self) -> None:
        """Pass, or raise if nothing may be written there, also where there is nothing to write.

        Raises:
            Fenced: behind our own fence this means that it is the store that the log is in.
            Conflict: a log has moved away from there, and whoever opens it is sent on.
        """
        try:
            await self._target.keep(NOBODY, SYSTEM_CHANNEL, 0, was=-1)  # A place that nobody can move.
        except Moved:
            raise Conflict("a log has moved away from there; move this one to an empty place", field="to") from None

    async def go_on(self) -> int:
        """Copy what there is now; how much has come meanwhile."""
        extents = await self._source.extents()
        self._count(extents)
        for name in extents:  # Asked anew, since retention goes on.
            await self._copy((await self._source.extents([name]))[name])
        now = await self._source.extents()
        self._count(now)
        return sum(max(0, extent.last - self._at.get(name, 0)) for name, extent in now.items())

    def _count(self, extents: dict[str, Extent]) -> None:
        missing = sum(
            max(0, extent.newest - max(self._at.get(name, 0), extent.first - 1)) for name, extent in extents.items()
        )
        self._progress.total = self._progress.done + missing

    async def _copy(self, extent: Extent) -> None:
        """The events of a channel through its extent."""
        at = self._at.get(extent.channel)
        if (at or 0) < extent.first and self._gone.get(extent.channel) != extent.first:
            # Before the first event is copied: a channel that has events there has all these.
            self._gone[extent.channel] = extent.first
            await copy_ids_of_dropped(self._source, self._target, extent, extent.first - 1)
        await copy_events(self._source, self._target, extent, at, self._copied)
        self._at[extent.channel] = max(at or 0, extent.last)

    def _copied(self, count: int) -> None:
        self._progress.done += count

    async def _erase_again(self) -> None:
        """What was erased after it was copied is erased in the copy too; the `system` channel says what that is."""
        while page := await self._reader.read(SYSTEM_CHANNEL, self._erasures_read, PAGE):
            self._erasures_read = page[-1].seq
            for event in page:
                if event.type == ERASED and event.body:
                    data = decode(event.body)["data"]
                    await self._erase(data["channel"], data["seqs"])

    async def _erase(self, channel: str, seqs: list[int]) -> None:
        for seq in seqs:
            if (channel, seq) not in self._erased:
                self._erased.add((channel, seq))
                try:
                    await self._target.erase(channel, seq)
                except (NotFound, PositionTooOld):
                    pass  # It was never copied, or is dropped.

    async def settle(self) -> None:
        """What was erased, what retention dropped, and the places of followers: where they differ."""
        await self._erase_again()
        theirs = await self._target.extents()
        for name, extent in (await self._source.extents()).items():
            if name in theirs and theirs[name].first < extent.first:
                await self._target.drop(name, extent.first - 1)
            await self._keep_places(name)

    async def finish(self) -> dict[str, Extent]:
        """With nothing coming any more: the rest, and the comparison.

        Raises:
            Conflict: the copy is not what the log is.
        """
        await self._check_open()
        await self.go_on()
        await self.settle()
        ours, theirs = await self._source.extents(), await self._target.extents()
        for name, extent in ours.items():
            if _content(theirs.get(name)) != _content(extent):
                raise Conflict(f"the copy of `{name}` is not the same: {theirs.get(name)} and not {extent}", field="to")
        return theirs

    async def _keep_places(self, channel: str) -> None:
        there = self._places.setdefault(channel, {})
        for name, kept in (await self._source.places(channel)).items():
            was = there.get(name, Kept(0))
            if (was.seq, was.state, was.holder) == (kept.seq, kept.state, kept.holder):
                continue
            ttl_s = max(0.0, (kept.until_us - now_us()) / 1_000_000)
            if not await self._target.keep(
                name, channel, kept.seq, kept.state, was=was.seq, holder=kept.holder, ttl_s=ttl_s
            ):
                raise Conflict(f"somebody else moves the place of `{name}` in the new store", field="to", got=name)
            there[name] = kept


def _content(extent: Extent | None) -> object:
    """What must be the same in two stores that have the same log."""
    return extent and (extent.epochs, extent.first, extent.last, extent.hash_before, extent.hash_last)
