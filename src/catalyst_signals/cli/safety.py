"""`catalyst backup`, `restore`, `erase`: copies of the whole log, and what must no longer be read in it.

Owns: what is asked before, and what is said afterwards. How a log in a file is copied is its back-end's; one in a
database goes event by event, by transfer/copying.py. A safety copy is a SQLite file, whatever it is a copy of.
Law: a log is never written over, and nothing is restored that does not verify.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any, TypeVar
from urllib.parse import quote

import typer

from catalyst_signals.cli import console
from catalyst_signals.cli.options import DEFAULT_URL, Channel, Json, Key, Mistake, Url, examples, server_of
from catalyst_signals.cli.rest import Rest
from catalyst_signals.cli.stopping import run_until_stopped
from catalyst_signals.cli.store import INTERRUPTED, NO, StoreUrl, check_kept, read_only
from catalyst_signals.erasing import ERASED, check_erasable, erase, quoting, seqs_of
from catalyst_signals.errors import Conflict, RangeUntrusted, StoreCorrupt
from catalyst_signals.events import Batch, Extent
from catalyst_signals.projections import system_draft
from catalyst_signals.stores import ARRIVALS, COPIES, SAFETY_COPIES, STORES, Store
from catalyst_signals.transfer.copying import begin_epochs, check_empty, copy_log
from catalyst_signals.urls import open_backend, without_password
from catalyst_signals.verify import Progress, verify
from catalyst_signals.wire import SYSTEM_CHANNEL

MB = 1_000_000
T = TypeVar("T")
Extents = dict[str, Extent]


def add_to(app: typer.Typer) -> None:
    """Hang the commands in."""
    app.command(
        "backup",
        epilog=examples(
            "catalyst backup /backup/catalyst.db",
            "catalyst backup nightly.db --force --store-url postgresql://catalyst@db/catalyst",
            note="The server may run: the copy is one moment of its log. `catalyst verify` reads copies too.",
        ),
    )(backup)
    app.command(
        "restore",
        epilog=examples(
            "catalyst restore /backup/catalyst.db --store-url sqlite:////var/lib/catalyst.db",
            "catalyst restore /backup/catalyst.db --store-url postgresql://catalyst@db/empty",
            note="Into a place without a log, of any kind. Every channel goes on in a new epoch, so that nobody who "
            "saw more than the copy has resumes as if nothing had happened. Exit code 1: the copy is wrong, nothing "
            "was restored.",
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
    check_kept(store_url)
    if file.exists() and not force:
        raise Conflict(f"{file} is there already; --force replaces it", field="FILE", got=str(file))
    began_s = time.monotonic()
    try:
        extents = _copy_file(store_url, file) if _is_file(store_url) else _done(_copy_events(store_url, file))
    except (RangeUntrusted, StoreCorrupt) as fault:
        console.refuse(fault, as_json=json)
        raise typer.Exit(NO) from None
    took_s, size_bytes = time.monotonic() - began_s, file.stat().st_size
    rate = size_bytes / MB / took_s
    ends = {name: {"head": e.newest, "epoch": e.epoch} for name, e in sorted(extents.items())}
    if json:
        return console.say_json({
            "file": str(file), "bytes": size_bytes, "took_s": round(took_s, 3), "mb_per_s": round(rate, 1),
            "channels": ends,
        })  # fmt: skip
    for name, end in ends.items():
        console.say(f"{name}: through {end['head']}, epoch {end['epoch']}")
    return console.say(f"{file}: {size_bytes / MB:,.1f} MB in {took_s:.1f} s, {rate:,.0f} MB/s")


def _is_file(store_url: str) -> bool:
    return store_url.split(":", 1)[0] in COPIES


def _copy_file(store_url: str, file: Path) -> Extents:
    with console.Bar("copying", "MB", 0) as bar:
        copied: Extents = open_backend(store_url, COPIES, setting="store_url").back_up(file, _in_mb(bar)).extents
    return copied


async def _copy_events(store_url: str, file: Path) -> Extents:
    with console.Bar("copying", "events", 0) as bar:
        async with (
            open_backend(store_url, STORES, setting="store_url") as store,
            open_backend(_url_of(file), SAFETY_COPIES, setting="FILE") as copy,
        ):
            return await copy_log(store, copy, _in_events(bar))


def _done(work: Coroutine[Any, Any, T]) -> T:
    """What `work` came to, unless somebody stopped it."""
    found: list[T] = []

    async def note() -> None:
        found.append(await work)

    if not run_until_stopped(note()):
        raise typer.Exit(INTERRUPTED)
    return found[0]


def _in_mb(bar: console.Bar) -> Progress:
    def progress(done: int, total: int) -> None:
        bar.of(total)
        bar.at(done, done // MB)

    return progress


def _in_events(bar: console.Bar) -> Progress:
    def progress(done: int, total: int) -> None:
        bar.of(total)
        bar.at(done, done)

    return progress


def _url_of(file: Path) -> str:
    return f"sqlite:///{quote(str(file))}"


# -- restore --------------------------------------------------------------------------------------------------------


def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A copy that `backup` made.", show_default=False)],
    store_url: StoreUrl = "sqlite:///catalyst.db",
    json: Json = False,
) -> None:
    """Put a copy where no log is; every channel goes on in a new epoch."""
    check_kept(store_url)
    try:
        extents = _restore_file(file, store_url) if _is_file(store_url) else _done(_restore_events(file, store_url))
    except StoreCorrupt as fault:
        console.refuse(fault, as_json=json)
        raise typer.Exit(NO) from None
    restored = [_restored(extent) for _, extent in sorted(extents.items())]
    if json:
        return console.say_json({"restored": restored})
    for each in restored:
        low, high = each["void"]
        console.say(
            f"{each['channel']}: through {each['head']}, goes on in epoch {each['epoch']}; {low}-{high} is void"
        )
    return console.say(f"{without_password(store_url)} is ready: start the server; clients that saw more are told")


def _restore_file(file: Path, store_url: str) -> Extents:
    copies = open_backend(store_url, COPIES, setting="store_url")
    copies.check_free()
    _done(_check_whole(file))
    with console.Bar("restoring", "MB", 0) as bar:
        restored: Extents = copies.restore(file, _in_mb(bar))
    return restored


async def _restore_events(file: Path, store_url: str) -> Extents:
    async with open_backend(store_url, ARRIVALS, setting="store_url") as store:
        await check_empty(store)
        await _check_whole(file)
        try:
            with console.Bar("restoring", "events", 0) as bar:
                async with open_backend(read_only(_url_of(file)), STORES, setting="FILE") as copy:
                    await copy_log(copy, store, _in_events(bar))
            return await begin_epochs(store, "restored")
        except BaseException:  # Also Ctrl-C.
            console.tell(f"{without_password(store_url)} has a part of the log now: empty it before anything uses it")
            raise


async def _check_whole(file: Path) -> None:
    """Pass, or raise StoreCorrupt."""
    with console.Bar("verifying", "events", 0) as bar:
        async with open_backend(read_only(_url_of(file)), STORES, setting="FILE") as copy:
            report = await verify(copy, _in_events(bar))
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
