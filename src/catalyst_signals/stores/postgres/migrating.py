"""The second half of a migration: what only older releases needed is taken away once none of them is on the database.

Owns: how it is known who is. Knows nothing of what a script does. Law: who opens the log meanwhile finds it as it was,
or as it will be, and an older release that comes later is refused.
"""

from __future__ import annotations

import asyncio
import re
import time
from importlib.resources.abc import Traversable
from typing import Self

from catalyst_signals.errors import Conflict
from catalyst_signals.stores import Migrated
from catalyst_signals.stores.postgres import schema
from catalyst_signals.stores.postgres.address import parse
from catalyst_signals.stores.postgres.line import Connection, Line
from catalyst_signals.stores.postgres.pool import Pool

MIGRATE_S = 600.0  # Another process may be building an index.
WATCH_S, LOOK_S = 3.0, 0.2  # A node asks once a second; behind a pool it may be seen only then.
SESSIONS = """
SELECT application_name, coalesce(client_addr::text, 'this machine')
FROM pg_stat_activity WHERE datname = current_database() AND application_name ~ '^catalyst\\M'
"""


class PostgresMigrations:
    """The migrations of one database. `async with` it."""

    def __init__(self, conninfo: str, scripts: Traversable | None = None) -> None:
        self._pool = Pool(conninfo, 1, "postgres-migrations")
        self._scripts = scripts or schema.folder()

    @classmethod
    def from_url(cls, url: str) -> Self:
        """As PostgresStore.from_url."""
        return cls(parse(url).primary)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._pool.close()

    async def apply(self, *, post: bool) -> Migrated:
        """Every `pre` migration is there, and with `post` the others too.

        Raises:
            Conflict: an older release is on the database; nothing was taken away.
        """
        before = await self._pool.run(self._look)
        await self._pool.run(schema.prepare, self._scripts, wait_s=MIGRATE_S)
        after = await self._pool.run(self._look)
        if post and after.waiting:
            until_s = time.monotonic() + WATCH_S
            while time.monotonic() < until_s:
                await self._pool.run(lambda line: _check_nobody_older(line.connection, after.version))
                await asyncio.sleep(LOOK_S)
            await self._pool.run(self._finish, wait_s=MIGRATE_S)
            after = await self._pool.run(self._look)
        applied = [name for name in before.waiting if name not in after.waiting]
        return Migrated(before.version, after.version, applied, after.waiting)

    def _look(self, line: Line) -> Migrated:
        version, waiting = schema.standing(line.connection, self._scripts)
        return Migrated(version, version, [], [script.name for script in waiting])

    def _finish(self, line: Line) -> None:
        connection = line.connection
        connection.execute("BEGIN")
        schema.lock(connection)
        connection.execute("LOCK TABLE catalyst.schema")  # Whoever opens the log waits, and reads what is true then.
        version, waiting = schema.standing(connection, self._scripts)
        _check_nobody_older(connection, version)
        for script in waiting:
            if schema.is_post(script):
                connection.execute(script.read_text())
                connection.execute("UPDATE catalyst.schema SET oldest = %s", (schema.number_of(script),))
        connection.execute("COMMIT")


def _check_nobody_older(connection: Connection, version: int) -> None:
    """Pass, or raise Conflict if a session says that it is of a release that brings less than that migration."""
    older = sorted({
        f"{name} from {address}" for name, address in connection.execute(SESSIONS).fetchall()
        if _release_in(name) < version
    })  # fmt: skip
    if older:
        raise Conflict(
            f"an older release is on the database: {', '.join(older)}; stop it first. A session of PgBouncer keeps its"
            " name for a while: RECONNECT in its console",
            field="--post", got=older, allowed=f"catalyst/{version}",
        )  # fmt: skip


def _release_in(name: str) -> int:
    """Which schema a session's program brings; 0 for one from before names said it."""
    said = re.match(r"catalyst/(\d+)", name)
    return int(said[1]) if said is not None else 0
