"""From a URL to the back-end that serves it: the one place where schemes are looked up and drivers imported.

Knows nothing of any back-end: a table maps a scheme to "module:Class", whose `from_url(url)` does the rest.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import import_module
from typing import Any
from urllib.parse import SplitResult, parse_qsl, urlsplit

from catalyst_signals.errors import Misconfigured, MissingDriver


def open_backend(url: str, table: Mapping[str, str], *, setting: str) -> Any:
    """The back-end for `url`, constructed but not yet entered.

    Raises:
        Misconfigured: no back-end has that scheme; says which schemes there are.
        MissingDriver: the back-end's driver is not installed; says what to install.
    """
    scheme = url.split(":", 1)[0]
    if scheme not in table:
        raise Misconfigured(
            f"{setting} has an unknown scheme `{scheme}:`; use one of {', '.join(f'{s}:' for s in table)}",
            field=setting, got=without_password(url), allowed=sorted(table),
        )  # fmt: skip
    module, name = table[scheme].split(":")
    try:
        backend = getattr(import_module(module), name)
    except ModuleNotFoundError as missing:
        raise MissingDriver(
            f"{setting} {scheme}: needs a driver: pip install 'catalyst-signals[{_extra(scheme)}]'"
        ) from missing
    return backend.from_url(url)


def _extra(scheme: str) -> str:
    """The extra that brings a back-end's driver: `redis` for `redis+cluster`, and for `rediss`."""
    name = scheme.partition("+")[0]
    return {"rediss": "redis"}.get(name, name)


def split(url: str, *, known: frozenset[str] = frozenset()) -> tuple[SplitResult, dict[str, str]]:
    """A URL in its parts and its query; a query parameter that nobody reads is an error, not a surprise.

    Raises:
        Misconfigured: a parameter is unknown.
    """
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    for name in query:
        if name not in known:
            raise Misconfigured(
                f"`{name}` is not a parameter of {parts.scheme}: URLs",
                field=name, got=name, allowed=sorted(known),  # Not its value, which may be a password.
            )  # fmt: skip
    return parts, query


def without_password(url: str) -> str:
    """`url` as it may stand in a log or an error; also one that was mistyped."""
    return re.sub(r"(//[^:@/]*:).*@", r"\1***@", re.sub(r"([?&][^=&]*password[^=&]*=).*", r"\1***", url))
