"""compose.yaml without Docker: each service as a child process, with its own command, environment and mounted files.

Owns: what stands for a container. Addresses, ports and paths are other ones, since all share this machine: a name or an
address with its port becomes 127.0.0.1 with a free one, a mounted path the file or folder that it stands for. What an
image does by itself (its user, its database) is done here as its documentation says.
"""

from __future__ import annotations

import os
import re
import shutil
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import yaml

from tests.deployed import written
from tests.services.child import Child, Folder, Service, free_ports, path_with, program
from tests.services.postgres import BIN, Postgres
from tests.services.proxies import changed, nginx_temporary

HOST = "localhost"
PORTS = {"postgres": 5432, "redis": 6379, "nginx": 443, "prometheus": 9090, "alertmanager": 9093}
NODE = 8080
PROGRAMS = {"alertmanager": "prometheus-alertmanager"}
FOR_NOW = {"FIRST_S": "1", "LOOK_S": "0.2"}  # Pauses that nobody waits for in a test.


class Containers:
    """The services of a scale, by name, once `running()`."""

    def __init__(self, scale: str, secrets: Mapping[str, str]) -> None:
        self.folder = Folder(f"compose-{scale}")
        self.folder.path.chmod(0o755)  # nginx's workers are of another user.
        self.set = written("compose", scale, self.folder.path / "set", HOST)
        self.secrets = dict(secrets)
        self.services: dict[str, Any] = yaml.safe_load((self.set / "compose" / "compose.yaml").read_text())["services"]
        self.ports = dict(zip(self.services, free_ports(len(self.services)), strict=True))
        (self.plain,) = free_ports(1)
        self.started: dict[str, Service] = {}

    @property
    def url(self) -> str:
        """Where nginx is."""
        return f"https://{HOST}:{self.ports['nginx']}"

    def volume(self, name: str) -> Path:
        """The folder that stands for a named volume."""
        path = self.folder.path / "volumes" / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    @contextmanager
    def running(self) -> Iterator[None]:
        """All of them, each started when those that it waits for are healthy; the last is stopped first."""
        with ExitStack() as stack:
            stack.callback(self.folder.remove)
            waiting = dict(self.services)
            while waiting:
                ready = [name for name, each in waiting.items() if not set(each.get("depends_on", ())) & set(waiting)]
                assert ready, f"they wait for each other: {sorted(waiting)}"
                for name in ready:
                    del waiting[name]
                    self.started[name] = stack.enter_context(self._service(name))
            yield

    def _service(self, name: str) -> Service:
        return _Database(self, name) if name == "postgres" else _Container(self, name)

    # -- what becomes of its words ------------------------------------------------------------------------------------

    def mapped(self, name: str, text: str) -> str:
        """A text of compose.yaml, or of a file that it mounts, as it has to read on this machine for that service."""
        text = re.sub(r"\$\{(\w+)[^}]*\}", lambda gap: self.secrets.get(gap[1], gap[0]), text)
        for other, each in self.services.items():
            address = re.escape(each["networks"]["inside"]["ipv4_address"])
            port = PORTS.get(other, NODE)
            text = re.sub(rf"(?<![\w.-])(?:{address}|{other}):{port}\b", f"127.0.0.1:{self.ports[other]}", text)
            text = re.sub(rf"\b{address}\b", "127.0.0.1", text)
        for inside, here in sorted(self._mounted(name).items(), reverse=True):
            text = re.sub(rf"(?<![\w.]){re.escape(inside)}(?![\w-])", str(here), text)
        return text

    def _mounted(self, name: str) -> dict[str, Path]:
        """What stands for each path that is mounted there."""
        found = {}
        for volume in self.services[name].get("volumes", ()):
            source, inside = volume.split(":")[:2]
            found[inside] = self._own(name) / Path(inside).name if source.startswith(".") else self.volume(source)
        return found

    def _own(self, name: str) -> Path:
        path = self.folder.path / "own" / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    def mount(self, name: str) -> Path:
        """Its mounted files are there, in a folder of its own."""
        for volume in self.services[name].get("volumes", ()):
            source, inside = volume.split(":")[:2]
            if source.startswith("."):
                text = (self.set / "compose" / source).read_text()
                (self._own(name) / Path(inside).name).write_text(self.mapped(name, text))
        return self._own(name)

    def environment(self, name: str) -> dict[str, str]:
        """Its own, the image's, and what makes pauses short."""
        own = {key: self.mapped(name, value) for key, value in self.services[name].get("environment", {}).items()}
        node = {"CATALYST_HOST": "127.0.0.1", "CATALYST_PORT": str(self.ports[name]), "PYTHONUNBUFFERED": "1"}
        node |= {"PATH": path_with(self.folder.path / "bin"), "SEEN": str(self._own(name) / "seen")}
        return FOR_NOW | node | own

    def words(self, name: str) -> list[str]:
        """What the container would run."""
        service = self.services[name]
        words = [*service.get("entrypoint", self._entrypoint(name)), *service.get("command", ())]
        return [self.mapped(name, word) for word in words] + self._where(name)

    def _entrypoint(self, name: str) -> list[str]:
        """Of the image, where that has one of its own."""
        if name.startswith("catalyst-"):
            return [sys.executable, "-m", "catalyst_signals", "serve"]  # ENTRYPOINT and CMD of our Dockerfile.
        return [program(PROGRAMS.get(name, name))] if name in ("prometheus", "alertmanager") else []

    def _where(self, name: str) -> list[str]:
        """The address, which in a container nobody else has."""
        port = str(self.ports[name])
        if name == "redis":
            return ["--bind", "127.0.0.1", "--port", port, "--dir", str(self._own(name))]
        return [f"--web.listen-address=127.0.0.1:{port}"] if name in ("prometheus", "alertmanager") else []

    def healthy(self, name: str) -> bool:
        """What its health check says; of an image of ours, the image's: `/healthz`."""
        words = self.services[name].get("healthcheck", {}).get("test") or [f"http://127.0.0.1:{NODE}/healthz"]
        for word in words:
            if found := re.fullmatch(r"(https?://127\.0\.0\.1)(?::\d+)?(/.*)", word):
                return _answers(f"{found[1]}:{self.ports[name]}{found[2]}")
        words = [self.mapped(name, word) for word in words[1:]]
        words = ["sh", "-c", *words] if self.services[name]["healthcheck"]["test"][0] == "CMD-SHELL" else words
        where = ["-h", "127.0.0.1", "-p", str(self.ports[name])] if words[0] in ("redis-cli", "pg_isready") else []
        words = [program(words[0], BIN), *where, *words[1:]]
        return subprocess.run(words, capture_output=True, timeout=10, check=False).returncode == 0

    # -- what an image has --------------------------------------------------------------------------------------------

    def put_program(self, name: str, text: str) -> None:
        """A script of that name comes first on PATH, in every container."""
        path = self.folder.path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    def have_nginx(self, own: Path) -> None:
        """Its nginx.conf, with ports and folders of this machine, and no more connections than that has."""
        site = own / "catalyst.conf"
        text = re.sub(r"^ *listen \[::\]:.*\n", "", site.read_text(), flags=re.MULTILINE)
        text = text.replace("listen 80;", f"listen 127.0.0.1:{self.plain};")
        site.write_text(text.replace("listen 443 ssl", f"listen 127.0.0.1:{self.ports['nginx']} ssl"))
        conf = own / "nginx.conf"
        conf.write_text(changed(conf.read_text(), {
            r"^user nginx;": "user nobody nogroup;" if os.getuid() == 0 else "",
            r"^worker_processes auto;": "worker_processes 1;",
            r"^worker_rlimit_nofile \d+;": "",
            r"worker_connections \d+;": "worker_connections 1024;",
            r"/run/nginx\.pid": f"{own}/pid",
            r"/var/log/nginx/": f"{own}/",
            r"/etc/nginx/conf\.d/": f"{own}/",
            r"^http \{": f"http {{ {nginx_temporary(own)}",
        }))  # fmt: skip
        self.put_program("nginx", f'exec {program("nginx")} -p {own} -e {own}/error.log -c {own}/nginx.conf "$@"')


class _Container(Service):
    """One service, which is there when its health check says so, if it is waited for."""

    stops_within_s = 20

    def __init__(self, all_: Containers, name: str) -> None:
        self.folder = Folder(name)
        own = all_.mount(name)
        if name == "nginx":
            all_.have_nginx(own)
        words = all_.words(name)
        if Path(words[0]).name == "redis-server":
            words[0] = program("redis-server")
        self.child = Child(
            words, self.folder, lambda: all_.healthy(name), name=name, env=all_.environment(name),
        )  # fmt: skip


class _Database(Postgres):
    """PostgreSQL with the user, password and database that the image makes of POSTGRES_*; the password is asked for."""

    def __init__(self, all_: Containers, name: str) -> None:
        super().__init__()
        all_.ports[name] = self.port
        self._made = {key: all_.mapped(name, value) for key, value in all_.services[name]["environment"].items()}
        self._healthy = lambda: all_.healthy(name)

    def __enter__(self) -> _Database:
        super().__enter__()
        user, password = self._made["POSTGRES_USER"], self._made["POSTGRES_PASSWORD"]
        self.sql(f"CREATE ROLE {user} SUPERUSER LOGIN PASSWORD '{password}'")
        self.sql(f"CREATE DATABASE {self._made['POSTGRES_DB']} OWNER {user}")
        (self.data / "pg_hba.conf").write_text("host all all 127.0.0.1/32 scram-sha-256\n")
        self.reload()
        return self

    def _answers(self) -> bool:
        return super()._answers() and self._healthy()


def _answers(url: str) -> bool:
    trusting = ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE  # As `curl --insecure` and `wget` do it there.
    with urllib.request.urlopen(url, context=trusting if url.startswith("https") else None, timeout=3) as answer:
        return bool(answer.status == 200)


def copy_of_certificate(chain: Path, key: Path, live: Path) -> None:
    """As if Let's Encrypt had given it: where certbot puts what it gets."""
    live.mkdir(parents=True, exist_ok=True)
    shutil.copy(chain, live / "fullchain.pem")
    shutil.copy(key, live / "privkey.pem")
