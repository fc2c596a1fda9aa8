"""All targets of a log, and the one process that sends to them.

Owns: which targets are sent to, when each begins and ends, and what there is to tell of all of them. How one is sent to
is sending.py's.
Laws: of all processes of a log one sends, and another goes on when that is gone; a target that hangs keeps no other
waiting.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from catalyst_signals.backoff import Backoff
from catalyst_signals.errors import CatalystError
from catalyst_signals.events import Frame, Kept
from catalyst_signals.projections import Target
from catalyst_signals.stores import Store
from catalyst_signals.wire import SYSTEM_CHANNEL
from catalyst_signals.workers import Lease, on_duty
from catalyst_signals.workers.following import Tip
from catalyst_signals.workers.keeping import Keeper
from catalyst_signals.workers.messages import Way
from catalyst_signals.workers.notifying import Notifier, scheme_of
from catalyst_signals.workers.outside import Network
from catalyst_signals.workers.pacing import Quiet, Rules
from catalyst_signals.workers.sending import Right, Runner, State, state_of
from catalyst_signals.workers.webhooks import Webhook

log = logging.getLogger("catalyst.targets")

OUT = "out"  # The duty, and what the names of all places begin with.
# Messages under way at once; those to whoever did not answer last have places of their own.
SLOTS, SLOW_SLOTS = 128, 32
LAZY_S = 5.0
KEEPS_AT_ONCE = 100  # Places kept each time without need: of a thousand that is one each in less than a minute.
STOP_S = 3.0


@dataclass
class Counts:
    """Of all targets, since the process began."""

    sent: int = 0
    dead: int = 0
    lost: int = 0
    held: Counter[str] = field(default_factory=Counter)


@dataclass
class Desk:
    """What all targets of the process on duty share."""

    name: str
    tip: Tip
    lease: Lease
    keeper: Keeper
    right: Callable[[Target], Right | str]
    trusted: Callable[[], bool]
    switch_off: Callable[[Target, str], Awaitable[None]]
    counts: Counts
    slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(SLOTS))
    slow_slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(SLOW_SLOTS))


def way_of(url: str, secret: str, networks: Sequence[Network]) -> Way:
    """How a target of this URL is spoken to."""
    return Webhook(url, secret, networks) if scheme_of(url) in ("http", "https") else Notifier(url, networks)


def rules_of(asked: Mapping[str, object], per_minute: int | None) -> Rules:
    """A target's rules as they were asked for, with what its service takes."""
    quiet = asked.get("quiet_hours")
    return Rules(
        max_per_hour=_int(asked.get("max_per_hour")) or None, per_minute=per_minute,
        quiet=Quiet(str(quiet["from"]), str(quiet["to"]), str(quiet["tz"])) if isinstance(quiet, dict) else None,
        cooldown_s=_int(asked.get("cooldown_per_symbol_s")), digest_s=_int(asked.get("digest_s")),
    )  # fmt: skip


def _int(value: object) -> int:
    return value if isinstance(value, int) else 0


class Out:
    """The targets of one process: idle until the duty is its own."""

    def __init__(
        self,
        store: Store,
        tip: Tip,
        lease: Lease,
        targets: Callable[[], Mapping[str, Target]],
        channels: Callable[[], Sequence[str]],
        right: Callable[[Target], Right | str],
        trusted: Callable[[], bool],
        switch_off: Callable[[Target, str], Awaitable[None]],
        networks: Sequence[Network],
    ) -> None:
        self.networks = networks
        self.tip = tip
        self.desk: Desk | None = None  # While the duty is ours.
        self.runners: dict[str, Runner] = {}
        self.counts = Counts()
        self._store = store
        self._lease = lease
        self._targets = targets
        self._channels = channels
        self._right = right
        self._trusted = trusted
        self._switch_off = switch_off
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._found: dict[str, tuple[str, Kept]] = {}
        self._changed = asyncio.Event()

    def fold(self, frame: Frame) -> None:
        """The gate's, for every event: what is `system` may concern a target."""
        self.tip.fold(frame)
        if frame.channel == SYSTEM_CHANNEL:
            self._changed.set()

    async def run(self) -> None:
        """Send whenever the duty is ours, for ever; when this is cancelled, what is in flight arrives first."""
        await on_duty(self._lease, self._work)

    async def _work(self) -> None:
        keeper = Keeper(self._store, self._lease, OUT)
        self.desk = Desk(OUT, self.tip, self._lease, keeper, self._right, self._trusted, self._switch_off, self.counts)
        tasks = [asyncio.create_task(work) for work in (self.tip.run(), keeper.run())]
        try:
            await self._load(keeper)
            tasks += [asyncio.create_task(work) for work in (self._sync_for_ever(), self._keep_for_ever())]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task.done():
                    task.result()
        finally:
            await self._end(tasks)

    async def _load(self, keeper: Keeper) -> None:
        again = Backoff(0.2, 5.0)
        while True:
            try:
                self._found = await keeper.load(self._channels())
                return
            except CatalystError as error:
                log.warning("the places of targets cannot be read yet", extra={"reason": error.message})
                await asyncio.sleep(again.next_s())

    async def _end(self, tasks: list[asyncio.Task[None]]) -> None:
        within_s = STOP_S if self._lease.held else 0.0
        ends = (runner.stop(within_s, self._tasks[id]) for id, runner in self.runners.items())
        await asyncio.gather(*ends, return_exceptions=True)
        try:
            async with asyncio.timeout(within_s):
                for runner in self.runners.values():
                    if runner.stale:
                        await runner.keep()
        except (CatalystError, TimeoutError) as error:
            log.warning("not every place was kept: some events come twice", extra={"reason": str(error)})
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for runner in self.runners.values():
            runner.following.leave()
        self.runners, self._tasks, self.desk = {}, {}, None

    # -- which --------------------------------------------------------------------------------------------------

    async def _sync_for_ever(self) -> None:
        """Begin, change and end runners as `system` says."""
        self._changed.set()
        while True:
            await self._changed.wait()
            self._changed.clear()
            targets = dict(self._targets())
            for id in self.runners.keys() - targets.keys():
                await self._ended(id)
            for target in targets.values():
                self._set(target)
            for name, (channel, _) in list(self._found.items()):
                if name.partition(".")[2] not in targets:
                    await self._over(name, channel)

    def _set(self, target: Target) -> None:
        runner = self.runners.get(target.id)
        if runner is None:
            self._begin(target)
        elif runner.target != target:
            way = way_of(target.url, target.secret, self.networks)
            runner.update(target, way, rules_of(target.rules, way.per_minute))
        else:
            runner.look()

    def _begin(self, target: Target) -> None:
        assert self.desk is not None
        way = way_of(target.url, target.secret, self.networks)
        name = f"{OUT}.{target.id}"
        found = self._found.get(name)
        after, state = (found[1].seq, state_of(found[1].state)) if found else (target.after, State(epoch=target.epoch))
        self._found[name] = (target.channel, Kept(after))
        runner = Runner(target, way, rules_of(target.rules, way.per_minute), state, after, self.desk)
        self.runners[target.id] = runner
        self._tasks[target.id] = asyncio.create_task(runner.run())

    async def _ended(self, id: str) -> None:
        runner, task = self.runners.pop(id), self._tasks.pop(id)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        runner.following.leave()

    async def _over(self, name: str, channel: str) -> None:
        assert self.desk is not None
        try:
            await self.desk.keeper.over(name, channel)
        except CatalystError as error:
            log.warning("the place of a removed target stands yet", extra={"reason": error.message})
            asyncio.get_running_loop().call_later(LAZY_S, self._changed.set)
            return
        del self._found[name]

    async def _keep_for_ever(self) -> None:
        """Move the kept places that are behind, some at a time: a start reads less then, and retention goes on."""
        while True:
            await asyncio.sleep(LAZY_S)
            stale = [runner for runner in self.runners.values() if runner.behind_kept]
            for runner in sorted(stale, key=lambda runner: runner.kept_s)[:KEEPS_AT_ONCE]:
                try:
                    await runner.keep()
                except CatalystError as error:
                    log.warning("places are kept later", extra={"reason": error.message})
                    break

    # -- seeing -------------------------------------------------------------------------------------------------

    @property
    def failing(self) -> list[Runner]:
        """Those that do not answer."""
        return [runner for runner in self.runners.values() if runner.breaker.state != "closed" and not runner.why_not]

    @property
    def lag(self) -> int:
        """How many seqs the furthest is behind; those that are off do not count."""
        return max((runner.lag for runner in self.runners.values() if not runner.why_not), default=0)
