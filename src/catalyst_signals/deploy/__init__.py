"""The files of an installation: a target is some parts, a part is a folder of files, a file has gaps to fill.

Owns: Target, `targets`, how a set is put together. Knows nothing of where it is written or how it is shown.
Laws: a part has the same text in every target, so the sets of all targets fit into one folder; no file holds a secret.

`parts/nginx/` is a part. `parts/nginx.mvp/` is laid over it at the scale `mvp`: what has the same name is replaced. In
a file `<<domain>>` is a gap; the names are the fields of Names. A line `<<text of systemd/catalyst@.service>>` is that
file of a part, each line indented as the gap is. The guide of the target `ecs` is `parts/guides/ecs.md`, the same
at every scale, and stands at the top of the set.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from importlib import metadata
from importlib.resources import files
from importlib.resources.abc import Traversable
from textwrap import indent
from typing import Literal

import msgspec

from catalyst_signals.advisor.tables import Scale

AWS_REGION, GOOGLE_REGION = "eu-central-1", "europe-west3"  # Frankfurt, where nobody says another place.

_GAP = re.compile(r"<<([a-z_]+)>>")
_TEXT = re.compile(r"^([ \t]*)<<text of ([a-z-]+)/(\S+)>>$", re.MULTILINE)


class Names(msgspec.Struct, frozen=True, kw_only=True):
    """What differs between two installations of the same kind."""

    domain: str = "signals.example.org"
    email: str = "admin@example.org"  # For the certificate, and for alerts.
    region: str = AWS_REGION  # Of a cloud.
    version: str = msgspec.field(default_factory=lambda: metadata.version("catalyst-signals"))
    scale: str = "small"

    @property
    def droplet(self) -> str:
        """The machine of DigitalOcean's that the advisor's bills are for."""
        return "s-1vcpu-1gb" if self.scale == "mvp" else "s-1vcpu-2gb"

    @property
    def google_region(self) -> str:
        """As Google names it: the default's city, or what was asked for."""
        return GOOGLE_REGION if self.region == AWS_REGION else self.region


class Secret(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Something to keep: made and shown once, when the files are written. `put` is how it gets where it belongs.

    `kind` is `password` (letters and digits) or `admin_key` (a key as `catalyst keys add` makes it). `scales` is where
    it is needed, everywhere when empty.
    """

    name: str
    kind: Literal["password", "admin_key"]
    put: str
    scales: tuple[Scale, ...] = ()


class Target(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A place to run: the first of `scales` is the default. `never` says why another cannot be had there.

    `next` is the commands that come after the files are written, three at most; they may have gaps.
    """

    name: str
    title: str
    about: str
    platform: str  # The id of the advisor's option.
    scales: tuple[Scale, ...]
    parts: tuple[str, ...]
    next: tuple[str, ...]
    also: tuple[str, ...] = ()  # Other names that people have for it.
    never: dict[Scale, str] = {}
    secrets: tuple[Secret, ...] = ()

    def secrets_at(self, scale: Scale) -> tuple[Secret, ...]:
        """What has to be made and kept at this scale."""
        return tuple(secret for secret in self.secrets if not secret.scales or scale in secret.scales)


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
    guide = files(__package__) / "parts" / "guides" / f"{target.name}.md"
    found = {guide.name: filled(guide.read_text(), names)}
    for part in target.parts:
        for path, text in _part(part, scale).items():
            found[f"{part}/{path}"] = filled(_TEXT.sub(lambda gap: _quoted(gap, scale), text), names)
    return found


def files_of_all(names: Names) -> dict[str, str]:
    """The union of the sets of all targets, each at its default scale.

    Raises:
        ValueError: two of them have different texts for one file, which would be a mistake of ours.
    """
    found: dict[str, str] = {}
    for target in targets().values():
        for path, text in files_of(target, target.scales[0], names).items():
            if found.setdefault(path, text) != text:
                raise ValueError(f"{target.name} has another {path} than a target before it")
    return found


def _part(name: str, scale: Scale) -> dict[str, str]:
    """Its files as they stand, those of the scale over the others."""
    folder = files(__package__) / "parts"
    layers = [each for each in (folder / name, folder / f"{name}.{scale}") if each.is_dir()]
    return {path: text for layer in layers for path, text in _texts(layer)}


def _texts(folder: Traversable, below: str = "") -> Iterator[tuple[str, str]]:
    for each in sorted(folder.iterdir(), key=lambda each: each.name):
        if each.is_dir():
            yield from _texts(each, f"{below}{each.name}/")
        elif not each.name.endswith(".pyc"):
            yield f"{below}{each.name}", each.read_text()


def _quoted(gap: re.Match[str], scale: Scale) -> str:
    indentation, part, path = gap.groups()
    return indent(_part(part, scale)[path].rstrip("\n"), indentation)


def filled(text: str, names: Names) -> str:
    """The text with its gaps filled."""
    return _GAP.sub(lambda gap: str(getattr(names, gap[1])), text)
