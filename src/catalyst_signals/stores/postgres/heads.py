"""What this process knows of the primary's heads: how far they are durable, and when a replica is believed.

Owns: that knowledge, and the judging of a replica's page by it. Knows nothing of connections.
Law: `durable` only ever says what a clean commit or the primary's own settings proved.
"""

from __future__ import annotations

from dataclasses import replace

from catalyst_signals.events import Event, Extent
from catalyst_signals.stores.postgres.line import About
from catalyst_signals.stores.postgres.rows import Standing


class Heads:
    """By channel. Changed by the event loop's thread alone."""

    def __init__(self) -> None:
        self._known: dict[str, Standing] = {}
        self._durable: dict[str, int] = {}

    def note(self, standing: Standing) -> None:
        """The primary said this; an answer that comes late says nothing new."""
        known = self._known.get(standing.extent.channel)
        if known is None or _age(standing) >= _age(known):
            self._known[standing.extent.channel] = standing

    def confirmed(self, channel: str, seq: int) -> None:
        """Everything up to `seq` was committed cleanly, by us or before a clean commit of ours."""
        self._durable[channel] = max(seq, self.durable(channel))

    def durable(self, channel: str) -> int:
        """How far that is known here; the next commit writes it down for those who come later. From any thread."""
        return self._durable.get(channel, 0)

    def shown(self, standing: Standing, about: About) -> Extent:
        """The extent with what may be shown of it: all, unless commits are to wait for a standby."""
        extent = standing.extent
        if about.durability != "disk+standby":
            self.confirmed(extent.channel, extent.last)
            return extent
        proven = max(self.durable(extent.channel), standing.durable, extent.first - 1)
        return replace(extent, durable=min(extent.last, proven))

    @property
    def ends(self) -> dict[str, int]:
        """Where the primary was known to end, by channel."""
        return {channel: standing.extent.last for channel, standing in self._known.items()}

    def surely_has(self, channel: str, after: int) -> bool:
        """Whether the primary is known to keep something after `after` that may be shown."""
        known = self._known.get(channel)
        return known is not None and known.extent.first - 1 <= after < self.durable(channel)

    def believed(self, theirs: Standing, events: list[Event]) -> list[Event]:
        """What of a replica's page may be shown: nothing, if it has another log, or a body that was erased since."""
        known = self._known[theirs.extent.channel]
        if theirs.extent.epochs != known.extent.epochs or theirs.erasures < known.erasures:
            return []
        durable = min(self.durable(theirs.extent.channel), known.extent.last)
        return [event for event in events if event.seq <= durable]


def _age(standing: Standing) -> tuple[int, int, int, int]:
    extent = standing.extent
    return len(extent.epochs), standing.erasures, extent.first, extent.last
