"""A direction or a price is never guessed: bodies that can be read in two ways are refused, or kept apart and told."""

from __future__ import annotations

import json
from itertools import permutations
from typing import Any

import pytest

from catalyst_signals.errors import InvalidDraft
from catalyst_signals.ingest import read

NOW_US = 1_790_000_000_000_000


def drafts_of(body: object) -> list[dict[str, Any]]:
    """What TradingView's adapter makes of a body."""
    raw = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    return read("tradingview", raw, "text/plain", ingest_id="i", now_us=NOW_US).drafts


def one(body: object) -> tuple[str, str | None]:
    """Action and direction of the only signal."""
    (draft,) = drafts_of(body)
    return draft["action"], draft.get("direction")


@pytest.mark.parametrize(
    "fields",
    [
        {"side": "sell", "action": "close"},
        {"signal": "buy", "action": "close"},
        {"order": "buy", "action": "sell"},
        {"type": "buy", "action": "sell"},
        {"action": "buy", "side": "short"},
        {"action": "sell", "order_action": "close_long"},
        {"action": "close", "direction": "sell"},
        {"action": "exit", "direction": "buy"},
    ],
)
def test_two_fields_that_disagree_are_refused_in_any_order(fields: dict[str, str]) -> None:
    """The first one in the body must not win by chance."""
    for order in permutations(({"ticker": "ACME"} | fields).items()):
        with pytest.raises(InvalidDraft):
            drafts_of(dict(order))


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({"action": "open", "side": "short"}, ("open", "short")),
        ({"action": "enter", "side": "sell"}, ("open", "short")),
        ({"side": "long", "action": "exit"}, ("close", "long")),
        ({"side": "sell"}, ("open", "short")),
        ({"action": "buy", "side": "buy"}, ("open", "long")),
        ({"action": "buy", "signal": "BUY"}, ("open", "long")),
    ],
)
def test_two_fields_that_say_one_thing_together_are_read(fields: dict[str, str], wanted: tuple[str, str]) -> None:
    """In any order."""
    for order in permutations(({"ticker": "ACME"} | fields).items()):
        assert one(dict(order)) == wanted


@pytest.mark.parametrize(
    "fields",
    [
        {"action": "sell", "comment": "Close entry(s) order Long"},
        {"action": "sell", "comment": "Exit Long"},
        {"action": "sell", "reduce_only": True},
        {"action": "sell", "intent": "close"},
        {"action": "sell", "position": "close"},
        {"action": "buy", "order_id": "Close entry(s) order Short"},
        {"action": "buy", "close_position": "true"},
        {"action": "sell", "position_size": "100"},
        {"action": "buy", "position_size": "-100"},
    ],
)
def test_a_sell_that_may_be_an_exit_is_not_a_new_short(fields: dict[str, Any]) -> None:
    """Without the position nobody knows; the answer says what to send."""
    with pytest.raises(InvalidDraft, match="position"):
        drafts_of({"ticker": "ACME"} | fields)


def test_the_position_settles_it() -> None:
    """The same words with where the position stands."""
    body = {"ticker": "ACME", "action": "sell", "comment": "Exit Long", "market_position": "flat"}
    assert one(body) == ("close", "long")


@pytest.mark.parametrize(
    "text",
    [
        "BUY ACME action=close",
        "BUY ACME ticker=XYZ",
        "BUY ACME side=sell",
        "ticker=ACME ticker=XYZ action=buy",
        "BTCUSDT Crossing 63000\nSELL BTCUSDT",
        "BTCUSDT Crossing 63000 - sell now",
    ],
)
def test_a_text_that_says_two_things_is_refused(text: str) -> None:
    """And never half read."""
    with pytest.raises(InvalidDraft):
        drafts_of(text)


@pytest.mark.parametrize("adapter", ["tradingview", "generic"])
def test_a_name_that_stands_twice_is_refused(adapter: str) -> None:
    """JSON lets the last one win in silence."""
    with pytest.raises(InvalidDraft, match="twice"):
        read(adapter, b'{"symbol":"ACME","symbol":"XYZ","action":"buy"}', "", ingest_id="i", now_us=NOW_US)


def test_every_line_of_an_alert_is_a_signal() -> None:
    """None of them is lost behind the first."""
    line = "S: order {} @ 1 filled on {}. New strategy position is {}"
    drafts = drafts_of(line.format("buy", "ACME", 1) + "\n" + line.format("sell", "XYZ", -1))
    assert [(d["instrument"]["symbol"], d["direction"]) for d in drafts] == [("ACME", "long"), ("XYZ", "short")]
    assert len({d["id"] for d in drafts}) == 2


@pytest.mark.parametrize(
    ("fields", "stop"),
    [
        ({"price": "2.20", "sl": "2"}, None),
        ({"price": "0.9", "sl": "0.85"}, "0.85"),
        ({"price": "2.20", "sl": "2.05"}, "2.05"),
        ({"price": "2.2", "sl": "2.0", "sl_type": "percent"}, None),
        ({"price": "190.5", "sl": "185"}, "185"),
    ],
)
def test_a_percentage_is_not_taken_for_a_cheap_price(fields: dict[str, str], stop: str | None) -> None:
    """Two per cent of 2.20 is not a stop at 2."""
    (draft,) = drafts_of({"ticker": "ACME", "action": "buy"} | fields)
    assert draft.get("stop", {}).get("price") == stop
    if stop is None:
        assert "sl" in draft["extras"] and "sl" in draft["note"]


def test_a_ticker_in_small_letters_is_found_by_its_filter() -> None:
    """`symbol = AAPL` must not miss it."""
    (draft,) = drafts_of({"ticker": "aapl", "action": "buy"})
    assert draft["instrument"]["symbol"] == "AAPL"
