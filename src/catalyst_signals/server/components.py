"""What a process stands on, and how each of it is: the store, the broker, the cache.

Owns: nothing; it reads the breakers (guarding.py) and the follower. Whoever shows it decides what it means (status.py).
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from catalyst_signals.breakers import State
from catalyst_signals.server.node import Node
from catalyst_signals.workers.targets import Out


@dataclass(frozen=True, slots=True)
class Component:
    """One part: its breaker's state and for how long it has been closed or not; `error` is why it is not, else empty.

    `lag_s` is how long ago the store last confirmed where its log ends; of the others 0. `replica_lag_s` is for how
    long the replica that history is read from has lacked something; None without one.
    """

    name: str
    state: State
    since_s: float
    error: str
    lag_s: float = 0.0
    replica_lag_s: float | None = None


def components(node: Node) -> list[Component]:
    """Every part that is asked over a breaker: store_writes, store_reads, store_upkeep, broker, cache, targets."""
    confirmed_s = node.follower.confirmed_s
    lag_s = asyncio.get_running_loop().time() - confirmed_s if confirmed_s is not None else 0.0
    found = []
    for each in node.breakers:
        of_store = (lag_s, getattr(node.store, "replica_lag_s", None)) if each is node.breakers.reads else ()
        found.append(Component(each.name, each.state, each.since_s, each.error, *of_store))
    return found + ([_targets(node.out)] if node.out is not None and node.out.runners else [])


def _targets(out: Out) -> Component:
    """All that signals are sent to from this process, as one: open while one of them does not answer."""
    failing = out.failing
    if not failing:
        return Component("targets", "closed", 0.0, "")
    since_s = max(runner.breaker.since_s for runner in failing)
    error = f"{len(failing)} of {len(out.runners)} do not answer; the furthest is {out.lag} events behind"
    return Component("targets", "open", since_s, error)
