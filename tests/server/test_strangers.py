"""What somebody who means harm, or is only careless, might try: no rights, no memory and no time are to be had."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sqlite3
import time
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed

from tests.running import RunningServer
from tests.server.test_bad_input import _everything, _masked, _upgraded
from tests.socket_client import wire

ACME = {"symbol": "ACME", "action": "BUY"}


async def test_one_connection_speaks_for_one_key(server: RunningServer) -> None:
    """Revoking the key that subscribed must end what it subscribed to."""
    with server.http() as http:
        first = http.post("/v1/keys", json={"user": "first"}).json()
        second = http.post("/v1/keys", json={"user": "second", "filter": "symbol = NOTHING"}).json()
        async with wire(server.url, first["key"]) as me:
            await me.subscribe(channel="main")
            await me.send(type="auth", key=second["key"], ref=1)
            assert (await me.until(lambda m: m.get("ref") == 1))[-1]["error"] == "request_invalid"
            http.delete(f"/v1/keys/{first['id']}")
            with pytest.raises(ConnectionClosed):
                while True:
                    await me.next()


def test_hundreds_who_come_at_once_all_come_in(server: RunningServer) -> None:
    """A few a turn, whoever was first; a head that comes in two pieces too, and who leaves meanwhile harms nobody."""
    head = (
        f"GET /v1/ws HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {server.admin_key}\r\nConnection: Upgrade\r\n"
        "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    ).encode()
    with contextlib.ExitStack() as stack:
        raws = [stack.enter_context(socket.create_connection(("127.0.0.1", server.port), 10)) for _ in range(400)]
        for raw in raws:
            raw.sendall(head[:40])
        for raw in raws:
            raw.sendall(head[40:])
        for raw in raws[::10]:
            raw.close()
        for at, raw in enumerate(raws):
            if at % 10:
                assert raw.recv(4096).startswith(b"HTTP/1.1 101 ")
    with server.http() as http:
        assert http.get("/healthz").json() == {"status": "alive"}


async def test_a_message_of_any_shape_is_answered(server: RunningServer) -> None:
    """No shape of JSON is a way to a traceback."""
    for text in (
        '{"type":["x"]}',
        '{"type":{}}',
        '{"type":null}',
        '"x"',
        "7",
        "null",
        '{"type":"subscribe","channels":{}}',
    ):
        async with wire(server.url, server.admin_key) as me:
            await me.socket.send(text)
            assert (await me.next())["type"] == "error"


async def test_a_stranger_gets_one_answer(server: RunningServer) -> None:
    """Without a key, a mistake is the end."""
    async with wire(server.url, None) as me:
        await me.socket.send("[]")
        assert (await me.next())["error"] == "request_invalid"
        with pytest.raises(ConnectionClosed) as closed:
            await me.next()
    assert closed.value.rcvd is not None and closed.value.rcvd.code == 4501


def test_who_sends_and_never_reads_costs_no_memory(server: RunningServer) -> None:
    """Answers that nobody takes stop the reading, not the server."""
    assert server.process is not None
    with _upgraded(server) as raw:
        before = _rss_kib(server.process.pid)
        raw.settimeout(2)
        flood = _masked(0x81, b"[]") * 10_000
        with pytest.raises(TimeoutError):
            for _ in range(200):
                raw.sendall(flood)
        assert _rss_kib(server.process.pid) - before < 30_000


def _rss_kib(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmRSS")))


async def test_a_stream_of_a_revoked_key_ends_within_seconds(server: RunningServer) -> None:
    """Server-sent events are no way around a revocation."""
    with server.http() as http:
        made = http.post("/v1/keys", json={"user": "leaver"}).json()
        headers = {"Authorization": f"Bearer {made['key']}"}

        def read() -> str:
            with http.stream("GET", "/v1/channels/main/stream", headers=headers) as answer:
                return "".join(answer.iter_text())

        reading = asyncio.create_task(asyncio.to_thread(read))
        await asyncio.sleep(0.3)
        with server.http() as other:
            other.delete(f"/v1/keys/{made['id']}")
        assert '"unauthenticated"' in await asyncio.wait_for(reading, 15)


def test_a_trial_run_publishes_nothing(server: RunningServer) -> None:
    """Somebody who tests an alert must not send a live trade to everyone."""
    with server.http() as http:
        url = http.post("/v1/ingest", json={"adapter": "generic"}).json()["url"]
        head = http.get("/v1/channels/main").json()["last"]
        assert len(http.post(url + "?dry_run=1", json=ACME).json()["drafts"]) == 1
        assert http.get("/v1/channels/main").json()["last"] == head
        assert http.post(url + "/", json=ACME).status_code == 404  # And no redirect that loses it.
        many = http.post(url, json=[ACME | {"id": str(n)} for n in range(1001)])
        assert many.status_code == 413 and many.json()["allowed"] == 1000


@pytest.mark.parametrize(
    ("path", "headers", "status", "field"),
    [
        ("/v1/channels/main/events?after=abc", {}, 400, "after"),
        ("/v1/channels/main/events?limit=x", {}, 400, "limit"),
        ("/v1/channels/main/events?limit=0", {}, 400, "limit"),
        ("/v1/channels/main/events?aftr=5", {}, 400, "aftr"),
        ("/v1/channels/main/stream?aftr=5", {}, 400, "aftr"),
        ("/v1/channels/main/stream", {"Last-Event-ID": "e:" + "9" * 5000}, 400, "Last-Event-ID"),
        ("/v1/channels", {"Origin": "http://["}, 403, "Origin"),
    ],
)
def test_odd_parameters_are_refused_in_one_form(
    server: RunningServer, path: str, headers: dict[str, str], status: int, field: str
) -> None:
    """Every refusal looks the same, whoever found the fault."""
    with server.http() as http:
        answer = http.get(path, headers=headers)
    assert answer.status_code == status and answer.json()["field"] == field and "message" in answer.json()


def test_a_key_cannot_have_a_name_or_a_time_that_is_none(server: RunningServer) -> None:
    """Nobody can publish as the server, or until a year that does not exist."""
    with server.http() as http:
        for user in ("ingest.zzz", "system", "bootstrap"):
            assert http.post("/v1/keys", json={"user": user}).json()["field"] == "user"
        for when in ("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "tomorrow"):
            assert http.post("/v1/keys", json={"user": "x", "expires_at": when}).json()["field"] == "expires_at"


def test_a_channel_a_key_may_not_see_is_not_there(server: RunningServer) -> None:
    """404, and no list of what there is."""
    key = server.new_key(user="outsider", channels=["elsewhere"])
    with server.http(key) as http:
        answer = http.get("/v1/channels/main/events")
    assert answer.status_code == 404 and answer.json()["error"] == "unknown_channel" and "allowed" not in answer.json()


async def test_filters_without_a_key_are_counted_for_each_user(server: RunningServer) -> None:
    """Each of them is asked for every event: one user cannot make everyone pay for thousands."""
    channels = [f"open{n}" for n in range(13)]
    with server.http() as http:
        for name in channels:
            http.put(f"/v1/channels/{name}", json={})
    key = server.new_key(user="greedy", channels=channels)
    async with contextlib.AsyncExitStack() as stack:
        for n in range(5):
            me = await stack.enter_async_context(wire(server.url, key))
            await me.send(type="subscribe", ref=n, channels=channels, filter="stop exists")
            if n == 4:
                said = await me.next()
                assert said["error"] == "filter_invalid" and said["allowed"] == 64
                assert (await me.subscribe(channel="open1", filter="symbol = ACME"))["type"] == "subscribed"
            else:
                seen = await me.until(lambda m: m["type"] == "live" and m["channel"] == channels[-1])
                assert sum(m["type"] == "subscribed" for m in seen) == 13


def test_heads_are_bounded_in_size(server: RunningServer) -> None:
    """Before any key is looked at."""
    with socket.create_connection(("127.0.0.1", server.port), 15) as raw:
        raw.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 100_000)
        assert b" 431 " in _everything(raw)


def test_a_handshake_that_is_none_is_answered(server: RunningServer) -> None:
    """And not left open."""
    with socket.create_connection(("127.0.0.1", server.port), 15) as raw:
        raw.sendall(
            b"GET /v1/ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nX-Long: " + b"y" * 20_000 + b"\r\n\r\n"
        )
        assert b" 400 " in _everything(raw)


@pytest.mark.slow
def test_a_taken_port_does_not_cost_the_first_key(tmp_path: Path) -> None:
    """A newcomer whose 8080 is busy still gets the key on the next start."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        first = RunningServer(tmp_path)
        first.port = taken.getsockname()[1]
        with pytest.raises(RuntimeError, match="give another --port"):
            first.start()
    with RunningServer(tmp_path) as second:
        assert second.admin_key.startswith("cat_live_")


def test_the_last_admin_key_cannot_be_revoked(server: RunningServer) -> None:
    """There is no other way in."""
    with server.http() as http:
        (admin,) = [key for key in http.get("/v1/keys").json()["keys"] if "admin" in key["scopes"]]
        assert http.delete(f"/v1/keys/{admin['id']}").status_code == 409
        assert http.delete("/v1/users/admin").status_code == 409
        second = http.post("/v1/keys", json={"user": "deputy", "scopes": ["admin"]}).json()
        assert http.delete(f"/v1/keys/{second['id']}").status_code == 200


@pytest.mark.slow
def test_a_server_whose_store_hangs_still_stops(tmp_path: Path) -> None:
    """Somebody's open transaction must not keep a deploy waiting; the publisher is told that nothing is known."""
    with RunningServer(tmp_path, drain_s=3) as server:
        blocker = sqlite3.connect(tmp_path / "catalyst.db", isolation_level=None)
        blocker.execute("BEGIN IMMEDIATE")
        with _upgraded(server) as raw:
            raw.sendall(_masked(0x81, json.dumps({"type": "publish", "ref": 1, "signal": ACME}).encode()))
            time.sleep(0.3)
            assert server.process is not None
            os.kill(server.process.pid, signal.SIGTERM)
            seen = _everything(raw)
            assert b'"goaway"' in seen and b'"store_unavailable"' in seen
            assert server.process.wait(15) == 0  # The drain, and what was already waiting for the lock.
        blocker.close()
        assert "Traceback" not in server.log
