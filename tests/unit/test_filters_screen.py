"""What `catalyst filters explain` and `try` put on a screen of 80 columns."""

from __future__ import annotations

from datetime import date, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalyst_signals.cli.chart import ROWS_MAX, bar_of, rows_of, stretch_of
from catalyst_signals.cli.filters import say_rehearsal, say_why
from catalyst_signals.explain import explain
from catalyst_signals.filters import parse
from tests.unit.test_explain import DOC

MONDAY = date(2026, 8, 31)


@given(st.dictionaries(st.integers(0, 9000), st.integers(1, 10**6), max_size=40))
def test_a_histogram_has_every_count_once_and_no_gap(counts: dict[int, int]) -> None:
    """A day without signals is part of the picture."""
    per_day = {(MONDAY + timedelta(day)).isoformat(): count for day, count in counts.items()}
    rows = rows_of(per_day)
    assert sum(count for _, count in rows) == sum(counts.values()) and len(rows) <= ROWS_MAX
    starts = [date.fromisoformat(label) for label, _ in rows]
    assert len({later - sooner for sooner, later in pairwise(starts)}) <= 1


def test_long_stretches_begin_on_mondays() -> None:
    """Weeks are compared with weeks."""
    rows = rows_of({(MONDAY + timedelta(day)).isoformat(): 1 for day in range(3, 60)})
    assert rows[0] == ("2026-08-31", 4) and rows[1] == ("2026-09-07", 7) and stretch_of(rows) == "week"
    assert stretch_of(rows_of({"2026-08-31": 1})) == "day" and rows_of({}) == []


def test_a_bar_is_as_long_as_its_share() -> None:
    """Anything at all is seen."""
    assert bar_of(10, 10, 4) == "████" and bar_of(5, 10, 4) == "██" and bar_of(0, 10, 4) == ""
    assert bar_of(1, 10**6, 4) == "▏" and bar_of(7, 10, 1) == "▊"


def test_why_fits_a_terminal_and_marks_each_clause(capsys: pytest.CaptureFixture[str]) -> None:
    """One look says which clause it was."""
    say_why(explain(parse("symbol = ACME and confidence >= 0.7"), DOC))
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        "main 10412 signal.published 2026-11-26 09:30:00Z s1",
        "✗ It does not match: confidence 0.61 < 0.7.",
        "  ✗   confidence 0.61 < 0.7   confidence >= 0.7",
        "  ✓   symbol is ACME          symbol = ACME",
    ]


def test_what_a_publisher_wrote_does_not_paint_on_the_screen(capsys: pytest.CaptureFixture[str]) -> None:
    """A symbol is a text of a stranger's."""
    doc = DOC | {"id": "a\x1b[31m", "data": {"instrument": {"symbol": "\x1b[2J"}}}
    say_why(explain(parse("symbol = ACME"), doc))
    assert "\x1b" not in capsys.readouterr().out


def test_a_rehearsal_fits_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """It is read before a filter is trusted."""
    told: dict[str, Any] = {
        "of": 10_412, "matched": 812, "from": 5, "through": 10_416, "complete": False,
        "per_day": {"2026-11-24": 12, "2026-11-26": 800},
        "worst_burst": {"count": 14, "in_s": 60, "at": "2026-11-25T14:30:02.000000Z"},
        "against": {"filter": "", "matched": 640}, "examples": [DOC],
        "newly_in": {"count": 172, "examples": [DOC]}, "newly_out": {"count": 0, "examples": []},
    }  # fmt: skip
    say_rehearsal(told)
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == [
        "812 of 10,412 events match (7.8%), seq 5 to 10416",
        "what came before 5 was not looked at",
        "the other filter matches 640: 172 newly in, 0 newly out",
    ]
    assert lines[4].startswith("by day") and lines[5].startswith("2026-11-24   12  █") and lines[6] == "2026-11-25    0"
    assert "worst burst: 14 within 60 s, at 2026-11-25 14:30:02Z" in lines
    assert "newly in" in lines and "newly out" not in lines and max(map(len, lines)) <= 80
    say_rehearsal(told | {"of": 0})
    assert capsys.readouterr().out == "there is nothing stored that could match\n"
