"""The Helm chart, for the tests: written as `catalyst deploy` does, rendered by Helm's own library.

Owns: the values that are tried, and how what was rendered is found.
"""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import helm_python
import yaml

from tests.deployed import written

Manifest = dict[str, Any]

# Every option that adds something, on. `nginx` has the most to say of all ingresses.
EVERYTHING: dict[str, Any] = {
    "domain": "signals.example.org",
    "trustedProxies": ["10.0.0.0/8", "fd00::/8"],
    "secretSettings": ["CATALYST_SENTRY_DSN", "CATALYST_LOG_SHIP_URL", "CATALYST_OTLP_ENDPOINT"],
    "settings": {"CATALYST_RING_BYTES": 20971520, "CATALYST_POLL_S": 0.5, "CATALYST_KEY_ENV": "test"},
    "image": {"pullSecrets": ["registry"]},
    "autoscaling": {"enabled": True, "connections": 2000},
    "nodeSelector": {"kubernetes.io/arch": "amd64"},
    "tolerations": [{"key": "signals", "operator": "Exists"}],
    "ingress": {
        "enabled": True, "controller": "nginx", "className": "nginx", "tls": {"clusterIssuer": "letsencrypt"},
        "annotations": {"nginx.ingress.kubernetes.io/limit-rps": "50"},
    },
    "postgresql": {"inCluster": True, "storageClass": "fast"}, "redis": {"inCluster": True},
    "backup": {"storageClass": "slow"}, "networkPolicy": {"to": [{"ipBlock": {"cidr": "10.9.0.0/16"}}]},
    "monitoring": {"enabled": True, "dashboard": True, "keySecret": "prometheus-key"},
}  # fmt: skip
ROUTE: dict[str, Any] = {
    "domain": "signals.example.org", "gateway": {"enabled": True, "name": "gateway", "namespace": "gateways"},
}  # fmt: skip


@cache
def folder(scale: str = "small") -> Path:
    """`helm/` of the set, on disk."""
    made = Path(tempfile.mkdtemp(prefix="catalyst-helm-"))
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return written("kubernetes", scale, made) / "helm"


def values(*names: str, scale: str = "small") -> dict[str, Any]:
    """Of those files of the set, a later one over an earlier one."""
    found: dict[str, Any] = {}
    for name in names:
        found = merged(found, yaml.safe_load((folder(scale) / name).read_text()))
    return found


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """As Helm lays one file of values over another."""
    found = dict(below)
    for name, value in above.items():
        old = found.get(name)
        found[name] = merged(old, value) if isinstance(value, dict) and isinstance(old, dict) else value
    return found


# By name: what a person may have said.
CASES: dict[str, dict[str, Any]] = {
    "the chart alone": {},
    "small": values("values.yaml"),
    "eks": values("values.yaml", "values-eks.yaml"),
    "mvp": values("values.yaml", scale="mvp"),
    "mvp on eks": values("values.yaml", "values-eks.yaml", scale="mvp"),
    "everything": EVERYTHING,
    "a route": ROUTE,
    "nothing around it": {"networkPolicy": {"enabled": False}, "backup": {"enabled": False}},
}


def texts(given: Mapping[str, Any], release: str = "catalyst") -> dict[str, str]:
    """What Helm makes of it, by template."""
    chart = helm_python.Chart.load(str(folder() / "catalyst"))
    return dict(chart.render(dict(given), name=release, namespace="catalyst"))


def rendered(given: Mapping[str, Any], release: str = "catalyst") -> list[Manifest]:
    """Every object."""
    found = texts(given, release)
    return [each for name, text in found.items() if name.endswith(".yaml") for each in yaml.safe_load_all(text) if each]


def one(manifests: list[Manifest], kind: str, name: str = "catalyst") -> Manifest:
    """The object of that kind and name."""
    (found,) = [each for each in manifests if (each["kind"], each["metadata"]["name"]) == (kind, name)]
    return found


def pods(manifests: list[Manifest]) -> dict[str, Manifest]:
    """By component, every pod that is there or will be: with `metadata` and `spec`."""
    found = {}
    for each in manifests:
        if each["kind"] == "CronJob":
            pod = each["spec"]["jobTemplate"]["spec"]["template"]
        elif each["kind"] in ("Deployment", "StatefulSet"):
            pod = each["spec"]["template"]
        elif each["kind"] == "Pod":
            pod = each
        else:
            continue
        found[pod["metadata"]["labels"]["app.kubernetes.io/component"]] = pod
    return found
