"""The judge is judged, as in test_planted, about what a signal's life and the tools of an operator can break."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
from msgspec import structs

from catalyst_signals import expiry, filters, follow, matching, modifiers
from catalyst_signals.errors import CatalystError
from catalyst_signals.events import Frame
from catalyst_signals.expiry import Expirer
from catalyst_signals.follow import Follower
from catalyst_signals.hub import Hub, Place
from catalyst_signals.modifiers import Age, life_of
from catalyst_signals.server.node import Node
from catalyst_signals.survey import Survey
from catalyst_signals.tape import Subscriber, Tape

from .faults import FaultyStore
from .test_planted import Bug, find

SEEDS = 600  # A rewind at the wrong moment is rarer than what is planted there.


def mark_beyond_delivered(patch: pytest.MonkeyPatch) -> None:
    """Who is behind is told to be complete through where the others are."""
    place = Hub.place

    def at_done(self: Hub, subscriber: Subscriber) -> Place:
        tape, true = subscriber.tape, place(self, subscriber)
        behind = subscriber.slot is None and true.seq < tape.done
        return replace(true, epoch=tape.done_epoch, seq=tape.done, hash8=tape.done8) if behind else true

    patch.setattr(Hub, "place", at_done)


def seq_used_again_after_restore(patch: pytest.MonkeyPatch) -> None:
    """A restored log goes on right after its end, in the same epoch."""
    patch.setattr(FaultyStore, "begin_epochs", lambda self: None)


def end_dropped(patch: pytest.MonkeyPatch) -> None:
    """Only what a signal says now is matched: who was shown it when it said otherwise is not told its end."""
    for module in (filters, matching):
        patch.setattr(module, "docs_of", lambda doc: [{name: value for name, value in doc.items() if name != "was"}])


def expiry_not_derived(patch: pytest.MonkeyPatch) -> None:
    """Each process writes the end of a signal under an id of its own."""
    end = expiry.end

    def under_another_id(doc: Any, type: str) -> Any:
        draft = end(doc, type)
        return structs.replace(draft, id=f"{draft.id}.{random.randrange(1000)}")

    patch.setattr(expiry, "end", under_another_id)


def newest_replaced_by_itself(patch: pytest.MonkeyPatch) -> None:
    """`mode=latest` is off by one: the newest of an instrument is replaced by itself."""

    def replaces(self: Survey, frame: Frame) -> bool:
        instrument = life_of(frame).instrument
        return instrument is not None and self._newest.get(instrument, 0) >= frame.seq

    patch.setattr(Survey, "replaces", replaces)


def rewind_passed_over(patch: pytest.MonkeyPatch) -> None:
    """The gate looks at numbers only: a log that was taken back goes on as if nothing was."""

    def take_read(self: Follower, tape: Tape, frames: list[Frame]) -> None:
        for frame in frames:
            if frame.seq > tape.tip:
                self._pass(tape, frame)

    patch.setattr(follow, "_reaches", lambda *asked: True)
    patch.setattr(follow, "_contradicts", lambda tape, frame: False)
    patch.setattr(Follower, "_take_read", take_read)


def end_held_as_stale(patch: pytest.MonkeyPatch) -> None:
    """What ends a signal is held when the signal is over."""
    patch.setattr(modifiers, "ENDINGS", frozenset())


def held_not_counted(patch: pytest.MonkeyPatch) -> None:
    """What a cursor holds is forgotten."""
    patch.setattr(Subscriber, "hold", lambda self, held: None)


def expired_sent(patch: pytest.MonkeyPatch) -> None:
    """Whether a signal is over is looked at when it was published."""
    holds = Age.holds
    patch.setattr(Age, "holds", lambda self, frame, now_us: holds(self, frame, now_us - 3_000_000))


def expiry_kept_in_memory(patch: pytest.MonkeyPatch) -> None:
    """A process that starts does not read what is pending."""

    async def nothing(self: Expirer, channel: str) -> None:
        return None

    patch.setattr(Expirer, "begin", nothing)


def erased_in_the_store_only(patch: pytest.MonkeyPatch) -> None:
    """What was erased is sent on from the ring and the pages."""

    def only_at_the_gate(self: Hub, channel: str, seqs: Iterable[int]) -> None:
        tape = self.tapes[channel]
        tape.erased.update(seq for seq in seqs if seq > tape.tip)

    patch.setattr(Hub, "forget", only_at_the_gate)


def place_of_a_dropped_event(patch: pytest.MonkeyPatch) -> None:
    """A place below the first kept event is moved there in silence."""
    place_to_resume = Node.place_to_resume

    async def moved(self: Node, tape: Tape, **said: Any) -> Any:
        if said["after"] is not None:
            said["after"] = max(said["after"], self.standing(tape).first - 1)
        return await place_to_resume(self, tape, **said)

    patch.setattr(Node, "place_to_resume", moved)


def page_for_another_place(patch: pytest.MonkeyPatch) -> None:
    """A page that was asked for while looking ahead is served to who has to go back (this one was ours)."""

    def whatever_was_asked(self: Hub, subscriber: Subscriber, at: int, result: Any) -> None:
        here = subscriber.peer.subscribers.get(subscriber.tape.channel) is subscriber and subscriber.slot is None
        if here and isinstance(result, CatalystError):
            self.leave(subscriber)
            subscriber.peer.listener.ended(subscriber, result)
        elif here and result.last <= subscriber.reads_at:
            self._enqueue(subscriber)
        elif here and not subscriber.peer.paused:
            self._serve(subscriber, result)

    patch.setattr(Hub, "_paged", whatever_was_asked)


def erased_on_its_way(patch: pytest.MonkeyPatch) -> None:
    """A body that was read before it was erased passes the gate afterwards (this one was ours)."""
    patch.setattr(follow, "_outdated", lambda tape, frame: False)


def ends_forgotten_by_a_rewind(patch: pytest.MonkeyPatch) -> None:
    """What a rewind took back is not read again (this one was ours)."""
    patch.setattr(Expirer, "jumped", lambda self, channel: None)


def behind_retention_for_ever(patch: pytest.MonkeyPatch) -> None:
    """A process whose next event was dropped asks for it again and again (this one was ours)."""
    halt = Follower._halt

    def only_when_rewritten(self: Follower, tape: Tape, error: CatalystError) -> None:
        if "dropped by retention" not in str(error):
            halt(self, tape, error)

    patch.setattr(Follower, "_halt", only_when_rewritten)


BUGS: dict[Bug, tuple[int, str]] = {  # The seed that caught it, tried first; and what the judge has to say.
    mark_beyond_delivered: (0, "says complete through"),
    seq_used_again_after_restore: (17, "was used before the restore"),
    end_dropped: (0, "received .* and should have"),
    expiry_not_derived: (4, "goes on after its end|the versions of"),
    newest_replaced_by_itself: (0, "received .* and should have"),
    rewind_passed_over: (2, "goes on after .* which was taken back|received .* and should have|is not in the log"),
    end_held_as_stale: (0, "received .* and should have"),
    held_not_counted: (0, "with .* held, of what matched"),
    expired_sent: (0, "was sent though it had expired"),
    expiry_kept_in_memory: (2, "is over, and nobody ended it"),
    erased_in_the_store_only: (49, "was sent though it was erased"),
    place_of_a_dropped_event: (10, "asked for what comes after"),
    page_for_another_place: (95, "is told of a rewind, and there was none"),
    erased_on_its_way: (252, "was sent though it was erased"),
    ends_forgotten_by_a_rewind: (281, "is over, and nobody ended it"),
    behind_retention_for_ever: (41, "never got|a true position was refused"),
}


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.__name__)
def test_the_judge_finds_it(bug: Bug, monkeypatch: pytest.MonkeyPatch) -> None:
    """The judge complains about what the bug breaks."""
    bug(monkeypatch)
    find(bug, *BUGS[bug], SEEDS)
