"""The files of an installation: a target is some parts, a part is a folder of files, a file has gaps to fill.

Owns: Target, TARGETS, how a set is put together. Knows nothing of where it is written or how it is shown.
Laws: a part has the same text in every target, so the sets of all targets fit into one folder; no file holds a secret.

`parts/nginx/` is a part. `parts/nginx.mvp/` is laid over it at the scale `mvp`: what has the same name is replaced. In
a file `<<domain>>` is a gap; the names are the fields of Names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable

import msgspec

from catalyst_signals.advisor.tables import Scale

_GAP = re.compile(r"<<([a-z_]+)>>")


class Names(msgspec.Struct, frozen=True, kw_only=True):
    """What differs between two installations of the same kind."""

    domain: str = "signals.example.org"
    email: str = "admin@example.org"  # For the certificate, and for alerts.
    region: str = "eu-central-1"  # Of a cloud.
    version: str = "0.1.0"
    scale: str = "small"


class Secret(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Something to keep: made and shown once, when the files are written. `put` is how it gets where it belongs.

    `kind` is `password` (letters and digits) or `admin_key` (a key as `catalyst keys add` makes them).
    """

    name: str
    kind: str
    put: str


class Target(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A place to run: the first of `scales` is the default. `guide` is the page that says what to do, step by step,

    a part that holds one file, `<name>.md`, written to the top of the set.
    """

    name: str
    title: str
    about: str
    platform: str  # The id of the advisor's option.
    scales: tuple[Scale, ...]
    parts: tuple[str, ...]
    guide: str
    secrets: tuple[Secret, ...] = ()


@cache
def targets() -> dict[str, Target]:
    """Every place to run, by name; each stands in a file of its own in `targets/`."""
    found = [
        msgspec.toml.decode(each.read_bytes(), type=Target)
        for each in sorted((files(__package__) / "targets").iterdir(), key=lambda each: each.name)
        if each.name.endswith(".toml")
    ]
    return {target.name: target for target in found}


def files_of(target: Target, scale: Scale, names: Names) -> dict[str, str]:
    """Every file of a set: its path below the folder it is written to, and its text."""
    names = msgspec.structs.replace(names, scale=scale)
    found: dict[str, str] = {}
    for part in target.parts:
        for path, text in _part(part, scale):
            found[path] = _filled(text, names)
    return found


def _part(name: str, scale: Scale) -> Iterator[tuple[str, str]]:
    folder = files(__package__) / "parts"
    for each in (folder / name, folder / f"{name}.{scale}"):
        if each.is_dir():
            yield from ((f"{name}/{path}", text) for path, text in _texts(each))


def _texts(folder: Traversable, below: str = "") -> Iterator[tuple[str, str]]:
    for each in sorted(folder.iterdir(), key=lambda each: each.name):
        if each.is_dir():
            yield from _texts(each, f"{below}{each.name}/")
        else:
            yield f"{below}{each.name}", each.read_text()


def _filled(text: str, names: Names) -> str:
    return _GAP.sub(lambda gap: str(getattr(names, gap[1])), text)
