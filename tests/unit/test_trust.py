"""What a server shows of a damaged log, and how it finds damage by itself. Covers `catalyst_signals.trust`."""

from __future__ import annotations

import asyncio
import random
import shutil
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from catalyst_signals.errors import PositionTooOld, RangeUntrusted, StoreCorrupt
from catalyst_signals.events import Batch, Draft, Frame, hash_of_draft
from catalyst_signals.filters import EVERYTHING
from catalyst_signals.hub import Hub
from catalyst_signals.modifiers import Modifiers
from catalyst_signals.stores.memory import MemoryStore
from catalyst_signals.stores.sqlite import SqliteStore, rows
from catalyst_signals.tape import Peer
from catalyst_signals.trust import Reader, scrub
from catalyst_signals.verify import Fault, verify
from catalyst_signals.wire import frame_of

from .test_hub import Reader as Client

OPEN = Batch(channel="main", subject="system", drafts=[])
COUNT = 20


def batch(first: int, count: int) -> Batch:
    """Signals n<first> and on, of one subject."""
    return Batch(channel="main", subject="ann", drafts=[
        Draft(type="signal.published", id=f"n{n}", body=b'{"data":{"n":%d}}' % n, draft_hash=hash_of_draft({"n": n}))
        for n in range(first, first + count)
    ])  # fmt: skip


@pytest.fixture
async def memory() -> AsyncIterator[MemoryStore]:
    """Seqs 1 to 20, and an event's body that can be spoilt."""
    async with MemoryStore() as store:
        await store.append([OPEN, batch(1, COUNT)])
        yield store


def spoil(store: MemoryStore, *seqs: int, **fields: Any) -> None:
    """Make events other than they were written."""
    events = store._logs["main"].events
    for seq in seqs:
        events[seq - 1] = replace(events[seq - 1], **(fields or {"body": b'{"data":{"n":0}}'}))


async def told(reader: Reader, after: int) -> RangeUntrusted:
    """The refusal of what comes next."""
    with pytest.raises(RangeUntrusted) as refused:
        await reader.read("main", after, 100)
    return refused.value


async def test_what_is_before_and_after_a_bad_event_is_shown_and_the_range_between_is_named(
    memory: MemoryStore,
) -> None:
    """A reader never gets what was not written, is told which range, and goes on."""
    spoil(memory, 7)
    reader = Reader(memory)
    assert [event.seq for event in await reader.read("main", 0, 100)] == [1, 2, 3, 4, 5, 6]
    refusal = await told(reader, 6)
    extent = (await memory.extents())["main"]
    assert refusal.extra == {
        "channel": "main", "seq": 7, "void": [7, 7], "resume_after": 7, "epoch": extent.epoch,
    }  # fmt: skip
    assert "event 7 (n7)" in refusal.message and "catalyst verify" in refusal.message
    assert [event.seq for event in await reader.read("main", 7, 100)] == list(range(8, COUNT + 1))
    assert reader.faults["main"].seq == 7


async def test_bad_events_side_by_side_are_one_range(memory: MemoryStore) -> None:
    """A client is told once and not once an event."""
    spoil(memory, 3, 4, 5)
    assert (await told(Reader(memory), 2)).extra["void"] == [3, 5]
    spoil(memory, COUNT)
    assert (await told(Reader(memory), COUNT - 1)).extra["void"] == [COUNT, COUNT]


async def test_what_retention_dropped_is_told_with_the_extent(memory: MemoryStore) -> None:
    """A client decides where to go on from what it is told, without asking again."""
    extent = await memory.drop("main", 5)
    with pytest.raises(PositionTooOld) as refused:
        await Reader(memory).read("main", 2, 100)
    assert refused.value.extra == {"first": 6, "last": COUNT, "epoch": extent.epoch}


async def test_an_erased_event_is_not_damage(memory: MemoryStore) -> None:
    """Its hashes prove it, so it is shown as erased."""
    await memory.erase("main", 7)
    assert len(await Reader(memory).read("main", 0, 100)) == COUNT


# -- in a file ------------------------------------------------------------------------------------------------------


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    """A file with the seqs 1 to 20 and, in a second epoch, 101 to 110."""
    path = tmp_path / "catalyst.db"
    async with SqliteStore(path) as store:
        await store.append([OPEN, batch(1, COUNT)])
        await store.begin_epoch("main", 101, "a test")
        await store.append([batch(COUNT + 1, 10)])
    return path


def execute(path: Path, sql: str, *values: object) -> None:
    """Change a file behind the store's back."""
    with sqlite3.connect(path) as connection:
        connection.execute(sql, values)
    connection.close()


@pytest.mark.parametrize(
    ("sql", "served", "void"),
    [
        ("UPDATE events SET body = x'7b7d' WHERE place = ?", 4, [5, 5]),
        ("UPDATE events SET version = -1 WHERE place = ?", 4, [5, 5]),
        ("UPDATE events SET hash = zeroblob(32) WHERE place = ?", 4, [5, 6]),  # The next one cannot be proved then.
        ("DELETE FROM events WHERE place = ?", 4, [5, 6]),
    ],
)
async def test_a_file_that_was_changed_by_hand_is_served_around_the_change(
    path: Path, sql: str, served: int, void: list[int]
) -> None:
    """Also where no number can be hashed, and where nothing is left."""
    execute(path, sql, rows.place(1, 5))
    async with SqliteStore(path) as store:
        reader = Reader(store)
        at = 0
        while at < served:
            at = (await reader.read("main", at, 100))[-1].seq
        assert at == served
        assert (await told(reader, served)).extra["void"] == void
        assert (await reader.read("main", void[1], 100))[-1].seq == 110


async def test_a_scrub_finds_damage_before_anybody_asks_and_forgets_it_when_it_is_mended(path: Path) -> None:
    """Whoever looks at /readyz in the morning knows, though nobody has read that old event for a year."""
    (body,) = sqlite3.connect(path).execute("SELECT body FROM events WHERE place = ?", (rows.place(1, 9),)).fetchone()
    execute(path, "UPDATE events SET body = x'00' WHERE place = ?", rows.place(1, 9))
    async with SqliteStore(path, readonly=True) as store:
        reader = Reader(store)
        await scrub(store, reader.note)
        assert reader.faults == {"main": Fault("main", 9, "its body does not have the stored hash", "n9")}
        execute(path, "UPDATE events SET body = ? WHERE place = ?", body, rows.place(1, 9))
        await scrub(store, reader.note)
        assert reader.faults == {}


async def test_a_damaged_table_of_ids_ends_the_subscription_that_needs_it_and_nothing_else(path: Path) -> None:
    """`catalyst latest` of one user must not end the process for all; the others are served from the same file."""
    with sqlite3.connect(path) as connection:
        (root,) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'ids'").fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    connection.close()
    async with SqliteStore(path) as store:
        with path.open("r+b") as file:
            file.seek((root - 1) * size)
            file.write(b"\x55" * 64)
        reader, extent = Reader(store), (await store.extents())["main"]

        async def fetch(channel: str, after: int, limit: int) -> list[Frame]:
            return [frame_of(event) for event in await reader.read(channel, after, limit)]

        hub = Hub(fetch, store.find)
        tape = hub.open("main", extent.epoch, 0, "00000000")
        for frame in await fetch("main", 0, COUNT):
            hub.offer(frame)
        plain, latest = Client(), Client()
        hub.join(Peer(plain.write, plain), tape, EVERYTHING, 0, tape.epoch, None)
        hub.join(Peer(latest.write, latest), tape, EVERYTHING, 0, tape.epoch, None, Modifiers(ended="hold"))
        async with asyncio.timeout(2):
            while latest.end is None or len(plain.seqs()) < COUNT:
                await asyncio.sleep(0.01)
        assert isinstance(latest.end, StoreCorrupt) and plain.end is None and latest.seqs() == []
        await hub.close()


# -- every bit ------------------------------------------------------------------------------------------------------

EVENT = ("type", "id", "version", "ts_us", "salt", "body", "body_hash", "hash", "place")
KEYS = {"events": ["place"], "heads": ["channel"], "epochs": ["number", "first"], "ids": ["number", "id"]}
COLUMNS = [("events", column) for column in EVENT] + [
    ("heads", "last"), ("heads", "hash"), ("heads", "first"), ("heads", "hash_before"),
    ("epochs", "name"), ("epochs", "first"), ("epochs", "last_before"), ("epochs", "hash_before"),
    ("ids", "id"), ("ids", "seq"), ("ids", "version"), ("ids", "ts_us"),
]  # fmt: skip


@pytest.mark.parametrize(("table", "column"), COLUMNS)
async def test_any_flipped_bit_is_found_and_the_event_named(path: Path, table: str, column: str) -> None:
    """An operator restores one copy and not all: `verify` says where."""
    rng = random.Random(f"{table}.{column}")
    with sqlite3.connect(path) as connection:
        found = connection.execute(f"SELECT {column}, {', '.join(KEYS[table])} FROM {table}").fetchall()
        seqs = dict(connection.execute("SELECT id, seq FROM ids"))
    connection.close()
    for nth in range(25):
        before, *key = rng.choice(found)
        copy = shutil.copy(path, path.with_name(f"{nth}.db"))
        where = " AND ".join(f"{name} = ?" for name in KEYS[table])
        try:
            execute(Path(copy), f"UPDATE {table} SET {column} = ? WHERE {where}", flipped(before, rng), *key)
        except sqlite3.IntegrityError:
            continue  # There is such a row: SQLite itself would not have two.
        try:
            async with SqliteStore(copy, readonly=True) as store:
                fault = (await verify(store)).faults.get("main")
        except StoreCorrupt:
            assert table in ("heads", "epochs")
            continue
        assert fault is not None, f"{table}.{column} where {key}"
        if table == "ids":
            assert fault.seq == seqs[key[1]], str(fault)
        elif table == "events":
            seq = key[0] & (1 << rows.SEQ_BITS) - 1
            assert fault.seq == seq or (column == "place" and fault.seq < seq), str(fault)


def flipped(value: Any, rng: random.Random) -> Any:
    """One bit of it is another one."""
    if isinstance(value, int):
        return value ^ 1 << rng.randrange(40)
    raw = bytearray(value.encode() if isinstance(value, str) else value)
    raw[rng.randrange(len(raw))] ^= 1 << rng.randrange(7)
    return raw.decode() if isinstance(value, str) else bytes(raw)
