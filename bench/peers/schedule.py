"""How long a run will take, and how far it is."""

from __future__ import annotations

import time
from dataclasses import dataclass

from bench.peers.loads import Load


@dataclass(frozen=True)
class Step:
    """One system under one load, once."""

    name: str
    load: Load
    round: int
    system: str

    @property
    def seconds(self) -> float:
        """About how long it takes."""
        return self.load.seconds(self.system)


def steps(loads: dict[str, Load], rounds: int, only: list[str]) -> list[Step]:
    """All of them; systems take turns within a round, so that a change of the machine hits all of them."""
    return [
        Step(name, load, round, system)
        for name, load in loads.items()
        for round in range(min(rounds, load.rounds_max))
        for system in load.systems
        if not only or system in only
    ]


def overview(all_of_it: list[Step]) -> str:
    """A table: each load, how many runs, how long."""
    lines = ["| load | runs | rounds | minutes | |", "|---|---:|---:|---:|---|"]
    for name in dict.fromkeys(step.name for step in all_of_it):
        mine = [step for step in all_of_it if step.name == name]
        minutes, rounds = sum(step.seconds for step in mine) / 60, len({step.round for step in mine})
        lines.append(f"| {name} | {len(mine)} | {rounds} | {minutes:.1f} | {mine[0].load.title} |")
    minutes = sum(step.seconds for step in all_of_it) / 60
    return "\n".join([*lines, f"| all | {len(all_of_it)} | | {minutes:.1f} | if the machine is otherwise idle |"])


class Progress:
    """How far it is, by the estimates and by how well they held so far."""

    def __init__(self, all_of_it: list[Step]) -> None:
        self._count, self._left_s = len(all_of_it), sum(step.seconds for step in all_of_it)
        self._done, self._done_s, self._began = 0, 0.0, time.monotonic()

    def after(self, step: Step, said: str) -> str:
        """One line on what was just done."""
        self._done, self._done_s, self._left_s = (
            self._done + 1,
            self._done_s + step.seconds,
            self._left_s - step.seconds,
        )
        elapsed_s = time.monotonic() - self._began
        left_s = self._left_s * elapsed_s / self._done_s
        ends = time.strftime("%H:%M:%S", time.localtime(time.time() + left_s))
        where = f"{self._done} of {self._count}, {clock(elapsed_s)} gone, {clock(left_s)} to go, ends about {ends}"
        return f"[{where}] {step.name} round {step.round + 1}: {step.system}: {said}"


def clock(seconds: float) -> str:
    """Minutes and seconds."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
