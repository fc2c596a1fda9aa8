"""Bytes as they go over a wire: requests, upgrades, frames."""

from __future__ import annotations

import struct

PING, PONG = b"\x89\x84\0\0\0\0ping", b"\x8a\x04ping"  # With a zero mask, as everything here.


def http(path: str, body: str, *headers: str) -> bytes:
    """A whole request."""
    lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", "Content-Type: application/json", *headers]
    content = body.encode()
    return "\r\n".join([*lines, f"Content-Length: {len(content)}", "", ""]).encode() + content


def upgrade(path: str, *headers: str) -> bytes:
    """What opens a WebSocket."""
    lines = [f"GET {path} HTTP/1.1", "Host: 127.0.0.1", "Upgrade: websocket", "Connection: Upgrade",
             "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13", *headers]  # fmt: skip
    return "\r\n".join([*lines, "", ""]).encode()


def frame(text: str) -> bytes:
    """A client's text frame with a zero mask: the hole for the time stays visible."""
    content = text.encode()
    size = len(content)
    head = bytes((0x81, 0x80 | size)) if size < 126 else b"\x81\xfe" + struct.pack(">H", size)
    return head + bytes(4) + content
