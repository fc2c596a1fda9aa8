"""A PostgreSQL log that is gone is restored as docs/operations.md says, command by command."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.running import RunningServer
from tests.services.postgres import Postgres
from tests.socket_client import wire

DRAFT = {"symbol": "ACME", "action": "BUY"}

pytestmark = pytest.mark.slow


def catalyst(*words: str) -> None:
    """The command, which has to succeed."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("CATALYST_")}
    done = subprocess.run(
        [sys.executable, "-m", "catalyst_signals", *words], env=clean, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{words}\n{done.stdout}{done.stderr}"


async def test_a_log_in_postgresql_is_restored_from_an_export(tmp_path: Path) -> None:
    """Keys are there, ids are known, no number is given out twice, and who saw more is told what is void."""
    lines, file = str(tmp_path / "catalyst.ndjson"), f"sqlite:///{tmp_path}/restored.db"
    with Postgres() as lost, Postgres() as found:
        with RunningServer(tmp_path, store_url=lost.url) as server:
            with server.http() as http:
                sent = [http.post("/v1/channels/main/signals", json=DRAFT | {"id": f"n{n}"}).json() for n in range(9)]
                catalyst("export", lines, "--store-url", lost.url)
                late = http.post("/v1/channels/main/signals", json=DRAFT | {"id": "late"}).json()
        catalyst("import", lines, "--store-url", file)
        catalyst("transfer", file, found.url, "--offline")
        catalyst("verify", "--store-url", found.url)
        server.store_url = found.url
        with server, server.http() as http:
            again = http.post("/v1/channels/main/signals", json=DRAFT | {"id": "n3"})
            assert (again.status_code, again.json()["seq"]) == (200, sent[3]["seq"])
            async with wire(server.url, server.admin_key) as socket:
                said = await socket.subscribe(channel="main", after=late["seq"], epoch=late["epoch"])
                assert said["error"] == "epoch_changed"
                said = await socket.subscribe(channel="main", after=sent[6]["seq"], epoch=sent[6]["epoch"])
                assert [event["id"] for event in await socket.events(2)] == ["n7", "n8"]
            assert http.post("/v1/channels/main/signals", json=DRAFT | {"id": "late"}).json()["seq"] > 1_000_000
