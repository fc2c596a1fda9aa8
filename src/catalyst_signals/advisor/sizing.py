"""Which of the four sizes a load is, and whether it is a load at all.

Owns: the boundaries as we read them, the refusal of what is no number of users.
Laws: a boundary belongs to the smaller size; the larger of users' and signals' size wins; every load has a size.
"""

from __future__ import annotations

from collections.abc import Iterator

from catalyst_signals.advisor.shapes import Load
from catalyst_signals.advisor.tables import SCALES, Scale, sizes
from catalyst_signals.errors import InvalidRequest, shorten

MAX = 10**12  # More of anything than there is.


def size_of(users: int, signals: int) -> Scale:
    """The smallest size that both fit into; the largest for what fits into none."""
    for name, size in sizes().items():
        end = size.signals_per_day[1]
        if users <= size.users[1] and (end is None or signals <= end):
            return name
    return SCALES[-1]


def title_of(scale: Scale) -> str:
    """MVP, Small, Medium, Large."""
    return sizes()[scale].title.split()[0]


def checked(load: Load) -> Load:
    """The same.

    Raises:
        InvalidRequest: something of it is no number from 0, or no yes or no.
    """
    whole("users", load.users)
    whole("signals", load.signals)
    limit("budget", load.budget)
    limit("devops_hours", load.devops_hours)
    yes_or_no("replay", load.replay)
    return load


def whole(field: str, got: object) -> None:
    """A whole number that can be is let through."""
    if isinstance(got, bool) or not isinstance(got, int) or not 0 <= got <= MAX:
        raise _refused(field, got, f"a whole number from 0 to {MAX:,}")


def limit(field: str, got: object) -> None:
    """A number that can be, or None for no limit, is let through."""
    if got is None:
        return
    if isinstance(got, bool) or not isinstance(got, int | float) or not 0 <= got <= MAX:
        raise _refused(field, got, f"a number from 0 to {MAX:,}, or none for no limit")


def yes_or_no(field: str, got: object) -> None:
    """True and False are let through."""
    if not isinstance(got, bool):
        raise _refused(field, got, "true or false")


def _refused(field: str, got: object, allowed: str) -> InvalidRequest:
    return InvalidRequest(f"`{field}` is {allowed}; got {shorten(repr(got))}", field=field, got=got, allowed=allowed)


def remarks(load: Load, scale: Scale) -> Iterator[str]:
    """What is to be said of the size, a sentence each."""
    by_users, by_signals = size_of(load.users, 0), size_of(0, load.signals)
    if by_users != by_signals:
        yield f"By users this is {title_of(by_users)}, by signals {title_of(by_signals)}: the larger counts."
    yield from _on_a_boundary(load, scale)
    end = sizes()[SCALES[-1]].users[1]
    if load.users > end:
        yield (
            f"The matrix ends at {end:,} users, and so do its prices: {load.users:,} are {load.users / end:,.1f} times "
            "that. Take the price as the least, and measure with `catalyst bench --calibrate`."
        )


def _on_a_boundary(load: Load, scale: Scale) -> Iterator[str]:
    size = sizes()[scale]
    ends = [("users", load.users, size.users[1]), ("signals a day", load.signals, size.signals_per_day[1])]
    both = " and ".join(f"{got:,} {what}" for what, got, end in ends if got == end and scale != SCALES[-1])
    if both:
        yield f"The matrix has {both} in two sizes: here they belong to the smaller, {title_of(scale)}."
