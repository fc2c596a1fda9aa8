"""REST: publishing, history and channels.

Owns: the shapes of requests and answers (docs/protocol.md). Everything it says is decided elsewhere.
"""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

import msgspec
from fastapi import APIRouter, Request, Response

from catalyst_signals.auth import SERVER_CHANNELS, Principal
from catalyst_signals.errors import (
    Forbidden,
    InvalidDraft,
    InvalidJson,
    InvalidRequest,
    RangeUntrusted,
    StoreUnavailable,
    TooLarge,
    UnknownChannel,
)
from catalyst_signals.events import Frame, Stored, check_channel_name, check_id
from catalyst_signals.filters import Filter
from catalyst_signals.pages import wants
from catalyst_signals.projections import BUILT_IN, Channel
from catalyst_signals.publish import DRAFTS_MAX
from catalyst_signals.server.node import Node, author_of, name_in
from catalyst_signals.server.requests import body_of, check_after, json_of, json_response, node_of, only, principal_of
from catalyst_signals.signals import decode, signal_draft
from catalyst_signals.tape import Tape
from catalyst_signals.wire import SYSTEM_CHANNEL, answer

router = APIRouter(prefix="/v1")

HISTORY_MAX = 10_000  # Events in one answer.
SCAN_MAX = 50_000  # Events looked at for one answer: about a third of a second of this process, a page at a time.
PAGE_S = 10.0  # For a page to come from the store; it is asked until it answers.
ANSWER_BYTES_MAX = 4 << 20  # Of events in one answer; ask again after `complete_through`.
NDJSON = ("ndjson", "jsonl", "json-lines", "json-seq")


@router.post("/channels/{channel}/signals", tags=["signals"])
async def publish(channel: str, request: Request) -> Response:
    """Publish one signal, or several (all or none). 201 when anything is new, 200 for a retry."""
    node = node_of(request)
    principal = principal_of(request, "publish")
    node.may_publish(principal, channel)
    sent, several = _signals_in(await body_of(request), request.headers.get("content-type", ""))
    drafts = [
        signal_draft(one, subject=principal.subject, id=id)
        for one, id in zip(sent, _fallback_ids(request, len(sent), several), strict=True)
    ]
    await node.check_fresh(channel, [draft for draft, _ in drafts])
    stored = await node.changes.publish(channel, author_of(principal), [draft for draft, _ in drafts])
    return _published(stored, [by_server for _, by_server in drafts], several)


def _signals_in(body: bytes, content_type: str) -> tuple[list[Any], bool]:
    """The signals in a body, and whether they came as several."""
    if any(word in content_type.lower() for word in NDJSON):
        found = _lines(body)
    else:
        try:
            content = decode(body)
        except InvalidJson:
            first, _, rest = body.strip().partition(b"\n")
            if not (rest.strip() and first.startswith(b"{") and first.rstrip().endswith(b"}")):
                raise
            content = _lines(body)
        if not isinstance(content, list):
            return [content], False
        found = content
    if not found:
        raise InvalidDraft("there is no signal in this body", field="body", allowed="an object, an array or NDJSON")
    if len(found) > DRAFTS_MAX:
        raise TooLarge(f"one request may hold {DRAFTS_MAX} signals", field="body", got=len(found), allowed=DRAFTS_MAX)
    return found, True


def _lines(body: bytes) -> list[Any]:
    found = []
    for number, line in enumerate(body.split(b"\n"), 1):
        if line.strip():
            try:
                found.append(decode(line))
            except InvalidJson as fault:
                raise InvalidJson(f"line {number}: {fault.message}", field=f"line {number}") from None
    return found


def _fallback_ids(request: Request, count: int, several: bool) -> list[str | None]:
    key = request.headers.get("idempotency-key")
    if key is None:
        return [None] * count
    check_id(key, "Idempotency-Key")
    return [f"{key}.{i}" for i in range(count)] if several else [key]


def _published(stored: Stored, by_server: list[bool], several: bool) -> Response:
    results = [answer(stored, r, id_by_server=own) for r, own in zip(stored.receipts, by_server, strict=True)]
    status = 201 if stored.events else 200
    return json_response({"results": results} if several else results[0], status)


@router.get("/channels/{channel}/events", tags=["signals"])
async def history(
    channel: str,
    request: Request,
    after: int = 0,
    limit: int = 1000,
    filter: str | None = None,
    epoch: str | None = None,
) -> Response:
    """Stored events after a position, through a filter. Ask again after `complete_through`."""
    node = node_of(request)
    principal = principal_of(request, "subscribe")
    only(request, "after", "limit", "filter", "epoch")
    tape = node.tape(principal, channel)
    check_after(after)
    if not 1 <= limit <= HISTORY_MAX:
        raise InvalidRequest(f"`limit` is 1 to {HISTORY_MAX}", field="limit", got=limit, allowed=f"1-{HISTORY_MAX}")
    wanted = node.filter_for(principal, filter)
    seq, _, _ = await node.place_to_resume(tape, after=after, epoch=epoch or None, hash8=None)
    await node.limits.rows.spend_many(principal.subject, 1)
    found, through = await _scan(node, tape, seq, limit, wanted)
    node.limits.rows.owe(principal.subject, through - seq - 1)
    head = tape.done
    body = b'{"events":[%s],"complete_through":%d,"head":%d,"epoch":"%s"}' % (
        b",".join(frame.text for frame in found), through, head, tape.epoch.encode(),
    )  # fmt: skip
    fixed = through < head and name_in(filter) is None  # A saved filter may be edited.
    return _cacheable(request, body, for_ever=fixed)


async def _scan(node: Node, tape: Tape, after: int, limit: int, wanted: Filter) -> tuple[list[Frame], int]:
    """Up to `limit` matching frames after `after`, and the seq through which that is complete."""
    found: list[Frame] = []
    looked = size = 0
    while after < tape.done and looked < SCAN_MAX:
        try:
            async with asyncio.timeout(PAGE_S):
                page = await node.hub.pager.page(tape, after)
        except TimeoutError:
            raise StoreUnavailable(retry_after_s=1) from None
        except RangeUntrusted:
            if looked:
                return found, after  # What comes before is as it was; who asks again is told what is not.
            raise
        await asyncio.sleep(0)  # A page at a time: others have their turn between.
        for frame in page.frames:
            if frame.seq <= after:
                continue
            if frame.seq > tape.done:
                return found, tape.done
            after = frame.seq
            looked += 1
            if wants(wanted, frame):
                found.append(frame)
                size += len(frame.ws)
                if len(found) == limit or size > ANSWER_BYTES_MAX:
                    return found, after
    return found, after


def _cacheable(request: Request, body: bytes, *, for_ever: bool) -> Response:
    """A page that can never change may be kept by the client for ever; `head` in it is then as of when it was made."""
    if not for_ever:
        return Response(body, media_type="application/json", headers={"Cache-Control": "no-store"})
    start = body.rindex(b',"complete_through"')
    tag = '"' + hashlib.sha256(body[:start] + str(request.url.query).encode()).hexdigest()[:24] + '"'
    headers = {"ETag": tag, "Cache-Control": "private, immutable, max-age=31536000", "Vary": "Authorization"}
    known = request.headers.get("if-none-match", "")
    if known == "*" or tag in [each.strip().removeprefix("W/") for each in known.split(",")]:
        return Response(status_code=304, headers=headers)
    return Response(body, media_type="application/json", headers=headers)


@router.get("/channels", tags=["channels"])
async def channels(request: Request) -> Response:
    """The channels this key may see, with what is held of each."""
    node = node_of(request)
    principal = principal_of(request, "subscribe")
    return json_response({"channels": [_describe(node, name) for name in node.visible(principal)]})


@router.get("/channels/{channel}", tags=["channels"])
async def channel(channel: str, request: Request) -> Response:
    """One channel: its epoch, first and last seq, retention."""
    node = node_of(request)
    principal = principal_of(request, "subscribe")
    node.tape(principal, channel)
    return json_response(_describe(node, channel))


def _describe(node: Node, name: str) -> dict[str, Any]:
    tape, extent, kept = node.hub.tapes[name], node.follower.extents[name], node.state.channels[name]
    return {
        "channel": name, "epoch": tape.epoch, "first": extent.first, "last": tape.done, "durable": tape.done,
        "hash": tape.done8, "retention": {"age_s": kept.age_s, "count": kept.count},
        "epochs": [{"epoch": e.name, "first": e.first, "reason": e.reason} for e in extent.epochs],
    }  # fmt: skip


class Retention(msgspec.Struct, forbid_unknown_fields=True):
    """How long a channel keeps its events; None is for ever."""

    age_s: int | None = None
    count: int | None = None


class ChannelBody(msgspec.Struct, forbid_unknown_fields=True):
    """What `PUT /v1/channels/{channel}` takes."""

    retention: Retention = msgspec.field(default_factory=Retention)


@router.put("/channels/{channel}", tags=["channels"])
async def put_channel(channel: str, request: Request) -> Response:
    """Make a channel, or set how long it keeps its events."""
    node = node_of(request)
    principal = principal_of(request, "admin")
    check_channel_name(channel)
    kept = (await json_of(request, ChannelBody)).retention
    for name, value in (("age_s", kept.age_s), ("count", kept.count)):
        if value is not None and value < 1:
            raise InvalidRequest(
                f"`retention.{name}` is at least 1, or null for ever", field=f"retention.{name}", got=value
            )
    if channel == SYSTEM_CHANNEL:
        raise Forbidden("the `system` channel keeps everything", field="channel", got=channel)
    new = channel not in node.state.channels
    await node.open_channel(channel)  # First: a channel that everybody knows of has a log.
    await node.administer(principal, "channel.set", msgspec.to_builtins(Channel(channel, kept.age_s, kept.count)))
    return json_response(_describe(node, channel), 201 if new and channel not in BUILT_IN else 200)


def known_channel(node: Node, principal: Principal, name: str) -> str:
    """A channel that exists and is not the server's own; for what will publish there.

    Raises:
        UnknownChannel, Forbidden: it is not.
    """
    check_channel_name(name)
    if name in SERVER_CHANNELS:
        raise Forbidden(f"`{name}` is written by the server alone", field="channel", got=name)
    if name not in node.state.channels or not principal.may_use(name):
        raise UnknownChannel(field="channel", got=name)
    return name
