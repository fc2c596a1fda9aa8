"""Who may post a webhook and what it would become: dry runs, networks, signatures, tokens, rotation.

Covers `catalyst_signals.server.inbox`, `catalyst_signals.server.sources`, `catalyst_signals.signatures` and
`catalyst_signals.ingest.tokens` from outside.
"""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import Any

import pytest
from standardwebhooks import Webhook

from catalyst_signals.ingest.tokens import tokens_in, without_token
from catalyst_signals.projections import SystemState, from_bytes
from catalyst_signals.signatures import signed_headers
from tests.running import RunningServer

SIGNAL = {"symbol": "ACME", "action": "BUY", "stop": "9.4"}
COMMAS = {
    "secret": "hunter2", "max_lag": "300", "trigger_price": "64000.5", "tv_exchange": "BINANCE",
    "tv_instrument": "BTCUSDT.P", "action": "enter_long", "bot_uuid": "u-1",
}  # fmt: skip


def made(server: RunningServer, adapter: str = "generic", **more: object) -> dict[str, Any]:
    """A new source."""
    with server.http() as http:
        answer = http.post("/v1/ingest", json={"adapter": adapter, **more})
        assert answer.status_code == 201, answer.text
        found: dict[str, Any] = answer.json()
        return found


def heads(server: RunningServer) -> dict[str, int]:
    """The last seq of the channels a webhook writes."""
    with server.http() as http:
        return {name: http.get(f"/v1/channels/{name}").json()["last"] for name in ("main", "ingest", "items")}


def last(server: RunningServer, channel: str) -> dict[str, Any]:
    """The newest event of a channel."""
    with server.http() as http:
        head = http.get(f"/v1/channels/{channel}").json()["last"]
        (event,) = http.get(f"/v1/channels/{channel}/events", params={"after": head - 1}).json()["events"]
        found: dict[str, Any] = event
        return found


def test_a_dry_run_shows_what_would_be_stored_and_stores_nothing(server: RunningServer) -> None:
    """The same fields and the same id as the signal that is published a moment later."""
    source = made(server, "tradingview")
    body = {"ticker": "NASDAQ:ACME", "action": "buy", "price": "10.15", "sl": "9.95", "secret": "hunter2"}
    before = heads(server)
    with server.http() as http:
        shown = http.post(source["url"] + "?dry_run=1", json=body)
        assert heads(server) == before
        stored = http.post(source["url"], json=body).json()
    (draft,) = shown.json()["drafts"]
    event = last(server, "main")
    assert shown.status_code == 200 and draft.pop("id") == stored["id"] == event["id"]
    assert draft == event["data"] and "hunter2" not in shown.text
    assert draft["stop"] == {"price": "9.95"} and draft["instrument"] == {"symbol": "ACME", "venue": "NASDAQ"}


def test_a_dry_run_refuses_as_posting_would_and_keeps_nothing(server: RunningServer) -> None:
    """Also what nobody understood is not kept."""
    source = made(server, "traderspost")
    before = heads(server)
    with server.http() as http:
        dry = http.post(source["url"] + "?dry_run=1", json={"ticker": "NQ", "action": "bu"})
        assert heads(server) == before
        wet = http.post(source["url"], json={"ticker": "NQ", "action": "bu"})
        empty = http.post(made(server, "tradingview")["url"] + "?dry_run=1", json={"event": "heartbeat"})
    assert dry.status_code == wet.status_code == 400 and dry.json() == wet.json()
    assert dry.json()["sender_error"] == "invalid-action"
    assert last(server, "ingest")["data"]["refused"]["sender_error"] == "invalid-action"
    assert empty.json() == {"drafts": []}


def test_a_body_that_comes_too_late_is_shown_but_not_taken(server: RunningServer) -> None:
    """3Commas' `max_lag` is over: a dry run says so beside the signal."""
    source = made(server, "threecommas")
    with server.http() as http:
        body = COMMAS | {"timestamp": "2026-01-01T00:00:00Z"}
        shown = http.post(source["url"] + "?dry_run=1", json=body).json()
        late = http.post(source["url"], json=body)
    assert shown["drafts"][0]["expires_at"] == "2026-01-01T00:05:00Z"
    assert shown["would_refuse"]["field"] == "expires_at" == late.json()["field"] and late.status_code == 400


def test_options_reach_the_adapter_and_wrong_ones_are_refused(server: RunningServer) -> None:
    """Chosen once, when the address is made."""
    body = {"message_type": "bot", "bot_id": 1, "email_token": "x", "delay_seconds": 0, "pair": "USDT_BTC"}
    source = made(server, "threecommas", options={"direction": "short"})
    with server.http() as http:
        assert http.post(source["url"], json=body).status_code == 201
        plain = http.post(made(server, "threecommas")["url"], json=body)
        wrong = http.post("/v1/ingest", json={"adapter": "threecommas", "options": {"direction": "up"}})
        none = http.post("/v1/ingest", json={"adapter": "okx", "options": {"direction": "long"}})
        shown = [each for each in http.get("/v1/ingest").json()["ingest"] if each["id"] == source["id"]]
    assert plain.status_code == 400 and last(server, "main")["data"]["direction"] == "short"
    assert wrong.status_code == none.status_code == 400 and wrong.json()["allowed"] == ["long", "short"]
    assert shown[0]["options"] == {"direction": "short"}


@pytest.mark.parametrize(("allow", "status"), [(["10.0.0.0/8"], 403), (["10.0.0.0/8", "127.0.0.1"], 201)])
def test_only_the_networks_that_were_named_may_post(server: RunningServer, allow: list[str], status: int) -> None:
    """A leaked URL alone is not enough; what is refused leaves nothing behind."""
    source = made(server, allow=allow)
    before = heads(server)
    with server.http() as http:
        answer = http.post(source["url"], json=SIGNAL, headers={"X-Forwarded-For": "10.1.2.3"})
    assert answer.status_code == status
    if status == 403:
        assert answer.json()["got"] == "127.0.0.1" and heads(server) == before


def test_a_proxy_that_is_trusted_says_who_posts(server: RunningServer) -> None:
    """As everywhere: only the operator's own proxies are believed."""
    folder = server.folder / "proxied"
    folder.mkdir()
    with RunningServer(folder, trusted_proxies="127.0.0.1") as own, own.http() as http:
        url = made(own, allow=["203.0.113.0/24"])["url"]
        inside = http.post(url, json=SIGNAL, headers={"X-Forwarded-For": "203.0.113.9"})
        outside = http.post(url, json=SIGNAL, headers={"X-Forwarded-For": "203.0.113.9, 198.51.100.1"})
    assert (inside.status_code, outside.status_code) == (201, 403)


def signed(source: dict[str, Any], id: str, body: bytes, at_s: float) -> dict[str, str]:
    """The headers that the scheme's own library makes."""
    moment = datetime.fromtimestamp(int(at_s), UTC)
    signature = Webhook(source["signing_secret"]).sign(id, moment, body.decode())
    return {"webhook-id": id, "webhook-timestamp": str(int(at_s)), "webhook-signature": signature}


def test_signed_webhooks_are_checked_against_the_schemes_own_library(server: RunningServer) -> None:
    """Both ways: what it signs we take, what we sign it takes; the id is the sender's own key."""
    source = made(server, hmac=True)
    body = json.dumps(SIGNAL).encode()
    with server.http() as http:
        headers = signed(source, "msg_1", body, time.time())
        taken = http.post(source["url"], content=body, headers=headers)
        again = http.post(source["url"], content=body, headers=headers)
        several = headers | {"webhook-signature": "v1,AAAA " + headers["webhook-signature"]}
        assert http.post(source["url"], content=body, headers=several).status_code == 200
    assert taken.status_code == 201 and taken.json()["id"] == f"generic.{source['id']}.msg_1"
    assert again.json() == taken.json() | {"duplicate": True}
    ours = signed_headers(source["signing_secret"], "msg_2", int(time.time()), body)
    Webhook(source["signing_secret"]).verify(body, ours)


def test_what_is_not_signed_right_leaves_nothing_behind(server: RunningServer) -> None:
    """No header, another body, another secret, another time."""
    source, other = made(server, hmac=True), made(server, hmac=True)
    body = json.dumps(SIGNAL).encode()
    before = heads(server)
    good = signed(source, "m", body, time.time())
    wrong: list[tuple[bytes, dict[str, str]]] = [
        (body, {}), (body + b" ", good), (body, signed(other, "m", body, time.time())),
        (body, signed(source, "m", body, time.time() - 400)), (body, signed(source, "m", body, time.time() + 400)),
        (body, good | {"webhook-id": "n"}), (body, good | {"webhook-timestamp": "soon"}),
        (body, good | {"webhook-signature": "v1,"}),
    ]  # fmt: skip
    with server.http() as http:
        answers = [http.post(source["url"], content=content, headers=headers) for content, headers in wrong]
        dry = http.post(source["url"] + "?dry_run=1", content=body)
    assert {each.status_code for each in [*answers, dry]} == {401} and heads(server) == before


def test_a_body_token_must_stand_in_the_body_and_is_kept_nowhere(server: RunningServer) -> None:
    """3Commas' secret: right, wrong, missing."""
    source = made(server, "threecommas", body_token={"secret": "hunter2"})
    pin = made(server, "tradingview", body_token={"pin": "hunter2-pin"})
    with server.http() as http:
        right = http.post(source["url"], json=COMMAS)
        before = heads(server)
        wrong = http.post(source["url"], json=COMMAS | {"secret": "hunter3"})
        missing = http.post(source["url"], json={k: v for k, v in COMMAS.items() if k != "secret"})
        assert heads(server) == before
        named = http.post(pin["url"], json={"ticker": "ACME", "action": "buy", "pin": "hunter2-pin"})
        system = http.get("/v1/channels/system/events", params={"after": 0}).text
    assert right.status_code == named.status_code == 201 and wrong.status_code == missing.status_code == 401
    assert wrong.json()["sender_error"] == "invalid-password" and wrong.json()["field"] == "secret"
    assert "hunter2" not in system and "hunter2" not in json.dumps([last(server, "main"), last(server, "ingest")])


@pytest.mark.parametrize(
    ("body", "field", "said"),
    [
        ('{"secret":"a"}', "secret", ["a"]), ('{"auth":{"pin":7}}', "auth.pin", ["7"]), ("{}", "secret", [None]),
        ('[{"secret":"a"},{"x":1}]', "secret", ["a", None]), ('{"secret":', "secret", []), ("", "secret", []),
        ("SYMBOL=X;TOKEN=abc;SIGNAL=BUY", "TOKEN", ["abc"]), ("a\ntoken: abc", "TOKEN", ["abc"]),
        ("token=a%20b&event=entry", "token", ["a b"]), ("60123,buy,X\n60123,sell,X", "license_id", ["60123"] * 2),
        ("60123,buy,EURUSD\n,sell,X", "LicenseID", ["60123", None]), ("60123,buy", "token", []),
    ],
)  # fmt: skip
def test_tokens_are_found_in_every_form(body: str, field: str, said: list[str | None]) -> None:
    """JSON, lists of it, lines, forms and PineConnector's first cell; every message must say it."""
    assert tokens_in(body.encode(), field) == said


@pytest.mark.parametrize(
    ("body", "token", "left"),
    [
        ('{"pin": 6012345, "price": 60123450}', "6012345", '{"pin": "***", "price": 60123450}'),
        ('{"pin":"t\u00f6k-en","a":"\\n"}', "t\u00f6k-en", '{"pin":"***","a":"\\n"}'),
        ('{"pin":"t\\u00F6k\\/en\\u0022"}', 't\u00f6k/en"', '{"pin":"***"}'),
        ("pin=a%20b%2Fcde&event=entry", "a b/cde", "pin=***&event=entry"),
        ("pin=abcdef;SIGNAL=BUY", "abcdef", "pin=***;SIGNAL=BUY"),
    ],
)
def test_a_token_is_blanked_however_it_is_spelt(body: str, token: str, left: str) -> None:
    """As text, escaped, as a number, in a form."""
    assert without_token(body.encode(), token).decode() == left


def test_a_number_that_is_a_token_leaves_the_rest_to_be_read(server: RunningServer) -> None:
    """What stands there instead is JSON still."""
    source = made(server, body_token={"pin": "6012345"})
    with server.http() as http:
        assert http.post(source["url"], json=SIGNAL | {"pin": 6012345}).status_code == 201
    assert "6012345" not in json.dumps([last(server, "main"), last(server, "ingest")])


def test_a_rotated_secret_may_overlap_and_then_ends(server: RunningServer) -> None:
    """Without downtime: the old address works until the sender's settings are changed."""
    source = made(server, hmac=True)
    body = json.dumps(SIGNAL).encode()
    with server.http() as http:
        new = http.post(f"/v1/ingest/{source['id']}/rotate", json={"overlap_s": 1.5}).json()
        both = [http.post(each["url"], content=body, headers=signed(each, f"m-{each['secret']}", body, time.time()))
                for each in (source, new)]  # fmt: skip
        crossed = http.post(source["url"], content=body, headers=signed(new, "m", body, time.time()))
        time.sleep(1.6)
        late = http.post(source["url"], content=body, headers=signed(source, "l", body, time.time()))
        assert http.post(new["url"], content=body, headers=signed(new, "l", body, time.time())).status_code == 201
        too_long = http.post(f"/v1/ingest/{source['id']}/rotate", json={"overlap_s": 10**9})
    assert [each.status_code for each in both] == [201, 201] and crossed.status_code == 401
    assert "old_until" in new and late.status_code == 404 and too_long.status_code == 400


@pytest.mark.parametrize(
    "more",
    [
        {"allow": ["here"]}, {"allow": ["10.0.0.0/8"] * 101}, {"body_token": {"secret": ""}}, {"hmac": "yes"},
        {"body_token": {str(n): "x" * 6 for n in range(9)}}, {"body_token": {"pin": "12345"}},
        {"adapter": "telex"}, {"nonsense": 1},
    ],
)  # fmt: skip
def test_what_a_source_cannot_be_is_refused(server: RunningServer, more: dict[str, object]) -> None:
    """And says which field."""
    with server.http() as http:
        refused = http.post("/v1/ingest", json={"adapter": "generic"} | more)
    assert refused.status_code == 400 and refused.json()["field"]


def test_a_snapshot_from_before_all_this_is_still_read() -> None:
    """A server that is upgraded knows its addresses as before."""
    source = {"id": "a1", "adapter": "generic", "channel": "main", "secret_hash": "ff", "created_at": "2026-01-01"}
    old = json.dumps({"epoch": "e", "seq": 3, "hash8": "00000000", "sources": {"a1": source}}).encode()
    state = SystemState(from_bytes(old))
    found = state.source_of("ff")
    assert found is not None and (found.options, found.allow, found.signing, found.body_token) == ({}, (), "", {})
    assert state.source_of("") is None


@pytest.mark.slow
def test_all_of_it_is_there_after_a_restart(server: RunningServer) -> None:
    """It stands in the log, hashed or sealed; the secrets themselves stand nowhere."""
    folder = server.folder / "again"
    folder.mkdir()
    with RunningServer(folder) as own:
        source = made(own, "threecommas", options={"direction": "long"}, allow=["127.0.0.1"], hmac=True,
                      body_token={"secret": "hunter2"})  # fmt: skip
        own.stop()
        own.start()
        body = json.dumps(COMMAS).encode()
        with own.http() as http:
            taken = http.post(source["url"], content=body, headers=signed(source, "m", body, time.time()))
            (shown,) = http.get("/v1/ingest").json()["ingest"]
        log = b"".join(path.read_bytes() for path in folder.glob("catalyst.db*"))
    assert taken.status_code == 201
    assert (shown["options"], shown["allow"]) == ({"direction": "long"}, ["127.0.0.1"])
    assert shown["hmac"] is True and shown["body_token"] == ["secret"]
    key = source["signing_secret"].removeprefix("whsec_").encode()
    assert not any(secret in log for secret in (b"hunter2", key, source["secret"].encode()))
