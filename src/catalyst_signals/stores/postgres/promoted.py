"""A standby was promoted: what it lacks is void, and every channel goes on above all that anyone can have seen.

Owns: that transaction. Knows nothing of how a promotion is noticed (line.py: the server's timeline is another one than
the log's). Laws: of several processes that notice it the first one does it, before anything is written; where commits
waited for a standby nothing is lacking, and channels go on in their epoch.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from catalyst_signals.events import EPOCH_GAP, Epoch, new_epoch_name
from catalyst_signals.stores.postgres.changing import add_epoch
from catalyst_signals.stores.postgres.line import TIMELINE, WAITS, Connection, Cursor, Line
from catalyst_signals.stores.postgres.rows import Standing, ask_standings, standings_in

log = logging.getLogger("catalyst.postgres")

LOCK_ALL = "SELECT 1 FROM catalyst.heads ORDER BY channel FOR UPDATE"
SETTLED = f"UPDATE catalyst.fence SET timeline = {TIMELINE}, waits = {WAITS}"


def go_on_above(line: Line, seen: Callable[[str], int]) -> None:
    """The log is of the server's present timeline. `seen` says how far this process knows that a channel went.

    Raises:
        Fenced, Moved, StoreUnavailable: nothing can be changed now.
    """

    def ask(connection: Connection) -> Cursor:
        connection.execute(LOCK_ALL)
        return ask_standings(connection, None)

    about, cursor = line.begin(ask, also_promoted=True)
    lacking = standings_in(cursor).values() if about.promoted and not about.waited else ()

    def write(connection: Connection) -> None:
        for standing in lacking:
            add_epoch(connection, standing.number, _above(standing, seen))
        connection.execute(SETTLED)

    line.commit(write, about)
    if about.promoted:
        log.warning("a standby was promoted", extra={"lacks_something": not about.waited})


def _above(standing: Standing, seen: Callable[[str], int]) -> Epoch:
    extent = standing.extent
    first = max(extent.last, seen(extent.channel)) + EPOCH_GAP
    return Epoch(new_epoch_name(), first, extent.last, extent.hash_last, "promoted")
