"""`catalyst backup`, `restore`, `erase`: copies of the whole log, and what must no longer be read in it.

Owns: what is asked before, and what is said afterwards. How a log is copied is its back-end's.
Law: a log is never written over, and nothing is restored that does not verify.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer

from catalyst_signals.cli import console
from catalyst_signals.cli.options import DEFAULT_URL, Channel, Json, Key, Mistake, Url, examples, server_of
from catalyst_signals.cli.rest import Rest
from catalyst_signals.cli.store import NO, StoreUrl
from catalyst_signals.erasing import ERASED, check_erasable, erase, quoting, seqs_of
from catalyst_signals.errors import Conflict, StoreCorrupt
from catalyst_signals.events import Batch, Extent
from catalyst_signals.projections import system_draft
from catalyst_signals.stores import COPIES, STORES, Store
from catalyst_signals.urls import open_backend, without_password
from catalyst_signals.verify import Progress, Report, verify
from catalyst_signals.wire import SYSTEM_CHANNEL

MB = 1_000_000


def add_to(app: typer.Typer) -> None:
    """Hang the commands in."""
    app.command(
        "backup",
        epilog=examples(
            "catalyst backup /backup/catalyst.db",
            "catalyst backup nightly.db --force --store-url sqlite:////var/lib/catalyst.db",
            note="The server may run: the copy is one moment of its log. `catalyst verify` reads copies too.",
        ),
    )(backup)
    app.command(
        "restore",
        epilog=examples(
            "catalyst restore /backup/catalyst.db --store-url sqlite:////var/lib/catalyst.db",
            note="Into a place without a log. Every channel goes on in a new epoch, so that nobody who saw more than "
            "the copy has resumes as if nothing had happened. Exit code 1: the copy is wrong, nothing was restored.",
        ),
    )(restore)
    app.command(
        "erase",
        epilog=examples(
            "catalyst erase --id signal-1",
            "catalyst erase --seq 10412 --channel main --yes",
            "catalyst erase --seq 10412 --store-url sqlite:///catalyst.db   while no server runs",
            note="What it said is gone for good; its number, id and hashes stay, so the log still verifies. Copies "
            "that were made before have it still, and so has whoever received it.",
        ),
    )(erase_event)


# -- backup ---------------------------------------------------------------------------------------------------------


def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The copy to make.", show_default=False)],
    store_url: StoreUrl = "sqlite:///catalyst.db",
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    json: Json = False,
) -> None:
    """Copy the whole log into one file, also beside a running server."""
    if file.exists() and not force:
        raise Conflict(f"{file} is there already; --force replaces it", field="FILE", got=str(file))
    copies = _copies_of(store_url)
    with console.Bar("copying", "MB", 0) as bar:
        copied = copies.back_up(file, _in_mb(bar))
    rate = copied.size_bytes / MB / copied.took_s
    ends = {name: {"head": e.newest, "epoch": e.epoch} for name, e in copied.extents.items()}
    if json:
        return console.say_json({
            "file": str(file), "bytes": copied.size_bytes, "took_s": round(copied.took_s, 3),
            "mb_per_s": round(rate, 1), "channels": ends,
        })  # fmt: skip
    for name, end in ends.items():
        console.say(f"{name}: through {end['head']}, epoch {end['epoch']}")
    return console.say(f"{file}: {copied.size_bytes / MB:,.1f} MB in {copied.took_s:.1f} s, {rate:,.0f} MB/s")


def _copies_of(store_url: str) -> Any:
    scheme = store_url.split(":", 1)[0]
    if scheme in STORES and scheme not in COPIES:
        raise Mistake(f"a `{scheme}:` store cannot be copied by this command; only {', '.join(COPIES)}: can")
    return open_backend(store_url, COPIES, setting="store_url")


def _in_mb(bar: console.Bar) -> Progress:
    def progress(done: int, total: int) -> None:
        bar.of(total)
        bar.at(done, done // MB)

    return progress


# -- restore --------------------------------------------------------------------------------------------------------


def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A copy that `backup` made.", show_default=False)],
    store_url: StoreUrl = "sqlite:///catalyst.db",
    json: Json = False,
) -> None:
    """Put a copy where no log is; every channel goes on in a new epoch."""
    copies = _copies_of(store_url)
    copies.check_free()
    try:
        _check_whole(asyncio.run(_verified(file)), file)
    except StoreCorrupt as fault:
        console.refuse(fault, as_json=json)
        raise typer.Exit(NO) from None
    with console.Bar("restoring", "MB", 0) as bar:
        extents: dict[str, Extent] = copies.restore(file, _in_mb(bar))
    restored = [_restored(extent) for _, extent in sorted(extents.items())]
    if json:
        return console.say_json({"restored": restored})
    for each in restored:
        low, high = each["void"]
        console.say(
            f"{each['channel']}: through {each['head']}, goes on in epoch {each['epoch']}; {low}-{high} is void"
        )
    return console.say(f"{without_password(store_url)} is ready: start the server; clients that saw more are told")


async def _verified(file: Path) -> Report:
    url = f"sqlite:///{quote(str(file))}?readonly=1"
    with console.Bar("verifying", "events", 0) as bar:

        def progress(done: int, total: int) -> None:
            bar.of(total)
            bar.at(done, done)

        async with open_backend(url, STORES, setting="FILE") as copy:
            return await verify(copy, progress)


def _check_whole(report: Report, file: Path) -> None:
    for fault in report.faults.values():
        raise StoreCorrupt(f"{file} is not as it was written: {fault}", channel=fault.channel, seq=fault.seq)


def _restored(extent: Extent) -> dict[str, Any]:
    """What a person wants to know of a channel: where it ended, and which numbers will never be."""
    last, first = extent.epochs[-1].last_before, extent.epochs[-1].first
    return {
        "channel": extent.channel, "head": extent.newest, "epoch": extent.epoch, "first": first,
        "void": [last + 1, first - 1],
    }  # fmt: skip


# -- erase ----------------------------------------------------------------------------------------------------------


def erase_event(
    seq: Annotated[int | None, typer.Option("--seq", metavar="N", help="The event.", min=1)] = None,
    id: Annotated[str | None, typer.Option("--id", metavar="ID", help="The signal, with all its versions.")] = None,
    channel: Channel = "main",
    store_url: Annotated[
        str | None, typer.Option("--store-url", metavar="URL", help="The log itself, while no server runs.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    json: Json = False,
    url: Url = DEFAULT_URL,
    key: Key = None,
) -> None:
    """Make what a signal said unreadable; the log stays whole."""
    if (seq is None) == (id is None):
        raise Mistake("say what: --seq 10412, or --id signal-1 for every version of it")
    if not yes:
        _ask(f"event {seq}" if seq is not None else f"every version of {id}", channel)
    if store_url is not None:
        check_erasable(channel)
        done = asyncio.run(_erase_in(store_url, channel, seq, id))
    else:
        done = _erase_at(Rest(server_of(url, key)), channel, seq, id)
    if json:
        return console.say_json(done)
    return console.say(f"{channel}: {', '.join(map(str, done['erased']))} erased")


def _ask(what: str, channel: str) -> None:
    """A person is asked; a program has said it."""
    if not sys.stdin.isatty():
        return
    try:
        sure = typer.confirm(f"what {what} in {channel} says will be gone for good: go on?", err=True)
    except typer.Abort:
        raise KeyboardInterrupt from None
    if not sure:
        raise typer.Exit(NO)


def _erase_at(asked: Rest, channel: str, seq: int | None, id: str | None) -> dict[str, Any]:
    what = ("events", str(seq)) if id is None else ("signals", id)
    with asked as rest:
        done: dict[str, Any] = rest.delete("v1", "channels", channel, *what)
    return done


async def _erase_in(store_url: str, channel: str, seq: int | None, id: str | None) -> dict[str, Any]:
    """As a server does it: erased first, said in `system` then."""
    store: Store
    async with open_backend(store_url, STORES, setting="store_url") as store:
        seqs = await quoting(store, channel, seq) if seq is not None else await seqs_of(store, channel, str(id))
        left = await erase(store, channel, seqs)
        draft = system_draft(ERASED, {"channel": channel, "seqs": seqs})
        await store.append([Batch(channel=SYSTEM_CHANNEL, subject="cli", drafts=[draft])])
    if left is not None:
        raise left
    return {"erased": seqs}
