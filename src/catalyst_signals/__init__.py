"""Catalyst, a self-hosted signal tape: the names for those who publish signals or listen to them.

    from catalyst_signals import connect

    async with connect("http://127.0.0.1:8080", "cat_...") as catalyst:
        async for signal in catalyst.signals("confidence >= 0.7"):
            print(signal.symbol, signal.action)

Owns: the public surface, frozen by tests/test_surface.py. What is imported from elsewhere may change without notice.
Law: nothing is loaded before it is asked for, so that neither the command line nor the server pays for the client.
"""

from __future__ import annotations

from importlib import import_module, metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from catalyst_signals import errors
    from catalyst_signals.client import Catalyst, CaughtUp, Gap, Receipt, State, Stats, Stream, connect, to_records
    from catalyst_signals.errors import CatalystError
    from catalyst_signals.events import Draft, Event, Extent, Position
    from catalyst_signals.filters import Filter
    from catalyst_signals.filters import parse as parse_filter
    from catalyst_signals.signals import Signal

    __version__: str

__all__ = [
    "Catalyst", "CatalystError", "CaughtUp", "Draft", "Event", "Extent", "Filter", "Gap", "Position", "Receipt",
    "Signal", "State", "Stats", "Stream", "__version__", "connect", "errors", "parse_filter", "to_records",
]  # fmt: skip

_WHERE = {
    **dict.fromkeys(
        ("Catalyst", "CaughtUp", "Gap", "Receipt", "State", "Stats", "Stream", "connect", "to_records"), "client"
    ),
    **dict.fromkeys(("Draft", "Event", "Extent", "Position"), "events"),
    "CatalystError": "errors",
    "Filter": "filters",
    "Signal": "signals",
}


def __getattr__(name: str) -> Any:
    """PEP 562: a public name is fetched when it is first asked for."""
    match name:
        case "__version__":
            value: Any = metadata.version("catalyst-signals")
        case "errors":
            value = import_module("catalyst_signals.errors")
        case "parse_filter":
            value = import_module("catalyst_signals.filters").parse
        case _ if name in _WHERE:
            value = getattr(import_module(f"catalyst_signals.{_WHERE[name]}"), name)
        case _:
            raise AttributeError(f"module 'catalyst_signals' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
