"""Filters on a real server: why, what a filter would have sent, and filters saved by name that are edited while in use.

Covers `catalyst_signals.server.filters` from outside.
"""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from typing import Any

import httpx2
import pytest
from websockets.sync.client import connect as dial

from catalyst_signals import connect
from catalyst_signals.cli import run
from tests.running import RunningServer
from tests.socket_client import Wire, wire

Json = dict[str, Any]


@pytest.fixture
def channel(server: RunningServer) -> str:
    """A channel of a test's own."""
    name = f"f-{uuid.uuid4().hex[:8]}"
    with server.http() as http:
        http.put(f"/v1/channels/{name}", json={}).raise_for_status()
    return name


def publish(http: httpx2.Client, channel: str, **fields: Any) -> int:
    """One signal; its seq."""
    answer = http.post(f"/v1/channels/{channel}/signals", json={"symbol": "ACME", "action": "BUY"} | fields)
    assert answer.status_code == 201, answer.text
    seq: int = answer.json()["seq"]
    return seq


def ask(http: httpx2.Client, what: str, **body: Any) -> Json:
    """The answer of explain or rehearse, or its refusal."""
    said: Json = http.post(f"/v1/filters/{what}", json=body).json()
    return said


# --- Why ---------------------------------------------------------------------------------------------------------


def test_why_is_answered_clause_by_clause(server: RunningServer, channel: str) -> None:
    """Somebody expected a signal that never came."""
    with server.http() as http:
        seq = publish(http, channel, confidence=0.61)
        told = ask(http, "explain", filter="symbol = ACME and confidence >= 0.7", channel=channel, seq=seq)
        assert told["matches"] is False and told["event"]["seq"] == seq and told["event"]["channel"] == channel
        assert [(c["says"], c["holds"]) for c in told["clauses"]] == [
            ("confidence 0.61 < 0.7", False), ("symbol is ACME", True),
        ]  # fmt: skip
        assert told["says"] == "It does not match: confidence 0.61 < 0.7."


def test_a_change_is_explained_by_the_version_that_matched(server: RunningServer, channel: str) -> None:
    """A cancel of something that no longer fits the filter looks like a mistake until one asks."""
    with server.http() as http:
        publish(http, channel, id="v", confidence=0.9)
        seq = http.patch(f"/v1/channels/{channel}/signals/v", json={"confidence": 0.2}).json()["seq"]
        told = ask(http, "explain", filter="confidence >= 0.7", channel=channel, seq=seq)
    assert told["matches"] and told["decided_by"] == 1 and told["event"]["version"] == 2
    assert [v["matches"] for v in told["versions"]] == [False, True]


def test_what_is_hidden_cannot_be_told_from_what_never_was(server: RunningServer, channel: str) -> None:
    """Else somebody reads other people's signals by asking why they did not get them."""
    with server.http() as http:
        seen, hidden = publish(http, channel, symbol="ACME"), publish(http, channel, symbol="SECRET")
    key = server.new_key(user=channel, channels=[channel], filter="symbol = ACME")
    with server.http(key) as http:
        assert ask(http, "explain", filter="", channel=channel, seq=seen)["matches"]
        answers = [
            http.post("/v1/filters/explain", json={"filter": "confidence > 0", "channel": channel, "seq": seq})
            for seq in (hidden, 999, 1 << 40, (1 << 62))
        ]
        assert {answer.status_code for answer in answers} == {404}
        assert len({json.dumps(answer.json() | {"got": 0}) for answer in answers}) == 1
        assert "SECRET" not in answers[0].text
        told = ask(http, "rehearse", filter="", channel=channel)
        assert told["of"] == told["matched"] == 1 and "SECRET" not in json.dumps(told)


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({"filter": "x >", "seq": 1}, "filter_invalid"),
        ({"filter": "", "seq": 0}, "request_invalid"),
        ({"filter": ""}, "request_invalid"),
        ({"filter": "", "seq": "1"}, "request_invalid"),
        ({"filter": "", "seq": 1, "chanel": "main"}, "request_invalid"),
        ({"filter": "", "seq": 1, "channel": "nowhere"}, "unknown_channel"),
        ({"filter": "stop exists", "subscriber": "a:main", "seq": 1}, "request_invalid"),
        ({"subscriber": "a:main", "seq": 1}, "not_found"),
        ({"subscriber": "", "seq": 1}, "not_found"),
        ({"filter": "never-saved", "seq": 1}, "filter_invalid"),
    ],
)
def test_a_wrong_question_is_refused_in_words(server: RunningServer, body: Json, error: str) -> None:
    """Nobody is answered something else than they asked."""
    with server.http() as http:
        assert ask(http, "explain", **body)["error"] == error


async def test_a_subscriber_learns_what_became_of_an_event(server: RunningServer, channel: str) -> None:
    """ "Why did I not get it" has four answers, and the filter is only one of them."""
    key = server.new_key(user=f"u-{channel}", channels=[channel])
    with server.http() as admin, server.http(key) as http:
        for symbol in ("ACME", "ACME", "XYZ", "ACME"):
            publish(admin, channel, symbol=symbol)
        async with wire(server.url, key) as me:
            said = await me.subscribe(channel=channel, after=1, filter="symbol = ACME", max_age_s=3600)
            await me.events(2)

            def state(seq: int, client: httpx2.Client = http) -> Json:
                found: Json = ask(client, "explain", subscriber=said["subscriber"], seq=seq)["delivery"]
                return found

            assert state(1) == {
                "state": "before",
                "says": "your position passed it at 1, before this subscription began; subscribe with after below 1",
            }
            assert state(2)["state"] == "sent" and state(3)["state"] == "not_matched"
            assert state(4, admin)["state"] == "sent"
            other = server.new_key(user=f"o-{channel}", channels=[channel])
            with server.http(other) as stranger:
                assert ask(stranger, "explain", subscriber=said["subscriber"], seq=2)["error"] == "not_found"


async def test_what_was_held_is_said_with_what_to_do(server: RunningServer, channel: str) -> None:
    """Nothing is held in secret."""
    with server.http() as http:
        first = publish(http, channel)
        await asyncio.sleep(1.1)
        async with wire(server.url, server.admin_key) as me:
            said = await me.subscribe(channel=channel, after=0, max_age_s=1)
            await me.until(lambda m: m["type"] == "live")
            told = ask(http, "explain", subscriber=said["subscriber"], seq=first)["delivery"]
    assert told["state"] == "held" and told["says"].startswith("held: aged; ") and "max_age_s" in told["says"]


# --- Rehearsal ---------------------------------------------------------------------------------------------------


def test_a_rehearsal_says_what_would_be_new(server: RunningServer, channel: str) -> None:
    """A filter is chosen before it is trusted."""
    with server.http() as http:
        for n in range(10):
            publish(http, channel, confidence=n / 10)
        told = ask(
            http, "rehearse", filter="confidence >= 0.8", against="confidence between 0.7 and 0.8", channel=channel
        )
        assert (told["of"], told["matched"], told["against"]["matched"]) == (10, 2, 2)
        assert [e["seq"] for e in told["newly_in"]["examples"]] == [10]
        assert [e["seq"] for e in told["newly_out"]["examples"]] == [8]
        history = http.get(f"/v1/channels/{channel}/events", params={"filter": "confidence >= 0.8"}).json()["events"]
        assert told["examples"] == history[::-1] and told["worst_burst"]["count"] == 2
        assert ask(http, "rehearse", filter="", channel=channel, after=7)["of"] == 3
        assert ask(http, "rehearse", filter="", channel=channel, after=-1)["error"] == "request_invalid"
        assert ask(http, "rehearse", filter="", channel="system")["of"] > 0


def test_a_rehearsal_of_what_one_may_not_see_is_refused(server: RunningServer, channel: str) -> None:
    """A count tells as much as a signal."""
    with server.http(server.new_key(channels=["main"])) as http:
        assert ask(http, "rehearse", filter="", channel=channel)["error"] == "unknown_channel"
        assert ask(http, "rehearse", filter="", channel="system")["error"] == "forbidden"


# --- Saved by name -----------------------------------------------------------------------------------------------


def save(http: httpx2.Client, name: str, filter: Any) -> httpx2.Response:
    """PUT."""
    return http.put(f"/v1/filters/{name}", json={"filter": filter})


def test_a_saved_filter_is_its_users_own(server: RunningServer) -> None:
    """Two people may both have one named momentum."""
    ann, bob = server.new_key(user="ann-f"), server.new_key(user="bob-f")
    with server.http(ann) as http, server.http(bob) as other:
        assert save(http, "momentum", "confidence > 0.70").status_code == 201
        again = save(http, "momentum", {"field": "confidence", "op": "gt", "value": 0.8})
        assert again.status_code == 200 and again.json()["filter"] == "confidence > 0.8"
        assert http.get("/v1/filters").json() == {"filters": [again.json()]}
        assert http.get("/v1/filters/momentum").json() == again.json()
        assert other.get("/v1/filters").json() == {"filters": []}
        assert other.get("/v1/filters/momentum").status_code == 404
        assert other.delete("/v1/filters/momentum").status_code == 404
        assert http.delete("/v1/filters/momentum").json() == {"name": "momentum", "removed": True}
        assert http.get("/v1/filters/momentum").json()["error"] == "not_found"


@pytest.mark.parametrize("name", ["Momentum", "a b", "-x", ".x", "a" * 65, "a=b", "ü"])
def test_a_name_is_checked(server: RunningServer, name: str) -> None:
    """It stands in URLs and where a filter may."""
    with server.http() as http:
        assert http.put(f"/v1/filters/{name}", json={"filter": "stop exists"}).json()["error"] == "name_invalid"


def test_a_name_stands_wherever_a_filter_may(server: RunningServer, channel: str) -> None:
    """It is typed every day."""
    key = server.new_key(user=f"n-{channel}", channels=[channel])
    with server.http() as admin:
        publish(admin, channel, confidence=0.9)
        publish(admin, channel, confidence=0.1)
    with server.http(key) as http:
        save(http, "high", "confidence > 0.5")
        page = http.get(f"/v1/channels/{channel}/events", params={"filter": "high", "limit": 1})
        assert [e["seq"] for e in page.json()["events"]] == [1] and page.headers["cache-control"] == "no-store"
        assert ask(http, "check", filter="high")["filter"] == "confidence > 0.5"
        assert ask(http, "explain", filter="high", channel=channel, seq=1)["matches"]
        assert ask(http, "rehearse", filter="high", against="", channel=channel)["newly_out"]["count"] == 1
        refused = ask(http, "check", filter="low")
        assert refused["error"] == "filter_invalid" and refused["allowed"] == ["high"]


async def numbers(me: Wire, count: int) -> list[int]:
    """The seqs of the next events."""
    return [event["seq"] for event in await me.events(count)]


async def test_editing_a_saved_filter_moves_its_subscribers_where_they_stand(
    server: RunningServer, channel: str
) -> None:
    """People tune filters while the market is open, on a phone, for the laptop that listens."""
    key = server.new_key(user=f"e-{channel}", channels=[channel])
    with server.http() as admin, server.http(key) as http:
        save(http, "mine", "symbol = ACME")
        async with wire(server.url, key) as me, wire(server.url, key) as other, wire(server.url, key) as plain:
            said = await me.subscribe(channel=channel, filter="mine", max_age_s=900)
            assert said["filter"] == "symbol = ACME" and said["filter_name"] == "mine"
            await other.subscribe(channel=channel, filter="mine")
            assert "filter_name" not in await plain.subscribe(channel=channel, filter="symbol = ACME")
            publish(admin, channel, symbol="ACME")
            publish(admin, channel, symbol="XYZ")
            save(http, "mine", "symbol = XYZ")
            publish(admin, channel, symbol="ACME")
            publish(admin, channel, symbol="XYZ")
            for each in (me, other):
                seen = await each.until(lambda m: m.get("seq") == 4)
                moved = next(m for m in seen if m["type"] == "subscribed")
                assert [m["seq"] for m in seen if "seq" in m] == [1, 4]
                assert moved["after"] == 2 and moved["filter"] == "symbol = XYZ" and moved["filter_name"] == "mine"
                assert "ref" not in moved
            assert next(m for m in [moved]) and said["max_age_s"] == 900
            assert await numbers(plain, 2) == [1, 3]
            http.delete("/v1/filters/mine")
            publish(admin, channel, symbol="XYZ")
            assert await numbers(me, 1) == [5]
            assert (await me.subscribe(channel=channel, filter="mine"))["error"] == "filter_invalid"


async def test_edits_under_load_lose_and_repeat_nothing(server: RunningServer, channel: str) -> None:
    """However often it is edited, each signal is judged once, by one of the two."""
    key = server.new_key(user=f"l-{channel}", channels=[channel])
    with server.http() as admin, server.http(key) as http:
        save(http, "both", "confidence >= 0")
        async with wire(server.url, key) as me:
            await me.subscribe(channel=channel, filter="both")

            def work() -> None:
                for n in range(40):
                    publish(admin, channel, confidence=0.5)
                    save(http, "both", ("confidence >= 0", "confidence > 0.1")[n % 2])
                publish(admin, channel, confidence=0.5, id="last")

            await asyncio.to_thread(work)
            seen = await me.until(lambda m: m.get("id") == "last")
    assert [m["seq"] for m in seen if "seq" in m] == list(range(1, 42))
    counted = 0
    for message in seen:
        counted = 0 if message["type"] == "subscribed" else counted + ("seq" in message)
        assert message["type"] != "position" or message["sent"] <= counted


async def test_an_entitlement_holds_for_a_saved_filter_too(server: RunningServer, channel: str) -> None:
    """A saved filter is not a way around it."""
    key = server.new_key(user=f"h-{channel}", channels=[channel], filter="symbol = ACME")
    with server.http() as admin, server.http(key) as http:
        save(http, "all", "confidence >= 0")
        async with wire(server.url, key) as me:
            await me.subscribe(channel=channel, filter="all")
            save(http, "all", "")
            publish(admin, channel, symbol="SECRET")
            publish(admin, channel, symbol="ACME")
            assert await numbers(me, 1) == [2]


@pytest.mark.slow
def test_who_takes_no_messages_is_moved_when_they_do(server: RunningServer, channel: str) -> None:
    """A laptop that sleeps is told once, not of each of a hundred edits, and goes on where it stood."""
    key = server.new_key(user=f"p-{channel}", channels=[channel])
    with server.http() as admin, server.http(key) as http:
        save(http, "slow", "confidence >= 0")
        for _ in range(20):
            batch = [
                {"symbol": ("A", "B")[n % 2], "action": "BUY", "confidence": 0.5, "note": "x" * 1000}
                for n in range(1000)
            ]
            assert admin.post(f"/v1/channels/{channel}/signals", json=batch).status_code == 201
        with dial(
            server.url.replace("http", "ws") + "/v1/ws",
            additional_headers={"Authorization": f"Bearer {key}"},
            proxy=None,
            max_queue=4,
        ) as raw:
            raw.send(json.dumps({"type": "subscribe", "ref": "s", "channel": channel, "filter": "slow", "after": 0}))
            time.sleep(1)
            for n in range(30):
                save(http, "slow", f"symbol = B and confidence < 0.{n + 60}")
            seen = [json.loads(raw.recv(timeout=30))]
            while seen[-1].get("seq") != 20_000:
                seen.append(json.loads(raw.recv(timeout=30)))
    said = [m for m in seen if m["type"] == "subscribed"]
    assert [m.get("ref") for m in said] == ["s", None] and 0 < said[1]["after"] < 20_000
    after = said[1]["after"]
    seqs = [m["seq"] for m in seen if "seq" in m]
    assert seqs == [*range(1, after + 1), *(seq for seq in range(after + 1, 20_001) if seq % 2 == 0)]


def test_an_edited_filter_reaches_a_stream_at_its_next_page(server: RunningServer, channel: str) -> None:
    """The dashboard listens by server-sent events."""
    key = server.new_key(user=f"s-{channel}", channels=[channel])
    with server.http() as admin, server.http(key) as http:
        save(http, "sse", "symbol = ACME")
        with http.stream("GET", f"/v1/channels/{channel}/stream", params={"filter": "sse"}) as answer:
            lines = answer.iter_lines()
            next(lines)
            publish(admin, channel, symbol="ACME")
            got = [json.loads(next(line for line in lines if line.startswith("data:")).removeprefix("data:"))["seq"]]
            save(http, "sse", "symbol = XYZ")
            publish(admin, channel, symbol="ACME")
            publish(admin, channel, symbol="XYZ")
            got += [json.loads(next(line for line in lines if line.startswith("data:")).removeprefix("data:"))["seq"]]
    assert got == [1, 3]


async def test_our_client_goes_on_through_an_edit(server: RunningServer, channel: str) -> None:
    """A bot that names its filter is tuned without a restart."""
    key = server.new_key(user=f"b-{channel}", channels=[channel])
    with server.http() as admin, server.http(key) as http:
        save(http, "bot", "symbol = ACME")
        async with connect(server.url, key, channel=channel) as catalyst, catalyst.signals(filter="bot") as stream:
            for symbol in ("ACME", "XYZ"):
                publish(admin, channel, symbol=symbol)
            assert (await anext(stream)).seq == 1
            save(http, "bot", "symbol = XYZ")
            for symbol in ("ACME", "XYZ"):
                publish(admin, channel, symbol=symbol)
            assert (await anext(stream)).seq == 4


def test_the_command_line_has_all_of_it(
    server: RunningServer, channel: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Most people never see the REST of it."""
    monkeypatch.setenv("CATALYST_URL", server.url)
    monkeypatch.setenv("CATALYST_KEY", server.new_key(user=f"c-{channel}", channels=[channel]))
    with server.http() as admin:
        publish(admin, channel, confidence=0.9)

    def said(*words: str, code: int = 0) -> str:
        assert run(["filters", *words]) == code
        heard = capsys.readouterr()
        return heard.out + heard.err

    assert said("save", "mine", "confidence > 0.80") == "mine is confidence > 0.8\n"
    assert "mine" in said("list") and "confidence > 0.8" in said("list")
    assert "It matches: confidence 0.9 > 0.8." in said(
        "explain", "--seq", "1", "--filter", "mine", "--channel", channel
    )
    assert json.loads(said("explain", "--seq", "1", "--filter", "mine", "--channel", channel, "--json"))["matches"]
    assert "1 of 1 events match" in said("try", "mine", "--against", "confidence < 0.5", "--channel", channel)
    assert "--filter TEXT, or --subscriber ID" in said("explain", "--seq", "1", code=2)
    assert "confidense > 1\n  ^" in said("save", "other", "confidense > 1", code=4)
    assert said("remove", "mine") == "mine is removed\n" and "no filter" in said("remove", "mine", code=4)


def test_too_many_filters_and_too_many_saves_are_refused(server: RunningServer) -> None:
    """Each is remembered by every process, and each save by the log."""
    with server.http(server.new_key(user="hoarder")) as http:
        answers = [save(http, f"f{n}", "stop exists") for n in range(101)]
        assert [a.status_code for a in answers[:100]] == [201] * 100 and answers[100].json()["error"] == "too_large"
        assert save(http, "f1", "stop exists").status_code == 200, "what changes nothing is not counted"
        codes = [save(http, "f1", f"confidence > 0.{n}").json().get("error") for n in range(1, 130)]
        assert "rate_limited" in codes
