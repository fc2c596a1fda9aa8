"""One running server for all tests of this folder that do not break it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.running import RunningServer


@pytest.fixture(scope="package", params=["uvloop", pytest.param("asyncio", marks=pytest.mark.slow)])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """Shared, on either event loop: tests use ids, keys and channels of their own, and come by the hundred."""
    folder: Path = tmp_path_factory.mktemp(f"server-{request.param}")
    with RunningServer(folder, position_s=1, event_loop=request.param, key_connect_rate=0) as running:
        yield running
