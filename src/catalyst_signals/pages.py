"""A page: a stretch of frames that every cursor standing in it shares.

Owns: which frames of a page match a group, and the joined bytes of a cut. Knows nothing of sockets or stores.
Law: a page is matched at most once a group, and once through the index when many groups stand in it.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from catalyst_signals.events import Frame
from catalyst_signals.filter_glance import decoder_for, glances
from catalyst_signals.filters import Filter
from catalyst_signals.modifiers import NEVER, Reason
from catalyst_signals.tape import Group, Subscriber, Tape

PAGE_EVENTS = 256
CUT_BYTES_MAX = 64 << 10  # The most that is handed to one transport at once: what a stalled reader can cost us.
_CUTS_KEPT = 4  # Joined bytes kept a page for others in the same place: at most 256 KiB beside the page itself.
_GROUPS_BY_FILTER = 8  # Up to here each keyless filter by itself is cheaper than the whole index (bench/match).


@dataclass(frozen=True, slots=True)
class Cut:
    """What one cursor gets from a page: joined frames, how many, what is held back, and the place it has then reached.

    It is the same until `good_until_us`, when one of its frames becomes too old.
    """

    data: bytes
    count: int
    held: Sequence[tuple[int, Reason]]
    through: Frame
    good_until_us: int


class Page:
    """Frames `after + 1 ... last` of one channel, in order.

    `next_versions` has, of the signals in it that changed, the seq of the version that follows; as of `known_through`.
    """

    __slots__ = (
        "_alone",
        "_cuts",
        "_hits",
        "_places",
        "_seqs",
        "frames",
        "known_through",
        "last",
        "next_versions",
        "size",
    )

    def __init__(self, frames: Sequence[Frame]) -> None:
        self.frames = frames
        self.last = frames[-1].seq
        self.size = sum(f.size for f in frames) + _CUTS_KEPT * CUT_BYTES_MAX // 2
        self._seqs = [f.seq for f in frames]
        self._hits: dict[Group, list[int]] = {}
        self._cuts: dict[tuple[Group, int], Cut] = {}
        self._places: dict[str, Places] = {}
        self._alone = 0  # Groups that were asked event by event, for want of a key.
        self.next_versions: dict[int, int] = {}
        self.known_through = 0

    def cut(self, subscriber: Subscriber, now_us: int) -> Cut:
        """The next frames for a subscriber, up to CUT_BYTES_MAX; kept when others may stand in the same place."""
        group, after = subscriber.group, subscriber.judged
        if subscriber.modifiers.looks_around:
            return self._cut(subscriber, now_us)
        found = self._cuts.get((group, after))
        if found is None or found.good_until_us <= now_us:
            found = self._cut(subscriber, now_us)
            if group.members > 1:
                if len(self._cuts) == _CUTS_KEPT:
                    del self._cuts[next(iter(self._cuts))]
                self._cuts[group, after] = found
        return found

    def _cut(self, subscriber: Subscriber, now_us: int) -> Cut:
        age, survey = subscriber.group.age, subscriber.survey
        hits = self._hits_of(subscriber.group, subscriber.tape)
        parts: list[bytes] = []
        held: list[tuple[int, Reason]] = []
        room, good_until_us = CUT_BYTES_MAX, NEVER
        through = self.frames[-1]
        if survey is not None and self.last > survey.until:
            through = self.frames[bisect_right(self._seqs, survey.until) - 1]
        for i in hits[bisect_left(hits, bisect_right(self._seqs, subscriber.judged)) :]:
            frame = self.frames[i]
            if frame.seq > through.seq:
                break
            held_from_us = age.holds_from_us(frame) if age.looks_at(frame) else NEVER
            reason = age.holds(frame, now_us) if held_from_us <= now_us else self._replaced(subscriber, frame)
            if reason is not None:
                held.append((frame.seq, reason))
                continue
            room -= len(frame.ws)
            if parts and room < 0:
                through = self.frames[i - 1]
                break
            parts.append(frame.ws)
            good_until_us = min(good_until_us, held_from_us)
        return Cut(b"".join(parts), len(parts), held, through, good_until_us)

    def _replaced(self, subscriber: Subscriber, frame: Frame) -> Reason | None:
        """Whether something later makes the frame superfluous, for those who asked for that."""
        if not subscriber.modifiers.looks_around:
            return None
        if subscriber.modifiers.ended == "hold" and self.next_versions.get(frame.seq, NEVER) <= subscriber.head:
            return "ended"
        return "replaced" if subscriber.survey is not None and subscriber.survey.replaces(frame) else None

    def hash8_before(self, after: int) -> str:
        """The hash8 that whoever stands at `after` must have, to go on with what follows in this page."""
        return self.frames[bisect_right(self._seqs, after)].prev8

    def matching(self, group: Group, tape: Tape) -> list[Frame]:
        """The frames a group wants."""
        return [self.frames[i] for i in self._hits_of(group, tape)]

    def _hits_of(self, group: Group, tape: Tape) -> list[int]:
        hits = self._hits.get(group)
        if hits is not None:
            return hits
        key = group.filter.key
        if key is None:
            self._alone += 1
            if self._alone == _GROUPS_BY_FILTER:
                self._match_all(tape)
                return self._hits_of(group, tape)
        if len(self._hits) > _GROUPS_BY_FILTER + 2 * len(tape.groups):  # Of groups that are gone by now.
            self._hits = {each: self._hits[each] for each in tape.groups.values() if each in self._hits}
        hits = picked(group.filter, self.frames) if key is None else self._looked_up(group.filter, *key)
        self._hits[group] = hits
        return hits

    def _looked_up(self, filter: Filter, field: str, values: Collection[Any]) -> list[int]:
        """Only what has one of the values is judged: thousands of filters may come by one after the other."""
        places = self._places.get(field)
        if places is None:
            places = self._places[field] = Places(field, self.frames)
        found = sorted({*places.others, *(i for value in values for i in places.of.get(value, ()))})
        return [found[i] for i in picked(filter, [self.frames[i] for i in found])]

    def _match_all(self, tape: Tape) -> None:
        """Match the page once for every group there is; one that joins later is matched by its own filter."""
        hits: dict[Group, list[int]] = {group: [] for group in tape.groups.values()}
        for i, frame in enumerate(self.frames):
            for group in tape.match(frame):
                hits[group].append(i)
        self._hits = hits


class Places:
    """Where in a page each value of a field stands; `others` are no signals, or speak of several versions."""

    __slots__ = ("of", "others")

    def __init__(self, field: str, frames: Sequence[Frame]) -> None:
        self.of: dict[Any, list[int]] = {}
        self.others: list[int] = []
        for i, facts in enumerate(glances(decoder_for({field}), [frame.text for frame in frames])):
            if facts is None or facts.lenient:
                self.others.append(i)
            else:
                self.of.setdefault(facts[field], []).append(i)


def wants(filter: Filter, frame: Frame) -> bool:
    """Whether a filter matches a frame."""
    return bool(picked(filter, (frame,)))


def picked(filter: Filter, frames: Sequence[Frame]) -> list[int]:
    """Which frames a filter matches; everything matches unless erased, which needs no decoding to see."""
    if not filter.text:
        return [i for i, frame in enumerate(frames) if not frame.erased]
    return filter.picks([frame.ws[frame.head_bytes :] for frame in frames])


class PageCache:
    """The pages read last, bounded in bytes; keys are (channel, after)."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._pages: OrderedDict[tuple[str, int], Page] = OrderedDict()
        self._bytes = 0

    def get(self, key: tuple[str, int]) -> Page | None:
        """The page kept under `key`, which is then the last one to go."""
        page = self._pages.get(key)
        if page is not None:
            self._pages.move_to_end(key)
        return page

    def put(self, key: tuple[str, int], page: Page) -> None:
        """Keep a page; the least recently used go when there are too many bytes."""
        self.forget(key)
        self._pages[key] = page
        self._bytes += page.size
        while self._bytes > self._bytes_max and len(self._pages) > 1:
            self._bytes -= self._pages.popitem(last=False)[1].size

    def forget(self, key: tuple[str, int]) -> None:
        """Let go of one page, if it is there."""
        page = self._pages.pop(key, None)
        if page is not None:
            self._bytes -= page.size

    def forget_channel(self, channel: str) -> None:
        """Let go of every page of a channel."""
        for key in [k for k in self._pages if k[0] == channel]:
            self.forget(key)
