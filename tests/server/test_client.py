"""The client's comforts against a real server: a handler that is killed, a script without `await`, a signal's life.

Covers `catalyst_signals.client.blocking`, `catalyst_signals.client.rest`, and `state` with real deaths.
"""

from __future__ import annotations

import asyncio
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from uuid import uuid4

import pytest

from catalyst_signals.client import CaughtUp, Gap, Signal, connect
from catalyst_signals.errors import (
    InvalidDraft,
    Misconfigured,
    NotFound,
    SignalEnded,
    Unauthenticated,
    Unreachable,
    VersionConflict,
)
from tests.running import RunningServer

HANDLER = """
import asyncio, sqlite3, sys
from catalyst_signals import connect

async def main(url, key, channel, state, done):
    db = sqlite3.connect(done, isolation_level=None)
    db.execute("PRAGMA synchronous=OFF")
    async with connect(url, key, channel=channel, state=state) as catalyst:
        async for signal in catalyst.signals():
            again = db.execute("SELECT 1 FROM done WHERE key = ?", (signal.key,)).fetchone()
            db.execute("INSERT INTO calls VALUES (?)", (signal.seq,))
            if not again:
                db.execute("INSERT INTO done VALUES (?, ?)", (signal.key, signal.seq))  # The work itself, and its key.
            await asyncio.sleep(0.0005)

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.fixture
def channel(server: RunningServer) -> str:
    """One that no other test writes to."""
    name = f"c{uuid4().hex[:8]}"
    with server.http() as admin:
        admin.put(f"/v1/channels/{name}", json={})
    return name


# -- a place in a file ------------------------------------------------------------------------------------------------


@pytest.mark.timeout(120)
@pytest.mark.parametrize("kills", [5, pytest.param(50, marks=pytest.mark.slow)])
async def test_a_handler_that_is_killed_again_and_again_does_everything_once(
    server: RunningServer, channel: str, tmp_path: Path, kills: int
) -> None:
    """A bot that places orders: nothing missing, and of each death at most the one in hand comes again."""
    done = tmp_path / "done.db"
    _make(done)
    arguments = [server.url, server.admin_key, channel, str(tmp_path / "me"), str(done)]
    bot = _start(arguments)
    try:
        async with connect(server.url, server.admin_key, channel=channel) as catalyst:
            await _until(lambda: (tmp_path / "me").exists())  # It has its place; from here on nothing may be missed.
            published: list[str] = []
            for _ in range(kills):
                before = len(_rows(done, "done"))
                drafts = [{"symbol": "ACME", "action": "BUY"} for _ in range(random.randrange(20, 200))]
                published += [receipt.id for receipt in await catalyst.publish_many(drafts)]  # type: ignore[union-attr]
                await _until(lambda before=before: len(_rows(done, "done")) > before)  # type: ignore[misc]
                await asyncio.sleep(random.uniform(0, 0.1))
                bot.kill()
                await asyncio.to_thread(bot.wait)
                bot = _start(arguments)
            await _until(lambda: len(_rows(done, "done")) >= len(published))
    finally:
        bot.kill()
        bot.wait()
    assert [key for key, _ in _rows(done, "done")] == published  # All, once, in order.
    calls = [seq for (seq,) in _rows(done, "calls")]
    repeated = [seq for before, seq in pairwise(calls) if seq <= before]
    assert len(calls) - len(published) == len(repeated) <= kills
    assert all(calls.count(seq) == 2 for seq in repeated)


def _start(arguments: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", HANDLER, *arguments])


def _make(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("CREATE TABLE done (key TEXT PRIMARY KEY, seq INTEGER)")
        db.execute("CREATE TABLE calls (seq INTEGER)")
    db.close()


def _rows(path: Path, table: str) -> list[tuple[str, int]]:
    db = sqlite3.connect(path)
    try:
        return db.execute(f"SELECT * FROM {table} ORDER BY rowid").fetchall()
    finally:
        db.close()


async def _until(condition: Callable[[], object], patience_s: float = 30) -> None:
    async with asyncio.timeout(patience_s):
        while not condition():
            await asyncio.sleep(0.01)


# -- without await ----------------------------------------------------------------------------------------------------


def test_a_script_publishes_and_listens_without_await(server: RunningServer, channel: str) -> None:
    """The first lines of somebody who has never seen `async`."""
    with connect(server.url, server.admin_key, channel=channel) as catalyst:
        receipt = catalyst.publish({"id": f"{channel}-1", "symbol": "ACME", "action": "BUY", "confidence": 0.5})
        catalyst.publish_many([{"symbol": "XYZ", "action": "SELL"} for _ in range(3)])
        catalyst.update(receipt.id, {"confidence": 0.9}, if_version=1)
        assert [signal.symbol for signal in catalyst.history()] == ["ACME", "XYZ", "XYZ", "XYZ", "ACME"]
        assert catalyst.latest("symbol = ACME")["ACME"].confidence == 0.9
        assert [signal.version for signal in catalyst.versions(receipt.id)] == [1, 2]
        got = []
        for signal in catalyst.signals("symbol = ACME", after=0):
            got.append(signal.key)
            if len(got) == 2:
                break
        assert got == [f"{channel}-1", f"{channel}-1~2"]
        place = catalyst.position()
        assert place is not None and place.seq == 1
        assert catalyst.cancel(receipt.id, "done").version == 3
        with pytest.raises(SignalEnded):
            catalyst.update(receipt.id, {"confidence": 1})
        assert next(catalyst.events(after=5))["type"] == "signal.cancelled"


def test_who_waits_with_a_timeout_loses_nothing(server: RunningServer, channel: str) -> None:
    """A loop that does something else once a second."""
    with connect(server.url, server.admin_key, channel=channel) as catalyst, catalyst.signals() as signals:
        for n in range(20):
            with pytest.raises(TimeoutError):
                signals.next(timeout_s=0.001)
            catalyst.publish({"id": f"{channel}-{n}", "symbol": "ACME", "action": "BUY"})
            if n % 2:
                time.sleep(0.02)  # It has arrived when it is asked for.
            assert signals.next(timeout_s=10).id == f"{channel}-{n}"
        signals.change("symbol = XYZ")
        assert signals.filter == "symbol = XYZ"
        signals.close()
        with pytest.raises(StopIteration):
            signals.next()


async def test_it_works_inside_a_running_loop(server: RunningServer, channel: str) -> None:
    """Jupyter runs one already."""
    with connect(server.url, server.admin_key, channel=channel) as catalyst:
        catalyst.publish({"symbol": "ACME", "action": "BUY"})
        assert [signal.symbol for signal in catalyst.history()] == ["ACME"]


def test_refusals_and_the_end_are_plain_exceptions(server: RunningServer, channel: str) -> None:
    """And no thread is left behind."""
    threads = threading.active_count()
    with pytest.raises(Unauthenticated), connect(server.url, "cat_wrong_key"):
        pass
    with connect(server.url, server.admin_key, channel=channel) as catalyst:
        with pytest.raises(NotFound):
            catalyst.cancel("nobody")
        stream = catalyst.signals()
        with pytest.raises(TimeoutError):
            stream.next(timeout_s=0.05)
    with pytest.raises(StopIteration):
        stream.next()
    with pytest.raises(RuntimeError, match="closed"):
        catalyst.publish({"symbol": "ACME", "action": "BUY"})
    assert threading.active_count() == threads


def test_a_callback_that_waits_for_the_client_is_told_so(server: RunningServer, channel: str) -> None:
    """It would wait for itself for ever."""
    found: list[str] = []

    def on_state(state: str) -> None:
        if state == "live":
            try:
                catalyst.publish({"symbol": "ACME", "action": "BUY"})
            except RuntimeError as fault:
                found.append(str(fault))

    with connect(server.url, server.admin_key, channel=channel, on_state=on_state) as catalyst:
        with pytest.raises(TimeoutError):
            catalyst.signals().next(timeout_s=0.5)
    assert found == ["a callback cannot wait for the client itself"]


LISTENER = """
import sys
from catalyst_signals import connect

with connect(sys.argv[1], sys.argv[2], channel=sys.argv[3]) as catalyst:
    print("ready", flush=True)
    try:
        for signal in catalyst.signals():
            print(signal.id, flush=True)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
"""


def test_ctrl_c_ends_a_listening_script_at_once(server: RunningServer, channel: str) -> None:
    """Also while nothing comes."""
    script = subprocess.Popen(
        [sys.executable, "-c", LISTENER, server.url, server.admin_key, channel], stdout=subprocess.PIPE, text=True
    )
    try:
        assert script.stdout is not None
        assert script.stdout.readline() == "ready\n"
        time.sleep(0.3)
        pressed_at = time.monotonic()
        script.send_signal(signal.SIGINT)
        rest, _ = script.communicate(timeout=10)
        assert (rest, script.returncode) == ("interrupted\n", 0)
        assert time.monotonic() - pressed_at < 2
    finally:
        script.kill()
        script.wait()


# -- a signal's life --------------------------------------------------------------------------------------------------


async def test_a_signal_is_changed_and_ended_from_the_client(server: RunningServer, channel: str) -> None:
    """With the light install: no HTTP library."""
    async with connect(server.url, server.admin_key, channel=channel) as catalyst:
        first = await catalyst.publish({"symbol": "ACME", "action": "BUY", "confidence": 0.5})
        second = await catalyst.update(first.id, {"confidence": 0.6})
        assert (second.id, second.version, second.channel, second.duplicate) == (first.id, 2, channel, False)
        assert (await catalyst.update(first.id, {"confidence": 0.6})).duplicate
        with pytest.raises(VersionConflict):
            await catalyst.update(first.id, {"confidence": 0.7}, if_version=1)
        with pytest.raises(InvalidDraft, match="NaN"):
            await catalyst.update(first.id, {"confidence": float("nan")})  # As null it would take the field away.
        end = await catalyst.cancel(first.id, "the story was denied")
        assert end.version == 3
        versions = await catalyst.versions(first.id)
        assert [each.type for each in versions] == ["signal.published", "signal.updated", "signal.cancelled"]
        assert versions[-1].data["reason"] == "the story was denied"
        assert await catalyst.latest() == {}
        with pytest.raises(NotFound):
            await catalyst.versions("no/such ~id?")


async def test_what_was_held_while_catching_up_is_told_when_it_is_live(server: RunningServer, channel: str) -> None:
    """The terminal that was asleep says at once what it does not show, and does not wait for a position that is due."""
    news: list[CaughtUp] = []
    async with connect(
        server.url, server.admin_key, channel=channel, position_s=60, on_caught_up=news.append
    ) as catalyst:
        await catalyst.publish_many({"symbol": symbol, "action": "BUY"} for symbol in ("ACME", "ACME", "XYZ"))
        stream = catalyst.signals(after=0, mode="latest", name="behind")
        assert [(await anext(stream)).seq for _ in range(2)] == [2, 3]
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(stream), 0.5)
        (told,) = news
        assert (told.at, told.received, told.held) == (3, 2, {"replaced": 1})


async def test_whoever_was_shown_a_signal_is_told_its_end_after_the_filter_changed(
    server: RunningServer, channel: str
) -> None:
    """The terminal that follows another symbol now still shows what is in its list."""
    async with connect(server.url, server.admin_key, channel=channel) as catalyst:
        shown, other = [await catalyst.publish({"symbol": symbol, "action": "BUY"}) for symbol in ("ACME", "XYZ")]
        async with catalyst.signals("symbol = ACME", after=0) as stream:
            assert (await anext(stream)).id == shown.id
            await stream.change("symbol = QQQ")
            await catalyst.cancel(other.id)
            await catalyst.cancel(shown.id)
            got: Signal = await asyncio.wait_for(anext(stream), 10)
            assert (got.id, got.is_ending) == (shown.id, True)


@pytest.mark.slow
async def test_a_file_that_was_put_back_is_found_by_whoever_was_ahead_of_it(tmp_path: Path) -> None:
    """Yesterday's file on a new machine, without `restore`: the numbers go on, and are other events."""
    with RunningServer(tmp_path, position_s=60) as server:
        async with connect(server.url, server.admin_key) as catalyst:
            await catalyst.publish_many({"symbol": "ACME", "action": "BUY"} for _ in range(3))
            await asyncio.to_thread(server.stop)
            await asyncio.to_thread(shutil.copy, tmp_path / "catalyst.db", tmp_path / "yesterday.db")
            await asyncio.to_thread(server.start)
            await catalyst.publish_many({"symbol": "ACME", "action": "BUY"} for _ in range(3))
        gaps: list[Gap] = []
        async with connect(server.url, server.admin_key, on_gap=gaps.append, state=tmp_path / "me") as catalyst:
            stream = catalyst.signals(after=0)
            assert [(await anext(stream)).seq for _ in range(6)] == [1, 2, 3, 4, 5, 6]
            await asyncio.to_thread(server.stop)
            await asyncio.to_thread(_put_back, tmp_path)
            await asyncio.to_thread(server.start)
            async with connect(server.url, server.admin_key) as other:
                await other.publish_many({"symbol": "XYZ", "action": "BUY"} for _ in range(4))
            assert [(await anext(stream)).symbol for _ in range(7)] == ["ACME"] * 3 + ["XYZ"] * 4
            assert gaps == [Gap("main", (1, 6), "epoch_changed", 0)]


def _put_back(folder: Path) -> None:
    for path in folder.glob("catalyst.db*"):
        path.unlink()  # With what the old machine knew of it.
    shutil.copy(folder / "yesterday.db", folder / "catalyst.db")


async def test_nobody_there_is_said_in_words_by_requests_too() -> None:
    """And what is not known is said: whether it was done."""
    catalyst = connect("http://127.0.0.1:1", "cat_x")
    with pytest.raises(Unreachable, match=r"no answer from http://127.0.0.1:1 .*not known whether it was done"):
        await catalyst.update("a", {"confidence": 1})


@pytest.fixture
def state_in_use(server: RunningServer, tmp_path: Path) -> Iterator[Path]:
    """A file of positions that another process has."""
    state = tmp_path / "me"
    code = "import sys, time; from catalyst_signals.client.state import StateFile\n"
    code += "file = StateFile(sys.argv[1]); file.open(); print('ready', flush=True); time.sleep(60)"
    other = subprocess.Popen([sys.executable, "-c", code, str(state)], stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None and other.stdout.readline() == "ready\n"
    yield state
    other.kill()
    other.communicate()


def test_a_second_process_with_the_same_file_is_refused(server: RunningServer, state_in_use: Path) -> None:
    """Started twice by mistake."""
    with (
        pytest.raises(Misconfigured, match="another client"),
        connect(server.url, server.admin_key, state=state_in_use),
    ):
        pass
