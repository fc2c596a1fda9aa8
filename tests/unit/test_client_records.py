"""What a data frame is made of.

Covers `catalyst_signals.client.records`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from catalyst_signals import Signal, to_records

COLUMNS = """
seq ts channel id version type symbol side action direction confidence entry stop target1 target2 target3
reference_price horizon expires_at source catalyst provider reason title note
"""


def _signal(**data: Any) -> Signal:
    event = {"type": "signal.published", "channel": "main", "seq": 7, "id": "a", "version": 1}
    return Signal.from_event(event | {"ts": "2026-11-26T09:30:00.000123Z", "data": data})


def test_a_signal_is_one_flat_row_with_floats_and_times() -> None:
    """What pandas can average, sort and plot without a conversion."""
    (row,) = to_records([
        _signal(
            instrument={"symbol": "ACME"}, action="open", direction="long", confidence=0.8,
            entry={"type": "limit", "price": "10.50"}, stop={"price": "9.9"},
            targets=[{"price": "12"}, {"price": "13.1"}],
            expires_at="2026-11-26T10:00:00Z", source={"name": "edgar"}, catalyst={"type": "offering"}, note="look",
        )
    ])  # fmt: skip
    assert list(row) == COLUMNS.split()
    assert row["ts"] == datetime(2026, 11, 26, 9, 30, 0, 123, UTC)
    assert (row["symbol"], row["side"], row["entry"], row["stop"]) == ("ACME", "BUY", 10.5, 9.9)
    assert (row["target1"], row["target2"], row["target3"]) == (12.0, 13.1, None)
    assert (row["source"], row["catalyst"], row["note"]) == ("edgar", "offering", "look")
    assert row["expires_at"] == datetime(2026, 11, 26, 10, 0, tzinfo=UTC)
    assert not [name for name, value in row.items() if isinstance(value, dict | list)]


def test_every_row_has_every_column() -> None:
    """An erased signal, one with four targets and one with offsets go into the same frame."""
    four = [{"price": str(price)} for price in range(1, 5)]
    rows = to_records([_signal(), _signal(targets=four), _signal(stop={"offset": "0.02", "unit": "pct"})])
    assert all(list(row) == COLUMNS.split() for row in rows)
    assert [row["target3"] for row in rows] == [None, 3.0, None]
    assert to_records([]) == []
