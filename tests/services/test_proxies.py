"""nginx and HAProxy in front of two nodes, with the files of deploy/: nobody can tell that they are there.

Two real nodes on one PostgreSQL, TLS in front, no sticky sessions; what breaks, breaks under load.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from websockets.asyncio.client import connect as dial
from websockets.exceptions import ConnectionClosed, InvalidStatus

from catalyst_signals.stores import STORES
from catalyst_signals.urls import open_backend
from tests.living import Load, filters
from tests.running import RunningServer
from tests.services.postgres import Postgres
from tests.services.proxies import Certificate, Haproxy, Nginx, Proxy
from tests.socket_client import Wire, wire

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

READERS, RATE = 40, 200.0
SEEN_S = 1.5  # In which a proxy has seen that a node is back; deploy/systemd waits 2 s.
DRAFT = {"symbol": "ACME", "action": "BUY", "confidence": 0.5}


@dataclass
class Front:
    """A proxy as a client sees it: an address, and a key that works there."""

    proxy: Proxy
    nodes: list[RunningServer]
    store_url: str

    @property
    def url(self) -> str:
        return self.proxy.url

    @property
    def admin_key(self) -> str:
        return self.nodes[0].admin_key

    def http(self) -> httpx2.Client:
        """For the admin."""
        return httpx2.Client(
            base_url=self.url, verify=self.proxy.trust, timeout=30, trust_env=False,
            headers={"Authorization": f"Bearer {self.admin_key}"},
        )  # fmt: skip

    def secret(self) -> str:
        """Of a new webhook that every node knows, as a path."""
        with self.http() as http:
            made = http.post("/v1/ingest", json={"adapter": "generic", "channel": "main"})
            assert made.status_code == 201, made.text
        until = time.monotonic() + 5
        for node in self.nodes:
            with node.http(self.admin_key) as http:
                while made.json()["id"] not in http.get("/v1/ingest").text:
                    assert time.monotonic() < until, "the other node does not hear of it"
                    time.sleep(0.05)
        return f"/in/generic/{made.json()['secret']}"


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return Certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, tls: Certificate) -> Iterator[dict[str, Front]]:
    """Two nodes, and both proxies in front of them."""
    with ExitStack() as stack:
        postgres = stack.enter_context(Postgres())
        nodes = [
            stack.enter_context(RunningServer(
                tmp_path_factory.mktemp(f"node{n}"), store_url=postgres.url, node=f"node{n}", poll_s=0.2, position_s=1,
                trusted_proxies="127.0.0.1",
            ))
            for n in range(2)
        ]  # fmt: skip
        ports = [node.port for node in nodes]
        proxies = [stack.enter_context(kind(ports, tls=tls)) for kind in (Nginx, Haproxy)]
        yield {proxy.name: Front(proxy, nodes, postgres.url) for proxy in proxies}


@pytest.fixture(params=["nginx", "haproxy"])
def front(
    request: pytest.FixtureRequest, site: dict[str, Front], tls: Certificate, monkeypatch: pytest.MonkeyPatch
) -> Front:
    """One of the two; every client of this process trusts its certificate."""
    monkeypatch.setenv("SSL_CERT_FILE", str(tls.chain))
    return site[request.param]


def test_its_own_check_agrees_with_the_shipped_file(front: Front) -> None:
    """Without a warning."""
    said = front.proxy.check().lower()
    assert "warn" not in said, said


def test_rest_large_bodies_and_plain_http(front: Front) -> None:
    """4 MiB are taken, as at a node; http is sent to https; what names channels is not for strangers."""
    with front.http() as http:
        large = [DRAFT | {"id": f"{front.proxy.name}-{n}", "note": "x" * 1000} for n in range(1000)]
        assert http.post("/v1/channels/main/signals", json=large).status_code == 201
        assert http.get("/healthz").status_code == 200
        assert [http.get(path).status_code for path in ("/readyz", "/metrics")] == [404, 404]
        assert "max-age" in http.get("/healthz").headers["strict-transport-security"]
    moved = httpx2.get(f"http://127.0.0.1:{front.proxy.plain}/v1/channels?x=1", trust_env=False)
    assert moved.status_code == 308
    assert moved.headers["location"].startswith("https://127.0.0.1")


async def test_a_socket_publishes_and_is_told(front: Front) -> None:
    """The upgrade, frames both ways, and the end of it."""
    async with wire(front.url, front.admin_key) as socket:
        await socket.subscribe(channel="main")
        id = f"{front.proxy.name}-by-socket"
        await socket.send(type="publish", ref=1, channel="main", signal=DRAFT | {"id": id})
        await socket.until(lambda message: message.get("id") == id and "data" in message)


async def test_server_sent_events_leave_as_they_come(front: Front) -> None:
    """Not when a buffer is full: each arrives before the next is published."""
    async with httpx2.AsyncClient(
        base_url=front.url, verify=front.proxy.trust, timeout=10, trust_env=False,
        headers={"Authorization": f"Bearer {front.admin_key}"},
    ) as http:  # fmt: skip
        async with http.stream("GET", "/v1/channels/main/stream") as answer:
            lines = answer.aiter_lines()
            assert (await anext(lines)).startswith("id: ")
            for n in range(3):
                sent = await http.post("/v1/channels/main/signals", json=DRAFT | {"note": f"sse {n}"})
                assert sent.status_code == 201
                async with asyncio.timeout(3):
                    while f"sse {n}" not in await anext(lines):
                        pass


async def both(front: Front, stack: AsyncExitStack) -> dict[str, Wire]:
    """A socket to each node: which one takes a connection is the proxy's choice."""
    met: dict[str, Wire] = {}
    async with asyncio.timeout(10):
        while len(met) < 2:
            socket = await stack.enter_async_context(wire(front.url, front.admin_key))
            met.setdefault(socket.welcome["node"], socket)
    return met


async def test_a_position_of_one_node_is_resumed_on_the_other(front: Front) -> None:
    """No sticky sessions: whoever comes back comes to any node."""
    with front.http() as http:
        answers = [http.post("/v1/channels/main/signals", json=DRAFT).json() for _ in range(4)]
    async with AsyncExitStack() as stack:
        for socket in (await both(front, stack)).values():
            said = await socket.subscribe(channel="main", after=answers[1]["seq"], epoch=answers[1]["epoch"])
            assert said["type"] == "subscribed"
            assert [event["seq"] for event in await socket.events(2)] == [each["seq"] for each in answers[2:]]


async def test_a_drain_is_told_through_the_proxy(front: Front) -> None:
    """`goaway` with a delay, then 1012; who is at the other node notices nothing."""
    async with AsyncExitStack() as stack:
        at = await both(front, stack)
        stopping = asyncio.create_task(asyncio.to_thread(front.nodes[0].stop))
        said = (await at["node0"].until(lambda message: message["type"] == "goaway"))[-1]
        assert said["reconnect_in_s"] > 0
        with pytest.raises(ConnectionClosed) as closed:
            await at["node0"].next()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1012
        assert await stopping == 0
        assert (await at["node1"].subscribe(channel="main"))["type"] == "subscribed"
    await asyncio.to_thread(front.nodes[0].start)


async def test_nodes_that_go_cost_nobody_a_signal(front: Front) -> None:
    """kill -9 one, then restart both in turn, with publishers, readers and senders of webhooks who send once."""
    path, answers, stop = front.secret(), list[int](), asyncio.Event()
    async with Load([front], filters(READERS), rate=RATE, ids=f"{front.proxy.name}-") as load:  # type: ignore[list-item]
        sender = asyncio.create_task(_send_once(front, path, answers, stop))
        await asyncio.sleep(0.5)
        for node, end in ((0, "kill"), (0, "stop"), (1, "stop")):
            await asyncio.to_thread(getattr(front.nodes[node], end))
            await asyncio.to_thread(front.nodes[node].start)
            await asyncio.sleep(SEEN_S)
        stop.set()
        await sender
        async with open_backend(front.store_url, STORES, setting="store_url") as store:
            log = await load.settle(store)
    assert not load.gaps, load.gaps
    assert sorted(log) == list(range(1, len(log) + 1)), "the log has a hole"
    assert len(answers) > 20
    assert set(answers) <= {200, 201}, f"a webhook was lost: {answers}"  # 200: stored by the node that then died.
    bodies = [event for event in log.values() if f"once-{front.proxy.name}" in event.id]
    assert len(bodies) == len(answers)


async def _send_once(front: Front, path: str, answers: list[int], stop: asyncio.Event) -> None:
    """As TradingView does: a body, and no second try. Each on a connection of its own, as senders do."""
    while not stop.is_set():
        body = DRAFT | {"id": f"once-{front.proxy.name}-{len(answers)}"}
        async with httpx2.AsyncClient(verify=front.proxy.trust, timeout=30, trust_env=False) as http:
            answers.append((await http.post(front.url + path, json=body)).status_code)
        await asyncio.sleep(0.03)


def test_haproxy_leaves_a_node_that_hangs(site: dict[str, Front]) -> None:
    """It asks `/readyz` every second; nginx (without the money for it) asks nobody and waits 75 s."""
    front = site["haproxy"]
    process = front.nodes[0].process
    assert process is not None
    process.send_signal(signal.SIGSTOP)
    try:
        time.sleep(3)
        with front.http() as http:
            for _ in range(10):
                assert http.get("/healthz", timeout=2).status_code == 200
    finally:
        process.send_signal(signal.SIGCONT)


@pytest.mark.parametrize("kind", [Nginx, Haproxy])
async def test_the_limit_by_address_is_the_clients_not_the_proxys(
    kind: type[Proxy], tls: Certificate, tmp_path: Path
) -> None:
    """And nobody gets past it by naming another address."""
    with RunningServer(tmp_path, store_url="memory:", address_connections=2, trusted_proxies="127.0.0.1") as server:
        with kind([server.port], tls=tls) as proxy:

            def from_(address: str, **headers: str) -> Any:
                headers |= {"Authorization": f"Bearer {server.admin_key}"}
                return dial(
                    proxy.url.replace("http", "ws", 1) + "/v1/ws", additional_headers=headers, proxy=None,
                    ssl=proxy.trust, local_addr=(address, 0),
                )  # fmt: skip

            async with from_("127.0.0.2"), from_("127.0.0.2"), from_("127.0.0.3"):
                with pytest.raises(InvalidStatus) as refused:
                    await from_("127.0.0.2", **{"X-Forwarded-For": "203.0.113.9"})
                assert refused.value.response.status_code == 429


async def test_the_secret_of_a_webhook_is_in_no_log(site: dict[str, Front]) -> None:
    """Neither of one that was taken nor of one that no node could take; other paths are logged."""
    paths = {name: front.secret() for name, front in site.items()}
    nodes = site["nginx"].nodes
    for name, front in site.items():
        with front.http() as http:
            assert http.post(paths[name], json=DRAFT | {"note": "taken"}).status_code == 201
    for node in nodes:
        node.kill()
    for name, front in site.items():
        with front.http() as http:
            assert http.post(paths[name], json=DRAFT).status_code in (502, 503)
            assert http.get("/v1/channels").status_code in (502, 503)
    await asyncio.gather(*(asyncio.to_thread(node.start) for node in nodes))
    for name, front in site.items():
        assert paths[name].rsplit("/", 1)[1] not in front.proxy.log
        assert "/v1/channels" in front.proxy.log
