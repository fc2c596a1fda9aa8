"""What can be cut between a server and what it depends on: a TCP proxy of ours, or a network of its own.

A `Wire` is carried by this process: `cut` loses everything in silence, as a network does; `reset` closes what there is;
`delay_s` is one way. A `Network` is the kernel's: what is cut there really is lost, and TCP itself has to find out.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import threading
from types import TracebackType
from typing import Self

import pytest

from tests.services.child import program


class Wire:
    """Listens on `port` and carries bytes to a loopback port, on an event loop of its own."""

    def __init__(self, to_port: int) -> None:
        self._to_port = to_port
        self.port = 0
        self.delay_s = 0.0
        self._loop = asyncio.new_event_loop()
        self._whole = asyncio.Event()
        self._server: asyncio.Server
        self._writers: set[asyncio.StreamWriter] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self.port = asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def cut(self) -> None:
        """From now on nothing arrives, and nobody is told."""
        self._loop.call_soon_threadsafe(self._whole.clear)

    def heal(self) -> None:
        """What waited goes on its way, and everything after it."""
        self._loop.call_soon_threadsafe(self._whole.set)

    def reset(self) -> None:
        """Every connection ends; new ones are made."""

        async def end() -> None:
            for writer in list(self._writers):
                writer.transport.abort()

        asyncio.run_coroutine_threadsafe(end(), self._loop).result(10)

    async def _listen(self) -> int:
        self._whole.set()
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    async def _close(self) -> None:
        self._server.close()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0.05)  # What is aborted is closed in the next turns.

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ends = [writer]
        self._writers.add(writer)
        try:
            await self._whole.wait()
            there, there_writer = await asyncio.open_connection("127.0.0.1", self._to_port)
            ends.append(there_writer)
            self._writers.add(there_writer)
            await asyncio.gather(self._carry(reader, there_writer), self._carry(there, writer))
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            for each in ends:
                self._writers.discard(each)
                each.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            if self.delay_s:
                await asyncio.sleep(self.delay_s)
            await self._whole.wait()
            writer.write(data)
            await writer.drain()
        writer.write_eof()


class Network:
    """A network namespace, joined to this machine's own by a pair of virtual devices. Needs root, which CI is.

    `here` is our address as it is seen from inside, `there` that of whoever runs inside, by the words of `inside`.
    """

    def __init__(self) -> None:
        if os.geteuid() != 0 and not os.environ.get("CI"):
            pytest.skip("a network namespace needs root")
        number = os.getpid() % 16_000
        self.name = f"catalyst{number}"
        self._ends = f"cat{number}a", f"cat{number}b"
        net = f"10.{200 + number // 256 % 50}.{number % 256}"
        self.here, self.there = f"{net}.1", f"{net}.2"
        self.inside = [program("ip"), "netns", "exec", self.name]

    def __enter__(self) -> Self:
        ours, theirs = self._ends
        try:
            _run("ip", "netns", "add", self.name)
            _run("ip", "link", "add", ours, "type", "veth", "peer", "name", theirs, "netns", self.name)
            for where, device, address in (([], ours, self.here), (["-n", self.name], theirs, self.there)):
                _run("ip", *where, "address", "add", f"{address}/24", "dev", device)
                _run("ip", *where, "link", "set", device, "up")
            _run("ip", "-n", self.name, "link", "set", "lo", "up")
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        subprocess.run([program("ip"), "link", "delete", self._ends[0]], capture_output=True, check=False)
        subprocess.run([program("ip"), "netns", "delete", self.name], capture_output=True, check=False)

    def cut(self, port: int) -> None:
        """Whatever goes to this port of ours, or comes from it, is dropped on its way."""
        self._rules("-A", port)

    def heal(self, port: int) -> None:
        """It passes again."""
        self._rules("-D", port)

    def dropped(self) -> int:
        """How many packets were, through the rules there are."""
        lines = _run(*self.inside, program("iptables"), "-L", "-v", "-x", "-n").splitlines()
        return sum(int(line.split()[0]) for line in lines if " DROP " in line)

    def _rules(self, how: str, port: int) -> None:
        for chain, side in (("INPUT", "--sport"), ("OUTPUT", "--dport")):
            _run(*self.inside, program("iptables"), "-w", how, chain, "-p", "tcp", side, str(port), "-j", "DROP")


def _run(name: str, *words: str) -> str:
    done = subprocess.run([program(name), *words], capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 0, f"{name} {' '.join(words)}: {done.stderr or done.stdout}"
    return done.stdout
