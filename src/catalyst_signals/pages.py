"""A page: a stretch of frames that every cursor standing in it shares.

Owns: which frames of a page match a group, and the joined bytes of a cut. Knows nothing of sockets or stores.
Law: a page is matched at most once a group, and once through the index when many groups stand in it.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from catalyst_signals.events import Frame
from catalyst_signals.filters import Filter
from catalyst_signals.tape import Group, Tape

PAGE_EVENTS = 256
CUT_BYTES_MAX = 64 << 10  # The most that is handed to one transport at once: what a stalled reader can cost us.
_CUTS_KEPT = 4  # Joined bytes kept a page for others in the same place: at most 256 KiB beside the page itself.
_GROUPS_BY_FILTER = 8  # Up to here each group's own filter is cheaper than the whole index (bench/match, 2026-11).


@dataclass(frozen=True, slots=True)
class Cut:
    """What one cursor gets from a page: joined frames, how many, and the place it has then reached."""

    data: bytes
    count: int
    through: Frame


class Page:
    """Frames `after + 1 ... last` of one channel, in order."""

    __slots__ = ("_cuts", "_hits", "_seqs", "frames", "last", "size")

    def __init__(self, frames: Sequence[Frame]) -> None:
        self.frames = frames
        self.last = frames[-1].seq
        self.size = sum(len(f.ws) for f in frames)
        self._seqs = [f.seq for f in frames]
        self._hits: dict[Group, list[int]] = {}
        self._cuts: dict[tuple[Group, int], Cut] = {}

    def cut(self, group: Group, tape: Tape, after: int) -> Cut:
        """The next matching frames after `after` for a group, up to CUT_BYTES_MAX; kept when the group has others."""
        found = self._cuts.get((group, after))
        if found is None:
            found = self._cut(self._hits_of(group, tape), bisect_right(self._seqs, after))
            if group.members > 1:
                if len(self._cuts) == _CUTS_KEPT:
                    del self._cuts[next(iter(self._cuts))]
                self._cuts[group, after] = found
        return found

    def _cut(self, hits: list[int], start: int) -> Cut:
        parts: list[bytes] = []
        room = CUT_BYTES_MAX
        through = self.frames[-1]
        for i in hits[bisect_left(hits, start) :]:
            ws = self.frames[i].ws
            room -= len(ws)
            if parts and room < 0:
                break
            parts.append(ws)
            through = self.frames[i]
        else:
            through = self.frames[-1]
        return Cut(b"".join(parts), len(parts), through)

    def _hits_of(self, group: Group, tape: Tape) -> list[int]:
        if group not in self._hits and len(self._hits) == _GROUPS_BY_FILTER:
            self._match_all(tape)
        hits = self._hits.get(group)
        if hits is None:
            hits = self._hits[group] = [i for i, frame in enumerate(self.frames) if wants(group.filter, frame)]
        return hits

    def _match_all(self, tape: Tape) -> None:
        """Match the page once for every group there is; one that joins later is matched by its own filter."""
        hits: dict[Group, list[int]] = {group: [] for group in tape.groups.values()}
        for i, frame in enumerate(self.frames):
            for group in tape.match(frame):
                hits[group].append(i)
        self._hits = hits


def wants(filter: Filter, frame: Frame) -> bool:
    """Whether a filter matches a frame; everything matches unless erased, which needs no decoding to see."""
    if not filter.text:
        return not frame.erased
    matched = filter.matches(frame.doc)
    frame.forget()
    return matched


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
