"""What people read of an event in a message (words.py, workers/wording.py)."""

from __future__ import annotations

import msgspec
import pytest

from catalyst_signals.events import Frame
from catalyst_signals.words import sentence_of, valid_of
from catalyst_signals.workers.messages import Message
from catalyst_signals.workers.wording import CHARS_MAX, text_of

BUY = {
    "type": "signal.published", "id": "x", "ts": "2026-11-26T09:30:00Z",
    "data": {
        "action": "open", "direction": "long", "instrument": {"symbol": "ACME"}, "confidence": 0.82,
        "entry": {"type": "limit", "price": "9.80"}, "stop": {"price": "9.40"}, "targets": [{"price": "10.60"}],
        "expires_at": "2026-11-26T13:30:00Z", "provider": {"id": "bot-1"},
    },
}  # fmt: skip


def changed(type: str, **data: object) -> dict[str, object]:
    return {**BUY, "type": type, "data": {**BUY["data"], **data}}  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("event", "says"),
    [
        (BUY, "BUY ACME @ 9.80, stop 9.40, target 10.60, confidence 0.82, valid 4 h, from bot-1"),
        (changed("signal.published", action="watch", direction="flat", entry=None, stop=None, targets=None),
         "WATCH ACME, confidence 0.82, valid 4 h, from bot-1"),
        (changed("signal.updated", confidence=0.9, stop={"offset": "0.02", "unit": "pct"}),
         "UPDATE BUY ACME @ 9.80, stop 2%, target 10.60, confidence 0.90, valid 4 h, from bot-1"),
        (changed("signal.cancelled", reason="trial halted"), "CANCEL BUY ACME, trial halted, from bot-1"),
        (changed("signal.expired"), "EXPIRED BUY ACME, from bot-1"),
        ({"type": "source.halted", "id": "h", "data": {"symbol": "ACME", "reason": "news pending"}},
         "source.halted ACME: news pending"),
        ({"type": "signal.published", "id": "x", "erased": True}, "ERASED x"),
        ({}, " "),
        (changed("signal.published", confidence="high", entry=7, instrument=None, stop={"offset": "?", "unit": "pct"}),
         "BUY -, stop ?%, target 10.60, valid 4 h, from bot-1"),
    ],
)  # fmt: skip
def test_an_event_in_one_sentence(event: dict[str, object], says: str) -> None:
    assert sentence_of(event) == says


@pytest.mark.parametrize(
    ("ends", "says"),
    [("09:31:30", "1.5 min"), ("09:30:45", "45 s"), ("11:00:00", "1.5 h"), ("09:29:00", ""), ("nonsense", "")],
)
def test_how_long_a_signal_is_good(ends: str, says: str) -> None:
    moment = f"2026-11-26T{ends}Z"
    assert valid_of({"ts": BUY["ts"], "data": {"expires_at": moment}}) == says


def frame(event: object, seq: int) -> Frame:
    return Frame("main", "e", seq, "0" * 8, "1" * 8, msgspec.json.encode(event), 0)


def test_a_digest_fits_whatever_it_holds_and_says_how_many_there_are_besides() -> None:
    many = [frame(changed("signal.published", note="x" * 300), n) for n in range(200)]
    text = text_of(Message("d", many, {"quiet_hours": 150, "cooldown": 50}))
    assert text.startswith("200 more, held by quiet hours (150), cooldown (50):\n... and before these 19")
    assert len(text) <= CHARS_MAX and text.endswith("from bot-1")
    one = text_of(Message("d", [frame(changed("signal.published", note="x" * 5000), 1)], {"digest": 1}))
    assert one.startswith("1 in this digest:\nBUY ACME") and len(one) <= 2 * CHARS_MAX
