"""The schema of the log in PostgreSQL: which migrations it has, and whether this code can work with it.

Owns: the folder stores/sql/postgres/. `NNNN_pre_*.sql` only add something and are applied by whoever opens the store
first, while older processes go on; what takes something away is a `NNNN_post_*.sql`, which only migrating.py applies.
Law: of several who open the store at once one migrates, and the others find it done.
"""

from __future__ import annotations

from importlib import resources
from importlib.resources.abc import Traversable

from catalyst_signals.errors import Misconfigured
from catalyst_signals.stores.postgres.line import Connection, Line

SCHEMA_VERSION = 3  # The newest migration of this code.
# `to_regclass` would answer from a cache of before the wait for the lock.
THERE = "SELECT 1 FROM pg_catalog.pg_tables WHERE schemaname = 'catalyst' AND tablename = 'schema'"
LOCK = 0x4361_7461_6C79_7375  # Beside that of line.py.


def folder() -> Traversable:
    """Where this code's migrations are."""
    return resources.files("catalyst_signals.stores") / "sql" / "postgres"


def prepare(line: Line, scripts: Traversable | None = None) -> None:
    """The database has every `pre` migration of `scripts`.

    Raises:
        Misconfigured: it is not UTF-8, or of a newer Catalyst that this one cannot work beside.
    """
    connection = line.connection
    encoding = connection.info.parameter_status("server_encoding")
    if encoding != "UTF8":
        raise Misconfigured("the database must have the encoding UTF8", field="store_url", got=encoding, allowed="UTF8")
    scripts = scripts or folder()
    if not _lacking(connection, scripts):
        return
    connection.execute("BEGIN")
    lock(connection)
    for script in _lacking(connection, scripts):
        connection.execute(script.read_text())
    connection.execute("COMMIT")


def lock(connection: Connection) -> None:
    """Nobody else migrates until the transaction ends."""
    connection.execute("SELECT pg_advisory_xact_lock(%s)", (LOCK,))


def standing(connection: Connection, scripts: Traversable) -> tuple[int, list[Traversable]]:
    """The newest migration there is, 0 for a database without a log, and which of `scripts` were not applied yet."""
    version, oldest = _versions(connection)
    applied = {False: version, True: oldest}
    waiting = [script for script in scripts.iterdir() if number_of(script) > applied[is_post(script)]]
    return version, sorted(waiting, key=lambda script: (number_of(script), is_post(script)))


def is_post(script: Traversable) -> bool:
    """Whether it takes away what an older release needs."""
    return "_post_" in script.name


def number_of(script: Traversable) -> int:
    """The number of a migration, which its two halves share."""
    return int(script.name.split("_")[0])


def _lacking(connection: Connection, scripts: Traversable) -> list[Traversable]:
    return [script for script in standing(connection, scripts)[1] if not is_post(script)]


def _versions(connection: Connection) -> tuple[int, int]:
    """The newest migration, and the oldest code that can work with it; refuses what this code cannot work with."""
    if not connection.execute(THERE).fetchall():
        return 0, 0
    row = connection.execute("SELECT version, oldest FROM catalyst.schema").fetchone() or (0, 0)
    version, oldest = int(row[0]), int(row[1])
    if oldest > SCHEMA_VERSION:
        raise Misconfigured(
            f"the log is of a newer Catalyst (its schema {version} needs {oldest}, this one knows {SCHEMA_VERSION}):"
            " upgrade this one",
            field="store_url", got=version, allowed=SCHEMA_VERSION,
        )  # fmt: skip
    return version, oldest
