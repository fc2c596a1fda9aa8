"""How a signal's life looks in the terminal: what changed, how it ended, what came while one was away.

Covers catalyst_signals.cli.lines, catalyst_signals.cli.table, catalyst_signals.cli.screen, catalyst_signals.cli.life,
catalyst_signals.cli.changes and catalyst_signals.cli.signals.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from rich.console import Console
from rich.text import Text

from catalyst_signals.cli import screen as screen_module
from catalyst_signals.cli.changes import patch_of
from catalyst_signals.cli.life import life_of
from catalyst_signals.cli.lines import changes_of, line_of
from catalyst_signals.cli.screen import Screen
from catalyst_signals.cli.signals import caught_up_in_words, held_in_words
from catalyst_signals.cli.table import ACTION, AGE, CHANGED, Row, table_of
from catalyst_signals.client import CaughtUp
from catalyst_signals.events import Position
from catalyst_signals.versions import end, update

BUY = {
    "action": "open", "direction": "long", "instrument": {"symbol": "ACME"}, "confidence": 0.82,
    "entry": {"type": "limit", "price": "10.10"}, "stop": {"price": "9.40"}, "note": "early",
}  # fmt: skip


def published(age_s: float = 30, **data: Any) -> dict[str, Any]:
    """The first version, as it is on the wire."""
    ts = (datetime.now(UTC) - timedelta(seconds=age_s)).isoformat()
    doc = {"type": "signal.published", "channel": "main", "seq": 1, "id": "a1", "version": 1, "ts": ts}
    return {**doc, "data": BUY | data}


def followed(doc: dict[str, Any], type: str = "signal.updated", age_s: float = 1, **said: Any) -> dict[str, Any]:
    """The next version, as the server makes it."""
    draft = update(doc, said) if type == "signal.updated" else end(doc, type, **said)
    assert draft is not None
    ts = (datetime.now(UTC) - timedelta(seconds=age_s)).isoformat()
    head = {"type": type, "channel": "main", "seq": doc["seq"] + 1, "id": doc["id"], "version": draft.version, "ts": ts}
    return head | msgspec.json.decode(draft.body)


def test_an_update_says_what_was() -> None:
    """Whoever reads the line alone knows both the plan and what is new in it."""
    changed = followed(published(), stop="9.80", confidence=0.91, note=None)
    assert line_of(changed)[8:] == (
        " UPDATE ACME BUY 0.91 (was 0.82) entry 10.10 stop 9.80 (was 9.40) note none (was early)"
    )
    again = followed(changed, stop="9.90")
    assert line_of(again)[8:] == " UPDATE ACME BUY 0.91 entry 10.10 stop 9.90 (was 9.80)"


@pytest.mark.parametrize(
    ("type", "said", "line"),
    [
        ("signal.cancelled", {"reason": "trial halted"}, "CANCEL ACME BUY reason trial halted"),
        ("signal.cancelled", {}, "CANCEL ACME BUY"),
        ("signal.superseded", {"superseded_by": "dj-17"}, "SUPERSEDED ACME BUY by dj-17"),
        ("signal.expired", {}, "EXPIRED ACME BUY"),
    ],
)
def test_an_end_says_how_and_why(type: str, said: dict[str, str], line: str) -> None:
    """And not the plan again, which nobody should act on."""
    assert line_of(followed(published(), type, **said))[9:] == line


def test_a_close_says_which_side_it_closes() -> None:
    """Who is long and short of one symbol closes the right one."""
    close = published(action="close")
    assert line_of(close)[9:].startswith("CLOSE ACME long 0.82")
    row = Row.of(close, datetime.now(UTC))
    assert [ACTION.cell(row, width).plain.strip() for width in (15, 10, 7)] == ["CLOSE LONG", "CLOSE LONG", "CLOSE L"]
    changed = Row.of(followed(close, stop="1"), datetime.now(UTC))
    assert [ACTION.cell(changed, width).plain.strip() for width in (15, 10)] == ["CLOSE LONG ~2", "CLOSE L ~2"]


def test_what_changed_is_said_by_its_path() -> None:
    """A plan has parts; the whole of it twice would hide the one digit that moved."""
    before = {"stop": {"price": "9"}, "catalyst": {"type": "fda"}, "targets": [{"price": "1"}], "note": "x"}
    after = {
        "stop": {"price": "8"}, "catalyst": {"type": "fda", "stage": "final"},
        "targets": [{"price": "1"}, {"price": "2"}],
    }  # fmt: skip
    assert list(changes_of(before, after)) == [
        ("stop", "9", "8"), ("catalyst.stage", "", "final"), ("targets", "1", "1 2"), ("note", "x", ""),
    ]  # fmt: skip


def test_a_life_is_told_from_the_first_version_to_the_end() -> None:
    """`catalyst history --id` answers: what was I shown, and when did it change?"""
    first = published(100)
    second = followed(first, age_s=40, stop="9.80")
    last = followed(second, "signal.cancelled", age_s=0, reason="trial halted")
    text = "\n".join(line.plain for line in life_of([first, second, last]))
    assert text.startswith("ACME BUY  a1 in main\n\n  1  published")
    assert "\n     stop  9.40 -> 9.80\n" in text and "seq 2  after 1m 00s" in text
    assert text.endswith("\n     reason  trial halted") and "in force" not in text
    assert "in force, without an end" in "\n".join(line.plain for line in life_of([first, second]))


def test_a_life_whose_beginning_was_dropped_or_erased_is_told_as_far_as_it_is_known() -> None:
    """Retention takes events, and `catalyst erase` bodies; what is left still makes sense."""
    first = published()
    second = followed(first, stop="9.80")
    text = "\n".join(line.plain for line in life_of([second]))
    assert "kept no longer" in text and "stop  9.40 -> 9.80" in text
    erased = {name: value for name, value in first.items() if name != "data"} | {"erased": True}
    text = "\n".join(line.plain for line in life_of([erased, second]))
    assert "was erased" in text and "stop  9.40 -> 9.80" in text


# --- The live table ----------------------------------------------------------------------------------------------


def screen_of(*events: dict[str, Any], width: int = 100, height: int = 20) -> tuple[Screen, list[str]]:
    """A screen that was told these events, and its lines."""
    rich = Console(width=width, height=height, color_system=None)
    screen = Screen("main", None, "http://h", rich)
    for event in events:
        screen.event(event)
    return screen, drawn(screen)


def drawn(screen: Screen) -> list[str]:
    """What is on the screen now."""
    with screen._console.capture() as captured:
        screen._console.print(screen.picture(datetime.now(UTC)), end="")
    return captured.get().rstrip("\n").split("\n")


def test_the_table_has_a_row_a_signal() -> None:
    """The old plan next to the new one would be read as two signals."""
    first, other = published(), published() | {"id": "b", "seq": 2}
    _, lines = screen_of(first, other, followed(first, stop="9.80"))
    rows = [line for line in lines if "ACME" in line]
    assert len(rows) == 2 and "~2" in rows[1] and "9.80" in rows[1] and "9.40" in rows[0]
    assert "2 signals" in lines[-1] and "UPDATE 1" in lines[-1]


def test_a_change_of_what_is_out_of_sight_is_shown_on_top() -> None:
    """Else the one thing that happened would be the one that nobody sees."""
    first = published()
    others = [published() | {"id": f"n{i}", "seq": i} for i in range(2, 40)]
    _, lines = screen_of(first, *others, followed(first, stop="9.80"))
    assert "~2" in lines[3]


def test_what_changed_is_lit_for_some_seconds() -> None:
    """And nothing else in the row is."""
    changed = followed(published(), stop="9.80")
    table = table_of([Row.of(changed, datetime.now(UTC))], 100, AGE)
    line = table.renderables[-1]
    assert isinstance(line, Text)
    assert [line.plain[span.start : span.end] for span in line.spans if span.style == CHANGED] == ["9.80"]
    later = table_of([Row.of(changed, datetime.now(UTC) + timedelta(minutes=1))], 100, AGE).renderables[-1]
    assert isinstance(later, Text) and CHANGED not in [span.style for span in later.spans]


@pytest.mark.parametrize("width", [20, 40, 60, 80, 120])
def test_what_ended_is_struck_through_and_says_how(width: int) -> None:
    """At any width; the plan gives way to the reason."""
    ended = followed(published(), "signal.cancelled", reason="trial halted")
    line = table_of([Row.of(ended, datetime.now(UTC))], width, AGE).renderables[-1]
    assert isinstance(line, Text) and line.cell_len <= width and "9.40" not in line.plain
    struck = "".join(line.plain[span.start : span.end] for span in line.spans if "strike" in str(span.style))
    assert struck.startswith("BUY")
    assert width < 70 or (struck == "BUYACME0.82" and line.plain.endswith("cancelled: trial halted"))


def test_what_ended_leaves_the_table_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """The screen is for what can still be acted on; the same signal's id is not needed again."""
    first = published()
    screen, lines = screen_of(first, followed(first, "signal.expired"))
    assert any("expired" in line for line in lines)
    monkeypatch.setattr(screen_module, "LEAVES_S", -1)
    other = published() | {"id": "b"}
    for event in (other, followed(other, "signal.expired")):
        screen.event(event)
    assert len([line for line in drawn(screen)[:-1] if "ACME" in line]) == 2
    screen, _ = screen_of(other, followed(other, "signal.expired"))
    assert "Waiting" in "".join(drawn(screen))


@pytest.mark.parametrize("width", [40, 80, 120])
def test_what_was_caught_up_with_has_lines_of_its_own(width: int) -> None:
    """And the picture still fills the screen exactly."""
    screen, _ = screen_of(*(published() | {"id": f"n{i}", "seq": i} for i in range(30)), width=width)
    screen.news("caught up: 14 events in 6h 31m away, 2 ended; 9 had expired meanwhile (--stale send shows them)")
    lines = drawn(screen)
    assert len(lines) == 20 and "caught up" in lines[1] and "Ctrl-C" in lines[-1]
    assert "shows them)" in " ".join(line.strip() for line in lines[1:4])


# --- Words -------------------------------------------------------------------------------------------------------


def test_who_was_away_is_told_what_came_and_what_was_held() -> None:
    """After a night with the lid closed: how much to read, and what is not there."""
    since = Position("main", "e", 3, "")
    news = CaughtUp(channel="main", since=since, at=30, received=14, held={"expired": 9}, away_s=23_460)
    assert caught_up_in_words(news, 2) == (
        "caught up: 14 events in 6h 31m away, 2 ended; 9 had expired meanwhile (--stale send shows them)"
    )
    news = CaughtUp(channel="main", since=since, at=30, received=1, held={}, away_s=None)
    assert caught_up_in_words(news, 0) == "caught up: 1 event"
    assert held_in_words({"replaced": 2, "newer": 1}) == "2 were not the newest (--mode all shows them), 1 newer"


@pytest.mark.parametrize(
    ("settings", "patch"),
    [
        (["stop=9.80"], {"stop": 9.80}),
        (["confidence=0.9", "note=a = b"], {"confidence": 0.9, "note": "a = b"}),
        (["catalyst.type=fda", "catalyst.stage=final"], {"catalyst": {"type": "fda", "stage": "final"}}),
        (["note=", "stop.offset="], {"note": None, "stop": {"offset": None}}),
        (["target=1.5", "target=2"], {"target": [1.5, 2]}),
        (["target="], {"targets": None}),
        (['note="7"', "symbol=寿司"], {"note": "7", "symbol": "寿司"}),
    ],
)
def test_what_is_set_becomes_a_merge_patch(settings: list[str], patch: dict[str, Any]) -> None:
    """Without a JSON file and its quotes in a shell."""
    assert msgspec.json.decode(msgspec.json.encode(patch_of(settings))) == patch


def test_a_price_that_is_set_keeps_its_digits() -> None:
    """9.80 is not 9.8 to who reads prices as texts."""
    assert msgspec.json.encode(patch_of(["stop=9.80"])) == b'{"stop":9.80}'
