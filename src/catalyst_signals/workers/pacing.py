"""When a target is told something at once, and when it is held back and told later, together with the rest.

Owns: `max_per_hour`, `quiet_hours`, `cooldown_per_symbol_s`, `digest`, and what the target's own service takes. Knows
nothing of events or messages, and never waits: the time is given.
Law: whatever is offered is to be sent now or is held, and what is held comes out once, in order; nothing is dropped.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import msgspec

HELD_MAX = 1000  # Then nothing more is taken from the log: what waits there is safe.
REASONS = ("quiet_hours", "rate_limit", "max_per_hour", "cooldown", "digest")
SECOND_US = 1_000_000
MINUTE_US = 60 * SECOND_US
HOUR_US = 3600 * SECOND_US


class Quiet(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"begins": "from", "ends": "to"}):
    """From when to when of each day nothing is said: `22:00`, `07:00`, by the clock of a time zone."""

    begins: str
    ends: str
    tz: str = "UTC"

    def covers(self, at_us: int) -> bool:
        """Whether it is quiet at that moment."""
        clock = f"{_local(at_us, self.tz):%H:%M}"
        if self.begins <= self.ends:
            return self.begins <= clock < self.ends
        return clock >= self.begins or clock < self.ends

    def over_us(self, at_us: int) -> int:
        """The next moment after `at_us`, at which it is quiet, at which the clock shows its end or jumps over it."""
        local = _local(at_us, self.tz)
        hour, minute = map(int, self.ends.split(":"))
        end = local.replace(hour=hour, minute=minute, second=0, microsecond=0)
        if end.timestamp() * SECOND_US <= at_us:
            end = (end + timedelta(days=1)).replace(fold=0)
        end_us = round(end.timestamp() * SECOND_US)
        while end_us - MINUTE_US > at_us and not self.covers(end_us - MINUTE_US):
            end_us -= MINUTE_US
        return end_us


class Rules(msgspec.Struct, frozen=True):
    """What a target asked for, and what its service takes in a minute."""

    max_per_hour: int | None = None
    per_minute: int | None = None
    quiet: Quiet | None = None
    cooldown_s: int = 0
    digest_s: int = 0


class Held(msgspec.Struct, frozen=True, array_like=True):
    """An event that waits: why, and until when at least."""

    seq: int
    reason: str
    until_us: int


class Pace(msgspec.Struct):
    """What has to be remembered to keep the rules; kept with the target's place."""

    held: list[Held] = []
    sent_us: list[int] = []  # When messages were sent, as far as a limit counts them.
    cooled_us: dict[str, int] = {}  # By symbol: from when on it may be spoken of again.
    paused_us: int = 0  # The service itself said: not before then.


def offer(rules: Rules, pace: Pace, seq: int, symbol: str, now_us: int) -> bool:
    """Whether the event is to be sent now; if not, it is held from here on."""
    found = _why(rules, pace, symbol, now_us)
    if found is not None:
        pace.held.append(Held(seq, *found))
    return found is None


def _why(rules: Rules, pace: Pace, symbol: str, now_us: int) -> tuple[str, int] | None:
    """The first reason to hold it, and until when that holds."""
    if rules.quiet is not None and rules.quiet.covers(now_us):
        return "quiet_hours", rules.quiet.over_us(now_us)
    free_us = max(pace.paused_us, _slot_us(pace, rules.per_minute, MINUTE_US, now_us))
    if free_us > now_us:
        return "rate_limit", free_us
    free_us = _slot_us(pace, rules.max_per_hour, HOUR_US, now_us)
    if free_us > now_us:
        return "max_per_hour", free_us
    if symbol and pace.cooled_us.get(symbol, 0) > now_us:
        return "cooldown", pace.cooled_us[symbol]
    if rules.digest_s:
        return "digest", _next_us(now_us, rules.digest_s * SECOND_US)
    return None


def due_us(rules: Rules, pace: Pace, now_us: int) -> int | None:
    """When what is held is to be told in one message; None while nothing is held."""
    if not pace.held:
        return None
    return free_us(rules, pace, max(now_us, min(held.until_us for held in pace.held)))


def free_us(rules: Rules, pace: Pace, now_us: int) -> int:
    """The first moment from now on at which a message may be sent at all."""
    at_us = max(now_us, pace.paused_us)
    for _ in range(8):  # Each may move it into another; a day has two ends of quiet hours at most.
        before_us = at_us
        if rules.quiet is not None and rules.quiet.covers(at_us):
            at_us = rules.quiet.over_us(at_us)
        at_us = max(at_us, _slot_us(pace, rules.per_minute, MINUTE_US, at_us))
        at_us = max(at_us, _slot_us(pace, rules.max_per_hour, HOUR_US, at_us))
        if at_us == before_us:
            break
    return at_us


def take(pace: Pace, count: int) -> list[Held]:
    """The oldest that are held, out of it; whoever takes them tells them, or puts them where they are not lost."""
    taken, pace.held = pace.held[:count], pace.held[count:]
    return taken


def hold_again(pace: Pace, held: list[Held], until_us: int) -> None:
    """What was to be told now is held before all else, because the service said: not before then."""
    pace.paused_us = max(pace.paused_us, until_us)
    pace.held = [Held(each.seq, "rate_limit", until_us) for each in held] + pace.held


def sent(rules: Rules, pace: Pace, symbols: set[str], now_us: int) -> None:
    """A message went out, and spoke of these symbols."""
    keep = max(rules.max_per_hour or 0, rules.per_minute or 0)
    pace.sent_us = [*pace.sent_us, now_us][-keep:] if keep else []
    if rules.cooldown_s:
        until_us = now_us + rules.cooldown_s * SECOND_US
        pace.cooled_us = {name: us for name, us in pace.cooled_us.items() if us > now_us}
        pace.cooled_us |= {symbol: until_us for symbol in symbols if symbol}


def ruled_anew(pace: Pace) -> None:
    """Other rules hold from now on: what waits does so for those, and no longer for the old ones."""
    pace.held = [Held(each.seq, each.reason, 0) for each in pace.held]


def _slot_us(pace: Pace, most: int | None, within_us: int, at_us: int) -> int:
    """When fewer than `most` messages lie within so long before."""
    if most is None:
        return 0
    recent = [us for us in pace.sent_us if us > at_us - within_us]
    return recent[-most] + within_us if len(recent) >= most else 0


def _next_us(now_us: int, every_us: int) -> int:
    return (now_us // every_us + 1) * every_us


def _local(at_us: int, tz: str) -> datetime:
    return datetime.fromtimestamp(at_us // SECOND_US, UTC).astimezone(ZoneInfo(tz))
