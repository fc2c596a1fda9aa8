"""Where a server stands: which limit it meets first, when at today's growth, and whether that is worth a move.

Covers catalyst_signals.advisor.standing and catalyst_signals.advisor.facts.
"""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalyst_signals.advisor.capacity import read_capacity
from catalyst_signals.advisor.facts import facts_of
from catalyst_signals.advisor.shapes import Limit, Load, Standing, Usage
from catalyst_signals.advisor.standing import carried, peak_per_s, stand
from catalyst_signals.advisor.tables import SCALES, Capacity, Checklists, Measured, read
from catalyst_signals.server.settings import Settings

PACKAGED = read_capacity()
CAPACITY = msgspec.structs.replace(
    PACKAGED, publish=Measured(per_s=5000, how="x"), fanout=Measured(per_s=100_000, how="x"), connection_bytes=10_000,
    signal_bytes=500, machine=msgspec.structs.replace(PACKAGED.machine, memory_gib=4),
)  # fmt: skip


def standing(capacity: Capacity = CAPACITY, **seen: Any) -> Standing:
    return stand(Usage(**({"users": 8, "signals_per_day": 100} | seen)), capacity)


def limits(found: Standing) -> dict[str, Limit]:
    return {limit.what: limit for limit in found.limits}


def test_the_limits_are_those_of_the_size_and_those_of_the_machine() -> None:
    """What the matrix says and what was measured, each by its name."""
    found = limits(standing(connections_peak=16))
    peak = 100 * 0.1 / 60
    assert (found["users"].used, found["users"].of, found["users"].source) == (8, 20, "matrix")
    assert (found["signals"].used, found["signals"].of, found["signals"].source) == (100, 200, "matrix")
    assert found["publishing at the peak"].used == pytest.approx(peak)
    assert found["publishing at the peak"].of == 5000 and found["publishing at the peak"].source == "measured"
    assert found["deliveries at the peak"].used == pytest.approx(8 * peak)
    assert found["connections"].of == 4 * 2**30 // 2 // 10_000 and found["connections"].used == 16
    assert all(limit.share == limit.used / limit.of for limit in found.values())
    assert "disk" not in found


def test_the_busiest_minute_that_was_seen_counts_where_it_is_busier_than_assumed() -> None:
    assert limits(standing(busiest_minute=600))["publishing at the peak"].used == 10
    assert limits(standing(busiest_minute=1))["publishing at the peak"].used == pytest.approx(peak_per_s(100))


def test_a_limit_is_reached_when_today_s_growth_has_filled_the_room() -> None:
    """12 users of room at 0.1 a day; 100 signals at 4 a day: those come first, and stand first."""
    found = standing(users_growth=0.1, signals_growth=4.0)
    assert limits(found)["users"].days == pytest.approx(120)
    assert limits(found)["signals"].days == pytest.approx(25)
    assert [limit.what for limit in found.limits][:2] == ["signals", "users"]


def test_deliveries_grow_with_users_and_with_signals() -> None:
    """Each new user gets every signal, each new signal goes to every user."""
    found = limits(standing(users_growth=1.0, signals_growth=10.0))["deliveries at the peak"]
    growth = 1.0 * peak_per_s(100) + 8 * peak_per_s(10)
    assert found.days is None or found.days == pytest.approx((100_000 - found.used) / growth)
    fast = limits(standing(users_growth=100.0, signals_growth=1000.0))["deliveries at the peak"]
    assert fast.days == pytest.approx((100_000 - fast.used) / (100 * growth))


def test_who_comes_brings_as_many_connections_as_those_who_are_here() -> None:
    """Two each: a phone and a desk."""
    found = limits(standing(connections_peak=16, users_growth=100.0))["connections"]
    assert found.days == pytest.approx((found.of - 16) / 200)


def test_the_disk_is_filled_by_the_signals_of_each_day() -> None:
    found = limits(standing(store_bytes=1_000_000, disk_free_bytes=5_000_000))["disk"]
    assert found.of == 6_000_000 and found.days == pytest.approx(100)


@pytest.mark.parametrize("growth", [None, 0, -3, 1e-9])
def test_what_does_not_grow_is_never_reached(growth: float | None) -> None:
    """Nor what would take more than ten years."""
    assert {limit.days for limit in standing(users_growth=growth, signals_growth=growth).limits} == {None}


@pytest.mark.parametrize(
    ("seen", "verdict"),
    [
        ({"users": 2, "signals_per_day": 2}, "Stay: you use 40 % of MVP, and nothing grows towards a limit; "),
        (
            {"users": 8, "signals_per_day": 8, "users_growth": 12 / 213},
            "Stay: you use 40 % of Small; the first limit is users (20), in about 7 months; ",
        ),
        (
            {"users": 18, "users_growth": 0.1},
            "Prepare to move to Medium: you use 90 % of Small; the first limit is users (20), in about 20 days; move ",
        ),
        ({"users": 20}, "Move to Medium: you use 100 % of Small; the first limit is users (20), reached; "),
        (
            {"users": 30, "signals_per_day": 1000},
            "Move to Large: you use 100 % of Medium; the first limit is signals (1,000 a day), reached; ",
        ),
        ({"users": 1000}, "Measure before you grow: the first limit is users (1,000), reached, and there the matrix "),
        ({"users": 1500}, "Measure before you grow: the first limit is users (1,000), reached, and there the matrix "),
        (
            {"users": 8, "busiest_minute": 60 * 20_000, "users_growth": None},
            "Add a process or a larger machine: the first limit is publishing at the peak (5,000 a second), reached; ",
        ),
    ],
)
def test_the_verdict_is_one_sentence_that_says_stay_or_move(seen: dict[str, Any], verdict: str) -> None:
    said = standing(**seen).verdict
    assert said.startswith(verdict) and said.endswith(".") and said.count(". ") == 0


def test_a_move_says_what_it_is_for() -> None:
    """Who has 20 users and an idle machine gains no speed by a second one."""
    assert "move for what fails over, not for speed: one process" in standing(users=20).verdict
    assert "move for what" not in standing(users=20, busiest_minute=60 * 4000).verdict


def test_a_small_use_is_said_as_such() -> None:
    """An idle server on a good machine is nobody's trouble."""
    assert "is used to less than 1 % at the peak" in standing().verdict
    assert "is used to 0 % at the peak" in standing(users=0, signals_per_day=0).verdict


@given(
    st.integers(0, 10**7), st.floats(0, 1e8), st.none() | st.floats(-1e4, 1e4), st.none() | st.floats(-1e5, 1e5),
    st.integers(0, 10**7), st.none() | st.integers(0, 10**7),
)  # fmt: skip
def test_every_server_stands_somewhere(
    users: int, signals: float, users_growth: float | None, signals_growth: float | None, peak: int, busiest: int | None
) -> None:
    """Whatever it counted: finite numbers, in order, and a sentence."""
    found = standing(
        users=users, signals_per_day=signals, users_growth=users_growth, signals_growth=signals_growth,
        connections_peak=peak, busiest_minute=busiest,
    )  # fmt: skip
    assert all(math.isfinite(limit.share) and limit.share >= 0 for limit in found.limits)
    days = [limit.days for limit in found.limits if limit.days is not None]
    assert days == sorted(days) and all(0 <= each <= 3650.001 for each in days)
    assert [limit.days is None for limit in found.limits] == sorted(limit.days is None for limit in found.limits)
    assert found.verdict.endswith(".") and "nan" not in found.verdict and "inf" not in found.verdict
    assert msgspec.json.decode(msgspec.json.encode(found), type=Standing) == found


def test_what_a_machine_carries_falls_with_the_signals() -> None:
    """Deliveries are signals times users."""
    few, many = (dict(carried(Load(users=10, signals=each), CAPACITY)) for each in (100, 10_000))
    assert few["deliveries, of everything to everyone"] == int(100_000 / peak_per_s(100))
    assert all(many[what] <= users for what, users in few.items())
    assert all(users > 0 for _, users in carried(Load(users=0), CAPACITY))


# --- What is switched on -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "facts"),
    [
        ({}, set()),
        ({"store_url": "sqlite:///catalyst.db", "broker_url": "memory:"}, {"store:sqlite", "broker:memory"}),
        ({"store_url": "postgresql://u:p@db/x"}, {"store:postgresql"}),
        ({"store_url": "postgresql://u:p@one,two/x"}, {"store:postgresql", "store:standby"}),
        (
            {"store_url": "postgresql://db/x?require_durability=disk%2Bstandby&replica=r"},
            {"store:postgresql", "store:standby", "store:replica"},
        ),
        ({"store_url": "postgresql://db/x?replica="}, {"store:postgresql"}),
        ({"store_url": "mysql://u:a,b@db/x"}, {"store:mysql"}),  # A comma in a password is no second host.
        ({"broker_url": "redis+pubsub://h/0"}, {"broker:redis", "broker:redis+pubsub"}),
        (
            {"broker_url": "rediss+pubsub+sentinel://h/p/0"},
            {"broker:redis", "broker:redis+pubsub", "broker:redis+pubsub+sentinel"},
        ),
        ({"cache_url": "rediss://h/0"}, {"cache:redis"}),
        ({"cache_url": "redis+cluster://a,b"}, {"cache:redis", "cache:redis+cluster"}),
        ({"public_url": "https://x.example"}, {"https"}),
        ({"public_url": "http://x.example"}, set()),
        (
            {"log_file": "x", "log_ship_url": "https://u:p@h", "sentry_dsn": "x", "otlp_endpoint": "x"},
            {"log_file", "log_ship", "sentry", "otlp"},
        ),
        ({"log_file": "", "sentry_dsn": None, "store_url": " "}, set()),
        ({"store_url": "://[[", "cache_url": "?"}, {"cache:?"}),
    ],
    ids=lambda each: str(sorted(each) if isinstance(each, set) else each),
)
def test_what_is_on_is_read_from_the_settings(settings: dict[str, object], facts: set[str]) -> None:
    assert facts_of(settings) == facts


def test_what_no_setting_says_is_told() -> None:
    assert facts_of({}, running=True, systemd=False, metrics_scraped=True) == {"running", "metrics_scraped"}


def test_no_secret_of_a_setting_is_in_a_fact() -> None:
    """Facts go to whoever may see the checklist."""
    secret = "hunter2"
    told = dict.fromkeys(Settings.model_fields, f"postgresql://u:{secret}@{secret}/{secret}?replica={secret}")
    assert not [fact for fact in facts_of(told) if secret in fact]


def test_every_fact_that_a_checklist_waits_for_can_be_there_or_is_known_to_be_missing() -> None:
    """A misspelt fact would never be ticked, and nobody would notice."""
    lists = read("checklists.toml", Checklists)
    waits = {fact for scale in SCALES for item in getattr(lists, scale) for fact in item.on}
    everything = facts_of(
        {"store_url": "postgresql://a,b/x?replica=r", "broker_url": "redis+pubsub://h", "cache_url": "redis://h",
         "log_file": "x", "log_ship_url": "x", "sentry_dsn": "x", "otlp_endpoint": "x", "public_url": "https://x"},
        running=True, systemd=True, metrics_scraped=True, nodes=True,
    )  # fmt: skip
    not_built = {"unseen", "multi_region", "metrics:influx", "auth:jwt", "broker:kafka", "store:citus"}
    assert waits - everything - not_built == {"broker:redis+streams"}
