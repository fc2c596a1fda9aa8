"""Who publishes to the simulated servers: tries again until answered, changes and ends what it published.

Owns: how a publisher behaves. Knows nothing of the servers but their answers.
Law: what a person was told goes to the judge as it came; a person never repairs it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from catalyst_signals.changes import Author
from catalyst_signals.errors import CatalystError, Overloaded, Unavailable
from catalyst_signals.events import Batch, Draft, Refused, Stored, iso
from catalyst_signals.signals import signal_draft

from .judge import Change, Offer

if TYPE_CHECKING:
    from .processes import ServerProcess
    from .world import World

SYMBOLS = ("ACME", "XYZ", "NVDA", "BTC")
ACTIONS = ("BUY", "SELL", "WATCH")
TRIES = 4  # For a change: then it is not wanted any more.
_TAGS = ([], ["news"], ["loud", "news"], ["x"])


class Publisher:
    """Somebody with signals. Sends a batch again, to whatever process there is, until it is answered."""

    def __init__(self, world: World, name: str) -> None:
        self._world = world
        self._name = name
        self._made: list[tuple[str, dict[str, Any]]] = []  # (channel, signal), with its id, to contradict later.
        self._offers: list[Offer] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def live(self) -> None:
        """Publish until the weather clears up, then wait for the last answers."""
        world = self._world
        while not world.calm:
            await asyncio.sleep(world.rng.expovariate(world.rate))
            if world.chance(world.changing) and self.change():
                continue
            ending = self._superseding() if world.chance(world.changing / 4) else None
            commit = [ending] if ending else [self._offer() for _ in range(world.rng.choice((1, 1, 1, 2, 3)))]
            sending = world.loop.create_task(self._send(commit))
            self._tasks.append(sending)
            if world.chance(0.6):
                await asyncio.wait([sending])
        await self.rest()

    async def rest(self) -> None:
        """Everything was answered or is not wanted any more."""
        for task in self._tasks:
            await task

    @property
    def at_rest(self) -> bool:
        """Whether nothing is under way."""
        return all(task.done() for task in self._tasks)

    def signal(self, channel: str, id: str) -> dict[str, Any]:
        """Some signal."""
        world, rng = self._world, self._world.rng
        signal = {
            "id": id, "symbol": rng.choice(SYMBOLS), "action": rng.choice(ACTIONS),
            "confidence": rng.randint(1, 9) / 10,
        }  # fmt: skip
        if tags := rng.choice(_TAGS):
            signal["tags"] = tags
        if world.chance(world.expiring):
            signal["expires_at"] = self._soon()
        self._made.append((channel, signal))
        return signal

    def _soon(self) -> str:
        return iso(self._world.now_us() + int(self._world.rng.choice((0.3, 1, 3)) * 1e6 * self._world.rng.random()))

    def _offer(self) -> Offer:
        world, rng = self._world, self._world.rng
        channel = rng.choice(world.channels) if world.chance(0.98) else "nowhere"
        signals = [self.signal(channel, world.next_id(self._name)) for _ in range(rng.choice((1, 1, 1, 2, 5)))]
        if world.chance(0.1):
            signals.insert(rng.randint(0, len(signals)), self._contradiction(channel))
        if world.chance(0.03):
            signals.append(signals[0])
        return self.offer(channel, signals)

    def offer(self, channel: str, signals: list[dict[str, Any]]) -> Offer:
        """On the record: this is wanted stored."""
        drafts = [self.draft(signal) for signal in signals]
        offer = self._world.offer(Batch(channel=channel, subject=self._name, drafts=drafts))
        self._offers.append(offer)
        return offer

    def draft(self, signal: dict[str, Any]) -> Draft:
        """The draft a server makes of it."""
        return signal_draft(signal, subject=self._name)[0]

    def _superseding(self) -> Offer | None:
        """A signal that takes the place of one of ours."""
        if (known := self.stored_signal()) is None:
            return None
        channel, id = known
        return self.offer(channel, [self.signal(channel, self._world.next_id(self._name)) | {"supersedes": id}])

    def stored_signal(self) -> tuple[str, str] | None:
        """One of ours that is in the log, the newer the likelier."""
        stored = [offer for offer in self._offers[-20:] if offer.stored]
        if not stored:
            return None
        batch = self._world.rng.choice(stored).batch
        return batch.channel, self._world.rng.choice(batch.drafts).id

    def _contradiction(self, channel: str) -> dict[str, Any]:
        """An id that stands for something else already: ours or somebody else's."""
        world = self._world
        made = [signal for each, signal in world.rng.choice(world.publishers)._made if each == channel]
        if not made:
            return self.signal(channel, world.next_id(self._name))
        old = world.rng.choice(made)
        return old | {"confidence": world.rng.randint(1, 9) / 10, "symbol": world.rng.choice(SYMBOLS)}

    async def _send(self, commit: list[Offer]) -> None:
        """One attempt after the other, until there is an answer or nobody wants it any more."""
        world = self._world
        while not all(offer.stored or offer.refused for offer in commit):
            patience_s = world.rng.choice((0.3, 1, 5)) if not world.calm else 10
            process = world.any_process()
            if process is None or not await self._attempt(process, commit, patience_s):
                await asyncio.sleep(world.rng.uniform(0.02, 0.3))
            if commit[0].given_up:
                return
            if world.chance(0.1):
                world.saw("an answered batch was sent again")
                await self._attempt(world.any_process() or process, commit, 1)

    async def _attempt(self, process: ServerProcess | None, commit: list[Offer], patience_s: float) -> bool:
        """Whether an answer came; what the server answered is on the record also when it did not come."""
        if process is None:
            return False
        world = self._world
        told: asyncio.Future[bool] = world.loop.create_future()
        world.loop.call_later(world.rng.expovariate(1000), self._arrive, process, commit, told, context=process.context)
        world.later(patience_s, _tell, told, False)
        return await told

    def _arrive(self, process: ServerProcess, commit: list[Offer], told: asyncio.Future[bool]) -> None:
        """Runs in the server, as the handler of a request would."""
        world = self._world
        try:
            future = process.submit([offer.batch for offer in commit])
        except (Overloaded, Unavailable) as error:
            world.saw(f"a publish was put off: {error.name}")
            world.later(0.01, _tell, told, False)
            return
        future.add_done_callback(lambda done: self._answered(done, commit, told), context=world.context)
        if world.chance(0.08):
            world.loop.call_later(world.rng.expovariate(300), future.cancel, context=process.context)

    def _answered(self, done: asyncio.Future[Any], commit: list[Offer], told: asyncio.Future[bool]) -> None:
        world = self._world
        if done.cancelled():
            world.saw("a waiting publisher was cancelled")
            if world.chance(0.5):
                for offer in commit:
                    offer.given_up = True
        elif done.exception() is not None:
            world.later(world.rng.expovariate(1000), _tell, told, False)
            return
        else:
            for offer, result in zip(commit, done.result(), strict=True):
                if isinstance(result, Refused):
                    offer.refused.append((result.error, world.now_us()))
                else:
                    offer.stored.append([(receipt.seq, receipt.id) for receipt in result.receipts])
                    if result.receipts and all(receipt.duplicate for receipt in result.receipts):
                        world.saw("an acknowledgement of a duplicate")
        if not world.chance(world.weather.unknown):
            world.later(world.rng.expovariate(1000), _tell, told, True)

    # -- what was published changes -----------------------------------------------------------------------------------

    def change(self) -> bool:
        """Update or cancel something of ours, sometimes twice at once; whether there is anything of ours."""
        world, rng = self._world, self._world.rng
        owner = self if world.chance(0.95) else rng.choice(world.publishers)
        if (known := owner.stored_signal()) is None:
            return False
        for _ in range(rng.choice((1, 1, 2))):
            change = Change(known[0], known[1], self._name, self._patch() if world.chance(0.8) else None, "no more")
            change.if_version = rng.choice((None, None, 1, 2))
            world.changes.append(change)
            self._tasks.append(world.loop.create_task(self._see_through(change)))
        return True

    def _patch(self) -> dict[str, Any]:
        rng = self._world.rng
        patch: dict[str, Any] = {"confidence": rng.randint(1, 9) / 10}
        if self._world.chance(0.3):
            patch = {"tags": rng.choice((None, ["news"], ["x"]))}
        if self._world.chance(self._world.expiring / 2):
            patch["expires_at"] = rng.choice((None, self._soon()))
        return patch

    async def _see_through(self, change: Change) -> None:
        world = self._world
        for _ in range(TRIES):
            process = world.any_process()
            if process is not None and await self._attempt_change(process, change):
                return
            await asyncio.sleep(world.rng.uniform(0.02, 0.3))
        change.given_up = True

    async def _attempt_change(self, process: ServerProcess, change: Change) -> bool:
        """Whether an answer came; as with an offer."""
        world = self._world
        told: asyncio.Future[bool] = world.loop.create_future()
        changes, author = process.node.changes, Author(change.subject)  # type: ignore[union-attr]
        where = (change.channel, change.id)
        if change.patch is None:
            work = changes.cancel(*where, change.reason, author, if_version=change.if_version)
        else:
            work = changes.update(*where, change.patch, author, if_version=change.if_version)
        future = process.do(work)
        future.add_done_callback(lambda done: self._changed(done, change, told), context=world.context)
        world.later(world.rng.choice((0.5, 2, 5)), _tell, told, False)
        return await told

    def _changed(self, done: asyncio.Future[Stored], change: Change, told: asyncio.Future[bool]) -> None:
        world, error = self._world, done.exception()
        if isinstance(error, CatalystError):
            world.note("%-8s: change of %s: %s", self._name, change.id, error.name)
            world.saw(f"a change was refused: {error.name}")
            if error.retry:
                world.later(0.01, _tell, told, False)
                return
            change.refused.append((error, world.now_us()))
        else:
            (receipt,) = done.result().receipts
            world.note("%-8s: change of %s: version %d at %d", self._name, change.id, receipt.version, receipt.seq)
            world.saw("a change that changes nothing" if receipt.duplicate else "a signal was changed")
            change.stored.append((receipt.seq, receipt.id, receipt.version))
        world.later(world.rng.expovariate(1000), _tell, told, True)


def _tell(told: asyncio.Future[bool], answer: bool) -> None:
    if not told.done():
        told.set_result(answer)
