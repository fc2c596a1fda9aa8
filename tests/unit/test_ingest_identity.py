"""One instrument, one identity: however a sender spells a ticker, filters and friends see the same symbol.

Covers `instrument_of` and the other readings of single values in `catalyst_signals.ingest.plans`.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from catalyst_signals.ingest.plans import ends_at, fraction_of, instrument_of, level_of, moment_of, percent_of

PERP, FUTURE = {"asset_class": "crypto_perp"}, {"asset_class": "future"}


@pytest.mark.parametrize(
    ("ticker", "symbol", "more"),
    [
        ("NASDAQ:AAPL", "AAPL", {"venue": "NASDAQ"}), ("NASDAQ_DLY:AAPL", "AAPL", {"venue": "NASDAQ"}),
        ("aapl", "AAPL", {}), ("$ACME", "ACME", {}), ("7203", "7203", {}), ("BRK.B", "BRK.B", {}),
        ("BRK-B", "BRK.B", {}), ("BRK/B", "BRK.B", {}), ("BRK B", "BRK.B", {}), ("BAC/PL", "BAC/PL", {}),
        ("BTCUSDT", "BTCUSDT", {}), ("BTC/USDT", "BTCUSDT", {}), ("btc/usdt", "BTCUSDT", {}),
        ("#BTC/USDT", "BTCUSDT", {}), ("BTC-USDT", "BTCUSDT", {}), ("BTC_USDT", "BTCUSDT", {}),
        ("USDT_BTC", "BTCUSDT", {}), ("BTC_ETH", "ETHBTC", {}), ("ETH_BTC", "ETHBTC", {}),
        ("BTCUSDT.P", "BTCUSDT", PERP), ("BINANCE:BTCUSDT.P", "BTCUSDT", PERP | {"venue": "BINANCE"}),
        ("BTC/USDT:USDT", "BTCUSDT", PERP), ("BTC-USDT-SWAP", "BTCUSDT", PERP), ("BTCUSDTPERP", "BTCUSDT", PERP),
        ("BTCUSD_PERP", "BTCUSD", PERP), ("BTC/USD:BTC", "BTCUSD", PERP), ("1000PEPEUSDT.P", "1000PEPEUSDT", PERP),
        ("BTC/USDT:USDT-241227", "BTCUSDT-241227", FUTURE), ("BTC-USD-241227", "BTCUSD-241227", FUTURE),
        ("USDT_1INCH", "1INCHUSDT", {}), ("USDT_RENDER", "RENDERUSDT", {}), ("USDT_BTCUSDT", "BTCUSDT", {}),
        ("USDT_SOL-PERP", "SOLUSDT", PERP), ("BTC_USDT_PERP", "BTCUSDT", PERP), ("BTC_USDC", "BTCUSDC", {}),
        ("BYBI_USDT_SOL", "SOLUSDT", {"venue": "BYBIT"}),
        ("KUCNF_USDT_ADA", "ADAUSDT", {"venue": "KUCOIN", "asset_class": "crypto_perp"}),
        ("NQ1!", "NQ1!", FUTURE), ("CME_MINI:MNQ1!", "MNQ1!", FUTURE | {"venue": "CME_MINI"}),
        ("NQZ2026", "NQZ2026", FUTURE), ("EURUSD", "EURUSD", {"asset_class": "fx"}),
        ("EUR/USD", "EURUSD", {"asset_class": "fx"}),
        ("OANDA:EUR_USD", "EURUSD", {"asset_class": "fx", "venue": "OANDA"}),
        ("USD_JPY", "USDJPY", {"asset_class": "fx"}), ("SQ 261218C68", "SQ 261218C68", {"asset_class": "option"}),
        ("AAPL  261218C00190000", "AAPL  261218C00190000", {"asset_class": "option"}),
        ("ACME_X", "ACME_X", {}), ("AAPL/MSFT", "AAPL/MSFT", {}), ("BTC-PERP", "BTC-PERP", {}),
    ],
)  # fmt: skip
def test_a_ticker_is_read_as_one_identity(ticker: str, symbol: str, more: dict[str, str]) -> None:
    """Also read again: an identity is its own spelling, but for what was said beside the symbol."""
    found = instrument_of(ticker)
    assert found == {"symbol": symbol} | more
    assert instrument_of(found["symbol"])["symbol"] == symbol


def test_the_exchange_beside_it_is_the_venue_unless_the_ticker_names_one() -> None:
    """`{{exchange}}` and `{{ticker}}` come apart; a prefix is nearer."""
    assert instrument_of("AAPL", "NASDAQ")["venue"] == "NASDAQ"
    assert instrument_of("NYSE:AAPL", "NASDAQ")["venue"] == "NYSE"


@pytest.mark.parametrize(
    ("sent", "moment"),
    [
        ("2026-09-21T14:13:00Z", "2026-09-21T14:13:00Z"), ("2026-09-21T16:13:00+02:00", "2026-09-21T14:13:00Z"),
        ("2026-09-21T14:13Z", "2026-09-21T14:13:00Z"), (1790000000, "2026-09-21T14:13:20Z"),
        ("1790000000000", "2026-09-21T14:13:20Z"), ("1790000000123", "2026-09-21T14:13:20.123000Z"),
        ("2026-09-21 14:13:00", None), ("soon", None), (True, None), (12, None), (None, None), ("9" * 5000, None),
    ],
)  # fmt: skip
def test_times_are_read_where_their_zone_is_certain(sent: Any, moment: str | None) -> None:
    """A time without a zone is nobody's."""
    assert moment_of(sent) == moment


@pytest.mark.parametrize("lag", ["300", 300, Decimal("300")])
def test_a_signal_ends_its_lag_after_it_was_sent(lag: Any) -> None:
    """3Commas' `max_lag`, OKX' `maxLag`: numbers are often texts."""
    assert ends_at("2026-09-21T14:13:00Z", lag) == "2026-09-21T14:18:00Z"
    assert ends_at("9999-12-31T23:59:59Z", lag) is None
    assert all(ends_at("2026-09-21T14:13:00Z", none) is None for none in (None, "", "-1", "x", 10**9))


@pytest.mark.parametrize(
    ("sent", "way", "stop", "offset"),
    [
        ("2", 1, True, "0.02"), ("-2", 1, True, "0.02"), (-2, -1, False, "0.02"), ("2", -1, False, "0.02"),
        ("-2", 1, False, None), ("5%", 1, False, "0.05"), ("0", 1, True, None), ("x", 1, True, None),
    ],
)  # fmt: skip
def test_a_documented_percentage_is_an_offset_on_the_right_side(sent: Any, way: int, stop: bool, offset: str) -> None:
    """The sign of a stop says nothing new; a long's target below zero is a mistake."""
    found = percent_of(sent, way=way, stop=stop)
    assert found == (None if offset is None else {"offset": offset, "unit": "pct"})


def test_parts_are_fractions() -> None:
    """Of a hundred."""
    assert [fraction_of(each) for each in ("50", "33.3%", 100, 0, 101, "x")] == [0.5, 0.333, 1.0, None, None, None]


@pytest.mark.parametrize(("sent", "stop"), [("1.08", "1.08"), ("1.1", None), ("1.00", None), ("2", None)])
def test_a_price_may_lack_its_zeros_only_close_by(sent: str, stop: str | None) -> None:
    """1.08 beside 1.0845 is one; 1 and 2 may be per cent."""
    found = level_of(sent, way=1, near=Decimal("1.0845"), sure=False, stop=True)
    assert found == (None if stop is None else {"price": stop})
