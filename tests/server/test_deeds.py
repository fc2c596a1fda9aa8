"""Deeds: what a subscriber did about a signal is an event of the channel `acks`, once, and found by the signal."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import uuid
from decimal import Decimal
from typing import Any

import pytest

from catalyst_signals.client import connect
from catalyst_signals.errors import IdConflict, InvalidDraft, NotFound
from tests.running import RunningServer

Json = dict[str, Any]
FILL = {"qty": "100", "price": "9.41", "fee": "-0.02", "fee_ccy": "usd", "liquidity": "maker", "venue": "XNAS",
        "paper": True, "filled_at": "2026-11-26T09:30:00.5Z"}  # fmt: skip


@pytest.fixture
def signal(server: RunningServer) -> str:
    """A signal of its own, at version 2."""
    id = f"deed/{uuid.uuid4().hex[:12]}"
    with server.http() as http:
        http.post("/v1/channels/main/signals", json={"id": id, "symbol": "ACME", "action": "BUY"})
        assert http.patch(f"/v1/channels/main/signals/{id}", json={"note": "more"}).status_code == 200
    return id


def test_a_deed_is_kept_once_in_the_channel_acks_with_what_it_is_about(server: RunningServer, signal: str) -> None:
    """Signal, channel, seq, version and who; the same id again is the first answer again, another deed a conflict."""
    who = f"bot-{uuid.uuid4().hex[:8]}"
    key, body = server.new_key(user=who), {"what": "executed", "id": "d-1", "fills": [FILL], "outcome": {"pnl": "1.20"}}
    with server.http(key) as http, server.http() as admin:
        path = f"/v1/channels/main/signals/{signal}/deeds"
        first, again = http.post(path, json=body), http.post(path, json=body)
        assert (first.status_code, again.status_code) == (201, 200), first.text
        assert again.json() == first.json() | {"duplicate": True}
        assert (first.json()["channel"], first.json()["id"]) == ("acks", "d-1")
        other = http.post(path, json=body | {"outcome": {}}).json()
        assert (other["error"], other["got"]) == ("id_conflict", "d-1"), "the id that came, in words about deeds"
        assert "deed" in other["message"] and "draft" not in other["message"]
        page = admin.get("/v1/channels/acks/events", params={"after": first.json()["seq"] - 1}).json()
        event = page["events"][0]
        about = admin.get(f"/v1/channels/main/signals/{signal}").json()["versions"][-1]
        assert event["type"] == "deed.reported"
        assert event["data"] == {
            "id": "d-1", "who": who, "what": "executed", "fills": [FILL], "outcome": {"pnl": "1.20"},
            "signal": {"channel": "main", "id": signal, "seq": about["seq"], "version": 2},
        }  # fmt: skip
        admin.patch(f"/v1/channels/main/signals/{signal}", json={"note": "even more"})
        assert http.post(path, json=body).status_code == 200, "a retry is one whatever happened to the signal"
        assert [each["id"] for each in deeds_of(server, signal)] == ["d-1"]


def deeds_of(server: RunningServer, signal: str, key: str | None = None) -> list[Json]:
    """As the deliveries name them."""
    with server.http(key) as http:
        found: list[Json] = http.get(f"/v1/channels/main/signals/{signal}/deliveries").json()["deeds"]
        return found


def test_two_users_may_use_the_same_id_and_each_sees_its_own(server: RunningServer, signal: str) -> None:
    """An id is its user's and its signal's; the publisher sees all, in order."""
    users = [f"{who}-{uuid.uuid4().hex[:8]}" for who in ("ann", "bob")]
    for user in users:
        with server.http(server.new_key(user=user)) as http:
            for what in ("shown", "ignored"):
                answer = http.post(f"/v1/channels/main/signals/{signal}/deeds", json={"what": what, "id": f"my-{what}"})
                assert answer.status_code == 201, answer.text
    assert [(each["who"], each["what"]) for each in deeds_of(server, signal)] == [
        (user, what) for user in users for what in ("shown", "ignored")
    ]
    own = deeds_of(server, signal, server.new_key(user=users[1]))
    assert [each["who"] for each in own] == [users[1], users[1]]


def test_what_an_entitlement_hides_is_not_there(server: RunningServer, signal: str) -> None:
    """Neither to be reported on nor, by `*` alone, to be read in `acks`; what does not exist is answered the same."""
    key = server.new_key(user="blind", channels=["*"], filter="symbol = XYZ")
    with server.http(key) as http:
        hidden = http.post(f"/v1/channels/main/signals/{signal}/deeds", json={"what": "shown"})
        absent = http.post("/v1/channels/main/signals/none/deeds", json={"what": "shown"})
        assert (hidden.status_code, absent.status_code) == (404, 404)
        assert hidden.json() | {"got": ""} == absent.json() | {"got": ""}
        assert http.get("/v1/channels/acks/events").json()["error"] == "unknown_channel"
    with server.http(server.new_key(user="reader", channels=["*"])) as http:
        assert http.get("/v1/channels/acks/events").status_code == 200
    with server.http(server.new_key(user="other", channels=["main"])) as http:
        assert http.get("/v1/channels/acks/events").status_code == 404


def test_nobody_publishes_to_acks(server: RunningServer) -> None:
    """It is written by the server alone."""
    with server.http() as http:
        answer = http.post("/v1/channels/acks/signals", json={"symbol": "ACME", "action": "BUY"})
        assert (answer.status_code, answer.json()["error"]) == (403, "forbidden")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "what"),
        ({"what": "bought"}, "what"),
        ({"what": "executed", "fils": []}, "fils"),
        ({"what": "ignored", "fills": [FILL]}, "fills"),
        ({"what": "executed", "fills": {}}, "fills"),
        ({"what": "executed", "fills": [FILL] * 101}, "fills"),
        ({"what": "executed", "fills": [FILL, 7]}, "fills[1]"),
        ({"what": "executed", "fills": [{"qty": "1"}]}, "fills[0].price"),
        ({"what": "executed", "fills": [FILL | {"qty": "-1"}]}, "fills[0].qty"),
        ({"what": "executed", "fills": [FILL | {"fee": "much"}]}, "fills[0].fee"),
        ({"what": "executed", "fills": [FILL | {"fee": True}]}, "fills[0].fee"),
        ({"what": "executed", "fills": [FILL | {"liquidity": "some"}]}, "fills[0].liquidity"),
        ({"what": "executed", "fills": [FILL | {"filled_at": "today"}]}, "fills[0].filled_at"),
        ({"what": "executed", "fills": [FILL | {"price_": "1"}]}, "fills[0].price_"),
        ({"what": "shown", "outcome": "good"}, "outcome"),
        ({"what": "shown", "reason": 7}, "reason"),
        ({"what": "shown", "id": "a~b"}, "id"),
        ([], "body"),
    ],
)
def test_a_deed_that_cannot_be_understood_is_refused_by_field(
    server: RunningServer, signal: str, body: object, field: str
) -> None:
    """Which field, what came, what is allowed."""
    with server.http() as http:
        answer = http.post(f"/v1/channels/main/signals/{signal}/deeds", json=body)
        assert answer.status_code == 400, answer.text
        assert answer.json()["field"] == field
        assert deeds_of(server, signal) == []


def test_numbers_are_kept_as_exact_texts(server: RunningServer, signal: str) -> None:
    """Whatever JSON they came as."""
    body = '{"what":"executed","fills":[{"qty":100,"price":9.410,"fee":0,"fee_ccy":"USD"}]}'
    with server.http() as http:
        assert http.post(f"/v1/channels/main/signals/{signal}/deeds", content=body).status_code == 201
    (deed,) = deeds_of(server, signal)
    assert deed["fills"] == [{"qty": "100", "price": "9.410", "fee": "0", "fee_ccy": "USD"}]


async def test_a_client_says_what_it_did_with_a_signal(server: RunningServer, signal: str) -> None:
    """By the signal or by its id; the deliveries then show it."""
    key = server.new_key(user=f"did-{uuid.uuid4().hex[:8]}")
    async with connect(server.url, key) as catalyst:
        (first, second) = await catalyst.versions(signal)
        receipt = await catalyst.did(second, "executed", fills=[{"qty": Decimal(5), "price": Decimal("9.40")}], id="x")
        assert (receipt.channel, receipt.id, receipt.duplicate, receipt.id_by) == ("acks", "x", False, "publisher")
        await catalyst.did(signal, "ignored", reason="too late")
        told = await catalyst.deliveries(first)
        assert [deed["what"] for deed in told["deeds"]] == ["executed", "ignored"]
        assert (told["version"], (await catalyst.deliveries(second))["version"]) == (1, 2)
        with pytest.raises(InvalidDraft) as refused:
            await catalyst.did(signal, "rejected", fills=[{"qty": 1, "price": 2}])
        assert refused.value.field == "fills"
        with pytest.raises(NotFound):
            await catalyst.did("none", "shown")
        with pytest.raises(IdConflict):
            await catalyst.did(signal, "shown", id="x")


def test_the_blocking_client_does_the_same(server: RunningServer, signal: str) -> None:
    """Without `await`."""
    with connect(server.url, server.admin_key) as catalyst:
        assert catalyst.did(signal, "shown").channel == "acks"
        assert [deed["what"] for deed in catalyst.deliveries(signal)["deeds"]] == ["shown"]


def run(server: RunningServer, *words: str) -> subprocess.CompletedProcess[str]:
    """The command, as a user would."""
    env = os.environ | {"CATALYST_URL": server.url, "CATALYST_KEY": server.admin_key}
    return subprocess.run(
        [sys.executable, "-m", "catalyst_signals", *words],
        env=env,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.slow
async def test_the_command_names_who_got_it_and_what_they_did(server: RunningServer, signal: str) -> None:
    """By id and by number; in JSON as the server says it."""
    who = f"cli-{uuid.uuid4().hex[:8]}"
    async with connect(server.url, server.new_key(user=who)) as catalyst:
        (first, _) = await catalyst.versions(signal)
        async with catalyst.signals(after=first.seq - 1) as signals:
            while (await anext(signals)).seq < first.seq:
                pass
            signals.done()
            await catalyst.did(signal, "executed", fills=[{"qty": "3", "price": "9.41"}], reason="as planned")
            for _ in range(50):
                shown = await asyncio.to_thread(run, server, "deliveries", signal)
                if any(who in line and "within" in line for line in shown.stdout.splitlines()):
                    break
                await asyncio.sleep(0.1)
    assert shown.returncode == 0, shown.stderr
    assert "as planned; 3 @ 9.41" in shown.stdout
    by_number = await asyncio.to_thread(run, server, "deliveries", str(first.seq), "--json")
    told = json.loads(by_number.stdout)
    assert (told["id"], told["version"]) == (signal, 1)
    assert await asyncio.to_thread(run, server, "deliveries", "none") is not None
    absent = await asyncio.to_thread(run, server, "deliveries", "none")
    assert absent.returncode == 4 and "no signal of that id" in absent.stderr
