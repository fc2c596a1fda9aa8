"""A server of its own for the tutorial, on a fresh SQLite file."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.running import RunningServer


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """`catalyst serve`, as a child process."""
    with RunningServer(tmp_path_factory.mktemp("tutorial"), position_s=1) as running:
        yield running
