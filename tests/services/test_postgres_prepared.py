"""Statements are prepared where the server is reached directly, nowhere else: a fifth of a small commit is planning.

Covers catalyst_signals.stores.postgres.line from outside.
"""

from __future__ import annotations

import pytest

from catalyst_signals.stores.postgres import PostgresStore
from catalyst_signals.stores.postgres.line import PREPARED_FROM, Line
from tests.conformance.test_stores import draft, put
from tests.services.postgres import Shared, shared

pytestmark = pytest.mark.slow

COUNT = "SELECT count(*) FROM pg_prepared_statements"


@pytest.fixture
def site() -> Shared:
    """A server and a pool, without a log."""
    found = shared()
    found.emptied()
    return found


def prepared_in(line: Line) -> int:
    """How many statements the session of this line, or whichever the pool gave it, has prepared."""
    (count,) = line.connection.execute(COUNT, prepare=False).fetchone() or (0,)
    return int(count)


async def prepared_by(url: str) -> int:
    """By a writer that appended so often that everything it asks would be prepared."""
    async with PostgresStore.from_url(url) as store:
        await put(store)
        for n in range(2 * PREPARED_FROM):
            stored = await put(store, draft(f"n{n}"))
            assert stored.receipts[0].seq == n + 1
        return await store._writer.run(prepared_in)


async def test_a_server_plans_the_statements_of_a_commit_once(site: Shared) -> None:
    assert await prepared_by(site.server.url) >= 8


async def test_behind_a_pool_that_hands_out_another_session_each_time_nothing_is_prepared(site: Shared) -> None:
    assert await prepared_by(site.pool.url) == 0
