"""`capacity.toml` as text, and on the disk.

Owns: the form of the file, which advisor/tables.py reads.
Law: a file that is there is replaced as a whole or not at all.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from catalyst_signals.calibrate import Calibration
from catalyst_signals.calibrate.machine import busy
from catalyst_signals.errors import Conflict, Misconfigured


def check_new(path: Path, *, force: bool) -> None:
    """Pass, or raise before minutes went into what cannot be written.

    Raises:
        Conflict: a file is there, and `force` was not given.
        Misconfigured: there is no such folder, or nothing may be written there.
    """
    if path.exists() and not (force and path.is_file()):
        raise Conflict(f"{path} is there already; --force replaces it", field="out", got=str(path))
    if not os.access(path.absolute().parent, os.W_OK):
        raise Misconfigured(f"{path} cannot be written there", field="out", got=str(path))


def write(found: Calibration, path: Path) -> None:
    """The file is there as a whole.

    Raises:
        Misconfigured: it cannot be written; says why.
    """
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        partial.write_text(text_of(found), encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        raise Misconfigured(f"{path} cannot be written: {error.strerror}", field="out", got=str(path)) from error
    finally:
        partial.unlink(missing_ok=True)


def text_of(found: Calibration) -> str:
    """As TOML, with what a reader of the numbers should know first."""
    others = ": other work was going on, which is in the numbers" if busy(found.load) else ""
    head = (
        "# What one process of Catalyst does on this machine, a second; written by `catalyst bench --calibrate`.\n"
        f"# Load average before: {found.load:.2f}{others}.\n"
    )
    return head + "\n".join(_lines(msgspec.to_builtins(found.capacity)))


def _lines(content: dict[str, Any]) -> Iterator[str]:
    tables = {name: value for name, value in content.items() if isinstance(value, dict)}
    for name, value in content.items():
        if name not in tables and value is not None:
            yield f"{name} = {_value(value)}"
    for name, table in tables.items():
        yield f"\n[{name}]"
        yield from _lines(table)
    if tables:
        yield ""


def _value(value: str | float) -> str:
    """JSON has the strings and numbers of TOML, but for one character that no name has."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
