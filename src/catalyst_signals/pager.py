"""Where pages come from: the ring of a tape, a cache, or the store, read once for all who ask meanwhile.

Owns: single-flighted reads and the pages read last. Knows nothing of sockets; the store is the `fetch` it is given.
Law: a page asked for arrives, or an error that asking again cannot mend; a store that is away is asked again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from catalyst_signals.errors import CatalystError, PositionTooOld, Unavailable
from catalyst_signals.events import Frame
from catalyst_signals.pages import PAGE_EVENTS, Page, PageCache
from catalyst_signals.tape import Tape
from catalyst_signals.vital import vital

log = logging.getLogger("catalyst.pager")

PAGES_BYTES_MAX = 16 << 20
READS_MAX = 4  # Store reads at once; more would only queue in the store.
RETRY_S = 0.25

Fetch = Callable[[str, int, int], Awaitable[list[Frame]]]
PageOrError = Page | CatalystError
Then = Callable[[PageOrError], None]


class Pager:
    """Pages of every tape of one process, for cursors and for those who read without a subscription."""

    def __init__(self, fetch: Fetch) -> None:
        self._fetch = fetch
        self._pages = PageCache(PAGES_BYTES_MAX)
        self._reads: dict[tuple[str, int], list[Then]] = {}
        self._reading = asyncio.Semaphore(READS_MAX)
        self._tasks: set[asyncio.Task[None]] = set()

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

    def at_hand(self, tape: Tape, after: int) -> Page | None:
        """A page that holds the event after `after`, from the cache or the ring; None: it must be read."""
        start = after - after % PAGE_EVENTS
        for key in ((tape.channel, start), (tape.channel, after)):
            page = self._pages.get(key)
            if page is not None and page.last > after:
                return page
        if after + 1 < tape.low or after >= tape.done:
            return None
        aligned = start + 1 >= tape.low and start + PAGE_EVENTS <= tape.done
        low, high = (start + 1 if aligned else after + 1), min(start + PAGE_EVENTS, tape.done)
        page = Page([tape.ring[seq] for seq in range(low, high + 1)])
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
        waiting = self._reads.setdefault(key, [])
        waiting.append(lambda result: self._hand_out(tape, after, result, then, exactly))
        if len(waiting) == 1:
            task = vital(self._read_page(key))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _hand_out(self, tape: Tape, after: int, result: PageOrError, then: Then, exactly: bool) -> None:
        """A shared page may end before `after` (cut short by its bytes), or begin with what retention dropped."""
        missed = isinstance(result, PositionTooOld) or (isinstance(result, Page) and result.last <= after)
        if missed and not exactly:
            self.read(tape, after, then, exactly=True)
        else:
            then(result)

    async def _read_page(self, key: tuple[str, int]) -> None:
        result = await self._asked_until_it_answers(*key)
        if isinstance(result, Page):
            self._pages.put(key, result)
        for then in self._reads.pop(key):
            then(result)

    async def _asked_until_it_answers(self, channel: str, after: int) -> PageOrError:
        while True:
            try:
                async with self._reading:
                    frames = await self._fetch(channel, after, PAGE_EVENTS)
                if frames:
                    return Page(frames)
            except Unavailable as error:
                log.warning("a page could not be read, trying again", extra={"channel": channel, "reason": str(error)})
            except CatalystError as error:
                return error
            await asyncio.sleep(RETRY_S)

    def forget(self, tape: Tape) -> None:
        """Its history is not what we read any more."""
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
