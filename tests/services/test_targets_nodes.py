"""Two nodes on one PostgreSQL: one of them sends, and when it is killed the other goes on where it stood."""

from __future__ import annotations

import threading
import time
from collections import Counter
from pathlib import Path

import httpx2
import pytest

from tests.running import RunningServer
from tests.services.postgres import Postgres
from tests.sink import Sink, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

COUNT = 200
LEASE_S = 2


def _publish_slowly(node: RunningServer, key: str, pace_s: float) -> None:
    with node.http(key) as http:
        for n in range(COUNT):
            answer = http.post("/v1/channels/main/signals", json={"id": f"e{n}", "symbol": "A", "action": "BUY"})
            assert answer.status_code < 300, answer.text
            time.sleep(pace_s)


def _sends(node: RunningServer, key: str) -> bool:
    """Whether this is the one: the other knows only what was kept."""
    try:
        with node.http(key) as http:
            targets = http.get("/v1/targets").json()["targets"]
    except httpx2.HTTPError:
        return False
    return [target["behind"] is not None for target in targets] == [True]


def test_of_two_nodes_one_sends_and_the_other_goes_on_when_it_is_killed(tmp_path: Path) -> None:
    """kill -9 in the middle of 200 events: none is missing, at most one comes twice, under the same id."""
    settings = {"targets_allow": "127.0.0.0/8", "lease_s": LEASE_S, "poll_s": 0.2}
    folders = [tmp_path / name for name in ("a", "b")]
    for folder in folders:
        folder.mkdir()
    with Postgres() as postgres, Sink() as sink:
        with RunningServer(folders[0], store_url=postgres.url, node="a", **settings) as first:
            key = first.admin_key
            with (
                RunningServer(folders[1], store_url=postgres.url, node="b", **settings) as second,
                first.http() as http,
            ):
                made = http.post("/v1/targets", json={"url": f"{sink.url}/hook"})
                assert made.status_code == 201, made.text
                nodes = [first, second]
                until(lambda: sum(_sends(node, key) for node in nodes) == 1)
                (sender,) = (node for node in nodes if _sends(node, key))
                (other,) = (node for node in nodes if node is not sender)
                publishing = threading.Thread(target=_publish_slowly, args=(other, key, 0.01))
                publishing.start()
                until(lambda: len(sink.came) >= COUNT // 3)
                sender.kill()
                killed_s, so_far = time.monotonic(), len(sink.came)
                until(lambda: len(sink.came) > so_far + 1)
                assert time.monotonic() - killed_s < 3 * LEASE_S
                publishing.join(60)
                until(lambda: len({came.headers["webhook-id"] for came in sink.came}) == COUNT)
                sender.start()  # It finds the duty taken.
                time.sleep(LEASE_S)
                assert _sends(other, key) and not _sends(sender, key)
    ids = [came.headers["webhook-id"] for came in sink.came]
    assert list(dict.fromkeys(ids)) == [f"e{n}" for n in range(COUNT)]
    assert len(ids) <= COUNT + 1, Counter(ids).most_common(3)
