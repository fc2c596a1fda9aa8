"""What is said beside the price: the stack, the settings, the checklist, the matrix, the way on.

Covers catalyst_signals.advisor.advising, built and capacity. Who relies on it: whoever sets a server up by it.
"""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest

from catalyst_signals.advisor import Load, advise, tables
from catalyst_signals.advisor.built import is_met, missing_for, missing_of
from catalyst_signals.advisor.capacity import read_capacity
from catalyst_signals.advisor.tables import PARTS, SCALES, Scale, options, sizes
from catalyst_signals.brokers import BROKERS
from catalyst_signals.caches import CACHES
from catalyst_signals.errors import Misconfigured
from catalyst_signals.server.settings import Settings
from catalyst_signals.stores import STORES
from catalyst_signals.urls import open_backend

# --- Stack, settings, checklist ------------------------------------------------------------------------------------


def test_the_platform_is_that_of_the_bill_and_says_why_it_is_not_the_usual() -> None:
    usual, other = advise(Load(users=15)).stack["platform"], advise(Load(users=15, devops_hours=3)).stack["platform"]
    assert (usual.pick, usual.runner_up) == ("VPS (DigitalOcean)", "Railway.app")
    assert (other.pick, other.runner_up) == ("Railway.app", "VPS (DigitalOcean)")
    assert "VPS (DigitalOcean) does not fit" in other.why and other.matrix == "DO Droplet"


@pytest.mark.parametrize("scale", SCALES)
def test_what_is_missing_is_what_the_program_cannot_open(scale: Scale) -> None:
    """`deploy` refuses by it: the day that a back-end is built it is not missing any more."""
    for part in PARTS:
        option = options(part)[sizes()[scale].stack[part].pick]
        assert bool(missing_of(option)) == (not all(is_met(need) for need in option.needs))
    assert (missing_for(scale) == ()) == (scale in ("mvp", "small"))


def test_who_watches_is_on_the_bill() -> None:
    """CloudWatch comes with AWS; elsewhere it would be a setting for nothing."""
    aws, elsewhere = advise(Load(users=60)), advise(Load(users=60, devops_hours=4))
    assert aws.stack["monitoring"].pick.startswith("CloudWatch")
    assert "CATALYST_OTLP_ENDPOINT" in aws.settings
    assert elsewhere.stack["monitoring"].pick == "Grafana Cloud + Sentry"
    assert elsewhere.stack["monitoring"].runner_up == aws.stack["monitoring"].pick
    assert "CATALYST_OTLP_ENDPOINT" not in elsewhere.settings


def test_what_is_not_built_has_something_that_runs_until_then() -> None:
    """The nearest smaller size's, and Prometheus where the smaller size keeps nothing."""
    small, large = advise(Load(users=15)).stack, advise(Load(users=500)).stack
    assert {part: each.instead for part, each in small.items() if each.missing} == {"series": "Prometheus"}
    assert {part: each.instead for part, each in large.items() if each.missing} == {
        "queue": "Redis Pub/Sub", "database": "PostgreSQL (HA + replica)", "series": "Prometheus",
        "platform": "AWS ECS Fargate", "security": "API keys + rate limits",
    }  # fmt: skip


def test_a_scheme_that_is_built_is_not_missing_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever builds Redis Streams changes nothing here."""
    named = "the broker Redis Streams (redis+streams://)"
    assert named in missing_for("medium") and named in advise(Load(users=60)).missing
    assert advise(Load(users=60)).stack["queue"].instead == "Redis Pub/Sub"
    monkeypatch.setitem(BROKERS, "redis+streams", "somewhere:Something")
    assert named not in missing_for("medium") and named not in advise(Load(users=60)).missing
    assert advise(Load(users=60)).stack["queue"].instead == ""


def test_a_need_that_is_met_is_a_scheme_or_a_module() -> None:
    assert is_met("store:sqlite") and is_met("metrics:prometheus") and is_met("auth:api_keys")
    assert not is_met("store:citus") and not is_met("metrics:nothing") and not is_met("auth:nothing")


@pytest.mark.parametrize("hours", [3, 4, 8, None])
@pytest.mark.parametrize("users", [3, 15, 60, 500])
def test_the_settings_are_taken_by_the_program_as_it_is(
    users: int, hours: float | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Whoever copies them starts a server, and not an error."""
    monkeypatch.chdir(tmp_path)
    advice = advise(Load(users=users, devops_hours=hours))
    assert all(name.startswith("CATALYST_") for name in advice.settings)
    known = {f"CATALYST_{name.upper()}" for name in Settings.model_fields}
    assert set(advice.settings) <= known
    for name, value in advice.settings.items():
        monkeypatch.setenv(name, value)
    settings = Settings(port=0)
    for url, table, setting in (
        (settings.store_url, STORES, "store_url"), (settings.broker_url, BROKERS, "broker_url"),
        (settings.cache_url, CACHES, "cache_url"),
    ):  # fmt: skip
        open_backend(url, table, setting=setting)
    assert settings.broker_url.startswith("memory:") == (advice.scale == "mvp")


def test_on_one_machine_everything_is_at_home() -> None:
    """A droplet has PostgreSQL and Redis beside the server, a laptop has its file where it was started."""
    assert "@localhost:5432/" in advise(Load(users=15)).settings["CATALYST_STORE_URL"]
    assert "@db.internal:5432/" in advise(Load(users=15, devops_hours=3)).settings["CATALYST_STORE_URL"]
    assert advise(Load(users=3)).settings["CATALYST_STORE_URL"] == "sqlite:///catalyst.db"


def test_the_checklist_is_that_of_the_phase_and_ticked_by_facts() -> None:
    """An item is on by construction, or when all its facts are there."""

    def ticked(*facts: str, users: int = 15) -> dict[str, bool]:
        return {check.item: check.on for check in advise(Load(users=users), facts=frozenset(facts)).checklist}

    assert list(ticked()) == [
        "PostgreSQL database", "Redis Pub/Sub", "API key authentication", "Rate limiting",
        "Systemd service (if self-hosted)", "Basic monitoring (logs)", "Client documentation",
    ]  # fmt: skip
    assert not ticked()["PostgreSQL database"] and ticked()["API key authentication"]
    assert ticked("store:postgresql")["PostgreSQL database"]
    assert not ticked("store:postgresql", users=60)["Multi-AZ PostgreSQL"]
    assert ticked("store:postgresql", "store:standby", users=60)["Multi-AZ PostgreSQL"]
    assert not ticked("store:postgresql", "store:standby", users=60)["Auto-scaling"]


# --- Capacity ------------------------------------------------------------------------------------------------------


def test_the_capacity_is_the_one_named_else_the_one_here_else_the_packaged(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    packaged = (Path(tables.__file__).parent / "capacity.toml").read_text()
    for name, size in (("capacity.toml", 1234), ("other.toml", 4321)):
        (tmp_path / name).write_text(re.sub(r"(?m)^connection_bytes *=.*", f"connection_bytes = {size}", packaged))
    assert read_capacity().connection_bytes == advise(Load(users=3)).capacity.connection_bytes == 1234
    assert read_capacity(Path("other.toml")).connection_bytes == 4321


@pytest.mark.parametrize("content", [None, b"", b"x = ", b"\xff\xfe", b"cores = 2"])
def test_a_file_that_is_no_capacity_is_named(content: bytes | None, tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(Misconfigured, match=r"mine\.toml"):
        read_capacity(file)


@pytest.mark.parametrize("name", ["per_s", "connection_bytes", "memory_gib"])
@pytest.mark.parametrize("number", ["0", "-1", "nan"])
def test_a_machine_that_does_nothing_is_no_capacity(name: str, number: str, tmp_path: Path) -> None:
    """One divides by these."""
    packaged = (Path(tables.__file__).parent / "capacity.toml").read_text()
    file = tmp_path / "mine.toml"
    file.write_text(re.sub(rf"(?m)^{name} *=.*", f"{name} = {number}", packaged))
    with pytest.raises(Misconfigured, match=name):
        read_capacity(file)


def test_the_matrix_s_numbers_stand_beside_the_measured() -> None:
    """Both are shown, so that one sees which is round."""
    advice = advise(Load(users=60, signals=500))
    shown = {each.what: each for each in advice.abilities}
    assert shown["messages through the queue"].matrix == "100K msg/sec, 1-2ms (Redis Streams)"
    assert shown["signals published"].measured == f"{advice.capacity.publish.per_s:,.0f} a second"
    assert shown["users, each getting everything"].matrix == "20-100"


# --- What the matrix has besides, and the way on --------------------------------------------------------------------


def test_each_size_but_the_last_says_how_one_goes_on() -> None:
    """With what works here instead of what cannot: SQLite's dump is no SQL that PostgreSQL takes."""
    phases = [advise(Load(users=sizes()[scale].users[1])).next for scale in SCALES]
    ends = [(phase.start, phase.end) if phase is not None else None for phase in phases]
    assert ends == [*pairwise(SCALES), None]
    assert phases[0] is not None and "catalyst transfer" in phases[0].step[0].ours


def test_all_of_the_matrix_is_in_every_answer() -> None:
    """Nothing that was written down for it is read by a test alone."""
    said = advise(Load(users=15)).matrix
    assert {part: [each.id for each in all_of_it] for part, all_of_it in said.options.items()} == {
        part: list(options(part)) for part in PARTS
    }
    assert (len(said.features), len(said.path), len(said.because), len(said.donts)) == (16, 3, 5, 4)
    assert said.when == "Month 2: when you have 5+ users" and "Backend" in said.stack


@pytest.mark.parametrize(
    ("users", "fact", "is_said"),
    [(3, "store:postgresql", 1), (3, "store:sqlite", 0), (3, "store:mysql", 1), (15, "store:mysql", 0)],
)
def test_who_has_more_than_a_file_already_is_not_sent_back(users: int, fact: str, is_said: int) -> None:
    """A server on PostgreSQL with three users has nothing to gain by SQLite."""
    notes = advise(Load(users=users), facts=frozenset({fact})).notes
    assert sum("nothing to go back from" in note for note in notes) == is_said


def test_what_is_measured_is_in_a_unit_that_means_something() -> None:
    """Billions of filters a second do not say what a signal costs."""
    capacity = msgspec.structs.replace(read_capacity(), match=tables.Measured(per_s=5e8, how=""))
    judged = [each.measured for each in advise(Load(users=3), capacity=capacity).abilities if "judged" in each.what]
    assert judged == ["50,000 a second, each by 10,000 filters"]


def test_a_slow_machine_is_not_said_to_be_fast_enough() -> None:
    slow = msgspec.structs.replace(read_capacity(), fanout=tables.Measured(per_s=10, how=""))
    load = Load(users=300, signals=5000, budget=20)
    assert any("fast enough" in note for note in advise(load).notes)
    assert not any("fast enough" in note for note in advise(Load(users=15, budget=0)).notes)  # That fits is Small too.
    assert not any("fast enough" in note for note in advise(load, capacity=slow).notes)


@pytest.mark.parametrize(("budget", "fits_it"), [(11.99, True), (12, True), (10, True), (9.99, False)])
def test_a_price_that_is_the_whole_budget_fits(budget: float, fits_it: bool) -> None:
    """Railway is $10 and the droplet $12, to the cent."""
    assert advise(Load(users=15, budget=budget)).cost.fits_budget == fits_it


@pytest.mark.parametrize(
    ("load", "processes"),
    [(Load(users=15), "1"), (Load(users=60), "1"), (Load(users=60, budget=200), "0"), (Load(users=500), "1")],
    ids=str,
)
def test_machines_of_ones_own_are_used_to_the_last_core(load: Load, processes: str) -> None:
    """Where a platform starts more instances by itself, one process is one instance."""
    assert advise(load).settings["CATALYST_PROCESSES"] == processes
