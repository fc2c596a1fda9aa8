"""The MySQL store on a MariaDB server that dies, hangs, and has other processes writing beside us.

What catalyst_signals.stores.mysql.rows and catalyst_signals.stores.batches do is covered here and in the conformance
suite.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from catalyst_signals.errors import Misconfigured, StoreCorrupt, StoreUnavailable
from catalyst_signals.events import Batch, Refused, Stored
from catalyst_signals.stores.mysql import MysqlStore, links, schema, writing
from catalyst_signals.verify import verify
from tests.conformance.test_stores import all_of, batch, draft, drafts, put, seqs
from tests.running import RunningServer
from tests.services.cuts import Wire
from tests.services.mariadb import MariaDb, shared
from tests.services.test_transfer_live import filled, transfer
from tests.socket_client import wire

pytestmark = pytest.mark.slow


@pytest.fixture
def url() -> str:
    """Of an empty database."""
    return shared().emptied("catalyst")


@pytest.fixture
def own_server() -> Iterator[MariaDb]:
    """One that may be killed."""
    with MariaDb() as server:
        server.emptied("catalyst")
        yield server


@contextlib.asynccontextmanager
async def opened(url: str) -> AsyncIterator[MysqlStore]:
    """A process's store, with the channel `main`."""
    async with MysqlStore.from_url(url) as store:
        await put(store)
        yield store


@dataclass
class Writer:
    """Appends small batches one after the other, each until it is answered; and keeps every receipt."""

    store: MysqlStore
    name: str
    receipts: dict[str, int] = field(default_factory=dict)
    unanswered: int = 0

    async def run(self, until: asyncio.Event) -> None:
        """Until it is told to end."""
        while not until.is_set():
            ids = [f"{self.name}-{len(self.receipts) + n}" for n in range(5)]
            stored = await self.appended(batch(*map(draft, ids), subject=self.name))
            self.receipts |= {receipt.id: receipt.seq for receipt in stored.receipts}

    async def appended(self, asked: Batch) -> Stored:
        """What it was answered in the end."""
        while True:
            try:
                (result,) = await self.store.append([asked])
            except StoreUnavailable:
                self.unanswered += 1
                await asyncio.sleep(0.05)
            else:
                assert isinstance(result, Stored)
                return result


async def follow(store: MysqlStore, until: asyncio.Event) -> dict[int, bytes]:
    """What a reader was shown, by its seq."""
    shown: dict[int, bytes] = {}
    while not until.is_set():
        with contextlib.suppress(StoreUnavailable):
            shown |= {event.seq: event.hash for event in await store.read("main", max(shown, default=0), 100)}
        await asyncio.sleep(0.001)
    return shown


async def judge(store: MysqlStore, *writers: Writer) -> None:
    """Everything that was acknowledged is there under its seq, once; the log is dense and its hashes are good."""
    events = await all_of(store)
    assert seqs(events) == list(range(1, len(events) + 1))
    found = {event.id: event.seq for event in events}
    assert len(found) == len(events)
    for writer in writers:
        assert writer.receipts and writer.receipts.items() <= found.items()
    assert (await verify(store)).faults == {}


async def test_two_processes_write_one_dense_log(url: str) -> None:
    async with opened(url) as one, opened(url) as other:
        writers, end = [Writer(one, "a"), Writer(one, "b"), Writer(other, "c"), Writer(other, "d")], asyncio.Event()
        tasks = [asyncio.create_task(writer.run(end)) for writer in writers]
        await asyncio.sleep(2)
        end.set()
        await asyncio.gather(*tasks)
        await judge(other, *writers)
        assert [writer.unanswered for writer in writers] == [0] * 4


async def test_the_same_batch_by_two_processes_at_once_is_stored_once(url: str) -> None:
    async with opened(url) as one, opened(url) as other:
        for n in range(20):
            asked = [batch(*drafts(n * 10, 10)), batch(draft(f"x{n}"), channel="main")]
            mine, theirs = await asyncio.gather(one.append(asked), other.append(asked))
            for here, there in zip(mine, theirs, strict=True):
                assert isinstance(here, Stored) and isinstance(there, Stored)
                assert [r.seq for r in here.receipts] == [r.seq for r in there.receipts]
                assert not here.events or not there.events
        await judge(one)


async def test_channels_that_two_processes_open_at_once_are_opened_once(url: str) -> None:
    names = [f"channel-{n}" for n in range(20)]
    async with opened(url) as one, opened(url) as other:
        asked = [batch(channel=name) for name in names]
        mine, theirs = await asyncio.gather(one.append(asked), other.append(asked[::-1]))
        epochs = [{r.channel: r.epoch for r in results if isinstance(r, Stored)} for results in (mine, theirs)]
        assert epochs[0] == epochs[1] and sorted(epochs[0]) == sorted(names)


async def test_a_place_that_two_processes_move_at_once_is_moved_once(url: str) -> None:
    async with opened(url) as one, opened(url) as other:
        for n in range(30):
            moved = await asyncio.gather(*(store.keep(f"f{n}", "main", 1, was=0) for store in (one, other, one)))
            assert sorted(moved) == [False, False, True]


async def test_channels_in_any_order_never_lock_each_other_out(url: str) -> None:
    async with opened(url) as one, opened(url) as other:
        await put(one, channel="other")
        before = shared().admin("SHOW GLOBAL STATUS LIKE 'innodb_deadlocks'")
        for n in range(5):
            forth = [batch(draft(f"{n}")), batch(draft(f"{n}"), channel="other")]
            results = await asyncio.gather(*(store.append(forth[::way]) for store in (one, other) for way in (1, -1)))
            assert not any(isinstance(result, Refused) for answer in results for result in answer)
        assert seqs(await all_of(one)) == seqs(await all_of(one, "other")) == [1, 2, 3, 4, 5]
        assert shared().admin("SHOW GLOBAL STATUS LIKE 'innodb_deadlocks'") == before


async def test_a_fence_of_one_process_holds_for_all_and_waits_for_those_who_write(url: str) -> None:
    """Nothing is written behind it: what was under way is finished first."""
    async with opened(url) as one, opened(url) as other:
        writers, end = [Writer(other, "a"), Writer(other, "b")], asyncio.Event()
        tasks = [asyncio.create_task(writer.run(end)) for writer in writers]
        await asyncio.sleep(0.3)
        ticket = await one.fence()
        at_the_fence = (await one.extents())["main"]
        await asyncio.sleep(0.3)
        assert (await one.extents())["main"] == at_the_fence
        assert await one.fence("mysql://elsewhere", ticket)
        await other.extents()
        assert other.moved_to == "mysql://elsewhere"
        end.set()
        for task in tasks:
            task.cancel()
        assert (await one.extents())["main"] == at_the_fence


async def test_a_killed_server_loses_nothing_that_was_acknowledged_or_shown(own_server: MariaDb) -> None:
    url = own_server.url("catalyst")
    async with opened(url) as one, opened(url) as other:
        writers, end = [Writer(one, "a"), Writer(one, "b")], asyncio.Event()
        tasks = [asyncio.create_task(writer.run(end)) for writer in writers]
        following = asyncio.create_task(follow(other, end))
        for _ in range(3):
            await asyncio.sleep(0.7)
            own_server.child.kill()
            await asyncio.to_thread(own_server.child.start)
        await asyncio.sleep(0.7)
        end.set()
        await asyncio.gather(*tasks)
        assert all(writer.unanswered for writer in writers)
        await judge(other, *writers)
        shown = await following
        assert len(shown) > 100 and shown.items() <= {e.seq: e.hash for e in await all_of(other)}.items()


async def test_a_connection_that_is_cut_at_any_moment_stores_all_or_nothing_once(url: str) -> None:
    """Also in the middle of a commit: nobody knows, so the same is appended again and gets its first receipts."""
    with Wire(shared().port) as way:
        async with opened(url.replace(f":{shared().port}/", f":{way.port}/")) as cut, opened(url) as whole:
            writers, end = [Writer(cut, "a"), Writer(cut, "b"), Writer(whole, "c")], asyncio.Event()
            tasks = [asyncio.create_task(writer.run(end)) for writer in writers]
            for _ in range(30):
                await asyncio.sleep(0.05)
                await asyncio.to_thread(way.reset)
            end.set()
            await asyncio.gather(*tasks)
            assert writers[0].unanswered + writers[1].unanswered and not writers[2].unanswered
            await judge(whole, *writers)


async def test_connections_that_the_server_closed_are_replaced_unnoticed(url: str) -> None:
    async with opened(url) as store:
        for n in range(5):
            kill_connections()
            await put(store, draft(f"n{n}"))
            kill_connections()
            assert (await store.extents())["main"].last == n + 1
        await judge(store)


def kill_connections() -> None:
    """Our event loop stands still meanwhile, so that nobody of us has heard of it yet."""
    listed = "SELECT id FROM information_schema.processlist WHERE user = 'catalyst'"
    for connection in shared().admin(listed).split():
        with contextlib.suppress(AssertionError):  # It was going anyhow.
            shared().admin(f"KILL {connection}")


async def test_a_server_that_hangs_holds_nobody_for_longer_than_a_call_may_take(
    own_server: MariaDb, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(links, "CALL_S", 1.0)
    async with opened(own_server.url("catalyst")) as store:
        await put(store, draft("before"))
        own_server.child.freeze()
        for ask in (
            store.append([batch(draft("a"))]), store.append([batch(draft("b", "x" * 8_000_000))]), store.extents(),
            store.read("main", 0, 10), store.keep("worker", "main", 1, was=0),
        ):  # fmt: skip
            began_s = time.monotonic()
            with pytest.raises(StoreUnavailable):
                await ask
            assert time.monotonic() - began_s < 2
        own_server.child.thaw()
        monkeypatch.setattr(links, "CALL_S", 15.0)
        (again,) = (await put(store, draft("a"))).receipts
        assert (await put(store, draft("a"))).receipts[0].seq == again.seq
        await judge(store)


async def test_a_process_that_is_cut_off_in_the_middle_holds_nobody_up(url: str) -> None:
    """It has the lock of a channel's head, and is never heard of again."""
    async with opened(url) as one, opened(url) as other:
        cut_off = asyncio.Event()

        async def locked(link: links.Link) -> None:
            await writing.begin(link, b"SELECT last FROM heads WHERE channel = 'main' FOR UPDATE")
            cut_off.set()
            await asyncio.sleep(links.IDLE_S + 3)
            await link.commit(b"UPDATE heads SET last = 100 WHERE channel = 'main'")

        task = asyncio.create_task(other._change(locked))
        await cut_off.wait()
        began_s = time.monotonic()
        await put(one, draft("a"))
        assert 1 < time.monotonic() - began_s < links.LOCK_S
        with pytest.raises(StoreUnavailable):
            await task
        await judge(one)


async def test_a_server_that_answers_before_it_stored_is_refused(url: str) -> None:
    settings = {"innodb_flush_log_at_trx_commit": ("2", "1"), "max_allowed_packet": ("1048576", "16777216")}
    for name, (bad, good) in settings.items():
        shared().admin(f"SET GLOBAL {name} = {bad}")
        try:
            with pytest.raises(Misconfigured, match=name):
                async with MysqlStore.from_url(url):
                    pass
        finally:
            shared().admin(f"SET GLOBAL {name} = {good}")


async def test_what_another_process_committed_is_shown_when_it_is_on_the_disk(url: str) -> None:
    """InnoDB shows it before; so it is read behind a commit of the reader's own."""
    async with opened(url) as one, opened(url) as other:
        await other.extents()
        before = flushes()
        await put(one, *drafts(0, 3))
        assert len(await one.read("main", 0, 10)) == 3 and flushes() == before, "its own is on the disk already"
        assert len(await other.read("main", 0, 10)) == 3 and flushes() == before + 1
        assert (await other.extents())["main"].durable == 3 and flushes() == before + 1, "it is known by now"
        await put(one, draft("a"))
        assert (await put(other, draft("a"))).receipts[0].duplicate and flushes() == before + 2


def flushes() -> int:
    """How often somebody committed something for no other reason."""
    return int(shared().admin("SELECT count FROM catalyst.flushes"))


async def test_more_than_one_packet_and_thousands_of_ids_are_one_append(url: str) -> None:
    async with opened(url) as store:
        large = [draft(f"large-{n}", "'\\\"\0\n" + "x" * 3_000_000) for n in range(8)]
        await put(store, *large, *drafts(0, 3000))
        assert [event.body for event in await all_of(store)][:8] == [each.body for each in large]
        assert all(receipt.duplicate for receipt in (await put(store, *large, *drafts(0, 3000))).receipts)
        (refused, stored) = await store.append([batch(draft("huge", "x" * 9_000_000)), batch(draft("small"))])
        assert isinstance(refused, Refused) and refused.error.name == "too_large" and isinstance(stored, Stored)
        assert len(await store.read("main", 0, 10, 4_000_000)) == 1
        await judge(store)


async def test_tables_that_cannot_be_ours_are_said_and_not_written_to(url: str) -> None:
    """An event where the head says that none is yet: somebody else was here."""
    async with opened(url) as store:
        await put(store, *drafts(0, 3))
        shared().admin("UPDATE catalyst.heads SET last = 2 WHERE channel = 'main'")
        with pytest.raises(StoreCorrupt, match="verify"):
            await put(store, draft("a"))
        assert isinstance(store.fault, StoreCorrupt)
        with pytest.raises(StoreCorrupt):
            await store.keep("worker", "main", 1, was=0)
        assert len(await store.read("main", 0, 10)) == 2


async def test_a_hole_is_corruption_and_never_a_shorter_page(url: str) -> None:
    async with opened(url) as store:
        await put(store, *drafts(0, 5))
        for gone in (5, 3, 1):
            shared().admin(f"DELETE FROM catalyst.events WHERE seq = {gone}")
            with pytest.raises(StoreCorrupt, match=f"event {gone} of main"):
                await store.read("main", 0, 10)


async def test_a_server_that_only_reads_refuses_what_changes_and_serves_the_rest(own_server: MariaDb) -> None:
    """In the middle of a fail-over: afterwards it is as before."""
    url = own_server.url("catalyst")
    async with opened(url) as store:
        await put(store, draft("a"))
        own_server.admin("SET GLOBAL read_only = 1")
        with pytest.raises(StoreUnavailable, match="read-only"):
            await put(store, draft("b"))
        assert len(await store.read("main", 0, 10)) == (await store.extents())["main"].last == 1
        own_server.admin("SET GLOBAL read_only = 0")
        await put(store, draft("b"))
        await judge(store)


async def test_an_older_release_works_on_a_newer_schema(url: str, tmp_path: Path) -> None:
    """A later migration only adds; a process of this release goes on beside it, and is opened again."""
    first = schema.folder() / "0001_pre_log.sql"
    (tmp_path / "0001_pre_log.sql").write_bytes(first.read_bytes())
    (tmp_path / "0002_pre_more.sql").write_text(
        "ALTER TABLE events ADD COLUMN IF NOT EXISTS kind INT NOT NULL DEFAULT 0;\nUPDATE `schema` SET version = 2;\n"
    )
    async with opened(url) as old:
        await put(old, draft("a"))
        await asyncio.gather(*(old._writers.do(lambda link: schema.prepare(link, tmp_path)) for _ in range(2)))
        await put(old, draft("b"))
        async with opened(url) as again:
            await put(again, draft("c"))
            await judge(again)
        shared().admin("UPDATE catalyst.schema SET version = 3, oldest = 3")
        with pytest.raises(Misconfigured, match="upgrade"):
            async with MysqlStore.from_url(url):
                pass


async def test_a_database_of_another_program_is_left_alone(url: str) -> None:
    shared().admin("CREATE TABLE catalyst.events (theirs INT); CREATE TABLE catalyst.orders (theirs INT)")
    with pytest.raises(Misconfigured, match="database of its own"):
        async with MysqlStore.from_url(url):
            pass


@pytest.mark.parametrize("wrong", ["mysql://h/db", "mysql://me@h", "mysql://me@h/a/b", "mysql://me@h/db?x=1"])
def test_a_url_that_lacks_something_is_refused(wrong: str) -> None:
    with pytest.raises(Misconfigured):
        MysqlStore.from_url(wrong)


async def test_a_server_moves_to_mysql_and_its_readers_go_on_after_a_kill(url: str, tmp_path: Path) -> None:
    """The whole program: from SQLite while somebody reads, then killed, and resumed on the other store."""
    with RunningServer(tmp_path) as server:
        filled(server, 1000)
        async with wire(server.url, server.admin_key) as reader:
            await reader.subscribe(channel="main", after=0)
            moving = transfer(server, url)
            _, err = await asyncio.to_thread(moving.communicate, timeout=60)
            assert moving.returncode == 0, err
            filled(server, 500, at=1000)
            events = await reader.events(1500)
        server.kill()
        server.store_url = url
        server.start()
        filled(server, 400, at=1400)  # The first hundred of them are there.
        async with wire(server.url, server.admin_key) as again:
            await again.subscribe(channel="main", after=700, hash=events[699]["hash"])
            rest = await again.events(1100)
        assert [event["hash"] for event in rest[:800]] == [event["hash"] for event in events[700:]]
        assert [event["seq"] for event in rest] == list(range(701, 1801))
    async with MysqlStore.from_url(url) as store:
        await judge(store)
