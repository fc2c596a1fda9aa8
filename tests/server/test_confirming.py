"""The confirm step: what was read with a doubt is published when somebody has looked at it, and not before.

Covers `catalyst_signals.server.confirming`.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.running import RunningServer

CLEAR = "#ACME/USDT LONG\nEntry: 10\nTargets: 11, 12\nStop: 9"
DOUBTFUL = "#ACME/USDT\nEntry: 10\nTargets: 11, 12\nStop: 9"


@pytest.fixture(scope="module")
def hook(server: RunningServer) -> str:
    """Where messages of a signal channel come in, into a channel of its own."""
    return _made(server, "told")


def _made(server: RunningServer, channel: str, **options: str) -> str:
    with server.http() as http:
        http.put(f"/v1/channels/{channel}", json={}).raise_for_status()
        made = http.post("/v1/ingest", json={"adapter": "cornix", "channel": channel, "options": options})
        return str(made.raise_for_status().json()["url"])


def _post(server: RunningServer, url: str, text: str, **query: str) -> tuple[int, dict[str, Any]]:
    with server.http() as http:
        answer = http.post(url, content=text.encode(), headers={"content-type": "text/plain"}, params=query)
    return answer.status_code, answer.json()


def _count(server: RunningServer, channel: str) -> int:
    with server.http() as http:
        return len(http.get(f"/v1/channels/{channel}/events").json()["events"])


def test_what_can_be_read_in_one_way_only_is_published_at_once(server: RunningServer, hook: str) -> None:
    """A relay of a channel has nobody who could confirm."""
    before = _count(server, "told")
    status, _ = _post(server, hook, CLEAR)
    assert status == 201 and _count(server, "told") == before + 1


def test_a_doubt_is_asked_about_and_published_once_it_is_confirmed(server: RunningServer, hook: str) -> None:
    """Also when the confirmation is sent twice: one signal."""
    before = _count(server, "told")
    status, asked = _post(server, hook, DOUBTFUL)
    assert status == 202 and asked["confirm"] in asked["message"] and "prices" in asked["doubts"][0]
    assert asked["drafts"][0]["direction"] == "long" and _count(server, "told") == before
    first, said = _post(server, hook, DOUBTFUL, confirm=asked["confirm"])
    again, repeated = _post(server, hook, DOUBTFUL, confirm=asked["confirm"])
    assert (first, again) == (201, 200) and said["seq"] == repeated["seq"] and _count(server, "told") == before + 1
    assert said["id"] == asked["drafts"][0]["id"]


def test_a_confirmation_is_for_one_body_only(server: RunningServer, hook: str) -> None:
    """And neither for another price nor for ever."""
    before = _count(server, "told")
    _, asked = _post(server, hook, DOUBTFUL)
    other, refusal = _post(server, hook, DOUBTFUL.replace("11, 12", "11, 13"), confirm=asked["confirm"])
    old, late = _post(server, hook, DOUBTFUL, confirm="100-" + asked["confirm"].partition("-")[2])
    odd, strange = _post(server, hook, DOUBTFUL, confirm="yes")
    assert (other, old, odd) == (400, 400, 400) and _count(server, "told") == before
    assert "another body" in refusal["message"] and "older" in late["message"] and strange["field"] == "confirm"


def test_what_was_not_confirmed_is_kept_for_an_admin(server: RunningServer, hook: str) -> None:
    """Nothing held back is silent."""
    text = DOUBTFUL.replace("ACME", "KEPT")
    _post(server, hook, text)
    with server.http() as http:
        last = http.get("/v1/channels/ingest/events?limit=1000").json()["events"][-1]["data"]
    assert last["raw"] == text and last["refused"]["field"] == "confirm"


def test_an_admin_chooses_what_waits(server: RunningServer) -> None:
    """All or nothing; a dry run shows the doubts in any case and asks nothing."""
    always, never = _made(server, "always", confirm="always"), _made(server, "never", confirm="never")
    assert _post(server, always, CLEAR)[0] == 202 and _post(server, never, DOUBTFUL)[0] == 201
    status, shown = _post(server, always, DOUBTFUL, dry_run="1")
    assert status == 200 and shown["drafts"] and shown["doubts"] and "confirm" not in shown
