"""The schema in PostgreSQL and its URL: several processes open it at once, older ones survive a newer one.

Covers catalyst_signals.stores.postgres.schema, catalyst_signals.stores.postgres.migrating and
catalyst_signals.stores.postgres.address from outside.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.resources import as_file
from pathlib import Path

import psycopg
import pytest

from catalyst_signals.errors import Misconfigured, StoreUnavailable
from catalyst_signals.stores.postgres import PostgresStore, rows, schema
from catalyst_signals.stores.postgres.address import parse
from catalyst_signals.stores.postgres.line import SETTINGS, Line
from catalyst_signals.verify import verify
from tests.conformance.test_stores import all_of, draft, drafts, put, seqs
from tests.running import RunningServer
from tests.services.postgres import Shared, shared

pytestmark = pytest.mark.slow


@pytest.fixture
def site() -> Iterator[Shared]:
    """A server and a pool, without a log."""
    found = shared()
    found.emptied()
    yield found


async def test_of_several_who_open_it_at_once_one_makes_the_tables(site: Shared) -> None:
    stores = [PostgresStore.from_url(url) for url in (site.server.url, site.pool.url) * 4]
    await asyncio.gather(*(store.__aenter__() for store in stores))
    await asyncio.gather(*(put(store, subject="system") for store in stores))
    await asyncio.gather(*(store.__aexit__() for store in stores))
    assert site.server.sql("SELECT version FROM catalyst.schema") == [(schema.SCHEMA_VERSION,)]


async def test_how_rows_are_found_does_not_depend_on_statistics(site: Shared) -> None:
    """A table that has just begun to grow has none, and a walk through all of it would take a tenth of a second."""
    async with PostgresStore.from_url(site.server.url) as store:
        await put(store)
    fill = "SELECT 1, 1, g, 1, md5(g::text), '', '' FROM generate_series(1, 20000) g"
    with psycopg.connect(site.server.url) as connection:
        connection.execute(f"INSERT INTO catalyst.ids (number, version, seq, ts_us, id, subject, draft_hash) {fill}")
        connection.execute(SETTINGS, ("0", "0", "0", "0"))
        for query, asked in ((rows.KNOWN_OF, (["a", "b"], "main")), (rows.PAGE, ("main", 0, 1000, 1 << 20))):
            plan = "\n".join(line for (line,) in connection.execute(f"EXPLAIN {query}", asked))
            assert not {"Bitmap", "Sort", "Seq", "JIT"} & set(plan.split()), plan
            assert "number = " in plan and ("id = asked.id" in plan or "seq > " in plan), plan


async def test_this_release_works_on_the_schema_of_the_next(site: Shared, tmp_path: Path) -> None:
    """A rolling upgrade: one node has migrated, the others still run this code."""
    with as_file(schema.folder()) as scripts:
        shutil.copytree(scripts, tmp_path / "next")
    (tmp_path / "next" / f"{schema.SCHEMA_VERSION + 1:04}_pre_made_up.sql").write_text(
        "ALTER TABLE catalyst.events ADD COLUMN colour text NOT NULL DEFAULT 'none';"
        "ALTER TABLE catalyst.heads ADD COLUMN colour text; CREATE TABLE catalyst.colours (name text);"
        f"UPDATE catalyst.schema SET version = {schema.SCHEMA_VERSION + 1};"
    )
    (tmp_path / "next" / f"{schema.SCHEMA_VERSION + 1:04}_post_made_up.sql").write_text("DROP TABLE catalyst.ids;")
    async with PostgresStore.from_url(site.server.url) as old:
        await put(old)
        await put(old, *drafts(0, 5))
        line = Line(parse(site.server.url).primary)
        line.run(lambda line: schema.prepare(line, tmp_path / "next"), 10)
        line.close()
        assert (await put(old, draft("later"))).receipts[0].seq == 6
        async with PostgresStore.from_url(site.pool.url) as opened_later:
            assert (await put(opened_later, draft("latest"))).receipts[0].seq == 7
            await opened_later.erase("main", 2)
            await opened_later.begin_epoch("main", 100, "a test")
            await opened_later.drop("main", 3)
        assert seqs(await all_of(old)) == [4, 5, 6, 7]
        assert (await verify(old)).faults == {}


async def test_a_schema_this_release_cannot_work_with_is_refused(site: Shared) -> None:
    async with PostgresStore.from_url(site.server.url):
        pass
    site.server.sql("UPDATE catalyst.schema SET version = 99, oldest = 98")
    with pytest.raises(Misconfigured, match="newer Catalyst"):
        async with PostgresStore.from_url(site.server.url):
            pass


async def test_another_encoding_is_refused(site: Shared) -> None:
    site.server.sql("CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0")
    with pytest.raises(Misconfigured, match="UTF8"):
        async with PostgresStore.from_url(f"{site.server.base}/latin"):
            pass


async def test_a_server_that_is_not_there_is_said_to_be(site: Shared) -> None:
    with pytest.raises(StoreUnavailable, match="PostgreSQL") as refused:
        async with PostgresStore.from_url("postgresql://me:secret@127.0.0.1:1/catalyst"):
            pass
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("query", "field"), [("colour=red", "colour"), ("require_durability=paper", "require_durability"), ("port=x", None)]
)
def test_a_parameter_that_nobody_reads_is_refused(query: str, field: str | None) -> None:
    if field is None:
        assert "port=x" in parse(f"postgresql://host/db?{query}").primary, "libpq says what is wrong with it"
        return
    with pytest.raises(Misconfigured) as refused:
        parse(f"postgresql://me:secret@host/db?{query}")
    assert refused.value.field == field and "secret" not in str(refused.value)


def test_a_url_says_where_the_primary_and_the_replica_are() -> None:
    plain = parse("postgresql://me@one:5433/db?replica=two&sslmode=require")
    assert plain.replica is not None
    assert {"host=one", "port=5433", "sslmode=require"} <= set(plain.primary.split())
    assert {"host=two", "user=me", "dbname=db", "sslmode=require"} <= set(plain.replica.split())
    assert {"dbname=db", "host=/run/postgresql"} <= set(parse("postgresql:///db?host=/run/postgresql").primary.split())
    several = parse("postgresql://me@one:1,two:2/db?replica=postgresql%3A%2F%2Fyou%40three%2Felse")
    assert several.replica is not None
    assert "target_session_attrs=read-write" in several.primary
    assert {"host=three", "user=you", "dbname=else"} <= set(several.replica.split())


def next_release(folder: Path, *sql: tuple[str, str]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """The command of a made-up release that brings one migration more."""
    package = folder / "next" / "catalyst_signals"
    with as_file(schema.folder()) as scripts:
        shutil.copytree(scripts.parents[2], package, ignore=shutil.ignore_patterns("__pycache__"))
    number = schema.SCHEMA_VERSION + 1
    for half, text in sql:
        (package / "stores" / "sql" / "postgres" / f"{number:04}_{half}_made_up.sql").write_text(text)
    code = package / "stores" / "postgres" / "schema.py"
    code.write_text(code.read_text().replace(f"SCHEMA_VERSION = {number - 1} ", f"SCHEMA_VERSION = {number} "))

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "catalyst_signals", *words], env=os.environ | {"PYTHONPATH": str(folder / "next")},
            cwd=folder, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    return run


def test_what_older_releases_need_is_taken_away_when_none_is_there(site: Shared, tmp_path: Path) -> None:
    """A whole rolling upgrade: the other half of a migration waits for the last old node, and shuts out older ones."""
    site.emptied("upgraded")  # Of its own: sessions of the pool keep the names of other tests' stores.
    url, number = f"{site.server.base}/upgraded", schema.SCHEMA_VERSION + 1
    upgraded = next_release(
        tmp_path,
        ("pre", f"CREATE TABLE catalyst.colours (name text); UPDATE catalyst.schema SET version = {number};"),
        ("post", "ALTER TABLE catalyst.ids RENAME COLUMN subject TO publisher;"),
    )
    migrate = ("migrate", "--store-url", url, "--json")
    pre, post = (f"{number:04}_{half}_made_up.sql" for half in ("pre", "post"))
    with RunningServer(tmp_path, store_url=url) as old, old.http() as http:
        told = json.loads(upgraded(*migrate).stdout)
        assert (told["version"], told["applied"], told["waiting"]) == (number, [pre], [post])
        refused = upgraded(*migrate, "--post")
        assert refused.returncode == 4 and f"catalyst/{number - 1}" in refused.stderr, refused.stderr
        assert http.post("/v1/channels/main/signals", json={"symbol": "ACME", "action": "BUY"}).status_code == 201
    told = json.loads(upgraded(*migrate, "--post").stdout)
    assert (told["version"], told["applied"], told["waiting"]) == (number, [post], [])
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT publisher FROM catalyst.ids").fetchall()
    with pytest.raises(RuntimeError, match="newer Catalyst"):
        old.start()
