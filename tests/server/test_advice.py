"""`GET /v1/advice` and its picture: the advisor's own answer, for this server as its log says it is.

Covers `catalyst_signals.server.advising`; how the log is counted, in all its cases: tests/unit/test_traffic.py.
Who relies on it: `catalyst advise --from-server`, and whoever plans by it.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch
from xml.etree import ElementTree

import msgspec
import pytest

from catalyst_signals.advisor import Load, advise
from catalyst_signals.auth import SCOPES
from catalyst_signals.auth.api_keys import new_key
from catalyst_signals.events import Batch, Draft, iso, now_us
from catalyst_signals.projections import Channel, Key, system_draft
from catalyst_signals.server.traffic import CHANNELS_MAX
from catalyst_signals.signals import signal_draft
from catalyst_signals.stores.sqlite import SqliteStore
from tests.running import RunningServer
from tests.server.test_processes import one_on_each
from tests.socket_client import wire

Json = dict[str, Any]
DAY_US = 86_400_000_000
CHANGE = Draft(type="signal.changed", id="x", body=b'{"data":{}}', draft_hash=bytes(32))
QUESTION = {"users": 15, "signals": 200, "budget": 50, "devops_hours": 4, "replay": True}


class Past:
    """A log in a file, written as if it had been days ago; the server that is started on it knows the admin's key."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.now_us = now_us()
        self.admin_key = ""
        self._store = SqliteStore(folder / "catalyst.db")

    async def __aenter__(self) -> Past:
        await self._store.__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._store.__aexit__(*exc)

    async def append(self, days_ago: float, channel: str, drafts: Sequence[Draft]) -> None:
        """Committed then."""
        with patch("catalyst_signals.stores.batches.now_us", lambda: self.now_us - int(days_ago * DAY_US)):
            await self._store.append([Batch(channel=channel, subject="s", drafts=[])])
            await self._store.append([Batch(channel=channel, subject="s", drafts=drafts)])

    async def user(self, days_ago: float, name: str) -> str:
        """Somebody was given a key."""
        id, shown, secret_hash = new_key("live")
        at = iso(self.now_us - int(days_ago * DAY_US))
        key = Key(id, name, SCOPES, ("*",), secret_hash, at)
        await self.append(days_ago, "system", [system_draft("key.created", msgspec.to_builtins(key))])
        self.admin_key = self.admin_key or shown
        return shown

    async def channel(self, days_ago: float, name: str, **kept: int) -> None:
        """A channel was made."""
        await self.append(days_ago, name, [])
        draft = system_draft("channel.set", msgspec.to_builtins(Channel(name, **kept)))
        await self.append(days_ago, "system", [draft])

    async def signals(self, days_ago: float, count: int, channel: str = "main") -> None:
        """So many at once."""
        sent = {"symbol": "ACME", "action": "BUY"}
        await self.append(days_ago, channel, [signal_draft(sent, subject="s")[0] for _ in range(count)])

    def server(self, **settings: Any) -> RunningServer:
        """Not started yet."""
        server = RunningServer(self.folder, **settings)
        server.admin_key = self.admin_key
        server.keys.append(self.admin_key)
        return server


def advice_of(server: RunningServer, key: str | None = None, **asked: object) -> Json:
    """What it says."""
    params = {name: json.dumps(value) for name, value in asked.items()}
    with server.http(key) as http:
        answer = http.get("/v1/advice", params=params)
        assert answer.status_code == 200, answer.text
        found: Json = answer.json()
        return found


def standing_of(server: RunningServer) -> Json:
    """Where it stands."""
    found: Json = advice_of(server)["server"]
    return found


def catalyst(*args: str, folder: Path) -> None:
    """A command, to its end."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("CATALYST_")}
    command = [sys.executable, "-m", "catalyst_signals", *args]
    done = subprocess.run(command, capture_output=True, cwd=folder, env=plain, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


# --- Who is told, and what may be asked ------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/v1/advice", "/v1/advice.svg"])
def test_only_an_admin_is_told(server: RunningServer, path: str) -> None:
    """How many users there are and what is switched on is the operator's business."""
    friend = server.new_key(user="friend", scopes=["publish", "subscribe"], channels=["*"])
    with server.http(friend) as http:
        refused = http.get(path)
        assert (refused.status_code, refused.json()["allowed"]) == (403, "admin")
        assert http.get(path, headers={"Authorization": ""}).status_code == 401


@pytest.mark.parametrize(
    ("name", "got"),
    [
        ("users", "-1"), ("users", "many"), ("users", "1.5"), ("users", ""), ("users", "9" * 30), ("signals", "nan"),
        ("budget", "nan"), ("budget", "1e400"), ("budget", "inf"), ("budget", "-0.01"), ("devops_hours", "-1"),
        ("replay", "perhaps"), ("replay", "2"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/v1/advice", "/v1/advice.svg"])
def test_a_value_that_is_none_is_refused_by_name_with_what_is_allowed(
    server: RunningServer, path: str, name: str, got: str
) -> None:
    with server.http() as http:
        refused = http.get(path, params={name: got})
        said = refused.json()
        assert (refused.status_code, said["error"], said["field"], said["got"]) == (400, "request_invalid", name, got)
        assert said["allowed"] and said["allowed"] in said["message"]


def test_a_parameter_that_nobody_reads_is_refused(server: RunningServer) -> None:
    """`?user=100` would be an advice for somebody else."""
    with server.http() as http:
        refused = http.get("/v1/advice", params={"user": "100"})
        assert refused.status_code == 400 and refused.json()["field"] == "user"


# --- What is answered ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("asked", [QUESTION, QUESTION | {"users": 500, "budget": 10}, {"users": 3, "signals": 20}])
def test_the_same_question_has_the_answer_of_the_advisor(server: RunningServer, asked: Json) -> None:
    """What `catalyst advise --json` says, and where the server stands besides; on are the server's own."""
    found = advice_of(server, **asked)
    expected = json.loads(msgspec.json.encode(advise(Load(**asked))))
    assert set(found) == set(expected)
    for said in (found, expected):
        said["checklist"] = [item | {"on": None} for item in said["checklist"]]
        said["server"] = None
    assert found == expected


def test_what_is_not_asked_is_the_servers_own(server: RunningServer) -> None:
    """Users with a key that works, and signals a day; a key that was revoked is nobody's."""
    with server.http() as http:
        before = advice_of(server)["asked"]
        for name in ("adv-a", "adv-a", "adv-b"):
            made = http.post("/v1/keys", json={"user": name})
        assert advice_of(server)["asked"]["users"] == before["users"] + 2
        assert http.delete(f"/v1/keys/{made.json()['id']}").status_code == 200
        found = advice_of(server, budget=20)
        assert found["asked"]["users"] == found["server"]["users"] == before["users"] + 1
        assert found["asked"]["budget"] == 20 and before["budget"] is None


@pytest.mark.slow
def test_what_is_switched_on_here_is_on_and_no_value_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    """A checklist that ticks itself; a DSN is a secret."""

    def on(users: int) -> set[str]:
        return {item["item"] for item in advice_of(server, users=users)["checklist"] if item["on"]}

    def by(*facts: str, users: int) -> set[str]:
        return {item.item for item in advise(Load(users=users), facts=frozenset(facts)).checklist if item.on}

    monkeypatch.setenv("SYSTEMD_EXEC_PID", str(os.getpid()))  # As if this were the parent that systemd started.
    places = {
        "sentry_dsn": "http://secret@127.0.0.1:9/1", "otlp_endpoint": "http://127.0.0.1:9", "log_ship_url": "http://127.0.0.1:9/x",
    }  # fmt: skip
    with RunningServer(tmp_path, public_url="https://signals.example.org", **places) as server:
        assert on(users=3) == by("running", "https", users=3) > by(users=3)
        assert on(users=15) == by("systemd", users=15) > by(users=15)
        assert on(users=500) == by("otlp", "sentry", "log_ship", users=500) > by(users=500)
        assert on(users=60) == by("https", users=60)
        with server.http() as http:
            assert http.get("/metrics").status_code == 200
            assert "127.0.0.1:9" not in http.get("/v1/advice").text
        assert on(users=60) == by("metrics_scraped", users=60) > by(users=60)


def test_the_picture_is_an_svg_that_runs_nothing_and_is_kept_by_nobody(server: RunningServer) -> None:
    with server.http() as http:
        answer = http.get("/v1/advice.svg", params={"users": 15, "signals": 200})
        assert answer.status_code == 200
        assert (answer.headers["content-type"], answer.headers["cache-control"]) == ("image/svg+xml", "no-store")
        root = ElementTree.fromstring(answer.text)
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert not [each for each in root.iter() if each.tag.endswith("script")]
        assert not [name for each in root.iter() for name in each.attrib if name.startswith("on") or "href" in name]
        other = http.get("/v1/advice.svg", params={"users": 500, "signals": 2000})
        assert other.text != answer.text


# --- Where a server stands -------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_an_empty_server_says_what_it_does_not_know(tmp_path: Path) -> None:
    """One user, who asks; no signals, no growth, no latency."""
    with RunningServer(tmp_path) as server:
        found = advice_of(server)
        stands = found["server"]
        assert (found["scale"], stands["scale"], stands["users"], stands["signals_per_day"]) == ("mvp", "mvp", 1, 0)
        assert stands["users_growth"] is stands["signals_growth"] is stands["delivery_p99_ms"] is None
        assert (stands["connections"], stands["connections_peak"]) == (0, 0)
        assert stands["store_bytes"] == (tmp_path / "catalyst.db").stat().st_size
        assert datetime.now(UTC) - datetime.fromisoformat(stands["since"]) < timedelta(minutes=1)


@pytest.mark.slow
async def test_users_and_signals_and_how_they_grow_are_those_of_the_log(tmp_path: Path) -> None:
    """40 days, two channels: 10 signals a day, then 25; six users at the beginning, three more lately."""
    async with Past(tmp_path) as past:
        for n in range(6):
            await past.user(40 - n / 24, f"u{n}")
        await past.channel(39, "desk")
        for day in reversed(range(40)):
            await past.signals(day + 0.5, 20 if day < 7 else 5)
            await past.signals(day + 0.4, 5, "desk")
            await past.append(day + 0.3, "desk", [msgspec.structs.replace(CHANGE, id=f"c{day}")])
        for n in (20, 10, 2):
            await past.user(n, f"late{n}")
    with past.server() as server:
        found = advice_of(server)
    stands = found["server"]
    assert (stands["users"], stands["signals_per_day"], stands["signals_last_day"]) == (9, 25, 25)
    assert stands["signals_last_month"] == pytest.approx((7 * 25 + 23 * 10) / 30)
    assert (found["asked"]["users"], found["asked"]["signals"]) == (9, 25)
    assert stands["signals_growth"] == pytest.approx(1.0) and stands["users_growth"] == pytest.approx(3 / 30)
    assert stands["scale"] == found["scale"] == "small"
    counted = datetime.now(UTC) - datetime.fromisoformat(stands["since"])
    assert timedelta(days=29.9) < counted < timedelta(days=30.1)


@pytest.mark.slow
async def test_a_log_that_was_brought_here_is_counted_across_its_gap(tmp_path: Path) -> None:
    """`catalyst import` begins a new epoch a million above: nobody published those."""
    origin, here = tmp_path / "origin", tmp_path / "here"
    origin.mkdir()
    here.mkdir()
    async with Past(origin) as past:
        await past.user(20, "admin")
        for day in reversed(range(20)):
            await past.signals(day + 0.5, 4)
        await past.user(0.1, "late")
    catalyst("export", "log.ndjson", folder=origin)
    catalyst("import", f"{origin}/log.ndjson", folder=here)
    past.folder = here
    with past.server() as server:
        with server.http() as http:
            assert (
                http.post("/v1/channels/main/signals", json={"symbol": "A", "action": "BUY"}).json()["seq"] > 1_000_000
            )
        stands = standing_of(server)
        assert standing_of(server) == stands  # Who asks again compares like with like.
    assert stands["signals_per_day"] == pytest.approx((28 + 1) / 7)
    assert stands["signals_growth"] == 0 and stands["users_growth"] == pytest.approx(1 / 19, rel=1e-3)


@pytest.mark.slow
async def test_what_retention_dropped_does_not_make_a_server_grow(tmp_path: Path) -> None:
    """A channel that keeps three days has had six a day all along, for all one knows."""
    async with Past(tmp_path) as past:
        await past.user(30, "admin")
        await past.channel(30, "short", age_s=3 * 86400)
        for day in reversed(range(30)):
            await past.signals(day + 0.5, 6, "short")
    with past.server(retention_s=0.1) as server:
        with server.http() as http:
            for _ in range(100):
                if http.get("/v1/channels/short").json()["first"] > 1:
                    break
                await asyncio.sleep(0.05)
            assert http.get("/v1/channels/short").json()["first"] == 27 * 6 + 1
        stands = standing_of(server)
    assert stands["signals_per_day"] == pytest.approx(6, rel=0.25)
    assert stands["signals_growth"] == 0


@pytest.mark.slow
async def test_channels_that_are_not_counted_are_said_to_be_so(tmp_path: Path) -> None:
    """Two more than are counted, each with a signal: a number that is not the whole is not shown as the whole."""
    async with Past(tmp_path) as past:
        await past.user(3, "admin")
        for n in range(CHANNELS_MAX + 2):
            await past.channel(3, f"c{n}")
            await past.signals(0.5, 3, f"c{n}")
    with past.server() as server:
        found = advice_of(server)
    assert found["server"]["signals_per_day"] == pytest.approx(CHANNELS_MAX, rel=0.01)
    assert found["notes"][-1].startswith("Channels whose signals are not counted: 2.")


@pytest.mark.slow
async def test_connections_are_of_all_processes_and_the_most_is_remembered(tmp_path: Path) -> None:
    """Whichever process is asked; what was written to them says how late it was."""
    with RunningServer(tmp_path, processes=2) as server:
        async with one_on_each(server), wire(server.url, server.admin_key) as one:
            await one.subscribe(channel="main")
            with server.http() as http:
                http.post("/v1/channels/main/signals", json={"symbol": "A", "action": "BUY"}).raise_for_status()
            await one.events(1)
            stands = await seen(server, lambda said: said["connections"] >= 3 and said["delivery_p99_ms"] is not None)
            assert stands["connections_peak"] >= 3 and 0 < stands["delivery_p99_ms"] < 5000
            await asyncio.sleep(2.2)  # A look a second, and a report a second: both have seen it.
        for _ in range(6):  # Of either process.
            stands = await seen(server, lambda said: said["connections"] == 0)
            assert stands["connections_peak"] >= 3 and stands["store_bytes"] > 0


async def seen(server: RunningServer, is_so: Callable[[Json], bool]) -> Json:
    """Soon, if not now."""
    for _ in range(100):
        if is_so(stands := standing_of(server)):
            break
        await asyncio.sleep(0.1)
    assert is_so(stands), stands
    return stands
