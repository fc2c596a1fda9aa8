"""The laws of the Cache port; every back-end keeps them against the real service.

Covers catalyst_signals.caches.redis with catalyst_signals.redis_urls, and catalyst_signals.caches.memcached with
catalyst_signals.caches.memcached_line, by their URLs.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, aclosing
from functools import partial
from pathlib import Path

import pytest

from catalyst_signals.brokers import BROKERS
from catalyst_signals.caches import CACHES, VALUE_BYTES_MAX, Cache
from catalyst_signals.errors import CatalystError, Misconfigured, Unavailable
from catalyst_signals.events import Frame
from catalyst_signals.urls import open_backend
from tests.services.child import Child
from tests.services.memcached import Memcached
from tests.services.proxies import Certificate
from tests.services.redis import Cluster, Redis, Sentinels, ask

SERVICES: dict[str, Callable[[], Redis | Sentinels | Cluster | Memcached]] = {
    "redis": Redis, "sentinel": Sentinels, "cluster": Cluster, "memcached": Memcached,
}  # fmt: skip
SINGLE = {"redis": Redis, "memcached": Memcached}
ODD_KEYS = ["plain", "with a space", "line\nbreak", "ключ", "x" * 300, "", "a:b:{c}", "{"]
open_cache = partial(open_backend, table=CACHES, setting="cache_url")


@pytest.fixture(scope="module", params=["memory", *(pytest.param(name, marks=pytest.mark.slow) for name in SERVICES)])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    """Of a service that stays for all the tests."""
    with ExitStack() as stack:
        service = SERVICES.get(request.param)
        yield stack.enter_context(service()).url if service is not None else "memory:"


@pytest.fixture
async def cache(url: str, request: pytest.FixtureRequest) -> AsyncIterator[Cache]:
    """A cache with nothing in it."""
    prefix = "" if url == "memory:" else f"?prefix={request.node.name.partition('[')[0]}&timeout_ms=1000"
    async with open_cache(url + prefix) as cache:
        yield cache


@pytest.fixture
async def other(cache: Cache, url: str, request: pytest.FixtureRequest) -> AsyncIterator[Cache]:
    """The same cache as another process has it; in memory there is no other."""
    if url == "memory:":
        yield cache
        return
    async with open_cache(f"{url}?prefix={request.node.name.partition('[')[0]}&timeout_ms=1000") as other:
        yield other


# -- values -----------------------------------------------------------------------------------------------------


async def test_what_one_process_sets_every_other_gets(cache: Cache, other: Cache) -> None:
    """That is what it is for; whatever the key is, and whatever the bytes."""
    for n, key in enumerate(ODD_KEYS):
        assert await other.get(key) is None
        await cache.set(key, bytes([n, 0, 255]) + b"\r\nEND\r\n", 60)
    for n, key in enumerate(ODD_KEYS):
        assert await other.get(key) == bytes([n, 0, 255]) + b"\r\nEND\r\n"
    await cache.set(ODD_KEYS[0], b"", 60)
    assert await other.get(ODD_KEYS[0]) == b""


async def test_many_are_got_at_once_and_what_is_not_there_is_left_out(cache: Cache, other: Cache) -> None:
    """Wherever in a cluster each of them is."""
    keys = [f"k{n}" for n in range(50)] + ODD_KEYS
    for key in keys[::2]:
        await cache.set(key, key.encode(), 60)
    assert await other.get_many(keys) == {key: key.encode() for key in keys[::2]}
    assert await other.get_many([]) == {}


async def test_a_deleted_value_is_gone_and_deleting_nothing_is_no_error(cache: Cache, other: Cache) -> None:
    await cache.set("a", b"1", 60)
    for _ in range(2):
        await other.delete("a")
        assert await cache.get("a") is None


async def test_a_value_is_over_when_its_time_is(cache: Cache) -> None:
    """Also one of less than a second, which not every service knows by itself."""
    await cache.set("short", b"1", 0.2)
    await cache.set("long", b"2", 90 * 86_400)
    assert await cache.get_many(["short", "long"]) == {"short": b"1", "long": b"2"}
    await asyncio.sleep(0.3)
    assert await cache.get("short") is None
    assert await cache.get_many(["short", "long"]) == {"long": b"2"}


async def test_the_largest_value_is_kept_and_a_larger_one_is_not(cache: Cache) -> None:
    """Nobody is left with what was there before."""
    largest = bytes(range(250)) * (VALUE_BYTES_MAX // 250)
    await cache.set("a", largest, 60)
    assert await cache.get("a") == largest
    await cache.set("a", largest + b"x", 60)
    assert await cache.get("a") is None


# -- taking -----------------------------------------------------------------------------------------------------


async def test_a_burst_is_taken_at_once_and_then_no_more_than_the_rate(cache: Cache, other: Cache) -> None:
    """Whichever process is asked."""
    asked = [await each.take("a", 10, 5) for _ in range(3) for each in (cache, other)]
    assert asked[:5] == [0.0] * 5 and 0 < asked[5] <= 0.1
    assert await cache.take("b", 10, 5) == 0.0, "another counter"
    await asyncio.sleep(asked[5] + 0.02)
    assert await other.take("a", 10, 5) == 0.0
    assert await cache.take("a", 10, 5) > 0


async def test_those_who_ask_at_once_take_no_more_than_there_is(cache: Cache, other: Cache) -> None:
    """Read and written in one step; what waits is not counted."""
    began_s = time.monotonic()
    waits = await asyncio.gather(*(each.take("a", 2, 20) for _ in range(10) for each in (cache, other, cache, other)))
    taken, took_s = waits.count(0.0), time.monotonic() - began_s
    assert 20 <= taken <= 20 + 2 * took_s + 1
    assert all(0 < wait <= 0.5 for wait in waits if wait)


async def test_more_than_a_burst_is_taken_when_all_is_there_and_paid_for_afterwards(cache: Cache) -> None:
    """A page of 1,000 rows at a rate of 100 with a burst of 200 must not wait for ever."""
    assert await cache.take("a", 100, 10, 30) == 0.0
    assert 0.2 < await cache.take("a", 100, 10) <= 0.3
    await asyncio.sleep(0.25)
    assert await cache.take("a", 100, 10) == 0.0


async def test_a_counter_and_a_value_of_the_same_key_are_two(cache: Cache) -> None:
    await cache.set("a", b"value", 60)
    assert await cache.take("a", 1, 1) == 0.0
    assert await cache.get("a") == b"value"


# -- being away -------------------------------------------------------------------------------------------------


async def refusal(call: Callable[[], object], within_s: float) -> None:
    """It is Unavailable, and soon."""
    began_s = time.monotonic()
    with pytest.raises(Unavailable):
        await call()  # type: ignore[misc]
    assert time.monotonic() - began_s < within_s


@pytest.mark.slow
@pytest.mark.parametrize("name", SINGLE)
async def test_a_service_that_is_away_or_hangs_is_told_soon_and_comes_back_by_itself(name: str) -> None:
    """The caller goes on without it; a counter begins anew."""
    with SINGLE[name]() as service:
        async with open_cache(f"{service.url}?timeout_ms=200") as cache:
            assert await cache.take("a", 0.001, 1) == 0.0
            await _without(cache, service.child, service.child.freeze)
            service.child.thaw()
            await _again(cache)
            assert await cache.take("a", 0.001, 1) > 0, "the same counter"
            await _without(cache, service.child, service.child.kill)
            await asyncio.to_thread(service.child.start)
            await _again(cache)
            assert await cache.take("a", 0.001, 1) == 0.0, "it is empty now, its script too"


async def _without(cache: Cache, child: Child, stop: Callable[[], None]) -> None:
    stop()
    for call in (
        lambda: cache.get("a"), lambda: cache.get_many(["a", "b"]), lambda: cache.set("a", b"", 1),
        lambda: cache.delete("a"), lambda: cache.take("a", 0.001, 1),
    ):  # fmt: skip
        await refusal(call, within_s=3 * 0.4)


async def _again(cache: Cache, within_s: float = 9) -> None:
    """Until it answers."""
    async with asyncio.timeout(within_s):
        while True:
            try:
                await cache.get("a")
                return
            except Unavailable:
                await asyncio.sleep(0.05)


@pytest.mark.slow
async def test_a_crowd_that_waits_for_a_service_that_hangs_is_told_soon() -> None:
    """Nobody waits for those before him."""
    with Redis() as redis:
        async with open_cache(f"{redis.url}?timeout_ms=200") as cache:
            redis.child.freeze()
            began_s = time.monotonic()
            told = await asyncio.gather(*(cache.take("a", 1, 1) for _ in range(500)), return_exceptions=True)
            assert all(isinstance(each, Unavailable) for each in told)
            assert time.monotonic() - began_s < 3 * 0.4


@pytest.mark.slow
async def test_an_answer_that_came_too_late_is_nobody_elses() -> None:
    """A call that was given up leaves its answer behind; the next one must not take it for its own."""
    for service in SINGLE.values():
        with service() as running:
            async with open_cache(f"{running.url}?timeout_ms=200") as cache:
                for n in range(20):
                    await cache.set(f"k{n}", b"%d" % n, 60)
                running.child.freeze()
                await asyncio.gather(*(cache.get(f"k{n}") for n in range(10)), return_exceptions=True)
                running.child.thaw()
                await _again(cache)
                for _ in range(3):
                    got = await asyncio.gather(*(cache.get(f"k{n}") for n in range(20)))
                    assert got == [b"%d" % n for n in range(20)]


@pytest.mark.slow
async def test_takes_go_on_when_sentinels_put_another_in_the_primarys_place(caplog: pytest.LogCaptureFixture) -> None:
    """Within a few seconds: one to notice, and the vote. The Sentinels have a password of their own, as they should."""
    with Sentinels(password="hush", sentinel_password="psst") as redis:
        for wrong in ("", "&sentinel_password=hush"):
            async with open_cache(f"{redis.url}?timeout_ms=200{wrong}") as cache:
                await refusal(lambda cache=cache: cache.get("a"), within_s=3 * 0.4)  # type: ignore[misc]
        assert "the cache is away" in caplog.text and "hush" not in caplog.text
        async with open_cache(f"{redis.url}?timeout_ms=200&sentinel_password=psst") as cache:
            assert await cache.take("a", 1, 5) == 0.0
            redis.redises[0].child.kill()
            began_s = time.monotonic()
            await refusal(lambda: cache.take("a", 1, 5), within_s=3 * 0.4)
            await _again(cache, within_s=30)
            assert time.monotonic() - began_s < 3 * 5
            async with asyncio.timeout(5):
                while await cache.take("a", 1000, 5):
                    await asyncio.sleep(0.01)


@pytest.mark.slow
async def test_a_server_starts_without_its_cache(caplog: pytest.LogCaptureFixture) -> None:
    """Nobody relies on it."""
    for url in ("redis://127.0.0.1:1", "redis+cluster://127.0.0.1:1", "redis+sentinel://127.0.0.1:1/a"):
        async with open_cache(url) as cache:
            assert "the cache is away" in caplog.text
            await refusal(lambda cache=cache: cache.get("a"), within_s=3 * 0.5)  # type: ignore[misc]
        caplog.clear()


# What docs/operations.md says a user needs.
RIGHTS = (
    "resetkeys ~catalyst:* resetchannels &catalyst:hints:* -@all +@connection +publish +subscribe "
    "+get +set +del +mget +evalsha +eval +time"
)


@pytest.mark.slow
async def test_over_tls_with_a_password_and_no_more_rights_than_are_needed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither a stranger's certificate nor a wrong password is taken for an answer, and no password is logged."""
    tls = Certificate(tmp_path)
    with Redis(tls=tls) as redis:
        ask(redis.port, "acl", "setuser", "friend", "on", ">hush", *RIGHTS.split())
        url = f"rediss://friend:hush@127.0.0.1:{redis.tls_port}/0"
        async with open_cache(f"{url}?ca={tls.chain}") as cache:
            await cache.set("a", b"1", 60)
            assert await cache.get_many(["a", "b"]) == {"a": b"1"} and await cache.take("a", 1, 1) == 0.0
            await cache.delete("a")
        hints_url = f"{url.replace('rediss:', 'rediss+pubsub:')}?ca={tls.chain}"
        async with open_backend(hints_url, BROKERS, setting="broker_url") as broker:
            async with aclosing(broker.listen()) as frames:
                first = asyncio.ensure_future(anext(frames))
                async with asyncio.timeout(10):
                    while "catalyst:hints" not in ask(redis.port, "pubsub", "channels"):
                        await asyncio.sleep(0.01)
                await broker.publish([Frame("main", "e", 1, "", "", b"{}", 0)])
                await asyncio.sleep(0.3)
                first.cancel()
                await asyncio.wait([first])
        assert not caplog.text
        async with open_cache(f"{url}?verify=no") as cache:
            assert await cache.get_many(["b"]) == {}
        for wrong in (url, f"{url}?verify=yes", f"{url.replace('hush', 'wrong')}?verify=no"):
            async with open_cache(wrong) as cache:
                await refusal(lambda cache=cache: cache.get("a"), within_s=3 * 0.25)  # type: ignore[misc]
        assert "the cache is away" in caplog.text and "hush" not in caplog.text and "wrong" not in caplog.text


@pytest.mark.parametrize(
    "url",
    [
        "redis://", "redis://a,b", "redis://a/x", "redis://a/0/1", "redis://a:port", "redis://a?timeout_ms=0",
        "redis://a?colour=red", "rediss://a?verify=maybe",
        "rediss://a?verify=no&ca=ca.pem", "redis+sentinel://a", "redis+cluster://a/0", "memcached://", "memcached://a:port",
        "memcached://a/0", "memcached://a?timeout_ms=x", "memory:?a=b", "tape://a", "redis://a?sentinel_password=hush",
        "redis+sentinel://a?sentinel_password=hush", "redis+sentinel://a/m?sentinel_pasword=hush",
    ],
)  # fmt: skip
def test_a_url_that_says_nothing_is_refused_at_start(url: str) -> None:
    """By name, and without the password that may stand in it."""
    with pytest.raises(CatalystError) as refused:
        open_cache(url.replace("//a", "//user:hush@a"))
    assert isinstance(refused.value, Misconfigured) and "hush" not in str(refused.value.as_dict())
