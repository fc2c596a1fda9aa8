"""A standby of PostgreSQL: what `disk+standby` promises, and what a replica may answer.

Covers catalyst_signals.stores.postgres.heads and catalyst_signals.stores.postgres.replica from outside.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from catalyst_signals.errors import StoreUnavailable
from catalyst_signals.stores.postgres import PostgresStore, line, replica
from catalyst_signals.verify import verify
from tests.conformance.test_stores import all_of, batch, draft, drafts, put, seqs
from tests.running import RunningServer
from tests.services.postgres import USER, Postgres, Replica
from tests.services.postgres_writer import appended
from tests.sink import until

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def pair() -> Iterator[tuple[Postgres, Replica]]:
    """A primary and its standby, which commits do not wait for yet."""
    with Postgres() as primary, primary.replica() as standby:
        yield primary, standby


@pytest.fixture
def primary(pair: tuple[Postgres, Replica]) -> Iterator[Postgres]:
    """Without a log."""
    pair[0].sql("DROP SCHEMA IF EXISTS catalyst CASCADE")
    yield pair[0]
    pair[1].sql("SELECT pg_wal_replay_resume()")
    waiting(pair[0], "")


@pytest.fixture
def standby(pair: tuple[Postgres, Replica]) -> Replica:
    """Of it."""
    return pair[1]


def waiting(primary: Postgres, names: str) -> None:
    """Commits wait for these standbys from now on; when this returns, new sessions know it."""
    primary.configure(synchronous_standby_names=names)
    primary.reload()
    while primary.sql("SELECT current_setting('synchronous_standby_names')") != [(names,)]:
        pass


async def caught_up(primary: Postgres, standby: Replica) -> None:
    """The standby has replayed all there is."""
    ((end,),) = primary.sql("SELECT pg_current_wal_flush_lsn()::text")
    while standby.sql("SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", end) != [(True,)]:
        await asyncio.sleep(0.01)


async def test_an_answer_names_what_was_waited_for(primary: Postgres) -> None:
    async with PostgresStore.from_url(primary.url) as store:
        await put(store)
        assert (await put(store, draft("a"))).durability == store.durability == "disk"
        waiting(primary, "standby")
        await asyncio.sleep(0.2)
        assert (await put(store, draft("b"))).durability == store.durability == "disk+standby"
        assert (await put(store, draft("a"))).durability == "disk+standby", "what it repeats is there by now"


async def test_what_is_required_is_refused_below_it(primary: Postgres) -> None:
    """It refuses to start, and to publish, when the standby is taken out of the settings later."""
    url = f"{primary.url}?require_durability=disk+standby"
    with pytest.raises(StoreUnavailable, match="synchronous_standby_names"):
        async with PostgresStore.from_url(url):
            pass
    waiting(primary, "standby")
    async with PostgresStore.from_url(url) as store:
        await put(store)
        await put(store, draft("a"))
        waiting(primary, "")
        await asyncio.sleep(0.2)
        with pytest.raises(StoreUnavailable, match="synchronous_standby_names"):
            await put(store, draft("b"))
        assert seqs(await all_of(store)) == [1]


async def test_a_wait_that_was_given_up_is_an_unknown_outcome_and_shown_to_nobody(
    primary: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The row is there, on this server alone: neither a retry nor another process may call it safe."""
    async with PostgresStore.from_url(primary.url) as store, PostgresStore.from_url(primary.url) as other:
        await put(store)
        for each in ("first", "a"):
            await put(store, draft(each))
        waiting(primary, "nobody_of_that_name")
        await asyncio.sleep(0.2)
        monkeypatch.setattr(line, "COMMIT_S", 0.3)
        for asked in (store, other):
            with pytest.raises(StoreUnavailable, match="synchronous replication"):
                await put(asked, draft("b"))
        assert primary.sql("SELECT max(seq) FROM catalyst.events") == [(3,)], "committed locally"
        for asked in (store, other):
            extent = (await asked.extents())["main"]
            assert (extent.last, extent.durable, extent.newest) == (3, 2, 2)
            assert seqs(await asked.read("main", 0, 10)) == [1, 2]
        async with PostgresStore.from_url(primary.url) as later:
            assert seqs(await later.read("main", 0, 10)) == [1, 2], "a node that starts now knows it too"
        waiting(primary, "standby")
        (stored,) = await appended(other, [batch(draft("b"))])
        assert (stored.receipts[0].seq, stored.receipts[0].duplicate, stored.durability) == (3, True, "disk+standby")
        await asyncio.sleep(1)
        assert (await store.extents())["main"].durable == 3, "one commit behind it proves it"
        assert seqs(await store.read("main", 0, 10)) == [1, 2, 3]


async def test_a_synchronous_standby_that_is_promoted_has_everything_acknowledged() -> None:
    with Postgres() as primary, primary.replica() as standby:
        waiting(primary, "standby")
        both = f"postgresql://{USER}@127.0.0.1:{primary.port},127.0.0.1:{standby.port}/postgres"
        async with PostgresStore.from_url(both) as store:
            await put(store)
            told, stop = dict[str, int](), asyncio.Event()

            async def publish() -> None:
                n = 0
                while not stop.is_set():
                    n += 1
                    (stored,) = await appended(store, [batch(draft(f"n{n}"))])
                    told[stored.receipts[0].id] = stored.receipts[0].seq

            publisher = asyncio.create_task(publish())
            await asyncio.sleep(0.4)
            primary.child.kill()
            await asyncio.to_thread(standby.promote)
            await asyncio.sleep(1)
            stop.set()
            await publisher
            log = {event.id: event.seq for event in await all_of(store)}
            assert len(told) > 20 and told.items() <= log.items()
            assert (await verify(store)).faults == {}


async def test_a_standby_alone_is_neither_written_to_nor_believed(primary: Postgres, standby: Replica) -> None:
    async with PostgresStore.from_url(primary.url) as store:
        await put(store)
    await caught_up(primary, standby)
    async with PostgresStore.from_url(standby.url) as store:
        for asked in (
            lambda: store.append([batch(draft("a"))]), store.extents, lambda: store.read("main", 0, 1),
            lambda: store.keep("worker", "main", 1, was=0),
        ):  # fmt: skip
            with pytest.raises(StoreUnavailable, match="standby"):
                await asked()  # type: ignore[operator]


# -- reading from a replica -------------------------------------------------------------------------------------


def with_replica(primary: Postgres, standby: Replica) -> str:
    """The URL of both."""
    return f"{primary.url}?replica=127.0.0.1:{standby.port}"


async def test_history_is_read_from_the_replica_and_the_end_from_the_primary(
    primary: Postgres, standby: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replica.Replica, "look", lambda _: None)  # Only what is read is counted.
    async with PostgresStore.from_url(with_replica(primary, standby)) as store:
        await put(store)
        await put(store, *drafts(0, 10))
        await store.extents()
        await caught_up(primary, standby)
        asked = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'catalyst%'"
        assert await store.read("main", 10, 100) == []
        assert standby.sql(asked) == [(0,)], "the end is the primary's business"
        assert seqs(await store.read("main", 0, 100)) == list(range(1, 11))
        assert standby.sql(asked) == [(1,)]


async def test_a_replica_that_lags_never_ends_the_log_early(primary: Postgres, standby: Replica) -> None:
    """Its last page is a page, and its emptiness is not believed."""
    async with PostgresStore.from_url(with_replica(primary, standby)) as store:
        await put(store)
        await put(store, *drafts(0, 5))
        await caught_up(primary, standby)
        standby.sql("SELECT pg_wal_replay_pause()")
        await put(store, *drafts(5, 5))
        await store.extents()
        at, found = 0, []
        while page := await store.read("main", at, 100):
            found += seqs(page)
            at = found[-1]
        assert found == list(range(1, 11))


async def test_a_replica_that_lags_shows_no_body_that_was_erased(primary: Postgres, standby: Replica) -> None:
    async with PostgresStore.from_url(with_replica(primary, standby)) as store:
        await put(store)
        await put(store, *drafts(0, 5))
        await caught_up(primary, standby)
        standby.sql("SELECT pg_wal_replay_pause()")
        await store.erase("main", 2)
        assert (await store.read("main", 1, 1))[0].body == b""
    async with PostgresStore.from_url(with_replica(primary, standby)) as another:
        await another.extents()
        assert (await another.read("main", 1, 1))[0].body == b""


async def test_a_replica_that_is_away_or_of_another_log_is_done_without(primary: Postgres, standby: Replica) -> None:
    with Postgres() as stranger:
        async with PostgresStore.from_url(stranger.url) as store:
            await put(store)
            await put(store, *(draft(f"other{n}") for n in range(9)))
        for replica in (quote(stranger.url, safe=""), "127.0.0.1:1"):
            primary.sql("DROP SCHEMA IF EXISTS catalyst CASCADE")
            async with PostgresStore.from_url(f"{primary.url}?replica={replica}") as store:
                await put(store)
                await put(store, *drafts(0, 5))
                await store.extents()
                assert [event.id for event in await store.read("main", 0, 100)] == [f"n{n}" for n in range(5)]


async def test_a_replica_that_lags_is_told(primary: Postgres, standby: Replica, tmp_path: Path) -> None:
    """`/readyz` and `/metrics` say for how long it has lacked something; level again, they say so too."""
    with RunningServer(tmp_path, store_url=f"{primary.url}?replica=127.0.0.1:{standby.port}") as server:
        with server.http() as http:

            def lag_s() -> float:
                parts = {each["name"]: each["replica_lag_s"] for each in http.get("/readyz").json()["components"]}
                told = re.search(r"^catalyst_store_replica_lag_seconds ([\d.]+)$", http.get("/metrics").text, re.M)
                assert told is not None and abs(parts["store_reads"] - float(told[1])) < 1, parts
                return float(told[1])

            await caught_up(primary, standby)
            until(lambda: lag_s() == 0)
            standby.sql("SELECT pg_wal_replay_pause()")
            http.post("/v1/channels/main/signals", json={"symbol": "ACME", "action": "BUY"})
            until(lambda: lag_s() > 2)
            standby.sql("SELECT pg_wal_replay_resume()")
            until(lambda: lag_s() == 0)
