"""Publishing over REST and over the socket: what an acknowledgement is worth."""

from __future__ import annotations

import json

import pytest
from websockets.asyncio.client import connect as dial

from tests.running import RunningServer

ACME = {"symbol": "ACME", "action": "BUY", "confidence": 0.82}


def test_a_signal_is_answered_with_its_place_and_durability(server: RunningServer) -> None:
    """A publisher keeps this answer as the proof that the signal is in the log."""
    with server.http() as http:
        answer = http.post("/v1/channels/main/signals", json=ACME | {"id": "place-1"})
    assert answer.status_code == 201
    said = answer.json()
    assert said["channel"] == "main" and said["id"] == "place-1" and said["seq"] >= 1
    assert said["version"] == 1 and said["duplicate"] is False and said["durability"] == "disk"


def test_a_retry_gets_the_first_answer_again(server: RunningServer) -> None:
    """A bot whose network dropped the answer sends the same again."""
    with server.http() as http:
        first = http.post("/v1/channels/main/signals", json=ACME | {"id": "retry-1"}).json()
        again = http.post("/v1/channels/main/signals", json=ACME | {"id": "retry-1"})
    assert again.status_code == 200
    assert again.json() == first | {"duplicate": True}


def test_another_signal_under_a_known_id_is_a_conflict(server: RunningServer) -> None:
    """Two signals of one bot must not melt into one."""
    with server.http() as http:
        http.post("/v1/channels/main/signals", json=ACME | {"id": "conflict-1"})
        other = http.post("/v1/channels/main/signals", json=ACME | {"id": "conflict-1", "confidence": 0.5})
    assert other.status_code == 409 and other.json()["error"] == "id_conflict"


def test_anothers_id_says_only_that_it_is_taken(server: RunningServer) -> None:
    """What another publisher sent is nobody's business."""
    key = server.new_key(user="rival", scopes=["publish"])
    with server.http() as http, server.http(key) as rival:
        http.post("/v1/channels/main/signals", json=ACME | {"id": "taken-1"})
        refused = rival.post("/v1/channels/main/signals", json=ACME | {"id": "taken-1"})
    assert refused.status_code == 409
    assert set(refused.json()) == {"error", "message", "field", "got", "retry"}
    assert refused.json()["error"] == "id_taken"


def test_without_any_id_the_answer_says_whose_it_is(server: RunningServer) -> None:
    """A publisher must know that a retry would be a second signal."""
    with server.http() as http:
        assert http.post("/v1/channels/main/signals", json=ACME).json()["id_by"] == "server"
        keyed = http.post("/v1/channels/main/signals", json=ACME, headers={"Idempotency-Key": "k-1"}).json()
    assert keyed["id"] == "k-1" and "id_by" not in keyed


def test_several_are_all_or_none(server: RunningServer) -> None:
    """A pair trade must not be half there."""
    with server.http() as http:
        head = http.get("/v1/channels/main").json()["last"]
        bad = http.post("/v1/channels/main/signals", json=[ACME | {"id": "p-1"}, {"symbol": "XYZ"}])
        assert bad.status_code == 400 and http.get("/v1/channels/main").json()["last"] == head
        good = http.post("/v1/channels/main/signals", json=[ACME, ACME], headers={"Idempotency-Key": "pair"})
    assert good.status_code == 201
    assert [r["id"] for r in good.json()["results"]] == ["pair.0", "pair.1"]
    assert [r["seq"] for r in good.json()["results"]] == [head + 1, head + 2]


@pytest.mark.parametrize("content_type", ["application/x-ndjson", "application/json"])
def test_ndjson_answers_results_even_for_one_line(server: RunningServer, content_type: str) -> None:
    """A script that pipes lines reads the same shape however many there were."""
    with server.http() as http:
        lines = json.dumps(ACME) + "\n" + (json.dumps(ACME) + "\n" if "ndjson" not in content_type else "")
        answer = http.post("/v1/channels/main/signals", content=lines, headers={"Content-Type": content_type})
    assert answer.status_code == 201 and answer.json()["results"]


def test_prices_keep_their_digits(server: RunningServer) -> None:
    """9.40 is what the trader typed, as a number or as a text."""
    with server.http() as http:
        raw = '{"symbol":"ACME","action":"BUY","stop":9.40,"reference_price":"10.1000","id":"digits-1"}'
        seq = http.post("/v1/channels/main/signals", content=raw).json()["seq"]
        event = http.get("/v1/channels/main/events", params={"after": seq - 1, "limit": 1}).json()["events"][0]
    assert event["data"]["stop"]["price"] == "9.40" and event["data"]["reference_price"] == "10.1000"


def test_an_expired_signal_is_refused_but_its_retry_is_answered(server: RunningServer) -> None:
    """Old news must not be traded; but who sent it in time is told so, however late they ask."""
    with server.http() as http:
        late = http.post("/v1/channels/main/signals", json=ACME | {"expires_at": "2020-01-01T00:00:00Z"})
        assert late.status_code == 400 and late.json()["field"] == "expires_at"


async def test_publishes_over_one_socket_are_pipelined_and_matched_by_ref(server: RunningServer) -> None:
    """A bot does not wait for one answer before the next signal."""
    async with dial(server.url.replace("http", "ws") + "/v1/ws", additional_headers=_auth(server)) as socket:
        assert json.loads(await socket.recv())["type"] == "welcome"
        for ref in range(200):
            await socket.send(json.dumps({"type": "publish", "ref": ref, "channel": "main", "signal": ACME}))
        answers = [json.loads(await socket.recv()) for _ in range(200)]
    assert {a["ref"] for a in answers} == set(range(200))
    assert all(a["type"] == "accepted" for a in answers)
    assert len({a["seq"] for a in answers}) == 200


def _auth(server: RunningServer) -> dict[str, str]:
    return {"Authorization": f"Bearer {server.admin_key}"}
