"""One target: from its place in the log to what it was told.

Owns: the order in which a target is told things, what happens when it does not answer, and its dead letters. When it is
told is pacing.py's, how is webhooks.py's and notifying.py's, where it stands keeping.py's.
Laws: whatever the filter wants is in exactly one message that was taken, or held, or on the list of dead letters, or
counted as lost; the place moves right after a message was taken, so what a crash repeats is at most the one in flight,
under the same id; nothing is sent that the target's owner may not see at that moment.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from catalyst_signals.backoff import Backoff
from catalyst_signals.breakers import Breaker
from catalyst_signals.errors import CatalystError, Forbidden
from catalyst_signals.events import Frame, iso, now_us
from catalyst_signals.filters import EVERYTHING, Filter
from catalyst_signals.pages import wants
from catalyst_signals.projections import Replay, Target
from catalyst_signals.workers import pacing
from catalyst_signals.workers.messages import Message, Outcome, Way, digest, id_of, single, symbol_of
from catalyst_signals.workers.pacing import HELD_MAX, SECOND_US, Held, Pace, Rules

if TYPE_CHECKING:
    from catalyst_signals.workers.targets import Desk

log = logging.getLogger("catalyst.targets")

DEAD_MAX = 500
TRIES_MAX = 16  # With full jitter about two and a half hours; whoever was given up once is tried once an event then.
PAUSES_S = (1.0, 3600.0)
RETRY_AFTER_S_MAX = 86_400.0  # As long as retention waits for a target: a slip of its puts it off no longer.
IDLE_S = 3600.0
BROKEN_S = 30.0


class Right(NamedTuple):
    """What a target's owner wants at this moment, and all that they may see."""

    wanted: Filter
    within: Filter


class Dead(msgspec.Struct, frozen=True):
    """An event that was not taken: why, and after how many tries."""

    seq: int
    id: str
    at: str
    error: str
    tries: int


class State(msgspec.Struct):
    """What is kept with a target's place; `writes` numbers the versions of it (keeping.py)."""

    writes: int = 0
    epoch: str = ""
    pace: Pace = msgspec.field(default_factory=Pace)
    going: list[Held] = []  # The digest that is in flight.
    again: list[int] = []  # Dead letters that are to be sent again, before all else.
    dead: list[Dead] = []
    dead_lost: int = 0
    replays: int = 0  # How many of the target's replays are done.
    sent: int = 0
    digests: int = 0
    lost: int = 0
    held: dict[str, int] = {}  # By reason, all that ever were.
    breaker: str = "closed"
    error: str = ""


def state_of(kept: bytes) -> State:
    """As it was kept; a new target has an empty one."""
    return msgspec.json.decode(kept, type=State) if kept else State()


class Runner:
    """A target of the process on duty. `run` is its life; `stop` ends it between two messages."""

    def __init__(self, target: Target, way: Way, rules: Rules, state: State, after: int, desk: Desk) -> None:
        self.target = target
        self.state = state
        self.breaker = Breaker(target.id, pauses_s=PAUSES_S)
        self._way = way
        self._rules = rules
        self._desk = desk
        self._again = Backoff(*PAUSES_S)
        self._given_up = False  # Since it last answered.
        self._message: Message | None = None
        self._flying: Frame | None = None  # The one of the log that is being sent: the place is before it.
        self._tries = 0
        self._not_before_us = 0
        self._erasures = 0  # As many there were when the message was put together.
        self._changed = asyncio.Event()
        self._stopping = False
        # Whether the state says what the kept one does not, so that the place cannot move without it.
        self._dirty = not state.writes
        self.stale = True  # The kept place is behind, which costs nothing but reading.
        self._keeping = asyncio.Lock()
        self._kept_seq = -1
        self.kept_s = 0.0  # When the place was kept last.
        self.following = desk.tip.follow(
            target.channel, after, state.epoch or target.epoch, self._wanted() or EVERYTHING, self._changed.set
        )

    @property
    def name(self) -> str:
        """Of its place."""
        return f"{self._desk.name}.{self.target.id}"

    @property
    def through(self) -> int:
        """Up to here everything was told, is held, dead or lost, or is not wanted."""
        return self._flying.seq - 1 if self._flying is not None else self.following.through

    @property
    def behind_kept(self) -> bool:
        """Whether the kept place is not where this stands."""
        return self.stale or self.through != self._kept_seq

    @property
    def lag(self) -> int:
        """Seqs of the channel that were not looked at yet, or are on their way."""
        return max(0, self._desk.tip.head(self.target.channel) - self.through)

    @property
    def why_not(self) -> str:
        """Why nothing is sent, though it would be; "" when it is."""
        if self.target.off:
            return self.target.off
        right = self._desk.right(self.target)
        return right if isinstance(right, str) else ""

    def _wanted(self) -> Filter | None:
        right = self._desk.right(self.target)
        return None if isinstance(right, str) else right.wanted

    # -- changes ------------------------------------------------------------------------------------------------

    def update(self, target: Target, way: Way, rules: Rules) -> None:
        """Its owner changed it."""
        if rules != self._rules:
            pacing.ruled_anew(self.state.pace)
        if (target.url, target.secret, target.off) != (self.target.url, self.target.secret, self.target.off):
            self.breaker, self._given_up = Breaker(target.id, pauses_s=PAUSES_S), False
            self._tries = self._not_before_us = self._again.tries = 0
        self.target, self._way, self._rules = target, way, rules
        self.look()

    def look(self) -> None:
        """Rights or filters may have changed."""
        wanted = self._wanted()
        if wanted is not None and wanted != self.following.filter:
            self.following.refilter(wanted)
        self._changed.set()

    # -- the loop -----------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Until it is stopped."""
        again = Backoff(0.2, 5.0)
        while not self._stopping:
            try:
                await self._turn()
                again.tries = 0
            except CatalystError as error:
                if not again.tries:
                    log.warning("a target waits", extra={"target": self.target.id, "reason": error.message})
                await asyncio.sleep(again.next_s())
            except Exception:  # A bug: the others go on, and so does this one, from where it stood.
                log.exception("a target's loop failed", extra={"target": self.target.id})
                after, self._message, self._flying = self.through, None, None
                self.following.seek(after)
                await asyncio.sleep(BROKEN_S)

    async def stop(self, within_s: float, task: asyncio.Task[None]) -> None:
        """End it: what is in flight has so long to arrive."""
        self._stopping = True
        self._changed.set()
        await asyncio.wait({task}, timeout=within_s)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def _turn(self) -> None:
        self._changed.clear()
        if self.why_not:
            return await self._wait(None)
        if self._dirty and self._message is None:
            await self.keep()
        if self._message is None:
            await self._do_replays()
            self._erasures = self._desk.tip.erasures
            self._message = await self._next()
        if self._message is not None:
            return await self._try()
        if self.following.live or len(self.state.pace.held) >= HELD_MAX:
            return await self._wait(pacing.due_us(self._rules, self.state.pace, now_us()))
        return None

    async def _wait(self, until_us: int | None) -> None:
        """Until something changes, or it is that late."""
        wait_s = IDLE_S if until_us is None else max(0.0, (until_us - now_us()) / SECOND_US)
        try:
            async with asyncio.timeout(min(wait_s, IDLE_S)):
                await self._changed.wait()
        except TimeoutError:
            pass

    async def _do_replays(self) -> None:
        for replay in self.target.replays:
            if replay.number > self.state.replays:
                self._replay(replay)
                await self.keep()

    def _replay(self, replay: Replay) -> None:
        state, after = self.state, replay.after
        state.replays = replay.number
        if after is not None and after < self.following.through:
            state.pace.held = [held for held in state.pace.held if held.seq <= after]
            state.dead = [dead for dead in state.dead if dead.seq <= after]
            state.again = [seq for seq in state.again if seq <= after]
            self.following.seek(after)
        asked = {dead.seq for dead in state.dead} if replay.dead is None and after is None else set(replay.dead or ())
        state.again += [dead.seq for dead in state.dead if dead.seq in asked]
        state.dead = [dead for dead in state.dead if dead.seq not in asked]

    async def _next(self) -> Message | None:
        """What is to be sent now, if anything is."""
        state = self.state
        if state.again:
            return await self._once_more(state.again[0])
        due_us = pacing.due_us(self._rules, state.pace, now_us())
        if not state.going and due_us is not None and due_us <= now_us():
            # What is held is kept before, so that after a crash this is the same digest again.
            state.going = pacing.take(state.pace, self._way.at_most)
        if state.going:
            return await self._digest()
        while len(state.pace.held) < HELD_MAX:
            frame = self.following.pop() or await self._read()
            if frame is None:
                return None
            message = self._offer(frame)
            if message is not None:
                return message
        return None

    async def _read(self) -> Frame | None:
        await self.following.fill()
        if self.following.lost:
            self._lose(self.following.lost)
            self.following.lost = 0
        return self.following.pop()

    def _offer(self, frame: Frame) -> Message | None:
        """The message of an event that goes at once; else it is held."""
        self._flying, self.stale = frame, True
        symbol = symbol_of(frame) if self._rules.cooldown_s else ""
        if pacing.offer(self._rules, self.state.pace, frame.seq, symbol, now_us()):
            return single(frame)
        self._flying, self._dirty = None, True
        self._count_held(self.state.pace.held[-1].reason)
        return None

    async def _once_more(self, seq: int) -> Message | None:
        frames = await self._may_see([seq])
        if frames:
            return single(frames[0])
        self.state.again.remove(seq)
        self._lose(1)
        await self.keep()
        return None

    async def _digest(self) -> Message | None:
        going = {held.seq: held.reason for held in self.state.going}
        frames = await self._may_see(sorted(going))
        self._lose(len(going) - len(frames))
        there = {frame.seq for frame in frames}
        self.state.going = [held for held in self.state.going if held.seq in there]
        if frames:
            return digest(self.target.channel, frames, [going[frame.seq] for frame in frames])
        await self.keep()
        return None

    async def _may_see(self, seqs: Sequence[int]) -> list[Frame]:
        """These events, as far as they are still there, and are for the owner's eyes now.

        Raises:
            Forbidden: nothing is, as of a moment ago.
        """
        frames = await self._desk.tip.some(self.target.channel, seqs)
        right = self._desk.right(self.target)
        if isinstance(right, str):
            raise Forbidden(right)
        return [frame for frame in frames if wants(right.within, frame)]

    # -- sending ------------------------------------------------------------------------------------------------

    async def _try(self) -> None:
        """Send the message once, if it may be now; then it is over, or it is tried again later."""
        message = self._message
        assert message is not None
        if not (self._desk.lease.held and self._desk.trusted()):
            return await self._wait(now_us() + SECOND_US // 5)
        if now_us() < self._not_before_us:
            return await self._wait(self._not_before_us)
        if not await self._still(message):
            return None
        self.breaker.admit()
        began_s = time.monotonic()
        # Whoever does not answer takes no place of those who do.
        async with self._desk.slots if self.breaker.state == "closed" else self._desk.slow_slots:
            outcome = await self._way.send(message)
        await self._ended(message, outcome, time.monotonic() - began_s)
        return None

    async def _still(self, message: Message) -> bool:
        """Whether all of it is still there and for the owner's eyes: it may have been erased since it was read."""
        frames = list(message.frames)
        if self._tries or self._erasures != self._desk.tip.erasures:
            frames = await self._desk.tip.some(self.target.channel, [frame.seq for frame in frames])
        right = self._desk.right(self.target)
        if isinstance(right, str):
            raise Forbidden(right)
        if sum(wants(right.within, frame) for frame in frames) == len(message.frames):
            return True
        if self._flying is not None:
            self._lose(1)
            await self._over(message)
        self._message = None  # What is held is put together again.
        return False

    async def _ended(self, message: Message, outcome: Outcome, took_s: float) -> None:
        if outcome.kind == "sent":
            self._answers()
            await self._was_sent(message)
        elif outcome.kind == "gone":
            await self._desk.switch_off(self.target, outcome.error)
            self._not_before_us = now_us() + SECOND_US  # By then it is known here too.
        elif outcome.kind == "refused":
            self._answers()
            await self._bury(message, outcome.error)
        elif outcome.limited and self._way.holds_when_limited:
            await self._hold_back(message, outcome)
        else:
            await self._failed(message, outcome, took_s)

    def _answers(self) -> None:
        self._given_up = False
        self._again.tries = 0
        if self.breaker.worked():
            log.warning("a target answers again", extra={"target": self.target.id})
            self.stale = True

    async def _was_sent(self, message: Message) -> None:
        symbols = {symbol_of(frame) for frame in message.frames} if self._rules.cooldown_s else set()
        pacing.sent(self._rules, self.state.pace, symbols, now_us())
        self.state.sent += 1
        self.state.digests += bool(message.held)
        self._desk.counts.sent += 1
        await self._over(message)

    async def _bury(self, message: Message, error: str) -> None:
        """It is not taken, and will not be."""
        log.warning("a message became a dead letter", extra={"target": self.target.id, "reason": error})
        for frame in message.frames:
            self.state.dead.append(Dead(frame.seq, id_of(frame), iso(now_us()), error, self._tries + 1))
        self._desk.counts.dead += len(message.frames)
        over = len(self.state.dead) - DEAD_MAX
        if over > 0:
            log.error("dead letters are lost", extra={"target": self.target.id, "count": over})
            self.state.dead_lost += over
            self.state.dead = self.state.dead[over:]
        self._dirty = True
        await self._over(message)

    async def _hold_back(self, message: Message, outcome: Outcome) -> None:
        """Its service takes no more for now: it comes in a digest."""
        until_us = now_us() + int((outcome.retry_after_s or 60.0) * SECOND_US)
        held = [Held(frame.seq, "rate_limit", until_us) for frame in message.frames]
        pacing.hold_again(self.state.pace, held, until_us)
        self._count_held("rate_limit", len(held))
        self._dirty = True
        await self._over(message)

    async def _failed(self, message: Message, outcome: Outcome, took_s: float) -> None:
        self._tries += 1
        self.state.error = outcome.error
        if self.breaker.failed(outcome.error, took_s):
            log.warning("a target does not answer", extra={"target": self.target.id, "reason": outcome.error})
            self.stale = True
        if self._tries >= TRIES_MAX or (self._given_up and self._tries > 1):
            self._given_up = True
            return await self._bury(message, f"given up: {outcome.error}")
        pause_s = self.breaker.retry_after_s if self.breaker.state == "open" else self._again.next_s()
        pause_s = max(pause_s, min(outcome.retry_after_s or 0, RETRY_AFTER_S_MAX))
        self._not_before_us = now_us() + int(pause_s * SECOND_US)
        return None

    async def _over(self, message: Message) -> None:
        """The message is done with, in one way or another: the place moves over it."""
        seqs = {frame.seq for frame in message.frames}
        if message.held:
            self.state.going, self._dirty = [], True
        elif self.state.again and self.state.again[0] in seqs:
            self.state.again, self._dirty = self.state.again[1:], True
        self._message, self._flying, self._tries = None, None, 0
        if self._dirty:
            return await self.keep()
        async with self._keeping:
            self.stale = True
            if not self._dirty:
                return await self._desk.keeper.moved(self.name, max(seqs))
        return await self.keep()

    # -- keeping ------------------------------------------------------------------------------------------------

    async def keep(self) -> None:
        """The place and all that goes with it are kept.

        Raises:
            StoreUnavailable: it is kept at the next turn.
        """
        async with self._keeping:
            self._dirty = True
            self.state.writes = self._desk.keeper.next_number(self.name)
            self.state.epoch = self.following.epoch
            self.state.breaker, self.state.error = self.breaker.state, self.breaker.error
            through, kept = self.through, msgspec.json.encode(self.state)
            await self._desk.keeper.keep(self.name, self.target.channel, through, kept)
            self._dirty = self.stale = False
            self._kept_seq, self.kept_s = through, time.monotonic()

    def _count_held(self, reason: str, count: int = 1) -> None:
        self.state.held = self.state.held | {reason: self.state.held.get(reason, 0) + count}
        self._desk.counts.held[reason] += count

    def _lose(self, count: int) -> None:
        if count:
            self.state.lost += count
            self._desk.counts.lost += count
            self.stale = True
