"""The certificate, for real: certbot asks an ACME server, which looks through the proxy whether the name is ours.

The server is Pebble, the one that Let's Encrypt tests with; the script is the one of every set.
"""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.deployed import set_of
from tests.services.child import Child, Folder, free_ports, program
from tests.services.proxies import Certificate, Haproxy, Nginx, Proxy

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

NAME = "localhost"  # The only one that leads here.


@contextmanager
def authority(plain: int, tls: Certificate, **more: str) -> Iterator[str]:
    """An ACME server that asks at this port; where its directory is. `more` stands in its environment."""
    port, manages = free_ports(2)
    folder = Folder("pebble")
    settings = {
        "listenAddress": f"127.0.0.1:{port}", "managementListenAddress": f"127.0.0.1:{manages}", "httpPort": plain,
        "tlsPort": 1, "certificate": str(tls.chain), "privateKey": str(tls.key), "ocspResponderURL": "",
    }  # fmt: skip
    config = folder.write("pebble.json", json.dumps({"pebble": settings}))
    url = f"https://127.0.0.1:{port}/dir"
    trust = ssl.create_default_context(cafile=str(tls.chain))

    def answers() -> bool:
        with urllib.request.urlopen(url, context=trust, timeout=2) as answer:
            return bool(answer.status == 200)

    quick = {"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "0"} | more
    child = Child([program("pebble"), "-config", config], folder, answers, env=quick)
    child.start()
    try:
        yield url
    finally:
        child.stop()
        folder.remove()


def prepared(proxy: Proxy) -> str:
    """The proxy finds certbot's answer, and what certbot is told for that."""
    if isinstance(proxy, Nginx):
        site = proxy.folder.path / "site.conf"
        site.write_text(site.read_text().replace("/var/www/acme", str(proxy.folder.path)))
        return f"--webroot --webroot-path {proxy.folder.path}"
    (port,) = free_ports(1)
    assert isinstance(proxy, Haproxy)
    proxy.config.write_text(proxy.config.read_text().replace("127.0.0.1:8888", f"127.0.0.1:{port}"))
    return f"--standalone --http-01-port {port}"


class Asker:
    """certificate.sh of every set, with its own folders."""

    def __init__(self, folder: Path, directory: str, challenge: str, tls: Certificate) -> None:
        program("certbot")
        self.folder = folder
        self.chain = folder / "tls" / "catalyst.crt"
        self._script = folder / "certificate.sh"
        text = set_of("compose", "small")["certificate/certificate.sh"]
        self._script.write_text(text.replace("/etc/letsencrypt", f"{folder}/etc"))
        self._environment = os.environ | {
            "EMAIL": "admin@example.org", "TLS_DIR": str(folder / "tls"), "CHALLENGE": challenge,
            "RELOAD": f"mkdir {folder}/told", "REQUESTS_CA_BUNDLE": str(tls.chain),
            "CERTBOT_MORE": f"--server {directory} --config-dir {folder}/etc --work-dir {folder}/work "
            f"--logs-dir {folder}/logs",
        }  # fmt: skip

    def run(self, *words: str, name: str = NAME) -> int:
        """Its exit code."""
        return subprocess.run(
            ["/bin/sh", self._script, *words], env=self._environment | {"DOMAIN": name}, capture_output=True,
            timeout=60, check=False,
        ).returncode  # fmt: skip

    def issuer(self, name: str = NAME) -> str:
        """Who signed what the proxy has, which is for this name."""
        said = subprocess.run(
            [program("openssl"), "x509", "-in", self.chain, "-noout", "-issuer", "-ext", "subjectAltName"],
            capture_output=True, text=True, timeout=30, check=True,
        ).stdout  # fmt: skip
        assert f"DNS:{name}" in said
        return said.splitlines()[0]


@pytest.mark.parametrize("kind", [Nginx, Haproxy])
def test_a_certificate_is_got_through_the_proxy_and_put_where_it_reads_it(kind: type[Proxy], tmp_path: Path) -> None:
    """First one that signs itself; then the authority's, of which the proxy is told once; then none until it is due."""
    tls = Certificate(tmp_path)
    proxy = kind([1], tls=tls)
    challenge = prepared(proxy)
    with authority(proxy.plain, tls) as directory, proxy:
        asker = Asker(tmp_path, directory, challenge, tls)
        assert asker.run("self") == 0
        assert asker.issuer() == f"issuer=CN = {NAME}"
        assert asker.run() == 0
        assert "Pebble" in asker.issuer()
        assert (tmp_path / "told").is_dir()
        ssl.create_default_context().load_cert_chain(tmp_path / "tls" / "catalyst.pem")
        assert asker.run() == 0, "told twice: mkdir would fail"


def test_another_name_gets_another_certificate(tmp_path: Path) -> None:
    """Nobody is asked whether that is meant: `catalyst deploy --domain` said so. Once, and then it stays."""
    tls = Certificate(tmp_path)
    (nobody,) = free_ports(1)
    with authority(nobody, tls, PEBBLE_VA_ALWAYS_VALID="1") as directory:
        asker = Asker(tmp_path, directory, f"--webroot --webroot-path {tmp_path}", tls)
        assert asker.run() == 0
        (tmp_path / "told").rmdir()
        assert asker.run(name="tape.example.org") == 0
        assert "Pebble" in asker.issuer("tape.example.org")
        assert (tmp_path / "told").is_dir()
        assert asker.run(name="tape.example.org") == 0, "told twice: mkdir would fail"


def test_a_name_that_leads_elsewhere_leaves_what_is_there(tmp_path: Path) -> None:
    """The proxy goes on with the one that signs itself, and whoever called tries again."""
    tls = Certificate(tmp_path)
    (nobody,) = free_ports(1)
    with authority(nobody, tls) as directory:
        asker = Asker(tmp_path, directory, f"--webroot --webroot-path {tmp_path}", tls)
        assert asker.run() != 0
        assert asker.issuer() == f"issuer=CN = {NAME}"
