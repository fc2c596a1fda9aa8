"""The composition root: settings in, a running server out. The only place that builds anything.

Owns: the order in which parts open and close, the bootstrap of the first key, the draining of a stopping process.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import random
import signal
import socket
import sys
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from importlib.util import find_spec
from types import FrameType
from typing import Any

import msgspec
import uvicorn
from fastapi import FastAPI

from catalyst_signals.auth import SCOPES, SERVER_CHANNELS
from catalyst_signals.auth.api_keys import ApiKeys, hash_secret, new_key, take_apart
from catalyst_signals.caches import CACHES, Cache
from catalyst_signals.errors import CatalystError, Conflict, Misconfigured
from catalyst_signals.events import Batch, Frame, iso, now_us
from catalyst_signals.expiry import Expirer
from catalyst_signals.follow import Follower
from catalyst_signals.hub import Hub
from catalyst_signals.pager import Fetch
from catalyst_signals.projections import BUILT_IN, Key, Snapshot, SystemState, from_bytes, system_draft
from catalyst_signals.publish import Appends, Publisher
from catalyst_signals.server import (
    admin,
    advising,
    api,
    deeds,
    describing,
    erasing,
    filters,
    halts,
    heartbeats,
    house,
    inbox,
    logs,
    outgoing,
    pulling,
    readiness,
    showing,
    sources,
    sse,
    status,
    targets,
    telemetry,
    transferring,
    versions,
)
from catalyst_signals.server.door import door
from catalyst_signals.server.doorway import Doorway
from catalyst_signals.server.guarding import (
    Breakers,
    GuardedAppends,
    GuardedBroker,
    GuardedCache,
    GuardedStore,
    look_for_ever,
)
from catalyst_signals.server.measuring import numbers
from catalyst_signals.server.node import Node
from catalyst_signals.server.protocol import HttpProtocol, SocketProtocol
from catalyst_signals.server.requests import install_error_handlers
from catalyst_signals.server.settings import Settings
from catalyst_signals.server.sharing import Parts, Place, open_parts
from catalyst_signals.server.skewing import Skewing
from catalyst_signals.server.telemetry import NO_TRACES, Telemetry
from catalyst_signals.stores import Store
from catalyst_signals.trust import Reader
from catalyst_signals.urls import open_backend
from catalyst_signals.vital import vital
from catalyst_signals.wire import SYSTEM_CHANNEL, frame_of

log = logging.getLogger("catalyst")

GARBAGE_AFTER = 20_000  # Objects; Python's 700 is a fifth of what a handshake costs.
SWITCH_S = 0.001  # Python's 5 ms is what each step of a commit would wait for whoever catches up meanwhile.
# Routes are tried in order: those that are asked most often come first.
ROUTERS = (
    inbox, api, filters, deeds, versions, erasing, admin, sources, targets, halts, heartbeats, transferring, sse,
    status, advising, showing,
)  # fmt: skip
GOODBYE_S = 1.0  # Between `goaway` and the close: time for a client to leave by itself.


@asynccontextmanager
async def open_node(settings: Settings, place: Place | None = None) -> AsyncIterator[Node]:
    """Every part of a process, open and level with the log; closed in reverse order. `place`: it is one of several.

    Raises:
        Misconfigured: a setting cannot work; says which and what does.
    """
    async with AsyncExitStack() as stack:
        breakers = Breakers()
        bare: Cache = await stack.enter_async_context(open_backend(settings.cache_url, CACHES, setting="cache_url"))
        cache = GuardedCache(bare, breakers.cache)
        parts = await open_parts(stack, settings, place)
        parts.when_back(breakers.back)
        store, broker = GuardedStore(parts.store, breakers), GuardedBroker(parts.broker, breakers.broker)

        for channel in BUILT_IN:
            await store.append([Batch(channel=channel, subject=SYSTEM_CHANNEL, drafts=[])])
        reader = Reader(store)
        hub = Hub(_fetch(reader), store.find, ring_bytes=settings.ring_bytes, turn_ms=settings.turn_ms)
        stack.push_async_callback(hub.close)
        follower = Follower(store, broker, hub, poll_s=settings.poll_s, reader=reader)
        state = await _system_state(store, hub)
        follower.fold(SYSTEM_CHANNEL, state.fold)
        await stack.enter_async_context(follower)
        await follower.caught_up(SYSTEM_CHANNEL)
        traces = Telemetry(settings) if settings.otlp_endpoint else None
        appends: Appends = store if parts.appends is parts.store else GuardedAppends(parts.appends, breakers.writes)
        appends = traces.traced(appends) if traces is not None else appends
        publisher = await stack.enter_async_context(_publisher(settings, parts, appends, follower, broker, breakers))
        parts.when_back(publisher.store_is_back)
        node = Node(
            settings, store, hub, follower, publisher, state, ApiKeys(state.keys), siblings=parts.siblings, cache=cache,
            breakers=breakers,
        )  # fmt: skip
        for channel in state.channels:
            await node.open_channel(channel)
        node.first_key = await _bootstrap(node)
        erasing.watch(node)
        follower.fold(SYSTEM_CHANNEL, node.newcomers.fold)
        works = [*_works(node), look_for_ever(cache, broker, store, breakers.upkeep)]
        if traces is not None:
            node.telemetry = traces
            works.append(traces.run(lambda: numbers(node)))
            stack.push_async_callback(lambda: traces.close(numbers(node)))
        expirers = [_keep_house(node, works)] if parts.keeps_house else []
        tasks = [vital(work) for work in works]
        stack.push_async_callback(_end, tasks)
        stack.push_async_callback(node.transfers.close)
        yield node
        with suppress(TimeoutError):  # A store that hangs must not keep the process.
            async with asyncio.timeout(settings.drain_s / 3):
                await _write_last(node, expirers)


def _publisher(
    settings: Settings, parts: Parts, appends: Appends, follower: Follower, broker: GuardedBroker, breakers: Breakers
) -> Publisher:  # fmt: skip
    """What takes drafts, unless it is known that nothing can be stored."""

    def check_there() -> None:
        parts.check_there()
        breakers.check_writes()

    async def look_again() -> None:
        await breakers.before_writing(follower.look_again)

    return Publisher(
        appends, follower, broker, queue_max=settings.queue_max, check_there=check_there, look_again=look_again
    )  # fmt: skip


def _works(node: Node) -> list[Coroutine[Any, Any, None]]:
    """What every process does by itself all the time."""
    node.out, node.feeds = outgoing.open_out(node), pulling.open_feeds(node)
    works = [house.tick_for_ever(node), node.out.run(), node.feeds.run(), *_watch(node)]
    if node.settings.ledger_s:
        works += [node.receipts.look_for_ever(node.every_connection), node.receipts.write_for_ever()]
    if node.siblings is not None:
        works.append(node.siblings.run(node))
    return works


def _watch(node: Node) -> list[Coroutine[Any, Any, None]]:
    """What every process sees of publishers, and what one of them tells."""
    node.follower.fold(None, node.skews.fold)
    node.follower.fold(None, node.silences.fold)
    node.follower.fold(None, node.stories.fold)
    skewing = Skewing(node.store, node.publisher, node.skews, node.settings.skew_s)
    return [node.silences.run(), *([skewing.run()] if node.settings.skew_s else [])]


def _keep_house(node: Node, works: list[Coroutine[Any, Any, None]]) -> Expirer:
    """What is done once a log, however many processes there are."""
    expirer = Expirer(node.store, node.follower.reader, node.changes, node.publisher)
    node.follower.fold(None, expirer.fold)
    node.follower.watch(expirer.jumped)
    works += [
        house.keep_for_ever(node, expirer), house.scrub_for_ever(node), expirer.run(_signal_channels(node)),
    ]  # fmt: skip
    return expirer


async def _write_last(node: Node, expirers: list[Expirer]) -> None:
    await node.receipts.write()
    await node.publisher.drain()
    for expirer in expirers:
        await _keep_places(node, expirer)


async def _keep_places(node: Node, expirer: Expirer) -> None:
    with suppress(CatalystError):  # The next start reads a little more then.
        await house.keep_snapshot(node)
        for channel in _signal_channels(node):
            await expirer.keep(channel)


def _signal_channels(node: Node) -> list[str]:
    return [channel for channel in node.state.channels if channel not in SERVER_CHANNELS]


def _fetch(reader: Reader) -> Fetch:
    async def fetch(channel: str, after: int, limit: int) -> list[Frame]:
        return [frame_of(event) for event in await reader.read(channel, after, limit)]

    return fetch


async def _system_state(store: Store, hub: Hub) -> SystemState:
    """The state as of its last snapshot; the follower brings it level by folding what came after."""
    kept = await store.kept(house.STATE, SYSTEM_CHANNEL)
    extent = (await store.extents([SYSTEM_CHANNEL]))[SYSTEM_CHANNEL]
    snapshot = from_bytes(kept.state) if kept.state else Snapshot(extent.epochs[0].name, 0, "00000000")
    hub.open(SYSTEM_CHANNEL, snapshot.epoch, snapshot.seq, snapshot.hash8)
    return SystemState(snapshot)


async def _bootstrap(node: Node) -> str | None:
    """The admin key of a log that has none yet, if it was made here. Of several first processes one wins, by the id."""
    given = take_apart(node.settings.admin_key.get_secret_value())
    if node.state.users:
        if given is not None:
            log.info("the setting admin_key is not used: this log has users already")
        return None
    key: str | None = None
    if given is not None:
        id, secret_hash = given[0], hash_secret(given[1])
    else:
        id, key, secret_hash = new_key(node.settings.key_env)
    first = Key(id, "admin", SCOPES, ("*",), secret_hash, iso(now_us()))
    draft = system_draft("key.created", msgspec.to_builtins(first), id="bootstrap")
    try:
        await node.publisher.publish(Batch(channel=SYSTEM_CHANNEL, subject="bootstrap", drafts=[draft]))
    except Conflict:
        return None
    return key


async def _end(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def build_app(node: Node) -> FastAPI:
    """The HTTP face of a node."""
    app = FastAPI(
        telemetry=node.telemetry.of_http if node.telemetry is not None else NO_TRACES,
        docs_url=None, redoc_url=None,  # They come from a CDN: showing.py needs nobody.
        redirect_slashes=False,  # A redirected webhook is a lost one, and its path holds a secret.
        title="Catalyst", version=readiness.version(),
        description="Trading signals: numbered, kept, filtered, delivered exactly once and in order.",
    )  # fmt: skip
    app.state.node = node
    install_error_handlers(app)
    app.state.routers = [part.router for part in ROUTERS]
    for router in app.state.routers:
        app.include_router(router)
    describing.describe(app)
    return app


class Server(uvicorn.Server):
    """Uvicorn's server, but the first SIGTERM or Ctrl-C drains before it stops; a second one stops at once."""

    def __init__(self, config: uvicorn.Config, node: Node) -> None:
        super().__init__(config)
        self._node = node
        self._drain: asyncio.Task[None] | None = None
        self._asked = False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and say so on standard output once requests can be served."""
        await super().startup(sockets)
        host, port = self.servers[0].sockets[0].getsockname()[:2]
        _say(f"listening on http://{f'[{host}]' if ':' in host else host}:{port}")

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal: drain first. We exit cleanly, so it is not raised again afterwards."""
        if self._asked:
            self.should_exit = True
            self.force_exit = sig == signal.SIGINT
        self._asked = True

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second: start the drain that was asked for, exit when it is over."""
        if self._asked and self._drain is None:
            self._drain = asyncio.create_task(self._drained())
        if self._drain is not None and self._drain.done():
            self.should_exit = True
        return await super().on_tick(counter)

    async def _drained(self) -> None:
        await drain(self._node)


async def drain(node: Node) -> None:
    """Refuse what is new, finish what was accepted, tell everyone where they stand and to come back, spread out."""
    node.draining = True
    log.info("draining")
    await node.publisher.drain(within_s=node.settings.drain_s / 3)
    await asyncio.sleep(0)
    connections = node.every_connection()
    spread_s = 1 + len(connections) / 1000
    for connection in connections:
        connection.goodbye(random.uniform(0.2, spread_s))
    if connections or node.streams:
        await asyncio.sleep(GOODBYE_S)


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def listener_of(settings: Settings, *, reuse_port: bool = False) -> socket.socket:
    """The socket, bound before anything else is done: a port that is taken must not cost the first key."""
    try:
        return socket.create_server(
            (settings.host, settings.port),
            family=socket.AF_INET6 if ":" in settings.host else socket.AF_INET,
            backlog=4096,
            reuse_port=reuse_port,
        )
    except OSError as error:
        raise Misconfigured(
            f"cannot listen on {settings.host}:{settings.port}: {error.strerror or error}; give another --port",
            field="port",
            got=settings.port,
        ) from None


def _last_words(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """A vital task failed: end loudly, since a process that only looks alive is worse than none. The log is safe."""
    loop.default_exception_handler(context)
    if context.get("vital"):
        log.critical("a vital part failed, the process ends")
        logs.flush()
        telemetry.flush()
        os._exit(70)


async def serve(settings: Settings, place: Place | None = None) -> None:
    """Run until told to stop; `place`: as one of several processes on the port.

    Raises:
        Misconfigured: before anything listens.
    """
    asyncio.get_running_loop().set_exception_handler(_last_words)
    with listener_of(settings, reuse_port=place is not None) as listener:
        async with open_node(settings, place) as node:
            if node.first_key is not None:
                _say(f"admin key: {node.first_key}")
            _tune_interpreter()
            await Server(_uvicorn(node), node).serve(sockets=[listener])


def _tune_interpreter() -> None:
    """What is here now stays for ever, and what comes are mostly connections: look for cycles less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE_AFTER, 20, 50)
    sys.setswitchinterval(SWITCH_S)


def _uvicorn(node: Node) -> uvicorn.Config:
    settings = node.settings
    http = type("Http", (HttpProtocol,), {"head_s": settings.head_s, "doorway": Doorway()})
    socket = type("Socket", (SocketProtocol,), {"head_s": settings.head_s, "size_max": settings.message_bytes})
    return uvicorn.Config(
        door(build_app(node)), http=http, ws=socket, workers=1, loop="none", lifespan="off",
        ws_max_size=settings.message_bytes, ws_ping_interval=None, ws_per_message_deflate=False,
        access_log=False, log_config=None, log_level="warning", proxy_headers=False, server_header=False,
        timeout_graceful_shutdown=max(1, int(settings.drain_s / 3)), timeout_keep_alive=settings.keep_alive_s,
        backlog=4096,
    )  # fmt: skip


def run(settings: Settings, place: Place | None = None) -> None:
    """`catalyst serve`: the event loop, the log, and the server on it."""
    logs.install(settings, place.number if place is not None else None)
    telemetry.tell_sentry(settings)
    if settings.event_loop == "asyncio" or (settings.event_loop == "auto" and find_spec("uvloop") is None):
        asyncio.run(serve(settings, place))  # uvloop is not on every platform; the same tests pass on both.
        return
    import uvloop

    uvloop.run(serve(settings, place))
