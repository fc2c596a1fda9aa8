"""The server stops, starts again, runs out of disk: nothing is lost and everyone is told."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed

from tests.running import RunningServer
from tests.socket_client import wire

pytestmark = pytest.mark.slow

ACME = {"symbol": "ACME", "action": "BUY"}


async def test_a_stopping_server_says_goodbye_and_loses_nothing(tmp_path: Path) -> None:
    """A deploy in the middle of the day: every accepted publish is answered, every listener is told to come back."""
    with RunningServer(tmp_path) as server:
        async with wire(server.url, server.admin_key) as me:
            await me.subscribe(channel="main", after=0)
            for ref in range(50):
                await me.send(type="publish", ref=ref, channel="main", signal=ACME | {"id": f"s{ref}"})
            await me.until(lambda m: m.get("ref") == 0)
            assert server.process is not None
            began = time.monotonic()
            server.process.send_signal(signal.SIGTERM)
            seen = []
            with pytest.raises(ConnectionClosed) as closed:
                while True:
                    seen.append(await me.next())
            assert await asyncio.to_thread(server.process.wait, 30) == 0
            assert time.monotonic() - began < 30  # Three times the promise.
        assert closed.value.rcvd is not None and closed.value.rcvd.code == 1012
        goodbye = next(m for m in seen if m["type"] == "goaway")
        assert goodbye["reason"] == "deploy" and goodbye["reconnect_in_s"] > 0
        accepted = {m["ref"] for m in seen if m["type"] == "accepted"}
        refused = {m["ref"] for m in seen if m["type"] == "error" and m["error"] == "draining"}
        assert accepted | refused | {0} >= set(range(50))
        server.start()
        with server.http() as http:
            stored = {e["id"] for e in http.get("/v1/channels/main/events").json()["events"]}
        assert {f"s{ref}" for ref in accepted} <= stored


def test_keys_users_and_channels_survive_a_restart(tmp_path: Path) -> None:
    """State is a fold of the log: stopped (with its snapshot) or killed (without), it comes back the same."""
    with RunningServer(tmp_path) as server:
        key = server.new_key(user="eve", channels=["*"])
        with server.http() as http:
            http.put("/v1/channels/crypto", json={"retention": {"count": 5}}).raise_for_status()
        for end in (server.stop, server.kill):
            end()
            server.start()
            with server.http(key) as eve:
                found = {channel["channel"] for channel in eve.get("/v1/channels").json()["channels"]}
                assert found == {"acks", "crypto", "items", "main"}
            with server.http() as http:
                assert http.get("/v1/channels/crypto").json()["retention"]["count"] == 5
                assert {u["user"] for u in http.get("/v1/users").json()["users"]} == {"admin", "eve"}


def test_the_admin_key_is_shown_on_the_first_start_only(tmp_path: Path) -> None:
    """It stands in the first log of the first process and nowhere else."""
    with RunningServer(tmp_path) as server:
        first = server.admin_key
        server.stop()
        server.admin_key = ""
        server.start()
        assert server.admin_key == "" and first.startswith("cat_live_")
        server.admin_key = first
        with server.http() as http:
            assert http.get("/v1/keys").status_code == 200


def test_a_second_server_on_the_same_file_is_refused_in_words(tmp_path: Path) -> None:
    """Two writers would be two truths."""
    with RunningServer(tmp_path) as server:
        second = RunningServer(tmp_path, store_url=server.store_url)
        second.log_path = tmp_path / "second.log"
        with pytest.raises(RuntimeError, match="another process is writing"):
            second.start()
        assert "Traceback" not in second.log


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 MiB that can really be filled; needs root, which CI is."""
    if os.geteuid() != 0 and not os.environ.get("CI"):
        pytest.skip("mounting a tmpfs needs root")
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


async def test_a_full_disk_refuses_publishing_and_goes_on_reading(small_disk: Path, tmp_path: Path) -> None:
    """507 while it is full, and a key can be revoked all the same; space freed, it works again without a restart."""
    with RunningServer(tmp_path, store_url=f"sqlite:///{small_disk / 'catalyst.db'}") as server, server.http() as http:
        first = http.post("/v1/channels/main/signals", json=ACME | {"id": "before"}).json()
        friend = http.post("/v1/keys", json={"user": "friend"}).json()
        async with wire(server.url, server.admin_key) as me:
            await me.subscribe(channel="main")
            (small_disk / "ballast").write_bytes(b"x" * _free(small_disk))
            while (
                answer := http.post("/v1/channels/main/signals", json=ACME | {"note": "y" * 4000})
            ).status_code == 201:
                pass
            assert answer.status_code == 507 and answer.json()["error"] == "store_full" and answer.json()["retry"]
            assert http.get("/v1/channels/main/events", params={"limit": 1}).json()["events"][0]["seq"] == first["seq"]
            assert http.post("/v1/channels/main/signals", json=ACME | {"id": "before"}).json()["duplicate"]
            assert http.delete(f"/v1/keys/{friend['id']}").status_code == 507
            assert http.get("/v1/channels", headers={"Authorization": f"Bearer {friend['key']}"}).status_code == 401
            head = http.get("/v1/channels/main").json()["last"]
            (small_disk / "ballast").unlink()
            again = http.post("/v1/channels/main/signals", json=ACME | {"id": "after"})
            assert again.status_code == 201 and again.json()["seq"] == head + 1
            await me.until(lambda m: m.get("id") == "after")
        assert "Traceback" not in server.log


def _free(folder: Path) -> int:
    space = os.statvfs(folder)
    return int(space.f_bavail * space.f_frsize)


def test_a_full_queue_is_told_with_when_to_come_again(tmp_path: Path) -> None:
    """A store that hangs fills the queue; then publishers are told, and the rest of the server goes on."""
    with RunningServer(tmp_path, queue_max=2, drain_s=3) as server:
        blocker = sqlite3.connect(tmp_path / "catalyst.db", isolation_level=None)
        blocker.execute("BEGIN IMMEDIATE")
        with ThreadPoolExecutor(12) as threads, server.http() as http:
            waiting = [threads.submit(http.post, "/v1/channels/main/signals", json=ACME) for _ in range(12)]
            first = next(as_completed(waiting)).result()
            assert first.status_code == 503 and first.json()["error"] == "overloaded" and first.json()["retry"]
            assert int(first.headers["retry-after"]) >= 1
            assert http.get("/v1/channels/main/events").status_code == 200
            blocker.execute("COMMIT")
            assert {each.result().status_code for each in waiting} == {201, 503}
        blocker.close()


async def test_readers_who_stall_cost_bounded_memory_and_lose_nothing(tmp_path: Path) -> None:
    """Thirty of them, 20 MB behind, are thirty places in the log."""
    with RunningServer(tmp_path) as server, server.http() as http, ExitStack() as stack:
        assert server.process is not None
        raws = [stack.enter_context(socket.create_connection(("127.0.0.1", server.port), 30)) for _ in range(30)]
        for raw in raws:
            _subscribe_raw(raw, server)
        before = _rss_kib(server.process.pid)
        for n in range(20):
            batch = [ACME | {"id": f"{n}-{i}", "note": "x" * 1000} for i in range(1000)]
            assert http.post("/v1/channels/main/signals", json=batch).status_code == 201
        # The ring, the pages read last and SQLite's cache may take 22 + 16 + 32 MB; thirty queues would be 600.
        assert _rss_kib(server.process.pid) - before < 96 << 10
        seen = b""
        while b'"seq":20000,' not in seen[-4000:]:
            part = raws[0].recv(1 << 20)
            assert part, "the connection was closed"
            seen += part
        seqs = [int(found) for found in re.findall(rb'"signal.published","channel":"main","seq":(\d+)', seen)]
        assert seqs == list(range(1, 20_001))


def _subscribe_raw(raw: socket.socket, server: RunningServer) -> None:
    raw.sendall(
        f"GET /v1/ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        f"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: Bearer {server.admin_key}\r\n\r\n".encode()
    )
    seen = b""
    while b'"welcome"' not in seen:
        seen += raw.recv(1024)
    text = b'{"type":"subscribe","channel":"main","after":0}'
    raw.sendall(bytes((0x81, 0x80 | len(text))) + b"\0\0\0\0" + text)


def _rss_kib(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmRSS")))
