"""What retention and publishers' clocks look like from outside. Covers `catalyst_signals.server.house`."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from catalyst_signals.stores.sqlite import SqliteStore
from tests.running import RunningServer
from tests.socket_client import wire

ACME = {"symbol": "ACME", "action": "BUY"}


def publish(server: RunningServer, channel: str, count: int, **fields: object) -> None:
    """So many signals."""
    with server.http() as http:
        http.put(f"/v1/channels/{channel}", json={}).raise_for_status()
        http.post(f"/v1/channels/{channel}/signals", json=[ACME | fields] * count).raise_for_status()


def keep_newest(server: RunningServer, channel: str, count: int) -> dict[str, Any]:
    """From now on a channel keeps so many; what it holds once it has done so, or after three seconds."""
    with server.http() as http:
        http.put(f"/v1/channels/{channel}", json={"retention": {"count": count}}).raise_for_status()
        for _ in range(60):
            said: dict[str, Any] = http.get(f"/v1/channels/{channel}").json()
            if said["first"] == said["last"] - count + 1:
                break
            time.sleep(0.05)
        return said


async def test_whoever_resumes_below_the_first_kept_is_told_the_extent(tmp_path: Path) -> None:
    """On every way in, at once after the sweep, though what was dropped may still be in our memory."""
    with RunningServer(tmp_path, retention_s=0.1, poll_s=30) as server:
        publish(server, "short", 20)
        with server.http() as http:
            whole = http.get("/v1/channels/short/events").json()
            assert len(whole["events"]) == 20
            async with wire(server.url, server.admin_key) as early:
                await early.subscribe(channel="short", after=0)
                await early.events(20)
                said = await asyncio.to_thread(keep_newest, server, "short", 5)
                extent = {"first": 16, "last": 20, "epoch": whole["epoch"]}
                assert extent.items() <= said.items()
                refused = http.get("/v1/channels/short/events", params={"after": 3})
                assert refused.status_code == 410 and extent.items() <= refused.json().items()
                stream = http.get("/v1/channels/short/stream", params={"after": 3})
                assert stream.status_code == 410 and extent.items() <= stream.json().items()
                told = await early.subscribe(channel="short", after=3)
                assert told["error"] == "position_too_old" and extent.items() <= told.items()
                assert (await early.subscribe(channel="short", after=15))["type"] == "subscribed"
                assert [event["seq"] for event in await early.events(5)] == [16, 17, 18, 19, 20]


@pytest.mark.slow
async def test_a_worker_holds_back_with_a_warning_and_is_shown_as_lost_afterwards(tmp_path: Path) -> None:
    """An operator hears of the notifier that stands still before anything of it is gone."""
    with RunningServer(tmp_path, retention_s=0.1, retention_wait_s=3600) as server:
        publish(server, "short", 20)
        server.stop()
        async with SqliteStore(tmp_path / "catalyst.db") as store:
            assert await store.keep("score", "short", 8, was=0)
        server.start()
        assert (await asyncio.to_thread(keep_newest, server, "short", 5))["first"] == 9
        with server.http() as http:
            ready = http.get("/readyz")
            assert ready.status_code == 200 and "`score`" in ready.json()["warnings"][0]
            assert 'catalyst_retention_held_seconds{channel="short"} 0.0' not in http.get("/metrics").text
        server.stop()
        server.settings["CATALYST_RETENTION_WAIT_S"] = "0"
        server.start()
        with server.http() as http:
            for _ in range(60):
                warnings = http.get("/readyz").json()["warnings"]
                if warnings:
                    break
                await asyncio.sleep(0.05)
            assert "`score` is lost: it stands at 8, and 16 is the first" in warnings[0]
            assert 'catalyst_workers_lost{channel="short"} 1.0' in http.get("/metrics").text
        assert server.log.count("retention waits for a worker") == 1, "told once, not at every sweep"


def test_a_publisher_whose_clock_is_wrong_is_reported_and_its_signals_keep_their_place(server: RunningServer) -> None:
    """A clock that is a minute ahead explains much; it never decides an order."""
    key = server.new_key(user="early", scopes=["publish"], channels=["*"])
    with server.http(key) as http:
        sent_at = (datetime.now(UTC) + timedelta(seconds=60)).isoformat()
        http.post("/v1/channels/main/signals", json=ACME | {"sent_at": sent_at}).raise_for_status()
    with server.http() as http:
        lines = [each for each in http.get("/metrics").text.splitlines() if each.startswith("catalyst_publisher_clock")]
        assert -61 < float(lines[0].split()[-1]) < -50
        warnings = [each for each in http.get("/readyz").json()["warnings"] if "ahead" in each]
        assert warnings and "early" not in warnings[0], "names are for admins"
        users = {each["user"]: each["clock_skew_s"] for each in http.get("/v1/users").json()["users"]}
        assert -61 < users["early"] < -50 and users["admin"] is None
