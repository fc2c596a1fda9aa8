"""What every test needs: async tests run on asyncio."""

from __future__ import annotations

import pytest


@pytest.fixture
def anyio_backend() -> str:
    """The loop anyio's plugin runs async tests on."""
    return "asyncio"
