"""What several nodes share: a real PostgreSQL, with an fsync of 2 ms if wanted, a real Redis, and nodes on them.

The systems are those of bench/peers, so that the same publisher and the same load client measure all of them.
"""

from __future__ import annotations

import subprocess
from contextlib import ExitStack
from pathlib import Path

from tests.services.postgres import Postgres
from tests.services.redis import Redis

from bench.harness import HERE, OUT
from bench.peers.catalyst import Catalyst, said
from bench.peers.centrifuge import ENGINE, Centrifuge
from bench.peers.run import Server, started

BOTH_CORES = "0,1"


class Node(Catalyst):
    """A node on `store_url`; without a `broker_url` the only one. `cores` is where it may run."""

    store_url, broker_url, key, cores = "", "memory:", "", BOTH_CORES

    def command(self) -> list[str]:
        command = super().command()
        self.environment |= {"CATALYST_STORE_URL": self.store_url, "CATALYST_BROKER_URL": self.broker_url}
        return ["taskset", "-c", self.cores, *command]

    def started(self) -> None:
        """Only the first one of a log says the admin's key; the others are given it as `key`."""
        self.key = self.key or said(self.folder / "log", "admin key: ")
        self.header = f"Authorization: Bearer {self.key}"
        self.listen = ("path=/v1/ws", f"header={self.header}")


class Engine(Centrifuge):
    """Centrifugo's engine with the Redis broker of its library."""

    redis_url = ""

    def command(self) -> list[str]:
        return ["taskset", "-c", BOTH_CORES, str(ENGINE), str(self.port), str(self.history), self.redis_url]


def two_nodes(stack: ExitStack, database: Postgres, cores: tuple[str, str] = (BOTH_CORES, BOTH_CORES)) -> list[Server]:
    """Two nodes on a database and a Redis of their own; both run until the stack ends."""
    shared = {
        "store_url": stack.enter_context(database).url,
        "broker_url": stack.enter_context(Redis()).hints_url,
    }
    first = stack.enter_context(started(type("First", (Node,), shared | {"cores": cores[0]})))
    shared["key"] = first.system.key
    return [first, stack.enter_context(started(type("Second", (Node,), shared | {"cores": cores[1]})))]


def two_engines(stack: ExitStack, **settings: str) -> list[Server]:
    """Two of Centrifugo's engines on a Redis of their own; both run until the stack ends."""
    redis_url = stack.enter_context(Redis()).url
    kind = type("SharedEngine", (Engine,), {"redis_url": redis_url, "environment": settings})
    return [stack.enter_context(started(kind)) for _ in range(2)]


def postgres() -> Postgres:
    """To be entered: a server with the disk of this machine."""
    return Postgres(shared_buffers="128MB")


def slow_postgres() -> Postgres:
    """To be entered: a server whose every fsync takes 2 ms longer."""
    return Postgres(env={"LD_PRELOAD": str(_slow_sync())}, shared_buffers="128MB")


def _slow_sync() -> Path:
    OUT.mkdir(exist_ok=True)
    library = OUT / "slowsync.so"
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", library, HERE / "slowsync.c", "-ldl"], check=True)
    library.chmod(0o755)
    OUT.chmod(0o755)  # The server runs as another user.
    return library
