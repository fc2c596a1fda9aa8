"""Several processes on one port: started, watched, started again, and stopped in an order that loses nothing.

Owns: the parent, and what it tells a child at its start. Knows nothing of signals, stores or HTTP. Laws: the parent
serves nothing; a child ends when its parent is gone, however that ended; the first process, which owns the log, is the
last to stop. A child reads one line from its standard input, and that input ends with the parent.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import msgspec

from catalyst_signals.backoff import Backoff
from catalyst_signals.errors import CatalystError, Misconfigured, from_dict
from catalyst_signals.peers import reachable
from catalyst_signals.server import logs
from catalyst_signals.server.settings import Settings
from catalyst_signals.server.sharing import Place

log = logging.getLogger("catalyst.processes")

AGAIN_S = (0.2, 5.0)
STEADY_S = 10.0  # A process that lived so long starts again after the shortest pause.
LATE_S = 5.0  # Beyond `drain_s`; then it is killed.
REFUSED = 2  # The exit code of a child that says why.

KEY, LISTENS, REFUSES = "admin key: ", "listening on ", "refused: "


def run(settings: Settings) -> None:
    """`catalyst serve`: this process, or as many as `processes` says.

    Raises:
        Misconfigured: before anything listens.
    """
    count = settings.processes or _cores()
    if count == 1:
        from catalyst_signals.server import app

        return app.run(settings)
    logs.install(settings, 0)
    if settings.sentry_dsn:
        from catalyst_signals.server import telemetry

        telemetry.tell_sentry(settings)
    if not hasattr(socket, "SO_REUSEPORT") or not hasattr(socket, "AF_UNIX"):
        raise Misconfigured("this system cannot share a port between processes", field="processes", got=count)
    return asyncio.run(_supervise(settings, count))


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


async def _supervise(settings: Settings, count: int) -> None:
    with tempfile.TemporaryDirectory(prefix="catalyst-", ignore_cleanup_errors=True) as folder:
        path = _socket_path(settings, folder)
        try:
            await Parent(settings, count, path).run()
        finally:
            _remove(path)  # Of one that was killed.


def _remove(path: str) -> None:
    Path(path).unlink(missing_ok=True)


def _socket_path(settings: Settings, folder: str) -> str:
    """Beside the file; for a log that is none, in a folder of our own."""
    url = urlsplit(settings.store_url)
    file = unquote(url.path.removeprefix("/"))
    path = f"{file}.sock" if url.scheme == "sqlite" and file else f"{folder}/catalyst.sock"
    reachable(path)
    return path


def settings_of(settings: Settings, number: int, port: int, path: str) -> Settings:
    """What the child of that number is told: all but the first reach the log and the hints by the socket."""
    change: dict[str, Any] = {"port": port}
    unix = f"unix:///{quote(path)}"
    if number > 1:
        change["node"] = f"{settings.node}-{number}"
        if settings.store_url.split(":", 1)[0] in ("sqlite", "memory"):
            change["store_url"] = unix
        if settings.broker_url.startswith("memory:"):
            change["broker_url"] = unix
    return settings.model_copy(update=change)


class Parent:
    """Keeps `count` children running until told to stop."""

    def __init__(self, settings: Settings, count: int, path: str) -> None:
        self._settings = settings
        self._count = count
        self._path = path
        self._port = settings.port
        self._children: dict[int, asyncio.subprocess.Process] = {}
        self._keepers: list[asyncio.Task[None]] = []
        self._stopping = asyncio.Event()
        self._asked = 0
        self._fault: BaseException | None = None

    async def run(self) -> None:
        """Start the first, then the others, say that all listen, and stay until a signal comes.

        Raises:
            CatalystError: what a child could not start with.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._ask)
        try:
            if self._settings.port:  # Shared ports are shared with anybody: not with another server that is there.
                _probe(self._settings)
            url = await self._all_ready([1])
            if url is not None:
                self._port = int(url.rsplit(":", 1)[1])
                url = await self._all_ready(range(2, self._count + 1))
            if url is not None:
                _say(f"{LISTENS}{url}")
            await self._stopping.wait()
        finally:
            self._stopping.set()
            await self._end([number for number in self._children if number != 1])
            await self._end([1])
            await asyncio.gather(*self._keepers, return_exceptions=True)
        if self._fault is not None:
            raise self._fault

    def _ask(self) -> None:
        """A signal: the first drains, a second one stops at once."""
        self._asked += 1
        self._stopping.set()
        if self._asked > 1:
            for child in self._children.values():
                _kill(child)

    async def _all_ready(self, numbers: Iterable[int]) -> str | None:
        """Start these children and wait until all listen; their URL, or None when told to stop meanwhile."""
        loop = asyncio.get_running_loop()
        ready: list[asyncio.Future[str]] = [loop.create_future() for _ in numbers]
        for each in zip(numbers, ready, strict=True):
            keeper = asyncio.create_task(self._keep(*each))
            keeper.add_done_callback(self._kept)
            self._keepers.append(keeper)
        stopping = asyncio.create_task(self._stopping.wait())
        waiting: set[asyncio.Future[Any]] = set(ready)
        while waiting and not stopping.done():
            done, _ = await asyncio.wait({*waiting, stopping}, return_when=asyncio.FIRST_COMPLETED)
            waiting -= done
            for future in done - {stopping}:
                future.result()
        stopping.cancel()
        return None if waiting else ready[0].result()

    def _kept(self, keeper: asyncio.Task[None]) -> None:
        """A child that cannot even be started any more ends all: what is watched half looks alive and is not."""
        if not keeper.cancelled() and (fault := keeper.exception()) is not None:
            log.critical("a process cannot be started", exc_info=fault)
            self._fault = fault
            self._stopping.set()

    async def _keep(self, number: int, ready: asyncio.Future[str]) -> None:
        """Run a child; again when it ended, but for one that never listened."""
        again = Backoff(*AGAIN_S)
        while not self._stopping.is_set():
            began_s = time.monotonic()
            child = await self._spawn(number)
            if self._stopping.is_set():  # While it was started; whoever stops the others did not see it.
                _kill(child)
            refusal = await self._listen_to(child, ready)
            code = await child.wait()
            if self._stopping.is_set():
                return
            if not ready.done():
                ready.set_exception(
                    refusal or Misconfigured(f"process {number} ended ({code}); the lines above say why")
                )
                return
            if time.monotonic() - began_s > STEADY_S:
                again.tries = 0
            pause_s = again.next_s()
            log.error(
                "a process ended and is started again",
                extra={"number": number, "code": code, "reason": str(refusal or ""), "pause_s": round(pause_s, 3)},
            )
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause_s)

    async def _spawn(self, number: int) -> asyncio.subprocess.Process:
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-c", f"from {__name__} import child; child()",
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, env=_without_key(os.environ),
            start_new_session=True,  # Ctrl-C is for us; the order of stopping is ours.
        )  # fmt: skip
        self._children[number] = child
        told = settings_of(self._settings, number, self._port, self._path)
        place = Place(number, self._count, self._path)
        # A dump has stars for it, and only who owns the log takes it.
        secret = told.admin_key.get_secret_value() if number == 1 else ""
        shown = told.model_dump(mode="json") | {"admin_key": secret}
        order = {"settings": shown, "place": msgspec.to_builtins(place)}
        assert child.stdin is not None
        child.stdin.write(json.dumps(order).encode() + b"\n")
        with suppress(ConnectionError):
            await child.stdin.drain()
        return child

    async def _listen_to(self, child: asyncio.subprocess.Process, ready: asyncio.Future[str]) -> CatalystError | None:
        """Pass on what a child says until it ends; why it did not start, if it said so."""
        refusal = None
        assert child.stdout is not None
        async for raw in child.stdout:
            line = raw.decode(errors="replace").rstrip("\n")
            if line.startswith(KEY):
                _say(line)
            elif line.startswith(LISTENS) and not ready.done():
                ready.set_result(line.removeprefix(LISTENS))
            elif line.startswith(REFUSES):
                refusal = from_dict(json.loads(line.removeprefix(REFUSES)))
        return refusal

    async def _end(self, numbers: Iterable[int]) -> None:
        """Let these children drain; kill who takes too long."""
        children = [self._children[number] for number in numbers if number in self._children]
        for child in children:
            if child.returncode is None:
                with suppress(ProcessLookupError):
                    child.kill() if self._asked > 1 else child.terminate()
        waits = [asyncio.create_task(child.wait()) for child in children]
        if waits:
            await asyncio.wait(waits, timeout=self._settings.drain_s + LATE_S)
        for child in children:
            _kill(child)


def _without_key(environment: Mapping[str, str]) -> dict[str, str]:
    """The first admin key goes by the pipe: what a process was given at its start can be looked at while it runs."""
    return {name: value for name, value in environment.items() if name.upper() != "CATALYST_ADMIN_KEY"}


def _kill(child: asyncio.subprocess.Process) -> None:
    if child.returncode is None:
        with suppress(ProcessLookupError):
            child.kill()


def _probe(settings: Settings) -> None:
    from catalyst_signals.server.app import listener_of

    listener_of(settings).close()


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


# -- in a child -----------------------------------------------------------------------------------------------------


def child() -> None:
    """Serve as the parent says, until it says otherwise or is gone."""
    from catalyst_signals.server import app

    order = json.loads(_first_line())
    settings, place = Settings(**order["settings"]), msgspec.convert(order["place"], Place)
    threading.Thread(target=_outlive_nobody, args=(settings.drain_s,), daemon=True).start()
    try:
        app.run(settings, place)
    except CatalystError as refusal:
        _say(REFUSES + json.dumps(refusal.as_dict(), default=str))
        sys.exit(REFUSED)


def _first_line() -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        some = os.read(0, 65536)
        if not some:
            sys.exit(REFUSED)
        line += some
    return line


def _outlive_nobody(drain_s: float) -> None:
    """The parent's end of our input closes with it, also by SIGKILL: then drain, and at the latest be gone."""
    while os.read(0, 1024):
        pass
    log.error("the parent is gone, this process ends")
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(drain_s + LATE_S)
    os._exit(70)
