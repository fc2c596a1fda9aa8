"""What is published and who wants what: the same signals, under the same seeds, for every system.

A signal's text is a draft as a person would send it, 279 bytes with its time in. `"t":"..","n":..` in it is when it was
sent (a hole of 19 `@` until then) and which one it is; the load client finds them again in whatever a system delivers.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

SYMBOLS, ACTIONS = 500, ("BUY", "SELL", "WATCH")
HOLE, SIZE = "@" * 19, 279


@dataclass(frozen=True, slots=True)
class Signal:
    """One signal; `confidence` is in percent."""

    number: int
    symbol: int
    action: int
    confidence: int

    @property
    def ticker(self) -> str:
        """Its symbol as text."""
        return f"S{self.symbol:03d}"

    @property
    def text(self) -> str:
        """The draft, as JSON."""
        n = self.number
        text = (
            f'{{"id":"9f1c2b34-77aa-4c1d-{n:012d}","t":"{HOLE}","n":{n},"symbol":"{self.ticker}",'
            f'"action":"{ACTIONS[self.action]}","confidence":{self.confidence / 100:.2f},'
            f'"reference_price":"43251.{n % 10000:04d}","stop":"42890.{n % 9973:04d}","model":"momentum-3","note":"'
        )
        return text + "x" * (SIZE - len(text) - 2) + '"}'


@dataclass(frozen=True, slots=True)
class Wish:
    """What one subscriber wants: five symbols, two of the three actions, a floor of confidence in percent."""

    symbols: tuple[int, ...]
    actions: tuple[int, ...]
    floor: int

    def takes(self, signal: Signal) -> bool:
        """Whether it is one of them; the symbol is known to be."""
        return signal.confidence >= self.floor and signal.action in self.actions


def signals(count: int, first: int = 1) -> list[Signal]:
    """The signals from number `first` on."""
    draw = random.Random(first)
    return [
        Signal(n, draw.randrange(SYMBOLS), draw.randrange(len(ACTIONS)), draw.randrange(100))
        for n in range(first, first + count)
    ]


def wishes(count: int) -> list[Wish]:
    """One for each connection; of 10,000 about 20 take a signal. Every symbol is wanted equally often."""
    draw = random.Random(11)
    deck: list[int] = []
    made: list[Wish] = []
    for _ in range(count):
        if len(deck) < 5:
            deck = draw.sample(range(SYMBOLS), SYMBOLS)
        symbols = tuple(deck.pop() for _ in range(5))
        left_out = draw.randrange(len(ACTIONS))
        actions = tuple(a for a in range(len(ACTIONS)) if a != left_out)
        made.append(Wish(symbols, actions, draw.randint(50, 90)))
    return made


def all_of(sent: list[Signal]) -> tuple[int, int]:
    """What one who wants everything must receive: how many, and the sum of their numbers."""
    return len(sent), sum(signal.number for signal in sent)


def expected(sent: list[Signal], wanted: list[Wish]) -> list[tuple[int, int]]:
    """For each connection how many it must receive, and the sum of their numbers."""
    by_symbol: dict[int, list[int]] = {}
    for i, wish in enumerate(wanted):
        for symbol in wish.symbols:
            by_symbol.setdefault(symbol, []).append(i)
    counts, sums = [0] * len(wanted), [0] * len(wanted)
    for signal in sent:
        for i in by_symbol.get(signal.symbol, ()):
            if wanted[i].takes(signal):
                counts[i] += 1
                sums[i] += signal.number
    return list(zip(counts, sums, strict=True))
