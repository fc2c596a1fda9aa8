"""Webhooks: what TradingView posts becomes a signal, and the raw body is kept beside it."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from tests.running import RunningServer

STRATEGY = {
    "ticker": "NASDAQ:ACME", "action": "buy", "price": "10.15", "prev_market_position": "flat",
    "market_position": "long", "time": "2026-11-26T09:30:00Z", "passphrase": "hunter2",
}  # fmt: skip


@pytest.fixture(scope="module")
def hook(server: RunningServer) -> dict[str, str]:
    """A place for TradingView alerts into a channel of its own."""
    with server.http() as http:
        http.put("/v1/channels/alerts", json={}).raise_for_status()
        made = http.post("/v1/ingest", json={"adapter": "tradingview", "channel": "alerts"})
        assert made.status_code == 201
        answer: dict[str, str] = made.json()
        return answer


def test_an_alert_is_a_signal_after_the_commit(server: RunningServer, hook: dict[str, str]) -> None:
    """TradingView gives up after three seconds; the trader wants it within two tenths."""
    with server.http() as http:
        began = time.perf_counter()
        answer = http.post(hook["url"], json=STRATEGY)
        took_s = time.perf_counter() - began
        event = _last(server, "alerts")
    assert answer.status_code == 201 and answer.json()["channel"] == "alerts"
    assert event["data"]["instrument"] == {"symbol": "ACME", "venue": "NASDAQ"} and event["data"]["action"] == "open"
    assert event["data"]["provider"]["id"] == f"ingest.{hook['id']}"
    assert took_s < 0.6  # Three times the promise.


def test_the_same_alert_again_is_answered_the_same(server: RunningServer, hook: dict[str, str]) -> None:
    """A sender that retries must not open a second position."""
    with server.http() as http:
        first = http.post(hook["url"], json=STRATEGY | {"price": "11"})
        again = http.post(hook["url"], json=STRATEGY | {"price": "11"})
    assert first.status_code == 201 and again.status_code == 200
    assert again.json() == first.json() | {"duplicate": True}


def test_the_raw_body_is_kept_without_its_secrets(server: RunningServer, hook: dict[str, str]) -> None:
    """An admin sees what the sender really posted, under the same id."""
    with server.http() as http:
        said = http.post(hook["url"], json=STRATEGY | {"price": "12"}).json()
    raw = _last(server, "ingest")
    assert raw["id"] == said["id"] and raw["type"] == "ingest.received"
    assert "hunter2" not in json.dumps(raw) and "10.15" not in raw["data"]["raw"] and "12" in raw["data"]["raw"]


def test_plain_text_alerts_are_read(server: RunningServer, hook: dict[str, str]) -> None:
    """TradingView's own default text."""
    text = "MACD: order sell @ 1 filled on CME_MINI:MNQ1!. New strategy position is 0"
    with server.http() as http:
        answer = http.post(hook["url"], content=text, headers={"Content-Type": "text/plain"})
    assert answer.status_code == 201
    assert _last(server, "alerts")["data"]["action"] == "close"


@pytest.mark.parametrize(
    ("body", "names"),
    [
        ('{“ticker”: "ACME", "action": "buy"}', ("line 1", "column 2")),
        ('{"ticker": "ACME",\n "action": "buy",}', ("line 2",)),
        ('{"ticker": "{{ticker}}", "action": "buy"}', ("{{ticker}}", "line 1")),
    ],
)
def test_a_broken_alert_is_refused_with_line_and_column_and_kept(
    server: RunningServer, hook: dict[str, str], body: str, names: tuple[str, ...]
) -> None:
    """The person at the settings page sees where the mistake is."""
    with server.http() as http:
        refused = http.post(hook["url"], content=body.encode(), headers={"Content-Type": "text/plain"})
    assert refused.status_code == 400
    assert all(name in refused.json()["message"] for name in names), refused.json()
    assert "refused" in _last(server, "ingest")["data"]


def test_a_wrong_secret_and_a_wrong_adapter_look_the_same(server: RunningServer, hook: dict[str, str]) -> None:
    """Nobody can find out which secrets there are."""
    with server.http() as http:
        wrong = http.post("/in/tradingview/" + "x" * 32, json=STRATEGY)
        other = http.post(hook["url"].replace("tradingview", "generic"), json=STRATEGY)
    assert wrong.status_code == other.status_code == 404 and wrong.json() == other.json()
    assert hook["secret"] not in server.log


def test_a_rotated_secret_replaces_the_old_one(server: RunningServer) -> None:
    """A leaked URL is worth nothing a moment later."""
    with server.http() as http:
        made = http.post("/v1/ingest", json={"adapter": "generic"}).json()
        rotated = http.post(f"/v1/ingest/{made['id']}/rotate").json()
        signal = {"symbol": "ACME", "action": "BUY"}
        assert http.post(made["url"], json=signal).status_code == 404
        assert http.post(rotated["url"], json=signal).status_code == 201
        assert http.delete(f"/v1/ingest/{made['id']}").status_code == 200
        assert http.post(rotated["url"], json=signal).status_code == 404


def test_a_flood_is_told_when_to_come_again(server: RunningServer) -> None:
    """One sender gone wild costs the others nothing."""
    folder = server.folder / "flood"
    folder.mkdir()
    with RunningServer(folder, ingest_burst=3, ingest_rate=0.5) as own, own.http() as http:
        url = http.post("/v1/ingest", json={"adapter": "generic"}).json()["url"]
        answers = [http.post(url, json={"symbol": "ACME", "action": "BUY"}) for _ in range(5)]
    assert [a.status_code for a in answers[:3]] == [201, 200, 200] and answers[4].status_code == 429
    assert int(answers[4].headers["retry-after"]) >= 1 and answers[4].json()["error"] == "rate_limited"


def _last(server: RunningServer, channel: str) -> Any:
    with server.http() as http:
        head = http.get(f"/v1/channels/{channel}").json()["last"]
        events = http.get(f"/v1/channels/{channel}/events", params={"after": head - 1}).json()["events"]
        event: dict[str, object] = events[-1]
        return event
