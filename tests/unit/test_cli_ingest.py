"""`catalyst ingest test`: what a body would become, without a server and without publishing."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from catalyst_signals.cli import run
from catalyst_signals.cli.ingest import instructions_for
from catalyst_signals.ingest import ADAPTERS


@pytest.fixture
def body(tmp_path: Path) -> Path:
    """A file to be filled."""
    return tmp_path / "body"


def test_a_body_is_shown_as_it_would_be_stored(body: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """For a person as a table, for a program as JSON."""
    body.write_text('{"ticker":"NASDAQ:ACME","action":"buy","price":"10.15","sl":"9.95","secret":"hunter2"}')
    assert run(["ingest", "test", "tradingview", str(body)]) == 0
    out = capfd.readouterr().out
    assert "instrument.symbol" in out and "ACME" in out and "stop.price" in out and "hunter2" not in out
    assert run(["ingest", "test", "tradingview", str(body), "--json"]) == 0
    (draft,) = json.loads(capfd.readouterr().out)["drafts"]
    assert draft["stop"] == {"price": "9.95"} and draft["id"].startswith("tradingview.test.")


def test_a_refused_body_is_exit_code_4(body: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """With the refusal in words, and as JSON where that was asked for."""
    body.write_text('{"ticker":"NQ","action":"bu"}')
    assert run(["ingest", "test", "traderspost", str(body), "--json"]) == 4
    said = capfd.readouterr()
    assert said.out == "" and json.loads(said.err.splitlines()[-1])["sender_error"] == "invalid-action"


def test_options_are_given_by_name(body: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """As they were when the address was made."""
    body.write_text('{"message_type":"bot","bot_id":1,"email_token":"x","delay_seconds":0,"pair":"USDT_BTC"}')
    assert run(["ingest", "test", "threecommas", str(body), "--option", "direction=short", "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["drafts"][0]["direction"] == "short"
    assert run(["ingest", "test", "threecommas", str(body), "--option", "direction=up"]) == 4
    assert run(["ingest", "test", "threecommas", str(body), "--option", "direction"]) == 2


def test_what_holds_no_signal_and_what_is_late_says_so(body: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Neither is an error of whoever tries it."""
    body.write_text('{"event":"heartbeat"}')
    assert run(["ingest", "test", "tradingview", str(body)]) == 0
    assert "no signal is in it" in capfd.readouterr().out
    body.write_text('{"action":"ENTER_LONG","instrument":"BTCUSDT.P","timestamp":"2026-01-01T00:00:00Z","maxLag":"60"}')
    assert run(["ingest", "test", "okx", str(body)]) == 0
    assert "would be refused" in capfd.readouterr().err


def test_a_body_may_come_from_standard_input(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """And a file that is not there is a mistake of the caller's."""
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"BUY ACME")))
    assert run(["ingest", "test", "tradingview", "-", "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["drafts"][0]["action"] == "open"
    assert run(["ingest", "test", "tradingview", str(tmp_path / "none")]) == 2
    assert run(["ingest", "test", "telex", str(tmp_path)]) in (2, 4)


@pytest.mark.parametrize("adapter", [*ADAPTERS, "from-a-newer-server"])
def test_everybody_is_told_what_to_do_with_the_address(adapter: str) -> None:
    """Also of an adapter that only the server knows."""
    text = "\n".join(instructions_for(adapter, "https://signals.example/in/x/SECRET"))
    assert "https://signals.example/in/x/SECRET" in text
