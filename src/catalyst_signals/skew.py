"""How far publishers' clocks are from ours, as far as their signals show it. Only reported: the order is the log's.

Owns: the newest differences of each publisher. Knows nothing of stores or requests.
Law: it reads `ts` and the publisher's own `sent_at`, and changes nothing. A difference is the clock's and the way's
together, so the smallest of the newest says most about the clock: below zero their clock is ahead of ours.
"""

from __future__ import annotations

from collections import OrderedDict, deque

from catalyst_signals.events import Frame, parse_iso

PUBLISHERS_MAX = 100  # Those heard last.
SIGNALS_KEPT = 64
JUDGED = 8  # The newest: a clock that was set right is right after so many signals.
WORTH_SAYING_S = 2.0
_PUBLISHED = b'{"type":"signal.published"'  # Later versions repeat the `sent_at` of the first.


class Skews:
    """Those of the publishers heard last."""

    def __init__(self) -> None:
        self._newest: OrderedDict[str, deque[float]] = OrderedDict()
        self._channels: dict[str, set[str]] = {}
        self._heard: set[str] = set()

    def fold(self, frame: Frame) -> None:
        """Take in an event; costs next to nothing unless it carries `sent_at`."""
        if b'"sent_at"' not in frame.ws or not frame.ws.startswith(_PUBLISHED, frame.head_bytes):
            return
        doc = frame.doc
        frame.forget()
        data = doc["data"]
        sent_us, ts_us = parse_iso(str(data.get("sent_at"))), parse_iso(doc["ts"])
        if sent_us is not None and ts_us is not None:
            publisher = str((data.get("provider") or {}).get("id", ""))
            self._take(publisher, frame.channel, (ts_us - sent_us) / 1_000_000)

    def _take(self, publisher: str, channel: str, seconds: float) -> None:
        self._channels.setdefault(publisher, set()).add(channel)
        if publisher:
            self._heard.add(publisher)
        self._newest.setdefault(publisher, deque(maxlen=SIGNALS_KEPT)).append(seconds)
        self._newest.move_to_end(publisher)
        if len(self._newest) > PUBLISHERS_MAX:
            gone, _ = self._newest.popitem(last=False)
            self._channels.pop(gone, None)
            self._heard.discard(gone)

    def of(self, publisher: str) -> float | None:
        """The smallest `ts - sent_at` of a publisher's newest signals, in seconds; None if it says no `sent_at`."""
        newest = self._newest.get(publisher)
        return min(newest) if newest else None

    def heard(self) -> dict[str, float]:
        """Those heard since this was last asked, with the smallest of their newest few differences."""
        heard, self._heard = self._heard, set()
        return {publisher: min(list(self._newest[publisher])[-JUDGED:]) for publisher in heard}

    def channels_of(self, publisher: str) -> list[str]:
        """Where its signals came, as far as this process has seen."""
        return sorted(self._channels.get(publisher, ()))

    @property
    def worst_s(self) -> float:
        """That of the publisher whose is furthest from zero; 0 for nobody."""
        return max((min(newest) for newest in self._newest.values()), key=abs, default=0.0)
