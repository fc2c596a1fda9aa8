"""1,000 targets that all want every signal, one of which hangs: what the others wait, with it and without it, in turns.

The receivers are one small HTTP server of ours on the other core, which says when each message came. A hanging target
takes the connection and never answers. Times are from an event's commit (`ts`) to its arrival.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime

import httpx2

from bench.harness import CLIENT_CORE, Row, Server, server, show

TARGETS, SIGNALS, EVERY_S, ROUNDS = 1000, 5, 1.5, 3
_OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
_TS = re.compile(rb'"ts":"([^"]+)"')


class Receivers(asyncio.Protocol):
    """One connection; what came is in `waits_s`."""

    waits_s: list[float] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._data = b""

    def data_received(self, data: bytes) -> None:
        self._data += data
        head, end, body = self._data.partition(b"\r\n\r\n")
        if not (end and body.endswith(b"}")):
            return
        if b"POST /hangs" in head:
            return
        found = _TS.search(body)
        assert found is not None
        self.waits_s.append(time.time() - datetime.fromisoformat(found[1].decode()).timestamp())
        self._transport.write(_OK)


def run() -> list[Row]:
    """A row without the one that hangs, a row with it."""
    os.sched_setaffinity(0, {int(CLIENT_CORE)})
    return asyncio.run(_run())


@asynccontextmanager
async def _receivers() -> AsyncIterator[str]:
    loop = asyncio.get_running_loop()
    listener = await loop.create_server(Receivers, "127.0.0.1", 0, backlog=2048, family=socket.AF_INET)
    yield f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    listener.close()


async def _run() -> list[Row]:
    with server(targets_allow="127.0.0.0/8") as running:
        async with _receivers() as url, _client(running) as http:
            hanging = await _made(http, f"{url}/hangs")
            for n in range(TARGETS - 1):
                await _made(http, f"{url}/{n}")
            await asyncio.sleep(8)  # Each keeps its first place.
            waits: dict[bool, list[tuple[float, float]]] = {False: [], True: []}
            for _ in range(ROUNDS):
                for hangs in (False, True):
                    answer = await http.patch(f"/v1/targets/{hanging}", json={"off": not hangs})
                    assert answer.status_code == 200, answer.text
                    waits[hangs].append(await _round(http))
            return [_row(name, waits[hangs]) for name, hangs in (("all answer", False), ("one hangs", True))]


def _client(running: Server) -> httpx2.AsyncClient:
    headers = {"Authorization": f"Bearer {running.key}"}
    return httpx2.AsyncClient(base_url=f"http://127.0.0.1:{running.port}", headers=headers, timeout=30, trust_env=False)


async def _made(http: httpx2.AsyncClient, url: str) -> str:
    answer = await http.post("/v1/targets", json={"url": url})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


async def _round(http: httpx2.AsyncClient) -> tuple[float, float]:
    """Median and 99th percentile of what the others waited, in ms."""
    Receivers.waits_s.clear()
    for _ in range(SIGNALS):
        signal = {"symbol": "ACME", "action": "BUY", "confidence": 0.8}
        assert (await http.post("/v1/channels/main/signals", json=signal)).status_code == 201
        await asyncio.sleep(EVERY_S)
    for _ in range(400):
        if len(Receivers.waits_s) >= (TARGETS - 1) * SIGNALS:
            break
        await asyncio.sleep(0.05)
    assert len(Receivers.waits_s) >= (TARGETS - 1) * SIGNALS, "not every target was told"
    cuts = statistics.quantiles(Receivers.waits_s, n=100)
    return cuts[49] * 1000, cuts[98] * 1000


def _row(name: str, rounds: list[tuple[float, float]]) -> Row:
    p50, p99 = (statistics.median(column) for column in zip(*rounds, strict=True))
    return {
        "load": f"targets: {name}", "targets": TARGETS, "p50_ms": round(p50), "p99_ms": round(p99),
        "p99_of_rounds": " ".join(f"{each[1]:.0f}" for each in rounds),
    }  # fmt: skip


if __name__ == "__main__":
    show(run())
