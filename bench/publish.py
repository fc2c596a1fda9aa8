"""Publishing, durable (SQLite, synchronous=FULL): single REST requests, one pipelined socket, and batches over REST."""

from __future__ import annotations

import asyncio
import json
import os
import time

from websockets.asyncio.client import connect

from bench.harness import CLIENT_CORE, Row, Server, server, show, signal_of

SECONDS = 5.0


def run() -> list[Row]:
    """One row a way of publishing, each on a fresh server on one core."""
    os.sched_setaffinity(0, {int(CLIENT_CORE)})
    rows = []
    for name, goal, way in (
        ("REST single, 16 connections", 2000, _rest_single),
        ("WebSocket pipelined", 10_000, _socket),
        ("REST batches of 500", 20_000, _rest_batches),
    ):
        with server() as running:
            began = time.perf_counter()
            count = asyncio.run(way(running))
            rate = count / (time.perf_counter() - began)
        rows.append({"load": f"publish: {name}", "events_per_s": round(rate), "goal": f">= {goal}"})
    return rows


async def _rest_single(running: Server) -> int:
    counts = await asyncio.gather(*(_keep_posting(running, c, 1) for c in range(16)))
    return sum(counts)


async def _rest_batches(running: Server) -> int:
    counts = await asyncio.gather(*(_keep_posting(running, c, 500) for c in range(2)))
    return sum(counts)


async def _keep_posting(running: Server, connection: int, batch: int) -> int:
    """Raw HTTP/1.1 on one kept connection: an HTTP library would be the limit."""
    reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
    bodies = [_body(connection, batch, n) for n in range(200 if batch == 1 else 30)]
    until = time.perf_counter() + SECONDS
    sent = 0
    while time.perf_counter() < until:
        body = bodies[sent] if sent < len(bodies) else _body(connection, batch, sent)
        head = f"POST /v1/channels/main/signals HTTP/1.1\r\nHost: bench\r\n{running.header}\r\n"
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        status = await reader.readline()
        assert b"201" in status, status
        length = 0
        while (line := await reader.readline()) != b"\r\n":
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        await reader.readexactly(length)
        sent += 1
    writer.close()
    return sent * batch


def _body(connection: int, batch: int, n: int) -> bytes:
    drafts = [signal_of(n * batch + i) | {"id": f"{connection}-{n}-{i}"} for i in range(batch)]
    return json.dumps(drafts if batch > 1 else drafts[0]).encode()


async def _socket(running: Server) -> int:
    headers = dict([running.header.split(": ", 1)])
    async with connect(f"ws://127.0.0.1:{running.port}/v1/ws", additional_headers=headers, proxy=None) as socket:
        await socket.recv()
        until = time.perf_counter() + SECONDS
        sent = answered = 0
        while time.perf_counter() < until or answered < sent:
            while sent - answered < 512 and time.perf_counter() < until:
                await socket.send(
                    json.dumps({"type": "publish", "ref": sent, "channel": "main", "signal": signal_of(sent)})
                )
                sent += 1
            assert '"accepted"' in await socket.recv()
            answered += 1
        return answered


if __name__ == "__main__":
    show(run())
