"""What senders write for instruments, prices, stops and targets, brought into our words.

Owns: reading one value of a sender. Knows nothing of whole bodies or of verbs.
Law: a distance is never taken for a price. A number is a price where its name says so or the prices beside it
leave no other reading; otherwise the answer is None, and the adapter keeps the value under `extras`.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

from catalyst_signals.ingest.venues import venue_of
from catalyst_signals.kinds import DECIMAL_CHARS_MAX, as_decimal, as_time

_UNSET = frozenset(("", "nan", "null", "none", "na", "n/a", "undefined", "-"))
_PREFIX = re.compile(r"([A-Za-z0-9_.]+):(.+)")
_QUOTES = (
    "USDT", "USDC", "BUSD", "FDUSD", "TUSD", "DAI", "USD", "EUR", "GBP", "TRY", "BRL", "JPY", "AUD", "CAD", "CHF",
    "KRW", "INR", "IDR", "THB", "BTC", "ETH", "BNB",
)  # fmt: skip
"""What crypto is priced in; of two that stand here the earlier one is the quote: nobody trades USDT in BTC."""
FIAT = frozenset(
    [
        "USD",
        "EUR",
        "GBP",
        "JPY",
        "AUD",
        "CAD",
        "CHF",
        "NZD",
        "SEK",
        "NOK",
        "DKK",
        "CNH",
        "HKD",
        "SGD",
        "MXN",
        "ZAR",
        "TRY",
        "PLN",
        "HUF",
        "CZK",
    ]
)
_QUOTE = "|".join(_QUOTES)
_PERPETUAL = re.compile(rf"([A-Z0-9]+(?:{_QUOTE}))(?:\.P|[-_]?PERP|[-_]SWAP)")
_PAIR = re.compile(r"([A-Z0-9]{1,20})([/_-])([A-Z]{3,5})((?::[A-Z]{3,5})?(?:[-_](?:SWAP|PERP|[0-9]{6,8}))?)")
_QUOTE_FIRST = re.compile(rf"({_QUOTE})_([A-Z0-9]{{1,20}})(-PERP)?")
_CODED = re.compile(rf"([A-Z]{{3,6}})_({_QUOTE})_([A-Z0-9]{{1,20}})")
_CONTINUOUS = re.compile(r"[A-Z0-9]+[0-9]!")
_DATED = re.compile(r"[A-Z0-9]{1,4}[FGHJKMNQUVXZ]20[0-9]{2}")
_OPTION = re.compile(r"([A-Z]{1,6}) *([0-9]{6})([CP])([0-9]{8}|[0-9]{1,5}(?:\.[0-9]{1,3})?)")
_CLASS_OF_SHARE = re.compile(r"([A-Z]{1,5})[ /-]([A-Z])")
_NO_SECONDS = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2})([Zz]|[+-][0-9]{2}:?[0-9]{2})")
_SINCE_1970 = re.compile(r"([12][0-9]{9})([0-9]{3})?(?:\.[0-9]+)?")
_PERCENT = re.compile(r"\s*([0-9.]+)\s*%\s*")

NEAR = Decimal("1.5")  # A bare number may lie this far from the price beside it and still be a price.
CHEAP = Decimal(20)  # Below it percentages look like prices: a bare number needs as many decimals as the price.
CLOSE = Decimal("0.05")  # Nor so, within this part of it and with two decimals: 1.08 beside 1.0845 is a price.
FAR = Decimal(10)  # The same for one whose name says that it is a price.
LAG_S_MAX = 7 * 86400


def is_unset(value: object) -> bool:
    """Whether a sender's value means that there is none."""
    return value is None or (isinstance(value, str) and value.strip().lower() in _UNSET)


def instrument_of(ticker: str, exchange: object = None) -> dict[str, str]:
    """A sender's ticker as one identity: symbol, venue and, where it is certain, asset class.

    Symbols are as TradingView writes them: `BTC/USDT`, `BTC-USDT`, 3Commas' `USDT_BTC` and Altrady's
    `BYBI_USDT_BTC` are BTCUSDT; `BTCUSDT.P`, `BTC/USDT:USDT` and `BTC-USDT-SWAP` its perpetual; `BRK-B` is BRK.B.
    What stands before a colon is the venue and wins over `exchange`; how it is spelt says venues.py.
    """
    symbol, venue = ticker.strip(), exchange.strip() if isinstance(exchange, str) else ""
    symbol = symbol.lstrip("#$") or symbol
    prefixed = _PREFIX.fullmatch(symbol)
    if prefixed is not None and "/" not in prefixed[1]:
        venue, symbol = prefixed[1], prefixed[2].strip()
    if symbol.islower():
        symbol = symbol.upper()  # Filters compare symbols as they are; no ticker is all small letters.
    coded = _CODED.fullmatch(symbol)
    if coded is not None and coded[3] not in ("PERP", "SWAP"):
        venue, symbol = coded[1], f"{coded[3]}/{coded[2]}"
    instrument = _identity(symbol)
    if venue:
        instrument["venue"], futures = venue_of(venue)
        if futures:
            instrument.setdefault("asset_class", "crypto_perp")
    return instrument


def _identity(symbol: str) -> dict[str, str]:
    """Symbol and asset class of a ticker without its venue."""
    perpetual = _PERPETUAL.fullmatch(symbol)
    if perpetual is not None:
        return {"symbol": perpetual[1], "asset_class": "crypto_perp"}
    turned = _QUOTE_FIRST.fullmatch(symbol)
    if turned is not None and turned[2] not in _QUOTES and not {turned[1], turned[2]} <= FIAT:
        whole = turned[2] if turned[2].endswith(turned[1]) else turned[2] + turned[1]  # `USDT_BTCUSDT` is 3Commas'.
        return {"symbol": whole} | ({"asset_class": "crypto_perp"} if turned[3] else {})
    pair = _PAIR.fullmatch(symbol)
    if pair is not None:
        joined = _joined(*pair.groups())
        if joined is not None:
            return joined
    if _CONTINUOUS.fullmatch(symbol) or _DATED.fullmatch(symbol):
        return {"symbol": symbol, "asset_class": "future"}
    if _OPTION.fullmatch(symbol):
        return {"symbol": symbol, "asset_class": "option"}
    if len(symbol) == 6 and symbol[:3] in FIAT and symbol[3:] in FIAT:
        return {"symbol": symbol, "asset_class": "fx"}
    share = _CLASS_OF_SHARE.fullmatch(symbol)
    return {"symbol": f"{share[1]}.{share[2]}" if share is not None else symbol}


def _joined(base: str, mark: str, quote: str, settled: str) -> dict[str, str] | None:
    """A pair as one word, the base first; None if neither of the two is what things are priced in."""
    fiat = base in FIAT and quote in FIAT
    if mark == "_" and not fiat and _rank(base) < _rank(quote):
        base, quote = quote, base  # Some write the quote first; two currencies stand as OANDA writes them.
    if _rank(quote) == len(_QUOTES) and not fiat:
        return None
    settled, _, day = settled.replace("_", "-").partition("-")
    if day.isdigit():
        return {"symbol": f"{base}{quote}-{day}", "asset_class": "future"}
    if settled or day:
        return {"symbol": base + quote, "asset_class": "crypto_perp"}
    return {"symbol": base + quote} | ({"asset_class": "fx"} if fiat else {})


def _rank(name: str) -> int:
    return _QUOTES.index(name) if name in _QUOTES else len(_QUOTES)


def moment_of(value: object) -> str | None:
    """A sender's time as RFC 3339 in UTC: that already, without seconds, or seconds or milliseconds since 1970."""
    if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
        return None
    text = str(value).strip()
    since = _SINCE_1970.fullmatch(text)
    if since is not None:
        micros = int(since[2] or 0) * 1000
        moment: datetime | None = datetime.fromtimestamp(int(since[1]), UTC) + timedelta(microseconds=micros)
    else:
        short = _NO_SECONDS.fullmatch(text)
        moment = as_time(f"{short[1]}:00{short[2]}" if short is not None else text)
    return None if moment is None else moment.isoformat().replace("+00:00", "Z")


def ends_at(sent: str, lag_s: object) -> str | None:
    """When a signal ends that may be at most `lag_s` old, as 3Commas' `max_lag` says it; None if that is no time."""
    lag, moment = as_decimal(lag_s), as_time(sent)
    if lag is None or lag > LAG_S_MAX or moment is None:
        return None
    try:
        return (moment + timedelta(seconds=float(lag))).isoformat().replace("+00:00", "Z")
    except OverflowError:
        return None


def number_of(value: object) -> Decimal | None:
    """A finite number, also zero, below zero or written as a text; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
        return None
    if isinstance(value, str) and len(value) > DECIMAL_CHARS_MAX:
        return None
    try:
        number = Decimal(value.replace("−", "-") if isinstance(value, str) else value)
    except (InvalidOperation, ValueError):
        return None
    return number if number.is_finite() and abs(number.adjusted()) < DECIMAL_CHARS_MAX else None


def price_of(value: object) -> str | None:
    """A positive price as a decimal text, or None; zero often means "not set"."""
    number = as_decimal(value)
    return None if number is None else f"{number:f}"


def level_of(
    value: Any, *, way: int, near: Decimal | None, sure: bool, stop: bool, exact: bool = True
) -> dict[str, Any] | None:
    """A stop or a target of a position, or None when it cannot be told what the value means.

    `near` is a price of the instrument, `sure` whether the field's name says that it holds a price; without `exact` a
    price may be written with fewer decimals than `near`, as where another level of the body is one for certain.
    """
    if isinstance(value, dict):
        return _level_of_object(value, way=way, near=near, stop=stop)
    percent = _PERCENT.fullmatch(value) if isinstance(value, str) else None
    if percent is not None:
        return _offset(percent[1], "pct")
    number = as_decimal(value)
    if number is None or not _may_be_price(number, way if not stop else -way, near, sure, exact):
        return None
    return {"price": f"{number:f}"}


def percent_of(value: Any, *, way: int, stop: bool) -> dict[str, Any] | None:
    """A stop or a target that a dialect documents to be in per cent, or None when it points to the wrong side.

    Of a stop the side is certain whatever its sign; the target of a short may be written below zero, a long's not.
    """
    text = str(value).strip().removesuffix("%").rstrip()
    negative = text.startswith(("-", "−"))
    if negative and not stop and way > 0:
        return None
    return _offset(text.lstrip("-−") if negative else text, "pct")


def fraction_of(percent: Any) -> float | None:
    """A part in per cent as a fraction from 0 to 1; None if it is none."""
    number = as_decimal(percent.strip().removesuffix("%") if isinstance(percent, str) else percent)
    return None if number is None or number > 100 else float(number / 100)


def is_part(percent: Any) -> bool:
    """Whether so many per cent are a part: more than nothing and less than all."""
    number = number_of(percent)
    return number is not None and 0 < number < 100


def _may_be_price(number: Decimal, beyond: int, near: Decimal | None, sure: bool, exact: bool) -> bool:
    """Whether a number can be a price above (`beyond` 1) or below (-1) the price beside it."""
    if near is None:
        return sure
    if exact and not sure and near < CHEAP and _decimals(number) < _decimals(near):
        beside = _decimals(number) >= 2 and abs(number - near) <= near * CLOSE
        return beside and (number > near) == (beyond > 0)  # 2 beside a price of 2.20 may be two per cent.
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
