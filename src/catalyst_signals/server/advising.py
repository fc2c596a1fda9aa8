"""`GET /v1/advice`: which size this server is, what it runs into first, and what it would cost, as the advisor says it.

Owns: what the advisor is told of this server, and how the question is read. What is advised is advisor/'s. Laws: it is
the answer of `catalyst advise` to the same question; it shows nothing of the settings but whether something is on.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Request, Response

from catalyst_signals.advisor import Advice, Load, advise
from catalyst_signals.advisor.capacity import read_capacity
from catalyst_signals.advisor.facts import facts_of
from catalyst_signals.advisor.picture import svg_of
from catalyst_signals.advisor.shapes import Usage
from catalyst_signals.advisor.sizing import MAX
from catalyst_signals.advisor.standing import stand
from catalyst_signals.errors import InvalidRequest
from catalyst_signals.events import iso, parse_iso
from catalyst_signals.histograms import quantile
from catalyst_signals.metrics import Numbers
from catalyst_signals.projections import SystemState
from catalyst_signals.server.measuring import numbers
from catalyst_signals.server.node import Node
from catalyst_signals.server.requests import json_response, node_of, only, principal_of
from catalyst_signals.server.traffic import CHANNELS_MAX, DAY_US, DAYS_MAX, YOUNG_DAYS, Traffic

router = APIRouter(prefix="/v1")

Whole = Annotated[int, msgspec.Meta(ge=0, le=MAX)]
Amount = Annotated[float, msgspec.Meta(ge=0, le=MAX)]
ASKED: dict[str, tuple[Any, str]] = {  # What may be asked, as Load has it, and what is allowed in words.
    "users": (Whole, f"a whole number from 0 to {MAX:,}"),
    "signals": (Whole, f"how many a day, a whole number from 0 to {MAX:,}"),
    "budget": (Amount, f"dollars a month, from 0 to {MAX:,}"),
    "devops_hours": (Amount, f"hours a week, from 0 to {MAX:,}"),
    "replay": (bool, "true or false"),
}
SVG = "image/svg+xml"
SCRAPED_S = 3600.0  # For so long /metrics counts as read.


@router.get("/advice", tags=["status"])
async def advice(
    request: Request, users: str | None = None, signals: str | None = None, budget: str | None = None,
    devops_hours: str | None = None, replay: str | None = None,
) -> Response:  # fmt: skip
    """What to run for so many users and signals a day, what it costs, and where this server is on the scale.

    What is not given is the server's own: users with a key that works, signals a day in the last week. As
    `catalyst advise --json`.
    """
    return json_response(await _advice(request))


@router.get("/advice.svg", tags=["status"])
async def advice_svg(
    request: Request, users: str | None = None, signals: str | None = None, budget: str | None = None,
    devops_hours: str | None = None, replay: str | None = None,
) -> Response:  # fmt: skip
    """The same as a picture: cost and capacity against users, with your point on it."""
    picture = await asyncio.to_thread(svg_of, await _advice(request))
    return Response(picture, media_type=SVG, headers={"Cache-Control": "no-store"})


async def _advice(request: Request) -> Advice:
    principal_of(request, "admin")
    only(request, *ASKED)
    asked = {name: _read(name, text) for name, text in request.query_params.items()}
    node = node_of(request)
    counted = await node.tally.traffic()
    usage = _usage(node, counted)
    load = Load(**{"users": usage.users, "signals": round(usage.signals_per_day)} | asked)
    found = await asyncio.to_thread(_advised, load, usage, _facts(node))  # The first time, tables are read.
    return msgspec.structs.replace(found, notes=(*found.notes, *_left_out(counted)))


def _read(name: str, text: str) -> Any:
    kind, allowed = ASKED[name]
    try:
        return msgspec.convert(text, kind, strict=False)
    except msgspec.ValidationError:
        raise InvalidRequest(f"`{name}` is {allowed}", field=name, got=text, allowed=allowed) from None


def _advised(load: Load, usage: Usage, facts: frozenset[str]) -> Advice:
    capacity = read_capacity()
    return advise(load, facts=facts, capacity=capacity, standing=stand(usage, capacity))


def _left_out(counted: Traffic) -> Iterator[str]:
    """A sentence, if it is not the whole log that was counted."""
    if counted.channels_left_out:
        yield (
            f"Channels whose signals are not counted: {counted.channels_left_out}. "
            f"The {CHANNELS_MAX} largest are, where they can be read."
        )


def _usage(node: Node, counted: Traffic) -> Usage:
    """What this server has to do: of the log as a whole, and of the connections of all processes on this port."""
    seen = _numbers(node)
    users, users_growth = users_of(node.state, counted.at_us)
    connections = _sum(seen, "catalyst_connections") + _sum(seen, "catalyst_streams")
    return Usage(
        users=users, users_growth=users_growth, signals_per_day=counted.week, signals_growth=counted.growth,
        connections=connections, connections_peak=max(connections, _sum(seen, "catalyst_connections_peak")),
        delivery_p99_ms=_p99_ms(seen, "catalyst_delivery_seconds"), since=iso(_since_us(counted)),
        store_bytes=_of_the_first(seen, "catalyst_store_bytes"), busiest_minute=counted.busiest_minute,
        disk_free_bytes=_coarse(_of_the_first(seen, "catalyst_disk_free_bytes")),
        signals_last_day=counted.day, signals_last_month=counted.month,
    )  # fmt: skip


def _coarse(amount: int | None) -> int | None:
    """In two digits: what others write beside the log does not make each answer another one."""
    return None if amount is None else int(float(f"{amount:.2g}"))


def _since_us(counted: Traffic) -> int:
    """What the days are counted from: the same for all who ask within a minute."""
    return max(counted.since_us or counted.at_us, counted.at_us - int(DAYS_MAX * DAY_US))


def users_of(state: SystemState, at_us: int) -> tuple[int, float | None]:
    """How many have a key that works, and how many came a day lately; None while that cannot be told.

    Those of the first day are whom one began with. Who left is not seen.
    """
    users = {key.user for key in state.keys.values() if not key.expired(at_us)}
    made_us = {user: parse_iso(made) or at_us for user, made in state.users.items()}
    days = (at_us - min(made_us.values(), default=at_us)) / DAY_US
    if days < YOUNG_DAYS:
        return len(users), None
    window = min(DAYS_MAX, days - 1)
    came = sum(made_us.get(user, 0) > at_us - window * DAY_US for user in users)
    return len(users), came / window


def _numbers(node: Node) -> list[Numbers]:
    """The metrics of every process on this port."""
    return [numbers(node)] if node.siblings is None else list(node.siblings.numbers().values())


def _sum(seen: Iterable[Numbers], name: str) -> int:
    return int(sum(sum(each.get(name, {}).values()) for each in seen))


def _of_the_first(seen: Iterable[Numbers], name: str) -> int | None:
    """What only the process that has the log in a file can say."""
    return next((int(each[name][""]) for each in seen if name in each), None)


def _p99_ms(seen: Sequence[Numbers], name: str) -> float | None:
    """Since the processes were started, as exact as the buckets are."""
    together = {bound: sum(each[name][bound] for each in seen) for bound in seen[0][name]}
    p99_s = quantile(together, 0.99)
    return round(p99_s * 1000, 3) if p99_s is not None else None


def _facts(node: Node) -> frozenset[str]:
    """What is switched on here, as far as this process knows."""
    told = node.settings.model_dump() | {"store_url": getattr(node.store, "url", node.settings.store_url)}
    scraped = node.scraped_s is not None and time.monotonic() - node.scraped_s < SCRAPED_S
    return facts_of(told, running=True, metrics_scraped=scraped, systemd=_by_systemd(os.environ))


def _by_systemd(environment: Mapping[str, str]) -> bool:
    """Whether systemd started this process, or the parent of the processes on this port."""
    return environment.get("SYSTEMD_EXEC_PID") in (str(os.getpid()), str(os.getppid()))
