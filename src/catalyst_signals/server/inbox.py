"""`POST /in/{adapter}/{secret}`: webhooks, in the sender's own words.

Owns: the answer to a sender, and that the raw body and the signals it became are stored in one append. What a body
means is an adapter's business (ingest/). The path holds a secret, so no path of these ever stands in a log.
"""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from catalyst_signals.auth.api_keys import hash_secret
from catalyst_signals.errors import NotFound, RateLimited
from catalyst_signals.events import Batch, Refused, now_us
from catalyst_signals.ingest import read, received_draft
from catalyst_signals.projections import Source
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
    source = _source_for(node, adapter, secret)
    wait_s = node.ingest_limit.take(source.id, now_us() / 1_000_000)
    if wait_s:
        raise RateLimited("too many webhooks for this secret", retry_after_s=wait_s)
    raw = await body_of(request)
    content_type = request.headers.get("content-type", "")
    reading = read(adapter, raw, content_type, ingest_id=source.id, now_us=now_us())
    drafts = [signal_draft(one, subject=source.subject)[0] for one in reading.drafts]
    await node.check_fresh(source.channel, drafts)
    return await _store(node, source, Batch(channel=source.channel, subject=source.subject, drafts=drafts), Batch(
        channel="ingest", subject=source.subject,
        drafts=[received_draft(adapter, raw, content_type, ingest_id=source.id, id=reading.id)],
    ))  # fmt: skip


async def _store(node: Node, source: Source, signals: Batch, raw: Batch) -> Response:
    result, _ = await node.publisher.submit([signals, raw])
    if isinstance(result, Refused):
        raise result.error
    answers = [answer(result, receipt) for receipt in result.receipts]
    content = answers[0] if len(answers) == 1 else {"results": answers}
    return json_response(content, 201 if result.events else 200)


def _source_for(node: Node, adapter: str, secret: str) -> Source:
    """The source of a secret; a wrong adapter and a wrong secret look the same from outside."""
    source = node.state.source_of(hash_secret(secret))
    if source is None or source.adapter != adapter:
        raise NotFound("nothing comes in at this address; `catalyst ingest list` shows what does")
    return source
