"""What a machine was measured to do, beside what the matrix says in round numbers.

Owns: where `capacity.toml` is looked for. `catalyst bench --calibrate` writes it.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from pathlib import Path

import msgspec

from catalyst_signals.advisor.shapes import Ability, Load
from catalyst_signals.advisor.standing import carried
from catalyst_signals.advisor.tables import Capacity, Measured, Option, Scale, sizes
from catalyst_signals.errors import Misconfigured

FILE = "capacity.toml"
FILTERS = 10_000  # By so many `catalyst bench --calibrate` judges a signal.


def read_capacity(path: Path | None = None) -> Capacity:
    """Of `path`; without one of ./capacity.toml if it is there, else of the machine that this was developed on.

    Raises:
        Misconfigured: the file cannot be read, or is no capacity.
    """
    here = Path(FILE)
    if path is None and not here.is_file():
        return packaged_capacity()
    path = path or here
    try:
        return msgspec.toml.decode(path.read_bytes(), type=Capacity)
    except OSError as fault:
        raise Misconfigured(f"{path} cannot be read: {fault.strerror}", field="capacity", got=str(path)) from fault
    except (msgspec.MsgspecError, UnicodeDecodeError) as fault:
        raise Misconfigured(
            f"{path} is not what `catalyst bench --calibrate` writes: {fault}", field="capacity", got=str(path)
        ) from fault


@cache
def packaged_capacity() -> Capacity:
    """Of the machine that this was developed on: what stands in for one that was not measured."""
    return msgspec.toml.decode((files(__package__) / FILE).read_bytes(), type=Capacity)


def abilities(load: Load, scale: Scale, queue: Option, capacity: Capacity) -> Iterator[Ability]:
    """The matrix's numbers for this size, and what one process did on the machine that was measured."""
    size = sizes()[scale]
    low, high = size.signals_per_day
    signals = f"{low:,}-{high:,} a day" if high else f"{low:,} a day and more"
    yield Ability(what="messages through the queue", matrix=_through(queue), measured=_hints(capacity.broker))
    yield Ability(what="signals published", matrix=signals, measured=_rate(capacity.publish))
    yield Ability(
        what="users, each getting everything",
        matrix=f"{size.users[0]:,}-{size.users[1]:,}",
        measured=f"{about(min(users for _, users in carried(load, capacity)))} at {load.signals:,} signals a day",
    )
    yield Ability(what="deliveries", matrix="-", measured=_rate(capacity.fanout))
    yield Ability(what="signals judged", matrix="-", measured=_judged(capacity.match))
    yield Ability(what="signals stored", matrix="-", measured=_rate(capacity.store))


def _through(queue: Option) -> str:
    figures = [figure.says for figure in (queue.throughput, queue.latency) if figure is not None and figure.says]
    return f"{', '.join(figures)} ({queue.name})" if figures else "-"


def about(number: int) -> str:
    """Two figures of it: the rest would be taken for exact."""
    return f"about {float(f'{number:.1e}'):,.0f}"


def _rate(measured: Measured) -> str:
    return f"{measured.per_s:,.0f} a second"


def _judged(match: Measured) -> str:
    """Billions of filters a second are a number that nobody can use."""
    return f"{match.per_s / FILTERS:,.0f} a second, each by {FILTERS:,} filters"


def _hints(broker: Measured | None) -> str:
    return f"{broker.per_s:,.0f} hints a second, bundled" if broker is not None else "not measured"
