"""An advice as a person reads it: size and price at one glance, then the stack, the bill, and what to do.

Owns: what is said in which order, and how wide. What is advised is the advisor's (docs/advice.md).
Law: a setting or a command to copy begins its line, is never folded, and works as it stands.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from itertools import combinations
from math import ceil

from rich.console import Console
from rich.text import Text

from catalyst_signals.advisor.built import missing_for
from catalyst_signals.advisor.capacity import packaged_capacity
from catalyst_signals.advisor.choosing import cache_tree, chart_of_budget, chart_of_experience, chart_of_users
from catalyst_signals.advisor.costing import amount, dollars
from catalyst_signals.advisor.shapes import Advice, Cost, Limit, Load, Standing
from catalyst_signals.advisor.sizing import title_of
from catalyst_signals.advisor.tables import SCALES, Capacity, Scale, options, sizes
from catalyst_signals.cli.chart import bar_of
from catalyst_signals.cli.console import clean
from catalyst_signals.cli.sheets import head, screen_of, table_of
from catalyst_signals.cli.wizard import Answers
from catalyst_signals.deploy import Target, targets

ON_A_DROPLET = "systemd"  # As the matrix's migration has it.
BAR = 10
MB, GB, BYTES = 1e6, 1e9, "bytes"
YEAR = 365
PLACES = {  # As the flowcharts write them.
    "your own machine": "Local", "Railway": "Railway", "Heroku": "Heroku", "DigitalOcean": "DO |DigitalOcean",
    "AWS": "AWS|ECS|Multi-region",
}  # fmt: skip


def say_advice(advice: Advice) -> None:
    """The whole answer on standard output."""
    screen = screen_of()
    if advice.server is not None:
        _say_standing(screen, advice.server)
    _say_head(screen, advice)
    _say_stack(screen, advice)
    _say_cost(screen, advice.asked, advice.cost)
    _say_matrix(screen, advice)
    _say_abilities(screen, advice)
    _say_settings(screen, advice)
    _say_checklist(screen, advice)
    _say_growth(screen, advice)
    _say_next(screen, advice)


# --- Where a server stands ---------------------------------------------------------------------------------------


def _say_standing(screen: Console, standing: Standing) -> None:
    screen.print(Text.assemble((f"It stands at {title_of(standing.scale)}. ", "bold"), clean(standing.verdict)))
    table = table_of("", "used", "of", "", "", "reached", "by")
    table.columns[1].justify = table.columns[2].justify = table.columns[4].justify = "right"
    for limit in standing.limits:
        used, end = _amount(limit.used, limit.unit), _amount(limit.of, limit.unit)
        unit = {BYTES: "", "a second": "/s"}.get(limit.unit, f" {clean(limit.unit)}")
        table.add_row(
            Text(clean(limit.what), "dim"), used, end + unit, _bar(limit.share), _percent(limit.share), _when(limit),
            Text(limit.source, "dim"),
        )  # fmt: skip
    head(screen, "how far it is to each limit")
    screen.print(table)
    screen.print(Text("; ".join(_numbers(standing)) + ".", "dim"))
    screen.print()


def _numbers(standing: Standing) -> Iterator[str]:
    """What else the server says of itself; what it does not know is not said."""
    yield f"{standing.connections:,} connected now, {standing.connections_peak:,} at most"
    growths = {"users": standing.users_growth, "signals a day": standing.signals_growth}
    known = [f"{growth:+.2g} {what}" for what, growth in growths.items() if growth is not None]
    yield f"each day {' and '.join(known)}" if known else "too young to tell how it grows"
    if standing.delivery_p99_ms is not None:
        yield f"99 of 100 deliveries within {standing.delivery_p99_ms:,.1f} ms"
    if standing.store_bytes is not None:
        yield f"the log has {_amount(standing.store_bytes, BYTES)}"
    yield f"counted since {clean(standing.since)[:16].replace('T', ' ')}Z"


def _amount(number: float, unit: str) -> str:
    if unit == BYTES:
        return f"{number / GB:,.1f} GB" if number >= GB else f"{number / MB:,.1f} MB"
    return f"{number:,.0f}" if number >= 100 or number == int(number) else f"{number:.2g}"


def _percent(share: float) -> str:
    return f"{share * 100:.0f} %" if share >= 0.01 or not share else "< 1 %"


def _bar(share: float) -> Text:
    colour = "red" if share >= 1 else "yellow" if share >= 0.7 else "green"
    return Text(bar_of(ceil(min(1.0, share) * 1000), 1000, BAR).ljust(BAR), colour)


def _when(limit: Limit) -> str:
    """At today's growth."""
    if limit.share >= 1:
        return "now"
    if limit.days is None:
        return "-"
    if limit.days < 60:
        return f"in {limit.days:.0f} days"
    return f"in {limit.days / 30.4:.0f} months" if limit.days < 2 * YEAR else f"in {limit.days / YEAR:.0f} years"


# --- What it comes to --------------------------------------------------------------------------------------------


def _say_head(screen: Console, advice: Advice) -> None:
    cost = advice.cost
    screen.print(Text.assemble((f"{title_of(advice.scale)}: ", "bold"), _why_this_size(advice)))
    price = Text.assemble((clean(cost.name), "bold"), ", ", (dollars(cost.low, cost.high), "bold"))
    price.append(" a month" if cost.low or cost.high else "")
    fits = _fits(advice)
    screen.print(price.append(": ").append_text(fits) if fits else price)
    table = table_of("", "")
    for note in advice.notes:
        table.add_row(Text("-", "dim"), clean(note))
    if advice.notes:
        screen.print(table)


def _why_this_size(advice: Advice) -> str:
    size, asked = sizes()[advice.scale], advice.asked
    end = size.signals_per_day[1]
    signals = f"{end:,} signals a day" if end is not None else "any number of signals a day"
    return f"for up to {size.users[1]:,} users and {signals}; you have {asked.users:,} and {asked.signals:,}."


def _fits(advice: Advice) -> Text:
    """Whether money and hours suffice."""
    asked, cost = advice.asked, advice.cost
    said = Text()
    if asked.budget is not None:
        word = "within" if cost.fits_budget else "more than"
        said.append(f"{word} ${amount(asked.budget)}", _colour(cost.fits_budget))
    if asked.devops_hours is not None:
        word = "within" if cost.fits_hours else "takes more than"
        said.append(f"{', ' if said else ''}{word} {asked.devops_hours:g} h a week", _colour(cost.fits_hours))
    return said


def _colour(fits: bool) -> str:
    return "green" if fits else "red"


# --- What it is made of ------------------------------------------------------------------------------------------


def _say_stack(screen: Console, advice: Advice) -> None:
    table = table_of("", "take", "because", "or else")
    table.expand = True
    for column, ratio in zip(table.columns[1:], (3, 5, 3), strict=True):
        column.ratio = ratio
    for part, chosen in advice.stack.items():
        pick = Text(clean(chosen.pick), "bold" if not chosen.missing else "yellow")
        table.add_row(Text(part, "dim"), pick, clean(chosen.why), clean(chosen.runner_up or "-"))
    head(screen, "the stack")
    screen.print(table)
    _say_missing(screen, advice)


def _say_missing(screen: Console, advice: Advice) -> None:
    if not advice.missing:
        return
    until = (f"{', '.join(each.missing)} (until then {each.instead})" for each in advice.stack.values() if each.missing)
    screen.print(Text.assemble(("Not built yet: ", "yellow"), clean("; ".join(until)), "."))


def _say_cost(screen: Console, asked: Load, cost: Cost) -> None:
    head(screen, "the bill", "dollars a month")
    table = table_of("", "")
    for line in cost.lines:
        if line.low is not None and line.high != 0:
            table.add_row(clean(line.what), dollars(line.low, line.high))
    table.add_row(Text("total", "bold"), Text(dollars(cost.low, cost.high), "bold"))
    screen.print(table)
    included = [clean(line.what) for line in cost.lines if line.high == 0]
    if included:
        screen.print(Text(f"at no cost: {'; '.join(included)}", "dim"))
    if cost.left_out:
        screen.print(Text(f"in no total, since nobody has a figure: {'; '.join(map(clean, cost.left_out))}", "dim"))
    _say_offers(screen, asked, cost)


def _say_offers(screen: Console, asked: Load, cost: Cost) -> None:
    """Every other way, the cheapest first; what fits budget and hours is marked, if its whole price is known."""
    if not cost.offers:
        return
    head(screen, "other ways")
    table = table_of("", "a month", "hours a week")
    table.columns[2].justify = "right"
    limited = asked.budget is not None or asked.devops_hours is not None
    for each in sorted(cost.offers, key=lambda each: each.low):
        fits = limited and _within(each.low, asked.budget) and _within(each.hours, asked.devops_hours)
        mark = Text("fits" if fits and not each.left_out else "", "green")
        price = f"{dollars(each.low, each.high)}{' + ?' if each.left_out else ''}"
        table.add_row(clean(each.name), price, f"{each.hours:g}", mark)
    screen.print(table)


def _within(used: float, limit: float | None) -> bool:
    return limit is None or used <= limit


def _say_matrix(screen: Console, advice: Advice) -> None:
    """What the decision matrix says, where that is something else."""
    matrix = advice.matrix
    rows: list[tuple[str, str, str]] = [(part, each.pick, each.matrix) for part, each in advice.stack.items()]
    rows += [("queue helper", matrix.queue.ours, matrix.queue.answer)]
    rows += [("deployment helper", matrix.deployment.ours, matrix.deployment.answer)]
    rows += [("cost", dollars(advice.cost.low, advice.cost.high), _totals(advice.cost.matrix))]
    head(screen, "where the decision matrix says something else")
    table = table_of("", "here", "the matrix")
    for part, ours, theirs in rows:
        if ours != theirs:
            table.add_row(Text(part, "dim"), clean(ours), clean(theirs))
    screen.print(table)


def _totals(matrix: str) -> str:
    """Each of the totals that its tables have, once."""
    return ", ".join(dict.fromkeys(re.findall(r"\$[\d,]+(?:-[\d,]+|\+)?", matrix)))


def _say_abilities(screen: Console, advice: Advice) -> None:
    if not advice.abilities:
        return
    head(screen, "what it can do", _measured_where(advice.capacity))
    table = table_of("", "measured", "the matrix")
    for each in advice.abilities:
        if each.matrix == "-":  # These are in `--full`.
            continue
        table.add_row(Text(clean(each.what), "dim"), clean(each.measured), clean(each.matrix))
    screen.print(table)


def _measured_where(capacity: Capacity) -> str:
    """Whose numbers they are: somebody who did not measure should not take them for theirs."""
    machine, store = capacity.machine, capacity.store_url.partition(":")[0]
    measured = f"measured with {clean(store)} on {machine.cores} cores, {clean(machine.date[:10])}"
    if capacity == packaged_capacity():
        return f"{measured}, where Catalyst is developed: not on your machine"
    return f"{measured} ({clean(machine.cpu)})"


# --- What to do --------------------------------------------------------------------------------------------------


def _say_settings(screen: Console, advice: Advice) -> None:
    head(screen, "the settings", "for the environment of `catalyst serve`")
    for name, value in advice.settings.items():
        screen.print(Text(f"{name}={shlex.quote(value)}"), soft_wrap=True)


def _say_checklist(screen: Console, advice: Advice) -> None:
    done = sum(check.on for check in advice.checklist)
    head(screen, "the checklist", f"{done} of {len(advice.checklist)} are there")
    table = table_of("", "", "")
    there = "; ".join(clean(check.item) for check in advice.checklist if check.on)
    if there:
        table.add_row(Text("✓", "green"), "there already", Text(there, "dim"))
    for check in advice.checklist:
        if not check.on:
            table.add_row(Text("·", "yellow"), clean(check.item), Text(clean(check.how), "dim"))
    screen.print(table)


def _say_growth(screen: Console, advice: Advice) -> None:
    """How one goes on from here, and what not to do before the largest size; every step is in `--full`."""
    phase = advice.next
    if phase is not None:
        head(screen, f"later, to {title_of(phase.end)}", sizes()[phase.end].when)
        screen.print(
            f"{phase.duration_weeks.says}, risk {phase.risk.lower()}; downtime by the matrix {phase.downtime.says}, "
            f"here: {clean(phase.downtime_ours)}"
        )
        screen.print(Text("; ".join(clean(step.what) for step in phase.step), "dim"))
        donts = "; ".join(f"{dont.what}{dont.why and f' ({dont.why})'}" for dont in advice.matrix.donts)
        screen.print(Text.assemble(("Do not: ", "yellow"), (clean(donts), "dim")))


def _say_next(screen: Console, advice: Advice) -> None:
    head(screen, "next")
    for command, what in _next(advice):
        screen.print(Text.assemble((command.ljust(56), "bold"), (what, "dim")), soft_wrap=True)
    screen.print(Text("With --full also every option, feature and step that the matrix has, and why.", "dim"))


def _next(advice: Advice) -> Iterator[tuple[str, str]]:
    """A way to run it here and now: where the size is not built yet, the largest that is."""
    smaller = SCALES[: SCALES.index(advice.scale) + 1]
    scale = next(each for each in reversed(smaller) if not missing_for(each))
    there = [each.name for each in targets().values() if _is_at(each, advice, scale)]
    name = ON_A_DROPLET if ON_A_DROPLET in there else next(iter(there), "compose")
    what = "every file of it" if scale == advice.scale else f"{title_of(scale)}, the largest that is built"
    yield f"catalyst deploy {name} --scale {scale} --out {name}", what
    if advice.capacity == packaged_capacity():
        yield "catalyst bench --calibrate", "measures your machine"


def _is_at(target: Target, advice: Advice, scale: Scale) -> bool:
    platform = advice.stack["platform"]
    return scale in target.scales and options("platform")[target.platform].name == (platform.instead or platform.pick)


def say_charts(advice: Advice, answers: Answers) -> None:
    """Where the matrix's flowcharts lead with these answers, where they disagree, and how to ask the same again."""
    screen, load = screen_of(), answers.load
    head(screen, "where the matrix's flowcharts lead")
    ends = {
        "users": chart_of_users(load.users), "budget": chart_of_budget(load.budget),
        "experience": chart_of_experience(load.devops_hours),
    }  # fmt: skip
    cache = cache_tree(load.users, persistent=answers.persistent, several=answers.several)
    table = table_of("", "")
    for chart, end in {**ends, "cache": cache}.items():
        table.add_row(Text(chart, "dim"), end)
    screen.print(table)
    screen.print(_agreement(ends))
    screen.print(
        Text.assemble(("Here: ", "dim"), clean(advice.cost.name), "; cache: ", advice.stack["cache"].pick, ".")
    )
    head(screen, "the same without questions")
    screen.print(Text(f"catalyst advise {_flags(load)}", "bold"), soft_wrap=True)


def _agreement(ends: dict[str, str]) -> str:
    """Which places all three charts allow; else who disagrees with whom."""
    places = {chart: {place for place, words in PLACES.items() if re.search(words, end)} for chart, end in ends.items()}
    common = set.intersection(*places.values())
    if common:
        return f"All three allow {' and '.join(sorted(common))}."
    apart = [f"{one} and {other}" for one, other in combinations(places, 2) if not places[one] & places[other]]
    return f"They disagree: {', '.join(apart) or 'no place is in all three'}."


def _flags(load: Load) -> str:
    said = f"--users {load.users} --signals {load.signals}{' --replay' if load.replay else ''}"
    said += f" --budget {load.budget:.12g}" if load.budget is not None else ""
    return said + (f" --devops-hours {load.devops_hours:g}" if load.devops_hours is not None else "")
