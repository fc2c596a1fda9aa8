"""A wire that can be cut: a TCP proxy of ours between a server and what it depends on.

`cut` loses everything in silence, as a network does; `reset` closes what there is; `delay_s` is one way.
"""

from __future__ import annotations

import asyncio
import threading
from types import TracebackType
from typing import Self


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
