"""Where connections come in: a WebSocket goes straight to its endpoint, everything else through FastAPI.

Owns: that one decision. It is here because the way through FastAPI's layers is half of what a handshake costs, and
everybody comes back at once when a server was away.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fastapi import FastAPI, WebSocket
from starlette.types import Receive, Scope, Send

from catalyst_signals.server.stream import stream

PATH = "/v1/ws"


def door(app: FastAPI) -> Callable[[Scope, Receive, Send], Awaitable[None]]:
    """The ASGI application that Uvicorn is given."""

    async def enter(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket" and scope["path"] == PATH:
            scope["app"] = app
            await stream(WebSocket(scope, receive, send))
        else:
            await app(scope, receive, send)

    return enter
