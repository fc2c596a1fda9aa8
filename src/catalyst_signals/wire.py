"""From events and messages to bytes on the wire, and back.

Owns: the JSON text of an event, WebSocket framing of what we send, the decoding of what clients send.
Law: an event is encoded once, by `frame_of`, and every subscriber gets those same bytes.
"""

from __future__ import annotations

from functools import lru_cache
from time import gmtime, strftime
from typing import Any

import msgspec

from catalyst_signals.errors import CatalystError, InvalidJson
from catalyst_signals.events import Event, Frame, Receipt, Stored, iso, signal_id

PROTOCOL = 1
SYSTEM_CHANNEL = "system"

encode = msgspec.json.encode
_decode = msgspec.json.decode
PING = b"\x89\x00"  # A WebSocket ping without content.
_TEXT = 0x81  # FIN and opcode 1 (RFC 6455, 5.2).


def frame_of(event: Event) -> Frame:
    """The event as every subscriber gets it. An erased one keeps its place and says so."""
    hash8 = event.hash[:4].hex()
    second, micros = divmod(event.ts_us, 1_000_000)
    text = b'%s%d,"id":%s,"version":%d,"ts":"%s.%06dZ","hash":"%s",%s' % (
        _head(event.type, event.channel), event.seq, encode(signal_id(event.id)), event.version,
        _second(second), micros, hash8.encode(), event.body[1:] or b'"erased":true}',
    )  # fmt: skip
    size = len(text)
    header = b"\x81~%c%c" % (size >> 8, size & 255) if 126 <= size < 65536 else ws_header(size)
    return Frame(event.channel, event.epoch, event.seq, event.prev[:4].hex(), hash8, header + text, len(header))


def erased(frame: Frame) -> Frame:
    """The frame of the same event once its body is gone."""
    mark = b'"hash":"%s",' % frame.hash8.encode()  # The first: in an id before it the quotes would be escaped.
    text = frame.text
    text = text[: text.index(mark) + len(mark)] + b'"erased":true}'
    header = ws_header(len(text))
    return Frame(frame.channel, frame.epoch, frame.seq, frame.prev8, frame.hash8, header + text, len(header))


@lru_cache(maxsize=256)
def _head(type: str, channel: str) -> bytes:
    return b'{"type":"%s","channel":"%s","seq":' % (type.encode(), channel.encode())


@lru_cache(maxsize=64)
def _second(whole: int) -> bytes:
    return strftime("%Y-%m-%dT%H:%M:%S", gmtime(whole)).encode()


def ws_header(size: int) -> bytes:
    """The header of an unmasked, unfragmented WebSocket text frame of `size` bytes."""
    if size < 126:
        return bytes((_TEXT, size))
    if size < 65536:
        return bytes((_TEXT, 126)) + size.to_bytes(2, "big")
    return bytes((_TEXT, 127)) + size.to_bytes(8, "big")


def message(content: dict[str, Any]) -> bytes:
    """A message of ours, encoded and framed for the socket."""
    text = encode(content)
    return ws_header(len(text)) + text


def ref_of(ref: object) -> dict[str, object]:
    """The `ref` of an answer, if its question had one."""
    return {} if ref is None else {"ref": ref}


def hash_of(hash8: str | None) -> dict[str, str]:
    """The `hash` of a place, if it is known."""
    return {} if hash8 is None else {"hash": hash8}


def error_message(error: CatalystError, ref: object = None) -> bytes:
    """A refusal as a message; with the `ref` of what is refused."""
    return message({"type": "error", **ref_of(ref), **error.as_dict()})


def answer(stored: Stored, receipt: Receipt, *, id_by_server: bool = False) -> dict[str, Any]:
    """What a publisher is told of one draft."""
    out: dict[str, Any] = {
        "channel": stored.channel, "epoch": stored.epoch, "seq": receipt.seq, "id": signal_id(receipt.id),
        "version": receipt.version, "ts": iso(receipt.ts_us), "duplicate": receipt.duplicate,
        "durability": stored.durability,
    }  # fmt: skip
    if id_by_server:
        out["id_by"] = "server"
    return out


def decode(text: str | bytes) -> Any:
    """JSON from a peer.

    Raises:
        InvalidJson: it is not; says where.
    """
    try:
        return _decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError) as fault:
        reason = "it is nested too deeply" if isinstance(fault, RecursionError) else str(fault)
        raise InvalidJson(f"the message is not valid JSON: {reason}") from None
