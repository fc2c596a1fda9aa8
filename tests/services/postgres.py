"""PostgreSQL: a primary, streaming replicas (synchronous if wanted), and PgBouncer in front."""

from __future__ import annotations

import atexit
import signal
import subprocess
from collections.abc import Mapping
from functools import cache
from typing import Self

import psycopg

from tests.services.child import Child, Folder, Service, as_user, free_ports, program
from tests.services.proxies import Certificate

USER = "postgres"
BIN = "/usr/lib/postgresql/15/bin"
SETTINGS = {
    "listen_addresses": "127.0.0.1", "unix_socket_directories": "", "shared_buffers": "32MB", "max_connections": "60",
    "wal_level": "replica", "max_wal_senders": "8", "max_replication_slots": "8", "hot_standby": "on",
    "wal_receiver_status_interval": "1", "log_checkpoints": "off", "dynamic_shared_memory_type": "posix",
}  # fmt: skip


class Postgres(Service):
    """One server. `with Postgres() as primary:`, and `with primary.replica() as replica:`."""

    def __init__(self, *, env: Mapping[str, str] | None = None, **settings: str) -> None:
        self._program = program("postgres", BIN)
        self.folder = Folder("postgres", USER)
        (self.port,) = free_ports(1)
        self.data = self.folder.path / "data"
        self._settings = {**SETTINGS, **settings, "port": str(self.port)}
        # SIGINT is a fast shutdown; SIGTERM would wait for the clients.
        command = [self._program, "-D", self.data]
        self.child = Child(command, self.folder, self._answers, name="postgres", stop_signal=signal.SIGINT, env=env)

    @property
    def url(self) -> str:
        """Of its first database."""
        return f"{self.base}/postgres"

    @property
    def base(self) -> str:
        """To which the name of a database is added."""
        return f"postgresql://{USER}@127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._make()
        return super().__enter__()

    def _make(self) -> None:
        self.run("initdb", "-D", str(self.data), "-U", USER, "-A", "trust", "-E", "UTF8", "--locale=C", "-N")
        with (self.data / "pg_hba.conf").open("a") as hba:
            hba.write("host replication all 127.0.0.1/32 trust\n")
        self.configure(**self._settings)

    def configure(self, **settings: str) -> None:
        """Settings for the next start, or for `reload`."""
        with (self.data / "postgresql.auto.conf").open("a") as conf:
            conf.writelines(f"{name} = '{value}'\n" for name, value in settings.items())

    def reload(self) -> None:
        """Read the settings again."""
        self.child.process.send_signal(signal.SIGHUP)  # type: ignore[union-attr]

    def encrypt(self, tls: Certificate) -> None:
        """From now on it speaks TLS too, with this certificate."""
        chain = self.folder.write("tls.crt", tls.chain.read_text())
        key = self.folder.write("tls.key", tls.key.read_text())
        key.chmod(0o600)
        self.configure(ssl="on", ssl_cert_file=str(chain), ssl_key_file=str(key))
        self.reload()

    def run(self, name: str, *arguments: str) -> str:
        """One of PostgreSQL's own programs, as its user."""
        done = subprocess.run(
            [program(name, BIN), *arguments], cwd=self.folder.path, capture_output=True, text=True, check=False,
            **as_user(self.folder),  # type: ignore[call-overload]
        )  # fmt: skip
        assert done.returncode == 0, f"{name}: {done.stderr or done.stdout}"
        return str(done.stdout)

    def sql(self, text: str, *values: object) -> list[tuple[object, ...]]:
        """The rows of one statement."""
        with psycopg.connect(self.url, connect_timeout=5, autocommit=True) as connection:
            cursor = connection.execute(text, values or None)
            return cursor.fetchall() if cursor.description else []

    def stop_at_once(self) -> None:
        """`pg_ctl stop -m immediate`: like a crash, with the log replayed at the next start."""
        self.child.process.send_signal(signal.SIGQUIT)  # type: ignore[union-attr]
        self.child.process.wait(30)  # type: ignore[union-attr]

    def replica(self, name: str = "standby") -> Replica:
        """A streaming replica of it, under that name for `synchronous_standby_names`."""
        return Replica(self, name)

    def _answers(self) -> bool:
        return bool(self.sql("select 1"))


class Replica(Postgres):
    """A hot standby; `promote` makes it a primary."""

    def __init__(self, primary: Postgres, name: str) -> None:
        super().__init__()
        self._primary = primary
        self._name = name

    def _make(self) -> None:
        source = f"host=127.0.0.1 port={self._primary.port} user={USER} application_name={self._name}"
        self.run(
            "pg_basebackup", "-d", source, "-D", str(self.data), "-R", "-X", "stream", "-C", "-S", self._name,
            "-c", "fast", "--no-sync",
        )  # fmt: skip
        self.configure(port=str(self.port))

    def promote(self) -> None:
        """It takes writes from now on, whatever its primary does."""
        self.run("pg_ctl", "promote", "-D", str(self.data), "-w")


class PgBouncer(Service):
    """A pool in transaction mode in front of a server."""

    def __init__(self, server: Postgres) -> None:
        self.folder = Folder("pgbouncer", USER)
        (self.port,) = free_ports(1)
        config = self.folder.write(
            "pgbouncer.ini",
            f"""[databases]
* = host=127.0.0.1 port={server.port} user={USER}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {self.port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
max_client_conn = 200
default_pool_size = 20
server_login_retry = 0.2
ignore_startup_parameters = extra_float_digits
""",
        )
        self.child = Child([program("pgbouncer"), config], self.folder, self._answers, stop_signal=signal.SIGINT)

    @property
    def url(self) -> str:
        """Of the same database, through the pool."""
        return f"{self.base}/postgres"

    @property
    def base(self) -> str:
        """To which the name of a database is added."""
        return f"postgresql://{USER}@127.0.0.1:{self.port}"

    def _answers(self) -> bool:
        with psycopg.connect(self.url, connect_timeout=5) as connection:
            return connection.execute("select 1").fetchone() is not None


class Shared:
    """One server and one pool in front of it for all tests of a run, each of which begins with empty databases."""

    def __init__(self) -> None:
        self.server = Postgres().__enter__()
        atexit.register(self.server.__exit__, None, None, None)
        self.pool = PgBouncer(self.server).__enter__()
        atexit.register(self.pool.__exit__, None, None, None)
        self._databases = {"postgres"}

    def emptied(self, database: str = "postgres") -> None:
        """There is such a database, without a log."""
        if database not in self._databases:
            self.server.sql(f"CREATE DATABASE {database}")
            self._databases.add(database)
        with psycopg.connect(f"{self.server.base}/{database}", autocommit=True) as connection:
            connection.execute("SET client_min_messages = warning")
            connection.execute("DROP SCHEMA IF EXISTS catalyst CASCADE")


@cache
def shared() -> Shared:
    """Started when the first test asks."""
    return Shared()
