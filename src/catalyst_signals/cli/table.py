"""Signals as rows of a table, as wide as the terminal.

Owns: columns, colours, and what is left out when it is narrow. Knows nothing of connections or of time passing.
Law: a signal that is over looks like it at one glance: dim when its time has passed, struck through when it was ended.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rich.console import Group
from rich.text import Text

from catalyst_signals.cli.lines import age_of, earlier_of, end_of, first_ts_of
from catalyst_signals.words import (
    WATCHED,
    about_of,
    action_of,
    catalyst_of,
    data_of,
    entry_of,
    is_number,
    moment_of,
    note_of,
    side_of,
    source_of,
    span_of,
    stop_of,
    symbol_of,
    targets_of,
    why_watched,
)

FRESH_S = 3.0  # How long a new row is lit.
CHANGED_S = 8.0  # How long what changed in a row is lit: it has to be found first.
SOON_S = 60.0  # A signal that ends within this is marked.
WIDE_ENOUGH = 70  # From here on an ended signal keeps its confidence.
LONG_AGO_S = 300 * 86_400.0
GAP = 2
DIM = "bright_black"
COLOURS = {"BUY": "green", "ADD": "green", "SELL": "red", "WATCH": "cyan", "CLOSE": "yellow", "REDUCE": "yellow"}
ALARMS = {"HALT": "red", "RESUME": "green", "SILENT": "yellow", "HEARD": "green", "SKEWED": "yellow", "RIGHT": "green"}
CHANGED = "bold black on yellow"

_EIGHTHS = " ▏▎▍▌▋▊▉█"


@dataclass(frozen=True, slots=True)
class Column:
    """A column between `least` and `most` characters wide, which `cell` draws from these `fields` of the data."""

    title: str
    least: int
    most: int
    cell: Callable[[Row, int], Text]
    right: bool = False
    fields: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Row:
    """A signal as of one moment: how old it is, how long ago it changed, how long it still holds (None: no end).

    `changed` are the fields that its newest version changed, `end` is how it ended, in words.
    """

    event: dict[str, Any]
    data: dict[str, Any]
    action: str
    age_s: float
    changed_s: float
    ends_s: float | None
    changed: frozenset[str]
    end: str

    @classmethod
    def of(cls, event: dict[str, Any], now: datetime) -> Row:
        """How an event looks at `now`."""
        data, before = data_of(event), earlier_of(event)
        written, ends = moment_of(event.get("ts")), moment_of(data.get("expires_at"))
        first = moment_of(first_ts_of(event)) or written
        changed = [] if before is None else [name for name in {**before, **data} if before.get(name) != data.get(name)]
        return cls(
            event, data, side_of(data).upper() or action_of(event),
            age_s=(now - first).total_seconds() if first else 0.0,
            changed_s=(now - written).total_seconds() if written else 0.0,
            ends_s=(ends - now).total_seconds() if ends else None, changed=frozenset(changed), end=end_of(event),
        )  # fmt: skip

    @property
    def over(self) -> bool:
        """Whether nobody should act on it any more."""
        return bool(self.end) or (self.ends_s is not None and self.ends_s <= 0)

    @property
    def mark(self) -> str:
        """`~2` for a second version."""
        version = self.event.get("version", 1)
        return f"~{version}" if self.changed and type(version) is int else ""

    @property
    def style(self) -> str:
        """The colour of its action; none once it is over."""
        word = self.action.partition(" ")[0]
        return DIM if self.over else ALARMS[word] if self.watched else COLOURS.get(word, DIM)

    @property
    def watched(self) -> bool:
        """Whether it tells of a halt, a silence or a clock, rather than of a signal."""
        return self.event.get("type") in WATCHED and not self.event.get("erased")


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
    """As much of `CLOSE LONG ~2` as fits: the mark of an update gives way last."""
    word, _, way = row.action.partition(" ")
    word = word.partition(".")[0]
    marks = [f" {row.mark}", row.mark] if row.mark and not row.end else [""]
    ways = [f" {way}", f" {way[:1]}", ""] if way else [""]
    forms = [f"{word}{said}{mark}" for said in ways for mark in marks]
    text = next((form for form in forms if len(form) <= width), word)
    lit = row.changed_s < (CHANGED_S if row.mark else FRESH_S) and not row.over
    padded = f" {text} " if len(text) < width - 1 else text
    return Text(padded, f"bold {row.style}{' reverse' if lit else ''}")


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
    bar = _EIGHTHS[8] * full + (_EIGHTHS[part] if part else "")
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
ACTION = Column(" ACTION", 10, 15, _action)
SYMBOL = Column("SYMBOL", 8, 12, _symbol)
CONFIDENCE = Column("CONFIDENCE", 8, 12, _confidence, fields=("confidence",))
ENTRY = Column("ENTRY", 9, 11, _plain(entry_of), right=True, fields=("entry", "reference_price"))
STOP = Column("STOP", 8, 9, _plain(stop_of), right=True, fields=("stop",))
TARGETS = Column("TARGETS", 8, 17, _targets, fields=("targets",))
ENDS = Column("ENDS", 7, 7, _ends, right=True, fields=("expires_at",))
CATALYST = Column("CATALYST", 10, 20, _catalyst, fields=("catalyst",))
SOURCE = Column("SOURCE", 10, 12, _source)
NOTE = Column("NOTE", 24, 60, _note, fields=("note", "title"))

IN_ORDER = (AGE, TIME, ACTION, SYMBOL, CONFIDENCE, ENTRY, STOP, TARGETS, ENDS, CATALYST, SOURCE, NOTE)
GROW_FIRST = (CONFIDENCE, CATALYST, TARGETS, SOURCE)
NAMES = (AGE, TIME, ACTION, SYMBOL, CONFIDENCE)  # What is left of a signal that was ended.
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


def table_of(rows: Sequence[Row], width: int, first: Column, *, titles: bool = True) -> Group:
    """Rows as a table of exactly that width at most."""
    columns = fit(width, first)
    lines = [_titles(columns)] if titles else []
    for row in rows:
        if row.watched:
            lines.append(_watched(row, columns, width))
            continue
        lines.append(_ended(row, columns, width) if row.end else _line((c, n, _cell(c, n, row)) for c, n in columns))
    return Group(*lines)


def _titles(columns: Sequence[tuple[Column, int]]) -> Text:
    """A title without room is cut to a short word."""
    return _line((c, n, Text(c.title if len(c.title) <= n else c.title[:4], DIM)) for c, n in columns)


def _cell(column: Column, width: int, row: Row) -> Text:
    cell = column.cell(row, width)
    if row.changed_s >= CHANGED_S or row.changed.isdisjoint(column.fields):
        return cell
    words = cell.plain.lstrip(_EIGHTHS)  # Not the bar, which says the same.
    if not words:
        return Text("none", CHANGED)
    cell.stylize(CHANGED, len(cell.plain) - len(words))
    return cell


def _ended(row: Row, columns: Sequence[tuple[Column, int]], width: int) -> Text:
    """What it was, struck through; how it ended takes the place of its plan."""
    names = [(column, cells) for column, cells in columns if column in NAMES[: 5 if width >= WIDE_ENOUGH else 4]]
    struck = [(c, n, c.cell(row, n) if c in (AGE, TIME) else _struck(c.cell(row, n))) for c, n in names]
    line = _line(struck)
    colour = DIM if row.event.get("type") == "signal.expired" else "yellow"  # That was to be expected.
    end = Text(row.end, f"bold {colour}" if row.changed_s < CHANGED_S else colour)
    room = width - line.cell_len - GAP
    if room > 0:  # Else it is struck through, and that must do.
        end.truncate(room, overflow="ellipsis")
        line.append(" " * GAP).append_text(end)
    return line


def _watched(row: Row, columns: Sequence[tuple[Column, int]], width: int) -> Text:
    """An alarm or its end: what it is about and why, across the columns of a plan."""
    names = [(column, cells) for column, cells in columns if column in (AGE, TIME, ACTION)]
    line = _line((c, n, c.cell(row, n)) for c, n in names)
    said = Text.assemble((about_of(row.event), "bold"), "  ", (why_watched(row.event), row.style))
    said.truncate(max(0, width - line.cell_len - GAP), overflow="ellipsis")
    return line.append(" " * GAP).append_text(said)


def _struck(cell: Text) -> Text:
    """Its words where they were; a bar says nothing any more."""
    words = "".join(" " if char in _EIGHTHS else char for char in cell.plain)
    indent = len(words) - len(words.lstrip())
    return Text(" " * indent).append(words.strip(), f"strike {DIM}")


def _line(cells: Iterable[tuple[Column, int, Text]]) -> Text:
    """One line; a cell that is too long ends in an ellipsis."""
    line = Text(no_wrap=True, overflow="crop")
    for column, width, cell in cells:
        cell.truncate(width, overflow="ellipsis")
        space = " " * (width - cell.cell_len)
        line.append(" " * GAP if line else "")
        line.append(space if column.right else "").append_text(cell).append("" if column.right else space)
    return line
