"""Whatever a client sends, it costs nobody else anything: one clear answer, no traceback, the server goes on.

From outside: catalyst_signals.server.requests, protocol and api, on both event loops.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect as dial
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.running import RunningServer
from tests.socket_client import wire

GOOD = {"symbol": "ACME", "action": "BUY"}

BODIES: dict[str, tuple[bytes, int, str, str | None]] = {
    "malformed": (b'{"symbol":"ACME",', 400, "json_invalid", None),
    "trailing comma": (b'{"symbol":"ACME","action":"BUY",}', 400, "json_invalid", None),
    "smart quotes": ('{“symbol”:"ACME"}'.encode(), 400, "json_invalid", None),
    "not utf-8": (b'{"symbol":"AC\xff\xfeME","action":"BUY"}', 400, "json_invalid", None),
    "NaN": (b'{"symbol":"ACME","action":"BUY","confidence":NaN}', 400, "json_invalid", None),
    "deep nesting": (b"[" * 100_000 + b"]" * 100_000, 400, "json_invalid", None),
    "deep field": (b'{"symbol":"A","action":"BUY","x":' + b"[" * 500 + b"]" * 500 + b"}", 400, "draft_invalid", "x"),
    "monstrous number": (b'{"symbol":"A","action":"BUY","stop":' + b"9" * 100_000 + b"}", 400, "json_invalid", None),
    "wrong type": (b'{"symbol":"ACME","action":"BUY","confidence":"high"}', 400, "draft_invalid", "confidence"),
    "out of range": (b'{"symbol":"ACME","action":"BUY","confidence":82}', 400, "draft_invalid", "confidence"),
    "no instrument": (b'{"action":"BUY"}', 400, "draft_invalid", "instrument"),
    "no action": (b'{"symbol":"ACME"}', 400, "draft_invalid", "action"),
    "unknown action": (b'{"symbol":"ACME","action":"HODL"}', 400, "draft_invalid", "action"),
    "ours": (b'{"symbol":"ACME","action":"BUY","seq":7}', 400, "draft_invalid", "seq"),
    "a number": (b"7", 400, "draft_invalid", None),
    "nothing": (b"", 400, "json_invalid", None),
    "an empty array": (b"[]", 400, "draft_invalid", "body"),
    "too many": (json.dumps([GOOD] * 1001).encode(), 413, "too_large", "body"),
    "id with a tilde": (b'{"symbol":"ACME","action":"BUY","id":"a~2"}', 400, "name_invalid", "id"),
    "long id": (json.dumps(GOOD | {"id": "x" * 129}).encode(), 400, "name_invalid", "id"),
    "large draft": (json.dumps(GOOD | {"x": ["y" * 4000] * 20}).encode(), 413, "too_large", None),
}


@pytest.mark.parametrize("name", BODIES)
def test_a_bad_body_is_answered_in_words(server: RunningServer, name: str) -> None:
    """The person who wrote the bot reads the answer and knows what to change."""
    body, status, error, field = BODIES[name]
    with server.http() as http:
        answer = http.post("/v1/channels/main/signals", content=body, headers={"Content-Type": "application/json"})
    said = answer.json()
    assert (answer.status_code, said["error"]) == (status, error), said
    assert said["message"] and said["retry"] is False
    if field is not None:
        assert said["field"].startswith(field), said


def test_a_body_over_the_limit_is_refused_while_it_comes(server: RunningServer) -> None:
    """Eight megabytes are not read to the end to be thrown away."""
    with server.http() as http:
        answer = http.post("/v1/channels/main/signals", content=b" " * (8 << 20))
    assert answer.status_code == 413 and answer.json()["allowed"] == 4 << 20


@pytest.mark.parametrize("path", ["/v1/channels/nowhere/signals", "/v1/channels/NOT%20A%20NAME/signals"])
def test_an_unknown_channel_is_named(server: RunningServer, path: str) -> None:
    """A typing mistake in a channel must not look like success."""
    with server.http() as http:
        answer = http.post(path, json=GOOD)
    assert answer.status_code in (400, 404) and answer.json()["error"] in ("unknown_channel", "name_invalid")
    assert answer.json()["field"] == "channel"


@pytest.mark.parametrize("credential", ["x", "nonsense", "cat_live_abc_def", "Basic dXNlcg=="])
def test_a_forged_key_is_refused_before_anything_else(server: RunningServer, credential: str) -> None:
    """Nothing is open by default."""
    with server.http() as http:
        for path in ("/v1/channels", "/v1/keys", "/v1/channels/main/events", "/v1/channels/main/stream"):
            answer = http.get(path, headers={"Authorization": f"Bearer {credential}"})
            assert answer.status_code == 401 and answer.json()["error"] == "unauthenticated"
        assert http.post("/v1/channels/main/signals", json=GOOD, headers={"Authorization": ""}).status_code == 401


def test_one_letter_changed_in_a_key_is_found_by_its_checksum(server: RunningServer) -> None:
    """A mistyped key says so, a revoked one says something else."""
    key = server.admin_key
    mistyped = key[:-1] + ("a" if key[-1] != "a" else "b")
    with server.http(mistyped) as http:
        assert "copy it again" in http.get("/v1/channels").json()["message"]


def test_a_scope_that_is_missing_is_named(server: RunningServer) -> None:
    """The friend knows what to ask the admin for."""
    key = server.new_key(scopes=["subscribe"])
    with server.http(key) as http:
        answer = http.post("/v1/channels/main/signals", json=GOOD)
        assert answer.status_code == 403 and answer.json()["allowed"] == "publish"
        for path in ("/v1/keys", "/v1/ingest", "/v1/users"):
            assert http.get(path).status_code == 403
        for reserved in ("system", "ingest"):
            assert http.get(f"/v1/channels/{reserved}/events").status_code == 403


async def test_a_revoked_key_is_closed_within_seconds(server: RunningServer) -> None:
    """A friend who is none any more sees nothing from that moment on."""
    with server.http() as http:
        made = http.post("/v1/keys", json={"user": "leaver"}).json()
        async with wire(server.url, made["key"]) as me:
            await me.subscribe(channel="main")
            assert http.delete(f"/v1/keys/{made['id']}").status_code == 200
            with pytest.raises(ConnectionClosed) as closed:
                async with asyncio.timeout(15):
                    while True:
                        await me.next()
        assert closed.value.rcvd is not None and closed.value.rcvd.code == 4501
        assert http.get("/v1/channels", headers={"Authorization": f"Bearer {made['key']}"}).status_code == 401


async def test_a_foreign_page_cannot_open_a_socket(server: RunningServer) -> None:
    """A web page of somebody else's must not speak with a friend's browser."""
    for origin in ("https://evil.example", "null", server.url + ".evil.example"):
        with pytest.raises(InvalidStatus) as refused:
            async with dial(_ws(server), origin=origin, additional_headers=_auth(server), proxy=None):  # type: ignore[arg-type]
                pass
        assert refused.value.response.status_code == 403
    async with dial(_ws(server), origin=server.url, additional_headers=_auth(server), proxy=None):  # type: ignore[arg-type]
        pass


async def test_a_socket_without_a_key_is_closed_in_time(server: RunningServer) -> None:
    """Idle strangers take no places."""
    folder = server.folder / "strangers"
    folder.mkdir(exist_ok=True)
    with RunningServer(folder, auth_s=0.3) as own:
        async with wire(own.url, None) as me:
            await me.send(type="subscribe", channel="main", ref=1)
            assert (await me.next())["error"] == "unauthenticated"
            with pytest.raises(ConnectionClosed) as closed:
                while True:
                    await me.next()
        assert closed.value.rcvd is not None and closed.value.rcvd.code == 4501
        async with wire(own.url, None) as me:
            await me.send(type="auth", key=own.admin_key, ref=2)
            assert (await me.next())["type"] == "welcome"
            assert (await me.subscribe(channel="main"))["type"] == "subscribed"


@pytest.mark.parametrize(
    ("message", "error", "field"),
    [
        ("{", "json_invalid", None),
        ("[]", "request_invalid", None),
        ('{"type":"dance","ref":1}', "request_invalid", "type"),
        ('{"type":"subscribe","channel":7}', "name_invalid", "channel"),
        ('{"type":"subscribe","channel":"nowhere"}', "unknown_channel", "channel"),
        ('{"type":"subscribe","channel":"main","after":-1}', "request_invalid", "after"),
        ('{"type":"subscribe","channel":"main","after":"1"}', "request_invalid", "after"),
        ('{"type":"subscribe","channel":"main","filter":"confidance > 1"}', "filter_invalid", None),
        ('{"type":"subscribe","channel":"main","filter":{"all":[{"field":7}]}}', "filter_invalid", None),
        ('{"type":"subscribe","channel":"main","mode":"newest"}', "request_invalid", "mode"),
        ('{"type":"unsubscribe","channel":"main"}', "not_found", "channel"),
        ('{"type":"publish","channel":"main","signal":7}', "draft_invalid", None),
        ('{"type":"publish","channel":"system","signal":{"symbol":"A","action":"BUY"}}', "forbidden", "channel"),
    ],
)
async def test_a_bad_message_is_answered_and_the_connection_goes_on(
    server: RunningServer, message: str, error: str, field: str | None
) -> None:
    """One mistake of a bot does not cost it its subscription."""
    async with wire(server.url, server.admin_key) as me:
        await me.socket.send(message)
        said = await me.next()
        assert said["type"] == "error" and said["error"] == error and said.get("field") == (field or said.get("field"))
        assert (await me.subscribe(channel="main"))["type"] == "subscribed"


@pytest.mark.parametrize(
    ("frame", "code", "error"),
    [
        (b"x" * 70_000, 1009, "too_large"),
        (b"\xff\xfe\xfd", 1007, "json_invalid"),
    ],
)
async def test_what_no_connection_survives_is_said_before_the_close(
    server: RunningServer, frame: bytes, code: int, error: str
) -> None:
    """The error comes first, then the close with its code."""
    seen = await asyncio.to_thread(_raw, server, _masked(0x81, frame))
    assert error.encode() in seen and struct.pack("!H", code) in seen


async def test_binary_messages_are_refused_with_1003(server: RunningServer) -> None:
    """JSON is text."""
    seen = await asyncio.to_thread(_raw, server, _masked(0x82, b"{}"))
    assert b"request_invalid" in seen and struct.pack("!H", 1003) in seen


async def test_fragments_with_pings_between_are_one_message(server: RunningServer) -> None:
    """Proxies may cut messages anywhere."""
    text = json.dumps({"type": "subscribe", "channel": "main", "ref": "whole"}).encode()
    parts = _masked(0x01, text[:10]) + _masked(0x89, b"ping") + _masked(0x00, text[10:20]) + _masked(0x80, text[20:])

    def talk() -> bytes:
        with _upgraded(server) as raw:
            raw.sendall(parts)
            seen = b""
            while b'"subscribed"' not in seen:
                seen += raw.recv(65536)
            return seen

    assert b"\x8a\x04ping" in await asyncio.to_thread(talk)


async def test_half_closed_and_reset_connections_cost_nothing(server: RunningServer) -> None:
    """Networks break in every way."""
    for reset in (False, True):
        for _ in range(20):
            raw = _upgraded(server)
            raw.sendall(_masked(0x81, json.dumps({"type": "subscribe", "channel": "main"}).encode()))
            if reset:
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            else:
                raw.shutdown(socket.SHUT_WR)
            raw.close()
    with server.http() as http:
        for _ in range(100):
            http.post("/v1/channels/main/signals", json=GOOD).raise_for_status()
            if http.get("/readyz").json()["connections"] == 0:
                return
            await asyncio.sleep(0.05)
    raise AssertionError("connections were left behind")


@pytest.mark.slow
async def test_a_slow_head_is_cut_off(server: RunningServer) -> None:
    """Slowloris holds no places."""
    folder = server.folder / "slow"
    folder.mkdir(exist_ok=True)
    with RunningServer(folder, head_s=0.3, body_s=0.3) as own:
        with socket.create_connection(("127.0.0.1", own.port), 15) as raw:
            raw.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n")
            assert b"408" in raw.recv(1000)
        with socket.create_connection(("127.0.0.1", own.port), 15) as raw:
            raw.sendall(
                b"POST /v1/channels/main/signals HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "
                + own.admin_key.encode() + b"\r\nContent-Length: 100\r\n\r\n{"
            )  # fmt: skip
            assert b"took longer" in _everything(raw)


@pytest.mark.slow
def test_an_idle_connection_is_kept_as_long_as_it_is_said(tmp_path: Path) -> None:
    """A load balancer that keeps it longer sends a webhook into a connection that was just closed, and it is lost."""
    for keep_alive_s, kept in ((1, False), (10, True)):
        folder = tmp_path / str(keep_alive_s)
        folder.mkdir()
        with RunningServer(folder, keep_alive_s=keep_alive_s) as own:
            with socket.create_connection(("127.0.0.1", own.port), 15) as raw:
                raw.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
                answer = b""
                while not answer.endswith(b"}"):
                    answer += raw.recv(10_000)
                raw.settimeout(6)  # More than the 5 s that it is without the setting.
                try:
                    assert not raw.recv(10_000) and not kept
                except TimeoutError:
                    assert kept


def test_nothing_above_left_a_traceback_or_a_key_in_the_log(server: RunningServer) -> None:
    """Last in this file: whatever came before, the log holds sentences and no secret."""
    assert "Traceback" not in server.log
    assert server.admin_key not in server.log


def _ws(server: RunningServer) -> str:
    return server.url.replace("http", "ws", 1) + "/v1/ws"


def _auth(server: RunningServer) -> dict[str, str]:
    return {"Authorization": f"Bearer {server.admin_key}"}


def _masked(first: int, payload: bytes) -> bytes:
    size = len(payload)
    head = bytes((first, 0x80 | size)) if size < 126 else bytes((first, 0xFF)) + size.to_bytes(8, "big")
    return head + b"\0\0\0\0" + payload


def _upgraded(server: RunningServer) -> socket.socket:
    raw = socket.create_connection(("127.0.0.1", server.port), 15)
    raw.sendall(
        f"GET /v1/ws HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
        f"Authorization: Bearer {server.admin_key}\r\n\r\n".encode()
    )
    while b'"welcome"' not in raw.recv(4096):
        pass
    return raw


def _raw(server: RunningServer, sent: bytes) -> bytes:
    with _upgraded(server) as raw:
        raw.sendall(sent)
        return _everything(raw)


def _everything(raw: Any) -> bytes:
    seen = b""
    while part := raw.recv(65536):
        seen += part
    return seen
