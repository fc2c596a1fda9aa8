"""The other processes on the same port: what each says of itself, so that whoever is asked can answer for all.

Owns: the report that every process gives once a second, and those of the others. Knows nothing of HTTP. Laws: what is
said of others is at most `HEARD_S` old, or left out and named; a key that was turned off in one process is turned off
in all within `REPORT_S`, also while the log cannot take it.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from typing import Any

import msgspec

from catalyst_signals.errors import Draining, Unavailable
from catalyst_signals.metrics import Numbers
from catalyst_signals.peers import pack
from catalyst_signals.projections import key_is_good
from catalyst_signals.server.measuring import numbers
from catalyst_signals.server.node import Node
from catalyst_signals.server.readiness import readiness
from catalyst_signals.server.transfers import Transfer

REPORT_S = 1.0
HEARD_S = 5.0
LONGEST_TURN_S = 60.0  # Over which `catalyst_longest_turn_seconds` is the longest: many scrape, in any process.


class Report(msgspec.Struct, array_like=True):
    """What one process says of itself."""

    process: int
    pid: int
    readiness: dict[str, Any]
    numbers: Numbers
    turned_off: list[str]
    transfer: Transfer | None = None


_report = msgspec.msgpack.Decoder(Report).decode


class Siblings:
    """The `of` processes on one port, of which this is `number`; `say` reaches all the others."""

    def __init__(self, number: int, of: int, say: Callable[[bytes], None]) -> None:
        self._number = number
        self.of = of  # How many processes there are on this port.
        self._say = say
        self._node: Node | None = None
        self._heard: dict[int, tuple[float, Report]] = {}

    def heard(self, message: bytes) -> None:
        """Another process reported."""
        report = _report(message)
        _, known = self._heard.get(report.process, (0.0, None))
        self._heard[report.process] = (time.monotonic(), report)
        if known is None or known.pid != report.pid:
            self.tell()  # It is new, and should not have to wait for what it will be asked.
        for key_id in report.turned_off:
            if self._node is not None and key_id not in self._node.turned_off:
                self._node.turn_off(key_id)

    async def run(self, node: Node) -> None:
        """Report for ever."""
        self._node = node
        began_s = time.monotonic()
        while True:
            await asyncio.sleep(REPORT_S if self.tell() else REPORT_S / 10)
            if time.monotonic() - began_s > LONGEST_TURN_S:
                began_s, node.hub.longest_turn_s = time.monotonic(), 0.0

    def tell(self) -> bool:
        """Whether the others could be told how this process is: it is done each second, and when that is too late."""
        if self._node is None:
            return False
        try:
            self._say(pack(self._own()))
        except Unavailable:  # The one that passes it on is away.
            return False
        return True

    def _own(self) -> Report:
        assert self._node is not None
        node = self._node
        pending = [id for id in node.turned_off if (key := node.state.keys.get(id)) is not None and key_is_good(key)]
        return Report(self._number, os.getpid(), readiness(node), numbers(node), pending, node.transfers.own)

    def _others(self) -> list[Report]:
        now_s = time.monotonic()
        return [report for _, (heard_s, report) in sorted(self._heard.items()) if now_s - heard_s <= HEARD_S]

    def transfers(self) -> list[Transfer]:
        """What each of the others moved last, as it said."""
        return [report.transfer for report in self._others() if report.transfer is not None]

    def numbers(self) -> dict[str, Numbers]:
        """The metrics of every process that is heard, by its number."""
        return {str(report.process): report.numbers for report in (self._own(), *self._others())}

    def together(self, own: dict[str, Any]) -> dict[str, Any]:
        """The readiness of all: what is wrong in any is wrong; one that stops or is not heard is a warning."""
        wrong, warnings, others = dict(own["wrong"]), list(own["warnings"]), self._others()
        for report in others:
            name = report.readiness["node"]
            for what, why in report.readiness["wrong"].items():
                if what == Draining.name:
                    warnings.append(f"{name}: {why}")
                else:
                    wrong[f"{name}: {what}"] = why
            warnings += [f"{name}: {said}" for said in report.readiness["warnings"] if said not in warnings]
        missing = set(range(1, self.of + 1)) - {self._number} - {report.process for report in others}
        warnings += [f"process {number} is not heard" for number in sorted(missing)]
        processes = [_line(report) for report in (self._own(), *others)]
        processes.sort(key=lambda line: line["process"])
        return own | {
            "ready": not wrong, "wrong": wrong, "warnings": warnings, "processes": processes,
            "connections": sum(line["connections"] for line in processes),
        }  # fmt: skip


def _line(report: Report) -> dict[str, Any]:
    said = report.readiness
    return {"process": report.process, "pid": report.pid} | {
        name: said[name] for name in ("node", "ready", "connections", "up_s")
    }
