"""The advice's data says what the decision matrix says: every cell of every table of it, one case a cell.

`tests/fixtures/matrix.md` is the matrix as it was given. A number that changes on either side fails here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest

from catalyst_signals.advisor import tables
from catalyst_signals.advisor.tables import (
    PARTS,
    SCALES,
    Bill,
    Checklists,
    Features,
    Figure,
    Journey,
    Option,
    Options,
    Part,
    Scale,
    bills,
    options,
    sizes,
)

MATRIX = Path(__file__).parent.parent / "fixtures" / "matrix.md"
SCALE_NAMES: dict[str, Scale] = {name.upper() if name == "mvp" else name.capitalize(): name for name in SCALES}
Case = tuple[str, str, str]  # Which cell, what the matrix says, what the data says.


def rows(heading: str) -> list[list[str]]:
    """The first table below a heading (or a line in bold), its first row the names of the columns; without stars."""
    below = MATRIX.read_text().split(f"\n{heading}\n", 1)[1]
    lines = below.splitlines()
    start = next(at for at, line in enumerate(lines) if line.startswith("|"))
    table = []
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        table.append([cell.strip().replace("**", "") for cell in line.strip("|").split("|")])
    return [table[0], *table[2:]]


def section(heading: str) -> str:
    """What stands below a heading, up to the next of its level or above."""
    level = heading.split(" ")[0]
    below = MATRIX.read_text().split(f"\n{heading}\n", 1)[1]
    return re.split(rf"\n#{{1,{len(level)}}} ", below, maxsplit=1)[0]


def number(text: str) -> float:
    """`100K` and `1M` as a number."""
    return float(text.rstrip("KM")) * {"K": 1_000, "M": 1_000_000}.get(text[-1], 1)


def range_of(text: str, *, factor: float = 1) -> tuple[float, float | None]:
    """`$30-100`, `<1ms`, `1M+ msg/sec`, `1 hour` as low and high."""
    found = [number(each) * factor for each in re.findall(r"\d+[KM]?", text)]
    if text.startswith("<"):
        return 0, found[0]
    if "+" in text:
        return found[0], None
    return found[0], found[-1]


def said(figure: Figure | None) -> str:
    """A figure as a case compares it."""
    return "absent" if figure is None else str((figure.low, figure.high))


def wanted(text: str, *, factor: float = 1) -> str:
    """The same of what the matrix says."""
    low, high = range_of(text, factor=factor)
    return str((float(low), None if high is None else float(high)))


def named(part: Part, name: str) -> Option:
    """The option that the matrix calls so."""
    return next(option for option in options(part).values() if name in (option.name, *option.also))


@cache
def journey() -> Journey:
    return tables.read("path.toml", Journey)


def scale_cases() -> Iterator[Case]:
    for name, users, signals, complexity, cost in rows("## Scale Definitions")[1:]:
        size = sizes()[SCALE_NAMES[name]]
        last = size.signals_per_day[1]
        yield f"{name} users", users, "-".join(map(str, size.users))
        yield f"{name} signals", signals, f"{size.signals_from}-{last}" if last else f"{size.signals_from}+"
        yield f"{name} complexity", complexity, size.complexity
        yield f"{name} cost in words", cost, size.cost.says
        yield f"{name} cost", wanted(cost), said(size.cost)


def pick_cases() -> Iterator[Case]:
    headings: dict[Part, str] = {
        "queue": "### Recommendation Matrix",
        "database": "### Primary Database (Event Store, User Configs)",
        "series": "### Time-Series Database (Metrics, Performance)",
        "cache": "### Cache Layer",
    }
    for part, heading in headings.items():
        for name, recommended, why, alternative in rows(heading)[1:]:
            pick = sizes()[SCALE_NAMES[name]].stack[part]
            second = options(part)[pick.runner_up].name if pick.runner_up else ""
            yield f"{part} of {name}", recommended, pick.matrix or options(part)[pick.pick].name
            yield f"{part} of {name}, why", why, pick.why
            yield f"{part} of {name}, alternative", alternative, pick.matrix_runner_up or second


def queue_cases() -> Iterator[Case]:
    words = {
        "Persistence": "persistence",
        "Ordering": "ordering",
        "Message Replay": "replay",
        "Consumer Groups": "groups",
        "Horizontal Scaling": "scaling",
        "Setup Complexity": "complexity",
        "Operational Overhead": "overhead",
        "Best For": "best_for",
    }
    figures = {"Latency": "latency", "Max Throughput": "throughput"}
    header, *lines = rows("### Detailed Comparison")
    for feature, *cells in lines:
        for name, cell in zip(header[1:], cells, strict=True):
            option = named("queue", name)
            if feature in words:
                yield f"{name} {feature}", cell, getattr(option, words[feature]).text
            else:
                figure = getattr(option, figures[feature])
                yield f"{name} {feature} in words", cell, figure.says
                yield f"{name} {feature}", wanted(cell), said(figure)


def platform_cases() -> Iterator[Case]:
    for name, setup, scaling, small, medium, best in rows("### Comparison")[1:]:
        option = named("platform", name)
        hours = 1 / 60 if setup.endswith("min") else 1
        yield f"{name} setup in words", setup, option.setup_hours.says if option.setup_hours else ""
        yield f"{name} setup", wanted(setup, factor=hours), said(option.setup_hours)
        yield f"{name} scaling", scaling, option.scaling.text if option.scaling else ""
        yield f"{name} best for", best, option.best_for.text if option.best_for else ""
        for scale, cell in (("small", small), ("medium", medium)):
            yield f"{name} cost, {scale}, in words", cell, option.cost[scale].says
            yield f"{name} cost, {scale}", wanted(cell), said(option.cost[scale])


BILLS = {
    "**MVP (3-5 users):**": ("mvp-free", "mvp-cheap", "mvp-cloud"),
    "**Small (5-20 users):**": ("small-vps", "small-paas", "small-aws"),
    "**Medium (20-100 users):**": ("medium-managed", "medium-container"),
    "**Large (100-1000 users):**": ("large",),
}


def bill(name: str) -> Bill:
    return next(each for each in bills() if each.id == name)


def bill_cases() -> Iterator[Case]:
    for heading, names in BILLS.items():
        header, *lines = rows(heading)
        for row in lines:
            for name, column, cell in zip(names, header[1:], row[1:], strict=True):
                yield from cell_of_bill(bill(name), row[0], column, cell)


def cell_of_bill(each: Bill, component: str, column: str, cell: str) -> Iterator[Case]:
    where = f"{each.id}, {component}"
    if component == "Total":
        assert each.matrix is not None
        yield f"{where} in words", cell, each.matrix.says
        yield where, wanted(cell), said(each.matrix)
        return
    what, _, price = cell.rpartition("$")
    label = component if column == "Cost" else f"{component}: {what.strip() or cell}"
    line = next((line for line in each.lines if not line.added and line.what == label), None)
    found = "absent" if line is None else str((line.low, line.high))
    yield where, wanted(price) if "$" in cell else str((0.0, 0.0)), found


def stack_cases() -> Iterator[Case]:
    titles = {"mvp": "MVP Stack (Weekend Project)"} | {s: f"{s.capitalize()} Production Stack" for s in SCALES[1:]}
    for scale, title in titles.items():
        size = sizes()[scale]
        block = section(f"### {title}").split("```yaml\n")[1].split("```")[0]
        lists = dict(re.findall(r"^([\w-]+):\n((?:  - .+\n)+)", block, re.M))
        yield f"{scale} headings", " ".join(lists), " ".join(size.lists)
        for heading, lines in lists.items():
            for at, line in enumerate(lines.splitlines()):
                ours = dict(enumerate(size.lists.get(heading, ())))
                yield f"{scale} {heading} {at}", line.removeprefix("  - "), ours.get(at, "absent")
        facts = dict(re.findall(r"^(Cost|Setup Time|Maintenance): (.+)$", block, re.M))
        yield f"{scale} setup in words", facts["Setup Time"], size.setup_hours.says
        yield f"{scale} setup", wanted(facts["Setup Time"].split(" (")[0]), said(size.setup_hours)
        yield f"{scale} maintenance in words", facts["Maintenance"], size.maintenance_hours.says
        yield f"{scale} maintenance", wanted(facts["Maintenance"]), said(size.maintenance_hours)
        yield from total(scale, "stack", facts["Cost"])


def total(scale: Scale, table: str, text: str) -> Iterator[Case]:
    """A total that a table has for a size stands among the size's."""
    found = next((each for each in sizes()[scale].costs if each.says == f"{table}: {text}"), None)
    yield f"{scale}, {table}, {text}", wanted(text), said(found)


def total_cases() -> Iterator[Case]:
    names = {"free": "free", "cheap": "cheap", "cloud": "cloud", "vps": "VPS", "paas": "PaaS", "aws": "AWS"}
    names |= {"managed": "managed services", "container": "container platform"}
    for ids in BILLS.values():
        for each in map(bill, ids):
            assert each.matrix is not None
            table = f"cost breakdown, {names[each.kind]}" if each.kind in names else "cost breakdown"
            yield from total(each.scale, table, each.matrix.says)
    end = MATRIX.read_text().split("**Bottom Line:**")[1]
    for scale, (when, price) in zip(SCALES, re.findall(r"\*\* (.+) \((\$[^)]+/month)\)", end), strict=True):
        yield f"{scale}, when", when.removeprefix("stack "), sizes()[scale].when
        yield from total(scale, "bottom line", price)
    helper = section("### Decision Helper")
    for scale, name in (("medium", "AWS ECS Fargate"), ("large", "AWS ECS + Auto-scaling + Multi-AZ")):
        price = helper.split(f'return "{name} (')[1].split(")")[0]
        yield from total(
            scale, "deployment helper, AWS ECS Fargate" if scale == "medium" else "deployment helper", price
        )


def feature_cases() -> Iterator[Case]:
    features = {each.name: each for each in tables.read("features.toml", Features).feature}
    for name, *cells in rows("## Feature Complexity Matrix")[1:]:
        for scale, cell in zip(SCALES, cells, strict=True):
            plain = cell.replace("✅", "yes").replace("❌", "no").replace("⬆️ ", "")
            yield f"{name}, {scale}", plain, getattr(features[name], scale)


def phase_cases() -> Iterator[Case]:
    headings = re.findall(r"^### (Phase \d → Phase \d \(.+\))$", MATRIX.read_text(), re.M)
    for heading, phase in zip(headings, journey().phase, strict=True):
        text = section(f"### {heading}")
        facts = dict(re.findall(r"^\*\*(Time|Complexity|Risk|Downtime)\*\*: (.+)$", text, re.M))
        minutes = 60 if "hours" in facts["Downtime"] else 1
        yield f"{heading} ends", heading.split("(")[1].split(" ")[2].lower(), phase.end
        yield f"{heading} time in words", facts["Time"], phase.duration_weeks.says
        yield f"{heading} time", wanted(facts["Time"]), said(phase.duration_weeks)
        yield f"{heading} complexity", facts["Complexity"], phase.complexity
        yield f"{heading} risk", facts["Risk"], phase.risk
        yield f"{heading} downtime in words", facts["Downtime"], phase.downtime.says
        yield f"{heading} downtime", wanted(facts["Downtime"], factor=minutes), said(phase.downtime)
        steps = re.split(r"^\d\. ", text, flags=re.M)[1:]
        for step, ours in zip(steps, phase.step, strict=True):
            yield from step_cases(step, ours.what, " | ".join(ours.how))


def step_cases(step: str, what: str, how: str) -> Iterator[Case]:
    """Points are ours word by word; of commands the words that are not comments."""
    title, *lines = step.split("\n**Risk**")[0].splitlines()
    yield title, title, what
    for line in map(str.strip, lines):
        if line and not line.startswith(("#", "```")):
            point = line.removeprefix("- ")
            yield f"{title}: {point}", point, point if point in how else how


def milestone_cases() -> Iterator[Case]:
    text = section("### For Your Use Case (Friends Trading)")
    parts = re.split(r"^\d\. ", text.split("**Recommended Path:**")[1].split("**Why this path?**")[0], flags=re.M)[1:]
    for part, ours in zip(parts, journey().milestone, strict=True):
        when, name = re.findall(r"\*\*(.+): (\w+)", part)[0]
        facts = dict(re.findall(r"- (Stack|Cost|Features|Goal): (.+)", part))
        yield f"{when}", when, ours.when
        yield f"{when} scale", SCALE_NAMES[name], ours.scale
        yield f"{when} stack", facts["Stack"], ours.stack
        yield f"{when} features", facts["Features"], ours.features
        yield f"{when} goal", facts["Goal"], ours.goal
        yield f"{when} cost in words", facts["Cost"], ours.cost.says
        yield f"{when} cost", wanted(facts["Cost"]), said(ours.cost)
        yield from total(ours.scale, "recommended path", facts["Cost"])


def advice_cases() -> Iterator[Case]:
    text = section("### For Your Use Case (Friends Trading)")
    for line, ours in zip(re.findall(r"^- ✅ (.+)$", text, re.M), journey().because, strict=True):
        yield line, line, ours
    for line, dont in zip(re.findall(r"^- ❌ (.+)$", text, re.M), journey().dont, strict=True):
        yield line, line, f"{dont.what} ({dont.why})" if dont.why else dont.what


def checklist_cases() -> Iterator[Case]:
    lists = tables.read("checklists.toml", Checklists)
    text = section("## Technology Checklist")
    for name, due, block in re.findall(r"### (\w+)[^\n]* \((.+)\)\n((?:- \[ \] .+\n?)+)", text):
        ours = getattr(lists, SCALE_NAMES[name])
        yield f"{name}, due", due, sizes()[SCALE_NAMES[name]].due
        for line, item in zip(re.findall(r"- \[ \] (.+)", block), ours, strict=True):
            yield f"{name}: {line}", line, item.item


MAKERS = (
    scale_cases,
    pick_cases,
    queue_cases,
    platform_cases,
    bill_cases,
    stack_cases,
    total_cases,
    feature_cases,
    phase_cases,
    milestone_cases,
    advice_cases,
    checklist_cases,
)
CELLS = [pytest.param(*case[1:], id=f"{make.__name__[:-6]}: {case[0]}") for make in MAKERS for case in make()]


@pytest.mark.parametrize(("matrix", "ours"), CELLS)
def test_a_cell_of_the_matrix_stands_in_the_data(matrix: str, ours: str) -> None:
    """Whoever reads the advice may rely on the matrix being in it as it is, not as somebody remembers it."""
    assert ours == matrix


def test_no_table_of_the_matrix_is_passed_over() -> None:
    """A table that is added to the matrix is not silently left out: there are twelve, and this many cells at least."""
    tables_there = len(re.findall(r"^\|[-| ]+\|$", MATRIX.read_text(), re.M))
    assert tables_there == 12
    assert len(CELLS) > 400


FILES: dict[str, type[msgspec.Struct]] = {
    "scales.toml": tables.Sizes,
    "bills.toml": tables.Bills,
    "features.toml": Features,
    "path.toml": Journey,
    "checklists.toml": Checklists,
} | {f"{part}.toml": Options for part in PARTS}


def everything(value: Any) -> Iterator[Any]:
    """A value and all that is in it."""
    yield value
    if isinstance(value, msgspec.Struct):
        value = [getattr(value, name) for name in value.__struct_fields__]
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for each in value:
            yield from everything(each)


@pytest.mark.parametrize("name", FILES)
def test_a_figure_has_a_number_or_says_why_not_and_where_it_is_from(name: str) -> None:
    """Nothing is invented: who doubts a number finds its source and date, who misses one finds the reason."""
    table = tables.read(name, FILES[name])
    for each in everything(table):
        if isinstance(each, (Figure, tables.Line)):
            assert each.low is not None or each.why, each
            assert each.high is None or (each.low is not None and each.low <= each.high), each
        if isinstance(each, tables.Cell):
            assert each.text or each.why, each
        if isinstance(each, (Figure, tables.Cell, tables.Line)):
            assert each.source or table.source, each
            assert each.date or table.date, each
            assert not each.source or each.date or each.source.startswith("decision matrix"), each


def test_every_price_that_is_not_the_matrix_s_has_an_address_and_a_date() -> None:
    """What was added can be looked up."""
    for each in bills():
        for line in each.lines:
            if line.added and line.low is not None and not line.source.startswith("decision matrix"):
                assert "https://" in line.source and line.date, (each.id, line.what)


def test_every_id_exists() -> None:
    """A pick, a runner-up and a bill's platform can be looked up."""
    for size in sizes().values():
        assert set(size.stack) == set(PARTS)
        for part, pick in size.stack.items():
            assert pick.pick in options(part)
            assert pick.runner_up is None or pick.runner_up in options(part)
            assert pick.runner_up != pick.pick
    assert {each.platform for each in bills()} <= set(options("platform"))
    assert len({each.id for each in bills()}) == len(bills())


def test_whoever_differs_from_the_matrix_says_why() -> None:
    """Another pick than the matrix's has its sentence."""
    for size in sizes().values():
        for part in ("queue", "database", "series", "cache"):
            pick = size.stack[part]
            assert pick.decision or not (pick.matrix or (pick.matrix_runner_up and pick.runner_up)), (size.name, part)


def test_every_need_has_a_kind_that_can_be_looked_for() -> None:
    """`built.py` finds each where it would be: a scheme, or a module."""
    for part in PARTS:
        for option in options(part).values():
            for need in option.needs:
                assert re.fullmatch(r"(store|broker|cache):[a-z+]+|(metrics|auth|deploy):[a-z_]+", need), (
                    part,
                    option.id,
                )


def test_the_lines_of_a_bill_sum_to_the_matrix_s_total() -> None:
    """The matrix's own sums are right, each of them; what it leaves out is marked as added."""
    for each in bills():
        assert each.matrix is not None
        lines = [line for line in each.lines if not line.added]
        assert sum(line.low or 0 for line in lines) == each.matrix.low, each.id
        ends = [line.high for line in lines]
        assert (None if None in ends else sum(end or 0 for end in ends)) == each.matrix.high, each.id


def test_there_is_a_price_for_every_size_that_is_known_from_below() -> None:
    """Each size has a bill, and each bill a lowest price and hours a week within what the matrix says of its size."""
    assert {each.scale for each in bills()} == set(SCALES)
    for each in bills():
        hours = sizes()[each.scale].maintenance_hours
        assert hours.low is not None and hours.low <= each.hours <= (hours.high or hours.low), each.id
        assert any(line.low is not None for line in each.lines)


def test_a_setting_is_one_that_the_server_takes() -> None:
    """What the advice says to set can be set: the name exists, the value passes, and its back-end is built."""
    from catalyst_signals.brokers import BROKERS
    from catalyst_signals.caches import CACHES
    from catalyst_signals.server.settings import Settings
    from catalyst_signals.stores import STORES

    schemes = {"store_url": STORES, "broker_url": BROKERS, "cache_url": CACHES}
    for part in PARTS:
        for option in options(part).values():
            values = {name.removeprefix("CATALYST_").lower(): value for name, value in option.settings.items()}
            assert all(name.startswith("CATALYST_") for name in option.settings), option.id
            Settings.model_validate(values)
            for name in schemes.keys() & values.keys():
                assert values[name].split(":")[0] in schemes[name], option.id


def test_a_command_or_setting_that_is_named_exists() -> None:
    """What somebody copies out of the advice works: it names only what is there."""
    import typer.main

    from catalyst_signals.cli import app
    from catalyst_signals.deploy import targets
    from catalyst_signals.server.settings import Settings

    commands = set(typer.main.get_command(app).commands)
    for name in FILES:
        text = (Path(tables.__file__).parent / name).read_text()
        for command in re.findall(r"\bcatalyst ([a-z]+)", re.sub(r"^#.*$", "", text, flags=re.M)):
            assert command in commands, (name, command)
        for target in re.findall(r"catalyst deploy ([a-z]+)", text):
            assert target in targets(), (name, target)
        for setting in re.findall(r"CATALYST_([A-Z_]+)", text):
            assert setting.lower() in Settings.model_fields, (name, setting)


def test_a_fact_that_a_checklist_asks_for_is_explained() -> None:
    """`facts.py` is written after the list at the top of the file: a fact that is not there is never on."""
    lists = tables.read("checklists.toml", Checklists)
    text = (Path(tables.__file__).parent / "checklists.toml").read_text().split("source =")[0]
    for item in (item for scale in SCALES for item in getattr(lists, scale)):
        assert item.always != bool(item.on), item.item
        assert all(re.search(rf"(?<![\w:+]){re.escape(fact)}(?![\w:+])", text) for fact in item.on), item.item
