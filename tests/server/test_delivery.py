"""Delivery over the socket, by server-sent events and as history: exactly `filter(log)`, in order, from a position."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from tests.running import RunningServer
from tests.socket_client import wire


def channel_with(server: RunningServer, name: str, count: int, **fields: Any) -> int:
    """A channel of its own with `count` signals, alternately ACME and XYZ; its head."""
    with server.http() as http:
        http.put(f"/v1/channels/{name}", json={})
        drafts = [
            {"symbol": ("ACME", "XYZ")[i % 2], "action": "BUY", "confidence": i % 10 / 10, "id": f"{name}-{i}"} | fields
            for i in range(count)
        ]
        if drafts:
            http.post(f"/v1/channels/{name}/signals", json=drafts).raise_for_status()
        head: int = http.get(f"/v1/channels/{name}").json()["last"]
        return head


def publish(server: RunningServer, channel: str, **fields: Any) -> int:
    """One signal; its seq."""
    with server.http() as http:
        answer = http.post(f"/v1/channels/{channel}/signals", json={"symbol": "ACME", "action": "BUY"} | fields)
        answer.raise_for_status()
        seq: int = answer.json()["seq"]
        return seq


async def test_a_subscriber_gets_the_past_then_live_then_the_present(server: RunningServer) -> None:
    """`live` tells a client that from here on it is told as it happens."""
    channel_with(server, "past", 6)
    async with wire(server.url, server.admin_key) as me:
        said = await me.subscribe(channel="past", after=0, filter="symbol = ACME")
        assert said["type"] == "subscribed" and said["head"] == 6 and said["filter"] == "symbol = ACME"
        seen = await me.until(lambda m: m["type"] == "live")
        assert [m["seq"] for m in seen if m["type"] == "signal.published"] == [1, 3, 5]
        assert seen[-1] == {"type": "live", "channel": "past", "at": 6}
        publish(server, "past", symbol="XYZ")
        publish(server, "past", symbol="ACME")
        (event,) = await me.events(1)
    assert event["seq"] == 8 and event["data"]["instrument"]["symbol"] == "ACME"


async def test_a_quiet_filter_still_gets_a_place_to_resume_from(server: RunningServer) -> None:
    """Clients with rare matches must not replay a week after a reconnect."""
    channel_with(server, "quiet", 4)
    async with wire(server.url, server.admin_key) as me:
        said = await me.subscribe(channel="quiet", filter="symbol = NOBODY", position_s=1)
        seq = publish(server, "quiet")
        seen = await me.until(lambda m: m["type"] == "position" and m["complete_through"] == seq)
    position = seen[-1]
    assert position["sent"] == 0 and position["epoch"] == said["epoch"] and len(position["hash"]) == 8


async def test_a_position_resumes_exactly_with_its_epoch_and_hash(server: RunningServer) -> None:
    """After a night offline nothing is missing and nothing comes twice."""
    channel_with(server, "resume", 5)
    async with wire(server.url, server.admin_key) as me:
        await me.subscribe(channel="resume", after=0, position_s=1)
        await me.events(5)
        position = (await me.until(lambda m: m["type"] == "position"))[-1]
        assert position["sent"] == 5
    publish(server, "resume")
    async with wire(server.url, server.admin_key) as me:
        await me.subscribe(
            channel="resume", after=position["complete_through"], epoch=position["epoch"], hash=position["hash"]
        )
        assert [e["seq"] for e in await me.events(1)] == [6]


async def test_every_place_in_the_middle_of_the_log_is_checked_by_its_hash(server: RunningServer) -> None:
    """A log that was swapped must not be resumed silently."""
    channel_with(server, "middle", 5)
    async with wire(server.url, server.admin_key) as me:
        epoch = (await me.subscribe(channel="middle", after=0))["epoch"]
        refused = await me.subscribe(channel="middle", after=3, epoch=epoch, hash="00000000")
        assert refused["error"] == "epoch_changed" and refused["void"] == [1, 3] and refused["resume_after"] == 0
        other = await me.subscribe(channel="middle", after=3, epoch="another")
        assert other["error"] == "epoch_changed"
        ahead = await me.subscribe(channel="middle", after=99)
        assert ahead["error"] == "position_ahead" and ahead["head"] == 5


async def test_what_retention_dropped_is_told_with_the_first_kept(server: RunningServer) -> None:
    """A gap that is told can be acted on."""
    folder = server.folder / "kept"
    folder.mkdir()
    with RunningServer(folder, retention_s=0.2, poll_s=0.2) as own:
        channel_with(own, "short", 10)
        with own.http() as http:
            http.put("/v1/channels/short", json={"retention": {"count": 3}}).raise_for_status()
        async with wire(own.url, own.admin_key) as me:
            for _ in range(100):
                refused = await me.subscribe(channel="short", after=0)
                if refused["type"] == "error":
                    break
                await asyncio.sleep(0.05)
            assert refused["error"] == "position_too_old" and refused["first"] == 8
            await me.subscribe(channel="short", after=7)
            assert [e["seq"] for e in await me.events(3)] == [8, 9, 10]


async def test_a_filter_changed_on_a_live_connection_loses_and_repeats_nothing(server: RunningServer) -> None:
    """People tune filters while the market is open."""
    channel_with(server, "tune", 0)
    async with wire(server.url, server.admin_key) as me:
        await me.subscribe(channel="tune", filter="symbol = ACME")
        publish(server, "tune", symbol="ACME")
        publish(server, "tune", symbol="XYZ")
        said = await me.subscribe(channel="tune", filter="symbol = XYZ")
        publish(server, "tune", symbol="XYZ")
        publish(server, "tune", symbol="ACME")
        publish(server, "tune", symbol="XYZ")
        events = await me.events(2)
    assert said["after"] == 2
    assert [e["seq"] for e in events] == [3, 5]


async def test_several_channels_share_one_connection(server: RunningServer) -> None:
    """`*` is every channel the key may see, and no other."""
    channel_with(server, "one", 2)
    channel_with(server, "two", 2)
    key = server.new_key(scopes=["subscribe"], channels=["one", "two"])
    async with wire(server.url, key) as me:
        await me.send(type="subscribe", ref=9, channels="*")
        said = await me.until(lambda m: m.get("channel") == "two" and m["type"] == "live")
        assert {m["channel"] for m in said} == {"one", "two"}
        publish(server, "two")
        publish(server, "one")
        assert {e["channel"] for e in await me.events(2)} == {"one", "two"}
        await me.send(type="unsubscribe", channel="two", ref=10)
        await me.until(lambda m: m.get("ref") == 10)
        publish(server, "two")
        publish(server, "one")
        assert [e["channel"] for e in await me.events(1)] == ["one"]


async def test_an_entitlement_cannot_be_widened(server: RunningServer) -> None:
    """What a friend pays for is what they see, whatever they ask for."""
    channel_with(server, "paid", 4)
    key = server.new_key(scopes=["subscribe"], channels=["paid"], filter="symbol = ACME")
    async with wire(server.url, key) as me:
        said = await me.subscribe(channel="paid", after=0, filter="symbol = XYZ or confidence >= 0")
        assert "symbol = ACME" in said["filter"]
        seen = await me.until(lambda m: m["type"] == "live")
    assert [m["seq"] for m in seen if "seq" in m] == [1, 3]
    with server.http(key) as http:
        assert [e["seq"] for e in http.get("/v1/channels/paid/events").json()["events"]] == [1, 3]


def test_history_pages_by_complete_through(server: RunningServer) -> None:
    """A backfill asks again after `complete_through` until it is the head."""
    channel_with(server, "pages", 25)
    seqs, after = [], 0
    with server.http() as http:
        while True:
            page = http.get(
                "/v1/channels/pages/events", params={"after": after, "limit": 4, "filter": "symbol = XYZ"}
            ).json()
            seqs += [e["seq"] for e in page["events"]]
            after = page["complete_through"]
            if after == page["head"]:
                break
    assert seqs == list(range(2, 26, 2))


def test_a_page_that_cannot_change_may_be_cached(server: RunningServer) -> None:
    """Dashboards ask for the same past again and again."""
    channel_with(server, "cache", 10)
    with server.http() as http:
        below = http.get("/v1/channels/cache/events", params={"limit": 3})
        assert "immutable" in below.headers["cache-control"]
        same = http.get(
            "/v1/channels/cache/events", params={"limit": 3}, headers={"If-None-Match": below.headers["etag"]}
        )
        assert same.status_code == 304
        assert "etag" not in http.get("/v1/channels/cache/events").headers


def test_server_sent_events_resume_by_last_event_id(server: RunningServer) -> None:
    """A browser's EventSource reconnects by itself with the id it saw last."""
    channel_with(server, "sse", 6)
    with server.http() as http:
        first = _sse(http, "/v1/channels/sse/stream?after=0&filter=symbol%20%3D%20ACME", {}, 2)
        assert [json.loads(e["data"])["seq"] for e in first] == [1, 3]
        rest = _sse(http, "/v1/channels/sse/stream?filter=symbol%20%3D%20ACME", {"Last-Event-ID": first[-1]["id"]}, 1)
    assert [json.loads(e["data"])["seq"] for e in rest] == [5]


def _sse(http: Any, path: str, headers: dict[str, str], count: int) -> list[dict[str, str]]:
    found: list[dict[str, str]] = []
    event: dict[str, str] = {}
    with http.stream("GET", path, headers=headers) as answer:
        assert answer.status_code == 200, answer.read()
        for line in answer.iter_lines():
            if line:
                name, _, value = line.partition(": ")
                event[name] = value
            elif event:
                if "data" in event:
                    found.append(event)
                event = {}
            if len(found) == count:
                return found
    return found
