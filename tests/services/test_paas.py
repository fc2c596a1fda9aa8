"""Railway and Heroku, as far as that goes without them: what they start, in the environment that they give."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from catalyst_signals.auth.api_keys import new_key
from tests.deployed import written
from tests.services.child import Child, Folder, free_ports, path_with
from tests.services.postgres import Postgres
from tests.services.proxies import Certificate
from tests.services.redis import Redis, ask
from tests.test_deploy_paas import HEROKU_KILLS_S, railway, variables

pytestmark = pytest.mark.slow

ADMIN = new_key("live")[1]
DRAFT = {"id": "s-1", "symbol": "ACME", "action": "BUY", "confidence": 0.82}


@pytest.fixture
def folder() -> Iterator[Folder]:
    """Where it runs."""
    made = Folder("platform")
    yield made
    made.remove()


@contextmanager
def started(
    words: list[str], folder: Folder, port: int, env: Mapping[str, str], stops_within_s: float
) -> Iterator[str]:
    """A command that serves; at the end it drains and ends by itself."""
    url = f"http://127.0.0.1:{port}"
    child = Child(
        words, folder,
        lambda: httpx2.get(f"{url}/readyz", timeout=2).status_code == 200,
        env={**env, "PATH": path_with(), "CATALYST_ADMIN_KEY": ADMIN},
    )  # fmt: skip
    child.start()
    try:
        yield url
    finally:
        child.stop(stops_within_s)
    assert child.process is not None
    assert child.process.returncode == 0
    assert ADMIN not in child.log.read_text()


def a_signal_goes_through(url: str) -> None:
    """With the key that was given, from a publisher into the log and out of it."""
    with httpx2.Client(base_url=url, headers={"Authorization": f"Bearer {ADMIN}"}, timeout=10) as http:
        assert http.put("/v1/channels/main", json={}).status_code < 300
        assert http.post("/v1/channels/main/signals", json=DRAFT).status_code == 201
        (event,) = http.get("/v1/channels/main/events", params={"filter": "confidence >= 0.8"}).json()["events"]
        assert event["id"] == "s-1"
        source = http.post("/v1/ingest", json={"adapter": "tradingview", "channel": "main"}).json()
        assert source["url"].startswith("https://signals.example.org/in/")


def test_heroku_starts_a_dyno_that_works(folder: Folder, tmp_path: Path) -> None:
    """Its PostgreSQL and its Redis speak TLS with certificates that nobody signed; PORT and the URLs are given."""
    code = written("heroku", "small", folder.path) / "heroku"
    tls, (port,) = Certificate(tmp_path), free_ports(1)
    with Postgres() as database, Redis(password="hush", tls=tls) as redis:
        database.encrypt(tls)
        env = {
            "PORT": str(port), "DYNO": "web.1", "DATABASE_URL": database.url.replace("postgresql:", "postgres:"),
            "REDIS_URL": f"rediss://:hush@127.0.0.1:{redis.tls_port}",
            "CATALYST_PUBLIC_URL": "https://signals.example.org", "CATALYST_TRUSTED_PROXIES": "10.0.0.0/8",
        }  # fmt: skip
        with started(["sh", str(code / "start.sh")], folder, port, env, HEROKU_KILLS_S) as url:
            a_signal_goes_through(url)
            assert "catalyst:hints" in ask(redis.port, "pubsub", "channels", password="hush")
            ((secured,),) = database.sql("SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)"
                                         " WHERE application_name LIKE 'catalyst%'")  # fmt: skip
            assert secured


def test_heroku_without_the_key_value_store_is_one_dyno_that_works(folder: Folder, tmp_path: Path) -> None:
    """The add-on is optional."""
    code = written("heroku", "small", folder.path) / "heroku"
    (port,) = free_ports(1)
    with Postgres() as database:
        database.encrypt(Certificate(tmp_path))
        env = {"PORT": str(port), "DATABASE_URL": database.url.replace("postgresql:", "postgres:"),
               "CATALYST_PUBLIC_URL": "https://signals.example.org"}  # fmt: skip
        with started(["sh", str(code / "start.sh")], folder, port, env, HEROKU_KILLS_S) as url:
            a_signal_goes_through(url)


@pytest.mark.parametrize("scale", ["mvp", "small"])
def test_railway_starts_a_service_that_works(folder: Folder, scale: str) -> None:
    """With its variables, their references filled in as Railway does."""
    draining_s = float(str(railway(scale)["deploy"]["drainingSeconds"]))
    with Postgres() as database, Redis(password="hush") as redis:
        given = {
            "Postgres.DATABASE_URL": database.url, "Redis.REDIS_URL": f"redis://default:hush@127.0.0.1:{redis.port}",
            "Redis.REDISUSER": "default", "Redis.REDISPASSWORD": "hush", "Redis.REDISHOST": "127.0.0.1",
            "Redis.REDISPORT": str(redis.port),
        }  # fmt: skip
        (port,) = free_ports(1)
        env = {name: re.sub(r"\$\{\{([^}]+)\}\}", lambda gap: given[gap[1]], text)
               for name, text in variables(scale).items()}  # fmt: skip
        env |= {"CATALYST_PORT": str(port), "CATALYST_HOST": "0.0.0.0"}  # That of the image.
        env["CATALYST_STORE_URL"] = env["CATALYST_STORE_URL"].replace("/var/lib/catalyst", str(folder.path))
        with started(["catalyst", "serve"], folder, port, env, draining_s) as url:
            a_signal_goes_through(url)
