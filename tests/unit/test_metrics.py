"""The numbers: each declared once, counted right, shown on the dashboard, and to strangers without names."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from catalyst_signals.events import Batch, Stored, iso, now_us
from catalyst_signals.histograms import LATENCY_S, Histogram
from catalyst_signals.metrics import METRICS, totals
from catalyst_signals.metrics.grafana import dashboard
from catalyst_signals.metrics.prometheus import exposition
from catalyst_signals.server.app import build_app, open_node
from catalyst_signals.server.measuring import numbers
from catalyst_signals.server.node import Node
from catalyst_signals.server.readiness import readiness
from catalyst_signals.server.settings import Settings
from catalyst_signals.server.status import shown
from catalyst_signals.signals import signal_draft
from catalyst_signals.turns import committed_us
from catalyst_signals.wire import frame_of
from tests.unit.test_node import connected, within

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    """A process on a log in memory."""
    async with open_node(Settings(store_url="memory:", poll_s=60)) as node:
        yield node


async def publish(node: Node, channel: str = "main") -> Stored:
    """One signal."""
    draft = signal_draft({"symbol": "ACME", "action": "BUY"}, subject="admin")[0]
    return await node.publisher.publish(Batch(channel=channel, subject="admin", drafts=[draft]))


async def key_for(node: Node, *channels: str) -> str:
    """A key that may see these channels."""
    async with http(node, node.first_key) as rest:
        body = {"user": "someone", "scopes": ["subscribe"], "channels": channels}
        return str((await rest.post("/v1/keys", json=body)).json()["key"])


def http(node: Node, key: str | None = None) -> httpx2.AsyncClient:
    """Its REST, for a key or for a stranger."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(build_app(node)), base_url="http://here", headers=headers)


# -- counting ---------------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.floats(-1, 100), st.integers(1, 5)), max_size=50))
def test_a_histogram_counts_each_measurement_once(noted: list[tuple[float, int]]) -> None:
    """Under every bound that it is not above, and below zero, which a clock that was set back makes, as zero."""
    histogram = Histogram(LATENCY_S)
    for value, times in noted:
        histogram.note(value, times)
    found = histogram.cumulative()
    for bound in LATENCY_S:
        assert found[str(bound)] == sum(times for value, times in noted if value <= bound)
    assert found["+Inf"] == sum(times for _, times in noted)
    assert found["sum"] == pytest.approx(sum(max(0.0, value) * times for value, times in noted))


async def test_when_an_event_was_committed_is_read_without_decoding_it(node: Node) -> None:
    """Whatever stands in an id; what has no time is not measured."""
    draft = signal_draft({"symbol": "A", "action": "BUY", "id": '"ts":"1999-01-01T00:00:00Z"'}, subject="a")[0]
    stored = await node.publisher.publish(Batch(channel="main", subject="a", drafts=[draft]))
    (frame,) = [frame_of(event) for event in stored.events]
    assert committed_us(frame) == stored.receipts[0].ts_us
    frame.ws = b"{}"
    assert committed_us(frame) is None


async def test_every_number_is_declared_and_every_publish_is_timed(node: Node) -> None:
    """What nobody declared nobody would find; a publish without a subscriber is timed, a delivery needs one."""
    before = numbers(node)["catalyst_publish_seconds"]["+Inf"]
    await publish(node)
    found = numbers(node)
    assert set(found) <= set(METRICS)
    assert found["catalyst_publish_seconds"]["+Inf"] == before + 1
    assert found["catalyst_commit_seconds"]["+Inf"] == found["catalyst_commits"][""]
    assert found["catalyst_delivery_seconds"]["+Inf"] == 0
    assert found["catalyst_ready"] == {"": 1.0} and found["catalyst_channel_lag"]["main"] == 0


async def test_a_delivery_is_timed_once_however_many_get_it(node: Node) -> None:
    """Per turn, not per subscriber; what is held back is counted for each, by its reason."""
    for _ in range(3):
        connection, _ = connected(node)
        connection.received('{"type":"subscribe","channel":"main"}')
    assert await within(2, lambda: len(node.hub.tapes["main"].subscribers) == 3)
    await asyncio.sleep(0.05)
    await publish(node)
    assert await within(2, lambda: node.hub.deliveries == 3)
    found = numbers(node)
    assert found["catalyst_delivery_seconds"]["+Inf"] == 1 and found["catalyst_match_seconds"]["+Inf"] == 1
    assert 0 <= found["catalyst_delivery_seconds"]["sum"] < 2 and found["catalyst_channel_behind"]["main"] == 0
    confirmed_s, node.follower.confirmed_s = node.follower.confirmed_s, None  # Nothing is delivered until it is again.
    node.hub.hold(True)
    late = {"symbol": "ACME", "action": "BUY", "expires_at": iso(now_us() - 1_000_000)}
    await node.publisher.publish(
        Batch(channel="main", subject="admin", drafts=[signal_draft(late, subject="admin")[0]])
    )
    assert numbers(node)["catalyst_channel_lag"]["main"] == 1
    node.follower.confirmed_s = confirmed_s
    node.hub.hold(False)
    assert await within(2, lambda: numbers(node)["catalyst_events_held"]["expired"] == 3)
    assert numbers(node)["catalyst_channel_lag"]["main"] == 0


async def test_a_breaker_that_is_open_is_seen_everywhere(node: Node) -> None:
    """The store's makes the process not ready; what can be done without is a warning. Errors are not for strangers."""
    for breaker in node.breakers:
        for _ in range(20):
            breaker.failed("db.internal says no")
    found = numbers(node)
    assert found["catalyst_ready"] == {"": 0.0} and set(found["catalyst_breaker_state"].values()) == {2.0}
    report = readiness(node)
    assert {"store_writes", "store_reads"} <= set(report["wrong"]) and "broker" in "".join(report["warnings"])
    async with http(node) as rest:
        text = (await rest.get("/readyz")).text
    assert "db.internal" not in text and '"state":"open"' in text
    async with http(node, node.first_key) as rest:
        assert "db.internal" in (await rest.get("/readyz")).text


async def test_refusals_are_counted_by_their_name(node: Node) -> None:
    """A dashboard shows of what there is more than yesterday."""
    async with http(node) as rest:
        await rest.get("/v1/channels")
        await rest.get("/v1/channels")
    assert numbers(node)["catalyst_refusals"] == {"unauthenticated": 2}


# -- who is shown what ------------------------------------------------------------------------------------------------


async def test_a_stranger_is_told_totals_and_no_name(node: Node) -> None:
    """`/readyz` and `/metrics` are open to whoever reaches the port, and names of channels say a lot."""
    await node.open_channel("insider-deals")
    for _ in range(3):
        await publish(node)
    async with http(node) as rest:
        scraped, ready = (await rest.get("/metrics")).text, (await rest.get("/readyz")).text
    assert "insider" not in scraped + ready and "channel=" not in scraped and '"channels":{}' in ready
    heads = numbers(node)["catalyst_channel_head"]
    assert f"catalyst_channel_head {float(sum(heads.values()))}" in scraped.splitlines()


async def test_a_key_is_shown_the_channels_that_it_may_see(node: Node) -> None:
    """The scrape has a key of its own, without the right to change anything."""
    await node.open_channel("other")
    scraped = {}
    for key in (await key_for(node, "main"), await key_for(node, "*"), node.first_key):
        async with http(node, key) as rest:
            text = (await rest.get("/metrics")).text
            ready = (await rest.get("/readyz")).json()
        scraped[key] = set(re.findall(r'catalyst_channel_head\{channel="([^"]+)"\}', text))
        assert set(ready["channels"]) == scraped[key]
    every = {"main", "other", "items", "acks"}
    assert list(scraped.values()) == [{"main"}, every, every | {"system", "ingest"}]


async def test_a_key_that_is_none_is_refused_rather_than_shown_less(node: Node) -> None:
    """A scrape whose key was revoked must not look as if all channels were gone."""
    revoked = await key_for(node, "main")
    node.turn_off(revoked.split("_")[2])
    for path in ("/metrics", "/readyz"):
        for key in ("cat_live_no_such", revoked, "nonsense"):
            async with http(node, key) as rest:
                assert (await rest.get(path)).status_code == 401


async def test_a_key_is_told_what_is_wrong_also_while_nobody_is_let_in(node: Node) -> None:
    """That is when somebody asks."""
    node.draining = True
    async with http(node, node.first_key) as rest:
        answer = await rest.get("/readyz")
        assert answer.status_code == 503 and "draining" in answer.json()["wrong"]
        assert "catalyst_ready 0.0" in (await rest.get("/metrics")).text


async def test_what_is_wrong_names_nothing_to_a_stranger(node: Node) -> None:
    """How many parts are not well, and how to be told which."""
    report = readiness(node) | {"ready": False, "wrong": {"channel insider": "event 5 of insider", "draining": "it is"}}
    report |= {"warnings": ["insider: the worker `bob` is lost"], "components": [{"name": "store", "error": "insider"}]}
    said = json.dumps(shown(report, None))
    assert "insider" not in said and "bob" not in said and "1 not well" in said and "draining" in said
    admin = node.keys.authenticate(node.first_key or "")
    assert shown(report, admin)["wrong"] == report["wrong"]


# -- how they are written ---------------------------------------------------------------------------------------------


async def test_what_is_scraped_says_the_same_as_what_was_counted(node: Node) -> None:
    """Read back by Prometheus's own parser, every declared metric once."""
    await publish(node)
    found = {family.name: family for family in text_string_to_metric_families(exposition({"": numbers(node)}).decode())}
    assert {name for name in found if name.startswith("catalyst_")} == set(METRICS)
    for metric in METRICS.values():
        assert found[metric.name].type == metric.kind
    buckets = [each for each in found["catalyst_commit_seconds"].samples if each.name.endswith("_bucket")]
    assert buckets[-1].labels == {"le": "+Inf"} and buckets[-1].value == numbers(node)["catalyst_commits"][""]


async def test_each_of_several_processes_is_told_apart(node: Node) -> None:
    """A sum over `process` is right, whichever of them was asked."""
    each = numbers(node)
    text = exposition({"1": each, "2": totals(each)}).decode()
    assert 'catalyst_up_seconds{process="1"}' in text and 'catalyst_commit_seconds_count{process="2"}' in text
    assert 'catalyst_channel_head{channel="main",process="1"}' in text


# -- what is made of them ---------------------------------------------------------------------------------------------


def used(text: str) -> set[str]:
    """The metrics of ours that a query names."""
    names = set(re.findall(r"\bcatalyst_[a-z_]+", text))
    return {re.sub("_(bucket|sum|count)$", "", name) for name in names}


def test_the_dashboard_is_what_the_metrics_make_it() -> None:
    """After a metric was added it is made anew: AGENTS.md says how."""
    assert json.loads((ROOT / "deploy" / "grafana" / "catalyst.json").read_text()) == dashboard()


def test_every_metric_has_a_panel_and_no_panel_asks_for_another() -> None:
    """Every panel has a place of its own and a query; what it asks for is declared."""
    panels = dashboard()["panels"]
    asked = {name for panel in panels for target in panel.get("targets", ()) for name in used(target["expr"])}
    assert asked == {metric.exposed for metric in METRICS.values()}
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken = [(p["gridPos"]["x"], p["gridPos"]["y"], p["gridPos"]["w"], p["gridPos"]["h"]) for p in panels]
    assert all(x + w <= 24 for x, _, w, _ in taken)
    cells = [(x + dx, y + dy) for x, y, w, h in taken for dx in range(w) for dy in range(h)]
    assert len(cells) == len(set(cells)), "panels lie over each other"
    for panel in panels:
        assert panel["type"] == "row" or panel["targets"]


def test_every_alert_asks_for_what_is_declared_and_says_what_to_do() -> None:
    """A renamed metric would make an alert that never fires; at three in the morning the name leads to the page."""
    rules = (ROOT / "deploy" / "prometheus" / "rules.yml").read_text()
    exprs = re.findall(r"^ +expr: (.+)$", rules, re.M)
    alerts = re.findall(r"^ +- alert: (\w+)$", rules, re.M)
    assert len(exprs) == len(alerts) > 20
    assert used("\n".join(exprs)) <= {metric.exposed for metric in METRICS.values()}
    assert re.findall(r"runbook_url: docs/alerts.md#(\w+)", rules) == [name.lower() for name in alerts]
    assert re.findall(r"^## (\w+)$", (ROOT / "docs" / "alerts.md").read_text(), re.M) == alerts
