"""freqtrade's message WebSocket: what a bot tells whoever follows it at `/api/v1/message/ws`.

Owns: the frame of its messages. What an event means is freqtrade_events.py's. Law: the same as for the bot's webhooks;
lists of pairs, candles and words of its strategy are no signals.
"""

from __future__ import annotations

from typing import Any, ClassVar

from catalyst_signals.errors import InvalidDraft
from catalyst_signals.ingest import Reading, decode_once, sender_text, without_secrets
from catalyst_signals.ingest.freqtrade_events import reading_of
from catalyst_signals.kinds import shown


class FreqtradeWs:
    """What a freqtrade bot says on its WebSocket."""

    name = "freqtrade_ws"
    OPTIONS: ClassVar[dict[str, tuple[str, ...]]] = {"fills": ("signal", "ignore", "only")}
    PASTE: ClassVar[str] = """\
In the bot's config.json, for Catalyst to follow it:

  "api_server": {
    "enabled": true, "listen_ip_address": "0.0.0.0", "listen_port": 8080, "ws_token": "A-LONG-RANDOM-TEXT"
  }

and here:

  catalyst ingest add freqtrade_ws --pull ws://bot:8080/api/v1/message/ws --token A-LONG-RANDOM-TEXT

A message that you have kept can be posted to {url}
"""

    def __init__(self, fills: str = "signal") -> None:
        """A bot says an order and then its fill: `fills="ignore"` takes the orders, `fills="only"` the fills."""
        self._fills = fills

    def read(self, raw: bytes, content_type: str) -> Reading:
        """The signal of one message; none for those that are no instruction.

        Raises:
            InvalidJson, InvalidDraft: it is no message of freqtrade's, or an entry that leaves something open.
        """
        message = without_secrets(decode_once(sender_text(raw)))
        if not isinstance(message, dict) or not isinstance(message.get("type"), str):
            text = f"a message of freqtrade is an object with a `type`, got {shown(message)}"
            raise InvalidDraft(text, field="type", got=shown(message), allowed='{"type": "entry", ...}')
        return reading_of(_fields_of(message), fills=self._fills)


def _fields_of(message: dict[str, Any]) -> dict[str, Any]:
    """The fields of an event, which stand beside its type, or under `data`."""
    data = message.get("data")
    inner = data if isinstance(data, dict) else {}
    return {**inner, **{name: value for name, value in message.items() if name != "data"}}
