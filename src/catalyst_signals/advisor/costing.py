"""Which priced installation to recommend, what it comes to, and what fits where it does not.

Owns: the order in which a size's bills are preferred. Knows nothing of queues and databases.
Laws: the answer depends on size, budget and hours only. More users never cost less; more hours cost more only where
that fits the budget and is preferred for what it is: instances that scale and a database in two zones instead of
machines to look after. `tests/unit/test_advisor.py` proves both on every input that differs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cache

from catalyst_signals.advisor.shapes import Cost, CostLine, Load, Offer
from catalyst_signals.advisor.sizing import title_of
from catalyst_signals.advisor.tables import SCALES, Bill, Bills, Scale, bills, read, sizes

PREFERRED: dict[Scale, tuple[str, ...]] = {
    "mvp": ("mvp-free", "mvp-cloud"),
    "small": ("small-vps", "small-paas", "small-heroku"),
    "medium": ("medium-container", "medium-managed", "medium-droplet"),
    "large": ("large",),
}
"""The best first: what the flowcharts name for the size, then what asks less of purse or hours and is whole."""

LAST_RESORT: dict[Scale, tuple[str, ...]] = {
    "mvp": (), "small": ("small-local",), "medium": ("medium-heroku",), "large": (),
}  # fmt: skip
"""Named where nothing preferred fits, never recommended: a laptop sleeps, one dyno has no second. All others are dearer
than something preferred that does as much, or nobody knows the price of their database or cache."""


def recommended(scale: Scale, budget: float | None, hours: float | None) -> Bill:
    """The first of the preferred that fits both; where none does, the cheapest whose hours suffice.

    Where not even hours suffice, those count that the least demanding one takes.
    """
    preferred = _bills(PREFERRED[scale])
    for bill in preferred:
        if fits(bill, budget, hours):
            return bill
    enough = max(or_any(hours), min(bill.hours for bill in preferred))
    return min((bill for bill in preferred if bill.hours <= enough), key=lambda bill: total(bill)[0])


def best_that_fits(scale: Scale, budget: float | None, hours: float | None) -> Bill:
    """The largest size that fits, from this one down, and of that the best.

    Where nobody has an hour for it, what costs nothing.
    """
    for smaller in reversed(SCALES[: SCALES.index(scale) + 1]):
        for bill in _bills((*PREFERRED[smaller], *LAST_RESORT[smaller])):
            if fits(bill, budget, hours):
                return bill
    return _bills(PREFERRED["mvp"])[0]


def fits(bill: Bill, budget: float | None, hours: float | None) -> bool:
    """Whether it begins within the budget, and takes no more hours."""
    return total(bill)[0] <= or_any(budget) and bill.hours <= or_any(hours)


def total(bill: Bill) -> tuple[float, float | None]:
    """Of its lines that have a figure; without an upper end if one of them has none."""
    priced = [line for line in bill.lines if line.low is not None]
    highs = [line.high for line in priced]
    high = None if None in highs else round(sum(each or 0 for each in highs), 2)
    return round(sum(line.low or 0 for line in priced), 2), high


def cost_of(load: Load, scale: Scale) -> tuple[Bill, Cost]:
    """What is recommended, and its bill beside all others for the size."""
    bill = recommended(scale, load.budget, load.devops_hours)
    low, high = total(bill)
    fits_budget, fits_hours = low <= or_any(load.budget), bill.hours <= or_any(load.devops_hours)
    best = bill if fits_budget and fits_hours else best_that_fits(scale, load.budget, load.devops_hours)
    return bill, Cost(
        name=bill.name, kind=bill.kind, lines=tuple(_lines(bill)), low=low, high=high, fits_budget=fits_budget,
        fits_hours=fits_hours, best_that_fits=offer_of(best) if best is not bill else None,
        offers=tuple(offer_of(each) for each in bills() if each.scale == scale and each is not bill),
        left_out=_left_out(bill), matrix=totals_of(scale), note=bill.note,
    )  # fmt: skip


def offer_of(bill: Bill) -> Offer:
    """The same in short."""
    low, high = total(bill)
    return Offer(
        name=bill.name, kind=bill.kind, scale=bill.scale, low=low, high=high, hours=bill.hours, left_out=_left_out(bill)
    )  # fmt: skip


def _left_out(bill: Bill) -> tuple[str, ...]:
    return tuple(line.what for line in bill.lines if line.low is None)


def totals_of(scale: Scale) -> str:
    """Every total that the matrix has for the size, table by table: they differ."""
    size = sizes()[scale]
    return "; ".join([f"scale definitions: {size.cost.says}", *(figure.says for figure in size.costs)])


def remarks(load: Load, cost: Cost, bill: Bill) -> Iterator[str]:
    """What is to be said of the price, a sentence each."""
    over = []
    if load.budget is not None and not cost.fits_budget:
        over.append((f"from ${_round(cost.low)} a month", f"${amount(load.budget)}"))
    if load.devops_hours is not None and not cost.fits_hours:
        over.append((f"{_hours(bill.hours)} a week", _hours(load.devops_hours)))
    if over:
        takes, given = (" and ".join(words) for words in zip(*over, strict=True))
        yield f"{cost.name}: {takes}, more than the {given} given. {_instead(cost, load.devops_hours)}"
    elif load.budget is not None and cost.high is not None and cost.high > load.budget:
        yield (
            f"It fits at its lower end: at the upper it is ${_round(cost.high)} a month, "
            f"more than ${amount(load.budget)}."
        )


def _instead(cost: Cost, hours: float | None) -> str:
    best = cost.best_that_fits
    if best is None:
        return "Nothing takes less."
    name = f"{best.name} ({title_of(best.scale)}), {dollars(best.low, best.high)}"
    if best.hours > or_any(hours):
        return f"Nearest is {name}, {_hours(best.hours)} a week."
    return f"What fits is {name}."


def _hours(number: float) -> str:
    return f"{number:g} hour{'' if number == 1 else 's'}"


def dollars(low: float, high: float | None) -> str:
    """`free`, `$12`, `$870 to 1,840`, `$800 and more`; cents only where they matter."""
    if high is None:
        return f"${_round(low)} and more"
    if not high:
        return "free"
    return f"${_round(low)}" if _round(low) == _round(high) else f"${_round(low)} to {_round(high)}"


def _round(usd: float) -> str:
    return f"{usd:,.0f}" if usd >= 20 else amount(usd)


def amount(usd: float) -> str:
    """`12`, `1,840`, `9.50`."""
    return f"{usd:,.2f}".removesuffix(".00")


def _bills(ids: tuple[str, ...]) -> list[Bill]:
    by_id = {bill.id: bill for bill in bills()}
    return [by_id[id] for id in ids]


def or_any(given: float | None) -> float:
    """A budget or hours; None is no limit."""
    return math.inf if given is None else given


def _lines(bill: Bill) -> Iterator[CostLine]:
    source, date = _source()
    for line in bill.lines:
        said = (line.source, line.date) if line.source else (source, date) if line.low is not None else ("", "")
        yield CostLine(what=line.what, low=line.low, high=line.high, why=line.why, source=said[0], date=said[1])


@cache
def _source() -> tuple[str, str]:
    """Where the figures are from that do not say it themselves."""
    table = read("bills.toml", Bills)
    return table.source, table.date
