"""The judge is judged: each test plants a bug in the real code, and the simulation has to find it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from catalyst_signals.errors import Unavailable
from catalyst_signals.events import Batch, Extent, Frame, Receipt, Refused, Stored
from catalyst_signals.follow import Follower
from catalyst_signals.hub import Hub, Place
from catalyst_signals.publish import Publisher
from catalyst_signals.server.stream import Connection
from catalyst_signals.stores import memory
from catalyst_signals.stores.memory import MemoryStore
from catalyst_signals.tape import Subscriber, Tape

from .faults import FaultyStore
from .world import live_through

SEEDS = 300
Bug = Callable[[pytest.MonkeyPatch], None]
Results = list[Stored | Refused]


def ack_before_commit(patch: pytest.MonkeyPatch) -> None:
    """A publisher is answered when the store takes long: it will be stored, and where is known from the tip."""
    append = Publisher._append

    async def impatient(self: Publisher, batches: list[Batch]) -> Results:
        commit = asyncio.ensure_future(append(self, batches))
        done, _ = await asyncio.wait([commit], timeout=0.1)
        return commit.result() if done else [_guessed(self, batch, duplicate=False) for batch in batches]

    patch.setattr(Publisher, "_append", impatient)


def unknown_taken_for_done(patch: pytest.MonkeyPatch) -> None:
    """A time-out at commit is taken for a refusal; the commit may have happened all the same."""

    async def append(self: Publisher, batches: list[Batch]) -> Results:
        try:
            return await self._store.append(batches)
        except Unavailable as error:
            return [Refused(error)] * len(batches)

    patch.setattr(Publisher, "_append", append)


def compare_left_out(patch: pytest.MonkeyPatch) -> None:
    """A cursor that is ahead of the hub joins the live ones at once."""
    step = Hub._step

    def joins_at_once(self: Hub, subscriber: Subscriber) -> None:
        if subscriber.judged > subscriber.tape.done:
            self._arrive(subscriber)
        else:
            step(self, subscriber)

    patch.setattr(Hub, "_step", joins_at_once)


def dedupe_in_front_of_the_store(patch: pytest.MonkeyPatch) -> None:
    """Ids are remembered by the process, not in the transaction: whoever retries elsewhere is stored twice."""
    append = Publisher._append

    def receipt(self: MemoryStore, log: Any, batch: Batch, draft: Any) -> Receipt:
        log.ids.pop(draft.id, None)
        return real_receipt(self, log, batch, draft)

    async def only_new(self: Publisher, batches: list[Batch]) -> Results:
        seen: dict[tuple[str, str], Stored] = self.__dict__.setdefault("seen", {})
        results = await append(self, [b for b in batches if _key(b) not in seen])
        fresh = iter(results)
        answers = [seen.get(_key(batch)) or next(fresh) for batch in batches]
        seen.update({_key(b): replace(a, events=[]) for b, a in zip(batches, answers, strict=True) if _stored(a)})
        return answers

    real_receipt = MemoryStore._receipt
    patch.setattr(memory, "judge", lambda drafts, subject, known: {})
    patch.setattr(MemoryStore, "_receipt", receipt)
    patch.setattr(Publisher, "_append", only_new)


def duplicate_of_nothing(patch: pytest.MonkeyPatch) -> None:
    """An id is remembered before the commit: a retry after one that failed is told that it is stored already."""
    submit = Publisher.submit

    def remembered(self: Publisher, batches: Sequence[Batch]) -> asyncio.Future[Results]:
        seen: set[tuple[str, str]] = self.__dict__.setdefault("seen", set())
        if all(_key(batch) in seen for batch in batches):
            answer: asyncio.Future[Results] = asyncio.get_running_loop().create_future()
            answer.set_result([_guessed(self, batch, duplicate=True) for batch in batches])
            return answer
        seen.update(_key(batch) for batch in batches)
        return submit(self, batches)

    patch.setattr(Publisher, "submit", remembered)


def one_fails_all_fail(patch: pytest.MonkeyPatch) -> None:
    """A conflict in a commit is answered to everyone in it."""
    append = Publisher._append

    async def all_refused(self: Publisher, batches: list[Batch]) -> Results:
        results = await append(self, batches)
        bad = next((result for result in results if isinstance(result, Refused)), None)
        return results if bad is None else [bad] * len(results)

    patch.setattr(Publisher, "_append", all_refused)


def one_fails_all_rolled_back(patch: pytest.MonkeyPatch) -> None:
    """A conflict in a commit rolls back the neighbours too, and they are refused with it."""
    append = MemoryStore.append

    async def none_stored(self: MemoryStore, batches: Sequence[Batch]) -> Results:
        before = {name: replace(log, events=list(log.events), ids=dict(log.ids)) for name, log in self._logs.items()}
        results = await append(self, batches)
        bad = next((result for result in results if isinstance(result, Refused)), None)
        if bad is None:
            return results
        self._logs = before
        return [bad] * len(results)

    patch.setattr(MemoryStore, "append", none_stored)


def answers_mixed_up(patch: pytest.MonkeyPatch) -> None:
    """The results of a commit are handed out as if the refused ones stood last."""
    append = Publisher._append

    async def mixed_up(self: Publisher, batches: list[Batch]) -> Results:
        return sorted(await append(self, batches), key=lambda result: isinstance(result, Refused))

    patch.setattr(Publisher, "_append", mixed_up)


def served_above_durable(patch: pytest.MonkeyPatch) -> None:
    """Whatever rows there are are read and delivered, durable or not."""
    patch.setattr(FaultyStore, "visible", lambda self, channel: 1 << 60)
    extents = FaultyStore._extents

    def all_durable(self: FaultyStore, channels: Any) -> dict[str, Extent]:
        return {name: replace(extent, durable=extent.last) for name, extent in extents(self, channels).items()}

    patch.setattr(FaultyStore, "_extents", all_durable)


def opened_above_durable(patch: pytest.MonkeyPatch) -> None:
    """A process begins a channel at its last row instead of at the last durable one."""

    async def at_the_last(self: Follower, extent: Extent) -> None:
        self._hub.open(extent.channel, extent.epoch, extent.last, extent.hash_last[:4].hex())

    patch.setattr(Follower, "_open", at_the_last)


def await_before_live(patch: pytest.MonkeyPatch) -> None:
    """Between 'at the tip' and 'live' the loop runs on."""
    arrive = Hub._arrive

    def later(self: Hub, subscriber: Subscriber) -> None:
        def at_last() -> None:
            here = subscriber.peer.subscribers.get(subscriber.tape.channel) is subscriber
            if here and subscriber.slot is None and not subscriber.peer.paused:
                arrive(self, subscriber)

        asyncio.get_running_loop().call_later(0.001, at_last)

    patch.setattr(Hub, "_arrive", later)


def position_beyond_written(patch: pytest.MonkeyPatch) -> None:
    """A position speaks of the tip, which live subscribers may not have been served yet."""
    place = Hub.place

    def at_the_tip(self: Hub, subscriber: Subscriber) -> Place:
        tape, true = subscriber.tape, place(self, subscriber)
        if subscriber.slot is None:
            return true
        return replace(true, epoch=tape.epoch, seq=tape.tip, hash8=tape.tip8)

    patch.setattr(Hub, "place", at_the_tip)


def place_at_end_of_turn(patch: pytest.MonkeyPatch) -> None:
    """Who leaves or is parked in the middle of a turn is taken to have been written to."""
    patch.setattr(Hub, "_written", lambda self, subscriber: self._turn[1][-1])


def place_at_begin_of_turn(patch: pytest.MonkeyPatch) -> None:
    """Who leaves or is parked in the middle of a turn is taken not to have been written to."""
    patch.setattr(Hub, "_written", lambda self, subscriber: None)


def filter_changed_at_done(patch: pytest.MonkeyPatch) -> None:
    """A new filter begins where the channel is, not where the subscriber stood."""
    join = Connection._join

    def at_done(self: Connection, tape: Tape, filter: Any, modifiers: Any, place: Any, ref: object) -> None:
        join(self, tape, filter, modifiers, place or (tape.done, tape.done_epoch, tape.done8), ref)

    patch.setattr(Connection, "_join", at_done)


def hole_passed_over(patch: pytest.MonkeyPatch) -> None:
    """The gate trusts the broker: a frame above the tip is let through, whatever is missing before it."""
    take = Follower.take

    def trusting(self: Follower, frame: Frame) -> None:
        tape = self._hub.tapes.get(frame.channel)
        if tape is not None and tape.stopped is None and frame.seq > tape.tip:
            self._pass(tape, frame)
        else:
            take(self, frame)

    patch.setattr(Follower, "take", trusting)


def hints_relied_on(patch: pytest.MonkeyPatch) -> None:
    """Nobody polls: a hint that is lost at the end of the log is never missed."""

    async def never(self: Follower) -> None:
        await asyncio.Event().wait()

    patch.setattr(Follower, "_poll_for_ever", never)


def page_for_a_reader_who_left(patch: pytest.MonkeyPatch) -> None:
    """A page that was read for an earlier subscription is written to the connection all the same."""

    def whoever_it_was(self: Hub, subscriber: Subscriber, *asked: Any) -> None:
        if not subscriber.peer.paused and subscriber.slot is None:
            self._serve(subscriber, asked[-1])

    patch.setattr(Hub, "_paged", whoever_it_was)


def position_refused_in_silence(patch: pytest.MonkeyPatch) -> None:
    """A reader that is ahead of this process is refused when the store does not answer (this one was ours)."""

    async def whatever_comes(self: Follower, channel: str) -> None:
        await self.poll()
        task = self._filling.get(channel)
        if task is not None:
            await asyncio.shield(task)

    patch.setattr(Follower, "caught_up", whatever_comes)


BUGS: dict[Bug, tuple[int, str]] = {  # The seed that caught it, tried first; and what the judge has to say.
    ack_before_commit: (0, "acknowledged at .* (is not in the log|and stands at)"),
    unknown_taken_for_done: (0, "was refused for no reason: store_unavailable"),
    compare_left_out: (24, "is told of a rewind, and there was none"),
    dedupe_in_front_of_the_store: (0, "is there 2 times"),
    duplicate_of_nothing: (0, "acknowledged at .* (is not in the log|and stands at)"),
    one_fails_all_fail: (1, r"was refused \(.*\) and is in the log"),
    one_fails_all_rolled_back: (0, "was refused for no reason"),
    answers_mixed_up: (0, "acknowledged|receipt"),
    served_above_durable: (33, "received .* and should have|is told of"),
    opened_above_durable: (3, "was stopped as rewritten, and is not"),
    await_before_live: (0, "is told of a rewind, and there was none"),
    position_beyond_written: (15, "says complete through"),
    place_at_end_of_turn: (204, "says complete through|received .* and should have"),
    place_at_begin_of_turn: (0, "received .* and should have"),
    filter_changed_at_done: (0, "`subscribed` says complete through"),
    hole_passed_over: (4, "received .* and should have"),
    hints_relied_on: (0, "never got|never answered|not connected"),
    page_for_a_reader_who_left: (7, "received .* and should have"),
    position_refused_in_silence: (10, "a true position was refused: .*position_ahead"),
}


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.__name__)
def test_the_judge_finds_it(bug: Bug, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within 300 seeds the judge complains about what the bug breaks."""
    bug(monkeypatch)
    find(bug, *BUGS[bug], SEEDS)


def find(bug: Bug, first: int, complaint: str, seeds: int) -> None:
    """Pass when the judge says that of one of so many seeds; `first` is where it was found when last looked for."""
    for seed in (first, *range(seeds)):
        complaints, _ = live_through(seed)
        found = next((each for each in complaints if re.search(complaint, each)), None)
        if found is not None:
            print(f"{bug.__name__}: seed {seed}: {found}")  # noqa: T201
            return
    pytest.fail(f"{seeds} seeds, and the judge does not say `{complaint}` about: {bug.__doc__}")


def _guessed(publisher: Publisher, batch: Batch, *, duplicate: bool) -> Stored:
    """What a store would answer, most of the time."""
    tape = publisher._follower._hub.tapes.get(batch.channel)
    tip = tape.tip if tape is not None else 0
    receipts = [Receipt(tip + n, draft.id, 1, 0, duplicate) for n, draft in enumerate(batch.drafts, 1)]
    return Stored(channel=batch.channel, epoch="", receipts=receipts, events=[], durability="memory")


def _key(batch: Batch) -> tuple[str, str]:
    return batch.channel, ",".join(draft.id for draft in batch.drafts)


def _stored(result: Stored | Refused) -> bool:
    return isinstance(result, Stored)
