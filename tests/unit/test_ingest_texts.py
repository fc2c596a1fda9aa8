"""The dialects in words (PineConnector, OctoBot, Cornix, freqtrade): secrets, keys, and time.

Bodies and what becomes of them are in tests/fixtures/ingest. Covers `catalyst_signals.ingest.pineconnector`,
`catalyst_signals.ingest.octobot`, `catalyst_signals.ingest.cornix`, `catalyst_signals.ingest.cornix_words`,
`catalyst_signals.ingest.cornix_reports`, `catalyst_signals.ingest.freqtrade`, `catalyst_signals.ingest.envelopes`
and `catalyst_signals.ingest.notes`.
"""

from __future__ import annotations

import json
import time
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalyst_signals.errors import CatalystError, InvalidDraft, TooLarge
from catalyst_signals.ingest import Reading, read, received_draft
from catalyst_signals.signals import canonical

NAMES = ("pineconnector", "octobot", "cornix", "freqtrade")
NOW_US = 1_790_000_000_000_000
PIECES = [
    "TP 1 ", "Entry ", "1,", "1.", "1 ", "- ", "\n\n", "BUY BTCUSDT 1\n", "#BTC/USDT 1\n", "stop loss ", "1) ", "((",
    "A1 BUY ", "<b ", "**", "_a", "#A", "1\ufe0f\u20e3", "\ufdfa", "Pair: ", "LONG ", "0.1 pips ", "all targets ", "=",
    "a=1&", "a=1;", ',"', "“", "{'a': 'b', ", "'a':<" + " " * 99, "Buying A/B ", "{pair", "datetime.datetime(", "\\n",
    "60123456789,buy,EURUSD\n", "60123456789,buy,EURUSD,a=b,", "12345678", "target 1 ✅ ", "when ", "new signal\n",
]  # fmt: skip
BEGINNINGS = [
    "",
    "60123456789,buy,EURUSD,",
    "SYMBOL=A\nSIGNAL=BUY\n",
    "#BTC/USDT LONG\nEntry 100\nTP 110\n",
    "{'type':",
]


def of(adapter: str, text: str, *, now_us: int = NOW_US, **options: str) -> Reading:
    """What an adapter makes of a text."""
    return read(adapter, text.encode(), "text/plain", ingest_id="i", now_us=now_us, options=options)


@pytest.mark.parametrize("adapter", NAMES)
@pytest.mark.slow
def test_no_text_takes_long(adapter: str) -> None:
    """64 KiB that were made to be read slowly cost less than a second, whoever sends them."""
    slowest = 0.0
    for piece in PIECES:
        for beginning in BEGINNINGS:
            body = (beginning + piece * (65_536 // len(piece.encode()))).encode()[:65_536].decode(errors="ignore")
            began = time.process_time()
            with suppress(CatalystError):
                of(adapter, body)
            slowest = max(slowest, time.process_time() - began)
    assert slowest < 1


@pytest.mark.parametrize("adapter", NAMES)
@given(
    words=st.lists(st.sampled_from([*PIECES, *BEGINNINGS, "Stop: 9", "Entry: 10", "TP: 11,12", "sl=1", "€", "\x00"]))
)
@settings(max_examples=150, deadline=None)
def test_every_text_is_read_or_refused_in_our_words(adapter: str, words: list[str]) -> None:
    """Never another exception; and what is read can be stored, with a direction where one is needed."""
    with suppress(CatalystError):
        for draft in of(adapter, "".join(words)).drafts:
            canonical(draft)


@pytest.mark.parametrize("adapter", NAMES)
def test_a_body_that_is_no_alert_by_its_size_is_refused(adapter: str) -> None:
    """Before anything looks at it."""
    with pytest.raises(TooLarge):
        of(adapter, "x" * 70_000)


@pytest.mark.parametrize(
    "body",
    [
        "60123456789,buy,EURUSD,risk=1",
        " 60123456789 , buy , EURUSD",
        "60123456789,buy,EURUSD\n60123456789,sell,GBPUSD",
        "buy,60123456789,EURUSD",
        "60123456789 buy EURUSD",
        "60123456789,byu,EURUSD",
        "60123456789,closelong,EURUSD\nnote 60123456789 here",
    ],
)
def test_a_licence_id_gets_nowhere(body: str) -> None:
    """Neither into the signal nor into the raw body that is kept, nor into the refusal, however the line is broken."""
    said = received_draft("pineconnector", body.encode(), "", ingest_id="i", id="x").body.decode()
    try:
        said += str(of("pineconnector", body))
    except InvalidDraft as refusal:
        said += str(refusal.as_dict())
    assert "60123456789" not in said


def test_one_trade_of_freqtrade_is_one_signal_for_ever() -> None:
    """A retry after an hour is the same; another event, order or trade is not."""
    body = {"event": "entry", "trade_id": "7", "pair": "BTC/USDT", "direction": "Long", "order_id": "a1", "rate": "1"}

    def id_of(change: dict[str, str], later_s: int = 0) -> str:
        return of("freqtrade", json.dumps(body | change), now_us=NOW_US + later_s * 1_000_000).id

    assert id_of({}) == id_of({}, later_s=3600) == id_of({"rate": "2"})
    others = ({"event": "exit"}, {"order_id": "a2"}, {"trade_id": "8"})
    assert len({id_of({}), *(id_of(change) for change in others)}) == 4


def test_a_trade_without_order_or_date_is_not_confused_with_one_of_a_new_database() -> None:
    """Trade ids begin at 1 again: such a body is known for the minute only."""
    body = '{"event": "entry", "trade_id": "1", "pair": "BTC/USDT", "direction": "Long"}'
    assert of("freqtrade", body).id != of("freqtrade", body, now_us=NOW_US + 7_200_000_000).id


def test_a_message_of_telegram_is_known_by_its_number() -> None:
    """Telegram sends an update again until it is answered."""
    text = "#ACME/USDT LONG\nEntry: 10\nTP: 11\nSL: 9"
    post = {"message_id": 17, "chat": {"id": -100}, "text": text}
    first, again = (
        of("cornix", json.dumps({"update_id": number, "channel_post": post}), now_us=NOW_US + number * 10**9)
        for number in (1, 2)
    )
    assert first.id == again.id == "cornix.i.-100.17"


@pytest.mark.parametrize(
    ("old", "new"),
    [("LONG", ""), ("SL: 9", "SL: ???"), ("TP: 11", "TP: 11, 110"), ("Entry: 10", ""), ("SL: 9", "SL: 12")],
)
def test_every_assumption_about_a_message_is_a_doubt(old: str, new: str) -> None:
    """So that a clear one is published at once, and nothing else is."""
    text = "#ACME/USDT LONG\nEntry: 10\nTP: 11\nSL: 9"
    assert of("cornix", text).doubts == []
    changed = text.replace(old, new)
    assert of("cornix", changed).doubts and not of("cornix", changed, confirm="never").doubts
    assert of("cornix", changed).drafts[0]["note"]


@pytest.mark.parametrize("adapter", NAMES)
@pytest.mark.parametrize("body", ['""', '" "', '"\\n"', '"\\ud800"'])
def test_a_text_with_nothing_in_it_is_refused_also_in_quotes(adapter: str, body: str) -> None:
    """Found by Schemathesis: PineConnector's parser stumbled over a JSON text that is empty."""
    with pytest.raises(CatalystError):
        of(adapter, body)
