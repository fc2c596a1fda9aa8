"""The parts by which a process reaches the log and the others: its own, or those of a process among several.

Owns: which they are, and the socket that the first of several has open for the rest. processes.py starts them.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass

import msgspec

from catalyst_signals.brokers import BROKERS, Broker
from catalyst_signals.brokers.unix import UnixExchange
from catalyst_signals.peers import Link, Listener, Relay, Service, reachable
from catalyst_signals.publish import Appends
from catalyst_signals.server.moving import MovingStore
from catalyst_signals.server.settings import Settings
from catalyst_signals.server.siblings import Siblings
from catalyst_signals.stores import STORES, Store
from catalyst_signals.stores.unix import UnixStore
from catalyst_signals.stores.unix.gathering import Gatherer
from catalyst_signals.stores.unix.serving import StoreService
from catalyst_signals.urls import open_backend


class Place(msgspec.Struct, frozen=True):
    """Which of several processes this is: the first has the socket."""

    number: int
    of: int
    socket: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a process stands on. `appends` is the store, or what gathers for it."""

    store: Store
    appends: Appends
    broker: Broker
    check_there: Callable[[], None]
    when_back: Callable[[Callable[[], None]], None]
    siblings: Siblings | None
    keeps_house: bool  # Expiry, retention and the search for damage: once a log is enough.


async def open_parts(stack: AsyncExitStack, settings: Settings, place: Place | None) -> Parts:
    """Open them on `stack`.

    Raises:
        Misconfigured: a setting cannot work.
        StoreUnavailable: the process that owns the log does not answer.
    """
    url = settings.store_url
    forwarded = url.startswith("unix:")
    opened = open_backend(url, STORES, setting="store_url") if forwarded else MovingStore(url)
    store: Store = await stack.enter_async_context(opened)
    if place is not None and place.number == 1:
        return await _first(stack, settings, place, store)
    broker: Broker = await stack.enter_async_context(open_backend(settings.broker_url, BROKERS, setting="broker_url"))
    siblings = await _report_to_the_first(stack, place) if place is not None else None
    return _parts(store, store, broker, siblings)


def _parts(store: Store, appends: Appends, broker: Broker, siblings: Siblings | None) -> Parts:
    """A log that another process owns is kept by that one, and can be away."""
    forwarded = store if isinstance(store, UnixStore) else None
    return Parts(
        store=store, appends=appends, broker=broker, siblings=siblings, keeps_house=forwarded is None,
        check_there=forwarded.check_there if forwarded is not None else _nothing,
        when_back=forwarded.when_back if forwarded is not None else _never,
    )  # fmt: skip


def _nothing() -> None:
    """A store of our own says itself when it is away."""


def _never(back: Callable[[], None]) -> None:
    """And it is not known to be back before it has answered."""


async def _first(stack: AsyncExitStack, settings: Settings, place: Place, store: Store) -> Parts:
    """The first of several: it serves the others what they lack."""
    gatherer, exchange = Gatherer(store), UnixExchange()
    broker: Broker = exchange
    if not settings.broker_url.startswith("memory:"):
        broker = await stack.enter_async_context(open_backend(settings.broker_url, BROKERS, setting="broker_url"))
    reports = Relay(lambda message: siblings.heard(message))
    siblings = Siblings(1, place.of, reports.say)
    service = await stack.enter_async_context(StoreService(store, gatherer))
    services: dict[str, Service] = {"store": service, "hints": exchange.relay, "reports": reports}
    await stack.enter_async_context(Listener(reachable(place.socket), services))
    return _parts(store, gatherer, broker, siblings)


async def _report_to_the_first(stack: AsyncExitStack, place: Place) -> Siblings:
    link = Link(reachable(place.socket), "reports", lambda message: siblings.heard(message))
    siblings = Siblings(place.number, place.of, link.say)
    await stack.enter_async_context(link)
    return siblings
