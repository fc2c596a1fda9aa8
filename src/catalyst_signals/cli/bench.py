"""`catalyst bench --calibrate`: what this machine does, on the screen and in `capacity.toml` for the advice.

Owns: the flags, the table, the sentence below it. What is measured, and how, is catalyst_signals.calibrate's.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from catalyst_signals.advisor.capacity import FILE, FILTERS
from catalyst_signals.advisor.tables import Capacity, options, sizes
from catalyst_signals.calibrate import SECONDS_MAX, SECONDS_MIN, Calibration, calibrate
from catalyst_signals.calibrate.machine import busy
from catalyst_signals.calibrate.rounds import Rate
from catalyst_signals.calibrate.writing import check_new, write
from catalyst_signals.cli import console
from catalyst_signals.cli.options import Json, examples
from catalyst_signals.cli.stopping import run_until_stopped
from catalyst_signals.cli.store import StoreUrl

INTERRUPTED = 130
PARTS = 1000  # Of a bar.
ROWS = {
    "publish": "signals published, through the server",
    "fanout": "deliveries, one server process",
    "store": "signals stored, the store alone",
    "match": f"signals judged, each by {FILTERS:,} filters",
    "broker": "hints through the broker, bundled",
}


def add_to(app: typer.Typer) -> None:
    """Hang the command in."""
    app.command(
        "bench",
        epilog=examples(
            "catalyst bench --calibrate",
            "catalyst bench --calibrate --seconds 60 --out capacity.toml --force",
            "catalyst bench --calibrate --store-url postgresql://catalyst@db/catalyst",
            "catalyst bench --calibrate --broker-url redis+pubsub://cache/0",
            note="A throw-away log beside yours is measured, in PostgreSQL a database of its own; a broker under a "
            "name of its own. `catalyst advise` reads ./capacity.toml.",
        ),
    )(bench)


def bench(
    calibrate_: Annotated[
        bool, typer.Option("--calibrate", help="Measure this machine and write what it does.")
    ] = False,
    seconds: Annotated[
        float, typer.Option(min=SECONDS_MIN, max=SECONDS_MAX, metavar="N", help="How long to measure, in all.")
    ] = 20,
    store_url: StoreUrl = "sqlite:///catalyst.db",
    broker_url: Annotated[
        str | None, typer.Option("--broker-url", metavar="URL", help="Also measure this broker.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The file to write.")] = Path(FILE),
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    json: Json = False,
) -> None:
    """Measure what this machine does: publishing, fan-out, filters, store, broker."""
    if not calibrate_:
        return _say_what_it_can()
    check_new(out, force=force)
    found: list[Calibration] = []
    if not run_until_stopped(_calibrate(store_url, broker_url, seconds, found)):
        raise typer.Exit(INTERRUPTED)
    (calibration,) = found
    if json:
        write(calibration, out)
        return console.say_json(_as_json(calibration, out))
    _say(calibration)  # First: what was measured is not lost where nothing can be written.
    write(calibration, out)
    flag = "" if out == Path(FILE) else f" --capacity {shlex.quote(str(out))}"
    return console.say(f"{out}: written; `catalyst advise{flag}` reads it here")


def _say_what_it_can() -> None:
    console.say("catalyst bench --calibrate   measures this machine in 20 s, and writes capacity.toml:")
    console.say("")
    for what in ROWS.values():
        console.say(f"  {what}{', with --broker-url' if 'broker' in what else ''}")
    console.say("  memory of an idle subscriber, disk of a signal")
    console.say("")
    console.say("`catalyst advise` in the same folder rests on it. No log and no server of yours is touched.")


async def _calibrate(store_url: str, broker_url: str | None, seconds: float, found: list[Calibration]) -> None:
    with _Bars() as bars:
        found.append(await calibrate(store_url, broker_url, seconds, bars))


class _Bars:
    """A bar for what is being measured, and another for what comes next."""

    def __init__(self) -> None:
        self._bar: console.Bar | None = None
        self._what = ""

    def __call__(self, what: str, unit: str, part: float, counted: float) -> None:
        if what != self._what or self._bar is None:
            self._close()
            self._what, self._bar = what, console.Bar(f"{what:19}", unit, PARTS if unit else None)
        self._bar.at(round(min(part, 1.0) * PARTS), round(counted))

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()

    def __enter__(self) -> _Bars:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()


# --- What is said ---------------------------------------------------------------------------------------------------


def _as_json(found: Calibration, out: Path) -> dict[str, object]:
    rounds = {name: {"median": rate.per_s, "low": rate.low, "high": rate.high} for name, rate in found.rates.items()}
    return {
        **msgspec.to_builtins(found.capacity), "rounds": rounds,
        "load_average": found.load, "busy": busy(found.load), "file": str(out),
    }  # fmt: skip


def _say(found: Calibration) -> None:
    capacity, machine = found.capacity, found.capacity.machine
    console.say(
        f"{machine.cpu}, {machine.cores} core{'s' * (machine.cores != 1)}, {machine.memory_gib:g} GiB, "
        f"{machine.system}, {machine.python}"
    )
    console.say()
    console.say_table(("a second", "this machine", "lowest to highest", "the matrix says"), _rows(found), none="")
    console.say()
    console.say(
        f"An idle subscriber takes {capacity.connection_bytes / 1024:.1f} KiB of memory, "
        f"a signal {capacity.signal_bytes:,} bytes of disk."
    )
    console.say(meaning_of(capacity))
    if busy(found.load):
        console.tell(
            f"The machine was busy before it began (load average {found.load:.1f} on {machine.cores} cores): "
            "these are not the numbers of the machine alone; measure again when it is quiet"
        )


def _rows(found: Calibration) -> Iterator[tuple[str, ...]]:
    for name, says in ROWS.items():
        rate = found.rates.get(name)
        if name == "match" and rate is not None:
            rate = Rate(*(each / FILTERS for each in (rate.per_s, rate.low, rate.high)))
        matrix = options("queue")["redis-pubsub"].throughput if name == "broker" else None
        yield (
            says, short_of(rate.per_s) if rate is not None else "give --broker-url",
            f"{short_of(rate.low)} to {short_of(rate.high)}" if rate is not None else "",
            f"{matrix.says} (Redis Pub/Sub)" if matrix is not None else "",
        )  # fmt: skip


def short_of(number: float) -> str:
    """To three places: nobody measures more of a machine."""
    return f"{float(f'{number:.3g}'):,.0f}"


def meaning_of(capacity: Capacity) -> str:
    """One sentence: what of the matrix's largest size this is."""
    a_day, users = sizes()["large"].signals_from, sizes()["large"].users[0]
    store_s, fan_s = a_day / capacity.publish.per_s, a_day * users / capacity.fanout.per_s
    return (
        f"The matrix's Large begins at {a_day:,} signals a day and {users} users: one process here takes such a day's "
        f"signals in {store_s:.2g} s, and sends each of them to every user with {fan_s:.2g} s of processor time."
    )
