"""The small parts: the fold of the system channel, URLs, the memory broker, the log's form."""

from __future__ import annotations

import asyncio
import logging

import pytest

from catalyst_signals.brokers import BROKERS
from catalyst_signals.brokers.memory import MemoryBroker
from catalyst_signals.caches import CACHES
from catalyst_signals.errors import Misconfigured, MissingDriver
from catalyst_signals.events import Batch, Frame
from catalyst_signals.projections import Snapshot, SystemState, from_bytes, system_draft
from catalyst_signals.server.logs import Lines
from catalyst_signals.stores import STORES
from catalyst_signals.stores.memory import MemoryStore
from catalyst_signals.urls import open_backend, without_password
from catalyst_signals.wire import frame_of


async def log_of(count: int) -> MemoryStore:
    """A memory store with `count` events in `main`."""
    store = MemoryStore()
    await store.append([Batch(channel="main", subject="s", drafts=[])])
    for n in range(count):
        await store.append([Batch(channel="main", subject="s", drafts=[system_draft("x", {"n": n})])])
    return store


async def test_state_is_the_same_from_a_snapshot_and_from_the_beginning() -> None:
    """Two processes that read the same log agree, wherever they started."""
    store = await log_of(0)
    key = {
        "id": "k1",
        "user": "eve",
        "scopes": ["publish"],
        "channels": ["main"],
        "secret_hash": "h",
        "created_at": "t",
    }
    source = {"id": "i1", "adapter": "generic", "channel": "main", "secret_hash": "s", "created_at": "t"}
    for type, data in (
        ("key.created", key),
        ("key.created", key | {"id": "k2", "user": "bob"}),
        ("channel.set", {"name": "crypto", "count": 5}),
        ("ingest.created", source),
        ("from.the.future", {"what": "ever"}),
        ("key.revoked", {"id": "k1"}),
        ("user.created", {"user": "zoe", "created_at": "t"}),
        ("user.removed", {"user": "bob"}),
    ):
        await store.append([Batch(channel="main", subject="s", drafts=[system_draft(type, data)])])
    frames = [frame_of(event) for event in await store.read("main", 0, 100)]
    whole = SystemState(Snapshot("e", 0, ""))
    gone: list[str] = []
    whole.watch(gone.append)
    for cut in range(len(frames)):
        early = SystemState(Snapshot("e", 0, ""))
        for frame in frames[:cut]:
            early.fold(frame)
        resumed = SystemState(from_bytes(early.to_bytes()))
        for frame in frames[cut:]:
            resumed.fold(frame)
        if cut == 0:
            for frame in frames:
                whole.fold(frame)
        assert resumed.to_bytes() == whole.to_bytes()
    assert gone == ["k1", "k2"] and not whole.keys
    assert set(whole.users) == {"eve", "zoe"} and whole.channels["crypto"].count == 5
    assert whole.source_of("s") == whole.sources["i1"] and whole.source_of("other") is None


def test_a_wrong_url_says_what_there_is() -> None:
    """The operator sees which schemes and parameters exist; a password is not repeated."""
    with pytest.raises(Misconfigured, match="sqlite:"):
        open_backend("mongodb://x", STORES, setting="store_url")
    with pytest.raises(Misconfigured, match="`shiny` is not a parameter"):
        open_backend("memory:?shiny=1", BROKERS, setting="broker_url")
    with pytest.raises(MissingDriver, match=r"catalyst-signals\[kafka\]"):
        open_backend("kafka://x", {"kafka": "catalyst_signals.brokers.not_there:X"}, setting="broker_url")
    assert without_password("redis://me:secret@host/1") == "redis://me:***@host/1"
    assert without_password("postgresql://me:se/c#r?et@host/db") == "postgresql://me:***@host/db", "mistyped"
    asked = without_password("redis+sentinel://:a@host/x?prefix=p&sentinel_password=b&c@d")
    assert asked == "redis+sentinel://:***@host/x?prefix=p&sentinel_password=***"
    assert without_password("sqlite:////var/lib/catalyst.db") == "sqlite:////var/lib/catalyst.db"


def test_what_a_wrong_url_of_redis_should_be_is_what_that_setting_takes() -> None:
    with pytest.raises(Misconfigured, match="broker_url") as hints:
        open_backend("redis+pubsub://:secret@host:x", BROKERS, setting="broker_url")
    with pytest.raises(Misconfigured, match="cache_url") as cache:
        open_backend("redis://a,b", CACHES, setting="cache_url")
    for said, table in ((hints, BROKERS), (cache, CACHES)):
        assert all(url.split(":")[0] in table for url in str(said.value.allowed).split(", "))
    with pytest.raises(Misconfigured, match=r"redis\+pubsub\+sentinel://host:26379/mymaster"):
        open_backend("redis+pubsub+sentinel://host", BROKERS, setting="broker_url")


async def test_the_memory_broker_hands_frames_to_every_listener() -> None:
    """A hint may be lost when a listener is far behind, never mixed up."""
    broker = MemoryBroker.from_url("memory:")
    frames = [Frame("main", "e", n, "", "", b"", 0) for n in range(3)]
    async with broker:
        await broker.publish(frames)  # Nobody listens: no matter.
        got: list[int] = []

        async def listen() -> None:
            async for frame in broker.listen():
                got.append(frame.seq)

        tasks = [asyncio.create_task(listen()) for _ in range(2)]
        await asyncio.sleep(0)
        await broker.publish(frames)
        for _ in range(20):
            await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    assert sorted(got) == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize("scheme", ["redis", "rediss", "redis+cluster", "rediss+pubsub"])
def test_a_missing_driver_names_the_extra_that_brings_it(scheme: str) -> None:
    """However the service is run, and with TLS or without: there is one extra for all of it."""
    with pytest.raises(MissingDriver, match=r"catalyst-signals\[redis\]"):
        open_backend(f"{scheme}://host", {scheme: "no_such_module:Class"}, setting="cache_url")


def test_a_log_line_shows_its_fields_and_no_key() -> None:
    """Whatever is logged by mistake, a key shows its id only."""
    record = logging.makeLogRecord({
        "name": "catalyst.x", "levelname": "INFO", "msg": "hello cat_live_abc123_0123456789secret", "channel": "main",
    })  # fmt: skip
    line = Lines().format(record)
    assert "channel='main'" in line and "abc123" in line and "secret" not in line
