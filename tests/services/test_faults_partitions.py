"""A node in a network of its own is cut off by the kernel: from Redis, then from PostgreSQL, under load.

What test_nodes.py does by a proxy, whose sockets stay open; here packets are lost on their way, in both directions.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.services.cuts import Network
from tests.services.nodes import Site, a_node
from tests.services.postgres import USER, Postgres
from tests.services.redis import Redis

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

REDIS_S, POSTGRES_S = 3.0, 7.0  # Longer than a node is trusted that does not hear from the log.


@dataclass
class Apart(Site):
    """The second node is in the network."""

    network: Network = field(kw_only=True)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Apart]:
    with ExitStack() as stack:
        network = stack.enter_context(Network())
        postgres = stack.enter_context(Postgres(listen_addresses=f"127.0.0.1,{network.here}"))
        with (postgres.data / "pg_hba.conf").open("a") as hba:
            hba.write(f"host all all {network.there}/32 trust\n")
        postgres.reload()
        redis = stack.enter_context(Redis("--bind", "127.0.0.1", network.here, "--protected-mode", "no"))

        def reached_by(address: str) -> tuple[str, str]:
            return f"postgresql://{USER}@{address}:{postgres.port}/postgres", f"redis+pubsub://{address}:{redis.port}"

        first = a_node(tmp_path, 0, *reached_by("127.0.0.1"))
        apart = a_node(tmp_path, 1, *reached_by(network.here), host=network.there, within=network.inside)
        nodes = [stack.enter_context(node) for node in (first, apart)]
        yield Apart(postgres, redis, [], [], nodes, network=network)


async def cut_off(network: Network, port: int, for_s: float) -> None:
    """And back."""
    network.cut(port)
    await asyncio.sleep(for_s)
    assert network.dropped() > 0, "nothing was lost, so nothing is proved"
    network.heal(port)


async def test_a_node_that_loses_packets_loses_no_signal(site: Apart) -> None:
    async with site.under_load():
        await cut_off(site.network, site.redis.port, REDIS_S)
        await asyncio.sleep(1)
        await cut_off(site.network, site.postgres.port, POSTGRES_S)
