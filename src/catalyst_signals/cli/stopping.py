"""Running async work from a command until it ends or somebody stops it.

Owns: what Ctrl-C and SIGTERM do. Law: the work is cancelled, its `finally` runs, and no traceback is seen.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any


def run_until_stopped(work: Coroutine[Any, Any, None]) -> bool:
    """Whether `work` came to its end; False when Ctrl-C, SIGTERM or a closed terminal ended it before."""
    return asyncio.run(_until_stopped(work))


async def _until_stopped(work: Coroutine[Any, Any, None]) -> bool:
    loop = asyncio.get_running_loop()
    task = asyncio.ensure_future(work)
    asked = False

    def stop() -> None:
        nonlocal asked
        asked = True
        task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):
        with suppress(NotImplementedError):  # Not on every platform; Ctrl-C is a KeyboardInterrupt there.
            loop.add_signal_handler(number, stop)
    try:
        await task
    except asyncio.CancelledError:
        if not asked:
            raise
        return False
    return True
