"""A log in a database that is gone is restored as docs/operations.md says, command by command.

Covers catalyst_signals.transfer.copying, and `backup`, `restore`, `export`, `import`, `verify` and `erase` of
catalyst_signals.cli on stores that are no files.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from catalyst_signals.events import EPOCH_GAP, Event, Kept, Known
from catalyst_signals.stores import STORES, Store
from catalyst_signals.urls import open_backend
from catalyst_signals.wire import SYSTEM_CHANNEL
from tests.conformance.test_stores import all_of, drafts, put
from tests.running import RunningServer
from tests.services import mariadb, postgres
from tests.socket_client import wire

DRAFT = {"symbol": "ACME", "action": "BUY"}
MANY = 100_000

pytestmark = pytest.mark.slow


def command(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """The command, and how it ended."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("CATALYST_")}
    return subprocess.run(
        [sys.executable, "-m", "catalyst_signals", *map(str, words)], env=clean, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip


def catalyst(*words: str | Path) -> Any:
    """What the command answers; it has to succeed."""
    done = command(*words, "--json")
    assert done.returncode == 0, f"{words}\n{done.stdout}{done.stderr}"
    return json.loads(done.stdout) if done.stdout else None


def in_postgres(name: str) -> str:
    """The URL of an empty database."""
    site = postgres.shared()
    site.emptied(name)
    return f"{site.server.base}/{name}"


def in_mariadb(name: str) -> str:
    """The URL of an empty database."""
    return mariadb.shared().emptied(name)


async def content(url: str) -> tuple[list[Event], dict[str, Known], dict[str, Kept], list[int]]:
    """What a log is: its events, what it knows of ids, who stands where, and where its epochs ended."""
    store: Store
    async with open_backend(url, STORES, setting="store_url") as store:
        ends = [epoch.last_before for epoch in (await store.extents())["main"].epochs]
        return await all_of(store), dict(await store.ids("main", limit=MANY)), await store.places("main"), ends


@pytest.mark.parametrize("emptied", [in_postgres, in_mariadb])
async def test_a_safety_copy_of_a_database_is_restored_anywhere(emptied: Callable[[str], str], tmp_path: Path) -> None:
    """Made while signals come in; it has what was there, and what it lacks is told to who has had it."""
    lost, found, file = emptied("lost"), emptied("found"), f"sqlite:///{tmp_path}/found.db"
    copy = tmp_path / "copy.db"
    store: Store
    with RunningServer(tmp_path, store_url=lost) as server, server.http() as http:
        sent = [http.post("/v1/channels/main/signals", json=DRAFT | {"id": f"n{n}"}).json() for n in range(9)]
        async with open_backend(lost, STORES, setting="store_url") as store:
            assert await store.keep("a worker", "main", 5, b"has seen five", was=0)
            await store.drop("main", 2)
        catalyst("erase", "--id", "n5", "--url", server.url, "--key", server.admin_key)
        enough = threading.Event()

        def publish() -> None:
            n = 100
            while not enough.is_set():
                http.post("/v1/channels/main/signals", json=[DRAFT | {"id": f"n{n + i}"} for i in range(50)])
                n += 50

        publishing = threading.Thread(target=publish)
        publishing.start()
        made = catalyst("backup", copy, "--store-url", lost)
        enough.set()
        publishing.join()
        late = http.post("/v1/channels/main/signals", json=DRAFT | {"id": "late"}).json()
    head = made["channels"]["main"]["head"]
    assert 9 < head < late["seq"] and made["bytes"] == copy.stat().st_size
    assert not (copy.with_suffix(".db-wal").exists() or copy.with_suffix(".db.lock").exists()), "it is one file"
    events, ids, places, ends = await content(lost)
    for url in (found, file):
        restored = {each["channel"]: each for each in catalyst("restore", copy, "--store-url", url)["restored"]}
        assert restored["main"]["void"] == [head + 1, head + EPOCH_GAP - 1]
        assert {"main", "system"} <= set(restored)
        assert await content(url) == (
            [event for event in events if event.seq <= head], {i: k for i, k in ids.items() if k.seq <= head},
            places, [*ends, head],
        )  # fmt: skip
    assert command("restore", copy, "--store-url", found).returncode == 4, "over a log"
    assert catalyst("verify", "--store-url", found)["ok"]
    server.store_url = found
    with server, server.http() as http:
        again = http.post("/v1/channels/main/signals", json=DRAFT | {"id": "n1"})
        assert (again.status_code, again.json()["seq"]) == (200, sent[1]["seq"]), "dropped, and its id is known"
        async with wire(server.url, server.admin_key) as socket:
            said = await socket.subscribe(channel="main", after=late["seq"], epoch=late["epoch"])
            assert (said["error"], said["void"]) == ("epoch_changed", restored["main"]["void"])
            said = await socket.subscribe(channel="main", after=head - 1, epoch=late["epoch"])
            assert [event["seq"] for event in await socket.events(1)] == [head]
        assert http.post("/v1/channels/main/signals", json=DRAFT | {"id": "late"}).json()["seq"] == head + EPOCH_GAP


@pytest.mark.parametrize("emptied", [in_postgres, in_mariadb])
async def test_a_log_in_a_database_is_exported_and_imported(emptied: Callable[[str], str], tmp_path: Path) -> None:
    """The lines that a person can read are a whole log too, and what was erased is in none of them."""
    lost, found, lines = emptied("lost"), emptied("found"), tmp_path / "catalyst.ndjson"
    store: Store
    async with open_backend(lost, STORES, setting="store_url") as store:
        for channel in ("main", SYSTEM_CHANNEL):
            await put(store, channel=channel)
        await put(store, *drafts(0, 5))
    catalyst("erase", "--id", "n3", "--store-url", lost, "--yes")
    catalyst("export", lines, "--store-url", lost)
    catalyst("import", lines, "--store-url", found, "--continue")
    assert await content(found) == await content(lost)
    assert [event.seq for event in (await content(found))[0] if not event.body] == [4]
