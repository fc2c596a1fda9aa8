"""One connection without sockets: what a message asks for, and where a position resumes (the table of PROTOCOL.md)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from catalyst_signals.errors import (
    CatalystError,
    EpochChanged,
    InvalidJson,
    PositionAhead,
    PositionTooOld,
    Unauthenticated,
)
from catalyst_signals.events import NO_HASH, Epoch
from catalyst_signals.modifiers import Modifiers
from catalyst_signals.session import Ack, Auth, Publish, Refusal, Standing, Subscribe, Unsubscribe, read, resume

# Restored once: `old` ended at 50, `new` begins at 1,000,051 and now ends at 1,000,060; the first kept is 11.
LOG = Standing(
    epochs=(Epoch("old", 1, 0, NO_HASH, "created"), Epoch("new", 1_000_051, 50, NO_HASH, "restored")),
    first=11, before8="before10", head=1_000_060, head8="headhash",
)  # fmt: skip


@pytest.mark.parametrize(
    ("after", "epoch", "hash8", "known8", "seq"),
    [
        (None, None, None, None, 1_000_060),
        (20, None, None, None, 20),
        (20, "old", None, None, 20),
        (50, "old", "a", "a", 50),
        (1_000_055, "new", "b", "b", 1_000_055),
        (10, "old", "before10", "before10", 10),
        (1_000_050, "new", None, None, 1_000_050),
    ],
)
def test_a_good_position_resumes_exactly(
    after: int | None, epoch: str | None, hash8: str | None, known8: str | None, seq: int
) -> None:
    """Nothing missing, nothing twice."""
    assert resume(LOG, after=after, epoch=epoch, hash8=hash8, known8=known8) == seq


@pytest.mark.parametrize(
    ("after", "epoch", "hash8", "error", "told"),
    [
        (51, "old", None, EpochChanged, {"void": [51, 1_000_050], "resume_after": 1_000_050}),
        (20, "never", None, EpochChanged, {"void": [1, 20], "resume_after": 10}),
        (20, "old", "other", EpochChanged, {"void": [1, 20], "resume_after": 10}),
        (51, None, None, EpochChanged, {"void": [51, 1_000_050], "resume_after": 1_000_050}),
        (1_000_061, "new", None, PositionAhead, {"head": 1_000_060}),
        (1_000_061, None, None, PositionAhead, {"head": 1_000_060}),
        (1_000_061, "new", "x", PositionAhead, {"head": 1_000_060, "void": [1, 1_000_061], "resume_after": 10}),
        (9, None, None, PositionTooOld, {"first": 11}),
    ],
)
def test_a_lost_position_is_told_with_the_range_and_where_to_go_on(
    after: int, epoch: str | None, hash8: str | None, error: type[CatalystError], told: dict[str, object]
) -> None:
    """Never a silent jump."""
    with pytest.raises(error) as refused:
        resume(LOG, after=after, epoch=epoch, hash8=hash8, known8="known")
    assert refused.value.as_dict() | told == refused.value.as_dict()


@pytest.mark.parametrize(
    ("seq", "epoch"), [(0, "old"), (50, "old"), (51, "new"), (1_000_050, "new"), (1_000_051, "new"), (1_000_060, "new")]
)
def test_every_place_that_is_given_out_can_be_given_back(seq: int, epoch: str) -> None:
    """Also the end of a void, where whoever lost their place goes on: it names the epoch that begins after it."""
    assert LOG.epoch_at(seq) == epoch
    if seq >= LOG.first and seq != 51:
        assert resume(LOG, after=seq, epoch=LOG.epoch_at(seq), hash8=None, known8=None) == seq


@pytest.mark.parametrize(
    ("after", "hash8", "known8", "told"),
    [
        (40, None, None, None),
        (45, "same", "same", None),
        (45, None, "new", {"void": [41, 1_000_050], "resume_after": 40}),
        (45, "old", "new", {"void": [41, 1_000_050], "resume_after": 40}),
        (60, "old", None, {"void": [41, 1_000_050], "resume_after": 40}),
    ],
)
def test_where_others_wrote_on_before_a_rewind_was_noticed_only_the_hash_decides(
    after: int, hash8: str | None, known8: str | None, told: dict[str, object] | None
) -> None:
    """Events 41 to 50 of the older epoch are not what some were given under these numbers."""
    epochs = (LOG.epochs[0], replace(LOG.epochs[1], reason="rewound after 40"))
    log = replace(LOG, epochs=epochs)
    if told is None:
        assert resume(log, after=after, epoch="old", hash8=hash8, known8=known8) == after
        return
    with pytest.raises(EpochChanged) as refused:
        resume(log, after=after, epoch="old", hash8=hash8, known8=known8)
    assert refused.value.extra | told == refused.value.extra


def test_every_message_type_is_read_into_its_command() -> None:
    """What a client sends, and nothing more, is what is done."""
    assert read('{"type":"auth","key":"cat_x","ref":1}', authenticated=False) == Auth(1, "cat_x")
    subscribe = read(
        '{"type":"subscribe","ref":"a","channel":"main","filter":"x","after":5,"epoch":"e","hash":"h","position_s":3,'
        '"stale":"send","max_age_s":60,"mode":"latest","ended":"hold"}',
        authenticated=True,
    )
    assert subscribe == Subscribe("a", ("main",), "x", 5, "e", "h", 3, Modifiers("send", 60, "latest", "hold"))
    everything = read('{"type":"subscribe","channels":"*"}', authenticated=True)
    assert isinstance(everything, Subscribe) and everything.channels is None
    assert read('{"type":"unsubscribe","channel":"main"}', authenticated=True) == Unsubscribe(None, "main")
    assert read('{"type":"publish","signal":{}}', authenticated=True) == Publish(None, "main", {})


def test_prices_keep_their_digits_over_the_socket_too() -> None:
    """The same draft over REST and over the socket is the same draft."""
    command = read('{"type":"publish","signal":{"stop":9.40}}', authenticated=True)
    assert isinstance(command, Publish) and str(command.signal["stop"]) == "9.40"  # type: ignore[index]


@pytest.mark.parametrize("name", ["stale", "max_age_s", "mode", "ended"])
def test_a_modifier_with_a_value_it_cannot_have_is_refused_with_what_it_can(name: str) -> None:
    """A client that asks for something must know that it does not get it."""
    with pytest.raises(Refusal) as refused:
        read(f'{{"type":"subscribe","channel":"main","{name}":"x","ref":4}}', authenticated=True)
    assert refused.value.error.field == name and refused.value.error.allowed and refused.value.ref == 4


@pytest.mark.parametrize(
    ("message", "field"),
    [
        ('{"type":"subscribe","channel":"main","aftr":0}', "aftr"),
        ('{"type":"publish","signal":{},"chanel":"x"}', "chanel"),
        ('{"type":["subscribe"]}', "type"),
        ('{"type":{}}', "type"),
        ('{"type":"subscribe","channels":"*","after":5}', "after"),
    ],
)
def test_a_mistyped_option_is_refused_and_not_ignored(message: str, field: str) -> None:
    """`aftr` would silently mean "from now on"."""
    with pytest.raises(Refusal) as refused:
        read(message, authenticated=True)
    assert refused.value.error.field == field


def test_a_ref_comes_back_as_it_was() -> None:
    """Whatever a client counts with."""
    command = read('{"type":"unsubscribe","channel":"main","ref":1.50}', authenticated=True)
    assert command.ref == 1.5 and isinstance(command.ref, float)


def test_nothing_but_auth_is_accepted_before_authentication() -> None:
    """Nothing is open by default."""
    with pytest.raises(Refusal) as refused:
        read('{"type":"subscribe","channel":"main"}', authenticated=False)
    assert isinstance(refused.value.error, Unauthenticated)
    with pytest.raises(InvalidJson):
        read("{", authenticated=True)


def test_a_position_for_several_channels_at_once_is_refused() -> None:
    """A position belongs to one channel."""
    with pytest.raises(Refusal):
        read('{"type":"subscribe","channels":["a","b"],"after":5}', authenticated=True)


@pytest.mark.parametrize(
    "text",
    [
        '{"type":"ack","channel":"main","through":7}',
        '{"type":"ack","through":7}',
        '{"through":7,"type":"ack","channel":"main"}',
        '{"type": "ack", "channel": "main", "through": 7}',
    ],
)
def test_an_acknowledgement_is_read_alike_however_it_is_written(text: str) -> None:
    """The short way, for what comes most often, and the long way say the same."""
    assert read(text, authenticated=True) == Ack(None, "main", 7)


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ('{"type":"ack","channel":"main","through":-1}', "through"),
        ('{"type":"ack","channel":"main","through":9223372036854775808}', "through"),
        ('{"type":"ack","channel":"main","through":7.5}', "through"),
        ('{"type":"ack","channel":"main"}', "through"),
        ('{"type":"ack","channel":"main","trough":7}', "trough"),
        ('{"type":"ack","channel":7,"through":7}', "channel"),
    ],
)
def test_an_acknowledgement_that_is_none_is_refused_by_field(text: str, field: str) -> None:
    """With its `ref`, as every message."""
    for ref in ("", '"ref":5,'):
        with pytest.raises(Refusal) as refused:
            read(text.replace('"channel"', ref + '"channel"', 1), authenticated=True)
        assert refused.value.error.field == field
        assert refused.value.ref == (5 if ref else None)
