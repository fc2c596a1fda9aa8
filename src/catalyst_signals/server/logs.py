"""How the log looks, and what never stands in it.

Owns: one line an event with its fields, and the blanking of anything that looks like a key of ours.
"""

from __future__ import annotations

import logging
import re
import sys

_USUAL = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_KEY = re.compile(r"cat_[a-z0-9]+_([0-9A-Za-z]+)_[0-9A-Za-z]+")


class Lines(logging.Formatter):
    """`2026-11-26T09:30:00 INFO catalyst.hub the sentence reason="..." channel=main`; a key shows its id only."""

    def __init__(self, node: str = "") -> None:
        self._node = f" node={node!r}" if node else ""
        super().__init__("%(asctime)s %(levelname)s %(name)s %(message)s", "%Y-%m-%dT%H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line, with a traceback below only for what is our own mistake."""
        fields = "".join(f" {name}={value!r}" for name, value in vars(record).items() if name not in _USUAL)
        head, newline, rest = super().format(record).partition("\n")
        return _KEY.sub(r"cat_…\1…", head + fields + self._node + newline + rest)


def install(level: str, node: str = "") -> None:
    """Log to standard error from here on; with `node` on each line, where several processes write there."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Lines(node))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.getLogger("websockets").setLevel(logging.WARNING)
