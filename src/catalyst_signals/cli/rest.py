"""Asking a server over REST: an answer in JSON, or its refusal as the exception it stands for.

Owns: the HTTP client of the command line. Knows nothing of what is asked.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, urlsplit, urlunsplit

import httpx2
import msgspec

from catalyst_signals.cli.options import Server
from catalyst_signals.errors import Unreachable, from_dict

TIMEOUT_S = 60.0  # Longer than the server takes for its slowest page or its longest wait for a store.
CONNECT_S = 5.0
_OF_THIS_MACHINE = ("localhost", "127.0.0.1", "::1")


class Rest:
    """`with Rest(server) as rest: rest.get("v1", "channels")`. A server of this machine is asked without a proxy."""

    def __init__(self, server: Server) -> None:
        self._url = server.url
        headers = {"Authorization": f"Bearer {server.key}"} if server.key else {}
        self._http = httpx2.Client(
            base_url=_http_url(server.url), headers=headers, timeout=httpx2.Timeout(TIMEOUT_S, connect=CONNECT_S),
            trust_env=urlsplit(server.url).hostname not in _OF_THIS_MACHINE,
        )  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def get(self, *path: str, **params: object) -> Any:
        """The answer to a GET; what is None is not asked for."""
        return msgspec.json.decode(self.raw(*path, **params))

    def raw(self, *path: str, **params: object) -> bytes:
        """As `get`, not decoded."""
        return self._ask("GET", path, params={name: str(value) for name, value in params.items() if value is not None})

    def post(self, *path: str, body: object = None, if_version: int | None = None) -> Any:
        """The answer to a POST."""
        return self._write("POST", path, body or {}, if_version)

    def send(self, *path: str, content: bytes) -> Any:
        """The answer to a POST of a body that is no JSON of ours."""
        return msgspec.json.decode(self._ask("POST", path, content=content))

    def patch(self, *path: str, body: object, if_version: int | None = None) -> Any:
        """The answer to a PATCH."""
        return self._write("PATCH", path, body, if_version)

    def put(self, *path: str, body: object) -> Any:
        """The answer to a PUT."""
        return self._write("PUT", path, body)

    def delete(self, *path: str) -> Any:
        """The answer to a DELETE."""
        return msgspec.json.decode(self._ask("DELETE", path))

    def readiness(self) -> dict[str, Any]:
        """What `/readyz` says, also when that is no."""
        try:
            said: dict[str, Any] = msgspec.json.decode(self._send("GET", "readyz").content, type=dict[str, Any])
        except msgspec.DecodeError:
            raise self._stranger("something that is no JSON") from None
        if "ready" not in said:
            raise self._stranger("no readiness")
        return said

    def _write(self, method: str, path: tuple[str, ...], body: object, if_version: int | None = None) -> Any:
        headers = {} if if_version is None else {"If-Match": f'"{if_version}"'}
        return msgspec.json.decode(self._ask(method, path, content=msgspec.json.encode(body), headers=headers))

    def _ask(self, method: str, path: tuple[str, ...], **more: Any) -> bytes:
        answer = self._send(method, "/".join(quote(part, safe="") for part in path), **more)
        if answer.is_success and answer.headers.get("content-type", "").startswith("application/json"):
            return answer.content
        try:
            said = msgspec.json.decode(answer.content)
        except msgspec.DecodeError:
            said = None
        if answer.is_success or not isinstance(said, dict) or "error" not in said:
            raise self._stranger(f"HTTP {answer.status_code}")
        raise from_dict(said)

    def _send(self, method: str, path: str, **more: Any) -> httpx2.Response:
        try:
            return self._http.request(method, path, **more)
        except httpx2.HTTPError as fault:
            found = f"no Catalyst server answers at {self._url} ({str(fault) or type(fault).__name__})"
            raise Unreachable(
                f"{found}; check the address, or start one with `catalyst serve`", url=self._url
            ) from fault

    def _stranger(self, what: str) -> Unreachable:
        return Unreachable(f"{self._url} answers {what}: that is no Catalyst server", url=self._url)


def _http_url(url: str) -> str:
    parts = urlsplit(url)
    scheme = {"ws": "http", "wss": "https"}.get(parts.scheme, parts.scheme)
    return urlunsplit((scheme, parts.netloc, parts.path.rstrip("/").removesuffix("/v1/ws") + "/", "", ""))
