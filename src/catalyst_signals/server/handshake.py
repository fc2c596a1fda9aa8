"""The handshake of a WebSocket: refuse what can be refused before the upgrade, then hand the connection over.

Owns: the order of the checks, cheapest first. What happens on the connection afterwards is in stream.py.
"""

from __future__ import annotations

from fastapi import WebSocket

from catalyst_signals.auth import Principal
from catalyst_signals.errors import CatalystError
from catalyst_signals.server.node import Node
from catalyst_signals.server.requests import bearer, check_origin, error_response, node_of
from catalyst_signals.server.stream import Connection


async def stream(websocket: WebSocket) -> None:
    """Answered with a refusal in JSON, or the connection has an owner; either way this task ends."""
    node = node_of(websocket)
    address = node.limits.addresses.of(websocket.scope)
    try:
        principal = _let_in(node, websocket, address)
    except CatalystError as error:
        node.refusals[error.name] += 1
        await websocket.send_denial_response(error_response(error))
        return
    await websocket.accept()
    Connection(node, websocket.scope["extensions"]["catalyst.socket"], principal, address)


def _let_in(node: Node, websocket: WebSocket, address: str) -> Principal | None:
    """Who it is, if they have said so yet.

    Raises:
        CatalystError: why not.
    """
    node.limits.addresses.check(address)
    check_origin(websocket, node.settings.allowed_origins)
    credential = bearer(websocket)
    principal = node.authenticate(credential) if credential else None
    node.check_open()
    if principal is not None:
        node.limits.connect(principal.key_id)
    return principal
