"""The command line with a server: what scripts rely on, what stands on which stream, what people see on a terminal.

Covers catalyst_signals.cli.publish, catalyst_signals.cli.signals, catalyst_signals.cli.keys, catalyst_signals.cli.rest,
catalyst_signals.cli.channels, catalyst_signals.cli.serve, catalyst_signals.cli.status, catalyst_signals.cli.store
and catalyst_signals.cli.stopping.
"""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from catalyst_signals.cli import run
from tests.running import RunningServer

pytestmark = pytest.mark.slow

CATALYST = [sys.executable, "-m", "catalyst_signals"]
TIMEOUT_S = 60


@pytest.fixture
def env(server: RunningServer, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The server's address and its admin's key, where the command line looks for them."""
    monkeypatch.setenv("CATALYST_URL", server.url)
    monkeypatch.setenv("CATALYST_KEY", server.admin_key)
    return dict(os.environ)


@pytest.fixture
def channel(env: dict[str, str], capfd: pytest.CaptureFixture[str], request: pytest.FixtureRequest) -> str:
    """A channel that no other test writes to."""
    name = re.sub("[^a-z0-9]", "-", request.node.name.lower())[:60]
    assert run(["channels", "add", name]) == 0
    capfd.readouterr()
    return name


def catalyst(*args: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command as a shell would."""
    return subprocess.run(
        [*CATALYST, *args], input=text, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )


@pytest.mark.parametrize("setting", ["store_url", "broker_url", "cache_url"])
def test_each_of_the_urls_is_a_flag_of_serve(setting: str) -> None:
    """Whoever tries it out types it; the environment is for what stays."""
    flags = {"store_url": "memory:", setting: "tape://me:hush@here"}
    words = [word for name, url in flags.items() for word in (f"--{name.replace('_', '-')}", url)]
    done = catalyst("serve", "--port", "0", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{setting} has an unknown scheme `tape:`" in done.stderr and "hush" not in done.stderr


def ndjson(count: int, **more: Any) -> str:
    """So many drafts, a line each."""
    return "".join(json.dumps({"symbol": f"S{i}", "action": "BUY", "id": f"n{i}"} | more) + "\n" for i in range(count))


def test_with_json_a_refusal_is_also_an_object_on_standard_error(
    env: dict[str, str], capfd: pytest.CaptureFixture[str]
) -> None:
    """Programs match the name; people read the line above it."""
    assert run(["history", "--channel", "nowhere", "--json"]) == 4
    out, err = capfd.readouterr()
    first, last = err.strip().split("\n")[0], err.strip().split("\n")[-1]
    assert out == "" and "catalyst channels add" in first
    assert json.loads(last)["error"] == "unknown_channel"


def test_a_key_that_is_none_is_refused_with_the_next_step(
    env: dict[str, str], capfd: pytest.CaptureFixture[str]
) -> None:
    """Exit code 4: trying again changes nothing."""
    assert run(["history", "--key", "cat_live_abc_def"]) == 4
    assert "catalyst keys add NAME" in capfd.readouterr().err


def test_a_filter_refused_by_the_server_is_pointed_at_too(
    env: dict[str, str], capfd: pytest.CaptureFixture[str]
) -> None:
    """`listen` and `history` say it as `filters check` does."""
    for args in (
        ["listen", "--filter", "foo = 3"],
        ["history", "--filter", "foo = 3"],
        ["keys", "add", "x", "--filter", "foo = 3"],
    ):
        assert run(args) == 4
        assert "\n  foo = 3\n  ^\n" in capfd.readouterr().err


def test_what_is_published_is_listened_to(channel: str, capfd: pytest.CaptureFixture[str]) -> None:
    """`listen --json` prints events and nothing else, byte for byte what `history --json` prints."""
    args = [
        "--confidence",
        "0.82",
        "--stop",
        "9.40",
        "--target",
        "11",
        "--target",
        "12",
        "--expires-in",
        "4h",
        "--channel",
        channel,
    ]
    assert run(["publish", "ACME", "BUY", *args]) == 0
    answer = json.loads(capfd.readouterr().out)
    assert (answer["seq"], answer["duplicate"], answer["durability"]) == (1, False, "disk")
    assert run(["listen", "--channel", channel, "--after", "0", "--count", "1", "--json"]) == 0
    heard = capfd.readouterr()
    assert heard.err == ""
    found = json.loads(heard.out)
    assert found["id"] == answer["id"] and found["data"]["stop"] == {"price": "9.40"}
    assert [target["price"] for target in found["data"]["targets"]] == ["11", "12"]
    assert run(["history", "--channel", channel, "--json"]) == 0
    assert capfd.readouterr().out == heard.out


def test_listen_ends_cleanly_at_ctrl_c_and_says_where(channel: str) -> None:
    """Exit code 0; the next `listen` goes on with what it printed."""
    assert catalyst("publish", "ACME", "BUY", "--channel", channel).returncode == 0
    command = [*CATALYST, "listen", "--channel", channel, "--after", "0"]
    listener = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert listener.stdout is not None
    first = listener.stdout.readline()
    listener.send_signal(signal.SIGINT)
    out, err = listener.communicate(timeout=TIMEOUT_S)
    assert listener.returncode == 0 and "BUY ACME" in first and out == ""
    place = re.search(r"--after ([0-9a-z]+:1\S*)", err)
    assert place is not None and "Traceback" not in err
    assert catalyst("publish", "ACME", "CLOSE", "--channel", channel).returncode == 0
    again = catalyst("listen", "--channel", channel, "--after", place[1], "--count", "1")
    assert "CLOSE ACME" in again.stdout and "BUY" not in again.stdout


def test_publish_answers_each_line_in_order(channel: str) -> None:
    """One bad line does not hide what became of the others; the exit code says that there was one."""
    lines = ndjson(1) + '\n{"symbol": “A”}\n[1]\n{"symbol":"C"}\n' + ndjson(2)
    done = catalyst("publish", "--json", "-", "--channel", channel, text=lines)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 4 and "3 of 6 were refused" in done.stderr
    assert [a.get("seq") or a["error"] for a in answers] == [1, "json_invalid", "draft_invalid", "draft_invalid", 1, 2]
    assert [a["line"] for a in answers if "error" in a] == [3, 4, 5] and answers[4]["duplicate"]
    assert "column 12" in answers[1]["message"]


def test_publish_answers_while_its_input_goes_on(channel: str) -> None:
    """A scanner's pipe is never closed; each signal must be out at once."""
    program = subprocess.Popen(
        [*CATALYST, "publish", "-", "--channel", channel], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert program.stdin is not None and program.stdout is not None
    for line in ndjson(3).splitlines():
        program.stdin.write(line + "\n")
        program.stdin.flush()
        assert json.loads(program.stdout.readline())["durability"] == "disk"
    program.communicate(timeout=TIMEOUT_S)
    assert program.returncode == 0


def test_a_price_is_sent_with_the_digits_it_was_written_with(channel: str) -> None:
    """1.50 in a file is 1.50 in the log."""
    assert (
        catalyst(
            "publish", "--json", "-", "--channel", channel, text='{"symbol":"A","action":"BUY","stop":1.10}\n'
        ).returncode
        == 0
    )
    done = catalyst("history", "--channel", channel, "--json")
    assert json.loads(done.stdout)["data"]["stop"]["price"] in ("1.10", "1.1")


def test_history_is_read_page_by_page(channel: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """All of it, in order; or where and as much as one asks for."""
    file = tmp_path / "many.ndjson"
    file.write_text(ndjson(2300))
    assert run(["publish", "--json", str(file), "--channel", channel]) == 0
    capfd.readouterr()

    def seqs(*args: str) -> list[int]:
        assert run(["history", "--channel", channel, "--json", *args]) == 0
        return [json.loads(line)["seq"] for line in capfd.readouterr().out.splitlines()]

    assert seqs() == list(range(1, 2301))
    assert seqs("--after", "1200", "--limit", "1001") == list(range(1201, 2202))
    assert seqs("--filter", "symbol in (S7, S2299)") == [8, 2300]
    assert run(["history", "--channel", channel]) == 0
    assert len(capfd.readouterr().out.splitlines()) == 2300


def test_a_position_that_cannot_be_resumed_says_where_to_go_on(channel: str, capfd: pytest.CaptureFixture[str]) -> None:
    """The number to type stands in the message."""
    assert run(["history", "--channel", channel, "--after", "99"]) == 4
    assert "go on with --after 0" in capfd.readouterr().err


def test_a_new_key_stands_alone_on_standard_output(env: dict[str, str], capfd: pytest.CaptureFixture[str]) -> None:
    """`CATALYST_KEY=$(catalyst keys add ann)` works; a revoked one does not."""
    assert run(["keys", "add", "ann", "--scope", "subscribe", "--channel", "*", "--expires-in", "1d"]) == 0
    key = capfd.readouterr().out.strip()
    assert re.fullmatch(r"cat_\w+", key)
    assert run(["history", "--key", key]) == 0
    assert run(["keys", "list", "--key", key]) == 4
    capfd.readouterr()  # The history of whatever other tests published.
    assert run(["keys", "list", "--json"]) == 0
    (ann,) = [k for k in json.loads(capfd.readouterr().out)["keys"] if k["user"] == "ann"]
    assert run(["keys", "list"]) == 0 and run(["users", "list"]) == 0
    assert ann["id"] in capfd.readouterr().out
    assert run(["keys", "revoke", ann["id"]]) == 0
    assert run(["history", "--key", key]) == 4
    assert run(["keys", "revoke", ann["id"]]) == 4
    assert run(["users", "add", "bob"]) == 0 and run(["users", "remove", "bob"]) == 0
    assert run(["users", "remove", "bob"]) == 4


def test_setting_one_side_of_a_retention_leaves_the_other(channel: str, capfd: pytest.CaptureFixture[str]) -> None:
    """And `add` never takes an existing channel's retention away."""
    assert run(["channels", "set", channel, "--keep-for", "30d", "--keep-last", "1000"]) == 0
    assert run(["channels", "set", channel, "--keep-last", "all", "--json"]) == 0
    assert json.loads(capfd.readouterr().out.splitlines()[-1])["retention"] == {"age_s": 30 * 86_400, "count": None}
    assert run(["channels", "add", channel]) == 4
    assert run(["channels", "list"]) == 0
    out, err = capfd.readouterr()
    assert "30 days" in out and "catalyst channels set" in err


def test_ingest_add_gives_an_address_that_works(
    channel: str, server: RunningServer, capfd: pytest.CaptureFixture[str]
) -> None:
    """From the URL on the screen to a signal in the channel."""
    assert run(["ingest", "add", "tradingview", "--channel", channel]) == 0
    out = capfd.readouterr().out
    url = next(line.strip() for line in out.splitlines() if "/in/tradingview/" in line)
    assert "{{strategy.order.action}}" in out and "ports 80 and 443" in out
    with server.http() as http:
        assert http.post(url, content="BUY ACME").status_code == 201
    assert run(["listen", "--channel", channel, "--after", "0", "--count", "1"]) == 0
    assert "BUY ACME source tradingview" in capfd.readouterr().out
    assert run(["ingest", "list", "--json"]) == 0
    (source,) = [s for s in json.loads(capfd.readouterr().out)["ingest"] if s["channel"] == channel]
    assert run(["ingest", "rotate", source["id"], "--json"]) == 0
    rotated = json.loads(capfd.readouterr().out)["url"]
    with server.http() as http:
        assert http.post(url, content="BUY ACME").status_code == 404
        assert http.post(rotated, content="SELL ACME").status_code == 201
    assert run(["ingest", "remove", source["id"]]) == 0
    assert run(["ingest", "add", "nonsense"]) == 4
    assert "tradingview" in capfd.readouterr().err


def test_status_says_ready_with_and_without_a_key(
    env: dict[str, str], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a monitor asks needs no key."""
    assert run(["status"]) == 0
    assert "is ready" in (out := capfd.readouterr().out) and "everything" in out
    monkeypatch.delenv("CATALYST_KEY")
    assert run(["status", "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["ready"] is True


def test_a_reader_that_has_enough_ends_it_without_noise(channel: str, tmp_path: Path) -> None:
    """`catalyst history --json | head -1`."""
    file = tmp_path / "many.ndjson"
    file.write_text(ndjson(1500))
    assert catalyst("publish", "--json", str(file), "--channel", channel).returncode == 0
    reader = subprocess.Popen(
        [*CATALYST, "history", "--json", "--channel", channel],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert reader.stdout is not None and reader.stderr is not None
    reader.stdout.readline()
    reader.stdout.close()
    assert reader.wait(TIMEOUT_S) == 141
    assert reader.stderr.read() == ""
    reader.stderr.close()


def test_on_a_terminal_listen_is_a_table_until_ctrl_c(channel: str) -> None:
    """Drawn on the alternate screen, so that the terminal is as it was."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ |= {"TERM": "xterm-256color", "COLUMNS": "100", "LINES": "20"}
        os.execv(sys.executable, [*CATALYST, "listen", "--channel", channel])
    try:
        seen = until(terminal, "live")
        assert catalyst("publish", "ACME", "BUY", "--confidence", "0.82", "--channel", channel).returncode == 0
        seen += until(terminal, "ACME")
        os.write(terminal, b"\x03")
        seen += until(terminal, "go on with")
        ends = time.monotonic() + TIMEOUT_S
        while (ended := os.waitpid(pid, os.WNOHANG)) == (0, 0) and time.monotonic() < ends:
            time.sleep(0.02)
        assert os.waitstatus_to_exitcode(ended[1]) == 0
    except BaseException:
        os.kill(pid, signal.SIGKILL)
        raise
    finally:
        os.close(terminal)
    assert "\x1b[?1049h" in seen and "\x1b[?1049l" in seen and "█" in seen and "Traceback" not in seen


def until(terminal: int, text: str) -> str:
    """What a program writes to a terminal until `text` comes."""
    seen, ends = "", time.monotonic() + TIMEOUT_S
    while text not in seen and time.monotonic() < ends:
        if select.select([terminal], [], [], 0.5)[0]:
            try:
                seen += os.read(terminal, 65_536).decode(errors="replace")
            except OSError:
                break
    assert text in seen, f"{text!r} did not come:\n{seen[-2000:]}"
    return seen


# --- serve, verify, demo -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        (["--port", "99999"], "CATALYST_PORT"),
        (["--store-url", "mongo://x"], "unknown scheme"),
        (["--log-level", "loud"], "CATALYST_LOG_LEVEL"),
    ],
)
def test_settings_that_cannot_be_are_a_sentence(setting: list[str], says: str) -> None:
    """Exit code 2, before anything is made."""
    done = catalyst("serve", *setting)
    assert done.returncode == 2 and says in done.stderr and "Traceback" not in done.stderr and done.stdout == ""


@pytest.mark.parametrize(("text", "says"), [("prot = 1", "`prot`"), ("port = ", "cannot be read")])
def test_a_mistake_in_catalyst_toml_is_a_sentence(
    text: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unknown name is not passed over: it is a typing mistake that would hurt later."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "catalyst.toml").write_text(text)
    done = catalyst("serve")
    assert done.returncode == 2 and says in done.stderr and "Traceback" not in done.stderr


def test_a_port_that_is_taken_is_a_sentence(server: RunningServer, tmp_path: Path) -> None:
    """Exit code 2, and what to type instead."""
    done = catalyst("serve", "--port", str(server.port), "--store-url", f"sqlite:///{tmp_path / 'x.db'}")
    assert done.returncode == 2 and "--port" in done.stderr and "Traceback" not in done.stderr


def test_a_store_that_is_in_use_is_refused(server: RunningServer) -> None:
    """Two writers on one file would be the end of it."""
    done = catalyst("serve", "--port", "0", "--store-url", server.store_url)
    assert done.returncode == 4 and "another process" in done.stderr and "Traceback" not in done.stderr


def test_verify_reads_the_log_of_a_running_server(channel: str, server: RunningServer) -> None:
    """It opens the file to read only."""
    assert catalyst("publish", "ACME", "BUY", "--channel", channel).returncode == 0
    done = catalyst("verify", "--store-url", server.store_url)
    assert done.returncode == 0 and f"{channel}: 1 event, as it was written" in done.stdout and "/s" in done.stdout
    assert done.stderr == ""


def test_verify_names_the_first_event_that_is_wrong(tmp_path: Path) -> None:
    """One flipped byte in one body."""
    with RunningServer(tmp_path) as running:
        done = subprocess.run(
            [*CATALYST, "publish", "--json", "-", "--url", running.url, "--key", running.admin_key],
            input=ndjson(30, note="right"), capture_output=True, text=True, timeout=TIMEOUT_S, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        running.stop()
    with sqlite3.connect(tmp_path / "catalyst.db") as db:
        (number,) = db.execute("SELECT place FROM events WHERE CAST(body AS TEXT) LIKE '%\"S16\"%'").fetchone()
        changed = "UPDATE events SET body = CAST(replace(CAST(body AS TEXT), 'right', 'wrong') AS BLOB) WHERE place = ?"
        db.execute(changed, [number])
    db.close()
    found = catalyst("verify", "--store-url", running.store_url)
    assert found.returncode == 1 and "WRONG: main: event 17 " in found.stdout
    said = json.loads(catalyst("verify", "--store-url", running.store_url, "--json").stdout)
    assert said["ok"] is False and (said["faults"][0]["channel"], said["faults"][0]["seq"]) == ("main", 17)
    assert catalyst("verify", "--store-url", f"sqlite:///{tmp_path / 'nowhere.db'}").returncode == 2


def test_the_demo_shows_signals_and_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first minute of everybody; the first signal is there within five seconds of it."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("CATALYST_PORT", "1")  # Nobody's settings get in its way.
    started = time.monotonic()
    show = subprocess.Popen(
        [*CATALYST, "demo", "--seconds", "8"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert show.stdout is not None
    first_s = next(time.monotonic() - started for line in show.stdout if "BUY ACME" in line)
    out, err = show.communicate(timeout=TIMEOUT_S)
    assert show.returncode == 0 and err == ""
    assert first_s < 5, f"the first signal was there after {first_s:.1f} s"
    assert "source tradingview" in out and "SELL GLBX" in out and "keys add ann" in out
    assert list(tmp_path.iterdir()) == []
