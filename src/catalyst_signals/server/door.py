"""Where connections come in: WebSockets and webhooks go straight to their endpoints, everything else through FastAPI.

Owns: that one decision, and that whoever comes with a key, or for a channel, that is not known here yet is not turned
away for that. It is here because the way through FastAPI's layers is half of what a handshake costs, and everybody
comes back at once when a server was away; and a third of what a webhook costs.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fastapi import FastAPI, WebSocket
from starlette.types import Receive, Scope, Send

from catalyst_signals.server import inbox
from catalyst_signals.server.handshake import stream
from catalyst_signals.server.naming import named
from catalyst_signals.server.node import Node

PATH = "/v1/ws"
CHANNELS = "/v1/channels/"


def door(app: FastAPI) -> Callable[[Scope, Receive, Send], Awaitable[None]]:
    """The ASGI application that Uvicorn is given."""

    async def enter(scope: Scope, receive: Receive, send: Send) -> None:
        send = named(scope, send)
        node: Node = app.state.node
        for name, value in scope.get("headers", ()):
            if name == b"authorization":
                await node.newcomers.look_for(value.decode("latin-1").removeprefix("Bearer "))
                if scope["path"].startswith(CHANNELS):
                    await node.newcomers.look_for_channels([scope["path"].split("/", 4)[3]])
        if scope["type"] == "websocket" and scope["path"] == PATH:
            scope["app"] = app
            await stream(WebSocket(scope, receive, send))
        elif scope["type"] == "http" and scope["method"] == "POST" and scope["path"].startswith(inbox.PREFIX):
            scope["app"] = app
            await inbox.webhook(scope, receive, send, app)
        else:
            await app(scope, receive, send)

    return enter
