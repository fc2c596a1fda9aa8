"""One running server for all tests of this folder that do not break it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.running import RunningServer


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """Shared: tests use ids and keys of their own."""
    folder: Path = tmp_path_factory.mktemp("server")
    with RunningServer(folder, position_s=1) as running:
        yield running
