"""Where pages come from: the ring of a tape, a cache, or the store, read once for all who ask meanwhile.

Owns: single-flighted reads and the pages read last. Knows nothing of sockets; the store is the `fetch` it is given.
Law: a page asked for arrives, or an error that asking again cannot mend; a store that is away is asked again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

from catalyst_signals.backoff import Backoff
from catalyst_signals.errors import CatalystError, PositionTooOld, RangeUntrusted, Unavailable
from catalyst_signals.events import Frame, Known, event_id
from catalyst_signals.modifiers import life_of
from catalyst_signals.pages import PAGE_EVENTS, Page, PageCache
from catalyst_signals.tape import Tape
from catalyst_signals.vital import vital

log = logging.getLogger("catalyst.pager")

PAGES_BYTES_MAX = 16 << 20
READS_MAX = 4  # Store reads at once; more would only queue in the store.
AGAIN_S = (0.1, 0.5)
HANDED_OUT = 32  # Who gets a page in one turn of the loop: about 1 ms of them.

Fetch = Callable[[str, int, int], Awaitable[list[Frame]]]
Find = Callable[[str, Sequence[str]], Awaitable[dict[str, Known]]]
PageOrError = Page | CatalystError
Then = Callable[[PageOrError], None]


class Pager:
    """Pages of every tape of one process, for cursors and for those who read without a subscription."""

    def __init__(self, fetch: Fetch, find: Find) -> None:
        self._fetch = fetch
        self._find = find
        self._pages = PageCache(PAGES_BYTES_MAX)
        self._first: dict[str, int] = {}
        self._reads: dict[tuple[str, int], list[Then]] = {}
        self._reading = asyncio.Semaphore(READS_MAX)
        self._tasks: set[asyncio.Task[None]] = set()
        self._forgotten = 0
        self.store_reads = 0

    async def page(self, tape: Tape, after: int) -> Page:
        """The page after `after`, from wherever it is; only for `after` below `done`.

        Raises:
            PositionTooOld: it was dropped by retention meanwhile.
        """
        page = self.at_hand(tape, after)
        if page is not None:
            return page
        answer: asyncio.Future[Page] = asyncio.get_running_loop().create_future()
        self.read(tape, after, lambda result: _settle(answer, result))
        return await answer

    def begins(self, channel: str, first: int) -> None:
        """A channel's log begins here now: what retention dropped is not shown again, though it may be at hand."""
        self._first[channel] = first

    def at_hand(self, tape: Tape, after: int) -> Page | None:
        """A page that holds the event after `after`, from the cache or the ring; None: it must be read."""
        if after + 1 < self._first.get(tape.channel, 1):
            return None
        start = after - after % PAGE_EVENTS
        for key in ((tape.channel, start), (tape.channel, after)):
            page = self._pages.get(key)
            if page is not None and page.last > after:
                return page
        if after + 1 < tape.ring.low or after >= tape.done:
            return None
        aligned = start + 1 >= tape.ring.low and start + PAGE_EVENTS <= tape.done
        low, high = (start + 1 if aligned else after + 1), min(start + PAGE_EVENTS, tape.done)
        page = Page(tape.ring.between(low, high))
        if aligned:
            self._pages.put((tape.channel, start), page)
        return page

    def read(self, tape: Tape, after: int, then: Then, *, exactly: bool = False) -> None:
        """Read the page that holds what comes after `after` from the store, once for all who ask meanwhile.

        Pages begin at multiples of their size, so that many share one; `exactly` begins it right after `after`.
        """
        start = after - after % PAGE_EVENTS
        exactly = exactly or self._pages.get((tape.channel, start)) is not None
        key = (tape.channel, after if exactly else start)
        if key not in self._reads:
            self._reads[key] = []
            self._start(self._read_page(tape, key))
        self._reads[key].append(lambda result: self._hand_out(tape, after, result, then, exactly))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = vital(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _hand_out(self, tape: Tape, after: int, result: PageOrError, then: Then, exactly: bool) -> None:
        """A shared page may end before `after`, or begin with what retention dropped or with what cannot be trusted."""
        lost = isinstance(result, PositionTooOld | RangeUntrusted)
        missed = lost or (isinstance(result, Page) and result.last <= after)
        if missed and not exactly:
            self.read(tape, after, then, exactly=True)
        else:
            then(result)

    async def _read_page(self, tape: Tape, key: tuple[str, int]) -> None:
        """Read it and hand it out, to a few a turn of the loop; who is left when something was erased gets it anew."""
        waiting = self._reads[key]
        while waiting:
            result = await self._asked_until_it_answers(tape, *key)
            known = self._forgotten
            if isinstance(result, Page):
                self._pages.put(key, result)
            while waiting and self._forgotten == known:
                some, waiting[:HANDED_OUT] = waiting[:HANDED_OUT], []
                for then in some:
                    then(result)
                await asyncio.sleep(0)
        del self._reads[key]

    async def _asked_until_it_answers(self, tape: Tape, channel: str, after: int) -> PageOrError:
        again = Backoff(*AGAIN_S)
        while tape.stopped is None:
            try:
                async with self._reading:
                    known = self._forgotten
                    self.store_reads += 1
                    frames = await self._fetch(channel, after, PAGE_EVENTS)
                if self._forgotten != known:
                    continue
                if frames:
                    return Page(frames)
            except Unavailable as error:
                log.warning("a page could not be read, trying again", extra={"channel": channel, "reason": str(error)})
            except CatalystError as error:
                return error
            await asyncio.sleep(again.next_s())
        return tape.stopped

    def look_up(self, tape: Tape, page: Page, then: Then) -> None:
        """Learn which events of a page are signals that a later version replaces, as of now; `then` gets the page."""
        self._start(self._look_up(tape, page, then))

    async def _look_up(self, tape: Tape, page: Page, then: Then) -> None:
        through, known_for = tape.done, self._forgotten
        lives = {frame.seq: life for frame in page.frames if (life := life_of(frame)).version}
        following = {event_id(life.id, life.version + 1): seq for seq, life in lives.items()}
        for frame in page.frames:
            frame.forget()
        again = Backoff(*AGAIN_S)
        while page.known_through < through:
            try:
                known = await self._find(tape.channel, list(following))
                page.next_versions = {following[id]: next.seq for id, next in known.items()}
                page.known_through = through
            except Unavailable as error:
                log.warning("versions could not be looked up, trying again", extra={"reason": str(error)})
                await asyncio.sleep(again.next_s())
            except CatalystError as error:
                return then(error)
        if self._forgotten == known_for:
            then(page)
        else:  # Something in it may have been erased while we asked.
            self.read(tape, page.frames[0].seq - 1, then)
        return None

    def forget(self, tape: Tape) -> None:
        """Its history is not what we read any more, nor what is being read."""
        self._forgotten += 1
        self._pages.forget_channel(tape.channel)

    async def close(self) -> None:
        """Stop reading."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def _settle(answer: asyncio.Future[Page], result: PageOrError) -> None:
    if answer.done():
        return
    if isinstance(result, Page):
        answer.set_result(result)
    else:
        answer.set_exception(result)
