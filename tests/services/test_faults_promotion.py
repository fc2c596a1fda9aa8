"""The primary dies and a replica is promoted, under the load of two nodes; and what a store alone makes of that.

Covers catalyst_signals.stores.postgres.promoted from outside.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from catalyst_signals.events import EPOCH_GAP
from catalyst_signals.stores import STORES
from catalyst_signals.stores.postgres import PostgresStore
from catalyst_signals.urls import open_backend
from catalyst_signals.verify import verify
from tests.conformance.test_stores import all_of, draft, drafts, put, seqs
from tests.living import Load, filters
from tests.running import RunningServer
from tests.services.cuts import Wire
from tests.services.nodes import READERS, a_node
from tests.services.postgres import USER, Postgres, Replica
from tests.services.redis import Redis, until
from tests.services.test_postgres_standby import caught_up, waiting

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

AGAIN = 20


@dataclass
class Pair:
    """A primary and its replica, which lags when the wire between them is cut."""

    primary: Postgres
    replica: Replica
    between: Wire
    nodes: list[RunningServer]


@contextmanager
def wired() -> Iterator[tuple[Postgres, Replica, Wire]]:
    """A primary, a replica, and the wire by which it follows."""
    with Postgres() as primary, primary.replica() as replica, Wire(primary.port) as between:
        source = f"host=127.0.0.1 port={between.port} user={USER} application_name=standby"
        replica.configure(primary_conninfo=source)
        replica.reload()
        followed = "SELECT status FROM pg_stat_wal_receiver WHERE sender_port = %s"
        until(lambda: replica.sql(followed, between.port) == [("streaming",)])
        yield primary, replica, between


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    with ExitStack() as stack:
        primary, replica, between = stack.enter_context(wired())
        redis = stack.enter_context(Redis())
        both = f"postgresql://{USER}@127.0.0.1:{primary.port},127.0.0.1:{replica.port}/postgres"
        nodes = [stack.enter_context(a_node(tmp_path, n, both, redis.hints_url)) for n in range(2)]
        yield Pair(primary, replica, between, nodes)


async def test_what_an_asynchronous_replica_lacks_is_told_to_be_lost_and_no_number_of_it_is_used_again(
    pair: Pair,
) -> None:
    """Also where the same ids are sent once more: they are new signals now."""
    async with Load(pair.nodes, filters(READERS)) as load:
        await load.under_way()
        pair.between.cut()
        await asyncio.sleep(1)
        await promoted(pair.primary, pair.replica)
        await asyncio.sleep(3)
        async with open_backend(pair.replica.url, STORES, setting="store_url") as store:
            epoch = (await store.extents(["main"]))["main"].epochs[-1]
            lost = {id: seq for id, seq in load.acked.items() if epoch.last_before < seq < epoch.first}
            assert len(lost) >= AGAIN, "nothing was lost, so nothing is proved"
            assert epoch.first >= max(lost.values()) + EPOCH_GAP // 2
            with pair.nodes[0].http() as http:
                for id in list(lost)[:AGAIN]:
                    said = http.post("/v1/channels/main/signals", json={"symbol": "S00", "action": "BUY", "id": id})
                    assert said.status_code == 201 and said.json()["seq"] >= epoch.first, said.text
            log = await load.settle(store)
        last = epoch.last_before
        assert sorted(log) == [*range(1, last + 1), *range(epoch.first, epoch.first + len(log) - last)]
        assert all(gap.reason == "epoch_changed" for gap in load.gaps)
        assert any(seq in lost.values() for got in load.handled for seq in got), "nobody had anything that is lost"


async def test_a_synchronous_replica_has_everything_and_nobody_is_told_of_anything(pair: Pair) -> None:
    pair.primary.configure(synchronous_standby_names="standby")
    pair.primary.reload()
    async with Load(pair.nodes, filters(READERS)) as load:
        await load.under_way()
        await promoted(pair.primary, pair.replica)
        await asyncio.sleep(2)
        async with open_backend(pair.replica.url, STORES, setting="store_url") as store:
            log = await load.settle(store)
        assert not load.gaps
        assert sorted(log) == list(range(1, len(log) + 1)), "a channel goes on in its epoch"


# -- a store alone ------------------------------------------------------------------------------------------------


async def promoted(primary: Postgres, replica: Replica) -> None:
    """The primary is gone, and the replica in its place."""
    primary.child.kill()
    await asyncio.to_thread(replica.promote)


async def test_processes_that_know_nothing_of_what_is_lost_go_on_above_it() -> None:
    """They start after the promotion, all at once, on a log that looks whole; one of them begins the epoch."""
    with wired() as (primary, replica, between):
        async with PostgresStore.from_url(primary.url) as store:
            await put(store)
            await put(store, *drafts(0, 5))
            await caught_up(primary, replica)
            between.cut()
            await put(store, *drafts(5, 5))
        await promoted(primary, replica)
        stores = [PostgresStore.from_url(replica.url) for _ in range(3)]
        await asyncio.gather(*(store.__aenter__() for store in stores))
        (_, epoch) = (await stores[0].extents())["main"].epochs
        assert (epoch.reason, epoch.last_before) == ("promoted", 5) and epoch.first >= 5 + EPOCH_GAP
        again = [(await put(store, draft(f"n{n}"))).receipts[0].seq for n, store in enumerate(stores, 6)]
        assert again == list(range(epoch.first, epoch.first + 3)), "what is published again is new"
        assert seqs(await all_of(stores[0])) == [1, 2, 3, 4, 5, *again]
        assert (await verify(stores[0])).faults == {}
        await asyncio.gather(*(store.__aexit__() for store in stores))


@pytest.mark.parametrize("waited", [True, False])
async def test_a_channel_stays_in_its_epoch_only_if_the_newest_commit_waited_for_the_standby(waited: bool) -> None:
    with Postgres() as primary, primary.replica() as replica:
        async with PostgresStore.from_url(primary.url) as store:
            await put(store)
            waiting(primary, "" if waited else "standby")
            await put(store, *drafts(0, 5))
            waiting(primary, "standby" if waited else "")
            await asyncio.sleep(0.2)
            await put(store, draft("newest"))
        await caught_up(primary, replica)
        await promoted(primary, replica)
        async with PostgresStore.from_url(replica.url) as store:
            seq = (await put(store, draft("later"))).receipts[0].seq
            assert len((await store.extents())["main"].epochs) == (1 if waited else 2)
            assert seq == (7 if waited else 6 + EPOCH_GAP)
            assert (await put(store, draft("latest"))).receipts[0].seq == seq + 1, "it is noticed once"
