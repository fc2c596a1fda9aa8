"""`catalyst verify` and `migrate`: whether a log is as it was written, and its tables those of this release.

Owns: the exit code 1 for a log that is not. What is wrong with one is decided by catalyst_signals.verify, when tables
may be changed by the store's back-end. Law: `verify` opens a file to read only, so a running server is not disturbed.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import asdict
from typing import Annotated

import typer

from catalyst_signals.cli import console
from catalyst_signals.cli.options import Json, Mistake, examples
from catalyst_signals.cli.stopping import run_until_stopped
from catalyst_signals.errors import StoreCorrupt
from catalyst_signals.stores import MIGRATIONS, STORES, Migrated
from catalyst_signals.urls import open_backend
from catalyst_signals.verify import Report, verify

NO, INTERRUPTED = 1, 130

StoreUrl = Annotated[
    str,
    typer.Option(
        "--store-url", envvar="CATALYST_STORE_URL", metavar="URL",
        help="The log: sqlite:///FILE, with four slashes for an absolute path.",
    ),
]  # fmt: skip


def add_to(app: typer.Typer) -> None:
    """Hang the command in."""
    app.command(
        "verify",
        epilog=examples(
            "catalyst verify",
            "catalyst verify --store-url sqlite:////var/lib/catalyst.db",
            note="The server may run or not. Exit code 1: the log is wrong; the first event that is wrong is named.",
        ),
    )(verify_store)
    app.command(
        "migrate",
        epilog=examples(
            "catalyst migrate --store-url postgresql://catalyst@db/catalyst",
            "catalyst migrate --post                 when every node is of this release",
            note="A server does the first by itself when it starts. Exit code 4: an older release is on the database.",
        ),
    )(migrate)


def verify_store(store_url: StoreUrl = "sqlite:///catalyst.db", json: Json = False) -> None:
    """Read the whole log: every seq there once, every hash right, every id known."""
    check_kept(store_url)
    started_s = time.monotonic()
    found: list[Report] = []
    try:
        if not run_until_stopped(_verify(store_url, found)):
            raise typer.Exit(INTERRUPTED)
    except StoreCorrupt as fault:
        console.refuse(fault, as_json=json)
        raise typer.Exit(NO) from None
    (report,) = found
    _say(report, time.monotonic() - started_s, json)
    if report.faults:
        raise typer.Exit(NO)


def migrate(
    store_url: StoreUrl = "sqlite:///catalyst.db",
    post: Annotated[bool, typer.Option("--post", help="Also take away what only older releases need.")] = False,
    json: Json = False,
) -> None:
    """Bring the tables of a database to this release."""
    scheme = store_url.split(":", 1)[0]
    if scheme in STORES and scheme not in MIGRATIONS:
        raise Mistake(f"a {scheme}: store is brought to this release by whoever opens it; nothing is left to do")
    done = asyncio.run(_migrate(store_url, post))
    if json:
        return console.say_json(asdict(done))
    for name in done.applied:
        console.say(f"{name}: done")
    for name in done.waiting:
        console.say(f"{name}: waits for --post, when no older release is on the database any more")
    return console.say(f"the tables are those of schema {done.version}")


async def _migrate(store_url: str, post: bool) -> Migrated:
    async with open_backend(store_url, MIGRATIONS, setting="store_url") as migrations:
        done: Migrated = await migrations.apply(post=post)
    return done


def check_kept(store_url: str) -> None:
    """Pass, or raise Mistake for a store that nothing is left of."""
    if store_url.startswith("memory:"):
        raise Mistake("a memory: store ends with its process; there is nothing to read or to keep")


async def _verify(store_url: str, found: list[Report]) -> None:
    with console.Bar("verifying", "events", 0) as bar:

        def progress(done: int, total: int) -> None:
            bar.of(total)
            bar.at(done, done)

        async with open_backend(read_only(store_url), STORES, setting="store_url") as store:
            found.append(await verify(store, progress))


def read_only(url: str) -> str:
    """The URL of a store that a running server may write to meanwhile."""
    if not url.startswith("sqlite:") or "readonly=" in url:
        return url
    return f"{url}{'&' if '?' in url else '?'}readonly=1"


def _say(report: Report, took_s: float, json: bool) -> None:
    rows = sum(report.rows.values())
    rate = rows / took_s if took_s else 0.0
    if json:
        faults = [asdict(fault) for fault in report.faults.values()]
        return console.say_json({"ok": not faults, "rows": report.rows, "faults": faults, "rows_per_s": round(rate)})
    for channel, count in report.rows.items():
        fault = report.faults.get(channel)
        whole = "1 event, as it was written" if count == 1 else f"{count:,} events, as they were written"
        console.say(f"{channel}: {whole}" if fault is None else f"WRONG: {console.clean(fault)}")
    return console.say(f"{rows:,} events in {took_s:.1f} s, {rate:,.0f}/s")
