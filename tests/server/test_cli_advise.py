"""`catalyst advise` as somebody types it: flags, the questions on a terminal, a running server, pictures.

Covers catalyst_signals.cli.advise, catalyst_signals.cli.advice and catalyst_signals.cli.wizard.
"""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from pathlib import Path
from threading import Thread, Timer
from xml.etree import ElementTree

import msgspec
import pytest

from catalyst_signals import advisor
from catalyst_signals.advisor import Load, advise
from catalyst_signals.advisor.capacity import read_capacity
from catalyst_signals.advisor.shapes import Advice, Usage
from catalyst_signals.advisor.sizing import title_of
from catalyst_signals.advisor.standing import stand
from catalyst_signals.advisor.tables import Cell, Option
from catalyst_signals.cli import run
from catalyst_signals.cli.advice import say_advice, say_charts
from catalyst_signals.cli.wizard import Answers
from tests.running import RunningServer

pytestmark = pytest.mark.slow

CATALYST = [sys.executable, "-m", "catalyst_signals", "advise"]
SMALL = ["--users", "15", "--signals", "200", "--budget", "50", "--devops-hours", "4"]
TIMEOUT_S = 30


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting and no capacity.toml of whoever runs the tests."""
    for name in [name for name in os.environ if name.startswith("CATALYST_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "110")
    monkeypatch.chdir(tmp_path)


def advised(capfd: pytest.CaptureFixture[str], *args: str) -> Advice:
    """What `--json` says."""
    capfd.readouterr()
    assert run(["advise", *args, "--json"]) == 0
    return msgspec.json.decode(capfd.readouterr().out, type=Advice)


# --- Flags -------------------------------------------------------------------------------------------------------


def test_as_json_it_is_the_advice_of_the_library(capfd: pytest.CaptureFixture[str]) -> None:
    """A script reads the same as a program that imports it."""
    assert advised(capfd, *SMALL) == advise(Load(users=15, signals=200, budget=50, devops_hours=4))


@pytest.mark.parametrize("columns", [80, 110])
@pytest.mark.parametrize("users", [3, 15, 60, 500, 5000])
def test_the_screen_says_all_of_it_and_fits(
    users: int, columns: int, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Who looks at it reads size, price, parts, settings, what is missing; and copies what is to copy."""
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("FORCE_COLOR", "1")
    flags = ["--users", str(users), "--signals", "40", "--budget", "100"]
    assert run(["advise", *flags]) == 0
    lines = plain(capfd.readouterr().out).splitlines()
    advice = advised(capfd, *flags)
    assert lines[0].startswith(f"{title_of(advice.scale)}: for up to")
    said = " ".join(" ".join(lines).split())
    for chosen in advice.stack.values():
        assert set(chosen.pick.split()) <= set(said.split()), chosen
    for name, value in advice.settings.items():
        assert any(line.startswith(f"{name}=") and line.rstrip("'\"").endswith(value) for line in lines), name
    assert all(check.item.split()[0] in said for check in advice.checklist)
    long = [line for line in lines if len(line.rstrip()) > columns and not line.startswith(("CATALYST_", "catalyst "))]
    assert not long
    assert len(lines) <= 125


@pytest.mark.parametrize("users", [3, 15, 60, 500])
def test_in_full_it_shows_everything_that_the_matrix_has(users: int, capfd: pytest.CaptureFixture[str]) -> None:
    """Covers catalyst_signals.cli.advice_full and catalyst_signals.cli.sheets, which fold nothing away."""
    flags = ["--users", str(users)]
    assert run(["advise", *flags, "--full"]) == 0
    said = set(capfd.readouterr().out.split())
    advice = advised(capfd, *flags)
    matrix = advice.matrix
    texts = [each.name for all_of_it in matrix.options.values() for each in all_of_it]
    texts += [cell.text for all_of_it in matrix.options.values() for each in all_of_it for cell in cells_of(each)]
    texts += [text for each in matrix.features for text in msgspec.structs.astuple(each)]
    texts += [
        text for each in matrix.path for text in (each.when, each.stack, each.cost.says, each.features, each.goal)
    ]
    texts += [*matrix.because, *(text for lines in matrix.stack.values() for text in lines)]
    texts += [text for step in advice.next.step for text in (step.what, *step.how, step.ours)] if advice.next else []
    texts += [text for each in matrix.donts for text in (each.what, each.why)] if advice.next else []
    texts += [matrix.complexity, matrix.when, matrix.setup_hours, matrix.maintenance_hours, advice.cost.note]
    texts += [text for each in advice.cost.lines for text in (each.what, each.why)]
    texts += [text for each in advice.stack.values() for text in (each.decision, each.matrix_runner_up)]
    plain_words = {word.strip(",;.()") for word in said}
    for text in texts:
        assert {word.strip(",;.()") for word in text.split() if len(word) < 40} <= plain_words, text


def cells_of(option: Option) -> Iterator[Cell]:
    """What a table says of it in words."""
    values = [getattr(option, name) for name in option.__struct_fields__]
    yield from (value for value in values if isinstance(value, Cell))


def shown(capfd: pytest.CaptureFixture[str], advice: Advice, answers: Answers | None = None) -> list[str]:
    """The lines of the short answer, each with single spaces."""
    capfd.readouterr()
    say_advice(advice)
    if answers is not None:
        say_charts(advice, answers)
    return [" ".join(line.split()) for line in capfd.readouterr().out.splitlines()]


def test_the_screen_marks_what_fits_and_says_what_runs_until_then(capfd: pytest.CaptureFixture[str]) -> None:
    """Who has $200 and 6 hours sees what these buy; a price that is known in part is not said to fit."""
    lines = shown(capfd, advise(Load(users=60, signals=500, budget=200, devops_hours=6)))
    fitting = [line for line in lines if line.endswith(" fits")]
    assert fitting == ["Heroku $129 to 236 4 fits"] and "Railway $46 to 96 + ? 4" in lines
    dear = shown(capfd, advise(Load(users=60, signals=500, budget=100, devops_hours=6)))
    assert "Heroku $129 to 236 4" in dear
    said = " ".join(lines)
    assert "Not built yet: the broker Redis Streams (redis+streams://) (until then Redis Pub/Sub); " in said
    assert "later, to Large when absolutely necessary 8-12 weeks, risk high; downtime by the matrix 8-24 hours" in said
    assert "Do not: Start with Kubernetes" in said and "200-1,000 a day" in said and "signals stored" not in said


@pytest.mark.parametrize(
    ("load", "command"),
    [
        (Load(users=3), "catalyst deploy local --scale mvp --out local"),
        (Load(users=15), "catalyst deploy systemd --scale small --out systemd"),
        (Load(users=15, devops_hours=2), "catalyst deploy railway --scale small --out railway"),
        (Load(users=60), "catalyst deploy ecs --scale small --out ecs"),
        (Load(users=500), "catalyst deploy ecs --scale small --out ecs"),
    ],
    ids=str,
)
def test_the_next_command_is_for_the_place_that_is_advised(
    load: Load, command: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert any(line.startswith(command) for line in shown(capfd, advise(load)))


def test_where_a_server_stands_is_a_table_of_its_limits(capfd: pytest.CaptureFixture[str]) -> None:
    """What is reached, what is near, and what does not grow."""
    seen = Usage(users=20, signals_per_day=150.0, signals_growth=1.0, users_growth=0.0, store_bytes=5_000_000)
    lines = shown(capfd, advise(Load(users=20, signals=150), standing=stand(seen, read_capacity())))
    assert any(line.startswith("users 20 20 users") and line.endswith("100 % now matrix") for line in lines)
    assert any(line.startswith("signals 150 200 a day") and line.endswith("75 % in 50 days matrix") for line in lines)
    assert any(line.startswith("connections") and line.endswith("0 % - measured") for line in lines)
    assert lines[0].startswith("It stands at Small. Move to Medium")


@pytest.mark.parametrize(
    ("budget", "hours", "says"),
    [
        (50, 4, "All three allow DigitalOcean."),
        (0, 8, "They disagree: users and budget, users and experience, budget and experience."),
        (50, 2, "They disagree: users and experience."),
    ],
)
def test_whether_the_charts_agree_is_said(
    budget: float, hours: float, says: str, capfd: pytest.CaptureFixture[str]
) -> None:
    load = Load(users=15, budget=budget, devops_hours=hours)
    assert says in shown(capfd, advise(load), Answers(load, "basic", persistent=False, several=False))


def test_what_a_table_or_a_server_says_cannot_paint(capfd: pytest.CaptureFixture[str]) -> None:
    """`[postgresql]` is the name of an extra, and no colour."""
    capfd.readouterr()
    note = "pip install 'catalyst-signals[red]' :smile:"
    say_advice(msgspec.structs.replace(advise(Load(users=3)), notes=(f"{note}\x1b[2J",)))
    said = capfd.readouterr().out
    assert note in said and "\x1b" not in said


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def test_settings_of_this_shell_tick_the_checklist(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Offline it knows what is set, and nothing else."""
    assert not ticked(advised(capfd, *SMALL))["PostgreSQL database"]
    monkeypatch.setenv("CATALYST_STORE_URL", "postgresql://catalyst@db/catalyst")
    assert ticked(advised(capfd, *SMALL))["PostgreSQL database"]


def ticked(advice: Advice) -> dict[str, bool]:
    return {check.item: check.on for check in advice.checklist}


@pytest.mark.parametrize(
    ("flags", "code", "says"),
    [
        ([], 2, "--users"),
        (["--budget", "50"], 2, "--users"),
        (["--users", "-1"], 2, "--users"),
        (["--users", "ten"], 2, "--users"),
        ([*SMALL, "--budget", "nan"], 2, "--budget"),
        ([*SMALL, "--picture", "costs.gif"], 2, "FILE.svg"),
        ([*SMALL, "--picture", "nowhere/costs.svg"], 2, "cannot be written"),
        ([*SMALL, "--capacity", "nowhere.toml"], 2, "nowhere.toml"),
        ([*SMALL, "--capacity", "."], 2, "."),
        (["--from-server", "http://127.0.0.1:1", "--key", "cat_x"], 5, "catalyst serve"),
        (["--from-server", "http://127.0.0.1:1"], 2, "a key is needed"),
        (["--from-server", "http://127.0.0.1:1", "--key", "cat_x", "--capacity", "x.toml"], 2, "--capacity"),
    ],
)
def test_what_cannot_be_is_a_sentence(flags: list[str], code: int, says: str) -> None:
    """On standard error, with the flag's name or the next step."""
    done = subprocess.run([*CATALYST, *flags], capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert (done.returncode, done.stdout) == (code, "")
    assert says in done.stderr and "Traceback" not in done.stderr


def test_it_needs_nothing_of_a_server() -> None:
    """The extra `cli` is enough."""
    code = (
        "import sys\nfrom catalyst_signals.cli import run\n"
        f"assert run(['advise', *{SMALL}]) == 0\n"
        "print(*{'fastapi', 'uvicorn', 'pydantic_settings', 'prometheus_client'} & set(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert (done.returncode, done.stderr.split()) == (0, [])


def test_another_capacity_is_another_advice(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Measured on the machine that one has, the numbers are that machine's."""
    packaged = (files(advisor) / "capacity.toml").read_text()
    (tmp_path / "mine.toml").write_text(re.sub(r"(?m)^connection_bytes = \d+", "connection_bytes = 123456", packaged))
    assert advised(capfd, *SMALL, "--capacity", "mine.toml").capacity.connection_bytes == 123_456


def test_it_says_whose_machine_the_numbers_are_of(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Nobody takes those of the machine Catalyst is developed on for theirs; who measured is not asked to again."""
    assert run(["advise", *SMALL]) == 0
    of_ours = " ".join(capfd.readouterr().out.split())
    packaged = (files(advisor) / "capacity.toml").read_text()
    (tmp_path / "capacity.toml").write_text(re.sub(r"(?m)^cpu = .*$", 'cpu = "Abacus 3000"', packaged))
    assert run(["advise", *SMALL]) == 0
    of_mine = " ".join(capfd.readouterr().out.split())
    assert "not on your machine" in of_ours and "bench --calibrate" in of_ours
    assert "Abacus 3000" in of_mine and "not on your machine" not in of_mine and "bench --calibrate" not in of_mine


def test_pictures_are_written_where_they_are_wanted(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Beside the answer, in the form that the name says."""
    assert run(["advise", *SMALL, "--picture", "costs.svg"]) == 0
    assert run(["advise", *SMALL, "--picture", "costs.png", "--json"]) == 0
    assert ElementTree.parse(tmp_path / "costs.svg").getroot().tag.endswith("svg")
    assert (tmp_path / "costs.png").read_bytes().startswith(b"\x89PNG\r\n")
    assert capfd.readouterr().err.count("costs.") == 2


def test_a_png_without_the_library_says_what_to_install() -> None:
    """Exit code 3, as for every extra."""
    code = (
        "import sys\nsys.modules['resvg_py'] = None\nfrom catalyst_signals.cli import run\n"
        f"sys.exit(run(['advise', *{SMALL}, '--picture', 'costs.png']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert done.returncode == 3 and "catalyst-signals[picture]" in done.stderr


# --- A running server --------------------------------------------------------------------------------------------


def test_from_a_server_it_says_where_that_stands(server: RunningServer, capfd: pytest.CaptureFixture[str]) -> None:
    """By what it really has to do, with what was given instead where something was."""
    asked = ["advise", "--from-server", server.url, "--key", server.admin_key]
    assert run(asked) == 0
    said = plain(capfd.readouterr().out)
    assert said.startswith("It stands at MVP.") and "how far it is to each limit" in said
    assert run([*asked, "--users", "60", "--json"]) == 0
    advice = msgspec.json.decode(capfd.readouterr().out, type=Advice)
    assert (advice.asked.users, advice.scale) == (60, "medium") and advice.server is not None


def test_a_key_without_admin_is_refused(server: RunningServer, capfd: pytest.CaptureFixture[str]) -> None:
    """The server says what is needed."""
    key = made_key(server, capfd)
    assert run(["advise", "--from-server", server.url, "--key", key]) == 4
    assert "admin" in capfd.readouterr().err


def made_key(server: RunningServer, capfd: pytest.CaptureFixture[str]) -> str:
    capfd.readouterr()
    assert run(["keys", "add", "eve", "--url", server.url, "--key", server.admin_key]) == 0
    return capfd.readouterr().out.strip()


def test_a_server_without_advice_is_named_as_such(server: RunningServer, capfd: pytest.CaptureFixture[str]) -> None:
    """An older one answers this as it answers every path that it does not know."""
    capfd.readouterr()
    assert run(["advise", "--from-server", f"{server.url}/older", "--key", server.admin_key]) == 4
    said = capfd.readouterr().err
    assert "older than this command" in said and "--users" in said


class AnotherRelease(BaseHTTPRequestHandler):
    """A server whose advice has another form than ours."""

    BODY = b'{"scale":  "huge", "spaces":"two"}'

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(self.BODY)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


def test_as_json_a_servers_answer_is_printed_as_it_is(capfd: pytest.CaptureFixture[str]) -> None:
    """Also one that cannot be shown, of a server that is newer."""
    with ThreadingHTTPServer(("127.0.0.1", 0), AnotherRelease) as other:
        Thread(target=other.serve_forever, daemon=True).start()
        asked = ["advise", "--from-server", f"http://127.0.0.1:{other.server_port}", "--key", "cat_x"]
        assert run([*asked, "--json"]) == 0
        assert capfd.readouterr().out.encode() == AnotherRelease.BODY + b"\n"
        assert run(asked) == 4
        assert "of another release" in capfd.readouterr().err
        other.shutdown()


# --- On a terminal -----------------------------------------------------------------------------------------------


class Terminal:
    """`catalyst advise` on a terminal of its own."""

    def __init__(self, *flags: str, columns: int = 110) -> None:
        self.pid, self.file = pty.fork()
        if self.pid == 0:
            os.environ |= {"TERM": "xterm-256color", "COLUMNS": str(columns), "LINES": "60"}
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # pytest-xdist ignores it, and so would who comes of it.
            os.execv(sys.executable, [*CATALYST, *flags])
        self.seen, self.read = "", 0

    def until(self, text: str) -> None:
        """Read until it says that."""
        ends = time.monotonic() + TIMEOUT_S
        while text not in self.seen[self.read :] and time.monotonic() < ends:
            if select.select([self.file], [], [], 0.5)[0]:
                try:
                    self.seen += plain(os.read(self.file, 65_536).decode(errors="replace"))
                except OSError:
                    break
        assert text in self.seen[self.read :], f"{text!r} did not come:\n{self.seen[-2000:]}"
        self.read = self.seen.index(text, self.read) + len(text)

    def type(self, *answers: str) -> None:
        """Answer one question after another, each when it is asked."""
        for answer in answers:
            self.until("] ")
            os.write(self.file, f"{answer}\n".encode())

    def press(self, key: bytes) -> None:
        """Each second until it has gone: Python sees an interrupt just before it begins to read with the next one."""
        while True:
            os.write(self.file, key)
            for _ in range(50):
                if os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                    return
                time.sleep(0.02)

    def ended(self) -> int:
        """Read the rest; the exit code."""
        while True:
            try:
                chunk = os.read(self.file, 65_536)
            except OSError:  # Linux says so when the other end has gone.
                break
            if not chunk:
                break
            self.seen += plain(chunk.decode(errors="replace"))
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def close(self) -> None:
        """Nothing stays behind."""
        try:
            if os.waitpid(self.pid, os.WNOHANG) == (0, 0):
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
        except ChildProcessError:
            pass  # It was waited for.
        os.close(self.file)


@contextmanager
def terminal(*flags: str) -> Iterator[Terminal]:
    """With a limit of its own: a question that nobody answers waits for ever."""
    opened = Terminal(*flags)
    watchdog = Timer(TIMEOUT_S, os.kill, (opened.pid, signal.SIGKILL))
    watchdog.start()
    try:
        yield opened
    finally:
        watchdog.cancel()
        opened.close()


def test_on_a_terminal_it_asks_and_says_how_to_ask_again(capfd: pytest.CaptureFixture[str]) -> None:
    """The same answer as by flags; each chart's end is named."""
    with terminal() as screen:
        screen.type("15", "200", "yes", "50", "basic", "yes", "yes")
        assert screen.ended() == 0
    said = " ".join(screen.seen.split())
    command = "catalyst advise --users 15 --signals 200 --replay --budget 50 --devops-hours 4"
    assert command in said and "Redis Sentinel" in said and "Small Stack" in said
    assert run(command.split()[1:]) == 0
    answer = plain(capfd.readouterr().out).splitlines()[0]
    assert " ".join(answer.split()) in said


def test_enter_takes_the_default_everywhere() -> None:
    """Three friends with a laptop: whoever only looks around sees the smallest size."""
    with terminal() as screen:
        screen.type(*[""] * 6)
        assert screen.ended() == 0
    assert "MVP." in screen.seen and "--users 3 --signals 50 --replay --budget 10 --devops-hours 4" in screen.seen


def test_a_wrong_answer_is_told_what_is_allowed_and_asked_again() -> None:
    """Nothing that was answered is lost."""
    with terminal() as screen:
        screen.type("many")
        screen.until("a whole number from 0; got 'many'")
        screen.type("²")
        screen.until("a whole number from 0; got '²'")
        screen.type("15", "-2")
        screen.until("a whole number from 0; got '-2'")
        screen.type("200", "perhaps")
        screen.until("yes or no; got 'perhaps'")
        screen.type("no", "lots")
        screen.until("dollars from 0, or any; got 'lots'")
        screen.type("inf")
        screen.until("dollars from 0, or any; got 'inf'")
        screen.type("any", "guru")
        screen.until("none, basic, advanced, or hours a week from 0; got 'guru'")
        screen.type("12", "no")
        assert screen.ended() == 0
    assert "catalyst advise --users 15 --signals 200 --devops-hours 12" in " ".join(screen.seen.split())


@pytest.mark.parametrize("key", [b"\x03", b"\x04"], ids=["Ctrl-C", "Ctrl-D"])
def test_whoever_leaves_leaves_in_silence(key: bytes) -> None:
    """Exit code 130 and no word, whatever question was on the screen."""
    with terminal() as screen:
        screen.type("15")
        screen.until("] ")
        screen.press(key)
        assert screen.ended() == 130
    assert screen.seen[screen.read :].replace("^C", "").strip() == ""
