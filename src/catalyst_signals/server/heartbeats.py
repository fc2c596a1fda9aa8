"""REST for heartbeats: a producer promises to be heard, or an admin expects it of a source.

Owns: the shapes of these requests, and what a beat is allowed. When a silence is told stands in silences.py.
Law: a promise is an event of `system`; a beat is none.
"""

from __future__ import annotations

import math
import uuid
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Request, Response

from catalyst_signals.auth import Principal
from catalyst_signals.errors import InvalidRequest, NotFound
from catalyst_signals.events import check_channel_name, iso, now_us
from catalyst_signals.kinds import name_of
from catalyst_signals.server.api import known_channel
from catalyst_signals.server.node import Node
from catalyst_signals.server.requests import json_of, json_response, node_of, principal_of
from catalyst_signals.watch import EVERY_S, Heartbeat, heartbeat_key

HEARTBEATS_MAX = 1000
router = APIRouter(prefix="/v1", tags=["watch"])
_SOURCE = name_of(128)
Every = Annotated[float, msgspec.Meta(ge=EVERY_S[0], le=EVERY_S[1])]


class BeatBody(msgspec.Struct, forbid_unknown_fields=True):
    """What `PUT /v1/channels/{channel}/heartbeat` takes: without `every_s` a beat, with null the promise ends."""

    every_s: Every | msgspec.UnsetType | None = msgspec.UNSET


class HeartbeatBody(msgspec.Struct, forbid_unknown_fields=True):
    """What `PUT /v1/heartbeats` takes."""

    source: str
    every_s: Every | None
    channel: str = "main"


@router.put("/channels/{channel}/heartbeat")
async def beat(channel: str, request: Request) -> Response:
    """A beat of who asks; with `every_s` a promise to be heard at least so often in this channel, null ends it."""
    node = node_of(request)
    principal = principal_of(request, "publish")
    check_channel_name(channel)
    every_s = (await json_of(request, BeatBody)).every_s
    return json_response(await heard(node, principal, channel, every_s))


@router.get("/heartbeats")
async def heartbeats(request: Request) -> Response:
    """Every heartbeat that is awaited, and whether it is silent."""
    principal_of(request, "admin")
    node = node_of(request)
    return json_response({"heartbeats": [_shown(node, each) for each in node.state.heartbeats.values()]})


@router.put("/heartbeats")
async def expect(request: Request) -> Response:
    """Expect a source to be heard in a channel: what it publishes there is its beat. `every_s` null ends it."""
    principal = principal_of(request, "admin")
    node = node_of(request)
    body = await json_of(request, HeartbeatBody)
    source = _SOURCE.check(body.source, "source")
    channel = known_channel(node, principal, body.channel)
    return json_response(await _declare(node, principal, source, channel, body.every_s))


async def heard(
    node: Node, principal: Principal, channel: str, every_s: float | msgspec.UnsetType | None
) -> dict[str, Any]:
    """A beat of a producer, and what it promises from now on; the answer.

    Raises:
        NotFound: nothing was promised yet. InvalidRequest: nobody can promise that.
    """
    node.may_publish(principal, channel)
    if every_s is not msgspec.UNSET:
        return await _declare(node, principal, principal.subject, channel, every_s)
    present = node.state.heartbeats.get(heartbeat_key(channel, principal.subject))
    if present is None:
        raise NotFound("no heartbeat was declared here; say how often: `every_s`", field="every_s", got=None)
    node.silences.beat(present)
    return _shown(node, present)


async def _declare(
    node: Node, principal: Principal, source: str, channel: str, every_s: float | None
) -> dict[str, Any]:
    """From now on this is promised; declaring it is a beat."""
    present = node.state.heartbeats.get(heartbeat_key(channel, source))
    if every_s is None:
        if present is not None:
            await node.administer(principal, "heartbeat.ended", {"source": source, "channel": channel})
            await node.silences.end(present)
        return {"source": source, "channel": channel, "every_s": None}
    low, high = EVERY_S
    if not (math.isfinite(every_s) and low <= every_s <= high):
        raise InvalidRequest(
            f"`every_s` is {low:g} to {high:g} seconds, or null", field="every_s", got=every_s,
            allowed=f"{low:g}-{high:g}",
        )  # fmt: skip
    if present is None or present.every_s != every_s:
        if present is None and len(node.state.heartbeats) >= HEARTBEATS_MAX:
            raise InvalidRequest(f"at most {HEARTBEATS_MAX} heartbeats can be awaited", allowed=HEARTBEATS_MAX)
        id = uuid.uuid4().hex[:16]
        declared = Heartbeat(id, source, channel, every_s, principal.subject, iso(now_us()))
        await node.administer(principal, "heartbeat.declared", msgspec.to_builtins(declared))
        if present is not None:
            await node.silences.end(present)
        present = declared
    node.silences.beat(present)
    return _shown(node, present)


def _shown(node: Node, heartbeat: Heartbeat) -> dict[str, Any]:
    return {
        "source": heartbeat.source, "channel": heartbeat.channel, "every_s": heartbeat.every_s, "by": heartbeat.by,
        "since": heartbeat.since, "silent": node.silences.is_silent(heartbeat),
    }  # fmt: skip
