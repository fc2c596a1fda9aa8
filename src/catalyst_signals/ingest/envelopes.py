"""What a text comes in: nothing, a JSON string, a message of Telegram, Slack or Discord, or a form.

Owns: taking the text out, and the sender's own key where the envelope has one. Knows nothing of what the text says.
Law: an edited message is a change of an earlier one, never a new one.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from catalyst_signals.errors import InvalidDraft, TooLarge
from catalyst_signals.ingest import decode_once, sender_text

TEXT_BYTES_MAX = 64 << 10
_TEXTS = ("text", "caption", "content", "message", "msg", "body", "data", "signal", "raw_text")
_EDITED = ("edited_message", "edited_channel_post")
_POSTED = ("message", "channel_post", *_EDITED, "result")


class Letter(NamedTuple):
    """A text and what its envelope says of it; `key` is empty when the sender has none."""

    text: str
    key: str = ""
    edited: bool = False


def plain_text(raw: bytes) -> str:
    """The text of a body that is text, or a JSON string that holds it.

    Raises:
        InvalidJson, InvalidDraft: as `sender_text`. TooLarge: more than 64 KiB are no alert.
    """
    if len(raw) > TEXT_BYTES_MAX:
        raise TooLarge(f"an alert in words may have {TEXT_BYTES_MAX:,} bytes", got=len(raw), allowed=TEXT_BYTES_MAX)
    text = sender_text(raw)
    if text.lstrip().startswith('"') and text.rstrip().endswith('"') and "\n" not in text.strip():
        inside = decode_once(text)
        return sender_text(inside.encode()) if isinstance(inside, str) else text
    return text


def opened(raw: bytes) -> Letter:
    """The text of a body, whatever it is wrapped in; an update of Telegram without a text gives an empty one.

    Raises:
        InvalidJson, InvalidDraft, TooLarge: as `plain_text`; also an object that holds no text.
    """
    text = plain_text(raw)
    if not text.lstrip().startswith("{"):
        return Letter(text)
    doc = decode_once(text)
    for name in _POSTED:
        message = doc.get(name)
        if isinstance(message, dict):
            return Letter(_text_in(message), _key_of(message), name in _EDITED or "edit_date" in message)
    inside = _text_in(doc)
    if not inside and not {"update_id", "message_id"}.intersection(doc):
        raise InvalidDraft("the object holds no message", field="text", allowed=list(_TEXTS))
    return Letter(inside, _key_of(doc), "edit_date" in doc)


def _text_in(message: dict[str, Any]) -> str:
    return next((message[name] for name in _TEXTS if isinstance(message.get(name), str) and message[name].strip()), "")


def _key_of(message: dict[str, Any]) -> str:
    """Chat and number of a Telegram message; no two messages share them."""
    chat, number = message.get("chat"), message.get("message_id")
    room = chat.get("id") if isinstance(chat, dict) else message.get("chat_id")
    sure = isinstance(room, int | str) and isinstance(number, int) and not isinstance(room, bool)
    return f"{room}.{number}" if sure and len(str(room)) <= 32 and str(room).isprintable() else ""
