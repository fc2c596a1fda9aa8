"""The dashboard as it is shipped, asked of a real Prometheus that scrapes a real server under load.

Grafana cannot be had here (it is in no package of Debian); what it would ask is, word for word.
"""

from __future__ import annotations

import asyncio
import json
import re
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from catalyst_signals.metrics.grafana import dashboard
from tests.running import RunningServer
from tests.services.monitoring import Alertmanager, Prometheus
from tests.services.postgres import Postgres
from tests.sink import Sink
from tests.socket_client import wire

pytestmark = pytest.mark.slow

ASKED = {"$__rate_interval": "1m", "$instance": ".*"}  # What Grafana puts in.
WITHIN_S = 30

NOT_OF_A_FILE = {"Store lock held", "Store replica lag"}  # Of a log in PostgreSQL; the second of one with a replica.
# Known where the file is, but for the last.
NOT_OF_A_DATABASE = {"Disk free bytes", "Disk free ratio", "Store bytes", "Store replica lag"}


def targets() -> Iterator[tuple[str, str, str]]:
    """Every query of the dashboard: the title of its panel, what is asked, what its legend names."""
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", ()):
            expr: str = target["expr"]
            for variable, value in ASKED.items():
                expr = expr.replace(variable, value)
            yield panel["title"], expr, target["legendFormat"]


def answer(url: str, path: str, **asked: str) -> Any:
    """What Prometheus says."""
    with urllib.request.urlopen(f"{url}/api/v1/{path}?{urllib.parse.urlencode(asked)}", timeout=5) as said:
        return json.load(said)["data"]


def empty(url: str) -> set[str]:
    """The panels in which nothing would be drawn, or a line without a name."""
    found: set[str] = set()
    for title, expr, legend in targets():
        lines = answer(url, "query", query=expr)["result"]
        named = set(re.findall(r"{{(\w+)}}", legend))
        good = [line for line in lines if line["value"][1] != "NaN" and named <= line["metric"].keys()]
        if not good:
            found.add(title)
    return found


async def until_empty_are(url: str, wanted: set[str], load: list[asyncio.Task[None]]) -> None:
    """Wait until only these panels are, while the load goes on."""
    ends_s = asyncio.get_running_loop().time() + WITHIN_S
    while (now := await asyncio.to_thread(empty, url)) != wanted:
        assert asyncio.get_running_loop().time() < ends_s, f"empty: {sorted(now)}, and not {sorted(wanted)}"
        for task in load:
            assert not task.done(), task
        await asyncio.sleep(0.5)


async def keep_busy(server: RunningServer) -> None:
    """Signals, and now and then what is refused and who is shown the door."""
    headers = {"Authorization": f"Bearer {server.admin_key}"}
    async with httpx2.AsyncClient(base_url=server.url, headers=headers, timeout=30, trust_env=False) as http:
        while True:
            answer = await http.post("/v1/channels/main/signals", json={"symbol": "XYZ", "action": "SELL"})
            assert answer.status_code == 201, answer.text
            assert (await http.post("/v1/channels/main/signals", json={})).status_code == 400
            async with wire(server.url, None) as stranger:
                await stranger.send(type="subscribe", channel="main")
                await stranger.next()
            await asyncio.sleep(0.05)


async def read_all(server: RunningServer) -> None:
    """A subscriber that is live."""
    async with wire(server.url, server.admin_key) as reader:
        await reader.subscribe(channel="main")
        while True:
            await reader.next()


async def test_every_panel_shows_something_but_those_whose_part_is_not_there(tmp_path: Path) -> None:
    """A panel that asks by a wrong name looks like a quiet night. The log moves meanwhile, so that both kinds do."""
    with RunningServer(tmp_path, retention_s=1) as server, Postgres() as postgres, Sink() as sink:
        with Alertmanager(sink.url) as alertmanager:
            target = server.url.removeprefix("http://")
            with Prometheus(target, server.admin_key, alertmanager) as prometheus:
                load = [asyncio.create_task(each(server)) for each in (keep_busy, read_all)]
                try:
                    await until_empty_are(prometheus.url, NOT_OF_A_FILE, load)
                    with server.http() as http:
                        body = {"from": server.store_url, "to": postgres.url}
                        assert http.post("/v1/transfer", json=body).status_code == 202
                    await until_empty_are(prometheus.url, NOT_OF_A_DATABASE, load)
                finally:
                    for task in load:
                        task.cancel()
                    ended = await asyncio.gather(*load, return_exceptions=True)
                assert all(isinstance(each, asyncio.CancelledError) for each in ended), ended
                known = answer(prometheus.url, "label/instance/values", **{"match[]": "catalyst_ready"})
                assert known == [target], "what the variable `instance` offers"
