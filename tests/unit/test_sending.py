"""What becomes of a message that is not taken, and of a target that is removed, in a whole node in memory.

Covers catalyst_signals.workers.sending, catalyst_signals.workers.targets and catalyst_signals.server.outgoing.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from catalyst_signals.auth.api_keys import principal_of
from catalyst_signals.errors import Unsupported
from catalyst_signals.events import Batch, iso, now_us
from catalyst_signals.projections import Snapshot, SystemState, Target, from_bytes
from catalyst_signals.retention import sweep
from catalyst_signals.server.app import open_node
from catalyst_signals.server.node import Node
from catalyst_signals.server.outgoing import kept_form
from catalyst_signals.server.settings import Settings
from catalyst_signals.signals import signal_draft
from catalyst_signals.signatures import new_signing_secret
from catalyst_signals.workers import sending
from catalyst_signals.workers.keeping import OVER
from catalyst_signals.workers.messages import Message
from catalyst_signals.workers.notifying import Notifier, check
from catalyst_signals.workers.sending import State, state_of
from tests.sink import Sink


@pytest.fixture
def sink() -> Iterator[Sink]:
    with Sink() as running:
        yield running


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    settings = Settings(store_url="memory:", targets_allow=["127.0.0.0/8"], lease_s=1)
    async with open_node(settings) as opened:
        yield opened


async def add(node: Node, url: str, **more: object) -> str:
    """A target of the admin's."""
    (key,) = node.state.keys.values()
    tape = node.hub.tapes["main"]
    target = Target(
        f"t{now_us()}", key.user, key.id, url, "main", "", iso(now_us()), tape.done_epoch, tape.done,
        secret=new_signing_secret(), **more,  # type: ignore[arg-type]
    )  # fmt: skip
    await node.administer(principal_of(key), "target.created", kept_form(target))
    return target.id


async def publish(node: Node, *ids: str) -> None:
    drafts = [signal_draft({"id": id, "symbol": "ACME", "action": "BUY"}, subject="bot")[0] for id in ids]
    await node.publisher.publish(Batch(channel="main", subject="bot", drafts=drafts))


async def comes(what: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not what():
            await asyncio.sleep(0.01)


def state(node: Node, id: str) -> State:
    assert node.out is not None
    runner = node.out.runners.get(id)
    return runner.state if runner is not None else State()


async def test_what_nobody_takes_becomes_a_dead_letter_and_the_list_has_an_end(
    node: Node, sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "TRIES_MAX", 4)
    monkeypatch.setattr(sending, "PAUSES_S", (0.01, 0.02))
    monkeypatch.setattr(sending, "DEAD_MAX", 3)
    sink.status = 500
    id = await add(node, f"{sink.url}/dead")
    await publish(node, *"abcde")
    await comes(lambda: state(node, id).dead_lost == 2)
    assert [(dead.id, dead.error) for dead in state(node, id).dead] == [
        (name, "given up: it answered 500") for name in "cde"
    ]
    tries = [came.headers["webhook-id"] for came in sink.came]
    assert tries.count("a") == 4 and tries.count("e") == 2, "who was given up once is not waited for so long again"
    sink.status = 200
    await publish(node, "f")
    await comes(lambda: state(node, id).sent == 1)
    kept = state_of((await node.store.kept(f"out.{id}", "main")).state)
    assert len(kept.dead) == 3 and kept.dead_lost == 2, "they are kept as soon as they are dead"


async def test_a_bug_in_one_target_is_told_and_costs_no_event(
    node: Node, sink: Sink, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sending, "BROKEN_S", 0.05)
    broken, well = await add(node, f"{sink.url}/broken"), await add(node, f"{sink.url}/well")
    await comes(lambda: node.out is not None and len(node.out.runners) == 2)
    assert node.out is not None
    way = node.out.runners[broken]._way
    real, calls = way.send, []

    async def send(message: sending.Message) -> sending.Outcome:
        calls.append(message.id)
        if len(calls) == 1:
            raise RuntimeError("a bug")
        return await real(message)

    way.send = send  # type: ignore[method-assign]
    await publish(node, "a", "b")
    await comes(lambda: len(sink.to("/broken")) == 2 and len(sink.to("/well")) == 2)
    assert "a target's loop failed" in caplog.text and calls == ["a", "a", "b"]
    assert state(node, well).sent == 2


async def test_a_slip_in_retry_after_does_not_put_a_target_off_for_years(
    node: Node, sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "RETRY_AFTER_S_MAX", 0.1)
    sink.status, sink.headers = 503, {"Retry-After": "99999999"}
    await add(node, f"{sink.url}/later")
    await publish(node, "a")
    await comes(lambda: sink.came)
    sink.status = 200
    await comes(lambda: len(sink.came) == 2)


async def test_a_change_that_comes_after_the_removal_brings_no_target_back(node: Node, sink: Sink) -> None:
    id = await add(node, sink.url)
    (key,) = node.state.keys.values()
    present = node.state.targets[id]
    await node.administer(principal_of(key), "target.removed", {"id": id})
    await node.administer(principal_of(key), "target.changed", kept_form(present))
    assert node.state.targets == {}


async def test_a_target_that_is_removed_holds_back_no_retention(node: Node, sink: Sink) -> None:
    id = await add(node, f"{sink.url}/hook")
    await publish(node, "a", "b")
    await comes(lambda: len(sink.came) == 2)
    (key,) = node.state.keys.values()
    await node.administer(principal_of(key), "target.removed", {"id": id})
    async with asyncio.timeout(5):
        while (await node.store.kept(f"out.{id}", "main")).seq != OVER:
            await asyncio.sleep(0.01)
    await publish(node, "c")
    swept = await sweep(node.store, sending_channel(node), now_us())
    assert not swept.waits_for and not swept.lost and swept.extent.first == 3
    assert len(sink.came) == 2


def sending_channel(node: Node):  # type: ignore[no-untyped-def]
    """The channel as if only its newest event were kept."""
    from msgspec.structs import replace

    return replace(node.state.channels["main"], count=1)


async def test_a_user_who_is_removed_takes_their_targets_along(node: Node) -> None:
    await add(node, "https://example.com/x")
    node.state.fold(_frame(node, b'{"type":"user.removed","data":{"user":"admin"}}'))
    assert node.state.targets == {}


def _frame(node: Node, text: bytes):  # type: ignore[no-untyped-def]
    from catalyst_signals.events import Frame

    epoch, seq, hash8 = node.state.place
    return Frame("system", epoch, seq + 1, hash8, hash8, text, 0)


async def test_without_the_extra_a_notification_is_refused_with_the_line_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "apprise", None)
    with pytest.raises(Unsupported, match=r"pip install 'catalyst-signals\[notify\]'"):
        await check("discord://123456789/abcdefghij")
    outcome = await Notifier("discord://123456789/abcdefghij", []).send(Message("x", test="hello"))
    assert outcome.kind == "later" and "pip install" in outcome.error


def test_a_snapshot_from_before_there_were_targets_can_be_read() -> None:
    old = SystemState(Snapshot("e", 5, "00000000")).to_bytes()
    assert b'"targets":{}' in old
    assert from_bytes(old.replace(b',"targets":{}', b"")).targets == {}
