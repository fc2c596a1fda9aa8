"""REST for one signal: every version of it, a change, its end.

An id may hold `/`, so it takes the rest of the path, and `/cancel` is looked for first.

Owns: the shapes of requests and answers. What a change is and who may make it is decided in changes.py.
"""

from __future__ import annotations

import msgspec
from fastapi import APIRouter, Request, Response

from catalyst_signals.auth import Principal
from catalyst_signals.changes import NOWHERE, if_match
from catalyst_signals.errors import NotFound
from catalyst_signals.events import Stored
from catalyst_signals.pages import wants
from catalyst_signals.server.node import Node, author_of
from catalyst_signals.server.requests import body_of, json_of, json_response, node_of, principal_of
from catalyst_signals.signals import decode
from catalyst_signals.wire import answer, frame_of

router = APIRouter(prefix="/v1/channels/{channel}/signals/{id:path}", tags=["signals"])


class CancelBody(msgspec.Struct, forbid_unknown_fields=True):
    """What `POST .../cancel` takes."""

    reason: str | None = None


@router.post("/cancel")
async def cancel(channel: str, id: str, request: Request) -> Response:
    """End a signal; whoever was shown it is told."""
    node, principal = _who(request, channel)
    reason = (await json_of(request, CancelBody)).reason
    only_version = if_match(request.headers.get("if-match"))
    stored = await node.changes.cancel(channel, id, reason, author_of(principal), if_version=only_version)
    return _answered(stored)


@router.get("")
async def versions(channel: str, id: str, request: Request) -> Response:
    """Every version of a signal that is kept, oldest first, as events; `ETag` is the newest version's number."""
    node = node_of(request)
    principal = principal_of(request, "subscribe")
    node.tape(principal, channel)
    found = [frame_of(event) for event in await node.changes.versions(channel, id)]
    seen = [frame for frame in found if principal.filter is None or wants(principal.filter, frame)]
    if not seen:
        raise NotFound(NOWHERE, field="id", got=id)  # What an entitlement hides is not there.
    body = b'{"versions":[%s]}' % b",".join(frame.text for frame in seen)
    headers = {"ETag": f'"{seen[-1].doc["version"]}"', "Cache-Control": "no-store"}
    return Response(body, media_type="application/json", headers=headers)


@router.patch("")
async def update(channel: str, id: str, request: Request) -> Response:
    """Change a signal by a JSON merge patch (RFC 7396); `If-Match: "2"` only if that is its version."""
    node, principal = _who(request, channel)
    patch = decode(await body_of(request))
    only_version = if_match(request.headers.get("if-match"))
    stored = await node.changes.update(channel, id, patch, author_of(principal), if_version=only_version)
    return _answered(stored)


def _who(request: Request, channel: str) -> tuple[Node, Principal]:
    node = node_of(request)
    principal = principal_of(request, "publish")
    node.may_publish(principal, channel)
    return node, principal


def _answered(stored: Stored) -> Response:
    return json_response(answer(stored, stored.receipts[0]))
