"""compose.yaml at each of its scales: what Compose reads, and that it agrees with every file it mounts.

Its services are started for real in tests/services/test_compose.py.
"""

from __future__ import annotations

import json
import posixpath
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deployed import checked, composed, set_of, written

SCALES = ("small", "mvp")


@pytest.fixture(params=SCALES)
def scale(request: pytest.FixtureRequest) -> str:
    """Each that there is a file for."""
    return str(request.param)


def test_compose_speaks_the_compose_specification(scale: str, tmp_path: Path) -> None:
    """No misspelt word: Compose passes over some of them in silence. Two readers, each with rules of its own."""
    from compose_spec import PyCompose

    whole = composed(scale)
    read = PyCompose.from_json(json.dumps(whole))
    read.validate()
    assert set(read.to_spec().services or ()) == set(whole["services"])
    folder = written("compose", scale, tmp_path)
    checked("check-jsonschema", "--builtin-schema", "vendor.compose-spec", folder / "compose" / "compose.yaml")


def test_a_misspelt_word_is_noticed(tmp_path: Path) -> None:
    """So that the test above says something."""
    (tmp_path / "compose.yaml").write_text(
        set_of("compose", "mvp")["compose/compose.yaml"].replace("stop_grace_period", "stop_grace_time")
    )
    with pytest.raises(AssertionError, match="stop_grace_time"):
        checked("check-jsonschema", "--builtin-schema", "vendor.compose-spec", tmp_path / "compose.yaml")


def test_the_guide_runs_nothing_beside_what_has_its_address(scale: str) -> None:
    """A second container of a service cannot have the first one's address; one that it waits for would write a log."""
    guide = set_of("compose", scale)["compose.md"]
    runs = re.findall(r"docker compose run (?:(--\S+(?: rm| catalyst)?) )*(\w\S*)", guide)
    (stopped,) = re.findall(r"docker compose stop (.*?) *#", guide)
    assert runs
    assert {name for _, name in runs} <= set(stopped.split())
    assert guide.count("docker compose run --rm --no-deps ") == guide.count("docker compose run ")
    assert set(stopped.split()) - {"catalyst-2"} <= set(composed(scale)["services"])


def test_prometheus_and_alertmanager_read_their_configurations(tmp_path: Path) -> None:
    """With the rules where Compose mounts them."""
    folder = written("compose", "small", tmp_path)
    text = (folder / "compose" / "prometheus.yml").read_text()
    text = text.replace("/etc/prometheus/rules.yml", str(folder / "prometheus" / "rules.yml"))
    (tmp_path / "prometheus.yml").write_text(text)
    checked("promtool", "check", "config", tmp_path / "prometheus.yml")
    checked("amtool", "check-config", folder / "prometheus" / "alertmanager.yml")


def test_compose_names_only_what_is_there(scale: str) -> None:
    """Mounts, volumes, networks, what is waited for and built, and the secrets of env.example."""
    whole, files = composed(scale), set_of("compose", scale)
    services = whole["services"]
    for name, service in services.items():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            there = source in whole["volumes"] if not source.startswith(".") else _of_the_set(source) in files
            assert there, f"{name} mounts {source}"
        if "build" in service:
            assert f"{_of_the_set(service['build'])}/Dockerfile" in files
        for other, condition in service.get("depends_on", {}).items():
            assert other in services
            healthy = "healthcheck" in services[other] or "build" in services[other]  # The image has one.
            assert condition["condition"] != "service_healthy" or healthy, f"{name}: {other}"
        assert set(service["networks"]) <= set(whole["networks"])
    mounted = {volume.split(":")[0] for service in services.values() for volume in service.get("volumes", [])}
    assert set(whole["volumes"]) <= mounted
    asked = set(re.findall(r"\$\{(\w+)", files["compose/compose.yaml"]))
    assert asked == set(re.findall(r"^(\w+)=$", files["compose/env.example"], re.MULTILINE))


def _of_the_set(path: str) -> str:
    return posixpath.normpath(f"compose/{path}")


def test_every_secret_of_compose_has_its_place_in_env_example(scale: str) -> None:
    """What `catalyst deploy compose` shows is what is asked for."""
    from catalyst_signals.deploy import targets

    secrets = {secret.name for secret in targets()["compose"].secrets_at(scale)}
    assert secrets == set(re.findall(r"^(\w+)=$", set_of("compose", scale)["compose/env.example"], re.MULTILINE))


def test_compose_pins_checks_and_restarts_every_service(scale: str) -> None:
    """An image of today is the image of next year; a service that hangs is seen."""
    for name, service in composed(scale)["services"].items():
        assert re.search(r":v?\d+\.\d+(\.\d+)?(-\w+)?$", service["image"]), f"{name}: {service['image']}"
        assert "healthcheck" in service or "build" in service, f"{name} has no health check"
        assert service["restart"] == "unless-stopped"
        assert "logging" in service, f"{name} fills the disk with its log"
        for port in service.get("ports", []):
            assert port in ("80:80", "443:443") or port.startswith("127.0.0.1:"), f"{name} is open to the world: {port}"


def test_only_nodes_are_given_the_first_admin_key(scale: str) -> None:
    """Nobody else has a use for it."""
    given = {name for name, each in composed(scale)["services"].items() if "ADMIN_KEY" in str(each)}
    assert given == {name for name in composed(scale)["services"] if name.startswith("catalyst-")}


def test_compose_agrees_with_the_files_it_mounts(scale: str) -> None:
    """nginx and Prometheus find the nodes where Compose puts them, and nodes trust the proxy where it is."""
    services, files = composed(scale)["services"], set_of("compose", scale)
    address = {name: service["networks"]["inside"]["ipv4_address"] for name, service in services.items()}
    nodes = [name for name in services if name.startswith("catalyst-")]
    upstream = set(re.findall(r"server ([\d.:]+)", files["compose/catalyst-nodes.conf"]))
    assert upstream == {f"{address[name]}:8080" for name in nodes}
    assert len(set(address.values())) == len(address)
    for name in nodes:
        assert services[name]["environment"]["CATALYST_TRUSTED_PROXIES"] == address["nginx"]
    if scale == "mvp":
        assert len(nodes) == 1, "an SQLite file has one writer"
        return
    watched = yaml.safe_load(files["compose/prometheus.yml"])
    targets = {t for job in watched["scrape_configs"] for c in job["static_configs"] for t in c["targets"]}
    assert targets == {f"{name}:8080" for name in nodes}


def test_the_settings_of_compose_are_taken(scale: str) -> None:
    """Each value passes the checks of the server itself, and the copy is made of the log that the nodes write."""
    from catalyst_signals.brokers import BROKERS
    from catalyst_signals.caches import CACHES
    from catalyst_signals.server.settings import Settings
    from catalyst_signals.stores import STORES

    services = composed(scale)["services"]
    for service in services.values():
        values = settings_in(service)
        settings = Settings(**values)
        if values:
            assert settings.store_url.partition(":")[0] in STORES
            assert settings.broker_url.partition(":")[0] in BROKERS
            assert settings.cache_url.partition(":")[0] in CACHES
    urls = {name: settings_in(service).get("store_url") for name, service in services.items()}
    assert urls["backup"] == urls["catalyst-1"]


def settings_in(service: dict[str, Any]) -> dict[str, str]:
    """Its settings, with a word where a secret goes."""
    return {
        name.removeprefix("CATALYST_").lower(): re.sub(r"\$\{(\w+)[^}]*\}", "" if "ADMIN" in name else "x", value)
        for name, value in service.get("environment", {}).items() if name.startswith("CATALYST_")
    }  # fmt: skip
