"""The other end of `unix:`: calls of other processes, made on the store that this process owns.

Owns: which calls are under way, and how many of one peer may be. Law: a call ends with an answer or an error, never
with neither; a peer that asks too much is not heard until it is answered.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Sequence
from typing import Any, Self

import msgspec

from catalyst_signals.errors import CatalystError, Unsupported
from catalyst_signals.events import Refused, Stored
from catalyst_signals.peers import Peer, Wrong, pack, wrong_of
from catalyst_signals.stores import Store
from catalyst_signals.stores.unix import CALLS, Ask, State
from catalyst_signals.stores.unix.gathering import Gatherer
from catalyst_signals.vital import vital

log = logging.getLogger("catalyst.unix")

ASKS_MAX = 256  # Of one peer at once.
LOOK_S = 0.5  # How often the store is asked whether it has a fault that its owner found, or has moved.

_ask = msgspec.msgpack.Decoder(Ask).decode
_args = {call: msgspec.msgpack.Decoder(args).decode for call, (args, _) in CALLS.items()}


class StoreService:
    """Serves a store to peers. Enter it to start; leaving lets what is under way end."""

    def __init__(self, store: Store, gatherer: Gatherer) -> None:
        self._store = store
        self._gatherer = gatherer
        self._asks: Counter[Peer] = Counter()
        self._peers: set[Peer] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._told: tuple[CatalystError | None, str] = (None, "")
        self._looking: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._told = self._known()
        self._looking = vital(self._look_for_ever())
        return self

    async def __aexit__(self, *exc: object) -> None:
        tasks = [*self._tasks, *([self._looking] if self._looking else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._gatherer.close()

    def joined(self, peer: Peer) -> None:
        """Service.joined"""
        self._peers.add(peer)
        peer.write(self._state())

    def left(self, peer: Peer) -> None:
        """Service.left: what it asked for is done all the same; it may ask again."""
        self._peers.discard(peer)

    def heard(self, peer: Peer, message: bytes) -> None:
        """Service.heard"""
        ask = _ask(message)
        self._asks[peer] += 1
        if self._asks[peer] >= ASKS_MAX:
            peer.hold()
        task = asyncio.get_running_loop().create_task(self._answer(peer, ask))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, peer: Peer, ask: Ask) -> None:
        try:
            packed = pack((ask.number, await self._call(ask)))
        except (CatalystError, ValueError) as error:
            packed = pack((ask.number, None, wrong_of(error)))
        except Exception as error:  # Who asked has to know; and one call of one process must not end all.
            log.exception("a call of another process failed", extra={"call": ask.call})
            packed = pack((ask.number, None, wrong_of(CatalystError(f"the owner of the log failed: {error!r}"))))
        finally:
            self._asks[peer] -= 1
            if self._asks[peer] <= 0:
                del self._asks[peer]
            peer.go_on()
        self._look()
        peer.write(packed)

    async def _call(self, ask: Ask) -> Any:
        """What the store answers.

        Raises:
            CatalystError, ValueError: what the store raises, or that the call cannot be understood.
        """
        if ask.call not in CALLS:
            raise Unsupported("the store has no such call", field="call", got=ask.call, allowed=sorted(CALLS))
        args: Sequence[Any] = _args[ask.call](ask.args)
        if ask.call == "append":
            return [_outcome(result) for result in await self._gatherer.append(args[0])]
        if ask.call == "keep":
            *place, was, holder, ttl_s = args
            return await self._store.keep(*place, was=was, holder=holder, ttl_s=ttl_s)
        return await getattr(self._store, ask.call)(*args)

    async def _look_for_ever(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            self._look()

    def _look(self) -> None:
        """Tell everybody when the store has another fault than was told, or another durability: it may have moved."""
        now = self._known()
        if now[0] is not self._told[0] or now[1] != self._told[1]:
            self._told = now
            for peer in self._peers:
                peer.write(self._state())

    def _state(self) -> bytes:
        fault, durability = self._told
        return pack((0, State(durability, wrong_of(fault) if fault is not None else None)))

    def _known(self) -> tuple[CatalystError | None, str]:
        return self._store.fault, getattr(self._store, "durability", "")


def _outcome(result: Stored | Refused) -> tuple[Stored | None, Wrong | None]:
    return (None, wrong_of(result.error)) if isinstance(result, Refused) else (result, None)
