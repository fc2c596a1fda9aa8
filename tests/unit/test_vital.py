"""A vital task that fails is heard of at once; one that is cancelled is not."""

from __future__ import annotations

import asyncio
from typing import Any

from catalyst_signals.vital import vital


async def test_the_loop_hears_of_a_vital_failure_and_of_nothing_else() -> None:
    """A process that no longer polls must not look alive."""
    heard: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: heard.append(context))
    try:

        async def fails() -> None:
            raise KeyError("a broken law")

        failing, patient = vital(fails()), vital(asyncio.sleep(60))
        await asyncio.wait([failing])
        patient.cancel()
        await asyncio.wait([patient])
        await asyncio.sleep(0)
    finally:
        loop.set_exception_handler(None)
    assert [context["vital"] for context in heard] == [True]
    assert isinstance(heard[0]["exception"], KeyError)
