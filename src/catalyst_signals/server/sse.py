"""`GET /v1/channels/{channel}/stream`: the same events as server-sent events, for `curl` and browsers.

Owns: the framing and one small coroutine a client. Not the fast path: it pages a cursor, but through ASGI.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator
from typing import Literal

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse

from catalyst_signals.auth import Principal
from catalyst_signals.errors import CatalystError, InvalidRequest, RateLimited
from catalyst_signals.events import Position, now_us
from catalyst_signals.filters import Filter
from catalyst_signals.modifiers import Age, total
from catalyst_signals.pages import wants
from catalyst_signals.server.node import Node, check_goes_on
from catalyst_signals.server.requests import check_after, node_of, only, principal_of
from catalyst_signals.session import modifiers_of
from catalyst_signals.tape import Tape
from catalyst_signals.wire import encode

router = APIRouter(prefix="/v1")


@router.get("/channels/{channel}/stream", tags=["signals"])
async def stream(
    channel: str, request: Request, filter: str | None = None, after: int | None = None,
    stale: Literal["hold", "send"] = "hold", max_age_s: int | None = None,
) -> StreamingResponse:  # fmt: skip
    """Signals as they come; `Last-Event-ID` (or `after`) resumes, `id:` alone is the heartbeat and moves the place.

    `stale` and `max_age_s` hold back what is too old, as over the socket; `event: held` tells how many were, by reason.
    """
    node = node_of(request)
    address = node.limits.addresses.of(request.scope)
    node.limits.addresses.check(address)
    principal = principal_of(request, "subscribe")
    only(request, "filter", "after", "stale", "max_age_s")
    check_after(after)
    age = modifiers_of({"stale": stale, "max_age_s": max_age_s}).age
    tape = node.tape(principal, channel)
    wanted = node.filter_for(principal, filter)
    last = request.headers.get("last-event-id")
    asked = _position(channel, last) if last else Position(channel, "", after) if after is not None else None
    seq, epoch, hash8 = await node.place_to_resume(
        tape,
        after=asked.seq if asked is not None else None,
        epoch=(asked.epoch or None) if asked is not None else None,
        hash8=(asked.hash8 or None) if asked is not None else None,
    )
    node.limits.connect(principal.key_id)
    node.limits.subscribes.spend(principal.subject)
    start = Position(channel, epoch, seq, hash8 or "")
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(
        _events(node, principal, tape, filter, wanted, age, start, address),
        media_type="text/event-stream", headers=headers,
    )  # fmt: skip


def _position(channel: str, text: str) -> Position:
    epoch, _, rest = text.partition(":")
    seq, _, hash8 = rest.partition(":")
    if not re.fullmatch("[0-9]{1,18}", seq):
        raise InvalidRequest("`Last-Event-ID` is `epoch:seq:hash8` as we sent it", field="Last-Event-ID", got=text)
    return Position(channel, epoch, int(seq), hash8)


async def _events(
    node: Node, principal: Principal, tape: Tape, filter: str | None, wanted: Filter, age: Age, at: Position,
    address: str,
) -> AsyncIterator[bytes]:  # fmt: skip
    node.streams += 1
    node.limits.addresses.come(address)
    head = tape.done
    held: Counter[str] = Counter()
    try:
        yield b"id: %s\n\n" % str(at).encode()
        while not node.draining:
            node.still(principal)
            node.check_trust()
            check_goes_on(tape)
            if tape.done > at.seq:
                wanted = node.filter_now(principal, filter, wanted)
                page, then = await _page(node, tape, wanted, age, held, at)
                if at.seq < head:
                    await _pace(node, principal, then.seq - at.seq)
                at = then
                yield page
            else:
                await _wait(node, principal, tape, at.seq)
                if tape.done == at.seq:
                    yield b"id: %s\n\n" % str(at).encode()
        yield b"retry: 1000\n\n"
    except CatalystError as error:
        yield b"event: error\ndata: %s\n\n" % encode(error.as_dict())
    finally:
        node.streams -= 1
        node.limits.addresses.leave(address)


async def _pace(node: Node, principal: Principal, count: int) -> None:
    """Wait until this user may be read so many older events more."""
    while not node.draining:
        try:
            await node.limits.rows.spend_many(principal.subject, count)
            break
        except RateLimited as refusal:
            await asyncio.sleep(min(1.0, refusal.extra["retry_after_s"]))


async def _wait(node: Node, principal: Principal, tape: Tape, seq: int) -> None:
    """Until there is more, or a heartbeat is due, or the server drains, or the key is no good any more."""
    for _ in range(node.settings.position_s * 2):
        node.still(principal)
        try:
            async with asyncio.timeout(0.5):
                await tape.grown(seq)
                return
        except TimeoutError:
            if node.draining:
                return


async def _page(
    node: Node, tape: Tape, wanted: Filter, age: Age, held: Counter[str], at: Position
) -> tuple[bytes, Position]:
    """What matches in the next page, what of it is held back, and the place it ends at as an id of its own."""
    page = await node.hub.pager.page(tape, at.seq)
    parts: list[bytes] = []
    now, before = now_us(), held.total()
    for frame in page.frames:
        if at.seq < frame.seq <= tape.done:
            at = Position(tape.channel, frame.epoch, frame.seq, frame.hash8)
            if not wants(wanted, frame):
                continue
            reason = age.holds(frame, now)
            frame.forget()
            if reason is not None:
                held[reason] += 1
            else:
                parts.append(b"id: %s\ndata: %s\n\n" % (str(at).encode(), frame.text))
    if held.total() > before:
        parts.append(b"event: held\ndata: %s\n\n" % encode(total(held)))
    parts.append(b"id: %s\n\n" % str(at).encode())
    return b"".join(parts), at
