"""CPU per delivery: 500 subscribers, 200 signals a second, persistence and filters on, beside a bare C send() loop.

The server's figure is its CPU with the subscribers less its CPU for the same publishes with none, in the same run.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from statistics import median

from websockets.asyncio.client import connect

from bench.harness import (
    CLIENT_CORE,
    Row,
    Server,
    cpu_s,
    free_port,
    result_of,
    server,
    show,
    signal_of,
    sink,
    subscribe,
    tool,
)

SUBSCRIBERS, SIGNALS, RATE, ROUNDS = 500, 1000, 200, 3


def run() -> list[Row]:
    """One row a round and the medians."""
    rows: list[Row] = []
    for round in range(ROUNDS):
        wire_bytes, alone, served = _catalyst()
        bare = _c_loop(wire_bytes)
        rows.append({
            "load": "deliver", "round": round, "wire_bytes": wire_bytes, "publish_us": round_us(alone, SIGNALS),
            "delivery_us": round_us(served - alone, SIGNALS * SUBSCRIBERS),
            "c_loop_us": round_us(bare, SIGNALS * SUBSCRIBERS), "ratio_to_c": round_to((served - alone) / bare),
        })  # fmt: skip
    rows.append({
        "load": "deliver", "round": "median", "delivery_us": median(r["delivery_us"] for r in rows),
        "c_loop_us": median(r["c_loop_us"] for r in rows), "ratio_to_c": median(r["ratio_to_c"] for r in rows),
        "goal": "<= 1.8",
    })  # fmt: skip
    return rows


def _catalyst() -> tuple[int, float, float]:
    with server() as running:
        alone, size = asyncio.run(publish(running, 0))
    with (
        server() as running,
        sink(
            running.port, SUBSCRIBERS, SIGNALS * SUBSCRIBERS, 60, running.header, subscribe("confidence >= 0")
        ) as reader,
    ):
        before = cpu_s(running.pid)
        asyncio.run(publish(running, 0))
        assert result_of(reader)["frames"] == SIGNALS * SUBSCRIBERS
        served = cpu_s(running.pid) - before
    return size, alone, served


async def publish(running: Server, start: int) -> tuple[float, int]:
    """Publish at RATE over one socket; the server's CPU for it and the size of an event."""
    os.sched_setaffinity(0, {int(CLIENT_CORE)})
    url = f"ws://127.0.0.1:{running.port}/v1/ws"
    async with connect(url, additional_headers=dict([running.header.split(": ", 1)]), proxy=None) as socket:
        await socket.recv()
        await socket.send(subscribe(after=0))
        before = cpu_s(running.pid)
        began = asyncio.get_running_loop().time()
        size = 0
        answers = asyncio.create_task(_answers(socket, SIGNALS))
        for n in range(start, start + SIGNALS):
            await socket.send(json.dumps({"type": "publish", "ref": n, "channel": "main", "signal": signal_of(n)}))
            await asyncio.sleep(max(0, began + (n - start) / RATE - asyncio.get_running_loop().time()))
        size = await answers
        return cpu_s(running.pid) - before, size


async def _answers(socket: object, count: int) -> int:
    size = 0
    while count:
        text = await socket.recv()  # type: ignore[attr-defined]
        if '"signal.published"' in text:
            size = len(text)
        count -= '"accepted"' in text
    return size


def _c_loop(wire_bytes: int) -> float:
    port = free_port()
    argv = ["taskset", "-c", "0", tool("cloop"), port, SUBSCRIBERS, SIGNALS, RATE, wire_bytes, 1]
    process = subprocess.Popen([str(a) for a in argv], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None and process.stdout is not None
    process.stdout.readline()
    with sink(port, SUBSCRIBERS, SIGNALS * SUBSCRIBERS, 60) as reader:
        process.stdin.write("go\n")
        process.stdin.flush()
        spent: float = result_of(process)["cpu_s"]
        assert result_of(reader)["frames"] == SIGNALS * SUBSCRIBERS
    process.kill()
    process.wait()
    return spent


def round_us(seconds: float, count: int) -> float:
    """Microseconds each, to two places."""
    return round_to(seconds / count * 1e6)


def round_to(value: float) -> float:
    """Two places."""
    return float(f"{value:.2f}")


if __name__ == "__main__":
    show(run())
