"""The same story of several wires. Covers `catalyst_signals.stories`."""

from __future__ import annotations

from typing import Any

import pytest

from catalyst_signals.events import now_us, seal
from catalyst_signals.ingest import item_draft
from catalyst_signals.stories import WINDOW_US, Stories, plain_title, plain_url, story_keys
from catalyst_signals.wire import frame_of

Json = dict[str, Any]


def item(id: str, title: str = "", url: str = "", own: str = "", *symbols: str) -> Json:
    """As the adapters of feeds make them."""
    source = {"url": url, "title": title, "external_id": own}
    instruments = [{"symbol": each} for each in symbols]
    return {"id": id, "source": {name: each for name, each in source.items() if each}, "instruments": instruments}


def told(stories: Stories, one: Json, wire: str) -> Json:
    """An item as it is published, once it has passed."""
    grouped = stories.grouped(one, wire)
    draft = item_draft(grouped)
    stories.fold(frame_of(seal(draft, channel="items", epoch="e", seq=1, ts_us=1, prev=bytes(32))))
    return grouped


TITLE = "ACME wins approval for its drug"


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (item("a", TITLE, "https://one.example/1"), item("b", f"{TITLE} - Reuters", "https://two.example/9"), True),
        (item("a", TITLE, "https://www.one.example/1?utm_source=x#top"), item("b", "", "http://one.example/1"), True),
        (item("a", "Acme 8-K", "", "0000320193-24-000123"), item("b", "", "", "acc 0000320193-24-000123"), True),
        (item("a", TITLE, "", "", "ACME"), item("b", TITLE, "", "", "XYZ"), False),
        (item("a", "Market update", ""), item("b", "Market update", ""), False),
        (item("a", TITLE, "https://one.example/1?id=1"), item("b", "Else", "https://one.example/1?id=2"), False),
    ],
)
def test_wires_that_tell_the_same_story_get_one_group(one: Json, other: Json, same: bool) -> None:
    """Accession number, title with symbols, address; what only says where a reader came from counts for nothing."""
    stories = Stories()
    groups = [told(stories, each, wire).get("group_id") for each, wire in ((one, "x"), (other, "y"))]
    assert (groups[0] is not None and groups[0] == groups[1]) is same


def test_a_later_item_joins_by_any_key_and_its_group_goes_on() -> None:
    """By title to the first, by address to the second: one story all the same."""
    stories = Stories()
    first = told(stories, item("a", TITLE, "https://one.example/1"), "x")
    second = told(stories, item("b", TITLE, "https://two.example/2"), "y")
    third = told(stories, item("c", "Another headline of that page", "https://two.example/2"), "z")
    assert first["group_id"] == second["group_id"] == third["group_id"]
    assert "supersedes" not in second and "supersedes" not in third


def test_a_wires_own_update_supersedes_what_it_said_there() -> None:
    """The same wire at the same address; the same item again supersedes nothing."""
    stories = Stories()
    told(stories, item("a", TITLE, "https://one.example/1"), "x")
    assert "supersedes" not in stories.grouped(item("a", TITLE, "https://one.example/1"), "x")
    update = told(stories, item("b", f"{TITLE} and more", "https://one.example/1"), "x")
    assert update["supersedes"] == "a"
    assert stories.grouped(item("c", "Third", "https://one.example/1"), "x")["supersedes"] == "b"


def test_every_process_makes_the_same_group_and_six_hours_end_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without having seen the other; an address is the same story for ever."""
    one = item("a", TITLE, "https://one.example/1")
    assert Stories().grouped(one, "x")["group_id"] == Stories().grouped(one, "y")["group_id"]
    stories = Stories()
    told(stories, item("a", TITLE, "https://one.example/1"), "x")
    assert stories.grouped(item("b", "Else", "https://one.example/1"), "x")["supersedes"] == "a"
    monkeypatch.setattr("catalyst_signals.stories.now_us", lambda: now_us() + WINDOW_US + 1_000_000)
    assert "supersedes" not in stories.grouped(item("b", "Else", "https://one.example/1"), "x")


def test_what_a_wire_said_is_added_to_and_never_altered() -> None:
    """A group it gave itself stays, and what tells no story has none."""
    one = item("a", TITLE) | {"group_id": "mine"}
    grouped = Stories().grouped(one, "x")
    assert grouped == one | {"provider": {"id": "x"}}
    assert story_keys({"id": "a", "source": 7, "title": None, "instruments": "x"}) == []
    assert (plain_title("Übung: ACME!"), plain_url("https://WWW.a.b/x/?fbclid=1")) == ("ubung acme", "a.b/x")
