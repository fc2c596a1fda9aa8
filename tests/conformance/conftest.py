"""The back-ends under test, each fresh and open."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from catalyst_signals.events import Batch
from catalyst_signals.peers import Listener, reachable
from catalyst_signals.stores import STORES, Store
from catalyst_signals.stores.sqlite import SqliteStore
from catalyst_signals.stores.unix.gathering import Gatherer
from catalyst_signals.stores.unix.serving import StoreService
from catalyst_signals.urls import open_backend
from tests.services import mariadb, postgres

URLS = {
    "memory": "memory:",
    "sqlite": "sqlite:///{folder}/catalyst.db",
    "unix": "unix:///{folder}/catalyst.sock",
}
SERVERS: dict[str, Callable[[str], str]] = {
    "postgresql": lambda database: f"{postgres.shared().server.base}/{database}",
    "pgbouncer": lambda database: f"{postgres.shared().pool.base}/{database}",
    "mysql": lambda database: mariadb.shared().url(database),
}
"""Name -> where an empty database of that name is."""

BACK_ENDS = [*URLS, *(pytest.param(name, marks=pytest.mark.slow) for name in SERVERS)]


@pytest.fixture(params=BACK_ENDS)
async def bare_store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    """A store without any channel."""
    async with opened(request.param, tmp_path) as store:
        yield store


@asynccontextmanager
async def opened(name: str, folder: Path) -> AsyncIterator[Store]:
    """One of URLS, or of SERVERS; behind a socket there is the process that owns the file."""
    async with AsyncExitStack() as stack:
        if name == "unix":
            await stack.enter_async_context(owner_of(folder))
        url = URLS[name].format(folder=folder) if name in URLS else emptied(name, folder)
        yield await stack.enter_async_context(open_backend(url, STORES, setting="store_url"))


def emptied(name: str, folder: Path) -> str:
    """The URL of a database without a log; a second store of one test has another one than the first."""
    database = "target" if folder.name == "target" else "postgres"
    (mariadb if name == "mysql" else postgres).shared().emptied(database)
    return SERVERS[name](database)


@asynccontextmanager
async def owner_of(folder: Path) -> AsyncIterator[SqliteStore]:
    """What the first of several processes does: it has the file open, and serves it on a socket."""
    async with SqliteStore(folder / "catalyst.db") as store:
        async with StoreService(store, Gatherer(store)) as service:
            async with Listener(reachable(str(folder / "catalyst.sock")), {"store": service}):
                yield store


@pytest.fixture
async def store(bare_store: Store) -> Store:
    """A store with the channels `main` and `other`."""
    await bare_store.append([Batch(channel=name, subject="system", drafts=[]) for name in ("main", "other")])
    return bare_store
