"""What is printed, and where: answers on standard output, everything else on standard error.

Owns: the look of errors, JSON lines, tables and progress bars. Knows nothing of commands.
Law: what a publisher wrote is never obeyed by the terminal: control characters are shown, not sent.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from textwrap import shorten
from typing import TYPE_CHECKING, Any

import msgspec

from catalyst_signals.errors import (
    CatalystError,
    EpochChanged,
    InvalidFilter,
    PositionAhead,
    PositionTooOld,
    Unauthenticated,
)
from catalyst_signals.words import clean as clean  # Everything that is printed passes it.

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

ALLOWED_CHARS_MAX = 300
POINTED_CHARS_MAX = 200


def is_terminal() -> bool:
    """Whether a person sees standard output as it comes."""
    return sys.stdout.isatty()


def say(line: str = "") -> None:
    """One line of an answer."""
    sys.stdout.write(line + "\n")


def say_json(content: Any) -> None:
    """One JSON value as a line, at once: a program waits for it."""
    sys.stdout.write(msgspec.json.encode(content).decode() + "\n")
    sys.stdout.flush()


def flush() -> None:
    """What was said is out."""
    sys.stdout.flush()


def tell(*lines: str) -> None:
    """Something beside the answer, for a person."""
    sys.stdout.flush()
    for line in lines:
        sys.stderr.write(line + "\n")
    sys.stderr.flush()


def complain(message: str, next_step: str = "") -> None:
    """What went wrong, and what to do now."""
    tell(f"catalyst: {clean(message)}", *([f"  {next_step}"] if next_step else []))


# --- Errors ------------------------------------------------------------------------------------------------------


def refuse(error: CatalystError, *, as_json: bool = False) -> None:
    """An error in words, with its notes or what is allowed below; for a program also as an object."""
    notes: list[str] = list(getattr(error, "__notes__", ()))
    step = _next_step(error)
    complain(error.message)
    tell(*(f"  {line}" for note in notes for line in note.split("\n")), *([f"  {step}"] if step else []))
    if as_json:
        sys.stderr.write(msgspec.json.encode(error.as_dict()).decode() + "\n")


def _next_step(error: CatalystError) -> str:
    extra = error.extra
    match error:
        case Unauthenticated():
            return "give a key by --key or CATALYST_KEY; an admin makes one with `catalyst keys add NAME`"
        case PositionTooOld() if "first" in extra:
            return f"go on with --after {extra['first'] - 1}; what lay before is kept no longer"
        case PositionAhead() if "head" in extra:
            return f"go on with --after {extra['head']}"
        case EpochChanged() if "resume_after" in extra:
            return f"go on with --after {extra['resume_after']}"
    return _allowed_in_words(error)


def _allowed_in_words(error: CatalystError) -> str:
    """What would have been right, unless the message has said so; first what was most likely meant."""
    if not isinstance(error.allowed, list | tuple):
        says = "" if error.allowed is None else str(error.allowed)
        return f"allowed: {clean(says)}" if says not in error.message else ""
    words = [str(each) for each in error.allowed]
    if all(word in error.message for word in words):
        return ""
    near = get_close_matches(str(error.got), words, 1)
    shown = shorten(clean(", ".join(words)), ALLOWED_CHARS_MAX, placeholder=" ...")
    guess = f"did you mean `{near[0]}`? " if near and "did you mean" not in error.message else ""
    return f"{guess}allowed: {shown}"


@contextmanager
def pointing_at(filter: str | None) -> Iterator[None]:
    """Within it a refused filter is shown with a caret under the mistake."""
    try:
        yield
    except InvalidFilter as error:
        at = error.extra.get("at")
        if filter and isinstance(at, int):
            text, start = "".join(c if c.isprintable() else " " for c in filter), max(0, at - POINTED_CHARS_MAX // 2)
            error.add_note(f"{text[start : start + POINTED_CHARS_MAX]}\n{' ' * (at - start)}^")
        raise


# --- Tables and progress -----------------------------------------------------------------------------------------


def say_table(names: Sequence[str], rows: Iterable[Sequence[object]], *, none: str) -> None:
    """A small table as people like it; `none` is said when it has no rows."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="bold")
    for name in names:
        numbers = name in ("first", "last", "events")
        table.add_column(name, overflow="fold", justify="right" if numbers else "left")
    for row in rows:
        table.add_row(*(Text("-", "dim") if cell in (None, "") else Text(clean(cell)) for cell in row))
    if not table.row_count:
        return tell(none)
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=400)  # For `grep` and `awk`: nothing is folded or left out.
    return console.print(table)


class Bar:
    """A progress bar on standard error, if a person sees that."""

    def __init__(self, what: str, unit: str, total: int | None, *, beside: bool = False) -> None:
        """`total` None shows that it goes on, not how far. `beside` answers: no bar where they fill the screen."""
        self._progress: Progress | None = None
        self._task: TaskID | None = None
        self._done = 0
        if sys.stderr.isatty() and not (beside and sys.stdout.isatty()):
            self._start(what, unit, total)

    def _start(self, what: str, unit: str, total: int | None) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

        self._progress = Progress(
            TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(),
            TextColumn("{task.fields[counted]:,} " + unit), TextColumn("{task.fields[rate]}", style="dim"),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=Console(stderr=True), transient=True, redirect_stdout=False, redirect_stderr=False,
        )  # fmt: skip
        self._task = self._progress.add_task(what, total=total, counted=0, rate="")
        self._progress.start()

    def of(self, total: int) -> None:
        """How much there is, when that is known only later."""
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, total=total)

    def at(self, place: int, counted: int) -> None:
        """How far it is, and how many were counted."""
        if self._progress is not None and self._task is not None:
            task = self._progress.tasks[0]
            rate = f"{counted / task.elapsed:,.0f}/s" if task.elapsed else ""
            self._progress.update(self._task, completed=place, counted=counted, rate=rate)

    def close(self) -> None:
        """Take it off the screen."""
        if self._progress is not None:
            self._progress.stop()

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
