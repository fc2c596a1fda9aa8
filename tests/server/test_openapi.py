"""/openapi.json is what the server does: Schemathesis asks every operation, well and badly, and reads every answer.

Covers catalyst_signals.server.api, catalyst_signals.server.admin, catalyst_signals.server.sse,
catalyst_signals.server.describing, catalyst_signals.server.operations, catalyst_signals.server.answers and
catalyst_signals.server.showing.
Who relies on it: whoever generates a client from the document, or reads /docs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from catalyst_signals.server.operations import OPERATIONS
from tests.running import RunningServer
from tests.sink import Sink

HERE = Path(__file__).parent
NO_LIMITS = dict.fromkeys(("key_publish_rate", "key_connect_rate", "user_subscribe_rate", "ingest_rate"), 0)
NEVER_WELL = {  # One does not end, the others need another store: tests/server/test_transfer.py.
    "GET /v1/channels/{channel}/stream", "GET /v1/transfer", "POST /v1/transfer",
}  # fmt: skip
EACH = 12  # Things to delete, of each kind.


@pytest.fixture(scope="module")
def open_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("openapi")
    with RunningServer(folder, position_s=1, targets_allow="127.0.0.0/8", **NO_LIMITS) as running:
        yield running


def there(http: httpx2.Client, sink: Sink) -> dict[str, list[dict[str, str]]]:
    """Something of every kind, and what its path says of it."""

    def post(path: str, **body: object) -> dict[str, str]:
        answer = http.post(path, json=body)
        assert answer.status_code in (200, 201), answer.text
        found: dict[str, str] = answer.json()
        return found

    def signal(n: int) -> dict[str, str]:
        post("/v1/channels/main/signals", id=f"s-{n}", symbol="ACME", action="BUY", confidence=0.8, stop="9.4")
        post(f"/v1/channels/main/signals/s-{n}/deeds", what="executed", id="d", fills=[{"qty": "1", "price": "9.8"}])
        return {"channel": "main", "id": f"s-{n}"}

    signals = [signal(n) for n in range(3 * EACH)]
    users = [{"user": f"u-{n}"} for n in range(EACH)]
    keys = [{"id": post("/v1/keys", user="eve")["id"]} for _ in range(EACH)] + [
        {"id": post("/v1/keys", **user)["id"]} for user in users
    ]
    adapters = ["tradingview", "traderspost", "generic", "cornix", "freqtrade", "octobot", "pineconnector"]
    sources = [post("/v1/ingest", adapter=adapters[n % len(adapters)]) for n in range(2 * EACH)]
    targets = [{"id": post("/v1/targets", url=f"{sink.url}/{n}")["id"]} for n in range(2 * EACH)]
    halts = [{"id": post("/v1/halts", source=f"h-{n}", reason="it repeats itself")["id"]} for n in range(EACH)]
    names = [{"name": f"f-{n}"} for n in range(2 * EACH)]
    for name in names:
        assert http.put(f"/v1/filters/{name['name']}", json={"filter": "symbol = ACME"}).status_code == 201
    one = "/v1/channels/{channel}/signals/{id}"
    places = [{"id": each["id"]} for each in sources]
    found = {
        "/in/{adapter}/{secret}": [{"adapter": each["adapter"], "secret": each["secret"]} for each in sources[:EACH]],
        "/v1/ingest/{id}/rotate": places[EACH : EACH + 2], "DELETE /v1/ingest/{id}": places[EACH + 2 :],
        "DELETE /v1/keys/{id}": keys[:EACH], "DELETE /v1/users/{user}": users,
        "/v1/filters/{name}": names[:EACH], "DELETE /v1/filters/{name}": names[EACH:],
        "/v1/targets/{id}": targets[:EACH], "DELETE /v1/targets/{id}": targets[EACH:],
        "DELETE /v1/halts/{id}": halts, one: signals[:EACH], f"DELETE {one}": signals[EACH : 2 * EACH],
        "DELETE /v1/channels/{channel}/events/{seq}": [
            {"channel": "main", "seq": str(n)} for n in range(2 * EACH + 1, 3 * EACH)
        ],
    }  # fmt: skip
    found |= {f"{one}/{last}": signals[:EACH] for last in ("deeds", "deliveries", "cancel")}
    found |= {f"/v1/targets/{{id}}/{last}": targets[:EACH] for last in ("test", "dead", "replay")}
    channels = [{"channel": "main"}, {"channel": "acks"}, {"channel": "system"}]
    of_channels = ("/v1/channels/{channel}", "/v1/channels/{channel}/events", "/v1/channels/{channel}/signals")
    return found | dict.fromkeys(of_channels, channels) | {"/v1/channels/{channel}/heartbeat": channels[:1]}


def test_a_method_that_is_not_taken_is_refused_with_those_that_are(open_server: RunningServer) -> None:
    """Of the whole path, not of the route that came first."""
    takes = {"/v1/keys": "GET, POST", "/v1/filters/a": "DELETE, GET, PUT", "/healthz": "GET, HEAD", "/in/a/b": "POST"}
    with open_server.http() as http:
        for path, allow in takes.items():
            answer = http.request("PATCH", path)
            assert answer.status_code == 405 and answer.headers["allow"] == allow
            assert answer.json()["allowed"] == allow.split(", ")


def test_the_stream_is_as_described(open_server: RunningServer) -> None:
    """By hand, since it never ends by itself."""
    path = "/v1/channels/{channel}/stream"
    with open_server.http() as http:
        described = http.get("/openapi.json").json()["paths"][path]["get"]["responses"]
        with http.stream("GET", path.format(channel="main"), params={"after": "0"}) as answer:
            assert answer.status_code == 200
            assert answer.headers["content-type"].partition(";")[0] in described["200"]["content"]
        badly: list[tuple[str, str, dict[str, str], dict[str, str]]] = [
            ("400", "main", {"after": "x"}, {}), ("400", "main", {"after": "-1"}, {}),
            ("400", "main", {"aftr": "1"}, {}), ("400", "main", {"filter": "confidence >>"}, {}),
            ("400", "main", {"stale": "maybe"}, {}), ("400", "main", {"max_age_s": "0"}, {}),
            ("400", "main", {}, {"Last-Event-ID": "yesterday"}), ("401", "main", {}, {"Authorization": "x"}),
            ("404", "none", {}, {}), ("409", "main", {"after": "99999"}, {}),
            ("409", "main", {}, {"Last-Event-ID": "0123456789ab:7:00000000"}),
        ]  # fmt: skip
        for status, channel, query, headers in badly:
            answer = http.get(path.format(channel=channel), params=query, headers=headers)
            assert (str(answer.status_code), status in described) == (status, True), (query, headers, answer.text)
            assert {"error", "message", "retry"} <= set(answer.json())


def test_the_page_is_whole_by_itself_and_may_load_nothing(open_server: RunningServer) -> None:
    with httpx2.Client(base_url=open_server.url, trust_env=False) as nobody:
        docs = nobody.get("/docs")
        assert docs.status_code == 200 and "default-src 'none'" in docs.headers["content-security-policy"]
        assert "http://" not in docs.text and "https://" not in docs.text.replace("https://example.com/hook", "")
        assert nobody.get("/redoc").status_code == 404


@pytest.mark.slow
def test_every_answer_is_as_it_is_described(open_server: RunningServer, tmp_path: Path) -> None:
    """No 500, no status, type, field or method that the document does not name, and nothing wrong is taken."""
    with Sink() as sink, open_server.http() as http:
        environment = {
            "PYTHONPATH": str(HERE), "SCHEMATHESIS_HOOKS": "openapi_hooks",
            "OPENAPI_THERE": json.dumps(there(http, sink)), "OPENAPI_SEEN": str(tmp_path / "seen"),
        }  # fmt: skip
        found = subprocess.run(
            [
                str(Path(sys.executable).with_name("schemathesis")), "--no-color",
                "--config-file", str(HERE / "schemathesis.toml"), "run", f"{open_server.url}/openapi.json",
                "--header", f"Authorization: Bearer {open_server.admin_key}",
            ],
            cwd=tmp_path, env=os.environ | environment, capture_output=True, text=True, timeout=90,
        )  # fmt: skip
    said = "\n".join(line[:500] for line in found.stdout.splitlines())
    assert found.returncode == 0, f"{said[-20_000:]}\n{found.stderr[-2000:]}"
    lines = (line.rpartition(" ") for line in (tmp_path / "seen").read_text().splitlines())
    well = {asked for asked, _, status in lines if status < "300"}
    assert set(OPERATIONS) - well == NEVER_WELL, "these were never answered well, so nothing is known of them"
