"""The matrix's two helpers in its own words, on every input; its charts; and what we say beside them.

Covers catalyst_signals.advisor.choosing, against the matrix's code as it stands in tests/fixtures/matrix.md.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalyst_signals.advisor import Load, advise, choose_deployment, choose_message_queue
from catalyst_signals.advisor.choosing import (
    FARGATE,
    PRICES,
    Answer,
    cache_tree,
    chart_of_budget,
    chart_of_experience,
    chart_of_users,
)
from catalyst_signals.errors import InvalidRequest

MATRIX = (Path(__file__).parent.parent / "fixtures" / "matrix.md").read_text()


def helper_of_the_matrix(name: str) -> Callable[..., str | None]:
    """Its code, run as it stands there."""
    found: dict[str, Any] = {}
    (block,) = (code for code in re.findall(r"```python\n(.*?)```", MATRIX, re.DOTALL) if f"def {name}(" in code)
    exec(block, found)
    helper: Callable[..., str | None] = found[name]
    return helper


QUEUE, DEPLOYMENT = (helper_of_the_matrix(name) for name in ("choose_message_queue", "choose_deployment"))
USERS = [0, 1, 3, 4, 5, 6, 10, 15, 19, 20, 21, 50, 99, 100, 101, 500, 1000, 5000]
SIGNALS = [0, 50, 51, 200, 201, 999, 1000, 1001, 4999, 5000, 5001, 10_000]
BUDGETS = [0, 5, 9, 9.99, 10, 11, 49, 50, 60, 119, 120, 200, 299, 300, 499, 500, 501, 799, 800, 2000]
HOURS = [0, 2, 3, 3.5, 4, 5, 7, 8, 9, 20, 40]


# --- Its answers ---------------------------------------------------------------------------------------------------


def test_the_queue_is_the_matrix_s_on_every_input() -> None:
    for asked in product(USERS, SIGNALS, (False, True)):
        assert choose_message_queue(*asked) == QUEUE(*asked) is not None, asked


def test_the_deployment_is_the_matrix_s_on_every_input_and_goes_on_where_it_says_nothing() -> None:
    """It says nothing from $500 and 8 hours on, up to 100 users: the rule before it was Fargate."""
    silent = 0
    for users, budget, hours in product(USERS, BUDGETS, HOURS):
        said = DEPLOYMENT(users, budget, hours)
        silent += said is None
        assert (said is None) == (users <= 100 and budget >= 500 and hours >= 8)
        assert choose_deployment(users, budget, hours) == (FARGATE if said is None else said)
    assert silent


@given(st.integers(0, 10**9), st.integers(0, 10**9), st.booleans())
def test_any_queue_question_has_the_matrix_s_answer(users: int, signals: int, replay: bool) -> None:
    assert choose_message_queue(users, signals, replay) == QUEUE(users, signals, replay)


@given(st.integers(0, 10**6), st.none() | st.floats(0, 1e9), st.none() | st.floats(0, 1e4))
def test_any_deployment_question_has_one_answer_with_a_price(
    users: int, budget: float | None, hours: float | None
) -> None:
    """And says whether it fits, and if not what does; without a limit everything fits."""
    said = choose_deployment(users, budget, hours)
    assert str(said) in PRICES and said.low is not None and said.why
    assert said.fits_budget == (budget is None or said.low <= budget)
    if said.fits_budget:
        assert said.best_that_fits is None


@pytest.mark.parametrize(
    ("asked", "example"),
    [
        ((3, 50, False), "None (direct WebSocket)"),
        ((15, 200, True), "Redis Streams"),
        ((500, 10000, True), "Apache Kafka"),
    ],
)
def test_the_queue_s_examples(asked: tuple[int, int, bool], example: str) -> None:
    assert f"choose_message_queue({', '.join(map(str, asked))})" in MATRIX
    assert choose_message_queue(*asked) == example


@pytest.mark.parametrize(
    ("asked", "example", "ours"),
    [
        ((3, 0, 2), "Railway.app", "Local development or Railway.app (free tier)"),  # Half of the answer.
        ((15, 50, 2), "Railway.app or Heroku", "Railway.app or Heroku"),
        ((50, 200, 4), "AWS ECS Fargate", "DigitalOcean Managed Services ($120/mo)"),  # The code says this.
        ((500, 2000, 8), "AWS ECS + Auto-scaling", "AWS ECS + Auto-scaling + Multi-AZ ($800+/mo)"),
    ],
)
def test_the_deployment_s_examples_and_what_its_code_says(asked: tuple[int, int, int], example: str, ours: str) -> None:
    """Two of its four examples are not what its code says."""
    assert re.search(rf'choose_deployment\({", ".join(map(str, asked))}\) +# → "{re.escape(example)}"', MATRIX)
    assert choose_deployment(*asked) == ours
    assert (example in ours) == (asked != (50, 200, 4))


# --- What we say beside it -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "fits", "best"),
    [
        ((3, 0, 2), True, None),
        ((15, 0, 2), False, "Your own machine"),  # Railway or Heroku, with any budget.
        ((15, 5, 2), True, None),
        ((10, 60, 3), True, None),  # More hours make it dearer: $5, $120, $300.
        ((10, 60, 4), False, "A DigitalOcean droplet with everything on it"),
        ((10, 60, 8), False, "A DigitalOcean droplet with everything on it"),
        ((50, 200, 8), False, "DigitalOcean with managed PostgreSQL and Redis"),
        ((50, 600, 8), True, None),
        ((500, 300, 20), False, "DigitalOcean with managed PostgreSQL and Redis"),
        ((500, 2000, 20), True, None),
        ((15, 0, 0), False, "Your own machine"),
    ],
)
def test_a_dearer_answer_says_so_and_names_what_fits(asked: tuple[int, int, int], fits: bool, best: str | None) -> None:
    """Of its answers 45 % begin above the budget that was given."""
    said = choose_deployment(*asked)
    assert (said.fits_budget, said.best_that_fits) == (fits, best)


@pytest.mark.parametrize(
    ("asked", "matrix", "ours"),
    [
        ((3, 50, True), "Redis Streams", "None (direct WS)"),  # Replay moves three friends to Streams.
        ((15, 200, True), "Redis Streams", "Redis Pub/Sub"),
        ((3, 500, False), "None (direct WebSocket)", "Redis Streams"),  # Signals are ignored up to 100 users.
        ((100, 1_000_000, False), "Redis Streams", "Apache Kafka"),
        ((500, 1000, False), "Redis Streams", "Apache Kafka"),  # Large, and Kafka with it, begins at 1,000 signals.
        ((500, 4999, False), "Redis Streams", "Apache Kafka"),
        ((500, 5000, False), "Apache Kafka", "Apache Kafka"),
        ((3, 50, False), "None (direct WebSocket)", "None (direct WebSocket)"),
        ((5, 50, False), "None (direct WebSocket)", "None (direct WebSocket)"),
        ((20, 200, False), "Redis Pub/Sub", "Redis Pub/Sub"),
    ],
)
def test_the_queue_of_the_matrix_and_ours(asked: tuple[int, int, bool], matrix: str, ours: str) -> None:
    said = choose_message_queue(*asked)
    assert (str(said), said.ours) == (matrix, ours)
    assert ("replay comes from the store" in said.why) == asked[2]


def test_our_queue_and_platform_are_those_of_the_advice() -> None:
    """One question, one answer."""
    for users, signals in product(USERS, SIGNALS):
        advice = advise(Load(users=users, signals=signals, budget=100, devops_hours=4))
        picked = advice.stack["queue"].pick
        assert advice.matrix.queue.ours in (picked, "None (direct WebSocket)" if users <= 5 else picked)
        assert advice.matrix.deployment.ours.startswith(advice.cost.name)


@pytest.mark.parametrize("name", ["users", "budget", "devops_hours"])
@pytest.mark.parametrize("got", [-1, True, "7", math.nan, math.inf, [7]], ids=repr)
def test_what_is_no_number_is_refused(name: str, got: Any) -> None:
    asked: dict[str, Any] = {"users": 3, "budget": 10, "devops_hours": 2} | {name: got}
    with pytest.raises(InvalidRequest) as refused:
        choose_deployment(**asked)
    assert refused.value.field == name and refused.value.allowed and repr(got) in refused.value.message


@pytest.mark.parametrize(
    ("name", "got"),
    [
        *product(("users", "signals_per_day"), (-1, 1.5, True, "7", None, math.nan)),
        *product(("need_replay",), (1, None)),
    ],
)
def test_a_queue_for_what_is_no_number_is_refused(name: str, got: Any) -> None:
    asked: dict[str, Any] = {"users": 3, "signals_per_day": 10, "need_replay": False} | {name: got}
    with pytest.raises(InvalidRequest) as refused:
        choose_message_queue(**asked)
    assert refused.value.field == name and refused.value.allowed


def test_an_answer_is_text_and_knows_more() -> None:
    """A program that was written for the matrix's own functions goes on working."""
    said = choose_deployment(50, 200, 8)
    assert isinstance(said, str) and isinstance(said, Answer) and said == "AWS ECS Fargate ($300-400/mo)"
    assert (said.low, said.high, said.fits_budget) == (300, 400, False)
    assert said.ours == "DigitalOcean with managed PostgreSQL and Redis ($146-196/mo)"
    assert f"{said}" == str(said) and said in {"AWS ECS Fargate ($300-400/mo)"}


def test_the_program_of_the_page_says_what_its_comments_say(capsys: pytest.CaptureFixture[str]) -> None:
    """docs/advice.md, as somebody pastes it."""
    page = (Path(__file__).parents[2] / "docs" / "advice.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    exec(code, {})
    advised, deployment, queue = capsys.readouterr().out.splitlines()
    assert advised.startswith("medium DigitalOcean")
    for comment, said in zip(re.findall(r'# .*?"(.+?)"$', code, re.MULTILINE), (deployment, queue), strict=True):
        assert said.startswith(comment)


# --- The charts ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("users", "leads"),
    [(0, "MVP Stack (SQLite, Local/Railway)"), (5, "MVP Stack (SQLite, Local/Railway)"),
     (6, "Small Stack (PostgreSQL, DO Droplet)"), (20, "Small Stack (PostgreSQL, DO Droplet)"),
     (21, "Medium Stack (Redis Streams, ECS)"), (100, "Medium Stack (Redis Streams, ECS)"),
     (101, "Large Stack (Kafka, Multi-region)")],
)  # fmt: skip
def test_where_the_chart_of_users_leads(users: int, leads: str) -> None:
    assert leads in MATRIX and chart_of_users(users) == leads


@pytest.mark.parametrize(
    ("budget", "leads"),
    [(0, "Local or Railway.app"), (10, "Local or Railway.app"), (10.01, "DigitalOcean or Heroku"),
     (50, "DigitalOcean or Heroku"), (51, "AWS ECS or DO Managed"), (500, "AWS ECS or DO Managed"),
     (501, "Full AWS with auto-scaling"), (None, "Full AWS with auto-scaling")],
)  # fmt: skip
def test_where_the_chart_of_budgets_leads(budget: float | None, leads: str) -> None:
    assert leads in MATRIX and chart_of_budget(budget) == leads


@pytest.mark.parametrize(
    ("hours", "leads"),
    [(0, "Use PaaS (Railway, Heroku)"), (3.9, "Use PaaS (Railway, Heroku)"), (4, "DigitalOcean or simple AWS"),
     (7.9, "DigitalOcean or simple AWS"), (8, "AWS ECS, Kubernetes"), (None, "AWS ECS, Kubernetes")],
)  # fmt: skip
def test_where_the_chart_of_experience_leads(hours: float | None, leads: str) -> None:
    assert leads in MATRIX and chart_of_experience(hours) == leads


@pytest.mark.parametrize(
    ("users", "persistent", "several", "leads"),
    [(3, False, False, "In-memory dict (MVP)"), (3, False, True, "Memcached (production)"),
     (15, False, False, "Memcached (production)"), (3, True, False, "Redis"), (5000, True, False, "Redis"),
     (99, True, True, "Redis Sentinel (HA)"), (100, True, True, "Redis Sentinel (HA)"),
     (101, True, True, "Redis Cluster (sharding)")],
)  # fmt: skip
def test_where_the_cache_tree_leads(users: int, persistent: bool, several: bool, leads: str) -> None:
    assert leads in MATRIX and cache_tree(users, persistent=persistent, several=several) == leads
