"""The laws of a store, one test each, named after the law; every back-end keeps all of them."""

from __future__ import annotations

import asyncio
import hashlib
import random
import time
from collections.abc import Callable, Sequence

import msgspec
import pytest

from catalyst_signals.errors import (
    CatalystError,
    IdConflict,
    IdTaken,
    PositionTooOld,
    UnknownChannel,
)
from catalyst_signals.events import NO_HASH, Batch, Draft, Event, Kept, Refused, Stored, wrong_with
from catalyst_signals.stores import Store
from catalyst_signals.verify import verify

ALL = 100_000
NASTY_IDS = ("'; DROP TABLE ids; --", '"quoted"', "a b", "%", "ünïcödé", "日本", "🚀" * 128, "x" * 128, "a~2", "[1]")


def draft(id: str, says: str = "", **fields: object) -> Draft:
    """A draft whose body and hash follow from its id and what it says."""
    body = f'{{"data":{{"id":"{id}","says":"{says}"}}}}'.encode()
    told = {"type": "signal.published", "draft_hash": hashlib.sha256(body).digest()} | fields
    return Draft(id=id, body=body, **told)


def drafts(first: int, count: int) -> list[Draft]:
    """Drafts with the ids n<first> and on."""
    return [draft(f"n{n}") for n in range(first, first + count)]


def batch(*of: Draft, channel: str = "main", subject: str = "ann") -> Batch:
    """A batch of `ann` for `main`."""
    return Batch(channel=channel, subject=subject, drafts=of)


async def put(store: Store, *of: Draft, channel: str = "main", subject: str = "ann") -> Stored:
    """Append one batch, which must be stored."""
    (result,) = await store.append([batch(*of, channel=channel, subject=subject)])
    assert isinstance(result, Stored), result
    return result


async def refusal(store: Store, refused: Batch) -> CatalystError:
    """Append one batch, which must be refused."""
    (result,) = await store.append([refused])
    assert isinstance(result, Refused), result
    return result.error


async def all_of(store: Store, channel: str = "main") -> list[Event]:
    """Every kept event."""
    extent = (await store.extents([channel]))[channel]
    return await store.read(channel, extent.first - 1, ALL, 1 << 40)


def seqs(of: Sequence[Event]) -> list[int]:
    """Their numbers."""
    return [event.seq for event in of]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Set the wall clock, in seconds since 1970; it then stands still."""
    return lambda now_s: monkeypatch.setattr(time, "time_ns", lambda: int(now_s * 1_000_000_000))


# -- numbers and hashes -----------------------------------------------------------------------------------------


async def test_seqs_are_dense_and_in_commit_order(store: Store) -> None:
    one = await put(store, *drafts(0, 3))
    two = await put(store, *drafts(3, 1))
    assert [receipt.seq for receipt in (*one.receipts, *two.receipts)] == [1, 2, 3, 4]
    assert [event.id for event in await all_of(store)] == ["n0", "n1", "n2", "n3"]


async def test_each_channel_counts_for_itself(store: Store) -> None:
    results = await store.append([batch(draft("a")), batch(draft("a"), channel="other"), batch(draft("b"))])
    assert [receipt.seq for r in results if isinstance(r, Stored) for receipt in r.receipts] == [1, 1, 2]
    assert [event.channel for event in await all_of(store, "other")] == ["other"]


async def test_what_is_answered_is_what_is_read(store: Store) -> None:
    stored = await put(store, draft("a", type="signal.cancelled", version=7), *(draft(id) for id in NASTY_IDS))
    assert await all_of(store) == list(stored.events)
    assert [receipt.id for receipt in stored.receipts] == ["a", *NASTY_IDS]
    first = stored.events[0]
    assert (first.type, first.id, first.version, first.body) == ("signal.cancelled", "a", 7, draft("a").body)
    assert stored.receipts[0].version == 7
    assert stored.channel == "main"
    assert stored.epoch == first.epoch


async def test_every_event_joins_the_one_before(store: Store) -> None:
    for n in range(0, 9, 3):
        await put(store, *drafts(n, 3))
    prev = NO_HASH
    for event in await all_of(store):
        assert event.prev == prev
        assert wrong_with(event) is None
        prev = event.hash
    assert (await store.extents())["main"].hash_last == prev


async def test_equal_bodies_have_salts_of_their_own(store: Store) -> None:
    await put(store, draft("a"))
    await put(store, draft("a"), channel="other")
    salts = {event.salt for channel in ("main", "other") for event in await all_of(store, channel)}
    assert len(salts) == 2
    assert all(len(salt) == 16 for salt in salts)


async def test_an_answer_names_the_durability(store: Store) -> None:
    assert (await put(store, draft("a"))).durability == store.durability


async def test_all_events_of_one_append_have_one_time(store: Store) -> None:
    first, second = await store.append([batch(*drafts(0, 3)), batch(*drafts(3, 2), channel="other")])
    assert isinstance(first, Stored)
    assert isinstance(second, Stored)
    times = {receipt.ts_us for receipt in (*first.receipts, *second.receipts)}
    assert len(times) == 1
    assert {event.ts_us for event in first.events} == times


async def test_time_never_goes_back(store: Store, clock: Callable[[float], None]) -> None:
    for now_s in (1000.5, 900, 1001, 1):
        clock(now_s)
        await put(store, draft(str(now_s)))
    assert [event.ts_us for event in await all_of(store)] == [
        1_000_500_000,
        1_000_500_000,
        1_001_000_000,
        1_001_000_000,
    ]
    await put(store, draft("elsewhere"), channel="other")
    assert (await all_of(store, "other"))[0].ts_us == 1_000_000, "another channel has a time of its own"


# -- ids --------------------------------------------------------------------------------------------------------


async def test_a_retry_gets_the_first_receipt_for_ever(store: Store, clock: Callable[[float], None]) -> None:
    clock(1000)
    first = (await put(store, draft("a", version=3))).receipts[0]
    clock(2000)
    await put(store, *drafts(0, 5))
    again = await put(store, draft("a", version=3))
    assert again.events == []
    receipt = again.receipts[0]
    assert (receipt.seq, receipt.id, receipt.version, receipt.ts_us) == (first.seq, "a", 3, 1_000_000_000)
    assert (first.duplicate, receipt.duplicate) == (False, True)
    await store.drop("main", 6)
    await store.begin_epoch("main", 1000, "a test")
    assert (await put(store, draft("a", version=3))).receipts[0] == receipt
    assert await all_of(store) == []


async def test_a_batch_may_be_known_in_part(store: Store) -> None:
    await put(store, *drafts(0, 2))
    stored = await put(store, *drafts(1, 3))
    assert [(r.seq, r.duplicate) for r in stored.receipts] == [(2, True), (3, False), (4, False)]
    assert seqs(stored.events) == [3, 4]


async def test_another_draft_under_an_id_is_a_conflict(store: Store) -> None:
    await put(store, draft("a", "one"))
    error = await refusal(store, batch(draft("a", "another")))
    assert isinstance(error, IdConflict)
    assert (error.field, error.got) == ("id", "a")


async def test_another_subjects_id_is_taken_whatever_the_draft(store: Store) -> None:
    await put(store, draft("a", "one"), subject="secretive bob")
    for says in ("one", "another"):
        error = await refusal(store, batch(draft("a", says)))
        assert isinstance(error, IdTaken)
        assert "bob" not in str(error.as_dict()), "it says only that"


async def test_a_change_is_stored_only_behind_what_it_was_made_of(store: Store) -> None:
    """Where a rewind took that back there may be another event under its id by now; a retry is still a retry."""
    await put(store, *drafts(0, 2), draft("a"))
    for follows in (("a", 2), ("nobody", 1)):
        error = await refusal(store, batch(msgspec.structs.replace(draft("a~2"), follows=follows)))
        assert isinstance(error, IdConflict) and error.got == "a~2"
    change = msgspec.structs.replace(draft("a~2"), follows=("a", 3))
    assert (await put(store, change)).receipts[0].seq == 4
    assert (await put(store, change)).receipts[0].duplicate


async def test_an_id_is_an_id_of_its_channel(store: Store) -> None:
    await put(store, draft("a", "one"))
    assert not (await put(store, draft("a", "another"), channel="other", subject="bob")).receipts[0].duplicate


async def test_the_same_id_twice_in_a_batch_is_judged_the_same_way(store: Store) -> None:
    stored = await put(store, draft("a"), draft("b"), draft("a"))
    assert [(r.seq, r.duplicate) for r in stored.receipts] == [(1, False), (2, False), (1, True)]
    assert isinstance(await refusal(store, batch(draft("c", "one"), draft("c", "another"))), IdConflict)
    assert seqs(await all_of(store)) == [1, 2]


async def test_a_batch_sees_the_ids_of_those_before_it_in_the_same_append(store: Store) -> None:
    results = await store.append([
        batch(draft("a", "one")), batch(draft("a", "one")), batch(draft("a", "another")),
        batch(draft("a", "one"), subject="bob"), batch(draft("a", "one"), channel="other"),
    ])  # fmt: skip
    first, retry, conflict, taken, other = results
    assert isinstance(first, Stored)
    assert isinstance(retry, Stored)
    assert isinstance(other, Stored)
    assert (retry.receipts[0].seq, retry.receipts[0].duplicate, retry.events) == (1, True, [])
    assert isinstance(conflict, Refused)
    assert isinstance(conflict.error, IdConflict)
    assert isinstance(taken, Refused)
    assert isinstance(taken.error, IdTaken)
    assert not other.receipts[0].duplicate


async def test_a_batch_is_stored_all_or_none(store: Store) -> None:
    await put(store, draft("b", "one"))
    await refusal(store, batch(draft("a"), draft("b", "another"), draft("c")))
    assert seqs(await all_of(store)) == [1]
    assert set(await store.find("main", ["a", "b", "c"])) == {"b"}
    assert (await put(store, draft("a"))).receipts[0].seq == 2, "no number was used up"


async def test_a_refused_batch_leaves_its_neighbours_untouched(store: Store) -> None:
    await put(store, draft("old", "one"))
    results = await store.append([
        batch(draft("a")), batch(draft("b"), draft("old", "another")), batch(draft("c"), channel="nowhere"),
        batch(draft("d")),
    ])  # fmt: skip
    assert [type(result) for result in results] == [Stored, Refused, Refused, Stored]
    assert [event.id for event in await all_of(store)] == ["old", "a", "d"]
    assert (await verify(store)).faults == {}


async def test_an_id_is_found_with_all_that_stays_of_it(store: Store) -> None:
    stored = await put(store, draft("a", version=2), *(draft(id) for id in NASTY_IDS))
    await store.drop("main", 1)
    found = await store.find("main", ["a", "unknown", *NASTY_IDS])
    assert set(found) == {"a", *NASTY_IDS}
    known = found["a"]
    assert (known.seq, known.subject, known.version, known.ts_us) == (1, "ann", 2, stored.receipts[0].ts_us)
    assert known.draft_hash == draft("a").draft_hash
    assert await store.find("main", []) == {}
    assert await store.find("other", ["a"]) == {}


async def test_thousands_of_ids_are_found_at_once(store: Store) -> None:
    await put(store, *drafts(0, 3000))
    assert len(await store.find("main", [f"n{n}" for n in range(4000)])) == 3000


# -- channels ---------------------------------------------------------------------------------------------------


async def test_an_empty_batch_opens_a_channel_once(bare_store: Store) -> None:
    assert await bare_store.extents() == {}
    results = await bare_store.append([batch(), batch(), batch(draft("a"))])
    assert [type(result) for result in results] == [Stored] * 3
    await put(bare_store)
    extent = (await bare_store.extents())["main"]
    assert [(e.first, e.last_before, e.hash_before) for e in extent.epochs] == [(1, 0, NO_HASH)]
    assert {r.epoch for r in results if isinstance(r, Stored)} == {extent.epoch}
    assert seqs(await all_of(bare_store)) == [1]


async def test_a_channel_that_was_never_opened_is_unknown(store: Store) -> None:
    assert isinstance(await refusal(store, batch(draft("a"), channel="nowhere")), UnknownChannel)
    for ask in (
        store.read("nowhere", 0, 1), store.find("nowhere", ["a"]), store.drop("nowhere", 1),
        store.begin_epoch("nowhere", 10, "a test"),
    ):  # fmt: skip
        with pytest.raises(UnknownChannel):
            await ask
    assert await store.extents(["nowhere"]) == {}


async def test_an_extent_says_what_is_held(store: Store) -> None:
    empty = (await store.extents(["main"]))["main"]
    assert (empty.first, empty.last, empty.durable) == (1, 0, 0)
    assert (empty.hash_before, empty.hash_last) == (NO_HASH, NO_HASH)
    stored = await put(store, *drafts(0, 3))
    extents = await store.extents()
    assert set(extents) == {"main", "other"}
    assert set(await store.extents(["other", "nowhere"])) == {"other"}
    extent = extents["main"]
    assert (extent.channel, extent.first, extent.last, extent.durable) == ("main", 1, 3, 3)
    assert (extent.hash_before, extent.hash_last) == (NO_HASH, stored.events[-1].hash)
    assert extent.epoch == stored.epoch


# -- reading ----------------------------------------------------------------------------------------------------


async def test_after_is_exclusive_and_empty_means_caught_up(store: Store) -> None:
    await put(store, *drafts(0, 5))
    assert seqs(await store.read("main", 2, 10)) == [3, 4, 5]
    assert await store.read("main", 5, 10) == []
    assert await store.read("main", 9, 10) == []
    assert await store.read("other", 0, 10) == []


async def test_a_page_ends_at_its_limit(store: Store) -> None:
    await put(store, *drafts(0, 5))
    assert seqs(await store.read("main", 1, 3)) == [2, 3, 4]
    assert (await store.read("main", 1, 3))[0].prev == (await store.read("main", 0, 1))[0].hash


async def test_a_page_ends_at_its_bytes_but_has_one_at_least(store: Store) -> None:
    await put(store, *drafts(0, 5))
    size = len(draft("n0").body)
    assert seqs(await store.read("main", 0, 10, 2 * size)) == [1, 2]
    assert seqs(await store.read("main", 0, 10, 2 * size - 1)) == [1]
    assert seqs(await store.read("main", 3, 10, 0)) == [4]


async def test_whoever_reads_while_others_append_sees_no_hole(store: Store) -> None:
    async def follow() -> None:
        at = 0
        while at < 300:
            for event in await store.read("main", at, 7):
                assert event.seq == at + 1
                at = event.seq
            await asyncio.sleep(0)

    async def publish(name: str) -> None:
        for n in range(50):
            await put(store, draft(f"{name}{n}a"), draft(f"{name}{n}b"), subject=name)
            await asyncio.sleep(0)

    async with asyncio.timeout(20):
        await asyncio.gather(follow(), publish("a"), publish("b"), publish("c"))


# -- at the same time -------------------------------------------------------------------------------------------


async def test_appends_at_once_come_one_after_the_other(store: Store) -> None:
    results = await asyncio.gather(*(store.append([batch(*drafts(n * 5, 5), subject="s")]) for n in range(40)))
    receipts = [r for (result,) in results if isinstance(result, Stored) for r in result.receipts]
    assert sorted(receipt.seq for receipt in receipts) == list(range(1, 201))
    for (result,) in results:
        assert isinstance(result, Stored)
        own = [receipt.seq for receipt in result.receipts]
        assert own == list(range(own[0], own[0] + 5)), "a batch lies together"
    assert {r.seq: r.id for r in receipts} == {event.seq: event.id for event in await all_of(store)}


async def test_one_of_two_drafts_for_an_id_wins(store: Store) -> None:
    results = await asyncio.gather(*(store.append([batch(draft("a~2", str(n)))]) for n in range(10)))
    assert sorted(type(result).__name__ for (result,) in results) == ["Refused"] * 9 + ["Stored"]


async def test_an_append_is_finished_though_its_caller_goes_away(store: Store) -> None:
    caller = asyncio.create_task(put(store, *drafts(0, 100)))
    await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        if await caller:  # A store in memory may have finished already.
            raise asyncio.CancelledError
    assert (await put(store, draft("later"))).receipts[0].seq == 101
    assert seqs(await all_of(store)) == list(range(1, 102))


# -- epochs -----------------------------------------------------------------------------------------------------


async def test_an_epoch_begins_above_and_joins_the_one_before(store: Store) -> None:
    before = await put(store, *drafts(0, 3))
    extent = await store.begin_epoch("main", 1000, "restored")
    assert extent == (await store.extents())["main"]
    assert (extent.first, extent.last, extent.durable, extent.hash_last) == (1, 999, 999, before.events[-1].hash)
    assert [(e.first, e.last_before, e.reason) for e in extent.epochs] == [(1, 0, "created"), (1000, 3, "restored")]
    assert extent.epochs[1].hash_before == before.events[-1].hash
    assert extent.epoch != before.epoch
    after = await put(store, *drafts(3, 2))
    assert (after.epoch, seqs(after.events)) == (extent.epoch, [1000, 1001])
    assert after.events[0].prev == before.events[-1].hash
    assert (await verify(store)).faults == {}


async def test_reading_crosses_from_epoch_to_epoch(store: Store) -> None:
    await put(store, *drafts(0, 3))
    await store.begin_epoch("main", 100, "one")
    assert await store.read("main", 3, 10) == [], "the void has no events"
    await store.begin_epoch("main", 200, "another, the one before stayed empty")
    await put(store, *drafts(3, 2))
    await store.begin_epoch("main", 202, "right above")
    await put(store, *drafts(5, 1))
    everything = await all_of(store)
    assert seqs(everything) == [1, 2, 3, 200, 201, 202]
    assert len({event.epoch for event in everything}) == 3
    for after in (3, 50, 99, 150, 199):
        assert await store.read("main", after, 2) == everything[3:5]
    assert (await verify(store)).rows["main"] == 6
    assert (await verify(store)).faults == {}


async def test_an_epoch_cannot_begin_where_seqs_were_given_out(store: Store) -> None:
    await put(store, *drafts(0, 3))
    for first in (0, 3):
        with pytest.raises(ValueError, match="above 3"):
            await store.begin_epoch("main", first, "a test")
    await store.begin_epoch("main", 10, "a test")
    for first in (9, 10):
        with pytest.raises(ValueError, match="above 10"):
            await store.begin_epoch("main", first, "in the void, or where one began")
    assert (await put(store, draft("a"))).receipts[0].seq == 10


# -- retention --------------------------------------------------------------------------------------------------


async def test_what_was_dropped_is_too_old_and_the_rest_still_verifies(store: Store) -> None:
    events = (await put(store, *drafts(0, 10))).events
    extent = await store.drop("main", 4)
    assert extent == (await store.extents())["main"]
    assert (extent.first, extent.last) == (5, 10)
    assert (extent.hash_before, extent.hash_last) == (events[3].hash, events[9].hash)
    assert await store.read("main", 4, 100) == list(events[4:])
    for after in (0, 3):
        with pytest.raises(PositionTooOld) as too_old:
            await store.read("main", after, 100)
        assert too_old.value.extra["first"] == 5
    report = await verify(store)
    assert (report.rows["main"], report.faults) == (6, {})


async def test_dropping_again_or_less_changes_nothing(store: Store) -> None:
    await put(store, *drafts(0, 10))
    extent = await store.drop("main", 4)
    for through in (0, 3, 4):
        assert await store.drop("main", through) == extent


async def test_everything_may_be_dropped_and_the_log_goes_on(store: Store) -> None:
    events = (await put(store, *drafts(0, 3))).events
    extent = await store.drop("main", 99)
    assert (extent.first, extent.last) == (4, 3)
    assert extent.hash_before == extent.hash_last == events[-1].hash
    assert await store.read("main", 3, 10) == []
    with pytest.raises(PositionTooOld):
        await store.read("main", 2, 10)
    later = await put(store, draft("later"))
    assert (later.receipts[0].seq, later.events[0].prev) == (4, events[-1].hash)
    assert (await verify(store)).faults == {}


async def test_dropping_keeps_epochs_and_may_end_anywhere(store: Store) -> None:
    old = (await put(store, *drafts(0, 3))).events
    await store.begin_epoch("main", 100, "a test")
    new = (await put(store, *drafts(3, 3))).events
    extent = await store.drop("main", 50)
    assert len(extent.epochs) == 2
    assert (extent.first, extent.hash_before) == (51, old[-1].hash)
    assert await store.read("main", 50, 10) == list(new)
    assert (await verify(store)).faults == {}
    extent = await store.drop("main", 100)
    assert len(extent.epochs) == 2
    assert (extent.first, extent.hash_before) == (101, new[0].hash)
    report = await verify(store)
    assert (report.rows["main"], report.faults) == (2, {})


async def test_one_channel_is_dropped_and_no_other(store: Store) -> None:
    await put(store, *drafts(0, 3))
    await put(store, *drafts(0, 3), channel="other")
    await store.drop("main", 3)
    assert seqs(await all_of(store, "other")) == [1, 2, 3]


# -- followers' places ------------------------------------------------------------------------------------------


async def test_a_place_moves_only_from_where_it_was(store: Store) -> None:
    assert await store.kept("state", "main") == Kept(0)
    assert await store.keep("state", "main", 5, b"five", was=0)
    assert not await store.keep("state", "main", 6, b"six", was=0)
    assert await store.kept("state", "main") == Kept(5, b"five")
    assert await store.keep("state", "main", 3, b"back", was=5)
    assert await store.kept("state", "main") == Kept(3, b"back")
    assert await store.kept("state", "other") == Kept(0)
    assert await store.kept("another", "main") == Kept(0)


async def test_one_of_two_followers_moves_a_place(store: Store) -> None:
    moved = await asyncio.gather(*(store.keep("state", "main", 5, was=0) for _ in range(10)))
    assert sorted(moved) == [False] * 9 + [True]


async def test_a_holder_has_its_place_until_its_lease_ends(store: Store, clock: Callable[[float], None]) -> None:
    clock(1000)
    assert await store.keep("notify", "main", 1, was=0, holder="node-a", ttl_s=10)
    assert await store.kept("notify", "main") == Kept(1, b"", "node-a", 1_010_000_000)
    assert not await store.keep("notify", "main", 1, was=1, holder="node-b", ttl_s=10)
    assert not await store.keep("notify", "main", 1, was=1)
    clock(1009)
    assert await store.keep("notify", "main", 2, was=1, holder="node-a", ttl_s=10), "its own lease goes on"
    clock(1018.9)
    assert not await store.keep("notify", "main", 2, was=2, holder="node-b", ttl_s=10)
    clock(1019)
    assert await store.keep("notify", "main", 2, was=2, holder="node-b", ttl_s=0.5)
    assert not await store.keep("notify", "main", 3, was=2, holder="node-a", ttl_s=10)
    assert await store.keep("notify", "main", 3, was=2, holder="node-b"), "a lease of no time gives it back"
    assert await store.keep("notify", "main", 4, was=3)
    assert await store.kept("notify", "main") == Kept(4)


# -- all of it --------------------------------------------------------------------------------------------------


class Model:
    """A store as a list and a dict, for one channel and without hashes."""

    def __init__(self) -> None:
        self.log: list[tuple[int, str, str]] = []
        self.ids: dict[str, tuple[int, str, str]] = {}  # id -> seq, subject, what it says
        self.first, self.next = 1, 1

    def append(self, subject: str, pairs: list[tuple[str, str]]) -> list[tuple[int, bool]] | str:
        """(seq, duplicate) of each, or the name of the refusal."""
        said: dict[str, str] = {}
        for id, says in pairs:
            _, owner, known = self.ids.get(id, (0, subject, said.setdefault(id, says)))
            if owner != subject:
                return "id_taken"
            if known != says:
                return "id_conflict"
        answers = []
        for id, says in pairs:
            answers.append((self.ids[id][0] if id in self.ids else self.next, id in self.ids))
            if id not in self.ids:
                self.ids[id] = (self.next, subject, says)
                self.log.append((self.next, id, says))
                self.next += 1
        return answers

    def drop(self, through: int) -> None:
        """Forget events, not ids."""
        self.first = max(self.first, min(through, self.next - 1) + 1)
        self.log = [entry for entry in self.log if entry[0] >= self.first]


@pytest.mark.parametrize("seed", range(15))
async def test_a_store_is_a_list_and_a_dict(store: Store, seed: int) -> None:
    rng, model = random.Random(seed), Model()
    for _ in range(60):
        choice = rng.random()
        if choice < 0.6:
            await _append_to_both(store, model, rng)
        elif choice < 0.7:
            through = rng.randint(0, model.next + 2)
            await store.drop("main", through)
            model.drop(through)
        elif choice < 0.75:
            first = model.next + rng.choice((1, 2, 50))
            await store.begin_epoch("main", first, "a test")
            model.next = first
        await _compare(store, model, rng)
    report = await verify(store)
    assert (report.rows["main"], report.faults) == (len(model.log), {})


async def _append_to_both(store: Store, model: Model, rng: random.Random) -> None:
    asked = [
        (rng.choice("ab"), [(f"n{rng.randint(0, 80)}", rng.choice("xxxy")) for _ in range(rng.choice((1, 1, 2, 7)))])
        for _ in range(rng.choice((1, 2, 5)))
    ]
    results = await store.append([batch(*(draft(*pair) for pair in pairs), subject=who) for who, pairs in asked])
    for result, (who, pairs) in zip(results, asked, strict=True):
        expected = model.append(who, pairs)
        if isinstance(result, Refused):
            assert result.error.name == expected
        else:
            assert [(receipt.seq, receipt.duplicate) for receipt in result.receipts] == expected
            assert [receipt.id for receipt in result.receipts] == [id for id, _ in pairs]


async def _compare(store: Store, model: Model, rng: random.Random) -> None:
    extent = (await store.extents())["main"]
    assert (extent.first, extent.last) == (model.first, model.next - 1)
    after, limit = rng.randint(0, model.next + 1), rng.choice((1, 3, 100))
    if after < model.first - 1:
        with pytest.raises(PositionTooOld):
            await store.read("main", after, limit)
    else:
        page = await store.read("main", after, limit)
        assert [(e.seq, e.id, e.body) for e in page] == [
            (seq, id, draft(id, says).body) for seq, id, says in model.log if seq > after
        ][:limit]
    ids = [f"n{rng.randint(0, 90)}" for _ in range(5)]
    found = await store.find("main", ids)
    assert {id: (known.seq, known.subject) for id, known in found.items()} == {
        id: model.ids[id][:2] for id in ids if id in model.ids
    }
