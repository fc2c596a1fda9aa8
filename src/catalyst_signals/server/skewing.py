"""Whose clock is off: `source.skewed` when it begins to be, `source.right` when it is no more.

Owns: when that is said, and in which channels. How far it is off stands in skew.py.
Law: said once per change, however many processes see it; nothing is refused for it.
"""

from __future__ import annotations

import asyncio
import logging

from catalyst_signals.errors import CatalystError
from catalyst_signals.events import Draft
from catalyst_signals.publish import Publisher
from catalyst_signals.server.occurrences import Occurrence, Place, new_id
from catalyst_signals.skew import Skews
from catalyst_signals.stores import Store
from catalyst_signals.watch import SKEWS, about_source, watch_draft

log = logging.getLogger("catalyst.watch")

LOOK_S = 0.5
BACK = 0.8  # Of the limit: a clock just at it does not change its mind with every signal.


class Skewing:
    """The clocks of those heard last, as this process sees them. `limit_s` 0: nothing is said."""

    def __init__(self, store: Store, publisher: Publisher, skews: Skews, limit_s: float) -> None:
        self._store = store
        self._publisher = publisher
        self._skews = skews
        self._limit_s = limit_s
        self._off: dict[str, bool] = {}  # As it was said last.
        self._again: dict[str, float] = {}

    async def run(self) -> None:
        """Look twice a second, for ever."""
        while True:
            await asyncio.sleep(LOOK_S)
            await self.look()

    async def look(self) -> None:
        """Say what changed; what could not be said is tried again."""
        heard, self._again = self._again | self._skews.heard(), {}
        for source, seconds in heard.items():
            if self._off.get(source) != self._is_off(seconds, self._off.get(source, False)):
                try:
                    await self._settle(source, seconds)
                except CatalystError as error:
                    log.warning("a clock that is off cannot be told yet", extra={"reason": str(error)})
                    self._again[source] = seconds

    def _is_off(self, seconds: float, was: bool) -> bool:
        return abs(seconds) > self._limit_s * (BACK if was else 1.0)

    async def _settle(self, source: str, seconds: float) -> None:
        place = Place(self._store, self._publisher, "skew", source)
        known = await place.read(source)
        off = self._is_off(seconds, known.on)
        if off != known.on:
            if not known.told:  # What came before, first.
                await place.tell(known, known.channels, self._drafts(source, known, seconds))
            channels = tuple(self._skews.channels_of(source)) if off else known.channels
            id = new_id("skew") if off else known.id
            known = Occurrence(
                source, id, on=off, told=False, seconds=seconds if off else known.seconds, channels=channels
            )  # fmt: skip
            if not await place.write(known):
                self._again[source] = seconds
                return
        await place.tell(known, known.channels, self._drafts(source, known, seconds))
        self._off[source] = off

    def _drafts(self, source: str, known: Occurrence, seconds: float) -> list[Draft]:
        about = about_source(source) | {"limit_s": self._limit_s}
        skewed = about | {"skew_s": round(known.seconds, 3), "reason": _in_words(known.seconds)}
        drafts = [watch_draft(SKEWS[0], known.id, skewed)]
        if not known.on:
            right = about | {"skew_s": round(seconds, 3), "reason": "its clock is right again"}
            drafts.append(watch_draft(SKEWS[1], known.id, right, version=2))
        return drafts


def _in_words(seconds: float) -> str:
    """`ts - sent_at`: what the publisher sent later than now it sent by a clock that is ahead."""
    if seconds < 0:
        return f"its clock is {-seconds:.1f} s ahead of ours"
    return f"its clock is {seconds:.1f} s behind ours, or what it sends takes that long"
