"""Several processes write one log in PostgreSQL at once: it stays one log, whoever dies.

Covers catalyst_signals.stores.postgres.appending, catalyst_signals.stores.postgres.changing and
catalyst_signals.stores.postgres.rows from outside, with tests/conformance.
"""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import pairwise

import pytest

from catalyst_signals.stores.postgres import PostgresStore
from catalyst_signals.verify import verify
from tests.conformance.test_stores import all_of, batch, draft, put, seqs
from tests.services.postgres import Shared, shared
from tests.services.postgres_writer import SHARED

pytestmark = pytest.mark.slow

COMMITS = 120


@pytest.fixture
def site() -> Iterator[Shared]:
    """A server and a pool, without a log."""
    found = shared()
    found.emptied()
    yield found


def started(url: str, name: str, commits: int = COMMITS) -> subprocess.Popen[str]:
    """A writing process."""
    command = [sys.executable, "-m", "tests.services.postgres_writer", url, name, str(commits)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def acked(lines: str) -> dict[str, int]:
    """What a writer was told; of an id that comes again it must have been the same."""
    found: dict[str, int] = {}
    for pair in lines.split():
        id, seq = pair.split("=")
        assert found.setdefault(id, int(seq)) == int(seq), f"{id} has two numbers"
    return found


@pytest.mark.parametrize("writers", [2, 4])
async def test_any_number_of_processes_write_one_log(site: Shared, writers: int) -> None:
    """Directly and through the pool: dense, hash-valid, every id one number, in whichever process it was asked."""
    urls = [site.server.url, site.pool.url]
    children = [started(urls[n % 2], f"w{n}") for n in range(writers)]
    told = [acked((await asyncio.to_thread(child.communicate, None, 60))[0]) for child in children]
    assert [child.returncode for child in children] == [0] * writers
    async with PostgresStore.from_url(site.server.url) as store:
        log = {event.id: event.seq for event in await all_of(store)}
        assert (await verify(store)).faults == {}
    assert sorted(log.values()) == list(range(1, writers * COMMITS * 2 + SHARED + 1))
    for of_one in told:
        assert all(log[id] == seq for id, seq in of_one.items())


async def test_a_writer_that_is_killed_loses_nothing_acknowledged_and_holds_nobody_up(site: Shared) -> None:
    async with PostgresStore.from_url(site.server.url) as store:
        await put(store)
        for n in range(4):
            child = started(site.pool.url if n % 2 else site.server.url, f"k{n}", 100_000)
            assert child.stdout is not None
            first = await asyncio.to_thread(child.stdout.readline)
            await asyncio.sleep(random.uniform(0, 0.1))
            child.kill()
            began_s = time.monotonic()
            await put(store, draft(f"after{n}"))
            assert time.monotonic() - began_s < 4
            rest = await asyncio.to_thread(child.communicate, None, 10)
            told = acked(first + rest[0][: rest[0].rfind("\n") + 1])
            log = {event.id: event.seq for event in await all_of(store)}
            assert told.items() <= log.items()
        assert (await verify(store)).faults == {}


async def test_two_stores_that_append_the_same_batch_at_once_answer_the_same(site: Shared) -> None:
    """A publisher whose node died asks another one."""
    async with PostgresStore.from_url(site.server.url) as one, PostgresStore.from_url(site.pool.url) as two:
        await put(one)
        for n in range(30):
            same = batch(draft(f"a{n}"), draft(f"b{n}"))
            (first,), (second,) = await asyncio.gather(one.append([same]), two.append([same]))
            told = [[receipt.seq for receipt in result.receipts] for result in (first, second)]  # type: ignore[union-attr]
            assert told[0] == told[1] == [2 * n + 1, 2 * n + 2]
        times = [event.ts_us for event in await all_of(one)]
        assert all(before <= after for before, after in pairwise(times))
        assert seqs(await all_of(two)) == list(range(1, 61))
        assert one.lock_held_s and max(one.lock_held_s) < 5


async def test_channels_opened_by_several_at_once_are_opened_once(site: Shared) -> None:
    async with PostgresStore.from_url(site.server.url) as one, PostgresStore.from_url(site.pool.url) as two:
        names = [f"c{n}" for n in range(5)]
        opening = [store.append([batch(channel=name) for name in order]) for store in (one, two) for order in
                   (names, names[::-1])]  # fmt: skip
        for results in await asyncio.gather(*opening):
            assert {result.epoch for result in results} <= {  # type: ignore[union-attr]
                extent.epoch for extent in (await one.extents()).values()
            }
        assert list(await two.extents()) == names
