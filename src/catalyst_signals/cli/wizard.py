"""The questions of `catalyst advise` on a terminal: the matrix's three flowcharts and its cache tree, in turn.

Owns: what is asked in which words, defaults, what a wrong answer is told. Where a chart leads is the advisor's.
Law: Ctrl-C and Ctrl-D leave at once and in silence; a wrong answer is told what is allowed and asked again.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import typer

from catalyst_signals.advisor.shapes import Load
from catalyst_signals.cli import console
from catalyst_signals.cli.options import Mistake

T = TypeVar("T")

HOURS = {"none": 2.0, "basic": 4.0, "advanced": 8.0}  # The matrix's helper draws its lines at 4 and 8.


@dataclass(frozen=True, slots=True)
class Answers:
    """What somebody said; `several` servers matter only where the cache has to be persistent."""

    load: Load
    experience: str
    persistent: bool
    several: bool


def ask() -> Answers:
    """What a person answers, question by question.

    Raises:
        KeyboardInterrupt: they left.
    """
    console.tell("A few questions; Enter takes what stands in brackets, Ctrl-C leaves.")
    try:
        return _asked()
    except typer.Abort:
        console.tell("")
        raise KeyboardInterrupt from None


def _asked() -> Answers:
    users = _ask("How many people get signals?", "3", _count, "Up to 5: MVP.  20: Small.  100: Medium.  Above: Large.")
    signals = _ask(
        "How many signals a day?", "50", _count, "Up to 50: MVP.  200: Small.  1,000: Medium.  Above: Large."
    )
    replay = _ask(
        "Must who was away get what came meanwhile?", "yes", _yes,
        "The matrix takes a broker for that (Redis Streams). Here it forces none:",
        "every signal is kept in the store, at every size.",
    )  # fmt: skip
    budget = _ask(
        "How many dollars a month at most?", "10", _dollars,
        "0-10: your machine or Railway.  10-50: a droplet or Heroku.",
        "50-500: AWS ECS or DO Managed.  Above: all of AWS.  any: no limit.",
    )  # fmt: skip
    experience, hours = _ask(
        "How much experience with servers: none, basic, advanced?", "basic", _experience,
        f"Taken as {', '.join(f'{hours:g} h a week for {word}' for word, hours in HOURS.items())};",
        "or say the hours.",
    )  # fmt: skip
    persistent = _ask(
        "Must what is cached survive a restart?", "no", _yes, "What Catalyst caches (limits, rehearsals) need not."
    )
    several = persistent and _ask(
        "Is it for several servers?", "no", _yes, "One has Redis; several have Sentinel, or a Cluster."
    )
    console.tell("")
    load = Load(users=users, signals=signals, budget=budget, devops_hours=hours, replay=replay)
    return Answers(load, experience, persistent, several)


def _ask(question: str, default: str, read: Callable[[str], T], *hints: str) -> T:
    console.tell("", *hints)
    answer: T = typer.prompt(question, default, value_proc=read, prompt_suffix=" ", err=True)
    return answer


def _count(said: str) -> int:
    text = said.strip().replace(",", "").replace("_", "")
    if not (text.isascii() and text.isdigit() and len(text) <= 12):
        raise Mistake(f"a whole number from 0; got {said!r}")
    return int(text)


def _dollars(said: str) -> float | None:
    text = said.strip().removeprefix("$").replace(",", "").lower()
    if text in ("any", "none"):
        return None
    return _number(text, f"dollars from 0, or any; got {said!r}")


def _experience(said: str) -> tuple[str, float]:
    text = said.strip().lower().removesuffix("h").strip()
    if text in HOURS:
        return text, HOURS[text]
    hours = _number(text, f"none, basic, advanced, or hours a week from 0; got {said!r}")
    return "none" if hours < HOURS["basic"] else "basic" if hours < HOURS["advanced"] else "advanced", hours


def _number(text: str, allowed: str) -> float:
    try:
        number = float(text)
    except ValueError:
        raise Mistake(allowed) from None
    if not (math.isfinite(number) and number >= 0):
        raise Mistake(allowed)
    return number


def _yes(said: str) -> bool:
    text = said.strip().lower()
    if text not in ("y", "yes", "n", "no"):
        raise Mistake(f"yes or no; got {said!r}")
    return text.startswith("y")
