"""One document from outside: conditional, bounded, and never from an address that was not checked.

Covers `catalyst_signals.workers.fetching` over a real HTTP server on this machine.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from ipaddress import ip_network

import pytest

from catalyst_signals.workers.fetching import APART_S, Document, Refusal, Seen, Turns, fetch
from catalyst_signals.workers.outside import NotAllowed, NotReached
from tests.feed_server import FeedServer, feed_of

HERE = [ip_network("127.0.0.0/8")]


@pytest.fixture
def feed() -> Iterator[FeedServer]:
    with FeedServer() as running:
        running.titles = ["one"]
        yield running


async def get(url: str, seen: Seen | None = None, **more: object) -> Document | None:
    """As a feed is fetched."""
    networks = HERE if more.get("here", True) else []
    return await fetch(url, seen or Seen(), {"User-Agent": "test"}, networks, Turns())


async def test_what_did_not_change_is_not_sent_again(feed: FeedServer) -> None:
    first = await get(feed.url)
    assert first is not None and first.body == feed_of(["one"]) and first.content_type == "application/rss+xml"
    assert await get(feed.url, first.seen) is None
    feed.titles.append("two")
    again = await get(feed.url, first.seen)
    assert again is not None and again.body == feed_of(["one", "two"])


async def test_chunks_and_gzip_are_read(feed: FeedServer) -> None:
    feed.way = "forgets"
    found = await get(feed.url)
    assert found is not None and found.body == feed_of(["one"]) and found.seen == Seen()


@pytest.mark.parametrize(("way", "says"), [("huge", "4 MiB"), ("bomb", "4 MiB"), ("broken", "503")])
async def test_what_is_of_no_use_is_refused_in_words(feed: FeedServer, way: str, says: str) -> None:
    feed.way = way
    with pytest.raises(Refusal, match=says) as caught:
        await get(feed.url)
    assert "127.0.0.1" not in str(caught.value)
    assert caught.value.retry_after_s == (0.0 if way == "broken" else None)


async def test_a_redirect_is_followed_only_to_where_may_be_gone(feed: FeedServer) -> None:
    with FeedServer() as other:
        feed.way, feed.location, other.titles = "moved", other.url, ["elsewhere"]
        found = await get(feed.url)
        assert found is not None and found.body == feed_of(["elsewhere"])
    for location, says in (
        ("http://10.0.0.1/", "no public address"), ("http://169.254.169.254/latest/", "no public address"),
        (feed.url, "more than 3 times"), ("file:///etc/passwd", "an address that is none"),
        ("http://[::1]/", "no public address"),
    ):  # fmt: skip
        feed.location = location
        with pytest.raises(NotReached, match=says):
            await get(feed.url)


async def test_this_machine_is_reached_only_if_the_operator_says_so(feed: FeedServer) -> None:
    with pytest.raises(NotAllowed):
        await get(feed.url, here=False)
    assert not feed.asked


async def test_nobody_there_is_said(feed: FeedServer) -> None:
    with pytest.raises(NotReached, match=r"[Rr]efused"):
        await get("http://127.0.0.1:1/")


async def test_one_host_is_asked_at_most_ten_times_a_second(feed: FeedServer) -> None:
    turns, began_s = Turns(), time.monotonic()
    for _ in range(4):
        await fetch(feed.url, Seen(), {}, HERE, turns)
    assert time.monotonic() - began_s >= 3 * APART_S
