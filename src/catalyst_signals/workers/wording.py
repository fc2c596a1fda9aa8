"""A message to people, in words.

Owns: how one event, several that were held, or a test reads. What an event's pieces are called is words.py's.
"""

from __future__ import annotations

from catalyst_signals.wire import decode
from catalyst_signals.words import sentence_of
from catalyst_signals.workers.messages import Message

LINES_MAX = 15
CHARS_MAX = 1800  # Discord takes 2,000.
_HELD = {
    "quiet_hours": "quiet hours", "rate_limit": "the service's rate limit", "max_per_hour": "max_per_hour",
    "cooldown": "cooldown", "digest": "digest",
}  # fmt: skip


def text_of(message: Message) -> str:
    """What people read."""
    if message.test:
        return message.test
    lines = [sentence_of(decode(frame.text)) for frame in message.frames]
    if not message.held:
        return lines[0][:CHARS_MAX]
    why = ", ".join(f"{_HELD.get(reason, reason)} ({count})" for reason, count in message.held.items())
    head = f"{len(lines)} more, held by {why}:"
    if list(message.held) == ["digest"]:
        head = f"{len(lines)} in this digest:"
    return _fitting(head, lines)


def _fitting(head: str, lines: list[str]) -> str:
    """As many lines as there is room for, the newest; and how many there are besides."""
    shown: list[str] = []
    room = CHARS_MAX - len(head) - 60
    for line in reversed(lines[-LINES_MAX:]):
        room -= len(line) + 1
        if room < 0 and shown:
            break
        shown.insert(0, line[:CHARS_MAX])
    left = len(lines) - len(shown)
    more = [f"... and before these {left} more, which stand in the log"] if left else []
    return "\n".join([head, *more, *shown])
