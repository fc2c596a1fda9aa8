"""A container of Kubernetes or Cloud Run without either: its command as a child process, treated as a kubelet does.

Owns: what becomes of its environment (Secrets, `$(NAME)`, links to Services), how its probes are asked and how it is
ended. What is another way here: the address it listens on, and where the `elsewhere` of a test says that something is.
"""

from __future__ import annotations

import re
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

import httpx2

from tests.services.child import Child, Folder, Service, free_ports, path_with

NAME = "catalyst-0"
LINKS = {"CATALYST_PORT": "tcp://10.96.0.7:80", "CATALYST_SERVICE_HOST": "10.96.0.7"}  # Of a Service called `catalyst`.


class Container(Service):
    """The first container of a pod's `spec`. `elsewhere` is what has another name, address or path on this machine."""

    def __init__(
        self, spec: Mapping[str, Any], secrets: Mapping[str, str], elsewhere: Mapping[str, str] | None = None
    ) -> None:
        (self.container,) = spec["containers"]
        self.spec = spec
        self.folder = Folder("pod")
        (self.port,) = free_ports(1)
        self._secrets = secrets
        mounts = {each["mountPath"]: self._mount(each["name"]) for each in self.container.get("volumeMounts", [])}
        self.elsewhere = {**mounts, **(elsewhere or {})}
        self.child = Child(self.words(), self.folder, self._started, name="catalyst", env=self.environment())

    @property
    def url(self) -> str:
        """Where it is asked."""
        return f"http://127.0.0.1:{self.port}"

    def http(self, key: str) -> httpx2.Client:
        """A client that speaks for this key."""
        headers = {"Authorization": f"Bearer {key}"}
        return httpx2.Client(base_url=self.url, headers=headers, timeout=30, trust_env=False)

    # -- what it is started with --------------------------------------------------------------------------------------

    def words(self) -> list[str]:
        """Its command, or the image's."""
        given = [*self.container.get("command", []), *self.container.get("args", [])]
        return [self._here(_expanded(word, self._declared())) for word in given or ["catalyst", "serve"]]

    def environment(self) -> dict[str, str]:
        """What it declares, with the programs of this venv on PATH."""
        declared = {name: self._here(value) for name, value in self._declared().items()}
        if "CATALYST_PORT" in declared:
            assert declared["CATALYST_PORT"] == str(self.container["ports"][0]["containerPort"])
            assert declared["CATALYST_HOST"] == "0.0.0.0"
            declared |= {"CATALYST_HOST": "127.0.0.1", "CATALYST_PORT": str(self.port)}
        return {"PATH": path_with(), "PYTHONUNBUFFERED": "1"} | declared

    def _declared(self) -> dict[str, str]:
        """As a kubelet reads it: links first, then from top to bottom; a name in `$( )` is what stands above."""
        found = {} if self.spec.get("enableServiceLinks") is False else dict(LINKS)
        for each in self.container.get("env", []):
            value = self._value(each)
            if value is not None:
                found[each["name"]] = _expanded(value, found)
        return found

    def _value(self, each: Mapping[str, Any]) -> str | None:
        if "value" in each:
            assert isinstance(each["value"], str), f"{each['name']} is no string"
            return str(each["value"])
        source = each["valueFrom"]
        if "fieldRef" in source:
            assert source["fieldRef"] == {"fieldPath": "metadata.name"}
            return NAME
        wanted = source["secretKeyRef"]
        key = wanted["name"] if wanted["key"] == "latest" else wanted["key"]  # Cloud Run: a secret has one value.
        assert key in self._secrets or wanted.get("optional"), f"the Secret has no {key}"
        return self._secrets.get(key)

    def _mount(self, volume: str) -> str:
        path = self.folder.path / "volumes" / volume
        path.mkdir(parents=True, exist_ok=True)
        return str(path)

    def _here(self, text: str) -> str:
        """In one go, and the longest first: a path of this machine may have one of the container's within."""
        names = sorted(self.elsewhere, key=len, reverse=True)
        return re.sub("|".join(map(re.escape, names)) or "(?!)", lambda found: self.elsewhere[found[0]], text)

    # -- what a kubelet does ------------------------------------------------------------------------------------------

    def probe(self, kind: str) -> bool:
        """One look, as the probe of that kind says."""
        asked = self.container[kind]["httpGet"]
        ports = {str(port[way]) for port in self.container["ports"] for way in ("name", "containerPort")}
        assert str(asked["port"]) in ports, f"{kind} asks a port that it does not have"
        try:
            with urllib.request.urlopen(
                self.url + asked["path"], timeout=self.container[kind]["timeoutSeconds"]
            ) as got:
                return bool(200 <= got.status < 400)
        except urllib.error.HTTPError:
            return False

    def _started(self) -> bool:
        return self.probe("startupProbe")

    def run(self, words: list[str]) -> None:
        """A command within the container; it has to end well."""
        done = subprocess.run(
            words, env=self.environment(), cwd=self.folder.path, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def withdraw(self) -> None:
        """`preStop`: it has been taken out of the Service, and the proxies are hearing of it."""
        self.run(self.container["lifecycle"]["preStop"]["exec"]["command"])

    def terminate(self, within_s: float) -> int:
        """SIGTERM, and its exit code; SIGKILL would come then."""
        process = self.child.process
        assert process is not None
        began_s = time.monotonic()
        process.terminate()
        code = process.wait(within_s)
        assert time.monotonic() - began_s < within_s
        return code


def _expanded(text: str, known: Mapping[str, str]) -> str:
    """`$(NAME)` is replaced where NAME is known, `$$(` is `$(`."""
    names = r"\$\$|\$\(([A-Za-z_][\w.-]*)\)"
    return re.sub(names, lambda gap: "$" if gap[0] == "$$" else known.get(gap[1], gap[0]), text)
