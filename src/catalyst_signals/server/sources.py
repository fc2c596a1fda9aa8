"""REST for admins: where webhooks come in, and what a sender must bring.

Owns: the shapes of these requests. What they change are events of the `system` channel: the log tells every process.
Law: every secret is shown once, in the answer that made it; what is kept of it cannot be turned back into it.
"""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

import msgspec
from fastapi import APIRouter, Request, Response

from catalyst_signals.auth.api_keys import new_secret
from catalyst_signals.errors import InvalidRequest, NotFound
from catalyst_signals.events import iso, now_us
from catalyst_signals.ingest import ADAPTERS, check_options
from catalyst_signals.projections import Source
from catalyst_signals.server import pulls
from catalyst_signals.server.api import known_channel
from catalyst_signals.server.inbox import ITEMS, hash_token
from catalyst_signals.server.node import Node
from catalyst_signals.server.requests import json_of, json_response, node_of, principal_of
from catalyst_signals.signatures import new_signing_secret, sealed

OVERLAP_S_MAX = 7 * 86400
ALLOW_MAX, TOKENS_MAX = 100, 8
TOKEN_CHARS_MIN, TOKEN_CHARS_MAX = 6, 512
router = APIRouter(prefix="/v1", tags=["ingest"])


class SourceBody(msgspec.Struct, forbid_unknown_fields=True):
    """What `POST /v1/ingest` takes."""

    adapter: str
    channel: str = "main"
    options: dict[str, str] = {}
    allow: list[str] = []
    hmac: bool = False
    body_token: dict[str, str] = {}
    url: str = ""
    every_s: float = 60
    token: str = ""
    backlog: bool = True


class RotateBody(msgspec.Struct, forbid_unknown_fields=True):
    """What `POST /v1/ingest/{id}/rotate` takes."""

    overlap_s: float = 0


@router.get("/ingest")
async def sources(request: Request) -> Response:
    """Where webhooks come in, without the secrets."""
    principal_of(request, "admin")
    node = node_of(request)
    return json_response({"ingest": [_shown(s) | pulls.shown(node, s) for s in node.state.sources.values()]})


@router.post("/ingest")
async def add_source(request: Request) -> Response:
    """A new place for webhooks; the secret in its URL and the one it is signed with are shown only here."""
    principal = principal_of(request, "admin")
    node = node_of(request)
    body = await json_of(request, SourceBody)
    if body.adapter not in ADAPTERS:
        raise InvalidRequest("there is no such adapter", field="adapter", got=body.adapter, allowed=sorted(ADAPTERS))
    check_options(body.adapter, body.options)
    pull = await pulls.pull_of(node, body.adapter, body.url, body.every_s, body.token, backlog=body.backlog)
    only_items = body.channel == ITEMS and body.adapter in pulls.ITEMS_ONLY
    channel = ITEMS if only_items else known_channel(node, principal, body.channel)
    id = new_secret()[0][:8]
    secret, secret_hash = new_secret()
    signing = new_signing_secret() if body.hmac else ""
    source = Source(
        id, body.adapter, channel, secret_hash, iso(now_us()),
        options=pulls.options_of(body.adapter, pull, body.options), allow=_networks(body.allow),
        body_token=_tokens(id, body.body_token), signing=sealed(signing, secret) if signing else "", pull=pull,
    )  # fmt: skip
    await node.administer(principal, "ingest.created", msgspec.to_builtins(source))
    return json_response(_with_secrets(request, source, secret, signing) | pulls.shown(node, source), 201)


@router.post("/ingest/{id}/rotate")
async def rotate_source(id: str, request: Request) -> Response:
    """New secrets for the same place; the old ones work `overlap_s` seconds more, without it not at all."""
    principal = principal_of(request, "admin")
    node = node_of(request)
    overlap_s = (await json_of(request, RotateBody)).overlap_s
    if not 0 <= overlap_s <= OVERLAP_S_MAX:
        raise InvalidRequest(
            f"`overlap_s` is 0 to {OVERLAP_S_MAX} seconds", field="overlap_s", got=overlap_s, allowed=OVERLAP_S_MAX
        )
    source = _source(node, id)
    secret, secret_hash = new_secret()
    signing = new_signing_secret() if source.signing else ""
    rotated = msgspec.structs.replace(
        source, secret_hash=secret_hash, signing=sealed(signing, secret) if signing else "",
        old_hash=source.secret_hash if overlap_s else "", old_signing=source.signing if overlap_s else "",
        old_until=iso(now_us() + round(overlap_s * 1_000_000)) if overlap_s else "",
    )  # fmt: skip
    await node.administer(principal, "ingest.rotated", msgspec.to_builtins(rotated))
    return json_response(_with_secrets(request, rotated, secret, signing))


@router.delete("/ingest/{id}")
async def remove_source(id: str, request: Request) -> Response:
    """Nothing comes in here any more."""
    principal = principal_of(request, "admin")
    node = node_of(request)
    _source(node, id)
    await node.administer(principal, "ingest.removed", {"id": id})
    return json_response({"id": id, "removed": True})


def _source(node: Node, id: str) -> Source:
    source = node.state.sources.get(id)
    if source is None:
        raise NotFound("there is no ingest of that id", field="id", got=id)
    return source


def _networks(allow: list[str]) -> tuple[str, ...]:
    if len(allow) > ALLOW_MAX:
        raise InvalidRequest(f"`allow` names at most {ALLOW_MAX} networks", field="allow", allowed=ALLOW_MAX)
    for each in allow:
        try:
            ip_network(each, strict=False)
        except ValueError as fault:
            example = ["52.89.214.238", "10.0.0.0/8"]
            raise InvalidRequest(
                f"`allow` is a list of addresses or networks: {fault}", field="allow", got=each, allowed=example
            ) from None
    return tuple(dict.fromkeys(allow))


def _tokens(id: str, tokens: dict[str, str]) -> dict[str, str]:
    """Hashes of the tokens, by field; a shorter one could be guessed, and stands in other fields by chance."""
    for field, token in tokens.items():
        fits = TOKEN_CHARS_MIN <= len(token) <= TOKEN_CHARS_MAX
        if not field or len(field) > 128 or not fits or len(tokens) > TOKENS_MAX:
            length = f"{TOKEN_CHARS_MIN} to {TOKEN_CHARS_MAX} characters"
            says = f"up to {TOKENS_MAX} fields of the body, each with the text of {length} that must stand there"
            raise InvalidRequest(f"`body_token` is {says}", field="body_token", got=field, allowed=says)
    return {field: hash_token(id, field, token) for field, token in tokens.items()}


def _shown(source: Source) -> dict[str, Any]:
    shown = {
        "id": source.id, "adapter": source.adapter, "channel": source.channel, "created_at": source.created_at,
        "options": source.options, "allow": source.allow, "hmac": bool(source.signing),
        "body_token": sorted(source.body_token),
    }  # fmt: skip
    return shown | ({"old_until": source.old_until} if source.takes(source.old_hash, now_us()) else {})


def _with_secrets(request: Request, source: Source, secret: str, signing: str) -> dict[str, Any]:
    base = node_of(request).settings.public_url.rstrip("/") or f"{request.url.scheme}://{request.url.netloc}"
    made = _shown(source) | {"secret": secret, "url": f"{base}/in/{source.adapter}/{secret}"}
    return made | ({"signing_secret": signing} if signing else {})
