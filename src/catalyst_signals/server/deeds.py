"""REST for the acknowledgement loop of one signal: what was done about it, and who got it, when.

An id may hold `/`, so it takes the rest of the path, and `/deeds` and `/deliveries` are looked for first.

Owns: the shapes of requests and answers. What a deed is stands in deeds.py, what the ledger says in deliveries.py.
Law: what the entitlement of a key hides is not there; a subscriber sees its own rows and nobody else's.
"""

from __future__ import annotations

import uuid
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from catalyst_signals.auth import Principal
from catalyst_signals.changes import NOWHERE
from catalyst_signals.deeds import ACKS, check_deed, deed_draft
from catalyst_signals.errors import IdConflict, NotFound
from catalyst_signals.events import Batch, Event, Frame
from catalyst_signals.pages import wants
from catalyst_signals.server import deliveries
from catalyst_signals.server.node import Node
from catalyst_signals.server.requests import body_of, json_response, node_of, only, principal_of
from catalyst_signals.signals import decode
from catalyst_signals.wire import answer, frame_of

router = APIRouter(prefix="/v1/channels/{channel}/signals/{id:path}", tags=["signals"])


@router.post("/deeds")
async def report(channel: str, id: str, request: Request) -> Response:
    """Say what was done about a signal: shown, executed, ignored or rejected. 201 when it is new, 200 for a retry."""
    node, principal = node_of(request), principal_of(request, "subscribe")
    node.limits.publishes.spend(principal.key_id)
    node.publisher.check_room(principal.subject)
    deed = check_deed(decode(await body_of(request)))
    newest = (await _seen(node, principal, channel, id))[-1][1].doc
    about = {"channel": channel, "id": id, "seq": newest["seq"], "version": newest["version"]}
    own_id = deed.get("id") or uuid.uuid4().hex
    draft = deed_draft(deed, id=own_id, who=principal.subject, signal=about)
    try:
        stored = await node.publisher.publish(Batch(channel=ACKS, subject=principal.subject, drafts=[draft]))
    except IdConflict:
        raise IdConflict(
            "you have said something else about this signal under this id; a new deed needs a new id",
            field="id", got=own_id,
        ) from None  # fmt: skip
    said = answer(stored, stored.receipts[0], id_by_server="id" not in deed) | {"id": own_id}
    return json_response(said, 200 if said["duplicate"] else 201)


@router.get("/deliveries")
async def who_got_it(
    channel: str, id: str, request: Request, version: Annotated[int | None, Query(ge=1)] = None
) -> Response:
    """Who got a version of a signal (the first that is kept), when, how late by hop, and what they did about it.

    An admin and who published it see everybody; a subscriber sees its own.
    """
    node, principal = node_of(request), principal_of(request, "subscribe")
    only(request, "version")
    seen = await _seen(node, principal, channel, id)
    found = next((each for each in seen if version in (None, each[0].version)), None)
    if found is None:
        raise NotFound(
            "this signal has no such version here", field="version", got=version, allowed=[e.version for e, _ in seen]
        )
    known = await node.store.find(channel, [id])
    all_rows = "admin" in principal.scopes or (id in known and known[id].subject == principal.subject)
    event, frame = found
    told = await deliveries.of_event(node, event, frame, id, subject=None if all_rows else principal.subject)
    return json_response(told | {"versions": [{"version": e.version, "seq": e.seq, "type": e.type} for e, _ in seen]})


async def _seen(node: Node, principal: Principal, channel: str, id: str) -> list[tuple[Event, Frame]]:
    """Every kept version of a signal that this key may see, oldest first.

    Raises:
        NotFound: there is none.
    """
    node.tape(principal, channel)
    found = [(event, frame_of(event)) for event in await node.changes.versions(channel, id)]
    seen = [each for each in found if principal.filter is None or wants(principal.filter, each[1])]
    if not seen:
        raise NotFound(NOWHERE, field="id", got=id)
    return seen
