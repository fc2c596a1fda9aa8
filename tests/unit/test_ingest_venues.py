"""Exchanges have one spelling, whatever a sender calls them."""

from __future__ import annotations

import pytest

from catalyst_signals.ingest.plans import instrument_of
from catalyst_signals.ingest.venues import venue_of


@pytest.mark.parametrize(
    ("name", "venue"),
    [
        ("binance", "BINANCE"), ("Binance", "BINANCE"), ("BINA", "BINANCE"), ("NASDAQ_DLY", "NASDAQ"),
        ("Gate.io", "GATEIO"), ("GATE", "GATEIO"), ("OKEX", "OKX"), ("Coinbase Pro", "COINBASE"),
        ("CME_MINI", "CME_MINI"), ("Nobody Knows", "NOBODY KNOWS"), ("Binance Spot", "BINANCE"),
    ],
)  # fmt: skip
def test_an_exchange_has_one_spelling(name: str, venue: str) -> None:
    assert venue_of(name) == (venue, False)


@pytest.mark.parametrize(
    ("name", "venue"),
    [
        ("BIFU", "BINANCE"), ("BINF", "BINANCE"), ("Binance Futures", "BINANCE"), ("binanceusdm", "BINANCE"),
        ("BYBIF", "BYBIT"), ("KRAKENFUTURES", "KRAKEN"), ("Kucoin Futures", "KUCOIN"),
    ],
)  # fmt: skip
def test_the_futures_of_an_exchange_are_told_from_the_exchange(name: str, venue: str) -> None:
    assert venue_of(name) == (venue, True)
    assert instrument_of("SOL/USDT", name) == {"symbol": "SOLUSDT", "asset_class": "crypto_perp", "venue": venue}


def test_a_name_that_only_ends_like_futures_is_no_exchange_of_ours() -> None:
    assert venue_of("ACME FUTURES") == ("ACME FUTURES", False)
    assert instrument_of("ES1!", "ACME FUTURES")["asset_class"] == "future"
