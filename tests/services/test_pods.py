"""What the chart renders, started as a kubelet would: command, environment, probes, the end (pods.py is how)."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import psycopg
import pytest

from catalyst_signals.auth.api_keys import new_key
from catalyst_signals.client import connect
from tests.charts import CASES, Manifest, merged, pods, rendered
from tests.services.child import OURS, Child, Service, program
from tests.services.pods import LINKS, Container
from tests.services.postgres import Postgres
from tests.services.redis import ask, until
from tests.socket_client import wire

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

DRAFT = {"symbol": "ACME", "action": "BUY", "confidence": 0.5}
SOON = {"shutdown": {"withdrawSeconds": 2}}  # Nobody waits for all proxies of a cluster here.
SECRETS = {"POSTGRES_PASSWORD": "a1B2" * 8, "REDIS_PASSWORD": "c3D4" * 8, "CATALYST_ADMIN_KEY": new_key("live")[1]}
KEY = SECRETS["CATALYST_ADMIN_KEY"]


class Hints(Service):
    """The pod of Redis: its own words, and its probe."""

    stops_within_s = 0

    def __init__(self, pod: Manifest) -> None:
        made = Container(pod["spec"], SECRETS)
        self.folder, self.port = made.folder, made.port
        words = [program("redis-server"), *made.words()[1:], "--bind", "127.0.0.1", "--port", str(self.port)]
        (probe, *rest) = made.container["readinessProbe"]["exec"]["command"]
        assert probe == "redis-cli"
        password = made.environment()["REDISCLI_AUTH"]
        self.child = Child(words, self.folder, lambda: ask(self.port, *rest, password=password).strip() == "PONG")


@dataclass
class Cluster:
    """What runs, and what was rendered."""

    pods: dict[str, Manifest]
    postgres: Postgres
    elsewhere: dict[str, str]

    def server(self) -> Container:
        """One more pod of the Deployment."""
        return Container(self.pods["server"]["spec"], SECRETS, self.elsewhere)


@contextmanager
def small() -> Iterator[Cluster]:
    """PostgreSQL that asks for the password of the Secret, and the pod of Redis."""
    found = pods(rendered(merged(CASES["small"], SOON)))
    with Postgres() as postgres, Hints(found["redis"]) as hints:
        given = {each["name"]: each.get("value") for each in found["postgresql"]["spec"]["containers"][0]["env"]}
        postgres.sql(f"CREATE ROLE {given['POSTGRES_USER']} LOGIN PASSWORD '{SECRETS['POSTGRES_PASSWORD']}'")
        postgres.sql(f"CREATE DATABASE {given['POSTGRES_DB']} OWNER {given['POSTGRES_USER']}")
        trusted = (postgres.data / "pg_hba.conf").read_text()
        (postgres.data / "pg_hba.conf").write_text("host catalyst catalyst 127.0.0.1/32 scram-sha-256\n" + trusted)
        postgres.reload()
        elsewhere = {
            "catalyst-postgresql:5432": f"127.0.0.1:{postgres.port}", "catalyst-redis:6379": f"127.0.0.1:{hints.port}",
        }  # fmt: skip
        yield Cluster(found, postgres, elsewhere)


async def test_a_pod_that_is_replaced_serves_until_everybody_was_told() -> None:
    """A rolling update under subscribers: preStop, SIGTERM, `goaway`, exit 0 in time; nothing is lost."""
    with small() as cluster, ExitStack() as stack:
        old = stack.enter_context(cluster.server())
        new = stack.enter_context(cluster.server())
        assert old.probe("livenessProbe")
        assert old.probe("readinessProbe")
        async with wire(old.url, KEY) as socket, connect(new.url, KEY) as publisher:
            assert socket.welcome["node"] == "catalyst-0"
            await socket.subscribe(channel="main")
            first = await publisher.publish(DRAFT | {"id": "through-redis"})
            assert [event["seq"] for event in await socket.events(1)] == [first.seq]

            withdrawn = asyncio.create_task(asyncio.to_thread(old.withdraw))
            await asyncio.sleep(0.2)
            assert old.probe("readinessProbe"), "it serves while the proxies are hearing of it"
            second = await publisher.publish(DRAFT | {"id": "while-it-is-withdrawn"})
            assert [event["seq"] for event in await socket.events(1)] == [second.seq]
            await withdrawn

            ended = asyncio.create_task(asyncio.to_thread(old.terminate, old.spec["terminationGracePeriodSeconds"] - 2))
            await socket.until(lambda message: message["type"] == "goaway")
            third = await publisher.publish(DRAFT | {"id": "meanwhile"})
            assert await ended == 0
            async with wire(new.url, KEY) as again:
                await again.subscribe(channel="main", after=second.seq)
                assert [event["seq"] for event in await again.events(1)] == [third.seq]
        assert KEY not in old.log
        assert SECRETS["POSTGRES_PASSWORD"] not in old.log


def test_a_store_that_is_away_restarts_no_pod_and_takes_none_out() -> None:
    """Its probes say nothing of it; a publish says what is wrong, and goes on when it is back."""
    with small() as cluster, cluster.server() as pod:
        with pod.http(KEY) as http:
            assert http.post("/v1/channels/main/signals", json=DRAFT).status_code == 201
            process = pod.child.pid
            cluster.postgres.stop_at_once()
            until(lambda: http.get("/readyz").status_code == 503)
            assert pod.probe("livenessProbe")
            assert pod.probe("readinessProbe")
            cluster.postgres.child.start()
            until(lambda: http.get("/readyz").status_code == 200)
            assert http.post("/v1/channels/main/signals", json=DRAFT).status_code == 201
            assert pod.child.pid == process


def test_the_test_of_helm_passes_when_the_server_is_well_and_fails_when_it_is_not() -> None:
    """`helm test catalyst`: its pod, with the Service's name standing for the server."""
    with small() as cluster:
        with cluster.server() as pod:
            there = Container(cluster.pods["test"]["spec"], SECRETS, {"http://catalyst:80": pod.url})
            there.run(there.words())
        with pytest.raises(AssertionError, match="catalyst"):
            there.run(there.words())
        there.folder.remove()


async def test_one_pod_with_sqlite_is_copied_every_night_beside_the_running_server() -> None:
    """The StatefulSet, and the CronJob on the same disk: a copy of today's name, verified."""
    found = pods(rendered(merged(CASES["mvp"], SOON)))
    with Container(found["server"]["spec"], SECRETS) as pod:
        async with connect(pod.url, KEY) as publisher:
            await publisher.publish(DRAFT)
        disk = pod.elsewhere["/var/lib/catalyst"]
        assert f"sqlite:///{disk}/catalyst.db" == pod.environment()["CATALYST_STORE_URL"]
        job = Container(found["backup"]["spec"], SECRETS)
        job.elsewhere["/var/lib/catalyst/"] = f"{disk}/"
        words = job.words()
        assert "$(date +%u)" in words[-1]
        for _ in range(2):  # Next week it is replaced.
            job.run(words)
        copies = [path.name for path in job.folder.path.glob("volumes/backup/*.db")]
        assert copies == [f"catalyst-{datetime.now().isoweekday()}.db"]
        job.folder.remove()
        pod.withdraw()
        assert pod.terminate(pod.spec["terminationGracePeriodSeconds"] - 2) == 0


def test_a_copy_of_a_log_in_postgresql_is_made_and_put_back() -> None:
    """The CronJob of `small` with nothing but the Secret; then, without servers, the guide's command in its place."""
    with small() as cluster:
        with cluster.server() as pod, pod.http(KEY) as http:
            assert http.post("/v1/channels/main/signals", json=DRAFT | {"id": "kept"}).status_code == 201
            job = Container(cluster.pods["backup"]["spec"], SECRETS, cluster.elsewhere)
            job.run(job.words())
        (copy,) = job.folder.path.glob("volumes/backup/*.db")
        with psycopg.connect(f"{cluster.postgres.base}/catalyst", autocommit=True) as connection:
            connection.execute("DROP SCHEMA catalyst CASCADE")
        job.run(["sh", "-ec", f"catalyst restore {copy}"])
        with cluster.server() as pod, pod.http(KEY) as http:
            assert [each["id"] for each in http.get("/v1/channels/main/events").json()["events"]] == ["kept"]
        job.folder.remove()


def test_links_to_the_service_would_take_the_port(tmp_path: Path) -> None:
    """Why `enableServiceLinks` is off: Kubernetes sets CATALYST_PORT for a Service that is called `catalyst`."""
    env = {"PATH": OURS} | LINKS
    done = subprocess.run(["catalyst", "serve"], env=env, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "CATALYST_PORT" in done.stderr
    for pod in pods(rendered(CASES["everything"])).values():
        assert pod["spec"]["enableServiceLinks"] is False
