"""Limits, turns and breakers through a real server: who asks too often is told when to come again, and nobody else is.

Covers catalyst_signals.server.handshake and catalyst_signals.server.components from outside.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import httpx2
import pytest
from websockets.asyncio.client import connect as dial
from websockets.exceptions import InvalidStatus

from catalyst_signals import connect
from catalyst_signals.errors import StoreUnavailable
from catalyst_signals.events import Batch
from catalyst_signals.server.app import build_app, open_node
from catalyst_signals.server.components import components
from catalyst_signals.server.node import Node
from catalyst_signals.server.settings import Settings
from catalyst_signals.signals import signal_draft
from tests.running import RunningServer
from tests.socket_client import wire

ACME = {"symbol": "ACME", "action": "BUY"}


@pytest.mark.slow
async def test_publishes_of_a_key_are_limited_over_rest_and_socket_together(tmp_path: Path) -> None:
    """One bot that runs wild is told in words what it may do; the connection stays, other keys do not notice."""
    with RunningServer(tmp_path, key_publish_rate=5) as server:
        wild, other = server.new_key(user="wild", scopes=["publish"]), server.new_key(user="eve", scopes=["publish"])
        with server.http(wild) as http, server.http(other) as eve:
            answers = [http.post("/v1/channels/main/signals", json=ACME) for _ in range(8)]
            refused = next(each for each in answers if each.status_code == 429)
            told = refused.json()
            assert (told["error"], told["field"], told["allowed"], told["retry"]) == (
                "rate_limited", "key_publish_rate", 5, True,
            )  # fmt: skip
            assert int(refused.headers["retry-after"]) >= 1 and 0 < told["retry_after_s"] <= 1
            assert eve.post("/v1/channels/main/signals", json=ACME).status_code == 201
        async with wire(server.url, wild) as socket:
            for ref in range(8):
                await socket.send(type="publish", ref=ref, channel="main", signal=ACME)
            answers_there = [await socket.next() for _ in range(8)]
            refusals = [each for each in answers_there if each["type"] == "error"]
            assert refusals and all(each["error"] == "rate_limited" and "ref" in each for each in refusals)
            await asyncio.sleep(max(each["retry_after_s"] for each in refusals) + 0.05)
            await socket.send(type="publish", ref="again", channel="main", signal=ACME)
            assert (await socket.next())["type"] == "accepted", "the connection stayed"


@pytest.mark.slow
async def test_a_client_that_meets_the_limits_goes_on_by_itself(tmp_path: Path) -> None:
    """Whoever uses the library loses nothing by a limit but time."""
    with RunningServer(tmp_path, key_publish_rate=20, user_subscribe_rate=5) as server:
        async with connect(server.url, server.admin_key) as client:
            receipts = await asyncio.gather(*(client.publish(ACME | {"id": f"s{n}"}) for n in range(50)))
        assert len({receipt.seq for receipt in receipts}) == 50

        async def read() -> list[str]:
            async with connect(server.url, server.admin_key) as client:
                async with asyncio.timeout(20):
                    return [signal.id async for signal in client.history(after=0)]

        for found in await asyncio.gather(*(read() for _ in range(8))):
            assert sorted(found) == sorted(f"s{n}" for n in range(50))


async def refusal(server: RunningServer, key: str, **headers: str) -> tuple[int, dict[str, Any]] | None:
    """How a handshake is refused; None: it is not."""
    try:
        async with dial(
            server.url.replace("http", "ws", 1) + "/v1/ws", proxy=None,
            additional_headers={"Authorization": f"Bearer {key}"} | headers,
        ):  # fmt: skip
            return None
    except InvalidStatus as refused:
        assert refused.response.headers["Retry-After"]
        return refused.response.status_code, json.loads(refused.response.body or b"")


@pytest.mark.slow
async def test_new_connections_of_a_key_are_limited_before_the_upgrade(tmp_path: Path) -> None:
    """A bot that reconnects in a loop costs a look-up each time, not a connection."""
    with RunningServer(tmp_path, key_connect_rate=3) as server:
        other = server.new_key(user="eve", scopes=["subscribe"])
        told = [await refusal(server, server.admin_key) for _ in range(6)]
        refused = [each for each in told if each is not None]
        assert refused and all(each[0] == 429 and each[1]["field"] == "key_connect_rate" for each in refused)
        assert await refusal(server, other) is None
        async with wire(server.url, None) as stranger:
            await stranger.send(type="auth", key=server.admin_key, ref=1)
            told_later = await stranger.next()
            assert (told_later["error"], told_later["ref"]) == ("rate_limited", 1), "whose key comes after the upgrade"
            await stranger.socket.wait_closed()
            assert stranger.socket.close_code == 4003, "come back later"
        with server.http() as http:
            streamed = [_open_stream(http) for _ in range(6)]
        assert 429 in streamed, "a stream is a connection too"


def _open_stream(http: httpx2.Client) -> int:
    with http.stream("GET", "/v1/channels/main/stream") as answer:
        return int(answer.status_code)


@pytest.mark.slow
async def test_open_connections_of_an_address_are_limited_and_counted_down(tmp_path: Path) -> None:
    """Whoever holds connections open without a key is stopped too; behind a proxy the client's address counts."""
    with RunningServer(tmp_path, address_connections=3, trusted_proxies="127.0.0.1", position_s=1) as server:
        for _ in range(3):
            async with wire(server.url, None), wire(server.url, None), wire(server.url, None):
                told = await refusal(server, server.admin_key)
                assert told is not None and (told[0], told[1]["field"]) == (429, "address_connections")
                with server.http() as http:
                    assert _open_stream(http) == 429
                elsewhere = {"X-Forwarded-For": "6.6.6.6, 1.2.3.4"}
                assert await refusal(server, server.admin_key, **elsewhere) is None, "that is another address"
            await asyncio.sleep(0.1)
        with server.http() as http:
            for _ in range(5):
                assert _open_stream(http) == 200
                await asyncio.sleep(0.1)


@pytest.mark.slow
async def test_a_replay_is_charged_by_what_was_really_read(tmp_path: Path) -> None:
    """One user who reads the log in a loop is slowed down; who asks for what is new, or loses a connection, is not."""
    with RunningServer(tmp_path, user_replay_rate=100) as server, server.http() as http:
        for part in range(3):
            drafts = [ACME | {"id": f"{part}-{n}", "note": "x" * 3000} for n in range(400)]
            assert http.post("/v1/channels/main/signals", json=drafts).status_code == 201
        page = "/v1/channels/main/events"
        assert http.get(page, params={"after": 1150, "limit": 50}).status_code == 200
        assert http.get(page, params={"limit": 10}).status_code == 200, "ten were read, not 1,200"
        assert http.get(page, params={"limit": 1000}).status_code in (200, 429)
        assert http.get(page, params={"limit": 1000}).status_code == 429
        async with wire(server.url, server.admin_key) as socket:
            refused = await socket.subscribe(channel="main", after=0)
            assert (refused["type"], refused["error"], refused["field"]) == (
                "error", "rate_limited", "user_replay_rate",
            )  # fmt: skip
            assert (await socket.subscribe(channel="main"))["type"] == "subscribed", "from now on costs nothing"
        for part in range(40):  # 24 MB: more than the sockets between hold of what nobody reads.
            drafts = [ACME | {"id": f"large-{part}-{n}", "more": "x" * 20_000} for n in range(30)]
            assert http.post("/v1/channels/main/signals", json=drafts).status_code == 201
        lost = server.new_key(user="lost", scopes=["subscribe"])
        async with wire(server.url, lost) as socket:
            assert (await socket.subscribe(channel="main", after=0))["type"] == "subscribed"
            socket.socket.transport.abort()
        async with wire(server.url, lost) as socket:
            until_s = time.monotonic() + 5  # By rate alone it would be 14.
            while (again := await socket.subscribe(channel="main", after=2300))["type"] != "subscribed":
                assert time.monotonic() < until_s, f"it had not read it all: {again}"
                await asyncio.sleep(0.1)
            socket.socket.transport.abort()
        began_s = time.monotonic()
        with server.http(server.new_key(user="slow", scopes=["subscribe"])) as slow:
            with slow.stream("GET", "/v1/channels/main/stream", params={"after": 0}) as stream:
                seen = 0
                for line in stream.iter_lines():
                    seen += line.startswith("data:")
                    if seen == 1200:
                        break
        assert time.monotonic() - began_s > 1, "a stream is slowed down, and nothing is left out of it"


# -- turns ------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_flood_of_one_user_delays_another_by_a_few_commits(tmp_path: Path) -> None:
    """A bot that posts ten thousand signals at once must not make everybody's alert late, nor refused."""
    with RunningServer(tmp_path, key_publish_rate=0, queue_max=10_000) as server:
        flooding, single = server.new_key(user="a", scopes=["publish"]), server.new_key(user="b", scopes=["publish"])
        batch = json.dumps([ACME | {"note": "x" * 100} for _ in range(1000)]).encode()
        stop = threading.Event()
        threads = [threading.Thread(target=_flood, args=(server, flooding, batch, stop)) for _ in range(12)]
        for thread in threads:
            thread.start()
        try:
            time.sleep(1)
            took = sorted(_one_each(server, single, 10))
        finally:
            stop.set()
            for thread in threads:
                thread.join(30)
        assert took[5] < 2, took


def _flood(server: RunningServer, key: str, batch: bytes, stop: threading.Event) -> None:
    with server.http(key) as http:
        while not stop.is_set():
            http.post("/v1/channels/main/signals", content=batch, headers={"Content-Type": "application/json"})


def _one_each(server: RunningServer, key: str, count: int) -> list[float]:
    took = []
    with server.http(key) as http:
        for n in range(count):
            began = time.perf_counter()
            answer = http.post("/v1/channels/main/signals", json=ACME | {"id": f"b{n}"})
            took.append(time.perf_counter() - began)
            assert answer.status_code == 201, answer.text
            time.sleep(0.05)
    return took


# -- breakers ----------------------------------------------------------------------------------------------------------


class Away:
    """A store whose appends fail while it is away."""

    def __init__(self, node: Node, patch: pytest.MonkeyPatch) -> None:
        self.away = False
        self.asked = 0
        inner: Any = node.store._store  # type: ignore[attr-defined]
        do = inner.append

        async def append(batches: Sequence[Batch]) -> Any:
            self.asked += 1
            if self.away:
                raise StoreUnavailable("no route to the store")
            return await do(batches)

        patch.setattr(inner, "append", append)


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    """A process on a log in memory."""
    async with open_node(Settings(store_url="memory:", poll_s=0.2)) as node:
        yield node


async def test_while_commits_fail_nothing_new_is_taken_and_what_was_taken_is_stored(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A 503 at once is the truth; a place in a queue that stands is not, nor is a 503 for what is kept."""
    store = Away(node, monkeypatch)
    transport = httpx2.ASGITransport(build_app(node))
    async with httpx2.AsyncClient(
        transport=transport, base_url="http://here", headers={"Authorization": f"Bearer {node.first_key}"}
    ) as http:
        store.away = True
        draft, _ = signal_draft(ACME | {"id": "first"}, subject="admin")
        first = asyncio.ensure_future(node.publisher.publish(Batch(channel="main", subject="admin", drafts=[draft])))
        async with asyncio.timeout(5):
            while node.breakers.writes.state == "closed":
                await asyncio.sleep(0.01)
        began = time.perf_counter()
        refused = await http.post("/v1/channels/main/signals", json=ACME)
        assert time.perf_counter() - began < 0.1
        assert (refused.status_code, refused.json()["error"]) == (503, "store_unavailable")
        assert int(refused.headers["retry-after"]) >= 1
        assert (await http.get("/v1/channels/main/events")).status_code == 200, "reading goes on"
        writes = components(node)[0]
        assert (writes.name, writes.error) == ("store_writes", "no route to the store") and writes.state != "closed"
        store.away = False
        async with asyncio.timeout(5):
            assert (await first).receipts[0].seq == 1
        assert components(node)[0].state == "closed"
        assert (await http.post("/v1/channels/main/signals", json=ACME)).status_code == 201


async def test_every_part_is_told_with_its_breaker(node: Node) -> None:
    """`/readyz` shows them; a part that is missing there is one that nobody looks at."""
    told = components(node)
    assert [(each.name, each.state, each.error) for each in told] == [
        (name, "closed", "") for name in ("store_writes", "store_reads", "store_upkeep", "broker", "cache")
    ]
    assert told[1].lag_s < 1
