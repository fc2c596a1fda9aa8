"""What a running process says of itself over HTTP: alive, ready, and in numbers.

Owns: who is shown what. Law: whoever has no key is told no name of a channel or a worker, and no fault in its own
words, only totals.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request, Response

from catalyst_signals.auth import Principal
from catalyst_signals.errors import Draining, Unauthenticated, Unavailable
from catalyst_signals.metrics import METRICS, Numbers, totals
from catalyst_signals.metrics.prometheus import CONTENT_TYPE, exposition
from catalyst_signals.server.measuring import numbers
from catalyst_signals.server.readiness import readiness
from catalyst_signals.server.requests import bearer, json_response, node_of

router = APIRouter()

ASK = "ask with a key that may see every channel to be told which"


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
    principal = _asks(request)
    report = readiness(node)
    if node.siblings is not None:
        report = node.siblings.together(report)
    status = 200 if report["ready"] else 503
    return json_response(shown(report, principal), status)


def _asks(request: Request) -> Principal | None:
    """Who asks, also while nobody is let in; None: somebody without a key.

    Raises:
        Unauthenticated: a key that is none.
    """
    credential = bearer(request)
    if credential is None:
        return None
    node = node_of(request)
    principal = node.keys.authenticate(credential)
    if principal is None or principal.key_id in node.turned_off:
        raise Unauthenticated("this is no key of this server; without one, totals are shown")
    return principal


@router.get("/metrics", tags=["status"])
async def metrics(request: Request) -> Response:
    """Numbers for Prometheus: of every process on this port, with the label `process` if there are several.

    With a key, by channel for those it may see; without one, totals.
    """
    node = node_of(request)
    principal = _asks(request)
    node.scraped_s = time.monotonic()
    of_each = {"": numbers(node)} if node.siblings is None else node.siblings.numbers()
    if node.siblings is None:
        node.hub.longest_turn_s = 0.0
    shows = {process: _numbers_for(principal, each) for process, each in of_each.items()}
    return Response(exposition(shows), media_type=CONTENT_TYPE)


# -- who is shown what ------------------------------------------------------------------------------------------------


def _numbers_for(principal: Principal | None, all: Numbers) -> Numbers:
    if principal is None:
        return totals(all)
    return {
        name: _visible(principal, values) if METRICS[name].label == "channel" else values
        for name, values in all.items()
    }


def _visible(principal: Principal, values: Mapping[str, float]) -> dict[str, float]:
    return {channel: value for channel, value in values.items() if principal.may_use(channel)}


def shown(report: dict[str, Any], principal: Principal | None) -> dict[str, Any]:
    """A report as its reader may see it: in full with a key for all channels, without names to anybody else."""
    seen: dict[str, Any] = {"channels": _visible(principal, report["channels"]) if principal is not None else {}}
    if principal is not None and "*" in principal.channels:
        return report | seen
    wrong, warnings = report["wrong"], report["warnings"]
    seen |= {"wrong": _without_names(wrong), "warnings": [f"{len(warnings)}; {ASK}"] if warnings else []}
    if principal is None:
        seen |= {"components": [_without_error(each) for each in report.get("components", ())]}
    return report | seen


def _without_names(wrong: Mapping[str, str]) -> dict[str, str]:
    """What is wrong with the process in words; of what is wrong with parts of it only that."""
    plain = {name: why for name, why in wrong.items() if name in (Draining.name, Unavailable.name)}
    hidden = len(wrong) - len(plain)
    return plain | ({"parts": f"{hidden} not well; {ASK}"} if hidden else {})


def _without_error(component: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in component.items() if name != "error"}
