"""REST for admins: keys and users.

Owns: the shapes of these requests. What they change are events of the `system` channel: the log tells every process.
"""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import APIRouter, Request, Response

from catalyst_signals.auth import SCOPES
from catalyst_signals.auth.api_keys import new_key
from catalyst_signals.errors import Conflict, InvalidRequest, NotFound
from catalyst_signals.events import check_channel_name, check_id, iso, now_us, parse_iso
from catalyst_signals.filters import parse
from catalyst_signals.projections import Key, key_is_good
from catalyst_signals.server.node import Node
from catalyst_signals.server.requests import json_of, json_response, node_of, principal_of
from catalyst_signals.wire import SYSTEM_CHANNEL

router = APIRouter(prefix="/v1")


class KeyBody(msgspec.Struct, forbid_unknown_fields=True):
    """What `POST /v1/keys` takes."""

    user: str
    scopes: list[str] = msgspec.field(default_factory=lambda: ["subscribe"])
    channels: list[str] = msgspec.field(default_factory=lambda: ["main"])
    filter: str | dict[str, Any] | None = None
    expires_at: str | None = None


@router.get("/keys", tags=["access"])
async def keys(request: Request) -> Response:
    """Every key that works, without its secret."""
    principal_of(request, "admin")
    return json_response({"keys": [_shown(key) for key in node_of(request).state.keys.values()]})


@router.post("/keys", tags=["access"])
async def add_key(request: Request) -> Response:
    """A new key; the answer is the only place where it is ever shown."""
    principal = principal_of(request, "admin")
    node = node_of(request)
    body = await json_of(request, KeyBody)
    id, key, secret_hash = new_key(node.settings.key_env)
    kept = Key(
        id=id,
        user=_user(body.user),
        scopes=_scopes(body.scopes),
        channels=_channels(body.channels),
        secret_hash=secret_hash,
        created_at=iso(now_us()),
        filter=parse(body.filter).text,
        expires_at=_later(body.expires_at),
    )
    await node.administer(principal, "key.created", msgspec.to_builtins(kept))
    return json_response({"id": id, "key": key} | _shown(kept), 201)


@router.delete("/keys/{id}", tags=["access"])
async def revoke_key(id: str, request: Request) -> Response:
    """Revoke a key: its connections are closed on every process."""
    principal = principal_of(request, "admin")
    node = node_of(request)
    if id not in node.state.keys:
        raise NotFound("there is no key of that id", field="id", got=id)
    _check_admins(node, {id})
    node.turn_off(id)
    await node.administer(principal, "key.revoked", {"id": id})
    return json_response({"id": id, "revoked": True})


def _check_admins(node: Node, gone: set[str]) -> None:
    """Somebody must be left who can make keys: there is no other way in."""
    if not any("admin" in key.scopes and key_is_good(key) for id, key in node.state.keys.items() if id not in gone):
        raise Conflict("this is the last admin key; make another one first", field="id")


def _user(name: str) -> str:
    """A name that cannot be taken for one of the server's own subjects."""
    check_id(name, "user")
    if name in (SYSTEM_CHANNEL, "bootstrap") or name.startswith("ingest."):
        raise InvalidRequest(f"`{name}` is a name of the server's own; take another", field="user", got=name)
    return name


def _shown(key: Key) -> dict[str, Any]:
    return {
        "id": key.id, "user": key.user, "scopes": key.scopes, "channels": key.channels, "filter": key.filter or None,
        "created_at": key.created_at, "expires_at": key.expires_at,
    }  # fmt: skip


def _scopes(scopes: list[str]) -> tuple[str, ...]:
    for scope in scopes:
        if scope not in SCOPES:
            raise InvalidRequest(f"`{scope}` is not a scope", field="scopes", got=scope, allowed=list(SCOPES))
    if not scopes:
        raise InvalidRequest("a key needs a scope", field="scopes", allowed=list(SCOPES))
    return tuple(dict.fromkeys(scopes))


def _channels(names: list[str]) -> tuple[str, ...]:
    if not names:
        raise InvalidRequest('a key needs a channel, or "*" for all', field="channels")
    return tuple(dict.fromkeys(name if name == "*" else check_channel_name(name) for name in names))


def _later(text: str | None) -> str | None:
    if text is None:
        return None
    moment = parse_iso(text)
    if moment is None or moment <= now_us():
        raise InvalidRequest(
            "`expires_at` is a time to come with its offset",
            field="expires_at",
            got=text,
            allowed="2027-01-31T18:00:00Z",
        )
    return iso(moment)


class UserBody(msgspec.Struct, forbid_unknown_fields=True):
    """What `POST /v1/users` takes."""

    user: str


@router.get("/users", tags=["access"])
async def users(request: Request) -> Response:
    """Everyone who has or had a key, the ids of their keys, and how far their clock is off if they say `sent_at`."""
    principal_of(request, "admin")
    node = node_of(request)
    state = node.state
    return json_response({
        "users": [
            {"user": user, "created_at": made, "keys": [k.id for k in state.keys.values() if k.user == user]}
            | {"clock_skew_s": node.skews.of(user)}
            for user, made in sorted(state.users.items())
        ]
    })  # fmt: skip


@router.post("/users", tags=["access"])
async def add_user(request: Request) -> Response:
    """A user; a key for a new name makes one too."""
    principal = principal_of(request, "admin")
    node = node_of(request)
    user = _user((await json_of(request, UserBody)).user)
    new = user not in node.state.users
    if new:
        await node.administer(principal, "user.created", {"user": user, "created_at": iso(now_us())})
    return json_response({"user": user, "created_at": node.state.users[user]}, 201 if new else 200)


@router.delete("/users/{user}", tags=["access"])
async def remove_user(user: str, request: Request) -> Response:
    """Remove a user: all their keys are revoked."""
    principal = principal_of(request, "admin")
    node = node_of(request)
    if user not in node.state.users:
        raise NotFound("there is no user of that name", field="user", got=user)
    gone = {key.id for key in node.state.keys.values() if key.user == user}
    _check_admins(node, gone)
    for key_id in gone:
        node.turn_off(key_id)
    await node.administer(principal, "user.removed", {"user": user})
    return json_response({"user": user, "removed": True})
