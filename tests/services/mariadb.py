"""MariaDB: one server, as the stores' tests need it."""

from __future__ import annotations

import atexit
import subprocess
from functools import cache
from typing import Self

from tests.services.child import Child, Folder, Service, as_user, free_ports, program

OWNER = "nobody"  # As root it does not run; the package that has the programs makes no user.
USER, PASSWORD = "catalyst", "it's secret/%"


class MariaDb(Service):
    """One server. `with MariaDb() as server:`; `settings` are those of its command line."""

    def __init__(self, **settings: str) -> None:
        self.folder = Folder("mariadb", OWNER)
        (self.port,) = free_ports(1)
        self._data = self.folder.path / "data"
        self._socket = self.folder.path / "s.sock"
        options = {
            "datadir": self._data, "port": self.port, "bind-address": "127.0.0.1", "socket": self._socket,
            "pid-file": self.folder.path / "pid", "tmpdir": self.folder.path, "innodb-buffer-pool-size": "64M",
            "innodb-log-file-size": "32M", **settings,
        }  # fmt: skip
        command = [program("mariadbd"), "--no-defaults", "--skip-name-resolve"]
        command += [f"--{name}={value}" for name, value in options.items()]
        self.child = Child(command, self.folder, lambda: self.admin("SELECT 1"), name="mariadb")

    def url(self, database: str) -> str:
        """For `store_url`."""
        return f"mysql://{USER}:it%27s%20secret%2F%25@127.0.0.1:{self.port}/{database}"

    def __enter__(self) -> Self:
        self._run(
            "mariadb-install-db", f"--datadir={self._data}", "--auth-root-authentication-method=normal",
            "--skip-test-db",
        )  # fmt: skip
        super().__enter__()
        password = PASSWORD.replace("'", "''")
        self.admin(f"CREATE USER {USER}@'%' IDENTIFIED BY '{password}'")
        return self

    def admin(self, statement: str) -> str:
        """What `mariadb` prints for a statement of the administrator's."""
        return self._run("mariadb", f"--socket={self._socket}", "-uroot", "-N", "-e", statement)

    def emptied(self, database: str) -> str:
        """There is such a database without anything in it, and this is its URL."""
        self.admin(
            f"DROP DATABASE IF EXISTS {database}; CREATE DATABASE {database}; GRANT ALL ON {database}.* TO {USER}@'%'"
        )
        return self.url(database)

    def _run(self, name: str, *arguments: str) -> str:
        done = subprocess.run(
            [program(name), "--no-defaults", *arguments], cwd=self.folder.path, capture_output=True, text=True,
            check=False, timeout=60, **as_user(self.folder),  # type: ignore[call-overload]
        )  # fmt: skip
        assert done.returncode == 0, f"{name}: {done.stderr or done.stdout}"
        return str(done.stdout)


@cache
def shared() -> MariaDb:
    """One that many tests use, each with an emptied database; started when the first asks."""
    server = MariaDb().__enter__()
    atexit.register(server.__exit__, None, None, None)
    return server
