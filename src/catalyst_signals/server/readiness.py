"""Whether a process takes signals and delivers them, and what is wrong with it if not.

Owns: what counts as wrong and what as a warning. Knows nothing of who asks (status.py). Law: not ready means that
something is wrong and named.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from functools import cache
from importlib import metadata
from typing import Any

from catalyst_signals.errors import CatalystError
from catalyst_signals.server.components import components
from catalyst_signals.server.node import Node
from catalyst_signals.skew import WORTH_SAYING_S

REPLICA_LATE_S = 30.0  # As the alert CatalystReplicaLags has it.
NEEDED = ("store_writes", "store_reads")  # Breakers of what everything stands on; the rest can be done without.


@cache
def version() -> str:
    """The version that is installed."""
    return metadata.version("catalyst-signals")


def readiness(node: Node) -> dict[str, Any]:
    """Each part of a process and whether it is well."""
    wrong = wrong_with(node)
    return {
        "ready": not wrong, "wrong": wrong, "warnings": list(_warnings(node)),
        "node": node.settings.node, "version": version(),
        "channels": {name: tape.done for name, tape in sorted(node.hub.tapes.items())},
        "components": [dataclasses.asdict(each) for each in components(node)],
        "connections": len(node.every_connection()), "up_s": round(time.monotonic() - node.started_s, 1),
    }  # fmt: skip


def wrong_with(node: Node) -> dict[str, str]:
    """By part, why signals are not taken or not delivered; empty when all is well."""
    wrong: dict[str, str] = {}
    try:
        node.check_open()
    except CatalystError as error:
        wrong[error.name] = error.message
    for fault in node.follower.reader.faults.values():
        wrong[f"channel {fault.channel}"] = f"{fault}; it is not shown: run `catalyst verify`, restore a safety copy"
    for tape in node.hub.tapes.values():
        if tape.stopped is not None:
            wrong[f"channel {tape.channel}"] = tape.stopped.message
    if node.store.fault is not None:
        wrong["store"] = str(node.store.fault)
    for each in components(node):
        if each.state != "closed" and each.name in NEEDED:
            wrong[each.name] = f"it has not answered for {each.since_s:.0f} s: {each.error}"
    return wrong or _not_taken(node)


def _not_taken(node: Node) -> dict[str, str]:
    """Why nothing can be published though all that was asked has answered: the process that owns the log is away."""
    try:
        node.publisher.check_there()
    except CatalystError as error:
        return {error.name: error.message}
    return {}


def _warnings(node: Node) -> Iterator[str]:
    """What somebody should look at, though signals are taken and delivered."""
    for each in components(node):
        if each.state != "closed" and each.name == "targets":
            yield f"targets outside are told later: {each.error}"
        elif each.state != "closed" and each.name not in NEEDED:
            yield f"done without: the {each.name} has not answered for {each.since_s:.0f} s: {each.error}"
        if each.replica_lag_s is not None and each.replica_lag_s > REPLICA_LATE_S:
            lag = f"{each.replica_lag_s:.0f} s"
            yield f"the store's replica has lacked something for {lag}; the primary is read instead"
    for channel, swept in sorted(node.swept.items()):
        for worker, seq in swept.waits_for.items():
            yield (
                f"{channel}: events that are due to go wait for the worker `{worker}`, which stands at {seq};"
                f" {swept.held_s:.0f} s of {node.settings.retention_wait_s:.0f} s are over"
            )
        for worker, seq in swept.lost.items():
            yield f"{channel}: the worker `{worker}` is lost: it stands at {seq}, and {swept.extent.first} is the first"
    worst_s = node.skews.worst_s
    if abs(worst_s) > WORTH_SAYING_S:
        side = "ahead of ours" if worst_s < 0 else "behind ours, or its signals come that late"
        yield f"a publisher's clock is {abs(worst_s):.1f} s {side}; `GET /v1/users` says whose"
