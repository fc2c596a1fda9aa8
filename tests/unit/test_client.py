"""What a handler may rely on: each event once and in order, across everything that can happen to a connection.

Covers `catalyst_signals.client.stream` through the public face.
"""

from __future__ import annotations

import asyncio
import random
import socket
import time
from typing import Any

import pytest

from catalyst_signals.client import Catalyst, Gap, Position, Signal, connect, line, link
from catalyst_signals.client.cursor import Cursor
from catalyst_signals.errors import (
    CatalystError,
    Draining,
    Forbidden,
    InvalidFilter,
    InvalidRequest,
    PositionLost,
    TooLarge,
    Unauthenticated,
    Unreachable,
    Unsupported,
)
from tests.unit.scripted_peer import KEY, Peer, Taken, hash_at, until


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line, "BACKOFF_S", (0.002, 0.01))


# -- resuming ---------------------------------------------------------------------------------------------------------


async def test_signals_come_out_typed_and_the_filter_goes_in_as_it_was_written() -> None:
    """The first lines of the tutorial."""
    async with Peer() as peer, connect(peer.url, KEY) as catalyst, Taken(catalyst.signals("confidence >= 0.7")) as got:
        visit = await peer.visit()
        asked = await visit.subscribed(after=40)
        assert visit.authorization == f"Bearer {KEY}"
        assert (asked["channel"], asked["filter"]) == ("main", "confidence >= 0.7")
        assert "after" not in asked  # From now on.
        await visit.event(41)
        await got.at(41)
        assert isinstance(got.items[0], Signal)
        assert (got.items[0].symbol, got.items[0].side) == ("ACME", "BUY")


async def test_resume_after_a_drop_loses_and_repeats_nothing() -> None:
    """Everyone with a network."""
    async with Peer() as peer, connect(peer.url, KEY) as catalyst, Taken(catalyst.signals(after=0)) as got:
        visit = await peer.visit()
        assert (await visit.subscribed())["after"] == 0
        await visit.event(1, 2, 3)
        await visit.position(3, hash="aaaaaaaa")
        await visit.event(4, 5)
        await visit.drop()
        visit = await peer.visit()
        asked = await visit.subscribed()
        assert (asked["after"], asked["epoch"], asked["hash"]) == (5, "e1", hash_at(5))  # Not that of the position.
        await visit.event(4, 5, 6)  # A server may be generous.
        await visit.position(6)
        await got.at(6)
        assert got.seqs == [1, 2, 3, 4, 5, 6]
        assert catalyst.stats.dropped_duplicates == 2
        assert catalyst.stats.reconnects == 1


async def test_a_resume_exactly_at_a_position_carries_its_hash() -> None:
    """So that a log that was rewritten under the same epoch is found."""
    async with Peer() as peer, connect(peer.url, KEY) as catalyst, Taken(catalyst.signals(after=0)) as got:
        visit = await peer.visit()
        await visit.subscribed()
        await visit.event(1)
        await visit.position(9, hash="bbbbbbbb")
        await visit.drop()
        visit = await peer.visit()
        asked = await visit.subscribed()
        assert (asked["after"], asked["epoch"], asked["hash"]) == (9, "e1", "bbbbbbbb")
        await got.at(1)


async def test_a_resume_names_the_hash_of_what_was_handled_last() -> None:
    """So that a copied or rewound log is found at once, and not at the next position."""
    gaps: list[Gap] = []
    async with (
        Peer() as peer,
        connect(peer.url, KEY, on_gap=gaps.append) as catalyst,
        Taken(catalyst.signals(after=0)) as got,
    ):
        visit = await peer.visit()
        await visit.subscribed()
        await visit.event(1, 2)
        await visit.drop()
        visit = await peer.visit()
        asked = await visit.refuse_place("epoch_changed", epoch="e2", void=[1, 2], resume_after=0)
        assert (asked["after"], asked["hash"]) == (2, hash_at(2))
        asked = await visit.subscribed(epoch="e2")
        assert (asked["after"], "hash" in asked) == (0, False)
        await visit.event(1, 2, 3)  # Other events, under the same numbers.
        await got.at(3)
        assert got.seqs == [1, 2, 1, 2, 3]
        assert gaps == [Gap("main", (1, 2), "epoch_changed", 0)]


async def test_a_server_that_names_no_hashes_is_resumed_without() -> None:
    """A new client and an old server."""
    async with Peer() as peer, connect(peer.url, KEY) as catalyst, Taken(catalyst.signals(after=0)) as got:
        visit = await peer.visit()
        await visit.subscribed()
        await visit.event(1, 2, hashes=None)
        await visit.drop()
        visit = await peer.visit()
        asked = await visit.subscribed()
        assert (asked["after"], "hash" in asked) == (2, False)
        await visit.event(3, hashes=None)
        await got.at(3)


async def test_what_is_repeated_takes_the_place_nowhere() -> None:
    """A drop in the middle of a repetition must not make the next connection begin earlier."""
    async with Peer() as peer, connect(peer.url, KEY) as catalyst, Taken(catalyst.signals(after=0)) as got:
        visit = await peer.visit()
        await visit.subscribed()
        await visit.event(1, 2, 3)
        await visit.drop()
        visit = await peer.visit()
        await visit.subscribed()
        await visit.event(1, 2)
        await visit.drop()
        asked = await (await peer.visit()).subscribed()
        assert (asked["after"], asked["hash"]) == (3, hash_at(3))
        await got.at(3)


async def test_a_place_keeps_its_hash_when_it_is_confirmed_without_one() -> None:
    """A filter that changes says where from, not under which hash."""
    async with Peer() as peer, connect(peer.url, KEY) as catalyst, Taken(catalyst.signals(after=0)) as got:
        visit = await peer.visit()
        await visit.subscribed()
        await visit.event(5)
        await visit.say(type="subscribed", channel="main", epoch="e1", after=5, head=5, filter="x = 1")
        await visit.drop()
        asked = await (await peer.visit()).subscribed()
        assert (asked["after"], asked["hash"]) == (5, hash_at(5))
        await got.at(5)


async def test_a_stream_from_now_on_resumes_where_now_was() -> None:
    """What was published while the first connection was down must not be missed because nothing had come yet."""
    async with Peer() as peer, connect(peer.url, KEY) as catalyst, Taken(catalyst.signals()) as got:
        visit = await peer.visit()
        await visit.subscribed(after=70)
        await visit.drop()
        visit = await peer.visit()
        assert (await visit.subscribed())["after"] == 70
        await visit.event(71)
        await got.at(71)


async def test_what_arrived_before_the_drop_is_handed_out_before_the_reconnect() -> None:
    """A drop is noticed by whoever asks for the next event, and there still are some."""
    async with Peer() as peer, connect(peer.url, KEY) as catalyst:
        stream = catalyst.signals(after=0)
        first = asyncio.create_task(anext(stream))
        visit = await peer.visit()
        await visit.subscribed()
        await visit.event(1, 2, 3)
        await first
        await visit.drop()
        assert [(await anext(stream)).seq, (await anext(stream)).seq] == [2, 3]
        assert catalyst.stats.reconnects == 0


async def test_a_signal_whose_handler_failed_is_not_passed() -> None:
    """A program that crashed in a handler starts again from `position`, and gets that signal again."""
    async with Peer() as peer, connect(peer.url, KEY) as catalyst:
        script = asyncio.create_task(_two_events(peer))
        with pytest.raises(ZeroDivisionError):
            async for signal in catalyst.signals(after=0):
                if signal.seq == 2:
                    raise ZeroDivisionError
        await script
        assert catalyst.position() == Position("main", "e1", 1, hash_at(1))
        await catalyst._streams[0].aclose()
        async with Taken(catalyst.signals(after=catalyst.position())) as again:
            visit = await peer.visit()
            assert (await visit.subscribed())["after"] == 1
            await visit.event(2)
            await again.at(2)


async def _two_events(peer: Peer) -> None:
    visit = await peer.visit()
    await visit.subscribed()
    await visit.event(1, 2)


async def test_iterating_again_after_a_break_goes_on_with_the_next_one() -> None:
    """`break` and a second loop are one stream."""
    async with Peer() as peer, connect(peer.url, KEY) as catalyst:
        script = asyncio.create_task(_two_events(peer))
        stream = catalyst.signals(after=0)
        seqs = []
        for _ in range(2):
            async for signal in stream:
                seqs.append(signal.seq)
                break
        await script
        assert seqs == [1, 2]
        assert peer.unseen == 0


async def test_each_event_comes_once_whatever_a_server_repeats_or_loses() -> None:
    """Connections that drop, repeat, and lose what they then count: the cursor alone, against the promise."""
    for seed in range(200):
        chance = random.Random(seed)
        cursor, out, log = Cursor("main", Position("main", "e1", 0)), [], list(range(1, 60, chance.choice([1, 3])))
        for _ in range(200):
            place = cursor.place
            assert place is not None
            cursor.opened("e1", place.seq)
            out += _one_connection(cursor, [seq for seq in log if seq > place.seq], chance)
        assert sorted(out) == log, seed


def _one_connection(cursor: Cursor, due: list[int], chance: random.Random) -> list[int]:
    """What one connection hands out. What it loses stays counted, so the next position finds it."""
    out, sent, lost = [], 0, False
    for seq in due:
        for _ in range(chance.choice([1, 1, 1, 2])):
            sent += 1
            if chance.random() < 0.05:
                lost = True
            elif cursor.admit(seq):
                out.append(seq)
        if chance.random() < 0.2 or seq == due[-1]:
            if not cursor.reached("e1", seq, "", sent):
                cursor.rewind(seq)
                return out
            lost = False
        if not lost and chance.random() < 0.05:
            return out  # A drop.
    return out


# -- what the server claims -------------------------------------------------------------------------------------------


async def test_a_lie_in_sent_is_found_and_what_was_missing_comes() -> None:
    """A server that lost an event and says that all is complete."""
    gaps: list[Gap] = []
    async with (
        Peer() as peer,
        connect(peer.url, KEY, on_gap=gaps.append) as catalyst,
        Taken(catalyst.signals(after=0)) as got,
    ):
        visit = await peer.visit()
        await visit.subscribed()
        await visit.event(10)
        await visit.position(10, hash="cccccccc")
        await visit.event(11, 13)
        await visit.position(13, sent=4)  # 12 was counted and never came.
        visit = await peer.visit()
        asked = await visit.subscribed()
        assert (asked["after"], asked["hash"]) == (10, "cccccccc")
        await visit.event(11, 12, 13, 14)
        await visit.position(14)
        await got.at(14)
        assert got.seqs == [10, 11, 13, 12, 14]
        assert gaps == [Gap("main", (11, 13), "sent", 10)]
        assert catalyst.stats.gaps == 1
        await visit.drop()
        visit = await peer.visit()
        assert (await visit.subscribed())["after"] == 14


async def test_the_count_begins_again_with_each_subscribed() -> None:
    """Also with one that nobody asked for, when rights change."""
    async with Peer() as peer, connect(peer.url, KEY) as catalyst, Taken(catalyst.signals(after=0)) as got:
        visit = await peer.visit()
        await visit.subscribed()
        await visit.event(1, 2)
        await visit.say(type="subscribed", channel="main", epoch="e1", after=2, head=2, filter="x = 1")
        await visit.event(3)
        await visit.position(3, sent=1)
        await visit.event(4)
        await got.at(4)
        assert catalyst.stats.gaps == 0


async def test_a_stale_position_moves_nothing_back() -> None:
    """A late position must not make the next resume repeat what was handled."""
    async with Peer() as peer, connect(peer.url, KEY) as catalyst, Taken(catalyst.signals(after=0)) as got:
        visit = await peer.visit()
        await visit.subscribed()
        await visit.event(5)
        await visit.position(8)
        await visit.position(6)
        await visit.position(3, hash="dddddddd")
        await visit.drop()
        visit = await peer.visit()
        asked = await visit.subscribed()
        assert asked["after"] == 8
        assert "hash" not in asked
        await got.at(5)


async def test_messages_and_fields_nobody_knows_yet_are_ignored() -> None:
    """An old client and a new server."""
    async with Peer() as peer, connect(peer.url, KEY) as catalyst, Taken(catalyst.signals(after=0)) as got:
        visit = await peer.visit()
        await visit.subscribed(mood="good")
        await visit.say(type="forecast", channel="main", seq=1)
        await visit.say(type="forecast.changed", channel="other", seq=1)
        await visit.say(nothing=1)
        await visit.event(1)
        visit.sent += 1
        await visit.say(type="halt.placed", channel="main", seq=2, id="h", version=1, ts="2026-11-26T09:30Z", data={})
        await visit.event(3)
        await visit.position(3)
        await got.at(3)
        assert got.seqs == [1, 3]
        assert catalyst.stats.gaps == 0


async def test_events_hands_out_what_is_no_signal_too() -> None:
    """`listen --json` prints what was sent."""
    async with Peer() as peer, connect(peer.url, KEY) as catalyst:
        stream = catalyst.events(after=0, channel="ingest")
        first = asyncio.create_task(anext(stream))
        visit = await peer.visit()
        assert (await visit.subscribed())["channel"] == "ingest"
        received = {"type": "ingest.received", "channel": "ingest", "seq": 1, "id": "i", "data": {"raw": "BUY"}}
        await visit.say(**received)
        assert await first == received


# -- gaps -------------------------------------------------------------------------------------------------------------

GAPS = [
    ("epoch_changed", {"void": [91, 1_000_090], "resume_after": 1_000_090}, (91, 1_000_090), 1_000_090),
    ("position_too_old", {"first": 501}, (101, 500), 500),
    ("position_ahead", {"head": 60}, (61, 100), 60),
]


@pytest.mark.parametrize(("error", "said", "void", "resume_after"), GAPS)
async def test_a_range_that_is_gone_is_told_and_the_stream_goes_on(
    error: str, said: dict[str, Any], void: tuple[int, int], resume_after: int
) -> None:
    """A restore, a retention, a rewind: never a silent jump."""
    gaps: list[Gap] = []
    after = Position("main", "e1", 100, "eeeeeeee")
    async with (
        Peer() as peer,
        connect(peer.url, KEY, on_gap=gaps.append) as catalyst,
        Taken(catalyst.signals(after=after)) as got,
    ):
        visit = await peer.visit()
        asked = await visit.refuse_place(error, epoch="e2", **said)
        assert (asked["after"], asked["epoch"], asked["hash"]) == (100, "e1", "eeeeeeee")
        asked = await visit.subscribed(epoch="e2")
        assert (asked["after"], asked["epoch"]) == (resume_after, "e2")
        await visit.event(resume_after + 1)
        await visit.position(resume_after + 1, epoch="e2")
        await got.at(resume_after + 1)
        assert gaps == [Gap("main", void, error, resume_after)]


@pytest.mark.parametrize(("error", "said", "void", "resume_after"), GAPS)
async def test_a_strict_client_raises_the_gap_instead(
    error: str, said: dict[str, Any], void: tuple[int, int], resume_after: int
) -> None:
    """A program that would rather stop than miss anything."""
    async with (
        Peer() as peer,
        connect(peer.url, KEY, gaps="raise") as catalyst,
        Taken(catalyst.signals(after=100)) as got,
    ):
        await (await peer.visit()).refuse_place(error, epoch="e2", **said)
        fault = await got.fails()
        assert isinstance(fault, PositionLost)
        assert fault.name == error


async def test_a_strict_client_raises_a_wrong_count() -> None:
    """What is missing can still come: iterate again."""
    async with Peer() as peer, connect(peer.url, KEY, gaps="raise") as catalyst:
        stream = catalyst.signals(after=0)
        async with Taken(stream) as got:
            visit = await peer.visit()
            await visit.subscribed()
            await visit.event(1)
            await visit.position(2, sent=2)
            fault = await got.fails()
            assert isinstance(fault, PositionLost)
            assert fault.extra == {"void": [1, 2], "resume_after": 0}
        async with Taken(stream) as got:
            visit = await peer.visit()
            assert (await visit.subscribed())["after"] == 0
            await visit.event(1, 2)
            await got.at(2)
            assert got.seqs == [2]


async def test_a_place_that_is_already_in_the_new_epoch_is_not_void() -> None:
    """Events do not name their epoch, so a drop before the first position of a new one asks with the old name."""
    gaps: list[Gap] = []
    async with (
        Peer() as peer,
        connect(peer.url, KEY, on_gap=gaps.append) as catalyst,
        Taken(catalyst.signals(after=Position("main", "e1", 90))) as got,
    ):
        visit = await peer.visit()
        await visit.subscribed()
        await visit.event(1_000_101)
        await visit.drop()
        visit = await peer.visit()
        said = {"void": [101, 1_000_100], "resume_after": 1_000_100}
        asked = await visit.refuse_place("epoch_changed", epoch="e2", **said)
        assert (asked["after"], asked["epoch"]) == (1_000_101, "e1")
        asked = await visit.subscribed(epoch="e2")
        assert (asked["after"], asked["epoch"]) == (1_000_101, "e2")
        await visit.event(1_000_102)
        await got.at(1_000_102)
        assert gaps == []
        assert got.seqs == [1_000_101, 1_000_102]


@pytest.mark.parametrize("gaps", ["tell", "raise"])
async def test_a_range_that_is_found_gone_in_the_middle_of_a_replay_is_told_too(gaps: Any) -> None:
    """Damage, or retention that was faster than the reader: the server says so in its own time and sends no more."""
    told: list[Gap] = []
    async with (
        Peer() as peer,
        connect(peer.url, KEY, on_gap=told.append, gaps=gaps) as catalyst,
        Taken(catalyst.signals(after=0)) as got,
    ):
        visit = await peer.visit()
        await visit.subscribed()
        await visit.event(1, 2)
        lost = {"error": "range_untrusted", "message": "event 3 is damaged", "retry": False}
        await visit.say(type="error", channel="other", **lost, void=[9, 9], resume_after=9)
        await visit.say(type="error", channel="main", **lost, void=[3, 3], resume_after=3)
        if gaps == "raise":
            assert str(await got.fails()) == "event 3 is damaged"
            return
        visit = await peer.visit()
        asked = await visit.subscribed()
        assert (asked["after"], asked["epoch"], "hash" in asked) == (3, "e1", False)
        await visit.event(4)
        await got.at(4)
        assert got.seqs == [1, 2, 4]
        assert told == [Gap("main", (3, 3), "range_untrusted", 3)]


async def test_a_subscription_that_the_server_ends_for_now_is_made_again() -> None:
    """A store that does not answer in the middle of a replay."""
    async with Peer() as peer, connect(peer.url, KEY) as catalyst, Taken(catalyst.signals(after=0)) as got:
        visit = await peer.visit()
        await visit.subscribed()
        await visit.event(1)
        await visit.say(type="error", channel="main", error="store_unavailable", message="not now", retry=True)
        visit = await peer.visit()
        assert (await visit.subscribed())["after"] == 1
        await visit.say(type="error", channel="main", error="forbidden", message="not yours any more", retry=False)
        assert isinstance(await got.fails(), Forbidden)


async def test_a_server_that_refuses_every_place_is_not_asked_for_ever() -> None:
    """A jump that is refused again is a fault, and the person is told."""
    async with Peer() as peer, connect(peer.url, KEY) as catalyst, Taken(catalyst.signals(after=5)) as got:
        visit = await peer.visit()
        for _ in range(5):
            await visit.refuse_place("epoch_changed", epoch="e2", void=[1, 9], resume_after=0)
        assert "none of 5 subscriptions" in str(await got.fails())


# -- how connections end ----------------------------------------------------------------------------------------------


async def test_goaway_is_honoured_to_the_moment() -> None:
    """A server that drains spreads its clients, so that the next one is not stormed."""
    async with Peer() as peer, connect(peer.url, KEY) as catalyst, Taken(catalyst.signals(after=0)) as got:
        visit = await peer.visit()
        await visit.subscribed()
        asked_at = time.monotonic()
        await visit.say(type="goaway", reason="deploy", reconnect_in_s=0.25)
        await visit.event(1)
        await got.at(1)  # Until it is time, everything still comes.
        await visit.gone()
        assert time.monotonic() - asked_at >= 0.24
        assert (await (await peer.visit()).subscribed())["after"] == 1


async def test_a_server_that_leaves_before_the_time_it_named_is_not_dialled_before_it() -> None:
    """The process is gone at once, its successor needs a moment."""
    async with Peer() as peer, connect(peer.url, KEY) as catalyst, Taken(catalyst.signals(after=0)):
        visit = await peer.visit()
        await visit.subscribed()
        asked_at = time.monotonic()
        await visit.say(type="goaway", reason="deploy", reconnect_in_s=0.25)
        await visit.close(1012, "restart")
        await peer.visit()
        assert time.monotonic() - asked_at >= 0.24


@pytest.mark.parametrize("code", [1001, 1011, 1012, 4000, 4008, 4499])
async def test_a_close_that_asks_for_it_is_followed_by_a_reconnect(code: int) -> None:
    """docs/protocol.md, close codes."""
    reasons: list[str] = []
    async with (
        Peer() as peer,
        connect(peer.url, KEY, on_reconnect=reasons.append) as catalyst,
        Taken(catalyst.signals(after=7)),
    ):
        visit = await peer.visit()
        await visit.subscribed()
        await visit.close(code, "in words")
        assert (await (await peer.visit()).subscribed())["after"] == 7
        await until(lambda: reasons == ["in words"])


@pytest.mark.parametrize(
    ("code", "kind"),
    [(1002, CatalystError), (1003, CatalystError), (1009, TooLarge), (4503, Forbidden), (4501, Unauthenticated)],
)
async def test_a_close_that_forbids_it_is_raised(code: int, kind: type[CatalystError]) -> None:
    """A revoked key is not tried again for ever."""
    async with Peer() as peer, connect(peer.url, KEY) as catalyst, Taken(catalyst.signals(after=0)) as got:
        visit = await peer.visit()
        await visit.subscribed()
        await visit.close(code, "in words")
        fault = await got.fails()
        assert isinstance(fault, kind)
        assert str(fault) == "in words"
        assert peer.unseen == 0


async def test_a_final_close_is_raised_with_the_error_that_came_before_it() -> None:
    """The error frame says more than a close reason has room for."""
    async with Peer() as peer, connect(peer.url, KEY) as catalyst, Taken(catalyst.signals(after=0)) as got:
        visit = await peer.visit()
        await visit.subscribed()
        await visit.say(type="error", error="forbidden", message="this key was revoked at 09:30", retry=False)
        await visit.close(4503, "revoked")
        fault = await got.fails()
        assert isinstance(fault, Forbidden)
        assert str(fault) == "this key was revoked at 09:30"


async def test_silence_is_a_dead_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """A laptop that slept, a router that forgot: no close frame ever comes."""
    monkeypatch.setattr(link, "SILENCE_GRACE_S", 0.1)
    reasons: list[str] = []
    async with (
        Peer() as peer,
        connect(peer.url, KEY, on_reconnect=reasons.append) as catalyst,
        Taken(catalyst.signals(after=0)) as got,
    ):
        visit = await peer.visit()
        await visit.subscribed(position_s=0.05)
        for through in range(1, 11):  # Positions alone keep it alive, longer than silence would be borne.
            await asyncio.sleep(0.03)
            await visit.position(through)
        assert reasons == []
        visit = await peer.visit()
        assert (await visit.subscribed())["after"] == 10
        await visit.event(11)
        await got.at(11)
        assert reasons == ["nothing was received for 0.2 s"]


async def test_a_slow_handler_pushes_back_and_loses_nothing() -> None:
    """The server keeps a cursor for it; the client keeps a bounded buffer."""
    count = 20_000
    async with Peer() as peer, connect(peer.url, KEY) as catalyst:
        stream = catalyst.signals(after=0)
        first = asyncio.create_task(anext(stream))
        visit = await peer.visit()
        await visit.subscribed()
        sender = asyncio.create_task(visit.event(*range(1, count + 1), rationale="x" * 1000))
        await first
        with pytest.raises(TimeoutError):  # 20 MB do not fit in a thousand frames and what the kernel holds.
            async with asyncio.timeout(1):
                await asyncio.shield(sender)
        seqs = [1]
        async for signal in stream:
            seqs.append(signal.seq)
            if signal.seq == count:
                break
        await sender
        assert seqs == list(range(1, count + 1))


async def test_states_are_told_in_order() -> None:
    """A dashboard's dot: connecting, live, reconnecting, live, closed."""
    states: list[str] = []
    async with Peer() as peer:
        async with connect(peer.url, KEY, on_state=states.append) as catalyst, Taken(catalyst.signals(after=0)):
            for _ in range(2):
                visit = await peer.visit()
                await visit.subscribed()
                await visit.live(0)
                await visit.drop()
                await until(lambda: states[-1] == "reconnecting")
        assert states == ["connecting", "live", "reconnecting", "live", "reconnecting", "closed"]


async def test_the_end_of_the_client_ends_its_streams() -> None:
    """A task that waits for a signal is not left waiting."""
    async with Peer() as peer:
        async with connect(peer.url, KEY) as catalyst:
            waiting = asyncio.create_task(anext(catalyst.signals(after=0)))
            visit = await peer.visit()
            await visit.subscribed()
            await visit.flush()
        with pytest.raises(StopAsyncIteration):
            await waiting
        await visit.gone()


# -- dialling ---------------------------------------------------------------------------------------------------------


async def test_a_refusal_before_the_upgrade_is_the_servers_own_words() -> None:
    """401, 403 and 503 carry the same JSON as everywhere."""
    async with Peer() as peer:
        for status, name, kind in (
            (401, "unauthenticated", Unauthenticated),
            (403, "forbidden", Forbidden),
            (503, "draining", Draining),
        ):
            peer.refuse(status, error=name, message=f"refused with {status}", retry=False)
            with pytest.raises(kind, match=f"refused with {status}"):
                async with connect(peer.url, KEY):
                    pass


async def test_nobody_there_is_unreachable_and_says_what_to_do() -> None:
    """The most common first experience."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(Unreachable, match=f"no Catalyst server answers at {url}.*catalyst serve"):
            async with connect(url, KEY):
                pass


async def test_another_web_server_is_told_from_ours() -> None:
    """A wrong path behind a proxy."""
    async with Peer() as peer:
        with pytest.raises(Unreachable, match="HTTP 404: that is no Catalyst server"):
            async with connect(peer.url + "/elsewhere", KEY):
                pass


async def test_a_newer_protocol_is_refused_with_the_way_out() -> None:
    """Better than to misread it."""
    async with Peer() as peer:
        peer.welcome["protocol"] = 2
        with pytest.raises(Unsupported, match="upgrade"):
            async with connect(peer.url, KEY):
                pass


async def test_a_server_that_goes_down_is_waited_for_and_a_revoked_key_is_not() -> None:
    """503 while it restarts, 401 when the key is gone."""
    async with Peer() as peer, connect(peer.url, KEY) as catalyst, Taken(catalyst.signals(after=0)) as got:
        visit = await peer.visit()
        await visit.subscribed()
        peer.refuse(503, error="draining", message="going down", retry=True)
        await visit.drop()
        await until(lambda: peer.refused >= 3)
        assert not got.task.done()
        peer.refuse(401, error="unauthenticated", message="that key is gone", retry=False)
        assert isinstance(await got.fails(), Unauthenticated)


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://host", "http://", "http://h/?key=cat_x", "http://cat_x@h"])
def test_a_url_that_cannot_be_dialled_is_refused_at_once(url: str) -> None:
    """No key ever stands in a URL."""
    with pytest.raises(InvalidRequest):
        connect(url, KEY)


@pytest.mark.parametrize("key", ["", "cat x", "cat_x\r\nHost: evil", "cät"])
def test_a_key_that_cannot_be_one_is_refused_and_not_shown(key: str) -> None:
    """It would become a header."""
    with pytest.raises(Unauthenticated) as refusal:
        connect("http://127.0.0.1:8000", key)
    assert not key or key not in str(refusal.value)


def test_the_key_is_in_no_repr() -> None:
    """Reprs end up in logs."""
    assert KEY not in repr(vars(connect("http://127.0.0.1:8000", KEY)))


@pytest.mark.parametrize("after", [-1, True, "5", Position("other", "e1", 3)])
def test_a_place_that_cannot_be_one_is_refused_at_once(after: Any) -> None:
    """A position of another channel would resume somewhere else, silently."""
    with pytest.raises(InvalidRequest, match="`after` is a seq from 0, or a Position in channel `main`"):
        connect("http://127.0.0.1:8000", KEY).signals(after=after)


# -- age --------------------------------------------------------------------------------------------------------------

PAST, FUTURE = "2020-01-01T00:00:00Z", "2099-01-01T00:00:00Z"


@pytest.mark.parametrize(("skip_expired", "seqs"), [(True, [1, 3, 4]), (False, [1, 2, 3, 4])])
async def test_an_expired_signal_is_not_handed_out_as_if_it_were_fresh(skip_expired: bool, seqs: list[int]) -> None:
    """A signal that waited in a slow network. Endings always come: whoever was shown it is told."""
    stale: list[Signal] = []
    async with (
        Peer() as peer,
        connect(peer.url, KEY, on_stale=stale.append) as catalyst,
        Taken(catalyst.signals(after=0, skip_expired=skip_expired)) as got,
    ):
        visit = await peer.visit()
        await visit.subscribed()
        await visit.event(1, expires_at=FUTURE)
        await visit.event(2, expires_at=PAST)
        await visit.event(3, kind="expired", expires_at=PAST)
        await visit.event(4)
        await visit.position(4)
        await got.at(4)
        assert got.seqs == seqs
        assert [signal.seq for signal in stale] == [2]
        assert (catalyst.stats.received, catalyst.stats.stale, catalyst.stats.gaps) == (4, 1, 0)


# -- changing the filter ----------------------------------------------------------------------------------------------


async def test_a_filter_changes_from_the_handler_without_loss_or_repeat() -> None:
    """What was under way comes out first, by the filter before; nobody else reads while the handler waits."""
    async with Peer() as peer, connect(peer.url, KEY) as catalyst:
        stream = catalyst.signals("symbol = ACME", after=0)
        first = asyncio.create_task(anext(stream))
        visit = await peer.visit()
        await visit.subscribed()
        await visit.event(1)
        await first
        changing = asyncio.create_task(stream.change("symbol = XYZ"))
        asked = await visit.hear("subscribe")
        assert asked["filter"] == "id = s1 or symbol = XYZ"  # Whoever was shown s1 is told its end.
        assert stream.filter == "symbol = XYZ"
        assert "after" not in asked
        await visit.event(2)  # Written before the server read the change.
        await visit.say(type="subscribed", ref=asked["ref"], channel="main", epoch="e1", after=4, head=4)
        await changing
        await visit.event(5)
        await visit.position(5, sent=1)
        await visit.event(6)
        assert [(await anext(stream)).seq for _ in range(3)] == [2, 5, 6]
        assert catalyst.stats.gaps == 0


async def test_a_filter_changes_while_the_consumer_waits_and_a_drop_takes_the_new_one_along() -> None:
    """The change comes from a user interface, in another task."""
    async with Peer() as peer, connect(peer.url, KEY) as catalyst:
        stream = catalyst.signals("a = 1", after=0)
        async with Taken(stream) as got:
            visit = await peer.visit()
            await visit.subscribed()
            await visit.event(1)
            await got.at(1)
            changing = asyncio.create_task(stream.change("b = 2"))
            await visit.hear("subscribe")
            await visit.drop()  # Before it was answered.
            visit = await peer.visit()
            asked = await visit.subscribed()
            assert (asked["after"], asked["filter"]) == (1, "b = 2")
            await changing
            await visit.event(2)
            await got.at(2)


async def test_what_was_read_ahead_of_a_handler_comes_once_though_the_connection_drops() -> None:
    """A change called from the handler reads on; a drop then makes the server send that again."""
    async with Peer() as peer, connect(peer.url, KEY) as catalyst:
        stream = catalyst.signals("a = 1", after=0)
        first = asyncio.create_task(anext(stream))
        visit = await peer.visit()
        await visit.subscribed()
        await visit.event(1)
        await first
        changing = asyncio.create_task(stream.change("b = 2"))
        await visit.hear("subscribe")
        await visit.event(2)
        await visit.drop()
        visit = await peer.visit()
        assert (await visit.subscribed())["after"] == 0  # The handler is not done with 1.
        await changing
        await visit.event(1, 2)
        await visit.position(2)
        await visit.event(3)
        assert [(await anext(stream)).seq, (await anext(stream)).seq] == [2, 3]
        assert catalyst.stats.gaps == 0


async def test_a_filter_that_changes_while_the_stream_subscribes_is_in_force_afterwards() -> None:
    """A reconnect and a click in the same moment."""
    async with Peer() as peer, connect(peer.url, KEY) as catalyst:
        stream = catalyst.signals("a = 1", after=0)
        async with Taken(stream) as got:
            visit = await peer.visit()
            asked = await visit.hear("subscribe")
            changing = asyncio.create_task(stream.change("b = 2"))
            await until(lambda: stream.filter == "b = 2")
            await visit.say(type="subscribed", ref=asked["ref"], channel="main", epoch="e1", after=0, head=0)
            assert (await visit.subscribed())["filter"] == "b = 2"
            await changing
            await visit.event(1)
            await got.at(1)


async def test_a_refused_filter_leaves_the_one_before_in_force() -> None:
    """A typing mistake in a running system."""
    async with Peer() as peer, connect(peer.url, KEY) as catalyst:
        stream = catalyst.signals("a = 1", after=0)
        async with Taken(stream) as got:
            visit = await peer.visit()
            await visit.subscribed()
            await visit.event(1)
            await got.at(1)
            changing = asyncio.create_task(stream.change("a ="))
            asked = await visit.hear("subscribe")
            await visit.refuse(asked, "filter_invalid", message="a value is missing")
            with pytest.raises(InvalidFilter, match="a value is missing"):
                await changing
            await visit.drop()
            visit = await peer.visit()
            assert (await visit.subscribed())["filter"] == "a = 1"
            await visit.event(2)
            await got.at(2)


async def test_a_filter_that_is_refused_at_first_is_raised_from_the_iterator() -> None:
    """The error is the server's, with what is allowed."""
    async with Peer() as peer, connect(peer.url, KEY) as catalyst, Taken(catalyst.signals("nonsense")) as got:
        visit = await peer.visit()
        asked = await visit.hear("subscribe")
        await visit.refuse(asked, "filter_invalid", message="no such field", field="nonsense", allowed=["symbol"])
        fault = await got.fails()
        assert isinstance(fault, InvalidFilter)
        assert (fault.field, fault.allowed) == ("nonsense", ["symbol"])


# -- history ----------------------------------------------------------------------------------------------------------


async def _past(catalyst: Catalyst, limit: int | None) -> list[int]:
    return [signal.seq async for signal in catalyst.history("symbol = ACME", limit=limit)]


@pytest.mark.parametrize(("limit", "seqs"), [(None, [1, 2, 3]), (2, [1, 2]), (0, [])])
async def test_history_ends_at_the_head_or_at_the_limit(limit: int | None, seqs: list[int]) -> None:
    """A notebook that wants a list; a drop in the middle is no end."""
    async with Peer() as peer, connect(peer.url, KEY) as catalyst:
        past = asyncio.create_task(_past(catalyst, limit))
        if limit != 0:
            visit = await peer.visit()
            assert (await visit.subscribed())["after"] == 0
            await visit.event(1, expires_at=PAST)  # Of the past nobody asks whether it is fresh.
            await visit.drop()
            visit = await peer.visit()
            assert (await visit.subscribed())["after"] == 1
            await visit.event(2, 3)
            await visit.live(3)
            await visit.gone()
        assert await past == seqs
        assert catalyst.position() is None  # History is nobody's place.
