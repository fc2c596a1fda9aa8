"""Signals as rows of a table, as wide as the terminal.

Owns: columns, colours, and what is left out when it is narrow. Knows nothing of connections or of time passing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rich.table import Table
from rich.text import Text

from catalyst_signals.cli.lines import (
    action_of,
    age_of,
    catalyst_of,
    data_of,
    entry_of,
    is_number,
    moment_of,
    note_of,
    source_of,
    span_of,
    stop_of,
    symbol_of,
    targets_of,
)
from catalyst_signals.signals import ENDINGS

FRESH_S = 3.0  # How long a new row is lit.
SOON_S = 60.0  # A signal that ends within this is marked.
LONG_AGO_S = 300 * 86_400.0
GAP = 2
DIM = "bright_black"
COLOURS = {"BUY": "green", "ADD": "green", "SELL": "red", "WATCH": "cyan", "CLOSE": "yellow", "REDUCE": "yellow"}

_ENDS = {"CANCELLED": "CANCELED", "SUPERSEDED": "REPLACED"}  # As the column has eight characters.
_EIGHTHS = " ▏▎▍▌▋▊▉"


@dataclass(frozen=True, slots=True)
class Column:
    """A column between `least` and `most` characters wide; what `cell` draws fits whatever width it is given."""

    title: str
    least: int
    most: int
    cell: Callable[[Row, int], Text]
    right: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """An event as of one moment. `ends_s` is how long it still holds, None without an end."""

    event: dict[str, Any]
    data: dict[str, Any]
    action: str
    age_s: float
    ends_s: float | None

    @classmethod
    def of(cls, event: dict[str, Any], now: datetime) -> Row:
        """How an event looks at `now`."""
        data = data_of(event)
        made, ends = moment_of(event.get("ts")), moment_of(data.get("expires_at"))
        age_s = (now - made).total_seconds() if made else 0.0
        return cls(event, data, action_of(event), age_s, (ends - now).total_seconds() if ends else None)

    @property
    def over(self) -> bool:
        """Whether nobody should act on it any more."""
        return self.event.get("type") in ENDINGS or (self.ends_s is not None and self.ends_s <= 0)

    @property
    def style(self) -> str:
        """The colour of its action; none once it is over."""
        return DIM if self.over else COLOURS.get(self.action, DIM)


def _age(row: Row, width: int) -> Text:
    return Text(age_of(row.age_s), "bold" if row.age_s < FRESH_S else DIM)


def _time(row: Row, width: int) -> Text:
    """The clock; with the day when that is not today, without the clock when that is long ago."""
    moment = moment_of(row.event.get("ts"))
    if moment is None:
        return Text("")
    here = moment.astimezone()
    today = here.date() == datetime.now().date()
    form = "%H:%M:%S" if today else "%m-%d %H:%M" if row.age_s < LONG_AGO_S else "%Y-%m-%d"
    return Text(f"{here:{form}}", DIM)


def _action(row: Row, width: int) -> Text:
    action = _ENDS.get(row.action, row.action).partition(".")[0]
    lit = row.age_s < FRESH_S and not row.over
    text = f" {action} " if len(action) < width - 1 else action
    return Text(text, f"bold {row.style}{' reverse' if lit else ''}")


def _symbol(row: Row, width: int) -> Text:
    symbol = symbol_of(row.data) or row.action.partition(".")[2]
    return Text(symbol, DIM if row.over or "instrument" not in row.data else "bold")


def _confidence(row: Row, width: int) -> Text:
    """A bar with its number: `██████▌    0.62`."""
    value = row.data.get("confidence")
    if value is None or not is_number(value):
        return Text("")
    share = min(1.0, max(0.0, float(value)))
    cells = width - 5
    full, part = divmod(round(share * cells * 8), 8)
    bar = "█" * full + (_EIGHTHS[part] if part else "")
    return Text.assemble(
        (bar.ljust(cells)[:cells], f"{row.style} on grey19"), (f" {value:.2f}", DIM if row.over else "")
    )


def _plain(words: Callable[[dict[str, Any]], str]) -> Callable[[Row, int], Text]:
    def cell(row: Row, width: int) -> Text:
        text = words(row.data)
        return Text(text, DIM if row.over or text.startswith("~") else "")

    return cell


def _targets(row: Row, width: int) -> Text:
    """As many targets as fit, and how many more there are."""
    targets = targets_of(row.data)
    for shown in range(len(targets), 0, -1):
        more = f" +{len(targets) - shown}" if shown < len(targets) else ""
        text = " ".join(targets[:shown]) + more
        if len(text) <= width:
            return Text(text, DIM if row.over else "")
    return Text(targets[0] if targets else "", DIM if row.over else "")


def _ends(row: Row, width: int) -> Text:
    if row.ends_s is None:
        return Text("")
    if row.ends_s <= 0:
        return Text("expired", DIM)
    return Text(span_of(row.ends_s), "bold yellow" if row.ends_s < SOON_S else "")


def _catalyst(row: Row, width: int) -> Text:
    whole = catalyst_of(row.data)
    text = whole if len(whole) <= width else whole.partition(" ")[0]
    return Text(text, DIM if row.over else "magenta")


def _source(row: Row, width: int) -> Text:
    return Text(source_of(row.event), DIM)


def _note(row: Row, width: int) -> Text:
    return Text(note_of(row.data), f"italic {DIM}")


AGE = Column("AGE", 4, 4, _age, right=True)
TIME = Column("TIME", 11, 11, _time)
ACTION = Column(" ACTION", 8, 8, _action)
SYMBOL = Column("SYMBOL", 8, 12, _symbol)
CONFIDENCE = Column("CONFIDENCE", 10, 15, _confidence)
ENTRY = Column("ENTRY", 9, 11, _plain(entry_of), right=True)
STOP = Column("STOP", 8, 9, _plain(stop_of), right=True)
TARGETS = Column("TARGETS", 8, 17, _targets)
ENDS = Column("ENDS", 7, 7, _ends, right=True)
CATALYST = Column("CATALYST", 10, 20, _catalyst)
SOURCE = Column("SOURCE", 10, 12, _source)
NOTE = Column("NOTE", 24, 60, _note)

IN_ORDER = (AGE, TIME, ACTION, SYMBOL, CONFIDENCE, ENTRY, STOP, TARGETS, ENDS, CATALYST, SOURCE, NOTE)
GROW_FIRST = (CATALYST, TARGETS, SOURCE)
BY_WORTH = (ACTION, SYMBOL, CONFIDENCE, STOP, ENTRY, ENDS, CATALYST, TARGETS, SOURCE, NOTE)


def fit(width: int, first: Column) -> list[tuple[Column, int]]:
    """The columns that a terminal of that width has room for, with their widths; `first` is always among them."""
    widths = {first: first.least}
    left = width - first.least
    for column in BY_WORTH:
        if column.least + GAP <= left:
            widths[column] = column.least
            left -= column.least + GAP
    for several in GROW_FIRST, BY_WORTH:
        while left > 0 and (growing := [c for c in several if c in widths and widths[c] < c.most]):
            for column in growing[:left]:
                widths[column] += 1
                left -= 1
    return [(column, widths[column]) for column in IN_ORDER if column in widths]


def table_of(rows: Sequence[Row], width: int, first: Column, *, titles: bool = True) -> Table:
    """Rows as a table of exactly that width at most."""
    columns = fit(width, first)
    table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), show_header=titles, header_style=DIM)
    for column, cells in columns:
        justify: Any = "right" if column.right else "left"
        table.add_column(column.title, width=cells, justify=justify, no_wrap=True, overflow="ellipsis")
    for row in rows:
        table.add_row(*(column.cell(row, cells) for column, cells in columns))
    return table
