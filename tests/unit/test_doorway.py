"""Everybody comes in, in order, and the event loop goes on between them."""

from __future__ import annotations

import asyncio

from catalyst_signals.server.doorway import Doorway


async def test_those_who_come_at_once_come_in_in_order_over_many_turns() -> None:
    """A turn takes as many as its time allows, one at least; who comes later stands behind who waits."""
    now_s, came, turns = 0.0, list[int](), list[int]()

    def enter(who: int) -> None:
        nonlocal now_s
        now_s += 0.4
        came.append(who)

    doorway = Doorway(turn_s=1.0, clock=lambda: now_s)
    at_once = [doorway.come(lambda who=who: enter(who)) for who in range(10)]  # type: ignore[misc]
    assert at_once == [True] * 3 + [False] * 7
    await asyncio.sleep(0)
    assert not doorway.come(lambda: enter(10))
    while len(came) < 11:
        turns.append(len(came))
        await asyncio.sleep(0)
    assert came == list(range(11)) and turns == [6, 9]


async def test_a_turn_later_it_is_open_again() -> None:
    now_s, came = 0.0, list[str]()
    doorway = Doorway(turn_s=1.0, clock=lambda: now_s)
    assert doorway.come(lambda: came.append("a"))
    now_s = 5.0
    for _ in range(2):
        await asyncio.sleep(0)
    assert doorway.come(lambda: came.append("b")) and came == ["a", "b"]


async def test_one_who_takes_longer_than_a_turn_comes_in_all_the_same() -> None:
    now_s = 0.0
    came: list[int] = []

    def slowly(who: int) -> None:
        nonlocal now_s
        now_s += 3
        came.append(who)

    doorway = Doorway(turn_s=1.0, clock=lambda: now_s)
    for who in range(3):
        doorway.come(lambda who=who: slowly(who))  # type: ignore[misc]
    assert came == [0]
    for _ in range(3):
        await asyncio.sleep(0)
    assert came == [0, 1, 2]
