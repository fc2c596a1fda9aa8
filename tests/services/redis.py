"""Redis: one server (with TLS if wanted), a primary with two replicas and three Sentinels, a Cluster of three."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from types import TracebackType
from typing import Self

from tests.services.child import Child, Folder, Service, free_ports, program
from tests.services.proxies import Certificate

PRIMARY = "mymaster"


def ask(port: int, *words: str, password: str = "") -> str:
    """What `redis-cli` prints for a command."""
    done = subprocess.run(
        [program("redis-cli"), "-p", str(port), *words], capture_output=True, text=True, timeout=20, check=False,
        env=os.environ | ({"REDISCLI_AUTH": password} if password else {}),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr or done.stdout
    return done.stdout


def until(true: Callable[[], bool], within_s: float = 30) -> None:
    """Wait for it."""
    ends_s = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < ends_s, "it did not come true"
        time.sleep(0.05)


@contextmanager
def undone_if_it_fails(several: AbstractContextManager[object]) -> Iterator[None]:
    """Of several, those that did start are stopped when one does not."""
    with ExitStack() as started:
        started.push(several)
        yield
        started.pop_all()


class Redis(Service):
    """One server that keeps nothing on disk: after `child.kill()` and `child.start()` it is there and empty.

    With `tls` also on `tls_port`, which asks nobody for a certificate.
    """

    stops_within_s = 0

    def __init__(self, *options: str, port: int = 0, password: str = "", tls: Certificate | None = None) -> None:
        self.folder = Folder("redis")
        self.port = port or free_ports(1)[0]
        command = ["--bind", "127.0.0.1", "--port", str(self.port), "--save", "", "--appendonly", "no"]
        if password:
            command += ["--requirepass", password, "--masterauth", password]
        if tls is not None:
            (self.tls_port,) = free_ports(1)
            command += ["--tls-port", str(self.tls_port), "--tls-auth-clients", "no", "--tls-cert-file", str(tls.chain)]
            command += ["--tls-key-file", str(tls.key), "--tls-ca-cert-file", str(tls.chain)]
        command = [program("redis-server"), *command, "--dir", str(self.folder.path), *options]
        self.child = Child(command, self.folder, lambda: ask(self.port, "ping", password=password).strip() == "PONG")

    @property
    def url(self) -> str:
        """For `cache_url`."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def hints_url(self) -> str:
        """For `broker_url`."""
        return f"redis+pubsub://127.0.0.1:{self.port}/0"


class Sentinels:
    """A primary, two replicas, three Sentinels that put a replica in its place a second after it is gone.

    `password` is that of the first three, `sentinel_password` that of the last three.
    """

    def __init__(self, *, password: str = "", sentinel_password: str = "") -> None:
        self.password, self.sentinel_password = password, sentinel_password
        first = free_ports(1)[0]
        # Replicas sync at once; the default is to wait 5 s for others.
        now = ("--repl-diskless-sync-delay", "0")
        following = (*now, "--replicaof", f"127.0.0.1 {first}")
        self.redises = [
            Redis(*now, port=first, password=password), *(Redis(*following, password=password) for _ in range(2))
        ]  # fmt: skip
        self.folder = Folder("sentinel")
        self.ports = free_ports(3)
        self.sentinels = [self._sentinel(port) for port in self.ports]

    def _sentinel(self, port: int) -> Child:
        config = self.folder.write(
            f"{port}.conf",
            f"port {port}\nbind 127.0.0.1\ndir {self.folder.path}\n"
            f"sentinel monitor {PRIMARY} 127.0.0.1 {self.redises[0].port} 2\n"
            f"sentinel down-after-milliseconds {PRIMARY} 1000\nsentinel failover-timeout {PRIMARY} 5000\n"
            + (f"sentinel auth-pass {PRIMARY} {self.password}\n" if self.password else "")
            + (f"requirepass {self.sentinel_password}\n" if self.sentinel_password else ""),
        )
        command = [program("redis-server"), config, "--sentinel"]
        return Child(command, self.folder, lambda: self._knows_all(port), name=f"sentinel-{port}")

    def _knows_all(self, port: int) -> bool:
        """Enough to begin with; `__enter__` waits for the rest."""
        return "name" in self._asked(port)

    def _settled(self, port: int) -> bool:
        lines = self._asked(port).split("\n")
        known = dict(zip(lines[::2], lines[1::2], strict=False))
        return (known["num-slaves"], known["num-other-sentinels"]) == ("2", "2")

    def _asked(self, port: int) -> str:
        return ask(port, "sentinel", "master", PRIMARY, password=self.sentinel_password)

    @property
    def where(self) -> str:
        """The Sentinels and the primary's name, as they stand in a URL."""
        user = f":{self.password}@" if self.password else ""
        return f"{user}{','.join(f'127.0.0.1:{port}' for port in self.ports)}/{PRIMARY}/0"

    @property
    def url(self) -> str:
        """For `cache_url`."""
        return f"redis+sentinel://{self.where}"

    @property
    def hints_url(self) -> str:
        """For `broker_url`."""
        return f"redis+pubsub+sentinel://{self.where}"

    def __enter__(self) -> Self:
        with undone_if_it_fails(self):
            self._start()
        return self

    def _start(self) -> None:
        for each in self.redises:
            each.child.start()
        # A Sentinel asks for the replicas every 10 s only, so they must be there when the first one asks.
        asked = ("info", "replication")
        until(lambda: "connected_slaves:2" in ask(self.redises[0].port, *asked, password=self.password))
        for sentinel in self.sentinels:
            sentinel.start()
        until(lambda: all(self._settled(port) for port in self.ports))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for child in (*self.sentinels, *(each.child for each in self.redises)):
            child.kill()
        for folder in (self.folder, *(each.folder for each in self.redises)):
            folder.remove()


class Cluster:
    """Three primaries, each with a third of the slots."""

    def __init__(self) -> None:
        # The bus has a port of its own; by default it is 10,000 above, which may be beyond the last one.
        self.redises = [
            Redis("--cluster-enabled", "yes", "--cluster-port", str(bus), "--cluster-node-timeout", "2000")
            for bus in free_ports(3)
        ]

    @property
    def url(self) -> str:
        """For `cache_url`."""
        return f"redis+cluster://{','.join(f'127.0.0.1:{each.port}' for each in self.redises)}"

    def __enter__(self) -> Self:
        with undone_if_it_fails(self):
            self._start()
        return self

    def _start(self) -> None:
        for each in self.redises:
            each.child.start()
        addresses = [f"127.0.0.1:{each.port}" for each in self.redises]
        ask(self.redises[0].port, "--cluster", "create", *addresses, "--cluster-yes")
        until(lambda: all("cluster_state:ok" in ask(each.port, "cluster", "info") for each in self.redises))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for each in self.redises:
            each.__exit__(kind, error, trace)
