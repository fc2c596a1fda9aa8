"""A name for each request, on its log lines and on its answer, so that what a client saw can be found again.

Owns: `X-Request-Id`, in and out, and the line a request leaves at the level `debug`. Knows nothing of what is asked.
Law: a path never stands in a line, its template does; a name from outside is taken only if it cannot be mistaken.
"""

from __future__ import annotations

import logging
import re
import secrets
import time

from starlette.types import Message, Scope, Send

from catalyst_signals.about import Request, deal_with

log = logging.getLogger("catalyst.http")

HEADER = b"x-request-id"
_ANSWERS = ("http.response.start", "websocket.http.response.start", "websocket.accept")
_FIT = re.compile(rb"[A-Za-z0-9._:-]{1,64}")


def named(scope: Scope, send: Send) -> Send:
    """Give the request the name it came with or a new one; returns how to answer it, with that name."""
    came = next((value for name, value in scope["headers"] if name == HEADER), b"")
    id = came if _FIT.fullmatch(came) else secrets.token_hex(8).encode()
    deal_with(Request(request_id=id.decode()))
    began_s = time.perf_counter()

    async def answer(message: Message) -> None:
        if message["type"] in _ANSWERS:
            message["headers"] = [*message.get("headers", ()), (HEADER, id)]
            if log.isEnabledFor(logging.DEBUG):
                _tell(scope, message.get("status", 101), time.perf_counter() - began_s)
        await send(message)

    return answer


def _tell(scope: Scope, status: int, took_s: float) -> None:
    route = getattr(scope.get("route"), "path", None) or ("a WebSocket" if scope["type"] == "websocket" else "unknown")
    said = {"method": scope.get("method", "GET"), "route": route, "status": status, "took_ms": round(took_s * 1000, 2)}
    log.debug("a request was answered", extra=said)
