"""Webhooks, each answered after its commit (SQLite, synchronous=FULL): 16 kept connections, each its own secret."""

from __future__ import annotations

import asyncio
import json
import os
import time
import urllib.request

from bench.harness import CLIENT_CORE, Row, Server, cpu_s, server, show

SECONDS = 5.0
SENDERS = 16


def run() -> list[Row]:
    """One row a dialect, each on a fresh server on one core; without the limit that one secret has."""
    os.sched_setaffinity(0, {int(CLIENT_CORE)})
    rows = []
    for adapter, body in (("tradingview", _tradingview), ("traderspost", _traderspost)):
        with server(ingest_rate=0) as running:
            paths = [_new_path(running, adapter) for _ in range(SENDERS)]
            began_s, began_cpu_s = time.perf_counter(), cpu_s(running.pid)
            counts, slowest_ms = asyncio.run(_all(running, paths, body))
            took_s = time.perf_counter() - began_s
            rows.append({
                "load": f"webhooks: {adapter}, {SENDERS} connections", "webhooks_per_s": round(counts / took_s),
                "cpu_us_each": round((cpu_s(running.pid) - began_cpu_s) / counts * 1e6), "p99_ms": slowest_ms,
                "goal": ">= 2000",
            })  # fmt: skip
    return rows


def _new_path(running: Server, adapter: str) -> str:
    name, value = running.header.split(": ", 1)
    request = urllib.request.Request(
        f"http://127.0.0.1:{running.port}/v1/ingest", json.dumps({"adapter": adapter}).encode(), {name: value}
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        return f"/in/{adapter}/{json.load(answer)['secret']}"


def _tradingview(sender: int, n: int) -> dict[str, str]:
    return {
        "ticker": f"S{n % 500:03d}", "exchange": "NASDAQ", "interval": "5", "action": ("buy", "sell")[n % 2],
        "price": f"{100 + n % 900}.{sender:02d}", "market_position": ("long", "flat")[n % 2],
        "prev_market_position": ("flat", "long")[n % 2], "comment": f"{sender}.{n}", "timenow": _now(),
    }  # fmt: skip


def _traderspost(sender: int, n: int) -> dict[str, object]:
    return {
        "ticker": f"S{n % 500:03d}", "action": ("buy", "sell")[n % 2], "signalPrice": f"{100 + n % 900}.{sender:02d}",
        "sentiment": ("bullish", "flat")[n % 2], "quantity": n, "stopLoss": {"type": "stop", "percent": 5},
        "takeProfit": {"percent": 10}, "time": _now(),
    }  # fmt: skip


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


async def _all(running: Server, paths: list[str], body: object) -> tuple[int, float]:
    """How many were stored, and the time within which 99 % were answered, in ms."""
    waits: list[float] = []
    await asyncio.gather(*(_keep_posting(running, at, path, body, waits) for at, path in enumerate(paths)))
    waits.sort()
    return len(waits), round(waits[len(waits) * 99 // 100] * 1000, 1)


async def _keep_posting(running: Server, sender: int, path: str, body: object, waits: list[float]) -> None:
    """Raw HTTP/1.1: an HTTP library would be the limit."""
    assert callable(body)
    reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
    until = time.perf_counter() + SECONDS
    head = f"POST {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
    n = 0
    while (began := time.perf_counter()) < until:
        content = json.dumps(body(sender, n)).encode()
        writer.write(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content)
        answer = await reader.readuntil(b"\r\n\r\n")
        assert b" 201 " in answer[:16], answer
        length = int(answer.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        await reader.readexactly(length)
        waits.append(time.perf_counter() - began)
        n += 1
    writer.close()


if __name__ == "__main__":
    show(run())
