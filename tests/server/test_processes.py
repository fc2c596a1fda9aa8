"""`catalyst serve --processes 2`: one log, one port, and nobody can tell which process they came to.

Covers `catalyst_signals.server.processes`, `catalyst_signals.server.sharing` and `catalyst_signals.server.siblings`.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from websockets.exceptions import ConnectionClosed

from catalyst_signals.client import connect
from catalyst_signals.errors import Unauthenticated
from catalyst_signals.server.app import build_app, open_node
from catalyst_signals.server.node import Node
from catalyst_signals.server.processes import settings_of
from catalyst_signals.server.settings import Settings
from catalyst_signals.server.sharing import Place
from tests.running import RunningServer
from tests.socket_client import Wire, wire

AGAIN_S = 15  # Three times what is promised.
DRAFT = {"symbol": "ACME", "action": "BUY", "confidence": 0.5}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """Two processes, for the tests that break neither."""
    with RunningServer(tmp_path_factory.mktemp("pair"), processes=2, position_s=1) as server:
        yield server


@asynccontextmanager
async def one_on_each(server: RunningServer, key: str | None = None) -> AsyncIterator[dict[str, Wire]]:
    """A socket to each process, by the node that welcomed it: which one takes a connection is the kernel's choice."""
    async with AsyncExitStack() as stack:
        found: dict[str, Wire] = {}
        async with asyncio.timeout(AGAIN_S):
            while len(found) < 2:
                each = await stack.enter_async_context(wire(server.url, key or server.admin_key))
                found.setdefault(each.welcome["node"], each)
        yield found


@asynccontextmanager
async def two_nodes(folder: Path) -> AsyncIterator[tuple[Node, Node]]:
    """What two processes have in them, in this one: the first owns the log."""
    path = f"{folder}/s"
    first = Settings(store_url="memory:", node="a", port=0)
    async with open_node(first, Place(1, 2, path)) as owner:
        async with open_node(settings_of(first, 2, 0, path), Place(2, 2, path)) as other:
            yield owner, other


def processes(server: RunningServer) -> dict[int, dict[str, Any]]:
    """What any of them says of all, by their number."""
    try:
        with server.http() as http:
            return {each["process"]: each for each in http.get("/readyz").json()["processes"]}
    except httpx2.HTTPError:  # The one that was killed had the connection.
        return {}


def names_in(folder: Path) -> list[str]:
    """What lies there."""
    return sorted(path.name for path in folder.iterdir())


def alive(pid: int) -> bool:
    """Whether a process is there and is not only waited for."""
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


async def test_what_is_published_on_one_is_received_on_both_in_order_and_once(pair: RunningServer) -> None:
    """The reader does not know that there are several, and need not."""
    async with one_on_each(pair) as wires:
        for each in wires.values():
            await each.subscribe(channel="main", after=0)
        for n in range(40):
            publisher = list(wires.values())[n % 2]
            await publisher.send(type="publish", ref=n, channel="main", signal=DRAFT | {"id": f"each-{n}"})
        one, other = [await _all_of(each, events=40, answers=20) for each in wires.values()]
    assert [event["seq"] for event in one] == list(range(1, 41))
    assert sorted(event["id"] for event in one) == sorted(f"each-{n}" for n in range(40))
    assert one == other


async def _all_of(each: Wire, *, events: int, answers: int) -> list[dict[str, Any]]:
    """So many events, and as many answers to what was published on the same socket."""
    got: list[dict[str, Any]] = []
    while events or answers:
        message = await each.next()
        if "data" in message:
            got.append(message)
            events -= 1
        answers -= message["type"] == "accepted"
    return got


@pytest.mark.slow
async def test_a_hint_is_faster_than_the_poll(tmp_path: Path) -> None:
    """Processes tell each other what they stored; the poll is only for what was lost. `memory:` is owned the same."""
    with RunningServer(tmp_path, store_url="memory:", processes=2, poll_s=30) as server:
        async with one_on_each(server) as wires:
            for each in wires.values():
                await each.subscribe(channel="main")
            for publisher in wires.values():
                began = time.monotonic()
                await publisher.send(type="publish", ref=1, channel="main", signal=DRAFT)
                for each in wires.values():
                    await each.events(1)
                assert time.monotonic() - began < 5
        assert server.stop() == 0
    assert names_in(tmp_path) == ["server.log"]


async def test_a_channel_made_on_one_is_there_on_the_other_at_once(tmp_path: Path) -> None:
    """As soon as who made it has the answer; the poll that would open it too is a minute away."""
    with RunningServer(tmp_path, processes=2, poll_s=60) as server:
        async with one_on_each(server) as each:
            for number in range(3):
                with server.http() as http:
                    assert http.put(f"/v1/channels/made-{number}", json={}).status_code == 201
                for _ in range(4):  # Each is a connection of its own, to either process.
                    with server.http() as http:
                        assert http.get(f"/v1/channels/made-{number}/events").status_code == 200
                for there in each.values():
                    assert (await there.subscribe(channel=f"made-{number}"))["type"] == "subscribed"


async def test_a_position_of_one_is_resumed_on_the_other(pair: RunningServer) -> None:
    """A reconnect goes wherever the kernel sends it."""
    with pair.http() as http:
        answers = [http.post("/v1/channels/main/signals", json=DRAFT | {"id": f"place-{n}"}).json() for n in range(4)]
    after = answers[1]["seq"]
    async with one_on_each(pair) as wires:
        for each in wires.values():
            said = await each.subscribe(channel="main", after=after, epoch=answers[1]["epoch"])
            assert said["type"] == "subscribed"
            assert [event["seq"] for event in await each.events(2)] == [after + 1, after + 2]


async def test_a_key_revoked_on_one_closes_its_connections_on_both(pair: RunningServer) -> None:
    """Within 5 s; here at once, by the hint."""
    key = pair.new_key(user="leaving", scopes=["subscribe"], channels=["main"])
    async with one_on_each(pair, key) as wires:
        with pair.http() as http:
            assert http.delete(f"/v1/keys/{key.split('_')[2]}").status_code in (200, 204)
        began = time.monotonic()
        for each in wires.values():
            with pytest.raises(ConnectionClosed):
                while True:
                    await each.next()
        assert time.monotonic() - began < 5


async def test_a_key_turned_off_where_the_log_cannot_take_it_is_turned_off_everywhere(tmp_path: Path) -> None:
    """A full disk refuses the event that says so; the reports of the processes say it meanwhile."""
    async with two_nodes(tmp_path) as (owner, other):
        assert owner.first_key is not None
        key_id = owner.first_key.split("_")[2]
        for turned_off_in, heard_in in ((other, owner), (owner, other)):
            for node in (owner, other):
                node.turned_off.clear()
            turned_off_in.turn_off(key_id)
            async with asyncio.timeout(5):
                while key_id not in heard_in.turned_off:
                    await asyncio.sleep(0.02)
            with pytest.raises(Unauthenticated):
                heard_in.authenticate(owner.first_key)


@pytest.mark.parametrize("begun_in", [0, 1])
async def test_how_far_a_move_is_every_process_says_and_how_durable_it_is_then(tmp_path: Path, begun_in: int) -> None:
    """Whoever asks comes to a process by chance. What an answer promises is what the store does that the log is in."""
    async with two_nodes(tmp_path) as (owner, other):
        assert getattr(other.store, "durability", "") == "memory"
        (owner, other)[begun_in].transfers.begin(f"sqlite:///{tmp_path}/new.db")
        async with asyncio.timeout(10):
            for node in (owner, other):
                while (await _how_far(node, owner.first_key)).get("phase") != "moved":
                    await asyncio.sleep(0.02)
            while getattr(other.store, "durability", "") != "disk":
                await asyncio.sleep(0.02)


async def _how_far(node: Node, key: str | None) -> dict[str, Any]:
    """What a process answers who asks for the move."""
    async with httpx2.AsyncClient(
        transport=httpx2.ASGITransport(build_app(node)),
        base_url="http://here",
        headers={"Authorization": f"Bearer {key}"},
    ) as http:
        answer: dict[str, Any] = (await http.get("/v1/transfer")).json()
        return answer


def test_whoever_is_asked_answers_for_all(pair: RunningServer) -> None:
    """A scrape of a shared port gets every process each time, or its numbers would jump."""
    for _ in range(4):
        with pair.http() as http:
            text = http.get("/metrics").text
            ready = http.get("/readyz").json()
        assert set(re.findall(r'catalyst_commits_total\{process="(\d)"\}', text)) == {"1", "2"}
        assert set(re.findall(r'catalyst_channel_head\{channel="main",process="(\d)"\}', text)) == {"1", "2"}
        assert [each["process"] for each in ready["processes"]] == [1, 2]
        assert ready["ready"]
        assert not ready["warnings"]
    names = {each["node"] for each in ready["processes"]}
    assert len(names) == 2
    assert any(name.endswith("-2") for name in names)


@pytest.mark.slow
async def test_killing_either_under_load_loses_nothing_and_repeats_nothing(tmp_path: Path) -> None:
    """The one that owns the file too: the others answer 503 meanwhile, the client repeats, the id decides.

    Then SIGTERM: both say goaway, and nothing is left beside the log.
    """
    with RunningServer(tmp_path, processes=2, poll_s=0.2, position_s=1, trust_s=2) as server:
        acked: dict[str, int] = {}
        handled: list[list[int]] = [[], [], []]
        stop = asyncio.Event()
        publishers = [asyncio.create_task(_publish(server, n, acked, stop)) for n in range(3)]
        readers = [asyncio.create_task(_read(server, into)) for into in handled]
        for number in (2, 1):
            await asyncio.sleep(0.7)
            known = await asyncio.to_thread(processes, server)
            os.kill(known[number]["pid"], signal.SIGKILL)
            await _all_serve(server, number, known[number]["pid"])
        before = len(acked)
        await asyncio.sleep(0.5)
        stop.set()
        await asyncio.wait_for(asyncio.gather(*publishers), 30)
        assert len(acked) > before > 20, "nothing was stored after the kills"
        async with asyncio.timeout(AGAIN_S):
            while any(len(seqs) < max(acked.values()) for seqs in handled):
                await asyncio.sleep(0.05)
        for reader in readers:
            reader.cancel()
        await asyncio.gather(*readers, return_exceptions=True)
        with server.http() as http:
            page = http.get("/v1/channels/main/events", params={"after": 0, "limit": 1}).json()
        assert all(seqs == list(range(1, page["head"] + 1)) for seqs in handled)
        assert len(set(acked.values())) == len(acked) == page["head"]

        async with one_on_each(server) as wires:
            stopping = asyncio.create_task(asyncio.to_thread(server.stop))
            for each in wires.values():
                await each.until(lambda message: message["type"] == "goaway")
            assert await stopping == 0
        assert "is started again" in server.log
        assert "Traceback" not in server.log
    assert names_in(tmp_path) == ["catalyst.db", "catalyst.db.lock", "server.log"]


async def _all_serve(server: RunningServer, number: int, killed: int) -> None:
    async with asyncio.timeout(AGAIN_S):
        while True:
            now = await asyncio.to_thread(processes, server)
            if len(now) == 2 and now[number]["pid"] != killed and all(each["ready"] for each in now.values()):
                return
            await asyncio.sleep(0.1)


async def _publish(server: RunningServer, number: int, acked: dict[str, int], stop: asyncio.Event) -> None:
    async with connect(server.url, server.admin_key, publish_timeout_s=60) as catalyst:
        count = 0
        while not stop.is_set():
            count += 1
            receipt = await catalyst.publish(DRAFT | {"id": f"p{number}-{count}"})
            acked[receipt.id] = receipt.seq
            await asyncio.sleep(0.005)


async def _read(server: RunningServer, into: list[int]) -> None:
    async with connect(server.url, server.admin_key) as catalyst:
        async for received in catalyst.signals("", after=0):
            into.append(received.seq)


@pytest.mark.slow
async def test_without_the_owner_a_publish_is_refused_and_the_rest_goes_on(tmp_path: Path) -> None:
    """503 `store_unavailable`, to be tried again, and at once: nobody waits for an answer that cannot be given."""
    with RunningServer(tmp_path, processes=2, trust_s=30) as server:
        known = processes(server)
        async with one_on_each(server) as wires:
            other = wires[known[2]["node"]]
            os.kill(known[1]["pid"], signal.SIGSTOP)  # Held, so that it cannot come back too soon; then gone.
            os.kill(known[1]["pid"], signal.SIGKILL)
            await asyncio.sleep(0.1)
            await other.send(type="publish", ref="x", channel="main", signal=DRAFT)
            said = (await other.until(lambda message: message.get("ref") == "x"))[-1]
            assert (said["type"], said.get("error"), said.get("retry")) == ("error", "store_unavailable", True)
            await _all_serve(server, 1, known[1]["pid"])
            await other.send(type="publish", ref="y", channel="main", signal=DRAFT)  # Who says that it serves does.
            said = (await other.until(lambda message: message.get("ref") == "y"))[-1]
            assert said["type"] == "accepted", said

        # And without the parent nobody stays, however it ended.
        children = [each["pid"] for each in processes(server).values()]
        assert len(children) == 2
        server.kill()
        async with asyncio.timeout(AGAIN_S):
            while any(alive(pid) for pid in children):
                await asyncio.sleep(0.05)
    assert not (tmp_path / "catalyst.db.sock").exists()


@pytest.mark.slow
def test_what_a_process_cannot_start_with_is_said_once_and_in_words(pair: RunningServer, tmp_path: Path) -> None:
    """As with one process: a sentence and an exit code. A port that others share is not shared with a stranger."""
    for port, url, says, code in (
        (str(pair.port), f"sqlite:///{tmp_path}/new.db", "cannot listen on", 2),
        ("0", pair.store_url, "another process", 4),
    ):
        ended = subprocess.run(
            [sys.executable, "-m", "catalyst_signals", "serve", "--processes", "2", "--port", port, "--store-url", url],
            cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
        assert ended.returncode == code, ended.stderr
        assert ended.stderr.count(says) == 1, ended.stderr
        assert ended.stdout == ""
    assert not (tmp_path / "new.db").exists()


def test_one_process_is_what_it_was(tmp_path: Path) -> None:
    """No parent, no socket, no label."""
    with RunningServer(tmp_path, processes=1) as server:
        assert server.process is not None
        assert not Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text()
        with server.http() as http:
            assert "process=" not in http.get("/metrics").text
            assert "processes" not in http.get("/readyz").json()
        assert not list(tmp_path.glob("*.sock"))
        assert server.stop() == 0


def test_only_a_log_that_cannot_be_shared_is_forwarded() -> None:
    """Everything else every process opens by itself; a broker of the operator's own is kept."""
    settings = Settings(store_url="sqlite:////x/c.db", node="here", port=0)
    second = settings_of(settings, 2, 8123, "/x/c.db.sock")
    assert (second.store_url, second.broker_url) == ("unix:////x/c.db.sock", "unix:////x/c.db.sock")
    assert (second.node, second.port) == ("here-2", 8123)
    first = settings_of(settings, 1, 0, "/x/c.db.sock")
    assert first == settings
    shared = Settings(store_url="postgresql://h/d", broker_url="kafka://h", node="here")
    assert settings_of(shared, 3, 8080, "s").store_url == "postgresql://h/d"
    assert settings_of(shared, 3, 8080, "s").broker_url == "kafka://h"
