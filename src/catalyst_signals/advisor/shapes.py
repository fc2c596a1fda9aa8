"""What is asked and what is answered: the shapes of `catalyst advise --json` and `/v1/advice`.

Owns: Load, Advice and its parts. Knows nothing of how they are found.
"""

from __future__ import annotations

import msgspec

from catalyst_signals.advisor.tables import Capacity, Dont, Feature, Milestone, Option, Part, Phase, Scale


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody wants to run. `budget` is dollars a month, `devops_hours` are a week."""

    users: int
    signals: int = 0  # A day.
    budget: float | None = None  # None: whatever it takes.
    devops_hours: float | None = None  # None: as many as it takes.
    replay: bool = False


class Chosen(msgspec.Struct, frozen=True, kw_only=True):
    """One component of the stack. `missing` is what this program has not yet of it, `instead` what runs until then."""

    pick: str
    why: str
    runner_up: str | None
    matrix: str  # What the decision matrix says; the same words as `pick` where we agree.
    missing: tuple[str, ...] = ()
    instead: str = ""
    decision: str = ""  # Where the matrix contradicts itself: what we say, and why.
    matrix_runner_up: str = ""  # Its alternative, where ours is another.


class CostLine(msgspec.Struct, frozen=True, kw_only=True):
    """Dollars a month; None where nobody has a figure, and `why` says why."""

    what: str
    low: float | None
    high: float | None
    why: str = ""
    source: str = ""
    date: str = ""


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """Another way to run the same size, or the best one that fits, with its price."""

    name: str
    kind: str
    scale: Scale
    low: float
    high: float | None
    hours: float
    left_out: tuple[str, ...] = ()  # What is in no total, since nobody has a figure.


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """The recommended installation, dollars a month. Lines without a figure are in no total and named in `left_out`."""

    name: str
    kind: str
    lines: tuple[CostLine, ...]
    low: float
    high: float | None
    fits_budget: bool
    fits_hours: bool
    best_that_fits: Offer | None  # Where the recommended does not fit.
    offers: tuple[Offer, ...]  # Every other way for this size: free, cheap, cloud ...
    left_out: tuple[str, ...] = ()
    matrix: str = ""  # The matrix's totals for this size, as it has them.
    note: str = ""  # Whether these prices still stand, and who says so.


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the checklist; `how` is what to do where it is not on."""

    item: str
    on: bool
    how: str = ""


class MatrixAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What a helper of the matrix answers, and what we say."""

    answer: str
    ours: str
    low: float | None = None
    high: float | None = None
    fits_budget: bool = True
    best_that_fits: str | None = None


class MatrixSays(msgspec.Struct, frozen=True, kw_only=True):
    """The decision matrix's own answers to the same question, and what else it has for whoever asks it."""

    queue: MatrixAnswer
    deployment: MatrixAnswer
    cost: str
    setup_hours: str
    maintenance_hours: str
    complexity: str
    when: str  # One goes to this size.
    stack: dict[str, tuple[str, ...]]  # Heading by heading.
    options: dict[Part, tuple[Option, ...]]  # Everything there is to choose from, with its figures.
    features: tuple[Feature, ...]
    path: tuple[Milestone, ...]  # That it recommends, and `because` why.
    because: tuple[str, ...]
    donts: tuple[Dont, ...]


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """What a server has to do, as it counted itself. Growth is a day; None is what it cannot know."""

    users: int
    signals_per_day: float
    users_growth: float | None = None
    signals_growth: float | None = None
    connections: int = 0
    connections_peak: int = 0
    delivery_p99_ms: float | None = None
    store_bytes: int | None = None
    since: str = ""  # From when on the days were counted.
    busiest_minute: int | None = None  # Signals in it.
    disk_free_bytes: int | None = None
    signals_last_day: float | None = None
    signals_last_month: float | None = None  # A day, over 30.


class Limit(msgspec.Struct, frozen=True, kw_only=True):
    """Something one runs into: how much is used of how much, and in how many days it is reached at today's growth."""

    what: str
    used: float
    of: float
    unit: str
    share: float  # used / of
    days: float | None  # None: it does not grow, or not in ten years.
    source: str  # `matrix` or `measured`.


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """Where a running server is on the scale. Growth is a day; None where it is too young to tell."""

    users: int
    signals_per_day: float
    users_growth: float | None
    signals_growth: float | None
    connections: int
    connections_peak: int
    delivery_p99_ms: float | None
    store_bytes: int | None
    since: str  # From when on the days were counted.
    scale: Scale
    limits: tuple[Limit, ...]  # The one that is met first, first.
    verdict: str  # One sentence: stay or move, and why.
    signals_last_day: float | None = None
    signals_last_month: float | None = None  # A day, over 30.


class Ability(msgspec.Struct, frozen=True, kw_only=True):
    """The matrix's round number beside what a machine did, for one component."""

    what: str
    matrix: str
    measured: str


class Advice(msgspec.Struct, frozen=True, kw_only=True):
    """The whole answer. `settings` run today on what is built; `missing` is what the size has and we do not yet."""

    scale: Scale
    asked: Load
    stack: dict[Part, Chosen]
    cost: Cost
    settings: dict[str, str]
    checklist: tuple[Check, ...]
    matrix: MatrixSays
    next: Phase | None  # How one goes on to the next size, by the matrix and by us; None where there is none.
    missing: tuple[str, ...]
    notes: tuple[str, ...]  # What was decided between contradictions, warnings: a sentence each.
    capacity: Capacity
    abilities: tuple[Ability, ...]
    server: Standing | None = None
