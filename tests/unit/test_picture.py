"""The picture of an advice: whoever sends it around has all of it in one file, legible, and nothing fetched."""

from __future__ import annotations

import struct
import sys
from functools import partial
from itertools import combinations
from pathlib import Path
from xml.etree import ElementTree

import msgspec
import pytest
import resvg_py

from catalyst_signals.advisor.advising import advise
from catalyst_signals.advisor.picture import HEIGHT, WIDTH, png_of, svg_of
from catalyst_signals.advisor.shapes import Load
from catalyst_signals.errors import Misconfigured, MissingDriver

ROOT = Path(__file__).parent.parent.parent
SVG = "{http://www.w3.org/2000/svg}"
LOADS = [
    Load(users=0),
    Load(users=1, signals=10, budget=0, devops_hours=0),
    Load(users=3, signals=50, budget=10, devops_hours=2),
    Load(users=15, signals=200, budget=50, devops_hours=4, replay=True),
    Load(users=20, signals=200, budget=12),
    Load(users=20, signals=100_000, budget=11),
    Load(users=60, signals=500, budget=200, devops_hours=4),
    Load(users=100, signals=1000, budget=119, devops_hours=8),
    Load(users=500, signals=3000, budget=2000, devops_hours=20),
    Load(users=1000, signals=3000, budget=0),
    Load(users=30_000, signals=3000, budget=1e9),
    Load(users=10_000_000, signals=10_000_000),
]


def texts(svg: str) -> list[tuple[str, tuple[float, float, float, float]]]:
    """What is written, each with the box it takes: as wide as in the widest of the fonts that are asked for."""
    found = []
    for group in ElementTree.fromstring(svg).iter():
        moved = float(group.get("transform", "translate(0)")[10:-1])
        for text in group.findall(f"{SVG}text"):
            size, x, y = float(text.attrib["font-size"]), moved + float(text.attrib["x"]), float(text.attrib["y"])
            width = len(text.text or "") * size * (0.66 if "font-weight" in text.attrib else 0.58)
            left = x - {"start": 0.0, "middle": 0.5, "end": 1.0}[text.attrib["text-anchor"]] * width
            found.append((text.text or "", (left, y - 0.75 * size, left + width, y + 0.2 * size)))
    return found


@pytest.mark.parametrize("load", LOADS, ids=str)
def test_nothing_is_written_over_something_else_or_over_the_edge(load: Load) -> None:
    """Of the smallest and of the largest installation, and of any budget."""
    boxes = texts(svg_of(advise(load)))
    for words, (left, top, right, bottom) in boxes:
        assert left >= 0 and top >= 0 and right <= WIDTH and bottom <= HEIGHT, words
    for (one, a), (other, b) in combinations(boxes, 2):
        apart = a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]
        assert apart, f"{one!r} is written over {other!r}"


def shapes(svg: str, kind: str) -> list[dict[str, str]]:
    return [each.attrib for each in ElementTree.fromstring(svg).iter(f"{SVG}{kind}")]


@pytest.mark.parametrize("load", LOADS, ids=str)
def test_it_is_one_accessible_file_that_fetches_nothing(load: Load) -> None:
    """A mail program, a wiki and a screen reader take it."""
    svg = svg_of(advise(load))
    root = ElementTree.fromstring(svg)
    assert (root.tag, root.attrib["role"], root.attrib["viewBox"]) == (f"{SVG}svg", "img", f"0 0 {WIDTH} {HEIGHT}")
    title = root.find(f"{SVG}title")
    assert title is not None and f"{load.users:,} user" in str(title.text)
    assert "nan" not in svg and "inf" not in svg
    assert not any(word in svg for word in ("<script", "href", "url(", "@import", "http://www.w3.org/1999"))


def test_what_a_table_says_cannot_become_markup() -> None:
    """Names come from files that people edit."""
    advice = advise(Load(users=15, signals=200))
    cost = msgspec.structs.replace(advice.cost, name='<script>"A & B"</script>')
    svg = svg_of(msgspec.structs.replace(advice, cost=cost))
    assert "<script" not in svg
    assert any('<script>"A & B"</script>' in words for words, _ in texts(svg))


def fitting(svg: str) -> int:
    """How many bills are marked as fitting."""
    return sum(circle["fill"] == "#218739" for circle in shapes(svg, "circle"))


def test_the_bills_that_fit_the_budget_are_marked() -> None:
    """One looks for the most that one can have for the money; what is known in part has `+ ?` and no mark."""
    free = advise(Load(users=15, signals=200))
    prices = [free.cost.low, *(offer.low for offer in free.cost.offers)]
    known = [offer for offer in free.cost.offers if not offer.left_out]
    assert fitting(svg_of(free)) == 1 + len(known) < len(prices) and svg_of(free).count("+ ?") == 1
    for budget in (0, *prices):
        advice = advise(Load(users=15, signals=200, budget=budget))
        shown = {
            (each.low, each.name)
            for each in (advice.cost, *advice.cost.offers, advice.cost.best_that_fits)
            if each and not each.left_out
        }
        legend = 1
        assert fitting(svg_of(advice)) == legend + sum(low <= budget for low, _ in shown)


def test_the_budget_has_a_line_only_where_there_is_one() -> None:
    """A line that nobody asked for would be taken for one."""
    red = [[line for line in shapes(svg_of(advise(Load(users=15, budget=each))), "line") if line["stroke"] == "#c62f2f"]
           for each in (None, 50)]  # fmt: skip
    assert [len(lines) for lines in red] == [0, 2]  # One of them in the legend.


def test_your_point_stands_at_your_price_on_the_recommended_step() -> None:
    """Else the picture says something else than the table."""
    for load in LOADS:
        svg = svg_of(advise(load))
        x, y = next((float(each["cx"]), float(each["cy"])) for each in shapes(svg, "circle") if each["r"] == "7")
        steps = [tuple(map(float, point.split(","))) for point in shapes(svg, "polyline")[0]["points"].split()]
        level = zip(steps[::2], steps[1::2], strict=True)
        assert any(a[0] - 0.1 <= x <= b[0] + 0.1 and a[1] == b[1] == y for a, b in level), load


def test_the_same_advice_is_the_same_picture() -> None:
    """It can be kept beside a decision and compared."""
    assert svg_of(advise(LOADS[3])) == svg_of(advise(LOADS[3]))


def test_as_png_it_is_twice_as_large_and_has_its_letters() -> None:
    """resvg leaves out what it has no font for, and says nothing."""
    svg = svg_of(advise(LOADS[3]))
    png = png_of(svg)
    assert png.startswith(b"\x89PNG\r\n") and struct.unpack(">II", png[16:24]) == (2 * WIDTH, 2 * HEIGHT)
    assert png != png_of(svg.replace("you: 15 users", "           "))


def test_where_no_fonts_are_a_png_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a slim container: better no picture than one without a word."""
    monkeypatch.setattr(resvg_py, "svg_to_bytes", partial(resvg_py.svg_to_bytes, skip_system_fonts=True))
    with pytest.raises(Misconfigured, match="no fonts"):
        png_of(svg_of(advise(LOADS[3])))


def test_without_the_library_a_png_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """And that a picture needs none as SVG."""
    monkeypatch.setitem(sys.modules, "resvg_py", None)
    with pytest.raises(MissingDriver, match=r"catalyst-signals\[picture\].*\.svg"):
        png_of("<svg/>")


def test_the_picture_in_the_documentation_is_what_the_command_draws(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has prices and measurements in it: with other ones it is drawn again."""
    monkeypatch.chdir(tmp_path)  # Where no capacity.toml is.
    drawn = svg_of(advise(Load(users=15, signals=200, budget=50, devops_hours=4)))
    flags = "--users 15 --signals 200 --budget 50 --devops-hours 4 --picture docs/advice.svg"
    assert (ROOT / "docs" / "advice.svg").read_text() == drawn, f"draw it again: catalyst advise {flags}"
