"""Tasks that may not end by themselves: when one does, the loop's exception handler hears of it at once.

Owns: nothing but that. The server's handler (server/app.py) then ends the process loudly: a process that no longer
polls, or no longer commits, must not look alive.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from catalyst_signals.about import of_nobody


def vital(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """A task whose failure is told under `vital: True`; cancelling it is no failure. It is about nobody: about.py."""
    task = asyncio.get_running_loop().create_task(work, context=of_nobody())
    task.add_done_callback(_tell)
    return task


def _tell(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        context = {"message": f"{task.get_coro()} failed", "exception": error, "task": task, "vital": True}
        task.get_loop().call_exception_handler(context)
