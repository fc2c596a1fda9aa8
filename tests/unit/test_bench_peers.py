"""The arithmetic of `bench/peers`: whoever reads its tables must be able to trust it. No peer is needed here."""

from __future__ import annotations

import json
import shutil
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from bench.peers import traffic
from bench.peers.fan import wrongly
from bench.peers.loads import FULL, QUICK
from bench.peers.ratios import compared, middle, ratio_to
from bench.peers.report import table
from bench.peers.results import Results
from bench.peers.schedule import steps
from bench.peers.verdict import TARGETS, Target, of, verdicts
from bench.peers.wires import frame

SOURCES = Path(__file__).parents[2] / "bench/peers/c"


def row(system: str, round: int = 0, load: str = "W2", **figures: object) -> dict[str, object]:
    """A row as a run leaves it."""
    return {"load": load, "round": round, "system": system, "at": "2026-11-26T09:00:00Z", "busy": 0.0} | figures


# --- what is expected


def test_every_connection_is_expected_to_get_exactly_what_its_wish_takes() -> None:
    """`expected` goes by symbol; asking every wish about every signal must give the same."""
    sent, wishes = traffic.signals(400), traffic.wishes(300)
    slowly = [[s.number for s in sent if s.symbol in w.symbols and w.takes(s)] for w in wishes]
    assert traffic.expected(sent, wishes) == [(len(numbers), sum(numbers)) for numbers in slowly]
    assert sum(map(len, slowly)) > 100
    wish = traffic.Wish((7,), (0, 1), 60)
    takes = [wish.takes(traffic.Signal(1, 7, action, confidence)) for action, confidence in ((0, 60), (0, 59), (2, 99))]
    assert takes == [True, False, False]


def test_about_twenty_of_ten_thousand_wishes_take_a_signal() -> None:
    """As issue 5 has it; the C loop and the peers are measured with the same."""
    matches = sum(count for count, _ in traffic.expected(traffic.signals(200), traffic.wishes(10_000))) / 200
    assert 15 < matches < 25


def test_a_signal_is_of_the_stated_size_once_its_time_is_in() -> None:
    """279 bytes, JSON, whatever its number."""
    for n in (1, 99_999):
        text = traffic.signals(1, n)[0].text
        assert len(text) == traffic.SIZE and json.loads(text)["n"] == n and traffic.HOLE in text


def test_a_connection_that_got_another_ones_signal_is_wrong(tmp_path: Path) -> None:
    """As many, with another sum of numbers."""
    (tmp_path / "marks").write_text("2 7\n2 8\n1 3\n")
    assert wrongly(tmp_path / "marks", [(2, 7), (2, 7), (2, 3)]) == 2


# --- ratios, tables, verdicts


def test_a_ratio_is_taken_within_its_round() -> None:
    """The machine was twice as slow in the second round; nobody's ratio may change."""
    costs_us = {"c-loop": 2.0, "catalyst": 3.0, "nats-server": 8.0, "centrifuge": 6.0}
    rows = [
        row(system, n, net_delivery_us=us * (n + 1), delivery_us=us * (n + 1) + 1)
        for n in range(3)
        for system, us in costs_us.items()
    ]
    ours = [r for r in compared(rows) if r["system"] == "catalyst"]
    assert [(r["x_c"], r["x_best"]) for r in ours] == [(1.5, 0.5)] * 3
    assert ours[0]["x_c_in_all"] == pytest.approx(4 / 3)
    assert ratio_to(rows, "net_delivery_us", "nats-server") == 0.375
    assert middle(rows, "net_delivery_us") == 6.0


def test_the_best_peer_of_a_rate_is_the_fastest_in_the_same_way_of_publishing() -> None:
    """W10: batches are not compared with single publishes, and the C loop is nobody's peer."""
    rows = [row("catalyst", load="W10", way="pipelined, 256 in flight", per_s=50.0),
            row("centrifuge", load="W10", way="batches of 500", per_s=900.0),
            row("nats-server, fsync", load="W10", way="pipelined, 256 in flight", per_s=10.0),
            row("nats-server", load="W10", way="pipelined, 256 in flight", per_s=100.0)]  # fmt: skip
    ours = compared(rows)[0]
    assert (ours["x_best"], ours["x_fsync"]) == (0.5, 5.0)


def test_a_verdict_is_what_the_rows_say() -> None:
    """On the limit is met, beyond it is not, and without a row nothing is claimed."""
    target = Target("W7", "<= 12 KiB", of("W7", "rss_kib_per_connection"), 12)
    said = [target.line({"W7": [row("catalyst", load="W7", rss_kib_per_connection=kib)]}) for kib in (12.0, 12.1)]
    assert said[0].endswith("| met |") and said[1].endswith("| **not met** |")
    assert target.line({}).endswith("| not measured |")
    assert Target("W6", "", of("W6", "per_s"), at_least=5).verdict(4.9) == "**not met**"


def test_what_was_lost_or_came_twice_is_the_first_verdict() -> None:
    """Of any load; speed that loses something counts for nothing."""
    good = row("catalyst", lost=0, duplicated=0, reordered=0, wrong_connections=0)
    assert "| 0 |  | met |" in verdicts([("W2", [good])]).splitlines()[4]
    for fault in ("lost", "duplicated", "reordered", "wrong_connections"):
        assert "| 1 |  | **not met** |" in verdicts([("W2", [good | {fault: 1}])]).splitlines()[4]


def test_every_target_is_of_a_load_that_is_run() -> None:
    """A name mistyped would say "not measured" for ever."""
    assert {target.load for target in TARGETS} - {"all"} == {name.split()[0] for name in FULL}


def test_a_table_shows_what_failed_and_leaves_out_what_nobody_has() -> None:
    """The row of a fault must not hide the others."""
    text = table("W7", "idle", [row("catalyst", load="W7", rss_kib_per_connection=9.0), row("c-loop", error="it fell")])
    assert "RSS KiB/connection" in text and "opened in s" not in text and "it fell" in text


# --- the run as a whole


def test_three_rounds_of_everything_fit_in_forty_minutes() -> None:
    """By the estimates, which the run prints beside what each step took."""
    assert sum(step.seconds for step in steps(FULL, 3, [])) < 40 * 60
    assert sum(step.seconds for step in steps(QUICK, 1, [])) < 6 * 60


def test_results_of_other_loads_are_kept_and_a_stop_loses_nothing(tmp_path: Path) -> None:
    """A run can be done load by load; a load that is measured again replaces its own rows only."""
    first = Results(tmp_path / "peers", quick=False)
    first.add("W2", 0, "catalyst", 0.0, [{"delivery_us": 1.0}])
    first.add("W3", 0, "catalyst", 0.0, [{"error": "it fell"}])
    second = Results(tmp_path / "peers", quick=False)
    assert second.has("W2", 0, "catalyst") and not second.has("W3", 0, "catalyst")
    second.forget("W3")
    assert [r["load"] for r in second.rows] == ["W2"]


def test_rows_of_another_commit_are_put_aside(tmp_path: Path) -> None:
    """Never in one table."""
    Results(tmp_path / "peers", quick=False).add("W2", 0, "catalyst", 0.0, [{}])
    content = json.loads((tmp_path / "peers.json").read_text())
    (tmp_path / "peers.json").write_text(json.dumps(content | {"about": content["about"] | {"commit": "older"}}))
    assert Results(tmp_path / "peers", quick=False).rows == []
    assert (tmp_path / "peers.json.before").exists()


# --- the load client


@pytest.fixture
def load(tmp_path: Path) -> Path:
    """The client, compiled without a warning."""
    if shutil.which("cc") is None:
        pytest.skip("needs a C compiler")
    for name in ("publish", "cloop", "load"):
        command = ["cc", "-O2", "-Wall", "-Wextra", "-Werror", "-o", tmp_path / name, SOURCES / f"{name}.c"]
        subprocess.run(command, check=True)
    return tmp_path / "load"


@pytest.fixture
def server() -> Iterator[tuple[int, list[bytes]]]:
    """A WebSocket that sends one connection what a test puts into the list."""
    frames: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            wire = listener.accept()[0]
            with wire:
                wire.recv(4096)
                wire.sendall(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
                time.sleep(0.1)  # What comes before it said `ready` is not counted among the others.
                wire.sendall(b"".join(frames))
                wire.recv(4096)

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1], frames
        thread.join(10)


def test_the_client_counts_what_is_lost_doubled_and_out_of_order(load: Path, server: tuple[int, list[bytes]]) -> None:
    """1 2 4 3 3 and a frame of no signal, with latencies of 100 to 500 ms: the percentiles are of those."""
    port, frames = server
    now_ns = time.time_ns()
    for n, ms in ((1, 100), (2, 200), (4, 300), (3, 400), (3, 500)):
        frames.append(unmasked(f'{{"t":"{now_ns - ms * 1_000_000:019d}","n":{n}}}'))
    frames.insert(2, unmasked('{"type":"position"}'))
    client = subprocess.Popen(
        [load, str(port), "1", "5", "1", f"marks={load.parent / 'marks'}"], stdout=subprocess.PIPE, text=True
    )
    assert client.stdout is not None
    assert client.stdout.readline().startswith("ready ")
    said = json.loads(client.stdout.readline())
    client.terminate()
    client.wait(10)
    client.stdout.close()
    assert (said["deliveries"], said["duplicated"], said["reordered"], said["others"]) == (4, 1, 1, 1)
    assert (load.parent / "marks").read_text() == "4 10\n"
    late_ms = (said["p50_us"] - 300_000) / 1e3
    assert 0 <= late_ms < 5000
    assert said["max_us"] - said["p50_us"] == pytest.approx(200_000, abs=20_000)
    assert said["p99_us"] <= said["p999_us"] <= said["max_us"]


def unmasked(text: str) -> bytes:
    """A server's frame."""
    masked = frame(text)
    head = 2 if masked[1] & 0x7F < 126 else 4
    assert struct.unpack("B", masked[1:2])[0] & 0x80
    return bytes((masked[0], masked[1] & 0x7F)) + masked[2:head] + masked[head + 4 :]
