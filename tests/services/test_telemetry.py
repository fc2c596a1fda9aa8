"""A real server tells its errors, traces, numbers and lines to others, and no secret to any of them.

Covers `catalyst_signals.server.telemetry` from outside, against a sink that stands for Sentry, a collector and ELK.
"""

from __future__ import annotations

import json
import re
import sqlite3
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.running import RunningServer
from tests.sink import Sink, until

pytestmark = pytest.mark.slow

ACME = {"symbol": "ACME", "action": "BUY", "comment": "b0dy-canary"}
COUNT = 1200


def use(server: RunningServer) -> tuple[str, str]:
    """Publish, be refused, and send a webhook; the webhook's secret and the trace that was asked for."""
    trace = "0af7651916cd43dd8448eb211c80319c"
    with server.http() as http:
        hook = http.post("/v1/ingest", json={"adapter": "generic", "channel": "main"}).json()
        http.post(f"/in/generic/{hook['secret']}", json=ACME)
        http.get("/v1/channels/main/events?filter=nonsense%20=")
        headers = {"traceparent": f"00-{trace}-b7ad6b7169203331-01"}
        http.post("/v1/channels/main/signals", json=ACME, headers=headers).raise_for_status()
    return hook["secret"], trace


def test_traces_and_numbers_arrive_by_otlp_and_hold_no_secret(tmp_path: Path) -> None:
    """One setting. Spans by route, with the trace of who asked; every metric with its own bounds; nothing of a path."""
    with Sink() as sink, RunningServer(tmp_path, otlp_endpoint=sink.url, log_level="debug") as server:
        secret, trace = use(server)
        key = server.admin_key
        assert server.stop() == 0
        traces, metrics = sink.to("/v1/traces"), sink.to("/v1/metrics")
    spans = [
        span
        for came in traces
        for resource in ExportTraceServiceRequest.FromString(came.body).resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
    names = {span.name for span in spans}
    assert {"POST /in/{adapter}/{secret}", "POST /v1/channels/{channel}/signals", "store.append"} <= names
    assert trace in {span.trace_id.hex() for span in spans}
    assert {attribute.key for span in spans for attribute in span.attributes} >= {"http.route", "catalyst.request_id"}
    told = [
        metric
        for came in metrics
        for resource in ExportMetricsServiceRequest.FromString(came.body).resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    ]
    by_name = {metric.name: metric for metric in told}
    histogram = by_name["catalyst_publish_seconds"].histogram.data_points[0]
    assert sum(histogram.bucket_counts) == histogram.count >= 3
    assert len(histogram.bucket_counts) == len(histogram.explicit_bounds) + 1
    assert by_name["catalyst_events_stored"].sum.is_monotonic
    assert by_name["catalyst_channel_head"].gauge.data_points[0].attributes[0].key == "channel"
    everything = sink.everything + server.log.encode()
    for canary in (secret, key, "b0dy-canary"):
        assert canary.encode() not in everything
    lines = [json.loads(line) for line in server.log.splitlines()]
    told_of = [line for line in lines if line["message"] == "a request was answered"]
    assert {line["route"] for line in told_of} >= {"/in/{adapter}/{secret}"}
    assert all(line["request_id"] for line in told_of)
    assert any(re.fullmatch("[0-9A-Za-z]+", line.get("key_id", "")) for line in told_of)


def test_an_error_reaches_sentry_with_its_ids_and_without_secrets(tmp_path: Path) -> None:
    """One setting. An event was changed on the disk; whoever runs this is told without looking at a log."""
    with Sink() as sink:
        dsn = f"http://public@127.0.0.1:{sink.port}/7"
        with RunningServer(tmp_path, sentry_dsn=dsn, poll_s=0.2) as server:
            with server.http() as http:
                for first in range(0, COUNT, 400):
                    batch = [ACME | {"id": f"n{n}"} for n in range(first, first + 400)]
                    http.post("/v1/channels/main/signals", json=batch).raise_for_status()
            server.stop()
            _damage(tmp_path / "catalyst.db")
            server.start()
            came = until(lambda: sink.to("/api/7/envelope/"))
    text = came[0].body.decode()
    event = next(json.loads(line) for line in text.splitlines() if '"logger"' in line)
    assert event["logger"] == "catalyst.trust" and event["level"] == "error"
    assert event["logentry"]["message"] == "an event cannot be trusted"
    assert event["release"].startswith("catalyst@")
    assert b"b0dy-canary" not in sink.everything and server.admin_key.encode() not in sink.everything
    assert "127.0.0.1" not in json.dumps(event) and "argv" not in text


def test_what_an_error_holds_is_blanked_and_named_before_it_leaves() -> None:
    """A key in a message, in an exception, in a variable: which key it was is told, with the request it was in."""
    key = "cat_live_abc123_0123456789abcdef"
    with Sink() as sink:
        code = f"""
            import logging
            from catalyst_signals.about import Request, deal_with
            from catalyst_signals.server import logs, telemetry
            from catalyst_signals.server.settings import Settings
            settings = Settings(sentry_dsn="http://public@127.0.0.1:{sink.port}/7")
            logs.install(settings)
            telemetry.tell_sentry(settings)
            deal_with(Request(request_id="r77"))
            logging.getLogger("catalyst").warning("before it: Bearer s3cr3tw0rd")
            def fail(of_no_concern):
                raise RuntimeError("/in/tradingview/s3cr3tw0rd")
            try:
                fail("v4ria" + "ble-canary")
            except RuntimeError:
                logging.getLogger("catalyst").exception("it failed for {key}", extra={{"reason": "{key}"}})
            telemetry.flush()
        """
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    text = sink.everything.decode()
    assert "abc123" in text
    assert '"request_id":"r77"' in text.replace(" ", "") and "RuntimeError" in text
    for canary in (key, "s3cr3tw0rd", "v4riable-canary"):
        assert canary not in text + done.stderr


def _damage(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        number = connection.execute("SELECT number FROM heads WHERE channel = 'main'").fetchone()[0]
        where = (number << 40 | 5,)
        body = connection.execute("SELECT body FROM events WHERE place = ?", where).fetchone()[0]
        connection.execute("UPDATE events SET body = ? WHERE place = ?", (body.replace(b"ACME", b"ACMF"), *where))
    connection.close()


def test_a_process_sends_its_lines_and_keeps_a_file(tmp_path: Path) -> None:
    """Each of several has a file of its own; what is central is of all of them, and told apart."""
    with Sink() as sink:
        url = f"{sink.url}/catalyst/_bulk"
        file = tmp_path / "c.log"
        with RunningServer(tmp_path, log_ship_url=url, log_file=file, processes=2, node="box") as server:
            secret, _ = use(server)
            assert server.stop() == 0
        documents = [json.loads(line) for came in sink.came for line in came.body.splitlines()[1::2]]
    assert {each["node"] for each in documents if each["message"] == "draining"} == {"box", "box-2"}
    assert {"c-0.log", "c-1.log", "c-2.log"} <= {path.name for path in tmp_path.iterdir()}
    assert "draining" in (tmp_path / "c-2.log").read_text()
    for text in (sink.everything, (tmp_path / "c-1.log").read_bytes()):
        assert secret.encode() not in text and server.admin_key.encode() not in text


@pytest.mark.parametrize("setting", ["sentry_dsn", "otlp_endpoint"])
def test_an_endpoint_that_is_away_fails_nothing(tmp_path: Path, setting: str) -> None:
    """Whoever watches may be down longer than what is watched."""
    url = {"sentry_dsn": "http://public@127.0.0.1:9/1", "otlp_endpoint": "http://127.0.0.1:9"}[setting]
    with RunningServer(tmp_path, **{setting: url}) as server:
        use(server)
        assert server.stop() == 0
