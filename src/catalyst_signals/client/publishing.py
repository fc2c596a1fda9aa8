"""Drafts go out over one connection, pipelined, and come back as receipts; what is unanswered is sent again.

Owns: the window, the matching of answers to drafts, retries. Knows nothing of subscriptions or of what a draft says.
Law: a draft keeps its id through every retry, so the log holds it once; each draft is answered once, with a receipt or
an error, and none waits for ever.

There is no task here: one of those who wait for an answer reads the socket, for all of them.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count
from typing import Any, Literal
from uuid import uuid4

import msgspec

from catalyst_signals.client.line import Hooks, Line
from catalyst_signals.client.link import Dropped, Link, encode
from catalyst_signals.errors import CatalystError, InvalidDraft, TooLarge, Unavailable, from_dict


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """The draft is in the log, kept as safely as `durability` says.

    `ts` is the time of the commit, RFC 3339. `duplicate`: it was there before, and this is the first answer again.
    `id_by` is who gave the id: the `publisher`, or this `client` because there was none.
    """

    channel: str
    epoch: str
    seq: int
    id: str
    version: int
    ts: str
    duplicate: bool
    durability: str
    id_by: Literal["publisher", "client"]


@dataclass(slots=True, order=True)
class Ask:
    """A draft on its way. The lowest number goes first, also when it goes again."""

    number: int
    channel: str = field(compare=False)
    id: str = field(compare=False)
    id_by: Literal["publisher", "client"] = field(compare=False)
    text: bytes = field(compare=False)
    answer: Receipt | CatalystError | None = field(default=None, compare=False)
    setback: CatalystError | None = field(default=None, compare=False)  # The last refusal that could be retried.


class Publisher:
    """All publishing of one client."""

    def __init__(self, dial: Callable[[], Awaitable[Link]], hooks: Hooks, timeout_s: float) -> None:
        """`timeout_s` is the longest wait for the next answer, retries and reconnects included."""
        self._hooks = hooks
        self._timeout_s = timeout_s
        self._line = Line(dial, self._prepare, hooks)
        self._numbers = count(1)
        self._reading = False  # Whether one of those who wait reads the socket.
        self._sleepers: dict[int, asyncio.Future[None]] = {}  # The others, by the number of the draft they wait for.
        self._waiting: list[Ask] = []  # A heap: not sent, or to be sent again.
        self._flying: dict[int, Ask] = {}  # Sent on the present connection, by `ref`.
        self._paused_until_s = 0.0

    async def publish(self, channel: str, drafts: Sequence[Mapping[str, Any]]) -> list[Receipt | CatalystError]:
        """Each draft's answer, in their order. Drafts are checked to be JSON before any is sent.

        Raises:
            InvalidDraft: one of them is not JSON; nothing was sent.
        """
        asks = [self._ask(channel, draft) for draft in drafts]
        for ask in asks:
            heappush(self._waiting, ask)
        fault: TimeoutError | CatalystError | None = None
        try:
            for ask in asks:
                if ask.answer is None:
                    await self._until_answered(ask)
        except (TimeoutError, CatalystError) as caught:
            fault = caught
        finally:  # Also when cancelled: what has an answer is not sent again.
            answers = [ask.answer or self._unanswered(ask, fault) for ask in asks]
            for ask, answer in zip(asks, answers, strict=True):
                ask.answer = answer
        return answers

    def _ask(self, channel: str, draft: Mapping[str, Any]) -> Ask:
        named = draft.get("id") is not None
        signal = draft if named else {**draft, "id": uuid4().hex}
        by: Literal["publisher", "client"] = "publisher" if named else "client"
        return Ask(next(self._numbers), channel, str(signal["id"]), by, text_of(signal))

    async def _until_answered(self, ask: Ask) -> None:
        async with asyncio.timeout(self._timeout_s):
            while ask.answer is None:
                if self._reading:
                    await self._sleep(ask)
                else:
                    await self._read_until(ask)

    async def _read_until(self, ask: Ask) -> None:
        """Read for all who wait, until our own answer is there; then one of them reads."""
        self._reading = True
        try:
            while ask.answer is None:
                await self._step()
        finally:
            self._reading = False
            self._wake_one()

    async def _sleep(self, ask: Ask) -> None:
        """Somebody else reads: send what fits, then wait for the answer, or to be the one who reads."""
        if self._line.link is not None:
            with suppress(Dropped, CatalystError):  # Who reads finds out as well, and deals with it.
                await self._fill(self._line.link)
        if ask.answer is not None or not self._reading:
            return
        wake = self._sleepers[ask.number] = asyncio.get_running_loop().create_future()
        try:
            await wake
        except asyncio.CancelledError:
            if not self._reading:  # We may have been woken to read just when we gave up.
                self._wake_one()
            raise
        finally:
            del self._sleepers[ask.number]

    def _wake_one(self) -> None:
        wake = next((wake for wake in self._sleepers.values() if not wake.done()), None)
        if wake is not None:
            wake.set_result(None)

    async def _step(self) -> None:
        """Send what fits, take one answer; make the connection when there is none."""
        await self._line.open()
        link = self._line.link
        if link is None:
            raise Unavailable("the client was closed")
        try:
            await self._fill(link)
            if self._flying:
                self._settle(await link.receive())
            else:
                await asyncio.sleep(max(0.0, self._paused_until_s - asyncio.get_running_loop().time()))
        except Dropped as dropped:
            self._lose(link, dropped)
        except CatalystError as final:
            self._lose(link, Dropped(final.message))
            raise

    async def _prepare(self, link: Link) -> None:
        self._hooks.now("live")

    async def _fill(self, link: Link) -> None:
        """Send until the window is full. The link is asked for each time: while we waited it may have been given up."""
        now_s = asyncio.get_running_loop().time
        while self._waiting and link is self._line.link and now_s() >= self._paused_until_s:
            if len(self._flying) >= link.publishes_in_flight:
                return
            ask = heappop(self._waiting)
            if ask.answer is not None:
                continue
            message = {"type": "publish", "ref": ask.number, "channel": ask.channel, "signal": msgspec.Raw(ask.text)}
            text = encode(message)
            if len(text) > link.message_bytes:  # Sending it would end the connection for all.
                says = f"the draft makes a message of {len(text)} bytes; the server takes {link.message_bytes}"
                ask.answer = TooLarge(says, got=len(text), allowed=link.message_bytes)
                continue
            self._flying[ask.number] = ask
            await link.send(text)

    def _settle(self, message: dict[str, Any]) -> None:
        if message.get("type") not in ("accepted", "error"):
            return
        ask = self._flying.pop(message.get("ref", 0), None)
        if ask is None:
            return
        if message["type"] == "error" and message.get("retry") is True:
            self._put_back(ask, message)
            return
        self._line.again.tries = 0
        ask.answer = from_dict(message) if message["type"] == "error" else receipt_of(message, ask.channel, ask.id_by)
        wake = self._sleepers.get(ask.number)
        if wake is not None and not wake.done():
            wake.set_result(None)

    def _put_back(self, ask: Ask, message: dict[str, Any]) -> None:
        """The server has too much to do: nobody of us sends for a while."""
        ask.setback = from_dict(message)
        wait_s = max(float(message.get("retry_after_s", 0.0)), self._line.again.next_s())
        self._paused_until_s = asyncio.get_running_loop().time() + wait_s
        heappush(self._waiting, ask)

    def _lose(self, link: Link, dropped: Dropped) -> None:
        """What flew is sent again, with the ids it had; the answers say which had arrived."""
        if link is self._line.link:
            for ask in self._flying.values():
                heappush(self._waiting, ask)
            self._flying.clear()
            self._line.lose(dropped)

    def _unanswered(self, ask: Ask, fault: TimeoutError | CatalystError | None) -> CatalystError:
        if isinstance(fault, CatalystError):
            return fault
        error = Unavailable(
            f"no answer in {self._timeout_s:g} s: it is not known whether it was stored; publish it again with this id",
            id=ask.id,
        )
        error.__cause__ = ask.setback or fault
        return error

    async def close(self) -> None:
        """For good."""
        await self._line.close()


def text_of(draft: Mapping[str, Any]) -> bytes:
    """A draft, or a change of one, as it is sent.

    Raises:
        InvalidDraft: it is not JSON.
    """
    try:
        text = encode(draft)
    except (TypeError, ValueError, RecursionError, msgspec.MsgspecError) as fault:
        raise InvalidDraft(f"a draft is JSON: {fault}") from fault
    if b"null" in text and _has_nan(draft):
        raise InvalidDraft("a draft holds NaN or an infinite number, which JSON cannot say; leave the field out")
    return text


def receipt_of(message: dict[str, Any], channel: str, id_by: Literal["publisher", "client"] = "publisher") -> Receipt:
    """What the server answered, as the publisher is told."""
    return Receipt(
        channel=message.get("channel", channel), epoch=message["epoch"], seq=message["seq"], id=message["id"],
        version=message["version"], ts=message["ts"], duplicate=message["duplicate"],
        durability=message["durability"], id_by=id_by,
    )  # fmt: skip


def _has_nan(value: object) -> bool:
    """Whether a number in it would silently have become null."""
    if isinstance(value, float):
        return not math.isfinite(value)
    if isinstance(value, Mapping):
        return any(_has_nan(one) for one in value.values())
    return isinstance(value, list | tuple | set | frozenset) and any(_has_nan(one) for one in value)
