"""`POST /in/{adapter}/{secret}`: webhooks, in the sender's own words.

Owns: who may post, the answer to a sender, and that the raw body and what it became are stored in one append. What a
body means is an adapter's business (ingest/). The path holds a secret, so no path of these ever stands in a log.
Law: whoever has the address but not what else the admin asked for (signature, token, network) leaves nothing behind.
"""

from __future__ import annotations

import hmac
import time
from typing import NamedTuple

from fastapi import APIRouter, Request, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from catalyst_signals.auth.api_keys import hash_secret
from catalyst_signals.changes import Author
from catalyst_signals.errors import CatalystError, InvalidRequest, NotFound, TooLarge, Unauthenticated
from catalyst_signals.events import Batch, Draft, now_us
from catalyst_signals.ingest import Reading, id_of_body, is_secret, item_draft, preview, read, received_draft
from catalyst_signals.ingest.tokens import tokens_in, without_token
from catalyst_signals.projections import Source
from catalyst_signals.publish import DRAFTS_MAX
from catalyst_signals.server.confirming import is_confirmed, question, read_at
from catalyst_signals.server.node import Node
from catalyst_signals.server.requests import BUG, body_of, error_response, json_response, node_of
from catalyst_signals.signals import signal_draft
from catalyst_signals.signatures import check_signature, unsealed
from catalyst_signals.wire import answer

PREFIX = "/in/"
ITEMS = "items"
router = APIRouter()


@router.post("/in/{adapter}/{secret}", tags=["ingest"])
async def receive(adapter: str, secret: str, request: Request) -> Response:
    """Take what a sender posts; answered after the commit, the same body again is answered the same."""
    node = node_of(request)
    node.check_open()
    source = await _source_for(node, adapter, secret)
    if source.allow:
        node.limits.addresses.check_among(request.scope, source.allow)
    node.limits.webhooks.spend(source.id)
    body = _let_in(source, secret, request, await body_of(request))
    if request.query_params.get("dry_run", "0").lower() not in ("0", "false"):
        return json_response(_preview(source, body))
    try:
        return await take(node, source, body, request.query_params.get("confirm"))
    except InvalidRequest as error:
        await keep_refused(node, source, body, error)
        raise


async def webhook(scope: Scope, receive_body: Receive, send: Send, app: ASGIApp) -> None:
    """As the route, without FastAPI's layers, which cost as much as reading the alert and storing it.

    Whatever is no webhook's path goes to `app`. So does everything while traces are taken: they are FastAPI's.
    """
    node: Node = scope["app"].state.node
    parts = scope["path"].split("/")
    if len(parts) != 4 or node.telemetry is not None:
        await app(scope, receive_body, send)
        return
    scope["route"] = router.routes[0]  # What stands in the log instead of the path.
    try:
        answer_of = await receive(parts[2], parts[3], Request(scope, receive_body))
    except CatalystError as error:
        node.refusals[error.name] += 1
        answer_of = error_response(error)
    except Exception:
        await error_response(CatalystError(BUG))(scope, receive_body, send)
        raise
    await answer_of(scope, receive_body, send)


class Body(NamedTuple):
    """What came in, and for which adapter; `key` is the sender's own name for it where it was signed."""

    adapter: str
    raw: bytes
    content_type: str
    key: str = ""


def _let_in(source: Source, secret: str, request: Request, raw: bytes) -> Body:
    """The body of a sender who has everything that this source asks for.

    Raises:
        Unauthenticated: the signature or a token in the body is missing or wrong.
    """
    key = ""
    kept = source.signing_of(hash_secret(secret))
    if kept:
        key = check_signature(unsealed(kept, secret), request.headers, raw, now_s=time.time())
    for field, hashed in source.body_token.items():
        raw = _without_token(source, field, hashed, raw)
    return Body(source.adapter, raw, request.headers.get("content-type", ""), key)


def _without_token(source: Source, field: str, hashed: str, raw: bytes) -> bytes:
    """The body once its token was checked; blanked where nobody would know by its name that it is a secret.

    Raises:
        Unauthenticated: it is not what the admin gave.
    """
    said = tokens_in(raw, field)
    if not said or not all(hmac.compare_digest(hash_token(source.id, field, each or ""), hashed) for each in said):
        text = f"`{field}` in the body is missing or is not what this address was told to ask for"
        raise Unauthenticated(text, field=field, sender_error="invalid-password")
    return raw if is_secret(field) else without_token(raw, str(said[0]))


def hash_token(source_id: str, field: str, token: str) -> str:
    """What is kept of a token; the same token has another hash at every source."""
    return hash_secret(f"{source_id}.{field}.{token}")


def _preview(source: Source, body: Body) -> dict[str, object]:
    return preview(
        body.adapter, body.raw, body.content_type, ingest_id=source.id, subject=source.subject, now_us=now_us(),
        options=source.options, key=body.key,
    )  # fmt: skip


async def take(node: Node, source: Source, body: Body, confirm: str | None) -> Response:
    """Store the signals and items a body holds and the body itself, in one append."""
    reading = read(
        body.adapter, body.raw, body.content_type, ingest_id=source.id, now_us=read_at(confirm, now_us()),
        options=source.options, key=body.key,
    )  # fmt: skip
    if not is_confirmed(confirm, reading, source_id=source.id, raw=body.raw):
        return await _ask(node, source, body, reading)
    count = max(len(reading.drafts), len(reading.items))
    if count > DRAFTS_MAX:
        raise TooLarge(f"a webhook may hold {DRAFTS_MAX} signals", got=count, allowed=DRAFTS_MAX)
    drafts = [signal_draft(one, subject=source.subject)[0] for one in reading.drafts]
    await node.check_fresh(source.channel, drafts)
    beside = [_raw(source, _received(source, body, reading.id))]
    if reading.items:
        items = [item_draft(node.stories.grouped(item, source.subject)) for item in reading.items]
        beside.append(Batch(channel=ITEMS, subject=source.subject, drafts=items))
    result = await node.changes.publish(source.channel, Author(source.subject), drafts, beside=beside)
    answers = [answer(result, receipt) for receipt in result.receipts]
    content: dict[str, object] = answers[0] if len(answers) == 1 else {"results": answers}
    if reading.items:
        content["items"] = len(reading.items)
    return json_response(content, 201 if result.events or reading.items else 200)


async def _ask(node: Node, source: Source, body: Body, reading: Reading) -> Response:
    """Show what was read with a doubt, publish nothing, and keep the body for an admin to look at."""
    asked = question(reading, source_id=source.id, raw=body.raw, now_us=now_us())
    why = InvalidRequest("not confirmed", field="confirm")
    await node.publisher.submit([_raw(source, _received(source, body, reading.id, why))])
    return json_response(asked | _preview(source, body), 202)


async def keep_refused(node: Node, source: Source, body: Body, error: InvalidRequest) -> None:
    """What nobody understood is kept too: an admin can look at what the sender really posts."""
    id = id_of_body(body.adapter, body.raw, ingest_id=source.id, now_us=now_us())
    await node.publisher.submit([_raw(source, _received(source, body, id, error))])


def _received(source: Source, body: Body, id: str, refused: InvalidRequest | None = None) -> Draft:
    return received_draft(
        body.adapter, body.raw, body.content_type, ingest_id=source.id, id=id, refused=refused
    )  # fmt: skip


def _raw(source: Source, draft: Draft) -> Batch:
    return Batch(channel="ingest", subject=source.subject, drafts=[draft])


async def _source_for(node: Node, adapter: str, secret: str) -> Source:
    """The source of a secret; a wrong adapter and a wrong secret look the same from outside."""
    hashed = hash_secret(secret)
    source = node.state.source_of(hashed)
    if source is None:
        await node.newcomers.look()
        source = node.state.source_of(hashed)
    if source is None or source.adapter != adapter:
        raise NotFound("nothing comes in at this address; `catalyst ingest list` shows what does")
    return source
