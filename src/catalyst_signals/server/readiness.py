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

STORE = "store"  # How the names of its breakers begin; everything else can be done without.


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
        if each.state != "closed" and each.name.startswith(STORE):
            wrong[each.name] = f"it has not answered for {each.since_s:.0f} s: {each.error}"
    return wrong


def _warnings(node: Node) -> Iterator[str]:
    """What somebody should look at, though signals are taken and delivered."""
    for each in components(node):
        if each.state != "closed" and not each.name.startswith(STORE):
            yield f"done without: the {each.name} has not answered for {each.since_s:.0f} s: {each.error}"
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
