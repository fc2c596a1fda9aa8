"""What a target may be, what is sent there, and that nothing else is reached (workers/outside.py, webhooks.py).

The Standard Webhooks library of PyPI is the judge of the signature.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from standardwebhooks.webhooks import Webhook as Verifier
from standardwebhooks.webhooks import WebhookVerificationError

from catalyst_signals.errors import InvalidRequest
from catalyst_signals.events import Frame
from catalyst_signals.signatures import new_signing_secret
from catalyst_signals.workers.messages import Message, digest, single
from catalyst_signals.workers.outside import NotAllowed, NotReached, allowed, apart, checked, only_public, post, split
from catalyst_signals.workers.webhooks import Webhook, outcome_of
from tests.sink import Sink

HERE = [ip_network("127.0.0.0/8")]

REFUSED = [
    "127.0.0.1", "127.1.2.3", "0.0.0.0", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.169.254",
    "100.64.0.1", "100.127.255.255", "192.0.0.1", "192.0.2.1", "198.18.0.1", "198.51.100.7", "203.0.113.9",
    "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255", "::", "::1", "fe80::1", "fc00::1", "fd12:3456::1",
    "fec0::1", "ff02::1", "ff0e::1", "100::1", "2001:db8::1", "2001::1", "3fff::1", "5f00::1", "::ffff:127.0.0.1",
    "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::808:808", "2002:7f00:1::", "2002:a00:1::", "4000::1",
]  # fmt: skip
TAKEN = [
    "8.8.8.8", "1.1.1.1", "172.32.0.1", "100.128.0.1",
    "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1",
]  # fmt: skip


@pytest.mark.parametrize("address", REFUSED)
def test_an_address_that_is_not_public_is_refused(address: str) -> None:
    assert not allowed(ip_address(address), [])


@pytest.mark.parametrize("address", TAKEN)
def test_a_public_address_is_taken(address: str) -> None:
    assert allowed(ip_address(address), [])


def test_the_operator_can_allow_networks_and_what_is_wrapped_counts_as_what_is_inside() -> None:
    assert allowed(ip_address("10.1.2.3"), [ip_network("10.0.0.0/8")])
    assert allowed(ip_address("::ffff:10.1.2.3"), [ip_network("10.0.0.0/8")])
    assert not allowed(ip_address("192.168.0.1"), [ip_network("10.0.0.0/8")])


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "0177.0.0.1", "2130706433", "0x7f.1", "127.1"])
async def test_a_name_that_stands_for_this_machine_is_refused_however_it_is_written(host: str) -> None:
    with pytest.raises(NotReached):
        await checked(host, 80, [])


@pytest.mark.parametrize(
    "url",
    [
        "ftp://a/b",
        "file:///etc/passwd",
        "http://",
        "https://a b/",
        "http://a:99999/",
        "http://a:0/",
        "https://a/\r\nX: y",
    ],
)
def test_what_is_no_url_of_the_web_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        split(url)
    assert refusal.value.got is None


async def test_the_address_that_was_checked_is_the_one_that_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that answers with another address the second time leads nowhere else."""
    looked_up: list[str] = []

    def rebinding(host: str, port: int, **how: object) -> list[tuple[object, ...]]:
        looked_up.append(host)
        address = "127.0.0.1" if len(looked_up) == 1 else "127.0.0.2"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    monkeypatch.setattr("catalyst_signals.workers.outside._getaddrinfo", rebinding)
    with Sink() as sink:
        answer = await post(f"http://hooks.test:{sink.port}/in?x=1", b"{}", {}, [ip_network("127.0.0.1/32")])
        assert answer.status == 200 and looked_up == ["hooks.test"]
        assert sink.came[0].headers["host"] == f"hooks.test:{sink.port}" and sink.came[0].path == "/in?x=1"
        with pytest.raises(NotAllowed):
            await post(f"http://hooks.test:{sink.port}/in", b"{}", {}, [ip_network("127.0.0.1/32")])


async def test_without_leave_nothing_of_this_machine_is_reached() -> None:
    with Sink() as sink:
        with pytest.raises(NotAllowed):
            await post(f"http://localhost:{sink.port}/", b"{}", {}, [])
        assert sink.came == []


async def test_a_library_in_a_thread_reaches_no_more_than_we_do() -> None:
    with Sink() as sink:

        def connect() -> None:
            with only_public([]):
                socket.create_connection(("127.0.0.1", sink.port), 2).close()

        with pytest.raises(OSError, match="no public address"):
            await apart(connect)
        socket.create_connection(("127.0.0.1", sink.port), 2).close()  # Others are not concerned.


@contextmanager
def speaking(*says: bytes, hangs: bool = False) -> Iterator[str]:
    """A server that says these bytes whatever it is asked, and then hangs up, or hangs."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        over = threading.Event()

        def serve() -> None:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(65536)
                try:
                    for each in says:
                        connection.sendall(each)
                except OSError:
                    pass  # It was left while it spoke.
                if hangs:
                    over.wait(5)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
        over.set()


def frame(text: bytes = b'{"type":"signal.published","id":"b.1","version":2,"data":{}}', seq: int = 7) -> Frame:
    return Frame("main", "e", seq, "0" * 8, "1" * 8, text, 0)


async def told(url: str, message: Message | None = None) -> tuple[str, str]:
    outcome = await Webhook(url, new_signing_secret(), HERE).send(message or single(frame()))
    return outcome.kind, outcome.error


async def test_a_redirect_is_not_followed() -> None:
    with Sink() as sink:
        there = b"HTTP/1.1 307 Temporary Redirect\r\nLocation: %s/secret\r\n\r\n" % sink.url.encode()
        with speaking(there) as url:
            kind, error = await told(url)
        assert kind == "refused" and "redirect" in error and sink.came == []


async def test_who_hangs_or_speaks_nonsense_is_tried_again_and_never_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("catalyst_signals.workers.outside.WITHIN_S", 0.3)
    for says, hangs in (((), True), ((b"HTTP/1.1 2",), True), ((b"220 mail ready\r\n\r\n",), False), ((), False),
                        ((b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 20_000 + b"\r\n",), False)):  # fmt: skip
        with speaking(*says, hangs=hangs) as url:
            async with asyncio.timeout(3):
                kind, error = await told(url)
        assert kind == "later" and error and "127.0.0.1" not in error


async def test_a_body_without_end_is_not_read() -> None:
    endless = b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n" + b"x" * 100_000
    with speaking(endless, hangs=True) as url:
        async with asyncio.timeout(2):
            assert await told(url) == ("sent", "")


async def test_a_body_that_never_comes_delays_a_message_that_was_taken_by_a_second_at_most() -> None:
    with speaking(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", hangs=True) as url:
        async with asyncio.timeout(2):
            assert await told(url) == ("sent", "")


@pytest.mark.parametrize(
    ("status", "kind"),
    [(200, "sent"), (204, "sent"), (301, "refused"), (400, "refused"), (401, "refused"), (404, "refused"),
     (408, "later"), (409, "later"), (410, "gone"), (413, "refused"), (425, "later"), (429, "later"), (500, "later"),
     (503, "later")],
)  # fmt: skip
def test_what_a_status_means(status: int, kind: str) -> None:
    assert outcome_of(status).kind == kind


async def test_the_library_of_standard_webhooks_verifies_what_we_sign() -> None:
    secret = new_signing_secret()
    event = frame()
    with Sink() as sink:
        way = Webhook(f"{sink.url}/hook", secret, HERE)
        assert (await way.send(single(event))).kind == "sent"
        assert (await way.send(digest("main", [event, frame(seq=9)], ["cooldown", "digest"]))).kind == "sent"
        assert (await way.send(Message("test.1", test="hello"))).kind == "sent"
    for came in sink.came:
        Verifier(secret).verify(came.body.decode(), came.headers)
        with pytest.raises(WebhookVerificationError):
            Verifier(secret).verify(came.body.decode() + " ", came.headers)
        with pytest.raises(WebhookVerificationError):
            Verifier(new_signing_secret()).verify(came.body.decode(), came.headers)
    assert sink.came[0].body == event.text and sink.came[0].headers["webhook-id"] == "b.1~2"
    assert sink.came[1].headers["webhook-id"] == "digest.main.7-9.2"


def certificate(folder: Path, name: str) -> Path:
    """A key and a certificate for that name, signed by itself."""
    pem, key = folder / "both.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-keyout", key, "-out", pem, "-days", "2", "-subj", f"/CN={name}"]
    subprocess.run([*command, "-addext", f"subjectAltName=DNS:{name}"], check=True, capture_output=True)
    with pem.open("a") as file:
        file.write(key.read_text())
    return pem


async def test_tls_is_checked_against_the_name_though_the_address_is_connected_to(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pem = certificate(tmp_path, "hooks.test")
    trusting = ssl.create_default_context(cafile=str(pem))
    here = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    here.load_cert_chain(pem)
    names: list[str | None] = []
    here.sni_callback = lambda connection, name, context: names.append(name)

    def look_up(host: str, port: int, **how: object) -> list[tuple[object, ...]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        await writer.drain()
        writer.close()

    monkeypatch.setattr("catalyst_signals.workers.outside._getaddrinfo", look_up)
    monkeypatch.setattr("catalyst_signals.workers.outside.tls_context", lambda: trusting)
    async with await asyncio.start_server(answer, "127.0.0.1", 0, ssl=here) as listener:
        port = listener.sockets[0].getsockname()[1]
        assert await told(f"https://hooks.test:{port}/") == ("sent", "")
        assert names == ["hooks.test"]
        kind, error = await told(f"https://other.test:{port}/")
        assert kind == "later" and "certificate" in error
