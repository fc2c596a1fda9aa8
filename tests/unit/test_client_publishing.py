"""What a publisher may rely on: an answer for each draft, each draft in the log once, whatever breaks in between.

Covers `catalyst_signals.client.publishing` through the public face.
"""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest

from catalyst_signals.client import Catalyst, Receipt, connect, line
from catalyst_signals.errors import (
    CatalystError,
    Forbidden,
    IdConflict,
    InvalidDraft,
    InvalidName,
    Overloaded,
    TooLarge,
    Unavailable,
)
from tests.unit.scripted_peer import KEY, Peer, Visit, until


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line, "BACKOFF_S", (0.002, 0.01))


def draft(**more: Any) -> dict[str, Any]:
    return {"symbol": "ACME", "action": "BUY", "confidence": 0.82} | more


def drafts(count: int) -> list[dict[str, Any]]:
    return [draft(id=f"d{number}") for number in range(count)]


async def heard(visit: Visit, count: int) -> list[dict[str, Any]]:
    return [await visit.hear("publish") for _ in range(count)]


def ids(asked: list[dict[str, Any]]) -> list[str]:
    return [one["signal"]["id"] for one in asked]


async def test_a_published_draft_is_answered_with_its_receipt() -> None:
    """The first lines of the tutorial."""
    async with Peer() as peer, connect(peer.url, KEY) as catalyst:
        publishing = asyncio.create_task(catalyst.publish(draft(id="mine")))
        visit = await peer.visit()
        (asked,) = await heard(visit, 1)
        assert (asked["channel"], asked["signal"]) == ("main", draft(id="mine"))
        await visit.accept(asked, 41)
        assert await publishing == Receipt(
            channel="main", epoch="e1", seq=41, id="mine", version=1, ts="2026-11-26T09:30:00.000123Z", duplicate=False,
            durability="disk", id_by="publisher",
        )  # fmt: skip


async def test_a_draft_without_an_id_is_given_one_and_the_callers_own_is_left_alone() -> None:
    """Only a draft with an id is safe to send twice."""
    async with Peer() as peer, connect(peer.url, KEY, channel="ideas") as catalyst:
        mine = draft()
        publishing = asyncio.create_task(catalyst.publish(mine))
        visit = await peer.visit()
        (asked,) = await heard(visit, 1)
        assert asked["channel"] == "ideas"
        assert len(asked["signal"]["id"]) == 32
        await visit.accept(asked, 1)
        receipt = await publishing
        assert (receipt.id, receipt.id_by) == (asked["signal"]["id"], "client")
        assert mine == draft()


async def test_in_flight_publishes_survive_a_reconnect_exactly_once() -> None:
    """The server may have stored what it could not answer any more: the same ids go again, and it says duplicate."""
    async with Peer() as peer, connect(peer.url, KEY) as catalyst:
        publishing = asyncio.create_task(catalyst.publish_many([draft()] * 5))
        visit = await peer.visit()
        asked = await heard(visit, 5)
        await visit.accept(asked[0], 1)
        await visit.accept(asked[2], 3)
        await visit.drop()
        visit = await peer.visit()
        again = await heard(visit, 3)
        assert ids(again) == [ids(asked)[at] for at in (1, 3, 4)]
        assert not {one["ref"] for one in again} & {asked[0]["ref"], asked[2]["ref"]}
        for one, seq in zip(again, (2, 4, 5), strict=True):
            await visit.accept(one, seq, duplicate=seq == 2)
        receipts = [answer for answer in await publishing if isinstance(answer, Receipt)]
        assert [receipt.seq for receipt in receipts] == [1, 2, 3, 4, 5]
        assert [receipt.id for receipt in receipts] == ids(asked)
        assert [receipt.seq for receipt in receipts if receipt.duplicate] == [2]
        assert catalyst.stats.reconnects == 1


async def test_no_more_is_in_flight_than_the_server_allows() -> None:
    """Beyond it the server would stop reading, and answers would wait behind drafts."""
    async with Peer() as peer:
        peer.welcome["publishes_in_flight"] = 3
        async with connect(peer.url, KEY) as catalyst:
            publishing = asyncio.create_task(catalyst.publish_many(drafts(7)))
            visit = await peer.visit()
            flying = await heard(visit, 3)
            for seq in range(1, 8):
                await visit.flush()
                assert not visit.waiting
                await visit.accept(flying.pop(0), seq)
                if seq <= 4:
                    flying += await heard(visit, 1)
            assert [answer.seq for answer in await publishing if isinstance(answer, Receipt)] == list(range(1, 8))


async def test_one_refused_draft_stands_in_its_place_and_hides_no_receipt() -> None:
    """A file of a thousand drafts with one mistake."""
    async with Peer() as peer, connect(peer.url, KEY) as catalyst:
        publishing = asyncio.create_task(catalyst.publish_many(drafts(3)))
        visit = await peer.visit()
        asked = await heard(visit, 3)
        await visit.accept(asked[2], 2)  # In any order: answers are matched by `ref`.
        await visit.refuse(asked[1], "id_conflict", field="id", got="d1")
        await visit.accept(asked[0], 1)
        first, second, third = await publishing
        assert isinstance(first, Receipt)
        assert isinstance(second, IdConflict)
        assert isinstance(third, Receipt)
        assert (first.seq, second.got, third.seq) == (1, "d1", 2)


async def test_a_refusal_of_one_publish_is_raised() -> None:
    """With the server's own words."""
    async with Peer() as peer, connect(peer.url, KEY) as catalyst:
        publishing = asyncio.create_task(catalyst.publish(draft()))
        visit = await peer.visit()
        (asked,) = await heard(visit, 1)
        await visit.refuse(asked, "draft_invalid", field="confidence", got=7)
        with pytest.raises(InvalidDraft, match="no: draft_invalid"):
            await publishing


async def test_a_refusal_that_may_pass_is_tried_again_in_order() -> None:
    """A queue that was full for a moment is no business of a publisher."""
    async with Peer() as peer, connect(peer.url, KEY) as catalyst:
        publishing = asyncio.create_task(catalyst.publish_many(drafts(4)))
        visit = await peer.visit()
        asked = await heard(visit, 4)
        await visit.accept(asked[0], 1)
        for one in asked[1:]:
            await visit.refuse(one, "overloaded", retry=True, retry_after_s=0.02)
        again = await heard(visit, 3)
        assert ids(again) == ["d1", "d2", "d3"]
        for seq, one in enumerate(again, 2):
            await visit.accept(one, seq)
        assert [answer.seq for answer in await publishing if isinstance(answer, Receipt)] == [1, 2, 3, 4]


async def test_without_an_answer_the_publisher_is_told_what_to_do_and_with_which_id() -> None:
    """Nobody waits for ever, and nobody is told it failed when that is not known."""
    async with Peer() as peer, connect(peer.url, KEY, publish_timeout_s=0.1) as catalyst:
        publishing = asyncio.create_task(catalyst.publish_many(drafts(3)))
        visit = await peer.visit()
        asked = await heard(visit, 3)
        await visit.accept(asked[0], 1)
        await visit.refuse(asked[1], "overloaded", retry=True, retry_after_s=10)
        first, second, third = await publishing
        assert isinstance(first, Receipt)
        assert isinstance(second, Unavailable)
        assert isinstance(third, Unavailable)
        assert "it is not known whether it was stored" in str(second)
        assert (second.extra["id"], third.extra["id"]) == ("d1", "d2")
        assert isinstance(second.__cause__, Overloaded)


async def test_a_publisher_that_gave_up_is_not_sent_again() -> None:
    """A cancelled task must not publish minutes later."""
    async with Peer() as peer, connect(peer.url, KEY) as catalyst:
        given_up = asyncio.create_task(catalyst.publish(draft(id="given-up")))
        visit = await peer.visit()
        await heard(visit, 1)
        given_up.cancel()
        with pytest.raises(asyncio.CancelledError):
            await given_up
        await visit.drop()
        publishing = asyncio.create_task(catalyst.publish(draft(id="next")))
        visit = await peer.visit()
        asked = await heard(visit, 1)
        assert ids(asked) == ["next"]
        await visit.accept(asked[0], 1)
        await publishing


async def test_tasks_that_publish_at_once_share_one_connection_and_wait_for_no_other() -> None:
    """A bot with a task for each symbol."""
    async with Peer() as peer, connect(peer.url, KEY) as catalyst:
        tasks = {one["id"]: asyncio.create_task(catalyst.publish(one)) for one in drafts(20)}
        visit = await peer.visit()
        asked = await heard(visit, 20)
        await visit.accept(asked[19], 1)
        assert (await tasks[asked[19]["signal"]["id"]]).seq == 1  # Though nineteen are not answered.
        for seq, one in enumerate(asked[:19], 2):
            await visit.accept(one, seq)
        receipts = await asyncio.gather(*tasks.values())
        assert sorted(receipt.seq for receipt in receipts) == list(range(1, 21))
        assert peer.unseen == 0


async def test_a_handler_may_publish() -> None:
    """A bot that answers signals with signals: the two do not share a connection, so neither waits for the other."""
    async with Peer() as peer, connect(peer.url, KEY) as catalyst:
        handling = asyncio.create_task(_answer_one(catalyst))
        listener = await peer.visit()
        await listener.subscribed()
        await listener.event(1)
        visit = await peer.visit()
        (asked,) = await heard(visit, 1)
        await visit.accept(asked, 2)
        assert (await handling).seq == 2


async def _answer_one(catalyst: Catalyst) -> Receipt:
    signal = await anext(catalyst.signals(after=0))
    return await catalyst.publish(draft(symbol=signal.symbol))


async def test_a_revoked_key_is_told_to_every_publisher() -> None:
    """Not tried again, and nobody left waiting."""
    async with Peer() as peer, connect(peer.url, KEY) as catalyst:
        publishing = asyncio.create_task(catalyst.publish_many(drafts(2)))
        visit = await peer.visit()
        await heard(visit, 2)
        await visit.close(4503, "this key was revoked")
        answers = await publishing
        assert [type(answer) for answer in answers] == [Forbidden, Forbidden]
        peer.refuse(403, error="forbidden", message="this key was revoked", retry=False)
        with pytest.raises(Forbidden):
            await catalyst.publish(draft())


async def test_a_draft_that_is_too_large_is_refused_here_and_ends_no_connection() -> None:
    """Sent, it would close the socket under everybody's publishes."""
    async with Peer() as peer:
        peer.welcome["message_bytes"] = 500
        async with connect(peer.url, KEY) as catalyst:
            many = [draft(id="a"), draft(id="b", rationale="x" * 500), draft(id="c")]
            publishing = asyncio.create_task(catalyst.publish_many(many))
            visit = await peer.visit()
            for seq, one in enumerate(await heard(visit, 2), 1):
                await visit.accept(one, seq)
            first, second, third = await publishing
            assert isinstance(first, Receipt)
            assert isinstance(second, TooLarge)
            assert isinstance(third, Receipt)


@pytest.mark.parametrize("value", [math.nan, -math.inf, {"deep": [math.nan]}, object()])
async def test_what_json_cannot_say_is_refused_before_anything_is_sent(value: object) -> None:
    """A NaN from a data frame would arrive as null."""
    async with Peer() as peer, connect(peer.url, KEY) as catalyst:
        with pytest.raises(InvalidDraft):
            await catalyst.publish_many([draft(), draft(features=value)])
        visit = await peer.visit()
        publishing = asyncio.create_task(catalyst.publish(draft(id="fine", note=None)))
        asked = await heard(visit, 1)
        assert ids(asked) == ["fine"]
        await visit.accept(asked[0], 1)
        await publishing


async def test_a_channel_that_cannot_be_one_is_refused_at_once() -> None:
    """Before it becomes a question to the server."""
    async with Peer() as peer, connect(peer.url, KEY) as catalyst:
        with pytest.raises(InvalidName):
            await catalyst.publish(draft(), channel="Main!")


async def test_the_end_of_the_client_answers_who_still_waits() -> None:
    """A task of another part of the program."""
    async with Peer() as peer:
        async with connect(peer.url, KEY) as catalyst:
            publishing = asyncio.create_task(catalyst.publish(draft()))
            visit = await peer.visit()
            await heard(visit, 1)
        with pytest.raises(CatalystError):
            await publishing
        await until(publishing.done)
