"""Processes of one machine over a Unix socket: the greeting, the store behind it, the hints, and what breaks.

With a real socket between the ends, in one process; `tests/conformance` runs the whole Store port the same way, and
`tests/server/test_processes.py` has real processes.
"""

from __future__ import annotations

import asyncio
import hashlib
import socket
import stat
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from catalyst_signals.brokers.unix import UnixBroker, UnixExchange
from catalyst_signals.errors import (
    CatalystError,
    IdTaken,
    Misconfigured,
    PositionTooOld,
    RangeUntrusted,
    StoreCorrupt,
    StoreInUse,
    StoreUnavailable,
    Unavailable,
    every_error,
)
from catalyst_signals.events import Batch, Draft, Frame, Refused, Stored
from catalyst_signals.peers import BEHIND_BYTES_MAX, MESSAGE_BYTES_MAX, Link, Listener, Relay, Wrong, pack, wrong_of
from catalyst_signals.stores.memory import MemoryStore
from catalyst_signals.stores.unix import UnixStore
from catalyst_signals.stores.unix.gathering import Gatherer
from catalyst_signals.stores.unix.serving import StoreService

WAIT_S = 5


class OwnStore(MemoryStore):
    """In memory, but it can stand still, and have a fault."""

    def __init__(self) -> None:
        super().__init__()
        self.open = asyncio.Event()
        self.open.set()
        self.commits: list[int] = []
        self.wrong: CatalystError | None = None

    @property
    def fault(self) -> CatalystError | None:
        return self.wrong

    async def append(self, batches: Sequence[Batch]) -> list[Stored | Refused]:
        self.commits.append(len(batches))
        await self.open.wait()
        if self.wrong is not None:
            raise self.wrong
        return await super().append(batches)


@asynccontextmanager
async def serving(path: Path, store: OwnStore) -> AsyncIterator[Gatherer]:
    gatherer = Gatherer(store)
    async with StoreService(store, gatherer) as service:
        async with Listener(str(path), {"store": service}):
            yield gatherer


def batch(id: str) -> Batch:
    body = b'{"data":{"id":"%s"}}' % id.encode()
    draft = Draft(type="signal.published", id=id, body=body, draft_hash=hashlib.sha256(body).digest())
    return Batch(channel="main", subject="ann", drafts=[draft])


async def opened(store: UnixStore | OwnStore) -> None:
    await store.append([Batch(channel="main", subject="system", drafts=[])])


async def soon(true: Any) -> None:
    async with asyncio.timeout(WAIT_S):
        while not true():
            await asyncio.sleep(0.01)


# -- errors ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", every_error())
def test_every_error_arrives_whole_and_as_itself(kind: type[CatalystError]) -> None:
    """A publisher is told the same whichever process it came to."""
    sent = kind("why", field="id", got="x", allowed=["a", 1], void=[1, 2], resume_after=2, retry_after_s=1)
    message = msgspec.msgpack.decode(pack(wrong_of(sent))[4:], type=Wrong)
    got = message.error()
    assert type(got) is kind
    assert isinstance(got, CatalystError)
    assert vars(got) == vars(sent)
    assert got.as_dict() == sent.as_dict()


def test_an_error_about_anything_can_be_told() -> None:
    """`got` is what was given, and that need not be JSON."""
    sent = Misconfigured("no", got=object(), allowed={"a": {1}}, at=Path("/x"))
    got = msgspec.msgpack.decode(pack(wrong_of(sent))[4:], type=Wrong).error()
    assert isinstance(got, Misconfigured)
    assert "object" in str(got.got)


# -- the socket file ------------------------------------------------------------------------------------------------


async def test_only_this_user_may_open_the_socket_and_it_goes_with_its_listener(tmp_path: Path) -> None:
    """Who may open it may write the log."""
    path = tmp_path / "s"
    async with Listener(str(path), {}):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not path.exists()


async def test_a_socket_is_taken_away_only_if_nobody_answers_on_it(tmp_path: Path) -> None:
    """A killed process leaves one; a living one is never cut off; another file is never removed."""
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(path))
    async with Listener(str(path), {}):
        with pytest.raises(StoreInUse):
            await Listener(str(path), {}).__aenter__()
        assert path.exists()
    path.write_text("mine")
    with pytest.raises(Misconfigured, match="no socket"):
        await Listener(str(path), {}).__aenter__()
    assert path.read_text() == "mine"


async def test_a_peer_of_another_version_is_refused_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A child that starts after an upgrade says what to do instead of misreading."""
    path = tmp_path / "s"
    async with Listener(str(path), {"store": Relay(lambda _: None)}):
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(pack(["catalyst", 99, "store"]))
        answer = msgspec.msgpack.decode((await reader.read())[4:])
        assert answer[:2] == ["catalyst", 1]
        assert "version 99" in answer[2][1]
        writer.close()
        link = Link(str(path), "nonsense", lambda _: None)
        async with link:
            with pytest.raises(Misconfigured, match="no such service"):
                await link.up(WAIT_S)
        monkeypatch.setattr("catalyst_signals.stores.unix.OPEN_S", WAIT_S)
    server = await asyncio.start_unix_server(_of_the_future, tmp_path / "f")
    with pytest.raises(Misconfigured, match="version 99"):
        await UnixStore(str(tmp_path / "f")).__aenter__()
    server.close()


async def _of_the_future(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(10)
    writer.write(pack(["catalyst", 99, None]))
    writer.close()


@pytest.mark.parametrize(
    "said",
    [b"GET / HTTP/1.1\r\n\r\n", pack(["other"]), b"\x00\x00\x00\x01\xc1", (MESSAGE_BYTES_MAX + 1).to_bytes(4, "big")],
)
async def test_who_speaks_otherwise_is_cut_off_and_costs_the_others_nothing(tmp_path: Path, said: bytes) -> None:
    """A message beyond 64 MiB is not even waited for."""
    path, store = tmp_path / "s", OwnStore()
    async with serving(path, store), UnixStore(str(path)) as other:
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(said)
        async with asyncio.timeout(WAIT_S):
            assert await reader.read() == b""
        writer.close()
        await opened(other)


async def test_an_answer_too_large_is_an_error_and_not_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One page that nobody could take must not break what else is under way."""
    path, store = tmp_path / "s", OwnStore()
    async with serving(path, store), UnixStore(str(path)) as other:
        await opened(other)
        await other.append([batch(f"n{n}") for n in range(100)])
        monkeypatch.setattr("catalyst_signals.peers.MESSAGE_BYTES_MAX", 5000)
        with pytest.raises(CatalystError, match="too large"):
            await other.read("main", 0, 100)
        assert len(await other.read("main", 0, 5)) == 5


# -- the store ------------------------------------------------------------------------------------------------------


async def test_a_broken_connection_leaves_every_outcome_unknown_and_comes_back(tmp_path: Path) -> None:
    """The publisher appends the same again, and it is stored once."""
    path, store = tmp_path / "s", OwnStore()
    async with serving(path, store):
        other = UnixStore(str(path))
        await other.__aenter__()
        await opened(other)
        store.open.clear()
        under_way = [asyncio.create_task(other.append([batch("a")])) for _ in range(3)]
        await soon(lambda: len(store.commits) == 2)
        asyncio.get_running_loop().call_later(0.3, store.open.set)  # After the connection broke.
    assert all(isinstance(each, StoreUnavailable) for each in await asyncio.gather(*under_way, return_exceptions=True))
    with pytest.raises(StoreUnavailable, match="away"):
        await other.extents()
    with pytest.raises(StoreUnavailable, match="away"):
        other.check_there()
    async with serving(path, store):
        await soon(lambda: other._link.connected)
        (again,) = await other.append([batch("a")])
        assert isinstance(again, Stored)
        assert (await other.extents())["main"].last == 1
        await other.__aexit__()


async def test_calls_are_answered_when_they_are_ready(tmp_path: Path) -> None:
    """Reading never waits for a commit."""
    path, store = tmp_path / "s", OwnStore()
    async with serving(path, store), UnixStore(str(path)) as other:
        await opened(other)
        store.open.clear()
        commit = asyncio.create_task(other.append([batch("a")]))
        await soon(lambda: len(store.commits) == 2)
        async with asyncio.timeout(WAIT_S):
            assert await other.read("main", 0, 10) == []
        store.open.set()
        await commit


async def test_what_comes_while_a_commit_is_under_way_is_joined_into_the_next(tmp_path: Path) -> None:
    """Three processes and the owner itself: five appends, two commits, each answered for itself."""
    path, store = tmp_path / "s", OwnStore()
    async with serving(path, store) as gatherer, UnixStore(str(path)) as one, UnixStore(str(path)) as two:
        await opened(store)
        store.open.clear()
        first = asyncio.create_task(one.append([batch("a")]))
        await soon(lambda: len(store.commits) == 2)
        tasks = [
            asyncio.create_task(each.append([batch(id), *more]))
            for each, id, more in ((one, "b", []), (two, "c", [batch("d")]), (two, "a", []), (gatherer, "e", []))
        ]
        await soon(lambda: len(gatherer._queue) == 4)
        store.open.set()
        results = [await first, *await asyncio.gather(*tasks)]
        assert store.commits == [1, 1, 5]
        assert [[r.receipts[0].id for r in result if isinstance(r, Stored)] for result in results] == [
            ["a"], ["b"], ["c", "d"], ["a"], ["e"],
        ]  # fmt: skip
        assert results[3][0].receipts[0].duplicate


async def test_refusals_and_value_errors_cross_as_they_are(tmp_path: Path) -> None:
    """IdTaken is one batch's own; ValueError is what `begin_epoch` promises."""
    path, store = tmp_path / "s", OwnStore()
    async with serving(path, store), UnixStore(str(path)) as other:
        await opened(other)
        await other.append([batch("a")])
        stranger = Batch(channel="main", subject="bob", drafts=batch("a").drafts)
        taken, stored = await other.append([stranger, batch("b")])
        assert isinstance(taken, Refused)
        assert type(taken.error) is IdTaken
        assert taken.error.got == "a"
        assert isinstance(stored, Stored)
        with pytest.raises(ValueError, match="an epoch begins above"):
            await other.begin_epoch("main", 1, "no")
        await other.drop("main", 1)
        with pytest.raises(PositionTooOld) as old:
            await other.read("main", 0, 10)
        assert old.value.extra == {"first": 2}


async def test_a_fault_of_the_store_is_told_when_it_comes_and_when_it_goes(tmp_path: Path) -> None:
    """`/readyz` of every process names it."""
    path, store = tmp_path / "s", OwnStore()
    async with serving(path, store), UnixStore(str(path)) as other:
        assert (other.durability, other.fault) == ("memory", None)
        store.wrong = StoreCorrupt("bad", channel="main", seq=7)
        await soon(lambda: other.fault is not None)
        assert vars(other.fault) == vars(store.wrong)
        with pytest.raises(StoreCorrupt):
            await other.append([batch("a")])
        store.wrong = None
        await soon(lambda: other.fault is None)


async def test_much_at_once_is_parted_and_answered_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit's batches together may be more than one message takes."""
    monkeypatch.setattr("catalyst_signals.stores.unix.PORTION_BYTES", 100)
    path, store = tmp_path / "s", OwnStore()
    async with serving(path, store), UnixStore(str(path)) as other:
        await opened(other)
        results = await other.append([batch(f"n{n}") for n in range(50)])
        assert [r.receipts[0].seq for r in results if isinstance(r, Stored)] == list(range(1, 51))
        assert len(store.commits) > 5


async def test_a_peer_that_asks_without_end_is_held_and_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bounded in the owner; nobody is forgotten."""
    monkeypatch.setattr("catalyst_signals.stores.unix.serving.ASKS_MAX", 4)
    path, store = tmp_path / "s", OwnStore()
    async with serving(path, store), UnixStore(str(path)) as other:
        await opened(other)
        pages = await asyncio.gather(*(other.extents() for _ in range(500)))
        assert len(pages) == 500


async def test_nobody_there_is_said_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong path in `store_url` ends a start; it does not hang it."""
    monkeypatch.setattr("catalyst_signals.stores.unix.OPEN_S", 0.2)
    with pytest.raises(StoreUnavailable, match="no process that owns a log"):
        await UnixStore.from_url(f"unix:///{tmp_path}/nobody.sock").__aenter__()
    with pytest.raises(Misconfigured, match="SOCKET"):
        UnixStore.from_url("unix:")
    with pytest.raises(Misconfigured, match="at most"):
        UnixStore.from_url(f"unix:////{'x' * 200}")


# -- the hints ------------------------------------------------------------------------------------------------------


def frame(seq: int, size: int = 10) -> Frame:
    return Frame("main", "e", seq, "p", "h", b"x" * size, 2)


class Ear:
    """Everything a broker lets hear."""

    def __init__(self, broker: UnixBroker | UnixExchange) -> None:
        self.frames: list[Frame] = []
        self.task = asyncio.create_task(self._listen(broker))

    async def _listen(self, broker: UnixBroker | UnixExchange) -> None:
        async for each in broker.listen():
            self.frames.append(each)

    @property
    def seqs(self) -> list[int]:
        return [each.seq for each in self.frames]


async def test_what_any_process_hints_all_others_hear(tmp_path: Path) -> None:
    """The one that has the socket too; our own do not come back."""
    path, exchange = tmp_path / "s", UnixExchange()
    async with exchange, Listener(str(path), {"hints": exchange.relay}):
        async with UnixBroker.from_url(f"unix:///{path}") as one, UnixBroker(str(path)) as two:
            ears = [Ear(broker) for broker in (exchange, one, two)]
            await soon(lambda: len(exchange.relay._peers) == 2 and all(_listens(b) for b in (exchange, one, two)))
            await one.publish([frame(1), frame(2)])
            await exchange.publish([frame(3)])
            await two.publish([])
            await soon(lambda: [len(ear.frames) for ear in ears] == [2, 1, 3])
            assert [sorted(ear.seqs) for ear in ears] == [[1, 2], [3], [1, 2, 3]]
            assert ears[0].frames[0] == frame(1)
            assert all(not ear.task.done() for ear in ears)
            for ear in ears:
                ear.task.cancel()


def _listens(broker: UnixBroker | UnixExchange) -> bool:
    return bool(broker._ears._queues)


async def test_hints_come_again_after_a_break_and_a_break_is_said(tmp_path: Path) -> None:
    """The follower polls meanwhile; it must know."""
    path = tmp_path / "s"
    async with UnixBroker(str(path)) as broker:
        for _ in range(2):
            exchange = UnixExchange()
            async with Listener(str(path), {"hints": exchange.relay}):
                await soon(lambda: broker._link.connected)
                ear = Ear(broker)
                await soon(lambda: _listens(broker))
                await exchange.publish([frame(1)])
                await soon(lambda: ear.seqs == [1])  # noqa: B023
            with pytest.raises(Unavailable):
                await ear.task
            with pytest.raises(Unavailable):
                await broker.publish([frame(2)])


async def test_who_does_not_read_loses_hints_and_delays_nobody(tmp_path: Path) -> None:
    """Its poll finds the rest; memory stays bounded."""
    path, exchange = tmp_path / "s", UnixExchange()
    async with exchange, Listener(str(path), {"hints": exchange.relay}), UnixBroker(str(path)) as good:
        _, stuck = await asyncio.open_unix_connection(path)
        stuck.transport.pause_reading()  # type: ignore[attr-defined]
        stuck.write(pack(["catalyst", 1, "hints"]))
        ear = Ear(good)
        await soon(lambda: len(exchange.relay._peers) == 2 and _listens(good))
        for seq in range(40):
            await exchange.publish([frame(seq, 500_000)])
            await soon(lambda: len(ear.frames) == seq + 1)  # noqa: B023
        behind = [peer.behind_bytes for peer in exchange.relay._peers]
        assert max(behind) < BEHIND_BYTES_MAX + 1_000_000
        assert exchange.relay.unheard > 0
        await exchange.publish([frame(99, 2 << 20), frame(100)])
        await soon(lambda: 100 in ear.seqs)
        assert 99 not in ear.seqs, "too large for a hint: the poll finds it"
        ear.task.cancel()
        stuck.close()


def test_the_void_of_a_range_crosses_as_it_was_said() -> None:
    """The resume table is told from these fields."""
    sent = RangeUntrusted("x", void=[3, 5], resume_after=5, epoch="e")
    assert vars(wrong_of(sent).error()) == vars(sent)
