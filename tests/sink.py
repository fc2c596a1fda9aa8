"""A tiny HTTP server that records what came, for whatever a server of ours sends to others.

Owns: the answers it gives (`status` may be changed meanwhile) and everything it was sent, unpacked.
"""

from __future__ import annotations

import gzip
import threading
import time
import zlib
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import NamedTuple, Self, TypeVar

T = TypeVar("T")


class Came(NamedTuple):
    """One request."""

    path: str
    headers: dict[str, str]
    body: bytes


class Sink:
    """`with Sink() as sink:` gives `url`, and `came` in the order in which it did."""

    def __init__(self) -> None:
        self.came: list[Came] = []
        self.status = 200
        self.answer = b"{}"
        self.headers: dict[str, str] = {}
        sink = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                packed = self.headers.get("Content-Encoding", "")
                body = gzip.decompress(body) if packed == "gzip" else zlib.decompress(body) if packed else body
                headers = {name.lower(): value for name, value in self.headers.items()}
                sink.came.append(Came(self.path, headers, body))
                self.send_response(sink.status)
                self.send_header("Content-Length", str(len(sink.answer)))
                for name, value in sink.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(sink.answer)

            def log_message(self, format: str, *args: object) -> None:
                """Nothing is said."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_port
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def everything(self) -> bytes:
        """All bodies, one after another."""
        return b"\n".join(came.body for came in self.came)

    def to(self, path: str) -> list[Came]:
        """What came to that path."""
        return [came for came in self.came if came.path == path]


def until(what: Callable[[], T], within_s: float = 20.0) -> T:
    """What it comes to be, once that is something."""
    ends_s = time.monotonic() + within_s
    while not (found := what()):
        assert time.monotonic() < ends_s, "it did not come in time"
        time.sleep(0.02)
    return found
