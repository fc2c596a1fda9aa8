"""REST for halts: an admin stops a source or an instrument, and lifts that again.

Owns: the shapes of these requests, and which channels a halt concerns. What holds is a fold of `system` (watch.py).
Laws: the state and what the channels are told of it stand in one commit; a halt informs, it refuses no signal.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

import msgspec
from fastapi import APIRouter, Request, Response

from catalyst_signals.auth import SERVER_CHANNELS, Principal
from catalyst_signals.errors import InvalidRequest, NotFound
from catalyst_signals.events import Batch, Draft, Refused, iso, now_us
from catalyst_signals.kinds import TEXT, name_of
from catalyst_signals.projections import SystemState, system_draft
from catalyst_signals.server.api import known_channel
from catalyst_signals.server.node import Node
from catalyst_signals.server.requests import json_of, json_response, node_of, principal_of
from catalyst_signals.watch import HALTS, Halt, watch_draft
from catalyst_signals.wire import SYSTEM_CHANNEL

ITEMS = "items"
HALTS_MAX = 1000
router = APIRouter(prefix="/v1/halts", tags=["watch"])
_SOURCE, _SYMBOL = name_of(128), name_of(64)


class HaltBody(msgspec.Struct, forbid_unknown_fields=True):
    """What `POST /v1/halts` takes: one of `source` and `symbol`."""

    reason: str
    source: str | None = None
    symbol: str | None = None
    channel: str | None = None


@router.get("")
async def halts(request: Request) -> Response:
    """The halts in force, as far as this key may see what they are about, oldest first."""
    principal = principal_of(request, "subscribe")
    node = node_of(request)
    seen = [_shown(each) for each in node.state.halts.values() if _may_see(node, principal, each)]
    for each in seen:  # The name of a channel that a key may not see is not for it.
        each["channels"] = [name for name in each["channels"] if _may_hear(principal, name)]
    return json_response({"halts": seen})


@router.post("")
async def set_halt(request: Request) -> Response:
    """Tell everybody that a source or an instrument is stopped. 200 with the halt there is, if it is already."""
    principal = principal_of(request, "admin")
    node = node_of(request)
    halt = _halt_of(node, principal, await json_of(request, HaltBody))
    present = next((h for h in node.state.halts.values() if _same(h, halt)), None)
    if present is not None:
        return json_response(_shown(present))
    if len(node.state.halts) >= HALTS_MAX:
        raise InvalidRequest(f"at most {HALTS_MAX} halts can be in force; lift some", allowed=HALTS_MAX)
    told = watch_draft(HALTS[0], halt.id, halt.data)
    await _say(node, principal, system_draft("halt.set", msgspec.to_builtins(halt)), halt.channels, told)
    return json_response(_shown(halt), 201)


@router.delete("/{id}")
async def lift_halt(id: str, request: Request) -> Response:
    """Tell everybody who was told of it that a halt is over."""
    principal = principal_of(request, "admin")
    node = node_of(request)
    halt = node.state.halts.get(id)
    if halt is None:
        raise NotFound("no halt of that id is in force", field="id", got=id)
    told = watch_draft(HALTS[1], halt.id, halt.data | {"lifted_by": principal.subject}, version=2)
    await _say(node, principal, system_draft("halt.lifted", {"id": id}), halt.channels, told)
    return json_response({"id": id, "lifted": True})


async def _say(node: Node, principal: Principal, change: Draft, channels: Sequence[str], told: Draft) -> None:
    """Both in one commit; when this returns, this process has folded the change."""
    batches = [Batch(channel=SYSTEM_CHANNEL, subject=principal.subject, drafts=[change])]
    batches += [Batch(channel=channel, subject=SYSTEM_CHANNEL, drafts=[told]) for channel in channels]
    for result in await node.publisher.submit(batches):
        if isinstance(result, Refused):
            raise result.error


def _halt_of(node: Node, principal: Principal, body: HaltBody) -> Halt:
    if (body.source is None) == (body.symbol is None):
        raise InvalidRequest(
            "a halt is of a `source` (who publishes) or of a `symbol`", field="source", allowed=["source", "symbol"]
        )
    source = "" if body.source is None else _SOURCE.check(body.source, "source")
    symbol = "" if body.symbol is None else _SYMBOL.check(body.symbol, "symbol")
    if not body.reason.strip():
        raise InvalidRequest("a halt needs a reason: people will act on it", field="reason", got=body.reason)
    every = channels_of(node.state, source)
    channels = every if body.channel is None else [known_channel(node, principal, body.channel)]
    return Halt(
        uuid.uuid4().hex[:16], TEXT.check(body.reason, "reason"), principal.subject, iso(now_us()), tuple(channels),
        source=source, symbol=symbol,
    )  # fmt: skip


def channels_of(state: SystemState, source: str) -> list[str]:
    """The channels a source may publish to; all there are for who has no key any more, and for no source."""
    every = sorted(name for name in state.channels if name not in SERVER_CHANNELS)
    ingest = state.sources.get(source.removeprefix("ingest.")) if source.startswith("ingest.") else None
    if ingest is not None:
        return sorted({ingest.channel, ITEMS})
    keys = [key for key in state.keys.values() if key.user == source and "publish" in key.scopes]
    named = {name for key in keys for name in key.channels}
    return every if not keys or "*" in named else [name for name in every if name in named]


def _same(one: Halt, other: Halt) -> bool:
    return (one.source, one.symbol) == (other.source, other.symbol) and set(other.channels) <= set(one.channels)


def _may_see(node: Node, principal: Principal, halt: Halt) -> bool:
    """Whoever is told of it by a channel; a filter that rules out its source or symbol hides it."""
    if not any(_may_hear(principal, name) for name in halt.channels) and "admin" not in principal.scopes:
        return False
    return principal.filter is None or principal.filter.matches({"type": HALTS[0], "data": halt.data})


def _may_hear(principal: Principal, channel: str) -> bool:
    return "admin" in principal.scopes or principal.may_use(channel)


def _shown(halt: Halt) -> dict[str, Any]:
    of = {"source": halt.source} if halt.source else {"symbol": halt.symbol}
    return {
        "id": halt.id, **of, "reason": halt.reason, "by": halt.by, "since": halt.since, "channels": halt.channels,
    }  # fmt: skip
