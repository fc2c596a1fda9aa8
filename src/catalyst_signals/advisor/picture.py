"""Cost and capacity against users, with your point on it, as SVG; and that as PNG.

Owns: what is drawn where. Knows nothing of how one chooses: it asks `advise` for the bill of each size.
Laws: the same advice is the same picture; nothing in it is fetched, and it holds no script.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from textwrap import shorten, wrap
from xml.sax.saxutils import escape

import msgspec

from catalyst_signals.advisor.advising import advise
from catalyst_signals.advisor.capacity import about
from catalyst_signals.advisor.costing import amount, dollars
from catalyst_signals.advisor.shapes import Advice, Cost, Load, Offer
from catalyst_signals.advisor.sizing import title_of
from catalyst_signals.advisor.standing import carried
from catalyst_signals.advisor.tables import Scale, sizes
from catalyst_signals.errors import Misconfigured, MissingDriver

WIDTH, HEIGHT = 900, 560
LEFT, RIGHT = 66, 580  # Of both panels; the names of the bills stand to the right.
TITLES, TOP, BOTTOM = 114, 144, 384  # The names of the sizes, and the costs below them.
BARS_TOP, BARS_BOTTOM = 424, 496  # Of the capacity.
NAMES = RIGHT + 28
LINE = 15  # From one line of a name to the next.
NAME_CHARS = 36
USERS_END, USERS_END_MAX = 10_000, 100_000
BUDGET_SHOWN_MAX = 10_000  # A line far above all that there is says nothing.

INK, SOFT, GRID = "#1f2933", "#616e7c", "#e4e7eb"
TINTS = ("#eef4fb", "#e3edf7", "#d8e6f3", "#cddff0", "#f5f5f5")
BLUE, GREEN, RED, BAR = "#1d6fb8", "#218739", "#c62f2f", "#a9bccf"

USD = (0, 5, 10, 50, 100, 500, 1000, 5000, 10_000, 50_000)
FONTS = "DejaVu Sans, Verdana, Arial, Helvetica, sans-serif"
_SVG = 'xmlns="http://www.w3.org/2000/svg"'
_LETTER = f'<svg {_SVG} width="20" height="20"><text y="16" font-family="{FONTS}">{{}}</text></svg>'


def svg_of(advice: Advice) -> str:
    """The picture of an advice, 900 by 560, on white."""
    return "".join(_Picture(advice).parts())


def png_of(svg: str) -> bytes:
    """The same as PNG, twice as large in each direction.

    Raises:
        MissingDriver: the extra `picture` is not installed.
        Misconfigured: this machine has no fonts, and letters would be missing.
    """
    try:
        from resvg_py import svg_to_bytes
    except ModuleNotFoundError as missing:
        raise MissingDriver(
            "a PNG needs a library: pip install 'catalyst-signals[picture]'; a picture `.svg` needs none"
        ) from missing
    if svg_to_bytes(_LETTER.format("x")) == svg_to_bytes(_LETTER.format(" ")):
        raise Misconfigured(
            "this machine has no fonts to write a PNG with: apt-get install fonts-dejavu-core; `.svg` needs none"
        )
    return svg_to_bytes(svg, zoom=2)


class _Picture:
    def __init__(self, advice: Advice) -> None:
        self.advice, self.asked, self.cost = advice, advice.asked, advice.cost
        self.carries = carried(self.asked, advice.capacity)
        self.users_max = _end_of_users(2 * self.asked.users, *(users for _, users in self.carries))
        self.steps = list(_steps(advice, self.users_max))
        bills = [cost for _, cost in self.steps] + list(_others(self.cost))
        limit = min(self.asked.budget or 0, BUDGET_SHOWN_MAX)
        self.usd_max = 1.3 * max(1000, limit, *(each.high or each.low for each in bills))
        self.limited = self.asked.budget is not None and self.asked.budget <= self.usd_max

    def x(self, users: float) -> float:
        share = math.log10(max(1, users)) / math.log10(self.users_max)
        return LEFT + min(1.0, share) * (RIGHT - LEFT)

    def y(self, usd: float) -> float:
        """Logarithmic, and $0 has a place: a free installation is one of the answers."""
        share = math.log10(1 + usd) / math.log10(1 + self.usd_max)
        return BOTTOM - min(1.0, share) * (BOTTOM - TOP)

    def parts(self) -> Iterator[str]:
        head, told = _heading(self.advice), _asked_in_words(self.asked)
        yield (
            f'<svg {_SVG} width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}"'
            f' role="img" aria-labelledby="title" font-family="{FONTS}" font-size="12" fill="{INK}">'
            f'<title id="title">{escape(f"{head}. {told}")}</title>'
            f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>'
        )
        yield _text(LEFT, 34, head, size=min(19, 1200 // len(head)), bold=True)
        yield _text(LEFT, 55, told, fill=SOFT, size=13)
        layers = (self.tiers, self.grid, self.band, self.budget, self.bills, self.here, self.bars, self.you)
        for draw in (self.legend, *layers):
            yield from draw()
        yield "</svg>"

    def legend(self) -> Iterator[str]:
        """Only what is in this picture."""
        x, band = float(LEFT), _box(0, 72, 18, 10, BLUE, opacity=0.25) + _line(0, 82, 18, 82, BLUE, width=2)
        signs = [(band, "recommended at your signals a day, low to high")]
        if self.limited:
            signs += [
                (_line(0, 77, 18, 77, RED, dash="5 3", width=1.5), "budget"),
                (_dot(11, 77, GREEN), "fits it"), (_dot(11, 77, "#ffffff", SOFT), "does not"),
            ]  # fmt: skip
        for sign, words in signs:
            yield f'<g transform="translate({x:.1f})">{sign}{_text(25, 81, words, fill=SOFT)}</g>'
            x += 45 + 6.6 * len(words)

    def tiers(self) -> Iterator[str]:
        begins = 1
        ends = [(title_of(size.name), size.name, size.users[1]) for size in sizes().values()]
        for tint, (title, name, end) in zip(TINTS, [*ends, ("beyond the matrix", "", self.users_max)], strict=True):
            left, right, mine = self.x(begins), self.x(end), name == self.advice.scale
            yield _box(left, TITLES, right - left, BARS_BOTTOM - TITLES, tint)
            yield _text((left + right) / 2, TITLES + 17, title, anchor="middle", bold=mine, fill=INK if mine else SOFT)
            begins = end

    def grid(self) -> Iterator[str]:
        for usd in USD:
            if usd <= self.usd_max:
                yield _line(LEFT, self.y(usd), RIGHT, self.y(usd), GRID if usd else SOFT)
                yield _text(LEFT - 7, self.y(usd) + 4, f"${usd:,}", anchor="end", fill=SOFT)
        yield _text(LEFT, TITLES - 8, "dollars a month, logarithmic", fill=SOFT)
        for users in _ticks(self.users_max):
            yield _line(self.x(users), BARS_BOTTOM, self.x(users), BARS_BOTTOM + 5, SOFT)
            yield _text(self.x(users), BARS_BOTTOM + 18, f"{users:,}", anchor="middle", fill=SOFT)
        yield _text((LEFT + RIGHT) / 2, BARS_BOTTOM + 40, "users, logarithmic", anchor="middle", fill=SOFT)

    def band(self) -> Iterator[str]:
        """A step a size; what has no upper end goes to the top."""
        begins, lows, highs = 1, [], []
        for end, cost in self.steps:
            high = TOP if cost.high is None else self.y(cost.high)
            lows += [(self.x(begins), self.y(cost.low)), (self.x(end), self.y(cost.low))]
            highs += [(self.x(begins), high), (self.x(end), high)]
            begins = end
        yield f'<polygon points="{_points([*lows, *reversed(highs)])}" fill="{BLUE}" opacity="0.25"/>'
        yield f'<polyline points="{_points(lows)}" fill="none" stroke="{BLUE}" stroke-width="2"/>'

    def budget(self) -> Iterator[str]:
        if self.limited:
            y = self.y(self.asked.budget or 0)
            yield _line(LEFT, y, RIGHT, y, RED, dash="5 3", width=1.5)

    def bills(self) -> Iterator[str]:
        """Every way to run this size, at its price; names keep their distance from each other."""
        shown: list[Cost | Offer] = [self.cost, *_others(self.cost)]
        shown.sort(key=lambda each: -each.low)
        names = [_bill(each, self.advice.scale) for each in shown]
        heights = _apart([self.y(each.low) for each in shown], [LINE * len(lines) + 3 for lines in names])
        yield _text(NAMES, TITLES - 8, f"every way to run {title_of(self.advice.scale)}", fill=SOFT)
        for each, lines, height in zip(shown, names, heights, strict=True):
            at, mine = self.y(each.low), each is self.cost
            known = each is self.cost or not each.left_out  # Who knows a part of a price cannot say that it fits.
            fits = known and (self.asked.budget is None or each.low <= self.asked.budget)
            yield _line(RIGHT + 7, at, NAMES - 8, height, "#9aa5b1")
            yield _dot(RIGHT + 7, at, GREEN if fits else "#ffffff", GREEN if fits else SOFT)
            for row, words in enumerate(lines):
                yield _text(NAMES, height + 4 + LINE * row, words, bold=mine, fill=INK if fits or mine else SOFT)

    def bars(self) -> Iterator[str]:
        machine = self.advice.capacity.machine
        yield _text(LEFT, BARS_TOP - 10, "what one process carries, as measured", fill=SOFT)
        for row, (what, users) in enumerate(self.carries):
            y = BARS_TOP + row * 24
            yield _box(LEFT, y, self.x(users) - LEFT, 18, BAR)
            if users > self.users_max:
                yield f'<polygon points="{_points([(RIGHT, y), (RIGHT + 9, y + 9), (RIGHT, y + 18)])}" fill="{BAR}"/>'
            yield _text(LEFT + 8, y + 13, f"{what}: {about(users)} users")
        measured = (machine.cpu, f"{machine.cores} cores, {machine.memory_gib:g} GiB", f"measured {machine.date[:10]}")
        for row, words in enumerate(measured):
            yield _text(NAMES, BARS_TOP + 13 + row * 18, shorten(words, NAME_CHARS, placeholder=" …"), fill=SOFT)

    def here(self) -> Iterator[str]:
        """A line through both panels at your users."""
        x = self.x(self.asked.users)
        yield _line(x, TITLES + 24, x, BOTTOM, BLUE, dash="2 3", width=1.5)
        yield _line(x, BARS_TOP - 4, x, BARS_BOTTOM, BLUE, dash="2 3", width=1.5)

    def you(self) -> Iterator[str]:
        """Your point. Prices rise to the right, so its label has room below; it keeps clear of the budget's line."""
        x, y = self.x(self.asked.users), self.y(self.cost.low)
        words = f"you: {_users(self.asked.users)}, {dollars(self.cost.low, self.cost.high)}"
        right = x + 12 + 7.5 * len(words) < RIGHT
        height = y + 22 if y + 30 < BOTTOM else y - 12
        if self.asked.budget is not None and abs(self.y(self.asked.budget) - height + 4) < 10:
            height = self.y(self.asked.budget) + (16 if height > y else -8)
        yield _dot(x, y, BLUE, radius=7)
        yield _text(x + (10 if right else -10), height, words, anchor="start" if right else "end", bold=True, halo=True)


def _steps(advice: Advice, end: int) -> Iterator[tuple[int, Cost]]:
    """Up to how many users which bill is recommended, everything else being as it was asked."""
    ends = [size.users[1] for size in sizes().values()]
    for users in (*ends, end):
        asked = msgspec.structs.replace(advice.asked, users=users)
        yield users, advise(asked, capacity=advice.capacity).cost


def _others(cost: Cost) -> Iterator[Offer]:
    yield from cost.offers
    if cost.best_that_fits is not None and cost.best_that_fits not in cost.offers:
        yield cost.best_that_fits


def _end_of_users(*numbers: int) -> int:
    """A power of ten that has room for them; what is beyond it stands at the edge."""
    return int(10 ** math.ceil(math.log10(min(USERS_END_MAX, max(USERS_END, *numbers)))))


def _ticks(end: int) -> Iterator[int]:
    yield 1
    yield from (size.users[1] for size in sizes().values())
    yield from (10**power for power in range(round(math.log10(USERS_END)), round(math.log10(end)) + 1))


def _apart(tops: Sequence[float], rooms: Sequence[int]) -> list[float]:
    """The same from the top down, each with its room, as near to where it was as that allows, inside the panel."""
    pushed = zip(_down(tops, rooms, -math.inf), _up(tops, rooms, math.inf), strict=True)
    middle = [(down + up) / 2 for down, up in pushed]
    return _up(_down(middle, rooms, TOP), rooms, BOTTOM + LINE)


def _down(tops: Sequence[float], rooms: Sequence[int], free: float) -> list[float]:
    placed = []
    for top, room in zip(tops, rooms, strict=True):
        placed.append(max(top, free))
        free = placed[-1] + room
    return placed


def _up(tops: Sequence[float], rooms: Sequence[int], end: float) -> list[float]:
    placed = []
    for top, room in zip(reversed(tops), reversed(rooms), strict=True):
        end = min(top, end - room)
        placed.append(end)
    return placed[::-1]


# --- Words -------------------------------------------------------------------------------------------------------


def _heading(advice: Advice) -> str:
    cost = advice.cost
    price = dollars(cost.low, cost.high)
    return f"{title_of(advice.scale)}: {cost.name}, {price}{'' if price == 'free' else ' a month'}"


def _asked_in_words(asked: Load) -> str:
    said = [_users(asked.users), f"{asked.signals:,} signals a day"]
    said += [f"budget ${amount(asked.budget)} a month"] if asked.budget is not None else []
    said += [f"{asked.devops_hours:g} h a week to look after it"] if asked.devops_hours is not None else []
    return ", ".join(said)


def _users(users: int) -> str:
    return f"{users:,} user{'' if users == 1 else 's'}"


def _bill(bill: Cost | Offer, scale: Scale) -> list[str]:
    """Price and name, on as many lines as it takes."""
    other = f" ({title_of(bill.scale)})" if isinstance(bill, Offer) and bill.scale != scale else ""
    more = " + ?" if isinstance(bill, Offer) and bill.left_out else ""
    return wrap(f"{dollars(bill.low, bill.high)}{more}: {bill.name}{other}", NAME_CHARS, max_lines=2, placeholder=" …")


# --- Marks -------------------------------------------------------------------------------------------------------


def _text(
    x: float, y: float, words: str, *, size: int = 12, anchor: str = "start", fill: str = INK, bold: bool = False,
    halo: bool = False,
) -> str:  # fmt: skip
    more = ' font-weight="bold"' if bold else ""
    more += ' stroke="#ffffff" stroke-width="4" stroke-linejoin="round" paint-order="stroke"' if halo else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" fill="{fill}"{more}'
        f' xml:space="preserve">{escape(words)}</text>'
    )


def _box(x: float, y: float, width: float, height: float, fill: str, *, opacity: float = 1) -> str:
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{fill}" opacity="{opacity:g}"/>'
    )


def _line(x1: float, y1: float, x2: float, y2: float, stroke: str, *, dash: str = "", width: float = 1) -> str:
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    ends = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f'<line {ends} stroke="{stroke}" stroke-width="{width:g}"{dashed}/>'


def _dot(x: float, y: float, fill: str, stroke: str = "#ffffff", *, radius: int = 5) -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" fill="{fill}" stroke="{stroke}" stroke-width="1.5"/>'


def _points(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
