"""PostgreSQL goes away, hangs, or ends a connection: an unknown outcome is said to be one, and resolves.

Covers catalyst_signals.stores.postgres.line and catalyst_signals.stores.postgres.pool from outside.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator

import psycopg
import pytest

from catalyst_signals.errors import InvalidRequest, StoreCorrupt, StoreUnavailable
from catalyst_signals.stores.postgres import PostgresStore, line
from catalyst_signals.verify import verify
from tests.conformance.test_stores import all_of, batch, draft, put, seqs
from tests.services.postgres import PgBouncer, Postgres
from tests.services.postgres_writer import appended

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    """One that may be hurt."""
    with Postgres() as found:
        yield found


@pytest.fixture(scope="module")
def pool(server: Postgres) -> Iterator[PgBouncer]:
    """In front of it."""
    with PgBouncer(server) as found:
        yield found


@pytest.fixture(params=["directly", "through a pool"])
async def store(request: pytest.FixtureRequest, server: Postgres, pool: PgBouncer) -> AsyncIterator[PostgresStore]:
    """A log with the channel `main`."""
    server.sql("DROP SCHEMA IF EXISTS catalyst CASCADE")
    async with PostgresStore.from_url((server if request.param == "directly" else pool).url) as found:
        await put(found)
        yield found


async def test_a_restart_at_once_under_load_loses_nothing_acknowledged(store: PostgresStore, server: Postgres) -> None:
    stop, told = asyncio.Event(), dict[str, int]()

    async def publish(name: str) -> None:
        n = 0
        while not stop.is_set():
            n += 1
            for result in await appended(store, [batch(draft(f"{name}{n}"), subject=name)]):
                told.update({receipt.id: receipt.seq for receipt in result.receipts})

    publishers = [asyncio.create_task(publish(name)) for name in "abc"]
    for _ in range(2):
        await asyncio.sleep(0.4)
        await asyncio.to_thread(server.stop_at_once)
        await asyncio.to_thread(server.child.start)
    await asyncio.sleep(0.4)
    stop.set()
    await asyncio.gather(*publishers)
    log = {event.id: event.seq for event in await all_of(store)}
    assert len(told) > 50 and told == log, "and nobody was told less than was stored"
    assert (await verify(store)).faults == {}


async def test_every_call_after_an_outage_works_again(
    store: PostgresStore, server: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever connection answers it; nobody pays for what nobody noticed."""
    monkeypatch.setattr("catalyst_signals.stores.postgres.pool.WAIT_S", 2.0)  # PgBouncer would wait for the server.
    await put(store, draft("a"))
    for how in ("stopped", "ended"):
        await asyncio.gather(*(store.extents() for _ in range(20)))  # Every connection there can be is there.
        if how == "stopped":
            await asyncio.to_thread(server.stop_at_once)
            with pytest.raises(StoreUnavailable):
                await store.read("main", 0, 1)
            await asyncio.to_thread(server.child.start)
            await pool_is_back(store)
        else:
            server.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
                       " AND backend_type = 'client backend'")  # fmt: skip
            await asyncio.sleep(0.2)
        for found in await asyncio.gather(*(store.extents() for _ in range(20))):
            assert found["main"].last == (1 if how == "stopped" else 2)
        await put(store, draft(how))
        assert await store.keep("worker", "main", 1, was=0 if how == "stopped" else 1)


async def pool_is_back(store: PostgresStore) -> None:
    """PgBouncer tells its own clients of an outage for a while longer."""
    async with asyncio.timeout(20):
        while True:
            try:
                await store.extents()
                return
            except StoreUnavailable:
                await asyncio.sleep(0.05)


async def test_a_connection_cut_in_the_middle_of_a_commit_resolves(store: PostgresStore, server: Postgres) -> None:
    """Ten times, each at another moment: the same batch again is the first receipt, or is stored now, once."""
    for n in range(10):
        same = [batch(*(draft(f"{n}-{m}") for m in range(200)))]
        asked = asyncio.create_task(store.append(same))
        await asyncio.sleep(0.004 * n)
        await asyncio.to_thread(
            server.sql,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'client backend'"
            " AND pid <> pg_backend_pid()",
        )
        await asyncio.gather(asked, return_exceptions=True)
        assert asked.exception() is None or isinstance(asked.exception(), StoreUnavailable)
        (stored,) = await appended(store, same)
        assert [receipt.seq for receipt in stored.receipts] == list(range(200 * n + 1, 200 * n + 201))
    assert seqs(await all_of(store)) == list(range(1, 2001))


async def test_a_server_that_hangs_holds_nobody_for_longer_than_the_time_outs(
    store: PostgresStore, server: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All its processes stand still, with their sockets open; afterwards the same batch is in the log once."""
    monkeypatch.setattr("catalyst_signals.stores.postgres.pool.WAIT_S", 2.0)
    await put(store, draft("before"))
    await asyncio.gather(*(store.extents() for _ in range(20)))  # Every connection there can be is there.
    pids = [pid for (pid,) in server.sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend'")]
    hanging(server, pids, signal.SIGSTOP)
    began_s = time.monotonic()
    try:
        asked = [store.append([batch(draft("a"))]), store.read("main", 0, 1), store.extents()]
        answers = await asyncio.gather(*asked, return_exceptions=True)
    finally:
        hanging(server, pids, signal.SIGCONT)
    assert [type(answer) for answer in answers] == [StoreUnavailable] * 3
    assert time.monotonic() - began_s < 3.8
    (stored,) = await appended(store, [batch(draft("a"))])
    assert stored.receipts[0].seq == 2
    assert seqs(await all_of(store)) == [1, 2]


def hanging(server: Postgres, pids: list[object], signal: signal.Signals) -> None:
    """Send a signal to the server's own processes."""
    for pid in [server.child.pid, *pids]:
        try:
            os.kill(int(str(pid)), signal)
        except ProcessLookupError:
            pass  # It noticed that nobody wants it any more.


async def test_a_commit_that_is_given_up_while_the_server_hangs_does_not_end_the_pool(
    server: Postgres, pool: PgBouncer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PgBouncer ends with `bad client state: 0` when who cancels through it goes away before the server has heard."""
    monkeypatch.setattr(line, "COMMIT_S", 0.2)
    server.sql("DROP SCHEMA IF EXISTS catalyst CASCADE")
    async with PostgresStore.from_url(pool.url) as store:
        await put(store)
        server.configure(synchronous_standby_names="nobody")
        server.reload()
        await asyncio.sleep(0.3)
        asked = asyncio.create_task(appended(store, [batch(draft("a"))]))
        pids = await waiting_for_a_standby(server)
        hanging(server, pids, signal.SIGSTOP)
        await asyncio.sleep(3.5)  # Longer than anybody waited for a cancellation before.
        server.configure(synchronous_standby_names="")
        hanging(server, pids, signal.SIGCONT)
        server.reload()
        (stored,) = await asked
        assert stored.receipts[0].seq == 1
        await asyncio.sleep(1)  # Until the server has heard of the cancellation.
        assert pool.child.process is not None and pool.child.process.poll() is None, "the pool has ended"


async def waiting_for_a_standby(server: Postgres) -> list[object]:
    """The server's sessions, as soon as a commit waits in one of them."""
    asked = "SELECT pid, wait_event = 'SyncRep' FROM pg_stat_activity WHERE backend_type = 'client backend'"
    while True:
        rows = server.sql(asked)
        if any(waits for _, waits in rows):
            return [pid for pid, _ in rows]
        await asyncio.sleep(0.01)


async def test_who_stands_still_in_a_transaction_is_put_out_and_the_next_goes_on(
    store: PostgresStore, server: Postgres
) -> None:
    """A node that is cut off between its two round trips holds the head for two seconds."""
    with psycopg.connect(server.url) as other:
        other.execute("SELECT set_config('idle_in_transaction_session_timeout', %s, true)", (str(line.IDLE_MS),))
        other.execute("SELECT 1 FROM catalyst.heads FOR UPDATE")
        began_s = time.monotonic()
        await put(store, draft("a"))
        assert 1 < time.monotonic() - began_s < 4
        with pytest.raises(psycopg.Error):
            other.execute("SELECT 1")
        other.close()


async def test_who_holds_the_head_for_ever_makes_the_outcome_unknown_and_no_more(
    store: PostgresStore, server: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line, "LOCK_MS", 300)
    with psycopg.connect(server.url) as other:
        other.execute("SELECT 1 FROM catalyst.heads FOR UPDATE")
        with pytest.raises(StoreUnavailable, match="lock timeout"):
            await put(store, draft("a"))
        assert (await store.extents())["main"].last == 0, "reading waits for nobody"
    assert (await put(store, draft("a"))).receipts[0].seq == 1


async def test_what_postgresql_cannot_keep_is_refused_and_not_tried_for_ever(store: PostgresStore) -> None:
    with pytest.raises(InvalidRequest):
        await put(store, draft("a"), subject="a\0b")
    assert await store.find("main", ["a\0b"]) == {}
    await put(store, draft("a"))


async def test_a_log_that_was_written_by_other_hands_is_not_written_to(store: PostgresStore, server: Postgres) -> None:
    await put(store, draft("a"), draft("b"))
    server.sql("UPDATE catalyst.heads SET last = 1")
    with pytest.raises(StoreCorrupt):
        await put(store, draft("c"))
    assert isinstance(store.fault, StoreCorrupt)
    with pytest.raises(StoreCorrupt):
        await put(store, draft("d"))
    assert seqs(await store.read("main", 0, 1)) == [1]


async def test_a_hole_is_never_a_shorter_page(store: PostgresStore, server: Postgres) -> None:
    await put(store, *(draft(f"n{n}") for n in range(5)))
    for seq in (5, 3, 1):
        server.sql("DELETE FROM catalyst.events WHERE seq = %s", seq)
        with pytest.raises(StoreCorrupt, match=f"event {seq} of main is missing"):
            await store.read("main", 0, 100)
