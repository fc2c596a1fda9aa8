"""Each line says who it is about and never a secret; what waits for the central store is bounded and counted.

Covers `catalyst_signals.about`, `catalyst_signals.vital`, `catalyst_signals.server.naming` too.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from catalyst_signals.about import NOBODY, about, also, deal_with
from catalyst_signals.about import Request as Dealt
from catalyst_signals.errors import Misconfigured
from catalyst_signals.server import logs, shipping
from catalyst_signals.server.app import build_app, open_node
from catalyst_signals.server.door import door
from catalyst_signals.server.logs import JsonLines, Lines
from catalyst_signals.server.settings import Settings
from catalyst_signals.vital import vital
from tests.sink import Sink, until

ACME = {"symbol": "ACME", "action": "BUY"}
KEY = "cat_live_abc123_0123456789abcdef"


def record(message: str, level: int = logging.INFO, **extra: object) -> logging.LogRecord:
    """A line of ours."""
    made = logging.makeLogRecord({"name": "catalyst.x", "levelno": level, "levelname": logging.getLevelName(level)})
    made.msg = message
    vars(made).update(extra)
    return made


@pytest.fixture
def installed(tmp_path: Path) -> Iterator[Any]:
    """`logs.install` with these settings; what pytest had is there again afterwards."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level

    def install(number: int | None = None, **settings: Any) -> None:
        logs.install(Settings(node="here", **settings), number)

    yield install
    for handler in root.handlers:
        if handler not in before:
            handler.close()
    root.handlers[:] = before
    root.setLevel(level)


@pytest.fixture(autouse=True)
def nobody() -> Iterator[None]:
    """Whoever a test deals with is forgotten after it."""
    yield
    deal_with(NOBODY)


# -- what a line says -------------------------------------------------------------------------------------------------


def test_a_line_is_json_with_its_fields_and_ids() -> None:
    """A central store finds all of one request by one field; a field of ours is not overwritten by another's."""
    deal_with(Dealt(request_id="r1"))
    line = json.loads(JsonLines("here").format(record("a page", channel="main", ts="no", odd=object)))
    assert line["message"] == "a page" and line["channel"] == "main" and line["request_id"] == "r1"
    assert line["level"] == "info" and line["logger"] == "catalyst.x" and line["node"] == "here"
    assert line["ts"].endswith("Z") and len(line["ts"]) == 24


def test_a_fault_of_our_own_is_one_line_with_its_traceback() -> None:
    """Lines of a traceback would be lines of nobody in a central store."""
    try:
        raise RuntimeError(KEY)
    except RuntimeError as fault:
        made = record("it failed", logging.ERROR, exc_info=(type(fault), fault, fault.__traceback__))
    text = JsonLines("here").format(made)
    assert "\n" not in text and "RuntimeError" in json.loads(text)["error"] and KEY not in text
    assert "abc123" in text, "which key it was can be told"


@pytest.mark.parametrize(
    "secret",
    [
        KEY, "POST /in/tradingview/s3cr3tw0rd?x=1", "postgresql://u:s3cr3tw0rd@db/x", "Bearer s3cr3tw0rd",
        'Authorization: Basic s3cr3tw0rd"', "https://s3cr3tw0rd@sentry.example/1",
    ],
)  # fmt: skip
def test_what_looks_like_a_secret_is_blanked_in_either_form(secret: str) -> None:
    """In the message, in a field and in what a field holds."""
    for form in (JsonLines("here"), Lines()):
        text = form.format(record(f"got {secret}", reason=secret, nested={"why": secret}))
        assert "s3cr3tw0rd" not in text and KEY not in text


# -- whom it is about -------------------------------------------------------------------------------------------------


@pytest.fixture
def lines() -> Iterator[list[str]]:
    """What `catalyst.http` says, as JSON."""
    said: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(self.format(record))

    keep, log = Keep(), logging.getLogger("catalyst.http")
    keep.setFormatter(JsonLines("here"))
    log.addHandler(keep)
    log.setLevel(logging.DEBUG)
    yield said
    log.removeHandler(keep)
    log.setLevel(logging.NOTSET)


async def test_requests_at_once_are_told_apart_in_the_log_and_named_in_their_answers(lines: list[str]) -> None:
    """Whatever waits between: the name that came, or a new one if it could be mistaken for something else."""
    async with open_node(Settings(store_url="memory:", poll_s=60)) as node:
        key = node.first_key or ""
        app = httpx2.ASGITransport(door(build_app(node)))  # type: ignore[arg-type]
        async with httpx2.AsyncClient(transport=app, base_url="http://here") as rest:
            headers = {"Authorization": f"Bearer {key}"}
            named = {f"r{n}": headers | {"X-Request-Id": f"r{n}"} for n in range(5)}
            asked = [rest.post("/v1/channels/main/signals", json=ACME, headers=each) for each in named.values()]
            for name, answer in zip(named, await asyncio.gather(*asked), strict=True):
                assert answer.status_code == 201 and answer.headers.get_list("x-request-id") == [name]
            (refused,) = await asyncio.gather(rest.get("/v1/channels", headers={"X-Request-Id": 'a"b c'}))
            assert refused.status_code == 401 and refused.headers["x-request-id"].isalnum()
    assert about() == {}
    told = [json.loads(line) for line in lines]
    assert {each["request_id"] for each in told} == {*named, refused.headers["x-request-id"]} and len(told) == 6
    assert {each.get("key_id") for each in told} == {key.split("_")[2], None}
    assert {each["route"] for each in told} == {"/v1/channels/{channel}/signals", "/v1/channels"}


async def test_what_is_done_for_everybody_is_about_nobody() -> None:
    """A commit is begun by one publish and made for many; its warning must not name the one."""
    found: list[object] = []

    async def commit() -> None:
        found.append(about())

    deal_with(Dealt(connection_id="c1"))
    await vital(commit())
    assert found == [{}] and about() == {"connection_id": "c1"}
    also(key_id="k1", connection_id="c2")
    assert about() == {"connection_id": "c2", "key_id": "k1"}


# -- where it goes ----------------------------------------------------------------------------------------------------


def test_a_file_is_turned_over_by_size_and_few_are_kept(installed: Any, tmp_path: Path) -> None:
    """A log must not fill the disk that the signals are on; every process of several has a file of its own."""
    installed(2, log_file=str(tmp_path / "a.log"), log_file_bytes=4096, log_file_count=2)
    for n in range(200):
        logging.getLogger("catalyst").warning("line %s", n)
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == ["a-2.log", "a-2.log.1", "a-2.log.2"]
    assert all(path.stat().st_size <= 4096 for path in tmp_path.iterdir())
    assert json.loads((tmp_path / "a-2.log").read_text().splitlines()[-1])["message"] == "line 199"


def test_a_file_that_cannot_be_written_is_a_sentence(installed: Any, tmp_path: Path) -> None:
    """At start, by name."""
    with pytest.raises(Misconfigured, match="log_file"):
        installed(log_file=str(tmp_path / "no" / "such" / "folder.log"))


@pytest.mark.parametrize("path", ["/catalyst/_bulk", "/lines"])
def test_a_central_store_gets_every_line(installed: Any, path: str) -> None:
    """Elasticsearch's bulk form where the path says so, plain lines elsewhere; a password is never in a line."""
    with Sink() as sink:
        installed(log_ship_url=sink.url.replace("://", "://me:pass-w0rd@") + path)
        deal_with(Dealt(request_id="r9"))
        for n in range(700):
            logging.getLogger("catalyst").warning("line %s of %s", n, KEY)
        logs.flush()
        lines = [json.loads(line) for came in sink.to(path) for line in came.body.splitlines()]
        assert sink.came[0].headers["authorization"] == "Basic bWU6cGFzcy13MHJk"
        assert KEY.encode() not in sink.everything and b"pass-w0rd" not in sink.everything
    if path.endswith("_bulk"):
        assert lines[::2] == [{"create": {}}] * 700
        lines = lines[1::2]
    stamp = "@timestamp" if path.endswith("_bulk") else "ts"
    assert len(lines) == 700 and all(line[stamp] and line["request_id"] == "r9" for line in lines)
    assert logs.lines_lost() == 0


def test_a_central_store_that_is_away_holds_nobody_up(installed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines wait up to a bound, more are counted; when it is back the ones that waited come."""
    monkeypatch.setattr(shipping, "QUEUE_MAX", 50)
    monkeypatch.setattr(shipping, "BATCH_MAX", 10)
    monkeypatch.setattr(shipping, "AGAIN_S", (0.01, 0.02))
    monkeypatch.setattr(shipping, "GATHER_S", 0.02)
    with Sink() as sink:
        sink.status = 503
        installed(log_ship_url=sink.url + "/lines")
        for n in range(100):
            logging.getLogger("catalyst").warning("line %s", n)
        lost = logs.lines_lost()
        assert 35 <= lost <= 50
        until(lambda: sink.came)
        sink.came.clear()
        sink.status = 200
        until(lambda: sum(came.body.count(b'"line ') for came in sink.came) >= 100 - lost)
        until(lambda: any(isinstance(h, shipping.Shipper) and not h._lines.unfinished_tasks for h in _handlers()))


def _handlers() -> list[logging.Handler]:
    return logging.getLogger().handlers
