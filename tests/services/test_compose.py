"""Every service of compose.yaml, started with its own command, environment and files: a signal goes all the way.

Without Docker: tests/services/containers.py says what is another way there. Only certbot is not the real one here.
"""

from __future__ import annotations

import json
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from catalyst_signals.auth.api_keys import new_key
from catalyst_signals.client import connect
from tests.services.containers import HOST, Containers, copy_of_certificate
from tests.services.proxies import Certificate
from tests.services.redis import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

DRAFT = {"symbol": "ACME", "action": "BUY", "confidence": 0.5}


@pytest.fixture(scope="module", params=["small", "mvp"])
def site(request: pytest.FixtureRequest) -> Iterator[Containers]:
    """All of a scale, with the secrets that `catalyst deploy` would have made."""
    containers = Containers(request.param, {"CATALYST_ADMIN_KEY": new_key("live")[1], "POSTGRES_PASSWORD": "a1B2" * 8})
    containers.put_program("certbot", "exit 1")  # The name leads nowhere yet.
    with containers.running():
        yield containers


@pytest.fixture
def trust(site: Containers, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """Every client of this process takes the certificate that the set made for itself."""
    chain = site.volume("tls") / "catalyst.crt"
    monkeypatch.setenv("SSL_CERT_FILE", str(chain))
    return ssl.create_default_context(cafile=str(chain))


@contextmanager
def admin(site: Containers, trust: ssl.SSLContext) -> Iterator[httpx2.Client]:
    """Through nginx, by the key that was made before the first start."""
    key = site.secrets["CATALYST_ADMIN_KEY"]
    with httpx2.Client(
        base_url=site.url, verify=trust, timeout=30, trust_env=False, headers={"Authorization": f"Bearer {key}"}
    ) as http:
        yield http


async def test_a_signal_goes_through_tls_from_publisher_to_listener(site: Containers, trust: ssl.SSLContext) -> None:
    """Published by one connection, received by another, wherever nginx sends them."""
    async with connect(site.url, site.secrets["CATALYST_ADMIN_KEY"]) as catalyst:
        stored = await catalyst.publish(DRAFT | {"id": "by-compose"})
        async for signal in catalyst.signals(after=stored.seq - 1):
            assert signal.id == "by-compose"
            break


def test_every_node_is_asked_and_the_client_is_seen_behind_the_proxy(site: Containers, trust: ssl.SSLContext) -> None:
    """Both have the log; http is sent to https, but for Let's Encrypt's question."""
    with admin(site, trust) as http:
        for _ in range(6):
            assert http.post("/v1/channels/main/signals", json=DRAFT).status_code == 201
            assert http.get("/healthz").status_code == 200
        made = http.post("/v1/ingest", json={"adapter": "generic", "channel": "main"}).json()
        assert made["url"].startswith(f"https://{HOST}/in/generic/")
        assert [http.get(path).status_code for path in ("/readyz", "/metrics")] == [404, 404]
    plain = httpx2.get(f"http://127.0.0.1:{site.plain}/v1/channels", trust_env=False)
    assert plain.status_code == 308
    challenge = site.volume("acme") / ".well-known" / "acme-challenge" / "token"
    challenge.parent.mkdir(parents=True, exist_ok=True)
    challenge.write_text("answer")
    asked = httpx2.get(f"http://127.0.0.1:{site.plain}/.well-known/acme-challenge/token", trust_env=False)
    assert asked.text == "answer"


def test_prometheus_sees_every_node_and_has_the_rules(site: Containers) -> None:
    """And knows where Alertmanager is."""
    if "prometheus" not in site.services:
        assert set(site.services) == {"catalyst-1", "backup", "nginx", "certificate"}, "a few friends look themselves"
        return

    def ask(path: str) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{site.ports['prometheus']}/api/v1/{path}", timeout=5) as answer:
            return json.loads(answer.read())["data"]

    def up() -> bool:
        return [each["health"] for each in ask("targets")["activeTargets"]] == ["up", "up"]

    until(up)
    assert len([rule for group in ask("rules")["groups"] for rule in group["rules"]]) > 20
    (manager,) = ask("alertmanagers")["activeAlertmanagers"]
    assert manager["url"].startswith(f"http://127.0.0.1:{site.ports['alertmanager']}/")


def test_the_copy_of_the_night_holds_the_log(site: Containers, trust: ssl.SSLContext) -> None:
    """Made at the start of the container, and by the same script that makes the next; the oldest goes."""
    folder = site.volume("backups")
    (first,) = folder.glob("catalyst-*.db")
    for day in range(10, 28):
        (folder / f"catalyst-2020-01-{day}.db").write_text("old")
    with admin(site, trust) as http:
        last = http.post("/v1/channels/main/signals", json=DRAFT).json()["seq"]
    site.started["backup"].child.stop()
    first.unlink()
    site.started["backup"].child.start()
    until(lambda: len(list(folder.glob("catalyst-*.db"))) == 14)
    newest = max(folder.glob("catalyst-*.db"))
    until(lambda: f"main: 1-{last}" in verified(newest) or str(last) in verified(newest))
    assert site.healthy("backup")


def verified(path: Path) -> str:
    """What `catalyst verify` says of a copy."""
    done = subprocess.run(
        [sys.executable, "-m", "catalyst_signals", "verify", "--store-url", f"sqlite:///{path}"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_new_certificate_is_taken_without_a_restart(site: Containers, tmp_path: Path) -> None:
    """certbot gets it, certificate.sh puts it there whole, nginx reads it; who is connected stays connected."""
    pid = site.started["nginx"].child.pid
    new = Certificate(tmp_path)
    copy_of_certificate(new.chain, new.key, site.volume("letsencrypt") / "live" / "catalyst")
    site.put_program("certbot", "exit 0")
    site.started["certificate"].child.stop()
    site.started["certificate"].child.start()
    served = ssl.PEM_cert_to_DER_cert(new.chain.read_text())
    until(lambda: _served(site) == served)
    assert site.started["nginx"].child.pid == pid
    assert all((site.volume("tls") / f"catalyst.{each}").stat().st_mode & 0o077 == 0 for each in ("key", "pem"))
    assert (site.volume("tls") / "catalyst.pem").read_text() == new.chain.read_text() + new.key.read_text()


def _served(site: Containers) -> bytes:
    return ssl.PEM_cert_to_DER_cert(ssl.get_server_certificate(("127.0.0.1", site.ports["nginx"])))


def test_they_all_stop_when_they_are_told_and_no_secret_is_in_a_log(site: Containers) -> None:
    """`docker compose down`, within the grace that the file gives."""
    for name, service in reversed(site.started.items()):
        grace_s = float(site.services[name].get("stop_grace_period", "10s").removesuffix("s"))
        service.child.stop(grace_s)
        assert service.child.process is not None
        if name.startswith("catalyst-"):
            assert service.child.process.returncode == 0
        assert not any(secret in service.child.log.read_text() for secret in site.secrets.values()), name
