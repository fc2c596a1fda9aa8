"""The log's elements: the hash's test vectors, the joints between epochs, names, ids and times."""

from __future__ import annotations

import hashlib
from itertools import pairwise

import msgspec
import pytest

from catalyst_signals.errors import InvalidName
from catalyst_signals.events import (
    NO_HASH,
    Draft,
    Epoch,
    Event,
    Position,
    check_channel_name,
    check_id,
    hash_of_draft,
    iso,
    new_epoch_name,
    next_seq,
    parse_iso,
    seal,
    wrong_with,
)

# salt, body, fields, body hash, hash: three events of one chain, the last of which begins an epoch. Never change these.
VECTORS = [
    (
        bytes(range(16)),
        b'{"data":{"instrument":{"symbol":"ACME"},"action":"open","direction":"long"}}',
        {"seq": 1, "ts_us": 1_790_000_000_000_000, "version": 1, "channel": "main", "epoch": "0123456789ab",
         "type": "signal.published", "id": "a-1"},
        "2d9e2bf63d4b84f98814e59f073026ffeaa14acecbdab33867fcef307ccf2646",
        "6c74f4d2c27e84c4f045f393e8d8c5e2bd2b8befc4b19f1115969d005b8ea85e",
    ),
    (
        bytes(range(16, 32)),
        '{"data":{"note":"ünï — 日本"}}'.encode(),
        {"seq": 2, "ts_us": 1_790_000_000_000_001, "version": 2, "channel": "main", "epoch": "0123456789ab",
         "type": "signal.updated", "id": "a-1~2"},
        "388b60a1cd76e7fe4c8ca6d5f5722c5c11f6ff66a8722c76ca8bff5792d70570",
        "37e77f7e4a28194e0097665912232a9db7e5698d5dc0767c46bcbff5a2fe4df1",
    ),
    (
        b"",
        b"",
        {"seq": 1_000_003, "ts_us": 1_790_000_123_456_789, "version": 1, "channel": "main", "epoch": "ffffffffffff",
         "type": "signal.published", "id": "ünï-🚀"},
        "7703c79b586147e14968ead56bda6bb2bcda57392945b1f40ce32c57602b0be5",
        "bb4ef8b4e5a8823ea1ebbd4e8ab68b33a6ed99795ceb3f199a611cceb8938f9a",
    ),
]  # fmt: skip


def by_hand(prev: bytes, fields: dict[str, object], body_hash: bytes) -> bytes:
    """The hash as docs/protocol.md says it, written down without looking at ours."""
    told = b"\x01" + prev
    told += int(str(fields["seq"])).to_bytes(8, "big")
    told += int(str(fields["ts_us"])).to_bytes(8, "big", signed=True)
    told += int(str(fields["version"])).to_bytes(4, "big")
    for name in ("channel", "epoch", "type", "id"):
        raw = str(fields[name]).encode("utf-8")
        told += bytes([len(raw) >> 8, len(raw) & 255]) + raw
    return hashlib.sha256(told + body_hash).digest()


def events_of_vectors() -> list[Event]:
    """The chain of the vectors."""
    chain: list[Event] = []
    for salt, body, fields, body_hash, digest in VECTORS:
        prev = chain[-1].hash if chain else NO_HASH
        chain.append(Event(
            **fields, salt=salt, body=body, prev=prev, body_hash=bytes.fromhex(body_hash), hash=bytes.fromhex(digest)
        ))  # fmt: skip
    return chain


def test_the_hash_is_that_of_the_vectors() -> None:
    """Other people's clients compute it; it never changes."""
    prev = NO_HASH
    for salt, body, fields, body_hash, digest in VECTORS:
        if body:
            assert hashlib.sha256(salt + body).hexdigest() == body_hash
        assert by_hand(prev, fields, bytes.fromhex(body_hash)).hex() == digest
        prev = bytes.fromhex(digest)


def test_a_right_event_has_nothing_wrong_with_it_erased_or_not() -> None:
    assert [wrong_with(event) for event in events_of_vectors()] == [None, None, None]
    assert events_of_vectors()[2].body == b"", "the third one was erased"


@pytest.mark.parametrize("name", ["salt", "body", "body_hash", "prev", "hash"])
def test_every_bit_of_the_bytes_counts(name: str) -> None:
    event = events_of_vectors()[0]
    value = getattr(event, name)
    for bit in range(len(value) * 8):
        flipped = bytearray(value)
        flipped[bit // 8] ^= 1 << bit % 8
        assert wrong_with(msgspec.structs.replace(event, **{name: bytes(flipped)})) is not None


@pytest.mark.parametrize("name", ["seq", "ts_us", "version"])
def test_every_bit_of_the_numbers_counts(name: str) -> None:
    event = events_of_vectors()[0]
    for bit in range(64):
        assert wrong_with(msgspec.structs.replace(event, **{name: getattr(event, name) ^ 1 << bit})) is not None


@pytest.mark.parametrize("name", ["channel", "epoch", "type", "id"])
def test_every_bit_of_the_names_counts(name: str) -> None:
    event = events_of_vectors()[0]
    for value in (getattr(event, name) + "x", getattr(event, name)[:-1], "", None, 7, b"bytes"):
        assert wrong_with(msgspec.structs.replace(event, **{name: value})) is not None


def test_names_cannot_be_moved_into_each_other() -> None:
    """Each has its length before it."""
    event = events_of_vectors()[0]
    assert wrong_with(msgspec.structs.replace(event, type="signal.publisheda", id="-1")) is not None


def test_sealing_chains_and_salts() -> None:
    draft = Draft(type="signal.published", id="a", body=b'{"data":{}}', draft_hash=b"", version=3)
    one, two = (
        seal(draft, channel="main", epoch="e", seq=seq, ts_us=5, prev=prev)
        for seq, prev in ((1, NO_HASH), (2, b"p" * 32))
    )
    assert wrong_with(one) is None
    assert wrong_with(two) is None
    assert (one.seq, one.version, one.ts_us, one.prev, one.body) == (1, 3, 5, NO_HASH, draft.body)
    assert one.salt != two.salt
    assert one.body_hash != two.body_hash


def test_what_was_sent_is_the_same_draft_in_any_order_of_keys() -> None:
    assert hash_of_draft({"a": 1, "b": {"d": 2, "c": 3}}) == hash_of_draft({"b": {"c": 3, "d": 2}, "a": 1})
    assert hash_of_draft({"a": 1}) != hash_of_draft({"a": "1"})


def test_the_next_seq_leaps_over_what_is_void() -> None:
    first, second, empty, fourth = (
        Epoch(name, *span, NO_HASH, "")
        for name, span in (("a", (1, 0)), ("b", (100, 10)), ("c", (200, 150)), ("d", (300, 199)))
    )
    epochs = (first, second, empty, fourth)
    for after, expected in ((0, 1), (9, 10), (10, 100), (50, 100), (100, 101), (149, 150), (300, 301)):
        assert next_seq(epochs, after) == expected, after
    assert next_seq(epochs, 150) == 300, "an epoch without events is leapt over"
    assert next_seq((first,), 10**6) == 10**6 + 1


def test_epochs_names_are_their_own() -> None:
    names = {new_epoch_name() for _ in range(100)}
    assert len(names) == 100
    assert all(len(name) == 12 and int(name, 16) >= 0 for name in names)


def test_times_go_to_text_and_back() -> None:
    for ts_us in (0, 1, 999_999, 1_790_000_000_000_123, 4_102_444_799_999_999):
        assert parse_iso(iso(ts_us)) == ts_us
    assert iso(1_790_000_000_000_123) == "2026-09-21T14:13:20.000123Z"
    assert parse_iso("2026-09-21T16:13:20.000123+02:00") == 1_790_000_000_000_123
    assert parse_iso("2026-09-21T14:13:20") is None, "without an offset it is no moment"
    assert parse_iso("yesterday") is None
    texts = [iso(ts_us) for ts_us in (5, 40, 300, 2_000_000)]
    assert all(a < b for a, b in pairwise(texts)), "as texts they sort as times do"


def test_a_position_is_written_as_server_sent_events_carry_it() -> None:
    assert str(Position("main", "0123456789ab", 7, "9f3a01c2")) == "0123456789ab:7:9f3a01c2"


@pytest.mark.parametrize("name", ["main", "a", "0", "a.b-c_d", "x" * 64])
def test_a_channel_may_be_called(name: str) -> None:
    assert check_channel_name(name) == name


@pytest.mark.parametrize("name", ["", "Main", "-a", ".a", "a b", "a/b", "é", "x" * 65, "main\n", None, 7])
def test_a_channel_may_not_be_called(name: object) -> None:
    with pytest.raises(InvalidName) as refused:
        check_channel_name(name)
    assert refused.value.field == "channel"
    assert refused.value.allowed


@pytest.mark.parametrize("id", ["a", "x" * 128, "ünï 🚀", "'; DROP TABLE ids", "a/b:c#1"])
def test_an_id_may_be(id: str) -> None:
    assert check_id(id) == id


@pytest.mark.parametrize("id", ["", "x" * 129, "a~2", "a\nb", "a\x00b", "\ud800", None, 7, b"a"])
def test_an_id_may_not_be(id: object) -> None:
    with pytest.raises(InvalidName) as refused:
        check_id(id, "Idempotency-Key")
    assert refused.value.field == "Idempotency-Key"
