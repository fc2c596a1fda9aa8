"""Nothing that is held back is lost, nothing is told twice, and no rule of a target is broken (workers/pacing.py).

Each rule by itself, then every rule at once against a clock that hypothesis sets.
"""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from catalyst_signals.workers import pacing
from catalyst_signals.workers.pacing import HOUR_US, MINUTE_US, SECOND_US, Pace, Quiet, Rules


def at(text: str) -> int:
    """A moment in UTC, in microseconds."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * SECOND_US


def test_without_rules_everything_goes_at_once() -> None:
    pace = Pace()
    assert all(pacing.offer(Rules(), pace, seq, "ACME", seq) for seq in range(100))
    assert pacing.due_us(Rules(), pace, 100) is None


def test_quiet_hours_hold_by_the_clock_of_their_zone_and_end_in_one_digest() -> None:
    rules, pace = Rules(quiet=Quiet("22:00", "07:00", "Europe/Berlin")), Pace()
    assert pacing.offer(rules, pace, 1, "", at("2026-11-26T20:59:00"))  # 21:59 in Berlin.
    assert not pacing.offer(rules, pace, 2, "", at("2026-11-26T21:00:00"))
    assert not pacing.offer(rules, pace, 3, "", at("2026-11-27T05:59:59"))
    assert pacing.due_us(rules, pace, at("2026-11-27T05:59:59")) == at("2026-11-27T06:00:00")
    assert [held.seq for held in pacing.take(pace, 10)] == [2, 3] and pace.held == []


def test_quiet_hours_end_at_the_time_of_the_day_also_when_the_clock_was_changed_that_night() -> None:
    quiet = Quiet("22:00", "07:00", "America/New_York")
    night = at("2026-11-01T03:30:00")  # 23:30 of the 31st of October; an hour is put in at 02:00.
    assert quiet.covers(night) and quiet.over_us(night) == at("2026-11-01T12:00:00")


def test_no_more_than_so_many_messages_an_hour_and_a_digest_is_one_of_them() -> None:
    rules, pace = Rules(max_per_hour=2), Pace()
    for seq, now_us in enumerate((0, SECOND_US)):
        assert pacing.offer(rules, pace, seq, "", now_us)
        pacing.sent(rules, pace, set(), now_us)
    assert not pacing.offer(rules, pace, 2, "", 2 * SECOND_US)
    assert pacing.due_us(rules, pace, 3 * SECOND_US) == HOUR_US
    pacing.take(pace, 9)
    pacing.sent(rules, pace, set(), HOUR_US)
    assert not pacing.offer(rules, pace, 3, "", HOUR_US + 1)
    assert pacing.due_us(rules, pace, HOUR_US + 1) == HOUR_US + SECOND_US


def test_a_cooldown_is_of_one_symbol() -> None:
    rules, pace = Rules(cooldown_s=60), Pace()
    assert pacing.offer(rules, pace, 1, "ACME", 0)
    pacing.sent(rules, pace, {"ACME"}, 0)
    assert not pacing.offer(rules, pace, 2, "ACME", 59 * SECOND_US)
    assert pacing.offer(rules, pace, 3, "GLBX", 59 * SECOND_US)
    assert pacing.offer(rules, pace, 4, "", 59 * SECOND_US), "what is about no instrument has no cooldown"
    assert pacing.due_us(rules, pace, 0) == 60 * SECOND_US
    assert pacing.offer(rules, pace, 5, "ACME", 60 * SECOND_US)


def test_what_a_service_refuses_for_now_comes_before_all_else_and_not_earlier() -> None:
    rules, pace = Rules(), Pace()
    assert pacing.offer(rules, pace, 1, "", 0)
    pacing.hold_again(pace, [pacing.Held(1, "rate_limit", 0)], 30 * SECOND_US)
    assert not pacing.offer(rules, pace, 2, "", 1)
    assert pacing.due_us(rules, pace, 1) == 30 * SECOND_US
    assert [held.seq for held in pacing.take(pace, 9)] == [1, 2]


def test_rules_that_are_lifted_hold_nothing_any_more() -> None:
    pace = Pace()
    assert not pacing.offer(Rules(digest_s=3600), pace, 1, "", 5)
    pacing.ruled_anew(pace)
    assert pacing.due_us(Rules(), pace, 6) == 6


quiets = st.builds(
    Quiet, st.sampled_from(["22:00", "00:00", "02:30"]), st.sampled_from(["07:00", "23:59", "02:00"]),
    st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata"]),
)  # fmt: skip
rules = st.builds(
    Rules, max_per_hour=st.none() | st.integers(1, 5), per_minute=st.none() | st.integers(1, 3),
    quiet=st.none() | quiets, cooldown_s=st.sampled_from([0, 5, 900]), digest_s=st.sampled_from([0, 60, 3600]),
)  # fmt: skip
happenings = st.lists(
    st.tuples(st.integers(0, 4 * 3600), st.sampled_from(["ACME", "GLBX", ""]), st.sampled_from(["sent", "limited"])),
    max_size=40,
)


@given(rules, happenings)
def test_every_event_is_in_exactly_one_message_and_no_rule_is_broken(rules: Rules, happenings: list) -> None:  # type: ignore[type-arg]
    pace, now_us = Pace(), at("2026-10-24T20:00:00")  # The night in which Berlin's clocks go back.
    told: list[int] = []
    messages: list[int] = []
    spoken: dict[str, int] = {}
    symbols: dict[int, str] = {}

    def message(seqs: list[int], ends: str) -> None:
        assert rules.quiet is None or not rules.quiet.covers(now_us)
        assert now_us >= pace.paused_us
        if ends == "limited":
            pacing.hold_again(pace, [pacing.Held(seq, "", 0) for seq in seqs], now_us + 30 * SECOND_US)
            return
        told.extend(seqs)
        messages.append(now_us)
        pacing.sent(rules, pace, {symbols[seq] for seq in seqs}, now_us)
        spoken.update({symbols[seq]: now_us for seq in seqs})

    def digests_until(end_us: int) -> None:
        nonlocal now_us
        while (due_us := pacing.due_us(rules, pace, now_us)) is not None and due_us <= end_us:
            now_us = max(now_us, due_us)
            message([held.seq for held in pacing.take(pace, 7)], "sent")

    for seq, (pause_s, symbol, ends) in enumerate(happenings):
        later_us = now_us + pause_s * SECOND_US
        digests_until(later_us)
        now_us, symbols[seq] = later_us, symbol
        if pacing.offer(rules, pace, seq, symbol, now_us):
            assert not (rules.digest_s or (rules.cooldown_s and symbol and symbol in spoken)) or (
                not rules.digest_s and now_us >= spoken[symbol] + rules.cooldown_s * SECOND_US
            )
            message([seq], ends)
    digests_until(now_us + 1000 * HOUR_US)
    assert sorted(told) == list(range(len(happenings)))
    for most, within_us in ((rules.max_per_hour, HOUR_US), (rules.per_minute, MINUTE_US)):
        if most is not None:
            pairs = zip(messages, messages[most:], strict=False)
            assert all(later - earlier >= within_us for earlier, later in pairs)


def test_quiet_hours_end_where_the_clock_jumps_over_their_end() -> None:
    """There is no 02:30 on that day: what is held comes when what is new does."""
    quiet = Quiet("22:00", "02:30", "Europe/Berlin")
    night = datetime(2026, 3, 29, 1, 0, 30, tzinfo=ZoneInfo("Europe/Berlin"))
    over = datetime(2026, 3, 29, 3, 0, tzinfo=ZoneInfo("Europe/Berlin"))
    assert quiet.over_us(int(night.timestamp() * SECOND_US)) == int(over.timestamp() * SECOND_US)
