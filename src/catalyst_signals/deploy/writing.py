"""A set of files on the disk.

Owns: `write`, and what may be replaced. Knows nothing of targets. Laws: nothing is deleted, and nothing that somebody
changed is replaced unless they say so; a file is there whole or not at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from catalyst_signals.errors import Conflict, InvalidRequest

SHOWN = 10  # Of the files that are in the way.


def write(folder: Path, texts: Mapping[str, str], *, replace: bool = False) -> list[str]:
    """They stand below the folder, scripts as 0755 and others as 0644; the paths of those that were other before.

    Raises:
        Conflict: one that is there has another text, and `replace` is not said. Nothing was written then.
        InvalidRequest: the folder cannot be written to.
    """
    try:
        changed = [path for path, text in texts.items() if _now(folder / path) != text]
        in_the_way = [path for path in changed if (folder / path).exists()]
        if in_the_way and not replace:
            raise _conflict(folder, in_the_way)
        for path, text in texts.items():
            _put(folder / path, text)
    except OSError as fault:
        said = f"{folder} cannot be written to: {fault.strerror or fault}"
        raise InvalidRequest(said, field="out", got=str(folder)) from fault
    return changed


def _conflict(folder: Path, paths: list[str]) -> Conflict:
    more = f" and {len(paths) - SHOWN} more" if len(paths) > SHOWN else ""
    return Conflict(
        f"{folder} has files with another text: {', '.join(paths[:SHOWN])}{more}. Nothing was written; give another "
        "folder, or --force to replace them", field="out", got=str(folder), files=paths,
    )  # fmt: skip


def _now(path: Path) -> str | None:
    try:
        return path.read_text()
    except (FileNotFoundError, UnicodeDecodeError):
        return None


def _put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.new")
    new.write_text(text)
    new.chmod(0o755 if text.startswith("#!") else 0o644)
    new.replace(path)
