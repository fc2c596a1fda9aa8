"""The whole answer to "what shall I run?": size, stack, price, settings, checklist, and what the matrix says.

Owns: how the parts of an advice are put together. Law: it is a pure function of what was asked, the tables, what this
program has built, and what a machine was measured to do.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

from catalyst_signals.advisor import choosing, costing, sizing
from catalyst_signals.advisor.built import missing_of, runs_today
from catalyst_signals.advisor.capacity import abilities, about, read_capacity
from catalyst_signals.advisor.shapes import Advice, Check, Chosen, Cost, Load, MatrixAnswer, MatrixSays, Standing
from catalyst_signals.advisor.standing import BUSY, carried
from catalyst_signals.advisor.tables import (
    PARTS,
    Bill,
    Capacity,
    Checklists,
    Feature,
    Features,
    Item,
    Journey,
    Option,
    Part,
    Phase,
    Pick,
    Scale,
    options,
    read,
    sizes,
)

ONE_MACHINE = ("local", "droplet")  # Where a small installation has everything on it.
MORE_THAN_A_FILE = frozenset({"store:postgresql", "store:mysql"})
HERE = {"local": {"CATALYST_STORE_URL": "sqlite:///catalyst.db"}}  # A laptop has no /var/lib/catalyst.


def advise(
    load: Load, *, facts: frozenset[str] = frozenset(), capacity: Capacity | None = None,
    standing: Standing | None = None,
) -> Advice:  # fmt: skip
    """What to run for such a load.

    `facts` are what is switched on already (see facts.py), `capacity` is what a machine does (without one, what
    `read_capacity()` finds), `standing` is where a running server is.

    Raises:
        InvalidRequest: something of the load is no number from 0.
        Misconfigured: ./capacity.toml is no capacity.
    """
    sizing.checked(load)
    capacity = capacity or read_capacity()
    scale = sizing.size_of(load.users, load.signals)
    bill, cost = costing.cost_of(load, scale)
    taken = _taken(scale, bill)
    stack = {part: _chosen(part, option, scale, cost) for part, option in taken.items()}
    return Advice(
        scale=scale, asked=load, stack=stack, cost=cost, settings=_settings(scale, taken),
        checklist=tuple(_check(item, facts) for item in _checklist(scale)),
        matrix=_matrix(load, scale), next=_next(scale),
        missing=tuple(dict.fromkeys(word for each in stack.values() for word in each.missing)),
        notes=(*_notes(load, bill, cost, scale), *_by_what_is_there(load, scale, cost, capacity, stack, facts)),
        capacity=capacity,
        abilities=tuple(abilities(load, scale, taken["queue"], capacity)), server=standing,
    )  # fmt: skip


# --- The stack -------------------------------------------------------------------------------------------------------


def _taken(scale: Scale, bill: Bill) -> dict[Part, Option]:
    """What the size takes of each part; where it runs and who watches it is what the bill pays for."""
    taken = {part: options(part)[sizes()[scale].stack[part].pick] for part in PARTS}
    taken["platform"] = options("platform")[bill.platform]
    taken["monitoring"] = _watching(sizes()[scale].stack["monitoring"], bill)
    return taken


def _watching(pick: Pick, bill: Bill) -> Option:
    """The size's usual if its first product is on the bill, or nothing is: CloudWatch comes with AWS only."""
    usual = options("monitoring")[pick.pick]
    paid = [line.what for line in bill.lines if line.part == "monitoring"]
    is_paid = any(usual.name.partition(" + ")[0] in what for what in paid)
    return usual if is_paid or not paid or pick.runner_up is None else options("monitoring")[pick.runner_up]


def _chosen(part: Part, option: Option, scale: Scale, cost: Cost) -> Chosen:
    pick = sizes()[scale].stack[part]
    usual = options(part)[pick.pick]
    missing = missing_of(option)
    said = pick.matrix or usual.name
    return Chosen(
        pick=option.name, why=pick.why if option is usual else _why_there(part, usual, scale, cost),
        runner_up=_runner_up(part, pick, option), missing=missing,
        matrix=option.name if said in (option.name, *option.also) else said,
        instead=runs_today(scale, part).name if missing else "", decision=pick.decision,
        matrix_runner_up=pick.matrix_runner_up,
    )  # fmt: skip


def _runner_up(part: Part, pick: Pick, option: Option) -> str | None:
    """The size's usual where another was taken, else what the table names next."""
    other = pick.runner_up if option.id == pick.pick else pick.pick
    return options(part)[other].name if other is not None else None


def _why_there(part: Part, usual: Option, scale: Scale, cost: Cost) -> str:
    if part == "monitoring":
        return f"What is on the bill of {cost.name}"
    if cost.fits_budget and cost.fits_hours:
        return f"{usual.name} does not fit the budget or the hours; this does"
    return f"The least that {sizing.title_of(scale)} costs with these hours: ${cost.low:,.0f} a month"


# --- What to do ------------------------------------------------------------------------------------------------------


def _settings(scale: Scale, taken: dict[Part, Option]) -> dict[str, str]:
    """What runs that size today, on what is built; hosts are examples."""
    found: dict[str, str] = {}
    for part, option in taken.items():
        found |= (runs_today(scale, part) if missing_of(option) and part != "platform" else option).settings
    platform = taken["platform"]
    found |= HERE.get(platform.id, {}) if found["CATALYST_STORE_URL"].startswith("sqlite:") else {}
    found["CATALYST_PROCESSES"] = _processes(scale, platform)
    if scale == "small" and platform.id in ONE_MACHINE:
        found = {name: re.sub(r"\b(db|redis)\.internal\b", "localhost", value) for name, value in found.items()}
    return found


def _processes(scale: Scale, platform: Option) -> str:
    """One a core on machines of one's own that are there for the load; a platform that scales adds instances."""
    scales_itself = platform.scaling is not None and platform.scaling.text != "Manual"
    return "1" if scale in ("mvp", "small") or scales_itself else "0"


@cache
def _checklist(scale: Scale) -> tuple[Item, ...]:
    """The phase's own: what came before is in the stack."""
    items: tuple[Item, ...] = getattr(read("checklists.toml", Checklists), scale)
    return items


def _check(item: Item, facts: frozenset[str]) -> Check:
    return Check(item=item.item, on=item.always or facts.issuperset(item.on), how=item.how)


# --- What the matrix says --------------------------------------------------------------------------------------------


def _matrix(load: Load, scale: Scale) -> MatrixSays:
    size = sizes()[scale]
    return MatrixSays(
        queue=_said(choosing.choose_message_queue(load.users, load.signals, load.replay)),
        deployment=_said(choosing.deployment_for(scale, load.users, load.budget, load.devops_hours)),
        cost=size.cost.says, setup_hours=size.setup_hours.says, maintenance_hours=size.maintenance_hours.says,
        complexity=size.complexity, when=f"{size.due}: {size.when}", stack=size.lists,
        options={part: tuple(options(part).values()) for part in PARTS}, features=_features(),
        path=_journey().milestone, because=_journey().because, donts=_journey().dont,
    )  # fmt: skip


def _next(scale: Scale) -> Phase | None:
    """The phase that begins here."""
    return next((phase for phase in _journey().phase if phase.start == scale), None)


@cache
def _journey() -> Journey:
    return read("path.toml", Journey)


@cache
def _features() -> tuple[Feature, ...]:
    return read("features.toml", Features).feature


def _said(answer: choosing.Answer) -> MatrixAnswer:
    return MatrixAnswer(
        answer=str(answer), ours=answer.ours, low=answer.low, high=answer.high, fits_budget=answer.fits_budget,
        best_that_fits=answer.best_that_fits,
    )  # fmt: skip


# --- What is to be said of it ----------------------------------------------------------------------------------------


def _notes(load: Load, bill: Bill, cost: Cost, scale: Scale) -> Iterator[str]:
    yield from sizing.remarks(load, scale)
    yield from costing.remarks(load, cost, bill)
    if load.replay:
        said = choosing.choose_message_queue(load.users, load.signals, load.replay)
        differ = f": the matrix's helper says {said}, we say {said.ours}" if said != said.ours else ""
        yield f"Replay comes from the store at every size and forces no broker{differ}."


def _by_what_is_there(
    load: Load, scale: Scale, cost: Cost, capacity: Capacity, stack: dict[Part, Chosen], facts: frozenset[str]
) -> Iterator[str]:
    """What the matrix cannot know: a machine's speed, and what one has already."""
    most = min(users for _, users in carried(load, capacity))
    best = cost.best_that_fits
    if best is not None and best.scale != scale and load.users < BUSY * most:
        yield (
            f"{sizing.title_of(best.scale)} is fast enough all the same: one process on the machine that was measured "
            f"carries {about(most)} users at these signals. A larger size is for what fails over."
        )
    if stack["database"].pick == options("database")["sqlite"].name and facts & MORE_THAN_A_FILE:
        yield "The log is in a database server already: that is more than this size needs, and nothing to go back from."
