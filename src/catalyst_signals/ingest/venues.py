"""What exchanges are called: the codes and names of senders become one spelling, in capitals.

Owns: which names mean the same exchange, and which of them name its futures. Knows nothing of symbols.
Law: a name that is not known stays as it is, in capitals.
"""

from __future__ import annotations

import re

_DELAYED = re.compile(r"_DLY?$")
_FUTURES = re.compile(r"[ _-]?(?:FUTURES?|USDM|COINM|USDT-M|USD-M|PERPETUALS?|SWAP)$")

_SPOT_CODES = {
    "BINA": "BINANCE", "BIUS": "BINANCEUS", "BYBI": "BYBIT", "BVVO": "BITVAVO", "CRO": "CRYPTOCOM", "GATE": "GATEIO",
    "GDAX": "COINBASE", "HITB": "HITBTC", "HUBI": "HUOBI", "KUCN": "KUCOIN", "KRKN": "KRAKEN", "OKEX": "OKX",
    "PLNX": "POLONIEX", "BTRX": "BITTREX",
}  # fmt: skip
_FUTURES_CODES = {"BIFU": "BINANCE", "BINF": "BINANCE", "BYBIF": "BYBIT", "KUCNF": "KUCOIN"}
_NAMES = {
    "BINANCE US": "BINANCEUS", "BINANCE.US": "BINANCEUS", "GATE.IO": "GATEIO", "CRYPTO.COM": "CRYPTOCOM",
    "COINBASEPRO": "COINBASE", "COINBASE PRO": "COINBASE", "COINBASE ADVANCED": "COINBASE", "BYBIT USDT": "BYBIT",
}  # fmt: skip
_EXCHANGES = frozenset([*_SPOT_CODES.values(), *_FUTURES_CODES.values(), "BINGX", "BITGET", "BLOFIN", "MEXC", "PHEMEX"])


def venue_of(name: str) -> tuple[str, bool]:
    """The exchange in its one spelling, and whether the name is that of its futures.

    `binance`, `BINA` and `BINANCE_DLY` are BINANCE; `BIFU`, `Binance Futures` and `binanceusdm` are its futures.
    """
    venue = _DELAYED.sub("", name.strip().upper())
    if venue in _FUTURES_CODES:
        return _FUTURES_CODES[venue], True
    venue = venue.removesuffix(" SPOT")
    plain = _FUTURES.sub("", venue)
    known = _NAMES.get(plain) or _SPOT_CODES.get(plain) or plain
    if plain != venue and known in _EXCHANGES:
        return known, True
    return _NAMES.get(venue) or _SPOT_CODES.get(venue) or venue, False
