"""What every test needs: async tests run on asyncio; `slow` ones are left out of the everyday `make`."""

from __future__ import annotations

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """The marks there are."""
    config.addinivalue_line("markers", "slow: takes seconds; `make test` runs it, `make` does not")


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """The loop anyio's plugin runs async tests on."""
    return "asyncio"
