"""A copy of a log that goes on meanwhile is one moment of it. Covers `catalyst_signals.transfer.copying`."""

from __future__ import annotations

from typing import Any

import pytest

from catalyst_signals.errors import Conflict
from catalyst_signals.stores.memory import MemoryStore
from catalyst_signals.transfer.copying import copy_log
from catalyst_signals.verify import verify
from tests.conformance.test_stores import all_of, drafts, put, seqs


class Busy(MemoryStore):
    """As soon as the first page is read, signals come in everywhere, and retention takes the oldest of `two`."""

    begun = False

    async def read(self, channel: str, *how: Any) -> Any:
        """Store.read"""
        page = await super().read(channel, *how)
        if not self.begun:
            self.begun = True
            for each in ("one", "two"):
                await put(self, *drafts(10, 5), channel=each)
            await self.drop("two", 3)
        return page


async def made() -> Busy:
    """Ten events in each of two channels."""
    store = Busy()
    for channel in ("one", "two"):
        await put(store, channel=channel)
        await put(store, *drafts(0, 10), channel=channel)
    return store


async def test_a_copy_is_one_moment_of_all_channels_but_for_what_retention_took() -> None:
    """Nothing of what came in later is there; what was dropped is not, but its ids are known."""
    source, copy = await made(), MemoryStore()
    told: list[tuple[int, int]] = []
    extents = await copy_log(source, copy, lambda done, total: told.append((done, total)))
    assert source.begun and seqs(await all_of(copy, "one")) == list(range(1, 11))
    assert seqs(await all_of(copy, "two")) == list(range(4, 11)) and extents["two"].first == 4
    assert {id for id, _ in await copy.ids("two")} == {f"n{n}" for n in range(10)}
    assert not (await verify(copy)).faults
    assert told == [(10, 20), (17, 20)]


async def test_a_copy_goes_only_where_no_log_is() -> None:
    source, other = await made(), await made()
    with pytest.raises(Conflict):
        await copy_log(source, other)
