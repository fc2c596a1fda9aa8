"""Two nodes against one: the CPU of each node's process for the same signals to the same number of subscribers.

Signals come, and subscribers are, in equal parts at both, as a proxy in front shares them out. Computed, not run, since
there is no third core for clients that could fill two nodes: a node is full when its process has used up its core, so
two carry `x_one` times what one does, its CPU divided by that of the busier of the two. `x_deliveries` is that without
what publishing costs them while nobody listens. PostgreSQL is not in it, which is one for all nodes. The node that is
alone and the first of two have core 0; the second shares core 1 with the clients and the services.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from statistics import median

from bench.harness import CLIENT_CORE, SERVER_CORE, Row, show
from bench.peers import traffic
from bench.peers.run import Server, Subscribers, publisher, said, started
from bench.site import Node, postgres, two_nodes

LOADS = ((500, 200, 1000), (2000, 100, 300))  # Subscribers, signals a second, and in all.
ROUNDS, END_S = 3, 10.0


def run() -> list[Row]:
    """A row for each load and round, in which one and two take turns, and the medians."""
    with ExitStack() as stack:
        database = stack.enter_context(postgres())
        alone = stack.enter_context(started(type("Alone", (Node,), {"store_url": database.url, "cores": SERVER_CORE})))
        two = two_nodes(stack, postgres(), (SERVER_CORE, CLIENT_CORE))
        turns = _Turns([alone], two)
        rows = [turns.take(*load) | {"round": number} for load in LOADS for number in range(ROUNDS)]
    return [*rows, *(_middle(rows[at : at + ROUNDS]) for at in range(0, len(rows), ROUNDS))]


def _middle(rows: list[Row]) -> Row:
    figures = {name: median(row[name] for row in rows) for name in ("x_one", "x_deliveries")}
    return {"load": rows[0]["load"], "round": "median", **figures, "goal": "x_one >= 1.7"}


class _Turns:
    """One and two, and the number of the next signal: an id that was there would be no new signal."""

    def __init__(self, one: list[Server], two: list[Server]) -> None:
        self._one, self._two, self._next = one, two, 1

    def take(self, subscribers: int, rate: int, count: int) -> Row:
        """A row."""
        (quiet,) = self._served(self._one, 0, rate, count)
        (one,) = self._served(self._one, subscribers, rate, count)
        quiets = self._served(self._two, 0, rate, count)
        two = self._served(self._two, subscribers, rate, count)
        return {
            "load": f"two nodes: {subscribers} subscribers, {rate} signals a second", "one_s": round(one, 2),
            "two_s": [round(each, 2) for each in two], "x_one": round(one / max(two), 2),
            "one_publishing_s": round(quiet, 2), "two_publishing_s": [round(each, 2) for each in quiets],
            "x_deliveries": round((one - quiet) / max(a - b for a, b in zip(two, quiets, strict=True)), 2),
        }  # fmt: skip

    def _served(self, nodes: list[Server], subscribers: int, rate: int, count: int) -> list[float]:
        """The CPU seconds of each node."""
        first, self._next = self._next, self._next + count
        each = subscribers // len(nodes)
        with ExitStack() as stack:
            readers = [
                stack.enter_context(Subscribers(
                    node, [node.system.hello()], each, each * count, count / rate + END_S, f"from={first}"
                ))
                for node in nodes if each
            ]  # fmt: skip
            time.sleep(0.5)
            used_s = [node.cpu_s for node in nodes]
            _publish(nodes, traffic.signals(count, first), rate)
            for reader in readers:
                assert reader.row()["deliveries"] == each * count
            return [node.cpu_s - before_s for node, before_s in zip(nodes, used_s, strict=True)]


def _publish(nodes: list[Server], sent: list[traffic.Signal], rate: float) -> None:
    """In turns at each node."""
    with ExitStack() as stack:
        at_work = [
            stack.enter_context(publisher(
                node, node.system.publishing(sent[n :: len(nodes)]), rate=rate / len(nodes), wait_s=END_S
            ))
            for n, node in enumerate(nodes)
        ]  # fmt: skip
        for each in at_work:
            said(each, len(sent) / rate + END_S)
    time.sleep(0.3)


if __name__ == "__main__":
    show(run())
