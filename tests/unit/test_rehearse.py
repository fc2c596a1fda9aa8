"""Rehearsal: what it counts is what would have been sent; and it stays within its limits."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalyst_signals import rehearse as rehearsal
from catalyst_signals.caches.memory import MemoryCache
from catalyst_signals.errors import Overloaded, Unavailable, UnknownChannel
from catalyst_signals.events import Batch, Draft, Event, Frame, hash_of_draft, seal
from catalyst_signals.filters import EVERYTHING, Filter, parse
from catalyst_signals.hub import Hub
from catalyst_signals.modifiers import Modifiers
from catalyst_signals.rehearse import AT_ONCE_MAX, BURST_S, Bursts, Count, Rehearsals
from catalyst_signals.signals import signal_draft
from catalyst_signals.stores.memory import MemoryStore
from catalyst_signals.tape import Peer
from catalyst_signals.trust import Reader as TrustedReader
from catalyst_signals.wire import frame_of
from tests.examples import examples
from tests.unit.filter_strategies import documents, trees
from tests.unit.test_explain import versioned
from tests.unit.test_hub import Reader, turns

Json = dict[str, Any]


def rehearsals_of(store: MemoryStore) -> Rehearsals:
    """As a process has them."""
    return Rehearsals(store, TrustedReader(store))


async def stored(drafts: list[Draft]) -> MemoryStore:
    """A store with these in `main`."""
    store = MemoryStore()
    await store.append([Batch(channel="main", subject="s", drafts=[])])
    for start in range(0, len(drafts), 1000):
        await store.append([Batch(channel="main", subject="s", drafts=drafts[start : start + 1000])])
    return store


async def signals(*sent: Json) -> MemoryStore:
    """A store with these signals."""
    return await stored([signal_draft({"symbol": "ACME", "action": "BUY"} | each, subject="s")[0] for each in sent])


async def sent_live(store: MemoryStore, filter: Filter) -> list[int]:
    """The seqs that a subscriber is sent who catches up with everything."""

    async def fetch(channel: str, after: int, limit: int) -> list[Frame]:
        return [frame_of(event) for event in await store.read(channel, after, limit)]

    hub, reader = Hub(fetch, store.find), Reader()
    extent = (await store.extents())["main"]
    tape = hub.open("main", extent.epoch, extent.last, extent.hash_last[:4].hex())
    hub.join(Peer(reader.write, reader), tape, filter, 0, tape.epoch, None, Modifiers(stale="send"))
    await turns()
    await hub.close()
    return reader.seqs()


def as_draft(number: int, doc: Json) -> Draft:
    """A document as somebody's draft, whatever it holds; an instrument is of texts in every log."""
    parts = {name: doc[name] for name in ("data", "was") if name in doc}
    if "instrument" in doc["data"]:
        texts = {name: text for name, text in doc["data"]["instrument"].items() if isinstance(text, str)}
        parts["data"] = doc["data"] | {"instrument": texts}
    body = msgspec.json.encode(parts)
    return Draft(type=doc["type"], id=f"{doc['id']}-{number}", body=body, draft_hash=hash_of_draft(parts))


@given(trees(), trees(), st.lists(versioned() | documents(), min_size=1, max_size=8))
@settings(max_examples=examples(150), deadline=None)
def test_rehearsal_agrees_with_live(tree: Json, other: Json, docs: list[Json]) -> None:
    """People choose a filter by it, and then get exactly that."""

    async def check() -> None:
        store = await stored([as_draft(n, doc) for n, doc in enumerate(docs)])
        erased = [seq for seq, doc in enumerate(docs, 1) if doc.get("erased")]
        for seq in erased:
            await store.erase("main", seq)
        wanted, against = parse(tree), parse(other)
        told = json.loads(msgspec.json.encode(await rehearsals_of(store).run("main", wanted, against=against)))
        live, live_against = await sent_live(store, wanted), await sent_live(store, against)
        assert told["of"] == len(docs) - len(erased) and told["complete"]
        assert told["matched"] == len(live) and told["against"]["matched"] == len(live_against)
        assert [event["seq"] for event in told["examples"]] == live[:-6:-1]
        newly_in = [seq for seq in live if seq not in live_against]
        newly_out = [seq for seq in live_against if seq not in live]
        for name, seqs in (("newly_in", newly_in), ("newly_out", newly_out)):
            assert told[name]["count"] == len(seqs)
            assert [event["seq"] for event in told[name]["examples"]] == seqs[:-6:-1]
        assert sum(told["per_day"].values()) == len(live)

    asyncio.run(check())


async def test_an_entitlement_hides_from_the_count_too() -> None:
    """A number would tell what may not be seen."""
    store = await signals({"symbol": "ACME"}, {"symbol": "SECRET"}, {"symbol": "ACME", "confidence": 0.9})
    within = parse("not symbol = SECRET")
    told = await rehearsals_of(store).run("main", EVERYTHING.both(within), against=within, within=within)
    assert told["of"] == told["matched"] == told["against"]["matched"] == 2
    assert told["newly_in"]["count"] == told["newly_out"]["count"] == 0


async def test_examples_are_the_newest_as_on_the_wire() -> None:
    """They are shown in the same way as what was received."""
    store = await signals(*({"id": f"s{n}"} for n in range(8)))
    told = await rehearsals_of(store).run("main", EVERYTHING)
    events = await store.read("main", 0, 10)
    assert [bytes(each) for each in told["examples"]] == [frame_of(event).text for event in events[:2:-1]]


async def test_a_rehearsal_may_begin_in_the_middle_and_says_what_it_saw() -> None:
    """Last week is often all that matters."""
    store = await signals(*({} for _ in range(10)))
    run = rehearsals_of(store).run
    told = await run("main", EVERYTHING, after=6)
    assert (told["of"], told["from"], told["through"], told["complete"]) == (4, 7, 10, True)
    assert (await run("main", EVERYTHING, after=50))["of"] == 0
    await store.drop("main", 4)
    told = await run("main", EVERYTHING)
    assert (told["of"], told["from"], told["complete"]) == (6, 5, True)
    assert (await run("main", EVERYTHING, after=2))["complete"] is False
    with pytest.raises(UnknownChannel):
        await run("nowhere", EVERYTHING)


async def test_only_the_newest_are_rehearsed_and_the_answer_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """A log of ten years does not stop a server for minutes."""
    monkeypatch.setattr(rehearsal, "EVENTS_MAX", 3)
    told = await rehearsals_of(await signals(*({} for _ in range(10)))).run("main", EVERYTHING)
    assert (told["of"], told["from"], told["complete"]) == (3, 8, False)


async def test_few_run_at_once_and_others_have_their_turn_between() -> None:
    """Deliveries go on while somebody counts."""
    store = await signals(*({} for _ in range(3000)))
    rehearsals, turns_had = rehearsals_of(store), 0
    running = [asyncio.create_task(rehearsals.run("main", parse("symbol = ACME"))) for _ in range(AT_ONCE_MAX)]
    await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        await rehearsals.run("main", EVERYTHING)
    while not all(task.done() for task in running):
        await asyncio.sleep(0)
        turns_had += 1
    assert turns_had >= 3 and all(task.result()["matched"] == 3000 for task in running)
    assert (await rehearsals.run("main", EVERYTHING))["matched"] == 3000


class Counted(MemoryCache):
    """A cache that says how often it was asked and told, and that can be away."""

    def __init__(self) -> None:
        super().__init__()
        self.found = self.kept = 0
        self.away = False

    async def get(self, key: str) -> bytes | None:
        """Cache.get"""
        if self.away:
            raise Unavailable
        value = await super().get(key)
        self.found += value is not None
        return value

    async def set(self, key: str, value: bytes, ttl_s: float) -> None:
        """Cache.set"""
        if self.away:
            raise Unavailable
        self.kept += 1
        await super().set(key, value, ttl_s)


async def test_an_answer_is_given_again_to_who_asks_the_same_of_the_same_head() -> None:
    """By any process that shares the cache, and to nobody who may see something else."""
    store, cache = await signals(*({"symbol": s} for s in ("ACME", "OTHER") * 5)), Counted()
    one, two = (Rehearsals(store, TrustedReader(store), cache) for _ in range(2))
    acme, rest = parse("symbol = ACME"), parse("not symbol = ACME")
    told = await one.run("main", acme, against=rest)
    assert await two.run("main", acme, against=rest) == told and (cache.found, cache.kept) == (1, 1)
    for other in (
        two.run("main", rest, against=acme), two.run("main", acme), two.run("main", acme, against=rest, after=3),
        two.run("main", acme, against=rest, within=acme), two.run("main", acme, against=rest, as_of=1),
    ):  # fmt: skip
        await other
    assert (cache.found, cache.kept) == (1, 6)
    another = signal_draft({"symbol": "ACME", "action": "BUY"}, subject="s")[0]
    await store.append([Batch(channel="main", subject="s", drafts=[another])])
    assert (await two.run("main", acme, against=rest))["matched"] == told["matched"] + 1
    await store.drop("main", 2)
    assert (await two.run("main", acme, against=rest))["of"] == told["of"] - 1
    assert cache.found == 1


async def test_the_cache_has_no_word_of_a_signal_and_an_erased_one_is_not_shown_again() -> None:
    """Erasing reaches what is kept here and there only if it is not there."""
    store, cache = await signals(*({"id": f"s{n}", "text": "SECRET"} for n in range(3))), Counted()
    rehearsals = Rehearsals(store, TrustedReader(store), cache)
    assert b"SECRET" in bytes((await rehearsals.run("main", EVERYTHING))["examples"][0])
    assert not any(b"SECRET" in value for _, value in cache._values.values())
    await store.erase("main", 3)
    shown = (await rehearsals.run("main", EVERYTHING))["examples"]
    assert cache.found == 1 and [json.loads(bytes(each))["seq"] for each in shown] == [2, 1]


async def test_a_cache_that_is_away_or_has_rubbish_costs_time_only() -> None:
    """Nobody relies on it."""
    store, cache = await signals({}, {}), Counted()
    rehearsals = Rehearsals(store, TrustedReader(store), cache)
    cache.away = True
    assert (await rehearsals.run("main", EVERYTHING))["matched"] == 2
    cache.away = False
    await rehearsals.run("main", EVERYTHING)
    for key in cache._values:
        await cache.set(key, b"rubbish", 60)
    assert (await rehearsals.run("main", EVERYTHING))["matched"] == 2


async def test_retention_may_go_by_meanwhile() -> None:
    """What was dropped while it was counted is missing, and said to be."""
    store = await signals(*({} for _ in range(2500)))
    running = asyncio.create_task(rehearsals_of(store).run("main", EVERYTHING))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await store.drop("main", 2400)
    told = await running
    assert told["complete"] is False and 100 <= told["of"] < 2500


def event_at(second: int) -> Event:
    """A signal that came in that second."""
    draft, _ = signal_draft({"symbol": "ACME", "action": "BUY"}, subject="s")
    return seal(draft, channel="main", epoch="e", seq=1, ts_us=second * 1_000_000, prev=bytes(32))


@given(st.lists(st.integers(0, 400), min_size=1, max_size=60).map(sorted))
def test_the_worst_burst_is_the_most_within_a_minute(seconds: list[int]) -> None:
    """It decides whether a phone is muted."""
    bursts = Bursts()
    for second in seconds:
        bursts.add(second)
    within = {start: sum(start <= s < start + BURST_S for s in seconds) for start in seconds}
    assert bursts.worst == max(within.values()) == within[bursts.began_s]


def test_days_are_those_of_utc() -> None:
    """The one clock that publishers and readers have in common."""
    count = Count(EVERYTHING, None, EVERYTHING)
    for second in (86_399, 86_400, 86_400 * 3):
        count.take(event_at(second))
    told = count.shown()
    assert told["per_day"] == {"1970-01-01": 1, "1970-01-02": 1, "1970-01-04": 1}
    assert told["worst_burst"] == {"count": 2, "in_s": 60, "at": "1970-01-01T23:59:59.000000Z"}
