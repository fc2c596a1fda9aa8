"""A bot that publishes: BUY when a close is above the last four, cancelled when a later close falls below its stop.

    python producer.py bars.csv          # lines of TIME,SYMBOL,CLOSE; `-` reads them from a pipe

It may be killed at any time and started again on the same bars: the id of a signal is made from the bar it comes from,
so a signal that was published already is a duplicate and not a second one; and what it knows is in a state file. While
it runs it promises to be heard once a minute: should it die or lose its network, whoever follows it is told.
"""

from __future__ import annotations

import json
import os
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

from catalyst_signals import connect
from catalyst_signals.errors import SignalEnded

STATE = Path("producer.state.json")
BACK = 4  # Bars that a breakout looks back on.


def load() -> dict[str, Any]:
    """By symbol: the time of the last bar, the last closes, and the signal that is open."""
    return json.loads(STATE.read_text()) if STATE.exists() else {}


def save(state: dict[str, Any]) -> None:
    """Whole or not at all: written beside, and renamed."""
    beside = STATE.with_suffix(".new")
    beside.write_text(json.dumps(state))
    beside.replace(STATE)


def draft_of(at: str, symbol: str, close: str, stop: str) -> dict[str, Any]:
    """The signal of one bar: of the same bar always the same."""
    return {
        "id": f"breakout-{symbol}-{at}", "symbol": symbol, "action": "BUY", "reference_price": close, "stop": stop,
        "confidence": 0.75, "horizon": "5d", "event_at": at, "model": {"name": "breakout", "version": "1"},
    }  # fmt: skip


def main(bars: Any) -> None:
    state = load()
    with connect(os.environ["CATALYST_URL"], os.environ["CATALYST_KEY"]) as catalyst:
        catalyst.heartbeat(every_s=60)
        for line in bars:
            at, symbol, close = line.strip().split(",")
            known = state.setdefault(symbol, {"at": "", "closes": [], "open": None})
            if at <= known["at"]:
                continue  # Seen before it was started again.
            price, closes = Decimal(close), [Decimal(each) for each in known["closes"]]
            if known["open"] and price < Decimal(known["open"]["stop"]):
                try:
                    catalyst.cancel(known["open"]["id"], f"closed at {close}, below its stop")
                    print("cancelled", known["open"]["id"], flush=True)
                except SignalEnded:
                    pass  # It was cancelled right before it was killed.
                known["open"] = None
            elif not known["open"] and len(closes) == BACK and price > max(closes):
                draft = draft_of(at, symbol, close, str(min(closes)))
                receipt = catalyst.publish(draft)
                print("duplicate" if receipt.duplicate else "published", receipt.id, flush=True)
                known["open"] = {"id": draft["id"], "stop": draft["stop"]}
            known |= {"at": at, "closes": [*known["closes"], close][-BACK:]}
            save(state)
        catalyst.heartbeat(every_s=None)  # It ends because there is nothing more to do.


if __name__ == "__main__":
    with sys.stdin if sys.argv[1] == "-" else Path(sys.argv[1]).open() as bars:
        main(bars)
