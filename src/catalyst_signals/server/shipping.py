"""Log lines to a central store, as JSON lines over HTTP.

Owns: the queue, the one thread that posts, and what happens when the store does not take them. Knows nothing of what a
line says. Laws: logging waits for nobody; at most `QUEUE_MAX` lines wait; what is lost is counted.
"""

from __future__ import annotations

import base64
import logging
import queue
import threading
import time
import urllib.request
from http.client import HTTPException
from urllib.parse import unquote, urlsplit, urlunsplit

from catalyst_signals.backoff import Backoff
from catalyst_signals.errors import Misconfigured

log = logging.getLogger("catalyst.shipping")

QUEUE_MAX = 10_000
BATCH_MAX = 500
GATHER_S = 0.5
POST_S = 5.0
AGAIN_S = (0.5, 15.0)
FLUSH_S = 2.0


class Shipper(logging.Handler):
    """`https://user:password@host/index/_bulk` is Elasticsearch's and OpenSearch's; any other path takes plain lines.

    Lines are those of the process's own log but for this module's, which would speak of themselves for ever.
    """

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url, self._headers = _target(url)
        self.is_bulk = self._url.endswith("/_bulk")
        self.lost = 0
        self._lines: queue.Queue[str] = queue.Queue(QUEUE_MAX)
        self._away = False
        self._again = Backoff(*AGAIN_S)
        self._going_on = threading.Event()
        threading.Thread(target=self._run, name="catalyst-log-shipping", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        """Queue the line; when there is no room, it is lost and counted."""
        if record.name == log.name:
            return
        try:
            self._lines.put_nowait(self.format(record))
        except queue.Full:
            self.lost += 1
        except Exception:
            self.handleError(record)

    def flush(self) -> None:
        """Wait until what is queued is out, `FLUSH_S` at most; logging calls it when the program ends, too."""
        until = time.monotonic() + FLUSH_S
        while self._lines.unfinished_tasks and time.monotonic() < until:
            self._going_on.set()
            time.sleep(0.01)
        self._going_on.clear()

    def _run(self) -> None:
        while True:
            lines = [self._lines.get()]
            self._going_on.wait(GATHER_S)
            while len(lines) < BATCH_MAX and not self._lines.empty():
                lines.append(self._lines.get())
            while not self._post(lines):
                time.sleep(self._again.next_s())
            for _ in lines:
                self._lines.task_done()

    def _post(self, lines: list[str]) -> bool:
        """Whether this batch is over: taken, or refused for good."""
        head = '{"create":{}}\n' if self.is_bulk else ""
        body = "".join(f"{head}{line}\n" for line in lines).encode()
        request = urllib.request.Request(self._url, body, self._headers, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=POST_S) as answer:
                refused = answer.read(4096)
        except urllib.request.HTTPError as error:
            if 400 <= error.code < 500 and error.code not in (401, 403, 408, 429):
                return self._give_up(len(lines), f"it answers {error.code}")
            return self._wait(f"it answers {error.code}")
        except (OSError, HTTPException) as error:
            return self._wait(repr(error))
        if self.is_bulk and b'"errors":true' in refused.replace(b" ", b""):
            return self._give_up(len(lines), "it refuses lines of this form")
        if self._away:
            self._away, self._again.tries = False, 0
            log.warning("the central log takes lines again", extra={"lost": self.lost})
        return True

    def _wait(self, why: str) -> bool:
        if not self._away:  # Once, not every time.
            log.warning("the central log does not take lines, they wait", extra={"reason": why})
        self._away = True
        return False

    def _give_up(self, count: int, why: str) -> bool:
        if not self.lost:
            log.error("the central log refuses lines, they are only here", extra={"reason": why})
        self.lost += count
        return True


def _target(url: str) -> tuple[str, dict[str, str]]:
    """The URL without its credential, and the headers with it."""
    parts = urlsplit(url)
    headers = {"Content-Type": "application/x-ndjson"}
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise Misconfigured("log_ship_url reads https://host/path", field="log_ship_url", allowed="http, https")
    user, at, host = parts.netloc.rpartition("@")
    if at:
        headers["Authorization"] = "Basic " + base64.b64encode(unquote(user).encode()).decode()
    return urlunsplit((parts.scheme, host, parts.path, parts.query, "")), headers
