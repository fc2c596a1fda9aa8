"""The clean code in the simulated world: every seed keeps the promise, and all together reach every branch that counts.

`SIMULATE_SEEDS` says how many (2,000), `SIMULATE_FROM` where to begin (0); `SIMULATE_SEED` runs one and prints all that
happened in it. `make simulate SEEDS=N` is this file with more of them.
"""

from __future__ import annotations

import gc
import os
import time

import pytest

from .sightings import EXPECTED
from .world import SIGHTINGS, live_through

SEEDS = int(os.environ.get("SIMULATE_SEEDS") or "2000")
FROM = int(os.environ.get("SIMULATE_FROM") or "0")
ONE = os.environ.get("SIMULATE_SEED") or None
ENOUGH = 1000  # With so many seeds or more, everything that is expected has to be seen.
LINES_SHOWN = 80


@pytest.mark.skipif(ONE is not None, reason="SIMULATE_SEED asks for one seed")
@pytest.mark.timeout(60 + SEEDS)
def test_every_seed_keeps_the_promise() -> None:
    """No complaint of the judge about any seed; the branches in sightings.py were all reached."""
    SIGHTINGS.clear()
    gc.collect()
    gc.freeze()  # What is loaded by now is not looked at again and again.
    began = time.perf_counter()
    try:
        for seed in range(FROM, FROM + SEEDS):
            complaints, _ = live_through(seed)
            if complaints:
                pytest.fail(_report(seed, complaints))
    finally:
        gc.unfreeze()
    print(f"{SEEDS} seeds in {time.perf_counter() - began:.1f} s")  # noqa: T201
    if SEEDS >= ENOUGH:
        assert [what for what in EXPECTED if not SIGHTINGS[what]] == []


@pytest.mark.skipif(ONE is None, reason="SIMULATE_SEED=N runs one seed")
def test_one_seed() -> None:
    """As above for one seed, with everything that happened in it on standard output."""
    complaints, trace = live_through(int(ONE or 0), trace=True)
    print("\n".join(trace))  # noqa: T201
    if complaints:
        pytest.fail("\n".join(complaints))


@pytest.mark.parametrize("seed", [7, 301])
def test_a_seed_is_one_world(seed: int) -> None:
    """The same seed is the same world again, to the last line."""
    first, second = live_through(seed, trace=True), live_through(seed, trace=True)
    assert first == second


def _report(seed: int, complaints: list[str]) -> str:
    """What a person needs: the seed, the complaints, the end of what happened, how to see the rest."""
    again, trace = live_through(seed, trace=True)
    lines = [f"seed {seed}", *complaints, "", "the last of what happened:", *trace[-LINES_SHOWN:]]
    if again != complaints:
        lines.append("and it does not reproduce: something in this world is not drawn from the seed")
    lines.append(f"all of it: SIMULATE_SEED={seed} python -m pytest tests/simulate/test_simulate.py -s")
    return "\n".join(lines)
