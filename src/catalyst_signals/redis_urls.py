"""Redis, however it is run: from one URL to a client of it.

Owns: the parts of such a URL, the time-outs and retries of its client, TLS. Knows nothing of what is asked of it.
Law: nothing waits longer than `timeout_ms` for a connection. Who calls bounds the whole call by `call_s`: that much, or
twice where it may have to find out first that somebody else is to be asked.

    redis://[user:password@]host[:6379][/db]                       one server; rediss: with TLS
    redis+sentinel://[user:password@]host[:26379],host/name[/db]   the primary that the Sentinels call by this name
    redis+cluster://host[:6379],host,host                          a Cluster, reached through any of these

The user and the password are those of the Redis that keeps the data; Sentinels that ask for their own get what the
parameters `sentinel_username` and `sentinel_password` say, and no other.

RESP 2 is spoken: what RESP 3 adds (pushes, a handshake for maintenance) is not used here.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from redis.asyncio import Redis, RedisCluster, Sentinel
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as Disconnected
from redis.exceptions import RedisClusterException, RedisError

from catalyst_signals.errors import Misconfigured
from catalyst_signals.urls import split, without_password

TIMEOUT_MS = 250
PARAMETERS = frozenset(("timeout_ms", "prefix", "tls", "ca", "verify"))
OF_SENTINELS = frozenset(("sentinel_username", "sentinel_password"))  # As redis-py calls them, with whose they are.
OF_CACHES = "redis://host:6379/0, redis+sentinel://host:26379,host/name, redis+cluster://host:6379,host"
OF_HINTS = "redis+pubsub://host:6379/0, redis+pubsub+sentinel://host:26379,host/name"
FAILURES = (RedisError, RedisClusterException, OSError, TimeoutError)
"""All that a client raises when Redis is away, hangs or refuses."""

Client = Any  # Redis | RedisCluster, whose types differ in every method.


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a Redis is; `service` is the name of a primary that Sentinels know."""

    addresses: tuple[tuple[str, int], ...]
    prefix: str
    timeout_s: float
    db: int = 0
    service: str = ""
    cluster: bool = False
    options: tuple[tuple[str, Any], ...] = ()
    sentinel_options: tuple[tuple[str, Any], ...] = ()

    @property
    def call_s(self) -> float:
        """How long one call may take, whatever has to be asked for it."""
        return 2 * self.timeout_s if self.service or self.cluster else self.timeout_s

    @property
    def shown(self) -> str:
        """As it may stand in a log."""
        return ",".join(f"{host}:{port}" for host, port in self.addresses)


def place_of(url: str, *, setting: str) -> Place:
    """The parts of a URL.

    Raises:
        Misconfigured: it cannot be understood; says why.
    """
    through_sentinels = "sentinel" in url.partition(":")[0].split("+")
    parts, query = split(url, known=PARAMETERS | OF_SENTINELS if through_sentinels else PARAMETERS)
    try:
        return _place(parts.scheme, parts.netloc, [unquote(each) for each in parts.path.split("/") if each], query)
    except ValueError as wrong:
        raise Misconfigured(
            f"{setting} is no URL of a Redis: {wrong}", field=setting, got=without_password(url),
            allowed=OF_HINTS if "pubsub" in parts.scheme.split("+") else OF_CACHES,
        ) from None  # fmt: skip


def _place(scheme: str, netloc: str, path: list[str], query: dict[str, str]) -> Place:
    words = scheme.split("+")
    sentinel, cluster = "sentinel" in words, "cluster" in words
    user, _, hosts = netloc.rpartition("@")
    addresses = tuple(_address(each, 26379 if sentinel else 6379) for each in hosts.split(","))
    if len(addresses) > 1 and not (sentinel or cluster):
        raise ValueError("several hosts are for redis+sentinel: and redis+cluster:")
    service = path.pop(0) if sentinel and path else ""
    if sentinel and not service:
        raise ValueError(f"the name of the primary is missing, as in {scheme}://host:26379/mymaster")
    if len(path) > (0 if cluster else 1):
        raise ValueError("there is too much after the host")
    timeout_s = float(query.get("timeout_ms", TIMEOUT_MS)) / 1000
    if not 0.001 <= timeout_s <= 60:
        raise ValueError("timeout_ms is from 1 to 60000")
    secure = words[0] == "rediss" or query.get("tls", "") in ("1", "true", "yes")
    return Place(
        addresses=addresses, prefix=query.get("prefix", "catalyst"), timeout_s=timeout_s,
        db=int(path[0]) if path else 0, service=service, cluster=cluster,
        options=tuple({**_user(user), **(_tls(query) if secure else {})}.items()),
        sentinel_options=tuple((name.removeprefix("sentinel_"), query[name]) for name in OF_SENTINELS & query.keys()),
    )  # fmt: skip


def _address(text: str, port: int) -> tuple[str, int]:
    parts = urlsplit(f"//{text}")
    if not parts.hostname:
        raise ValueError("a host is missing")
    return parts.hostname, parts.port or port


def _user(text: str) -> dict[str, Any]:
    name, _, password = text.partition(":")
    return {key: unquote(word) for key, word in (("username", name), ("password", password)) if word}


def _tls(query: dict[str, str]) -> dict[str, Any]:
    verify = query.get("verify", "yes")
    if verify not in ("yes", "no"):
        raise ValueError("verify is yes or no")
    if verify == "no" and "ca" in query:
        raise ValueError("with verify=no nobody looks at the ca: leave one of them out")
    if verify == "no":  # Heroku's certificates are signed by nobody that one could know.
        return {"ssl": True, "ssl_cert_reqs": "none", "ssl_check_hostname": False}
    return {"ssl": True, "ssl_ca_certs": query.get("ca")}


@asynccontextmanager
async def connected(place: Place, *, retries: int = 0) -> AsyncIterator[Client]:
    """A client, closed at the end. It connects when it is first used, and again after every break.

    `retries`: how often a call that found its connection broken is sent again. A call that hung is not.
    """
    options: dict[str, Any] = dict(place.options) | {
        "socket_timeout": None, "socket_connect_timeout": place.timeout_s, "protocol": 2,
        "retry": Retry(NoBackoff(), retries, supported_errors=(Disconnected,)), "driver_info": None,
    }  # fmt: skip
    # With a socket_timeout each send goes through asyncio.wait_for, which in Python 3.11 can lose a cancellation; so
    # only where the next one is asked when it is over.
    patient = {"socket_timeout": place.timeout_s}
    async with AsyncExitStack() as stack:
        if place.cluster:
            nodes = [ClusterNode(host, port) for host, port in place.addresses]
            options["retry"] = Retry(NoBackoff(), max(1, retries))  # After a MOVED it asks again, and counts that.
            cluster = RedisCluster(startup_nodes=nodes, **options | patient)
            stack.push_async_callback(cluster.aclose)
            yield cluster
        elif place.service:
            asking = {name: value for name, value in options.items() if name not in ("username", "password")}
            asking |= dict(place.sentinel_options) | patient
            sentinel = Sentinel(place.addresses, sentinel_kwargs=asking)  # type: ignore[no-untyped-call]
            stack.push_async_callback(sentinel.aclose)
            primary = sentinel.master_for(place.service, db=place.db, **options)
            stack.push_async_callback(primary.aclose)
            yield primary
        else:
            ((host, port),) = place.addresses
            client = Redis(host=host, port=port, db=place.db, **options)
            stack.push_async_callback(client.aclose)
            yield client
