"""A damaged log is served around the damage, and the server says so. Covers `catalyst_signals.server.house`."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from catalyst_signals import Gap, connect
from tests.running import RunningServer
from tests.socket_client import wire

ACME = {"symbol": "ACME", "action": "BUY"}
COUNT = 1600  # Before its newest thousand are verified nothing is written to a file that is opened.
BAD = 257  # The first of a page that many share.


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server whose file was changed by hand while it was stopped: the body of one old event."""
    with RunningServer(tmp_path_factory.mktemp("damaged"), poll_s=0.2, position_s=1) as server:
        with server.http() as http:
            for first in range(0, COUNT, 400):
                batch = [ACME | {"id": f"n{n}"} for n in range(first, first + 400)]
                http.post("/v1/channels/main/signals", json=batch).raise_for_status()
        server.stop()
        _flip_a_bit(server.folder / "catalyst.db")
        yield server.start()


def _flip_a_bit(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        number = connection.execute("SELECT number FROM heads WHERE channel = 'main'").fetchone()[0]
        where = (number << 40 | BAD,)
        body = bytearray(connection.execute("SELECT body FROM events WHERE place = ?", where).fetchone()[0])
        body[body.index(b"ACME")] ^= 1
        connection.execute("UPDATE events SET body = ? WHERE place = ?", (bytes(body), *where))
    connection.close()


def publish(server: RunningServer, id: str) -> int:
    """One more signal; its seq."""
    with server.http() as http:
        seq: int = http.post("/v1/channels/main/signals", json=ACME | {"id": id}).json()["seq"]
        return seq


def test_readyz_names_the_event_before_anybody_asked_for_it(damaged: RunningServer) -> None:
    """An operator is woken by the probe, not by a subscriber."""
    with damaged.http() as http:
        for _ in range(100):
            answer = http.get("/readyz")
            if answer.status_code == 503:
                break
            time.sleep(0.1)
        assert answer.status_code == 503
        assert f"event {BAD} (n{BAD - 1})" in answer.json()["wrong"]["channel main"]
        assert "catalyst_untrusted_channels 1.0" in http.get("/metrics").text


def test_history_ends_before_it_names_it_and_goes_on_after_it(damaged: RunningServer) -> None:
    """Nobody trades on a price that was never published."""
    with damaged.http() as http:
        page = http.get("/v1/channels/main/events").json()
        assert page["complete_through"] == BAD - 1 and page["events"][-1]["seq"] == BAD - 1
        refusal = http.get("/v1/channels/main/events", params={"after": BAD - 1})
        said = refusal.json()
        assert (refusal.status_code, said["error"], said["retry"]) == (503, "range_untrusted", False)
        assert (said["void"], said["resume_after"]) == ([BAD, BAD], BAD)
        assert (said["channel"], said["seq"]) == ("main", BAD)
        page = http.get("/v1/channels/main/events", params={"after": BAD, "limit": 10_000}).json()
        assert [event["seq"] for event in page["events"]] == list(range(BAD + 1, page["head"] + 1))


async def test_a_subscriber_is_told_the_range_and_live_signals_go_on(damaged: RunningServer) -> None:
    """Old damage is no reason to miss what happens now."""
    async with wire(damaged.url, damaged.admin_key) as me, wire(damaged.url, damaged.admin_key) as live:
        await live.subscribe(channel="main")
        await me.subscribe(channel="main", after=0)
        seen = await me.until(lambda m: m["type"] == "error")
        assert [m["seq"] for m in seen if m["type"] == "signal.published"] == list(range(1, BAD))
        assert seen[-1]["error"] == "range_untrusted" and seen[-1]["channel"] == "main"
        assert seen[-1]["void"] == [BAD, BAD]
        subscribed = await me.subscribe(channel="main", after=seen[-1]["resume_after"])
        assert subscribed["type"] == "subscribed"
        seq = await asyncio.to_thread(publish, damaged, "live")
        assert [m["seq"] for m in await me.events(seq - BAD)] == list(range(BAD + 1, seq + 1))
        assert (await live.events(1))[0]["seq"] == seq


def test_server_sent_events_end_before_it_and_name_it(damaged: RunningServer) -> None:
    """A browser shows what the operator has to mend."""
    with damaged.http() as http, http.stream("GET", "/v1/channels/main/stream", params={"after": 0}) as stream:
        lines = list(stream.iter_lines())
    error = json.loads(lines[lines.index("event: error") + 1].removeprefix("data: "))
    assert (error["error"], error["void"]) == ("range_untrusted", [BAD, BAD])
    assert sum(line.startswith('data: {"type":"signal') for line in lines) == BAD - 1


async def test_the_client_library_tells_a_gap_and_goes_on(damaged: RunningServer) -> None:
    """A bot hears of the hole and of everything else exactly once."""
    gaps: list[Gap] = []
    seqs: list[int] = []
    async with asyncio.timeout(30), connect(damaged.url, damaged.admin_key, on_gap=gaps.append) as catalyst:
        async for signal in catalyst.signals(after=0):
            seqs.append(signal.seq)
            if signal.seq >= COUNT:
                break
    assert seqs == [*range(1, BAD), *range(BAD + 1, COUNT + 1)]
    assert [(gap.reason, gap.void) for gap in gaps] == [("range_untrusted", (BAD, BAD))]


@pytest.mark.slow
async def test_a_place_at_the_bad_event_resumes_with_its_hash(damaged: RunningServer) -> None:
    """Whoever had that event while it was whole lost nothing: the one after it proves the hash."""
    with damaged.http() as http:
        (after,) = http.get("/v1/channels/main/events", params={"after": BAD, "limit": 1}).json()["events"]
    with sqlite3.connect(f"file:{damaged.folder / 'catalyst.db'}?mode=ro", uri=True) as connection:
        (hash,) = connection.execute("SELECT hash FROM events WHERE id = ?", (f"n{BAD - 1}",)).fetchone()
    connection.close()
    async with wire(damaged.url, damaged.admin_key) as me:
        assert (await me.subscribe(channel="main", after=BAD, hash=hash[:4].hex()))["type"] == "subscribed"
        assert (await me.events(1))[0]["seq"] == after["seq"]
    async with wire(damaged.url, damaged.admin_key) as me:
        assert (await me.subscribe(channel="main", after=BAD, hash="00000000"))["error"] == "epoch_changed"
