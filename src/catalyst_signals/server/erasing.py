"""REST for erasing: one event, or every version of a signal.

Owns: the shapes of requests and answers, and that a running process forgets what it has in memory. What is erased is
decided in catalyst_signals.erasing.
"""

from __future__ import annotations

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Path, Request, Response

from catalyst_signals.erasing import ERASED, check_erasable, erase, quoting, seqs_of
from catalyst_signals.events import Frame
from catalyst_signals.server.node import Node
from catalyst_signals.server.requests import json_response, node_of, principal_of
from catalyst_signals.wire import SYSTEM_CHANNEL

router = APIRouter(prefix="/v1/channels/{channel}", tags=["signals"])


@router.delete("/events/{seq}")
async def erase_event(channel: str, seq: Annotated[int, Path(ge=1, lt=1 << 40)], request: Request) -> Response:
    """Erase what one event said, and later versions that quote it; places, ids and hashes stay."""
    _may_erase(request, channel)
    seqs = await quoting(node_of(request).store, channel, seq)
    await _erase(request, channel, seqs)
    return json_response({"erased": seqs})


@router.delete("/signals/{id:path}")
async def erase_signal(channel: str, id: str, request: Request) -> Response:
    """Erase what every version of a signal said, also of one that is being written meanwhile."""
    _may_erase(request, channel)
    erased: list[int] = []
    while seqs := [seq for seq in await seqs_of(node_of(request).store, channel, id) if seq not in erased]:
        await _erase(request, channel, seqs)
        erased += seqs
    return json_response({"erased": erased})


def watch(node: Node) -> None:
    """Whatever process erases something, this one forgets it too."""
    node.follower.fold(SYSTEM_CHANNEL, partial(_forget, node))


def _forget(node: Node, frame: Frame) -> None:
    if frame.text.startswith(b'{"type":"%s"' % ERASED.encode()) and not frame.erased:
        data = frame.doc["data"]
        node.hub.forget(data["channel"], data["seqs"])
        node.changes.erasures += 1
        frame.forget()


def _may_erase(request: Request, channel: str) -> None:
    principal = principal_of(request, "admin")
    check_erasable(channel)
    node_of(request).tape(principal, channel)


async def _erase(request: Request, channel: str, seqs: list[int]) -> None:
    """Erased here and in the log; every process is told before anyone is answered, also if a trace is left on disk."""
    node = node_of(request)
    left = await erase(node.store, channel, seqs)
    await node.administer(principal_of(request, "admin"), ERASED, {"channel": channel, "seqs": seqs})
    if left is not None:
        raise left
    await node.publisher.settled()  # What was under way with the old words in it is stored now, and can be found.
