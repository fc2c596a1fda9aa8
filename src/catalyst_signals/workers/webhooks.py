"""Webhooks to others, signed as Standard Webhooks says: https://www.standardwebhooks.com.

Owns: the body, and what an answer's status means. Knows nothing of when, how often or to whom. How a body is signed is
signatures.py's.
Law: the body of one event is the event as it is on the socket, and its `webhook-id` is the event's id, whenever it is
sent again.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from urllib.parse import quote

from catalyst_signals.signatures import signed_headers
from catalyst_signals.wire import encode
from catalyst_signals.workers.messages import Message, Outcome
from catalyst_signals.workers.outside import Network, NotAllowed, NotReached, post

AGAIN = frozenset((408, 409, 425, 429))
DIGEST_EVENTS_MAX = 100  # In one body; the rest follows in the next.
_SAFE = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) != "%")


class Webhook:
    """One URL that is posted to."""

    at_most = DIGEST_EVENTS_MAX
    per_minute: int | None = None
    holds_when_limited = False  # A program wants each event by itself, also when it has to wait for it.

    def __init__(self, url: str, secret: str, networks: Sequence[Network]) -> None:
        self._url = url
        self._secret = secret
        self._networks = networks

    async def send(self, message: Message) -> Outcome:
        """Post it once."""
        id, body, at_s = quote(message.id, safe=_SAFE), body_of(message), int(time.time())
        headers = {"Content-Type": "application/json", "User-Agent": "Catalyst"}
        headers |= signed_headers(self._secret, id, at_s, body)
        try:
            answer = await post(self._url, body, headers, self._networks)
        except NotAllowed as fault:
            return Outcome("refused", str(fault))
        except NotReached as fault:
            return Outcome("later", str(fault))
        return outcome_of(answer.status, answer.retry_after_s)


def body_of(message: Message) -> bytes:
    """One event as it is on the socket; several that were held, and why; or a test."""
    if message.test:
        return encode({"type": "target.test", "id": message.id, "text": message.test})
    if not message.held:
        return message.frames[0].text
    head = encode({"type": "digest", "id": message.id, "held": message.held})
    return head[:-1] + b',"events":[' + b",".join(frame.text for frame in message.frames) + b"]}"


def outcome_of(status: int, retry_after_s: float | None = None) -> Outcome:
    """What an HTTP status says of a message."""
    if 200 <= status < 300:
        return Outcome("sent")
    if status == 410:
        return Outcome("gone", "it answered 410: it is gone")
    if status in AGAIN or status >= 500:
        return Outcome("later", f"it answered {status}", retry_after_s, limited=status == 429)
    more = ", a redirect; none is followed, give the URL where it leads" if 300 <= status < 400 else ""
    return Outcome("refused", f"it answered {status}{more}")
