"""What a process stands on, and how each of it is: the store, the broker, the cache.

Owns: nothing; it reads the breakers (guarding.py) and the follower. Whoever shows it decides what it means (status.py).
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from catalyst_signals.breakers import State
from catalyst_signals.server.node import Node


@dataclass(frozen=True, slots=True)
class Component:
    """One part: its breaker's state and for how long it has been closed or not; `error` is why it is not, else empty.

    `lag_s` is how long ago the store last confirmed where its log ends; of the others 0.
    """

    name: str
    state: State
    since_s: float
    error: str
    lag_s: float = 0.0


def components(node: Node) -> list[Component]:
    """Every part that is asked over a breaker: store_writes, store_reads, broker, cache."""
    confirmed_s = node.follower.confirmed_s
    lag_s = asyncio.get_running_loop().time() - confirmed_s if confirmed_s is not None else 0.0
    return [
        Component(each.name, each.state, each.since_s, each.error, lag_s if each is node.breakers.reads else 0.0)
        for each in node.breakers
    ]
