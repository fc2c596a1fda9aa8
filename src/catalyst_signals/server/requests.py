"""What every endpoint does with a request before its own work: who asks, from where, and what is in the body.

Owns: reading credentials and bodies with their limits, turning our errors into responses. Knows nothing of signals.
"""

from __future__ import annotations

import asyncio
from math import ceil
from typing import Any, TypeVar
from urllib.parse import urlsplit

import msgspec
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, HTTPConnection
from starlette.routing import Match

from catalyst_signals.about import also
from catalyst_signals.auth import Principal
from catalyst_signals.errors import (
    CatalystError,
    Forbidden,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    TooLarge,
    TooLate,
    Unauthenticated,
    Unsupported,
)
from catalyst_signals.server.node import Node
from catalyst_signals.wire import decode, encode

T = TypeVar("T")
BUG = "something went wrong in the server; its log says what"


def node_of(connection: HTTPConnection) -> Node:
    """The process this request came to."""
    node: Node = connection.app.state.node
    return node


def principal_of(request: HTTPConnection, scope: str) -> Principal:
    """Who asks, if they have `scope`.

    Raises:
        Unauthenticated, Forbidden: they do not.
    """
    check_origin(request, node_of(request).settings.allowed_origins)
    principal = node_of(request).authenticate(bearer(request))
    also(key_id=principal.key_id)
    principal.require(scope)
    return principal


def bearer(connection: HTTPConnection) -> str | None:
    """The key in the Authorization header, or None without one.

    Raises:
        Unauthenticated: there is one, but not a bearer's.
    """
    header = connection.headers.get("authorization")
    if header is None:
        return None
    kind, _, credential = header.partition(" ")
    if kind.lower() != "bearer" or not credential.strip():
        raise Unauthenticated("the Authorization header reads `Bearer cat_...`")
    return credential.strip()


def check_origin(connection: HTTPConnection, allowed: list[str]) -> None:
    """A browser's page may talk to us only from our own host or from one the operator named.

    Raises:
        Forbidden: it is a page of somebody else's.
    """
    origin = connection.headers.get("origin")
    if origin is None or origin in allowed:
        return
    try:
        host = urlsplit(origin).netloc.lower()
    except ValueError:
        host = ""
    if not host or host != connection.headers.get("host", "").lower():
        raise Forbidden(
            "pages of this origin may not connect; the operator can allow it with CATALYST_ALLOWED_ORIGINS",
            field="Origin", got=origin,
        )  # fmt: skip


def only(request: Request, *known: str) -> None:
    """Refuse a query parameter that nobody reads: `?aftr=5` would be a silent loss.

    Raises:
        Unsupported: names it and what there is.
    """
    for name, value in request.query_params.items():
        if name not in known:
            raise Unsupported(f"`{name}` is not a parameter of this path", field=name, got=value, allowed=list(known))


def check_after(after: int | None) -> None:
    """Pass if it can be a place in a log, or is none.

    Raises:
        InvalidRequest: it is below 0.
    """
    if after is not None and after < 0:
        raise InvalidRequest("`after` is a seq: a whole number from 0", field="after", got=after, allowed=">= 0")


async def body_of(request: Request) -> bytes:
    """The whole body, within its limits of size and time.

    Raises:
        TooLarge: as soon as it is, whatever was announced.
        InvalidRequest: it took too long.
    """
    settings = node_of(request).settings
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(settings.body_s):
            async for part in request.stream():
                size += len(part)
                if size > settings.body_bytes:
                    raise TooLarge(
                        f"a body may have {settings.body_bytes} bytes", field="body", allowed=settings.body_bytes
                    )
                parts.append(part)
    except TimeoutError:
        raise TooLate(f"the body took longer than {settings.body_s:g} s", field="body") from None
    except ClientDisconnect:
        raise InvalidRequest("the client went away before its body was complete", field="body") from None
    return b"".join(parts)


async def json_of(request: Request, shape: type[T]) -> T:
    """The body as JSON of a given shape; an unknown field is an error that names it.

    Raises:
        InvalidJson, InvalidRequest: it is not.
    """
    content = decode(await body_of(request) or b"{}")
    try:
        return msgspec.convert(content, shape)
    except msgspec.ValidationError as fault:
        text, _, path = str(fault).partition(" - at `$")
        field = path.rstrip("`").lstrip(".") or (text.split("`")[1] if "field `" in text else None)
        raise InvalidRequest(f"the body does not fit: {fault}", field=field) from None


def json_response(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """An answer in JSON."""
    return Response(encode(content), status, headers, media_type="application/json")


def error_response(error: CatalystError) -> Response:
    """A refusal, with `Retry-After` when it knows."""
    headers = {"WWW-Authenticate": "Bearer"} if error.status == 401 else {}
    if "retry_after_s" in error.extra:
        headers["Retry-After"] = str(max(1, ceil(error.extra["retry_after_s"])))
    return JSONResponse(error.as_dict(), error.status, headers)


def install_error_handlers(app: FastAPI) -> None:
    """Every refusal in one form, also those of the framework."""

    async def ours(request: Request, error: Exception) -> Response:
        assert isinstance(error, CatalystError)
        node_of(request).refusals[error.name] += 1
        return error_response(error)

    async def frameworks(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        if error.status_code == 404:
            return error_response(
                NotFound("there is nothing at this path; /docs lists what there is", got=_template(request))
            )
        if error.status_code == 405:
            refusal = error_response(MethodNotAllowed(got=request.method, allowed=(taken := _methods(request))))
            refusal.headers["Allow"] = ", ".join(taken)
            return refusal
        return JSONResponse(InvalidRequest(str(error.detail)).as_dict(), error.status_code, error.headers)

    async def parameters(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        field = str(first["loc"][-1])
        return error_response(InvalidRequest(f"`{field}`: {first['msg']}", field=field, got=first.get("input")))

    async def bugs(request: Request, error: Exception) -> Response:
        # Logged by Uvicorn, to which Starlette raises it again.
        return error_response(CatalystError(BUG))

    app.add_exception_handler(CatalystError, ours)
    app.add_exception_handler(HTTPException, frameworks)
    app.add_exception_handler(RequestValidationError, parameters)
    app.add_exception_handler(Exception, bugs)


def _methods(request: Request) -> list[str]:
    """What this path takes, of all routes: one route knows only its own methods."""
    routes = [*request.app.routes, *(route for router in request.app.state.routers for route in router.routes)]
    matching = [route for route in routes if route.matches(request.scope)[0] is not Match.NONE]
    return sorted({method for route in matching for method in getattr(route, "methods", None) or ()})


def _template(request: Request) -> str:
    """The route as it was declared: a path may hold a secret, a template never does."""
    route = request.scope.get("route")
    return getattr(route, "path", "an unknown path")
