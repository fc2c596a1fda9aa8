"""How a long answer of several tables is laid out: headings, tables without lines, and how wide.

Owns: that. Knows nothing of what is said.
"""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

WIDTH_MAX = 120


def head(screen: Console, title: str, beside: str = "") -> None:
    """A line between two parts."""
    screen.print()
    screen.print(Text.assemble((title, "bold cyan"), (f"  {beside}" if beside else "", "dim")))


def screen_of() -> Console:
    """As wide as the terminal, but for a very wide one; for a file or `grep` always the same."""
    screen = Console(highlight=False, markup=False, emoji=False)
    screen.width = min(screen.width, WIDTH_MAX) if screen.is_terminal else WIDTH_MAX
    return screen


def table_of(*names: str) -> Table:
    """With a header, if one has a name."""
    header = any(names)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim", show_header=header)
    for name in names:
        table.add_column(name, overflow="fold")
    return table
