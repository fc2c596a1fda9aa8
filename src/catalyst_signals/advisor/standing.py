"""Where a running server is on the scale: what it uses of its size and of its machine, and what it runs into first.

Owns: the limits, what is assumed of bursts, the verdict in a sentence. Knows nothing of prices.
Assumed: a tenth of a day's signals come in its busiest minute, unless a busier one was seen; every user gets every
signal on one connection; half of the memory is for connections. Growth goes on in a straight line.
"""

from __future__ import annotations

from collections.abc import Iterator

from catalyst_signals.advisor.shapes import Limit, Load, Standing, Usage
from catalyst_signals.advisor.sizing import size_of, title_of
from catalyst_signals.advisor.tables import SCALES, Capacity, Scale, sizes

PEAK_SHARE = 0.1  # Of a day's signals, in its busiest minute.
MEMORY_SHARE = 0.5  # Of the machine's, for connections.
DAYS_MAX = 3650.0
SOON_DAYS = 60.0  # As long as it takes to go from one size to the next: four to six weeks, and some.
BUSY = 0.5  # Below that a larger size brings no speed.
MONTH_DAYS, YEAR_DAYS = 30.4, 365.0
GIB = 1 << 30


def stand(usage: Usage, capacity: Capacity) -> Standing:
    """Where that server is; the limit it meets first stands first."""
    scale = size_of(usage.users, _whole(usage.signals_per_day))
    limits = tuple(sorted([*_of_the_size(usage, scale), *_of_the_machine(usage, capacity)], key=_order))
    return Standing(
        users=usage.users, signals_per_day=usage.signals_per_day, users_growth=usage.users_growth,
        signals_growth=usage.signals_growth, connections=usage.connections, connections_peak=usage.connections_peak,
        delivery_p99_ms=usage.delivery_p99_ms, store_bytes=usage.store_bytes, since=usage.since,
        signals_last_day=usage.signals_last_day, signals_last_month=usage.signals_last_month,
        scale=scale, limits=limits, verdict=_verdict(scale, limits),
    )  # fmt: skip


def carried(load: Load, capacity: Capacity) -> list[tuple[str, int]]:
    """How many users one process carries on the measured machine at so many signals a day, by what limits it."""
    peak = peak_per_s(max(1, load.signals))
    each = peak / max(1, load.users)  # What a user publishes, if more users publish more.
    return [
        ("deliveries, of everything to everyone", int(capacity.fanout.per_s / peak)),
        ("publishing, in proportion to users", int(capacity.publish.per_s / each)),
        ("connections, by half the memory", int(_connections(capacity))),
    ]


def peak_per_s(signals_per_day: float) -> float:
    """Signals a second in the busiest minute of such a day."""
    return signals_per_day * PEAK_SHARE / 60


def _of_the_size(usage: Usage, scale: Scale) -> Iterator[Limit]:
    size = sizes()[scale]
    yield _limit("users", usage.users, size.users[1], "users", usage.users_growth, "matrix")
    end = size.signals_per_day[1]
    if end is not None:
        yield _limit("signals", usage.signals_per_day, end, "a day", usage.signals_growth, "matrix")


def _of_the_machine(usage: Usage, capacity: Capacity) -> Iterator[Limit]:
    seen = (usage.busiest_minute or 0) / 60
    peak = max(seen, peak_per_s(usage.signals_per_day))
    growth = _scaled(usage.signals_growth, peak / usage.signals_per_day if usage.signals_per_day else PEAK_SHARE / 60)
    yield _limit("publishing at the peak", peak, capacity.publish.per_s, "a second", growth, "measured")
    deliveries = None if growth is None or usage.users_growth is None else (
        growth * usage.users + usage.users_growth * peak
    )  # fmt: skip
    yield _limit(
        "deliveries at the peak", peak * usage.users, capacity.fanout.per_s, "a second", deliveries, "measured"
    )
    each = usage.connections_peak / usage.users if usage.users else 1.0
    yield _limit(
        "connections", usage.connections_peak, _connections(capacity), "open", _scaled(usage.users_growth, each),
        "measured",
    )  # fmt: skip
    if usage.disk_free_bytes is not None:
        used = usage.store_bytes or 0
        growth = usage.signals_per_day * capacity.signal_bytes
        yield _limit("disk", used, used + usage.disk_free_bytes, "bytes", growth, "measured")


def _scaled(growth: float | None, factor: float) -> float | None:
    return None if growth is None else growth * factor


def _connections(capacity: Capacity) -> float:
    return capacity.machine.memory_gib * GIB * MEMORY_SHARE // capacity.connection_bytes


def _limit(what: str, used: float, of: float, unit: str, growth: float | None, source: str) -> Limit:
    return Limit(
        what=what, used=used, of=of, unit=unit, share=used / of, days=_days(of - used, growth), source=source
    )  # fmt: skip


def _days(room: float, growth: float | None) -> float | None:
    if room <= 0:
        return 0.0
    if growth is None or growth * DAYS_MAX < room:
        return None
    return room / growth


def _order(limit: Limit) -> tuple[bool, float, float]:
    return (limit.days is None, limit.days or 0.0, -limit.share)


def _whole(signals_per_day: float) -> int:
    """50.4 a day in the mean of a week are 50."""
    return round(signals_per_day)


# --- The verdict -------------------------------------------------------------------------------------------------


def _verdict(scale: Scale, limits: tuple[Limit, ...]) -> str:
    first = limits[0]
    used = f"you use {_percent(_most(limits, 'matrix'))} of {title_of(scale)}"
    busy = _most(limits, "measured")
    machine = f"one process on this machine is used to {_percent(busy)} at the peak"
    if first.days is None:
        return f"Stay: {used}, and nothing grows towards a limit; {machine}."
    if first.days > SOON_DAYS:
        return f"Stay: {used}; {_first(first)}; {machine}."
    if first.source == "measured":
        return f"Add a process or a larger machine: {_first(first)}; {used}."
    if scale == SCALES[-1]:
        return f"Measure before you grow: {_first(first)}, and there the matrix ends; {machine}."
    larger = title_of(SCALES[SCALES.index(scale) + 1])
    go = "Move to" if first.share >= 1 else "Prepare to move to"
    what_for = "move for what fails over, not for speed: " if busy < BUSY else ""
    return f"{go} {larger}: {used}; {_first(first)}; {what_for}{machine}."


def _most(limits: tuple[Limit, ...], source: str) -> float:
    return max(limit.share for limit in limits if limit.source == source)


def _first(limit: Limit) -> str:
    unit = "" if limit.unit == limit.what else f" {limit.unit}"
    when = "reached" if limit.share >= 1 else _when(limit.days or 0)
    return f"the first limit is {limit.what} ({limit.of:,.0f}{unit}), {when}"


def _percent(share: float) -> str:
    return f"{share * 100:,.0f} %" if share >= 0.01 or not share else "less than 1 %"


def _when(days: float) -> str:
    """About, in words."""
    if days < 1:
        return "within a day"
    if days < SOON_DAYS:
        return f"in about {days:.0f} day{'' if round(days) == 1 else 's'}"
    if days < 2 * YEAR_DAYS:
        return f"in about {days / MONTH_DAYS:.0f} months"
    return f"in about {days / YEAR_DAYS:.0f} years"
