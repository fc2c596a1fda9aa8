"""REST for moving the log to another store while everything goes on, and for how far that is.

Owns: the shapes of these requests. Which move is under way is transfers.py's.
"""

from __future__ import annotations

import msgspec
from fastapi import APIRouter, Request, Response

from catalyst_signals.errors import Conflict, InvalidRequest, NotFound
from catalyst_signals.server.requests import json_of, json_response, node_of, principal_of
from catalyst_signals.stores import target_of
from catalyst_signals.urls import without_password

router = APIRouter(prefix="/v1/transfer", tags=["access"])


class TransferBody(msgspec.Struct, forbid_unknown_fields=True, rename={"source": "from"}):
    """What `POST /v1/transfer` takes: the URL of the store the log is in, as a check, and of the one it goes to."""

    source: str
    to: str


@router.post("")
async def transfer(request: Request) -> Response:
    """Begin to move the log; the answer is how far it is, and so is that of GET."""
    principal_of(request, "admin")
    node, body = node_of(request), await json_of(request, TransferBody)
    await node.store.extents([])  # It may have moved a moment ago.
    here = getattr(node.store, "url", body.source)  # One of several processes does not know; the first one does.
    if body.to == here:
        raise Conflict("the log is there already", field="to", got=without_password(body.to))
    if body.source != here:
        raise InvalidRequest(
            "this server's log is in another store", field="from", got=without_password(body.source),
            allowed=without_password(here),
        )  # fmt: skip
    target_of(body.to)
    return json_response(msgspec.to_builtins(node.transfers.begin(body.to)), 202)


@router.get("")
async def how_far(request: Request) -> Response:
    """How far the move is that was begun last, in whichever process on this port."""
    principal_of(request, "admin")
    progress = node_of(request).transfers.newest
    if progress is None:
        raise NotFound("no move is known here; one whose process was killed is over: begin it again")
    return json_response(msgspec.to_builtins(progress))
