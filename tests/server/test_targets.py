"""Where signals go outside: loses none, repeats at most the one in flight, holds nothing back in silence.

Covers catalyst_signals.server.targets, catalyst_signals.server.outgoing, catalyst_signals.workers.targets,
catalyst_signals.workers.sending, catalyst_signals.workers.following, catalyst_signals.workers.keeping,
catalyst_signals.workers.messages, catalyst_signals.workers.wording and catalyst_signals.workers.notifying through
real servers and real sinks on this machine.
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.running import RunningServer
from tests.sink import Sink, until

HERE = {"targets_allow": "127.0.0.0/8", "lease_s": 1}


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server whose targets may be on this machine."""
    with RunningServer(tmp_path_factory.mktemp("targets"), **HERE) as running:
        yield running


@pytest.fixture
def sink() -> Iterator[Sink]:
    with Sink() as running:
        yield running


def channel_of(server: RunningServer) -> str:
    """A fresh one, so that tests of one server do not hear each other."""
    name = f"c{time.monotonic_ns()}"
    with server.http() as http:
        assert http.put(f"/v1/channels/{name}", json={}).status_code == 201
    return name


def target(server: RunningServer, key: str | None = None, **body: object) -> dict[str, Any]:
    with server.http(key) as http:
        answer = http.post("/v1/targets", json=body)
        assert answer.status_code == 201, answer.text
        made: dict[str, Any] = answer.json()
        return made


def publish(server: RunningServer, channel: str, *ids: str, **more: object) -> list[int]:
    with server.http() as http:
        signals = [{"id": id, "symbol": "ACME", "action": "BUY", "confidence": 0.8} | more for id in ids]
        answer = http.post(f"/v1/channels/{channel}/signals", json=signals)
        assert answer.status_code == 201, answer.text
        return [each["seq"] for each in answer.json()["results"]]


def shown(server: RunningServer, id: str) -> dict[str, Any]:
    with server.http() as http:
        found: dict[str, Any] = http.get(f"/v1/targets/{id}").json()
        return found


def ids(sink: Sink, path: str = "/") -> list[str]:
    return [came.headers["webhook-id"] for came in sink.to(path)]


def test_what_matches_comes_in_order_as_on_the_socket_and_a_change_is_told_too(out: RunningServer, sink: Sink) -> None:
    channel = channel_of(out)
    publish(out, channel, "before")
    target(out, url=f"{sink.url}/a", channel=channel, filter="confidence >= 0.7")
    publish(out, channel, "a", "b")
    publish(out, channel, "c", confidence=0.5)
    with out.http() as http:
        assert http.post(f"/v1/channels/{channel}/signals/a/cancel", json={"reason": "halted"}).status_code == 200
        until(lambda: len(sink.to("/a")) == 3)
        assert ids(sink, "/a") == ["a", "b", "a~2"]
        events = http.get(f"/v1/channels/{channel}/events", params={"after": 1}).text
        assert all(came.body.decode() in events for came in sink.came)


def test_only_what_the_key_may_see_goes_out_and_nothing_once_it_is_revoked(out: RunningServer, sink: Sink) -> None:
    channel = channel_of(out)
    key = out.new_key(user="carl", channels=[channel], filter="not symbol = SECRET")
    made = target(out, key, url=f"{sink.url}/carl", channel=channel)
    publish(out, channel, "open")
    publish(out, channel, "secret", symbol="SECRET")
    publish(out, channel, "open2")
    until(lambda: ids(sink, "/carl") == ["open", "open2"])
    with out.http() as http:
        key_id = next(each["id"] for each in http.get("/v1/keys").json()["keys"] if each["user"] == "carl")
        assert http.delete(f"/v1/keys/{key_id}").status_code == 200
    publish(out, channel, "late")
    time.sleep(0.3)
    assert ids(sink, "/carl") == ["open", "open2"]
    now = shown(out, made["id"])
    assert now["state"] == "stopped" and "revoked" in now["why"]
    newer = out.new_key(user="carl", channels=[channel])
    with out.http(newer) as http:
        assert http.patch(f"/v1/targets/{made['id']}", json={}).json()["state"] == "working"
    until(lambda: ids(sink, "/carl") == ["open", "open2", "late"])


def test_a_target_is_its_owners_and_an_admins_and_shows_no_secret(out: RunningServer, sink: Sink) -> None:
    ann, bob = out.new_key(user="ann"), out.new_key(user="bob")
    made = target(out, ann, url=f"{sink.url}/path-canary?token=query-canary")
    secret = made.pop("secret")
    with out.http(bob) as http:
        assert http.get("/v1/targets").json() == {"targets": []}
        for call in (http.get, http.delete):
            assert call(f"/v1/targets/{made['id']}").status_code == 404
    for key in (ann, None):
        with out.http(key) as http:
            text = http.get("/v1/targets").text + http.get(f"/v1/targets/{made['id']}").text
            assert made["id"] in text
            assert not any(word in text for word in (secret, "path-canary", "query-canary"))
    with out.http(ann) as http:
        assert http.delete(f"/v1/targets/{made['id']}").json() == {"id": made["id"], "removed": True}
        assert http.get(f"/v1/targets/{made['id']}").status_code == 404
    assert not any(word in out.log for word in (secret, "path-canary", "query-canary"))


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"url": "http://a..b/"}, "url"), ({"url": f"https://{'b' * 64}.com/"}, "url"),
        ({}, "url"), ({"url": "nonsense"}, "url"), ({"url": "ftp://example.com/x"}, "url"),
        ({"url": "http://169.254.169.254/latest"}, "url"), ({"url": "http://[::ffff:10.0.0.1]/"}, "url"),
        ({"url": "file:///etc/passwd"}, "url"), ({"url": "syslog://"}, "url"), ({"url": "dbus://"}, "url"),
        ({"url": "discord://123/abc?template=/etc/passwd"}, "url"), ({"url": "discord://"}, "url"),
        ({"url": "json://h/?attach=file:///etc/passwd"}, "url"),
        ({"url": "https://example.com", "max_per_hour": 0}, "max_per_hour"),
        ({"url": "https://example.com", "digest": "weekly"}, "digest"),
        ({"url": "https://example.com", "quiet_hours": {"from": "25:00", "to": "07:00"}}, "quiet_hours"),
        ({"url": "https://example.com", "quiet_hours": {"from": "22:00", "to": "07:00", "tz": "../x"}},
         "quiet_hours.tz"),
        ({"url": "https://example.com", "channel": "system"}, "channel"),
        ({"url": "https://example.com", "channel": "nowhere"}, "channel"),
        ({"url": "https://example.com", "filter": "confidence >"}, None),
        ({"url": "https://example.com", "filter": "unsaved"}, "filter"),
        ({"url": "https://example.com", "speed": 1}, "speed"),
    ],
)  # fmt: skip
def test_a_target_that_cannot_be_is_refused_and_says_why(
    out: RunningServer, body: dict[str, Any], field: str | None
) -> None:
    with out.http() as http:
        answer = http.post("/v1/targets", json=body)
    assert 400 <= answer.status_code < 500, answer.text
    assert answer.json().get("field") == field or field is None
    assert "/etc/passwd" not in answer.text


def test_who_fails_for_a_while_gets_the_same_id_again_and_misses_nothing(out: RunningServer, sink: Sink) -> None:
    channel = channel_of(out)
    made = target(out, url=f"{sink.url}/flaky", channel=channel)
    sink.status = 503
    publish(out, channel, "a", "b")
    until(lambda: len(sink.to("/flaky")) >= 3)
    until(lambda: shown(out, made["id"])["breaker"] != "closed")
    now = shown(out, made["id"])
    assert now["state"] == "failing" and now["why"] == "it answered 503" and now["behind"] == 2
    with out.http() as http:
        ready = http.get("/readyz").json()
        mine = next(each for each in ready["components"] if each["name"] == "targets")
        assert mine["state"] == "open" and any("targets" in warning for warning in ready["warnings"])
        assert "catalyst_targets_failing 1" in http.get("/metrics").text
    sink.status = 200
    until(lambda: ids(sink, "/flaky")[-1] == "b")
    assert set(ids(sink, "/flaky")[:-1]) == {"a"}
    until(lambda: shown(out, made["id"])["state"] == "working")


def test_what_is_refused_is_a_dead_letter_that_can_be_sent_again(out: RunningServer, sink: Sink) -> None:
    channel = channel_of(out)
    made = target(out, url=f"{sink.url}/picky", channel=channel)
    path = f"/v1/targets/{made['id']}"
    sink.status = 422
    first, second = publish(out, channel, "a", "b")
    with out.http() as http:
        until(lambda: len(http.get(f"{path}/dead").json()["dead"]) == 2)
        dead = http.get(f"{path}/dead").json()["dead"]
        assert [(each["seq"], each["id"], each["error"]) for each in dead] == [
            (first, "a", "it answered 422"), (second, "b", "it answered 422"),
        ]  # fmt: skip
        sink.status = 200
        assert http.post(f"{path}/replay", json={"dead": [second]}).status_code == 202
        until(lambda: ids(sink, "/picky") == ["a", "b", "b"])
        assert http.post(f"{path}/replay", json={"dead": "all"}).status_code == 202
        until(lambda: ids(sink, "/picky") == ["a", "b", "b", "a"])
        until(lambda: http.get(f"{path}/dead").json()["dead"] == [])
        assert http.post(f"{path}/replay", json={"after": first}).status_code == 202
        until(lambda: ids(sink, "/picky")[4:] == ["b"])
        assert http.post(f"{path}/replay", json={}).status_code == 400
        assert http.post(f"{path}/replay", json={"after": second}).status_code == 400
        none = http.post(f"{path}/replay", json={"dead": [first, 9999]})
        assert none.status_code == 404 and none.json()["got"] == first, "what is not sent again says so"


def test_a_target_that_is_gone_is_switched_off_until_its_owner_switches_it_on(out: RunningServer, sink: Sink) -> None:
    channel = channel_of(out)
    made = target(out, url=f"{sink.url}/gone", channel=channel)
    sink.status = 410
    publish(out, channel, "a")
    until(lambda: shown(out, made["id"])["state"] == "off")
    publish(out, channel, "b")
    sink.status = 200
    time.sleep(0.2)
    before = len(sink.came)
    with out.http() as http:
        assert http.patch(f"/v1/targets/{made['id']}", json={"off": False}).json()["state"] == "working"
    until(lambda: ids(sink, "/gone")[before:] == ["a", "b"])


def test_what_a_rule_holds_back_comes_in_a_digest_and_is_counted_by_reason(out: RunningServer, sink: Sink) -> None:
    channel = channel_of(out)
    hook = target(out, url=f"{sink.url}/hook", channel=channel, digest="1s")
    note = target(
        out, url=f"json://127.0.0.1:{sink.port}/note", channel=channel, cooldown_per_symbol_s=1, max_per_hour=60
    )
    publish(out, channel, "a", "b", "c", entry="9.80", stop="9.40", targets=["10.60"])
    until(lambda: len(sink.to("/note")) == 2 and sink.to("/hook"))
    told = [json.loads(came.body)["message"] for came in sink.to("/note")]
    line = "BUY ACME @ 9.80, stop 9.40, target 10.60, confidence 0.80, from admin"
    assert told == [line, f"2 more, held by cooldown (2):\n{line}\n{line}"]
    assert shown(out, note["id"])["held"] == {"cooldown": 2}
    bodies = [json.loads(came.body) for came in sink.to("/hook")]
    assert {each["type"] for each in bodies} == {"digest"}
    assert [event["id"] for each in bodies for event in each["events"]] == ["a", "b", "c"]
    assert sum(each["held"]["digest"] for each in bodies) == 3
    assert shown(out, hook["id"])["held"] == {"digest": 3}
    with out.http() as http:
        metrics = http.get("/metrics").text
    assert 'catalyst_target_held_total{reason="cooldown"} 2' in metrics


def test_a_service_that_says_not_now_is_told_the_rest_in_one_message_later(out: RunningServer, sink: Sink) -> None:
    channel = channel_of(out)
    note = target(out, url=f"json://127.0.0.1:{sink.port}/note", channel=channel)
    sink.status = 429
    publish(out, channel, "a")
    until(lambda: shown(out, note["id"])["holding"] == 1)
    publish(out, channel, "b", "c")
    until(lambda: shown(out, note["id"])["held"] == {"rate_limit": 3})
    sink.status = 200
    assert shown(out, note["id"])["next_digest_at"] and len(sink.came) == 1
    with out.http() as http:
        assert http.post(f"/v1/targets/{note['id']}/test").json()["sent"] is True


def test_a_test_says_what_is_wrong(out: RunningServer, sink: Sink) -> None:
    made = target(out, url=f"{sink.url}/try", channel=channel_of(out))
    with out.http() as http:
        answer = http.post(f"/v1/targets/{made['id']}/test").json()
        assert answer["sent"] and ids(sink, "/try")[0].startswith("test.")
        sink.status = 404
        assert http.post(f"/v1/targets/{made['id']}/test").json()["error"] == "it answered 404"


def test_a_target_that_hangs_keeps_no_other_waiting(out: RunningServer, sink: Sink) -> None:
    """It takes the connection and never answers."""
    import socket

    channel = channel_of(out)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        made = [target(out, url=f"http://127.0.0.1:{port}/{n}", channel=channel) for n in range(5)]
        target(out, url=f"{sink.url}/quick", channel=channel)
        began_s = time.monotonic()
        for n in range(20):
            publish(out, channel, f"e{n}")
        until(lambda: len(sink.to("/quick")) == 20)
        assert time.monotonic() - began_s < 5
        for each in made:
            with out.http() as http:
                http.delete(f"/v1/targets/{each['id']}")


def test_a_changed_filter_and_an_erased_event_hold_for_what_was_not_sent_yet(out: RunningServer, sink: Sink) -> None:
    channel = channel_of(out)
    made = target(out, url=f"{sink.url}/late", channel=channel)
    sink.status = 503
    publish(out, channel, "a")
    until(lambda: sink.to("/late"))
    _, gone, _ = publish(out, channel, "b", "c", "d")
    with out.http() as http:
        assert http.delete(f"/v1/channels/{channel}/events/{gone}").status_code == 200
        assert http.patch(f"/v1/targets/{made['id']}", json={"filter": "confidence >= 0.9"}).status_code == 200
    publish(out, channel, "e")
    publish(out, channel, "f", confidence=0.95)
    with out.http() as http:
        assert http.patch(f"/v1/targets/{made['id']}", json={"filter": ""}).status_code == 200
    sink.status = 200
    until(lambda: "f" in ids(sink, "/late"))
    assert list(dict.fromkeys(ids(sink, "/late"))) == ["a", "b", "d", "e", "f"]


def _flood(server: RunningServer, key: str, count: int) -> None:
    """Publish in pieces; an answer that does not come is asked for again."""
    with httpx2.Client(base_url=server.url, headers={"Authorization": f"Bearer {key}"}, trust_env=False) as http:
        for n in range(count):
            while True:
                try:
                    answer = http.post(
                        "/v1/channels/main/signals", json={"id": f"e{n}", "symbol": "A", "action": "BUY"}
                    )
                except httpx2.HTTPError:
                    time.sleep(0.05)
                    continue
                if answer.status_code < 400:
                    break
                time.sleep(0.05)


@pytest.mark.slow
def test_killed_in_the_middle_every_event_arrives_and_at_most_one_twice(tmp_path: Path) -> None:
    """kill -9 twice while 200 events go out, each time with one in flight; the same one comes again.

    Of what a rule holds each event comes in one digest; a digest that comes again is the same one.
    """
    with Sink() as sink, RunningServer(tmp_path, **HERE) as server:
        target(server, url=f"{sink.url}/hook")
        target(server, url=f"{sink.url}/digests", digest="1s")
        publishing = threading.Thread(target=_flood, args=(server, server.admin_key, 200))
        publishing.start()
        for so_many in (40, 120):
            until(lambda so_many=so_many: len(sink.to("/hook")) >= so_many)  # type: ignore[misc]
            server.kill()
            server.start()
        publishing.join(60)
        until(lambda: len(set(ids(sink, "/hook"))) == 200)
        until(lambda: sum(len(events) for events in _digests(sink).values()) >= 200)
        time.sleep(0.5)
    counts, digests = Counter(ids(sink, "/hook")), _digests(sink)
    assert set(counts) == {f"e{n}" for n in range(200)}
    assert sum(counts.values()) <= 202 and max(counts.values()) <= 2, counts.most_common(3)
    assert list(dict.fromkeys(ids(sink, "/hook"))) == [f"e{n}" for n in range(200)]
    assert sorted(id for events in digests.values() for id in events) == sorted(counts)
    assert len(sink.to("/digests")) <= len(digests) + 2


def _digests(sink: Sink) -> dict[str, list[str]]:
    """The ids of the events in each digest, by its id; it must be the same one whenever it comes."""
    found: dict[str, list[str]] = {}
    for came in list(sink.to("/digests")):
        events = [event["id"] for event in json.loads(came.body)["events"]]
        assert found.setdefault(came.headers["webhook-id"], events) == events
    return found


@pytest.mark.slow
def test_a_clean_stop_repeats_nothing_and_what_was_held_is_still_held_after_it(tmp_path: Path) -> None:
    """Also when it comes while a message is under way, which is always so here."""
    with SlowSink() as sink, RunningServer(tmp_path, **HERE) as server:
        target(server, url=f"{sink.url}/hook")
        held = target(server, url=f"{sink.url}/held", digest="hour")
        events = [f"e{n}" for n in range(15)]
        publish(server, "main", *events)
        until(lambda: len(sink.to("/hook")) > 5)
        assert server.stop() == 0
        server.start()
        publish(server, "main", "last")
        until(lambda: "last" in ids(sink, "/hook"))
        assert ids(sink, "/hook") == [*events, "last"]
        until(lambda: shown(server, held["id"])["holding"] == 16)
        with server.http() as http:
            http.patch(f"/v1/targets/{held['id']}", json={"digest": "none"})
        until(lambda: sink.to("/held"))
        body = json.loads(sink.to("/held")[0].body)
        assert len(body["events"]) == 16 and body["held"] == {"digest": 16}


class SlowSink(Sink):
    """Takes a tenth of a second for each answer."""

    @property  # type: ignore[override]
    def answer(self) -> bytes:
        time.sleep(0.1)
        return b"{}"

    @answer.setter
    def answer(self, to: bytes) -> None:
        assert to == b"{}"


@pytest.mark.slow
def test_a_digest_that_was_under_way_at_a_kill_is_the_same_one_afterwards(tmp_path: Path) -> None:
    """More was held meanwhile; that is in the next."""
    with Sink() as sink, RunningServer(tmp_path, **HERE) as server:
        target(server, url=f"{sink.url}/digests", digest="1s")
        sink.status = 503
        publish(server, "main", "a", "b")
        until(lambda: sink.to("/digests"))
        publish(server, "main", "c")
        server.kill()
        sink.status = 200
        before = len(sink.came)
        server.start()
        until(lambda: len(sink.came) >= before + 2)
    digests = _digests(sink)
    assert sorted(digests.values()) == [["a", "b"], ["c"]]


def test_the_command_line_does_it_all(
    out: RunningServer, sink: Sink, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Covers catalyst_signals.cli.targets."""
    from catalyst_signals.cli import run

    channel = channel_of(out)
    monkeypatch.setenv("CATALYST_URL", out.url)
    monkeypatch.setenv("CATALYST_KEY", out.admin_key)

    def catalyst(*words: str) -> tuple[int, str]:
        code = run(["targets", *words])
        return code, capfd.readouterr().out

    quiet = ("--quiet", "22:00-22:01", "--tz", "Europe/Berlin")
    code, said = catalyst("add", f"{sink.url}/cli", "--channel", channel, "--filter", "confidence > 0.5", *quiet)
    assert code == 0 and said.startswith("whsec_") and len(said.split()) == 1
    with out.http() as http:
        made = next(each for each in http.get("/v1/targets").json()["targets"] if each["channel"] == channel)
    assert made["quiet_hours"] == {"from": "22:00", "to": "22:01", "tz": "Europe/Berlin"}
    assert catalyst("test", made["id"])[0] == 0
    sink.status = 404
    assert catalyst("test", made["id"])[0] == 1
    (seq,) = publish(out, channel, "a")
    until(lambda: shown(out, made["id"])["dead"] == 1)
    assert made["id"] in catalyst("list")[1]
    assert "it answered 404" in catalyst("dead", made["id"])[1]
    sink.status = 200
    assert catalyst("replay", made["id"], "--dead", str(seq))[0] == 0
    until(lambda: shown(out, made["id"])["dead"] == 0)
    assert catalyst("replay", made["id"])[0] == 2 and catalyst("replay", made["id"], "--dead", "x")[0] == 2
    assert catalyst("add", "https://example.com", "--quiet", "22:00")[0] == 2
    assert catalyst("remove", made["id"])[0] == 0
    assert catalyst("dead", made["id"])[0] == 4


def test_an_e_mail_and_an_ntfy_message_arrive(out: RunningServer, sink: Sink) -> None:
    """Through the library, to servers on this machine."""
    channel = channel_of(out)
    with Mailbox() as mailbox:
        mail = f"mailto://127.0.0.1:{mailbox.port}?from=catalyst@example.com&to=ann@example.com&mode=insecure"
        mails = target(out, url=mail, channel=channel)
        notes = target(out, url=f"ntfy://127.0.0.1:{sink.port}/signals", channel=channel)
        publish(out, channel, "a", stop="9.40")
        line = "BUY ACME, stop 9.40, confidence 0.80, from admin"
        until(lambda: sink.came)
        assert line in sink.everything.decode()
        until(lambda: mailbox.text)
        assert line in mailbox.text.replace("=\r\n", "") and "ann@example.com" in mailbox.text
    for each in (mails, notes):
        until(lambda each=each: shown(out, each["id"])["sent"] == 1)  # type: ignore[misc]


def test_a_notification_reaches_nothing_of_the_network_without_leave(server: RunningServer, sink: Sink) -> None:
    """Its URL names a host of its own; the other server allows none of this machine."""
    made = target(server, url=f"json://127.0.0.1:{sink.port}/inside", channel=channel_of(server))
    with server.http() as http:
        answer = http.post(f"/v1/targets/{made['id']}/test").json()
    assert not answer["sent"] and sink.came == [] and "no public address" in answer["error"]


class Mailbox:
    """An SMTP server that takes one mail."""

    def __init__(self) -> None:
        import socket

        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.text = ""

    def __enter__(self) -> Mailbox:
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._listener.close()

    def _serve(self) -> None:
        connection, _ = self._listener.accept()
        with connection, connection.makefile("rwb") as line:

            def say(text: bytes) -> None:
                line.write(text + b"\r\n")
                line.flush()

            say(b"220 here")
            while word := line.readline():
                if word.upper().startswith(b"DATA"):
                    say(b"354 go on")
                    parts = []
                    while (part := line.readline()) != b".\r\n":
                        parts.append(part)
                    self.text = b"".join(parts).decode()
                say(b"221 bye" if word.upper().startswith(b"QUIT") else b"250 ok")


TEXTS = st.text(max_size=30) | st.sampled_from([
    "https://a..b/", "http://[::1/", "https://\u2603.example/", "json://", "mailto://x", "tgram://a/b?to=",
    "ntfy://h/\u2603", "slack://T/A/B", "discord://1/2?ping=a&thread=1", "http://" + "a" * 300 + ".example/",
    "22:00", "07:00", "UTC", "90s", "1e9s", "all",
])  # fmt: skip
VALUES = st.none() | st.booleans() | st.integers(-1, 1 << 70) | TEXTS | st.lists(st.integers(), max_size=3)
BODIES = st.dictionaries(
    st.sampled_from(["url", "channel", "filter", "max_per_hour", "cooldown_per_symbol_s", "digest", "off"])
    | st.sampled_from(["after", "dead"]),
    VALUES, max_size=4,
) | st.fixed_dictionaries({
    "url": TEXTS, "quiet_hours": st.fixed_dictionaries({"from": TEXTS, "to": TEXTS, "tz": TEXTS}),
})  # fmt: skip


@pytest.mark.slow
def test_no_body_is_a_fault_of_ours(out: RunningServer) -> None:
    """Each is sent to all that take one."""
    made = target(out, url="https://example.com/", off=True)

    @settings(max_examples=80, deadline=None)
    @given(BODIES)
    def sends(body: dict[str, Any]) -> None:
        with out.http() as http:
            for method, path in (("POST", ""), ("PATCH", f"/{made['id']}"), ("POST", f"/{made['id']}/replay")):
                answer = http.request(method, f"/v1/targets{path}", content=json.dumps(body))
                assert answer.status_code < 500, (body, answer.text)
                if answer.status_code == 201:
                    assert http.delete(f"/v1/targets/{answer.json()['id']}").status_code == 200
            assert http.get("/v1/targets").status_code == 200

    sends()
    with out.http() as http:
        assert http.delete(f"/v1/targets/{made['id']}").status_code == 200
