"""The schema of the log in MySQL: which migrations it has, and whether this code can work with it.

Owns: the folder stores/sql/mysql/. `NNNN_pre_*.sql` only add something and are applied by whoever opens the store
first, while older processes go on. Law: of several who open the store at once one migrates, and the others find it
done; one that was cut off in the middle is done again, since MySQL commits each statement of it by itself.
"""

from __future__ import annotations

from importlib import resources
from importlib.resources.abc import Traversable

from catalyst_signals.errors import Misconfigured, StoreUnavailable
from catalyst_signals.stores.mysql.links import Link

SCHEMA_VERSION = 2  # The newest migration of this code.
TABLES = frozenset(("heads", "epochs", "events", "ids", "kept", "fence", "flushes", "schema", "receivers", "receipts"))
LOCK = b"CONCAT('catalyst ', LEFT(MD5(DATABASE()), 16))"  # Of the whole server, so it names the database.
LOCK_S = 60


def folder() -> Traversable:
    """Where this code's migrations are."""
    return resources.files("catalyst_signals.stores") / "sql" / "mysql"


async def prepare(link: Link, scripts: Traversable | None = None) -> None:
    """The database has every `pre` migration of `scripts`.

    Raises:
        Misconfigured: it is of another program, or of a newer Catalyst that this one cannot work beside.
    """
    migrations = {int(script.name.split("_")[0]): script for script in (scripts or folder()).iterdir()}
    if await _version(link) >= max(migrations):
        return
    (((locked,),),) = await link.ask(b"SELECT GET_LOCK(%b, %d)" % (LOCK, LOCK_S))
    if locked != 1:
        raise StoreUnavailable("another process changes the tables of the log; try again")
    have = await _version(link)
    for number, script in sorted(migrations.items()):
        if number > have:
            await link.ask(script.read_bytes().strip().removesuffix(b";"))
    await link.ask(b"SELECT RELEASE_LOCK(%b)" % LOCK)


async def _version(link: Link) -> int:
    """The newest migration there is, 0 for a database without a log; refuses what this code cannot work with."""
    (tables,) = await link.ask(b"SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE()")
    names = {name for (name,) in tables}
    if "schema" not in names:
        strange = sorted(names - TABLES)
        if strange:
            raise Misconfigured(
                "the database has tables of another program; give the log a database of its own",
                field="store_url", got=strange[0],
            )  # fmt: skip
        return 0
    (rows,) = await link.ask(b"SELECT version, oldest FROM `schema`")
    version, oldest = rows[0] if rows else (0, 0)
    if oldest > SCHEMA_VERSION:
        raise Misconfigured(
            f"the log is of a newer Catalyst (its schema {version} needs {oldest}, this one knows {SCHEMA_VERSION}):"
            " upgrade this one",
            field="store_url", got=version, allowed=SCHEMA_VERSION,
        )  # fmt: skip
    return int(version)
