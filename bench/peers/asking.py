"""How long a server takes to answer something small while it sends to many; each question has its own connection."""

from __future__ import annotations

import os
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from statistics import median

from bench.harness import CLIENT_CORE
from bench.peers.system import Question

PAUSE_S, ANSWER_S = 0.01, 30.0


def answers(questions: list[Question], seconds: float) -> dict[str, float]:
    """Of each question the median and the longest time to its answer, in milliseconds."""
    if not questions:
        return {}
    with ThreadPoolExecutor(len(questions)) as threads:
        found = list(threads.map(lambda question: asked(question, seconds), questions))
    row: dict[str, float] = {}
    for question, times_s in zip(questions, found, strict=True):
        row[f"{question.name}_p50_ms"] = median(times_s) * 1e3
        row[f"{question.name}_max_ms"] = max(times_s) * 1e3
    return row


def asked(question: Question, seconds: float) -> list[float]:
    """The times of one question, asked again a moment after each answer."""
    os.sched_setaffinity(0, {int(CLIENT_CORE)})  # Of this thread alone.
    times_s: list[float] = []
    with socket.create_connection(("127.0.0.1", question.port), ANSWER_S) as wire:
        if question.before:
            once(wire, question.before, b"\r\n\r\n")
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            times_s.append(once(wire, question.ask, question.answer))
            time.sleep(PAUSE_S)
    return times_s


def once(wire: socket.socket, ask: bytes, answer: bytes) -> float:
    """How long it took until the answer came, whatever else came before it."""
    began, tail = time.perf_counter(), b""
    wire.sendall(ask)
    while answer not in tail:
        if not (more := wire.recv(1 << 16)):
            raise RuntimeError(f"closed instead of an answer to {ask[:40]!r}; last came {tail[-80:]!r}")
        tail = tail[-len(answer) :] + more
    return time.perf_counter() - began
