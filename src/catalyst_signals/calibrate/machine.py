"""What this machine is, and whether it has other things to do.

Owns: where the system says it. Knows nothing of what is measured.
"""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from pathlib import Path

from catalyst_signals.advisor.tables import Machine

BUSY_PART = 0.25  # Of the cores.


def machine() -> Machine:
    """This one, today."""
    return Machine(
        cpu=_cpu(), cores=cores(),
        memory_gib=round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1),
        system=f"{platform.system()} {platform.release()}",
        python=f"{platform.python_implementation()} {platform.python_version()}",
        date=f"{datetime.now(UTC):%Y-%m-%d}",
    )  # fmt: skip


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0))


def busy(load: float) -> bool:
    """Whether a load average of the last minute says that others work here too."""
    return load > BUSY_PART * cores()


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("model name", "Model"):
            return value.strip()
    return platform.machine()
