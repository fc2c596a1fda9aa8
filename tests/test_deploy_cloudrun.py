"""The service of Cloud Run: what Google's own description of the API says of it, and the program started as it says.

The schema is made of the discovery document that google-api-python-client carries; it says so itself.
"""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from catalyst_signals.auth.api_keys import new_key
from catalyst_signals.client import connect
from tests.deployed import checked, set_of
from tests.services.child import Folder
from tests.services.pods import Container
from tests.services.postgres import USER, Postgres
from tests.services.redis import Redis
from tests.socket_client import wire

SCHEMA = Path(__file__).parent / "fixtures" / "cloud-run-v1.schema.json"
TEXT = set_of("cloudrun", "small")["cloudrun/service.yaml"]
SERVICE: dict[str, Any] = yaml.safe_load(TEXT)
REVISION: dict[str, Any] = SERVICE["spec"]["template"]
(CONTAINER,) = REVISION["spec"]["containers"]
SETTINGS = {each["name"]: each.get("value") for each in CONTAINER["env"]}

# https://docs.cloud.google.com/run/docs/configuring/request-timeout, /about-concurrency, /container-contract.
REQUEST_MAX_S, REQUESTS_MAX, KILLED_AFTER_S = 3600, 1000, 10
PROXY_KEEPS_S = 600  # https://docs.cloud.google.com/load-balancing/docs/https#timeouts_and_retries

NAMED = {  # By a flag of `gcloud compute`: what has to be there.
    "network-endpoint-group": "network-endpoint-groups", "default-service": "backend-services", "url-map": "url-maps",
    "ssl-certificates": "ssl-certificates", "target-https-proxy": "target-https-proxies", "address": "addresses",
    "security-policy": "security-policies",
}  # fmt: skip

DRAFT = {"symbol": "ACME", "action": "BUY", "confidence": 0.5}
PASSWORD, AUTH, KEY = "a1B2" * 8, "c3D4" * 8, new_key("live")[1]


def test_google_knows_every_word_of_it(tmp_path: Path) -> None:
    """Fields and annotations; a misspelt annotation is refused when somebody tries, on the evening of the move."""
    (tmp_path / "service.yaml").write_text(TEXT)
    checked("check-jsonschema", "--schemafile", SCHEMA, tmp_path / "service.yaml")
    known = json.loads(SCHEMA.read_text())["annotations"]
    assert set(SERVICE["metadata"]["annotations"]) <= set(known["Service"])
    assert set(REVISION["metadata"]["annotations"]) <= set(known["Revision"])
    (tmp_path / "service.yaml").write_text(re.sub(r"\b(timeoutSeconds|containerPort):", r"\1x:", TEXT))
    with pytest.raises(AssertionError, match="timeoutSecondsx") as told:
        checked("check-jsonschema", "--schemafile", SCHEMA, tmp_path / "service.yaml")
    assert "containerPortx" in str(told.value)


def test_it_asks_for_the_longest_connections_and_runs_between_requests() -> None:
    """A WebSocket is a request, and a delivery is not the answer to one."""
    assert REVISION["spec"]["timeoutSeconds"] == REQUEST_MAX_S
    assert REVISION["spec"]["containerConcurrency"] == REQUESTS_MAX
    annotations = REVISION["metadata"]["annotations"]
    assert annotations["run.googleapis.com/cpu-throttling"] == "false"
    assert int(annotations["autoscaling.knative.dev/minScale"]) >= 1
    # Four connections each (docs/settings.md), and two revisions at once.
    (takes,) = re.findall(r"max_connections=(\d+)", set_of("cloudrun", "small")["cloudrun.md"])
    assert int(annotations["autoscaling.knative.dev/maxScale"]) * 4 * 2 <= int(takes)
    assert float(SETTINGS["CATALYST_DRAIN_S"]) + 2 < KILLED_AFTER_S
    assert int(SETTINGS["CATALYST_KEEP_ALIVE_S"]) > PROXY_KEEPS_S


def test_it_holds_no_secret_and_restarts_nothing_because_of_the_store() -> None:
    """Secret Manager has them; `/readyz` is 503 while PostgreSQL is away."""
    secret = {name for name, value in SETTINGS.items() if value is None}
    assert secret == {"CATALYST_STORE_URL", "CATALYST_BROKER_URL", "CATALYST_CACHE_URL", "CATALYST_ADMIN_KEY"}
    assert {CONTAINER[probe]["httpGet"]["path"] for probe in ("startupProbe", "livenessProbe")} == {"/healthz"}


def test_the_front_makes_what_it_names_and_in_that_order(tmp_path: Path) -> None:
    """The script runs to its end, with something that stands for `gcloud`; nothing is used before it is there."""
    script = tmp_path / "front.sh"
    script.write_text(set_of("cloudrun", "small")["cloudrun/front.sh"])
    checked("shellcheck", script)
    (tmp_path / "gcloud").write_text(f'#!/bin/sh\necho "$@" >>{tmp_path}/said\n')
    (tmp_path / "gcloud").chmod(0o755)
    env = {"PATH": f"{tmp_path}:/usr/bin:/bin", "PROJECT": "trial"}
    assert subprocess.run(["sh", script], env=env, check=False, timeout=20).returncode == 0
    assert subprocess.run(
        ["sh", script], env=env | {"PROJECT": ""}, check=False, timeout=20, capture_output=True
    ).returncode
    made: set[str] = set()
    for line in (tmp_path / "said").read_text().splitlines():
        used = {kind for flag, kind in NAMED.items() if f" --{flag} " in line}
        assert used <= made, line
        made |= set(re.findall(r"^compute ([\w-]+) create ", line))
    assert set(NAMED.values()) < made


@contextmanager
def cloud() -> Iterator[dict[str, str]]:
    """PostgreSQL on a socket where Cloud Run puts Cloud SQL's, Redis with a password; the secrets."""
    sockets = Folder("cloudsql", USER)
    with Postgres(unix_socket_directories=str(sockets.path)) as postgres, Redis(password=AUTH) as redis:
        postgres.sql(f"CREATE ROLE catalyst LOGIN PASSWORD '{PASSWORD}'")
        postgres.sql("CREATE DATABASE catalyst OWNER catalyst")
        (postgres.data / "pg_hba.conf").write_text("local all all scram-sha-256\n")
        postgres.reload()
        urls = dict(re.findall(r"name: (CATALYST_\w+_URL) # (\S+)", TEXT))
        instance = REVISION["metadata"]["annotations"]["run.googleapis.com/cloudsql-instances"]
        assert f"/cloudsql/{instance}" in urls["CATALYST_STORE_URL"]
        (sockets.path / instance).mkdir()
        (sockets.path / instance / ".s.PGSQL.5432").symlink_to(sockets.path / f".s.PGSQL.{postgres.port}")
        filled = {
            "PASSWORD": PASSWORD,
            "AUTH": AUTH,
            "ADDRESS": f"127.0.0.1:{redis.port}",
            "/cloudsql": str(sockets.path),
        }
        secrets = {  # As the comments say that they are filled in.
            name.removeprefix("CATALYST_").lower().replace("_", "-"): re.sub(
                "|".join(filled), lambda gap: filled[gap[0]], url
            )
            for name, url in urls.items()
        }
        yield {f"catalyst-{name}": url for name, url in secrets.items()} | {"catalyst-admin-key": KEY}
    sockets.remove()


@pytest.mark.slow
async def test_an_instance_serves_and_is_gone_within_ten_seconds_and_nothing_is_lost() -> None:
    """Its environment, Cloud SQL by its socket, the probes, a subscriber of an instance that ends, and the next one."""
    with cloud() as secrets, Container(REVISION["spec"], secrets) as old, Container(REVISION["spec"], secrets) as new:
        assert old.probe("livenessProbe")
        async with wire(old.url, KEY) as socket, connect(new.url, KEY) as publisher:
            await socket.subscribe(channel="main")
            first = await publisher.publish(DRAFT | {"id": "through-memorystore"})
            assert [event["seq"] for event in await socket.events(1)] == [first.seq]
            ended = asyncio.create_task(asyncio.to_thread(old.terminate, KILLED_AFTER_S))
            await socket.until(lambda message: message["type"] == "goaway")
            second = await publisher.publish(DRAFT | {"id": "meanwhile"})
            assert await ended == 0
            async with wire(new.url, KEY) as again:
                await again.subscribe(channel="main", after=first.seq)
                assert [event["seq"] for event in await again.events(1)] == [second.seq]
        assert not any(secret in old.log + new.log for secret in (PASSWORD, AUTH, KEY))
        line = json.loads(old.log.splitlines()[-1])
        assert {"message", "level", "ts"} <= set(line)  # What the page says about Cloud Logging.
