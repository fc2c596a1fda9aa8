"""How long it takes to find the filters that want a signal: `python bench/match.py`, under a minute.

W1 is the load of issue 5: every filter names 5 of some symbols, 2 of 7 actions and a floor of confidence.
Targets: 10,000 filters <= 10 us a signal; 100,000 <= 200 us; flat within 3x where the number of matches is held at 20.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from time import process_time
from typing import Any

from catalyst_signals.filters import Filter, parse
from catalyst_signals.matching import MatchIndex

ACTIONS = ("open", "increase", "reduce", "close", "cancel", "watch", "avoid")
SIGNALS = 2000
ROUNDS = 9


def signal(rng: random.Random, symbols: int) -> dict[str, Any]:
    """A signal as it comes off the wire, with a full plan."""
    price = rng.randrange(100, 9000)
    data = {
        "instrument": {
            "symbol": f"S{rng.randrange(symbols)}",
            "asset_class": "equity",
            "mic": "XNAS",
            "currency": "USD",
        },
        "action": rng.choice(ACTIONS),
        "direction": rng.choice(("long", "short")),
        "entry": {"type": "limit", "price": f"{price / 100:.2f}"},
        "stop": {"price": f"{price / 105:.2f}"},
        "targets": [{"price": f"{price / 88:.2f}", "fraction": 1}],
        "horizon": rng.choice(("PT4H", "P1D", "P5D")),
        "confidence": round(rng.random(), 3),
        "catalyst": {"type": rng.choice(("fda", "ma", "earnings", "offering")), "stage": "announced"},
        "source": {"name": rng.choice(("sec", "prnewswire", "desk")), "title": "Primary endpoint met in phase 3 trial"},
        "features": {"rvol": round(rng.random() * 8, 2), "market_cap": rng.randrange(10**7, 10**9)},
        "tags": rng.sample(("biotech", "smallcap", "gapper", "halted", "news"), 2),
        "session": rng.choice(("pre", "regular", "post")),
        "provider": {"id": f"bot{rng.randrange(20)}"},
    }
    ts = f"2026-11-26T{rng.randrange(24):02}:{rng.randrange(60):02}:00.000123Z"
    return {"type": "signal.published", "channel": "main", "seq": 1, "id": "x", "version": 1, "ts": ts, "data": data}


def selective(rng: random.Random, symbols: int) -> Filter:
    """One filter of W1."""
    names = ", ".join(f"S{n}" for n in rng.sample(range(symbols), 5))
    actions = ", ".join(rng.sample(ACTIONS, 2))
    return parse(f"symbol in ({names}) and action in ({actions}) and confidence >= {rng.random() * 0.6:.4f}")


_CLAUSES: tuple[Callable[[random.Random], str], ...] = (
    lambda rng: f"symbol = S{rng.randrange(500)}",
    lambda rng: f"symbol in (S{rng.randrange(500)}, S{rng.randrange(500)}, S{rng.randrange(500)})",
    lambda rng: f"not symbol = S{rng.randrange(500)}",
    lambda rng: f"symbol prefix S{rng.randrange(10, 50)}",
    lambda rng: f"provider = bot{rng.randrange(20)}",
    lambda rng: f"catalyst.type in (fda, {rng.choice(('ma', 'earnings'))})",
    lambda rng: "not catalyst.type = offering",
    lambda rng: f"tags contains_any ({rng.choice(('biotech', 'gapper'))}, news)",
    lambda rng: "tags contains_all (biotech, smallcap)",
    lambda rng: f"keywords contains_any ({rng.choice(('fda', 'endpoint', 'merger'))}, buyout)",
    lambda rng: f"confidence >= {rng.random():.3f}",
    lambda rng: f"price between {rng.randrange(1, 20)} and {rng.randrange(20, 90)}",
    lambda rng: f"rvol >= {rng.random() * 5:.2f} or missing",
    lambda rng: f"market_cap < {rng.randrange(20, 900)}M",
    lambda rng: f"rr >= {rng.random() * 3:.2f}",
    lambda rng: f"horizon <= {rng.randrange(1, 100)}h",
    lambda rng: "stop exists",
    lambda rng: f"time_of_day between {rng.randrange(10, 24)}:30 and 0{rng.randrange(10)}:00",
    lambda rng: f"action in (BUY, {rng.choice(('SELL', 'close', 'watch'))})",
    lambda rng: f"session = {rng.choice(('pre', 'regular'))}",
    lambda rng: f"(source.name = sec or symbol = S{rng.randrange(500)})",
)


def mixed(rng: random.Random) -> Filter:
    """A filter of 2 to 5 clauses drawn from all operators."""
    return parse(" and ".join(make(rng) for make in rng.sample(_CLAUSES, rng.randrange(2, 6))))


def measure(name: str, filters: list[Filter], docs: list[dict[str, Any]]) -> dict[str, Any]:
    """Add, match and remove; all in CPU time, matching in the mean of the best round."""
    index: MatchIndex[int] = MatchIndex()
    distinct = list(dict.fromkeys(filters))
    started = process_time()
    for group, filter in enumerate(distinct):
        index.add(group, filter)
    add_s = process_time() - started
    best_s, matches = float("inf"), 0
    for _ in range(ROUNDS):
        started = process_time()
        matches = sum(len(index.match(doc)) for doc in docs)
        best_s = min(best_s, process_time() - started)
    started = process_time()
    for group in range(0, len(distinct), 10):
        index.remove(group)
    remove_us = (process_time() - started) / max(1, len(distinct) // 10) * 1e6
    return {
        "load": name, "filters": len(distinct), "open": index.open_count, "matches": round(matches / len(docs), 1),
        "us_per_signal": round(best_s / len(docs) * 1e6, 2), "add_s": round(add_s, 2), "remove_us": round(remove_us, 1),
    }  # fmt: skip


def run() -> list[dict[str, Any]]:
    """One row a load."""
    rng = random.Random(1)
    docs = [signal(rng, 500) for _ in range(SIGNALS)]
    wide = [signal(rng, 5000) for _ in range(SIGNALS)]
    return [
        measure("W1, 5 of 500 symbols", [selective(rng, 500) for _ in range(10_000)], docs),
        measure("W1, 5 of 500 symbols", [selective(rng, 500) for _ in range(100_000)], docs),
        measure("W1, 5 of 5,000 symbols: 20 matches held", [selective(rng, 5000) for _ in range(100_000)], wide),
        measure("all operators", [mixed(rng) for _ in range(10_000)], docs[:200]),
    ]


if __name__ == "__main__":
    for row in run():
        print("  ".join(f"{key} {value}" for key, value in row.items()))
