"""The library of Standard Webhooks and a real server understand each other, both ways.

Who relies on it: senders that sign what they post to `/in/...`, and receivers of our webhooks that verify them with the
library of their language. Covers catalyst_signals.signatures and catalyst_signals.workers.webhooks from outside.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from tests.running import RunningServer
from tests.sink import Sink, until

SIGNAL = '{"symbol":"ACME","action":"BUY","note":"für später – ✓"}'


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """Its targets may be on this machine."""
    with RunningServer(tmp_path_factory.mktemp("webhooks"), targets_allow="127.0.0.0/8") as running:
        yield running


def post(server: RunningServer, path: str, **body: object) -> dict[str, Any]:
    with server.http() as http:
        answer = http.post(path, json=body)
        assert answer.status_code in (200, 201), answer.text
        found: dict[str, Any] = answer.json()
        return found


def sent(secret: str, id: str = "msg_1", body: str = SIGNAL, *, ago_s: float = 0) -> dict[str, str]:
    """The headers that the library makes."""
    at = datetime.now(UTC) - timedelta(seconds=ago_s)
    return {
        "webhook-id": id, "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": Webhook(secret).sign(id, at, body), "content-type": "application/json",
    }  # fmt: skip


def test_what_the_library_signs_comes_in_and_nothing_else_does(both: RunningServer) -> None:
    made = post(both, "/v1/ingest", adapter="generic", hmac=True)
    other = post(both, "/v1/ingest", adapter="generic", hmac=True)
    with both.http() as http:

        def posted(headers: dict[str, str], body: str = SIGNAL) -> tuple[int, Any]:
            answer = http.post(made["url"], content=body.encode(), headers=headers)
            return answer.status_code, answer.json()

        status, first = posted(sent(made["signing_secret"]))
        assert status == 201 and first["id"] == f"generic.{made['id']}.msg_1"
        status, again = posted(sent(made["signing_secret"]))
        assert status == 200 and again["duplicate"] and again["seq"] == first["seq"]
        for refused in (
            posted(sent(other["signing_secret"], "msg_2")),
            posted(sent(made["signing_secret"], "msg_2", ago_s=301)),
            posted(sent(made["signing_secret"], "msg_2", ago_s=-301)),
            posted(sent(made["signing_secret"], "msg_2"), SIGNAL.replace("BUY", "SELL")),
            posted(sent(made["signing_secret"], "msg_2") | {"webhook-id": "msg_3"}),
            posted({"content-type": "application/json"}),
        ):
            assert refused[0] == 401 and refused[1]["error"] == "unauthenticated"
        assert posted(sent(made["signing_secret"], "msg_2"))[0] == 201


def test_a_rotated_secret_is_taken_beside_the_new_one_as_long_as_was_asked(both: RunningServer) -> None:
    old = post(both, "/v1/ingest", adapter="generic", hmac=True)
    new = post(both, f"/v1/ingest/{old['id']}/rotate", overlap_s=60)
    last = {"old": (old["url"], old["signing_secret"]), "new": (new["url"], new["signing_secret"])}
    with both.http() as http:
        for name, (url, secret) in last.items():
            assert http.post(url, content=SIGNAL.encode(), headers=sent(secret, f"r-{name}")).status_code == 201
        crossed = http.post(new["url"], content=SIGNAL.encode(), headers=sent(old["signing_secret"], "r-3"))
    assert crossed.status_code == 401


def test_the_library_verifies_what_we_send_also_when_it_is_sent_again(both: RunningServer) -> None:
    with Sink() as sink:
        target = post(both, "/v1/targets", url=f"{sink.url}/hook", filter="tags contains_any (out)")
        verifier = Webhook(target["secret"])
        post(both, "/v1/channels/main/signals", **json.loads(SIGNAL), id="fda 2291/ü", tags=["out"])
        until(lambda: len(sink.came) == 1)
        sink.status = 500
        post(both, "/v1/channels/main/signals/fda%202291%2F%C3%BC/cancel", reason="halted")
        until(lambda: len(sink.came) >= 2)
        sink.status = 200
        until(lambda: len(sink.came) >= 3)
        came = list(sink.came)
        post(both, f"/v1/targets/{target['id']}/test")
        until(lambda: len(sink.came) > len(came))
        came.append(sink.came[-1])
    told = [verifier.verify(each.body.decode(), each.headers) for each in came]
    cancelled = ["signal.cancelled"] * (len(came) - 2)
    assert [each["type"] for each in told] == ["signal.published", *cancelled, "target.test"]
    assert told[0]["id"] == "fda 2291/ü" and told[0]["data"]["note"] == "für später – ✓"
    again = {each.headers["webhook-id"] for each in came[1:-1]}
    assert len(came) >= 4 and len(again) == 1, "the same event is sent again under the same id"
    assert came[1].headers["webhook-signature"] != came[0].headers["webhook-signature"]
    for wrong in (came[0].body.decode() + " ", came[1].body.decode()):
        with pytest.raises(WebhookVerificationError):
            verifier.verify(wrong, came[0].headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(post(both, "/v1/targets", url="http://127.0.0.1:1/")["secret"]).verify(
            came[0].body.decode(), came[0].headers
        )
