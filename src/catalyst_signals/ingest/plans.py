"""What senders write for instruments, prices, stops and targets, brought into our words.

Owns: reading one value of a sender. Knows nothing of whole bodies or of verbs.
Law: a distance is never taken for a price. A number is a price where its name says so or the prices beside it
leave no other reading; otherwise the answer is None, and the adapter keeps the value under `extras`.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

from catalyst_signals.kinds import as_decimal

_UNSET = frozenset(("", "nan", "null", "none", "na", "n/a", "undefined", "-"))
_PREFIX = re.compile(r"([A-Za-z0-9_]+):(.+)")
_DELAYED = re.compile(r"_DLY?$", re.IGNORECASE)
_PERPETUAL = re.compile(r"([A-Z0-9]+(?:USDT|USDC|BUSD|FDUSD|USD|EUR|BTC|ETH))\.P", re.IGNORECASE)
_CONTINUOUS = re.compile(r"[A-Z0-9]+[0-9]!")
_PERCENT = re.compile(r"\s*([0-9.]+)\s*%\s*")

NEAR = Decimal("1.5")  # A bare number may lie this far from the price beside it and still be a price.
CHEAP = Decimal(20)  # Below it percentages look like prices: a bare number needs as many decimals as the price.
FAR = Decimal(10)  # The same for one whose name says that it is a price.


def is_unset(value: object) -> bool:
    """Whether a sender's value means that there is none."""
    return value is None or (isinstance(value, str) and value.strip().lower() in _UNSET)


def instrument_of(ticker: str, exchange: object = None) -> dict[str, str]:
    """`NASDAQ:AAPL`, `BTCUSDT.P` or `MNQ1!` as symbol, venue and, where it is certain, asset class."""
    symbol, venue = ticker.strip(), exchange.strip() if isinstance(exchange, str) else ""
    prefixed = _PREFIX.fullmatch(symbol)
    if prefixed is not None:
        venue, symbol = prefixed[1], prefixed[2]
    if symbol.islower():
        symbol = symbol.upper()  # Filters compare symbols as they are; no ticker is all small letters.
    instrument = {"symbol": symbol}
    perpetual = _PERPETUAL.fullmatch(symbol)
    if perpetual is not None:
        instrument = {"symbol": perpetual[1], "asset_class": "crypto_perp"}
    elif _CONTINUOUS.fullmatch(symbol):
        instrument["asset_class"] = "future"
    if venue:
        instrument["venue"] = _DELAYED.sub("", venue)
    return instrument


def price_of(value: object) -> str | None:
    """A positive price as a decimal text, or None; zero often means "not set"."""
    number = as_decimal(value)
    return None if number is None else f"{number:f}"


def level_of(value: Any, *, way: int, near: Decimal | None, sure: bool, stop: bool) -> dict[str, Any] | None:
    """A stop or a target of a position, or None when it cannot be told what the value means.

    `near` is a price of the instrument, `sure` whether the field's name says that it holds a price.
    """
    if isinstance(value, dict):
        return _level_of_object(value, way=way, near=near, stop=stop)
    percent = _PERCENT.fullmatch(value) if isinstance(value, str) else None
    if percent is not None:
        return _offset(percent[1], "pct")
    number = as_decimal(value)
    if number is None or not _may_be_price(number, way if not stop else -way, near, sure):
        return None
    return {"price": f"{number:f}"}


def _may_be_price(number: Decimal, beyond: int, near: Decimal | None, sure: bool) -> bool:
    """Whether a number can be a price above (`beyond` 1) or below (-1) the price beside it."""
    if near is None:
        return sure
    if not sure and near < CHEAP and _decimals(number) < _decimals(near):
        return False  # 2 beside a price of 2.20 may be two per cent.
    factor = FAR if sure else NEAR
    return near < number <= near * factor if beyond > 0 else near / factor <= number < near


def _decimals(number: Decimal) -> int:
    exponent = number.as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def _level_of_object(value: dict[str, Any], *, way: int, near: Decimal | None, stop: bool) -> dict[str, Any] | None:
    """As TradersPost documents it: percent 10 is ten per cent, amount is a distance, the prices are prices."""
    given = {name: each for name, each in value.items() if not is_unset(each)}
    for name in ("stopPrice", "limitPrice", "price"):
        if name in given:
            return level_of(given[name], way=way, near=near, sure=True, stop=stop)
    for name, unit in (("percent", "pct"), ("amount", "abs"), ("trailPercent", "pct"), ("trailAmount", "abs")):
        if name in given:
            level = _offset(given[name], unit)
            return level and (level | {"trailing": True} if name.startswith("trail") else level)
    return None


def _offset(value: Any, unit: str) -> dict[str, Any] | None:
    number = as_decimal(value)
    if number is None:
        return None
    return {"offset": f"{(number / 100 if unit == 'pct' else number):f}", "unit": unit}
