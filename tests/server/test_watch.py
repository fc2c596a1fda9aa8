"""Watch: halts, silences and clocks that are off are told in the channels they concern, once, in time.

Covers, from outside, `catalyst_signals.watch`, `catalyst_signals.server.halts`, `catalyst_signals.server.heartbeats`,
`catalyst_signals.server.silences`, `catalyst_signals.server.skewing`, `catalyst_signals.server.occurrences`,
`catalyst_signals.cli.halts` and `catalyst_signals.client.beats`.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from catalyst_signals.client import connect
from tests.running import RunningServer
from tests.socket_client import wire

Json = dict[str, Any]
HEARD_S = 15.0
WATCHED = ("source.silent", "source.heard")


@pytest.fixture
def name() -> str:
    """A user or channel that no other test has."""
    return f"w{uuid.uuid4().hex[:10]}"


def channel_of(server: RunningServer, name: str) -> str:
    """A new channel."""
    with server.http() as http:
        assert http.put(f"/v1/channels/{name}", json={}).status_code == 201
    return name


def events(server: RunningServer, channel: str, *types: str, key: str | None = None, filter: str = "") -> list[Json]:
    """Every event of a channel, of these types if any are named."""
    with server.http(key) as http:
        params = {"filter": filter} if filter else {}
        found = http.get(f"/v1/channels/{channel}/events", params=params).json()["events"]
    return [each for each in found if not types or each["type"] in types]


def until(found: Callable[[], list[Json]], count: int, within_s: float = HEARD_S) -> list[Json]:
    """What is found, once there is so much of it."""
    ends = time.monotonic() + within_s
    while len(seen := found()) < count and time.monotonic() < ends:
        time.sleep(0.05)
    assert len(seen) == count, seen
    return seen


def ts_of(event: Json) -> float:
    """When it was committed, in seconds since 1970."""
    return datetime.fromisoformat(event["ts"]).timestamp()


# --- Halts -------------------------------------------------------------------------------------------------------


def test_a_halt_of_a_source_is_told_where_it_may_publish_and_nowhere_else(server: RunningServer, name: str) -> None:
    """`halt.began`, then `halt.ended` as version 2 of it, with provider, reason, by and since."""
    own, other = channel_of(server, name), channel_of(server, f"{name}-b")
    server.new_key(user=name, scopes=["publish"], channels=[own])
    with server.http() as http:
        made = http.post("/v1/halts", json={"source": name, "reason": "wrong prices"})
        assert made.status_code == 201, made.text
        halt = made.json()
        assert halt["channels"] == [own]
        again = http.post("/v1/halts", json={"source": name, "reason": "still"})
        assert (again.status_code, again.json()) == (200, halt)
        assert halt in http.get("/v1/halts").json()["halts"]
        assert http.delete(f"/v1/halts/{halt['id']}").json() == {"id": halt["id"], "lifted": True}
        assert http.delete(f"/v1/halts/{halt['id']}").status_code == 404
        assert halt not in http.get("/v1/halts").json()["halts"]
    began, ended = events(server, own)
    said = {"provider": {"id": name}, "reason": "wrong prices", "by": "admin", "since": halt["since"]}
    assert (began["type"], began["id"], began["version"], began["data"]) == ("halt.began", halt["id"], 1, said)
    assert (ended["type"], ended["id"], ended["version"]) == ("halt.ended", halt["id"], 2)
    assert ended["data"] == said | {"lifted_by": "admin"}
    assert events(server, other) == []


def test_a_halt_of_a_symbol_reaches_all_whose_filter_does_not_rule_it_out(server: RunningServer, name: str) -> None:
    """A clause on what a halt does not carry passes; one on its symbol decides."""
    channel = channel_of(server, name)
    with server.http() as http:
        halt = http.post("/v1/halts", json={"symbol": "ACME", "reason": "suspended", "channel": channel}).json()
        assert halt["channels"] == [channel]
    for filter, count in (
        ("confidence >= 0.9", 1),
        ("symbol = ACME", 1),
        ("symbol = XYZ", 0),
        ("not symbol = ACME", 0),
    ):
        assert len(events(server, channel, filter=filter)) == count, filter
    with server.http() as http:
        http.delete(f"/v1/halts/{halt['id']}")


def test_a_halt_informs_and_refuses_nothing(server: RunningServer, name: str) -> None:
    """A trader who wants to see it all still can; stopping is the receiver's business."""
    channel = channel_of(server, name)
    key = server.new_key(user=name, scopes=["publish"], channels=[channel])
    with server.http() as http, server.http(key) as bot:
        halt = http.post("/v1/halts", json={"source": name, "reason": "x"}).json()
        answer = bot.post(f"/v1/channels/{channel}/signals", json={"symbol": "ACME", "action": "BUY"})
        assert answer.status_code == 201
        http.delete(f"/v1/halts/{halt['id']}")


def test_only_admins_halt_and_a_subscriber_sees_what_concerns_it(server: RunningServer, name: str) -> None:
    """`GET /v1/halts` shows a key the halts of its channels that its entitlement does not rule out."""
    channel = channel_of(server, name)
    with server.http() as http:
        halt = http.post("/v1/halts", json={"symbol": "ACME", "reason": "x", "channel": channel}).json()
    for body, sees in (
        ({"channels": [channel]}, True),
        ({"channels": ["main"]}, False),
        ({"channels": [channel], "filter": "not symbol = ACME"}, False),
        ({"channels": [channel], "filter": "symbol = ACME"}, True),
    ):
        with server.http(server.new_key(user=f"{name}-s", **body)) as http:
            assert (halt["id"] in [each["id"] for each in http.get("/v1/halts").json()["halts"]]) is sees, body
            assert http.post("/v1/halts", json={"symbol": "ACME", "reason": "x"}).status_code == 403
            assert http.delete(f"/v1/halts/{halt['id']}").status_code == 403
    with server.http() as http:
        http.delete(f"/v1/halts/{halt['id']}")


def test_a_halt_does_not_name_the_channels_that_a_key_may_not_see(server: RunningServer, name: str) -> None:
    """It was told in several; who may see one of them is shown that one, an admin all."""
    channels = [channel_of(server, f"{name}-open"), channel_of(server, f"{name}-desk")]
    with server.http() as http, server.http(server.new_key(user=name, channels=channels[:1])) as ann:
        halt = http.post("/v1/halts", json={"symbol": name, "reason": "x"}).json()
        assert set(channels) <= set(halt["channels"])
        (seen,) = [each for each in ann.get("/v1/halts").json()["halts"] if each["id"] == halt["id"]]
        assert seen["channels"] == channels[:1]
        assert halt in http.get("/v1/halts").json()["halts"]
        http.delete(f"/v1/halts/{halt['id']}")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"reason": "x"}, "source"),
        ({"reason": "x", "source": "a", "symbol": "B"}, "source"),
        ({"source": "a"}, "reason"),
        ({"source": "a", "reason": "  "}, "reason"),
        ({"symbol": "", "reason": "x"}, "symbol"),
        ({"symbol": "A", "reason": "x", "channel": "system"}, "channel"),
        ({"symbol": "A", "reason": "x", "channel": "not-there"}, "channel"),
        ({"symbol": "A", "reason": "x", "chanel": "main"}, "chanel"),
    ],
)
def test_a_halt_that_cannot_be_meant_is_refused_by_field(server: RunningServer, body: Json, field: str) -> None:
    """Which field, and nothing is in force."""
    with server.http() as http:
        answer = http.post("/v1/halts", json=body)
        assert 400 <= answer.status_code < 500 and answer.json()["field"] == field, answer.text
        assert http.get("/v1/halts").json()["halts"] == []


@pytest.mark.slow
def test_halts_in_force_outlive_a_restart(tmp_path: Path) -> None:
    """They are a fold of the log, as a snapshot or not."""
    with RunningServer(tmp_path) as server:
        with server.http() as http:
            halt = http.post("/v1/halts", json={"symbol": "ACME", "reason": "x"}).json()
            assert http.put("/v1/channels/main/heartbeat", json={"every_s": 60}).status_code == 200
        server.kill()
        server.start()
        with server.http() as http:
            assert http.get("/v1/halts").json()["halts"] == [halt]
        server.stop()
        server.start()
        with server.http() as http:
            assert http.get("/v1/halts").json()["halts"] == [halt]
            assert http.delete(f"/v1/halts/{halt['id']}").status_code == 200
            assert [each["every_s"] for each in http.get("/v1/heartbeats").json()["heartbeats"]] == [60]
            assert "catalyst_halts 0" in http.get("/metrics").text


# --- Heartbeats --------------------------------------------------------------------------------------------------


def test_a_silence_is_told_within_the_declared_time_and_its_end_too(server: RunningServer, name: str) -> None:
    """Not before it is one, at most a second after; once, however long it lasts."""
    channel = channel_of(server, name)
    key = server.new_key(user=name, scopes=["publish"], channels=[channel])
    path = f"/v1/channels/{channel}/heartbeat"
    with server.http(key) as bot:
        assert bot.put(path, json={"every_s": 1}).json()["silent"] is False
        for _ in range(8):
            time.sleep(0.25)
            assert bot.put(path).status_code == 200
        last_s = time.time()
        (silent,) = until(lambda: events(server, channel), 1)
        assert silent["type"] == "source.silent" and silent["data"]["provider"] == {"id": name}
        assert 0.9 < ts_of(silent) - last_s < 2.0
        time.sleep(1.5)
        assert len(events(server, channel)) == 1
        back_s = time.time()
        assert bot.put(path).status_code == 200
        _, heard = until(lambda: events(server, channel), 2)
        assert (heard["type"], heard["id"], heard["version"]) == ("source.heard", silent["id"], 2)
        assert ts_of(heard) - back_s < 1.0 and 2.5 < heard["data"]["silent_s"] < 8
        assert bot.put(path, json={"every_s": None}).json()["every_s"] is None
        time.sleep(1.6)
        assert len(events(server, channel)) == 2, "nobody waits for it any more"


def test_a_silence_that_nobody_waits_for_any_more_was_not_heard_again(server: RunningServer, name: str) -> None:
    """The promise ends while it is silent: that is told, and no length of a silence, since it never ended."""
    channel = channel_of(server, name)
    with server.http(server.new_key(user=name, scopes=["publish"], channels=[channel])) as bot:
        path = f"/v1/channels/{channel}/heartbeat"
        assert bot.put(path, json={"every_s": 1}).status_code == 200
        (silent,) = until(lambda: events(server, channel), 1)
        assert bot.put(path, json={"every_s": None}).status_code == 200
        over = until(lambda: events(server, channel), 2)[1]["data"]
    assert over["reason"] == "it is not awaited any more" and over["silent_s"] is None
    assert over["last_heard_at"] == silent["data"]["last_heard_at"]


def test_what_a_source_publishes_is_its_beat_and_nobody_elses(server: RunningServer, name: str) -> None:
    """An admin expects a source that has no word for it; another's signal that names it is no beat of it."""
    channel = channel_of(server, name)
    keys = [server.new_key(user=who, scopes=["publish"], channels=[channel]) for who in (name, f"{name}-x")]
    with server.http() as http, server.http(keys[0]) as bot, server.http(keys[1]) as other:
        body = {"source": name, "channel": channel, "every_s": 1}
        assert http.put("/v1/heartbeats", json=body).status_code == 200
        signal = {"symbol": "ACME", "action": "BUY"}
        for _ in range(8):
            assert bot.post(f"/v1/channels/{channel}/signals", json=signal).status_code == 201
            time.sleep(0.25)
        assert events(server, channel, "source.silent") == []
        ends = time.monotonic() + 2.5
        spoof = signal | {"extras": {"provider": {"id": name}}}
        while time.monotonic() < ends:
            assert other.post(f"/v1/channels/{channel}/signals", json=spoof).status_code == 201
            time.sleep(0.2)
        assert len(events(server, channel, "source.silent")) == 1
        assert bot.post(f"/v1/channels/{channel}/signals", json=signal).status_code == 201
        until(lambda: events(server, channel, "source.heard"), 1)
        http.put("/v1/heartbeats", json=body | {"every_s": None})


def test_a_beat_over_the_socket_counts_and_one_without_a_promise_is_refused(server: RunningServer, name: str) -> None:
    """`{"type":"heartbeat"}`: answered when it declares, or when it has a ref."""
    channel = channel_of(server, name)
    key = server.new_key(user=name, scopes=["publish", "subscribe"], channels=[channel])

    async def run() -> None:
        async with wire(server.url, key) as socket:
            await socket.send(type="heartbeat", channel=channel, ref=1)
            refused = (await socket.until(lambda m: m.get("ref") == 1))[-1]
            assert (refused["error"], refused["field"]) == ("not_found", "every_s")
            await socket.send(type="heartbeat", channel=channel, every_s=0.01, ref=2)
            assert (await socket.until(lambda m: m.get("ref") == 2))[-1]["field"] == "every_s"
            await socket.send(type="heartbeat", channel=channel, every_s=1, ref=3)
            told = (await socket.until(lambda m: m.get("ref") == 3))[-1]
            assert (told["type"], told["source"], told["every_s"]) == ("heartbeat", name, 1)
            await socket.subscribe(channel=channel)
            for _ in range(10):
                await asyncio.sleep(0.25)
                await socket.send(type="heartbeat", channel=channel)
            last = time.time()
            (silent,) = await socket.events(1)
            assert silent["type"] == "source.silent" and 0.9 < ts_of(silent) - last < 2
            await socket.send(type="heartbeat", channel=channel, every_s=None, ref=4)
            assert [each["type"] for each in await socket.events(1)] == ["source.heard"]

    asyncio.run(run())


@pytest.mark.parametrize("every_s", [0, -1, 1e9, "60", True, [60]])
def test_a_promise_nobody_can_keep_is_refused(server: RunningServer, every_s: object) -> None:
    """By field, over REST."""
    with server.http() as http:
        answer = http.put("/v1/channels/main/heartbeat", json={"every_s": every_s})
        assert (answer.status_code, answer.json()["field"]) == (400, "every_s"), answer.text


# --- Clocks ------------------------------------------------------------------------------------------------------


def test_a_clock_that_is_off_is_told_once_and_its_end_once(server: RunningServer, name: str) -> None:
    """`source.skewed` in the channel it publishes to, with the seconds; `source.right` when it is set right."""
    channel = channel_of(server, name)
    key = server.new_key(user=name, scopes=["publish"], channels=[channel])

    def publish(late_s: float) -> None:
        sent = (datetime.now(UTC) - timedelta(seconds=late_s)).isoformat()
        answer = bot.post(f"/v1/channels/{channel}/signals", json={"symbol": "A", "action": "BUY", "sent_at": sent})
        assert answer.status_code == 201, answer.text

    with server.http(key) as bot:
        publish(0.1)
        for _ in range(4):
            publish(-5)
        (skewed,) = until(lambda: events(server, channel, "source.skewed"), 1)
        assert -5.1 < skewed["data"]["skew_s"] < -4.5 and skewed["data"]["provider"] == {"id": name}
        for _ in range(10):
            publish(0)
        (right,) = until(lambda: events(server, channel, "source.right"), 1)
        assert (right["id"], right["version"]) == (skewed["id"], 2)
        publish(0)
        time.sleep(1.2)
        assert len(events(server, channel, "source.skewed", "source.right")) == 2


# --- Several processes, restarts ---------------------------------------------------------------------------------


@pytest.mark.slow
def test_of_several_processes_one_event_tells_a_silence_and_a_beat_at_one_counts_for_all(tmp_path: Path) -> None:
    """Two processes of one log: beats go to one alone for three periods, then stop; a publish at any ends it."""
    with RunningServer(tmp_path, processes=2) as server:
        path = "/v1/channels/main/heartbeat"
        with server.http() as http:  # One kept connection, so one process.
            assert http.put(path, json={"every_s": 1}).status_code == 200
            for _ in range(20):
                time.sleep(0.2)
                assert http.put(path).status_code == 200
            assert events(server, "main", *WATCHED) == [], "the other process heard none of them"
            last_s = time.time()
            (silent,) = until(lambda: events(server, "main", *WATCHED), 1)
            assert 0.9 < ts_of(silent) - last_s < 2.0
            time.sleep(2)
            assert len(events(server, "main", *WATCHED)) == 1, "each process saw it, one event tells it"
        with server.http() as another:
            assert another.put(path).status_code == 200
        _, heard = until(lambda: events(server, "main", *WATCHED), 2)
        assert heard["type"] == "source.heard"
        for late_s in (-5, -5):
            with server.http() as http:
                sent = (datetime.now(UTC) - timedelta(seconds=late_s)).isoformat()
                body = {"symbol": "A", "action": "BUY", "sent_at": sent}
                assert http.post("/v1/channels/main/signals", json=body).status_code == 201
        until(lambda: events(server, "main", "source.skewed"), 1)
        time.sleep(1.5)
        assert len(events(server, "main", "source.skewed")) == 1


@pytest.mark.slow
def test_a_restart_gives_a_period_of_grace_and_repeats_nothing(tmp_path: Path) -> None:
    """A promise outlives the process; who was silent before is not told again, who was not gets a whole period."""
    with RunningServer(tmp_path) as server:
        path = "/v1/channels/main/heartbeat"
        with server.http() as http:
            http.put(path, json={"every_s": 2})
        server.kill()
        time.sleep(3)  # Longer than the period: nobody could be heard.
        server.start()
        up_s = time.time()
        (silent,) = until(lambda: events(server, "main", *WATCHED), 1)
        assert 1.5 < ts_of(silent) - up_s < 4
        server.kill()
        server.start()
        time.sleep(3)
        assert len(events(server, "main", *WATCHED)) == 1
        with server.http() as http:
            assert http.put(path).status_code == 200
        _, heard = until(lambda: events(server, "main", *WATCHED), 2)
        assert (heard["id"], heard["version"]) == (silent["id"], 2)


# --- The client and the command line -----------------------------------------------------------------------------


def test_the_client_hears_halts_among_signals_and_keeps_its_promise_by_itself(server: RunningServer, name: str) -> None:
    """`on_halt` in order; a heartbeat goes on while the client is open and stops with it."""
    channel = channel_of(server, name)
    key = server.new_key(user=name, scopes=["publish", "subscribe"], channels=[channel])
    order: list[str] = []

    async def run() -> None:
        def told(event: Json) -> None:
            order.append(event["type"])

        async with connect(server.url, key, channel=channel, on_halt=told) as catalyst:
            await catalyst.heartbeat(channel, 1)
            await catalyst.publish({"id": "a", "symbol": "ACME", "action": "BUY"})
            with server.http() as http:
                halt = http.post("/v1/halts", json={"source": name, "reason": "x"}).json()
            assert [each["id"] for each in await catalyst.halts()] == [halt["id"]]
            await catalyst.publish({"id": "b", "symbol": "ACME", "action": "BUY"})
            async for signal in catalyst.signals(after=0):
                order.append(signal.id)
                if signal.id == "b":
                    break
            with server.http() as http:
                http.delete(f"/v1/halts/{halt['id']}")
            await asyncio.sleep(2.5)
            assert events(server, channel, "source.silent") == []

    asyncio.run(run())
    assert order == ["a", "halt.began", "b"]
    until(lambda: events(server, channel, "source.silent"), 1)
    with server.http(key) as bot:
        bot.put(f"/v1/channels/{channel}/heartbeat", json={"every_s": None})


@pytest.mark.slow
def test_the_command_line_halts_and_resumes_and_guesses_nothing(server: RunningServer, name: str) -> None:
    """A known source, a symbol, a typing mistake and a name that is both."""
    channel = channel_of(server, name)
    server.new_key(user=name, scopes=["publish"], channels=[channel])
    server.new_key(user=name.upper(), scopes=["publish"], channels=[channel])

    def catalyst(*args: str) -> tuple[int, str, str]:
        plain = {k: v for k, v in os.environ.items() if not k.startswith("CATALYST_")}
        done = subprocess.run(
            [sys.executable, "-m", "catalyst_signals", *args], capture_output=True, text=True, timeout=30,
            env=plain | {"CATALYST_URL": server.url, "CATALYST_KEY": server.admin_key},
        )  # fmt: skip
        return done.returncode, done.stdout, done.stderr

    assert catalyst("halt", name, "--reason", "wrong prices")[0] == 0
    code, said, _ = catalyst("halts")
    assert code == 0 and f"source {name}" in said and "wrong prices" in said
    assert catalyst("halt", f"{name}x", "--reason", "typo")[0] == 2
    code, _, why = catalyst("halt", name.upper(), "--reason", "both")
    assert code == 2 and "--symbol" in why
    code, said, why = catalyst("halt", f"{name.upper()}Z", "--reason", "suspended", "--channel", channel)
    assert code == 0 and f"{name.upper()}Z is halted" in said, why
    code, said, _ = catalyst("listen", "--channel", channel, "--after", "0", "--count", "2")
    assert f"HALT {name} wrong prices (by admin)" in said and f"HALT {name.upper()}Z suspended (by admin)" in said
    for halted in (name, f"{name.upper()}Z"):
        assert catalyst("resume", halted)[0] == 0
    assert catalyst("resume", name)[0] == 2
    assert [each["type"] for each in events(server, channel)] == ["halt.began"] * 2 + ["halt.ended"] * 2


# --- Stories -----------------------------------------------------------------------------------------------------


def test_the_same_story_of_two_wires_is_one_group_and_a_halt_of_a_wire_reaches_its_items(
    server: RunningServer, name: str
) -> None:
    """Two sources of items; each is named as provider, so `halt ingest.ID` means the same one."""
    title = f"Company {name} wins approval for its drug"
    with server.http() as http:
        wires = [http.post("/v1/ingest", json={"adapter": "jsonl"}).json() for _ in range(2)]
        for n, wire_ in enumerate(wires):
            body = json.dumps({"title": title, "url": f"https://{name}-{n}.example/story?utm_source=x"})
            answer = http.post(wire_["url"].partition(server.url)[2], content=body + "\n")
            assert answer.status_code == 201, answer.text
        halt = http.post("/v1/halts", json={"source": f"ingest.{wires[0]['id']}", "reason": "twice"}).json()
        assert halt["channels"] == ["items", "main"]
        http.delete(f"/v1/halts/{halt['id']}")
    found = [each for each in events(server, "items", "item.received") if title in str(each["data"])]
    assert len({each["data"]["group_id"] for each in found}) == 1
    assert [each["data"]["provider"]["id"] for each in found] == [f"ingest.{each['id']}" for each in wires]
