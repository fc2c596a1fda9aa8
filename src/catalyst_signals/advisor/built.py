"""What of the matrix's stacks this program cannot do yet: asked of the program itself, so that it is never out of date.

Owns: what a `need` of an option means. `catalyst deploy` refuses a size by this. Knows nothing of prices.
Law: a need is met when a URL of that scheme can be opened, or the module is there.
"""

from __future__ import annotations

from importlib.util import find_spec

from catalyst_signals.advisor.tables import PARTS, Option, Part, Scale, options, sizes
from catalyst_signals.brokers import BROKERS
from catalyst_signals.caches import CACHES
from catalyst_signals.stores import STORES

SCHEMES = {"store": STORES, "broker": BROKERS, "cache": CACHES}
WORDS = {"metrics": "metrics kept in {option}", "auth": "log-in by {NAME}", "deploy": "several {name} at once"}
SERIES_HEADING = "Time-Series"
PROMETHEUS = "prometheus"


def missing_for(scale: Scale) -> tuple[str, ...]:
    """What that size would need and this program has not, in words; empty: it can be deployed."""
    found = (word for part in required(scale) for word in missing_of(options(part)[sizes()[scale].stack[part].pick]))
    return tuple(dict.fromkeys(found))


def required(scale: Scale) -> tuple[Part, ...]:
    """The parts without which it is not that size. Small's own stack and cost table have no time series."""
    optional = SERIES_HEADING not in sizes()[scale].lists
    return tuple(part for part in PARTS if not (part == "series" and optional))


def missing_of(option: Option) -> tuple[str, ...]:
    """What of an option's needs is not built, in words."""
    return tuple(_in_words(need, option) for need in option.needs if not is_met(need))


def is_met(need: str) -> bool:
    """Whether this program has it: `store:postgresql`, `broker:kafka`, `cache:redis`, or a module as `auth:jwt`."""
    kind, name = need.split(":")
    if kind in SCHEMES:
        return name in SCHEMES[kind]
    return find_spec(f"catalyst_signals.{kind}.{name}") is not None


def _in_words(need: str, option: Option) -> str:
    kind, name = need.split(":")
    if kind in SCHEMES:
        return f"the {kind} {option.name} ({name}://)"
    return WORDS[kind].format(option=option.name, name=name, NAME=name.upper())


def runs_today(scale: Scale, part: Part) -> Option:
    """What the size takes of a part or, where that is not built, the nearest smaller size's that is."""
    all_of_it = options(part)
    names = list(sizes())
    for name in reversed(names[: names.index(scale) + 1]):
        option = all_of_it[sizes()[name].stack[part].pick]
        if missing_of(option):
            continue
        return all_of_it[PROMETHEUS] if part == "series" and name != scale else option
    raise AssertionError(f"nothing of {part} is built")
