"""A bot that acts on signals, each once: orders on paper in a database, and a report of what it did.

    python follower.py 'confidence >= 0.7'

It may be killed at any time. Its place is in `follower.place`, so it goes on where it was; the one signal that may come
again after a kill is known by its key, which is stored in the same transaction as the order. What it reports goes by
id and version too, so a report is kept once. That it got a signal it need not say: the client acknowledges by itself.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import sys

from catalyst_signals import Gap, Signal, connect

QUANTITY = "100"


def order_for(db: sqlite3.Connection, signal: Signal) -> str:
    """Place the order of a signal, or say which one was placed already: BUY 10.15, CLOSE, or nothing."""
    with db:  # One transaction: the key and the order, or neither.
        done = db.execute("SELECT said FROM done WHERE key = ?", (signal.key,)).fetchone()
        if done:
            return str(done[0])
        said = ""
        if signal.is_ending and db.execute("DELETE FROM positions WHERE id = ?", (signal.id,)).rowcount:
            said = "CLOSE"
        elif signal.version == 1 and signal.side in ("BUY", "SELL"):
            said = f"{signal.side} {signal.entry_price or signal.data.get('reference_price', '')}".strip()
            db.execute("INSERT INTO positions VALUES (?, ?, ?)", (signal.id, signal.symbol, said))
        db.execute("INSERT INTO done VALUES (?, ?)", (signal.key, said))
    return said


def gap(gone: Gap) -> None:
    """Signals that cannot be had: somebody has to know."""
    print("MISSING", gone, flush=True)


async def main(filter: str) -> None:
    db = sqlite3.connect("follower.db")
    with db:
        db.execute("CREATE TABLE IF NOT EXISTS done (key TEXT PRIMARY KEY, said TEXT)")
        db.execute("CREATE TABLE IF NOT EXISTS positions (id TEXT PRIMARY KEY, symbol TEXT, said TEXT)")
    url, key = os.environ["CATALYST_URL"], os.environ["CATALYST_KEY"]
    async with connect(url, key, state="follower.place", on_gap=gap, on_state=print) as catalyst:
        async for signal in catalyst.signals(filter):
            said = order_for(db, signal)
            price = said.partition(" ")[2]
            fills = [{"qty": QUANTITY, "price": price, "paper": True}] if price else None
            name = f"{signal.id}.{signal.version}"  # The same after a kill.
            await catalyst.did(signal, "executed" if said else "ignored", fills=fills, id=name)
            print(signal.key, signal.symbol, said or "-", flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else ""))
