"""`catalyst bench --calibrate` measures real parts, touches nothing that is there and leaves nothing behind.

Covers catalyst_signals.calibrate, catalyst_signals.calibrate.loads,
catalyst_signals.calibrate.rounds, catalyst_signals.calibrate.serving,
catalyst_signals.calibrate.sockets, catalyst_signals.calibrate.machine, catalyst_signals.calibrate.writing,
catalyst_signals.cli.bench, catalyst_signals.stores.sqlite.scratch and catalyst_signals.stores.postgres.scratch.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from catalyst_signals.advisor.capacity import read_capacity
from catalyst_signals.events import Batch, Draft, hash_of_draft
from catalyst_signals.stores import STORES
from catalyst_signals.urls import open_backend
from catalyst_signals.verify import verify
from tests.services.postgres import Postgres
from tests.services.redis import Redis

pytestmark = pytest.mark.slow

MEASURE = [sys.executable, "-m", "catalyst_signals", "bench", "--calibrate", "--seconds", "3"]
TIMEOUT_S = 60


@dataclass
class Place:
    """A folder with a log in it, and another for what is temporary."""

    home: Path
    temporary: Path
    url: str = field(init=False)

    def __post_init__(self) -> None:
        for folder in (self.home, self.temporary):
            folder.mkdir()
        self.url = f"sqlite:///{self.home / 'catalyst.db'}"
        asyncio.run(fill(self.url))

    @property
    def env(self) -> dict[str, str]:
        """What others have set does not get in the way."""
        return os.environ | {"TMPDIR": str(self.temporary), "CATALYST_PORT": "1", "CATALYST_STORE_URL": self.url}

    def start(self, *flags: str) -> subprocess.Popen[str]:
        """Measuring, in the home."""
        return subprocess.Popen(
            [*MEASURE, *flags], cwd=self.home, env=self.env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    def run(self, *flags: str) -> subprocess.CompletedProcess[str]:
        """To its end."""
        return subprocess.run(
            [*MEASURE, *flags], cwd=self.home, env=self.env, text=True, capture_output=True, timeout=TIMEOUT_S,
            check=False,
        )  # fmt: skip

    def files(self) -> dict[str, bytes]:
        """All there are, with what is in them."""
        found = [path for path in (*self.home.rglob("*"), *self.temporary.rglob("*")) if path.is_file()]
        return {path.name: path.read_bytes() for path in found}

    def processes(self, *words: str) -> list[int]:
        """Those that work in our folders, and have these words on their command line."""
        return [int(path.name) for path in Path("/proc").glob("[0-9]*") if self._is_ours(path, words)]

    def _is_ours(self, process: Path, words: tuple[str, ...]) -> bool:
        try:
            command = (process / "cmdline").read_bytes().split(b"\0")
            ours = str((process / "cwd").readlink()).startswith((str(self.home), str(self.temporary)))
        except OSError:
            return False  # It is gone.
        return ours and all(word.encode() in command for word in words)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "home", tmp_path / "temporary")


async def fill(url: str) -> None:
    """A log of ten events."""
    async with open_backend(url, STORES, setting="store_url") as store:
        await store.append([Batch(channel="main", subject="ann", drafts=[])])
        drafts = [
            Draft(type="signal.published", id=f"n{n}", body=b'{"data":{}}', draft_hash=hash_of_draft({"n": n}))
            for n in range(10)
        ]
        await store.append([Batch(channel="main", subject="ann", drafts=drafts)])


async def rows_of(url: str) -> dict[str, int]:
    """How many events there are, each as it was written."""
    async with open_backend(url, STORES, setting="store_url") as store:
        report = await verify(store)
    assert not report.faults
    return report.rows


def wait_for(what: Callable[[], object]) -> None:
    until_s = time.monotonic() + TIMEOUT_S
    while not what():
        assert time.monotonic() < until_s, "it did not come true"
        time.sleep(0.01)


def test_it_writes_what_the_advice_reads(place: Place) -> None:
    """The numbers are of this machine: there, above nothing, and within what any machine could do."""
    before = place.files()
    done = place.run("--json")
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    said, found = json.loads(done.stdout), read_capacity(place.home / "capacity.toml")
    assert said["publish"]["per_s"] == found.publish.per_s and said["signal_bytes"] == found.signal_bytes
    assert found.machine.cores >= 1 and found.machine.memory_gib > 0.1 and found.broker is None
    for name in ("publish", "fanout", "match", "store"):
        rounds = said["rounds"][name]
        assert 0 < rounds["low"] <= rounds["median"] <= rounds["high"] < 1e12
    assert found.store.per_s < 10_000_000 and found.fanout.per_s < 100_000_000
    assert 100 < found.signal_bytes < 10_000 and 1_000 < found.connection_bytes < 200_000
    # Nothing else is there, and the log beside it has the same bytes.
    after = place.files()
    assert after.pop("capacity.toml") and after == before
    assert asyncio.run(rows_of(place.url)) == {"main": 10}
    assert place.processes() == []


def test_what_cannot_be_measured_is_said_before_anything_is_done(place: Place) -> None:
    """Nobody waits twenty seconds to read that a file is in the way."""
    before = place.files()
    (place.home / "there.toml").write_text("mine")
    for code, words, flags in (
        (4, "--force", ("--out", "there.toml")),
        (2, "cannot be written", ("--out", "no/such/folder.toml")),
        (2, "sqlite", ("--store-url", "memory:")),
        (2, "network", ("--broker-url", "memory:")),
        (2, "number", ("--seconds", "many")),
    ):
        done = place.run(*flags)
        assert done.returncode == code and done.stdout == "", (flags, done)
        assert words in done.stderr and "Traceback" not in done.stderr, done.stderr
    assert (place.home / "there.toml").read_text() == "mine"
    assert place.files() == before | {"there.toml": b"mine"}


def test_without_the_flag_it_says_what_it_can(place: Place) -> None:
    """It is typed to find out."""
    done = subprocess.run([*MEASURE[:-3]], cwd=place.home, env=place.env, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "catalyst bench --calibrate" in done.stdout and "capacity.toml" in done.stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_can_be_stopped_at_any_time_and_leaves_nothing(place: Place, number: signal.Signals) -> None:
    """While its server runs, which is in a session of its own."""
    before, measuring = place.files(), place.start()
    wait_for(lambda: place.processes("serve"))
    measuring.send_signal(number)
    out, err = measuring.communicate(timeout=TIMEOUT_S)
    assert (measuring.returncode, out) == (130, "") and "Traceback" not in err
    assert place.files() == before and place.processes() == []


def test_killed_outright_it_takes_its_server_along(place: Place) -> None:
    """As by `kill -9`, or the kernel when memory is short: nobody would know of a server that goes on."""
    measuring = place.start()
    wait_for(lambda: place.processes("serve"))
    measuring.kill()
    measuring.communicate(timeout=TIMEOUT_S)
    wait_for(lambda: not place.processes())


def test_what_was_measured_is_shown_where_it_cannot_be_written(place: Place) -> None:
    """Two minutes are not lost because the disk has become full meanwhile; here the folder goes away."""
    (place.home / "out").mkdir()
    measuring = place.start("--out", "out/mine.toml")
    wait_for(lambda: place.processes("serve"))
    (place.home / "out").rmdir()
    out, err = measuring.communicate(timeout=TIMEOUT_S)
    assert measuring.returncode == 2 and "out/mine.toml cannot be written" in err
    assert "deliveries, one server process" in out and "written" not in out


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own with a megabyte."""
    if os.geteuid() != 0 and not os.environ.get("CI"):
        pytest.skip("mounting a tmpfs needs root")
    (folder := tmp_path / "disk").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], check=True)
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_is_one_sentence(place: Place, small_disk: Path) -> None:
    """The server's own, without the frames that it came in."""
    before = place.files()
    done = place.run("--seconds", "6", "--store-url", f"sqlite:///{small_disk / 'catalyst.db'}")
    assert (done.returncode, done.stdout) == (5, "") and len(done.stderr.splitlines()) == 1, done.stderr
    assert "The disk of the store is full" in done.stderr and "{" not in done.stderr
    assert place.files() == before and list(small_disk.iterdir()) == [] and place.processes() == []


def test_a_broker_that_is_away_is_known_first(place: Place) -> None:
    """And not after store and filters had their part of two minutes."""
    before, began_s = place.files(), time.monotonic()
    done = place.run("--seconds", "120", "--broker-url", "redis+pubsub://127.0.0.1:1/0")
    assert (done.returncode, done.stdout) == (5, "") and "Redis" in done.stderr
    assert time.monotonic() - began_s < 20 and place.files() == before


def test_a_server_that_is_killed_is_one_sentence(place: Place) -> None:
    """As the kernel does it when memory is short."""
    before, measuring = place.files(), place.start()
    wait_for(lambda: place.processes("serve"))
    time.sleep(1)
    os.kill(place.processes("serve")[0], signal.SIGKILL)
    out, err = measuring.communicate(timeout=TIMEOUT_S)
    assert (measuring.returncode, out) == (5, ""), err
    assert "catalyst: the server that " in err and "Traceback" not in err
    assert place.files() == before and place.processes() == []


# --- Services -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def database() -> Iterator[Postgres]:
    """With a log in its first database."""
    with Postgres() as server:
        asyncio.run(fill(server.url))
        yield server


def databases(server: Postgres) -> list[object]:
    return [name for (name,) in server.sql("SELECT datname FROM pg_database ORDER BY 1")]


def test_a_log_in_postgresql_is_not_touched(place: Place, database: Postgres) -> None:
    """It is measured in a database of its own, which is gone afterwards; a password stands nowhere."""
    parts = urlsplit(database.url)
    url = parts._replace(netloc=f"postgres:sesame@127.0.0.1:{parts.port}").geturl()
    before = databases(database)
    with Redis() as redis:
        hints = redis.url.replace("redis://", "redis+pubsub://")
        done = place.run("--store-url", url, "--broker-url", hints)
    assert done.returncode == 0, done.stderr
    assert "hints through the broker" in done.stdout and "100K msg/sec" in done.stdout
    assert "capacity.toml: written; `catalyst advise` reads it here" in done.stdout
    found = read_capacity(place.home / "capacity.toml")
    assert found.broker is not None and found.broker.per_s > 0 and found.store_url.startswith("postgresql://")
    assert "sesame" not in (place.home / "capacity.toml").read_text() + done.stdout + done.stderr
    assert databases(database) == before and asyncio.run(rows_of(database.url)) == {"main": 10}
    assert place.processes() == []


def test_whoever_may_not_make_a_database_is_told(place: Place, database: Postgres) -> None:
    """And the one of the URL is not taken instead."""
    database.sql("CREATE ROLE ann LOGIN")
    done = place.run("--store-url", database.url.replace("postgres@", "ann@"))
    assert done.returncode == 2 and "CREATEDB" in done.stderr, done.stderr
    assert asyncio.run(rows_of(database.url)) == {"main": 10}


def test_stopping_it_takes_its_database_away(place: Place, database: Postgres) -> None:
    """Also while the server has connections to it."""
    before, measuring = databases(database), place.start("--store-url", database.url)
    wait_for(lambda: place.processes("serve"))
    assert len(databases(database)) == len(before) + 1
    time.sleep(0.5)
    measuring.send_signal(signal.SIGINT)
    _, err = measuring.communicate(timeout=TIMEOUT_S)
    assert measuring.returncode == 130 and "Traceback" not in err
    assert databases(database) == before and place.processes() == []
