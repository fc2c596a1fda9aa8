"""What is advised: every load has one priced answer, and it moves the way money moves.

Covers catalyst_signals.advisor.advising, costing and sizing. Who relies on it: whoever spends by it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise, product
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalyst_signals.advisor import Advice, Load, advise
from catalyst_signals.advisor.capacity import read_capacity
from catalyst_signals.advisor.costing import (
    LAST_RESORT,
    PREFERRED,
    best_that_fits,
    fits,
    recommended,
    total,
)
from catalyst_signals.advisor.sizing import size_of
from catalyst_signals.advisor.tables import PARTS, SCALES, Bill, Scale, bills, sizes
from catalyst_signals.errors import InvalidRequest

amounts = st.none() | st.floats(min_value=0, max_value=1e9) | st.integers(min_value=0, max_value=3000)
loads = st.builds(
    Load, users=st.integers(0, 1200) | st.integers(0, 10**11), signals=st.integers(0, 1500) | st.integers(0, 10**11),
    budget=amounts, devops_hours=amounts, replay=st.booleans(),
)  # fmt: skip


def edges(values: set[float]) -> list[float | None]:
    """Where an answer could change, a cent and a little on both sides, and no limit."""
    near = {round(value + step, 2) for value in values for step in (-1, -0.01, 0, 0.01, 1)}
    return [*sorted(each for each in near if each >= 0), None]


BUDGETS = edges({0, 10, 50, 500, 1000, 2000, 5000, *(total(bill)[0] for bill in bills())})
HOURS = edges({0, 1, 2, 4, 8, 20, 40})


def limit(given: float | None) -> float:
    return math.inf if given is None else given


def high(bill: Bill) -> float:
    return limit(total(bill)[1])


# --- Laws of every answer ------------------------------------------------------------------------------------------


@given(loads)
def test_every_load_has_exactly_one_recommendation_with_a_price(load: Load) -> None:
    """And it fits, or says so and names the best that does."""
    advice = advise(load)
    cost = advice.cost
    mine = [bill for bill in bills() if (bill.scale, bill.name, bill.kind) == (advice.scale, cost.name, cost.kind)]
    assert len(mine) == 1 and (cost.low, cost.high) == total(mine[0])
    assert cost.low >= 0 and limit(cost.high) >= cost.low
    assert cost.fits_budget == (cost.low <= limit(load.budget))
    assert cost.fits_hours == (mine[0].hours <= limit(load.devops_hours))
    best = cost.best_that_fits
    if cost.fits_budget and cost.fits_hours:
        assert best is None
    elif best is None:
        assert cost.fits_budget and cost.kind == "free"  # Nothing takes fewer hours.
    else:
        assert best.low <= limit(load.budget) and SCALES.index(best.scale) <= SCALES.index(advice.scale)
        least = min(bill.hours for bill in bills())
        assert best.hours <= limit(load.devops_hours) or (best.hours, best.kind) == (least, "free")


@given(loads)
def test_an_advice_is_whole_and_adds_up(load: Load) -> None:
    """All seven parts, the lines sum to the total, nothing unknown is in it, every bill of the size is shown."""
    advice = advise(load)
    cost = advice.cost
    assert tuple(advice.stack) == PARTS
    assert cost.low == pytest.approx(sum(line.low or 0 for line in cost.lines))
    if cost.high is not None:
        assert cost.high == pytest.approx(sum(line.high or 0 for line in cost.lines))
    assert cost.left_out == tuple(line.what for line in cost.lines if line.low is None)
    assert all(line.why for line in cost.lines if line.low is None)
    assert all(line.source for line in cost.lines if line.low is not None)
    assert len(cost.offers) + 1 == sum(bill.scale == advice.scale for bill in bills())
    assert msgspec.json.decode(msgspec.json.encode(advice), type=Advice) == advice


@given(loads, st.integers(0, 2000))
def test_more_users_never_cost_less(load: Load, more: int) -> None:
    """At the same signals, budget and hours; also at the upper end, where that is known."""
    few, many = advise(load), advise(msgspec.structs.replace(load, users=load.users + more))
    assert few.cost.low <= many.cost.low
    assert limit(few.cost.high) <= limit(many.cost.high)
    assert SCALES.index(few.scale) <= SCALES.index(many.scale)


@given(loads, st.integers(0, 2000))
def test_more_signals_never_cost_less(load: Load, more: int) -> None:
    few, many = advise(load), advise(msgspec.structs.replace(load, signals=load.signals + more))
    assert few.cost.low <= many.cost.low and limit(few.cost.high) <= limit(many.cost.high)


@given(loads)
def test_replay_changes_nothing_but_what_is_said(load: Load) -> None:
    """The store replays at every size: nobody pays for a broker because of it."""
    without, withit = (advise(msgspec.structs.replace(load, replay=each)) for each in (False, True))
    for advice in (without, withit):
        assert any("Replay comes from the store" in note for note in advice.notes) == advice.asked.replay
    assert (without.stack, without.cost, without.settings) == (withit.stack, withit.cost, withit.settings)


def everything() -> Iterator[tuple[float | None, float | None]]:
    yield from product(BUDGETS, HOURS)


def test_on_every_edge_a_larger_size_never_costs_less() -> None:
    """Exhaustive: users decide the size and nothing else, and prices change at these budgets and hours only."""
    for budget, hours in everything():
        chain = [recommended(scale, budget, hours) for scale in SCALES]
        for small, large in pairwise(chain):
            assert total(small)[0] <= total(large)[0] and high(small) <= high(large), (budget, hours)


def test_on_every_edge_more_hours_cost_more_only_where_that_fits_and_is_preferred() -> None:
    """The matrix's helper sends who has more hours to something dearer, whatever the budget."""
    for scale, budget in product(SCALES, BUDGETS):
        for fewer, more in pairwise(recommended(scale, budget, hours) for hours in HOURS):
            if total(more)[0] > total(fewer)[0]:
                order = PREFERRED[scale]
                assert total(more)[0] <= limit(budget), (scale, budget)
                assert order.index(more.id) < order.index(fewer.id)


def test_on_every_edge_a_larger_budget_never_makes_it_not_fit() -> None:
    """What was within the budget, and within the hours, stays so."""
    for scale, hours in product(SCALES, HOURS):
        was = False
        for budget in BUDGETS:
            now = fits(recommended(scale, budget, hours), budget, hours)
            assert now or not was
            was = now


def test_the_grid() -> None:
    """Through the whole of `advise`, users from 0 to 1,200 in steps: the laws hold between every two neighbours."""
    users = [0, 5, 6, 20, 21, 100, 101, 1000, 1001, 1200]
    capacity = read_capacity()
    for signals, budget, hours in product([0, 51, 5000], [0, 9.99, 10, 50, 146, 372, 2000, None], [0, 3.9, 4, 8]):
        last = (0.0, 0.0)
        for count in users:
            load = Load(users=count, signals=signals, budget=budget, devops_hours=hours)
            cost = advise(load, capacity=capacity).cost
            assert cost.low >= last[0] and limit(cost.high) >= last[1], load
            assert cost.low <= limit(budget) or not cost.fits_budget, load
            last = (cost.low, limit(cost.high))


# --- Sizes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("users", "signals", "scale"),
    [
        (0, 0, "mvp"), (1, 10, "mvp"), (5, 50, "mvp"), (6, 0, "small"), (0, 51, "small"), (20, 200, "small"),
        (21, 0, "medium"), (5, 201, "medium"), (100, 1000, "medium"), (101, 0, "large"), (3, 1001, "large"),
        (1000, 10**9, "large"), (1001, 0, "large"), (10**12, 10**12, "large"),
    ],
)  # fmt: skip
def test_a_boundary_belongs_to_the_smaller_size_and_the_larger_of_both_wins(
    users: int, signals: int, scale: Scale
) -> None:
    assert size_of(users, signals) == advise(Load(users=users, signals=signals)).scale == scale


@pytest.mark.parametrize(
    ("load", "says"),
    [
        (Load(users=20), "The matrix has 20 users in two sizes: here they belong to the smaller, Small."),
        (Load(users=7, signals=200), "The matrix has 200 signals a day in two sizes"),
        (Load(users=3, signals=500), "By users this is MVP, by signals Medium: the larger counts."),
        (Load(users=5000), "5,000 are 5.0 times that"),
        (Load(users=20, signals=200), "The matrix has 20 users and 200 signals a day in two sizes"),
        (Load(users=500, budget=100), "AWS ECS in several regions: from $1,853 a month, more than the $100 given."),
        (Load(users=15, devops_hours=1), "Railway: 2 hours a week, more than the 1 hour given."),
        (
            Load(users=8, budget=9.99, devops_hours=2),
            "from $10 a month, more than the $9.99 given. What fits is Your own",
        ),
        (Load(users=15, budget=0, devops_hours=0), "from $10 a month and 2 hours a week, more than the $0 and 0 hours"),
        (Load(users=15, budget=0, devops_hours=0), "Nearest is Your own machine (MVP), free, 1 hour a week."),
        (Load(users=3, devops_hours=0), "Nothing takes less."),
        (Load(users=5, signals=5000, budget=20), "Small is fast enough all the same: one process"),
        (Load(users=60, budget=380), "at the upper it is $434"),
        (Load(users=15, replay=True), "the matrix's helper says Redis Streams, we say Redis Pub/Sub."),
    ],
    ids=str,
)
def test_what_was_decided_is_said(load: Load, says: str) -> None:
    """Nobody has to guess why."""
    assert says in " ".join(advise(load).notes)


def test_an_ordinary_question_needs_no_notes() -> None:
    assert advise(Load(users=15, signals=150, budget=50, devops_hours=4)).notes == ()


@pytest.mark.parametrize(
    ("field", "got"),
    [
        *product(("users", "signals"), (-1, 1.5, True, "7", None, math.nan, 10**13)),
        *product(("budget", "devops_hours"), (-1, -0.01, True, "7", math.nan, math.inf, 10**400)),
        *product(("replay",), (0, 1, "yes", None)),
    ],
)
def test_what_is_no_number_is_refused_by_name_with_what_is_allowed(field: str, got: Any) -> None:
    asked: dict[str, Any] = {"users": 3} | {field: got}
    with pytest.raises(InvalidRequest) as refused:
        advise(Load(**asked))
    assert refused.value.field == field and refused.value.allowed and repr(got)[:100] in refused.value.message


# --- Bills ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("users", "budget", "hours", "bill", "best"),
    [
        (3, None, None, "mvp-free", None),
        (3, 0, 0, "mvp-free", "mvp-free"),  # And says that the hours do not suffice.
        (15, None, None, "small-vps", None),
        (15, 50, 4, "small-vps", None),
        (15, 50, 3, "small-paas", None),
        (15, 11, 8, "small-paas", None),
        (15, 9, 4, "small-paas", "small-local"),
        (15, 9, 3, "small-paas", "mvp-free"),
        (10, 60, 3, "small-paas", None),  # The issue's: 3 h Railway, 4 h $120, 8 h $300-400 by the matrix.
        (10, 60, 4, "small-vps", None),
        (10, 60, 8, "small-vps", None),
        (50, 200, 4, "medium-managed", None),
        (50, 200, 8, "medium-managed", None),
        (50, 400, 8, "medium-container", None),
        (50, 400, 4, "medium-managed", None),
        (50, 100, 8, "medium-droplet", None),
        (50, 130, 4, "medium-managed", "medium-heroku"),
        (50, 100, 4, "medium-managed", "small-vps"),
        (100, None, None, "medium-container", None),
        (101, 2000, 20, "large", None),
        (101, 500, 8, "large", "medium-container"),
        (101, 5, 1, "large", "mvp-free"),
    ],
)
def test_what_a_good_engineer_would_take(
    users: int, budget: float | None, hours: float | None, bill: str, best: str | None
) -> None:
    """With these users, this purse, and these hours a week."""
    scale = size_of(users, 0)
    found = recommended(scale, budget, hours)
    assert found.id == bill
    if not fits(found, budget, hours):
        assert best_that_fits(scale, budget, hours).id == best


def test_every_bill_in_an_order_is_one_of_its_size() -> None:
    by_id = {bill.id: bill for bill in bills()}
    for order in (PREFERRED, LAST_RESORT):
        assert set(order) == set(SCALES)
        assert all(by_id[id].scale == scale for scale, ids in order.items() for id in ids)
    for scale in SCALES:
        assert by_id[PREFERRED[scale][0]].platform == sizes()[scale].stack["platform"].pick


def test_who_is_in_no_order_is_dearer_without_need_or_not_known_whole() -> None:
    """A new bill is looked at by whoever adds it, and so is a price that changes."""
    preferred = {scale: [bill for bill in bills() if bill.id in PREFERRED[scale]] for scale in SCALES}
    listed = {id for order in (PREFERRED, LAST_RESORT) for ids in order.values() for id in ids}
    for bill in bills():
        whole = not any(line.low is None and line.part in ("database", "cache") for line in bill.lines)
        if bill.id not in listed and whole:
            assert any(
                total(other)[0] < total(bill)[0] and other.hours <= bill.hours for other in preferred[bill.scale]
            ), bill.id


@pytest.mark.parametrize(("users", "known"), [(3, True), (15, True), (60, True), (500, False)])
def test_a_total_has_an_upper_end_only_where_every_priced_line_has_one(users: int, known: bool) -> None:
    """Three small brokers for $109 say nothing of what larger ones cost."""
    cost = advise(Load(users=users)).cost
    assert (cost.high is not None) == known == all(line.high is not None for line in cost.lines if line.low is not None)


def test_the_matrix_s_totals_are_all_shown() -> None:
    """They differ from table to table, and whoever reads one of them shall see the others."""
    shown = advise(Load(users=60)).cost.matrix
    for each in ("$100-500", "$120/mo", "$320/mo", "$200-300", "$300-400/mo"):
        assert each in shown
