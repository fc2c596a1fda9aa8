"""What is asked for beside the place, what is held back, and what one is told after having been away.

Covers `catalyst_signals.client.shown`, `catalyst_signals.client.absence` and what `connect` asks for.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from catalyst_signals.client import CaughtUp, Position, Signal, connect, line
from catalyst_signals.client.shown import SHOWN_MAX, Shown
from catalyst_signals.errors import InvalidRequest, Unsupported
from catalyst_signals.filters import parse
from tests.unit.scripted_peer import KEY, TS, Peer, Taken, until

PAST = "2020-01-01T00:00:00Z"
MODIFIERS = {"stale", "max_age_s", "mode", "ended"}


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line, "BACKOFF_S", (0.002, 0.01))


# -- modifiers --------------------------------------------------------------------------------------------------------

ASKED: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("signals", {}, {}),
    ("signals", {"skip_expired": False}, {"stale": "send"}),
    ("signals", {"max_age_s": 60, "ended": "hold"}, {"max_age_s": 60, "ended": "hold"}),
    ("signals", {"mode": "all", "ended": "send"}, {}),
    ("events", {}, {"stale": "send"}),
    ("events", {"mode": "latest"}, {"stale": "send", "mode": "latest"}),
    ("history", {}, {"stale": "send"}),
]  # fmt: skip


@pytest.mark.parametrize(("method", "arguments", "modifiers"), ASKED)
async def test_only_modifiers_that_are_not_the_default_are_asked_for(
    method: str, arguments: dict[str, Any], modifiers: dict[str, Any]
) -> None:
    """A server that does not know them yet goes on working; a drop takes them along."""
    async with Peer() as peer, connect(peer.url, KEY) as catalyst:
        async with Taken(getattr(catalyst, method)(after=0, **arguments)):
            for _ in range(2):
                visit = await peer.visit()
                asked = await visit.subscribed()
                assert {name: asked[name] for name in MODIFIERS & set(asked)} == modifiers
                await visit.drop()


@pytest.mark.parametrize(("name", "value"), [("mode", "newest"), ("ended", "keep"), ("max_age_s", 0)])
def test_a_modifier_that_cannot_be_is_refused_at_once(name: str, value: Any) -> None:
    """Before anything is dialled, and by its name."""
    with pytest.raises(InvalidRequest) as refusal:
        connect("http://127.0.0.1:8000", KEY).signals(**{name: value})
    assert refusal.value.field == name


async def test_a_server_without_stale_is_asked_without_it() -> None:
    """It sends everything anyway, which is what was asked for."""
    async with Peer() as peer, connect(peer.url, KEY) as catalyst, Taken(catalyst.events(after=0)) as got:
        visit = await peer.visit()
        await visit.refuse(await visit.hear("subscribe"), "unsupported", field="stale")
        assert "stale" not in await visit.subscribed()
        visit.sent = 1
        await visit.say(type="halt.placed", channel="main", seq=1, id="h", version=1, ts=TS, data={})
        await until(lambda: got.items)


async def test_a_modifier_that_would_be_missed_is_not_left_out() -> None:
    """Who asks for nothing older than a minute must not be sent everything."""
    async with Peer() as peer, connect(peer.url, KEY) as catalyst, Taken(catalyst.signals(max_age_s=60)) as got:
        visit = await peer.visit()
        await visit.refuse(await visit.hear("subscribe"), "unsupported", field="max_age_s")
        assert isinstance(await got.fails(), Unsupported)


async def test_what_is_held_back_is_added_up_over_positions_and_connections() -> None:
    """`matched = sent + held`, also for who was away in between."""
    async with Peer() as peer, connect(peer.url, KEY) as catalyst, Taken(catalyst.signals(after=0)) as got:
        visit = await peer.visit()
        await visit.subscribed()
        await visit.event(1)
        await visit.position(4, expired=2)
        await visit.position(6, expired=3, aged=1)
        await visit.position(6, expired=3, aged=1)
        await visit.drop()
        visit = await peer.visit()
        await visit.subscribed()
        await visit.position(8, expired=1)
        await visit.say(type="subscribed", channel="main", epoch="e1", after=8, head=8, filter="")
        await visit.position(9, expired=1, whimsical=5)  # A reason that is newer than this client.
        await visit.event(10)
        await got.at(10)
        assert got.stream.held == catalyst.stats.held == {"expired": 5, "aged": 1, "whimsical": 5}


async def test_held_is_not_believed_from_a_position_that_counts_otherwise() -> None:
    """That stretch is read again, and counted then."""
    async with Peer() as peer, connect(peer.url, KEY) as catalyst, Taken(catalyst.signals(after=0)) as got:
        visit = await peer.visit()
        await visit.subscribed()
        await visit.position(5, sent=1, expired=4)
        visit = await peer.visit()
        assert (await visit.subscribed())["after"] == 0
        await visit.event(3)
        await visit.position(5, expired=4)
        await visit.event(6)
        await got.at(6)
        assert got.stream.held == {"expired": 4}


# -- a changed filter -------------------------------------------------------------------------------------------------


async def test_who_was_shown_a_signal_is_told_its_end_though_the_filter_changed() -> None:
    """The new filter alone decides at the server; so the client names what it still holds, also after a drop."""
    async with Peer() as peer, connect(peer.url, KEY) as catalyst:
        stream = catalyst.signals("symbol = ACME", after=0)
        async with Taken(stream) as got:
            visit = await peer.visit()
            assert (await visit.subscribed())["filter"] == "symbol = ACME"
            await visit.event(1, 2)
            await visit.event(3, confidence=0.95)  # Matches the new filter as well.
            await visit.event(4, kind="cancelled", id="s2", version=2)
            await got.at(4)
            changing = asyncio.create_task(stream.change("confidence >= 0.9"))
            asked = await visit.subscribed(after=4)
            await changing
            assert parse(asked["filter"]) == parse("confidence >= 0.9 or id = s1")
            assert stream.filter == "confidence >= 0.9"
            await visit.drop()
            visit = await peer.visit()
            assert parse((await visit.subscribed())["filter"]) == parse("confidence >= 0.9 or id = s1")
            await visit.event(5, kind="expired", id="s1", version=2)
            await got.at(5)
            await visit.drop()
            assert (await (await peer.visit()).subscribed())["filter"] == "confidence >= 0.9"  # As it was written.


async def test_everything_instead_of_a_filter_needs_no_ids() -> None:
    """`change(None)`."""
    async with Peer() as peer, connect(peer.url, KEY) as catalyst:
        stream = catalyst.signals("symbol = ACME", after=0)
        async with Taken(stream) as got:
            visit = await peer.visit()
            await visit.subscribed()
            await visit.event(1)
            await got.at(1)
            changing = asyncio.create_task(stream.change(None))
            assert "filter" not in await visit.subscribed(after=1)
            await changing


def _event(number: int, **data: Any) -> dict[str, Any]:
    body = {"instrument": {"symbol": "ACME"}, "action": "watch"} | data
    return {"type": "signal.published", "id": f"s{number}", "seq": number, "version": 1, "ts": TS, "data": body}


def test_the_newest_of_what_was_shown_are_remembered() -> None:
    """Memory and filters have limits; the newest are those somebody still looks at."""
    shown = Shown()
    for number in range(SHOWN_MAX + 5):
        shown.note(_event(number))
    shown.note(_event(6) | {"type": "signal.updated", "version": 2})
    asked = parse(shown.with_shown({"field": "symbol", "op": "eq", "value": "XYZ"}))
    assert not asked.matches(_event(4))
    assert all(asked.matches(_event(number)) for number in range(5, SHOWN_MAX + 5))


def test_ids_that_do_not_fit_beside_the_filter_are_left_out_oldest_first() -> None:
    """A large filter goes on working; what the user wrote is never what is cut."""
    shown = Shown()
    for number in range(100):
        shown.note(_event(number) | {"id": f"{number:0>100}"})
    wide = "symbol in (" + ", ".join(f"S{n:05}" for n in range(500)) + ")"
    asked = parse(shown.with_shown(wide))
    assert asked.matches(_event(1, instrument={"symbol": "S00042"}))
    assert asked.matches(_event(99) | {"id": f"{99:0>100}"})
    assert not asked.matches(_event(0) | {"id": f"{0:0>100}"})
    full = " or ".join(f"features.f{n} > {n}" for n in range(64))
    assert shown.with_shown(full) == full


def test_a_filter_that_cannot_be_read_here_goes_as_it_was_written() -> None:
    """A mistake is refused where the user made it; a saved filter's name is the server's to know."""
    shown = Shown()
    shown.note(_event(1))
    for filter in ("momentum", "a =", {"field": "mood", "op": "eq", "value": "good"}):
        assert shown.with_shown(filter) == filter


# -- what was caught up -----------------------------------------------------------------------------------------------


async def test_who_was_away_is_told_what_was_caught_up_once_it_is_live() -> None:
    """A laptop that is opened in the morning."""
    news: list[CaughtUp] = []
    async with (
        Peer() as peer,
        connect(peer.url, KEY, on_caught_up=news.append) as catalyst,
        Taken(catalyst.signals(after=0)) as got,
    ):
        visit = await peer.visit()
        await visit.subscribed(head=2)
        await visit.event(1)
        await visit.position(2, expired=1)
        await visit.live(2)
        await until(lambda: news)
        first = news.pop()
        assert (first.since, first.at, first.received, first.held) == (Position("main", "", 0), 2, 1, {"expired": 1})
        assert first.away_s is None  # Nobody knows when that was.
        await visit.drop()
        visit = await peer.visit()
        await visit.subscribed(head=9)
        await visit.event(3, 4)
        await visit.drop()  # Not there yet.
        visit = await peer.visit()
        await visit.subscribed(head=10)
        await visit.event(4, 8)  # 4 is a repetition.
        await visit.position(10, expired=2, replaced=1)
        await visit.live(10)
        await until(lambda: news)
        (second,) = news
        assert second.since == Position("main", "e1", 2)
        assert (second.at, second.received, second.held) == (10, 3, {"expired": 2, "replaced": 1})
        assert second.away_s is not None and 0 <= second.away_s < 5
        assert got.seqs == [1, 3, 4, 8]


async def test_who_missed_nothing_is_told_nothing() -> None:
    """A drop while nothing happens is no news; `on_reconnect` tells of it."""
    news: list[CaughtUp] = []
    async with (
        Peer() as peer,
        connect(peer.url, KEY, on_caught_up=news.append) as catalyst,
        Taken(catalyst.signals()) as got,
    ):
        for _ in range(2):
            visit = await peer.visit()
            await visit.subscribed(after=5, head=5)
            await visit.live(5)
            await visit.drop()
        visit = await peer.visit()
        await visit.subscribed(after=5, head=5)
        await visit.live(5)
        await visit.event(6)
        await got.at(6)
        assert news == []


# -- current state ----------------------------------------------------------------------------------------------------


async def test_latest_is_the_newest_of_each_symbol_that_has_not_ended() -> None:
    """A table of what is in force; when the newest is cancelled, the one before it is in force again."""
    async with Peer() as peer, connect(peer.url, KEY) as catalyst:
        asking = asyncio.create_task(catalyst.latest("confidence > 0"))
        visit = await peer.visit()
        asked = await visit.subscribed(head=9)
        assert {name: asked[name] for name in MODIFIERS & set(asked)} == {"ended": "hold"}
        assert asked["after"] == 0
        await visit.event(1, id="older")
        await visit.event(2, id="newer")
        await visit.event(3, kind="cancelled", id="newer", version=2)
        await visit.event(4, id="xyz", instrument={"symbol": "XYZ"})
        await visit.event(5, kind="updated", id="xyz", version=2, instrument={"symbol": "XYZ"}, confidence=0.3)
        await visit.event(6, id="late", instrument={"symbol": "LATE"}, expires_at=PAST)
        await visit.event(7, id="over", instrument={"symbol": "OVER"})
        await visit.event(8, kind="expired", id="over", version=2, instrument={"symbol": "OVER"})
        await visit.live(9)
        latest = await asking
        assert {symbol: signal.key for symbol, signal in latest.items()} == {"ACME": "older", "XYZ": "xyz~2"}
        assert catalyst.position() is None


def test_a_key_names_a_version_of_a_signal() -> None:
    """A handler that keeps it does nothing twice."""
    keys = [Signal.from_event(_event(1) | {"channel": "main", "version": version}).key for version in (1, 2)]
    assert keys == ["s1", "s1~2"]
