"""The environment of a Fargate task and of an EC2 node, as the templates give it, on real services.

What AWS would say (endpoints, passwords) is that of a PostgreSQL with TLS, a password and a replica, and of a Redis
with TLS and a password. So it is found out who reads which secret from where, and who believes which certificate.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from catalyst_signals.auth.api_keys import new_key
from catalyst_signals.client import connect
from tests.cloudformation import Stack
from tests.deployed import written
from tests.running import RunningServer
from tests.services.child import path_with
from tests.services.postgres import Postgres
from tests.services.proxies import Certificate
from tests.services.redis import Redis

pytestmark = pytest.mark.slow

HERE = "127.0.0.1"
POLL_S = 20
PASSWORD, TOKEN = "P4sswordOfTheDatabase", "T0kenOfTheCache"


@dataclass
class Site:
    """What the templates make, and what each kind of node gets in its environment."""

    container: dict[str, Any]
    restoring: dict[str, Any]
    fargate: dict[str, str]
    ec2: dict[str, str]
    admin_key: str
    postgres: Postgres


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """PostgreSQL, its replica and Redis, as AWS would have them."""
    tls = Certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(tls.chain))  # As ElastiCache is judged.
    with Redis(password=TOKEN, tls=tls) as redis, Postgres() as postgres:
        guard(postgres, tls)
        with postgres.replica() as replica:
            yield site_of(tmp_path, tls, postgres, replica.port, redis.tls_port)


def guard(postgres: Postgres, tls: Certificate) -> None:
    """It takes the user `catalyst` by TLS and with the password, as RDS does with `rds.force_ssl`."""
    postgres.sql(f"CREATE ROLE catalyst LOGIN CREATEDB PASSWORD '{PASSWORD}'")
    postgres.sql("CREATE DATABASE catalyst OWNER catalyst")
    (postgres.data / "pg_hba.conf").write_text(
        f"hostssl all catalyst {HERE}/32 scram-sha-256\nhost all postgres {HERE}/32 trust\n"
        f"host replication all {HERE}/32 trust\n"
    )
    postgres.encrypt(tls)


def site_of(folder: Path, tls: Certificate, postgres: Postgres, replica: int, redis: int) -> Site:
    """Both sets, their stacks told where everything is; ports and the certificate's path are other ones here."""
    ports = {"5432": postgres.port, "5433": replica, "6379": redis}
    key = new_key("live")[1]
    said = {
        "Database.Endpoint.Address": HERE, "Database.Endpoint.Port": "5432", "Cache.PrimaryEndPoint.Address": HERE,
        "DatabaseReplica.Endpoint.Address": HERE, "DatabaseReplica.Endpoint.Port": "5433",
    }  # fmt: skip
    secrets = {"CacheToken": TOKEN, "DatabaseSecret": json.dumps({"username": "catalyst", "password": PASSWORD})}
    ecs, ec2 = written("ecs", "small", folder / "ecs"), written("ec2", "small", folder / "ec2")
    found: dict[str, Stack] = {}
    for name, path in (("catalyst-network", "network"), ("catalyst-data", "data"), ("catalyst-balancer", "balancer")):
        found[name] = Stack(name, ecs / f"aws/{path}.yaml", said=said, secrets=secrets, others=dict(found))
    found["catalyst-images"] = Stack("catalyst-images", ecs / "ecs/images.yaml")
    service = Stack("catalyst", ecs / "ecs/service.yaml", parameters={"AdminKey": key}, others=found)
    held = secrets | {
        name: each["SecretString"]
        for name, each in found["catalyst-data"].resources().items()
        if "SecretString" in each
    }
    held |= {name: each["SecretString"] for name, each in service.resources().items() if "SecretString" in each}

    def here(environment: dict[str, str]) -> dict[str, str]:
        changes = {f":{port}": f":{ours}" for port, ours in ports.items()} | {"/etc/ssl/rds.pem": str(tls.chain)}
        return {
            name: re.sub("|".join(map(re.escape, changes)), lambda found: changes[found[0]], value)
            for name, value in environment.items()
        }

    tasks = service.resources("AWS::ECS::TaskDefinition")
    container = tasks["Task"]["ContainerDefinitions"][0]
    fargate = {each["Name"]: each["Value"] for each in container["Environment"]}
    fargate |= {each["Name"]: secret(held, each["ValueFrom"]) for each in container["Secrets"]}
    given = {name: fargate[name] for name in ("CATALYST_STORE_URL", "CATALYST_PUBLIC_URL", "CATALYST_TRUSTED_PROXIES")}
    named = {"CACHE_URLS": "CacheUrls", "DATABASE_SECRET": "DatabaseSecret", "ADMIN_KEY": "AdminKeySecret"}
    node = module(ec2 / "ec2/settings.py").settings({**given, **named}, held.__getitem__)
    return Site(container, tasks["Restore"]["ContainerDefinitions"][0], here(fargate), here(node), key, postgres)


def secret(held: dict[str, str], source: str) -> str:
    """As ECS has it: `ARN`, or `ARN:key::` for a part of it."""
    found = re.fullmatch(r"<AWS::SecretsManager::Secret (\w+)>(?::(\w+)::)?", source)
    assert found is not None, source
    return str(json.loads(held[found[1]])[found[2]]) if found[2] else held[found[1]]


def module(path: Path) -> Any:
    """A script of the set, loaded."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def node_in(folder: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> RunningServer:
    """A server with this environment, but for where it listens."""
    folder.mkdir()
    monkeypatch.setenv("PGPASSWORD", environment["PGPASSWORD"])
    settings = {
        name.removeprefix("CATALYST_").lower(): value for name, value in environment.items()
        if name.startswith("CATALYST_") and name != "CATALYST_HOST"
    }  # fmt: skip
    return RunningServer(folder, poll_s=POLL_S, **settings)


async def test_a_task_and_a_node_run_with_what_the_templates_give_them(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both at once on an empty log, with one first key; what one takes the other delivers; they stop in time."""
    one = node_in(tmp_path / "one", site.fargate, monkeypatch)
    two = node_in(tmp_path / "two", site.ec2, monkeypatch)
    with ExitStack() as stack:
        with ThreadPoolExecutor(2) as pool:
            for node in pool.map(RunningServer.start, (one, two)):
                stack.push(node)
        one.admin_key = two.admin_key = site.admin_key
        assert health(site.container, one) == health(site.container, two) == 0
        for node in (one, two):
            with node.http() as http:
                ready = http.get("/readyz").json()
                assert ready["ready"] and not ready.get("wrong"), ready
                states = {each["name"]: each["state"] for each in ready["components"]}
                assert {states[part] for part in ("store_writes", "store_reads", "broker", "cache")} == {"closed"}
                assert [each["user"] for each in http.get("/v1/users").json()["users"]] == ["admin"]
        await a_signal_arrives(one, two)
        assert not written_files(one) and not written_files(two), "its root is read-only"
        began_s = time.monotonic()
        assert one.stop() == two.stop() == 0
        assert time.monotonic() - began_s < site.container["StopTimeout"]
        assert health(site.container, one) != 0
    for log in (one.log, two.log):
        levels = {json.loads(line)["level"] for line in log.splitlines()}
        assert levels <= {"info", "warning"} and "away" not in log, log
        assert not any(each in log for each in (PASSWORD, TOKEN, site.admin_key))


def test_a_wrong_password_is_no_start_and_is_not_told(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PGPASSWORD is what opens PostgreSQL, and nothing else here does."""
    node = node_in(tmp_path / "wrong", site.fargate | {"PGPASSWORD": "Another1"}, monkeypatch)
    with pytest.raises(RuntimeError, match="password authentication failed") as told:
        node.start()
    assert "Another1" not in str(told.value)


def test_a_stranger_with_another_certificate_is_not_rds(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be given the password else."""
    (tmp_path / "other").mkdir()
    other = Certificate(tmp_path / "other")
    url = re.sub(r"sslrootcert=[^&]+", f"sslrootcert={other.chain}", site.fargate["CATALYST_STORE_URL"])
    node = node_in(tmp_path / "strange", site.fargate | {"CATALYST_STORE_URL": url}, monkeypatch)
    with pytest.raises(RuntimeError, match="certificate verify failed"):
        node.start()


def test_a_log_is_brought_back_into_a_database_beside_it(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the very program of the task; nodes go on there, in a new epoch, and nothing is missing."""
    with node_in(tmp_path / "before", site.fargate, monkeypatch) as node:
        node.admin_key = site.admin_key
        with node.http() as http:
            before = http.post("/v1/channels/main/signals", json={"id": "s1", "symbol": "ACME", "action": "BUY"}).json()
        node.stop()
    assert site.restoring["EntryPoint"] == ["python", "-c"]
    given = {name: site.fargate[name] for name in ("CATALYST_STORE_URL", "PGPASSWORD")}
    assert set(given) <= {each["Name"] for each in site.restoring["Environment"] + site.restoring["Secrets"]}
    done = subprocess.run(
        [sys.executable, "-c", *site.restoring["Command"]], cwd=tmp_path, capture_output=True, text=True, timeout=60,
        check=False,
        env=os.environ | given | {"PATH": path_with(), "TO": "restored", "FROM": f"{HERE}:{site.postgres.port}"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    there = site.fargate["CATALYST_STORE_URL"].replace("/catalyst?", "/restored?")
    with node_in(tmp_path / "after", site.fargate | {"CATALYST_STORE_URL": there}, monkeypatch) as node:
        node.admin_key = site.admin_key
        with node.http() as http:
            (event,) = http.get("/v1/channels/main/events").json()["events"]
            assert event["id"] == "s1" and event["seq"] == before["seq"]
            after = http.post("/v1/channels/main/signals", json={"symbol": "ACME", "action": "SELL"}).json()
            assert after["seq"] > 1_000_000, "no number is given out twice"


def health(container: dict[str, Any], node: RunningServer) -> int:
    """The container's own check, asked of this node."""
    kind, program, *words = container["HealthCheck"]["Command"]
    assert (kind, program) == ("CMD", "python")
    asked = [sys.executable, *(word.replace("8080", str(node.port)) for word in words)]
    return subprocess.run(asked, capture_output=True, timeout=10, check=False).returncode


async def a_signal_arrives(publisher: RunningServer, subscriber: RunningServer) -> None:
    """From one node at a client of the other; by a hint through Redis, for the log is looked at too seldom."""
    async with (
        connect(publisher.url, publisher.admin_key) as out,
        connect(subscriber.url, subscriber.admin_key) as into,
    ):
        signals = into.signals("symbol = ACME", after=0)
        async with asyncio.timeout(POLL_S / 2):
            await out.publish({"id": "s1", "symbol": "ACME", "action": "BUY"})
            assert (await anext(signals)).seq == 1


def written_files(node: RunningServer) -> list[str]:
    """Files on a disk that the process has open for writing, but for its two outputs."""
    assert node.process is not None
    folder = Path(f"/proc/{node.process.pid}")
    found = []
    for each in (folder / "fd").iterdir():
        flags = re.search(r"flags:\s*(\d+)", (folder / "fdinfo" / each.name).read_text())
        if int(each.name) > 2 and flags is not None and int(flags[1], 8) & os.O_ACCMODE and each.readlink().is_file():
            found.append(str(each.readlink()))
    return found


def test_a_machine_tells_its_numbers(tmp_path: Path) -> None:
    """What the alarms of a single machine look at; when the server is gone it is not ready, and that is told."""
    script = written("ec2", "mvp", tmp_path / "set") / "ec2" / "numbers.py"
    sink = tmp_path / "sink"
    sink.mkdir()
    (sink / "boto3.py").write_text(
        "import json\nclass client:\n    def __init__(self, *named): self.named = named\n"
        "    def put_metric_data(self, **data): print(json.dumps([self.named, data]))\n"
    )

    def told(url: str) -> tuple[str, dict[str, float]]:
        done = subprocess.run(
            [sys.executable, script, "eu-central-1", "catalyst", f"{url}/metrics"], capture_output=True, text=True,
            timeout=30, check=True, env=os.environ | {"PYTHONPATH": str(sink)},
        )  # fmt: skip
        named, data = json.loads(done.stdout)
        assert named == ["cloudwatch", "eu-central-1"]
        return data["Namespace"], {each["MetricName"]: each["Value"] for each in data["MetricData"]}

    folder = tmp_path / "node"
    folder.mkdir()
    with RunningServer(folder) as server:
        namespace, numbers = told(server.url)
        assert namespace == "catalyst" and numbers["ready"] == 1 and 0 < numbers["disk_free_ratio"] < 1
        server.stop()
        assert told(server.url) == ("catalyst", {"ready": 0.0})
