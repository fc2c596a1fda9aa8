"""Receipts: an acknowledgement is kept and survives the server, what was not handled has none, and who got what."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
import time
import uuid
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from catalyst_signals.client import connect
from tests.running import RunningServer
from tests.socket_client import wire

Json = dict[str, Any]


def publish(server: RunningServer, **draft: object) -> Json:
    """One signal, by the admin."""
    with server.http() as http:
        answer = http.post("/v1/channels/main/signals", json={"symbol": "ACME", "action": "BUY"} | draft)
        assert answer.status_code == 201, answer.text
        told: Json = answer.json()
        return told


def deliveries(server: RunningServer, id: str, key: str | None = None, **params: str) -> Json:
    """What is said of a signal."""
    with server.http(key) as http:
        answer = http.get(f"/v1/channels/main/signals/{id}/deliveries", params=params)
        assert answer.status_code == 200, answer.text
        told: Json = answer.json()
        return told


async def until(server: RunningServer, id: str, session: str, wanted: str, key: str | None = None) -> Json:
    """The row of a session, once `wanted` is known of it."""
    async with asyncio.timeout(10):
        while True:
            told = await asyncio.to_thread(deliveries, server, id, key)
            for row in told["deliveries"]:
                if row["session"] == session and row[wanted] is not None:
                    found: Json = row
                    return found
            await asyncio.sleep(0.1)


def name() -> str:
    """An id of its own."""
    return uuid.uuid4().hex[:12]


@pytest.mark.slow
async def test_an_acknowledgement_is_kept_once_a_second_and_survives_kill_9_of_the_server(tmp_path: Path) -> None:
    """Fifty acknowledgements in two seconds are a handful of rows, and the last of them is there after the crash."""
    with RunningServer(tmp_path) as server:
        async with wire(server.url, server.admin_key) as ann:
            session = (await ann.subscribe(channel="main"))["subscriber"]
            assert ann.welcome["ack_s"] == 1
            began_s = time.monotonic()
            for _ in range(50):
                seq = (await asyncio.to_thread(publish, server))["seq"]
                await ann.events(1)
                await ann.send(type="ack", channel="main", through=seq)
                await asyncio.sleep(0.02)
            last = await asyncio.to_thread(publish, server, id="last")
            await ann.events(1)
            await ann.send(type="ack", channel="main", through=last["seq"])
            row = await until(server, "last", session, "acknowledged")
            took_s = time.monotonic() - began_s
            await asyncio.to_thread(server.kill)
        with sqlite3.connect(tmp_path / "catalyst.db") as file:
            (rows,) = file.execute("SELECT count(*) FROM receipts").fetchone()
        assert 2 <= rows <= took_s + 2, "once a second"
        await asyncio.to_thread(server.start)
        (again,) = (await asyncio.to_thread(deliveries, server, "last"))["deliveries"]
        assert again == row
        assert row["sent"]["after"] >= last["ts"], "nothing was sent before it was stored"
        assert row["acknowledged"]["by"] >= row["sent"]["by"]


CRASHING = """
import asyncio, sys
from catalyst_signals import connect
async def main():
    async with connect(sys.argv[1], sys.argv[2]) as catalyst, catalyst.signals() as signals:
        print("ready", flush=True)
        async for signal in signals:
            print(signal.id, flush=True)
            if signal.id.startswith("second"):
                await asyncio.sleep(60)
asyncio.run(main())
"""


@pytest.mark.slow
async def test_who_crashed_before_its_handler_returned_has_not_acknowledged(server: RunningServer) -> None:
    """The first was handled and is acknowledged; in the handler of the second the program was killed."""
    key, first, second = server.new_key(user="crasher"), f"first-{name()}", f"second-{name()}"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CRASHING, server.url, key, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        assert await process.stdout.readline() == b"ready\n"
        for id in (first, second):
            await asyncio.to_thread(publish, server, id=id)
            while await process.stdout.readline() != f"{id}\n".encode():
                pass  # Other tests publish too.
        (row,) = await rows_of(server, first, "crasher", acknowledged=True)
    finally:
        process.kill()
        await process.wait()
    assert row["sent"] is not None
    await asyncio.sleep(1.5)  # Whatever could still be written is.
    (row,) = await rows_of(server, second, "crasher")
    assert row["sent"] is not None
    assert row["acknowledged"] is None


async def rows_of(server: RunningServer, id: str, who: str, *, acknowledged: bool = False) -> list[Json]:
    """What is known of one user, once there is something."""
    async with asyncio.timeout(10):
        while True:
            rows = [row for row in (await asyncio.to_thread(deliveries, server, id))["deliveries"] if row["who"] == who]
            if rows and (not acknowledged or all(row["acknowledged"] for row in rows)):
                return rows
            await asyncio.sleep(0.1)


async def test_the_client_acknowledges_by_itself_what_was_handled_also_at_the_end(server: RunningServer) -> None:
    """Also a catch-up; and not at all where it was told not to."""
    keys = {user: server.new_key(user=f"{user}-{name()}") for user in ("done", "asked", "silent", "broke")}
    id = f"auto-{name()}"
    after = (await asyncio.to_thread(publish, server, id=id))["seq"] - 1
    await asyncio.to_thread(publish, server)
    for user, key in keys.items():
        async with connect(server.url, key, ack=user != "silent") as catalyst, catalyst.signals(after=after) as signals:
            await anext(signals)
            if user in ("done", "silent"):
                signals.done()
            elif user == "asked":
                await anext(signals)
    await asyncio.sleep(1.3)
    told = (await asyncio.to_thread(deliveries, server, id))["deliveries"]
    by_user = {row["who"].partition("-")[0]: row for row in told}
    assert by_user["done"]["acknowledged"] and by_user["asked"]["acknowledged"]
    for user in ("silent", "broke"):
        assert by_user[user]["sent"] and by_user[user]["acknowledged"] is None


async def test_what_was_not_sent_cannot_be_acknowledged(server: RunningServer) -> None:
    """The error says how far one may, and nothing is acknowledged by it; a right one gets no answer."""
    id = name()
    async with wire(server.url, server.admin_key) as ann:
        subscribed = await ann.subscribe(channel="main")
        seq = (await asyncio.to_thread(publish, server, id=id))["seq"]
        await ann.events(1)
        for through, field in ((seq + 1000, "through"), (-1, "through"), ("7", "through"), (None, "through")):
            await ann.send(type="ack", ref="a", channel="main", through=through)
            async with asyncio.timeout(5):
                (*_, error) = await ann.until(lambda m: m.get("ref") == "a")
            assert (error["type"], error["error"], error["field"]) == ("error", "request_invalid", field)
        await ann.send(type="ack", ref="a", channel="nowhere", through=1)
        assert (await ann.until(lambda m: m.get("ref") == "a"))[-1]["error"] == "not_found"
        row = await until(server, id, subscribed["subscriber"], "sent")
        assert row["acknowledged"] is None
        await ann.send(type="ack", ref="right", channel="main", through=seq)
        await ann.send(type="ack", ref="again", channel="main", through=seq - 1)
        await ann.send(type="unsubscribe", ref="u", channel="main")
        seen = await ann.until(lambda m: m.get("ref") == "u")
        assert not [m for m in seen if m.get("ref") in ("right", "again")]
        assert (await until(server, id, subscribed["subscriber"], "acknowledged"))["acknowledged"] is not None


async def test_what_was_on_its_way_when_the_filter_changed_is_acknowledged_under_the_filter_of_then(
    server: RunningServer,
) -> None:
    """The receiver of before gets the credit, and the row shows the filter that let it through."""
    id = name()
    async with wire(server.url, server.admin_key) as ann:
        session = (await ann.subscribe(channel="main", filter="symbol = ACME"))["subscriber"]
        seq = (await asyncio.to_thread(publish, server, id=id))["seq"]
        await ann.events(1)
        await ann.subscribe(channel="main", filter="symbol = XYZ")
        await ann.send(type="ack", channel="main", through=seq)
        row = await until(server, id, session, "acknowledged")
        assert row["filter"] == "symbol = ACME"


async def test_a_publisher_and_an_admin_see_everybody_and_a_subscriber_itself(server: RunningServer) -> None:
    """And what an entitlement hides is not there at all."""
    users = {who: f"{who}-{name()}" for who in ("pub", "ann", "bob")}
    pub = server.new_key(user=users["pub"], scopes=["publish", "subscribe"])
    ann, bob = server.new_key(user=users["ann"]), server.new_key(user=users["bob"])
    blind = server.new_key(user="blind", filter="symbol = XYZ")
    id = name()
    async with wire(server.url, ann) as one, wire(server.url, bob) as other:
        mine, theirs = (
            await one.subscribe(channel="main"),
            await other.subscribe(channel="main", filter="symbol = ACME"),
        )
        with server.http(pub) as http:
            draft = {"symbol": "ACME", "action": "BUY", "id": id, "event_at": "2026-01-02T03:04:05Z"}
            assert (await asyncio.to_thread(http.post, "/v1/channels/main/signals", json=draft)).status_code == 201
        await one.events(1)
        await other.events(1)
        await until(server, id, mine["subscriber"], "sent")
        await until(server, id, theirs["subscriber"], "sent")
        for key in (None, pub):
            told = await asyncio.to_thread(deliveries, server, id, key)
            assert {users["ann"], users["bob"]} <= {row["who"] for row in told["deliveries"]}
        told = await asyncio.to_thread(deliveries, server, id, bob)
        assert [(row["who"], row["filter"], row["state"]) for row in told["deliveries"]] == [
            (users["bob"], "symbol = ACME", "sent")
        ]
        assert told["waiting"] == [] and told["complete"]
        assert told["hops_ms"]["to_publisher"] is None and told["hops_ms"]["to_commit"] > 0
        least, most = told["deliveries"][0]["hops_ms"]["to_subscriber"]
        assert 0 <= least <= most < 3000
    with server.http(blind) as http:
        assert http.get(f"/v1/channels/main/signals/{id}/deliveries").status_code == 404
        assert http.get("/v1/channels/main/signals/none/deliveries").json()["error"] == "not_found"


async def test_who_should_have_it_and_has_not_is_named(server: RunningServer) -> None:
    """Whoever left before it came and whose filter matches; and not after they came back."""
    gone, other = f"gone-{name()}", f"other-{name()}"
    keys = {gone: server.new_key(user=gone), other: server.new_key(user=other)}
    for user, filter in ((gone, "symbol = ACME"), (other, "symbol = XYZ")):
        async with wire(server.url, keys[user]) as left:
            place = (await left.subscribe(channel="main", filter=filter))["after"]
    id = name()
    await asyncio.to_thread(publish, server, id=id)
    await asyncio.sleep(1.3)
    waiting = {each["who"]: each for each in (await asyncio.to_thread(deliveries, server, id))["waiting"]}
    assert gone in waiting and other not in waiting
    assert waiting[gone]["stands_at"] >= place and waiting[gone]["acknowledged_through"] is None
    async with wire(server.url, keys[gone]) as back:
        again = await back.subscribe(channel="main", filter="symbol = ACME", after=waiting[gone]["stands_at"])
        await until(server, id, again["subscriber"], "sent")
    told = await asyncio.to_thread(deliveries, server, id)
    assert gone not in {each["who"] for each in told["waiting"]}


async def test_who_asks_for_something_else_now_does_not_wait_for_it(server: RunningServer) -> None:
    """The filter was changed in place before it came: the one before is not owed anything."""
    id, user = name(), f"change-{name()}"
    async with wire(server.url, server.new_key(user=user)) as ann:
        for filter in ("symbol = ACME", "symbol = XYZ"):
            session = (await ann.subscribe(channel="main", filter=filter))["subscriber"]
            beside = await asyncio.to_thread(publish, server, symbol=filter.split()[-1])
            await ann.events(1)
            await until(server, beside["id"], session, "sent")
        await asyncio.to_thread(publish, server, id=id)
        await asyncio.sleep(1.3)
        told = await asyncio.to_thread(deliveries, server, id)
        assert user not in {each["who"] for each in told["waiting"] + told["deliveries"]}


async def test_of_an_erased_signal_it_is_not_said_that_nobody_got_it(server: RunningServer) -> None:
    """Whom it matched is not known any more, so the answer is not complete."""
    id = name()
    async with wire(server.url, server.admin_key) as ann:
        session = (await ann.subscribe(channel="main", filter="symbol = ACME"))["subscriber"]
        await asyncio.to_thread(publish, server, id=id)
        await until(server, id, session, "sent")
    assert (await asyncio.to_thread(deliveries, server, id))["complete"] is True
    with server.http() as http:
        assert http.delete(f"/v1/channels/main/signals/{id}").status_code == 200
    told = await asyncio.to_thread(deliveries, server, id)
    assert (told["deliveries"], told["waiting"], told["complete"]) == ([], [], False)


async def test_what_a_modifier_held_is_not_called_sent(server: RunningServer) -> None:
    """It had expired when it was asked for; the ledger's bounds say so, also when the session is over."""
    id = name()
    ends = (datetime.now(UTC) + timedelta(seconds=0.5)).isoformat()
    seq = (await asyncio.to_thread(publish, server, id=id, expires_at=ends))["seq"]
    await asyncio.sleep(0.7)
    async with wire(server.url, server.admin_key) as late:
        session = (await late.subscribe(channel="main", after=seq - 1))["subscriber"]
        await late.until(lambda m: m["type"] == "live")
        beyond = await asyncio.to_thread(publish, server, id=name())
        await late.events(1)
        await late.send(type="ack", channel="main", through=beyond["seq"])
        await until(server, beyond["id"], session, "acknowledged")
        row = await until(server, id, session, "state")
    assert (row["state"], row["reason"]) == ("held", "expired")
    assert (row["sent"], row["acknowledged"]) == (None, None), "what came after it was"


async def test_why_did_i_get_it_says_when_and_whether_it_was_acknowledged(server: RunningServer) -> None:
    """The delivery of `explain` for a subscriber."""
    id = name()
    async with wire(server.url, server.admin_key) as ann:
        session = (await ann.subscribe(channel="main"))["subscriber"]
        seq = (await asyncio.to_thread(publish, server, id=id))["seq"]
        await ann.events(1)
        await until(server, id, session, "sent")
        with server.http() as http:
            ask = {"subscriber": session, "seq": seq}
            told = (await asyncio.to_thread(http.post, "/v1/filters/explain", json=ask)).json()["delivery"]
            assert told["state"] == "sent" and told["sent"]["by"] and told["acknowledged"] is None
            assert "not acknowledged yet" in told["says"]
            await ann.send(type="ack", channel="main", through=seq)
            await until(server, id, session, "acknowledged")
            told = (await asyncio.to_thread(http.post, "/v1/filters/explain", json=ask)).json()["delivery"]
            assert told["acknowledged"]["by"] in told["says"]


@pytest.mark.slow
async def test_one_of_several_processes_knows_the_receipts_of_all(tmp_path: Path) -> None:
    """Eight subscribers on two processes; whichever is asked names all of them."""
    with RunningServer(tmp_path, processes=2) as server:
        stack = AsyncExitStack()
        wires = [await stack.enter_async_context(wire(server.url, server.admin_key)) for _ in range(8)]
        sessions = [(await each.subscribe(channel="main"))["subscriber"] for each in wires]
        seq = (await asyncio.to_thread(publish, server, id="all"))["seq"]
        for each in wires:
            await each.events(1)
            await each.send(type="ack", channel="main", through=seq)
        for session in sessions:
            await until(server, "all", session, "acknowledged")
        for _ in range(8):
            rows = (await asyncio.to_thread(deliveries, server, "all"))["deliveries"]
            assert sorted(row["session"] for row in rows) == sorted(sessions)
        await stack.aclose()


@pytest.mark.slow
async def test_nothing_is_kept_where_the_ledger_is_off(tmp_path: Path) -> None:
    """Clients are not asked to acknowledge, one that does is judged all the same, and nothing is written."""
    with RunningServer(tmp_path, ledger_s=0) as server:
        async with wire(server.url, server.admin_key) as ann:
            assert ann.welcome["ack_s"] is None
            await ann.subscribe(channel="main")
            seq = (await asyncio.to_thread(publish, server, id="one"))["seq"]
            await ann.events(1)
            await ann.send(type="ack", channel="main", through=seq)
            await ann.send(type="ack", ref=1, channel="main", through=seq + 1)
            assert (await ann.until(lambda m: m.get("ref") == 1))[-1]["error"] == "request_invalid"
            await asyncio.sleep(1.5)
        assert (await asyncio.to_thread(deliveries, server, "one"))["deliveries"] == []


@pytest.mark.slow
async def test_what_was_handled_before_a_restart_is_acknowledged_before_it(tmp_path: Path) -> None:
    """Also what the second between two acknowledgements would have held; and what is too old is forgotten."""
    with RunningServer(tmp_path, retention_s=0.2) as server:
        handled: list[str] = []

        async def handle() -> None:
            async with connect(server.url, server.admin_key) as catalyst:
                async for signal in catalyst.signals(after=0):
                    handled.append(signal.id)

        task = asyncio.create_task(handle())
        for id in ("one", "two"):
            await asyncio.to_thread(publish, server, id=id)
            async with asyncio.timeout(10):
                while id not in handled:
                    await asyncio.sleep(0.01)
        assert await asyncio.to_thread(server.stop) == 0
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await asyncio.to_thread(server.start)
        (row,) = (await asyncio.to_thread(deliveries, server, "two"))["deliveries"]
        assert row["acknowledged"] is not None
        await asyncio.to_thread(server.stop)
        server.settings["CATALYST_LEDGER_S"] = "0.1"
        await asyncio.to_thread(server.start)
        async with asyncio.timeout(10):
            while (await asyncio.to_thread(deliveries, server, "two"))["deliveries"]:
                await asyncio.sleep(0.1)
