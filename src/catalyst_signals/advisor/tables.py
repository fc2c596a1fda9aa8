"""What the advice is made of, as it stands in the `.toml` files beside this one: read strictly, once.

Owns: the shapes of the tables and where they are. Knows nothing of how one chooses.
Law: every figure says where it is from and of when; one that nobody knows is none, with the reason, never a guess.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Annotated, Literal, TypeVar

import msgspec

T = TypeVar("T")
More = Annotated[float, msgspec.Meta(gt=0)]  # Than nothing: one divides by it.

Scale = Literal["mvp", "small", "medium", "large"]
SCALES: tuple[Scale, ...] = ("mvp", "small", "medium", "large")

Part = Literal["queue", "database", "series", "cache", "platform", "monitoring", "security"]
PARTS: tuple[Part, ...] = ("queue", "database", "series", "cache", "platform", "monitoring", "security")


class Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """A misspelt name in a table is an error."""


class Figure(Strict, frozen=True, kw_only=True):
    """A number, or from one to another; in dollars a month where `unit` says nothing else.

    Without `low` nobody knows it, and `why` says why. Without `high` there is no upper end ("$800+"). `source` and
    `date` are those of the file where they are empty. `says` is how the source has it in words, where that differs.
    """

    low: float | None = None
    high: float | None = None
    unit: str = ""
    says: str = ""
    source: str = ""
    date: str = ""
    why: str = ""


class Cell(Strict, frozen=True, kw_only=True):
    """What a source says in words; without `text` it says nothing, and `why` says what we know of that."""

    text: str = ""
    source: str = ""
    date: str = ""
    why: str = ""


class Sourced(Strict, frozen=True, kw_only=True):
    """Where the figures of a file come from that do not say it themselves."""

    source: str
    date: str


class Option(Strict, frozen=True, kw_only=True):
    """One answer to "which queue, database, ...?"; a cell that the matrix has not is absent or says why.

    `needs` is what has to be built for it, as `broker:redis+streams`, `store:postgresql`, `cache:redis`,
    `metrics:influx` or `auth:jwt`; the rest is bought or installed beside the server. `settings` is for the server.
    """

    id: str
    name: str
    also: tuple[str, ...] = ()  # Other names of the same in the matrix.
    needs: tuple[str, ...] = ()
    settings: dict[str, str] = {}
    latency: Figure | None = None  # ms
    throughput: Figure | None = None  # messages/s
    persistence: Cell | None = None
    ordering: Cell | None = None
    replay: Cell | None = None
    groups: Cell | None = None
    scaling: Cell | None = None
    complexity: Cell | None = None
    overhead: Cell | None = None
    best_for: Cell | None = None
    setup_hours: Figure | None = None
    maintenance_hours: Figure | None = None  # A week.
    cost: dict[Scale, Figure] = {}  # Dollars a month, of a platform; what runs on one is a line of its bill.
    note: str = ""


class Options(Sourced, frozen=True, kw_only=True):
    """The options of one component: `queue.toml`, `database.toml`, ..."""

    option: tuple[Option, ...]


class Pick(Strict, frozen=True, kw_only=True):
    """What a scale takes of one component: ids of options, and the matrix's reason in its own words.

    `matrix` and `matrix_runner_up` are its words where ours is another, and `decision` then says why; `why` is ours
    where the matrix has no table for the component.
    """

    pick: str
    why: str
    runner_up: str | None = None
    matrix: str = ""
    matrix_runner_up: str = ""
    decision: str = ""


class Size(Strict, frozen=True, kw_only=True):
    """One of the four, with the matrix's own boundaries; one that stands in two sizes belongs to the smaller."""

    name: Scale
    title: str
    users: tuple[int, int]
    signals_from: int
    signals_to: int | None = None  # A file has no word for "no end".
    complexity: str
    cost: Figure
    costs: tuple[Figure, ...]  # Every other total the matrix has for it; `says` names the table.
    setup_hours: Figure
    maintenance_hours: Figure
    when: str  # When to go there, by the bottom line, and by the heading of its checklist.
    due: str
    stack: dict[Part, Pick]
    lists: dict[str, tuple[str, ...]]  # "Technology stack recommendations", heading by heading.

    @property
    def signals_per_day(self) -> tuple[int, int | None]:
        """From and to; none where there is no end."""
        return self.signals_from, self.signals_to


class Sizes(Sourced, frozen=True, kw_only=True):
    """`scales.toml`"""

    scale: tuple[Size, ...]


class Line(Strict, frozen=True, kw_only=True):
    """One line of a bill. `part` is what it pays for; `added` says where it is from when the matrix leaves it out."""

    what: str
    part: Part
    low: float | None = None
    high: float | None = None
    source: str = ""
    date: str = ""
    why: str = ""
    added: bool = False


class Bill(Strict, frozen=True, kw_only=True):
    """A whole installation of one size at one place, with its lines.

    `kind` is the matrix's column (free, cheap, cloud, vps, paas, aws, managed, container, large). `platform` is the id
    of an option. `hours` is how many a week it takes at least to look after.
    """

    id: str
    name: str
    scale: Scale
    kind: str
    platform: str
    hours: float
    lines: tuple[Line, ...] = msgspec.field(name="line")
    matrix: Figure | None = None  # The total that the matrix gives.
    note: str = ""  # Whether its prices still stand, and by whom.


class Bills(Sourced, frozen=True, kw_only=True):
    """`bills.toml`"""

    bill: tuple[Bill, ...]


class Feature(Strict, frozen=True, kw_only=True):
    """A row of "Feature complexity": what each size has, in the matrix's words without its signs."""

    name: str
    mvp: str
    small: str
    medium: str
    large: str
    decision: str = ""


class Features(Sourced, frozen=True, kw_only=True):
    """`features.toml`"""

    feature: tuple[Feature, ...]


class Step(Strict, frozen=True, kw_only=True):
    """One change of a migration; `ours` is how it is done here where the matrix's way is another or cannot work."""

    what: str
    how: tuple[str, ...] = ()
    ours: str = ""


class Phase(Strict, frozen=True, kw_only=True):
    """From one size to the next."""

    start: Scale
    end: Scale
    duration_weeks: Figure
    complexity: str
    risk: str
    downtime: Figure  # Minutes, as the matrix says.
    downtime_ours: str
    step: tuple[Step, ...]


class Milestone(Strict, frozen=True, kw_only=True):
    """A part of the recommended path."""

    when: str
    scale: Scale
    stack: str
    cost: Figure
    features: str
    goal: str


class Dont(Strict, frozen=True, kw_only=True):
    """What not to do, and why."""

    what: str
    why: str


class Journey(Sourced, frozen=True, kw_only=True):
    """`path.toml`: the migrations, the recommended path, the don'ts."""

    phase: tuple[Phase, ...]
    milestone: tuple[Milestone, ...]
    because: tuple[str, ...]
    dont: tuple[Dont, ...]


class Item(Strict, frozen=True, kw_only=True):
    """A line of a checklist. It is on when the server has all of `on` (see `facts.py`); `always` is by construction."""

    item: str
    on: tuple[str, ...] = ()
    always: bool = False
    how: str = ""


class Checklists(Sourced, frozen=True, kw_only=True):
    """`checklists.toml`"""

    mvp: tuple[Item, ...]
    small: tuple[Item, ...]
    medium: tuple[Item, ...]
    large: tuple[Item, ...]


class Measured(Strict, frozen=True, kw_only=True):
    """One thing that a machine did: so many a second, with how it was measured."""

    per_s: More
    how: str


class Machine(Strict, frozen=True, kw_only=True):
    """What it was measured on."""

    cpu: str
    cores: int
    memory_gib: More
    system: str
    python: str
    date: str


class Capacity(Strict, frozen=True, kw_only=True):
    """`capacity.toml`: what one process of this program does on a machine; written by `catalyst bench --calibrate`.

    publish: signals stored and acknowledged through the server. fanout: deliveries to WebSockets. match: filters
    judged. store: signals the store alone takes. broker: hints, None where there is none. connection_bytes: memory of
    an idle subscriber. signal_bytes: the store's growth for a signal.
    """

    machine: Machine
    store_url: str
    broker_url: str
    publish: Measured
    fanout: Measured
    match: Measured
    store: Measured
    connection_bytes: Annotated[int, msgspec.Meta(gt=0)]
    signal_bytes: Annotated[int, msgspec.Meta(gt=0)]
    broker: Measured | None = None


@cache
def sizes() -> dict[Scale, Size]:
    """The four scales, the smallest first."""
    return {size.name: size for size in read("scales.toml", Sizes).scale}


@cache
def options(part: Part) -> dict[str, Option]:
    """What there is to choose from, by id."""
    return {option.id: option for option in read(f"{part}.toml", Options).option}


@cache
def bills() -> tuple[Bill, ...]:
    """Every priced installation."""
    return read("bills.toml", Bills).bill


def read(name: str, kind: type[T]) -> T:
    """A table, checked."""
    return msgspec.toml.decode((files(__package__) / name).read_bytes(), type=kind)
