"""The WAF of the sets, for whoever asks for it: attacks end at it, and nothing that Catalyst is sent does."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx2
import pytest

from tests.conformance.test_adapters import FIXTURES
from tests.deployed import set_of
from tests.running import RunningServer
from tests.services.proxies import Certificate, Nginx
from tests.socket_client import wire

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

MODULE = Path("/usr/lib/nginx/modules/ngx_http_modsecurity_module.so")
RULES = Path("/usr/share/modsecurity-crs")
ATTACKS = [
    ("GET", "/?q=<script>alert(1)</script>", {}),
    ("GET", "/?id=1'%20OR%20'1'='1", {}),
    ("GET", "/v1/channels/main/events?after=../../../../etc/passwd", {}),
    ("GET", "/v1/channels?x=$(cat%20/etc/passwd)", {}),
    ("GET", "/v1/channels", {"User-Agent": "sqlmap/1.7"}),
    ("GET", "/v1/channels", {"X-Api": "() { :; }; /bin/bash -c id", "Referer": "<script>alert(1)</script>"}),
    ("TRACE", "/v1/channels", {}),
]
HARMLESS = [
    {"note": "1' OR '1'='1'; DROP TABLE users; -- <script>alert(1)</script> ../../etc/passwd"},
    {"note": "Moody's cut it to $(junk); select * from the ruins"},
    {"confidence": 0.5},
]
FILTERS = ["confidence >= 0.7 and symbol = 'ACME'", "symbol = 'X' or 1 = 1", "note contains 'union select from'"]


class Guarded(Nginx):
    """nginx with the module and the set's rules."""

    def configure(self, nodes: Sequence[int], tls: Certificate) -> None:
        super().configure(nodes, tls)
        waf = self.folder.path / "waf"
        waf.mkdir()
        for name in ("nginx.conf", "catalyst.rules"):
            text = set_of("systemd", "small")[f"waf/{name}"]
            (waf / name).write_text(text.replace("/etc/nginx/waf/", f"{waf}/"))
        self.config.write_text(f"load_module {MODULE};\n{self.config.read_text()}")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with RunningServer(tmp_path_factory.mktemp("server"), trusted_proxies="127.0.0.1", ingest_rate=0) as server:
        yield server


@pytest.fixture(scope="module")
def guard(server: RunningServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Guarded, httpx2.Client]]:
    """The proxy, and a client that goes through it."""
    if not (MODULE.exists() and RULES.exists()):
        missing = "ModSecurity is not installed; `tools/services` installs what the tests need"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(missing)
    tls = Certificate(tmp_path_factory.mktemp("tls"))
    with Guarded([server.port], tls=tls) as proxy:
        key = {"Authorization": f"Bearer {server.admin_key}"}
        with httpx2.Client(base_url=proxy.url, verify=proxy.trust, timeout=30, trust_env=False, headers=key) as http:
            yield proxy, http


def test_its_own_check_agrees(guard: tuple[Guarded, httpx2.Client]) -> None:
    """Every rule is read."""
    assert "successful" in guard[0].check()


@pytest.mark.parametrize(("method", "path", "headers"), ATTACKS)
def test_an_attack_ends_at_the_proxy(
    guard: tuple[Guarded, httpx2.Client], method: str, path: str, headers: dict[str, str]
) -> None:
    """With a page of nginx's own; no node hears of it."""
    answer = guard[1].request(method, path, headers=headers)
    assert answer.status_code in (403, 405)
    assert "nginx" in answer.text


def test_every_senders_body_is_let_through(guard: tuple[Guarded, httpx2.Client]) -> None:
    """Also those that the server refuses: it is the server who says so, in its own words."""
    _, http = guard
    paths: dict[str, str] = {}
    for fixture in FIXTURES:
        made = {"adapter": fixture.adapter, "channel": "main", "options": fixture.options}
        if str(made) not in paths:
            answer = http.post("/v1/ingest", json=made)
            assert answer.status_code == 201, answer.text
            paths[str(made)] = f"/in/{fixture.adapter}/{answer.json()['secret']}"
        answer = http.post(paths[str(made)], content=fixture.raw, headers={"Content-Type": fixture.content_type})
        assert answer.headers["content-type"] == "application/json", f"{fixture}: {answer.text}"
    assert len(FIXTURES) > 300


def test_free_text_filters_and_large_bodies_are_let_through(guard: tuple[Guarded, httpx2.Client]) -> None:
    """What looks like an attack in a signal is news."""
    _, http = guard
    for fields in HARMLESS:
        answer = http.post("/v1/channels/main/signals", json={"symbol": "ACME", "action": "BUY"} | fields)
        assert answer.status_code == 201, answer.text
    for filter in FILTERS:
        answer = http.get("/v1/channels/main/events", params={"after": 0, "filter": filter})
        assert "nginx" not in answer.text, filter
    many = [{"symbol": "ACME", "action": "BUY", "note": "x" * 1000} for _ in range(1000)]
    assert http.post("/v1/channels/main/signals", json=many).status_code == 201
    for method in ("PUT", "PATCH", "DELETE"):
        assert "nginx" not in http.request(method, "/v1/channels/waf", json={}).text


async def test_a_websocket_is_let_through(
    server: RunningServer, guard: tuple[Guarded, httpx2.Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The upgrade, and frames that nobody looks into."""
    proxy, _ = guard
    monkeypatch.setattr("ssl.create_default_context", lambda *_, **__: proxy.trust)
    async with wire(proxy.url, server.admin_key) as socket:
        await socket.subscribe(channel="main")
        note = "<script>alert(1)</script>"
        await socket.send(type="publish", ref=1, channel="main", signal={"symbol": "A", "action": "BUY", "note": note})
        await socket.until(lambda message: note in str(message.get("data")))


def test_what_was_refused_leaves_no_secret_in_a_log(guard: tuple[Guarded, httpx2.Client]) -> None:
    """A key is never written down, and the path of a webhook neither, however wrong the request is."""
    proxy, http = guard
    made = http.post("/v1/ingest", json={"adapter": "generic", "channel": "main"}).json()
    path = f"/in/generic/{made['secret']}"
    for method, attack in (("POST", ""), ("PROPFIND", ""), ("POST", "?q=<script>alert(1)</script>")):
        http.request(method, path + attack, headers={"User-Agent": "sqlmap/1.7"}, content=b"1' OR '1'='1")
    assert http.get("/?q=<script>alert(1)</script>").status_code == 403
    assert "ModSecurity: Access denied" in proxy.log
    assert made["secret"] not in proxy.log
    assert http.headers["Authorization"].split()[1] not in proxy.log


def test_a_path_that_only_begins_as_a_webhooks_does_is_looked_at(guard: tuple[Guarded, httpx2.Client]) -> None:
    """So that nobody gets past by `/in/../`."""
    proxy, _ = guard
    with socket.create_connection(("127.0.0.1", proxy.port)) as plain, proxy.trust.wrap_socket(
        plain, server_hostname="127.0.0.1"
    ) as tls:  # fmt: skip
        tls.sendall(
            b"GET /in/../v1/channels?x=<script>alert(1)</script> HTTP/1.1\r\nHost: a.b\r\nConnection: close\r\n\r\n"
        )
        assert b" 403 " in tls.recv(4096).split(b"\r\n")[0]
