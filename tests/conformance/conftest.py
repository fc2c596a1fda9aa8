"""The back-ends under test, each fresh and open."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from catalyst_signals.events import Batch
from catalyst_signals.stores import STORES, Store
from catalyst_signals.urls import open_backend

URLS = {"memory": "memory:", "sqlite": "sqlite:///{folder}/catalyst.db"}


@pytest.fixture(params=URLS)
async def bare_store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    """A store without any channel."""
    url = URLS[request.param].format(folder=tmp_path)
    async with open_backend(url, STORES, setting="store_url") as store:
        yield store


@pytest.fixture
async def store(bare_store: Store) -> Store:
    """A store with the channels `main` and `other`."""
    await bare_store.append([Batch(channel=name, subject="system", drafts=[]) for name in ("main", "other")])
    return bare_store
