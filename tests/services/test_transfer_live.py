"""From SQLite to PostgreSQL without losing a friend: a real server under load, its clients connected all the while.

Covers `catalyst_signals.server.moving`, `catalyst_signals.server.transferring` and `catalyst_signals.cli.moving`.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from catalyst_signals.events import Event
from catalyst_signals.stores import STORES
from catalyst_signals.urls import open_backend
from tests.living import log_of
from tests.running import RunningServer
from tests.services.postgres import Postgres
from tests.socket_client import wire

pytestmark = pytest.mark.slow

PAUSE_S = 1.0  # The promise; asserted at three times its value.
BEFORE = 5000


@pytest.fixture
def postgres() -> Iterator[Postgres]:
    with Postgres() as server:
        yield server


def filled(server: RunningServer, count: int, at: int = 0) -> None:
    """So many signals more."""
    with server.http() as http:
        for first in range(at, at + count, 500):
            numbers = range(first, min(first + 500, at + count))
            batch = [{"id": f"s{n}", "symbol": "ACME", "action": "BUY"} for n in numbers]
            assert http.post("/v1/channels/main/signals", json=batch).status_code == 201


def transfer(server: RunningServer, to: str) -> subprocess.Popen[str]:
    """`catalyst transfer`, as an operator types it."""
    return subprocess.Popen(
        [sys.executable, "-m", "catalyst_signals", "transfer", server.store_url, to, "--url", server.url, "--json"],
        env={**os.environ, "CATALYST_KEY": server.admin_key}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


async def publish_on(server: RunningServer, stop: asyncio.Event, acks: list[float]) -> None:
    """One signal after the other, each answered before the next."""
    headers = {"Authorization": f"Bearer {server.admin_key}"}
    async with httpx2.AsyncClient(base_url=server.url, headers=headers, timeout=30, trust_env=False) as http:
        while not stop.is_set():
            body = {"id": f"live{len(acks)}", "symbol": "XYZ", "action": "SELL"}
            answer = await http.post("/v1/channels/main/signals", json=body)
            assert answer.status_code == 201, answer.text
            acks.append(time.monotonic())
            await asyncio.sleep(0.002)


async def test_everybody_stays_connected_and_nothing_is_lost_or_twice(postgres: Postgres, tmp_path: Path) -> None:
    with RunningServer(tmp_path) as server:
        filled(server, BEFORE)
        async with wire(server.url, server.admin_key) as reader:
            await reader.subscribe(channel="main", after=0)
            stop, acks = asyncio.Event(), list[float]()
            publishing = asyncio.create_task(publish_on(server, stop, acks))
            await asyncio.sleep(0.3)
            moving = transfer(server, postgres.url)
            out, err = await asyncio.to_thread(moving.communicate, timeout=100)
            assert moving.returncode == 0, err
            await asyncio.sleep(0.5)
            stop.set()
            await publishing
            total = BEFORE + len(acks)
            events = await reader.events(total)
            assert [event["seq"] for event in events] == list(range(1, total + 1))
            assert [event["id"] for event in events[BEFORE:]] == [f"live{n}" for n in range(len(acks))]
        longest_s = max(after - before for before, after in itertools.pairwise(acks))
        said = json.loads(out)
        assert longest_s < 3 * PAUSE_S and said["paused_s"] < 3 * PAUSE_S, (longest_s, said)
        assert len(await there(postgres)) == total
        server.kill()
        server.start()  # With the old URL: it says where the log is, and goes there.
        assert "the log is in another store now" in server.log
        position = events[total // 2]
        async with wire(server.url, server.admin_key) as again:
            await again.subscribe(channel="main", after=position["seq"], hash=position["hash"])
            rest = await again.events(total - position["seq"])
            assert [event["hash"] for event in rest] == [event["hash"] for event in events[position["seq"] :]]


async def test_killed_at_any_point_it_is_begun_again(postgres: Postgres, tmp_path: Path) -> None:
    """Nothing that was acknowledged is lost, whichever store the server finds itself in."""
    with RunningServer(tmp_path) as server:
        for attempt, after_s in enumerate((0.05, 0.3, 0.8)):
            filled(server, 2000, at=attempt * 2000)
            moving = transfer(server, postgres.url)
            await asyncio.sleep(after_s)
            server.kill()
            moving.communicate(timeout=60)
            server.start()
        moved = transfer(server, postgres.url)
        _, err = moved.communicate(timeout=100)
        assert moved.returncode == 0 or "the log is in another store now" in server.log, err
        filled(server, 100, at=6000)
        assert _all_ids(server) == [f"s{n}" for n in range(6100)]
        assert len(await there(postgres)) == 6100


async def there(postgres: Postgres) -> dict[int, Event]:
    """What has arrived."""
    async with open_backend(postgres.url, STORES, setting="store_url") as store:
        return await log_of(store)


def _all_ids(server: RunningServer) -> list[str]:
    """Of every signal, in the order of the log."""
    ids: list[str] = []
    with server.http() as http:
        while page := http.get("/v1/channels/main/events", params={"after": len(ids), "limit": 1000}).json()["events"]:
            ids += [event["id"] for event in page]
    return ids
