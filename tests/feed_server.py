"""A feed on this machine that answers as it is told: whole, unchanged, broken, slow, huge, or somewhere else.

Owns: the entries it lists and how it misbehaves (`way` may be changed meanwhile). It keeps what it was asked.
"""

from __future__ import annotations

import gzip
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self


def feed_of(titles: list[str]) -> bytes:
    """An RSS feed with these entries, the newest on top."""
    items = "".join(
        f"<item><title>{title}</title><link>https://news.example/{title}?utm_source=rss</link>"
        f"<pubDate>Thu, 26 Nov 2026 09:{n % 60:02}:00 GMT</pubDate></item>"
        for n, title in reversed(list(enumerate(titles)))
    )
    return f'<?xml version="1.0"?><rss version="2.0"><channel><title>T</title>{items}</channel></rss>'.encode()


class FeedServer:
    """`with FeedServer() as feed:` gives `url`; `titles` are its entries, `asked` the headers of each request."""

    def __init__(self) -> None:
        self.titles: list[str] = []
        self.way = "good"
        self.body: bytes | None = None
        self.location = ""
        self.asked: list[dict[str, str]] = []
        feed = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                feed.asked.append({name.lower(): value for name, value in self.headers.items()} | {"path": self.path})
                getattr(feed, f"_{feed.way}")(self)

            def log_message(self, format: str, *args: object) -> None:
                """Nothing is said."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_port
        self.url = f"http://127.0.0.1:{self.port}/feed.xml"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _say(self, to: BaseHTTPRequestHandler, status: int, body: bytes = b"", **headers: str) -> None:
        to.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            to.send_header(name.replace("_", "-"), value)
        to.end_headers()
        to.wfile.write(body)

    def _good(self, to: BaseHTTPRequestHandler) -> None:
        body = self.body if self.body is not None else feed_of(self.titles)
        etag = f'"{hash(body)}"'
        if to.headers.get("If-None-Match") == etag:
            return self._say(to, 304)
        return self._say(to, 200, body, ETag=etag, Content_Type="application/rss+xml")

    def _forgets(self, to: BaseHTTPRequestHandler) -> None:
        """Knows no ETag: the whole feed each time, packed and in chunks."""
        packed = gzip.compress(feed_of(self.titles))
        to.send_response(200)
        to.send_header("Transfer-Encoding", "chunked")
        to.send_header("Content-Encoding", "gzip")
        to.end_headers()
        for piece in (packed[:40], packed[40:]):
            to.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
        to.wfile.write(b"0\r\n\r\n")

    def _broken(self, to: BaseHTTPRequestHandler) -> None:
        self._say(to, 503, b"later", Retry_After="0")

    def _page(self, to: BaseHTTPRequestHandler) -> None:
        self._say(to, 200, b"<!DOCTYPE html><html><body>We moved</body></html>")

    def _huge(self, to: BaseHTTPRequestHandler) -> None:
        self._say(to, 200, Content_Length=str(1 << 30))

    def _bomb(self, to: BaseHTTPRequestHandler) -> None:
        self._say(to, 200, gzip.compress(b"<rss>" + b" " * (64 << 20)), Content_Encoding="gzip")

    def _hangs(self, to: BaseHTTPRequestHandler) -> None:
        time.sleep(60)

    def _moved(self, to: BaseHTTPRequestHandler) -> None:
        self._say(to, 302, Location=self.location)
