"""nginx and HAProxy with the very files of deploy/: only ports, nodes and paths are other ones."""

from __future__ import annotations

import os
import re
import ssl
import subprocess
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.services.child import Child, Folder, Service, free_ports, program

DEPLOY = Path(__file__).parent.parent.parent / "deploy"


class Certificate:
    """A key and a certificate for 127.0.0.1, signed by itself; `both` is the two in one file, as HAProxy takes them."""

    def __init__(self, folder: Path) -> None:
        self.chain, self.key, self.both = folder / "catalyst.crt", folder / "catalyst.key", folder / "catalyst.pem"
        subprocess.run(
            [program("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
             "-days", "2", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1",
             "-keyout", self.key, "-out", self.chain],
            check=True, capture_output=True, timeout=30,
        )  # fmt: skip
        self.both.write_text(self.chain.read_text() + self.key.read_text())


def changed(text: str, changes: Mapping[str, str]) -> str:
    """The shipped file with these lines, given as patterns, made others; each has to be there."""
    for pattern, line in changes.items():
        text, count = re.subn(pattern, lambda _, line=line: line, text, flags=re.MULTILINE)
        assert count, f"the file in deploy/ has no line like {pattern}"
    return text


def nginx_temporary(folder: Path) -> str:
    """The lines by which nginx keeps what it buffers below this folder."""
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    return " ".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)


class Proxy(Service):
    """A proxy on `url`, once it answers. `log` is all that it wrote."""

    name = ""
    stops_within_s = 5

    def __init__(self, nodes: Sequence[int], *, tls: Certificate) -> None:
        self.folder = Folder(self.name)
        self.folder.path.chmod(0o755)  # Its workers are of another user.
        self.plain, self.port, self.numbers = free_ports(3)
        self.url = f"https://127.0.0.1:{self.port}"
        self.trust = ssl.create_default_context(cafile=str(tls.chain))
        self.configure(nodes, tls)

    def configure(self, nodes: Sequence[int], tls: Certificate) -> None:
        """Write what it reads, and set `child`."""
        raise NotImplementedError

    def check(self) -> str:
        """What its own check says of the configuration; it has to agree."""
        raise NotImplementedError

    @property
    def log(self) -> str:
        """Everything it logged."""
        return "".join(path.read_text() for path in sorted(self.folder.path.glob("*.log")))

    def _answers(self) -> bool:
        try:
            urllib.request.urlopen(f"{self.url}/readyz", context=self.trust, timeout=2)
        except urllib.error.HTTPError as refused:
            return refused.code == 404  # It says so itself, whatever the nodes do.
        return False


class Nginx(Proxy):
    """deploy/nginx, inside of a plain nginx.conf."""

    name = "nginx"

    def configure(self, nodes: Sequence[int], tls: Certificate) -> None:
        path = self.folder.path
        self.folder.write("site.conf", changed((DEPLOY / "nginx" / "catalyst.conf").read_text(), {
            r"^ *listen \[::\]:.*\n": "",
            r"listen 80;": f"listen 127.0.0.1:{self.plain};",
            r"listen 443 ssl": f"listen 127.0.0.1:{self.port} ssl",
            r"/etc/nginx/tls/catalyst\.crt": str(tls.chain),
            r"/etc/nginx/tls/catalyst\.key": str(tls.key),
            r"/etc/nginx/waf/": f"{path}/waf/",
        }))  # fmt: skip
        servers = "".join(f"    server 127.0.0.1:{port} max_fails=0;\n" for port in nodes)
        self.folder.write("nodes.conf", changed((DEPLOY / "nginx" / "catalyst-nodes.conf").read_text(), {
            r"(?:^    server .*\n)+": servers,
        }))  # fmt: skip
        user = "user nobody nogroup;" if os.getuid() == 0 else ""
        self.config = self.folder.write("nginx.conf", f"""
daemon off; worker_processes 1; pid {path}/pid; error_log {path}/error.log warn; {user}
events {{ worker_connections 4096; }}
http {{ access_log {path}/access.log; {nginx_temporary(path)} include {path}/site.conf; include {path}/nodes.conf; }}
""")  # fmt: skip
        words = [program("nginx"), "-p", path, "-e", path / "error.log", "-c", self.config]
        self.child = Child(words, self.folder, self._answers)
        self._words = [str(word) for word in words]

    def check(self) -> str:
        done = subprocess.run([*self._words, "-t"], capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == 0, done.stderr
        return done.stderr


class Haproxy(Proxy):
    """deploy/haproxy."""

    name = "haproxy"

    def configure(self, nodes: Sequence[int], tls: Certificate) -> None:
        changes = {
            r"maxconn 20000": "maxconn 2000",  # More than this machine lets a process open.
            r"log /dev/log local0": "log stdout format raw local0",
            r"/run/haproxy/admin\.sock": f"{self.folder.path}/admin.sock",
            r"bind :443": f"bind 127.0.0.1:{self.port}",
            r"bind :80$": f"bind 127.0.0.1:{self.plain}",
            r"127\.0\.0\.1:8404": f"127.0.0.1:{self.numbers}",
            r"/etc/haproxy/tls/catalyst\.pem": str(tls.both),
            r"(?:^    server (?:one|two) .*\n)+": "".join(
                f"    server n{at} 127.0.0.1:{port}\n" for at, port in enumerate(nodes)
            ),
        }
        if os.getuid() != 0:
            changes |= {r"^ +user haproxy\n": "", r"^ +group haproxy\n": ""}
        text = changed((DEPLOY / "haproxy" / "haproxy.cfg").read_text(), changes)
        self.config = self.folder.write("haproxy.cfg", text)
        self.child = Child([program("haproxy"), "-db", "-f", self.config], self.folder, self._answers)

    def check(self) -> str:
        done = subprocess.run(
            [program("haproxy"), "-c", "-f", str(self.config)], capture_output=True, text=True, timeout=30, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr
