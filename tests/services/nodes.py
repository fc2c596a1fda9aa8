"""Two nodes on one PostgreSQL and one Redis, with wires that can be cut, and the load by which a fault is judged.

500 signals a second, 200 filtered subscribers who reconnect by themselves; the judge is in tests/living.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from catalyst_signals.events import Event
from catalyst_signals.stores import STORES
from catalyst_signals.urls import open_backend
from tests.living import Load, filters
from tests.running import RunningServer
from tests.services.cuts import Wire
from tests.services.postgres import USER, Postgres
from tests.services.redis import Redis

READERS = 200
RATE = 500.0


@dataclass
class Site:
    """What a site of two machines has; every wire can be cut."""

    postgres: Postgres
    redis: Redis
    to_postgres: list[Wire]
    to_redis: list[Wire]
    nodes: list[RunningServer]
    log: dict[int, Event] = field(default_factory=dict)  # As it was judged.

    @asynccontextmanager
    async def under_load(self, more: Mapping[str, Any] | None = None) -> AsyncIterator[Load]:
        """Something breaks in the middle of it; afterwards everything is judged. `more` is in every signal."""
        async with Load(self.nodes, filters(READERS), rate=RATE, more=more or {}) as load:
            await load.under_way()
            yield load
            await asyncio.sleep(1)
            async with open_backend(self.postgres.url, STORES, setting="store_url") as store:
                self.log = await load.settle(store)
        assert sorted(self.log) == list(range(1, len(self.log) + 1)), "the log has a hole"
        assert not load.gaps, load.gaps


@contextmanager
def a_site(folder: Path, **settings: object) -> Iterator[Site]:
    """Running, in this folder."""
    with ExitStack() as stack:
        postgres = stack.enter_context(Postgres())
        redis = stack.enter_context(Redis())
        to_postgres = [stack.enter_context(Wire(postgres.port)) for _ in range(2)]
        to_redis = [stack.enter_context(Wire(redis.port)) for _ in range(2)]
        nodes = [
            stack.enter_context(a_node(
                folder, n, f"postgresql://{USER}@127.0.0.1:{to_postgres[n].port}/postgres",
                f"redis+pubsub://127.0.0.1:{to_redis[n].port}", **settings,
            ))
            for n in range(2)
        ]  # fmt: skip
        yield Site(postgres, redis, to_postgres, to_redis, nodes)


def a_node(folder: Path, number: int, store_url: str, broker_url: str, **more: Any) -> RunningServer:
    """One of several, in a folder of its own; to be entered. `more` is settings, or what RunningServer takes."""
    own = folder / f"node{number}"
    own.mkdir()
    return RunningServer(own, store_url=store_url, broker_url=broker_url, node=own.name, **({"position_s": 1} | more))
