"""A place in a file: what survives the death of the process, and what is refused rather than guessed.

Covers `catalyst_signals.client.state`; the kills are in tests/server/test_client.py.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from catalyst_signals.client import CaughtUp, Position, connect, line
from catalyst_signals.client.state import StateFile
from catalyst_signals.errors import InvalidRequest, Misconfigured
from tests.unit.scripted_peer import KEY, Peer, Taken, hash_at, until


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line, "BACKOFF_S", (0.002, 0.01))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "me"


def _kept(path: Path, channel: str = "main", name: str = "main") -> dict[str, Any]:
    place: dict[str, Any] = json.loads(path.read_text())["places"][channel][name]
    del place["at"]
    return place


def _read(path: Path) -> str:
    return path.read_bytes().decode("latin-1")


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(text.encode("latin-1"))


async def test_a_program_goes_on_after_the_one_whose_next_was_asked_for(path: Path) -> None:
    """Asking for the next item says that the one before was handled; what was in hand comes again."""
    async with Peer() as peer:
        async with connect(peer.url, KEY, state=path) as catalyst:
            stream = catalyst.signals()
            first = asyncio.create_task(anext(stream))
            visit = await peer.visit()
            assert "after" not in await visit.subscribed(after=40)
            await until(path.exists)  # Now is a place too: who is killed before the first signal misses none.
            assert _kept(path) == {"epoch": "e1", "seq": 40, "hash": ""}
            await visit.event(41, 42)
            await first
            assert _kept(path)["seq"] == 40
            await anext(stream)
            assert _kept(path) == {"epoch": "e1", "seq": 41, "hash": hash_at(41)}
        async with connect(peer.url, KEY, state=path) as catalyst, Taken(catalyst.signals()) as got:
            visit = await peer.visit()
            asked = await visit.subscribed()
            assert (asked["after"], asked["epoch"], asked["hash"]) == (41, "e1", hash_at(41))
            await visit.event(42)
            await visit.position(50, hash="aaaaaaaa")
            await got.at(42)
            await until(lambda: _kept(path) == {"epoch": "e1", "seq": 50, "hash": "aaaaaaaa"})


async def test_streams_have_places_by_channel_and_name(path: Path) -> None:
    """Two bots in one program, and the same channel twice."""
    async with Peer() as peer, connect(peer.url, KEY, state=path) as catalyst:
        wanted = [("main", "main", 1), ("main", "late", 2), ("alpha", "main", 3)]
        for channel, name, after in wanted:
            stream = catalyst.signals(channel=channel, name=name, after=after)
            opening = asyncio.create_task(stream.__aenter__())
            assert (await (await peer.visit()).subscribed())["after"] == after
            await opening
        assert [_kept(path, channel, name)["seq"] for channel, name, _ in wanted] == [1, 2, 3]


async def test_an_after_that_is_given_wins_and_is_kept(path: Path) -> None:
    """To read it all once more, and go on from there the next time."""
    async with Peer() as peer, connect(peer.url, KEY, state=path) as catalyst:
        for after, expected in ((30, 30), (None, 30), (10, 10), (None, 10)):
            stream = catalyst.signals(after=after)
            opening = asyncio.create_task(stream.__aenter__())
            assert (await (await peer.visit()).subscribed())["after"] == expected
            await opening
            await stream.aclose()


async def test_two_live_streams_do_not_share_a_place(path: Path) -> None:
    """One would move the place over what the other has not seen."""
    async with Peer() as peer, connect(peer.url, KEY, state=path) as catalyst:
        first = catalyst.signals()
        with pytest.raises(
            InvalidRequest, match=r"a stream named `main` of channel `main` is live already.*another `name`"
        ):
            catalyst.events()
        catalyst.history()  # The past has no place.
        await first.aclose()
        catalyst.events()


async def test_a_second_client_is_refused_and_the_first_one_lets_go_at_its_end(path: Path) -> None:
    """Two programs with one file would each move the other's place."""
    async with Peer() as peer:
        async with connect(peer.url, KEY, state=path):
            with pytest.raises(Misconfigured, match=f"another client keeps its positions in {path}; end it first"):
                async with connect(peer.url, KEY, state=path):
                    pass
        async with connect(peer.url, KEY, state=path):
            pass
        peer.refuse(503, error="draining", message="going down", retry=True)
        for _ in range(2):  # A dial that failed lets go as well.
            with pytest.raises(Exception, match="going down"):
                async with connect(peer.url, KEY, state=path):
                    pass


@pytest.mark.parametrize(
    "text", ["", "{", '{"version":1,"places":{"main":{"main":{"seq":5}}}}', '{"version":2,"places":{}}', "[]", "\xff"]
)
async def test_a_file_that_cannot_be_read_is_never_taken_for_an_empty_one(path: Path, text: str) -> None:
    """From now on would be a loss nobody is told of."""
    _write(path, text)
    for _ in range(2):
        with pytest.raises(
            Misconfigured, match=f"(?s){path} does not hold the positions.*say with `after` where to go on"
        ):
            async with connect("http://127.0.0.1:1", KEY, state=path):
                pass
    assert _read(path) == text


def test_a_folder_in_the_way_is_said_in_words(path: Path) -> None:
    """And not as a traceback of ours."""
    path.mkdir(parents=True)
    with pytest.raises(Misconfigured, match=f"the positions in {path} cannot be read"):
        StateFile(path).open()


async def test_a_place_that_cannot_be_kept_stops_the_stream(path: Path) -> None:
    """A full disk: going on would hand out what comes again after a restart. Iterate again when there is room."""
    async with Peer() as peer, connect(peer.url, KEY, state=path) as catalyst:
        stream = catalyst.signals(after=0)
        first = asyncio.create_task(anext(stream))
        visit = await peer.visit()
        await visit.subscribed()
        await visit.event(1, 2)
        await first
        path.with_name("me.new").mkdir()  # Cannot be written.
        with pytest.raises(Misconfigured, match="the position cannot be kept"):
            await anext(stream)
        path.with_name("me.new").rmdir()
        assert (await anext(stream)).seq == 2
        assert _kept(path)["seq"] == 1


async def test_what_is_asked_for_after_the_end_is_not_written(path: Path) -> None:
    """The file may be another client's by then."""
    async with Peer() as peer:
        async with connect(peer.url, KEY, state=path) as catalyst:
            stream = catalyst.signals(after=0)
            first = asyncio.create_task(anext(stream))
            visit = await peer.visit()
            await visit.subscribed()
            await visit.event(1)
            await first
        with pytest.raises(StopAsyncIteration):
            await anext(stream)
        assert _kept(path)["seq"] == 0


async def test_who_was_not_running_is_told_for_how_long(path: Path) -> None:
    """The file knows when it was written."""
    file = StateFile(path)
    file.take("main", "main").move(Position("main", "e1", 5))
    file.close()
    content = json.loads(_read(path))
    content["places"]["main"]["main"]["at"] -= 3600
    _write(path, json.dumps(content))
    news: list[CaughtUp] = []
    async with (
        Peer() as peer,
        connect(peer.url, KEY, state=path, on_caught_up=news.append) as catalyst,
        Taken(catalyst.signals()),
    ):
        visit = await peer.visit()
        await visit.subscribed(head=7)
        await visit.event(6)
        await visit.live(7)
        await until(lambda: news)
        assert news[0].since == Position("main", "e1", 5)
        assert news[0].away_s is not None and 3600 <= news[0].away_s < 3610
