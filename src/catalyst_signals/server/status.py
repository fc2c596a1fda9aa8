"""What a running process says of itself: alive, ready, and in numbers.

Owns: the metrics (declared once, here) and readiness. Law: not ready means that something is wrong and named.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from importlib import metadata
from typing import Any

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from catalyst_signals.errors import CatalystError
from catalyst_signals.server.node import Node
from catalyst_signals.server.requests import json_response, node_of
from catalyst_signals.skew import WORTH_SAYING_S

router = APIRouter()

METRICS = {
    "catalyst_connections": "WebSockets that are open.",
    "catalyst_streams": "Server-sent event streams that are open.",
    "catalyst_deliveries": "Events written to subscribers.",
    "catalyst_store_reads": "Pages read from the store; all who ask for one meanwhile share it.",
    "catalyst_events_stored": "Events this process stored.",
    "catalyst_commits": "Commits this process made; many publishers share one.",
    "catalyst_drafts_queued": "Drafts accepted and not yet stored.",
    "catalyst_channel_head": "The newest seq of a channel.",
    "catalyst_channel_subscribers": "WebSocket subscriptions of a channel.",
    "catalyst_channel_filters": "Distinct filters of a channel.",
    "catalyst_ring_bytes": "Memory that recent events of all channels take.",
    "catalyst_longest_turn_seconds": "The longest that deliveries held the event loop since the last scrape.",
    "catalyst_up_seconds": "How long this process has been up.",
    "catalyst_retention_held_seconds": "How long events that are due to go have waited for a worker.",
    "catalyst_workers_lost": "Workers whose next events are gone.",
    "catalyst_untrusted_channels": "Channels with an event that is not what was written.",
    "catalyst_publisher_clock_skew_seconds": "How far the clock is off of the publisher whose is off most.",
}
_OF_CHANNELS = (
    "catalyst_channel_head", "catalyst_channel_subscribers", "catalyst_channel_filters",
    "catalyst_retention_held_seconds", "catalyst_workers_lost",
)  # fmt: skip
Numbers = dict[str, dict[str, float]]  # By the metric's name, then by channel, or under "".
_COUNTERS = ("catalyst_deliveries", "catalyst_store_reads", "catalyst_events_stored", "catalyst_commits")


@router.head("/healthz", include_in_schema=False)
@router.get("/healthz", tags=["status"])
async def healthz() -> Response:
    """The process answers."""
    return json_response({"status": "alive"})


@router.head("/readyz", include_in_schema=False)
@router.get("/readyz", tags=["status"])
async def readyz(request: Request) -> Response:
    """Whether signals are taken and delivered here; if not, what is wrong, in any of the processes on this port."""
    node = node_of(request)
    report = readiness(node)
    if node.siblings is not None:
        report = node.siblings.together(report)
    return json_response(report, 200 if report["ready"] else 503)


def readiness(node: Node) -> dict[str, Any]:
    """Each part of a process and whether it is well."""
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
    return {
        "ready": not wrong, "wrong": wrong, "warnings": list(_warnings(node)),
        "node": node.settings.node, "version": version(),
        "channels": {name: tape.done for name, tape in sorted(node.hub.tapes.items())},
        "connections": len(node.every_connection()), "up_s": round(time.monotonic() - node.started_s, 1),
    }  # fmt: skip


def _warnings(node: Node) -> Iterator[str]:
    """What somebody should look at, though signals are taken and delivered."""
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


def version() -> str:
    """The version that is installed."""
    return metadata.version("catalyst-signals")


@router.get("/metrics", tags=["status"])
async def metrics(request: Request) -> Response:
    """Numbers for Prometheus: of every process on this port, with the label `process` if there are several."""
    node = node_of(request)
    of_each = {"": numbers(node)} if node.siblings is None else node.siblings.numbers()
    if node.siblings is None:
        node.hub.longest_turn_s = 0.0
    registry = CollectorRegistry()
    registry.register(_Collector(of_each))
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


class _Collector:
    """Numbers, by process and name, as Prometheus takes them."""

    def __init__(self, of_each: Mapping[str, Numbers]) -> None:
        self._of_each = of_each

    def collect(self) -> Iterator[Metric]:
        """Every metric, once."""
        for name, text in METRICS.items():
            labels = [*(["channel"] if name in _OF_CHANNELS else []), *(["process"] if "" not in self._of_each else [])]
            family = (CounterMetricFamily if name in _COUNTERS else GaugeMetricFamily)(name, text, labels=labels)
            for process, each in self._of_each.items():
                for channel, value in each.get(name, {}).items():
                    family.add_metric([label for label in (channel, process) if label], value)
            yield family


def numbers(node: Node) -> Numbers:
    """Every metric of this process, read where it is kept; under "" or by channel."""
    return {name: _values(node, name) for name in METRICS}


def _values(node: Node, name: str) -> dict[str, float]:
    hub = node.hub
    match name:
        case "catalyst_channel_head":
            return {c: t.done for c, t in hub.tapes.items()}
        case "catalyst_channel_subscribers":
            return {c: sum(g.members for g in t.groups.values()) for c, t in hub.tapes.items()}
        case "catalyst_channel_filters":
            return {c: len(t.groups) for c, t in hub.tapes.items()}
        case "catalyst_retention_held_seconds":
            return {c: swept.held_s for c, swept in node.swept.items()}
        case "catalyst_workers_lost":
            return {c: len(swept.lost) for c, swept in node.swept.items()}
        case "catalyst_publisher_clock_skew_seconds":
            return {"": node.skews.worst_s}
        case "catalyst_longest_turn_seconds":
            return {"": hub.longest_turn_s}
    plain: dict[str, float] = {
        "catalyst_connections": len(node.every_connection()), "catalyst_streams": node.streams,
        "catalyst_deliveries": hub.deliveries, "catalyst_store_reads": hub.pager.store_reads,
        "catalyst_events_stored": node.publisher.stored,
        "catalyst_commits": node.publisher.commits, "catalyst_drafts_queued": node.publisher.queued,
        "catalyst_untrusted_channels": len(node.follower.reader.faults),
        "catalyst_ring_bytes": hub.ring_bytes, "catalyst_up_seconds": time.monotonic() - node.started_s,
    }  # fmt: skip
    return {"": plain[name]}
