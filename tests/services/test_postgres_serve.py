"""`catalyst serve` on PostgreSQL: the same program, told another URL."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from catalyst_signals.client import connect
from tests.running import RunningServer
from tests.services.cuts import Wire
from tests.services.postgres import USER, Shared, shared

pytestmark = pytest.mark.slow

DRAFTS = [{"id": f"s{n}", "symbol": "ACME", "action": "BUY", "confidence": 0.8} for n in range(50)]


@pytest.fixture
def site() -> Iterator[Shared]:
    """A server and a pool, without a log."""
    found = shared()
    found.emptied()
    yield found


def catalyst(server: RunningServer, *args: object) -> subprocess.CompletedProcess[str]:
    """One command, with the server's store in its environment."""
    return subprocess.run(
        [sys.executable, "-m", "catalyst_signals", *map(str, args)], cwd=server.folder, capture_output=True, text=True,
        env=os.environ | {"CATALYST_STORE_URL": server.store_url}, stdin=subprocess.DEVNULL, timeout=60, check=False,
    )  # fmt: skip


async def test_a_subscriber_goes_on_after_kill_9_of_a_server_on_postgresql(site: Shared, tmp_path: Path) -> None:
    """Behind the pool, as an operator would run it."""
    with RunningServer(tmp_path, store_url=site.pool.url, poll_s=0.2) as server:
        handled: list[int] = []
        reading = asyncio.create_task(_read(server, handled))
        async with connect(server.url, server.admin_key, publish_timeout_s=60) as publisher:
            told = [(await publisher.publish(draft)).seq for draft in DRAFTS[:25]]
            await asyncio.to_thread(server.kill)
            await asyncio.to_thread(server.start)
            told += [(await publisher.publish(draft)).seq for draft in DRAFTS[25:]]
            assert (await publisher.publish(DRAFTS[0])).seq == told[0]
        async with asyncio.timeout(20):
            while len(handled) < len(DRAFTS):
                await asyncio.sleep(0.02)
        reading.cancel()
        assert handled == told == list(range(1, 51))


async def _read(server: RunningServer, handled: list[int]) -> None:
    async with connect(server.url, server.admin_key) as catalyst:
        async for signal in catalyst.signals("symbol = ACME", after=0):
            handled.append(signal.seq)


def test_a_log_in_postgresql_is_verified_exported_and_erased_from(site: Shared, tmp_path: Path) -> None:
    """The commands go through the port, beside a running server."""
    with RunningServer(tmp_path, store_url=site.server.url) as server:
        with server.http() as http:
            http.post("/v1/channels/main/signals", json=DRAFTS).raise_for_status()
        done = catalyst(server, "verify", "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["ok"] and sum(json.loads(done.stdout)["rows"].values()) > 50
        done = catalyst(server, "export", "log.ndjson")
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "log.ndjson").read_text().count("ACME") == 50
        with server.http() as http:
            http.delete("/v1/channels/main/events/7").raise_for_status()
            page = http.get("/v1/channels/main/events", params={"after": 6, "limit": 1}).json()
        assert page["events"][0]["seq"] == 8, "what is erased matches nothing"
        assert server.stop() == 0
        done = catalyst(server, "erase", "--seq", "8", "--yes", "--store-url", server.store_url)
        assert done.returncode == 0, done.stderr
        assert site.server.sql("SELECT seq FROM catalyst.events WHERE body = '' ORDER BY 1") == [(7,), (8,)]
        assert catalyst(server, "verify").returncode == 0


async def test_a_store_that_hangs_keeps_no_server_from_stopping(site: Shared, tmp_path: Path) -> None:
    drain_s = 6
    with Wire(site.server.port) as wire:
        url = f"postgresql://{USER}@127.0.0.1:{wire.port}/postgres"
        with RunningServer(tmp_path, store_url=url, drain_s=drain_s) as server:
            wire.cut()
            await asyncio.sleep(2)  # Until a poll waits.
            began_s = time.monotonic()
            assert await asyncio.to_thread(server.stop) == 0
            assert time.monotonic() - began_s < drain_s + 3


def test_who_gives_a_wrong_url_is_told_where_it_led_and_what_to_look_at() -> None:
    asked = ["verify", "--store-url", "postgresql://catalyst:s3cret@127.0.0.1:1/log"]
    done = subprocess.run(
        [sys.executable, "-m", "catalyst_signals", *asked], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 5
    assert "postgresql://catalyst:***@127.0.0.1:1/log: is it up, and are the user, password" in done.stderr
    assert "s3cret" not in done.stderr
