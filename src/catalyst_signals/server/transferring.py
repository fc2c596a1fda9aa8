"""REST for moving the log to another store while everything goes on, and for how far that is.

Owns: the one move that may be under way in this process. How a log moves is catalyst_signals.transfer.moving's.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

import msgspec
from fastapi import APIRouter, Request, Response

from catalyst_signals.errors import CatalystError, Conflict, InvalidRequest, NotFound
from catalyst_signals.server.requests import json_of, json_response, node_of, principal_of
from catalyst_signals.stores import STORES, target_of
from catalyst_signals.transfer.moving import Progress, move
from catalyst_signals.urls import open_backend, without_password

log = logging.getLogger("catalyst.transfer")
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
    here = getattr(node.store, "url", body.source)  # One of several processes does not know; the first one does.
    if body.to == here:
        raise Conflict("the log is there already", field="to", got=without_password(body.to))
    if body.source != here:
        raise InvalidRequest(
            "this server's log is in another store", field="from", got=without_password(body.source),
            allowed=without_password(here),
        )  # fmt: skip
    target_of(body.to)
    present: Progress | None = getattr(request.app.state, "transfer", None)
    if present is not None and present.phase in ("copying", "fenced"):
        raise Conflict("the log is being moved already; GET /v1/transfer says how far it is")
    progress = request.app.state.transfer = Progress()
    request.app.state.transferring = asyncio.create_task(_run(request, body.to, progress))
    return json_response(msgspec.to_builtins(progress), 202)


@router.get("")
async def how_far(request: Request) -> Response:
    """How far the move is that was begun last in this process."""
    principal_of(request, "admin")
    progress: Progress | None = getattr(request.app.state, "transfer", None)
    if progress is None:
        raise NotFound("nothing is being moved here")
    return json_response(msgspec.to_builtins(progress))


async def _went(request: Request, to: str) -> bool:
    """Whether the log has moved all the same: the answer to the very last step may have been lost."""
    store = node_of(request).store
    with suppress(CatalystError):
        await store.extents([])
    return getattr(store, "url", "") == to


async def _run(request: Request, to: str, progress: Progress) -> None:
    error: str | None = "the server was stopped, or has a bug; see its log, and begin again"
    try:
        await move(node_of(request).store, lambda: open_backend(to, STORES, setting="to"), to, progress)
        error = None
    except CatalystError as refusal:
        error = str(refusal) if not await _went(request, to) else None
    finally:
        if error is not None:
            progress.phase, progress.error = "failed", error
    if error is None:
        progress.phase = "moved"
        log.warning("the log has moved", extra={"to": without_password(to), "paused_s": round(progress.paused_s, 3)})
    else:
        log.error("the log was not moved", extra={"to": without_password(to), "reason": error})
