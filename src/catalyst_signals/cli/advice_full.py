"""What `catalyst advise --full` says besides: everything the decision matrix has, and what we say of it.

Owns: its tables on a screen. The short answer is advice.py's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from rich.console import Console
from rich.text import Text

from catalyst_signals.advisor.shapes import Advice
from catalyst_signals.advisor.sizing import title_of
from catalyst_signals.advisor.tables import SCALES, Cell, Figure, Option, Phase
from catalyst_signals.cli.console import clean
from catalyst_signals.cli.sheets import head, screen_of, table_of

CELLS: dict[str, Callable[[Option], Figure | Cell | None]] = {
    "latency": lambda of: of.latency, "throughput": lambda of: of.throughput, "persistence": lambda of: of.persistence,
    "ordering": lambda of: of.ordering, "replay": lambda of: of.replay, "groups": lambda of: of.groups,
    "scaling": lambda of: of.scaling, "complexity": lambda of: of.complexity, "overhead": lambda of: of.overhead,
    "setup": lambda of: of.setup_hours, "Small": lambda of: of.cost.get("small"),
    "Medium": lambda of: of.cost.get("medium"), "best for": lambda of: of.best_for,
}  # fmt: skip


def say_full(advice: Advice) -> None:
    """After the short answer."""
    screen = screen_of()
    for say in (
        _say_prices,
        _say_options,
        _say_abilities,
        _say_features,
        _say_stack,
        _say_phase,
        _say_path,
        _say_decisions,
    ):
        say(screen, advice)


def _say_prices(screen: Console, advice: Advice) -> None:
    head(screen, "where the prices are from")
    table = table_of("", "", "")
    for line in advice.cost.lines:
        table.add_row(clean(line.what), Text(clean(line.why or line.source), "dim"), Text(clean(line.date), "dim"))
    screen.print(table)
    if advice.cost.note:
        screen.print(Text(clean(advice.cost.note), "dim"))


def _say_options(screen: Console, advice: Advice) -> None:
    for part, all_of_it in advice.matrix.options.items():
        head(screen, part, "every option")
        table = table_of("", "", "")
        for option in all_of_it:
            table.add_row(clean(option.name), Text(", ".join(_cells(option)), "dim"), Text(clean(option.note), "dim"))
        screen.print(table)


def _cells(option: Option) -> Iterator[str]:
    for name, cell_of in CELLS.items():
        cell = cell_of(option)
        said = "" if cell is None else cell.text if isinstance(cell, Cell) else _figure(cell)
        if said:
            yield f"{name} {clean(said)}"


def _figure(figure: Figure) -> str:
    if figure.low is None or not figure.source:  # The matrix's are said as it says them.
        return figure.says
    end = f"-{figure.high:,g}" if figure.high not in (None, figure.low) else ""
    return f"{figure.low:,g}{end} {figure.unit} ({figure.says})"


def _say_abilities(screen: Console, advice: Advice) -> None:
    machine = advice.capacity.machine
    head(screen, "measured", f"{clean(machine.cpu)}, {machine.cores} cores, {machine.memory_gib:g} GiB")
    table = table_of("", "")
    for each in advice.abilities:
        table.add_row(Text(clean(each.what), "dim"), clean(each.measured))
    screen.print(table)


def _say_features(screen: Console, advice: Advice) -> None:
    head(screen, "features by size", "as the matrix has them; below, what we say")
    table = table_of("", *map(title_of, SCALES))
    for each in advice.matrix.features:
        row = [Text(clean(getattr(each, scale)), "bold" if scale == advice.scale else "dim") for scale in SCALES]
        table.add_row(clean(each.name), *row)
    screen.print(table)
    for each in advice.matrix.features:
        if each.decision:
            screen.print(Text.assemble((f"{clean(each.name)}: ", "bold"), (clean(each.decision), "dim")))


def _say_stack(screen: Console, advice: Advice) -> None:
    matrix = advice.matrix
    head(screen, f"the matrix's stack for {title_of(advice.scale)}", clean(matrix.when))
    table = table_of("", "")
    for heading, lines in matrix.stack.items():
        table.add_row(Text(clean(heading), "dim"), clean("; ".join(lines)))
    table.add_row(Text("Complexity", "dim"), clean(matrix.complexity))
    table.add_row(Text("Setup", "dim"), clean(matrix.setup_hours))
    table.add_row(Text("Maintenance", "dim"), clean(matrix.maintenance_hours))
    screen.print(table)


def _say_phase(screen: Console, advice: Advice) -> None:
    if advice.next is not None:
        head(screen, f"step by step to {title_of(advice.next.end)}", f"complexity {advice.next.complexity.lower()}")
        screen.print(*_steps(advice.next), sep="\n")


def _steps(phase: Phase) -> Iterator[Text]:
    for number, step in enumerate(phase.step, 1):
        yield Text.assemble((f"{number}. {clean(step.what)}: ", "bold"), (clean("; ".join(step.how)), "dim"))
        yield Text.assemble(("   here: ", "cyan"), clean(step.ours))


def _say_path(screen: Console, advice: Advice) -> None:
    head(screen, "the path it recommends", clean("; ".join(advice.matrix.because)))
    table = table_of("", "", "a month", "", "")
    for each in advice.matrix.path:
        table.add_row(
            clean(each.when), clean(each.stack), clean(each.cost.says), clean(each.features), clean(each.goal)
        )
    screen.print(table)


def _say_decisions(screen: Console, advice: Advice) -> None:
    head(screen, "where the matrix contradicts itself")
    for part, chosen in advice.stack.items():
        if chosen.matrix_runner_up:
            screen.print(Text.assemble((f"{part}: ", "bold"), f"its alternative is {clean(chosen.matrix_runner_up)}."))
        if chosen.decision:
            screen.print(Text.assemble((f"{part}: ", "bold"), (clean(chosen.decision), "dim")))
