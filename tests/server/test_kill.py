"""`kill -9` under load: no acknowledged signal is missing, none comes twice, the log verifies."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from catalyst_signals.client import Catalyst, connect
from catalyst_signals.filters import parse
from catalyst_signals.stores.sqlite import SqliteStore
from catalyst_signals.verify import verify
from tests.running import RunningServer

KILLS = 50
PUBLISHERS = 4
FILTERS = ("", "symbol = ACME", "symbol = XYZ and confidence >= 0.5", "confidence < 0.3")


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_fifty_kills_under_load_lose_nothing_and_repeat_nothing(tmp_path: Path) -> None:
    """The promise, with the real server, the real client and the real disk."""
    with RunningServer(tmp_path, poll_s=0.2, position_s=1) as server:
        acked: dict[str, int] = {}
        handled: list[list[int]] = [[] for _ in FILTERS]
        stop = asyncio.Event()
        publishers = [asyncio.create_task(_publish(server, n, acked, stop)) for n in range(PUBLISHERS)]
        readers = [asyncio.create_task(_read(server, f, handled[i])) for i, f in enumerate(FILTERS)]
        for _ in range(KILLS):
            await asyncio.sleep(random.uniform(0.2, 1.0))
            await asyncio.to_thread(server.kill)
            await asyncio.to_thread(server.start)
        await asyncio.sleep(0.5)
        stop.set()
        await asyncio.wait_for(asyncio.gather(*publishers), 150)
        log = await asyncio.to_thread(_log, server)
        assert await _all_there(handled, log), "a reader did not reach the head"
        for task in readers:
            task.cancel()
        await asyncio.gather(*readers, return_exceptions=True)
        assert await asyncio.to_thread(server.stop) == 0

    assert len(acked) > KILLS, "the load was too light to prove anything"
    assert all(log[seq]["id"] == id for id, seq in acked.items()), "an acknowledged signal is missing or elsewhere"
    assert sorted(log) == list(range(1, len(log) + 1)), "the log has a hole"
    for text, seqs in zip(FILTERS, handled, strict=True):
        assert seqs == [seq for seq in sorted(log) if parse(text).matches(log[seq])]
    async with SqliteStore.from_url(f"sqlite:///{tmp_path / 'catalyst.db'}?readonly=1") as store:
        report = await verify(store)
    assert report.faults == {} or not report.faults


async def _publish(server: RunningServer, number: int, acked: dict[str, int], stop: asyncio.Event) -> None:
    count = 0
    async with connect(server.url, server.admin_key, publish_timeout_s=120) as catalyst:
        while not stop.is_set():
            count += 1
            draft = {
                "id": f"p{number}-{count}", "symbol": random.choice(("ACME", "XYZ", "QQQ")), "action": "BUY",
                "confidence": random.randrange(100) / 100,
            }  # fmt: skip
            receipt = await catalyst.publish(draft)
            acked[receipt.id] = receipt.seq
            await asyncio.sleep(0.002)


async def _read(server: RunningServer, filter: str, handled: list[int]) -> None:
    async with connect(server.url, server.admin_key) as catalyst:
        await _into(catalyst, filter, handled)


async def _into(catalyst: Catalyst, filter: str, handled: list[int]) -> None:
    async for signal in catalyst.signals(filter, after=0):
        handled.append(signal.seq)


def _log(server: RunningServer) -> dict[int, dict[str, object]]:
    found: dict[int, dict[str, object]] = {}
    with server.http() as http:
        after = 0
        while True:
            page = http.get("/v1/channels/main/events", params={"after": after, "limit": 1000}).json()
            found |= {event["seq"]: event for event in page["events"]}
            after = page["complete_through"]
            if after == page["head"]:
                return found


async def _all_there(handled: list[list[int]], log: dict[int, dict[str, object]]) -> bool:
    wanted = [sum(parse(text).matches(event) for event in log.values()) for text in FILTERS]
    for _ in range(600):
        if [len(seqs) for seqs in handled] == wanted:
            return True
        await asyncio.sleep(0.05)
    return False
