"""What protects two nodes, with a real Redis and a real PostgreSQL that are there, are dead, and are back.

Covers catalyst_signals.server.rates and catalyst_signals.server.guarding from outside.
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.running import RunningServer
from tests.services.postgres import Postgres
from tests.services.redis import Redis, until

pytestmark = pytest.mark.slow

RATE, FLOOD_S = 40, 3.0
ACME = {"symbol": "ACME", "action": "BUY"}


@pytest.fixture(scope="module")
def redis() -> Iterator[Redis]:
    """It is killed and started again."""
    with Redis() as redis:
        yield redis


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    """It is shut down in the middle of its work and started again."""
    with Postgres() as postgres:
        yield postgres


@pytest.fixture(scope="module")
def nodes(redis: Redis, postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[RunningServer]]:
    """Two of them on one log."""
    with ExitStack() as stack:
        nodes: list[RunningServer] = []
        for name in "ab":
            folder: Path = tmp_path_factory.mktemp(name)
            node = RunningServer(
                folder, store_url=postgres.url, cache_url=redis.url, key_publish_rate=RATE, node=name
            )  # fmt: skip
            nodes.append(stack.enter_context(node))
        nodes[1].admin_key = nodes[0].admin_key
        yield nodes


def flood(node: RunningServer, key: str, told: Counter[int]) -> None:
    """As fast as one connection can, for FLOOD_S, whatever is answered."""
    ends_s = time.monotonic() + FLOOD_S
    with node.http(key) as http:
        while time.monotonic() < ends_s:
            told[http.post("/v1/channels/main/signals", content=json.dumps(ACME)).status_code] += 1


def let_through(nodes: list[RunningServer], key: str) -> int:
    """How many publishes of one key come through, flooding every node at once."""
    told: Counter[int] = Counter()
    threads = [threading.Thread(target=flood, args=(node, key, told)) for node in nodes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(FLOOD_S + 30)
    assert set(told) <= {201, 429}, told
    return told[201]


def breaker(node: RunningServer, name: str = "cache") -> str:
    """The state of a part, as its node tells it."""
    with node.http() as http:
        parts = http.get("/readyz").json()["components"]
    return str(next(part["state"] for part in parts if part["name"] == name))


def test_a_limit_is_one_for_all_nodes_and_none_is_open_without_its_redis(
    nodes: list[RunningServer], redis: Redis
) -> None:
    """Who spreads a flood over the nodes gains nothing; a Redis that died opens nothing for them, and stops nobody."""
    portion = max(1, RATE / 10)
    most = RATE + RATE * (FLOOD_S + 0.5)
    passed = let_through(nodes, nodes[0].new_key(user="a", scopes=["publish"]))
    assert RATE * FLOOD_S * 0.8 <= passed <= most + 2 * len(nodes) * portion
    redis.child.kill()
    passed = let_through(nodes, nodes[0].new_key(user="b", scopes=["publish"]))
    assert RATE * FLOOD_S * 0.8 <= passed <= len(nodes) * (most + 2 * portion), "each node counts by itself"
    assert all(breaker(node) != "closed" for node in nodes)
    redis.child.start()
    until(lambda: all(breaker(node) == "closed" for node in nodes), 5)
    passed = let_through(nodes, nodes[0].new_key(user="c", scopes=["publish"]))
    assert passed <= most + 2 * len(nodes) * portion, "and together again"


def test_a_store_that_is_gone_is_told_at_once_and_what_was_accepted_is_stored(
    nodes: list[RunningServer], postgres: Postgres
) -> None:
    """Nobody waits for a time-out to hear what is known, and nobody who was accepted hears anything but the truth."""
    node = nodes[0]
    key = node.new_key(user="e", scopes=["publish"])
    with node.http(key) as http, ThreadPoolExecutor(1) as threads:
        postgres.stop_at_once()
        first = threads.submit(http.post, "/v1/channels/main/signals", json=ACME | {"id": "accepted"})
        until(lambda: breaker(node, "store_writes") != "closed", 4)
        began_s = time.monotonic()
        with node.http(key) as other:
            refused = other.post("/v1/channels/main/signals", json=ACME)
        assert time.monotonic() - began_s < 1
        assert (refused.status_code, refused.json()["retry"]) == (503, True) and refused.headers["retry-after"]
        with node.http() as admin:
            told = admin.get("/readyz")
        assert told.status_code == 503 and "store_writes" in told.json()["wrong"]
        postgres.child.start()
        assert first.result(30).status_code == 201
        until(lambda: all(breaker(each, "store_writes") == "closed" for each in nodes), 10)
        until(lambda: http.post("/v1/channels/main/signals", json=ACME).status_code == 201, 10)
