"""Who promised to be heard and is not: `source.silent` in time, `source.heard` when it is back.

Owns: the beats that came in here, and when a silence is too long. What is promised is a fold of `system` (watch.py).
Laws: a beat costs no write; what was heard here is shared at most three times a period, and no process declares a
silence without reading what the others heard. Whoever could not know what was heard (a start, a store that was away, a
machine that slept) waits a whole period first.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

import msgspec

from catalyst_signals.errors import CatalystError, Unavailable
from catalyst_signals.events import Draft, Frame, iso, now_us
from catalyst_signals.projections import SystemState
from catalyst_signals.publish import Publisher
from catalyst_signals.server.occurrences import Occurrence, Place, new_id
from catalyst_signals.stores import Store
from catalyst_signals.watch import SILENCES, Heartbeat, about_source, heartbeat_key, watch_draft

log = logging.getLogger("catalyst.watch")

LOOK_S = 0.2
ASLEEP_S = 2.0  # Not having looked for so long, we may not have heard either.
OTHERS_S = 0.3  # What another process heard last may take that long to reach the store.
SHARES = 3  # Of a period.
_SAID = (b'{"type":"signal.published"', b'{"type":"item.received"')  # An admin may have changed or ended others.


@dataclass(slots=True)
class Beat:
    """What is known here of a heartbeat. `fresh`: heard here, and not shared yet. `own`: heard here last."""

    of: str
    place: Place
    since_us: int
    heard_us: int = 0
    shared_us: int = 0
    read_us: int = 0
    fresh: bool = False
    own: bool = False
    silent: bool = False


class Silences:
    """Every heartbeat that is declared, as this process sees it."""

    def __init__(self, store: Store, publisher: Publisher, state: SystemState) -> None:
        self._store = store
        self._publisher = publisher
        self._state = state
        self._beats: dict[str, Beat] = {}
        self._names: dict[str, dict[bytes, str]] = {}  # By channel, how an event names each source that is awaited.
        self._looked_us = now_us()
        self._untold: set[str] = set()  # What was logged and is not well again.

    @property
    def silent(self) -> int:
        """How many sources are silent now."""
        return sum(beat.silent for beat in self._beats.values())

    def is_silent(self, heartbeat: Heartbeat) -> bool:
        """Whether it is, as far as this process has heard."""
        beat = self._beats.get(heartbeat.key)
        return beat is not None and beat.silent

    def beat(self, heartbeat: Heartbeat) -> None:
        """It was heard here, now."""
        beat = self._beat_of(heartbeat)
        beat.heard_us, beat.fresh, beat.own = now_us(), True, True

    def fold(self, frame: Frame) -> None:
        """What a source publishes is a beat too, whichever process took it; nothing is read unless it is awaited."""
        for name, source in self._names.get(frame.channel, {}).items():
            if name in frame.ws and frame.ws.startswith(_SAID, frame.head_bytes):
                heartbeat = self._state.heartbeats.get(heartbeat_key(frame.channel, source))
                if heartbeat is not None and (frame.doc["data"].get("provider") or {}).get("id") == source:
                    beat = self._beat_of(heartbeat)
                    beat.heard_us, beat.own = now_us(), True
                    beat.fresh |= beat.silent  # Else there is nothing to share: every process folds it.
                frame.forget()

    def _beat_of(self, heartbeat: Heartbeat) -> Beat:
        beat = self._beats.get(heartbeat.key)
        if beat is None or beat.of != heartbeat.id:
            place = Place(self._store, self._publisher, "beat", heartbeat.key)
            beat = self._beats[heartbeat.key] = Beat(heartbeat.id, place, now_us())
        return beat

    async def run(self) -> None:
        """Look five times a second, for ever."""
        while True:
            await asyncio.sleep(LOOK_S)
            await self.look()

    async def look(self) -> None:
        """Share what was heard, declare what was not."""
        now = now_us()
        if not -1 <= (now - self._looked_us) / 1_000_000 <= ASLEEP_S:
            self._wait_a_period(now)
        self._looked_us = now
        declared = dict(self._state.heartbeats)
        self._beats = {key: beat for key, beat in self._beats.items() if key in declared}
        self._names = {}
        for heartbeat in declared.values():
            name = b'"provider":' + msgspec.json.encode({"id": heartbeat.source})
            self._names.setdefault(heartbeat.channel, {})[name] = heartbeat.source
        for heartbeat in declared.values():
            await self._look_at(heartbeat, now)

    async def _look_at(self, heartbeat: Heartbeat, now: int) -> None:
        try:
            await self._settle(heartbeat, self._beat_of(heartbeat), now)
        except CatalystError as error:
            if heartbeat.key not in self._untold:
                log.warning("a silence cannot be told yet", extra={"channel": heartbeat.channel, "reason": str(error)})
            self._untold.add(heartbeat.key)
            if isinstance(error, Unavailable):  # Meanwhile others may have heard what we cannot read.
                self._wait_a_period(now_us())
        else:
            self._untold.discard(heartbeat.key)

    def _wait_a_period(self, now: int) -> None:
        for beat in self._beats.values():
            beat.since_us = now

    async def _settle(self, heartbeat: Heartbeat, beat: Beat, now: int) -> None:
        every_us = heartbeat.every_s * 1_000_000
        often_us = every_us / SHARES
        if beat.fresh and (beat.silent or now - beat.shared_us >= often_us):
            await self._share(heartbeat, beat, now)
            return
        look_us = max(often_us, 1_000_000)  # While it is silent: another process may have heard it.
        due = now - beat.read_us >= look_us if beat.silent else now > self._due_us(heartbeat, beat)
        if due or not beat.read_us:
            await self._judge(heartbeat, beat, now)

    def _due_us(self, heartbeat: Heartbeat, beat: Beat) -> float:
        late_s = heartbeat.every_s + heartbeat.grace_s + (0 if beat.own else OTHERS_S)
        return max(beat.heard_us, beat.since_us) + late_s * 1_000_000

    @staticmethod
    def _in_time(heartbeat: Heartbeat, beat: Beat, now: int) -> bool:
        return now - beat.heard_us <= (heartbeat.every_s + heartbeat.grace_s) * 1_000_000

    async def _share(self, heartbeat: Heartbeat, beat: Beat, now: int) -> None:
        known = await self._known(heartbeat, beat, now)
        heard_us = max(beat.heard_us, known.heard_us)
        back = known.on and self._in_time(heartbeat, beat, now)
        shared = msgspec.structs.replace(
            known, heard_us=heard_us, on=known.on and not back, told=known.told and not back
        )  # fmt: skip
        beat.fresh = False
        if not await beat.place.write(shared):
            beat.fresh = True  # Somebody was first: look again.
            return
        beat.shared_us, beat.silent = now, shared.on
        await beat.place.tell(shared, [heartbeat.channel], _drafts(heartbeat, shared))

    async def _judge(self, heartbeat: Heartbeat, beat: Beat, now: int) -> None:
        known = await self._known(heartbeat, beat, now)
        if known.heard_us > beat.heard_us:
            beat.heard_us, beat.own = known.heard_us, False
        if not known.on and known.told and now > self._due_us(heartbeat, beat):
            heard_us = beat.heard_us
            known = Occurrence(
                heartbeat.id, new_id("silence"), on=True, told=False, heard_us=heard_us, before_us=heard_us
            )  # fmt: skip
            if not await beat.place.write(known):
                return
        beat.silent = known.on
        beat.fresh |= known.on and beat.own and self._in_time(heartbeat, beat, now)
        await beat.place.tell(known, [heartbeat.channel], _drafts(heartbeat, known))

    async def _known(self, heartbeat: Heartbeat, beat: Beat, now: int) -> Occurrence:
        known = await beat.place.read(heartbeat.id)
        beat.read_us = now
        return known

    async def end(self, heartbeat: Heartbeat) -> None:
        """Nobody waits for it any more: a silence that was told is over.

        Raises:
            StoreUnavailable: do it again.
        """
        place, why = Place(self._store, self._publisher, "beat", heartbeat.key), "it is not awaited any more"
        while (known := await place.read(heartbeat.id)).on:
            over = msgspec.structs.replace(known, on=False, told=False)
            if await place.write(over):  # Else somebody was first: look again.
                await place.tell(over, [heartbeat.channel], _drafts(heartbeat, over, why))
                return


def _drafts(heartbeat: Heartbeat, known: Occurrence, why: str = "heard again") -> list[Draft]:
    """That it is silent; when that is over, that too: a retry adds nothing to what is there."""
    about = about_source(heartbeat.source) | {"every_s": heartbeat.every_s}
    before = iso(known.before_us) if known.before_us else None
    silent = about | {"reason": f"nothing heard for {heartbeat.every_s:g} s", "last_heard_at": before}
    drafts = [watch_draft(SILENCES[0], known.id, silent)]
    if not known.on:
        known_s = known.before_us and known.heard_us > known.before_us  # Else it was not heard again.
        silent_s = round((known.heard_us - known.before_us) / 1_000_000, 3) if known_s else None
        heard_at = iso(known.heard_us) if known.heard_us else None
        heard = about | {"reason": why, "last_heard_at": heard_at, "silent_s": silent_s}
        drafts.append(watch_draft(SILENCES[1], known.id, heard, version=2))
    return drafts
