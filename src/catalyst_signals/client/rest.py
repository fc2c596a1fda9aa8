"""The few requests that have no message on the socket, over plain HTTP.

Owns: one request and its answer. Knows nothing of signals. Needs nothing but the standard library: this is the light
install. Law: an answer or an exception within the time given; nothing is asked twice unless the caller says that this
is safe.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any
from urllib.parse import quote, urlsplit

import msgspec

from catalyst_signals.backoff import Backoff
from catalyst_signals.client.line import BACKOFF_S
from catalyst_signals.client.link import SOCKET_PATH, Address, refusal
from catalyst_signals.errors import CatalystError, Unreachable

_decode = msgspec.json.Decoder(dict[str, Any]).decode


async def ask(
    address: Address,
    method: str,
    path: list[str],
    body: bytes | None = None,
    *,
    if_version: int | None = None,
    version: int | None = None,
    timeout_s: float,
) -> dict[str, Any]:
    """The JSON object that the server answers; `path` is what stands after `/v1`, a part each, and `body` is JSON.

    `if_version` is what it must have; `version` is asked for.

    Raises:
        CatalystError: the server's refusal.
        Unreachable: no answer in `timeout_s`; whether it was done is not known.
    """
    headers = {"Authorization": f"Bearer {address.key}", "Content-Type": "application/json"}
    if if_version is not None:
        headers["If-Match"] = f'"{if_version}"'
    where = urlsplit(address.socket_url)
    url = "/".join((f"{where.path.removesuffix(SOCKET_PATH)}/v1", *(quote(part, safe="") for part in path)))
    url += "" if version is None else f"?version={version}"
    kind = HTTPSConnection if where.scheme == "wss" else HTTPConnection
    connection = kind(where.hostname or "", where.port, timeout=timeout_s)
    try:  # In a thread: http.client waits, and the loop has other things to do.
        return await asyncio.to_thread(_request, connection, address, method, url, body, headers)
    except asyncio.CancelledError:
        if connection.sock is not None:
            with suppress(OSError):
                connection.sock.shutdown(socket.SHUT_RDWR)  # Or the thread would wait on for nobody.
        raise


def _request(
    connection: HTTPConnection, address: Address, method: str, url: str, body: bytes | None, headers: dict[str, str]
) -> dict[str, Any]:
    try:
        connection.request(method, url, body, headers)
        response = connection.getresponse()
        said = response.read()
    except (OSError, HTTPException) as fault:
        found = f"no answer from {address.url} ({str(fault) or type(fault).__name__})"
        raise Unreachable(f"{found}: it is not known whether it was done", url=address.url) from fault
    finally:
        connection.close()
    if response.status >= 400:
        raise refusal(address, response.status, said, response.headers.get("Retry-After", ""))
    try:
        return _decode(said)
    except msgspec.DecodeError:
        raise Unreachable(f"{address.url} does not answer in JSON: that is no Catalyst server") from None


async def retried(ask: Callable[[], Awaitable[dict[str, Any]]], within_s: float) -> dict[str, Any]:
    """What is answered in the end, for what may be asked twice: refusals that may pass are waited out.

    Raises:
        CatalystError: the last refusal.
    """
    backoff, now_s = Backoff(*BACKOFF_S), asyncio.get_running_loop().time
    until_s = now_s() + within_s
    while True:
        try:
            return await ask()
        except CatalystError as error:
            wait_s = max(backoff.next_s(), float(error.extra.get("retry_after_s", 0)))
            if not error.retry or now_s() + wait_s > until_s:
                raise
        await asyncio.sleep(wait_s)
