"""Signals as flat rows, for pandas, polars, csv and spreadsheets.

    pandas.DataFrame(to_records([signal async for signal in catalyst.history()]))

Owns: the names of the columns. Law: every row has every column, in the same order; what is not there is None.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from catalyst_signals.signals import Signal

TARGETS_SHOWN = 3


def to_records(signals: Iterable[Signal]) -> list[dict[str, Any]]:
    """One flat dict a signal. Prices are floats, times are datetimes in UTC, as a data frame wants them.

    So a price here may differ from the publisher's in the sixteenth digit; `Signal.entry_price` and its like are exact.
    """
    return [_record(signal) for signal in signals]


def _record(signal: Signal) -> dict[str, Any]:
    data = signal.data
    targets: list[Decimal | None] = [*signal.target_prices[:TARGETS_SHOWN]]
    targets += [None] * (TARGETS_SHOWN - len(targets))
    return {
        "seq": signal.seq, "ts": signal.ts, "channel": signal.channel, "id": signal.id, "version": signal.version,
        "type": signal.type, "symbol": signal.symbol, "side": signal.side, "action": signal.action,
        "direction": signal.direction, "confidence": signal.confidence, "entry": _float(signal.entry_price),
        "stop": _float(signal.stop_price),
        **{f"target{n}": _float(price) for n, price in enumerate(targets, 1)},
        "reference_price": _float(data.get("reference_price")), "horizon": data.get("horizon"),
        "expires_at": signal.expires_at, "source": data.get("source", {}).get("name"),
        "catalyst": data.get("catalyst", {}).get("type"), "provider": data.get("provider", {}).get("id"),
        "reason": data.get("reason"), "title": data.get("title"), "note": data.get("note"),
    }  # fmt: skip


def _float(price: Decimal | str | None) -> float | None:
    return None if price is None else float(price)
