"""Catalyst in seven steps. Would this help somebody who learns it for the first time?"""

from __future__ import annotations

import asyncio

import pytest

from catalyst_signals import Signal, connect
from catalyst_signals.errors import Forbidden
from tests.running import RunningServer


async def test_1_publish_a_signal_and_read_it_back(server: RunningServer) -> None:
    """A signal needs an instrument and an action. The receipt is the proof that it is on disk."""
    async with connect(server.url, server.admin_key) as catalyst:
        receipt = await catalyst.publish({"symbol": "ACME", "action": "BUY", "confidence": 0.82, "stop": "9.40"})
        assert receipt.seq == 1 and receipt.durability == "disk"

        (signal,) = [signal async for signal in catalyst.history()]
        assert (signal.symbol, signal.side, signal.confidence) == ("ACME", "BUY", 0.82)
        assert str(signal.stop_price) == "9.40"  # A Decimal, with the digits that were typed.


async def test_2_listen_for_what_you_want(server: RunningServer) -> None:
    """A filter is one line of text. The server checks it when you subscribe and evaluates it for you."""
    async with connect(server.url, server.admin_key) as catalyst:
        async with catalyst.signals("symbol in (ACME, XYZ) and confidence >= 0.7") as signals:
            await catalyst.publish({"symbol": "ACME", "action": "BUY", "confidence": 0.2})
            await catalyst.publish({"symbol": "XYZ", "action": "SELL", "confidence": 0.9})
            signal = await anext(signals)
    assert (signal.symbol, signal.side) == ("XYZ", "SELL")


async def test_3_come_back_after_the_night(server: RunningServer) -> None:
    """A position says "I am done with everything up to here". Resume after it: nothing missing, nothing twice."""
    async with connect(server.url, server.admin_key) as catalyst:
        for n in range(3):
            await catalyst.publish({"symbol": "ACME", "action": "BUY", "id": f"evening-{n}"})
        async with catalyst.signals(after=0) as signals:
            assert [(await anext(signals)).seq for _ in range(2)] == [1, 2]
            place = 2  # Keep this with what you did about it; a file will do.

    async with connect(server.url, server.admin_key) as catalyst, catalyst.signals(after=place) as signals:
        assert (await anext(signals)).id == "evening-2"


async def test_4_a_retry_is_not_a_second_signal(server: RunningServer) -> None:
    """Give a draft an id of yours, and send it as often as you like."""
    draft = {"id": "my-bot-2026-11-26-001", "symbol": "ACME", "action": "BUY"}
    async with connect(server.url, server.admin_key) as catalyst:
        first = await catalyst.publish(draft)
        again = await catalyst.publish(draft)
    assert again.duplicate and again.seq == first.seq


async def test_5_a_key_for_a_friend(server: RunningServer) -> None:
    """A key has scopes, channels and, if you like, a filter of its own that its owner cannot widen."""
    key = server.new_key(user="eve", scopes=["subscribe"], channels=["main"], filter="confidence >= 0.5")
    async with connect(server.url, server.admin_key) as catalyst:
        await catalyst.publish({"symbol": "ACME", "action": "BUY", "confidence": 0.1})
        await catalyst.publish({"symbol": "ACME", "action": "BUY", "confidence": 0.9})
    async with connect(server.url, key) as friend:
        assert [signal.seq async for signal in friend.history()] == [2]
        with pytest.raises(Forbidden):
            await friend.publish({"symbol": "ACME", "action": "BUY"})


async def test_6_signals_from_tradingview(server: RunningServer) -> None:
    """Paste the URL into the alert's webhook field; what TradingView posts becomes a signal."""
    with server.http() as admin:
        url = admin.post("/v1/ingest", json={"adapter": "tradingview"}).json()["url"]
        admin.post(url, content="order buy @ 1 filled on NASDAQ:ACME. New strategy position is 1")
    async with connect(server.url, server.admin_key) as catalyst:
        (signal,) = [signal async for signal in catalyst.history()]
    assert (signal.symbol, signal.side) == ("ACME", "BUY")


async def test_7_the_server_may_die_at_any_time(server: RunningServer) -> None:
    """The client reconnects by itself and goes on where it was; what was acknowledged is there."""
    got: list[Signal] = []

    async def listen() -> None:
        async with connect(server.url, server.admin_key) as catalyst:
            async for signal in catalyst.signals(after=0):
                got.append(signal)

    listener = asyncio.create_task(listen())
    async with connect(server.url, server.admin_key, publish_timeout_s=60) as catalyst:
        await catalyst.publish({"symbol": "ACME", "action": "BUY", "id": "before"})
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.start)
        await catalyst.publish({"symbol": "ACME", "action": "BUY", "id": "after"})
    async with asyncio.timeout(60):
        while len(got) < 2:
            await asyncio.sleep(0.05)
    listener.cancel()
    await asyncio.wait([listener])
    assert [signal.id for signal in got] == ["before", "after"]
