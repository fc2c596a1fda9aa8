"""How the log looks, where it goes, and what never stands in it.

Owns: a line an event with its fields, as JSON or as text for a terminal; the ids of whoever is dealt with (about.py) on
each; the blanking of anything that looks like a secret. Law: a line is blanked before it leaves, wherever it goes.
"""

from __future__ import annotations

import logging
import re
import sys
import time
from collections.abc import Iterator
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

import msgspec

from catalyst_signals.about import about
from catalyst_signals.errors import Misconfigured
from catalyst_signals.server.settings import Settings
from catalyst_signals.server.shipping import Shipper

_USUAL = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_SECRETS = (
    (re.compile(r"cat_[a-z0-9]+_([0-9A-Za-z]+)_[0-9A-Za-z]+"), r"cat_…\1…"),  # A key shows its id only.
    (re.compile(r"/in/([a-z0-9_]+)/[^\s/?#\"'\\]+"), r"/in/\1/…"),
    (re.compile(r"(\w://)[^\s/@\"']+@"), r"\1…@"),
    (re.compile(r"(?i)\b(bearer|basic)\s+[^\s\"',]+"), r"\1 …"),
)


def blanked(text: str) -> str:
    """The same without what looks like a key, a webhook's secret, a URL's password or a header's credential."""
    for secret, shown in _SECRETS:
        text = secret.sub(shown, text)
    return text


def fields_of(record: logging.LogRecord) -> dict[str, Any]:
    """What stands beside the message: the ids of whoever is dealt with, and what the line says itself."""
    said = {name: value for name, value in vars(record).items() if name not in _USUAL}
    return {**about(), **said}


class Lines(logging.Formatter):
    """`2026-11-26T09:30:00 INFO catalyst.hub the sentence reason="..." channel=main`"""

    def __init__(self, node: str = "") -> None:
        self._node = f" node={node!r}" if node else ""
        super().__init__("%(asctime)s %(levelname)s %(name)s %(message)s", "%Y-%m-%dT%H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line, with a traceback below only for what is our own mistake."""
        fields = "".join(f" {name}={value!r}" for name, value in fields_of(record).items())
        head, newline, rest = super().format(record).partition("\n")
        return blanked(head + fields + self._node + newline + rest)


class JsonLines(logging.Formatter):
    """`{"ts":"2026-11-26T09:30:00.123Z","level":"info","logger":"catalyst.hub","message":"the sentence",...}`"""

    def __init__(self, node: str, stamp: str = "ts") -> None:
        self._node = node
        self._stamp = stamp  # Elasticsearch wants it to be `@timestamp`.
        super().__init__()

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line, a traceback in its field `error`."""
        line = {
            self._stamp: _iso(record), "level": record.levelname.lower(), "logger": record.name,
            "message": record.getMessage(), "node": self._node,
        }  # fmt: skip
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return blanked(msgspec.json.encode(fields_of(record) | line, enc_hook=repr).decode())


def _iso(record: logging.LogRecord) -> str:
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
    return f"{whole}.{int(record.msecs):03d}Z"


def install(settings: Settings, number: int | None = None) -> None:
    """Log from here on as the settings say; as process `number` of several, with 0 for their parent.

    Raises:
        Misconfigured: the file cannot be written.
    """
    level = settings.log_level.upper()
    logging.basicConfig(level=level, handlers=list(_handlers(settings, number)), force=True)
    for chatty in ("websockets", "urllib3", "sentry_sdk"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


def _handlers(settings: Settings, number: int | None) -> Iterator[logging.Handler]:
    node = f"{settings.node} (parent)" if number == 0 else settings.node
    text = settings.log_format == "text" or (settings.log_format == "auto" and sys.stderr.isatty())
    here = logging.StreamHandler(sys.stderr)
    here.setFormatter(Lines(node if number is not None else "") if text else JsonLines(node))
    yield here
    if settings.log_file:
        yield _file(settings, node, number)
    if settings.log_ship_url:
        shipper = Shipper(settings.log_ship_url)
        shipper.setFormatter(JsonLines(node, "@timestamp" if shipper.is_bulk else "ts"))
        yield shipper


def _file(settings: Settings, node: str, number: int | None) -> logging.Handler:
    """A file each: two processes that turned one over would lose lines."""
    path = Path(settings.log_file)
    if number is not None:
        path = path.with_name(f"{path.stem}-{number}{path.suffix}")
    try:
        handler = RotatingFileHandler(
            path, maxBytes=settings.log_file_bytes, backupCount=settings.log_file_count, encoding="utf-8"
        )
    except OSError as fault:
        raise Misconfigured(f"log_file cannot be written: {fault}", field="log_file", got=str(path)) from fault
    handler.setFormatter(JsonLines(node))
    return handler


def lines_lost() -> int:
    """How many lines the central store did not take."""
    return sum(handler.lost for handler in logging.getLogger().handlers if isinstance(handler, Shipper))


def flush() -> None:
    """What was logged is out, as far as that takes a second or two; before the process ends."""
    for handler in logging.getLogger().handlers:
        handler.flush()
