"""From every sender's body over real HTTP to a real subscriber: one server, all adapters."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from catalyst_signals import connect
from catalyst_signals.ingest import ADAPTERS
from tests.conformance.test_adapters import FIXTURES, Fixture, check
from tests.running import RunningServer

FIRST = {
    adapter: next(each for each in FIXTURES if each.adapter == adapter and each.yields)
    for adapter in ADAPTERS
    if any(each.adapter == adapter and each.yields for each in FIXTURES)
}


@pytest.mark.parametrize("fixture", FIRST.values(), ids=str)
async def test_a_senders_body_reaches_a_subscriber(server: RunningServer, fixture: Fixture) -> None:
    """Answered within 200 ms of the commit on a machine that has nothing else to do; here it may take longer."""
    wanted = fixture.expected.get("drafts", [])
    channel = f"from-{fixture.adapter}"
    with server.http() as http:
        http.put(f"/v1/channels/{channel}", json={}).raise_for_status()
        body = {"adapter": fixture.adapter, "channel": channel, "options": fixture.options}
        url = http.post("/v1/ingest", json=body).json()["url"]
        async with asyncio.timeout(30), connect(server.url, server.admin_key) as catalyst:
            stream = catalyst.events(channel=channel if wanted else "items", after=0)
            answer = await asyncio.to_thread(_post, http, url, fixture)
            assert answer.status_code in (200, 201), answer.text
            events = await _mine(stream, fixture.adapter, len(wanted or fixture.expected["items"]))
        kept = http.get("/v1/channels/ingest/events", params={"after": 0, "limit": 10_000}).json()["events"]
    found = [{"id": each["id"], **each["data"]} for each in events]
    check(found, [{k: v for k, v in each.items() if k != "id"} for each in wanted or fixture.expected["items"]])
    mine = [each for each in kept if each["data"]["adapter"] == fixture.adapter]
    assert mine and not any(secret in str(mine + found) for secret in fixture.expected.get("secrets", []))


async def _mine(stream: AsyncIterator[Any], adapter: str, count: int) -> list[Any]:
    """The next events of one adapter: news of all of them are in one channel."""
    found: list[Any] = []
    while len(found) < count:
        event = await anext(stream)
        found += [event] if event["id"].startswith(f"{adapter}.") else []
    return found


def _post(http: Any, url: str, fixture: Fixture) -> Any:
    return http.post(url, content=fixture.raw, headers={"Content-Type": fixture.content_type})
