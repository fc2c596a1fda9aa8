"""The command line without a server: exit codes, sentences, how a signal looks.

Covers catalyst_signals.cli.filters, catalyst_signals.cli.options and catalyst_signals.cli.console.
"""

from __future__ import annotations

import json
import random
import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.main import get_command

from catalyst_signals import __main__ as entry
from catalyst_signals import cli
from catalyst_signals.cli import console, exit_code_of, run
from catalyst_signals.cli.demo import Alert, Cancel, Update, samples
from catalyst_signals.cli.lines import line_of
from catalyst_signals.cli.options import Mistake, duration_of, place_of
from catalyst_signals.cli.screen import Screen
from catalyst_signals.cli.table import AGE, BY_WORTH, GAP, Row, fit, table_of
from catalyst_signals.errors import (
    CatalystError,
    Forbidden,
    InvalidFilter,
    Misconfigured,
    MissingDriver,
    StoreInUse,
    StoreUnavailable,
    Unavailable,
    Unreachable,
)
from catalyst_signals.events import Position, now_us
from catalyst_signals.ingest import read
from catalyst_signals.signals import signal_draft
from catalyst_signals.versions import update

ROOT = Path(__file__).parent.parent.parent


def event(seq: int = 1, type: str = "signal.published", age_s: float = 1, **data: Any) -> dict[str, Any]:
    """An event as it is on the wire."""
    ts = (datetime.now(UTC) - timedelta(seconds=age_s)).isoformat()
    return {"type": type, "channel": "main", "seq": seq, "id": f"i{seq}", "version": 1, "ts": ts, "data": data}


# --- Exit codes and sentences ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Forbidden(), 4),
        (InvalidFilter(), 4),
        (StoreInUse(), 4),
        (Misconfigured(), 2),
        (MissingDriver(), 3),
        (Unreachable(), 5),
        (Unavailable(), 5),
        (StoreUnavailable(), 5),
        (StoreUnavailable(required="disk+standby", reached="disk"), 4),
        (CatalystError(), 4),
    ],
)
def test_an_exit_code_says_what_kind_of_no_it_was(error: CatalystError, code: int) -> None:
    """Scripts try again on 5, and never on 4."""
    assert exit_code_of(error) == code


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["nonsense"], "No such command"),
        (["listen", "--nonsense"], "No such option"),
        (["listen", "--after", "soon"], "a seq is a whole number from 0"),
        (["listen", "--count", "0"], "--count"),
        (["publish", "ACME"], "a SYMBOL and an ACTION"),
        (["publish", "ACME", "BUY", "--json", "-"], "leave the rest out"),
        (["publish", "--json", "/nowhere/at/all"], "cannot be read"),
        (["update", "x"], "--set FIELD=VALUE"),
        (["update", "x", "--set", "stop"], "FIELD=VALUE, such as stop=9.80"),
        (["update", "x", "--set", "stop=1", "--set", "stop=2"], "set twice"),
        (["update", "x", "--set", "stop=1", "--set", "stop.price=2"], "as a whole and in part"),
        (["update", "x", "--json", "/nowhere/at/all"], "cannot be read"),
        (["cancel", "x", "--if-version", "0"], "--if-version"),
        (["history", "--id", "x", "--limit", "3"], "leave --filter, --after and --limit out"),
        (["listen", "--stale", "maybe"], "'hold', 'send'"),
        (["publish", "ACME", "BUY", "--expires-in", "soon"], "a duration looks like 90s"),
        (["channels", "set", "main"], "--keep-for 30d"),
        (["channels", "list", "--url", "example.org"], "http://host:port"),
        (["verify", "--store-url", "memory:"], "nothing to read"),
    ],
)
def test_a_command_that_was_typed_wrong_exits_2_and_says_so_in_a_sentence(
    args: list[str], says: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """People read one line; a traceback sends them away."""
    monkeypatch.setenv("CATALYST_KEY", "cat_test_x_y")
    assert run(args) == 2
    out, err = capfd.readouterr()
    assert out == "" and says in err and "Traceback" not in err and err.startswith("catalyst: ")
    assert err.count("\n") <= 3


def test_without_a_key_it_says_where_to_get_one(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first thing everybody forgets."""
    monkeypatch.delenv("CATALYST_KEY", raising=False)
    assert run(["listen"]) == 2
    err = capfd.readouterr().err
    assert "CATALYST_KEY" in err and "catalyst keys add" in err and "catalyst listen --help" in err


def test_an_unreachable_server_exits_5_and_says_how_to_start_one(capfd: pytest.CaptureFixture[str]) -> None:
    """On every way there: REST and WebSocket."""
    for args in (["status"], ["listen", "--key", "cat_a_b_c"], ["keys", "list", "--key", "cat_a_b_c"]):
        assert run([*args, "--url", "http://127.0.0.1:1"]) == 5
        out, err = capfd.readouterr()
        assert out == "" and "catalyst serve" in err and "127.0.0.1:1" in err


@pytest.mark.parametrize(
    ("command", "extra"), [("listen", "cli"), ("verify", "cli"), ("serve", "server"), ("bench", "server")]
)
def test_a_missing_extra_exits_3_with_the_line_that_installs_it(
    command: str, extra: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The light install has the client library alone."""
    monkeypatch.setattr(entry, "find_spec", lambda name: None)
    monkeypatch.setattr(sys, "argv", ["catalyst", command])
    with pytest.raises(SystemExit) as stopped:
        entry.main()
    assert stopped.value.code == 3
    assert f"pip install 'catalyst-signals[{extra}]'" in capsys.readouterr().err


def test_a_bug_of_ours_is_one_sentence_too(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """With the place, so that it can be reported; the traceback on request."""

    def broken(*args: object) -> None:
        raise KeyError("x")

    monkeypatch.setattr(cli.filters, "parse", broken)
    assert run(["filters", "check", "x"]) == 70
    err = capsys.readouterr().err
    assert "a bug of ours: KeyError" in err and "test_cli.py" in err and "Traceback" not in err


def every_command(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command that does something, with the words that lead to it."""
    inner = getattr(command, "commands", {})
    for name, each in inner.items():
        yield from every_command(each, (*path, name))
    if not inner:
        yield path, command


def test_every_command_has_help_with_an_example_and_speaks_json() -> None:
    """`--help` is the page people read."""
    found = dict(every_command(get_command(cli.app)))
    assert " ".join(sorted({path[0] for path in found})) == (
        "advise backup bench cancel channels deliveries demo deploy erase export filters halt halts history import "
        "ingest keys listen migrate publish restore resume serve status targets transfer update users verify"
    )
    for path, command in found.items():
        assert command.help and f"catalyst {' '.join(path)}" in command.epilog, path
        assert any("--json" in param.opts for param in command.params), path


def test_every_flag_is_in_cli_md() -> None:
    """The page is kept by hand; this is what keeps it honest."""
    text = (ROOT / "docs" / "cli.md").read_text()
    flags = {
        opt for _, command in every_command(get_command(cli.app)) for param in command.params for opt in param.opts
    }
    assert {flag for flag in flags if flag.startswith("--") and flag not in text} == {"--help"} & flags


def test_a_duration_is_written_as_people_write_it() -> None:
    """Wrong ones are refused, not guessed at."""
    assert duration_of("1h30m", "--x") == timedelta(minutes=90)
    assert duration_of("90s", "--x") == timedelta(seconds=90)
    assert duration_of("30D", "--x") == timedelta(days=30)
    for text in ("", "0s", "4", "h", "-4h", "4h5", "1.5h", "99999999999d"):
        with pytest.raises(Mistake):
            duration_of(text, "--x")


def test_a_place_is_a_seq_or_what_listen_printed_when_it_ended() -> None:
    """With the epoch a resume is exact also after a restore."""
    assert place_of("17", "main") == 17
    assert place_of("a1b2c3:17:0123abcd", "main") == Position("main", "a1b2c3", 17, "0123abcd")
    assert place_of("a1b2c3:17", "main") == Position("main", "a1b2c3", 17)
    assert place_of(None, "main") is None
    for text in ("-1", "1.5", "x", "9" * 30):
        with pytest.raises(Mistake):
            place_of(text, "main")


# --- Filters -----------------------------------------------------------------------------------------------------


def test_a_filter_is_checked_without_a_server(capfd: pytest.CaptureFixture[str]) -> None:
    """Canonical text, tree, index."""
    assert run(["filters", "check", "confidence >= 0.70 and symbol in (XYZ, ACME)"]) == 0
    out = capfd.readouterr().out
    assert out.startswith("confidence >= 0.7 and symbol in (ACME, XYZ)\n") and "all of" in out
    assert "found by symbol ACME, XYZ and confidence >= 0.7" in out


def test_a_mistake_in_a_filter_is_pointed_at(capfd: pytest.CaptureFixture[str]) -> None:
    """A caret under the place, and what may stand there."""
    assert run(["filters", "check", "confidence ~ 3"]) == 4
    lines = capfd.readouterr().err.split("\n")
    assert lines[1].index("~") == lines[2].index("^") and "allowed: " in lines[3]


def test_an_open_filter_is_told_why_it_is_open(capfd: pytest.CaptureFixture[str]) -> None:
    """It costs the server a test for every signal, so its author hears what to add."""
    assert run(["filters", "check", "stop exists"]) == 0
    assert "tested on every signal" in capfd.readouterr().out


# --- How a signal looks ------------------------------------------------------------------------------------------


def test_a_line_says_what_to_do_first() -> None:
    """People pipe it into a chat."""
    full = event(
        action="open", direction="long", instrument={"symbol": "ACME"}, confidence=0.82, entry={"price": "10.10"},
        stop={"price": "9.40"}, targets=[{"price": "11.50"}, {"offset": "0.2", "unit": "pct"}],
        catalyst={"type": "fda", "subtype": "approval"}, source={"name": "edgar"}, note="yes",
    )  # fmt: skip
    assert re.fullmatch(r"\d\d:\d\d:\d\d", line_of(full)[:8])
    assert line_of(full)[8:] == (
        " BUY ACME 0.82 entry 10.10 stop 9.40 target 11.50 20% catalyst fda approval source edgar note yes"
    )


ODD: list[dict[str, Any]] = [
    {},
    {"type": "signal.published", "seq": 1, "id": "x", "erased": True},
    {"type": "key.created", "id": "x", "ts": "never", "data": {"user": "u"}},
    {"type": "signal.published", "data": []},
    event(action=7, instrument="ACME", confidence="high", entry=[], stop=None, targets={"price": 1}, catalyst=3),
    event(action="open", direction="long", instrument={}, confidence=17, stop={"offset": "x", "unit": "pct"}),
    event(action="open", direction="long", instrument={"symbol": "\x1b[31mRED\x07\u202e"}, targets=[1], note="\x9b2J"),
    event(action="open", direction="short", source={"name": "\x1b]0;x\x07"}, catalyst={"type": ["a", "\x1bc"]}),
    event(type="signal.cancelled", action="open", direction=["\x1b"], instrument={"symbol": "A"}, reason="\x1b[2J"),
    event(action="open", instrument={"symbol": "A"}) | {"type": "signal.updated", "version": "\x1b", "was": [1]},
    event(action="open", instrument={"symbol": "A"}) | {"type": "signal.updated", "was": [3, {"data": {"stop": {}}}]},
    event(superseded_by="\x1b\n", expires_at=3) | {"type": "signal.superseded", "was": {"x": 1}},
    event(action="watch", instrument={"symbol": "寿司" * 20}, expires_at="soon", entry={"low": "1", "high": "2"}),
]  # fmt: skip


@pytest.mark.parametrize("odd", ODD)
def test_whatever_an_event_holds_it_is_shown_and_not_obeyed(odd: dict[str, Any]) -> None:
    """A publisher's text may neither end the listener nor paint on a subscriber's terminal."""
    line = line_of(odd)
    screen = Screen("main", "x = 1", "http://h", Console(width=120, height=20, force_terminal=True, color_system=None))
    screen.event(odd)
    with screen._console.capture() as captured:
        screen._console.print(screen.picture(datetime.now(UTC)))
    for text in (line, captured.get()):
        assert not set(text) & set("\x1b\x07\x9b\u202e") and "\n" not in line


@pytest.mark.parametrize("width", [20, 40, 60, 80, 100, 120, 200, 400])
def test_the_table_is_never_wider_than_the_terminal(width: int) -> None:
    """At any width the action is there; what is worth least is left out first."""
    columns = [column for column, _ in fit(width, AGE)]
    assert sum(cells for _, cells in fit(width, AGE)) + GAP * (len(columns) - 1) <= width
    assert [c for c in BY_WORTH if c in columns] == list(BY_WORTH[: len(columns) - 1]) or width < 80
    rich = Console(width=width, color_system=None)
    row = event(
        action="open", direction="long", instrument={"symbol": "ACME"}, confidence=1, targets=[{"price": "1.5"}] * 9
    )
    with rich.capture() as captured:
        rich.print(table_of([Row.of(row, datetime.now(UTC))], width, AGE))
    lines = captured.get().rstrip("\n").split("\n")
    assert len(lines) == 2 and all(len(line) <= width for line in lines)
    assert width < 40 or ("BUY" in lines[1] and "ACME" in lines[1])


def test_the_picture_fills_the_screen_exactly() -> None:
    """One line too many, and the terminal scrolls at every draw."""
    for count in (0, 1, 5, 14, 15, 16, 400):
        rich = Console(width=100, height=20, color_system=None)
        screen = Screen("main", None, "http://h", rich)
        for seq in range(count):
            screen.event(event(seq, action="watch", instrument={"symbol": "A"}))
        with rich.capture() as captured:
            rich.print(screen.picture(datetime.now(UTC)), end="")
        lines = captured.get().rstrip("\n").split("\n")
        assert len(lines) == 20 and "Ctrl-C" in lines[-1], count


def test_what_is_over_says_so_in_the_table() -> None:
    """A stale signal is never shown as if it were fresh."""
    past = (datetime.now(UTC) - timedelta(seconds=5)).isoformat()
    row = Row.of(event(action="open", direction="long", instrument={"symbol": "A"}, expires_at=past), datetime.now(UTC))
    assert row.over and row.style == "bright_black"
    rich = Console(width=100, color_system=None)
    with rich.capture() as captured:
        rich.print(table_of([row], 100, AGE))
    assert "expired" in captured.get()


# --- What is pasted and played -----------------------------------------------------------------------------------


def test_every_sample_of_the_demo_is_one_a_server_takes() -> None:
    """The first thing anybody sees of us."""
    shown, bodies = set(), {}
    for sample in islice(samples(random.Random(7)), 300):
        if isinstance(sample, Cancel):
            del bodies[sample.id]  # It was published, and nothing comes after.
            shown.add("cancelled")
            continue
        if isinstance(sample, Update):
            doc = {"type": "signal.published", "seq": 1, "id": sample.id, "version": 1, "ts": "t", **bodies[sample.id]}
            assert update(doc, sample.changes) is not None
            shown.add("updated")
            continue
        if isinstance(sample, Alert):
            drafts = read(
                "tradingview", sample.text.encode(), sample.content_type, ingest_id="i", now_us=now_us()
            ).drafts
        else:
            drafts = [sample]
        assert drafts
        for draft in drafts:
            stored, _ = signal_draft(draft, subject="demo")
            assert stored.id not in bodies
            bodies[stored.id] = json.loads(stored.body)
            shown.add(str(draft["action"]).lower())
    assert {"buy", "sell", "watch", "close", "reduce", "avoid", "open", "updated", "cancelled"} <= shown


def test_the_demo_shows_a_whole_life_in_its_first_half_minute() -> None:
    """One signal is changed, one cancelled, one expires while somebody still watches."""
    first = list(islice(samples(random.Random(7)), 14))
    assert any(isinstance(sample, Update) for sample in first) and any(isinstance(sample, Cancel) for sample in first)
    ends = [sample.get("expires_at", "9") for sample in first if isinstance(sample, dict)]
    assert min(ends) < (datetime.now(UTC) + timedelta(seconds=15)).isoformat()


def test_control_characters_are_made_visible() -> None:
    """Also in an error that quotes what somebody sent."""
    assert console.clean("a\x1b[31m\nb") == "a\N{REPLACEMENT CHARACTER}[31m b"
