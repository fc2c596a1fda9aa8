"""Alerts, with the real Prometheus and Alertmanager: whoever is on call is told, and told only what is so."""

from __future__ import annotations

import json
import re
import urllib.parse
import urllib.request
from pathlib import Path

import pytest

from catalyst_signals.metrics.grafana import dashboard
from tests.running import RunningServer
from tests.services.monitoring import SHIPPED, Alertmanager, Prometheus, check
from tests.sink import Sink, until

pytestmark = pytest.mark.slow


def test_each_alert_is_quiet_before_and_fires_after() -> None:
    """An alert that never fired is a hope."""
    assert "SUCCESS" in check("promtool", "test", "rules", SHIPPED / "tests" / "alerts.yml")


def test_the_shipped_configurations_are_taken_by_their_own_tools(tmp_path: Path) -> None:
    """They are copied as they are; the scrape's key is where the file says."""
    assert "SUCCESS" in check("promtool", "check", "rules", SHIPPED / "rules.yml")
    key = tmp_path / "key"
    key.write_text("cat_test_1_x")
    text = (SHIPPED / "prometheus.yml").read_text().replace("/etc/prometheus/catalyst.key", str(key))
    (tmp_path / "prometheus.yml").write_text(text.replace("[rules.yml]", f"[{SHIPPED / 'rules.yml'}]"))
    check("promtool", "check", "config", tmp_path / "prometheus.yml")
    assert "2 receivers" in check("amtool", "check-config", SHIPPED / "alertmanager.yml")


def test_prometheus_takes_every_query_of_the_dashboard(tmp_path: Path) -> None:
    """Each as a rule: there is no Grafana here, but this is who answers it."""
    asked = [target["expr"] for panel in dashboard()["panels"] for target in panel.get("targets", ())]
    lines = ["groups:", "- name: dashboard", "  rules:"]
    for at, expr in enumerate(asked):
        expr = expr.replace("$__rate_interval", "1m").replace("$instance", ".*")
        lines += [f"  - record: panel_{at}", f"    expr: '{expr}'"]
    rules = tmp_path / "rules.yml"
    rules.write_text("\n".join(lines) + "\n")
    assert f"{len(asked)} rules found" in check("promtool", "check", "rules", rules)


def test_a_server_that_was_killed_is_told_to_pagerduty_and_discord(tmp_path: Path) -> None:
    """kill -9; both are told which one and where it stands what to do, and what is well is not mentioned."""
    with RunningServer(tmp_path) as server, Sink() as sink, Alertmanager(sink.url) as alertmanager:
        key = server.new_key(user="prometheus", scopes=["subscribe"], channels=["*"])
        target = server.url.removeprefix("http://")
        with Prometheus(target, key, alertmanager) as prometheus:
            head = until(lambda: _ask(prometheus.url, 'catalyst_channel_head{channel="main"}'))
            assert head[0]["metric"]["instance"] == target
            assert until(lambda: _ask(prometheus.url, "catalyst_publish_seconds_count"))
            server.kill()
            pages = until(lambda: sink.to("/pagerduty"), within_s=40)
            notes = until(lambda: [came for came in sink.came if came.path.startswith("/api/webhooks/")])
    page = json.loads(pages[0].body)
    assert page["event_action"] == "trigger" and page["payload"]["severity"] == "critical"
    assert page["payload"]["summary"] == f"{target} does not answer"
    assert page["payload"]["custom_details"]["runbook"] == "docs/alerts.md#catalystdown"
    assert b"CatalystDown" in notes[0].body and b"docs/alerts.md#catalystdown" in notes[0].body
    assert set(re.findall(rb"Catalyst[A-Z]\w+", sink.everything)) == {b"CatalystDown"}
    assert key.encode() not in sink.everything


def _ask(url: str, query: str) -> list[dict[str, dict[str, str]]]:
    with urllib.request.urlopen(f"{url}/api/v1/query?{urllib.parse.urlencode({'query': query})}", timeout=5) as answer:
        result: list[dict[str, dict[str, str]]] = json.load(answer)["data"]["result"]
        return result
