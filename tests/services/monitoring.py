"""Prometheus and Alertmanager, with the configurations of deploy/prometheus changed only in ports, paths and pauses."""

from __future__ import annotations

import subprocess
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from tests.services.child import Child, Folder, Service, free_ports, program

SHIPPED = Path(__file__).parent.parent.parent / "deploy" / "prometheus"


def shipped(name: str, changes: Mapping[str, str]) -> str:
    """A file of deploy/prometheus with these words changed; each must be there."""
    text = (SHIPPED / name).read_text()
    for word, other in changes.items():
        assert word in text, f"{name} has no `{word}`"
        text = text.replace(word, other)
    return text


def check(name: str, *arguments: str | Path) -> str:
    """What `promtool` or `amtool` says; it must be content."""
    done = subprocess.run([program(name), *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


class _Watcher(Service):
    """One of the two: a child that says on `/-/ready` when it is."""

    def __init__(self, name: str) -> None:
        self.folder = Folder(name)
        (self.port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{self.port}"

    def _answers(self) -> bool:
        with urllib.request.urlopen(f"{self.url}/-/ready", timeout=2) as answer:
            return bool(answer.status == 200)


class Alertmanager(_Watcher):
    """Tells PagerDuty and Discord, which both are at `sink_url`."""

    def __init__(self, sink_url: str) -> None:
        super().__init__("alertmanager")
        changes = {
            "group_wait: 10s": "group_wait: 0s", "https://discord.com": sink_url,
            "- routing_key:": f"- url: {sink_url}/pagerduty\n    routing_key:",
        }  # fmt: skip
        config = self.folder.write("alertmanager.yml", shipped("alertmanager.yml", changes))
        self.child = Child(
            [
                program("prometheus-alertmanager"), f"--config.file={config}", f"--storage.path={self.folder.path}",
                f"--web.listen-address=127.0.0.1:{self.port}", "--cluster.listen-address=",
            ],
            self.folder, self._answers,
        )  # fmt: skip


class Prometheus(_Watcher):
    """Scrapes a server with a key each second, and waits a second where the rules wait half a minute."""

    def __init__(self, target: str, key: str, alertmanager: Alertmanager) -> None:
        super().__init__("prometheus")
        secret = self.folder.write("catalyst.key", key)
        self.folder.write("rules.yml", shipped("rules.yml", {"for: 30s": "for: 1s"}))
        changes = {
            "_interval: 10s": "_interval: 1s", "127.0.0.1:9093": f"127.0.0.1:{alertmanager.port}",
            "credentials_file: /etc/prometheus/catalyst.key": f"credentials_file: {secret}", "127.0.0.1:8080": target,
        }  # fmt: skip
        config = self.folder.write("prometheus.yml", shipped("prometheus.yml", changes))
        self.child = Child(
            [
                program("prometheus"), f"--config.file={config}", f"--storage.tsdb.path={self.folder.path / 'data'}",
                f"--web.listen-address=127.0.0.1:{self.port}", "--log.level=warn",
            ],
            self.folder, self._answers,
        )  # fmt: skip
