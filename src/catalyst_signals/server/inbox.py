"""`POST /in/{adapter}/{secret}`: webhooks, in the sender's own words.

Owns: the answer to a sender, and that the raw body and the signals it became are stored in one append. What a body
means is an adapter's business (ingest/). The path holds a secret, so no path of these ever stands in a log.
"""

from __future__ import annotations

from typing import NamedTuple

from fastapi import APIRouter, Request, Response

from catalyst_signals.auth.api_keys import hash_secret
from catalyst_signals.changes import Author
from catalyst_signals.errors import InvalidRequest, NotFound, TooLarge
from catalyst_signals.events import Batch, Draft, now_us
from catalyst_signals.ingest import id_of_body, read, received_draft
from catalyst_signals.projections import Source
from catalyst_signals.publish import DRAFTS_MAX
from catalyst_signals.server.node import Node
from catalyst_signals.server.requests import body_of, json_response, node_of
from catalyst_signals.signals import signal_draft
from catalyst_signals.wire import answer

router = APIRouter()


@router.post("/in/{adapter}/{secret}", tags=["ingest"])
async def receive(adapter: str, secret: str, request: Request) -> Response:
    """Take what a sender posts; answered after the commit, the same body again is answered the same."""
    node = node_of(request)
    node.check_open()
    if "dry_run" in request.query_params:
        raise NotFound("`dry_run` is not known to this server yet; without it this would publish", field="dry_run")
    source = await _source_for(node, adapter, secret)
    node.limits.webhooks.spend(source.id)
    body = Body(adapter, await body_of(request), request.headers.get("content-type", ""))
    try:
        return await _take(node, source, body)
    except InvalidRequest as error:
        await _keep_refused(node, source, body, error)
        raise


class Body(NamedTuple):
    """What came in, and for which adapter."""

    adapter: str
    raw: bytes
    content_type: str


async def _take(node: Node, source: Source, body: Body) -> Response:
    """Store the signals a body holds and the body itself, in one append."""
    reading = read(*body, ingest_id=source.id, now_us=now_us())
    if len(reading.drafts) > DRAFTS_MAX:
        raise TooLarge(f"a webhook may hold {DRAFTS_MAX} signals", got=len(reading.drafts), allowed=DRAFTS_MAX)
    drafts = [signal_draft(one, subject=source.subject)[0] for one in reading.drafts]
    await node.check_fresh(source.channel, drafts)
    kept = received_draft(*body, ingest_id=source.id, id=reading.id)
    result = await node.changes.publish(source.channel, Author(source.subject), drafts, beside=[_raw(source, kept)])
    answers = [answer(result, receipt) for receipt in result.receipts]
    return json_response(answers[0] if len(answers) == 1 else {"results": answers}, 201 if result.events else 200)


async def _keep_refused(node: Node, source: Source, body: Body, error: InvalidRequest) -> None:
    """What nobody understood is kept too: an admin can look at what the sender really posts."""
    id = id_of_body(body.adapter, body.raw, ingest_id=source.id, now_us=now_us())
    await node.publisher.submit([_raw(source, received_draft(*body, ingest_id=source.id, id=id, refused=error))])


def _raw(source: Source, draft: Draft) -> Batch:
    return Batch(channel="ingest", subject=source.subject, drafts=[draft])


async def _source_for(node: Node, adapter: str, secret: str) -> Source:
    """The source of a secret; a wrong adapter and a wrong secret look the same from outside."""
    hashed = hash_secret(secret)
    if node.state.source_of(hashed) is None:
        await node.newcomers.look()
    source = node.state.source_of(hashed)
    if source is None or source.adapter != adapter:
        raise NotFound("nothing comes in at this address; `catalyst ingest list` shows what does")
    return source
