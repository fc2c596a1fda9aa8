"""What a stream handed out and has not seen the end of, so that a changed filter hides no ending.

Owns: which signals those are, and the filter that is asked for in place of the one the user gave.
Law: at the server the present filter alone decides, endings included. So whoever was shown a signal that it does not
match asks for that signal by its id besides, with the filter, on this connection and on the next.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from catalyst_signals.errors import InvalidFilter
from catalyst_signals.filters import Filter, parse
from catalyst_signals.signals import ENDINGS

SHOWN_MAX: Final = 200  # The newest; a list of a filter holds 500 values.

FilterLike = str | Mapping[str, Any] | None


class Shown:
    """The newest SHOWN_MAX signals that were handed out and have not ended, as they were handed out last."""

    def __init__(self) -> None:
        self._events: dict[str, Mapping[str, Any]] = {}  # The newest last.

    def note(self, event: Mapping[str, Any]) -> None:
        """That event is handed out."""
        if not event["type"].startswith("signal."):
            return
        self._events.pop(event["id"], None)
        if event["type"] not in ENDINGS:
            self._events[event["id"]] = event
            if len(self._events) > SHOWN_MAX:
                del self._events[next(iter(self._events))]

    def with_shown(self, filter: FilterLike) -> FilterLike:
        """The filter to ask for: the one given, or what is shown and has not ended.

        A filter matches an event if any version of the signal does; so whatever it matches now needs no id. One that
        cannot be read here (a mistake, the name of a saved filter, a newer server's field) goes as it is: the
        server's answer is about what the user wrote.
        """
        try:
            wanted = parse(filter)
        except InvalidFilter:
            return filter
        ids = [id for id, event in self._events.items() if not wanted.matches(event)]
        while ids:
            if (both := _or_ids(wanted, ids)) is not None:
                return both.text
            ids = ids[(len(ids) + 1) // 2 :]  # Too large together: the newest half of them.
        return filter


def _or_ids(filter: Filter, ids: list[str]) -> Filter | None:
    """None: a filter of that size is refused."""
    try:
        return parse({"any": [filter.tree, {"field": "id", "op": "in", "value": ids}]})
    except InvalidFilter:
        return None
