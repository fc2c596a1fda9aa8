"""A signal's whole life on a real server: changed, superseded, cancelled, expired; and who is told.

Covers `catalyst_signals.server.versions` from outside.
"""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.running import RunningServer
from tests.socket_client import wire

Json = dict[str, Any]


def soon(seconds: float) -> str:
    """A moment to come."""
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


def channel(server: RunningServer, name: str) -> str:
    """A channel of a test's own."""
    with server.http() as http:
        http.put(f"/v1/channels/{name}", json={})
    return name


def publish(http: httpx2.Client, name: str, **fields: Any) -> Json:
    """One signal, accepted."""
    answer = http.post(f"/v1/channels/{name}/signals", json={"symbol": "ACME", "action": "BUY"} | fields)
    assert answer.status_code == 201, answer.text
    said: Json = answer.json()
    return said


def events(http: httpx2.Client, name: str, **query: Any) -> list[Json]:
    """History."""
    found: list[Json] = http.get(f"/v1/channels/{name}/events", params=query).json()["events"]
    return found


def test_a_change_makes_a_version_and_all_versions_can_be_read(server: RunningServer) -> None:
    """What was said first stays said."""
    name = channel(server, "life-change")
    with server.http() as http:
        publish(http, name, id="s1", confidence=0.9, stop="9.40")
        changed = http.patch(f"/v1/channels/{name}/signals/s1", json={"stop": "9.10"})
        assert changed.status_code == 200 and changed.json()["version"] == 2 and changed.json()["id"] == "s1"
        assert changed.json()["duplicate"] is False and changed.json()["seq"] == 2
        again = http.patch(f"/v1/channels/{name}/signals/s1", json={"stop": "9.10"}).json()
        assert again["duplicate"] is True and again["version"] == 2 and again["seq"] == 2
        cancelled = http.post(f"/v1/channels/{name}/signals/s1/cancel", json={"reason": "trial halted"})
        assert cancelled.status_code == 200 and cancelled.json()["version"] == 3
        answer = http.get(f"/v1/channels/{name}/signals/s1")
        versions = answer.json()["versions"]
        assert [v["type"] for v in versions] == ["signal.published", "signal.updated", "signal.cancelled"]
        assert [v["version"] for v in versions] == [1, 2, 3] and answer.headers["etag"] == '"3"'
        assert versions[2]["data"]["reason"] == "trial halted" and versions[2]["data"]["stop"] == {"price": "9.10"}
        for late in (
            http.patch(f"/v1/channels/{name}/signals/s1", json={"stop": "9.00"}),
            http.post(f"/v1/channels/{name}/signals/s1/cancel"),
        ):
            assert late.status_code == 409 and late.json()["error"] == "signal_ended"
        assert http.get(f"/v1/channels/{name}/signals/nothing").status_code == 404
        assert http.patch(f"/v1/channels/{name}/signals/s1~2", json={}).status_code == 404
        wrong = http.patch(
            f"/v1/channels/{name}/signals/s1", content=b"{", headers={"content-type": "application/json"}
        )
        assert wrong.status_code == 400 and wrong.json()["error"] == "json_invalid"


def test_if_match_holds_and_of_many_writers_each_version_has_one(server: RunningServer) -> None:
    """Two people who move the stop at once do not overwrite each other unseen."""
    name = channel(server, "life-race")
    with server.http() as http:
        publish(http, name, id="r", note="0")
        path = f"/v1/channels/{name}/signals/r"
        assert http.patch(path, json={"note": "1"}, headers={"If-Match": '"1"'}).json()["version"] == 2
        late = http.patch(path, json={"note": "2"}, headers={"If-Match": '"1"'})
        assert late.status_code == 409 and late.json()["error"] == "version_conflict" and late.json()["version"] == 2
        assert http.patch(path, json={"note": "2"}, headers={"If-Match": "two"}).status_code == 400

        def writer(number: int) -> Json:
            with server.http() as own:
                said: Json = own.patch(path, json={"note": f"w{number}"}).json()
                return said

        with ThreadPoolExecutor(8) as pool:
            said = list(pool.map(writer, range(16)))
        assert sorted(s["version"] for s in said) == list(range(3, 19)), said
        versions = http.get(path).json()["versions"]
        assert [v["version"] for v in versions] == list(range(1, 19)) and len(
            {v["data"]["note"] for v in versions}
        ) == 18
        for number in range(19, 33):
            assert http.patch(path, json={"note": f"n{number}"}).json()["version"] == number
        full = http.patch(path, json={"note": "one too many"})
        assert full.status_code == 409 and "32" in full.json()["message"]
        assert http.post(f"{path}/cancel").json()["version"] == 33, "it can always be ended"


def test_only_who_published_a_signal_or_an_admin_changes_it(server: RunningServer) -> None:
    """And what a key may not see is not there for it."""
    name = channel(server, "life-own")
    bot = server.new_key(user="own-bot", scopes=["publish", "subscribe"], channels=[name])
    other = server.new_key(user="own-other", scopes=["publish", "subscribe"], channels=[name])
    blind = server.new_key(user="own-blind", scopes=["publish", "subscribe"], channels=[name], filter="symbol = SECRET")
    with server.http(bot) as http:
        publish(http, name, id="mine")
    path = f"/v1/channels/{name}/signals/mine"
    with server.http(other) as http:
        assert http.patch(path, json={"note": "x"}).status_code == 403
        assert http.post(f"{path}/cancel").json()["error"] == "forbidden"
        assert http.get(path).status_code == 200
    with server.http(blind) as http:
        hidden = [http.get(path), http.patch(path, json={"note": "x"}), http.post(f"{path}/cancel")]
        nothing = http.patch(path.replace("mine", "nothing"), json={"note": "x"})
        assert [h.status_code for h in hidden] == [404, 404, 404]
        assert hidden[1].json() == nothing.json() | {"got": "mine"}
    with server.http() as http:
        assert http.patch(path, json={"note": "by the admin"}).status_code == 200
    with server.http(bot) as http:
        last = http.patch(path, json={"note": "mine again"}).json()
        assert last["version"] == 3
        assert http.get(path).json()["versions"][-1]["data"]["provider"] == {"id": "own-bot"}


async def test_whoever_was_shown_a_signal_is_told_its_end_also_across_a_reconnect(server: RunningServer) -> None:
    """Though it no longer matches: a position must not stay open for want of a message."""
    name = channel(server, "life-end")
    with server.http() as http:
        async with wire(server.url, server.admin_key) as me:
            await me.subscribe(channel=name, filter="confidence >= 0.7", position_s=1)
            publish(http, name, id="e1", confidence=0.9)
            publish(http, name, id="e2", confidence=0.1)
            http.patch(f"/v1/channels/{name}/signals/e1", json={"confidence": 0.2})
            seen = await me.events(2)
            assert [(e["id"], e["version"]) for e in seen] == [("e1", 1), ("e1", 2)]
            assert len(seen[1]["hash"]) == 8
        http.post(f"/v1/channels/{name}/signals/e1/cancel", json={"reason": "x"})
        http.post(f"/v1/channels/{name}/signals/e2/cancel", json={})
        publish(http, name, id="e3", confidence=0.8)
        async with wire(server.url, server.admin_key) as me:
            said = await me.subscribe(
                channel=name, filter="confidence >= 0.7", after=seen[1]["seq"], hash=seen[1]["hash"]
            )
            assert said["type"] == "subscribed"
            back = await me.events(2)
        assert [(e["type"], e["id"]) for e in back] == [("signal.cancelled", "e1"), ("signal.published", "e3")]
        replayed = events(http, name, filter="confidence >= 0.7")
        assert [(e["id"], e["version"]) for e in replayed] == [("e1", 1), ("e1", 2), ("e1", 3), ("e3", 1)]


def test_a_signal_that_supersedes_another_ends_it_in_the_same_commit(server: RunningServer) -> None:
    """The same story from another wire replaces the first, and a retry does nothing twice."""
    name = channel(server, "life-super")
    stranger = server.new_key(user="super-stranger", scopes=["publish"], channels=[name])
    with server.http() as http:
        publish(http, name, id="wire-a")
        said = publish(http, name, id="wire-b", supersedes="wire-a", confidence=0.8)
        again = http.post(
            f"/v1/channels/{name}/signals",
            json={"symbol": "ACME", "action": "BUY", "id": "wire-b", "supersedes": "wire-a", "confidence": 0.8},
        )
        assert again.status_code == 200 and again.json()["seq"] == said["seq"] and again.json()["duplicate"] is True
        log = events(http, name)
        assert [(e["type"], e["id"], e["version"]) for e in log] == [
            ("signal.published", "wire-a", 1), ("signal.published", "wire-b", 1), ("signal.superseded", "wire-a", 2),
        ]  # fmt: skip
        assert log[2]["data"]["superseded_by"] == "wire-b"
        lost = http.post(f"/v1/channels/{name}/signals", json={"symbol": "A", "action": "BUY", "supersedes": "nobody"})
        assert lost.status_code == 400 and lost.json()["field"] == "supersedes"
        several = http.post(
            f"/v1/channels/{name}/signals",
            json=[{"symbol": "ACME", "action": "BUY", "id": f"w{n}", "supersedes": "wire-b"} for n in range(2)],
        )
        assert several.status_code == 201 and len(several.json()["results"]) == 2
        assert [e["type"] for e in events(http, name)[3:]] == ["signal.published"] * 2 + ["signal.superseded"]
        gone = publish(http, name, id="wire-c", supersedes="wire-a")
        assert gone["duplicate"] is False and events(http, name)[-1]["id"] == "wire-c", (
            "an ended one is not ended again"
        )
    with server.http(stranger) as http:
        refused = http.post(f"/v1/channels/{name}/signals", json={"symbol": "A", "action": "BUY", "supersedes": "w0"})
        assert refused.status_code == 403


def test_superseding_does_not_tell_that_a_hidden_signal_is_there(server: RunningServer) -> None:
    """What an entitlement hides is not there, whichever way one asks."""
    name = channel(server, "life-hidden")
    blind = server.new_key(user="hid-blind", scopes=["publish", "subscribe"], channels=[name], filter="symbol = XYZ")
    with server.http() as http:
        publish(http, name, id="hidden")
        publish(http, name, id="seen", symbol="XYZ")
    with server.http(blind) as http:
        hidden, nothing, seen = (
            http.post(f"/v1/channels/{name}/signals", json={"symbol": "XYZ", "action": "BUY", "supersedes": id})
            for id in ("hidden", "nothing", "seen")
        )
    assert (hidden.status_code, hidden.json()) == (nothing.status_code, nothing.json() | {"got": "hidden"})
    assert hidden.status_code == 400 and seen.status_code == 403


async def test_superseding_works_over_the_socket_too(server: RunningServer) -> None:
    """The same draft is the same draft, wherever it comes in."""
    name = channel(server, "life-super-ws")
    async with wire(server.url, server.admin_key) as me:
        await me.subscribe(channel=name, position_s=1)
        for ref, extra in ((1, {"id": "one"}), (2, {"id": "two", "supersedes": "one"}), (3, {"id": "three"})):
            await me.send(type="publish", channel=name, ref=ref, signal={"symbol": "ACME", "action": "BUY"} | extra)
        seen = await me.until(lambda m: m.get("seq") == 4 and "data" in m)
        seen += await me.until(lambda m: m.get("ref") == 3) if not any(m.get("ref") == 3 for m in seen) else []
    assert [(m["type"], m["id"]) for m in seen if "data" in m] == [
        ("signal.published", "one"), ("signal.published", "two"), ("signal.superseded", "one"),
        ("signal.published", "three"),
    ]  # fmt: skip
    assert [(m["ref"], m["id"]) for m in seen if m["type"] == "accepted"] == [(1, "one"), (2, "two"), (3, "three")]


def ended(http: httpx2.Client, name: str, count: int, within_s: float = 15) -> list[Json]:
    """The `signal.expired` there are, once there are so many."""
    until = time.monotonic() + within_s
    while True:
        found = [e for e in events(http, name) if e["type"] == "signal.expired"]
        if len(found) >= count or time.monotonic() > until:
            return found
        time.sleep(0.1)


async def test_a_signal_ends_by_itself_once_and_its_readers_are_told(server: RunningServer) -> None:
    """`valid 4 hours` must not need anybody to remember."""
    name = channel(server, "life-expire")
    with server.http() as http:
        async with wire(server.url, server.admin_key) as me:
            await me.subscribe(channel=name, position_s=1)
            publish(http, name, id="x1", expires_at=soon(1))
            publish(http, name, id="x2", expires_at=soon(1))
            publish(http, name, id="x3", expires_at=soon(1))
            http.patch(f"/v1/channels/{name}/signals/x2", json={"expires_at": soon(600)})
            http.patch(f"/v1/channels/{name}/signals/x3", json={"expires_at": None})
            seen = await me.until(lambda m: m["type"] == "signal.expired")
        assert seen[-1]["id"] == "x1" and seen[-1]["version"] == 2
        late = http.patch(f"/v1/channels/{name}/signals/x1", json={"note": "x"})
        assert late.json()["error"] == "signal_ended" and late.json()["ended"] == "expired"
        past = http.patch(f"/v1/channels/{name}/signals/x2", json={"expires_at": "2020-01-01T00:00:00Z"})
        assert past.status_code == 400 and past.json()["field"] == "expires_at"
        await asyncio.sleep(0.5)
        assert [e["id"] for e in ended(http, name, 1)] == ["x1"]
        missed = events(http, name, after=0)
        assert missed[-1]["type"] == "signal.expired"
        async with wire(server.url, server.admin_key) as me:
            await me.subscribe(channel=name, after=0, position_s=1)
            position = (await me.until(lambda m: m["type"] == "position"))[-1]
        assert position["held"] == {"expired": 3} and position["sent"] == len(missed) - 3, "each first version"


@pytest.mark.slow
def test_signals_that_were_due_while_the_server_was_down_end_once_after_it_comes_back(tmp_path: Path) -> None:
    """Whatever restarts, cleanly or by kill -9."""
    with RunningServer(tmp_path) as server:
        with server.http() as http:
            for number in range(20):
                publish(http, "main", id=f"d{number}", expires_at=soon(2 + number % 3))
        server.kill()
        time.sleep(2.5)
        server.start()
        with server.http() as http:
            publish(http, "main", id="later", expires_at=soon(3))
        time.sleep(0.6)
        server.stop()
        server.start()
        server.kill()
        server.start()
        with server.http() as http:
            found = ended(http, "main", 21)
            time.sleep(1)
            found = [e["id"] for e in events(http, "main") if e["type"] == "signal.expired"]
        assert sorted(found) == sorted([f"d{number}" for number in range(20)] + ["later"])
        server.stop()


def test_what_an_outsider_stumbled_over_stays_mended(server: RunningServer) -> None:
    """Short forms that take away, ids with a slash, eight writers at once, an old condition on what has ended."""
    name = channel(server, "life-outside")
    with server.http() as http:
        path = f"/v1/channels/{name}/signals"
        publish(http, name, id="fmp/ACME/1", target="12")
        gone = http.patch(f"{path}/fmp/ACME/1", json={"target": None}).json()
        newest = http.get(f"{path}/fmp%2FACME%2F1").json()["versions"][-1]
        assert gone["version"] == 2 and "targets" not in newest["data"]
        assert http.patch(f"{path}/fmp/ACME/1", json={"symbol": None}).status_code == 400

        def writer(number: int) -> int:
            with server.http() as own:
                return own.patch(f"{path}/fmp/ACME/1", json={"note": f"w{number}"}).status_code

        with ThreadPoolExecutor(8) as pool:
            assert set(pool.map(writer, range(20))) == {200}
        assert http.post(f"{path}/fmp/ACME/1/cancel", json={}).json()["version"] == 23
        late = http.patch(f"{path}/fmp/ACME/1", json={"note": "x"}, headers={"If-Match": '"1"'})
        assert late.json()["error"] == "signal_ended"
        forged = http.post(path, json={"symbol": "A", "action": "BUY", "superseded_by": "x"})
        assert forged.status_code == 400 and forged.json()["field"] == "superseded_by"
        assert http.delete(f"{path}/fmp/ACME/1").json()["erased"]
