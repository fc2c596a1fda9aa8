"""A log as lines and back: nothing is lost, nothing is believed. Covers `catalyst_signals.transfer`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalyst_signals.errors import Conflict, NotFound, RangeUntrusted, StoreCorrupt
from catalyst_signals.events import EPOCH_GAP, Batch, Draft, Kept, Stored, hash_of_draft
from catalyst_signals.stores import Store
from catalyst_signals.stores.memory import MemoryStore
from catalyst_signals.stores.sqlite import SqliteStore
from catalyst_signals.transfer.exporting import export_log
from catalyst_signals.transfer.importing import import_log
from catalyst_signals.verify import verify
from catalyst_signals.wire import encode
from tests.examples import examples

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
BODIES = st.builds(
    lambda data, was: encode({"data": data} | ({"was": was} if was else {})),
    st.dictionaries(st.text(), VALUES, max_size=4),
    st.lists(VALUES, max_size=2),
)
STEPS = st.one_of(
    st.tuples(st.just("append"), st.lists(BODIES, min_size=1, max_size=4)),
    st.tuples(st.just("erase"), st.integers(1, 12)),
    st.tuples(st.just("drop"), st.integers(1, 8)),
    st.tuples(st.just("epoch"), st.integers(1, 1000)),
    st.tuples(st.just("keep"), st.binary(max_size=20)),
)


async def write(store: Store, steps: Iterable[tuple[str, Any]], channel: str = "main") -> None:
    """Do these things to a channel, one after the other."""
    await store.append([Batch(channel=channel, subject="system", drafts=[])])
    for n, (what, value) in enumerate(steps):
        extent = (await store.extents([channel]))[channel]
        kept = [event.seq for event in await store.read(channel, extent.first - 1, 1000)]
        if what == "append":
            drafts = [
                Draft(type="signal.published", id=f"é{n}-{i}~{i + 1}" if i else f"é{n}", body=body, version=i + 1,
                      draft_hash=hash_of_draft({"n": n}))
                for i, body in enumerate(value)
            ]  # fmt: skip
            (stored,) = await store.append([Batch(channel=channel, subject=f"ann{n}", drafts=drafts)])
            assert isinstance(stored, Stored)
        elif what == "erase" and kept:
            await store.erase(channel, kept[value % len(kept)])
        elif what == "drop" and kept:
            await store.drop(channel, kept[min(value, len(kept)) - 1])
        elif what == "epoch":
            await store.begin_epoch(channel, max(extent.last, extent.epochs[-1].first) + value, f"reason {n} \u2603")
        elif what == "keep":
            assert await store.keep(f"worker{n}", channel, extent.last, value, was=0, holder="me", ttl_s=60)


async def exported(store: Store, *channels: str, after: int = 0) -> list[bytes]:
    """All lines of an export."""
    text = b"".join([lines async for lines in export_log(store, channels, after=after)])
    return text.splitlines(keepends=True)


async def imported(lines: list[bytes], epoch: Literal["new", "same"] = "same") -> MemoryStore:
    """A store that took these lines over."""
    store = MemoryStore()
    await import_log(store, lines, epoch=epoch)
    return store


@settings(max_examples=examples(150))
@given(st.lists(STEPS, max_size=12), st.lists(STEPS, max_size=3))
def test_a_log_comes_through_as_the_same_log(main: list[tuple[str, Any]], other: list[tuple[str, Any]]) -> None:
    """Whoever moves to another store keeps every number, hash, id and byte, and can prove it with `cmp`."""

    async def there_and_back() -> None:
        store = MemoryStore()
        await write(store, main)
        await write(store, other, "other")
        lines = await exported(store)
        copy = await imported(lines)
        assert await exported(copy) == lines
        assert (await verify(copy)).faults == {}
        for name, extent in (await store.extents()).items():
            assert (await copy.extents([name]))[name] == extent
            assert await copy.read(name, extent.first - 1, 1000) == await store.read(name, extent.first - 1, 1000)
            assert await copy.ids(name) == await store.ids(name)
            expected = {who: Kept(kept.seq, kept.state) for who, kept in (await store.places(name)).items()}
            assert await copy.places(name) == expected, "nobody holds a place in a copy"

    asyncio.run(there_and_back())


STORY: list[tuple[str, Any]] = [
    ("append", [b'{"data":{"price":"1.50","note":"caf\xc3\xa9"}}', b'{"data":{"n":1.0},"was":[{"seq":1}]}']),
    ("append", [b'{"data":{"n":%d}}' % n for n in range(6)]), ("erase", 3), ("drop", 2), ("epoch", 100),
    ("append", [b'{"data":{"n":7}}', b'{"data":{"n":8}}']), ("keep", b"\x00state"),
]  # fmt: skip


@pytest.fixture
async def story() -> MemoryStore:
    """Two epochs, dropped and erased events, a follower's place."""
    store = MemoryStore()
    await write(store, STORY)
    return store


async def test_a_person_can_read_it(story: MemoryStore) -> None:
    """`jq`, `grep` and `diff` are all that is needed to look into a log, and they show what the publisher wrote."""
    lines = [json.loads(line) for line in await exported(story)]
    kinds = [line["line"] for line in lines]
    assert kinds == ["channel", "gone", "gone", *["event"] * 8, "place", "end", "export"]
    event = next(line for line in lines if line["line"] == "event" and not line.get("erased"))
    assert {"channel", "seq", "type", "id", "version", "ts", "epoch", "subject", "hash", "data"} <= event.keys()
    assert b'"note"' not in b"".join(await exported(story)), "what was dropped is not in it"


async def test_it_goes_on_in_a_new_epoch_unless_the_old_log_has_ended(story: MemoryStore) -> None:
    """A client that saw more of the old log than the copy holds is told, and never resumes in silence."""
    before = (await story.extents())["main"]
    after = (await (await imported(await exported(story), "new")).extents())["main"]
    assert after.epochs[:-1] == before.epochs and after.epochs[-1].reason == "imported"
    assert after.epochs[-1].first == before.last + EPOCH_GAP and after.newest == before.newest


async def test_a_part_of_a_log_can_be_taken(story: MemoryStore) -> None:
    """Of one channel, or from a place on: what lies before is as if it had been dropped, its ids are known."""
    await write(story, STORY, "other")
    copy = await imported(await exported(story, "other", after=6))
    extent = (await copy.extents())["other"]
    assert extent.first == 7 and list(await copy.extents()) == ["other"]
    assert await copy.ids("other") == await story.ids("other")
    assert (await copy.read("other", 6, 10)) == (await story.read("other", 6, 10))
    assert (await verify(copy)).faults == {}
    assert (await copy.extents())["other"] == (await (await imported(await exported(copy))).extents())["other"]
    with pytest.raises(NotFound):
        await exported(story, "nowhere")


async def test_the_servers_own_state_is_never_cut(story: MemoryStore) -> None:
    """An export from a place on that lost the users would be no copy of anything."""
    await write(story, [("append", [b'{"data":{}}'] * 9)], "system")
    copy = await imported(await exported(story, after=9))
    extents = await copy.extents()
    assert extents["system"].first == 1 and extents["main"].first == 10


async def test_a_place_with_a_log_is_refused(story: MemoryStore) -> None:
    """Two logs are never mixed."""
    with pytest.raises(Conflict):
        await import_log(story, await exported(story))


# -- faults ---------------------------------------------------------------------------------------------------------


async def fault_in(lines: list[bytes]) -> StoreCorrupt:
    """Why these lines are refused."""
    with pytest.raises(StoreCorrupt) as refused:
        await imported(lines)
    return refused.value


async def test_a_missing_line_is_noticed_wherever_it_is(story: MemoryStore) -> None:
    """A file that was cut or copied in part is no safety copy."""
    lines = await exported(story)
    for at in range(len(lines)):
        fault = await fault_in(lines[:at] + lines[at + 1 :])
        assert fault.extra["line"] >= at + 1, "it cannot show before it is missing"
        if b'"line":"event"' in lines[at]:
            assert str(json.loads(lines[at])["seq"]) in fault.message or b'"event"' not in lines[at + 1]
        assert "the file ends here" in (await fault_in(lines[:at])).message


async def test_an_edited_line_is_named(story: MemoryStore) -> None:
    """Whoever edits an export to change the past is told which line it was."""
    lines = await exported(story)
    for at, line in enumerate(lines):
        for name, value in json.loads(line).items():
            if name == "line":
                continue
            other: Any = None
            match value:
                case bool():
                    continue
                case int():
                    other = value + 1
                case str():
                    other = value[:-1] + ("0" if value[-1:] != "0" else "1")
                case list() | dict():
                    other = type(value)()
            edited = line.replace(_said(name, value), _said(name, other), 1)
            if edited == line:
                continue
            fault = await fault_in([*lines[:at], edited, *lines[at + 1 :]])
            hashed = name in ("seq", "type", "id", "version", "ts", "salt", "body_hash", "hash", "data", "epoch")
            if b'"line":"event"' in line and hashed:
                assert fault.extra["line"] == at + 1, f"{name}: {fault}"


def _said(name: str, value: Any) -> bytes:
    return json.dumps({name: value}, separators=(",", ":"), ensure_ascii=False).encode()[1:-1]


async def test_lines_in_another_order_or_twice_are_noticed(story: MemoryStore) -> None:
    """Sorting a file is editing it."""
    lines = await exported(story)
    for at in range(len(lines) - 1):
        swapped = [*lines[:at], lines[at + 1], lines[at], *lines[at + 2 :]]
        await fault_in(swapped)
        await fault_in([*lines[: at + 1], *lines[at:]])
    await fault_in([*lines, b"\n"])
    await fault_in([b"not json\n", *lines])


async def test_a_damaged_log_is_not_exported(tmp_path: Path) -> None:
    """A copy that could not be imported would be found out on the worst day."""
    path = tmp_path / "catalyst.db"
    async with SqliteStore(path) as store:
        await write(store, [("append", [b'{"data":{"n":%d}}' % n for n in range(9)])])
        store._write.execute("UPDATE events SET body = x'7b7d' WHERE version = 4")  # type: ignore[union-attr]
        with pytest.raises(RangeUntrusted) as refused:
            await exported(store)
    assert refused.value.extra["seq"] == 4
